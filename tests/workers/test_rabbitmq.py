"""The other broker, where it is installed."""

import asyncio
import json
from collections import Counter
from typing import Any

import pytest

from esms_async.emulator import Emulator
from esms_async.workers import MessageQueue
from tests.ledger.redis_server import RedisServer
from tests.workers.rabbit_server import PROGRAMS, RabbitServer
from tests.workers.support import Workers, environment
from tests.workers.test_crash import FAULTS, messages, run_until_accepted


async def settled(rabbit: RabbitServer) -> dict[str, Any]:
    """Return what the broker says of the queue; it counts every few seconds."""
    columns = ("name", "durable", "type", "messages")
    for _ in range(20):
        listed = json.loads(rabbit.ask("list_queues", "--formatter", "json", *columns))
        (sending,) = (each for each in listed if each["name"] == "rabbit-send")
        if not sending["messages"]:
            break
        await asyncio.sleep(0.5)
    return dict(sending)


@pytest.mark.endurance
@pytest.mark.skipif(not PROGRAMS.exists(), reason="rabbitmq-server is not installed")
async def test_rabbitmq_has_workers_killed_and_ended_send_each_message_once(
    redis: RedisServer,
) -> None:
    """A durable quorum queue; killed and ended workers; each message once, nothing left."""
    count = 600
    with RabbitServer() as rabbit:
        async with Emulator(faults=FAULTS, seed=4) as gateway:
            environ = environment(
                rabbit.url, f"{redis.url}/5", gateway.url, ESMS_QUEUE="rabbit", ESMS_RATE="150"
            )
            async with Workers(environ, 2) as workers, MessageQueue.from_env(environ) as queue:
                async with queue.send_many(messages(count), batch="campaign") as outcomes:
                    told = 0
                    async for _ in outcomes:
                        told += 1
                        if told in {100, 300}:
                            await workers.start_one()
                            await workers.kill_one()
                        if told == 200:
                            await workers.start_one()
                            await workers.terminate_one()
                await run_until_accepted(queue, count)
                for _ in range(2):
                    await workers.terminate_one()
            ids = [message.request_id for message in messages(count)]
            assert Counter(map(gateway.accepted, ids)) == {1: count}
        sending = await settled(rabbit)
    assert sending == {
        "name": "rabbit-send",
        "durable": True,
        "type": "quorum",
        "messages": 0,
    }
