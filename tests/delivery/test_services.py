"""The example services, end to end: pages, server processes, the ledger, and the gateway."""

import asyncio
import importlib
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import ModuleType

import aiohttp
import pytest

from esms_async.emulator import Emulator, Settings
from tests.delivery.services import (
    EXAMPLES,
    SECRET,
    Service,
    click,
    new_challenge,
    new_page,
    request_id_of,
)

if sys.platform == "win32":
    pytest.skip("a socket cannot be handed to a process there", allow_module_level=True)

from tests.ledger.redis_server import RedisServer
from tests.limits import generous

PHONE = "0911000001"
QUICK_REPORTS = Settings(report_delay=0.05)


@pytest.fixture(params=["fastapi", "aiohttp"])
def make_service(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[[Emulator], AbstractAsyncContextManager[Service]]:
    """Start an example service beside a gateway."""

    @asynccontextmanager
    async def start(gateway: Emulator) -> AsyncIterator[Service]:
        environ = {"ESMS_BASE_URL": gateway.url}
        if request.param == "aiohttp":
            environ["LEDGER"] = str(tmp_path / "otp.ledger")
        else:
            server: RedisServer = request.getfixturevalue("redis_server")
            # Each run has a database of its own, for the example has no prefix of its own.
            environ["REDIS_URL"] = f"{server.url}/{random.randrange(2, 16)}"  # noqa: S311  # no secret
        async with Service(request.param, tmp_path, environ) as service:
            yield service

    return start


StartService = Callable[[Emulator], AbstractAsyncContextManager[Service]]


async def wait_for_reports(service: Service, count: int) -> None:
    """Wait until the handler has got a number of reports."""
    async with asyncio.timeout(generous(20)):
        while service.reports().total() < count:  # noqa: ASYNC110  # another process writes them
            await asyncio.sleep(0.02)


async def test_a_code_is_sent_once_and_reported_once(make_service: StartService) -> None:
    """Two clicks are one message, whose code is six digits, and whose delivery is told once."""
    async with (
        Emulator(settings=QUICK_REPORTS, faults=["dlr:twice"]) as gateway,
        make_service(gateway) as service,
        new_page() as page,
    ):
        challenge = await new_challenge(page, service)
        answers = await asyncio.gather(*(click(page, service, PHONE, challenge) for _ in range(2)))
        assert answers == [(202, {"request_id": request_id_of(challenge)})] * 2
        (message,) = gateway.messages
        assert message.phone == PHONE
        assert message.content[:6].isdigit()
        await wait_for_reports(service, 1)
        async with asyncio.timeout(generous(20)):
            while len(gateway.reports) < 4:  # noqa: ASYNC110  # each twice, also what comes before
                await asyncio.sleep(0.02)
        assert {report.result for report in gateway.reports} == {"200"}
        assert service.reports() == {(message.request_id, "delivered"): 1}
        # Whoever calls the service's path without a signature finds nothing there.
        forged = f"{service.url}/esms/reports/{message.request_id}?SendStatus=4"
        async with page.get(forged) as response:
            assert response.status == 404


@pytest.mark.parametrize(
    ("fault", "status", "again"),
    [
        ("http:429,phase=before", 504, 202),
        ("code:103", 503, 202),
        ("code:201", 422, 422),
        ("reset,phase=after,times=1", 202, 202),
    ],
)
async def test_outcomes_have_their_statuses(
    make_service: StartService, fault: str, status: int, again: int
) -> None:
    """A page learns what is true of its message, and asking again is safe."""
    async with (
        Emulator() as gateway,
        make_service(gateway) as service,
        new_page() as page,
    ):
        challenge = await new_challenge(page, service)
        armed = gateway.fault(fault)
        answer, told = await click(page, service, PHONE, challenge)
        assert (answer, "detail" in told) == (status, status != 202)
        armed.disarm()
        answer, _ = await click(page, service, PHONE, challenge)
        assert answer == again
        assert gateway.accepted(request_id_of(challenge)) == int(again == 202)


async def test_a_page_that_asks_for_nonsense_is_told(make_service: StartService) -> None:
    """A number that is none, a challenge that is none, and one that is another phone's."""
    async with (
        Emulator() as gateway,
        make_service(gateway) as service,
        new_page() as page,
    ):
        challenge = await new_challenge(page, service)
        assert (await click(page, service, "12", challenge))[0] == 422
        assert (await click(page, service, PHONE, "none"))[0] == 422
        # Nobody but the service makes a challenge, or gives one more time.
        later = f"9{challenge}"
        assert (await click(page, service, PHONE, later))[0] == 422
        assert (await click(page, service, PHONE, challenge))[0] == 202
        assert (await click(page, service, "0911000002", challenge))[0] == 409
        assert len(gateway.messages) == 1


async def test_a_gateway_that_is_away_is_a_503(make_service: StartService) -> None:
    """Nothing was sent, so the page may use another way."""
    async with Emulator() as gateway, make_service(gateway) as service:
        await gateway.aclose()
        async with new_page() as page:
            challenge = await new_challenge(page, service)
            assert (await click(page, service, PHONE, challenge))[0] == 503


@pytest.fixture(params=["fastapi_service", "aiohttp_service"])
def example(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """An example service, as a module."""
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module(request.param)


def test_a_code_holds_for_one_phone_and_one_expiry(
    example: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A code says nothing about that of another phone, another challenge or another time.

    Otherwise somebody who gets a code on his own phone could have another's number verified.
    """
    challenge = example.new_challenge("secret")
    mine = example.code_message("secret", "0911 000 001", challenge)
    assert mine == example.code_message("secret", "+84911000001", challenge)
    theirs = example.code_message("secret", "0911000002", challenge)
    assert (mine.request_id, mine.expires_at) == (theirs.request_id, theirs.expires_at)
    now = time.time()
    monkeypatch.setattr(example.secrets, "token_urlsafe", lambda _: challenge.split(".")[1])
    monkeypatch.setattr(example.time, "time", lambda: now + 60)
    later = example.code_message("secret", "0911000001", example.new_challenge("secret"))
    assert later.expires_at > mine.expires_at
    codes = {message.content[:6] for message in (mine, theirs, later)}
    assert len(codes) == 3
    with pytest.raises(ValueError, match="not of this service"):
        example.code_message("another secret", "0911000001", challenge)


async def test_a_challenge_that_is_too_old_is_told(
    make_service: StartService, example: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its expiry a challenge sends nothing."""
    now = time.time()
    monkeypatch.setattr(example.time, "time", lambda: now - 301)
    old = example.new_challenge(SECRET)
    monkeypatch.undo()
    async with Emulator() as gateway, make_service(gateway) as service, new_page() as page:
        assert (await click(page, service, PHONE, old))[0] == 410
        assert gateway.requests == []


# The storm.

OTPS = 300
CLIENTS = 50
FAULTS = [
    "reset,phase=after,p=0.08",
    "close,phase=before,p=0.05",
    "truncate:0.5,phase=after,p=0.04",
    "http:503,phase=after,p=0.04",
    "dlr:twice,p=0.15",
    "dlr:early,p=0.15",
    "dlr:failed,p=0.15",
]


async def get_code(page: aiohttp.ClientSession, service: Service, number: int) -> str:
    """Click twice at once, and again for as long as the code is not accepted."""
    phone, challenge = f"0911{number:06}", ""
    for _ in range(40):
        try:
            challenge = challenge or await new_challenge(page, service)
        except aiohttp.ClientError:  # a worker was killed
            await asyncio.sleep(0.05)
            continue
        clicks = (click(page, service, phone, challenge) for _ in range(2))
        answers = await asyncio.gather(*clicks, return_exceptions=True)
        told = {answer[0] for answer in answers if not isinstance(answer, BaseException)}
        assert told <= {202, 503, 504}, told
        if 202 in told:
            return challenge
        await asyncio.sleep(0.05)
    raise AssertionError(f"no code was accepted for the page of number {number}")


@pytest.mark.endurance
async def test_two_workers_that_are_killed_send_and_report_each_code_once(tmp_path: Path) -> None:
    """Double clicks, faults, early and repeated reports, and a kill half-way: each OTP once.

    The gateway repeats a report on timeout alone. So those whose connection the kill cut are
    brought again by hand, as they are by whoever asks the gateway for the status of a message.
    """
    settings = Settings(report_delay=0.3, max_messages=10_000, max_requests=100_000)
    with RedisServer({"appendonly": "yes", "appendfsync": "always"}) as redis:
        async with (
            Emulator(faults=FAULTS, seed=7, settings=settings) as gateway,
            Service(
                "fastapi",
                tmp_path,
                {"ESMS_BASE_URL": gateway.url, "REDIS_URL": redis.url},
                workers=2,
            ) as service,
            new_page() as page,
        ):
            numbers = iter(range(OTPS))
            challenges: list[str] = []
            half_way = asyncio.Event()

            async def visit() -> None:
                for number in numbers:
                    challenges.append(await get_code(page, service, number))
                    if len(challenges) >= OTPS // 2:
                        half_way.set()

            async with asyncio.TaskGroup() as visits:
                for _ in range(CLIENTS):
                    visits.create_task(visit())
                await half_way.wait()
                await service.end(signal.SIGKILL)
                await service.start()

            by_id = {message.request_id: message for message in gateway.messages}
            assert len(gateway.messages) == len(by_id) == len(challenges) == OTPS
            assert set(map(request_id_of, challenges)) == set(by_id)
            expected = {
                (message.request_id or "", "delivered" if message.delivery.delivered else "failed")
                for message in gateway.messages
            }
            await settle_reports(gateway, service, expected)

            reports = service.reports()
            assert set(reports) == expected
            # Between the handler's success and its record there is a moment in which a kill
            # makes the report come again; it does so under another process.
            again = [request_id for (request_id, _), count in reports.items() if count > 1]
            assert all(len(service.workers_told(request_id)) == 2 for request_id in again)
            assert len(again) <= 3
            assert reports.total() == OTPS + len(again)


async def settle_reports(
    gateway: Emulator, service: Service, expected: set[tuple[str, str]]
) -> None:
    """Wait until every report is handed on; those that the kill cut are brought again."""
    cut = {report.sms_id for report in gateway.reports if report.result not in ("200", "timeout")}
    for message in gateway.messages:
        if message.sms_id in cut:
            gateway.finish(message.sms_id, delivered=message.delivery.delivered)
    async with asyncio.timeout(generous(60)):
        while set(service.reports()) != expected:  # noqa: ASYNC110  # other processes write them
            await asyncio.sleep(0.1)
