"""Runs one worker, which sends what others put into the queue, and logs JSON."""

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from esms_async.cli.errors import ExitCode, InputError

# Outcomes are the worker's to log: a message that comes again is no news.
_QUIET: Final = ("esms_async.outcomes", "esms_async.attempts")


class JsonLines(logging.Formatter):
    """Writes a record as one JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= {name: value for name, value in vars(record).items() if name.startswith("esms_")}
        if record.exc_info and record.exc_info[0] is not None:
            fields["error"] = record.exc_info[0].__name__
        return json.dumps(fields, ensure_ascii=False, default=str)


async def worker(given: Mapping[str, str | None], *, listen: str | None, as_text: bool) -> ExitCode:
    """Send what is in the queue, until SIGTERM, SIGINT or SIGHUP.

    Args:
        given: Options, by the variables that they stand for; they win over the variables.
        listen: Where health and metrics are served, or None.
        as_text: True logs lines for a person.

    Raises:
        EsmsError: The settings can't be used, or a library is missing.
    """
    try:
        from esms_async.queue.worker import WorkerSettings, run_worker  # noqa: PLC0415  # it needs the extra
    except ImportError as error:
        raise InputError(
            f"the worker needs {error.name}; install it with: pip install 'esms_async[cli,queue]'"
        ) from None
    environ = {**os.environ, **{name: value for name, value in given.items() if value is not None}}
    settings = WorkerSettings.from_env(environ, listen=listen)
    _set_up_logging(as_text=as_text)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stopping.set)
    await run_worker(settings, stopping)
    logging.getLogger("esms_async.queue").info("the worker has ended; it holds nothing")
    return ExitCode.ACCEPTED


def _set_up_logging(*, as_text: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    if as_text:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    else:
        handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
