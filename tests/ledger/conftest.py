"""Every kind of ledger, on a clock that tests move."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import attrs
import pytest

from esms_async.ledger import Ledger, MemoryLedger, SqliteLedger


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


@pytest.fixture(params=["memory", "sqlite"])
def make_ledger(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock
) -> Callable[[], Ledger]:
    """Make further views of one ledger, as a process does that is started again."""
    if request.param == "memory":
        ledger = MemoryLedger(clock=clock)
        return lambda: ledger
    return lambda: SqliteLedger(tmp_path / "ledger.db", clock=clock)


@pytest.fixture
async def ledger(make_ledger: Callable[[], Ledger]) -> AsyncIterator[Ledger]:
    """An open ledger."""
    ledger = make_ledger()
    await ledger.open()
    yield ledger
    await ledger.aclose()
