"""Sends that end early: before they begin, under a claim that was made ahead, or by a hook."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from esms_async import (
    Attempt,
    DuplicateRequestId,
    EsmsClient,
    FixedNumber,
    Hook,
    InvalidMessage,
    Message,
    NotSent,
    Outcome,
    OutcomeUnknown,
    Receipt,
    RequestIdExpired,
    Status,
)
from esms_async._send.reconcile import period
from esms_async.cli.batch import AheadLedger
from esms_async.ledger import Entry, MemoryLedger, Settlement
from esms_async.ledger.transitions import Reason
from tests.factories import CREDENTIALS, ONE_ATTEMPT, QUICK, a_message
from tests.scripted_gateway import ScriptedGateway
from tests.steps import code, duplicate, end_of, take_and_reset

HOUR = 3600.0
# Nobody listens on the port of "discard".
UNREACHABLE = "http://127.0.0.1:9/"
ID = "order-1"
# The client's route takes content, so this message can't be sent.
UNFIT = Message("0901888484", params={"otp": "1"}, request_id=ID)


class Ended(BaseException):
    """What ends a program, as SystemExit does."""


class Ending(Hook):
    """A hook that raises something at an attempt or at an outcome."""

    def __init__(self, *, at: str, error: BaseException) -> None:
        self.outcomes: list[Outcome] = []
        self._at = at
        self._error = error

    def on_attempt(self, *, message: Message, number: int, attempt: Attempt) -> None:
        """Raise, if it is to."""
        if self._at == "attempt":
            raise self._error

    def on_outcome(
        self, *, outcome: Outcome, attempts: tuple[Attempt, ...], duration: float
    ) -> None:
        """Note the outcome, or raise."""
        self.outcomes.append(outcome)
        if self._at == "outcome":
            raise self._error


class Shifted:
    """A clock of a ledger, with an offset."""

    offset = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return time.time() + self.offset


@pytest.fixture
def clock() -> Shifted:
    """The clock of the ledger."""
    return Shifted()


@pytest.fixture
async def ahead(clock: Shifted) -> AsyncIterator[AheadLedger]:
    """A ledger in which sends are claimed ahead."""
    ledger = AheadLedger(MemoryLedger(clock=clock))
    ledger.make_fingerprints_with(CREDENTIALS.secret_key, FixedNumber())
    await ledger.open()
    yield ledger
    await ledger.aclose()


@pytest.fixture
async def client(gateway: ScriptedGateway, ahead: AheadLedger) -> AsyncIterator[EsmsClient]:
    """A client over that ledger."""
    async with EsmsClient(
        CREDENTIALS, base_url=gateway.url, ledger=ahead, retry=ONE_ATTEMPT
    ) as client:
        yield client


async def claim_ahead(ledger: AheadLedger, message: Message, *, hours_ago: float) -> None:
    """Claim a message, and have the machine sleep since then."""
    await ledger.claim_ahead([message])
    ahead = ledger._claims[message.request_id]
    wall, boot = (moment - hours_ago * HOUR for moment in ahead.began)
    ledger._claims[message.request_id] = ahead._replace(began=(wall, boot))


async def status_of(ledger: AheadLedger) -> Status | None:
    """Return what the ledger holds of the message."""
    entry = await ledger.look_up(ID)
    return None if entry is None else entry.status


async def test_a_claim_made_ahead_is_as_old_as_the_claim(
    client: EsmsClient, ahead: AheadLedger, gateway: ScriptedGateway
) -> None:
    """After a day of sleep another process may have sent the message, so nothing is written."""
    message = Message("0901888484", "a", request_id=ID)
    await claim_ahead(ahead, message, hours_ago=25)
    assert type(await end_of(client.send(message))) is NotSent
    assert gateway.bodies == []


@pytest.mark.parametrize("resume", [False, True], ids=["send", "resume"])
async def test_a_doubt_that_was_claimed_ahead_goes_on_ageing(
    client: EsmsClient, ahead: AheadLedger, gateway: ScriptedGateway, clock: Shifted, resume: bool
) -> None:
    """In doubt for 20 hours at the claim, and for 26 after a sleep of six: it has expired."""
    message = Message("0901888484", "a", request_id=ID)
    clock.offset = -20 * HOUR
    await ahead.wrapped.claim(message, ahead.fingerprint(message))
    clock.offset = 0.0
    await claim_ahead(ahead, message, hours_ago=6)
    sending = client.resume(message) if resume else client.send(message)
    assert type(await end_of(sending)) is RequestIdExpired
    assert gateway.bodies == []


async def test_a_claim_of_what_cannot_be_sent_is_given_back(
    client: EsmsClient, ahead: AheadLedger, gateway: ScriptedGateway
) -> None:
    """The message is invalid, and the ledger knows that nothing was sent."""
    await ahead.claim_ahead([UNFIT])
    assert type(await end_of(client.send(UNFIT))) is InvalidMessage
    assert await status_of(ahead) is Status.NOT_SENT
    assert gateway.bodies == []


@pytest.mark.parametrize(
    ("meanwhile", "expected"),
    [
        (Settlement(Status.ACCEPTED), Receipt),
        (Settlement(Status.UNKNOWN, Reason.DUPLICATE), OutcomeUnknown),
        (None, OutcomeUnknown),
    ],
    ids=["accepted", "in doubt", "the ledger lost it"],
)
async def test_what_became_of_it_meanwhile_counts(
    client: EsmsClient,
    ahead: AheadLedger,
    clock: Shifted,
    meanwhile: Settlement | None,
    expected: type,
) -> None:
    """Another process took the claim over before this one could give it back."""
    await ahead.claim_ahead([UNFIT])
    if meanwhile is None:
        clock.offset = HOUR
        assert await ahead.prune(0, unsettled=True) == 1
    else:
        taken_over = await ahead.wrapped.claim(UNFIT, ahead.fingerprint(UNFIT))
        await ahead.settle(ID, taken_over.entry.generation, meanwhile)
    assert type(await end_of(client.send(UNFIT))) is expected


async def test_a_claim_is_given_back_by_a_send_that_is_cancelled_meanwhile(
    client: EsmsClient, ahead: AheadLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was sent, so the ledger must not say for ever that something may have been."""
    await ahead.claim_ahead([UNFIT])
    settle, reached = ahead.settle, asyncio.Event()

    async def hang_once(*told: Any) -> Entry | None:
        if not reached.is_set():
            reached.set()
            await asyncio.Event().wait()
        return await settle(*told)

    monkeypatch.setattr(ahead, "settle", hang_once)
    sending = asyncio.ensure_future(client.send(UNFIT))
    await reached.wait()
    sending.cancel()
    await asyncio.wait([sending])
    assert await status_of(ahead) is Status.NOT_SENT


async def test_resume_goes_by_the_age_of_the_id_where_the_ledger_knows_of_nothing_sent(
    gateway: ScriptedGateway, ahead: AheadLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller knows of an attempt, which may be as old as the id: the gateway has forgotten."""
    nanoseconds = time.time_ns
    with monkeypatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: nanoseconds() - 30 * 3600 * 10**9)
        message = a_message()
    claim = await ahead.wrapped.claim(message, ahead.fingerprint(message))
    await ahead.settle(message.request_id, claim.entry.generation, Settlement(Status.NOT_SENT))
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, ledger=ahead) as client:
        assert type(await end_of(client.resume(message))) is RequestIdExpired
    assert gateway.bodies == []


@pytest.mark.parametrize("error", [asyncio.CancelledError(), Ended()], ids=["cancels", "ends"])
async def test_a_hook_that_raises_at_the_attempt_leaves_an_acceptance_as_it_is(
    gateway: ScriptedGateway, ahead: AheadLedger, error: BaseException
) -> None:
    """Neither the hook nor the client says afterwards that the message was not sent."""
    hook = Ending(at="attempt", error=error)
    message = Message("0901888484", "a", request_id=ID)
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, ledger=ahead, hooks=[hook]) as client:
        with pytest.raises(type(error)):
            await client.send(message)
        assert [outcome.status for outcome in hook.outcomes] == [Status.ACCEPTED]
        assert type(await client.send(message)) is Receipt
    assert await status_of(ahead) is not Status.NOT_SENT
    assert gateway.accepted[ID] == len(gateway.bodies) == 1


async def test_a_hook_that_raises_at_the_outcome_keeps_nobody_waiting(
    gateway: ScriptedGateway,
) -> None:
    """The client closes, and remembers the outcome."""
    gateway.script.append(code("101"))
    hook, message = Ending(at="outcome", error=Ended()), a_message()
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, hooks=[hook]) as client:
        with pytest.raises(Ended):
            await client.send(message)
    assert [outcome.status for outcome in hook.outcomes] == [Status.REJECTED]


@pytest.mark.parametrize("resume", [False, True], ids=["send", "resume"])
async def test_what_this_client_knows_of_nothing_sent_may_be_out_of_date(
    ahead: AheadLedger, resume: bool
) -> None:
    """Cancelled before its first step, a send does not say that another process sent nothing."""
    message = Message("0901888484", "a", request_id=ID)
    ledger = None if resume else ahead
    async with EsmsClient(
        CREDENTIALS, base_url=UNREACHABLE, ledger=ledger, retry=ONE_ATTEMPT
    ) as client:
        assert type(await end_of(client.send(message))) is NotSent
        task = asyncio.ensure_future(client.resume(message) if resume else client.send(message))
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
    assert type(caught.value.__cause__) is OutcomeUnknown


def no_url(_: Message) -> str:
    """Return a text that is not a URL, so the message can't be encoded."""
    return "not a URL"


def fail(_: Message) -> str:
    """Fail, as a function of the caller's may."""
    raise ZeroDivisionError


async def test_what_the_client_knows_outlives_a_send_that_does_not_begin(
    gateway: ScriptedGateway, clock: Shifted
) -> None:
    """Accepted by code 124, without an SMSID, so it looks into its ledger, which lost the entry."""
    gateway.script.extend([take_and_reset, duplicate])
    message = Message("0901888484", "a", request_id=ID)
    async with MemoryLedger(clock=clock) as ledger:
        async with EsmsClient(
            CREDENTIALS, base_url=gateway.url, ledger=ledger, retry=QUICK
        ) as client:
            assert (await client.send(message)).deduplicated
            clock.offset = HOUR
            assert await ledger.prune(0, unsettled=True) == 1
            with pytest.raises(ZeroDivisionError):
                await client.with_options(callback_url=fail).send(message)
            assert (await client.with_options(callback_url=no_url).send(message)).deduplicated
        assert (await client.send(message)).deduplicated
    assert len(gateway.bodies) == 2


async def test_a_doubt_by_124_alone_outlives_the_client(
    gateway: ScriptedGateway, client: EsmsClient
) -> None:
    """Closed, it says the same of the message as before."""
    gateway.script.append(duplicate)
    message = Message("0901888484", "a", request_id=ID)
    for _ in range(2):
        assert type(await end_of(client.send(message))) is DuplicateRequestId
        await client.aclose()
    assert len(gateway.bodies) == 1


def test_the_period_of_an_entry_ends_after_it_begins() -> None:
    """Also where the clock was set back between the first claim and the last one."""
    entry = Entry(ID, Status.UNKNOWN, Reason.ATTEMPT, 2, b"", "", None, 7200.0, 3600.0)
    since, until = period(entry)
    assert since < datetime.fromtimestamp(7200, UTC) < until
