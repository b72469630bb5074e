"""Interrupts, and what they do."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator

import pytest

from esms_async import Message, Receipt, Status
from esms_async._send.stream import SendMany
from esms_async.cli.errors import ExitCode
from esms_async.cli.interrupt import Stopping, interruptible, on_interrupt
from esms_async.cli.screen import Screen
from tests.limits import generous

_SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def _harmless() -> Iterator[None]:
    """Signals that a test leaves unhandled do not end the tests."""
    before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", _SIGNALS)
async def test_signals_are_counted(number: signal.Signals) -> None:
    """The first and the second reach the loop; then the former handler is back."""
    before = signal.getsignal(number)
    told: asyncio.Queue[int] = asyncio.Queue()
    with on_interrupt(told.put_nowait):
        os.kill(os.getpid(), number)
        assert await told.get() == 1
        os.kill(os.getpid(), number)
        assert await told.get() == 2
        assert signal.getsignal(number) is before
    assert signal.getsignal(number) is before


async def test_signals_that_come_at_once_are_told_twice() -> None:
    """Three signals before the loop has a turn are two calls."""
    told: list[int] = []
    with on_interrupt(told.append):
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.01)
    assert told == [1, 2]


async def test_before_a_stream_the_job_ends(capsys: pytest.CaptureFixture[str]) -> None:
    """An interrupt while the input is waited for cancels the job."""

    async def job() -> None:
        stopping = Stopping(Screen())
        stopping.interrupt(1)
        try:
            await asyncio.Event().wait()
        finally:
            assert stopping.ended_job

    with pytest.raises(asyncio.CancelledError):
        await asyncio.ensure_future(job())
    assert capsys.readouterr() == ("", "")


class _Sending:
    """A stream of messages without end, whose sends wait until they are let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.full = asyncio.Event()
        self._under_way = 0
        self.stream = SendMany(self._send, self._messages(), concurrency=3, ordered=False)

    def stop(self, *, cancel: bool = False) -> None:
        """End the stream beside what interrupts it."""
        self._stopping = asyncio.ensure_future(self.stream.aclose(cancel=cancel))

    async def _messages(self) -> AsyncIterator[Message]:
        while True:
            yield Message("0901888484", "686868")

    async def _send(self, message: Message) -> Receipt:
        self._under_way += 1
        if self._under_way == 3:
            self.full.set()
        await self.go.wait()
        return Receipt(message.request_id)


async def _under_way() -> tuple[_Sending, Stopping, "asyncio.Task[list[Status]]"]:
    """Give a stream with three sends in flight, what stops it, and what collects its outcomes."""
    sending, stopping = _Sending(), Stopping(Screen())
    stopping.guard(sending.stop)
    outcomes = asyncio.create_task(_collect(sending.stream))
    await sending.full.wait()
    return sending, stopping, outcomes


async def _collect(stream: SendMany) -> list[Status]:
    return [outcome.status async for outcome in stream]


async def test_the_first_interrupt_lets_what_is_in_flight_finish(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing more is pulled, every send has its outcome, and the person is told what goes on."""
    sending, stopping, outcomes = await _under_way()
    stopping.interrupt(1)
    await asyncio.sleep(0)
    sending.go.set()
    assert await asyncio.wait_for(outcomes, generous(10)) == [Status.ACCEPTED] * 3
    assert stopping.requested
    assert not stopping.ended_job
    assert capsys.readouterr().err.startswith("Stopping: waiting for what is in flight")


async def test_the_second_interrupt_gives_up_what_is_in_flight(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What was under way is reported as what it is, at once."""
    _, stopping, outcomes = await _under_way()
    stopping.interrupt(1)
    stopping.interrupt(2)
    assert await asyncio.wait_for(outcomes, generous(10)) == [Status.UNKNOWN] * 3
    assert "Stopping now" in capsys.readouterr().err


async def test_a_reader_that_has_gone_stops_the_job_without_a_word(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where nobody reads any more, the job stops as after an interrupt, and says nothing."""
    sending, stopping, outcomes = await _under_way()
    await asyncio.to_thread(stopping.break_off)
    await asyncio.sleep(0)
    sending.go.set()
    assert await asyncio.wait_for(outcomes, generous(10)) == [Status.ACCEPTED] * 3
    assert capsys.readouterr() == ("", "")


async def test_a_job_without_a_stream_ends_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """What has nothing in flight to finish is cancelled, and one line says so."""
    running = asyncio.Event()

    async def job() -> ExitCode:
        running.set()
        await asyncio.Event().wait()
        raise AssertionError

    ending = asyncio.ensure_future(interruptible(job()))
    await running.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(ending, generous(10)) is ExitCode.INTERRUPTED
    assert capsys.readouterr() == ("", "esms-async: interrupted\n")


async def test_a_cancellation_from_elsewhere_is_no_interrupt() -> None:
    """It is passed on to who made it."""
    running = asyncio.Event()

    async def job() -> ExitCode:
        running.set()
        await asyncio.Event().wait()
        raise AssertionError

    ending = asyncio.ensure_future(interruptible(job()))
    await running.wait()
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending


async def test_the_stream_is_halted_before_the_person_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the words can't be written, the job stops all the same, and those who wait leave."""
    sending, stopping, outcomes = await _under_way()
    left: list[bool] = []
    stopping.on_halt = lambda: left.append(True)

    def fail(_: str) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(stopping, "say", fail)
    with pytest.raises(OSError, match="Input/output"):
        stopping.interrupt(1)
    await asyncio.sleep(0)
    sending.go.set()
    assert await asyncio.wait_for(outcomes, generous(10)) == [Status.ACCEPTED] * 3
    assert left == [True]
