"""The queue as its users see it, without a server where none is needed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
from fastapi import FastAPI, Request
from taskiq import BrokerMessage, InMemoryBroker

from esms_async import (
    AccountRejected,
    InvalidMessage,
    LedgerError,
    Message,
    Outcome,
    OutcomeUnknown,
    Receipt,
    Status,
    UsageError,
)
from esms_async.emulator import AccountState, Emulator
from esms_async.workers import MessageQueue, QueueError
from esms_async.workers.following import QueuedSends, _Run
from esms_async.workers.outcomes import MemoryOutcomes
from esms_async.workers.reports import Report
from tests.factories import API_KEY, SECRET_KEY, a_message
from tests.ledger.redis_server import free_port


@pytest.fixture
def in_memory(emulated: Emulator) -> dict[str, str]:
    """The variables of a service under test: messages are sent where they are put in."""
    return {
        "ESMS_BROKER_URL": "memory://",
        "ESMS_API_KEY": API_KEY,
        "ESMS_SECRET_KEY": SECRET_KEY,
        "ESMS_BASE_URL": emulated.url,
    }


async def test_a_service_enqueues_instead_of_sending(
    in_memory: dict[str, str], emulated: Emulator
) -> None:
    """A FastAPI service with a queue in its lifespan answers once the message is put in."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with MessageQueue.from_env(in_memory) as queue:
            app.state.queue = queue
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/login", status_code=202)
    async def login(request: Request) -> None:
        await request.app.state.queue.enqueue(a_message())

    sent: list[Any] = []

    async def put(event: Any) -> None:
        sent.append(event)

    async def receive() -> Any:
        return {"type": "http.request"}

    scope = {"type": "http", "method": "POST", "path": "/login", "headers": [], "query_string": b""}
    async with app.router.lifespan_context(app):
        await app(scope, receive, put)
    assert sent[0]["status"] == 202
    assert [request.phone for request in emulated.requests] == ["0901888484"]


async def test_a_stream_is_sent_and_told_of(in_memory: dict[str, str], emulated: Emulator) -> None:
    """Each message has its outcome, also where it is in the stream twice, or rejected."""
    message, blocked = a_message(), a_message("0900000099")
    async with MessageQueue.from_env(in_memory) as queue:
        stream = queue.send_many([message, blocked, message], batch="b", ordered=True)
        told = [outcome async for outcome in stream]
        assert [outcome.status for outcome in told] == ["accepted", "rejected", "accepted"]
        assert [outcome.message for outcome in told] == [message, blocked, message]
        again = queue.send_many([message], batch="b")
        receipt = told[0].receipt
        assert receipt is not None
        earlier = [outcome.receipt async for outcome in again]
        assert earlier == [attrs.evolve(receipt, attempts=())]
    assert emulated.accepted(message.request_id) == 1


async def test_many_are_put_in_and_followed(in_memory: dict[str, str]) -> None:
    """A batch is followed from its beginning, and again from a position."""
    messages = [a_message() for _ in range(3)]
    async with MessageQueue.from_env(in_memory) as queue:
        assert await queue.enqueue_many(messages, batch="b", concurrency=1) == 3
        reports = queue.follow("b")
        told = [await anext(reports) for _ in messages]
        assert [report.request_id for _, report in told] == [each.request_id for each in messages]
        assert all(report.ok for _, report in told)
        _, last = await anext(queue.follow("b", after=told[1][0]))
        assert last == told[2][1]


async def test_what_is_no_message_is_told_of(in_memory: dict[str, str]) -> None:
    """A stream goes on behind what is no Message; putting in stops at it."""
    odd: list[Any] = ["odd", a_message()]
    async with MessageQueue.from_env(in_memory) as queue:
        async with queue.send_many(odd, batch="b") as stream:
            told = {outcome.status async for outcome in stream}
        assert told == {Status.NOT_SENT, Status.ACCEPTED}
        with pytest.raises(InvalidMessage):
            await queue.enqueue_many(odd, batch="b")


async def test_an_account_that_cannot_send_stops_the_stream(
    in_memory: dict[str, str], emulated: Emulator
) -> None:
    """The rejection of the account is raised, as a local stream does it."""
    emulated.account = AccountState.LOCKED
    messages = [a_message() for _ in range(20)]
    async with MessageQueue.from_env(in_memory) as queue:
        with pytest.raises(AccountRejected):
            async with queue.send_many(messages, batch="b", concurrency=1) as stream:
                async for _ in stream:
                    pass
    assert len(emulated.requests) < len(messages)


class Put:
    """Stands for the queue: notes what is put in, which nobody sends."""

    def __init__(self) -> None:
        self.runs: list[int] = []
        self.came = asyncio.Event()

    async def __call__(self, message: Message, batch: str, run: int) -> None:
        """Note it."""
        self.runs.append(run)
        self.came.set()


def accepted(message: Message, run: int) -> Report:
    """Return the report of an acceptance."""
    return Report.of(Outcome(message, Receipt(message.request_id)), run)


def refused(message: Message, run: int) -> Report:
    """Return the report of a message that was not sent."""
    return Report.of(Outcome(message, error=OutcomeUnknown(message, (), "unknown")), run)


async def test_what_an_earlier_run_is_told_counts_where_it_was_accepted() -> None:
    """The end of an earlier run's try is not the end of this one's, unless it is acceptance."""
    outcomes, put, message, other = MemoryOutcomes(), Put(), a_message(), a_message()
    await outcomes.begin_run("b")
    async with QueuedSends(
        put, outcomes, "b", [message, other], concurrency=2, ordered=True
    ) as stream:
        first = asyncio.ensure_future(anext(stream))
        await put.came.wait()
        await outcomes.tell("b", refused(message, 1))
        await outcomes.tell("b", accepted(a_message(), 1))
        await outcomes.tell("b", accepted(message, 1))
        await outcomes.tell("b", accepted(message, 1))
        assert (await first).ok
        await outcomes.tell("b", refused(other, 2))
        assert (await anext(stream)).status is Status.UNKNOWN
    assert put.runs == [2, 2]


async def test_left_to_the_workers_a_message_is_unknown() -> None:
    """`aclose(cancel=True)` does not wait for workers, and says what is true."""
    put = Put()
    stream = QueuedSends(put, MemoryOutcomes(), "b", [a_message()], concurrency=1, ordered=False)
    waiting = asyncio.ensure_future(anext(stream))
    await put.came.wait()
    await stream.aclose(cancel=True)
    assert isinstance((await waiting).error, OutcomeUnknown)


class QuietOutcomes(MemoryOutcomes):
    """Outcomes that give up waiting at once, as those on a server do after a while."""

    async def read(self, batch: str, after: str, *, wait: bool) -> list[tuple[str, Report]]:
        """Read what is there."""
        await asyncio.sleep(0)
        return await super().read(batch, after, wait=False)


async def test_one_process_at_a_time_follows_a_batch() -> None:
    """A process whose batch another has taken over is told so, and does not wait for ever."""
    outcomes, put = QuietOutcomes(), Put()
    stream = QueuedSends(put, outcomes, "b", [a_message()], concurrency=1, ordered=False)
    waiting = asyncio.ensure_future(anext(stream))
    await put.came.wait()
    await outcomes.begin_run("b")
    assert isinstance((await waiting).error, UsageError)
    await stream.aclose()


async def test_a_stream_nobody_begins_needs_nothing() -> None:
    """A stream that is closed before its first message has begun no run."""
    outcomes = MemoryOutcomes()
    await QueuedSends(Put(), outcomes, "b", [], concurrency=1, ordered=False).aclose()
    assert await outcomes.latest_run("b") == 0


async def test_a_follower_outlives_a_server_that_is_away() -> None:
    """Outcomes that can't be read now are read later."""

    class Failing(MemoryOutcomes):
        failures = 1

        async def read(self, batch: str, after: str, *, wait: bool) -> list[tuple[str, Report]]:
            if wait and self.failures:
                self.failures -= 1
                raise LedgerError("away")
            return await super().read(batch, after, wait=wait)

    outcomes, put, message = Failing(), Put(), a_message()
    async with QueuedSends(put, outcomes, "b", [message], concurrency=1, ordered=False) as stream:
        waiting = asyncio.ensure_future(anext(stream))
        await put.came.wait()
        await outcomes.tell("b", accepted(message, 1))
        assert (await waiting).ok


async def test_a_broker_that_is_away_is_an_error_in_one_line(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue that can't be reached says so after a while, with no secret."""
    monkeypatch.setattr("esms_async.workers.queue._CONNECT_SECONDS", 0.2)
    away = {**environ, "ESMS_BROKER_URL": f"nats://user:hush@127.0.0.1:{free_port()}"}
    with pytest.raises(QueueError, match="can't be reached") as caught:
        async with MessageQueue.from_env(away):
            pass
    assert "hush" not in str(caught.value)


async def test_an_error_of_the_settings_closes_the_queue(in_memory: dict[str, str]) -> None:
    """What can't start leaves nothing open."""
    del in_memory["ESMS_API_KEY"]
    with pytest.raises(Exception, match="ESMS_API_KEY"):
        async with MessageQueue.from_env(in_memory):
            pass


async def test_a_message_that_is_not_confirmed_is_put_in_again(
    in_memory: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """`enqueue` says so, with no content; a stream warns once and goes on until it is back."""
    kick = InMemoryBroker.kick
    failures = [ConnectionError("686868") for _ in range(3)]

    async def fail_at_first(broker: InMemoryBroker, message: BrokerMessage) -> None:
        if failures:
            raise failures.pop()
        await kick(broker, message)

    monkeypatch.setattr(InMemoryBroker, "kick", fail_at_first)
    async with MessageQueue.from_env(in_memory) as queue:
        with pytest.raises(QueueError, match="did not confirm") as caught:
            await queue.enqueue(a_message())
        assert "686868" not in str(caught.value)
        stream = queue.send_many([a_message()], batch="b")
        assert [outcome.ok async for outcome in stream] == [True]
    assert caplog.text.count("trying again") == 1


async def test_a_follower_goes_on_as_reports_come(in_memory: dict[str, str]) -> None:
    """A report that comes after another was read is read too."""
    async with MessageQueue.from_env(in_memory) as queue:
        reports = queue.follow("b")
        for message in (a_message(), a_message()):
            await queue.enqueue(message, batch="b")
            _, report = await anext(reports)
            assert report.request_id == message.request_id


async def test_two_who_wait_for_one_message_are_both_told_when_it_ends() -> None:
    """The end of a follower leaves nobody waiting, told or not."""
    outcomes, put, message = QuietOutcomes(), Put(), a_message()
    run = _Run(put, outcomes, "b")
    first, second = (asyncio.ensure_future(run.send(message)) for _ in range(2))
    await put.came.wait()
    await outcomes.tell("b", accepted(message, 1))
    assert await first == await second
    await run.aclose()


async def test_who_was_told_already_is_not_told_of_the_end() -> None:
    """A follower that ends in the same turn as a report came leaves the report to its waiter."""

    class Ending(MemoryOutcomes):
        async def read(self, batch: str, after: str, *, wait: bool) -> list[tuple[str, Report]]:
            if after != "0":
                raise UsageError("over")
            return await super().read(batch, after, wait=wait)

    outcomes, put, message = Ending(), Put(), a_message()
    run = _Run(put, outcomes, "b")
    waiting = asyncio.ensure_future(run.send(message))
    await put.came.wait()
    await outcomes.tell("b", accepted(message, 1))
    assert (await waiting).request_id == message.request_id
    await run.aclose()
