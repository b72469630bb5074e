"""Ctrl-C, and what else asks a process to end: what it does to a job and to its stream."""

import asyncio
import itertools
import sys
import unicodedata
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import Protocol, cast

from esms_async.cli.errors import ExitCode
from esms_async.cli.running import complain
from esms_async.cli.screen import Screen
from esms_async.cli.signals import on_signal
from esms_async.cli.spreadsheet import on_thread
from esms_async.cli.words import Text, text


class Stop(Protocol):
    """Ends a stream of sends."""

    def __call__(self, *, cancel: bool = False) -> None:
        """Begin nothing more; with `cancel` also give up what is in flight."""
        ...


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
    complain(text("interrupted_here"))
    return ExitCode.INTERRUPTED


async def confirm(screen: Screen, question: Text) -> bool:
    """Ask the person at the terminal; only a yes in the language of the screen is one."""
    screen.ask(question)
    # Some keyboards write the marks of Vietnamese apart from their letters.
    answer = unicodedata.normalize("NFC", await on_thread(sys.stdin.readline))
    return answer.strip().casefold() in screen.say_word(text("yes")).split()


class Stopping:
    """Ends a job at an interrupt, or once something is sent, the stream of its sends.

    Args:
        screen: Where to say so.
        words: The names of the lines for the first and for the second interrupt.

    Attributes:
        requested: True once there was an interrupt.
        ended_job: True if the job was ended before anything was sent.
        on_halt: Called when the stream is ended.
    """

    def __init__(
        self, screen: Screen, words: tuple[str, str] = ("stopping", "stopping_now")
    ) -> None:
        self.requested: bool = False
        self.ended_job: bool = False
        self.on_halt: Callable[[], None] = lambda: None
        self._screen = screen
        self._words = words
        self._silent = False
        self._loop = asyncio.get_running_loop()
        # It is made inside the job, so there is one.
        self._job = cast("asyncio.Task[object]", asyncio.current_task())
        self._stop: Stop | None = None

    def guard(self, stop: Stop) -> None:
        """End a stream from now on, instead of the job."""
        self._stop = stop

    def interrupt(self, count: int) -> None:
        """Stop: the first time once what is in flight has its outcome, the second time now."""
        self.requested = True
        if self._stop is None:
            self.ended_job = True
            self._job.cancel()
            return
        self._stop(cancel=count > 1)
        self.on_halt()
        # Last, because nobody may read it any more.
        self.say(text(self._words[count > 1]))

    def break_off(self) -> None:
        """Stop without a word, because nobody reads it any more. Any thread may call this."""
        self._silent = True
        self._loop.call_soon_threadsafe(self.interrupt, 1)

    def say(self, line: Text) -> None:
        """Tell the person who interrupted."""
        if not self._silent:
            self._screen.warn(line)
