"""Every kind of ledger, on a clock that tests move."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import attrs
import pytest

from esms_async import new_request_id
from esms_async.ledger import (
    Ledger,
    LedgerAcceptances,
    LedgerFacts,
    LedgerOptions,
    LedgerReports,
    MemoryLedger,
    RedisLedger,
    SqliteLedger,
)

if TYPE_CHECKING:
    from tests.ledger.redis_server import RedisServer


class FullLedger(Ledger, LedgerAcceptances, LedgerFacts, LedgerReports, Protocol):
    """What each ledger of the package offers."""


@attrs.define
class Clock:
    """Seconds since the epoch, which pass only when a test says so."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    """The ledger's clock."""
    return Clock()


@pytest.fixture
def prefix() -> str:
    """What the keys of one test begin with."""
    return f"esms:{new_request_id()}:"


KINDS = ("memory", "sqlite", "redis")
DEFAULTS = LedgerOptions()


def make(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock, prefix: str
) -> Callable[..., FullLedger]:
    """Return what makes further views of one ledger of the package, of the kind of a fixture."""
    match request.param:
        case "memory":
            # A ledger in memory has one view; with other options it is another ledger.
            made: dict[LedgerOptions, MemoryLedger] = {}
            return lambda options=DEFAULTS: made.setdefault(
                options, MemoryLedger(options=options, clock=clock)
            )
        case "sqlite":
            path = tmp_path / "ledger.db"
            return lambda options=DEFAULTS: SqliteLedger(path, options=options, clock=clock)
        case _:
            server: RedisServer = request.getfixturevalue("redis_server")
            return lambda options=DEFAULTS: RedisLedger(
                server.url, prefix=prefix, options=options, clock=clock
            )


@pytest.fixture(params=KINDS)
def make_ledger(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock, prefix: str
) -> Callable[[], FullLedger]:
    """Make further views of one ledger, as a process does that is started again."""
    return make(request, tmp_path, clock, prefix)


@pytest.fixture
async def ledger(make_ledger: Callable[[], FullLedger]) -> AsyncIterator[FullLedger]:
    """An open ledger."""
    ledger = make_ledger()
    await ledger.open()
    yield ledger
    await ledger.aclose()
