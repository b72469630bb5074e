"""Measures how long a claim waits while a ledger is pruned."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import attrs

from benchmarks.compare import Tell
from benchmarks.contestants import CONTENT, REDIS_URL
from benchmarks.processes import Cores, redis_process
from esms_async import LedgerError, Message, new_request_id
from esms_async.ledger import MemoryLedger, RedisLedger, Settlement, SqliteLedger

LEDGERS: Final = ("MemoryLedger", "SqliteLedger", "RedisLedger")
_Ledger = MemoryLedger | SqliteLedger | RedisLedger
_AT_ONCE: Final = 500
_FINGERPRINT: Final = bytes(20)


@attrs.frozen
class PruneWait:
    """What was measured with one ledger.

    Attributes:
        ledger: Which one.
        pruned: How many entries were deleted.
        seconds: How long that took.
        claims: How many claims were made meanwhile, one after the other.
        median: The median of their waits, in seconds.
        longest: The longest of their waits, in seconds.
        alone: The longest wait of as many claims without a prune, in seconds.
    """

    ledger: str
    pruned: int
    seconds: float
    claims: int
    median: float
    longest: float
    alone: float


def measure_prunes(entries: int, cores: Cores, tell: Tell) -> list[PruneWait]:
    """Prune each ledger while one task claims.

    Args:
        entries: How many settled entries each has.
        cores: Where the Redis server is pinned.
        tell: Called with each ledger.

    Returns:
        The waits, ledger by ledger.
    """
    waits: list[PruneWait] = []
    with redis_process(cores):
        for name in LEDGERS:
            tell(name)
            waits.append(asyncio.run(_measure(name, entries)))
    return waits


@contextlib.asynccontextmanager
async def _open(name: str) -> AsyncGenerator[_Ledger]:
    with TemporaryDirectory() as folder:
        ledger: _Ledger
        match name:
            case "MemoryLedger":
                ledger = MemoryLedger()
            case "SqliteLedger":
                ledger = SqliteLedger(Path(folder) / "ledger.sqlite")
            case _:
                ledger = RedisLedger(os.environ[REDIS_URL], prefix=f"{new_request_id()}:")
        async with ledger:
            yield ledger


async def _measure(name: str, entries: int) -> PruneWait:
    async with _open(name) as ledger:
        for begin in range(0, entries, _AT_ONCE):
            size = min(_AT_ONCE, entries - begin)
            await asyncio.gather(*(_accept(ledger) for _ in range(size)))
        await ledger.flush()
        began = time.perf_counter()
        pruning = asyncio.create_task(ledger.prune(-60))
        waits = [await _wait(ledger)]
        while not pruning.done():
            waits.append(await _wait(ledger))
        seconds = time.perf_counter() - began
        alone = [await _wait(ledger) for _ in waits]
        waits.sort()
        return PruneWait(
            name, await pruning, seconds, len(waits), waits[len(waits) // 2], waits[-1], max(alone)
        )


async def _accept(ledger: _Ledger) -> None:
    message = Message("0901888484", CONTENT)
    await ledger.claim(message, _FINGERPRINT)
    ledger.accept_soon(message.request_id, "d8e0", deduplicated=False, unrecorded=_fail)


def _fail(_: str, __: Settlement, error: LedgerError) -> None:
    raise error


async def _wait(ledger: _Ledger) -> float:
    """Claim a message, and return how long that took."""
    began = time.perf_counter()
    await ledger.claim(Message("0901888484", CONTENT), _FINGERPRINT)
    waited = time.perf_counter() - began
    await asyncio.sleep(0)
    return waited
