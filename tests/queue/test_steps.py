"""Single steps of the queue: what settles, reports, serves and logs, where a race would hide it."""

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import attrs
import pytest

from esms_async import EsmsError, NotSent, Outcome, OutcomeUnknown, Receipt, Status
from esms_async._model.errors import ConfigurationError, LedgerError
from esms_async.cli.health import ListenAddress, WorkerMetrics, serving
from esms_async.cli.queue_views import look_at
from esms_async.cli.queued import StreamSender
from esms_async.cli.worker import JsonLines
from esms_async.ledger import RedisLedger
from esms_async.ledger.transitions import ONE_MORE_ATTEMPT, Settlement
from esms_async.queue import MessageQueue, QueueError
from esms_async.queue.breakers import Reach, WorkerFault, silence
from esms_async.queue.ledger import DONE, LAST, LATER, QueueLedger
from esms_async.queue.queue import _Run
from esms_async.queue.streams import QueueDelivery, QueueStreams
from esms_async.queue.worker import _Prepaid
from tests.ledger.redis_server import RedisServer
from tests.limits import generous
from tests.queue.support import PATIENCE, Gateway, environment, messages, until, working

DELIVERY = QueueDelivery("esms:queue:otp", "1-1")


async def at_once(call: Callable[[], Awaitable[Any]]) -> Any:
    """Call the server once."""
    return await call()


async def test_a_place_that_was_paid_for_is_used_once() -> None:
    """The first attempt has it, and the next one waits for its own."""
    places = asyncio.Semaphore(2)
    prepaid = _Prepaid(places)
    await prepaid.prepay()
    async with prepaid:
        assert not places.locked()
    async with prepaid:
        assert places.locked()


async def test_an_ending_that_nobody_waits_for_is_made_all_the_same(
    redis: RedisServer, queue: MessageQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given up by its task, it disturbs no other; a failure reaches those who wait."""
    failures: list[LedgerError] = []

    async def patiently(call: Callable[[], Awaitable[Any]]) -> Any:
        if failures:
            raise failures.pop()
        return await call()

    async with aclosing(QueueLedger(redis.url, "esms:send:", "w", patiently)) as ledger:
        await ledger.open()
        for failure in ([], [LedgerError("away")]):
            failures += failure
            given_up = asyncio.create_task(ledger.finish(DELIVERY, LATER))
            waits = asyncio.create_task(ledger.finish(DELIVERY, LATER))
            await asyncio.sleep(0)
            given_up.cancel()
            await asyncio.wait([given_up, waits])
            assert given_up.cancelled()
            assert isinstance(waits.exception(), LedgerError) is bool(failure)

        async def away(*_: object) -> None:
            raise LedgerError("away")

        monkeypatch.setattr(RedisLedger, "settle", away)
        assert await ledger.settle("r", 1, ONE_MORE_ATTEMPT) is None


async def test_what_dies_again_meanwhile_is_requeued_once(
    redis: RedisServer, queue: MessageQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers may bring a message back to the dead stream before all are put back."""
    streams, run_script = queue._streams, queue._streams.script
    dead = streams.key("dead")
    with redis.client() as client:
        for request_id in ("a", "b"):
            client.xadd(dead, {"lane": "bulk", "why": "bad", "r": request_id})

        def bring_back(name: str, *told: Any, **options: Any) -> Any:
            reply = run_script(name, *told, **options)
            reply.add_done_callback(lambda _: client.xadd(dead, {"lane": "bulk", "why": "bad"}))
            return reply

        monkeypatch.setattr(streams, "script", bring_back)
        assert await streams.release(dead) == 2
        assert client.xlen("esms:queue:bulk") == 2


async def test_what_was_given_back_waits(redis: RedisServer, queue: MessageQueue) -> None:
    """No worker holds it."""
    lane = queue._streams.key("bulk")
    for message in messages(3):
        await queue.put(message, lane="bulk")
    first, *_ = await queue._streams.take(lane, "w", 2)
    with redis.client() as client:
        client.xclaim(lane, "workers", "free", 0, [first.id], justid=True)
    seen = (await look_at(queue._streams))["lanes"]["bulk"]
    assert (seen["waiting"], seen["under_way"]) == (2, 1)


async def test_what_was_not_put_in_is_given_up_with_the_run(
    queue: MessageQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left while the server is away, a run puts nothing in later."""
    run = _Run(queue._write_followed, queue._put_page, queue._streams, "bulk", "b")
    refused = asyncio.Event()

    async def refuse(_: object) -> None:
        refused.set()
        raise QueueError("away")

    monkeypatch.setattr(queue._streams, "put", refuse)
    sending = asyncio.create_task(run.send(messages(1)[0]))
    await refused.wait()
    putting = run._puts._working
    assert putting is not None
    sending.cancel()
    await run.aclose()
    await asyncio.wait({sending, putting})
    assert putting.cancelled()


async def test_places_that_the_other_lane_took_meanwhile_are_not_taken(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lane `bulk` waits for more places, and asks again how many there are."""
    async with working(redis.url, gateway.url) as running:
        worker, told, asked = running.worker, [1, 0], list[str]()
        asked_before_take: list[int] = []
        free, take = worker._free, worker._take

        def few(lane: str) -> int:
            if lane == "bulk" and told:
                return told.pop(0)
            asked.append(lane)
            return free(lane)

        async def note(lane: str, *more: Any, **options: Any) -> list[QueueDelivery]:
            if lane == "bulk" and not told:
                asked_before_take.append(asked.count("bulk"))
            return await take(lane, *more, **options)

        monkeypatch.setattr(worker, "_free", few)
        monkeypatch.setattr(worker, "_take", note)
        (message,) = messages(1)
        await queue.put(message, lane="bulk")
        await until(lambda: running.statuses["accepted"] == 1)
        await until(lambda: bool(asked_before_take))
    assert asked_before_take[0] > 0


@pytest.mark.parametrize("sms_id", ["s", None, "two\nlines"])
async def test_an_acceptance_is_settled_whatever_its_smsid(
    redis: RedisServer, queue: MessageQueue, sms_id: str | None
) -> None:
    """Twice, it is settled once; what waits for it in the same step is settled, too."""

    async def patiently(call: Callable[[], Awaitable[Any]]) -> Any:
        return await call()

    one, other = messages(2)
    async with aclosing(QueueLedger(redis.url, "esms:send:", "w", patiently)) as ledger:
        await ledger.open()
        for message in (one, other):
            await ledger.claim(message, bytes(32))
        receipts = Receipt(one.request_id, sms_id), Receipt(other.request_id, deduplicated=True)
        outcomes = [Outcome(*each) for each in zip((one, other), receipts, strict=True)]
        for _ in range(2):
            assert await asyncio.gather(
                *(ledger.finish(DELIVERY, DONE, outcome) for outcome in outcomes)
            ) == [True, True]
        entries = [await ledger.look_up(message.request_id) for message in (one, other)]
    assert [entry and entry.status for entry in entries] == [Status.ACCEPTED] * 2
    assert [entry and (entry.sms_id, entry.deduplicated) for entry in entries] == [
        (sms_id, False),
        (None, True),
    ]


async def test_an_acceptance_that_the_ledger_learned_meanwhile_wins(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue
) -> None:
    """A worker that was refused asks the ledger again, and sends nothing more."""
    (message,) = messages(1)
    gateway.routes["8"] = "108"
    gateway.answers.clear()
    async with working(redis.url, gateway.url), queue.send_many([message]) as outcomes:
        following = asyncio.create_task(anext(outcomes))
        await until(lambda: len(gateway.requests) == 1)
        async with RedisLedger(redis.url) as ledger:
            await ledger.settle(message.request_id, 0, Settlement(Status.ACCEPTED, sms_id="s"))
        gateway.answers.set()
        assert (await following).ok
    assert len(gateway.requests) == 1


async def test_a_worker_goes_on_where_the_ledger_disagrees_and_knows_no_acceptance(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may be sending the message: it is tried again, and still sent once."""
    finish, refused = QueueLedger.finish, list[str]()

    async def refuse_once(
        self: QueueLedger, delivery: QueueDelivery, ending: str, *rest: Any
    ) -> bool:
        if not refused:
            refused.append(ending)
            return False
        return await finish(self, delivery, ending, *rest)

    monkeypatch.setattr(QueueLedger, "finish", refuse_once)
    async with working(redis.url, gateway.url), queue.send_many(messages(1)) as outcomes:
        assert (await anext(outcomes)).ok
    assert refused
    assert set(gateway.accepted.values()) == {1}


async def test_a_message_that_was_rejected_before_is_rejected_again_without_a_request(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue
) -> None:
    """The second delivery has nothing to record, and ends all the same."""
    gateway.routes["8"] = "108"
    (message,) = messages(1)
    async with working(redis.url, gateway.url) as running:
        await queue.put(message)
        await until(lambda: running.statuses["rejected"] == 1)
        await queue.put(message)
        await until(lambda: running.statuses["rejected"] == 2)
    assert len(gateway.requests) == 1
    assert await queue.depth() == 0


async def test_a_send_without_an_answer_comes_again_later(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue
) -> None:
    """One that has no answer within its deadline opens no breaker, and is not lost."""
    gateway.answers.clear()
    async with working(redis.url, gateway.url, deadline=0.5) as running:
        await queue.put(messages(1)[0])
        await until(lambda: len(gateway.requests) == 1)
        await until(lambda: running.worker.held == 0)
        assert running.worker.breakers.open == {}
        gateway.answers.set()
        await until(lambda: running.statuses["accepted"] == 1)
    assert set(gateway.accepted.values()) == {1}


async def test_a_message_that_goes_to_the_end_keeps_its_deaths(
    redis: RedisServer, queue: MessageQueue
) -> None:
    """It stands behind the others with the same fields, and workers died on it as often."""
    streams, (first, second) = queue._streams, messages(2)
    lane = streams.key("otp")
    await streams.make_group(lane)
    for message in (first, second):
        await queue.put(message)
    with redis.client() as client:
        (taken,) = await streams.take(lane, "w", 1)
        client.hset(f"{lane}:deaths", taken.id, "3")
        async with aclosing(QueueLedger(redis.url, "esms:send:", "w", at_once)) as ledger:
            await ledger.open()
            assert await ledger.finish(taken, LAST)
            assert await ledger.finish(taken, LAST), "it moves once"
    other, moved = await streams.take(lane, "other", 9)
    assert (other.request_id, moved.request_id) == (second.request_id, first.request_id)
    assert attrs.evolve(moved, id=taken.id, deaths=0) == taken
    assert moved.deaths == 3
    assert await queue.depth() == 2


async def test_a_message_that_goes_to_the_end_stays_as_old_as_it_is(
    redis: RedisServer, queue: MessageQueue
) -> None:
    """So an alert sees an OTP that is stuck, however often it is tried and moved."""
    streams = queue._streams
    lane = streams.key("otp")
    with redis.client() as client:
        client.xadd(lane, {"r": "stuck", "m": "?"}, id="5000-0")
    await streams.make_group(lane)
    async with aclosing(QueueLedger(redis.url, "esms:send:", "w", at_once)) as ledger:
        await ledger.open()
        for _ in range(2):
            (taken,) = await streams.take(lane, "w", 1)
            assert await ledger.finish(taken, LAST)
    with redis.client() as client:
        ((moved, fields),) = client.xrange(lane)
        assert moved != "5000-0"
        assert fields["since"] == "5000"
    seconds = (await look_at(streams))["lanes"]["otp"]["oldest_seconds"]
    assert seconds == pytest.approx(time.time() - 5, abs=generous(60))


async def test_a_message_that_alone_meets_a_fault_is_named_once(
    redis: RedisServer, gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    """It is given back each time, by whichever worker, and one log names it once."""
    fault = WorkerFault("103", Reach.ACCOUNT, "top it up")
    request_id = messages(1)[0].request_id
    delivery = QueueDelivery("esms:queue:otp", "1-1", request_id)
    async with (
        working(redis.url, gateway.url) as one,
        working(redis.url, gateway.url) as other,
    ):
        await one.worker.streams.suspect("103", request_id)
        for running in (one, other, one):
            assert await running.worker._meet(fault, delivery) == LATER
            assert running.worker.breakers.open == {}
        # Another fault is no news of that one.
        await one.worker._meet(attrs.evolve(fault, name="102"), delivery)
        assert list(one.worker.breakers.open) == ["102"]
    assert caplog.text.count(f"request id {request_id} meets breaker 103 again") == 1


async def test_a_worker_that_ends_in_good_order_leaves_no_consumer_behind(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue
) -> None:
    """It held nothing, so its name goes."""
    async with working(redis.url, gateway.url) as running:
        await queue.put(messages(1)[0])
        await until(lambda: running.statuses["accepted"] == 1)
    with redis.client() as client:
        assert client.xinfo_consumers("esms:queue:otp", "workers") == []


async def test_a_worker_that_holds_a_message_stays_in_the_group(
    redis: RedisServer, queue: MessageQueue
) -> None:
    """With its name would go what it holds, which another worker is to take over."""
    streams = queue._streams
    await queue.put(messages(1)[0])
    lane = streams.key("otp")
    await streams.make_group(lane)
    await streams.run("XREADGROUP", "GROUP", "workers", "w", "STREAMS", lane, ">")
    await streams.leave("w")
    with redis.client() as client:
        assert [each["name"] for each in client.xinfo_consumers(lane, "workers")] == ["w"]


async def test_reports_of_others_are_read_over(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue
) -> None:
    """Neither an earlier run's nor an unreadable one is taken for an outcome of this run."""
    with redis.client() as client:
        client.xadd("esms:queue:outcomes:b", {"report": "{}"})
        async with queue.send_many(messages(2), batch="b", concurrency=2) as outcomes:
            following = asyncio.create_task(anext(outcomes))

            async def waits() -> bool:
                return await queue.depth() == 2

            await until(waits)
            client.xadd("esms:queue:outcomes:b", {"report": "{}"})
            async with working(redis.url, gateway.url):
                assert (await following).ok
                assert (await anext(outcomes)).ok
    await queue.send_many([], batch="b").aclose()


async def test_a_run_is_begun_once_and_its_end_reaches_all_who_wait(
    redis: RedisServer, queue: MessageQueue
) -> None:
    """Two that begin together begin one run; one that has given up is passed over."""
    run = _Run(queue._write_followed, queue._put_page, queue._streams, "bulk", "b")
    sends = [asyncio.create_task(run.send(message)) for message in messages(2)]
    await until(lambda: len(run._waiting) == 2)

    async def are_there() -> bool:
        return await queue.depth() == 2

    await until(are_there)
    assert await queue._streams.latest_run("b") == 1
    (_, first), _ = run._waiting.values()
    first.cancel()
    await queue._streams.begin_run("b")
    await asyncio.wait(sends)
    assert sends[0].cancelled()
    for later in messages(2):
        sends[1] = asyncio.create_task(run.send(later))
        await asyncio.wait(sends[1:])
        assert type(sends[1].exception()) is OutcomeUnknown, "other workers may send it"
        assert "taken over" in str(sends[1].exception())
    await run.aclose()


async def test_a_server_that_lost_a_batch_is_not_another_process(
    redis: RedisServer, queue: MessageQueue
) -> None:
    """The error says what happened, and that the batch can be sent again."""
    run = _Run(queue._write_followed, queue._put_page, queue._streams, "bulk", "b")
    sending = asyncio.create_task(run.send(messages(1)[0]))
    await until(lambda: len(run._waiting) == 1)
    with redis.client() as client:
        client.delete("esms:queue:run:b")
    await asyncio.wait([sending])
    assert type(sending.exception()) is OutcomeUnknown
    assert "has lost what it knew of batch 'b'; send it again" in str(sending.exception())
    await run.aclose()


async def test_metrics_name_open_breakers(redis: RedisServer, gateway: Gateway) -> None:
    """Closed twice, a breaker is closed."""
    async with working(redis.url, gateway.url) as running:
        worker = running.worker
        await until(lambda: worker.problems() == [])
        worker.breakers.trip(silence("nobody listens"))
        breaker = worker.breakers.open["no answer"]
        text = (await WorkerMetrics().render(worker)).decode()
        assert 'esms_queue_breaker_open{breaker="no answer"} 1.0' in text
        assert "esms_queue_ready 0.0" in text
        assert "esms_queue_paused 0.0" in text
        await worker._close(breaker)
        await worker._close(breaker)
        assert not worker.breakers.open


async def test_a_port_that_is_taken_is_named() -> None:
    """So is an invalid address."""

    async def nothing() -> bytes:
        return b""

    async with serving(ListenAddress.parse("127.0.0.1:0"), list, nothing) as port:
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port} can't be used"):
            async with serving(ListenAddress("127.0.0.1", port), list, nothing):
                pass
    for text in ("127.0.0.1", ":80", "a:b", "a:99999", "a:123456"):
        with pytest.raises(ConfigurationError, match="HOST:PORT"):
            ListenAddress.parse(text)


async def test_another_error_of_the_server_is_no_empty_queue(redis: RedisServer) -> None:
    """A lane of another type is an error."""
    async with aclosing(QueueStreams(redis.url, "esms")) as streams:
        await look_at(streams)
        with redis.client() as client:
            client.set("esms:queue:otp", "x")
            client.execute_command(
                "ACL", "SETUSER", "weak", "on", ">word", "~*", "+@all", "-xpending"
            )
        url = redis.url.replace("//", "//weak:word@")
        async with aclosing(QueueStreams(url, "other")) as weak:
            with pytest.raises(QueueError, match="xpending"):
                await look_at(weak)
        with pytest.raises(QueueError, match="WRONGTYPE"):
            await streams.make_group("esms:queue:otp")


def test_the_log_names_an_error_and_not_its_words() -> None:
    """They could hold anything."""
    error = ValueError("686868")
    record = logging.LogRecord(
        "esms_async", logging.ERROR, "", 0, "failed", (), (ValueError, error, None)
    )
    line = JsonLines().format(record)
    assert '"error": "ValueError"' in line
    assert "686868" not in line


async def test_a_log_for_a_person_is_text() -> None:
    """`--log text` writes no JSON."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "esms_async", "worker", "--log", "text"),
        env=environment("redis://127.0.0.1:1", "http://127.0.0.1:1/"),
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    line = (await asyncio.wait_for(process.stderr.readline(), PATIENCE)).decode()
    assert " ERROR the queue on Redis" in line
    process.terminate()
    await process.communicate()
    assert process.returncode == 0


@attrs.define
class Stream:
    """Outcomes that a test gives."""

    outcomes: "asyncio.Queue[Outcome | EsmsError]" = attrs.field(factory=asyncio.Queue)

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> Outcome:
        outcome = await self.outcomes.get()
        if isinstance(outcome, EsmsError):
            raise outcome
        return outcome

    async def aclose(self, *, cancel: bool = False) -> None:
        """End it."""
        assert cancel
        self.outcomes.put_nowait(EsmsError("closed"))


async def test_a_sender_over_a_stream_gives_each_message_its_outcome() -> None:
    """One that is given up is unknown, and the end of the stream reaches all who wait."""
    stream = Stream()
    one, other, late = messages(3)
    async with StreamSender(lambda _: stream) as sender:
        given_up = asyncio.create_task(sender.send(one))
        refused = asyncio.create_task(sender.send(other))
        await asyncio.sleep(0)
        stream.outcomes.put_nowait(Outcome(other, error=NotSent(other, (), "refused")))
        await asyncio.wait([refused])
        assert isinstance(refused.exception(), NotSent)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await given_up
        assert isinstance(caught.value.__cause__, OutcomeUnknown)
        stream.outcomes.put_nowait(Outcome(one, Receipt(one.request_id)))
        waits, done = (asyncio.create_task(sender.send(each)) for each in (one, other))
        await asyncio.sleep(0)
        done.cancel()
        stream.outcomes.put_nowait(EsmsError("taken over"))
        await asyncio.wait([waits, done])
        assert "taken over" in str(waits.exception())
        with pytest.raises(NotSent, match="taken over"):
            await sender.send(late)
