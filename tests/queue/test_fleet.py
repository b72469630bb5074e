"""Faults that are not a message's own: no worker uses messages up on them."""

import asyncio
import logging
from collections import Counter

import pytest

from esms_async import Brandname, Message
from esms_async.cli.queue_views import look_at
from esms_async.queue import MessageQueue
from tests.factories import SECRET_KEY
from tests.ledger.redis_server import RedisServer
from tests.queue.support import KEY, OTHER_KEY, Gateway, messages, until, working

BROKEN = "BROKENBROKENBROKEN"


async def outcomes_of(queue: MessageQueue, count: int) -> Counter[str]:
    """Have all sent, and count what became of them."""
    async with queue.send_many(messages(count)) as outcomes:
        return Counter([outcome.status.value async for outcome in outcomes])


async def is_empty(queue: MessageQueue) -> bool:
    """Tell whether nothing waits or is under way; the gateway knows of a message before that."""
    return await holds(queue, 0)


async def holds(queue: MessageQueue, count: int) -> bool:
    """Tell whether so many messages wait or are under way."""
    return await queue.depth() == count


@pytest.mark.parametrize(
    "refusal",
    [
        "140",
        403,
        pytest.param("101", marks=pytest.mark.once),
        pytest.param(407, marks=pytest.mark.once),
    ],
)
async def test_one_broken_worker_of_three_loses_nothing(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue, refusal: str | int
) -> None:
    """A worker whose IP address, key or firewall refuses it stops, and the others send all."""
    async with (
        working(redis.url, gateway.url, ESMS_SECRET_KEY=BROKEN) as broken,
        working(redis.url, gateway.url),
        working(redis.url, gateway.url),
    ):
        await until(lambda: broken.worker.problems() == [])
        gateway.refused[BROKEN] = refusal
        assert await outcomes_of(queue, 200) == {"accepted": 200}
        await queue.put(messages(1, "more")[0])
        await until(lambda: gateway.accepted.total() == 201)
        await until(lambda: is_empty(queue))
    assert set(gateway.accepted.values()) == {1}


async def test_a_breaker_says_what_to_do_once_and_closes_when_healed(
    redis: RedisServer,
    gateway: Gateway,
    queue: MessageQueue,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One ERROR names the remedy; the worker is not ready meanwhile, and goes on by itself."""
    caplog.set_level(logging.INFO, "esms_async.queue")
    gateway.refused[SECRET_KEY] = "140"
    async with working(redis.url, gateway.url) as running:
        sending = asyncio.create_task(outcomes_of(queue, 30))
        await until(lambda: any("140" in each for each in running.worker.problems()))
        del gateway.refused[SECRET_KEY]
        assert await sending == {"accepted": 30}
        assert running.worker.problems() == []
    opened = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert len(opened) == 1
    assert "ask eSMS to add its address" in opened[0].getMessage()


async def test_a_balance_that_runs_out_and_is_topped_up_loses_nothing(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue
) -> None:
    """103 stops all workers; each message is accepted once after the account is topped up."""
    gateway.balance = 20
    async with (
        working(redis.url, gateway.url) as one,
        working(redis.url, gateway.url) as other,
    ):
        sending = asyncio.create_task(outcomes_of(queue, 120))
        await until(lambda: "103" in one.worker.breakers.open)
        await until(lambda: "103" in other.worker.breakers.open)
        gateway.balance = 1000
        assert await sending == {"accepted": 120}
    assert set(gateway.accepted.values()) == {1}


@pytest.mark.parametrize("lane", [pytest.param("otp", marks=pytest.mark.once), "bulk"])
async def test_one_message_that_meets_an_account_code_holds_up_no_other(
    redis: RedisServer,
    gateway: Gateway,
    queue: MessageQueue,
    caplog: pytest.LogCaptureFixture,
    lane: str,
) -> None:
    """The balance may be short for it alone: it goes to the end, and is sent once it can be."""
    dear, *others = messages(40)
    gateway.own[dear.request_id] = "103"
    await queue.put(dear, lane=lane)
    for message in others:
        await queue.put(message, lane="bulk")
    async with working(redis.url, gateway.url) as running:
        await until(lambda: gateway.accepted.total() == 39)
        await until(lambda: "tried every 5 s" in caplog.text)
        assert running.worker.problems() == []
        for message in messages(10, "more"):
            await queue.put(message, lane=lane)
        await until(lambda: gateway.accepted.total() == 49)
        del gateway.own[dear.request_id]
        await until(lambda: is_empty(queue))
    assert set(gateway.accepted.values()) == {1}
    assert len(gateway.accepted) == 50
    assert caplog.text.count(f"request id {dear.request_id} meets breaker 103 again") == 1


async def test_a_breaker_does_not_stay_open_over_an_empty_queue(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue
) -> None:
    """Nothing is there to try, and the gateway answers: the next message is sent at once."""
    gateway.refused[SECRET_KEY] = "103"
    async with working(redis.url, gateway.url) as running:
        await until(lambda: "103" in running.worker.breakers.open)
        with redis.client() as client:
            assert client.hkeys("esms:queue:breakers") == ["103"]
            del gateway.refused[SECRET_KEY]
            await until(lambda: not running.worker.breakers.open)
            assert client.hkeys("esms:queue:breakers") == []
        await queue.put(messages(1)[0])
        await until(lambda: gateway.accepted.total() == 1)


async def test_a_route_that_is_refused_holds_up_no_other(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue
) -> None:
    """Messages of a brandname with 104 wait apart; the rest is sent, and they are when healed."""
    gateway.routes["2"] = "104"
    brand = [
        Message("0901888484", f"{number} la ma", route=Brandname("Shop")) for number in range(8)
    ]
    async with working(redis.url, gateway.url) as running:
        for message in brand:
            await queue.put(message, lane="bulk")
        for message in messages(20):
            await queue.put(message, lane="bulk")
        await until(lambda: gateway.accepted.total() == 20)
        await until(lambda: holds(queue, 8))
        assert running.worker.problems() == []
        del gateway.routes["2"]
        await until(lambda: gateway.accepted.total() == 28)
        await until(lambda: is_empty(queue))
    assert set(gateway.accepted.values()) == {1}


async def test_a_gateway_that_is_away_uses_up_nothing(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue
) -> None:
    """Sends that reach nobody open the breaker; nothing is dead, and all is sent in the end."""
    gateway.refused[SECRET_KEY] = 503
    async with working(redis.url, gateway.url, deadline=0.3) as running:
        sending = asyncio.create_task(outcomes_of(queue, 40))
        await until(lambda: "no answer" in running.worker.breakers.open)
        del gateway.refused[SECRET_KEY]
        assert await sending == {"accepted": 40}
    with redis.client() as client:
        assert client.xlen("esms:queue:dead") == 0
    assert set(gateway.accepted.values()) == {1}


async def test_a_worker_with_another_key_takes_nothing(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue
) -> None:
    """The wrong ESMS_QUEUE_KEY is the worker's fault: no message goes to the dead stream."""
    async with (
        working(redis.url, gateway.url, keys=OTHER_KEY) as wrong,
        working(redis.url, gateway.url, keys=f"{OTHER_KEY},{KEY}"),
    ):
        assert await outcomes_of(queue, 50) == {"accepted": 50}
        await until(lambda: any("ESMS_QUEUE_KEY" in each for each in wrong.worker.problems()))
        assert not wrong.statuses

        async def is_seen_by_all() -> bool:
            found = await look_at(queue._streams)
            return found["stopped"] == {wrong.worker._name: "key"} and len(found["workers"]) == 2

        await until(is_seen_by_all)
        await queue._streams.leave(wrong.worker._name)
        with redis.client() as client:
            assert client.hgetall("esms:queue:stopped") == {}
    with redis.client() as client:
        assert client.xlen("esms:queue:dead") == 0
