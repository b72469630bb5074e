"""Sends through the same storm of faults in six ways, and checks what each says against the truth.

What a way tells its caller is one of three words. A result means "accepted". An exception means
"failed", for a program that catches one sends again or takes another channel; only the client has
an exception that means "unknown". A word is wrong where the phone got nothing after "accepted", or
got a message after "failed".
"""

import asyncio
import enum
import functools
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final
from uuid import uuid4

import aiohttp
import aiohttp_retry
import attrs
import tenacity

from benchmarks.contestants import (
    API_KEY,
    CONTENT,
    OPERATION,
    SECRET_KEY,
    TRANSIENT,
    body,
)
from benchmarks.faults import StormGateway, StormPlan
from esms_async import (
    Brandname,
    Credentials,
    EsmsClient,
    FixedNumber,
    Message,
    OutcomeUnknown,
    RetryPolicy,
    Route,
    SendError,
    ZaloTemplate,
)


class Told(enum.Enum):
    """What a caller learns about a message."""

    ACCEPTED = "accepted"
    FAILED = "failed"
    UNKNOWN = "unknown"


@attrs.frozen
class Storm:
    """The storm, and how hard each way tries.

    Attributes:
        seed: The same seed gives the same storm.
        messages: How many messages are sent, each to a phone of its own.
        concurrency: How many are under way at once.
        attempts: How many requests are made for one message at most.
        timeout: Seconds for one request.
        pause: Seconds, the widest pause between two requests.
    """

    seed: int = 686868
    messages: int = 600
    concurrency: int = 50
    attempts: int = 4
    timeout: float = 0.5
    pause: float = 0.02


@attrs.frozen
class StormRow:
    """What became of the messages of one way to send.

    Attributes:
        way: The way to send.
        twice: How many phones got more than one message.
        wrong: How many outcomes were told wrongly.
        wrongly_accepted: How many of those were told as accepted.
        wrongly_failed: How many of those were told as failed.
        unknown: How many messages were told to have an unknown outcome.
        requests: How many requests the gateway read.
        seconds: How long it all took.
    """

    way: str
    twice: int
    wrong: int
    wrongly_accepted: int
    wrongly_failed: int
    unknown: int
    requests: int
    seconds: float


Send = Callable[[str], Awaitable[Told]]
Opener = Callable[[str, Storm], AbstractAsyncContextManager[Send]]
_Post = Callable[[dict[str, str]], Awaitable[None]]


class _NotAcceptedError(Exception):
    """The gateway answered with another code than 100."""


def _check(answer: Any) -> None:  # noqa: ANN401  # JSON of any shape
    if answer["CodeResult"] != "100":
        raise _NotAcceptedError(answer["CodeResult"])


async def _told(sending: Awaitable[None]) -> Told:
    """Put what a program without this package sees into a word."""
    try:
        await sending
    except Exception:  # noqa: BLE001  # whatever is raised, the program sees a failure
        return Told.FAILED
    return Told.ACCEPTED


def _retrying(storm: Storm) -> tenacity.AsyncRetrying:
    return tenacity.AsyncRetrying(
        stop=tenacity.stop_after_attempt(storm.attempts),
        wait=tenacity.wait_random(max=storm.pause),
        retry=tenacity.retry_if_exception_type(TRANSIENT),
        reraise=True,
    )


@asynccontextmanager
async def _aiohttp_post(url: str, storm: Storm) -> AsyncGenerator[_Post]:
    timeout = aiohttp.ClientTimeout(total=storm.timeout)
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def post(fields: dict[str, str]) -> None:
            async with session.post(url + OPERATION, json=fields) as response:
                response.raise_for_status()
                _check(await response.json())

        yield post


@asynccontextmanager
async def _plain(url: str, storm: Storm) -> AsyncGenerator[Send]:
    async with _aiohttp_post(url, storm) as post:
        yield lambda phone: _told(post(body(phone)))


@asynccontextmanager
async def _without_id(url: str, storm: Storm) -> AsyncGenerator[Send]:
    async with _aiohttp_post(url, storm) as post:
        yield lambda phone: _told(_retrying(storm).wraps(post)(body(phone)))


@asynccontextmanager
async def _id_inside(url: str, storm: Storm) -> AsyncGenerator[Send]:
    async with _aiohttp_post(url, storm) as post:

        async def attempt(phone: str) -> None:
            await post({**body(phone), "RequestId": uuid4().hex})

        yield lambda phone: _told(_retrying(storm).wraps(attempt)(phone))


@asynccontextmanager
async def _id_outside(url: str, storm: Storm) -> AsyncGenerator[Send]:
    async with _aiohttp_post(url, storm) as post:

        def send(phone: str) -> Awaitable[Told]:
            fields = {**body(phone), "RequestId": uuid4().hex}
            return _told(_retrying(storm).wraps(post)(fields))

        yield send


@asynccontextmanager
async def _aiohttp_retry(url: str, storm: Storm) -> AsyncGenerator[Send]:
    options = aiohttp_retry.RandomRetry(
        attempts=storm.attempts,
        min_timeout=0,
        max_timeout=storm.pause,
        exceptions=set(TRANSIENT),
    )
    timeout = aiohttp.ClientTimeout(total=storm.timeout)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        client = aiohttp_retry.RetryClient(session, retry_options=options, raise_for_status=True)

        async def post(phone: str) -> None:
            async with client.post(url + OPERATION, json=body(phone)) as response:
                _check(await response.json())

        yield lambda phone: _told(post(phone))


FIXED: Final = FixedNumber()


@asynccontextmanager
async def _esms(url: str, storm: Storm, route: Route = FIXED) -> AsyncGenerator[Send]:
    params = {"otp": "686868"} if isinstance(route, ZaloTemplate) else None
    content = None if params else CONTENT
    policy = RetryPolicy(
        storm.attempts,
        attempt_timeout=storm.timeout,
        wait=tenacity.wait_random(max=storm.pause),
    )
    async with EsmsClient(Credentials(API_KEY, SECRET_KEY), base_url=url, retry=policy) as client:

        async def send(phone: str) -> Told:
            try:
                await client.send(Message(phone, content, params=params, route=route))
            except OutcomeUnknown:
                return Told.UNKNOWN
            except SendError:
                return Told.FAILED
            return Told.ACCEPTED

        yield send


CLIENT: Final = "EsmsClient"
WAYS: Final[dict[str, Opener]] = {
    "aiohttp, no retry": _plain,
    "aiohttp + tenacity, no RequestId": _without_id,
    "aiohttp + tenacity, RequestId minted inside the retried function": _id_inside,
    "aiohttp + tenacity, RequestId kept, 124 read as a failure": _id_outside,
    "aiohttp-retry": _aiohttp_retry,
    CLIENT: _esms,
}
"""Every way to send, by its name in the table."""


ROUTE_WAYS: Final[dict[str, Opener]] = {
    f"{CLIENT}, {route.kind}": functools.partial(_esms, route=route)
    for route in (FIXED, Brandname("Baotrixemay"), ZaloTemplate("4097", "207487"))
}
"""The client by each route."""


def run_storm(
    storm: Storm, tell: Callable[[str], None], ways: Mapping[str, Opener] = WAYS
) -> list[StormRow]:
    """Send through the storm in every way, one after the other.

    Args:
        storm: The storm.
        tell: Gets a line for each way.
        ways: The ways.

    Returns:
        One row a way.
    """
    rows: list[StormRow] = []
    for way, opener in ways.items():
        tell(way)
        rows.append(asyncio.run(_weather(way, opener, storm)))
    return rows


def client_is_right(rows: list[StormRow]) -> bool:
    """Tell whether the client reached no phone twice and told no outcome wrongly.

    Args:
        rows: The rows of a storm.

    Returns:
        True where both are 0.
    """
    return all(row.twice == row.wrong == 0 for row in rows if row.way == CLIENT)


async def _weather(way: str, opener: Opener, storm: Storm) -> StormRow:
    gateway = StormGateway(StormPlan(storm.seed))
    phones = [f"09{number:08d}" for number in range(storm.messages)]
    told: dict[str, Told] = {}
    waiting = iter(phones)
    async with gateway.serving() as url, opener(url, storm) as send:

        async def keep_sending() -> None:
            for phone in waiting:
                told[phone] = await send(phone)

        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(storm.concurrency):
                group.create_task(keep_sending())
        seconds = time.perf_counter() - started
    return _judge(way, told, gateway, seconds)


def _judge(way: str, told: dict[str, Told], gateway: StormGateway, seconds: float) -> StormRow:
    wrongly_accepted = sum(
        word is Told.ACCEPTED and not gateway.accepted[phone] for phone, word in told.items()
    )
    wrongly_failed = sum(
        word is Told.FAILED and gateway.accepted[phone] > 0 for phone, word in told.items()
    )
    return StormRow(
        way=way,
        twice=sum(count > 1 for count in gateway.accepted.values()),
        wrong=wrongly_accepted + wrongly_failed,
        wrongly_accepted=wrongly_accepted,
        wrongly_failed=wrongly_failed,
        unknown=Counter(told.values())[Told.UNKNOWN],
        requests=gateway.requests,
        seconds=seconds,
    )
