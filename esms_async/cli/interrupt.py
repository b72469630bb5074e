"""Ctrl-C, and what else asks a process to end: what it does to a job and to its stream."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import cast

from esms_async.cli.delivery import Outcomes
from esms_async.cli.errors import ExitCode
from esms_async.cli.running import complain
from esms_async.cli.screen import Screen
from esms_async.cli.signals import on_signal

_STOPPING = "Stopping: waiting for what is in flight; interrupt again to stop now"
_STOPPING_NOW = "Stopping now"


@contextmanager
def on_interrupt(told: Callable[[int], None]) -> Generator[None]:
    """Have a function called for the first and the second interrupt; a third one kills.

    Args:
        told: Called within the running event loop with 1, then with 2.

    Yields:
        Nothing; what the signals did before is restored afterwards.
    """
    counts = itertools.count(1)
    with on_signal(lambda _: told(next(counts)), times=2):
        yield


async def interruptible(job: Coroutine[object, object, ExitCode]) -> ExitCode:
    """Run a job that has nothing in flight to finish, and end it at the first interrupt."""
    interrupts: list[int] = []

    def interrupt(number: int) -> None:
        interrupts.append(number)
        running.cancel()

    running = asyncio.ensure_future(job)
    with on_signal(interrupt, times=1):
        try:
            return await running
        except asyncio.CancelledError:
            if not interrupts:
                raise
    complain("interrupted")
    return ExitCode.INTERRUPTED


class Stopping:
    """What an interrupt does to a job: it ends it, or once something is sent halts its stream.

    Attributes:
        requested: True once there was one.
        ended_job: True where the job was ended, before anything was sent.
        on_halt: Called when the stream is halted.
    """

    def __init__(self, screen: Screen) -> None:
        self.requested: bool = False
        self.ended_job: bool = False
        self.on_halt: Callable[[], None] = lambda: None
        self._screen = screen
        self._silent = False
        self._loop = asyncio.get_running_loop()
        # It is made inside the job, so that there is one.
        self._job = cast("asyncio.Task[object]", asyncio.current_task())
        self._stream: Outcomes | None = None
        self._halting: set[asyncio.Task[None]] = set()

    def guard(self, stream: Outcomes) -> None:
        """Halt a stream from now on, instead of ending the job."""
        self._stream = stream

    def interrupt(self, count: int) -> None:
        """Stop: the first time once what is in flight has its outcome, the second time now."""
        self.requested = True
        self.halt(cancel=count > 1)
        # Last, for where the terminal has gone the words meet nobody.
        if self._stream is not None:
            self.say(_STOPPING if count == 1 else _STOPPING_NOW)

    def halt(self, *, cancel: bool = False) -> None:
        """Have the stream pull nothing more, and with `cancel` give up what is in flight."""
        if self._stream is None:
            self.ended_job = True
            self._job.cancel()
            return
        halting = asyncio.ensure_future(self._stream.aclose(cancel=cancel))
        self._halting.add(halting)
        halting.add_done_callback(self._halting.discard)
        self.on_halt()

    def break_off(self) -> None:
        """Stop without a word, for nobody reads it any more. Any thread may call this."""
        self._silent = True
        self._loop.call_soon_threadsafe(self.interrupt, 1)

    def say(self, line: str) -> None:
        """Tell the person who interrupted."""
        if not self._silent:
            self._screen.warn(line)
