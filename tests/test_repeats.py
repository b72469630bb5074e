"""A RequestId that comes more than once in a stream: one send, and an outcome for each."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tenacity import wait_none

from esms_async import (
    AccountRejected,
    Attempt,
    DuplicateRequestId,
    EsmsClient,
    EsmsError,
    Evidence,
    LedgerError,
    Message,
    NotSent,
    Outcome,
    OutcomeUnknown,
    Receipt,
    Rejected,
    RequestIdConflict,
    RequestIdExpired,
    RetryPolicy,
    SendError,
    Status,
)
from esms_async.ledger import MemoryLedger
from esms_async.repeats import MOST_REMEMBERED, Repeats
from tests.factories import CREDENTIALS, ONE_ATTEMPT, a_message
from tests.scripted_gateway import DUPLICATE, Exchange, ScriptedGateway, Step
from tests.test_promises import FAULTS, check


class Sender:
    """Sends and resumes as told, and counts both."""

    def __init__(self, *ends: Receipt | EsmsError) -> None:
        self.ends = list(ends)
        self.calls: list[str] = []
        self.repeats = Repeats(self.send, self.resume)

    async def send(self, message: Message) -> Receipt:
        """End as told."""
        self.calls.append("send")
        return self._end()

    async def resume(self, message: Message) -> Receipt:
        """End as told."""
        self.calls.append("resume")
        return self._end()

    async def deliver(self, message: Message) -> Receipt | EsmsError:
        """Send through what remembers, and return the end whatever it is."""
        try:
            return await self.repeats.send(message)
        except EsmsError as error:
            return error

    def _end(self) -> Receipt:
        end = self.ends.pop(0)
        if isinstance(end, Receipt):
            return end
        raise end


MESSAGE = a_message()
RECEIPT = Receipt(MESSAGE.request_id, "d8e0")


def tried(*, ago: timedelta = timedelta()) -> tuple[Attempt, ...]:
    """Make the attempts of a send, so long ago."""
    return (Attempt(datetime.now(UTC) - ago, 0.1, Evidence.MAY_HAVE_ARRIVED),)


@pytest.mark.parametrize(
    "end",
    [
        RECEIPT,
        Receipt(MESSAGE.request_id, deduplicated=True),
        Rejected(MESSAGE, (), code="99", status=200),
        Rejected(MESSAGE, (), code="201", status=200),
        DuplicateRequestId(MESSAGE, (), code="124", status=200),
    ],
    ids=["accepted", "deduplicated", "blocked phone", "blocked word", "used id"],
)
async def test_what_stays_true_is_shared(end: Receipt | Rejected) -> None:
    """An acceptance, and a refusal that the message would meet again, are told without a send."""
    sender = Sender(end)
    told = [await sender.deliver(MESSAGE) for _ in range(3)]
    assert sender.calls == ["send"]
    assert [type(one) for one in told] == [type(end)] * 3
    assert [str(one) for one in told] == [str(end)] * 3


async def test_a_shared_refusal_is_an_error_of_its_own() -> None:
    """Whoever raises one of them does not add to the traceback of the other."""
    sender = Sender(Rejected(MESSAGE, (), code="108", status=200))
    told = [await sender.deliver(MESSAGE) for _ in range(3)]
    assert len({id(one) for one in told}) == 3


@pytest.mark.parametrize(
    "end",
    [
        NotSent(MESSAGE, (), "not sent"),
        AccountRejected(MESSAGE, (), code="103", status=200),
        Rejected(MESSAGE, (), code="4711", status=200),
        Rejected(MESSAGE, (), code=None, status=403),
        RequestIdConflict(MESSAGE, (), "the ledger holds another"),
        LedgerError("the disk is full"),
    ],
    ids=["not sent", "account", "unlisted code", "HTTP", "conflict", "ledger"],
)
async def test_what_may_change_is_sent(end: EsmsError) -> None:
    """Where nothing of the first was accepted, the one that comes again is a first attempt."""
    sender = Sender(end, RECEIPT)
    assert [await sender.deliver(MESSAGE) for _ in range(3)] == [end, RECEIPT, RECEIPT]
    assert sender.calls == ["send", "send"]


async def test_what_may_have_been_accepted_is_resumed() -> None:
    """The one that comes again knows of the attempt before it, as often as it takes."""
    unknowns = [OutcomeUnknown(MESSAGE, tried(), "unknown") for _ in range(2)]
    sender = Sender(*unknowns, RECEIPT)
    assert [await sender.deliver(MESSAGE) for _ in range(4)] == [*unknowns, RECEIPT, RECEIPT]
    assert sender.calls == ["send", "resume", "resume"]


async def test_what_may_have_been_accepted_long_ago_is_not_sent_again() -> None:
    """The gateway may have forgotten the RequestId, counted from the first attempt of all."""
    old, young = tried(ago=timedelta(hours=23, seconds=1)), tried(ago=timedelta(hours=22.9))
    sender = Sender(
        OutcomeUnknown(MESSAGE, young, "unknown"), OutcomeUnknown(MESSAGE, tried(), "unknown")
    )
    for _ in range(2):
        assert isinstance(await sender.deliver(MESSAGE), OutcomeUnknown)
    sender = Sender(OutcomeUnknown(MESSAGE, old, "unknown"))
    await sender.deliver(MESSAGE)
    expired = await sender.deliver(MESSAGE)
    assert isinstance(expired, RequestIdExpired)
    assert expired.since == old[0].started_at
    assert sender.calls == ["send"]


async def test_the_age_of_an_unknown_send_is_that_of_its_first_attempt() -> None:
    """Resuming in vain does not make a send any younger."""
    old = OutcomeUnknown(MESSAGE, tried(ago=timedelta(hours=22.9)), "unknown")
    sender = Sender(old, OutcomeUnknown(MESSAGE, tried(), "unknown"))
    await sender.deliver(MESSAGE)
    await sender.deliver(MESSAGE)
    _, kept = sender.repeats._ends[MESSAGE.request_id]
    assert not isinstance(kept, Receipt)
    assert kept.attempts == old.attempts


async def test_an_unknown_send_without_an_attempt_is_resumed() -> None:
    """Where no attempt was made here, none is too old."""
    sender = Sender(OutcomeUnknown(MESSAGE, (), "unknown"), RECEIPT)
    await sender.deliver(MESSAGE)
    assert await sender.deliver(MESSAGE) is RECEIPT


@pytest.mark.parametrize(
    "end",
    [
        RECEIPT,
        NotSent(MESSAGE, (), "not sent"),
        Rejected(MESSAGE, (), code="108", status=200),
        OutcomeUnknown(MESSAGE, tried(), "unknown"),
    ],
    ids=["accepted", "not sent", "rejected", "unknown"],
)
@pytest.mark.parametrize(
    "other",
    [
        Message("0901888485", MESSAGE.content, request_id=MESSAGE.request_id),
        Message(MESSAGE.phone, "another text", request_id=MESSAGE.request_id),
    ],
    ids=["phone", "content"],
)
async def test_another_message_under_the_same_id_is_a_conflict(
    end: Receipt | EsmsError, other: Message
) -> None:
    """An id is not lent to another phone or content, whatever became of the first."""
    sender = Sender(end)
    await sender.deliver(MESSAGE)
    conflict = await sender.deliver(other)
    assert isinstance(conflict, RequestIdConflict)
    assert conflict.message is other
    assert sender.calls == ["send"]


async def test_how_far_back_a_request_id_is_remembered() -> None:
    """The latest ids are remembered, and no more than those, however long the stream is."""
    sender = Sender(*[RECEIPT] * (MOST_REMEMBERED + 2))
    for _ in range(MOST_REMEMBERED):
        await sender.deliver(a_message())
    first = next(iter(sender.repeats._ends.values()))[0]
    await sender.deliver(first)
    assert len(sender.calls) == MOST_REMEMBERED
    await sender.deliver(MESSAGE)
    await sender.deliver(first)
    assert len(sender.calls) == MOST_REMEMBERED + 2
    assert len(sender.repeats._ends) == MOST_REMEMBERED


async def test_nothing_of_a_failed_send_is_kept_alive() -> None:
    """What is remembered of an error holds no traceback, and so no frames."""
    sender = Sender(NotSent(MESSAGE, (), "not sent"))
    error = await sender.deliver(MESSAGE)
    assert isinstance(error, NotSent)
    assert error.__traceback__ is not None
    _, kept = sender.repeats._ends[MESSAGE.request_id]
    assert isinstance(kept, NotSent)
    assert kept.__traceback__ is None


async def take_and_reset(exchange: Exchange) -> None:
    """Accept, and lose the answer."""
    exchange.accept()
    await exchange.reset()


async def duplicate(exchange: Exchange) -> None:
    """Say that the RequestId was used."""
    exchange.answer(DUPLICATE)


async def blocked(exchange: Exchange) -> None:
    """Refuse the phone."""
    exchange.answer(b'{"CodeResult":"99"}')


async def stream(gateway: ScriptedGateway, messages: list[Message], **of: int) -> list[Outcome]:
    """Send a stream with one attempt for each message."""
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, retry=ONE_ATTEMPT) as client:
        return [outcome async for outcome in client.send_many(messages, ordered=True, **of)]


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


@pytest.mark.parametrize("step", [duplicate, blocked])
async def test_a_repeat_of_a_refused_send(
    gateway: ScriptedGateway, step: Callable[[Exchange], object]
) -> None:
    """The refusal is told twice, and asked for once."""
    gateway.script.append(step)  # type: ignore[arg-type]  # a step as good as any
    message = a_message()
    outcomes = await stream(gateway, [message, message], concurrency=1)
    assert [outcome.status for outcome in outcomes] == [Status.REJECTED] * 2
    assert len(gateway.bodies) == 1


async def test_a_conflict_in_a_stream(gateway: ScriptedGateway) -> None:
    """A second text under the same id is refused by itself, under way or ended."""
    message = a_message()
    other = Message(message.phone, "another text", request_id=message.request_id)
    for concurrency in (1, 2):
        outcomes = await stream(gateway, [message, other], concurrency=concurrency)
        assert isinstance(outcomes[1].error, RequestIdConflict)
        assert outcomes[1].status is Status.INVALID
    assert [outcome.message for outcome in outcomes] == [message, other]


async def test_streams_do_not_share_their_memory(gateway: ScriptedGateway) -> None:
    """What another stream has sent is the ledger's, or the gateway's, to tell."""
    message = a_message()
    async with EsmsClient(CREDENTIALS, base_url=gateway.url) as client:
        (first,) = [outcome async for outcome in client.send_many([message])]
        (second,) = [outcome async for outcome in client.send_many([message])]
    assert first.ok
    assert isinstance(second.error, DuplicateRequestId)


async def test_under_a_ledger_the_answers_are_the_same(gateway: ScriptedGateway) -> None:
    """A ledger and the stream's own memory agree."""
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


async def test_a_cancelled_send_is_not_remembered() -> None:
    """What was cancelled has no end to share; the stream is stopping anyway."""
    started = asyncio.Event()

    async def hang(_: Message) -> Receipt:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    repeats = Repeats(hang, hang)
    task = asyncio.create_task(repeats.send(MESSAGE))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not repeats._ends


@settings(max_examples=60, deadline=None)
@given(faults=st.lists(st.sampled_from(FAULTS), max_size=12), concurrency=st.integers(1, 5))
def test_repeats_keep_both_promises(faults: list[Step], concurrency: int) -> None:
    """Whatever comes, no id is accepted twice, and the last word on each is true."""

    async def run() -> None:
        retry = RetryPolicy(attempts=2, attempt_timeout=0.05, wait=wait_none())
        messages = [a_message(), a_message("0901888485")]
        told: dict[Message, Receipt | SendError] = {}
        count = 0
        async with (
            ScriptedGateway() as gateway,
            EsmsClient(CREDENTIALS, base_url=gateway.url, retry=retry) as client,
        ):
            gateway.script.extend(faults)
            outcomes = client.send_many(messages * 4, concurrency=concurrency, ordered=True)
            with contextlib.suppress(Rejected):
                async for outcome in outcomes:
                    count += 1
                    what = outcome.receipt or outcome.error
                    assert isinstance(what, Receipt | SendError)
                    told[outcome.message] = what
            for message, last in told.items():
                check(gateway, message, last)
            assert count == 8 or any(isinstance(last, SendError) for last in told.values())

    asyncio.run(run())
