"""Crashes, for real: killed workers, a killed broker, a killed ledger, and a deploy."""

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from esms_async import Message, Status, derive_request_id
from esms_async.emulator import Emulator
from esms_async.ledger import RedisLedger
from esms_async.workers import MessageQueue
from tests.ledger.redis_server import RedisServer
from tests.workers.nats_server import NatsServer
from tests.workers.support import Workers, environment, jetstream, wait_until_empty

FAULTS = [
    "reset,phase=after,p=0.1",
    "close,phase=before,p=0.05",
    "truncate:0.5,phase=after,p=0.05",
    "http:503,phase=after,p=0.05",
]
KEPT = {"appendonly": "yes", "appendfsync": "always"}
AT_WORK = 3


def messages(count: int) -> list[Message]:
    """Make the messages of a campaign, the same each time."""
    return [
        Message(f"0911{number:06}", f"{number:06} la ma", request_id=derive_request_id("w", number))
        for number in range(count)
    ]


class Disaster:
    """Kills a worker now and then, and each server once, until the campaign is over."""

    def __init__(self, workers: Workers, nats: NatsServer, redis: RedisServer) -> None:
        self.kills: Counter[str] = Counter()
        self._workers = workers
        self._nats = nats
        self._redis = redis

    async def run(self, pause: float) -> None:
        """Strike again and again."""
        for strike in ("worker", "nats", "worker", "redis", *["worker"] * 1000):
            await asyncio.sleep(pause)
            match strike:
                case "worker":
                    await self._workers.kill_one()
                    await self._workers.start_one()
                case "nats":
                    await self._restart(self._nats.kill, self._nats.start)
                case _:
                    await self._restart(self._redis.kill, self._redis.start)
            self.kills[strike] += 1

    async def _restart(self, kill: Callable[[], None], start: Callable[[], None]) -> None:
        await asyncio.to_thread(kill)
        await asyncio.sleep(1)
        await asyncio.to_thread(start)


async def run_until_accepted(queue: MessageQueue, count: int) -> Counter[str]:
    """Have all sent; what its deadline left unknown is sent again, as a person would do it."""
    told: Counter[str] = Counter()
    for _ in range(5):
        async with queue.send_many(messages(count), batch="campaign") as outcomes:
            told = Counter([outcome.status.value async for outcome in outcomes])
        if set(told) == {"accepted"}:
            break
    return told


async def survive(count: int, rate: int, pause: float) -> Counter[str]:
    """Run a campaign through a disaster, and hold everything against the gateway's count."""
    with NatsServer() as nats, RedisServer(KEPT) as redis:
        async with Emulator(faults=FAULTS, seed=8) as gateway:
            environ = environment(nats.url, redis.url, gateway.url, ESMS_RATE=str(rate))
            async with (
                Workers(environ, AT_WORK) as workers,
                MessageQueue.from_env(environ) as queue,
            ):
                disaster = Disaster(workers, nats, redis)
                striking = asyncio.create_task(disaster.run(pause))
                told = await run_until_accepted(queue, count)
                striking.cancel()
                await asyncio.wait([striking])
                await wait_until_empty(nats.url)
            assert told == {"accepted": count}, told
            ids = [message.request_id for message in messages(count)]
            assert Counter(map(gateway.accepted, ids)) == {1: count}
            async with RedisLedger(redis.url) as ledger:
                entries = [entry async for entry in ledger.entries()]
                assert Counter(entry.status for entry in entries) == {Status.ACCEPTED: count}
                assert [entry async for entry in ledger.unsettled()] == []
            return disaster.kills


@pytest.mark.endurance
async def test_a_campaign_survives_what_kills_workers_and_servers() -> None:
    """Workers, NATS and Redis killed on the way: each message once, all settled, none left."""
    kills = await survive(count=1500, rate=150, pause=2.0)
    assert kills["worker"] >= 2
    assert kills["nats"] == kills["redis"] == 1


async def test_a_deploy_has_nothing_delivered_again() -> None:
    """Workers that SIGTERM ends in the middle finish; each message is delivered once."""
    count = 400
    with NatsServer() as nats, RedisServer() as redis:
        async with Emulator() as gateway:
            environ = environment(nats.url, redis.url, gateway.url, ESMS_RATE="200")
            async with Workers(environ, 2) as workers, MessageQueue.from_env(environ) as queue:
                told = 0
                async with queue.send_many(messages(count), batch="deploy") as outcomes:
                    async for outcome in outcomes:
                        assert outcome.ok
                        told += 1
                        if told in {100, 200}:
                            await workers.start_one()
                            await workers.terminate_one()
                await wait_until_empty(nats.url)
                async with jetstream(nats.url) as context:
                    consumer = await context.consumer_info("esms-send", "esms-workers")
                assert consumer.delivered is not None
                assert consumer.delivered.consumer_seq == count
            sends = Counter(request.request_id for request in gateway.requests)
            assert set(sends.values()) == {1}
            assert told == len(sends) == count
