"""Keeps a ledger in PostgreSQL, where several machines share a database and have no Redis.

It stores entries and facts, and makes each step atomic. What a step may do, `claim` and `settle` of
esms_async decide. It needs psycopg: pip install 'psycopg[binary]'
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, LiteralString

import psycopg
from psycopg import AsyncConnection

from esms_async import LedgerError, Message
from esms_async.ledger import (
    Claim,
    Entry,
    LedgerBase,
    LedgerOptions,
    Settlement,
    as_row,
    claim,
    from_row,
    new_entry,
    settle,
)

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS esms_ledger (
    request_id text PRIMARY KEY, status text NOT NULL, reason text, generation int NOT NULL,
    fingerprint bytea NOT NULL, phone text NOT NULL, content text,
    in_doubt_since double precision NOT NULL, updated_at double precision NOT NULL,
    sms_id text, deduplicated int NOT NULL, code text, http_status int, detail text
);
CREATE INDEX IF NOT EXISTS esms_ledger_unknown ON esms_ledger (status) WHERE status = 'unknown';
CREATE TABLE IF NOT EXISTS esms_ledger_facts (name text PRIMARY KEY, value text NOT NULL);
"""
# One process at a time looks at an entry, also at one that is not there yet.
LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
ALL: Final = "SELECT * FROM esms_ledger"
FIND: Final = f"{ALL} WHERE request_id = %s"
DELETE: Final = "DELETE FROM esms_ledger WHERE request_id = %s"
INSERT: Final = """
INSERT INTO esms_ledger VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
PRUNE: Final = "DELETE FROM esms_ledger WHERE updated_at < %s AND (status <> 'unknown' OR %s)"
KEEP: Final = "INSERT INTO esms_ledger_facts VALUES (%s, %s) ON CONFLICT DO NOTHING"
REPLACE: Final = """
INSERT INTO esms_ledger_facts VALUES (%s, %s)
ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""


class PostgresLedger(LedgerBase):
    """Stores the state of each send in a table of its own.

    Args:
        url: The database, as psycopg takes it.
        options: The options that all ledgers share.
        clock: The time in seconds since the epoch; the machines' clocks must agree.
    """

    def __init__(
        self,
        url: str,
        *,
        options: LedgerOptions = LedgerOptions(),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = url
        self._options = options
        self._clock = clock
        self._connection: AsyncConnection | None = None
        self._turn = asyncio.Lock()
        self._open = False

    @property
    def is_open(self) -> bool:
        """True between `open` and `aclose`."""
        return self._open

    async def open(self) -> None:
        """Connect, and create the tables if they are not there."""
        self._open = True
        try:
            async with self._step() as connection:
                await connection.execute(SCHEMA)
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Close the connection."""
        self._open = False
        if self._connection is not None:
            await self._connection.close()

    async def claim(
        self, message: Message, fingerprint: bytes, *, doubt_age: float | None = None
    ) -> Claim:
        """Claim a message."""
        options, now = self._options, self._clock()
        fresh = new_entry(
            message,
            fingerprint,
            now=now,
            doubt_age=doubt_age,
            phone=options.store_phone,
            content=options.store_content,
        )
        async with self._step() as connection:
            known = await _find(connection, message.request_id)
            resume = doubt_age is not None
            answer = claim(known, fresh, now=now, window=options.window, resume=resume)
            await _put(connection, answer.entry, known)
        return answer

    async def settle(
        self, request_id: str, generation: int, settlement: Settlement
    ) -> Entry | None:
        """Record a result of a message."""
        async with self._step() as connection:
            known = await _find(connection, request_id)
            if known is None:
                return None
            entry = settle(known, generation, settlement, now=self._clock())
            await _put(connection, entry, known)
        return entry

    async def look_up(self, request_id: str) -> Entry | None:
        """Return the entry of a RequestId, or None."""
        async with self._step() as connection:
            return await _find(connection, request_id)

    async def unsettled(self) -> AsyncIterator[Entry]:
        """Iterate over the entries whose status is unknown."""
        for entry in await self._list(f"{ALL} WHERE status = 'unknown'"):
            yield entry

    async def entries(self) -> AsyncIterator[Entry]:
        """Iterate over all entries."""
        for entry in await self._list(ALL):
            yield entry

    async def prune(self, older_than: float, *, unsettled: bool = False) -> int:
        """Delete entries that did not change for a time."""
        async with self._step() as connection:
            deleted = await connection.execute(PRUNE, (self._clock() - older_than, unsettled))
        return deleted.rowcount

    # Facts are optional, but without them nobody notices a ledger of another account.

    async def keep_fact(self, name: str, value: str) -> str:
        """Store a fact unless the ledger has one of that name; return the one it has now."""
        async with self._step() as connection:
            await connection.execute(KEEP, (name, value))
        return (await self.facts())[name]

    async def replace_fact(self, name: str, value: str) -> None:
        """Store a fact in place of any other of that name."""
        async with self._step() as connection:
            await connection.execute(REPLACE, (name, value))

    async def facts(self) -> dict[str, str]:
        """Return all facts by name."""
        async with self._step() as connection:
            found = await connection.execute("SELECT name, value FROM esms_ledger_facts")
            return dict(await found.fetchall())

    async def _list(self, query: LiteralString) -> list[Entry]:
        async with self._step() as connection:
            found = await connection.execute(query)
            return [from_row(row[0], row[1:]) for row in await found.fetchall()]

    @asynccontextmanager
    async def _step(self) -> AsyncGenerator[AsyncConnection]:
        """Run one step in a transaction of its own, on a connection that works."""
        self.require_open()
        async with self._turn:
            try:
                if self._connection is None or self._connection.closed:
                    connect = AsyncConnection.connect
                    self._connection = await connect(self._url, autocommit=True)
                async with self._connection.transaction():
                    yield self._connection
            except psycopg.Error as error:
                # Not its words: they may hold a phone number.
                problem = type(error).__name__
                raise LedgerError(f"the ledger on PostgreSQL can't be used: {problem}") from None


async def _find(connection: AsyncConnection, request_id: str) -> Entry | None:
    await connection.execute(LOCK, (request_id,))
    found = await (await connection.execute(FIND, (request_id,))).fetchone()
    return None if found is None else from_row(request_id, found[1:])


async def _put(connection: AsyncConnection, entry: Entry, known: Entry | None) -> None:
    if entry is known:
        return
    await connection.execute(DELETE, (entry.request_id,))
    await connection.execute(INSERT, (entry.request_id, *as_row(entry)))
