"""What a worker does when its server, its ledger, its key or a route fails it, step by step."""

import asyncio
import logging
from collections.abc import Iterable

import pytest

from esms_async import Brandname, EsmsClient, Message
from esms_async._model.errors import ForeignLedger
from esms_async.ledger import RedisLedger
from esms_async.queue import MessageQueue
from esms_async.queue.breakers import FOREIGN, FORM, Reach, WorkerFault, silence
from esms_async.queue.cipher import MessageCipher
from esms_async.queue.streams import QueueDelivery, SharedState
from esms_async.queue.worker import QueueWorker
from tests.factories import CREDENTIALS
from tests.ledger.redis_server import RedisServer
from tests.queue.support import KEY, OTHER_KEY, Gateway, messages, until, working

KEPT = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
SHOP = Brandname("Shop")


async def drained(queue: MessageQueue) -> None:
    """Wait until nothing waits or is under way."""

    async def is_empty() -> bool:
        return await queue.depth() == 0

    await until(is_empty)


async def know_alone(
    shared: SharedState, worker: QueueWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Make the renewals of a running worker return this state alone, and wait for earlier ones."""
    await until(lambda: worker.problems() == [])

    async def renew() -> None:
        worker._shared = shared
        renewed.set()

    renewed = asyncio.Event()
    monkeypatch.setattr(worker, "_renew", renew)
    await renewed.wait()


async def test_a_worker_can_end_while_its_server_is_away(gateway: Gateway) -> None:
    """It does not wait for the server then; another one sends what it held, once."""
    with RedisServer(KEPT) as server:
        async with MessageQueue(server.url, key=KEY) as queue:
            gateway.answers.clear()
            async with working(server.url, gateway.url) as running:
                await queue.put(messages(1)[0])
                await until(lambda: len(gateway.requests) == 1)
                await asyncio.to_thread(server.kill)
                gateway.answers.set()
                await until(lambda: any("can't be used" in p for p in running.worker.problems()))
            await asyncio.to_thread(server.start)
            async with working(server.url, gateway.url):
                await drained(queue)
    assert set(gateway.accepted.values()) == {1}


async def test_a_server_without_memory_is_back_once_it_writes(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue, caplog: pytest.LogCaptureFixture
) -> None:
    """It answers what only reads meanwhile, which is no end of the outage: one line for each."""
    caplog.set_level(logging.INFO, "esms_async.queue")
    async with working(redis.url, gateway.url) as running:
        await until(lambda: running.worker.problems() == [])
        with redis.client() as client:
            client.config_set("maxmemory", "1")
            try:
                await until(lambda: any("maxmemory" in each for each in running.worker.problems()))
                for _ in range(2):
                    await running.worker._patiently(queue.depth)
                    assert "is back" not in caplog.text
            finally:
                client.config_set("maxmemory", "0")
        await until(lambda: running.worker.problems() == [])
        await queue.put(messages(1)[0])
        await until(lambda: gateway.accepted.total() == 1)
    assert caplog.text.count("is back") == caplog.text.count("waiting for it") == 1


async def test_a_server_that_forgot_the_queue_gets_a_new_one(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue
) -> None:
    """Workers make the groups anew, and go on."""
    async with working(redis.url, gateway.url) as running:
        await until(lambda: running.worker.problems() == [])
        with redis.client() as client:
            client.flushall()
        await queue.put(messages(1)[0])
        await until(lambda: gateway.accepted.total() == 1)


async def test_a_ledger_of_another_destination_ends_the_worker(
    redis: RedisServer, gateway: Gateway
) -> None:
    """At the start it is an error; later a breaker, which closes once the ledger is right."""
    async with working(redis.url, gateway.url) as running:
        await until(lambda: running.worker.problems() == [])
        running.worker.breakers.trip(WorkerFault(FOREIGN, Reach.WORKER, "it belongs to others"))
        await until(lambda: not running.worker.breakers.open)
    with redis.client() as client:
        client.flushall()
    async with EsmsClient(
        CREDENTIALS, base_url="http://127.0.0.1:1/", ledger=RedisLedger(redis.url)
    ) as client:
        await client.reconcile(())
    with pytest.raises(ForeignLedger):
        async with working(redis.url, gateway.url):
            pass


async def test_an_entry_that_can_not_be_read_makes_its_message_dead(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue
) -> None:
    """All else is sent."""
    bad, good = messages(2)
    with redis.client() as client:
        client.lpush(f"esms:send:{bad.request_id}", "x")
    async with working(redis.url, gateway.url) as running:
        await queue.put(bad)
        await queue.put(good)
        await until(lambda: running.statuses == {"dead": 1, "accepted": 1})
    assert list(gateway.accepted) == [good.request_id]


async def test_a_failure_of_the_worker_itself_is_logged_and_counted(
    redis: RedisServer,
    gateway: Gateway,
    queue: MessageQueue,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The message comes again, and the log shows no text."""
    failures = [RuntimeError("odd")]
    read = MessageCipher.read

    def fail_once(cipher: MessageCipher, written: bytes, request_id: str) -> Message:
        if failures:
            raise failures.pop()
        return read(cipher, written, request_id)

    monkeypatch.setattr(MessageCipher, "read", fail_once)
    async with working(redis.url, gateway.url):
        await queue.put(messages(1)[0])
        await until(lambda: "the worker failed on request id" in caplog.text)
        with redis.client() as client:
            await until(lambda: client.hvals("esms:queue:otp:deaths") == ["1"])
        await until(lambda: gateway.accepted.total() == 1)


async def test_a_worker_serves_one_batch_after_the_other(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue
) -> None:
    """Also one that it meets again, and one whose name is Vietnamese."""
    async with working(redis.url, gateway.url):
        for name in ("a", "b", "a", "chiến dịch"):
            async with queue.send_many(messages(2, name), batch=name) as outcomes:
                assert [outcome.ok async for outcome in outcomes] == [True, True]
    assert set(gateway.accepted.values()) == {1}


async def test_a_key_that_changes_under_way_holds_up_the_worker_alone(
    redis: RedisServer, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that meets the worker before the news of the new key goes back to the queue."""
    other = MessageCipher("esms", OTHER_KEY)
    message = messages(1)[0]
    async with working(redis.url, gateway.url) as running:
        worker = running.worker
        await know_alone(SharedState(facts={"form": other.form}), worker, monkeypatch)
        with redis.client() as client:
            written = other.write(message.to_dict(), message.request_id)
            client.xadd("esms:queue:otp", {"r": message.request_id, "m": written})
        await until(lambda: FORM in worker.breakers.open)
        # A trial would tell nothing: it is left to the renewals.
        await worker._try(worker.breakers.open[FORM])
        assert FORM in worker.breakers.open
        monkeypatch.undo()
        # The fact is not on the server, so the next renewal closes the breaker.
        await until(lambda: FORM not in worker.breakers.open and worker.held == 0)
        with redis.client() as client:
            client.hset("esms:queue:facts", "form", other.form)
        await until(lambda: FORM in worker.breakers.open)
    async with working(redis.url, gateway.url, keys=OTHER_KEY):
        await until(lambda: gateway.accepted.total() == 1)


async def test_a_worker_with_another_key_buries_nothing_before_it_learns_of_the_form(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first messages of a new queue can reach a worker before its next renewal does."""
    async with working(redis.url, gateway.url, keys=OTHER_KEY) as running:
        worker = running.worker
        await know_alone(SharedState(), worker, monkeypatch)
        await queue.put(messages(1)[0])
        await until(lambda: FORM in worker.breakers.open and worker.held == 0)
        assert not running.statuses
    async with working(redis.url, gateway.url):
        await until(lambda: gateway.accepted.total() == 1)


async def test_a_breaker_that_another_worker_closes_is_closed(
    redis: RedisServer, gateway: Gateway
) -> None:
    """Workers share the breakers of the account."""
    with redis.client() as client:
        async with working(redis.url, gateway.url) as running:
            client.hset("esms:queue:breakers", "103", "top it up")
            await until(lambda: "103" in running.worker.breakers.open)
            client.hdel("esms:queue:breakers", "103")
            await until(lambda: "103" not in running.worker.breakers.open)
            # One that it closed itself while it asked is no news, and is announced the next time.
            running.worker._announced.add("103")
            await running.worker._renew()
            await running.worker._trip(WorkerFault("103", Reach.ACCOUNT, "top it up"))
            assert client.hgetall("esms:queue:breakers") == {"103": "top it up"}


async def test_a_breaker_that_closes_while_it_is_announced_is_announced_again(
    redis: RedisServer, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other workers learn of it when it opens the next time."""
    fault = WorkerFault("103", Reach.ACCOUNT, "top it up")
    async with working(redis.url, gateway.url) as running:
        worker = running.worker
        await know_alone(SharedState(), worker, monkeypatch)
        set_fact = worker.streams.set_fact

        async def set_and_close(*fact: str, of: str) -> None:
            await set_fact(*fact, of=of)
            once.undo()
            await worker._close(worker.breakers.open["103"])

        with pytest.MonkeyPatch.context() as once:
            once.setattr(worker.streams, "set_fact", set_and_close)
            await worker._trip(fault)
        with redis.client() as client:
            assert client.hgetall("esms:queue:breakers") == {}
            await worker._trip(fault)
            assert client.hgetall("esms:queue:breakers") == {"103": "top it up"}


async def test_a_breaker_that_closes_during_a_renewal_stays_closed(
    redis: RedisServer, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The renewal read it before it was closed, and brings it as news."""
    async with working(redis.url, gateway.url) as running:
        worker = running.worker
        await know_alone(SharedState(), worker, monkeypatch)
        await worker._trip(WorkerFault("103", Reach.ACCOUNT, "top it up"))
        renew = worker.streams.renew

        async def renew_and_close(
            name: str, held: Iterable[QueueDelivery], stopped_by: str
        ) -> SharedState:
            shared = await renew(name, held, stopped_by)
            await worker._close(worker.breakers.open["103"])
            return shared

        monkeypatch.setattr(worker.streams, "renew", renew_and_close)
        await QueueWorker._renew(worker)
        assert "103" not in worker.breakers.open


async def test_messages_of_a_route_wait_apart_until_one_of_them_is_sent(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue
) -> None:
    """All are parked while the breaker of the route is open; one tries, and the rest follow."""
    name = f"104 {SHOP}"
    gateway.routes["2"] = "104"
    for number in range(4):
        await queue.put(Message("0901888484", f"{number} la ma", route=SHOP))
    with redis.client() as client:
        client.hset("esms:queue:breakers", name, "register it")
        async with working(redis.url, gateway.url) as running:
            worker = running.worker
            await until(lambda: client.xlen(f"esms:queue:parked:{name}") == 4)
            worker._connected_at = 0.0
            await worker._renew()
            await worker._reclaim()
            assert await queue.depth() == 4
            del gateway.routes["2"]
            await until(lambda: not worker.breakers.open)
            await worker._renew()
            await worker._reclaim()
            await drained(queue)
    assert gateway.accepted.total() == 4
    assert set(gateway.accepted.values()) == {1}


async def test_a_route_for_which_nothing_waits_any_more_is_open_again(
    redis: RedisServer, gateway: Gateway
) -> None:
    """Nothing can try it."""
    with redis.client() as client:
        client.hset("esms:queue:breakers", f"104 {SHOP}", "register it")
        async with working(redis.url, gateway.url) as running:
            await until(lambda: running.worker.problems() == [])
            await until(lambda: not client.hlen("esms:queue:breakers"))
            await until(lambda: not running.worker.breakers.open)


async def test_what_a_worker_holds_itself_is_not_begun_twice(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue
) -> None:
    """A worker that was too late to renew takes its own message over, and goes on with it."""
    gateway.answers.clear()
    async with working(redis.url, gateway.url) as running:
        worker = running.worker
        await queue.put(messages(1)[0])
        await until(lambda: len(gateway.requests) == 1)
        ((held),) = worker._held.values()
        with redis.client() as client:
            client.xclaim(
                held.stream, "workers", worker._name, 0, [held.id], idle=60_000, justid=True
            )
        worker._connected_at = 0.0
        await worker._reclaim()
        assert worker.held == 1
        # An acceptance proves nothing of a breaker that opened meanwhile.
        worker.breakers.trip(silence("nobody listens"))
        gateway.answers.set()
        await drained(queue)
    assert len(gateway.requests) == 1
