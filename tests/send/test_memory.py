"""What a client remembers of its sends, and what another send of the same Message gets."""

import asyncio
from collections import Counter

import pytest

from esms_async import (
    AccountRejected,
    DuplicateRequestId,
    EsmsClient,
    EsmsError,
    LedgerError,
    Message,
    NotSent,
    Outcome,
    OutcomeUnknown,
    Receipt,
    Rejected,
    RequestIdConflict,
    RequestIdExpired,
    Status,
)
from esms_async._model.routes import FIXED_NUMBER
from esms_async._send import memory as memory_module
from esms_async._send.memory import SETTLED_KEPT, Memory, Remembered, identity, knowledge, now
from esms_async.ledger import MemoryLedger
from esms_async.ledger.transitions import WINDOW, Decision, Knowledge, Reason
from tests.factories import CREDENTIALS, ONE_ATTEMPT, a_message
from tests.scripted_gateway import ScriptedGateway, Step
from tests.steps import (
    answer,
    busy,
    code,
    duplicate,
    forbidden,
    no_balance,
    reset,
    take_and_reset,
)

MESSAGE = a_message()
RECEIPT = Receipt(MESSAGE.request_id, "d8e0")
REJECTION = AccountRejected(MESSAGE, (), code="103", status=200)
_REJECTED = Status.REJECTED

ENDS: dict[str, tuple[Receipt | EsmsError, Knowledge, Decision]] = {
    "accepted": (RECEIPT, (Status.ACCEPTED, None), Decision.ALREADY_ACCEPTED),
    "deduplicated": (
        Receipt(MESSAGE.request_id, deduplicated=True),
        (Status.ACCEPTED, None),
        Decision.ALREADY_ACCEPTED,
    ),
    "blocked word": (
        Rejected(MESSAGE, (), code="201", status=200),
        (_REJECTED, Reason.MESSAGE),
        Decision.ALREADY_REJECTED,
    ),
    "blocked phone": (
        Rejected(MESSAGE, (), code="99", status=200),
        (_REJECTED, Reason.SENDER),
        Decision.SEND,
    ),
    "unlisted": (
        Rejected(MESSAGE, (), code="4711", status=200),
        (_REJECTED, Reason.SENDER),
        Decision.SEND,
    ),
    "HTTP": (
        Rejected(MESSAGE, (), code=None, status=403),
        (_REJECTED, Reason.SENDER),
        Decision.SEND,
    ),
    "account": (REJECTION, (_REJECTED, Reason.SENDER), Decision.SEND),
    "duplicate": (
        DuplicateRequestId(MESSAGE, (), "124"),
        (Status.UNKNOWN, Reason.DUPLICATE),
        Decision.DUPLICATE,
    ),
    "unknown": (
        OutcomeUnknown(MESSAGE, (), "why", REJECTION),
        (Status.UNKNOWN, Reason.ATTEMPT),
        Decision.RESUME,
    ),
    "not sent": (NotSent(MESSAGE, (), "why"), (Status.NOT_SENT, None), Decision.SEND),
    "conflict": (RequestIdConflict(MESSAGE, (), "why"), (Status.NOT_SENT, None), Decision.SEND),
    "ledger": (LedgerError("why"), (Status.NOT_SENT, None), Decision.SEND),
}


@pytest.mark.parametrize(("end", "known", "decision"), ENDS.values(), ids=ENDS)
def test_what_an_end_says_of_its_message(
    end: Receipt | EsmsError, known: Knowledge, decision: Decision
) -> None:
    """Each end is one row of the claim table, the one that a ledger would use."""
    assert knowledge(end) == known
    memory = Memory()
    memory.remember(MESSAGE, end, since := now(), FIXED_NUMBER)
    assert memory.rows.get(MESSAGE.request_id) == Remembered(
        *identity(MESSAGE, FIXED_NUMBER), end, since
    )
    assert Remembered(*identity(MESSAGE, FIXED_NUMBER), end, since).decision is decision


def test_what_was_never_sent_is_not_remembered() -> None:
    """An unknown id is nothing."""
    assert Memory().rows.get(MESSAGE.request_id) is None


def test_settled_results_are_bounded_in_number() -> None:
    """The latest ones are remembered, and no more than twice as many, however many come."""
    memory = Memory()
    messages = [Message("0901888484", "x", request_id=f"{n}") for n in range(3 * SETTLED_KEPT)]
    for count, message in enumerate(messages, start=1):
        memory.remember(message, Receipt(message.request_id), now(), FIXED_NUMBER)
        if count % 1000 == 0 or count in (SETTLED_KEPT - 1, SETTLED_KEPT, SETTLED_KEPT + 1):
            kept = [one for one in messages if memory.rows.get(one.request_id)]
            assert min(count, SETTLED_KEPT) <= len(kept) <= 2 * SETTLED_KEPT
            assert kept == messages[count - len(kept) : count]


def test_a_doubt_outlives_any_number_of_settled_results() -> None:
    """A message in doubt is not forgotten for others that come."""
    memory, unknown = Memory(), OutcomeUnknown(MESSAGE, (), "why")
    memory.remember(MESSAGE, unknown, now(), FIXED_NUMBER)
    for number in range(2 * SETTLED_KEPT + 1):
        memory.remember(a_message(), Receipt(str(number)), now(), FIXED_NUMBER)
    assert (found := memory.rows.get(MESSAGE.request_id)) is not None
    assert found.result is unknown


def test_doubts_are_forgotten_once_the_gateway_has_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Past the window an entry goes, as soon as there are many; younger ones all stay."""
    monkeypatch.setattr(memory_module, "SETTLED_KEPT", 10)
    memory, present = Memory(), now()
    past = (present[0] - WINDOW - 60, present[1] - WINDOW - 60)
    old, young = [a_message() for _ in range(10)], [a_message() for _ in range(10)]
    for message in old:
        memory.remember(message, OutcomeUnknown(message, (), "why"), past, FIXED_NUMBER)
    assert all(memory.rows.get(one.request_id) for one in old)
    for message in young:
        memory.remember(message, OutcomeUnknown(message, (), "why"), present, FIXED_NUMBER)
    assert not any(memory.rows.get(one.request_id) for one in old)
    assert all(memory.rows.get(one.request_id) for one in young)


def test_a_doubt_that_ends_is_a_doubt_no_more() -> None:
    """The settled result takes the place of the doubt, and the other way round."""
    memory = Memory()
    for end in (OutcomeUnknown(MESSAGE, (), "why"), RECEIPT):
        memory.remember(MESSAGE, end, now(), FIXED_NUMBER)
        assert (found := memory.rows.get(MESSAGE.request_id)) is not None
        assert found.result is end


# --- through a client --------------------------------------------------------------------------


def a_client(gateway: ScriptedGateway) -> EsmsClient:
    """Make a client that tries once."""
    return EsmsClient(CREDENTIALS, base_url=gateway.url, retry=ONE_ATTEMPT)


async def stream(gateway: ScriptedGateway, messages: list[Message], **of: int) -> list[Outcome]:
    """Send a stream with one attempt for each message."""
    async with a_client(gateway) as client:
        return [outcome async for outcome in client.send_many(messages, ordered=True, **of)]


async def test_a_receipt_comes_back_without_a_request(gateway: ScriptedGateway) -> None:
    """`send`, `resume` and a stream give the receipt of the first send."""
    message = a_message()
    async with a_client(gateway) as client:
        first = await client.send(message)
        assert await client.send(message) is first
        assert await client.resume(message) is first
        (outcome,) = [outcome async for outcome in client.send_many([message])]
    assert outcome.receipt is first
    assert len(gateway.bodies) == 1


@pytest.mark.parametrize("step", [code("201"), duplicate], ids=["settled", "duplicate"])
async def test_what_stays_true_is_told_without_a_request(
    gateway: ScriptedGateway, step: Step
) -> None:
    """A rejection of the message itself, and 124 alone, come back as errors of their own."""
    message = a_message()
    gateway.script.append(step)
    told: list[EsmsError] = []
    async with a_client(gateway) as client:
        for again in (client.send, client.send, client.resume):
            with pytest.raises((Rejected, OutcomeUnknown)) as caught:
                await again(message)
            told.append(caught.value)
    assert len({type(error) for error in told}) == len({str(error) for error in told}) == 1
    assert len({id(error) for error in told}) == 3
    assert len(gateway.bodies) == 1


@pytest.mark.parametrize(
    "step",
    [no_balance, code("99"), code("4711"), forbidden],
    ids=["account", "blocked phone", "unlisted", "HTTP"],
)
async def test_what_may_change_is_sent_again(gateway: ScriptedGateway, step: Step) -> None:
    """A refusal that proves nothing for the next attempt is no reason not to make it."""
    message = a_message()
    gateway.script.append(step)
    async with a_client(gateway) as client:
        with pytest.raises(Rejected):
            await client.send(message)
        receipt = await client.send(message)
    assert (receipt.sms_id, receipt.deduplicated) == ("d8e0", False)
    assert len(gateway.bodies) == 2


async def test_what_was_not_sent_leaves_no_doubt(gateway: ScriptedGateway) -> None:
    """After "not sent" the next send begins with a clean history: 124 is no acceptance."""
    message = a_message()
    async with a_client(gateway) as client:
        await client.send(a_message())
        gateway.hang_up()
        with pytest.raises(NotSent):
            await client.send(message)
        gateway.script.append(duplicate)
        with pytest.raises(DuplicateRequestId):
            await client.send(message)


@pytest.mark.parametrize("call", ["send", "resume"])
async def test_a_message_in_doubt_is_resumed(gateway: ScriptedGateway, call: str) -> None:
    """The client knows of the attempt before, as often as it takes, and reads 124 by it."""
    message = a_message()
    gateway.script.extend([take_and_reset, busy])
    async with a_client(gateway) as client:
        for again in (client.send, getattr(client, call)):
            with pytest.raises(OutcomeUnknown):
                await again(message)
        receipt = await getattr(client, call)(message)
        assert receipt.deduplicated
        assert await client.send(message) is receipt
    assert gateway.accepted[message.request_id] == 1
    assert len(gateway.bodies) == 3


async def test_the_age_of_a_doubt_is_that_of_its_first_attempt(
    gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resuming in vain makes a message no younger; past the window nothing is sent."""
    message = a_message()
    gateway.script.extend([take_and_reset, reset])
    ahead, began = 0.0, now()
    monkeypatch.setattr("esms_async._send.send.now", lambda: (now()[0] + ahead, now()[1]))
    async with a_client(gateway) as client:
        for hours in (0, 22.9):
            ahead = hours * 3600
            with pytest.raises(OutcomeUnknown):
                await client.send(message)
        ahead = WINDOW + 60
        for again in (client.send, client.resume):
            with pytest.raises(RequestIdExpired) as caught:
                await again(message)
    assert abs(caught.value.since.timestamp() - began[0]) < 60
    assert len(gateway.bodies) == 2


async def test_another_message_under_the_same_id_is_a_conflict(gateway: ScriptedGateway) -> None:
    """An id is not lent to another phone or content, whatever became of the first."""
    ends: list[Step] = [answer(b'{"CodeResult":"100"}'), code("108"), no_balance, reset, duplicate]
    async with a_client(gateway) as client:
        for step in ends:
            message = a_message()
            gateway.script.append(step)
            await asyncio.gather(client.send(message), return_exceptions=True)
            for other in (
                Message("0901888485", message.content, request_id=message.request_id),
                Message(message.phone, "another text", request_id=message.request_id),
            ):
                for again in (client.send, client.resume):
                    with pytest.raises(RequestIdConflict) as caught:
                        await again(other)
                    assert caught.value.message is other
            # A conflict is not remembered in place of what became of the first.
            remembered = client._sender._memory.rows.get(message.request_id)
            assert remembered is not None
            assert remembered.is_result_of(message, FIXED_NUMBER)
    assert len(gateway.bodies) == len(ends)


async def test_nothing_of_a_failed_send_is_kept_alive(gateway: ScriptedGateway) -> None:
    """What is remembered of an error holds no traceback, and so no frames."""
    message = a_message()
    gateway.script.append(reset)
    async with a_client(gateway) as client:
        with pytest.raises(OutcomeUnknown) as caught:
            await client.send(message)
        remembered = client._sender._memory.rows.get(message.request_id)
    assert caught.value.__traceback__ is not None
    assert remembered is not None
    assert isinstance(remembered.result, OutcomeUnknown)
    assert remembered.result.__traceback__ is None


async def test_clients_do_not_share_their_memory(gateway: ScriptedGateway) -> None:
    """What another client has sent is the ledger's, or the gateway's, to tell."""
    message = a_message()
    async with a_client(gateway) as one, a_client(gateway) as other:
        await one.send(message)
        with pytest.raises(DuplicateRequestId):
            await other.send(message)


async def test_streams_share_the_memory_of_their_client(gateway: ScriptedGateway) -> None:
    """A second stream over one list asks the gateway nothing."""
    messages = [a_message(f"09{number:08}") for number in range(20)]
    async with a_client(gateway) as client:
        first = [outcome async for outcome in client.send_many(messages, ordered=True)]
        second = [outcome async for outcome in client.send_many(messages, ordered=True)]
    assert first == second
    assert len(gateway.bodies) == 20


@pytest.mark.parametrize("concurrency", [1, 2, 16])
@pytest.mark.parametrize("apart", [1, 2, 30])
async def test_one_send_and_two_outcomes(
    gateway: ScriptedGateway, concurrency: int, apart: int
) -> None:
    """Whether the first is under way or has ended, its repeat shares the receipt."""
    message = a_message()
    between = [a_message(f"09{number:08}") for number in range(apart)]
    outcomes = await stream(gateway, [message, *between, message], concurrency=concurrency)
    assert all(outcome.ok for outcome in outcomes)
    assert outcomes[0].receipt == outcomes[-1].receipt
    assert len(gateway.bodies) == 1 + apart


async def test_a_repeat_of_an_accepted_send_whose_answer_was_lost(
    gateway: ScriptedGateway,
) -> None:
    """The repeat reads 124 as the acceptance that it is."""
    message = a_message()
    gateway.script.append(take_and_reset)
    first, again, third = await stream(gateway, [message] * 3, concurrency=1)
    assert first.status is Status.UNKNOWN
    assert again.receipt is not None
    assert again.receipt.deduplicated
    assert third.receipt == again.receipt
    assert gateway.accepted[message.request_id] == 1
    assert len(gateway.bodies) == 2


@pytest.mark.parametrize(
    ("step", "status"), [(duplicate, Status.UNKNOWN), (code("201"), Status.REJECTED)]
)
async def test_a_repeat_of_a_refused_send(
    gateway: ScriptedGateway, step: Step, status: Status
) -> None:
    """The error is told twice, and asked for once."""
    gateway.script.append(step)
    message = a_message()
    outcomes = await stream(gateway, [message, message], concurrency=1)
    assert [outcome.status for outcome in outcomes] == [status] * 2
    assert len(gateway.bodies) == 1


async def test_a_conflict_in_a_stream(gateway: ScriptedGateway) -> None:
    """A second text under the same id is refused by itself, under way or ended."""
    message = a_message()
    other = Message(message.phone, "another text", request_id=message.request_id)
    for concurrency in (1, 2):
        outcomes = await stream(gateway, [message, other], concurrency=concurrency)
        assert isinstance(outcomes[1].error, RequestIdConflict)
        assert outcomes[1].status is Status.NOT_SENT
    assert [outcome.message for outcome in outcomes] == [message, other]


async def test_under_a_ledger_the_answers_are_the_same(gateway: ScriptedGateway) -> None:
    """A ledger and the client's own memory agree."""
    gateway.script.append(take_and_reset)
    messages = [a_message(), a_message("0901888485")]
    async with EsmsClient(
        CREDENTIALS, base_url=gateway.url, retry=ONE_ATTEMPT, ledger=MemoryLedger()
    ) as client:
        outcomes = [o async for o in client.send_many(messages * 3, concurrency=1)]
    told = Counter((o.message.phone, o.status) for o in outcomes)
    assert told == {
        ("0901888484", Status.UNKNOWN): 1,
        ("0901888484", Status.ACCEPTED): 2,
        ("0901888485", Status.ACCEPTED): 3,
    }
    assert len(gateway.bodies) == 3
