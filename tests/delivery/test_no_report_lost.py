"""No report is lost: handlers fail, workers are killed, the store goes away."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
import pytest

import esms_async
from tests.delivery.support import SIGNER, query_of
from tests.factories import a_message
from tests.limits import TIMES, generous

if sys.platform == "win32":
    pytest.skip("a socket cannot be handed to a process there", allow_module_level=True)

from tests.ledger.redis_server import RedisServer

PREFIX = "esms:send:"
# A FastAPI application that notes when its handler begins and when it has succeeded.
PROGRAM = """
import asyncio, contextlib, os, random, sys
import redis.asyncio, uvicorn
from fastapi import FastAPI
from esms_async.delivery import CallbackSigner, ReportReceiver
from esms_async.delivery.fastapi import report_router
from esms_async.ledger import RedisLedger
from esms_async.otp.fastapi import esms_lifespan

url, descriptor, timeout = sys.argv[1], int(sys.argv[3]), float(sys.argv[4])
notes = os.open(f"{sys.argv[2]}/{os.getpid()}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
store = redis.asyncio.Redis.from_url(url, socket_timeout=1)

def note(what, report):
    os.write(notes, f"{what} {os.getpid()} {report.key}\\n".encode())

@contextlib.asynccontextmanager
async def announced():
    os.write(notes, f"ready {os.getpid()} -\\n".encode())
    yield

async def on_report(report):
    note("begin", report)
    if not await store.exists("esms:send:" + report.key):
        note("absent", report)
    await asyncio.sleep(random.uniform(0, 0.02))
    if random.random() < 0.2:
        raise RuntimeError
    note("done", report)

ledger = RedisLedger(url)
receiver = ReportReceiver(
    on_report,
    signer=CallbackSigner("a secret that nobody guesses"),
    ledger=ledger,
    timeout=timeout,
    max_failures=1000,
)
app = FastAPI(lifespan=esms_lifespan(ledger, receiver, announced()))
app.include_router(report_router(receiver))
uvicorn.run(app, fd=descriptor, access_log=False, log_level="critical", ws="none")
"""
TIMEOUT = 4.0


class Replicas:
    """Two processes that serve one socket; whoever connects while none is there waits.

    Args:
        folder: Where their notes go.
        url: Their store.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/esms/reports/"
        self._notes = folder / "notes"
        self._notes.mkdir()
        self._store = url
        self._processes: list[asyncio.subprocess.Process] = []

    async def start(self) -> None:
        """Start one more, and wait until it has its store."""
        descriptor = self._socket.fileno()
        root = Path(esms_async.__file__).parents[1]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAM, self._store, str(self._notes)),
            *(str(descriptor), str(TIMEOUT)),
            env={**os.environ, "PYTHONPATH": str(root)},
            pass_fds=[descriptor],
        )
        self._processes.append(process)
        async with asyncio.timeout(generous(30)):
            while str(process.pid) not in dict(self.notes("ready")):  # another process writes them
                assert process.returncode is None
                await asyncio.sleep(0.02)

    async def kill(self) -> str:
        """Kill the oldest, and return its process id."""
        process = self._processes.pop(0)
        process.kill()
        await process.wait()
        return str(process.pid)

    async def __aenter__(self) -> Self:
        await self.start()
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM if error is None else signal.SIGKILL)
        for process in self._processes:
            await process.wait()
        self._socket.close()

    def notes(self, what: str) -> Iterator[tuple[str, str]]:
        """Return the notes of a kind: process id and key."""
        for notes in self._notes.iterdir():
            # A write to a file may be seen, or end by a kill, half done.
            whole_lines = notes.read_text("ascii").rpartition("\n")[0].splitlines()
            for line in whole_lines:
                kind, process, key = line.split()
                if kind == what:
                    yield process, key


class Gateway:
    """Reports deliveries as eSMS does: again on timeout alone, up to five times."""

    def __init__(self, url: str, count: int) -> None:
        self._url = url
        self._messages = [a_message() for _ in range(count)]
        self._waiting = list(reversed(self._messages))
        self.finished = 0
        self.cut: list[esms_async.Message] = []
        self.answers = Counter[str]()
        self._progress = asyncio.Event()

    def keys(self) -> set[str]:
        """Return the keys of all reports."""
        return {f"{message.request_id}#delivered" for message in self._messages}

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Report everything, some at once."""

        async def work() -> None:
            while self._waiting:
                await self._report(session, self._waiting.pop())
                self.finished += 1
                self._progress.set()

        await asyncio.gather(*(work() for _ in range(48)))

    async def reach(self, count: int) -> None:
        """Wait until that many reports have ended, one way or the other."""
        while self.finished < count:
            self._progress.clear()
            await self._progress.wait()

    async def bring_again(self, session: aiohttp.ClientSession) -> None:
        """Bring what a kill cut, as whoever asks for the status of a message does."""
        again, self.cut = self.cut, []
        for message in again:
            await self._report(session, message)

    async def _report(self, session: aiohttp.ClientSession, message: esms_async.Message) -> None:
        url = f"{self._url}{SIGNER.sign(message)}?{query_of(message)}"
        for _ in range(6):
            try:
                async with session.get(url) as response:
                    self.answers[str(response.status)] += 1
                    return
            except TimeoutError:
                await asyncio.sleep(0.5)
            except aiohttp.ClientError:
                self.cut.append(message)
                return
        self.answers["given up"] += 1


@pytest.mark.parametrize(
    ("count", "kills", "away"),
    [
        pytest.param(300, 3, 1.5, id="some"),
        pytest.param(2000 * TIMES, 2 * TIMES, 2.0 * TIMES, id="many", marks=pytest.mark.endurance),
    ],
)
async def test_no_report_is_lost(tmp_path: Path, count: int, kills: int, away: float) -> None:
    """Each accepted report is handed on, after it was stored, once for each life of its handler.

    A handler may see a report again only if its process was killed after the handler's success
    and before that was recorded.
    """
    with RedisServer({"appendonly": "yes", "appendfsync": "always"}) as redis:
        async with (
            Replicas(tmp_path, redis.url) as replicas,
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
                timeout=aiohttp.ClientTimeout(total=5),
            ) as session,
        ):
            gateway = Gateway(replicas.url, count)
            excused = Counter[str]()

            def excuse(dead: str) -> None:
                done = {key for process, key in replicas.notes("done") if process == dead}
                excused.update(done & in_hand(redis))

            async with asyncio.TaskGroup() as group:
                group.create_task(gateway.run(session))
                step = count // (kills + 2)
                for number in range(1, kills):
                    await gateway.reach(step * number)
                    excuse(await replicas.kill())
                    await replicas.start()
                await gateway.reach(step * kills)
                redis.kill()
                dead = await replicas.kill()
                await asyncio.sleep(away)
                redis.start()
                excuse(dead)
                await replicas.start()  # it does not start without its store
            while gateway.cut:
                await gateway.bring_again(session)
            async with asyncio.timeout(generous(60)):
                while {key for _, key in replicas.notes("done")} != gateway.keys():  # noqa: ASYNC110  # other processes write them
                    await asyncio.sleep(0.1)
        done = Counter(key for _, key in replicas.notes("done"))
        assert set(gateway.answers) == {"200"}
        assert list(replicas.notes("absent")) == []
        assert {key: times for key, times in done.items() if times > 1 + excused[key]} == {}
        assert in_hand(redis) == set()


def in_hand(redis: RedisServer) -> set[str]:
    """Return the keys of the reports that a process has, or had when it died."""
    with redis.client() as client:
        keys = client.zrange(f"{PREFIX}#reports", 0, -1)
        return {key for key in keys if client.hget(PREFIX + key, "status") == "unknown"}
