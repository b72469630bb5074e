"""Has the workers of a queue send every row of a file, and says of each what became of it."""

import asyncio
import os
from contextlib import aclosing
from typing import Final

import attrs
import click
from click.core import ParameterSource

from esms_async.cli.bulk import Job
from esms_async.cli.errors import ExitCode, InputError
from esms_async.cli.identity import row_secret
from esms_async.cli.interrupt import Stopping, on_interrupt
from esms_async.cli.job import BulkOptions, open_rows
from esms_async.cli.ledger_choice import LedgerChoice
from esms_async.cli.screen import Screen

_AWAITED: Final = 1000
# How the gateway is reached, and what is kept, is set where the workers run.
_OF_WORKERS: Final = (
    "emulator",
    "fault",
    "seed",
    "base_url",
    "sandbox",
    "rate",
    "ledger",
    "no_ledger",
    "retry_rejected",
)


def awaited_rows(context: click.Context) -> int:
    """Return how many rows wait for their outcome at most; refuse options that workers decide.

    Raises:
        InputError: An option has no meaning beside `--queue`; the error names it.
    """
    for name in _OF_WORKERS:
        if _is_given(context, name):
            option = f"--{name.replace('_', '-')}"
            raise InputError(
                f"--queue and {option} exclude each other: workers send, and are set by "
                "environment variables"
            )
    if not _is_given(context, "concurrency"):
        return _AWAITED
    concurrency: int = context.params["concurrency"]
    return concurrency


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE


async def bulk_by_queue(options: BulkOptions, url: str, screen: Screen) -> ExitCode:
    """Have workers send every row of a file.

    Args:
        options: What to do. The ledger is that of the workers, whatever they say.
        url: Where the queue is; `ESMS_QUEUE_NAME` names it.
        screen: Where to report.

    Raises:
        EsmsError: The options, the environment variables, the input or the file of results can't
            be used, a library is missing, or a server can't be reached.
    """
    try:
        from esms_async.ledger import RedisLedger  # noqa: PLC0415  # it needs the extra
        from esms_async.queue import MessageQueue  # noqa: PLC0415  # the same
    except ImportError as error:
        raise InputError(str(error)) from None
    name = os.environ.get("ESMS_QUEUE_NAME") or "esms"
    queue = MessageQueue(url, name=name)
    options = attrs.evolve(options, ledger=LedgerChoice.named(url), by_queue=True)
    options.check()
    secret = _secret(options)
    stopping = Stopping(screen)
    screen.on_break(stopping.break_off)
    try:
        with on_interrupt(stopping.interrupt):
            async with (
                # Opening it shows that the server is there before anything is put in.
                aclosing(RedisLedger(url, prefix=f"{name}:send:")) as ledger,
                open_rows(options, secret, stopping.halt, ledger) as rows,
                queue,
            ):
                screen.say(f"The workers of queue {name!r} send")
                source = "standard input" if options.file == "-" else options.file
                screen.say(f"Sending {source} as batch {options.batch!r}")
                job = Job(
                    options,
                    lambda messages: queue.send_many(
                        messages, batch=options.batch, concurrency=options.concurrency
                    ),
                    rows,
                    stopping,
                    screen,
                )
                return await job.run(lambda: None)
    except asyncio.CancelledError:
        if not stopping.ended_job:
            raise
        stopping.say("Interrupted: nothing was sent")
        return ExitCode.INTERRUPTED


def _secret(options: BulkOptions) -> str:
    """Return what the RequestIds of rows are derived with, the same as without a queue."""
    secret = row_secret(os.environ)
    if not secret and options.key is None:
        raise InputError(
            "set ESMS_SECRET_KEY, by which rows are known again, or name a column that tells them "
            "apart: --key COLUMN"
        )
    return secret
