"""A client with a ledger: what is sent again, what is not, and what a failing ledger changes."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tenacity import wait_none

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
from esms_async._http.direct import Reply, Request
from esms_async._http.transport import DEFAULT_BASE_URL
from esms_async.ledger import Claim, Entry, MemoryLedger, Settlement, SqliteLedger, State
from esms_async.settlement import WINDOW
from tests.factories import CREDENTIALS, ONE_ATTEMPT, QUICK, a_message
from tests.ledger.conftest import Clock
from tests.scripted_gateway import DUPLICATE, Exchange, ScriptedGateway, Step
from tests.test_client import cancelled_with, hang, reset, take_and_reset, told
from tests.test_hooks import Notes


class FailingLedger(MemoryLedger):
    """A ledger that fails as often as a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.claims_to_fail = 0
        self.settlements_to_fail = 0
        self.settled = asyncio.Event()

    async def claim(self, message: Message, fingerprint: bytes, *, resume: bool = False) -> Claim:
        """Fail, or claim."""
        if self.claims_to_fail:
            self.claims_to_fail -= 1
            raise LedgerError("the disk is full")
        return await super().claim(message, fingerprint, resume=resume)

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


async def state_of(ledger: MemoryLedger, message: Message) -> State | None:
    """Return what the ledger knows of a message."""
    entry = await ledger.look_up(message.request_id)
    return None if entry is None else entry.state


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
    assert await state_of(ledger, message) is State.OPEN


async def test_an_error_of_this_package_is_no_proof_that_nothing_left(
    gateway: ScriptedGateway, ledger: MemoryLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever fails behind the write, the entry stays open and no hook is told otherwise."""
    message, notes = a_message(), Notes()
    async with EsmsClient(
        CREDENTIALS, base_url=gateway.url, ledger=ledger, hooks=[notes]
    ) as client:
        post = client._transport.post

        async def fail(operation: str, request: Request, *, time_limit: float) -> Reply:
            await post(operation, request, time_limit=time_limit)
            raise ZeroDivisionError

        monkeypatch.setattr(client._transport, "post", fail)
        with pytest.raises(ZeroDivisionError):
            await client.send(message)
    assert await state_of(ledger, message) is State.OPEN
    assert isinstance(notes.outcomes[0].error, OutcomeUnknown)


class SlowToSettle(MemoryLedger):
    """A ledger whose first settlement never comes to its end."""

    def __init__(self) -> None:
        super().__init__()
        self.settling = asyncio.Event()

    async def settle(
        self, request_id: str, generation: int, settlement: Settlement
    ) -> Entry | None:
        """Hang, then settle."""
        if not self.settling.is_set():
            self.settling.set()
            await asyncio.Event().wait()
        return await super().settle(request_id, generation, settlement)


@pytest.mark.parametrize(
    ("answer", "cause", "state"),
    [
        (None, OutcomeUnknown, State.ACCEPTED),
        (b'{"CodeResult":"108"}', Rejected, State.REJECTED),
    ],
    ids=["accepted", "rejected"],
)
async def test_a_send_cancelled_while_it_is_settled_tells_what_had_come(
    gateway: ScriptedGateway, answer: bytes | None, cause: type[Exception], state: State
) -> None:
    """Neither the cause nor a hook says that nothing was sent, and the ledger learns the truth."""
    if answer is not None:
        gateway.script.append(told(answer))
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
    assert type(outcome.error) is cause
    await ledger.open()
    assert await state_of(ledger, message) is state


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
        assert await state_of(ledger, message) is State.ACCEPTED
    async with a_client() as client:
        assert await client.send(message) == Receipt(message.request_id, "d8e0")
        assert await client.resume(message) == Receipt(message.request_id, "d8e0")
    assert first.sms_id == "d8e0"
    assert len(gateway.bodies) == 1


async def test_a_message_is_claimed_before_the_first_byte_leaves(
    gateway: ScriptedGateway, ledger: MemoryLedger, a_client: MakeClient
) -> None:
    """When the request arrives at the gateway, the claim is stored."""
    message = a_message()
    states: list[State | None] = []

    async def look(exchange: Exchange) -> None:
        states.append(await state_of(ledger, message))
        exchange.answer(exchange.accept())

    gateway.script.append(look)
    async with a_client() as client:
        await client.send(message)
    assert states == [State.OPEN]


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
    """The stored rejection is raised again; renewed, the message is sent anew."""
    message = a_message()
    answer = b'{"CodeResult":"201","ErrorMessage":"the word is blocked","SMSID":"a1"}'
    gateway.script.append(told(answer))
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
    [told(b'{"CodeResult":"103"}'), told(b'{"CodeResult":"4711"}'), told(b"", 403)],
    ids=["balance", "unlisted", "403"],
)
async def test_a_refusal_of_the_sender_is_not_held_against_the_message(
    gateway: ScriptedGateway, a_client: MakeClient, refusal: Step
) -> None:
    """Once the account is mended, the same message is sent."""
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
        assert await state_of(ledger, message) is State.RELEASED
        gateway.script.append(told(DUPLICATE))
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
        assert await state_of(ledger, message) is State.OPEN
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
    assert await state_of(ledger, message) is State.RELEASED


async def test_a_cancellation_during_the_claim_is_honest(gateway: ScriptedGateway) -> None:
    """Before the ledger has told of earlier attempts, nothing can be said of them."""

    class SlowLedger(MemoryLedger):
        async def claim(
            self, message: Message, fingerprint: bytes, *, resume: bool = False
        ) -> Claim:
            await asyncio.Event().wait()
            return await super().claim(message, fingerprint, resume=resume)

    async with EsmsClient(CREDENTIALS, base_url=gateway.url, ledger=SlowLedger()) as client:
        task = asyncio.create_task(client.send(a_message()))
        await asyncio.sleep(0.01)
        assert isinstance(await cancelled_with(task), OutcomeUnknown)
    assert gateway.bodies == []


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
        assert await state_of(failing, message) is State.OPEN
        await asyncio.wait_for(failing.settled.wait(), timeout=20)
        assert await state_of(failing, message) is State.ACCEPTED
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
        assert await state_of(failing, recorded) is State.ACCEPTED
        async with a_client(ledger=failing) as client:
            failing.settlements_to_fail = 1000
            await client.send(lost)
        assert await state_of(failing, lost) is State.OPEN
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
    assert entry.updated_at == entry.opened_at + 7


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
        (told(DUPLICATE), None, Receipt),
        (told(DUPLICATE), reset, OutcomeUnknown),
        (told(b'{"CodeResult":"103"}'), None, Receipt),
        (told(b'{"CodeResult":"103"}'), reset, OutcomeUnknown),
        (told(b'{"CodeResult":"108"}'), reset, Rejected),
        (told(b'{"CodeResult":"103"}'), told(b'{"CodeResult":"108"}'), Rejected),
        (reset, told(b'{"CodeResult":"108"}'), OutcomeUnknown),
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
            await asyncio.gather(other.send(message), return_exceptions=True)
            await mine(exchange)

        gateway.script.append(overtake)
        (result,) = await asyncio.gather(client.send(message), return_exceptions=True)
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
    for base_url, place in ((gateway.url, "a loopback address"), (DEFAULT_BASE_URL, "the gateway")):
        async with EsmsClient(CREDENTIALS, base_url=base_url, ledger=ledger) as client:
            for _ in range(2):
                with pytest.raises(LedgerError, match=f"sent to the sandbox.* to {place}"):
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
    message = a_message()
    async with a_client(RetryPolicy(attempts=9, wait=wait_none())) as client:
        gateway.script.append(hang)
        first = asyncio.create_task(client.send(message))
        await gateway.hanging.wait()
        second = asyncio.create_task(client.send(message))
        await asyncio.sleep(0)
        await cancelled_with(first)
        assert (await second).deduplicated
    entry = await ledger.look_up(message.request_id)
    assert entry is not None
    assert entry.state is State.ACCEPTED
    assert gateway.accepted[message.request_id] == 1


async def test_a_retry_after_nothing_left_asks_the_ledger_nothing(
    gateway: ScriptedGateway, ledger: MemoryLedger, a_client: MakeClient
) -> None:
    """An attempt of which nothing left is no news for the ledger, and the next one is made."""
    async with a_client() as client:
        await client.send(a_message())
        gateway.hang_up()
        receipt = await client.send(a_message())
    assert len(receipt.attempts) == 2
    assert receipt.sms_id == "d8e0"
