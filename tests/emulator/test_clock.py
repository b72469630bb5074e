"""The emulator's clock, and what is done by it."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from esms_async._model.errors import ConfigurationError
from esms_async.emulator import Clock
from esms_async.emulator.clock import Timetable

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def call(function: Callable[[], object]) -> None:
    """Call a function: what these timetables do with what is due."""
    function()


def test_a_clock_shows_the_time_of_the_machine_unless_told_otherwise() -> None:
    """A new clock and the machine's agree, and the clock never goes back."""
    before = datetime.now(UTC)
    clock = Clock()
    first, second = clock.now(), clock.now()
    assert before - timedelta(seconds=1) <= first <= second


def test_a_clock_that_stands_still_moves_by_advance_alone() -> None:
    """Without running, only `advance` moves a clock, by seconds or by a timedelta."""
    clock = Clock(NOON, running=False)
    assert clock.now() == NOON
    clock.advance(90)
    clock.advance(timedelta(hours=1))
    assert clock.now() == NOON + timedelta(hours=1, seconds=90)


@pytest.mark.parametrize(
    "by", [-1, float("nan"), float("inf"), 1e12, 10**400, timedelta(seconds=-1)]
)
def test_a_clock_never_goes_back(by: float | timedelta) -> None:
    """What is no time to come, or lies beyond the calendar, is refused by name."""
    with pytest.raises(ConfigurationError, match="advances by 0 seconds or more"):
        Clock().advance(by)


def test_a_clock_starts_at_an_aware_time() -> None:
    """A start without a time zone is refused."""
    with pytest.raises(ConfigurationError, match="aware"):
        Clock(datetime(2026, 3, 1))  # noqa: DTZ001  # the point of the test


def test_a_listener_hears_of_jumps_until_it_unsubscribes() -> None:
    """A jump tells every listener once; ending a subscription twice is harmless."""
    clock = Clock()
    heard: list[str] = []
    end = clock.subscribe(lambda: heard.append("jump"))
    clock.advance(1)
    end()
    end()
    clock.advance(1)
    assert heard == ["jump"]


async def test_what_is_due_is_done_in_its_order() -> None:
    """A jump does what falls due on the way, by its time, then by the order of asking."""
    clock = Clock(NOON, running=False)
    timetable = Timetable(clock, call)
    done: list[str] = []
    now = clock.time()
    timetable.put(now + 20, lambda: done.append("late"))
    timetable.put(now + 10, lambda: done.append("early"))
    timetable.put(now + 10, lambda: done.append("early too"))
    timetable.put(now + 30, lambda: done.append("too late"))
    clock.advance(20)
    assert done == ["early", "early too", "late"]
    timetable.close()


async def test_what_is_past_is_done_at_once_even_where_the_clock_stands_still() -> None:
    """A time that has come needs no jump."""
    timetable = Timetable(clock := Clock(NOON, running=False), call)
    done = asyncio.Event()
    timetable.put(clock.time(), done.set)
    await asyncio.wait_for(done.wait(), 5)
    timetable.close()


async def test_a_running_clock_does_what_is_due_by_itself() -> None:
    """Without any jump, real time makes things due, an earlier one before a later."""
    timetable = Timetable(clock := Clock(), call)
    done: list[str] = []
    both = asyncio.Event()
    now = clock.time()
    timetable.put(now + 0.02, both.set)
    timetable.put(now + 0.01, lambda: done.append("first"))
    await asyncio.wait_for(both.wait(), 5)
    assert done == ["first"]
    timetable.close()


async def test_a_closed_timetable_does_nothing_any_more() -> None:
    """Closing forgets what is due, and the clock's jumps pass by."""
    timetable = Timetable(clock := Clock(), call)
    done: list[str] = []
    timetable.put(clock.time() + 1, lambda: done.append("done"))
    timetable.close()
    clock.advance(5)
    assert done == []


def test_how_far_ahead_a_clock_is() -> None:
    """`shift` is measured from the machine's clock, also where the clock began in the past."""
    clock = Clock(datetime.now(UTC) - timedelta(days=1))
    assert abs(clock.shift + 86400) < 60
    clock.advance(86400)
    assert abs(clock.shift) < 60
    assert Clock().shift == 0
