"""Runs a job, and says in one line what ended it."""

import asyncio
import contextlib
import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Generator
from typing import Final

from esms_async import EsmsError
from esms_async._model.tracebacks import traceback_without_values
from esms_async.cli.errors import ExitCode, InputError
from esms_async.cli.screen import Screen, print_line, printable, silence
from esms_async.cli.words import Language, Text, text

NAME: Final = "esms-async"
"""The name of the program."""


def run_job(
    job: Callable[[Screen], Coroutine[object, object, ExitCode]],
    *,
    as_json: bool,
    debug: bool,
    own_log: bool = False,
    loop: str = "asyncio",
) -> int:
    """Run a job, and tell a person what ended it where it could not go on.

    Args:
        job: The job.
        as_json: True where standard output is for a program.
        debug: True shows where an error comes from.
        own_log: True leaves logging to the job.
        loop: The event loop it runs in: `asyncio` or `uvloop`.
    """
    screen = Screen(for_program=as_json)
    try:
        with (
            contextlib.nullcontext() if own_log else _log_once(screen),
            asyncio.Runner(loop_factory=loop_factory(loop)) as runner,
        ):
            code: int = runner.run(job(screen))
    except Exception as error:  # noqa: BLE001  # a person gets one line, whatever it is
        if debug:
            sys.stderr.write(traceback_without_values(error))
        if isinstance(error, EsmsError):
            tell(error, screen)
            # A QueueError; a class of the queue can't be named without its extra.
            is_away = isinstance(error, ConnectionError)
            return ExitCode.UNREACHABLE if is_away else ExitCode.MISUSED
        if isinstance(error, OSError) and error.strerror:
            return standard_output_failed(error)
        # Its own words could hold anything, a one-time code too.
        complain(text("own_error", type=type(error).__name__))
        return ExitCode.REFUSED
    if screen.failure is not None:
        return standard_output_failed(screen.failure)
    return code


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes an event loop; None for asyncio's own.

    Raises:
        InputError: The library of the loop is not installed.
    """
    if name != "uvloop":
        return None
    try:
        from uvloop import new_event_loop  # noqa: PLC0415  # it needs the extra
    except ImportError:
        raise InputError(text("uvloop_extra")) from None
    return new_event_loop


@contextlib.contextmanager
def _log_once(screen: Screen) -> Generator[None]:
    """Print the warnings of the package on standard error, each fact once."""
    logger = logging.getLogger("esms_async")
    handler = _OncePerFact(screen)
    propagates = logger.propagate
    # A program that has set up logging of its own keeps it.
    if logging.getLogger().handlers or logger.handlers:
        yield
        return
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates
        handler.tell_the_rest()


class _OncePerFact(logging.Handler):
    """Prints the first record of each kind, and in the end how many more there were."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.WARNING)
        self._screen = screen
        self._first: dict[str, Text] = {}
        self._more: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record, unless one of its kind was printed."""
        kind = str(record.msg)
        # The outcome of each row stands in the report.
        if record.name == "esms_async.outcomes":
            return
        if kind in self._first:
            self._more[kind] += 1
            return
        self._first[kind] = text("says", problem=record.getMessage())
        self._screen.warn(self._first[kind])

    def tell_the_rest(self) -> None:
        """Print how many more there were of each kind."""
        for kind, count in self._more.items():
            self._screen.warn(text("more_like_this", line=self._first[kind], count=count))


def check_standard_streams() -> None:
    """See to it that what was started without a standard stream can run, or say why not.

    Raises:
        InputError: There is no standard output.
    """
    if sys.stderr is None:
        # It takes the free descriptor too, where a ledger would meet what libraries print there.
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115  # for good
    if sys.stdout is None:
        raise InputError(text("standard_output_closed"))


def standard_output_failed(error: OSError) -> int:
    """Tell that a standard stream can't be written; any file of a job has an error of its own."""
    silence(sys.stdout)
    complain(text("cannot_write", problem=error.strerror))
    return ExitCode.MISUSED


def tell(error: EsmsError, screen: Screen) -> None:
    """Print in one line what ends a job, unless that was done before."""
    if error is not screen.told:
        screen.told = error
        words = error.words if isinstance(error, InputError) else None
        complain(words or text("says", problem=str(error)))


def complain(problem: str | Text) -> None:
    """Print one line on standard error, whether or not anybody reads it."""
    words = problem if isinstance(problem, str) else problem.said(Language.of(os.environ))
    with contextlib.suppress(OSError):
        print_line(sys.stderr, f"{NAME}: {printable(words)}")
        sys.stderr.flush()
