"""Crashes, for real: killed workers, a killed Redis server, and a deploy."""

import asyncio
import time
from collections import Counter

import pytest

from esms_async import Message, Status
from esms_async.emulator import Emulator
from esms_async.ledger import RedisLedger
from esms_async.queue import MessageQueue
from tests.ledger.redis_server import RedisServer
from tests.limits import TIMES
from tests.queue.support import KEY, Gateway, Workers, environment, messages, until

FAULTS = [
    "reset,phase=after,p=0.1",
    "close,phase=before,p=0.05",
    "truncate:0.5,phase=after,p=0.05",
    "http:503,phase=after,p=0.05",
]
KEPT = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}


async def survive(count: int, rate: int, pause: float, kills: int) -> None:
    """Run a campaign through killed workers and a killed server; count what the gateway took."""
    with RedisServer(KEPT) as redis:
        async with Emulator(faults=FAULTS, seed=8) as gateway:
            environ = environment(redis.url, gateway.url, ESMS_RATE=str(rate), ESMS_DEADLINE="4")
            async with (
                Workers(environ, 3) as workers,
                MessageQueue(redis.url, key=KEY) as queue,
            ):

                async def strike() -> None:
                    for number in range(kills):
                        before = len(gateway.messages)
                        await asyncio.sleep(pause)
                        # On a machine under load a worker that was just started needs a moment.
                        await until(lambda before=before: len(gateway.messages) > before + 20)  # type: ignore[misc]
                        await workers.kill_one()
                        await workers.start_one()
                        if number == 1:
                            await asyncio.to_thread(redis.kill)
                            await asyncio.sleep(1)
                            await asyncio.to_thread(redis.start)

                striking = asyncio.create_task(strike())
                async with queue.send_many(messages(count), batch="campaign") as outcomes:
                    told = Counter([outcome.status.value async for outcome in outcomes])
                striking.cancel()
                await asyncio.wait([striking])

                async def is_empty() -> bool:
                    return await queue.depth() == 0

                await until(is_empty)
            assert told == {"accepted": count}
            ids = [message.request_id for message in messages(count)]
            assert Counter(map(gateway.accepted, ids)) == {1: count}
            async with RedisLedger(redis.url) as ledger:
                entries = [entry async for entry in ledger.entries()]
                assert Counter(entry.status for entry in entries) == {Status.ACCEPTED: count}
                assert [entry async for entry in ledger.unsettled()] == []
            with redis.client() as client:
                assert client.xlen("esms:queue:dead") == 0


async def test_a_campaign_survives_killed_workers_and_a_killed_server() -> None:
    """Each message is accepted once, all are settled, and the queue is empty."""
    await survive(count=400, rate=80, pause=1.5, kills=2)


@pytest.mark.endurance
async def test_a_large_campaign_survives_a_kill_every_three_seconds() -> None:
    """Thousands of messages, 3 workers, a quarter of all requests with a fault."""
    await survive(count=1000 * TIMES, rate=250, pause=3.0, kills=2 * TIMES)


async def test_a_deploy_has_nothing_delivered_again() -> None:
    """Workers that SIGTERM ends in the middle finish; each message is requested once."""
    with RedisServer({"maxmemory-policy": "noeviction"}) as redis:
        async with Gateway() as gateway:
            gateway.delay = 0.05
            environ = environment(redis.url, gateway.url, ESMS_RATE="100")
            async with (
                Workers(environ, 2) as workers,
                MessageQueue(redis.url, key=KEY) as queue,
            ):
                told = 0
                async with queue.send_many(messages(200)) as outcomes:
                    async for outcome in outcomes:
                        assert outcome.ok
                        told += 1
                        if told in {50, 100}:
                            await workers.start_one()
                            await workers.terminate_one()
            assert told == 200
            assert set(Counter(gateway.requests).values()) == {1}


@pytest.mark.once
async def test_an_otp_behind_a_large_campaign_is_accepted_within_half_a_second() -> None:
    """Minutes of rows wait at 100 a second; codes put in meanwhile do not wait behind them."""
    with RedisServer(KEPT | {"appendfsync": "everysec"}) as redis:
        async with Gateway() as gateway:
            environ = environment(redis.url, gateway.url, ESMS_RATE="100")
            async with MessageQueue(redis.url, key=KEY) as queue:
                many = messages(1000)
                for _ in range(20 * TIMES):
                    await asyncio.gather(*(queue.put(message, "bulk") for message in many))
                async with Workers(environ, 2):
                    await until(lambda: gateway.accepted.total() > 100)
                    waits: list[float] = []
                    for number in range(10):
                        code = Message("0901888484", f"{number} la ma")
                        before = time.monotonic()
                        await queue.put(code)
                        await until(lambda code=code: code.request_id in gateway.at)  # type: ignore[misc]
                        waits.append(gateway.at[code.request_id] - before)
            assert sorted(waits)[len(waits) // 2] < 0.5, waits
