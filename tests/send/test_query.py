"""Asking the gateway, over sockets."""

import asyncio
import copy
import pickle
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import aiohttp
import pytest
from tenacity import stop_after_attempt, wait_none

from esms_async import (
    ConfigurationError,
    EsmsClient,
    QueryAccountRejected,
    QueryError,
    QueryRejected,
    QueryUnanswered,
    RetryPolicy,
    UsageError,
)
from esms_async.emulator import AccountState, Clock, Emulator, Settings
from esms_async.queries import Balance, SendStatus
from tests.answering import CUT, Answering
from tests.factories import CREDENTIALS, ONE_ATTEMPT, QUICK, SECRET_KEY, a_message

ONE_DONG = Balance(Decimal(1))
BALANCE = b'{"Balance":1,"CodeResponse":"100"}'
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def client_of(gateway: Emulator | Answering, retry: RetryPolicy = QUICK) -> EsmsClient:
    """Make a client for a gateway."""
    return EsmsClient(CREDENTIALS, base_url=gateway.url, retry=retry)


async def test_the_balance() -> None:
    """It is what is on the account, in dong."""
    async with Emulator(balance=36693) as emulator, client_of(emulator) as client:
        balance = await client.balance()
        assert (balance.amount, balance.user_id) == (Decimal(36693), "9999")


async def test_a_message_on_its_way() -> None:
    """Not known yet at first, then waiting, then delivered."""
    clock = Clock(running=False)
    settings = Settings(status_lag=3, report_delay=10)
    async with Emulator(clock=clock, settings=settings) as emulator, client_of(emulator) as client:
        sms_id = (await client.send(a_message())).sms_id
        assert sms_id is not None
        assert await client.status(sms_id) is None
        assert await client.receivers(sms_id) is None
        clock.advance(3)
        status = await client.status(sms_id)
        assert status is not None
        assert (status.send_status, status.delivered) == (SendStatus.WAITING, None)
        clock.advance(10)
        status, receivers = await client.status(sms_id), await client.receivers(sms_id)
        assert status is not None
        assert (status.final, status.delivered, status.price) == (True, True, Decimal(850))
        assert receivers is not None
        assert [one.delivered for one in receivers] == [True]


async def test_what_fails_is_asked_again() -> None:
    """A question is asked again whatever became of it, within the policy's attempts."""
    faults = ["reset", "close", "http:503", "html:502", "empty", "invalid", "garbage"]
    async with Emulator() as emulator, client_of(emulator) as client:
        sms_id = (await client.send(a_message())).sms_id
        assert sms_id is not None
        for fault in faults:
            for operation in ("balance", "status", "receiver_status"):
                emulator.fault(f"{fault}@{operation},times=2")
            await client.balance()
            assert await client.status(sms_id)
            assert await client.receivers(sms_id)


async def test_the_attempts_run_out() -> None:
    """The policy's stop object, and its own count, bound how often it is asked."""
    for policy in (
        RetryPolicy(attempts=2, wait=wait_none()),
        RetryPolicy(stop=stop_after_attempt(2), wait=wait_none()),
    ):
        async with Answering(b"") as gateway, client_of(gateway, policy) as client:
            with pytest.raises(QueryUnanswered, match="no JSON object"):
                await client.balance()
            assert len(gateway.asked) == 2


async def test_the_retry_object_can_forbid() -> None:
    """The policy's retry object is asked, and sees the error."""
    seen: list[BaseException | None] = []

    async def never(state: object) -> bool:
        seen.append(state.outcome.exception())  # type: ignore[attr-defined]  # a RetryCallState
        return False

    async with Answering(b"") as gateway:
        async with client_of(gateway, RetryPolicy(retry=never)) as client:
            with pytest.raises(QueryUnanswered):
                await client.balance()
        assert len(gateway.asked) == 1
    assert [type(error) for error in seen] == [QueryUnanswered]


async def test_retry_after_is_heeded() -> None:
    """A pause that would end after the deadline is not begun."""
    async with Answering(BALANCE) as gateway, client_of(gateway) as client:
        gateway.told.appendleft((503, b"", {"Retry-After": "3600"}))
        with pytest.raises(QueryUnanswered) as caught:
            await client.balance()
        assert caught.value.retry_after == 3600.0
        gateway.told.appendleft((503, b"", {"Retry-After": "0"}))
        assert await client.balance() == ONE_DONG


async def test_the_deadline_holds() -> None:
    """An answer that never comes ends one attempt, and in the end the question."""
    policy = RetryPolicy(attempts=3, deadline=0.2, attempt_timeout=0.05, wait=wait_none())
    async with Emulator(faults=["hang"]) as emulator, client_of(emulator, policy) as client:
        with pytest.raises(QueryUnanswered, match="no answer within"):
            await client.balance()
        with pytest.raises(QueryUnanswered, match="no answer within"):
            await client.status("d8e0")


async def test_a_refusal_is_not_asked_again() -> None:
    """A locked account stays locked."""
    async with Emulator() as emulator, client_of(emulator) as client:
        emulator.account = AccountState.LOCKED
        with pytest.raises(QueryAccountRejected) as caught:
            await client.balance()
        assert caught.value.code == "143"
        emulator.account = AccountState.ACTIVE
        emulator.fault("http:404@balance")
        with pytest.raises(QueryRejected, match="HTTP status 404"):
            await client.balance()
        assert len(emulator.requests) == 2


async def test_errors_can_be_copied() -> None:
    """They pass from process to process with all that they hold."""
    errors: list[QueryError] = [
        QueryUnanswered("GetBalance_json", "why", 2.0),
        QueryAccountRejected("GetBalance_json", code="101", status=200, detail="words"),
    ]
    for error in errors:
        for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301  # its own bytes
            assert (type(twin), str(twin), vars(twin)) == (type(error), str(error), vars(error))
    assert str(errors[0]) == "GetBalance_json: why"


async def test_the_list_is_read_page_by_page() -> None:
    """Every message of the period comes once, in order; pages are asked for as they are needed."""
    async with Emulator() as emulator, client_of(emulator) as client:
        numbers = (f"0911{number:06d}" for number in range(1201))
        async for outcome in client.send_many(map(a_message, numbers), concurrency=32):
            assert outcome.ok
        now = datetime.now(UTC) + timedelta(minutes=1)
        emulator.fault("reset@sent_data,times=2")
        listed = [message.sms_id async for message in client.sent(LONG_AGO, now)]
        assert listed == [message.sms_id for message in emulator.messages]
        before = len(emulator.requests)
        async with aclosing(client.sent(LONG_AGO, now)) as sent:
            first = await anext(sent)
        assert first.phone == emulator.messages[0].phone
        assert len(emulator.requests) == before + 1
        assert [one async for one in client.sent(LONG_AGO, LONG_AGO)] == []


ROW = '{"ReferenceId":"%s","Phone":"0901888484"}'


def a_page(*sms_ids: str, total: str = "null") -> bytes:
    """Write a page of the list."""
    rows = ",".join(ROW % sms_id for sms_id in sms_ids)
    return f'{{"CodeResult":100,"COUNTTOTAL":{total},"sentdata":[{rows}]}}'.encode()


@pytest.mark.parametrize(
    ("pages", "asked"),
    [
        # The count is missing: an empty page is the last.
        ([a_page("a", "b"), a_page("c"), a_page()], 3),
        # The gateway gives shorter pages than were asked for, and a count.
        ([a_page("a", "b", total='"3"'), a_page("c", total="3")], 2),
        # A line moved to the next page meanwhile, or is given on every page for ever.
        ([a_page("a", "b"), a_page("b", "c"), a_page("b", "c")], 3),
        ([a_page("a", "b", "c", "c", total="99"), a_page("a")], 2),
    ],
)
async def test_the_end_of_the_list(pages: list[bytes], asked: int) -> None:
    """It is found whatever the count says, and no line comes twice."""
    async with Answering(*pages) as gateway, client_of(gateway) as client:
        listed = [one.sms_id async for one in client.sent(LONG_AGO, LONG_AGO)]
        assert listed == ["a", "b", "c"]
        assert len(gateway.asked) == asked


async def test_lines_without_an_sms_id() -> None:
    """They are told apart by all that they hold."""
    page = b'{"CodeResult":"100","SentData":[{"Phone":"1"},{"Phone":"1"},{"Phone":"2"}]}'
    async with Answering(page) as gateway, client_of(gateway) as client:
        assert [one.phone async for one in client.sent(LONG_AGO, LONG_AGO)] == ["1", "2"]


async def test_what_can_not_be_asked() -> None:
    """It is refused before anything leaves, and what is closed does not ask."""
    async with Answering(BALANCE) as gateway:
        async with client_of(gateway) as client:
            with pytest.raises(ConfigurationError, match="since"):
                client.sent(LONG_AGO.replace(tzinfo=None), LONG_AGO)
            with pytest.raises(ConfigurationError, match="sms_id"):
                await client.status("")
        with pytest.raises(UsageError, match="closed"):
            await client.balance()
        with pytest.raises(UsageError, match="closed"):
            client.sent(LONG_AGO, LONG_AGO)
        assert gateway.asked == []


async def test_a_session_of_the_callers_that_is_closed() -> None:
    """The error says that it is the session, and nothing is asked again."""
    async with Answering(BALANCE) as gateway, aiohttp.ClientSession() as session:
        client = EsmsClient(CREDENTIALS, base_url=gateway.url, session=session, retry=QUICK)
        await session.close()
        with pytest.raises(UsageError, match="the session is closed"):
            await client.balance()
        assert gateway.asked == []


async def test_a_client_that_is_closed_meanwhile() -> None:
    """A question that is under way ends, and is not asked again."""
    policy = RetryPolicy(attempts=9, attempt_timeout=5, wait=wait_none())
    async with Emulator(faults=["hang"]) as emulator:
        client = client_of(emulator, policy)
        asking = asyncio.create_task(client.balance())
        await emulator.wait_for_request()
        await client.aclose()
        with pytest.raises(UsageError, match="the client is closed"):
            await asking


async def test_a_question_that_is_cancelled() -> None:
    """The cancellation passes, and the client goes on."""
    async with Emulator(faults=["hang,times=1"]) as emulator, client_of(emulator) as client:
        asking = asyncio.create_task(client.balance())
        await emulator.wait_for_request()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await client.balance()


async def test_the_limiter_is_for_sends() -> None:
    """A limiter that lets nothing pass does not hold a question back."""
    async with (
        Answering(BALANCE) as gateway,
        EsmsClient(CREDENTIALS, base_url=gateway.url, limiter=asyncio.Semaphore(0)) as client,
    ):
        assert await client.balance() == ONE_DONG


async def test_the_budget_is_for_sends() -> None:
    """Questions that are asked again leave all retries to the sends."""
    policy = RetryPolicy(attempts=4, wait=wait_none(), budget=1)
    async with Answering(b"", b"", b"", BALANCE) as gateway, client_of(gateway, policy) as client:
        assert await client.balance() == ONE_DONG
        assert client._sender.budget.left == 1


async def test_no_secret_in_an_error() -> None:
    """An answer that breaks off leaves an error without a word of the request."""
    async with Answering(CUT) as gateway, client_of(gateway, ONE_ATTEMPT) as client:
        for ask in (client.balance(), client.status("d8e0")):
            with pytest.raises(QueryUnanswered) as caught:
                await ask
            error = caught.value
            assert error.__cause__ is None
            assert SECRET_KEY not in str(error) + repr(error) + repr(vars(error))
