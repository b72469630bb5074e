"""Fifteen ways in which the two promises were broken once: each is run for real, and counted.

Every test asserts what the caller is told and what a gateway that shares no code with the package
has counted.
"""

import asyncio
import copy
import math
import pickle
import re
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import attrs
import pytest
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_none

from esms_async import (
    AccountRejected,
    ConfigurationError,
    Credentials,
    DuplicateRequestId,
    LedgerError,
    Message,
    NotSent,
    OutcomeUnknown,
    Receipt,
    Rejected,
    RequestIdExpired,
    RetryPolicy,
    Status,
    derive_request_id,
)
from tests.limits import generous
from tests.truth.clocks import HOUR, Clocks
from tests.truth.conftest import LedgerPlace, Wire, a_client
from tests.truth.gateway import (
    BUSY_AFTER,
    CUT_AFTER,
    FIREWALL,
    HANG_AFTER,
    REFUSAL_OF_ACCEPTANCE,
    RESET_AFTER,
    STRAYS,
    TWICE,
    TWICE_WITH_SMSID,
    Gateway,
    Plan,
)
from tests.truth.ledgers import flaky
from tests.truth.telling import (
    KEYS,
    PHONE,
    a_message,
    check,
    give_up_when,
    told,
)
from tests.truth.telling import TWICE as TWO_ATTEMPTS

ROOT = Path(__file__).parents[2]
Elsewhere = Callable[..., Awaitable[list[dict[str, Any]]]]
ALL = RetryPolicy(attempts=5, attempt_timeout=20, wait=wait_none(), budget=None)
DAY_AND_AN_HOUR = 25 * HOUR


class Barrier:
    """A limiter that lets nobody through until it is opened, as one with a low rate does."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.waiting = 0
        self.came = asyncio.Event()

    async def __aenter__(self) -> Self:
        self.waiting += 1
        self.came.set()
        try:
            await self.opened.wait()
        finally:
            self.waiting -= 1
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing to give back."""


def expect_unknown(what: object) -> None:
    """Expect that a caller was told "unknown", and nothing else beside it."""
    assert isinstance(what, OutcomeUnknown)
    assert not isinstance(what, Rejected | NotSent)


def fields_of(message: Message) -> dict[str, Any]:
    """Return what another process needs to make the Message again."""
    return {
        "phone": message.phone,
        "content": message.content,
        "request_id": message.request_id,
    }


# --- 1: a time limit of the caller's own -------------------------------------------------------


async def test_1_a_send_after_a_time_limit_of_the_callers_is_accepted_once(wire: Wire) -> None:
    """`wait_for` gives up after acceptance; the same send again tells that it was accepted."""
    message = a_message()
    wire.gateway.script.append(HANG_AFTER)
    async with wire.client() as client:
        accepted = wire.gateway.accepted
        await give_up_when(
            lambda: accepted[message.request_id] == 1, wire.gateway, client.send(message)
        )
        what = await told(client.send(message))
    assert isinstance(what, Receipt)
    assert wire.gateway.accepted[message.request_id] == wire.gateway.phones[PHONE] == 1


# --- 2: a retry decorator of the caller's own --------------------------------------------------


@pytest.mark.parametrize("plan", [RESET_AFTER, BUSY_AFTER, CUT_AFTER], ids=["reset", "503", "cut"])
async def test_2_a_callers_own_retry_after_unknown_is_accepted_once(wire: Wire, plan: Plan) -> None:
    """A decorator that calls `send` again after OutcomeUnknown learns that it was accepted."""
    message = a_message()
    wire.gateway.script.append(plan)
    async with wire.client() as client:

        @retry(
            stop=stop_after_attempt(3),
            wait=wait_none(),
            retry=retry_if_exception_type(OutcomeUnknown),
            reraise=True,
        )
        async def deliver() -> Receipt:
            receipt: Receipt = await client.send(message)
            return receipt

        what = await told(deliver())
    assert isinstance(what, Receipt)
    assert wire.gateway.accepted[message.request_id] == 1


# --- 3: accepted, and sent again ---------------------------------------------------------------


async def test_3_a_second_send_of_an_accepted_message_is_accepted_too(wire: Wire) -> None:
    """A double click gets the same receipt, and the gateway hears nothing of it."""
    message = a_message()
    async with wire.client() as client:
        first = await client.send(message)
        again = await told(client.send(message))
        resumed = await told(client.resume(message))
    assert isinstance(again, Receipt)
    assert isinstance(resumed, Receipt)
    assert again.sms_id == resumed.sms_id == first.sms_id is not None
    assert wire.gateway.requests[message.request_id] == wire.gateway.phones[PHONE] == 1


async def test_3_a_second_stream_over_the_same_list_is_accepted_too(wire: Wire) -> None:
    """`send_many` twice over one list tells "accepted" twice, and the gateway accepts once."""
    messages = [a_message(f"09{number:08}") for number in range(20)]
    async with wire.client() as client:
        for _ in range(2):
            async with client.send_many(messages, concurrency=4) as outcomes:
                found = [outcome async for outcome in outcomes]
            assert [outcome.status for outcome in found] == [Status.ACCEPTED] * 20
    assert set(wire.gateway.accepted.values()) == {1}
    assert wire.gateway.total == 20


async def test_3_a_redelivery_to_another_process_is_never_told_as_rejected(
    gateway: Gateway, elsewhere: Elsewhere
) -> None:
    """A queue gives an accepted message to a second process, which can't know: unknown."""
    message = a_message()
    async with a_client(gateway) as client:
        assert isinstance(await told(client.send(message)), Receipt)
    (found,) = await elsewhere(url=gateway.url(), messages=[fields_of(message)], calls=["send"])
    assert "OutcomeUnknown" in found["kinds"]
    assert "Rejected" not in found["kinds"]
    assert gateway.accepted[message.request_id] == 1


# --- 4: a POST delivered twice on the way ------------------------------------------------------


@pytest.mark.parametrize("plan", [TWICE, TWICE_WITH_SMSID], ids=["124", "124 with SMSID"])
async def test_4_a_post_delivered_twice_on_the_way_is_unknown(wire: Wire, plan: Plan) -> None:
    """124 for the first attempt of a minted id is no rejection: the phone gets the message."""
    message = a_message()
    wire.gateway.script.append(plan)
    async with wire.client() as client:
        what = await told(client.send(message))
        expect_unknown(what)
        assert isinstance(what, DuplicateRequestId)
        requests = wire.gateway.total
        resumed = await told(client.resume(message))
        again = await told(client.send(message))
        assert isinstance(resumed, DuplicateRequestId)
        assert isinstance(again, DuplicateRequestId)
        assert wire.gateway.total == requests
    assert wire.gateway.accepted[message.request_id] == 1


async def test_4_a_ledger_keeps_the_doubt_of_a_doubled_post_until_it_is_reconciled(
    gateway: Gateway, place: LedgerPlace
) -> None:
    """A ledger never stores 124 as a rejection, and `reconcile` finds out that it was accepted."""
    message = a_message()
    gateway.script.append(TWICE)
    async with place.ledger() as ledger:
        async with a_client(gateway, ledger=ledger, trackable=True) as client:
            expect_unknown(await told(client.send(message)))
        async with a_client(gateway, ledger=ledger, trackable=True) as client:
            requests = gateway.total
            assert isinstance(await told(client.resume(message)), DuplicateRequestId)
            assert isinstance(await told(client.send(message)), DuplicateRequestId)
            assert gateway.total == requests
            found = await client.reconcile([message])  # type: ignore[list-item,unused-ignore]  # ids alone, once
            assert [one.request_id for one in found.settled] == [message.request_id]
            receipt = await told(client.resume(message))
            assert isinstance(receipt, Receipt)
            assert [receipt.sms_id] == gateway.sms_ids(message.request_id)
    assert gateway.accepted[message.request_id] == 1


async def test_4_reconcile_ends_the_doubt_of_the_client_that_has_it(
    gateway: Gateway, place: LedgerPlace
) -> None:
    """The client that was told 124 gives the receipt once `reconcile` has found the message."""
    message = a_message()
    gateway.script.append(TWICE)
    async with a_client(gateway, ledger=place.ledger(), trackable=True) as client:
        expect_unknown(await told(client.send(message)))
        await client.reconcile([message.request_id])
        for call in (client.send, client.resume):
            receipt = await told(call(message))
            assert isinstance(receipt, Receipt)
            assert [receipt.sms_id] == gateway.sms_ids(message.request_id)
    assert gateway.accepted[message.request_id] == 1


# --- 5: derived ids ----------------------------------------------------------------------------


async def test_5_a_redelivered_derived_id_is_unknown_and_nobody_advises_a_new_message(
    gateway: Gateway, elsewhere: Elsewhere
) -> None:
    """Two processes send a derived id: the second is told "unknown", without a way to 2 SMS."""
    message = a_message(request_id=derive_request_id("order", 1))
    task = {"url": gateway.url(), "messages": [fields_of(message)], "calls": ["send"]}
    (first,) = await elsewhere(**task)
    (second,) = await elsewhere(**task)
    assert first["kinds"][0] == "Receipt"
    assert "OutcomeUnknown" in second["kinds"]
    assert "Rejected" not in second["kinds"]
    assert not re.search(r"(?i)(make|send|with) (a|another) new (message|one)", second["words"])
    assert gateway.phones[PHONE] == 1


def test_5_no_page_advises_a_new_message_after_124() -> None:
    """No entry, line of a table or paragraph that names 124 tells to make a new Message."""
    pages = [*ROOT.glob("README*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("esms_async/**/*.py")]
    advice = re.compile(r"(?i)make a new message|tạo message mới|\.renewed\(")
    found = [
        f"{page.relative_to(ROOT)}: {part.strip()}"
        for page in pages
        for part in re.split(
            r"\n\s*\n|\n(?=\|)|\n(?=    \w*\($)", page.read_text(), flags=re.MULTILINE
        )
        if re.search(r"\b124\b|DuplicateRequestId", part) and advice.search(part)
    ]
    assert found == []


# --- 6: a ledger that forgot -------------------------------------------------------------------


async def test_6_a_ledger_that_lost_its_last_writes_stores_no_rejection(
    gateway: Gateway, lasting_place: LedgerPlace, elsewhere: Elsewhere
) -> None:
    """A job runs again in a second process over an emptied ledger: unknown, until reconciled."""
    message = a_message(request_id=derive_request_id("job", 1))
    task: dict[str, Any] = {
        "url": gateway.url(),
        "messages": [fields_of(message)],
        "ledger": lasting_place.spec,
    }
    (first,) = await elsewhere(**task, calls=["send"])
    assert first["kinds"][0] == "Receipt"
    lasting_place.lose()
    again, resumed, reconciled = await elsewhere(
        **task, calls=["send", "resume", "reconcile", "send"]
    )
    for found in (again, resumed):
        assert "OutcomeUnknown" in found["kinds"]
        assert "Rejected" not in found["kinds"]
    assert reconciled["kinds"][0] == "Receipt"
    assert [reconciled["sms_id"]] == gateway.sms_ids(message.request_id)
    assert gateway.accepted[message.request_id] == 1


# --- 7: answers that nobody asked for ----------------------------------------------------------


@pytest.mark.parametrize("stray", STRAYS.values(), ids=STRAYS.keys())
async def test_7_a_stray_answer_on_an_idle_connection_is_nobodys(wire: Wire, stray: bytes) -> None:
    """What lies in the socket before a request is written is not taken for its answer."""
    async with wire.client() as client:
        await client.send(a_message())
        for number in range(25):
            message = a_message(f"03{number:08}")
            wire.gateway.say(stray)
            what = await told(client.send(message))
            assert isinstance(what, Receipt | NotSent)
            check(wire.gateway, message, what)
            if isinstance(what, NotSent):
                # Dropping the connection is fine as well; the next send opens another.
                await client.send(message)


async def test_7_a_stray_answer_is_dropped_without_a_failed_send(wire: Wire) -> None:
    """A retry over a fresh connection brings the message through all the same."""
    async with wire.client(retry=TWO_ATTEMPTS) as client:
        await client.send(a_message())
        for number in range(25):
            message = a_message(f"03{number:08}")
            wire.gateway.say(STRAYS["wrong keys"])
            receipt = await told(client.send(message))
            assert isinstance(receipt, Receipt)
            assert [receipt.sms_id] == wire.gateway.sms_ids(message.request_id)


async def test_7_a_stray_answer_does_not_stop_a_bulk_run(wire: Wire) -> None:
    """A stray 101 on an idle connection is not the end of the account."""
    messages = [a_message(f"03{number:08}") for number in range(60)]

    def source() -> Any:
        for number, message in enumerate(messages):
            if number % 5 == 4:
                wire.gateway.say(STRAYS["wrong keys"])
            yield message

    async with wire.client(retry=ALL) as client:
        async with client.send_many(source(), concurrency=1) as outcomes:
            found = [outcome async for outcome in outcomes]
        for outcome in found:
            check(wire.gateway, outcome.message, outcome.receipt or outcome.error)
    assert [outcome.status for outcome in found] == [Status.ACCEPTED] * len(messages)


# --- 8: time that passes while nobody counts ---------------------------------------------------

PASSINGS = {
    "the machine sleeps": {},
    "it sleeps, and the wall clock does not notice": {"wall": False},
    "the wall clock alone notices": {"counted": False},
}


@asynccontextmanager
async def timed(clocks: Clocks, place: LedgerPlace | None, **options: Any) -> Any:
    """A gateway that ages with the clocks, and a client of it."""
    ledger = None if place is None else place.ledger()
    async with (
        Gateway(clock=clocks.world) as gateway,
        a_client(gateway, ledger=ledger, **options) as client,
    ):
        yield gateway, client


@pytest.mark.parametrize("passing", PASSINGS.values(), ids=PASSINGS.keys())
async def test_8_no_attempt_is_made_once_the_first_is_too_old(
    clocks: Clocks, any_place: LedgerPlace | None, passing: dict[str, bool]
) -> None:
    """25 hours pass between two attempts of one send: the second is not made."""

    def wait(_: object) -> float:
        clocks.sleep(DAY_AND_AN_HOUR, **passing)
        return 0.0

    message = a_message()
    policy = RetryPolicy(attempts=3, wait=wait, budget=None)
    async with timed(clocks, any_place, retry=policy) as (gateway, client):
        gateway.script.append(RESET_AFTER)
        what = await told(client.send(message))
        assert isinstance(what, OutcomeUnknown | RequestIdExpired)
        assert gateway.requests[message.request_id] == gateway.phones[PHONE] == 1


@pytest.mark.parametrize("passing", PASSINGS.values(), ids=PASSINGS.keys())
async def test_8_age_is_counted_at_the_write_and_not_before_the_limiter(
    clocks: Clocks, any_place: LedgerPlace | None, passing: dict[str, bool]
) -> None:
    """25 hours pass while the second attempt waits for the limiter: it is not made."""

    class Slow:
        places = 0

        async def __aenter__(self) -> None:
            self.places += 1
            if self.places == 2:
                clocks.sleep(DAY_AND_AN_HOUR, **passing)

        async def __aexit__(self, *error: object) -> None:
            """Nothing to give back."""

    message = a_message()
    async with timed(clocks, any_place, retry=ALL, limiter=Slow()) as (gateway, client):
        gateway.script.append(RESET_AFTER)
        what = await told(client.send(message))
        assert isinstance(what, OutcomeUnknown | RequestIdExpired)
        assert gateway.requests[message.request_id] == gateway.phones[PHONE] == 1


async def test_8_age_is_counted_at_the_write_and_not_before_a_connection_is_there(
    clocks: Clocks,
) -> None:
    """25 hours pass while the second attempt waits for a place in the pool: it is not made."""
    message, other = a_message(), a_message("0987654321")
    go_on = asyncio.Event()
    policy = RetryPolicy(attempts=3, attempt_timeout=60, wait=wait_none(), budget=None)
    async with timed(clocks, None, retry=policy, max_connections=1) as (gateway, client):
        gateway.scripts[message.request_id].append(Plan(end="reset", after=go_on))
        gateway.scripts[other.request_id].append(Plan(after=(held := asyncio.Event())))
        first = asyncio.create_task(told(client.send(message)))
        await gateway.until(lambda: gateway.accepted[message.request_id] == 1)
        second = asyncio.create_task(told(client.send(other)))
        await asyncio.sleep(0)
        go_on.set()
        await gateway.until(lambda: gateway.accepted[other.request_id] == 1)
        clocks.sleep(DAY_AND_AN_HOUR)
        held.set()
        what = await first
        assert isinstance(what, OutcomeUnknown | RequestIdExpired)
        assert isinstance(await second, Receipt)
        assert gateway.phones[PHONE] == 1


@pytest.mark.parametrize("passing", PASSINGS.values(), ids=PASSINGS.keys())
@pytest.mark.parametrize("call", ["send", "resume"])
async def test_8_a_message_in_doubt_for_a_day_is_expired(
    clocks: Clocks, any_place: LedgerPlace | None, passing: dict[str, bool], call: str
) -> None:
    """25 hours after OutcomeUnknown, `send` and `resume` of the same client send nothing."""
    message = a_message()
    async with timed(clocks, any_place) as (gateway, client):
        gateway.script.append(RESET_AFTER)
        expect_unknown(await told(client.send(message)))
        clocks.sleep(DAY_AND_AN_HOUR, **passing)
        assert isinstance(await told(getattr(client, call)(message)), RequestIdExpired)
        assert gateway.requests[message.request_id] == gateway.phones[PHONE] == 1


async def test_8_a_minted_id_tells_its_age_where_nobody_knows_the_message(clocks: Clocks) -> None:
    """Without memory or ledger, `resume` of an id minted 25 hours ago sends nothing."""
    message = a_message()
    async with Gateway(clock=clocks.world) as gateway:
        gateway.script.append(RESET_AFTER)
        async with a_client(gateway) as client:
            expect_unknown(await told(client.send(message)))
        clocks.sleep(DAY_AND_AN_HOUR)
        async with a_client(gateway) as client:
            assert isinstance(await told(client.resume(message)), RequestIdExpired)
        assert gateway.requests[message.request_id] == gateway.phones[PHONE] == 1


async def test_8_an_entry_from_the_future_counts_as_expired(
    clocks: Clocks, place: LedgerPlace
) -> None:
    """A wall clock that was set back two hours makes no message in doubt young again."""
    message = a_message()
    async with Gateway(clock=clocks.world) as gateway, place.ledger() as ledger:
        gateway.script.append(RESET_AFTER)
        async with a_client(gateway, ledger=ledger) as client:
            expect_unknown(await told(client.send(message)))
        clocks.set_wall(-2 * HOUR)
        async with a_client(gateway, ledger=ledger) as client:
            assert isinstance(await told(client.resume(message)), RequestIdExpired)
        assert gateway.requests[message.request_id] == 1


async def test_8_a_clock_set_back_while_the_ledger_answers_is_expired(
    clocks: Clocks, place: LedgerPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No infinite age is written into the ledger; the send ends, and the entry can be listed."""
    message = a_message()
    async with Gateway(clock=clocks.world) as gateway, place.ledger() as ledger:
        hasty = RetryPolicy(deadline=0.1)
        async with a_client(gateway, ledger=ledger, limiter=Barrier(), retry=hasty) as client:
            assert isinstance(await told(client.send(message)), NotSent)
        async with a_client(gateway, ledger=ledger) as client:
            session = client._sender.ledger
            assert session is not None
            look_up = session.look_up

            async def set_back(asked: Message) -> object:
                clocks.set_wall(-2 * HOUR)
                return await look_up(asked)

            monkeypatch.setattr(session, "look_up", set_back)
            assert isinstance(await told(client.resume(message)), RequestIdExpired)
        assert gateway.total == 0
        assert all([math.isfinite(one.in_doubt_since) async for one in ledger.unsettled()])


@pytest.mark.parametrize("deadline", [23 * HOUR + 1, 172_800.0])
def test_8_a_deadline_beyond_the_window_is_refused(deadline: float) -> None:
    """No policy can ask for a send that outlives the gateway's memory of it."""
    with pytest.raises(ConfigurationError, match="deadline"):
        RetryPolicy(deadline=deadline)


async def test_8_a_retry_after_of_25_hours_ends_the_send(clocks: Clocks) -> None:
    """A pause that leads past the window is not waited for, whatever the policy allows."""
    message = a_message()
    policy = RetryPolicy(attempts=3, deadline=22 * HOUR, wait=wait_none(), budget=None)
    async with timed(clocks, None, retry=policy) as (gateway, client):
        gateway.script.append(Plan(status=503, head="Retry-After: 90000\r\n"))
        async with asyncio.timeout(generous(60)):
            what = await told(client.send(message))
        expect_unknown(what)
        assert gateway.phones[PHONE] == 1


@pytest.mark.parametrize(
    "first", [RESET_AFTER, Plan(deliveries=0, end="reset")], ids=["took", "lost"]
)
async def test_8_expires_at_holds_for_each_write(clocks: Clocks, first: Plan) -> None:
    """A message that expired while the machine slept is not sent again."""
    message = a_message(expires_at=datetime.now(UTC) + timedelta(hours=1))

    def wait(_: object) -> float:
        clocks.sleep(2 * HOUR)
        return 0.0

    policy = RetryPolicy(attempts=3, wait=wait, budget=None)
    async with timed(clocks, None, retry=policy) as (gateway, client):
        gateway.script.append(first)
        expect_unknown(await told(client.send(message)))
        assert gateway.requests[message.request_id] == 1


async def test_8_expires_at_holds_while_the_limiter_holds_back(clocks: Clocks) -> None:
    """A message that expired in front of the limiter, while the machine slept, is not sent."""
    message = a_message(expires_at=datetime.now(UTC) + timedelta(hours=1))
    barrier = Barrier()
    async with timed(clocks, None, limiter=barrier) as (gateway, client):
        sending = asyncio.create_task(told(client.send(message)))
        await barrier.came.wait()
        clocks.sleep(2 * HOUR)
        barrier.opened.set()
        assert isinstance(await sending, NotSent)
        assert gateway.total == 0


# --- 9: a ledger that fails --------------------------------------------------------------------


def claims_fail(name: str) -> str | None:
    """Let each claim fail."""
    return "before" if "claim" in name else None


async def test_9_a_failing_ledger_does_not_deny_a_send_that_is_under_way_elsewhere(
    gateway: Gateway, place: LedgerPlace
) -> None:
    """The claim fails while another client has the same message accepted: unknown."""
    message = a_message()
    gateway.script.append(Plan(after=(answer := asyncio.Event())))
    async with (
        place.ledger() as ledger,
        a_client(gateway, ledger=ledger) as one,
        a_client(gateway, ledger=flaky(ledger, claims_fail)) as other,
    ):
        first = asyncio.create_task(told(one.send(message)))
        await gateway.until(lambda: gateway.accepted[message.request_id] == 1)
        expect_unknown(await told(other.send(message)))
        async with other.send_many([message]) as outcomes:
            assert [outcome.status async for outcome in outcomes] == [Status.UNKNOWN]
        answer.set()
        assert isinstance(await first, Receipt)
    assert gateway.accepted[message.request_id] == 1


async def test_9_a_failing_ledger_does_not_deny_what_another_process_sent(
    gateway: Gateway, lasting_place: LedgerPlace, elsewhere: Elsewhere
) -> None:
    """A process sends a message; the ledger then fails in this one: unknown."""
    message = a_message()
    (found,) = await elsewhere(
        url=gateway.url(),
        messages=[fields_of(message)],
        calls=["send"],
        ledger=lasting_place.spec,
    )
    assert found["kinds"][0] == "Receipt"
    again = Message(**fields_of(message))
    ledger = flaky(lasting_place.ledger(), claims_fail)
    async with a_client(gateway, ledger=ledger) as client:
        expect_unknown(await told(client.send(again)))
        expect_unknown(await told(client.resume(again)))
    assert gateway.accepted[message.request_id] == 1


@pytest.mark.parametrize("how", ["before", "after"])
async def test_9_a_ledger_that_fails_at_a_resume_leaves_the_message_unknown(
    gateway: Gateway, place: LedgerPlace, how: str
) -> None:
    """OutcomeUnknown, then `resume` and `send` while the ledger fails: still unknown."""
    message = a_message()
    gateway.script.append(RESET_AFTER)
    fails = False
    ledger = flaky(place.ledger(), lambda name: how if fails and "claim" in name else None)
    async with a_client(gateway, ledger=ledger) as client:
        expect_unknown(await told(client.send(message)))
        fails = True
        expect_unknown(await told(client.resume(message)))
        expect_unknown(await told(client.send(message)))
        fails = False
        assert isinstance(await told(client.resume(message)), Receipt)
    assert gateway.accepted[message.request_id] == 1


REMADE: dict[str, Callable[[Message], Message]] = {
    "copied": copy.copy,
    "copied deeply": copy.deepcopy,
    "pickled": lambda message: pickle.loads(pickle.dumps(message)),  # noqa: S301  # our own
    "evolved": lambda message: attrs.evolve(message, campaign_id="july"),
    "made again": lambda message: Message(**fields_of(message)),
}


@pytest.mark.parametrize("remade", REMADE.values(), ids=REMADE.keys())
async def test_9_only_the_message_that_was_made_here_is_known_to_be_untried(
    gateway: Gateway, place: LedgerPlace, remade: Callable[[Message], Message]
) -> None:
    """A claim fails: nothing sent for a message made here, unknown for a copy of one."""
    message = a_message()
    ledger = flaky(place.ledger(), claims_fail)
    async with a_client(gateway, ledger=ledger) as client:
        expect_unknown(await told(client.send(remade(message))))
        what = await told(client.send(a_message("0987654321")))
        assert isinstance(what, LedgerError | NotSent)
        assert not isinstance(what, OutcomeUnknown)
    assert gateway.total == 0


async def test_9_a_tried_message_is_no_longer_known_to_be_untried(gateway: Gateway) -> None:
    """A client without a ledger tried the message; a ledger that fails does not deny that."""
    message = a_message()
    async with a_client(gateway) as client:
        assert isinstance(await told(client.send(message)), Receipt)
    place = LedgerPlace("memory", "", "", lambda: 0.0)
    async with a_client(gateway, ledger=flaky(place.ledger(), claims_fail)) as client:
        expect_unknown(await told(client.send(message)))
    assert gateway.accepted[message.request_id] == 1


# --- 10 and 11: shared sends -------------------------------------------------------------------


@pytest.mark.parametrize("ledger", ["none", "memory", "sqlite", "redis"])
async def test_10_a_cancelled_caller_is_not_told_not_sent_of_a_send_that_goes_on(
    gateway: Gateway, make_place: Callable[..., LedgerPlace], clocks: Clocks, ledger: str
) -> None:
    """The first of two callers is cancelled before the limiter; the other has it accepted."""
    message, barrier = a_message(), Barrier()
    where = None if ledger == "none" else make_place(ledger, clocks.wall).ledger()
    async with a_client(gateway, limiter=barrier, ledger=where) as client:
        first = asyncio.create_task(client.send(message))
        await barrier.came.wait()
        second = asyncio.create_task(told(client.send(message)))
        await asyncio.sleep(0)
        first.cancel()
        expect_unknown(await told(first))
        barrier.opened.set()
        assert isinstance(await second, Receipt)
    assert gateway.requests[message.request_id] == gateway.accepted[message.request_id] == 1


async def test_10_the_last_caller_to_be_cancelled_before_the_limiter_is_told_not_sent(
    gateway: Gateway,
) -> None:
    """Nobody is left to go on: then nothing of the message ever leaves."""
    message, barrier = a_message(), Barrier()
    async with a_client(gateway, limiter=barrier) as client:
        first = asyncio.create_task(client.send(message))
        await barrier.came.wait()
        second = asyncio.create_task(client.send(message))
        await asyncio.sleep(0)
        first.cancel()
        expect_unknown(await told(first))
        second.cancel()
        assert isinstance(await told(second), NotSent)
        barrier.opened.set()
    assert gateway.total == 0


async def test_10_a_cancelled_caller_is_not_told_not_sent_of_what_a_replica_sent(
    gateway: Gateway, make_place: Callable[..., LedgerPlace], clocks: Clocks, elsewhere: Elsewhere
) -> None:
    """A caller is cancelled before the limiter after another process had the message accepted."""
    message, barrier = a_message(), Barrier()
    place = make_place("redis", clocks.wall)
    async with a_client(gateway, limiter=barrier, ledger=place.ledger()) as client:
        sending = asyncio.create_task(client.send(message))
        await barrier.came.wait()
        (found,) = await elsewhere(
            url=gateway.url(), messages=[fields_of(message)], calls=["send"], ledger=place.spec
        )
        assert found["kinds"][0] == "Receipt"
        sending.cancel()
        what = await told(sending)
        expect_unknown(what)
    assert gateway.accepted[message.request_id] == 1


async def test_10_a_cancelled_caller_is_not_told_not_sent_of_what_a_replica_is_about_to_send(
    gateway: Gateway, make_place: Callable[..., LedgerPlace], clocks: Clocks
) -> None:
    """Two replicas hold one message before their limiters; the one that is cancelled: unknown."""
    message, one_limit, other_limit = a_message(), Barrier(), Barrier()
    place = make_place("redis", clocks.wall)
    async with (
        a_client(gateway, limiter=one_limit, ledger=place.ledger()) as one,
        a_client(gateway, limiter=other_limit, ledger=place.ledger()) as other,
    ):
        first = asyncio.create_task(one.send(message))
        await one_limit.came.wait()
        second = asyncio.create_task(told(other.send(message)))
        await other_limit.came.wait()
        first.cancel()
        expect_unknown(await told(first))
        other_limit.opened.set()
        assert isinstance(await second, Receipt)
    assert gateway.accepted[message.request_id] == 1


@pytest.mark.parametrize("ledger", ["none", "memory", "sqlite", "redis"])
async def test_11_cancelling_the_first_caller_in_flight_costs_the_others_nothing(
    wire: Wire, make_place: Callable[..., LedgerPlace], clocks: Clocks, ledger: str
) -> None:
    """The others get the SMSID of the one request, whoever of the callers is cancelled."""
    where = None if ledger == "none" else make_place(ledger, clocks.wall).ledger()
    async with wire.client(ledger=where) as client:
        for number in range(12):
            message = a_message(f"03{number:08}")
            wire.gateway.scripts[message.request_id].append(Plan(after=(go := asyncio.Event())))
            callers = [asyncio.create_task(client.send(message)) for _ in range(4)]
            key, counts = message.request_id, wire.gateway.accepted
            await wire.gateway.until(lambda key=key, counts=counts: counts[key] == 1)  # type: ignore[misc]
            gone = callers.pop(number % 4)
            gone.cancel()
            expect_unknown(await told(gone))
            go.set()
            for what in await asyncio.gather(*map(told, callers)):
                assert isinstance(what, Receipt)
                assert [what.sms_id] == wire.gateway.sms_ids(key)
            assert wire.gateway.requests[key] == wire.gateway.accepted[key] == 1


# --- 12: one ledger, two accounts --------------------------------------------------------------


async def test_12_a_ledger_belongs_to_one_account(gateway: Gateway, place: LedgerPlace) -> None:
    """Another account is refused with the way to go on, and the phone gets one message."""
    message = a_message()
    async with place.ledger() as ledger:
        async with a_client(gateway, ledger=ledger) as client:
            assert isinstance(await told(client.send(message)), Receipt)
        keys = Credentials("ANOTHERANOTHER", KEYS[1])
        async with a_client(gateway, ledger=ledger, credentials=keys) as client:
            for call in (client.send, client.resume):
                what = await told(call(message))
                assert isinstance(what, LedgerError)
                assert "esms-async ledger rebind" in str(what)
    assert gateway.phones[PHONE] == gateway.total == 1


async def test_12_two_accounts_do_not_send_one_messages_doubt_twice(
    gateway: Gateway, place: LedgerPlace
) -> None:
    """A message in doubt under one account is not resumed under another, which would accept it."""
    message = a_message()
    gateway.script.append(RESET_AFTER)
    async with place.ledger() as ledger:
        async with a_client(gateway, ledger=ledger) as client:
            expect_unknown(await told(client.send(message)))
        keys = Credentials("ANOTHERANOTHER", KEYS[1])
        async with a_client(gateway, ledger=ledger, credentials=keys) as client:
            assert isinstance(await told(client.resume(message)), LedgerError)
    assert gateway.phones[PHONE] == gateway.total == 1


async def test_12_a_new_secret_key_of_the_same_account_goes_on(
    gateway: Gateway, place: LedgerPlace
) -> None:
    """The SecretKey was changed; the ledger still says what was accepted."""
    message = a_message()
    async with place.ledger() as ledger:
        async with a_client(gateway, ledger=ledger) as client:
            first = await client.send(message)
        keys = Credentials(KEYS[0], "NEWSECRETNEWSECRET")
        async with a_client(gateway, ledger=ledger, credentials=keys) as client:
            what = await told(client.send(message))
            assert isinstance(what, Receipt)
            assert what.sms_id == first.sms_id
    assert gateway.phones[PHONE] == gateway.total == 1


async def test_12_a_ledger_belongs_to_one_port(gateway: Gateway, place: LedgerPlace) -> None:
    """What one emulator accepted says nothing about another one."""
    message = a_message()
    async with Gateway() as other, place.ledger() as ledger:
        async with a_client(gateway, ledger=ledger) as client:
            assert isinstance(await told(client.send(message)), Receipt)
        async with a_client(other, ledger=ledger) as client:
            assert isinstance(await told(client.send(message)), LedgerError)
        assert other.total == 0


# --- 13: codes under HTTP statuses -------------------------------------------------------------


async def test_13_a_100_in_a_400_is_unknown(wire: Wire) -> None:
    """`400 {"CodeResult":"100"}` contradicts itself: unknown, until asked again."""
    message = a_message()
    wire.gateway.script.append(REFUSAL_OF_ACCEPTANCE)
    async with wire.client() as client:
        expect_unknown(await told(client.send(message)))
        assert isinstance(await told(client.resume(message)), Receipt)
    assert wire.gateway.accepted[message.request_id] == 1


@pytest.mark.parametrize(("status", "code"), [(401, "101"), (403, "140"), (402, "103")])
async def test_13_a_refusal_of_the_account_under_a_4xx_is_known_as_one(
    wire: Wire, status: int, code: str
) -> None:
    """The code under a 4xx is read: the account is refused, and a stream stops."""
    wire.gateway.draw = lambda: Plan(code=code, status=status)
    async with wire.client() as client:
        what = await told(client.send(a_message()))
        assert isinstance(what, AccountRejected)
        assert (what.code, what.status) == (code, status)
        messages = [a_message(f"03{number:08}") for number in range(200)]
        with pytest.raises(AccountRejected):
            async with client.send_many(messages, concurrency=4) as outcomes:
                async for outcome in outcomes:
                    assert outcome.status is Status.REJECTED
    assert wire.gateway.total <= 20
    assert not wire.gateway.accepted


async def test_13_a_124_in_a_409_is_unknown(wire: Wire) -> None:
    """`409 {"CodeResult":"124"}` after a doubled POST is a duplicate, and no rejection."""
    message = a_message()
    wire.gateway.script.append(Plan(deliveries=2, status=409))
    async with wire.client() as client:
        what = await told(client.send(message))
        expect_unknown(what)
        assert isinstance(what, DuplicateRequestId)
    assert wire.gateway.accepted[message.request_id] == 1


async def test_13_a_124_in_a_409_after_an_attempt_is_accepted(wire: Wire) -> None:
    """The same answer to a second attempt tells that the first was accepted."""
    message = a_message()
    wire.gateway.script.extend([RESET_AFTER, Plan(status=409)])
    async with wire.client(retry=TWO_ATTEMPTS) as client:
        assert isinstance(await told(client.send(message)), Receipt)
    assert wire.gateway.accepted[message.request_id] == 1


@pytest.mark.parametrize("status", [301, 307, 408, 425, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("code", ["100", "101", "108", "124"])
async def test_13_a_code_under_any_other_status_proves_nothing(
    gateway: Gateway, status: int, code: str
) -> None:
    """Whatever code comes under 3xx, 408, 425, 429 or 5xx, the outcome is unknown."""
    message = a_message()
    body = f'{{"CodeResult":"{code}","SMSID":"x"}}'.encode()
    gateway.script.append(Plan(status=status, body=body))
    async with a_client(gateway) as client:
        expect_unknown(await told(client.send(message)))
        assert isinstance(await told(client.resume(message)), Receipt)
    assert gateway.accepted[message.request_id] == 1


@pytest.mark.parametrize("code", ["99", "101", "103", "140", "177", "7777"])
async def test_13_a_code_that_does_not_settle_proves_nothing_of_an_earlier_attempt(
    gateway: Gateway, code: str
) -> None:
    """After an attempt that was accepted, 99 and its like leave the message unknown."""
    message = a_message()
    gateway.script.extend([RESET_AFTER, Plan(code=code), Plan(code=code)])
    async with a_client(gateway, retry=TWO_ATTEMPTS) as client:
        what = await told(client.send(message))
        assert isinstance(what, OutcomeUnknown)
        assert what.rejection is not None
        assert what.rejection.code == code
        expect_unknown(await told(client.send(message)))
        assert isinstance(await told(client.resume(message)), Receipt)
    assert gateway.accepted[message.request_id] == 1


@pytest.mark.parametrize("code", ["108", "163", "201", "300"])
async def test_13_a_code_that_settles_holds_for_all_attempts(gateway: Gateway, code: str) -> None:
    """A code that every attempt of the message would meet is a rejection after any history."""
    message = a_message()
    gateway.refuse = lambda fields: code
    gateway.script.append(RESET_AFTER)
    async with a_client(gateway, retry=TWO_ATTEMPTS) as client:
        for _ in range(2):
            what = await told(client.send(message))
            assert isinstance(what, Rejected)
            assert what.code == code
    assert not gateway.accepted


# --- 14: a firewall that refuses everybody -----------------------------------------------------


async def test_14_a_firewall_stops_a_stream(wire: Wire) -> None:
    """403 with a page to everything: a stream ends early, and nobody is told a lie."""
    wire.gateway.draw = lambda: FIREWALL
    pulled = 0

    def source() -> Any:
        nonlocal pulled
        for number in range(500):
            pulled += 1
            yield a_message(f"03{number:08}")

    found = []
    async with wire.client() as client:
        with pytest.raises(Rejected) as caught:
            async with client.send_many(source(), concurrency=8) as outcomes:
                async for outcome in outcomes:
                    found.append(outcome)  # noqa: PERF401  # kept although the stream raises
    assert (caught.value.code, caught.value.status) == (None, 403)
    assert {outcome.status for outcome in found} == {Status.REJECTED}
    assert pulled <= 40
    assert not wire.gateway.accepted


async def test_14_a_firewall_after_an_attempt_leaves_it_unknown(wire: Wire) -> None:
    """The page tells nothing of an attempt before it."""
    message = a_message()
    wire.gateway.script.extend([RESET_AFTER, FIREWALL, FIREWALL])
    async with wire.client(retry=TWO_ATTEMPTS) as client:
        expect_unknown(await told(client.send(message)))
    assert wire.gateway.accepted[message.request_id] == 1


# --- 15: an aiohttp that no test has seen ------------------------------------------------------


FROM_A_CURRENT_ONE = pytest.mark.skipif(
    tuple(map(int, aiohttp.__version__.split(".")[:2])) < (3, 14),
    reason="the later aiohttp is made from a current one, whose internals it replaces",
)


@FROM_A_CURRENT_ONE
async def test_15_a_future_aiohttp_that_calls_no_hook_loses_no_acceptance(
    gateway: Gateway, elsewhere: Elsewhere
) -> None:
    """The payload is never asked to write itself: a 100 is a receipt all the same."""
    message = a_message()
    (found,) = await elsewhere(
        url=gateway.url(), messages=[fields_of(message)], calls=["send"], future_aiohttp=True
    )
    assert gateway.accepted[message.request_id] == 1
    assert found["kinds"][0] == "Receipt", found
    assert [found["sms_id"]] == gateway.sms_ids(message.request_id)


@FROM_A_CURRENT_ONE
@pytest.mark.parametrize("plan", [RESET_AFTER, BUSY_AFTER], ids=["reset", "503"])
async def test_15_a_future_aiohttp_that_calls_no_hook_is_never_told_not_sent(
    gateway: Gateway, elsewhere: Elsewhere, plan: Plan
) -> None:
    """The payload is never asked to write itself: what was lost after acceptance is unknown."""
    message = a_message()
    gateway.script.append(plan)
    (found,) = await elsewhere(
        url=gateway.url(), messages=[fields_of(message)], calls=["send"], future_aiohttp=True
    )
    assert gateway.accepted[message.request_id] == 1
    assert "OutcomeUnknown" in found["kinds"], found
