"""Puts one contestant under load for a while, in the process that is measured."""

import asyncio
import gc
import itertools
import time

import attrs
import psutil

from benchmarks.contestants import CONTESTANTS, Send
from benchmarks.processes import event_loops

# The share of a run's time that goes before it, to open connections and fill caches.
_WARM_UP = 0.2


@attrs.frozen
class Case:
    """What is measured: a contestant, in an event loop, with some sends under way at once."""

    contestant: str
    loop: str
    concurrency: int


@attrs.frozen
class Run:
    """One measurement of a case.

    Attributes:
        rate: Messages per second.
        cpu: CPU time per message of the whole client process, in seconds.
        p50: The median of the latencies, in seconds.
        p99: The 99th percentile of the latencies, in seconds.
        mean: The mean of the latencies, in seconds.
        redis_cpu: CPU time per message of the Redis server, in seconds; 0 without one.
        server_busy: The share of the time for which the server process was busy, 0 to 1.
    """

    rate: float
    cpu: float
    p50: float
    p99: float
    mean: float
    redis_cpu: float
    server_busy: float


def run(case: Case, url: str, seconds: float, server_pid: int, redis_pid: int | None = None) -> Run:
    """Measure a case in an event loop of its own.

    Args:
        case: What is measured.
        url: The folder of the operations.
        seconds: How long new sends are started.
        server_pid: The process id of the server.
        redis_pid: The process id of the Redis server, if there is one.

    Returns:
        The measurement.
    """
    with asyncio.Runner(loop_factory=event_loops()[case.loop]) as runner:
        redis = None if redis_pid is None else psutil.Process(redis_pid)
        return runner.run(_measure(case, url, seconds, psutil.Process(server_pid), redis))


async def _measure(
    case: Case, url: str, seconds: float, server: psutil.Process, redis: psutil.Process | None
) -> Run:
    async with CONTESTANTS[case.contestant].open(url, case.concurrency) as send:
        await _load(send, case.concurrency, seconds * _WARM_UP)
        gc.collect()
        server_started, redis_started = _cpu_seconds(server), _cpu_seconds(redis)
        started, cpu_started = time.perf_counter(), time.process_time()
        latencies = sorted(await _load(send, case.concurrency, seconds))
        elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu_started
        redis_cpu = _cpu_seconds(redis) - redis_started
        server_busy = (_cpu_seconds(server) - server_started) / elapsed
    count = len(latencies)
    return Run(
        rate=count / elapsed,
        cpu=cpu / count,
        p50=latencies[count // 2],
        p99=latencies[min(count - 1, count * 99 // 100)],
        mean=sum(latencies) / count,
        redis_cpu=redis_cpu / count,
        server_busy=min(1.0, server_busy),
    )


async def _load(send: Send, concurrency: int, seconds: float) -> list[float]:
    """Keep some sends under way for a while; return how long each took."""
    clock = time.perf_counter
    latencies: list[float] = []
    numbers = itertools.count()
    end = clock() + seconds

    async def keep_sending() -> None:
        now = clock()
        while now < end:
            await send(f"09{next(numbers) % 100_000_000:08d}")
            done = clock()
            latencies.append(done - now)
            now = done

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(keep_sending())
    return latencies


def _cpu_seconds(process: psutil.Process | None) -> float:
    if process is None:
        return 0.0
    times = process.cpu_times()
    return times.user + times.system
