"""The floor of each ledger: bare writes to the same store, which no ledger can do without.

Before a send one row is stored, and waited for; after it the row is changed, together with the
rows that are stored next. Nothing is looked up, compared or protected.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

from redis.asyncio import Redis

from esms_async import new_request_id

_DAY: Final = 24 * 3600
_TABLE: Final = (
    "CREATE TABLE sends (request_id PRIMARY KEY, status, phone, updated_at) WITHOUT ROWID"
)


class BareLedger(Protocol):
    """A store that a send writes to."""

    async def add(self, request_id: str, phone: str) -> None:
        """Store a row."""

    def change(self, request_id: str) -> None:
        """Change a row now, or with the rows that are stored next."""


_Row = tuple[str, str]


class _Rows:
    """Rows in memory."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[str, str, float]] = {}

    async def add(self, request_id: str, phone: str) -> None:
        self._rows[request_id] = "unknown", phone, time.time()

    def change(self, request_id: str) -> None:
        self._rows[request_id] = "accepted", self._rows[request_id][1], time.time()


class _Batches:
    """Writes the rows of one turn of the loop together; while it writes, more gather."""

    def __init__(self, write: Callable[[Sequence[_Row], Sequence[str]], Awaitable[object]]) -> None:
        self._write = write
        self._added: list[_Row] = []
        self._changed: list[str] = []
        self._stored: asyncio.Future[None] | None = None
        self._writer: asyncio.Task[None] | None = None

    async def add(self, request_id: str, phone: str) -> None:
        loop = asyncio.get_running_loop()
        if self._stored is None:
            self._stored = loop.create_future()
        self._added.append((request_id, phone))
        if self._writer is None:
            self._writer = loop.create_task(self._write_all())
        await self._stored

    def change(self, request_id: str) -> None:
        self._changed.append(request_id)

    async def _write_all(self) -> None:
        while (stored := self._stored) is not None:
            added, changed = self._added, self._changed
            self._added, self._changed, self._stored = [], [], None
            try:
                await self._write(added, changed)
            except Exception as error:  # noqa: BLE001  # each send that waits raises it
                stored.set_exception(error)
            else:
                stored.set_result(None)
        self._writer = None


@asynccontextmanager
async def bare_memory() -> AsyncGenerator[BareLedger]:
    """Open rows in a dict."""
    yield _Rows()


@asynccontextmanager
async def bare_sqlite(path: Path) -> AsyncGenerator[BareLedger]:
    """Open a table whose rows are on the disk before a send; one thread writes it."""
    with ThreadPoolExecutor(1) as thread:
        loop = asyncio.get_running_loop()

        def connect() -> sqlite3.Connection:
            connection = sqlite3.connect(path, isolation_level=None)
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(_TABLE)
            return connection

        connection = await loop.run_in_executor(thread, connect)

        def write(added: Sequence[_Row], changed: Sequence[str]) -> None:
            now = time.time()
            connection.execute("BEGIN")
            connection.executemany(
                "UPDATE sends SET status = 'accepted', updated_at = ? WHERE request_id = ?",
                [(now, request_id) for request_id in changed],
            )
            connection.executemany(
                "INSERT INTO sends VALUES (?, 'unknown', ?, ?)", [(*row, now) for row in added]
            )
            connection.execute("COMMIT")

        yield _Batches(lambda added, changed: loop.run_in_executor(thread, write, added, changed))
        await loop.run_in_executor(thread, connection.close)


@asynccontextmanager
async def bare_redis(url: str) -> AsyncGenerator[BareLedger]:
    """Open keys on a Redis server, written by redis-py's own pipelines."""
    prefix = f"bare:{new_request_id()}:"
    async with Redis.from_url(url) as redis:

        async def write(added: Sequence[_Row], changed: Sequence[str]) -> None:
            pipeline = redis.pipeline(transaction=False)
            for request_id in changed:
                pipeline.set(prefix + request_id, "accepted", xx=True, keepttl=True)  # type: ignore[unused-awaitable]  # `execute` runs it
            for request_id, phone in added:
                pipeline.set(prefix + request_id, phone, nx=True, ex=_DAY)  # type: ignore[unused-awaitable]  # `execute` runs it
            await pipeline.execute()

        yield _Batches(write)
