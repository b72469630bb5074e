"""The age of a moment, by whichever clock says more."""

import math
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esms_async._send.memory import Moment, age, moment_at, now

HOUR = 3600.0
BEGAN: Moment = (1_000_000.0, 5_000.0)


def later(*, wall: float, boot: float) -> Moment:
    """Return the moment after each clock has gone on by so much."""
    return BEGAN[0] + wall, BEGAN[1] + boot


@pytest.mark.parametrize(
    ("wall", "boot", "expected"),
    [
        pytest.param(0, 0, 0, id="at once"),
        pytest.param(60, 60, 60, id="both clocks agree"),
        pytest.param(25 * HOUR, 60, 25 * HOUR, id="the wall clock alone noticed"),
        pytest.param(60, 25 * HOUR, 25 * HOUR, id="the clock that counts suspend alone noticed"),
        pytest.param(-HOUR / 2, 60, 60, id="the wall clock was set back by half an hour"),
        pytest.param(-HOUR, 60, 60, id="set back by an hour"),
        pytest.param(-HOUR - 1, 60, math.inf, id="set back by more than an hour"),
        pytest.param(60, -BEGAN[1], 60, id="the machine was started again"),
    ],
)
def test_the_age_is_that_of_the_clock_that_says_more(
    wall: float, boot: float, expected: float
) -> None:
    """A clock that stood still or was set back makes nothing younger."""
    assert age(BEGAN, later(wall=wall, boot=boot)) == expected


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_nothing_is_younger_than_any_clock_says(wall: float, boot: float) -> None:
    """Whatever the clocks do, the age is at least what each of them says."""
    present = later(wall=wall, boot=boot)
    found = age(BEGAN, present)
    assert found >= present[0] - BEGAN[0]
    assert found >= present[1] - BEGAN[1]


def test_now_grows_on_both_clocks() -> None:
    """Both clocks run, and the present is of no age."""
    one, other = now(), now()
    assert one[1] <= other[1]
    assert 0 <= age(one, other) < HOUR


@pytest.mark.parametrize("seconds", [-HOUR / 2, 0.0, 60.0, 25 * HOUR])
def test_a_recorded_time_has_its_age(seconds: float) -> None:
    """A wall-clock time that somebody wrote down is as old on both clocks."""
    moment = moment_at(time.time() - seconds)
    assert age(moment, now()) == pytest.approx(seconds, abs=60)
    assert moment[1] == pytest.approx(now()[1] - seconds, abs=60)


def test_a_recorded_time_from_far_ahead_is_infinitely_old() -> None:
    """Nobody can tell by how much the wall clock has jumped."""
    assert age(moment_at(time.time() + HOUR + 60), now()) == math.inf


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="this system has no such clock")
def test_suspend_is_counted_where_there_is_a_clock_for_it() -> None:
    """The second clock is the one that goes on while the machine sleeps."""
    assert now()[1] == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME), abs=60)


def test_without_a_clock_for_suspend_the_monotonic_clock_serves() -> None:
    """A system without CLOCK_BOOTTIME imports the package all the same."""
    script = (
        "import time\n"
        "if hasattr(time, 'CLOCK_BOOTTIME'): del time.CLOCK_BOOTTIME\n"
        "from esms_async._send.memory import now\n"
        "assert abs(now()[1] - time.monotonic()) < 60"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
