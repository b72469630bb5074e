"""The signals that ask a process to end."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from esms_async.cli.signals import on_signal

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def unhandled() -> Iterator[list[int]]:
    """The signals that nobody handles, which end nothing."""
    unhandled: list[int] = []
    before = {each: signal.signal(each, lambda n, _: unhandled.append(n)) for each in SIGNALS}
    yield unhandled
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
async def test_the_first_is_told_and_the_next_acts_as_before(
    number: signal.Signals, unhandled: list[int]
) -> None:
    """A function gets the number of the first signal; the second has the effect it always had."""
    told: asyncio.Queue[int] = asyncio.Queue()
    with on_signal(told.put_nowait, times=1):
        os.kill(os.getpid(), number)
        assert await told.get() == number
        assert unhandled == []
        os.kill(os.getpid(), number)
        assert unhandled == [number]
    assert told.empty()


async def test_signals_that_come_at_once_are_not_told_too_often(unhandled: list[int]) -> None:
    """Of three signals before the loop has a turn two are reported, where two are asked for."""
    told: list[int] = []
    with on_signal(told.append, times=2):
        for number in SIGNALS:
            os.kill(os.getpid(), number)
        assert told == []
        await asyncio.sleep(0)
    assert (told, unhandled) == (SIGNALS[:2], SIGNALS[2:])


async def test_without_a_signal_each_acts_as_before() -> None:
    """What the signals did is restored when the context is left."""
    before = [signal.getsignal(number) for number in SIGNALS]
    with on_signal(lambda _: None, times=1):
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before


async def test_a_hangup_that_was_ignored_stays_ignored() -> None:
    """What runs under nohup outlives its terminal."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with on_signal(lambda _: None, times=1):
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
