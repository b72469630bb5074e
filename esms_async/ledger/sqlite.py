"""Keeps a ledger in one SQLite file, for one process that must survive a crash.

Python's sqlite3 releases the interpreter lock for each statement, and has to get it back from an
event loop that is busy sending, which takes longer than the statement. So the claims and
settlements that gather while the disk is busy share a transaction, and their rows go into as few
statements as possible.
"""

import contextlib
import functools
import itertools
import os
import sqlite3
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs

from esms_async._model.errors import LedgerError, UsageError
from esms_async._model.messages import Message, Status
from esms_async.ledger.base import LedgerBase, LedgerOptions
from esms_async.ledger.handover import Handover, Stage, Turn, begin, end, new_handover
from esms_async.ledger.sqlite_writer import SqliteJob, SqliteWriter, Work
from esms_async.ledger.transitions import (
    Claim,
    Entry,
    Reason,
    Settlement,
    claim,
    new_entry,
    settle,
)

T = TypeVar("T")

APPLICATION_ID: Final = 0x65534D53
"""Tells a ledger from other SQLite files: "eSMS", in the application id of the header."""

VERSION: Final = 4
"""The version of the tables below, in the header's user version."""

_TABLES: Final = (
    """
    CREATE TABLE sends (
        request_id TEXT PRIMARY KEY,
        status TEXT NOT NULL,
        reason TEXT,
        generation INTEGER NOT NULL,
        fingerprint BLOB NOT NULL,
        phone TEXT NOT NULL,
        content TEXT,
        in_doubt_since REAL NOT NULL,
        updated_at REAL NOT NULL,
        sms_id TEXT,
        deduplicated INTEGER NOT NULL,
        code TEXT,
        http_status INTEGER,
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
_MOST_REMEMBERED = 10_000

# https://www.sqlite.org/fileformat.html, section 1.3.
_MAGIC = b"SQLite format 3\0"
_HEADER_LENGTH = 100
_LARGEST_PAGE = 65536


class SqliteLedger(LedgerBase):
    """Keeps what is known of each send in one SQLite file, safe against a crash at any moment.

    A claim is on disk before the first byte of a request leaves. Claims and settlements of
    concurrent sends share commits. One process at a time uses a file; after `os.fork` the child
    needs a ledger of its own.

    Args:
        path: The file; it is created with mode 0600 if it does not exist.
        options: The options that all ledgers share.
        clock: The time in seconds since the epoch.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        options: LedgerOptions = LedgerOptions(),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = Path(path)
        self._clock = clock
        self._batches = _Batches(options, clock)
        self._writer: SqliteWriter | None = None

    @property
    def is_open(self) -> bool:
        """True between `open` and `aclose`."""
        return self._writer is not None

    async def open(self) -> None:
        """Open the file, or create it.

        Raises:
            LedgerError: Another process has it open, or it is not a ledger, damaged, of another
                version, or not writable. A file that is refused is not changed.
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
        """Write what is outstanding, and close the file.

        Raises:
            UsageError: This is another event loop than the one that opened the ledger. If that
                one has been closed, the file is closed all the same.
        """
        if (writer := self._writer) is None:
            return
        outlives_its_loop = writer.outlives_its_loop
        self._writer = None
        await writer.stop()
        if outlives_its_loop:
            raise UsageError(
                f"the ledger {self._path} was opened on an event loop that has been closed, so its "
                "file was closed only now; open and close a ledger on one loop, with `async with`"
            )

    async def claim(
        self, message: Message, fingerprint: bytes, *, doubt_age: float | None = None
    ) -> Claim:
        """Ask to send a message; the claim is on disk."""
        return await self._opened().run(_Claiming(message, fingerprint, doubt_age))

    async def settle(
        self, request_id: str, generation: int, settlement: Settlement
    ) -> Entry | None:
        """Record what was learned of a message."""
        return await self._opened().run(_Settling(request_id, generation, settlement))

    async def begin_report(self, request_id: str, state: str, lease: float) -> Turn:
        """Ask to hand a delivery report to the application; the turn is on disk."""

        def operation(connection: sqlite3.Connection) -> Turn:
            now = self._clock()
            fresh = new_handover(request_id, state, now=now, lease=lease)
            known = _find_report(connection, request_id, state)
            turn = begin(known, fresh, now=now)
            _put_report(connection, turn.handover, known)
            return turn

        return await self._opened().run(operation)

    async def end_report(self, request_id: str, state: str, turn: int, *, success: bool) -> None:
        """Record how a turn ended."""

        def operation(connection: sqlite3.Connection) -> None:
            if (known := _find_report(connection, request_id, state)) is not None:
                ended = end(known, turn, success=success, now=self._clock())
                _put_report(connection, ended, known)

        await self._opened().run(operation)

    async def keep_fact(self, name: str, value: str) -> str:
        """Store a fact unless the ledger has one of that name; return the one it has now."""

        def operation(connection: sqlite3.Connection) -> str:
            connection.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", (name, value))
            row = connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
            return str(row[0])

        return await self._opened().run(operation)

    async def replace_fact(self, name: str, value: str) -> None:
        """Store a fact in place of any other of that name."""

        def operation(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

        await self._opened().run(operation)

    async def facts(self) -> dict[str, str]:
        """Return all facts by name."""
        return await self._opened().run(
            lambda connection: dict(connection.execute("SELECT name, value FROM facts").fetchall())
        )

    async def look_up(self, request_id: str) -> Entry | None:
        """Return the entry of a RequestId, or None."""
        return await self._opened().run(lambda connection: _find(connection, request_id))

    async def unsettled(self) -> AsyncIterator[Entry]:
        """Iterate over the unknown entries, a page at a time, in the order of their RequestIds."""
        async for entry in self._pages(f"status = '{Status.UNKNOWN}' AND request_id > ?"):
            yield entry

    async def entries(self) -> AsyncIterator[Entry]:
        """Iterate over all entries, a page at a time, in the order of their RequestIds."""
        async for entry in self._pages("request_id > ?"):
            yield entry

    async def prune(self, older_than: float, *, unsettled: bool = False) -> int:
        """Delete entries and delivery reports that did not change for a time."""
        before = self._clock() - older_than
        settled = "" if unsettled else f" AND status != '{Status.UNKNOWN}'"
        statement = f"DELETE FROM sends WHERE updated_at < ?{settled}"  # noqa: S608  # no outside text in it

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


def _connect(path: Path) -> sqlite3.Connection:
    """Open a ledger file for this process alone, and create its tables if it is new."""
    _refuse_foreign(path)
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        _lock_and_check(connection, path)
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            raise LedgerError(
                f"the ledger {path} is in use by another process; end it, or use another file"
            ) from None
        raise
    return connection


def _lock_and_check(connection: sqlite3.Connection, path: Path) -> None:
    # RequestIds are random, so each claim writes a page of the index of its own: small pages,
    # and a log of 16 MB before they are copied into the file, halve what is written.
    connection.execute("PRAGMA page_size = 2048")
    connection.execute("PRAGMA wal_autocheckpoint = 8000")
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -65536")
    # The lock that this takes stays until the connection is closed, or its process is gone.
    connection.execute("BEGIN EXCLUSIVE")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:
        for statement in _TABLES:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
    elif version != VERSION:
        raise LedgerError(
            f"the ledger {path} is of version {version}, and this release of esms_async reads "
            f"version {VERSION}; use the release that made it, or name another file"
        )
    connection.execute(f"{_SELECT} LIMIT 1").fetchone()
    connection.execute("COMMIT")
    # Only now: what makes a new file a ledger is in the file itself before there is a log.
    connection.execute("PRAGMA journal_mode = WAL")


def _refuse_foreign(path: Path) -> None:
    """Create the file if there is none; refuse one that is not a ledger, without opening it."""
    if "\0" in str(path):
        raise LedgerError(f"{str(path)!r} can't be a file: it holds a NUL; name another file")
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


@attrs.define(eq=False)
class _Claiming(SqliteJob[Claim]):
    """One claim in a batch."""

    message: Message
    fingerprint: bytes
    doubt_age: float | None


@attrs.define(eq=False)
class _Settling(SqliteJob[Entry | None]):
    """One settlement in a batch."""

    request_id: str
    generation: int
    settlement: Settlement


class _Batches:
    """Performs a batch of work in one transaction, on the writer's thread."""

    def __init__(self, options: LedgerOptions, clock: Callable[[], float]) -> None:
        self._options = options
        self._clock = clock
        # The entries of claims, as they are stored, so a settlement need not read its own.
        self._claimed: dict[str, Entry] = {}

    def perform(self, connection: sqlite3.Connection, work: Sequence[Work]) -> list[object]:
        """Perform claims, settlements and other work; return the results in its order.

        None of it has been answered yet, so any order is right.
        """
        settled = iter(
            self._settle(connection, [one for one in work if isinstance(one, _Settling)])
        )
        claimed = iter(self._claim(connection, [one for one in work if isinstance(one, _Claiming)]))
        results: list[object] = []
        for one in work:
            if isinstance(one, _Settling):
                results.append(next(settled))
            elif isinstance(one, _Claiming):
                results.append(next(claimed))
            else:
                assert callable(one)  # noqa: S101  # there is no other kind of job
                results.append(one(connection))
        return results

    def forget(self) -> None:
        """Drop the remembered entries: the file may hold others."""
        self._claimed.clear()

    def _claim(self, connection: sqlite3.Connection, claims: Sequence[_Claiming]) -> list[Claim]:
        options, now = self._options, self._clock()
        fresh = [
            new_entry(
                one.message,
                one.fingerprint,
                now=now,
                doubt_age=one.doubt_age,
                phone=options.store_phone,
                content=options.store_content,
            )
            for one in claims
        ]
        # Nearly every claim is the first of its RequestId, which storing its entry shows.
        first = _insert(connection, fresh)
        answers: list[Claim] = []
        for one, entry in zip(claims, fresh, strict=True):
            known = None
            if entry.request_id in first:
                first.remove(entry.request_id)
            else:
                known = _find(connection, entry.request_id)
            answer = claim(
                known,
                entry,
                now=now,
                window=options.window,
                resume=one.doubt_age is not None,
            )
            if known is not None and answer.entry is not known:
                connection.execute(_REPLACE, _row(answer.entry))
            answers.append(answer)
        self._remember(answer.entry for answer in answers)
        return answers

    def _remember(self, entries: Iterable[Entry]) -> None:
        if len(self._claimed) >= _MOST_REMEMBERED:
            self._claimed.clear()
        self._claimed.update((entry.request_id, entry) for entry in entries)

    def _settle(
        self, connection: sqlite3.Connection, settlements: Sequence[_Settling]
    ) -> list[Entry | None]:
        now = self._clock()
        results: list[Entry | None] = []
        changed: list[Entry] = []
        for one in settlements:
            known = self._claimed.pop(one.request_id, None)
            if known is None:
                # It may be among those that changed a moment ago.
                _update_settled(connection, changed)
                changed.clear()
                known = _find(connection, one.request_id)
            entry = known and settle(known, one.generation, one.settlement, now=now)
            if entry is not None and entry is not known:
                changed.append(entry)
            results.append(entry)
        _update_settled(connection, changed)
        return results


_COLUMNS: Final = tuple(field.name for field in attrs.fields(Entry))
# What a settlement can change of an entry.
_SETTLED: Final = (
    "status",
    "reason",
    "updated_at",
    "sms_id",
    "deduplicated",
    "code",
    "http_status",
    "detail",
)
_STATUSES: Final = {status.value: status for status in Status}
_REASONS: Final[dict[str | None, Reason | None]] = {
    None: None,
    **{reason.value: reason for reason in Reason},
}

_SELECT: Final = f"SELECT {', '.join(_COLUMNS)} FROM sends"  # noqa: S608  # our own column names

# The numbers of rows in a statement: few statements, so SQLite compiles each of them once.
_SIZES: Final = (64, 16, 4, 1)


def _places(columns: Sequence[str], rows: int) -> str:
    return ", ".join([f"({', '.join('?' * len(columns))})"] * rows)


_INSERT: Final = {
    size: f"INSERT OR IGNORE INTO sends ({', '.join(_COLUMNS)}) "  # noqa: S608  # our own column names
    f"VALUES {_places(_COLUMNS, size)}"
    for size in _SIZES
}
_REPLACE: Final = _INSERT[1].replace("IGNORE", "REPLACE")
_ASSIGNMENTS: Final = ", ".join(
    f"{name} = news.column{number}" for number, name in enumerate(_SETTLED, start=2)
)
_SETTLE: Final = {
    size: f"UPDATE sends SET {_ASSIGNMENTS} "  # noqa: S608  # our own column names
    f"FROM (VALUES {_places(('request_id', *_SETTLED), size)}) AS news "
    "WHERE sends.request_id = news.column1"
    for size in _SIZES
}


def _insert(connection: sqlite3.Connection, entries: Sequence[Entry]) -> set[str]:
    """Store the entries of RequestIds that are new, and return these RequestIds."""
    inserted: set[str] = set()
    for chunk in _chunks(entries):
        rows = tuple(itertools.chain.from_iterable(map(_row, chunk)))
        count = connection.execute(_INSERT[len(chunk)], rows).rowcount
        if count == len(chunk):
            inserted.update(entry.request_id for entry in chunk)
        elif count:
            # SQLite numbers the rows of a table as they come: these are the last ones.
            last = "SELECT request_id FROM sends ORDER BY rowid DESC LIMIT ?"
            inserted.update(row[0] for row in connection.execute(last, (count,)))
    return inserted


def _update_settled(connection: sqlite3.Connection, entries: Sequence[Entry]) -> None:
    """Store what settlements changed of entries in the file, each named once."""
    for chunk in _chunks(entries):
        rows = tuple(itertools.chain.from_iterable(map(_settled_row, chunk)))
        connection.execute(_SETTLE[len(chunk)], rows)


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    start = 0
    for size in _SIZES:
        while len(items) - start >= size:
            yield items[start : start + size]
            start += size


def _find(connection: sqlite3.Connection, request_id: str) -> Entry | None:
    row = connection.execute(f"{_SELECT} WHERE request_id = ?", (request_id,)).fetchone()
    return None if row is None else _read(row)


def _page(connection: sqlite3.Connection, where: str, after: str) -> list[Entry]:
    statement = f"{_SELECT} WHERE {where} ORDER BY request_id LIMIT ?"
    return [_read(row) for row in connection.execute(statement, (after, _PAGE))]


def _read(row: tuple[Any, ...]) -> Entry:
    request_id, status, reason, *known, deduplicated, code, http_status, detail = row
    generation, fingerprint, phone, content, in_doubt_since, updated_at, sms_id = known
    return Entry(
        request_id,
        _STATUSES[status],
        _REASONS[reason],
        generation,
        fingerprint,
        phone,
        content,
        in_doubt_since,
        updated_at,
        sms_id,
        bool(deduplicated),
        code,
        http_status,
        detail,
    )


# SQLite takes a str or an int as it is. For a subclass, Python first looks for an adapter, which
# takes as long as the statement.
def _row(entry: Entry) -> tuple[object, ...]:
    return (
        entry.request_id,
        entry.status.value,
        entry.reason and entry.reason.value,
        entry.generation,
        entry.fingerprint,
        entry.phone,
        entry.content,
        entry.in_doubt_since,
        entry.updated_at,
        entry.sms_id,
        int(entry.deduplicated),
        entry.code,
        entry.http_status,
        entry.detail,
    )


def _settled_row(entry: Entry) -> tuple[object, ...]:
    return (
        entry.request_id,
        entry.status.value,
        entry.reason and entry.reason.value,
        entry.updated_at,
        entry.sms_id,
        int(entry.deduplicated),
        entry.code,
        entry.http_status,
        entry.detail,
    )


def _find_report(connection: sqlite3.Connection, request_id: str, state: str) -> Handover | None:
    row = connection.execute(_SELECT_REPORT, (request_id, state)).fetchone()
    if row is None:
        return None
    request_id, state, stage, turn, until = row
    return Handover(request_id, state, Stage(stage), turn, until)


def _put_report(connection: sqlite3.Connection, handover: Handover, known: Handover | None) -> None:
    if handover is not known:
        connection.execute(_REPLACE_REPORT, attrs.astuple(handover))
