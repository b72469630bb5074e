"""The ways to send that are measured side by side, each as its users write it.

All get the same phones and text, as many connections as sends are under way, five attempts and no
pause between them. All check that the answer is code 100.
"""

import asyncio
import json
import os
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, cast

import aiohttp
import aiohttp_retry
import attrs
import httpx
import stamina
import tenacity
from yarl import URL

from benchmarks.bare_ledgers import BareLedger, bare_memory, bare_redis, bare_sqlite
from esms_async import Credentials, EsmsClient, Message, RetryPolicy, new_request_id
from esms_async.ledger import Ledger, MemoryLedger, RedisLedger, SqliteLedger

Send = Callable[[str], Awaitable[object]]
"""Sends the benchmark's text to a phone; raises where it was not accepted."""
Opener = Callable[[str, int], AbstractAsyncContextManager[Send]]
"""Opens a way to send: the folder of the operations, and the number of connections."""

CONTENT: Final = "686868 la ma xac minh cua ban"
API_KEY: Final = "benchmark-api-key"
SECRET_KEY: Final = "benchmark-secret-key"  # noqa: S105  # opens nothing
REDIS_URL: Final = "ESMS_BENCHMARK_REDIS_URL"
"""The environment variable that names the Redis server to the process that is measured."""
OPERATION: Final = "SendMultipleMessage_V4_post_json/"

_ATTEMPTS = 5
TRANSIENT: Final = (aiohttp.ClientError, TimeoutError)


@attrs.frozen
class Contestant:
    """A way to send.

    Attributes:
        key: Its name on the command line and in the results.
        label: Its name in tables.
        open: Opens it.
    """

    key: str
    label: str
    open: Opener


def body(phone: str) -> dict[str, str]:
    """Return the request that a program without this package makes.

    Args:
        phone: The phone.

    Returns:
        The fields, without a RequestId.
    """
    return {
        "ApiKey": API_KEY,
        "SecretKey": SECRET_KEY,
        "Phone": phone,
        "Content": CONTENT,
        "SmsType": "8",
        "IsUnicode": "0",
    }


def _checked(answer: Any) -> object:  # noqa: ANN401  # JSON of any shape
    if answer["CodeResult"] != "100":
        raise RuntimeError("the benchmark's server did not accept a message")
    return answer["SMSID"]


def _session(connections: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections))


@asynccontextmanager
async def _naive(url: str, connections: int) -> AsyncGenerator[Send]:
    async with _session(connections) as session:

        async def send(phone: str) -> object:
            async with session.post(url + OPERATION, json=body(phone)) as response:
                return _checked(await response.json())

        yield send


@asynccontextmanager
async def _tenacity(url: str, connections: int) -> AsyncGenerator[Send]:
    async with _session(connections) as session:

        @tenacity.retry(
            stop=tenacity.stop_after_attempt(_ATTEMPTS),
            wait=tenacity.wait_none(),
            retry=tenacity.retry_if_exception_type(TRANSIENT),
            reraise=True,
        )
        async def send(phone: str) -> object:
            async with session.post(url + OPERATION, json=body(phone)) as response:
                response.raise_for_status()
                return _checked(await response.json())

        yield send


@asynccontextmanager
async def _stamina(url: str, connections: int) -> AsyncGenerator[Send]:
    async with _session(connections) as session:

        @stamina.retry(on=TRANSIENT, attempts=_ATTEMPTS, wait_initial=0, wait_jitter=0, wait_max=0)
        async def send(phone: str) -> object:
            async with session.post(url + OPERATION, json=body(phone)) as response:
                response.raise_for_status()
                return _checked(await response.json())

        yield send


@asynccontextmanager
async def _aiohttp_retry(url: str, connections: int) -> AsyncGenerator[Send]:
    options = aiohttp_retry.ExponentialRetry(
        attempts=_ATTEMPTS, start_timeout=0, exceptions=set(TRANSIENT)
    )
    async with _session(connections) as session:
        client = aiohttp_retry.RetryClient(session, retry_options=options, raise_for_status=True)

        async def send(phone: str) -> object:
            async with client.post(url + OPERATION, json=body(phone)) as response:
                return _checked(await response.json())

        yield send


@asynccontextmanager
async def _httpx(url: str, connections: int) -> AsyncGenerator[Send]:
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    async with httpx.AsyncClient(limits=limits, timeout=60) as client:

        async def send(phone: str) -> object:
            response = await client.post(url + OPERATION, json=body(phone))
            return _checked(response.json())

        yield send


def _esms(make_ledger: Callable[[Path], Ledger | None]) -> Opener:
    """Return what opens a client, with the ledger that is made in a folder for its files."""

    @asynccontextmanager
    async def open_client(url: str, connections: int) -> AsyncGenerator[Send]:
        with TemporaryDirectory() as folder:
            ledger = make_ledger(Path(folder))
            async with esms_client(url, connections, ledger=ledger) as client:

                async def send(phone: str) -> object:
                    # A Message is one logical send, so making it is part of what a send costs.
                    return await client.send(Message(phone, CONTENT))

                yield send

    return open_client


def _beside(open_rows: Callable[[Path], AbstractAsyncContextManager[BareLedger]]) -> Opener:
    """Return what opens a client without a ledger, between bare writes to a store."""

    @asynccontextmanager
    async def open_client(url: str, connections: int) -> AsyncGenerator[Send]:
        with TemporaryDirectory() as folder:
            async with (
                open_rows(Path(folder)) as rows,
                esms_client(url, connections) as client,
            ):

                async def send(phone: str) -> object:
                    message = Message(phone, CONTENT)
                    await rows.add(message.request_id, phone)
                    receipt = await client.send(message)
                    rows.change(message.request_id)
                    return receipt

                yield send

    return open_client


def esms_client(url: str, connections: int, *, ledger: Ledger | None = None) -> EsmsClient:
    """Return the client that is measured.

    Args:
        url: The folder of the operations.
        connections: How many connections it may open.
        ledger: Its ledger.

    Returns:
        The client.
    """
    return EsmsClient(
        Credentials(API_KEY, SECRET_KEY),
        base_url=url,
        retry=RetryPolicy(_ATTEMPTS, wait=tenacity.wait_none()),
        ledger=ledger,
        max_connections=connections,
    )


@asynccontextmanager
async def _floor(url: str, connections: int) -> AsyncGenerator[Send]:
    place = URL(url)
    head = (
        f"POST {place.path}{OPERATION} HTTP/1.1\r\nHost: {place.authority}\r\n"
        "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    )
    loop = asyncio.get_running_loop()
    every = [
        (await loop.create_connection(_Exchange, str(place.host), place.port or 80))[1]
        for _ in range(connections)
    ]
    idle = deque(every)

    async def send(phone: str) -> object:
        content = json.dumps(body(phone))
        exchange = idle.pop()
        answer = await exchange.post((head % len(content) + content).encode())
        idle.append(exchange)
        return _checked(json.loads(answer))

    try:
        yield send
    finally:
        for exchange in every:
            exchange.close()


class _Exchange(asyncio.Protocol):
    """A connection with hand-made HTTP that knows nothing but the answers of this server."""

    def __init__(self) -> None:
        self._received = b""
        self._answer: asyncio.Future[bytes]
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of a Transport, but not the class.
        self._transport = cast("asyncio.Transport", transport)

    def post(self, request: bytes) -> "asyncio.Future[bytes]":
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, content = self._received.partition(b"\r\n\r\n")
        if end and len(content) >= int(head.rpartition(b"Content-Length: ")[2]):
            self._received = b""
            self._answer.set_result(content)

    def close(self) -> None:
        self._transport.close()


NAIVE: Final = "naive"
TENACITY: Final = "tenacity"
ESMS: Final = "esms"
FLOOR: Final = "floor"
MEMORY_LEDGER: Final = "esms-memory"
SQLITE_LEDGER: Final = "esms-sqlite"
REDIS_LEDGER: Final = "esms-redis"
BARE_MEMORY: Final = "bare-memory"
BARE_SQLITE: Final = "bare-sqlite"
BARE_REDIS: Final = "bare-redis"

CONTESTANTS: Final = {
    contestant.key: contestant
    for contestant in (
        Contestant(NAIVE, "aiohttp", _naive),
        Contestant(TENACITY, "aiohttp + tenacity", _tenacity),
        Contestant("stamina", "aiohttp + stamina", _stamina),
        Contestant("aiohttp-retry", "aiohttp-retry", _aiohttp_retry),
        Contestant("httpx", "httpx", _httpx),
        Contestant(ESMS, "EsmsClient.send", _esms(lambda _: None)),
        Contestant(FLOOR, "bare asyncio Protocol", _floor),
        Contestant(MEMORY_LEDGER, "… with a MemoryLedger", _esms(lambda _: MemoryLedger())),
        Contestant(
            SQLITE_LEDGER,
            "… with a SqliteLedger",
            _esms(lambda folder: SqliteLedger(folder / "ledger.sqlite")),
        ),
        Contestant(
            REDIS_LEDGER,
            "… with a RedisLedger",
            _esms(lambda _: RedisLedger(os.environ[REDIS_URL], prefix=f"{new_request_id()}:")),
        ),
        Contestant(BARE_MEMORY, "… and a bare dict", _beside(lambda _: bare_memory())),
        Contestant(
            BARE_SQLITE,
            "… and bare sqlite3",
            _beside(lambda folder: bare_sqlite(folder / "bare.sqlite")),
        ),
        Contestant(
            BARE_REDIS, "… and bare redis-py", _beside(lambda _: bare_redis(os.environ[REDIS_URL]))
        ),
    )
}
"""Every contestant, by its key, in the order of the tables."""
