"""Every kind of store, on a clock that tests move."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from esms_async import new_request_id
from esms_async.otp import MemoryOtpStore, OtpStore, SqliteOtpStore
from tests.otp.support import Clock, Gateway

if TYPE_CHECKING:
    from tests.ledger.redis_server import RedisServer

MakeStore = Callable[[], OtpStore]


@pytest.fixture
def clock() -> Clock:
    """The store's clock."""
    return Clock()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> MakeStore:
    """Make further views of one store, as a process does that is started again."""
    match request.param:
        case "memory":
            store = MemoryOtpStore(clock=clock)
            return lambda: store
        case "sqlite":
            return lambda: SqliteOtpStore(tmp_path / "otp.db", clock=clock)
        case _:
            from esms_async.otp import RedisOtpStore  # noqa: PLC0415  # needs an extra

            server: RedisServer = request.getfixturevalue("redis_server")
            prefix = new_request_id()
            return lambda: RedisOtpStore(server.url, prefix=prefix, clock=clock)


@pytest.fixture
async def store(make_store: MakeStore) -> AsyncIterator[OtpStore]:
    """An open store."""
    async with make_store() as store:
        yield store


@pytest.fixture
def sms() -> Gateway:
    """What stands in for a client."""
    return Gateway()
