"""A ledger in one SQLite file: for one process that must survive a crash."""

import contextlib
import functools
import os
import sqlite3
import struct
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import attrs

from esms_async.errors import LedgerError, UsageError
from esms_async.handover import Handover, Stage, Turn, begin, end, new_handover
from esms_async.ledger.base import LedgerBase, LedgerOptions
from esms_async.ledger.sqlite_batches import Batches, Claiming, Settling
from esms_async.ledger.sqlite_rows import SELECT, find, read
from esms_async.ledger.sqlite_writer import SqliteWriter
from esms_async.messages import Message
from esms_async.settlement import Claim, Entry, Settlement, State

APPLICATION_ID: Final = 0x65534D53
"""What tells a ledger from other SQLite files: "eSMS", in the header's application id."""

# The version of a file is the number of statements that it has seen.
_MIGRATIONS: Final = (
    """
    CREATE TABLE sends (
        request_id TEXT PRIMARY KEY,
        state TEXT NOT NULL,
        generation INTEGER NOT NULL,
        fingerprint BLOB NOT NULL,
        phone TEXT NOT NULL,
        content TEXT,
        opened_at REAL NOT NULL,
        updated_at REAL NOT NULL,
        sms_id TEXT,
        deduplicated INTEGER NOT NULL,
        code TEXT,
        status INTEGER,
        detail TEXT
    )
    """,
    """
    CREATE TABLE reports (
        request_id TEXT NOT NULL,
        state TEXT NOT NULL,
        stage TEXT NOT NULL,
        turn INTEGER NOT NULL,
        until REAL NOT NULL,
        PRIMARY KEY (request_id, state)
    ) WITHOUT ROWID
    """,
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
)

_SELECT_REPORT = (
    "SELECT request_id, state, stage, turn, until FROM reports WHERE request_id = ? AND state = ?"
)
_REPLACE_REPORT = (
    "INSERT OR REPLACE INTO reports (request_id, state, stage, turn, until) VALUES (?, ?, ?, ?, ?)"
)
_PAGE = 500

# https://www.sqlite.org/fileformat.html, section 1.3.
_MAGIC = b"SQLite format 3\0"
_HEADER_LENGTH = 100
_LARGEST_PAGE = 65536


class SqliteLedger(LedgerBase):
    """Keeps what is known of each send in one SQLite file, safe against a crash at any moment.

    A claim is on disk before the first byte of a request leaves. Claims and settlements of
    concurrent sends share commits. One process at a time uses a file.

    Args:
        path: The file; it is made with mode 0600 where it does not exist.
        options: What all ledgers are told alike.
        clock: The time in seconds since the epoch.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        options: LedgerOptions = LedgerOptions(),  # noqa: B008  # a frozen value
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = Path(path)
        self._clock = clock
        self._batches = Batches(options, clock)
        self._writer: SqliteWriter | None = None

    @property
    def is_open(self) -> bool:
        """True between `open` and `aclose`."""
        return self._writer is not None

    async def open(self) -> None:
        """Open the file, make it or bring it to this version.

        Raises:
            LedgerError: Another process has it open, or it is no ledger, damaged, of a later
                version, or not writable. A file that is no ledger is not touched.
            UsageError: The ledger is open already.
        """
        if self._writer is not None:
            raise UsageError(f"the ledger {self._path} is open already")
        batches = self._batches
        writer = SqliteWriter(
            self._path, lambda: _connect(self._path), batches.perform, batches.forget
        )
        await writer.start()
        self._writer = writer

    async def aclose(self) -> None:
        """Write what is outstanding, and close the file."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            await writer.stop()

    async def claim(self, message: Message, fingerprint: bytes, *, resume: bool = False) -> Claim:
        """Ask to send a message; what is claimed is on disk."""
        return await self._opened().run(Claiming(message, fingerprint, resume))

    async def settle(
        self, request_id: str, generation: int, settlement: Settlement
    ) -> Entry | None:
        """Record what became of a claim."""
        return await self._opened().run(Settling(request_id, generation, settlement))

    async def begin_report(self, request_id: str, state: str, lease: float) -> Turn:
        """Ask to hand a delivery report on; what is begun is on disk."""

        def operation(connection: sqlite3.Connection) -> Turn:
            now = self._clock()
            fresh = new_handover(request_id, state, now=now, lease=lease)
            known = _find_report(connection, request_id, state)
            turn = begin(known, fresh, now=now)
            _put_report(connection, turn.handover, known)
            return turn

        return await self._opened().run(operation)

    async def end_report(self, request_id: str, state: str, turn: int, *, success: bool) -> None:
        """Record how a turn at handing a report on has ended."""

        def operation(connection: sqlite3.Connection) -> None:
            if (known := _find_report(connection, request_id, state)) is not None:
                ended = end(known, turn, success=success, now=self._clock())
                _put_report(connection, ended, known)

        await self._opened().run(operation)

    async def keep_fact(self, name: str, value: str) -> str:
        """Keep a fact about the ledger itself, unless one of that name is kept already."""

        def operation(connection: sqlite3.Connection) -> str:
            connection.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", (name, value))
            row = connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
            return str(row[0])

        return await self._opened().run(operation)

    async def look_up(self, request_id: str) -> Entry | None:
        """Return the entry of a RequestId, or None."""
        return await self._opened().run(lambda connection: find(connection, request_id))

    async def unsettled(self) -> AsyncIterator[Entry]:
        """Iterate over the open entries, a page at a time, in the order of their RequestIds."""
        async for entry in self._pages("state = 'open' AND request_id > ?"):
            yield entry

    async def entries(self) -> AsyncIterator[Entry]:
        """Iterate over all entries, a page at a time, in the order of their RequestIds."""
        async for entry in self._pages("request_id > ?"):
            yield entry

    async def prune(self, older_than: float, *, unsettled: bool = False) -> int:
        """Forget entries and reports that did not change for a time."""
        before = self._clock() - older_than
        where = "updated_at < ?" if unsettled else f"updated_at < ? AND state != '{State.OPEN}'"
        statement = f"DELETE FROM sends WHERE {where}"  # noqa: S608  # no outside text in it

        def operation(connection: sqlite3.Connection) -> int:
            self._batches.forget()
            connection.execute("DELETE FROM reports WHERE until < ?", (before,))
            return connection.execute(statement, (before,)).rowcount

        return await self._opened().run(operation)

    async def _pages(self, where: str) -> AsyncIterator[Entry]:
        after = ""
        while page := await self._opened().run(functools.partial(_page, where=where, after=after)):
            for entry in page:
                yield entry
            after = page[-1].request_id

    def _opened(self) -> SqliteWriter:
        self.require_open()
        assert self._writer is not None  # noqa: S101  # require_open has seen it
        return self._writer


def _page(connection: sqlite3.Connection, where: str, after: str) -> list[Entry]:
    rows = connection.execute(f"{SELECT} WHERE {where} ORDER BY request_id LIMIT ?", (after, _PAGE))
    return [read(row) for row in rows]


def _find_report(connection: sqlite3.Connection, request_id: str, state: str) -> Handover | None:
    row = connection.execute(_SELECT_REPORT, (request_id, state)).fetchone()
    if row is None:
        return None
    request_id, state, stage, turn, until = row
    return Handover(request_id, state, Stage(stage), turn, until)


def _put_report(connection: sqlite3.Connection, handover: Handover, known: Handover | None) -> None:
    if handover is not known:
        connection.execute(_REPLACE_REPORT, attrs.astuple(handover))


def _connect(path: Path) -> sqlite3.Connection:
    """Open a ledger file for this process alone, and bring it to the latest version."""
    _refuse_foreign(path)
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        _lock_and_migrate(connection, path)
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            raise LedgerError(
                f"the ledger {path} is in use by another process; end it, or use another file"
            ) from None
        raise
    return connection


def _lock_and_migrate(connection: sqlite3.Connection, path: Path) -> None:
    # RequestIds are random, so that each claim writes a page of the index of its own: small pages,
    # and a log of 16 MB before they are copied into the file, halve what is written.
    connection.execute("PRAGMA page_size = 2048")
    connection.execute("PRAGMA wal_autocheckpoint = 8000")
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -65536")
    # The lock that this takes stays until the connection is closed, or its process is gone.
    connection.execute("BEGIN EXCLUSIVE")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(_MIGRATIONS):
        raise LedgerError(
            f"the ledger {path} is of version {version}, which a later release of esms_async "
            f"made; this one knows {len(_MIGRATIONS)}"
        )
    for statement in _MIGRATIONS[version:]:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")
    connection.execute(f"{SELECT} LIMIT 1").fetchone()
    connection.execute("COMMIT")
    # Only now: what makes a new file a ledger is in the file itself before there is a log.
    connection.execute("PRAGMA journal_mode = WAL")


def _refuse_foreign(path: Path) -> None:
    """Make the file if there is none; refuse one that is no ledger, without opening it."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    with path.open("rb") as file:
        header = file.read(_HEADER_LENGTH)
        size = file.seek(0, os.SEEK_END)
    if not header:
        return
    if len(header) < _HEADER_LENGTH or not header.startswith(_MAGIC):
        raise LedgerError(f"{path} is not a ledger, and was left as it is; name another file")
    page_size, pages, application = struct.unpack_from(">16xH10xI36xI", header)
    if application != APPLICATION_ID:
        raise LedgerError(
            f"{path} is an SQLite file of something else, and was left as it is; name another file"
        )
    if size < pages * (_LARGEST_PAGE if page_size == 1 else page_size) and not _has_log(path):
        raise LedgerError(f"the ledger {path} is cut short, and was left as it is")


def _has_log(path: Path) -> bool:
    log = path.with_name(f"{path.name}-wal")
    return log.exists() and log.stat().st_size > 0
