"""Asking the gateway, over sockets."""

import asyncio
import copy
import json
import pickle
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import aiohttp
import pytest
from tenacity import stop_after_attempt, wait_none

from esms_async import (
    Brandname,
    ConfigurationError,
    EsmsClient,
    FixedNumber,
    InvalidMessage,
    LedgerError,
    Message,
    OutcomeUnknown,
    QueryAccountRejected,
    QueryError,
    QueryRejected,
    QueryUnanswered,
    RetryPolicy,
    UsageError,
    ZaloTemplate,
)
from esms_async.emulator import (
    AccountSetup,
    AccountState,
    BrandnameSetup,
    Clock,
    Emulator,
    Settings,
)
from esms_async.ledger import Entry, Ledger, MemoryLedger
from esms_async.queries import AccountBrandname, Balance, BrandnameType, SendStatus, Templates
from esms_async.testing import EmulatedClient, emulated_client
from tests.answering import CUT, Answering
from tests.factories import CREDENTIALS, ONE_ATTEMPT, QUICK, SECRET_KEY, a_message

ONE_DONG = Balance(Decimal(1))
SHOP = AccountSetup("default", None, brandnames=(BrandnameSetup("Baotrixemay", ()),))
BALANCE = b'{"Balance":1,"CodeResponse":"100"}'
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
BRAND = Brandname("Baotrixemay")
TEXT = "686868 la ma xac minh dang ky Baotrixemay cua ban"


class BrokenLedger(MemoryLedger):
    """A ledger that can be opened, and not read."""

    async def look_up(self, request_id: str) -> Entry | None:
        """Fail."""
        raise LedgerError("the disk is gone")


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
            with pytest.raises(QueryUnanswered, match="not a JSON object"):
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
        since = now - timedelta(hours=1)
        emulator.fault("reset@sent_data,times=2")
        listed = [message.sms_id async for message in client.sent(since, now)]
        assert listed == [message.sms_id for message in emulator.messages]
        before = len(emulator.requests)
        async with aclosing(client.sent(since, now)) as sent:
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
        # The count is of one page, or of all: nobody knows, so it ends nothing.
        ([a_page("a", "b", total='"2"'), a_page("c", total="1"), a_page(total="3")], 3),
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


async def test_a_long_period_is_read_in_pieces() -> None:
    """Each is of 3 days at most, they leave no gap, and no line comes twice."""
    async with Answering(a_page("a", total="99")) as gateway, client_of(gateway) as client:
        listed = [one.sms_id async for one in client.sent(LONG_AGO, LONG_AGO + timedelta(days=8))]
        assert listed == ["a"]
    asked = [json.loads(body) for _, _, _, body in gateway.asked]
    assert [(one["From"][:10], one["To"][:10], one["Page"]) for one in asked] == [
        ("2020-01-01", "2020-01-04", "1"),
        ("2020-01-01", "2020-01-04", "2"),
        ("2020-01-04", "2020-01-07", "1"),
        ("2020-01-07", "2020-01-09", "1"),
    ]


async def test_each_kind_of_route_has_its_list() -> None:
    """The client's default decides, unless the call names another route."""
    async with emulated_client(route=BRAND) as client:
        await client.send(Message("0901888484", TEXT))
        await client.send(Message("0901888484", "x", route=FixedNumber()))
        await client.send(Message("0901888484", params={"otp": "1"}, route=ZaloTemplate("1", "2")))
        now = datetime.now(UTC)
        since, until = now - timedelta(hours=1), now + timedelta(minutes=1)
        for route, kind in ((None, "2"), (FixedNumber(), "8"), (ZaloTemplate("3", "4"), "25")):
            listed = [one async for one in client.sent(since, until, route=route)]
            assert [one.sms_type for one in listed] == [kind]
        with pytest.raises(ConfigurationError, match="route"):
            client.sent(since, until, route="8")  # type: ignore[arg-type]  # what an untyped caller may pass


async def test_brandnames_templates_and_the_price() -> None:
    """What the account has, what its texts must be, and what one costs."""
    async with emulated_client(route=BRAND) as client:
        (brandname,) = await client.brandnames()
        assert brandname == AccountBrandname("Baotrixemay", BrandnameType.CUSTOMER_CARE)
        templates = await client.templates(BRAND)
        assert templates == await client.templates("Baotrixemay")
        assert len(templates) == len(list(templates)) > 0
        assert templates.match(TEXT)
        assert not templates.match("686868 la ma")
        assert (await client.price(Message("0901888484", TEXT))).amount == Decimal(850)
        assert client.emulator.messages == []
        with pytest.raises(QueryRejected) as caught:
            await client.templates("Nobody")
        assert caught.value.code == "104"
        with pytest.raises(ConfigurationError):
            await client.templates("")
        with pytest.raises(ConfigurationError, match="route fixed"):
            await client.price(Message("0901888484", TEXT, route=FixedNumber()))


async def test_the_status_of_a_zalo_message() -> None:
    """It is asked by the OAID and Zalo's own id of the message."""
    told = b'{"CodeResult":"100","Data":{"delivery_time":"1","message":"m","status":1}}'
    async with Answering(told) as gateway, client_of(gateway) as client:
        status = await client.zalo_status("4097", "6dc7")
        assert status is not None
        assert status.delivered
        ((method, path, _, body),) = gateway.asked
        assert (method, path) == ("POST", "/GetZaloMessageStatus")
        assert json.loads(body)["OAID"] == "4097"


@pytest.mark.parametrize("own", [True, False], ids=["own route", "default"])
async def test_a_text_that_fits_no_template_does_not_leave(own: bool) -> None:
    """It is InvalidMessage; other brandnames and other routes are not checked."""
    templates = Templates("Baotrixemay", ["{P1,20} la ma xac minh dang ky Baotrixemay cua ban"])
    route = None if own else BRAND
    options = {} if route is None else {"route": route}
    async with emulated_client(templates=templates, **options) as client:  # type: ignore[arg-type]  # a route
        with pytest.raises(
            InvalidMessage, match=r"content: fits no template .* must not have 21 characters"
        ):
            text = "1" * 21 + TEXT[6:]
            await client.send(Message("0901888484", text, route=BRAND if own else None))
        await client.send(Message("0901888484", "anything", route=FixedNumber()))
        await client.send(Message("0901888484", TEXT, route=BRAND if own else None))
        assert len(client.emulator.requests) == 2
        other = Message("0901888484", "anything", route=Brandname("Other"))
        with pytest.raises(Exception, match="code 104"):
            await client.send(other)


async def test_a_message_can_be_checked_before_it_is_sent() -> None:
    """What `send` would refuse by route or templates is refused, and no callback URL is made."""

    def no_url(_: Message) -> str:
        raise AssertionError("it asks for a callback URL")

    templates = Templates("Baotrixemay", ["{P1,20} la ma xac minh dang ky Baotrixemay cua ban"])
    client = EsmsClient(CREDENTIALS, route=BRAND, templates=templates, callback_url=no_url)
    client.check(Message("0901888484", TEXT))
    client.check(Message("0901888484", "anything", route=FixedNumber()))
    with pytest.raises(InvalidMessage, match="content: fits no template"):
        client.check(Message("0901888484", "anything"))
    with pytest.raises(InvalidMessage, match="content: can't be sent"):
        client.with_options(route=ZaloTemplate("1", "2")).check(Message("0901888484", TEXT))


async def test_what_is_no_templates() -> None:
    """The error names the option."""
    for value in ("x", ["x"], [None]):
        with pytest.raises(ConfigurationError, match="templates"):
            EsmsClient(CREDENTIALS, templates=value)  # type: ignore[arg-type]  # what an untyped caller may pass


@pytest.mark.parametrize("ledger", [None, MemoryLedger()], ids=["no ledger", "ledger"])
async def test_a_text_that_fits_no_more_may_have_been_accepted(ledger: Ledger | None) -> None:
    """A template that came later does not turn "unknown" and "accepted" into "not sent"."""
    message, taken = a_message(), a_message(content="another text")
    fitting = a_message()
    strict = {"route": BRAND, "templates": Templates("Baotrixemay", ["x"])}
    emulator = Emulator(accounts=[SHOP])
    async with emulator:
        usual = {"retry": ONE_ATTEMPT, "route": BRAND}
        async with EmulatedClient(emulator, ledger=ledger, **usual) as client:  # type: ignore[arg-type]  # ClientOptions
            await client.send(taken)
            emulator.fault("reset@send,times=1")
            with pytest.raises(OutcomeUnknown):
                await client.send(message)
            # In the same process, the client itself remembers.
            client._options = EmulatedClient(emulator, **strict)._options  # type: ignore[arg-type]  # ClientOptions
            with pytest.raises(OutcomeUnknown, match="may have been accepted"):
                await client.send(message)
            with pytest.raises(InvalidMessage):
                await client.send(fitting)
            with pytest.raises(OutcomeUnknown, match="may have been accepted"):
                await client.resume(a_message())
        if ledger is None:
            return
        async with EmulatedClient(emulator, ledger=ledger, **strict) as client:  # type: ignore[arg-type]  # ClientOptions
            with pytest.raises(OutcomeUnknown, match="may have been accepted"):
                await client.send(pickle.loads(pickle.dumps(message)))  # noqa: S301  # its own bytes
            receipt = await client.send(pickle.loads(pickle.dumps(taken)))  # noqa: S301  # the same
            assert receipt.sms_id
            with pytest.raises(InvalidMessage):
                await client.send(pickle.loads(pickle.dumps(a_message())))  # noqa: S301  # the same
            changed = Message(message.phone, "changed", request_id=message.request_id)
            with pytest.raises(InvalidMessage):
                await client.send(changed)


async def test_a_ledger_that_fails_leaves_open_what_fits_no_more() -> None:
    """Whoever made the message may have sent it, when its text fitted."""
    strict = {"route": BRAND, "templates": Templates("Baotrixemay", ["x"])}
    async with emulated_client(ledger=BrokenLedger(), **strict) as client:  # type: ignore[arg-type]  # ClientOptions
        with pytest.raises(OutcomeUnknown, match="ledger could not say"):
            await client.send(pickle.loads(pickle.dumps(a_message())))  # noqa: S301  # its own bytes
