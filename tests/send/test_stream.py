"""A stream of messages: its pace, its ends, and that no outcome is ever lost."""

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from esms_async import (
    AccountRejected,
    ConfigurationError,
    EsmsClient,
    InvalidMessage,
    Message,
    NotSent,
    Outcome,
    OutcomeUnknown,
    Receipt,
    Rejected,
    SendMany,
    Status,
    UsageError,
)
from esms_async._model.errors import ForeignLedger
from esms_async.ledger import MemoryLedger
from tests.factories import CREDENTIALS, ONE_ATTEMPT, QUICK, a_message
from tests.limits import generous
from tests.scripted_gateway import Exchange, ScriptedGateway

Send = Callable[[Message], Awaitable[Receipt]]


def messages(count: int) -> list[Message]:
    """Make messages to as many phones."""
    return [a_message(f"09{number:08}") for number in range(count)]


async def accept(message: Message) -> Receipt:
    """Accept after a turn of the event loop."""
    await asyncio.sleep(0)
    return Receipt(message.request_id)


class Gate:
    """A send that waits until it is let through, and counts what is under way."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.started: list[Message] = []
        self.under_way = 0
        self.most = 0

    async def send(self, message: Message) -> Receipt:
        """Wait for the gate, then accept."""
        self.started.append(message)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.open.wait()
        except asyncio.CancelledError as cancelled:
            cancelled.__cause__ = OutcomeUnknown(message, (), "it may have been accepted")
            raise
        finally:
            self.under_way -= 1
        return Receipt(message.request_id)


class Source:
    """An iterable that counts how many messages were pulled."""

    def __init__(self, items: list[Message]) -> None:
        self.items = items
        self.pulled = 0

    def __iter__(self) -> Iterator[Message]:
        for item in self.items:
            self.pulled += 1
            yield item


async def settle() -> None:
    """Give every ready task its turns."""
    for _ in range(50):
        await asyncio.sleep(0)


def stream(send: Send, source: object, *, concurrency: int = 4, ordered: bool = False) -> SendMany:
    """Make a stream over any send."""
    return SendMany(send, source, concurrency=concurrency, ordered=ordered)  # type: ignore[arg-type]  # some tests pass an invalid source


async def collect(outcomes: AsyncIterator[Outcome]) -> list[Outcome]:
    """Read a stream to its end."""
    return [outcome async for outcome in outcomes]


async def test_every_message_has_one_outcome_over_a_real_socket(
    gateway: ScriptedGateway,
) -> None:
    """A stream through a client gives each message's own receipt."""

    async def lose(exchange: Exchange) -> None:
        exchange.accept()
        await exchange.reset()

    gateway.script.extend([lose] * 20)
    sent = messages(200)
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, retry=QUICK) as client:
        outcomes = [outcome async for outcome in client.send_many(sent, concurrency=16)]
    assert {outcome.message for outcome in outcomes} == set(sent)
    assert all(
        outcome.receipt is not None and outcome.receipt.request_id == outcome.message.request_id
        for outcome in outcomes
    )
    assert all(gateway.accepted[message.request_id] == 1 for message in sent)


@pytest.mark.parametrize("kind", ["list", "generator", "async generator"])
@pytest.mark.parametrize("ordered", [False, True])
async def test_any_source_is_taken(kind: str, *, ordered: bool) -> None:
    """Iterables and async iterables alike are sent to their end."""
    sent = messages(50)

    async def slowly() -> AsyncIterator[Message]:
        for message in sent:
            await asyncio.sleep(0)
            yield message

    source = {"list": sent, "generator": iter(sent), "async generator": slowly()}[kind]
    outcomes = await collect(stream(accept, source, ordered=ordered))
    assert {outcome.message for outcome in outcomes} == set(sent)
    assert all(outcome.ok for outcome in outcomes)


async def test_an_empty_source_ends_at_once() -> None:
    """A stream of nothing is no outcome and no error."""
    assert await collect(stream(accept, [])) == []


async def test_outcomes_come_as_they_are_completed() -> None:
    """A slow message does not hold back the outcomes of others."""
    sent = messages(5)
    first_may_end = asyncio.Event()

    async def send(message: Message) -> Receipt:
        if message is sent[0]:
            await first_may_end.wait()
        return Receipt(message.request_id)

    order = []
    async for outcome in stream(send, sent):
        order.append(outcome.message)
        if len(order) == 4:
            first_may_end.set()
    assert order == [*sent[1:], sent[0]]


async def test_ordered_outcomes_come_in_the_order_of_the_messages() -> None:
    """With `ordered=True` a slow message holds back the outcomes after it, not their sending."""
    sent = messages(5)
    others = asyncio.Event()
    count = 0

    async def send(message: Message) -> Receipt:
        nonlocal count
        if message is sent[0]:
            await others.wait()
        else:
            count += 1
            if count == 4:
                others.set()
        return Receipt(message.request_id)

    outcomes = await collect(stream(send, sent, ordered=True))
    assert [outcome.message for outcome in outcomes] == sent


async def test_concurrency_is_bounded() -> None:
    """No more than `concurrency` sends are under way, and no fewer when there is work."""
    gate = Gate()
    reading = asyncio.create_task(collect(stream(gate.send, messages(20), concurrency=7)))
    await settle()
    assert gate.under_way == 7
    gate.open.set()
    assert len(await reading) == 20
    assert gate.most == 7


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_slow_consumer_stops_the_sending(*, ordered: bool) -> None:
    """At most twice the concurrency is pulled ahead of the consumer."""
    source = Source(messages(1000))
    outcomes = stream(accept, source, concurrency=5, ordered=ordered)
    await anext(outcomes)
    await settle()
    assert source.pulled <= 11
    await anext(outcomes)
    await settle()
    assert source.pulled <= 12
    await outcomes.aclose()


async def test_a_slow_source_does_not_stop_the_outcomes() -> None:
    """An outcome is handed over while the source still thinks about its next message."""
    first = a_message()
    go_on = asyncio.Event()

    async def source() -> AsyncIterator[Message]:
        yield first
        await go_on.wait()

    outcomes = stream(accept, source())
    assert (await anext(outcomes)).message is first
    go_on.set()
    assert await collect(outcomes) == []


async def test_a_failed_message_is_one_outcome() -> None:
    """An error of one message is its outcome, and the stream goes on."""
    sent = messages(6)

    async def send(message: Message) -> Receipt:
        if message is sent[2]:
            raise NotSent(message, (), "not sent")
        return Receipt(message.request_id)

    outcomes = {outcome.message: outcome for outcome in await collect(stream(send, sent))}
    assert len(outcomes) == 6
    assert [m for m in sent if not outcomes[m].ok] == [sent[2]]
    assert outcomes[sent[2]].status is Status.NOT_SENT


async def test_what_is_no_message_is_one_invalid_outcome(gateway: ScriptedGateway) -> None:
    """Something else among the messages is refused by itself."""
    async with EsmsClient(CREDENTIALS, base_url=gateway.url) as client:
        outcomes = await collect(client.send_many([a_message(), "0901888484", a_message()]))  # type: ignore[list-item]  # the wrong type is the point
    wrong = [outcome for outcome in outcomes if not outcome.ok]
    assert len(outcomes) == 3
    assert isinstance(wrong[0].error, InvalidMessage)


async def test_an_error_of_the_source_comes_after_what_is_in_flight() -> None:
    """The source's own error is raised once every pulled message's outcome is handed over."""

    def source() -> Iterator[Message]:
        yield from messages(3)
        raise LookupError("row 4")

    outcomes = stream(accept, source())
    handed = [await anext(outcomes) for _ in range(3)]
    assert all(outcome.ok for outcome in handed)
    with pytest.raises(LookupError, match="row 4"):
        await anext(outcomes)
    with pytest.raises(StopAsyncIteration):
        await anext(outcomes)


@pytest.mark.parametrize("hidden", [False, True], ids=["plain", "in-an-unknown-outcome"])
async def test_a_rejected_account_stops_the_pulling(*, hidden: bool) -> None:
    """What is in flight finishes, then the rejection is raised; what was not pulled is not sent."""
    source = Source(messages(1000))

    async def send(message: Message) -> Receipt:
        await asyncio.sleep(0)
        if message is source.items[20]:
            rejection = AccountRejected(message, (), code="103", status=200)
            raise OutcomeUnknown(message, (), "unknown", rejection) if hidden else rejection
        return Receipt(message.request_id)

    handed = []
    with pytest.raises(AccountRejected):
        async for outcome in stream(send, source, concurrency=5):
            handed.append(outcome)  # noqa: PERF401  # what came before the error counts
    assert len(handed) == source.pulled <= 30
    assert [outcome.message for outcome in handed if not outcome.ok] == [source.items[20]]


async def test_a_rejection_of_one_message_does_not_stop_the_stream() -> None:
    """Only the account's rejection is everybody's."""

    async def send(message: Message) -> Receipt:
        raise Rejected(message, (), code="108", status=200)

    assert len(await collect(stream(send, messages(30)))) == 30


async def test_leaving_early_drains_what_is_in_flight() -> None:
    """After a break nothing more is pulled, and every pulled message's outcome can be read."""
    source = Source(messages(100))
    gate = Gate()
    gate.open.set()
    async with stream(gate.send, source, concurrency=4) as outcomes:
        async for _ in outcomes:
            break
        gate.open.clear()
        await settle()
        gate.open.set()
    assert gate.under_way == 0
    rest = await collect(outcomes)
    assert 1 + len(rest) == source.pulled == len(gate.started)
    assert source.pulled < 100


async def test_closing_can_cancel_what_is_in_flight() -> None:
    """On request the sends under way are cancelled, and each outcome says what is true."""
    gate = Gate()
    outcomes = stream(gate.send, messages(100), concurrency=4)
    reading = asyncio.create_task(anext(outcomes))
    await settle()
    await outcomes.aclose(cancel=True)
    rest = [await reading, *await collect(outcomes)]
    assert [outcome.status for outcome in rest] == [Status.UNKNOWN] * 4


async def test_a_cancelled_consumer_drains_and_a_second_cancellation_cancels() -> None:
    """The first cancellation lets what is in flight finish, the second one does not."""
    gate = Gate()
    outcomes = stream(gate.send, messages(100), concurrency=4)

    async def consume() -> None:
        async with outcomes:
            async for _ in outcomes:
                pass

    consumer = asyncio.create_task(consume())
    await settle()
    consumer.cancel()
    await settle()
    assert gate.under_way == 4
    consumer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consumer
    assert gate.under_way == 0
    assert [outcome.status for outcome in await collect(outcomes)] == [Status.UNKNOWN] * 4


async def test_closing_does_not_wait_for_a_slow_source() -> None:
    """A source that never yields again does not hold up the close."""
    stopped = asyncio.Event()

    async def source() -> AsyncIterator[Message]:
        yield a_message()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    outcomes = stream(accept, source())
    await anext(outcomes)
    await settle()
    await asyncio.wait_for(outcomes.aclose(), timeout=generous(20))
    assert stopped.is_set()
    assert await collect(outcomes) == []


async def test_closing_before_the_start_sends_nothing() -> None:
    """A stream that is closed before it is iterated has no outcome."""
    source = Source(messages(3))
    outcomes = stream(accept, source)
    await outcomes.aclose()
    assert await collect(outcomes) == []
    assert source.pulled == 0


async def test_a_stream_left_behind_stops_and_warns() -> None:
    """Breaking out without closing stops the pulling, and says that outcomes are lost."""
    source = Source(messages(1000))
    with pytest.warns(ResourceWarning, match="without aclose"):
        async for _ in stream(accept, source, concurrency=4):
            break
        gc.collect()
    await settle()
    pulled = source.pulled
    await settle()
    assert source.pulled == pulled < 20
    assert len(asyncio.all_tasks()) == 1


async def test_a_finished_stream_leaves_nothing_behind() -> None:
    """No task outlives a stream that was read to its end, and none warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await collect(stream(accept, messages(100)))
        gc.collect()
    assert len(asyncio.all_tasks()) == 1


async def test_one_task_iterates_a_stream() -> None:
    """A second reader is told so, rather than left waiting for ever."""
    gate = Gate()
    outcomes = stream(gate.send, messages(2))
    first = asyncio.create_task(anext(outcomes))
    await settle()
    with pytest.raises(UsageError, match="another task"):
        await anext(outcomes)
    gate.open.set()
    assert (await first).ok
    assert len(await collect(outcomes)) == 1


@pytest.mark.parametrize("ordered", [False, True])
async def test_an_unexpected_error_of_a_send_ends_the_stream(*, ordered: bool) -> None:
    """A foreign error is raised once what is in flight is done."""
    source = Source(messages(10))
    sent = source.items

    async def send(message: Message) -> Receipt:
        await asyncio.sleep(0)
        if message is sent[3]:
            raise ZeroDivisionError
        return Receipt(message.request_id)

    handed = []
    with pytest.raises(ZeroDivisionError) as caught:
        async for outcome in stream(send, source, concurrency=4, ordered=ordered):
            handed.append(outcome)  # noqa: PERF401  # what came before the error counts
    assert all(outcome.ok for outcome in handed)
    assert len(handed) == source.pulled - 1
    assert caught.value.__notes__ == [f"raised by the send of {sent[3]!r}"]


async def test_a_task_cancelled_from_outside_ends_the_stream_without_losing_an_outcome() -> None:
    """What they sent has its outcome, and an error says that the rest was not pulled."""
    gate = Gate()
    outcomes = stream(gate.send, messages(10), concurrency=2)
    told: list[Outcome] = []

    async def read() -> None:
        async for outcome in outcomes:
            told.append(outcome)  # noqa: PERF401  # kept, also where the stream ends with an error

    reading = asyncio.create_task(read())
    await settle()
    for task in asyncio.all_tasks() - {asyncio.current_task(), reading}:
        task.cancel()
    with pytest.raises(UsageError, match="cancelled from outside"):
        await asyncio.wait_for(reading, timeout=generous(20))
    assert [outcome.status for outcome in told] == [Status.UNKNOWN] * 2


async def test_a_pulling_task_cancelled_from_outside_is_an_error_of_the_stream() -> None:
    """A stream that can pull nothing more says so, rather than end as if it were complete."""

    async def source() -> AsyncIterator[Message]:
        yield a_message()
        await asyncio.Event().wait()

    outcomes = stream(accept, source())
    assert (await anext(outcomes)).ok
    await settle()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    with pytest.raises(UsageError, match="cancelled from outside"):
        await anext(outcomes)


async def test_a_task_cancelled_while_it_waits_for_room_loses_no_outcome() -> None:
    """The stream hands over what it has, and then says what ended it."""
    outcomes = stream(accept, messages(10), concurrency=1)
    assert (await anext(outcomes)).ok
    await settle()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await settle()
    told = [await anext(outcomes) for _ in range(2)]
    assert all(outcome.ok for outcome in told)
    with pytest.raises(UsageError, match="cancelled from outside"):
        await anext(outcomes)


async def test_an_error_of_an_async_source_comes_after_what_is_in_flight() -> None:
    """What was pulled before the source failed has its outcome first."""

    async def source() -> AsyncIterator[Message]:
        for message in messages(3):
            yield message
        raise ZeroDivisionError

    outcomes = stream(accept, source(), concurrency=2)
    told: list[Outcome] = []
    with pytest.raises(ZeroDivisionError):
        async for outcome in outcomes:
            told.append(outcome)  # noqa: PERF401  # what came before the error counts
    assert [outcome.ok for outcome in told] == [True] * 3


async def test_a_foreign_ledger_stops_the_stream(gateway: ScriptedGateway) -> None:
    """Every message would meet the same refusal, so the pulling ends, and nothing is sent."""
    async with MemoryLedger() as ledger:
        async with EsmsClient(
            CREDENTIALS, base_url="http://localhost:1/", ledger=ledger, retry=ONE_ATTEMPT
        ) as other:
            with pytest.raises(NotSent):
                await other.send(a_message())
        source = Source(messages(100))
        told: list[Outcome] = []
        async with EsmsClient(CREDENTIALS, base_url=gateway.url, ledger=ledger) as client:
            with pytest.raises(ForeignLedger):
                async for outcome in client.send_many(source, concurrency=2):
                    told.append(outcome)  # noqa: PERF401  # what came before the error counts
    assert {outcome.status for outcome in told} == {Status.NOT_SENT}
    assert len(told) == source.pulled <= 4
    assert gateway.bodies == []


async def test_a_cancelled_send_without_a_cause_is_unknown() -> None:
    """A cancellation that says nothing of its message leaves its outcome unknown."""

    async def send(message: Message) -> Receipt:  # the signature of a send
        raise asyncio.CancelledError

    outcomes = stream(send, messages(10), concurrency=1)
    assert (await anext(outcomes)).status is Status.UNKNOWN
    with pytest.raises(UsageError, match="cancelled from outside"):
        await anext(outcomes)


@pytest.mark.parametrize("concurrency", [0, -1, 1.5, True, "4", None])
def test_a_concurrency_that_cannot_work_is_refused(concurrency: int) -> None:
    """The error names the argument."""
    with pytest.raises(ConfigurationError, match="concurrency"):
        EsmsClient(CREDENTIALS).send_many([], concurrency=concurrency)


def test_what_cannot_be_iterated_is_refused() -> None:
    """The error comes at the call, not at the first outcome."""
    with pytest.raises(TypeError, match="not iterable"):
        EsmsClient(CREDENTIALS).send_many(5)  # type: ignore[arg-type]  # the wrong type is the point
