"""The example services, end to end: pages, server processes, the ledger, and the gateway."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from esms_async.emulator import Emulator, Settings
from tests.delivery.services import Service, click, new_page
from tests.limits import TIMES

if sys.platform == "win32":
    pytest.skip("a socket cannot be handed to a process there", allow_module_level=True)

from tests.ledger.redis_server import RedisServer

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
            environ["DATA"] = str(tmp_path)
        else:
            server: RedisServer = request.getfixturevalue("redis_server")
            # The example has no prefix of its own, so each run has a server that is empty.
            with server.client() as client:
                client.flushall()
            environ["REDIS_URL"] = server.url
        async with Service(request.param, tmp_path, environ) as service:
            yield service

    return start


StartService = Callable[[Emulator], AbstractAsyncContextManager[Service]]


async def wait_for_reports(service: Service, count: int) -> None:
    """Wait until the handler has got a number of reports."""
    async with asyncio.timeout(20):
        while service.reports().total() < count:  # noqa: ASYNC110  # another process writes them
            await asyncio.sleep(0.02)


async def test_a_login_sends_one_sms_that_is_reported_once(make_service: StartService) -> None:
    """Two clicks are one SMS; its code logs the phone in; its delivery is told once."""
    async with (
        Emulator(settings=QUICK_REPORTS, faults=["dlr:twice"]) as gateway,
        make_service(gateway) as service,
        new_page() as page,
    ):
        clicks = (click(page, service, "start", phone=PHONE) for _ in range(2))
        answers = await asyncio.gather(*clicks)
        assert [status for status, _ in answers] == [202, 202]
        (message,) = gateway.messages
        assert message.phone == PHONE
        code = gateway.latest_code(PHONE)
        status, told = await click(
            page, service, "verify", phone=PHONE, id=answers[1][1]["id"], code=code
        )
        assert (status, told) == (200, {"phone": PHONE})
        status, told = await click(
            page, service, "verify", phone=PHONE, id=answers[0][1]["id"], code=code
        )
        assert (status, told["reason"]) == (400, "used")
        await wait_for_reports(service, 1)
        async with asyncio.timeout(20):
            while len(gateway.reports) < 4:  # noqa: ASYNC110  # each twice, also what comes before
                await asyncio.sleep(0.02)
        assert {report.result for report in gateway.reports} == {"200"}
        assert service.reports() == {(message.request_id, "delivered"): 1}
        # Whoever calls the service's path without a signature finds nothing there.
        forged = f"{service.url}/esms/reports/{message.request_id}?SendStatus=4"
        async with page.get(forged) as response:
            assert response.status == 404


async def test_a_code_of_ones_own_phone_opens_no_other(make_service: StartService) -> None:
    """The take-over that services like these once allowed: in one request, any account."""
    async with (
        Emulator() as gateway,
        make_service(gateway) as service,
        new_page() as page,
    ):
        _, mine = await click(page, service, "start", phone="0911000002")
        code = gateway.latest_code("0911000002")
        status, told = await click(page, service, "verify", phone=PHONE, id=mine["id"], code=code)
        assert (status, told["reason"]) == (400, "expired")


@pytest.mark.parametrize(
    ("fault", "status", "again", "messages"),
    [
        ("http:429,phase=before", 202, 202, 0),  # it may have been accepted
        ("code:103", 503, 202, 1),
        ("code:201", 503, 202, 1),
        ("reset,phase=after,times=1", 202, 202, 1),
    ],
)
async def test_outcomes_have_their_statuses(
    make_service: StartService, fault: str, status: int, again: int, messages: int
) -> None:
    """A page learns what is true of its SMS, and asking again is safe."""
    async with (
        Emulator() as gateway,
        make_service(gateway) as service,
        new_page() as page,
    ):
        armed = gateway.fault(fault)
        answer, told = await click(page, service, "start", phone=PHONE)
        assert (answer, "reason" in told) == (status, status != 202)
        armed.disarm()
        answer, _ = await click(page, service, "start", phone=PHONE)
        assert answer == again
        assert len(gateway.messages) == messages


async def test_a_page_that_asks_for_nonsense_is_told(make_service: StartService) -> None:
    """A phone number that is invalid; broken JSON, a phone that is no text, and a form."""
    async with (
        Emulator() as gateway,
        make_service(gateway) as service,
        new_page() as page,
    ):
        status, told = await click(page, service, "start", phone="12")
        assert (status, told["reason"]) == (422, "phone")
        for body in (b"{", b"[" * 100_000, b'{"phone": 901888484}', {"phone": PHONE}):
            async with page.post(f"{service.url}/login/verify", data=body) as response:
                problem = await response.json(content_type="application/problem+json")
                assert (response.status, problem["reason"]) == (422, "request")
        _, challenge = await click(page, service, "start", phone=PHONE)
        status, told = await click(page, service, "resend", phone=PHONE, id=challenge["id"])
        assert (status, told["reason"]) == (429, "cooldown")
        assert len(gateway.messages) == 1


async def test_a_gateway_that_is_away_is_a_503(make_service: StartService) -> None:
    """Nothing was sent."""
    async with Emulator() as gateway, make_service(gateway) as service:
        await gateway.aclose()
        async with new_page() as page:
            status, told = await click(page, service, "start", phone=PHONE)
            assert (status, told["reason"]) == (503, "send")


# The storm.

OTPS = 60 * TIMES
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


# Ranges of several operators, so that the breaker of one range does not open.
RANGES = ("091", "090", "098", "032", "056", "070")


async def enter(page: aiohttp.ClientSession, service: Service, ip: str, **data: str) -> None:
    """Enter a code, again for as long as no answer comes."""
    while True:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            status, body = await click(page, service, "verify", ip, **data)
            # "used" where it was right, and the answer was lost with the worker.
            if status == 200 or body["reason"] == "used":
                return
            assert body["reason"] == "store", body
        await asyncio.sleep(0.1)


async def log_in(
    page: aiohttp.ClientSession, service: Service, gateway: Emulator, number: int
) -> str:
    """Click twice at once, again and on "resend" while no SMS comes, and enter the code."""
    phone, ip = f"{RANGES[number % 6]}1{number:06}", f"198.51.{number // 250}.{number % 250}"
    for _ in range(600):
        clicks = (click(page, service, "start", ip, phone=phone) for _ in range(2))
        answers = await asyncio.gather(*clicks, return_exceptions=True)
        told = [answer for answer in answers if not isinstance(answer, BaseException)]
        assert {status for status, _ in told} <= {202, 429, 503}, told
        ids = [body["id"] for status, body in told if status == 202]
        if ids and any(message.phone == phone for message in gateway.messages):
            code = gateway.latest_code(phone)
            await enter(page, service, ip, phone=phone, id=ids[0], code=code)
            return phone
        if ids:
            # What may have been sent a resend finds out, after the cooldown.
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                await click(page, service, "resend", ip, phone=phone, id=ids[0])
        await asyncio.sleep(0.1)
    raise AssertionError(f"no code came for the page of number {number}: {told}")


@pytest.mark.once
async def test_two_workers_that_are_killed_send_and_report_each_code_once(tmp_path: Path) -> None:
    """Double clicks, faults, early and repeated reports, and a kill half-way: each OTP once.

    The gateway repeats a report on timeout alone. So those whose connection the kill cut are
    brought again by hand, as they are by whoever asks the gateway for the status of a message.
    A report is handed on twice only if a worker had it in hand when it was killed.
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
            phones: list[str] = []
            half_way = asyncio.Event()

            async def visit() -> None:
                for number in numbers:
                    phones.append(await log_in(page, service, gateway, number))
                    if len(phones) >= OTPS // 2:
                        half_way.set()

            async with asyncio.TaskGroup() as visits:
                for _ in range(CLIENTS):
                    visits.create_task(visit())
                await half_way.wait()
                await service.end(signal.SIGKILL)
                in_hand = reports_in_hand(redis)
                await service.start()

            by_id = {message.request_id: message for message in gateway.messages}
            by_phone = {message.phone: message for message in gateway.messages}
            assert len(gateway.messages) == len(by_id) == len(by_phone) == len(phones) == OTPS
            assert set(phones) == set(by_phone)
            expected = {
                (message.request_id or "", "delivered" if message.delivery.delivered else "failed")
                for message in gateway.messages
            }
            await settle_reports(gateway, service, expected)

            reports = service.reports()
            assert set(reports) == expected
            again = {key for key, count in reports.items() if count > 1}
            assert {f"{request_id}#{state}" for request_id, state in again} <= in_hand
            assert all(len(service.workers_told(request_id)) == 2 for request_id, _ in again)
            assert reports.total() == OTPS + len(again)


def reports_in_hand(redis: RedisServer, prefix: str = "esms:send:") -> set[str]:
    """Return the keys of the reports that a worker has, or had when it died."""
    with redis.client() as client:
        keys = client.zrange(f"{prefix}#reports", 0, -1)
        return {key for key in keys if client.hget(prefix + key, "status") == "unknown"}


async def settle_reports(
    gateway: Emulator, service: Service, expected: set[tuple[str, str]]
) -> None:
    """Wait until every report is handed on; those that the kill cut are brought again."""
    cut = {report.sms_id for report in gateway.reports if report.result not in ("200", "timeout")}
    for message in gateway.messages:
        if message.sms_id in cut:
            gateway.finish(message.sms_id, delivered=message.delivery.delivered)
    async with asyncio.timeout(60):
        while set(service.reports()) != expected:  # noqa: ASYNC110  # other processes write them
            await asyncio.sleep(0.1)
