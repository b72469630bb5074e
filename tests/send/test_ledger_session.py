"""A client with a ledger: what is sent again, what is not, and what a failing ledger changes.

The two parts are `LedgerSession` and what `_Send` does with it.
"""

import asyncio
import copy
import logging
import pickle
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from esms_async import (
    AccountRejected,
    DuplicateRequestId,
    EsmsClient,
    LedgerError,
    Message,
    NotSent,
    OutcomeUnknown,
    Receipt,
    Rejected,
    RequestIdConflict,
    RequestIdExpired,
    RetryPolicy,
    Status,
)
from esms_async._http.transport import DEFAULT_BASE_URL, HttpResponse, SendRequest
from esms_async._send.memory import now
from esms_async.ledger import Claim, Entry, MemoryLedger, Settlement, SqliteLedger
from esms_async.ledger.transitions import WINDOW, Reason
from tests.factories import CREDENTIALS, ONE_ATTEMPT, QUICK, a_message
from tests.ledger.conftest import Clock
from tests.limits import generous
from tests.scripted_gateway import Exchange, ScriptedGateway, Step, accept
from tests.steps import (
    Notes,
    Paused,
    answer,
    callers_of,
    cancelled_with,
    code,
    duplicate,
    end_of,
    forbidden,
    hang,
    no_balance,
    reset,
    take_and_reset,
)

PHONE = "0901888484"
# Two days before, when an id was minted that nobody can know any more.
PAST_NS = time.time_ns() - 48 * 3600 * 10**9


class FailingLedger(MemoryLedger):
    """A ledger that fails as often as a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.claims_to_fail = 0
        self.settlements_to_fail = 0
        self.settled = asyncio.Event()

    async def claim(
        self, message: Message, fingerprint: bytes, *, doubt_age: float | None = None
    ) -> Claim:
        """Fail, or claim."""
        if self.claims_to_fail:
            self.claims_to_fail -= 1
            raise LedgerError("the disk is full")
        return await super().claim(message, fingerprint, doubt_age=doubt_age)

    def accept_soon(self, *_: object, **__: object) -> bool:
        """Leave acceptances to `settle`."""
        return False

    async def settle(
        self, request_id: str, generation: int, settlement: Settlement
    ) -> Entry | None:
        """Fail, or settle."""
        if self.settlements_to_fail:
            self.settlements_to_fail -= 1
            raise LedgerError("the disk is full")
        self.settled.set()
        return await super().settle(request_id, generation, settlement)


@pytest.fixture
def clock() -> Clock:
    """The ledger's clock."""
    return Clock()


@pytest.fixture
async def ledger(clock: Clock) -> AsyncIterator[MemoryLedger]:
    """An open ledger."""
    async with MemoryLedger(clock=clock) as ledger:
        yield ledger


@pytest.fixture
def failing() -> FailingLedger:
    """A ledger that can fail."""
    return FailingLedger()


MakeClient = Callable[..., EsmsClient]


@pytest.fixture
def a_client(gateway: ScriptedGateway, ledger: MemoryLedger) -> MakeClient:
    """Make clients of the gateway, on one ledger unless told otherwise."""

    def make(retry: RetryPolicy = QUICK, *, ledger: MemoryLedger = ledger) -> EsmsClient:
        return EsmsClient(CREDENTIALS, base_url=gateway.url, retry=retry, ledger=ledger)

    return make


async def status_of(ledger: MemoryLedger, message: Message) -> Status | None:
    """Return what the ledger knows of a message."""
    entry = await ledger.look_up(message.request_id)
    return None if entry is None else entry.status


class Ends(BaseException):
    """What ends a program, as SystemExit does."""


async def test_what_ends_the_program_leaves_the_entry_open(
    gateway: ScriptedGateway, ledger: MemoryLedger
) -> None:
    """Only what is known not to have left is given back: the answer may have been code 100."""

    def end(_: bytes) -> object:
        raise Ends

    message = a_message()
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, ledger=ledger, loads=end) as client:
        with pytest.raises(Ends):
            await client.send(message)
    assert gateway.accepted[message.request_id] == 1
    assert await status_of(ledger, message) is Status.UNKNOWN


async def test_an_error_of_this_package_is_no_proof_that_nothing_left(
    gateway: ScriptedGateway, ledger: MemoryLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever fails behind the write, the entry stays open and no hook is told otherwise."""
    message, notes = a_message(), Notes()
    async with EsmsClient(
        CREDENTIALS, base_url=gateway.url, ledger=ledger, hooks=[notes]
    ) as client:
        post = client._sender.transport.post

        async def fail(operation: str, request: SendRequest, *, time_limit: float) -> HttpResponse:
            await post(operation, request, time_limit=time_limit)
            raise ZeroDivisionError

        monkeypatch.setattr(client._sender.transport, "post", fail)
        with pytest.raises(ZeroDivisionError):
            await client.send(message)
    assert await status_of(ledger, message) is Status.UNKNOWN
    assert isinstance(notes.outcomes[0].error, OutcomeUnknown)


class SlowToSettle(MemoryLedger):
    """A ledger whose first settlement never comes to its end."""

    def __init__(self) -> None:
        super().__init__()
        self.settling = asyncio.Event()

    def accept_soon(self, *_: object, **__: object) -> bool:
        """Leave acceptances to `settle`."""
        return False

    async def settle(
        self, request_id: str, generation: int, settlement: Settlement
    ) -> Entry | None:
        """Hang, then settle."""
        if not self.settling.is_set():
            self.settling.set()
            await asyncio.Event().wait()
        return await super().settle(request_id, generation, settlement)


@pytest.mark.parametrize(
    ("step", "cause", "state"),
    [
        (accept, OutcomeUnknown, Status.ACCEPTED),
        (code("108"), Rejected, Status.REJECTED),
    ],
    ids=["accepted", "rejected"],
)
async def test_a_send_cancelled_while_it_is_settled_tells_what_had_come(
    gateway: ScriptedGateway, step: Step, cause: type[Exception], state: Status
) -> None:
    """The cause is as near to the truth as an error can be; hook and ledger learn all of it."""
    gateway.script.append(step)
    ledger, message, notes = SlowToSettle(), a_message(), Notes()
    async with EsmsClient(
        CREDENTIALS, base_url=gateway.url, ledger=ledger, hooks=[notes]
    ) as client:
        sending = asyncio.create_task(client.send(message))
        await ledger.settling.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await sending
        assert type(cancelled.value.__cause__) is cause
        await client.aclose()
    (outcome,) = notes.outcomes
    assert outcome.status is state
    await ledger.open()
    assert await status_of(ledger, message) is state


class OpensOnDemand(MemoryLedger):
    """A ledger that opens when a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.allowed = asyncio.Event(), asyncio.Event()

    async def open(self) -> None:
        """Wait, and open."""
        self.asked.set()
        await self.allowed.wait()
        await super().open()


async def test_a_ledger_that_is_opened_too_late_is_closed_again(gateway: ScriptedGateway) -> None:
    """Of two sends that wait for the ledger when the client is closed, none leaves it open."""
    ledger = OpensOnDemand()
    client = EsmsClient(CREDENTIALS, base_url=gateway.url, ledger=ledger)
    sends = [asyncio.create_task(client.send(a_message())) for _ in range(2)]
    await ledger.asked.wait()
    closing = asyncio.create_task(client.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    ledger.allowed.set()
    for result in await asyncio.gather(*sends, return_exceptions=True):
        assert isinstance(result, LedgerError)
        assert "the client is closed" in str(result)
    assert not ledger.is_open
    assert gateway.connections == 0


class SlowToOpen(MemoryLedger):
    """A ledger that takes a turn of the event loop to open."""

    opened = 0

    async def open(self) -> None:
        """Count, and open a turn later."""
        self.opened += 1
        await asyncio.sleep(0)
        await super().open()


async def test_sends_that_begin_together_open_the_ledger_once(
    gateway: ScriptedGateway, a_client: MakeClient
) -> None:
    """A ledger that nobody has opened is opened by the first send, and the others wait for it."""
    ledger = SlowToOpen()
    messages = [a_message() for _ in range(5)]
    async with a_client(ledger=ledger) as client:
        await asyncio.gather(*map(client.send, messages))
    assert (ledger.opened, len(gateway.bodies)) == (1, 5)


async def test_an_accepted_message_is_not_sent_again(
    gateway: ScriptedGateway, ledger: MemoryLedger, a_client: MakeClient
) -> None:
    """The second send, by another client, gives the stored receipt without a request."""
    message = a_message()
    async with a_client() as client:
        first = await client.send(message)
        assert await status_of(ledger, message) is Status.ACCEPTED
    async with a_client() as client:
        assert await client.send(message) == Receipt(message.request_id, "d8e0")
        assert await client.resume(message) == Receipt(message.request_id, "d8e0")
    assert first.sms_id == "d8e0"
    assert len(gateway.bodies) == 1


class SettlesOnly:
    """A ledger of another make: it has the methods that every ledger has, and no others."""

    def __init__(self) -> None:
        self._stored = MemoryLedger()
        self.open = self._stored.open
        self.aclose = self._stored.aclose
        self.claim = self._stored.claim
        self.settle = self._stored.settle
        self.look_up = self._stored.look_up
        self.unsettled = self._stored.unsettled
        self.entries = self._stored.entries
        self.prune = self._stored.prune
        self.keep_fact = self._stored.keep_fact

    @property
    def is_open(self) -> bool:
        """True between `open` and `aclose`."""
        return self._stored.is_open


async def test_a_ledger_that_can_only_settle_is_settled(gateway: ScriptedGateway) -> None:
    """A send waits for the settlement where a ledger takes no acceptance to store later."""
    ledger, message = SettlesOnly(), a_message()
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, ledger=ledger) as client:
        await client.send(message)
        entry = await ledger.look_up(message.request_id)
        assert entry is not None
        assert entry.status is Status.ACCEPTED


async def test_a_message_is_claimed_before_the_first_byte_leaves(
    gateway: ScriptedGateway, ledger: MemoryLedger, a_client: MakeClient
) -> None:
    """When the request arrives at the gateway, the claim is stored."""
    message = a_message()
    states: list[Status | None] = []

    async def look(exchange: Exchange) -> None:
        states.append(await status_of(ledger, message))
        exchange.answer(exchange.accept())

    gateway.script.append(look)
    async with a_client() as client:
        await client.send(message)
    assert states == [Status.UNKNOWN]


async def test_an_unsettled_message_is_resumed(
    gateway: ScriptedGateway, a_client: MakeClient
) -> None:
    """A later send of what may have arrived reads 124 as acceptance."""
    message = a_message()
    gateway.script.append(take_and_reset)
    async with a_client(ONE_ATTEMPT) as client:
        with pytest.raises(OutcomeUnknown):
            await client.send(message)
    async with a_client() as client:
        receipt = await client.send(message)
    assert receipt.deduplicated
    assert gateway.accepted[message.request_id] == 1


async def test_an_unsettled_message_expires(
    gateway: ScriptedGateway, a_client: MakeClient, clock: Clock
) -> None:
    """Once the gateway may have forgotten the RequestId, nothing is sent."""
    message = a_message()
    gateway.script.append(take_and_reset)
    async with a_client(ONE_ATTEMPT) as client:
        with pytest.raises(OutcomeUnknown):
            await client.send(message)
        clock.advance(WINDOW + 1)
        for again in (client.send, client.resume):
            with pytest.raises(RequestIdExpired) as caught:
                await again(message)
        assert caught.value.since.timestamp() == clock.now - WINDOW - 1
    assert len(gateway.bodies) == 1


async def test_a_rejected_message_stays_rejected(
    gateway: ScriptedGateway, a_client: MakeClient
) -> None:
    """The stored rejection is raised again; a renewed message is sent."""
    message = a_message()
    body = b'{"CodeResult":"201","ErrorMessage":"the word is blocked","SMSID":"a1"}'
    gateway.script.append(answer(body))
    async with a_client() as client:
        with pytest.raises(Rejected) as first:
            await client.send(message)
        with pytest.raises(Rejected) as second:
            await client.send(message)
        assert len(gateway.bodies) == 1
        assert (await client.send(message.renewed())).sms_id == "d8e0"
    for name in ("code", "status", "detail"):
        assert getattr(first.value, name) == getattr(second.value, name)


@pytest.mark.parametrize(
    "refusal",
    [no_balance, code("4711"), forbidden],
    ids=["balance", "unlisted", "403"],
)
async def test_a_refusal_of_the_sender_is_not_held_against_the_message(
    gateway: ScriptedGateway, a_client: MakeClient, refusal: Step
) -> None:
    """Once the account is put right, the same message is sent."""
    message = a_message()
    gateway.script.append(refusal)
    async with a_client() as client:
        with pytest.raises(Rejected):
            await client.send(message)
        receipt = await client.send(message)
    assert (receipt.sms_id, receipt.deduplicated) == ("d8e0", False)


async def test_what_was_not_sent_is_sent_by_the_next_send(
    gateway: ScriptedGateway, ledger: MemoryLedger, a_client: MakeClient
) -> None:
    """A NotSent leaves no doubt behind: 124 on the next send is no acceptance."""
    message = a_message()
    async with a_client(ONE_ATTEMPT) as client:
        await client.send(a_message())
        gateway.hang_up()
        with pytest.raises(NotSent):
            await client.send(message)
        assert await status_of(ledger, message) is Status.NOT_SENT
        gateway.script.append(duplicate)
        with pytest.raises(DuplicateRequestId):
            await client.send(message)


async def test_the_same_id_for_another_message_is_a_conflict(
    gateway: ScriptedGateway, a_client: MakeClient
) -> None:
    """A RequestId that the ledger knows is not lent to another text."""
    message = a_message()
    async with a_client() as client:
        await client.send(message)
        with pytest.raises(RequestIdConflict):
            await client.send(Message("0901888484", "other", request_id=message.request_id))
    assert len(gateway.bodies) == 1


async def test_a_cancelled_send_is_resumed_later(
    gateway: ScriptedGateway, ledger: MemoryLedger, a_client: MakeClient
) -> None:
    """A send cancelled after the write stays open, and the next one finds out."""
    message = a_message()
    gateway.script.append(hang)
    async with a_client() as client:
        task = asyncio.create_task(client.send(message))
        await gateway.hanging.wait()
        assert isinstance(await cancelled_with(task), OutcomeUnknown)
        assert await status_of(ledger, message) is Status.UNKNOWN
        assert (await client.send(message)).deduplicated


async def test_a_send_cancelled_before_the_write_is_released(
    gateway: ScriptedGateway, ledger: MemoryLedger
) -> None:
    """A send cancelled before anything left leaves no doubt behind."""
    message = a_message()
    async with EsmsClient(
        CREDENTIALS, base_url=gateway.url, ledger=ledger, limiter=asyncio.Semaphore(0)
    ) as client:
        task = asyncio.create_task(client.send(message))
        await asyncio.sleep(0.01)
        assert isinstance(await cancelled_with(task), NotSent)
    assert await status_of(ledger, message) is Status.NOT_SENT


@pytest.mark.parametrize(
    ("request_id", "kind"), [(None, NotSent), ("order:1", OutcomeUnknown)], ids=["minted", "given"]
)
async def test_a_cancellation_during_the_claim_is_honest(
    gateway: ScriptedGateway, request_id: str | None, kind: type[Exception]
) -> None:
    """Before the ledger answers, only a message that nobody can have tried is not sent."""
    claiming = asyncio.Event()

    class SlowLedger(MemoryLedger):
        async def claim(
            self, message: Message, fingerprint: bytes, *, doubt_age: float | None = None
        ) -> Claim:
            claiming.set()
            await asyncio.Event().wait()
            return await super().claim(message, fingerprint, doubt_age=doubt_age)

    message = a_message() if request_id is None else Message(PHONE, "686868", request_id=request_id)
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, ledger=SlowLedger()) as client:
        task = asyncio.create_task(client.send(message))
        await claiming.wait()
        assert type(await cancelled_with(task)) is kind
    assert gateway.bodies == []


TWINS = {
    "given id": lambda: Message(PHONE, "686868", request_id="order:1"),
    "copy": lambda: copy.copy(a_message()),
    "pickle": lambda: pickle.loads(pickle.dumps(a_message())),  # noqa: S301  # our own bytes
}


@pytest.mark.parametrize("make", TWINS.values(), ids=TWINS)
async def test_a_failed_claim_of_what_others_may_have_sent_is_unknown(
    gateway: ScriptedGateway,
    failing: FailingLedger,
    a_client: MakeClient,
    make: Callable[[], Message],
) -> None:
    """Only for a minted Message that was never tried does a failed claim mean "not sent"."""
    message = make()
    async with a_client(ledger=failing) as client:
        failing.claims_to_fail = 1
        with pytest.raises(OutcomeUnknown, match="the disk is full") as caught:
            await client.send(message)
        assert isinstance(caught.value.__cause__, LedgerError)
        assert gateway.bodies == []
        # Nothing was learned, so the next send asks the ledger again.
        assert (await client.send(message)).sms_id == "d8e0"


async def test_a_failed_claim_of_a_resumed_message_is_unknown(
    gateway: ScriptedGateway, failing: FailingLedger, a_client: MakeClient
) -> None:
    """Who resumes knows of an attempt, so nobody may say "not sent"."""
    failing.claims_to_fail = 1
    async with a_client(ledger=failing) as client:
        with pytest.raises(OutcomeUnknown, match="the disk is full"):
            await client.resume(a_message())
    assert gateway.bodies == []


async def test_a_message_that_failed_once_is_no_untried_one(
    failing: FailingLedger, gateway: ScriptedGateway, a_client: MakeClient
) -> None:
    """After a first try another client may have sent the message in between."""
    message = a_message()
    async with a_client(ledger=failing) as one, a_client(ledger=failing) as other:
        failing.claims_to_fail = 1
        with pytest.raises(LedgerError):
            await one.send(message)
        await other.send(message)
        failing.claims_to_fail = 1
        with pytest.raises(OutcomeUnknown):
            await one.send(message)
    assert gateway.accepted[message.request_id] == 1


async def test_a_duplicate_is_stored_as_a_doubt_of_its_own(
    gateway: ScriptedGateway, ledger: MemoryLedger, a_client: MakeClient
) -> None:
    """After 124 alone neither send nor resume sends anything, in any client of the ledger."""
    message = a_message()
    gateway.script.append(duplicate)
    for count in range(2):
        async with a_client() as client:
            for again in (client.send, client.resume):
                with pytest.raises(DuplicateRequestId) as caught:
                    await again(message)
            assert len(caught.value.attempts) in (0, 1)
            assert len(gateway.bodies) == 1, count
    entry = await ledger.look_up(message.request_id)
    assert entry is not None
    assert (entry.status, entry.reason) == (Status.UNKNOWN, Reason.DUPLICATE)


async def test_a_client_learns_what_the_ledger_has_learned_meanwhile(
    gateway: ScriptedGateway, ledger: MemoryLedger, a_client: MakeClient
) -> None:
    """A delivery report ends the doubt by 124, also in the client that has it."""
    message = a_message()
    gateway.script.append(duplicate)
    async with a_client() as client:
        with pytest.raises(DuplicateRequestId):
            await client.send(message)
        await ledger.settle(message.request_id, 0, Settlement(Status.ACCEPTED, sms_id="r1"))
        for again in (client.send, client.resume):
            assert (await again(message)).sms_id == "r1"
    assert len(gateway.bodies) == 1


async def test_a_ledger_that_fails_before_the_send_sends_nothing(
    gateway: ScriptedGateway, failing: FailingLedger, a_client: MakeClient
) -> None:
    """Without a claim no byte leaves, and the error says why."""
    failing.claims_to_fail = 1
    message = a_message()
    async with a_client(ledger=failing) as client:
        with pytest.raises(LedgerError, match="disk is full"):
            await client.send(message)
        assert gateway.bodies == []
        assert (await client.send(message)).sms_id == "d8e0"


async def test_in_a_stream_a_failed_claim_is_an_outcome_not_sent(
    failing: FailingLedger, a_client: MakeClient
) -> None:
    """The stream goes on after a failed claim."""
    failing.claims_to_fail = 1
    async with a_client(ledger=failing) as client:
        outcomes = [outcome async for outcome in client.send_many([a_message(), a_message()])]
    assert sorted(outcome.status for outcome in outcomes) == [Status.ACCEPTED, Status.NOT_SENT]


async def test_a_ledger_that_fails_after_the_send_still_gives_the_receipt(
    failing: FailingLedger, a_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    """The receipt is true, a warning is logged, and the settlement follows."""
    failing.settlements_to_fail = 2
    message = a_message()
    async with a_client(ledger=failing) as client:
        receipt = await client.send(message)
        assert receipt.sms_id == "d8e0"
        assert await status_of(failing, message) is Status.UNKNOWN
        await asyncio.wait_for(failing.settled.wait(), timeout=generous(20))
        assert await status_of(failing, message) is Status.ACCEPTED
    assert "could not be recorded" in caplog.text
    assert caplog.records[0].levelno == logging.WARNING


async def test_closing_gives_an_outstanding_settlement_a_last_try(
    failing: FailingLedger, a_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    """What can be recorded at close is; what can't is said to be lost."""
    recorded, lost = a_message(), a_message()
    async with failing:
        async with a_client(ledger=failing) as client:
            failing.settlements_to_fail = 1
            await client.send(recorded)
            failing.settlements_to_fail = 0
        assert await status_of(failing, recorded) is Status.ACCEPTED
        async with a_client(ledger=failing) as client:
            failing.settlements_to_fail = 1000
            await client.send(lost)
        assert await status_of(failing, lost) is Status.UNKNOWN
    assert f"request id {lost.request_id}: accepted was never recorded" in caplog.text


async def test_a_failed_attempt_is_recorded_before_the_next(
    gateway: ScriptedGateway, ledger: MemoryLedger, a_client: MakeClient, clock: Clock
) -> None:
    """Between two attempts the ledger knows when the first one may have arrived."""
    message = a_message()

    async def later(exchange: Exchange) -> None:
        clock.advance(7)
        await reset(exchange)

    gateway.script.append(later)
    async with a_client() as client:
        await client.send(message)
    entry = await ledger.look_up(message.request_id)
    assert entry is not None
    assert entry.updated_at == entry.in_doubt_since + 7


async def test_another_process_may_have_sent_it_meanwhile(
    gateway: ScriptedGateway, a_client: MakeClient
) -> None:
    """A retry is not made once the ledger says that somebody else was accepted."""
    message = a_message()
    async with a_client(ONE_ATTEMPT) as other, a_client() as client:

        async def overtake(exchange: Exchange) -> None:
            await other.send(message)
            await exchange.reset()

        gateway.script.append(overtake)
        receipt = await client.send(message)
    assert receipt.sms_id == "d8e0"
    assert len(receipt.attempts) == 1
    assert len(gateway.bodies) == 2


@pytest.mark.parametrize(
    ("mine", "theirs", "expected"),
    [
        (duplicate, None, Receipt),
        (duplicate, reset, OutcomeUnknown),
        (no_balance, None, Receipt),
        (no_balance, reset, OutcomeUnknown),
        (code("108"), reset, Rejected),
        (no_balance, code("108"), Rejected),
        (reset, code("108"), OutcomeUnknown),
    ],
    ids=[
        "duplicate-accepted",
        "duplicate-unknown",
        "balance-accepted",
        "balance-unknown",
        "malformed-unknown",
        "balance-rejected",
        "lost-rejected",
    ],
)
async def test_an_overtaken_send_tells_what_is_true(
    gateway: ScriptedGateway,
    a_client: MakeClient,
    mine: Step,
    theirs: Step | None,
    expected: type[object],
) -> None:
    """What a send learns itself is weighed against what another process has recorded."""
    message = a_message()
    async with a_client(ONE_ATTEMPT) as other, a_client(ONE_ATTEMPT) as client:

        async def overtake(exchange: Exchange) -> None:
            if theirs is not None:
                gateway.script.append(theirs)
            await end_of(other.send(message))
            await mine(exchange)

        gateway.script.append(overtake)
        result = await end_of(client.send(message))
    assert isinstance(result, expected)
    assert not isinstance(result, AccountRejected)


async def test_a_client_opens_and_closes_a_ledger_that_nobody_opened(
    gateway: ScriptedGateway, tmp_path: Path
) -> None:
    """A ledger given closed is opened by the first send, once, and closed with the client."""
    ledger = SqliteLedger(tmp_path / "ledger.db")
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, ledger=ledger) as client:
        assert not ledger.is_open
        await asyncio.gather(*(client.send(a_message()) for _ in range(10)))
        assert ledger.is_open
    assert not ledger.is_open


@pytest.mark.parametrize("owned", [True, False], ids=["opened-by-the-client", "open"])
async def test_a_ledger_holds_what_was_sent_to_one_place(
    gateway: ScriptedGateway, tmp_path: Path, owned: bool
) -> None:
    """What an emulator or the sandbox accepted is not taken for sent to the gateway."""
    message, path = a_message(), tmp_path / "ledger.db"
    sandboxed = EsmsClient(
        CREDENTIALS, base_url=gateway.url, sandbox=True, ledger=SqliteLedger(path)
    )
    async with sandboxed as client:
        await client.send(message)
    ledger = SqliteLedger(path)
    if not owned:
        await ledger.open()
    own = gateway.url.partition("/MainService")[0]
    for base_url, place in ((gateway.url, own), (DEFAULT_BASE_URL, "https://rest.esms.vn:443")):
        async with EsmsClient(CREDENTIALS, base_url=base_url, ledger=ledger) as client:
            for _ in range(2):
                with pytest.raises(
                    LedgerError, match=f"sent to {own} sandbox; .* sent to {place}$"
                ):
                    await client.send(message)
    await ledger.aclose()
    assert len(gateway.bodies) == 1


async def test_an_open_ledger_stays_its_owners(ledger: MemoryLedger, a_client: MakeClient) -> None:
    """A ledger given open is not closed by the client."""
    async with a_client() as client:
        await client.send(a_message())
    assert ledger.is_open


async def test_an_unexpected_error_comes_before_the_claim(
    gateway: ScriptedGateway, ledger: MemoryLedger
) -> None:
    """A hook that fails before anything is sent leaves no doubt behind."""

    def broken(_: object) -> bytes:
        raise ZeroDivisionError

    message = a_message()
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, ledger=ledger, dumps=broken) as client:
        with pytest.raises(ZeroDivisionError):
            await client.send(message)
    assert await ledger.look_up(message.request_id) is None


async def test_equal_sends_share_one_claim(
    gateway: ScriptedGateway, ledger: MemoryLedger, a_client: MakeClient
) -> None:
    """Tasks of one process make one request; cancelling one of them does not stop the other."""
    message, step = a_message(), Paused(accept)
    async with a_client() as client:
        gateway.script.append(step)
        first, second = await callers_of(client, message, step)
        assert isinstance(await cancelled_with(first), OutcomeUnknown)
        step.go_on.set()
        assert (await second).sms_id == "d8e0"
    entry = await ledger.look_up(message.request_id)
    assert entry is not None
    assert (entry.status, entry.generation) == (Status.ACCEPTED, 1)
    assert len(gateway.bodies) == 1


async def test_a_retry_after_nothing_left_asks_the_ledger_nothing(
    gateway: ScriptedGateway, ledger: MemoryLedger, a_client: MakeClient
) -> None:
    """An attempt that sent nothing changes nothing in the ledger, and the next one is made."""
    async with a_client() as client:
        await client.send(a_message())
        gateway.hang_up()
        receipt = await client.send(a_message())
    assert len(receipt.attempts) == 2
    assert receipt.sms_id == "d8e0"


@pytest.mark.parametrize(
    ("step", "expected"), [(code("108"), Rejected), (duplicate, DuplicateRequestId)]
)
async def test_another_client_gets_what_the_ledger_holds(
    gateway: ScriptedGateway, a_client: MakeClient, step: Step, expected: type[Exception]
) -> None:
    """A client that remembers nothing tells the stored end, and sends nothing."""
    message = a_message()
    gateway.script.append(step)
    for _ in range(2):
        async with a_client() as client:
            with pytest.raises(expected) as caught:
                await client.send(message)
            assert type(caught.value) is expected
    assert len(gateway.bodies) == 1


async def test_another_client_refuses_the_id_for_another_text(
    gateway: ScriptedGateway, a_client: MakeClient
) -> None:
    """The ledger's entry is of another message, and this one was not sent."""
    message = a_message()
    async with a_client() as client:
        await client.send(message)
    async with a_client() as client:
        for _ in range(2):
            with pytest.raises(RequestIdConflict, match="the ledger holds this request id"):
                await client.send(Message(PHONE, "other", request_id=message.request_id))
    assert len(gateway.bodies) == 1


async def test_a_message_that_no_ledger_knows_is_as_old_as_its_id(
    gateway: ScriptedGateway, a_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`resume` of an id minted before the window sends nothing; a younger one is sent."""
    with monkeypatch.context() as patch:
        patch.setattr("time.time_ns", lambda: PAST_NS)
        old = a_message()
    async with a_client() as client:
        with pytest.raises(RequestIdExpired) as caught:
            await client.resume(old)
        assert caught.value.since.timestamp() == pytest.approx(PAST_NS / 1e9, abs=0.001)
        assert gateway.bodies == []
        for _ in range(2):
            assert (await client.resume(a_message())).sms_id == "d8e0"


async def test_what_was_not_sent_here_may_be_under_way_elsewhere(
    gateway: ScriptedGateway, failing: FailingLedger, a_client: MakeClient
) -> None:
    """A ledger that fails at the settlement leaves a message that others can have in doubt."""
    gateway.script.append(no_balance)
    message = copy.copy(a_message())
    async with a_client(ledger=failing) as client:
        failing.settlements_to_fail = 1
        with pytest.raises(OutcomeUnknown, match="could not say whether another process") as caught:
            await client.send(message)
        assert isinstance(caught.value.rejection, AccountRejected)
        await failing.settled.wait()
        assert await status_of(failing, message) is Status.REJECTED


async def test_an_accepted_message_stays_accepted_while_the_ledger_is_away(
    gateway: ScriptedGateway, failing: FailingLedger, a_client: MakeClient
) -> None:
    """What this client knows by itself needs no ledger, with and without an SMSID."""
    gateway.script.append(take_and_reset)
    messages = [a_message(), a_message()]
    async with a_client(ledger=failing) as client:
        receipts = [await client.send(message) for message in messages]
        assert [receipt.sms_id for receipt in receipts] == [None, "d8e0"]
        failing.claims_to_fail = 2
        assert [await client.send(message) for message in messages] == receipts
    assert len(gateway.bodies) == 3


class Clockwork:
    """A limiter that lets time pass before each attempt but the first."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float, *, first: bool) -> None:
        self._ahead = 0.0
        self._seconds = seconds
        self._is_due = first
        monkeypatch.setattr("esms_async._send.send.now", self.now)

    def now(self) -> tuple[float, float]:
        """Return the moment on the clock that was moved."""
        wall, boot = now()
        return wall, boot + self._ahead

    async def __aenter__(self) -> None:
        if self._is_due:
            self._ahead += self._seconds
        self._is_due = True

    async def __aexit__(self, *_: object) -> None:
        pass


async def test_a_machine_that_sleeps_in_the_limiter_sends_nothing(
    gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the send itself is older than the window, no request leaves."""
    limiter = Clockwork(monkeypatch, WINDOW + 1, first=True)
    async with EsmsClient(
        CREDENTIALS, base_url=gateway.url, retry=QUICK, limiter=limiter
    ) as client:
        with pytest.raises(NotSent, match="too late to send it again"):
            await client.send(a_message())
    assert gateway.bodies == []


async def test_a_machine_that_sleeps_between_attempts_expires_the_message(
    gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the first ambiguous attempt is older than the window, there is no second."""
    gateway.script.append(reset)
    limiter = Clockwork(monkeypatch, WINDOW + 1, first=False)
    async with EsmsClient(
        CREDENTIALS, base_url=gateway.url, retry=QUICK, limiter=limiter
    ) as client:
        with pytest.raises(RequestIdExpired):
            await client.send(a_message())
    assert len(gateway.bodies) == 1
