"""Runs one worker, which sends what others put into the queue, and logs JSON."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from esms_async import ConfigurationError
from esms_async.cli.errors import ExitCode, InputError
from esms_async.cli.ledger_choice import queue_name
from esms_async.cli.rate import Rate
from esms_async.cli.words import text

if TYPE_CHECKING:
    from esms_async.queue.worker import WorkerSettings

_logger = logging.getLogger("esms_async.queue")

_MOST_CONCURRENT: Final = 1000
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
        from esms_async.cli.health import ListenAddress, WorkerMetrics, serving  # noqa: PLC0415  # it needs the extra
        from esms_async.queue.worker import QueueWorker  # noqa: PLC0415  # the same
    except ImportError as error:
        raise InputError(text("worker_extra", name=error.name)) from None
    environ = {**os.environ, **{name: value for name, value in given.items() if value is not None}}
    settings = read_settings(environ)
    address = None if listen is None else ListenAddress.parse(listen)
    _set_up_logging(as_text=as_text)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stopping.set)
    metrics = WorkerMetrics()
    running = QueueWorker(settings, stopping, metrics.count)
    async with contextlib.AsyncExitStack() as stack:
        if address is not None:
            serve = serving(address, running.problems, lambda: metrics.render(running))
            port = await stack.enter_async_context(serve)
            _logger.info("health and metrics on http://%s:%d/readyz", address.host, port)
        await running.run()
    _logger.info("the worker has ended; it holds nothing")
    return ExitCode.ACCEPTED


def read_settings(environ: Mapping[str, str]) -> "WorkerSettings":
    """Read the settings of a worker from environment variables.

    Raises:
        ConfigurationError: A variable is missing or can't work; the error names it.
    """
    from esms_async.queue.cipher import keys_from_env  # noqa: PLC0415  # it needs the extra
    from esms_async.queue.worker import WorkerSettings  # noqa: PLC0415  # the same

    url = environ.get("ESMS_QUEUE_URL")
    if not url:
        raise ConfigurationError("set the environment variable ESMS_QUEUE_URL, or give --queue URL")
    concurrency = _number(environ, "ESMS_CONCURRENCY") or 64
    if concurrency != int(concurrency) or concurrency > _MOST_CONCURRENT:
        raise ConfigurationError(
            "--concurrency, or ESMS_CONCURRENCY, must be a whole number from 1 to "
            f"{_MOST_CONCURRENT}"
        )
    return WorkerSettings(
        url,
        queue_name(environ),
        keys_from_env(environ),
        _rate(environ.get("ESMS_RATE")),
        int(concurrency),
        _number(environ, "ESMS_DEADLINE") or 30.0,
        environ,
    )


def _rate(written: str | None) -> float | None:
    if not written:
        return None
    try:
        return Rate.parse(written).per_second
    except InputError:
        raise ConfigurationError(
            f"--rate, or ESMS_RATE, must be a number, and /s, /m or /h, as in 50/s or 600/m, not "
            f"{written!r}"
        ) from None


def _number(environ: Mapping[str, str], name: str) -> float | None:
    text = environ.get(name)
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        option = f"--{name.removeprefix('ESMS_').lower()}"
        raise ConfigurationError(f"{option}, or {name}, must be a number above 0, not {text!r}")
    return value


def _set_up_logging(*, as_text: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    if as_text:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    else:
        handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
