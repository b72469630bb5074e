"""Where workers tell what became of the messages of a batch, for those who follow it."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Final, Protocol

from esms_async._redis import RedisAddress, RedisBatches
from esms_async.workers.reports import Report

BEGINNING: Final = "0"
"""The position before the first report of a batch."""

_KEPT_SECONDS: Final = 7 * 24 * 3600
_PAGE: Final = 500
_BLOCK_MILLISECONDS: Final = 1000

_Streams = list[tuple[str, list[tuple[str, dict[str, str]]]]]


class Outcomes(Protocol):
    """Keeps the reports of each batch in the order in which they came."""

    async def tell(self, batch: str, report: Report) -> None:
        """Add a report to a batch.

        Raises:
            LedgerError: It can't be kept now.
        """
        ...

    async def read(self, batch: str, after: str, *, wait: bool) -> list[tuple[str, Report]]:
        """Read reports, each with its position.

        Args:
            batch: The batch.
            after: The position after which to read.
            wait: True waits for a while where there is none yet.

        Returns:
            The next reports; none where none came.

        Raises:
            LedgerError: They can't be read now.
        """
        ...

    async def begin_run(self, batch: str) -> int:
        """Begin a run of a batch, which makes void what earlier runs have still in the queue.

        Returns:
            The number of the run.

        Raises:
            LedgerError: It can't be begun now.
        """
        ...

    async def latest_run(self, batch: str) -> int:
        """Return the number of the latest run of a batch, or 0.

        Raises:
            LedgerError: It can't be read now.
        """
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


class RedisOutcomes:
    """Outcomes in streams on the Redis server of the ledger, one stream for each batch.

    Neither broker keeps results by itself in an order that can be read again from any position.
    The server that has the ledger is there with each of them, and keeps what it acknowledges.
    A stream is kept for a week after its last report.

    Args:
        url: The Redis server.
        name: What the keys begin with.
    """

    def __init__(self, url: str, name: str) -> None:
        self._address = RedisAddress(url)
        self._name = name
        self._batches: RedisBatches | None = None
        self._reader: RedisBatches | None = None

    async def tell(self, batch: str, report: Report) -> None:
        """Add a report to a batch."""
        key = self._key(batch, "outcomes")
        await self._opened().run("XADD", key, "*", "report", report.dump())
        await self._opened().run("EXPIRE", key, str(_KEPT_SECONDS))

    async def read(self, batch: str, after: str, *, wait: bool) -> list[tuple[str, Report]]:
        """Read reports, each with its position."""
        if self._reader is None:
            # One that waits must not hold up others.
            self._reader = RedisBatches(self._address, name="outcomes of the workers")
        block = ("BLOCK", str(_BLOCK_MILLISECONDS)) if wait else ()
        key = self._key(batch, "outcomes")
        reply: _Streams | None = await self._reader.run(
            "XREAD", "COUNT", str(_PAGE), *block, "STREAMS", key, after
        )
        entries = [entry for _, stream in reply or [] for entry in stream]
        return [(position, Report.load(fields["report"])) for position, fields in entries]

    async def begin_run(self, batch: str) -> int:
        """Begin a run of a batch."""
        key = self._key(batch, "run")
        run = int(await self._opened().run("INCR", key))
        await self._opened().run("EXPIRE", key, str(_KEPT_SECONDS))
        return run

    async def latest_run(self, batch: str) -> int:
        """Return the number of the latest run of a batch, or 0."""
        return int(await self._opened().run("GET", self._key(batch, "run")) or 0)

    async def aclose(self) -> None:
        """Close the connections."""
        for batches in (self._batches, self._reader):
            if batches is not None:
                await batches.aclose()
        self._batches = self._reader = None

    def _key(self, batch: str, kind: str) -> str:
        return f"{self._name}:{kind}:{batch}"

    def _opened(self) -> RedisBatches:
        if self._batches is None:
            self._batches = RedisBatches(self._address, name="outcomes of the workers")
        return self._batches


class MemoryOutcomes:
    """Outcomes within one process, for tests."""

    def __init__(self) -> None:
        self._reports: dict[str, list[Report]] = defaultdict(list)
        self._runs: dict[str, int] = defaultdict(int)
        self._news = asyncio.Event()

    async def tell(self, batch: str, report: Report) -> None:
        """Add a report to a batch."""
        self._reports[batch].append(report)
        self._news.set()

    async def read(self, batch: str, after: str, *, wait: bool) -> list[tuple[str, Report]]:
        """Read reports, each with its position."""
        first = int(after)
        while wait and len(self._reports[batch]) <= first:
            self._news.clear()
            await self._news.wait()
        later = self._reports[batch][first:]
        return [(str(number), report) for number, report in enumerate(later, first + 1)]

    async def begin_run(self, batch: str) -> int:
        """Begin a run of a batch."""
        self._runs[batch] += 1
        return self._runs[batch]

    async def latest_run(self, batch: str) -> int:
        """Return the number of the latest run of a batch, or 0."""
        return self._runs[batch]

    async def aclose(self) -> None:
        """Close nothing."""


async def follow(
    outcomes: Outcomes, batch: str, after: str = BEGINNING
) -> AsyncIterator[tuple[str, Report]]:
    """Iterate over the reports of a batch, those to come too, without an end.

    Args:
        outcomes: Where they are kept.
        batch: The batch.
        after: The position after which to begin.

    Yields:
        The position of each report, from which a later call can go on, and the report.

    Raises:
        LedgerError: They can't be read now.
    """
    position = after
    while True:
        for entry in await outcomes.read(batch, position, wait=True):
            position = entry[0]
            yield entry
