"""Runs a job, and says in one line what ended it."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Final

from esms_async._model.errors import EsmsError
from esms_async._model.tracebacks import traceback_without_values
from esms_async.cli.errors import ExitCode, InputError
from esms_async.cli.screen import Screen, printable, silence

NAME: Final = "esms-async"
"""The name of the program."""


def run_job(
    job: Callable[[Screen], Coroutine[object, object, ExitCode]], *, as_json: bool, debug: bool
) -> int:
    """Run a job, and tell a person what ended it where it could not go on.

    Args:
        job: The job.
        as_json: True where standard output is for a program.
        debug: True shows where an error comes from.
    """
    screen = Screen(for_program=as_json)
    try:
        code: int = asyncio.run(job(screen))
    except Exception as error:  # noqa: BLE001  # a person gets one line, whatever it is
        if debug:
            sys.stderr.write(traceback_without_values(error))
        if isinstance(error, EsmsError):
            complain(str(error))
            return ExitCode.MISUSED
        if isinstance(error, OSError) and error.strerror:
            return standard_output_failed(error)
        # Its own words could hold anything, a one-time code too.
        complain(f"an error of this program ({type(error).__name__}); --debug shows where")
        return ExitCode.REFUSED
    return code if screen.failure is None else standard_output_failed(screen.failure)


def check_standard_streams() -> None:
    """See to it that what was started without a standard stream can run, or say why not.

    Raises:
        InputError: There is no standard output.
    """
    if sys.stderr is None:
        # It takes the free descriptor too, where a ledger would meet what libraries print there.
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115  # for good
    if sys.stdout is None:
        raise InputError("standard output is closed; lead it to a file, or to /dev/null")


def standard_output_failed(error: OSError) -> int:
    """Tell that a standard stream can't be written; any file of a job has an error of its own."""
    silence(sys.stdout)
    complain(f"cannot write: {error.strerror}")
    return ExitCode.MISUSED


def complain(problem: str) -> None:
    """Print one line on standard error, whether or not anybody reads it."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{NAME}: {printable(problem)}\n")
        sys.stderr.flush()
