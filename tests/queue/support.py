"""A gateway that tells workers apart, and workers as tasks and as processes."""

import asyncio
import base64
import contextlib
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import attrs
from aiohttp import web
from redis import Redis

from esms_async import Message, derive_request_id
from esms_async.queue.worker import QueueWorker, WorkerSettings
from tests.factories import API_KEY, SECRET_KEY

KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()
OTHER_KEY = base64.urlsafe_b64encode(bytes(range(1, 33))).decode()
# A process alone can take ten seconds to start on a machine under load.
PATIENCE = 90.0


class Gateway:
    """Accepts each RequestId once, and answers 124 after that.

    Attributes:
        accepted: How often each RequestId was accepted.
        requests: The RequestIds of all requests to send, in order.
        at: When each RequestId was accepted, on `time.monotonic()`.
        refused: By SecretKey: a code, or an HTTP status, with which everything is refused.
        routes: By SmsType: the code with which sends are refused.
        own: By RequestId: the code with which one message is refused.
        balance: What is on the account, in messages; None for enough.
        delay: Seconds before each answer.
        answers: Sends are answered while it is set.
        under_way: How many requests of each RequestId are being answered now.
        most_at_once: The most of them at once.
    """

    def __init__(self) -> None:
        self.accepted: Counter[str] = Counter()
        self.requests: list[str] = []
        self.at: dict[str, float] = {}
        self.refused: dict[str, str | int] = {}
        self.routes: dict[str, str] = {}
        self.own: dict[str, str] = {}
        self.balance: int | None = None
        self.delay = 0.0
        self.answers = asyncio.Event()
        self.answers.set()
        self.under_way: Counter[str] = Counter()
        self.most_at_once = 0
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        fields = await request.json()
        refused = self.refused.get(fields["SecretKey"])
        if isinstance(refused, int):
            return web.Response(status=refused, text="<h1>Forbidden</h1>")
        if refused is not None:
            return web.json_response({"CodeResult": refused, "ErrorMessage": "no"})
        if "Phone" not in fields:
            balance = 10**6 if self.balance is None else self.balance
            return web.json_response({"CodeResponse": "100", "Balance": balance, "UserID": 1})
        return web.json_response(await self._send(fields))

    async def _send(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        request_id = fields["RequestId"]
        self.requests.append(request_id)
        self.under_way[request_id] += 1
        self.most_at_once = max(self.most_at_once, self.under_way[request_id])
        try:
            await asyncio.sleep(self.delay)
            await self.answers.wait()
        finally:
            self.under_way[request_id] -= 1
        if self.accepted[request_id]:
            return {"CodeResult": "124", "ErrorMessage": "Request exist"}
        code = self.own.get(request_id) or self.routes.get(str(fields.get("SmsType")))
        if code is not None:
            return {"CodeResult": code, "ErrorMessage": "no"}
        if self.balance is not None:
            if self.balance < 1:
                return {"CodeResult": "103", "ErrorMessage": "no"}
            self.balance -= 1
        self.accepted[request_id] += 1
        self.at[request_id] = time.monotonic()
        return {"CodeResult": "100", "SMSID": f"sms-{len(self.requests)}"}


def messages(count: int, name: str = "m") -> list[Message]:
    """Make messages, the same each time."""
    return [
        Message(f"0911{number:06}", f"{number} la ma", request_id=derive_request_id(name, number))
        for number in range(count)
    ]


def environment(redis: str, gateway: str, **more: str) -> dict[str, str]:
    """Return the variables of a worker."""
    inherited = {name: value for name, value in os.environ.items() if name[:5] != "ESMS_"}
    return {
        **inherited,
        "ESMS_QUEUE_URL": redis,
        "ESMS_QUEUE_KEY": KEY,
        "ESMS_BASE_URL": gateway,
        "ESMS_API_KEY": API_KEY,
        "ESMS_SECRET_KEY": SECRET_KEY,
        **more,
    }


@attrs.define
class Counted:
    """A worker in this process, and what it counted."""

    worker: QueueWorker
    stopping: asyncio.Event
    statuses: Counter[str]


@asynccontextmanager
async def working(
    redis: str,
    gateway: str,
    *,
    keys: str = KEY,
    rate: float | None = None,
    concurrency: int = 16,
    deadline: float = 10.0,
    name: str = "esms",
    **account: str,
) -> AsyncGenerator[Counted]:
    """Run a worker as a task, which ends in good order."""
    statuses: Counter[str] = Counter()

    def count(lane: str, status: str, seconds: float) -> None:
        assert lane in {"otp", "bulk"}
        assert seconds >= 0
        statuses[status] += 1

    stopping = asyncio.Event()
    environ = environment(redis, gateway, **account)
    settings = WorkerSettings(redis, name, keys, rate, concurrency, deadline, environ)
    worker = QueueWorker(settings, stopping, count)
    task = asyncio.create_task(worker.run())
    try:
        yield Counted(worker, stopping, statuses)
    finally:
        stopping.set()
        await asyncio.wait_for(task, PATIENCE)


async def until(true: Callable[[], Awaitable[bool] | bool], patience: float = PATIENCE) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(patience):
        while True:
            answer = true()
            if answer is True or (answer is not False and await answer):
                return
            await asyncio.sleep(0.02)


class Workers:
    """Worker processes, which are ended when a test leaves them."""

    def __init__(self, environ: Mapping[str, str], count: int, *options: str) -> None:
        self._environ = environ
        self._count = count
        self._options = options
        self.processes: list[asyncio.subprocess.Process] = []

    async def start_one(self) -> None:
        """Start one more."""
        self.processes.append(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "esms_async", "worker", *self._options),
                env=dict(self._environ),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
        )

    async def kill_one(self) -> None:
        """End the one that is longest there, with no warning."""
        process = self.processes.pop(0)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()

    async def terminate_one(self) -> None:
        """Ask the one that is longest there to end, and see it do so in good order.

        It is asked once it has said that it lives: before that the signal ends Python itself.
        """
        process = self.processes.pop(0)
        await until(lambda: self._lives(process))
        process.send_signal(signal.SIGTERM)
        code = await process.wait()
        assert code == 0

    def _lives(self, process: asyncio.subprocess.Process) -> bool:
        with Redis.from_url(self._environ["ESMS_QUEUE_URL"]) as client:
            names: list[bytes] = client.zrange("esms:queue:workers", 0, -1)
        return any(f"-{process.pid}-".encode() in name for name in names)

    async def __aenter__(self) -> Self:
        for _ in range(self._count):
            await self.start_one()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        while self.processes:
            await self.kill_one()
