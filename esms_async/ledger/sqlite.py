"""Keeps a ledger in one SQLite file, for one process that must survive a crash.

Python's sqlite3 releases the interpreter lock for each statement, and getting it back from a busy
event loop takes longer than the statement. So claims and acceptances that come while the disk is
busy share a transaction, with one statement each for all their rows.
"""

import contextlib
import functools
import os
import sqlite3
import struct
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Final, cast

import attrs

from esms_async._model.errors import LedgerError, UsageError
from esms_async._model.messages import Message, Status
from esms_async.ledger.base import LedgerBase, LedgerOptions, Unrecorded
from esms_async.ledger.gather import Acceptance
from esms_async.ledger.sqlite_writer import SqliteWriter
from esms_async.ledger.transitions import (
    REASONS,
    STATUSES,
    Claim,
    Contact,
    Decision,
    Entry,
    Row,
    Settlement,
    StoredReport,
    accept,
    as_row,
    claim,
    claim_report,
    from_row,
    new_entry,
    new_report,
    next_contact,
    retry_report,
    settle,
    settle_report,
)

APPLICATION_ID: Final = 0x65534D53
"""Tells a ledger from other SQLite files: "eSMS", in the application id of the header."""

VERSION: Final = 6
"""The version of the tables below, in the header's user version."""

# Ids that were not minted are in no order. The table keeps its entries in the order of their first
# claims, so a commit of many entries writes few pages. In the order of their ids, each entry would
# write a page of its own, at its claim and again at its acceptance.
_TABLES: Final = (
    """
    CREATE TABLE sends (
        number INTEGER PRIMARY KEY,
        request_id NOT NULL UNIQUE,
        status TEXT NOT NULL DEFAULT 'unknown',
        reason TEXT DEFAULT 'attempt',
        generation INTEGER NOT NULL DEFAULT 1,
        fingerprint BLOB NOT NULL,
        phone TEXT NOT NULL,
        content TEXT,
        in_doubt_since REAL NOT NULL,
        updated_at REAL NOT NULL,
        sms_id TEXT,
        deduplicated INTEGER NOT NULL DEFAULT 0,
        code TEXT,
        http_status INTEGER,
        detail TEXT
    )
    """,
    # It holds only unsettled entries, so finding them needs no full scan.
    "CREATE INDEX unsettled ON sends (number) WHERE status = 'unknown'",
    """
    CREATE TABLE reports (
        key TEXT PRIMARY KEY,
        status TEXT NOT NULL,
        reason TEXT,
        generation INTEGER NOT NULL,
        failures INTEGER NOT NULL,
        due_at REAL NOT NULL,
        stored_at REAL NOT NULL,
        text TEXT,
        detail TEXT
    ) WITHOUT ROWID
    """,
    # Most reports were handed on, and nothing looks for those.
    "CREATE INDEX open_reports ON reports (due_at) WHERE status IN ('not_sent', 'unknown')",
    "CREATE INDEX failed_reports ON reports (key) WHERE status = 'rejected'",
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
)

_PAGE = 500
# A slice of a prune visits at least and at most so many rows. With fewer, most of its time would be
# that of the commit, which a claim alone needs too.
_SMALLEST_SLICE = 50
_LARGEST_SLICE = 2000
# A claim waits for the transaction of one slice, so no slice shall take longer, in seconds.
_SLICE_TIME: Final = 0.01
# The most rows that one statement stores.
_MOST_ROWS = 128

# https://www.sqlite.org/fileformat.html, section 1.3.
_MAGIC = b"SQLite format 3\0"
_HEADER_LENGTH = 100
_LARGEST_PAGE = 65536

_Claiming = tuple[Message, bytes, float | None]
"""The arguments of a claim: message, fingerprint, seconds in doubt."""

_Key = bytes | str


class SqliteLedger(LedgerBase):
    """Stores the state of each send in one SQLite file, safe against a crash at any moment.

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
        self._batch = _Batch(options, clock)
        self._contact: Contact | None = None
        self._writer: SqliteWriter[_Claiming] | None = None

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
        writer = SqliteWriter(self._path, lambda: _connect(self._path), self._batch)
        await writer.start()
        self._writer = writer

    async def aclose(self) -> None:
        """Write outstanding changes, and close the file.

        Raises:
            UsageError: Another event loop opened the ledger. If that loop is closed, this call
                closes the file all the same.
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
        """Claim a message; on return the claim is on disk."""
        return await self._opened().claim((message, fingerprint, doubt_age))

    async def claim_batch(self, claims: Sequence[tuple[Message, bytes]]) -> list[Claim]:
        """Claim messages, in one transaction."""
        needs = [(message, mark, None) for message, mark in claims]
        return await self._opened().run(lambda connection: self._batch.claim(connection, needs))

    async def look_up_batch(self, request_ids: Sequence[str]) -> list[Entry | None]:
        """Return the entry of each RequestId, or None."""

        def operation(connection: sqlite3.Connection) -> list[Entry | None]:
            keys = [_key(one) for one in request_ids]
            found: dict[_Key, tuple[Any, ...]] = {}
            for start in range(0, len(keys), _MOST_ROWS):
                some = keys[start : start + _MOST_ROWS]
                for row in connection.execute(_finding(len(some)), some):
                    found[row[0]] = row
            return [
                None if (row := found.get(key)) is None else from_row(request_id, row[1:])
                for request_id, key in zip(request_ids, keys, strict=True)
            ]

        return await self._opened().run(operation)

    async def settle(
        self, request_id: str, generation: int, settlement: Settlement
    ) -> Entry | None:
        """Record a result of a message."""

        def operation(connection: sqlite3.Connection) -> Entry | None:
            if (known := _find(connection, request_id)) is None:
                return None
            entry = settle(known, generation, settlement, now=self._clock())
            _replace(connection, entry, known)
            return entry

        return await self._opened().run(operation)

    def accept_soon(
        self, request_id: str, sms_id: str | None, *, deduplicated: bool, unrecorded: Unrecorded
    ) -> bool:
        """Queue an acceptance, to be stored with the next claims or after a short time."""
        self._opened().accept(Acceptance(request_id, sms_id, deduplicated, unrecorded))
        return True

    async def flush(self) -> None:
        """Wait until each queued acceptance is on disk or was handed back."""
        writer = self._opened()
        # A transaction that failed has handed them back.
        with contextlib.suppress(LedgerError):
            await writer.run(lambda _: None)

    async def store_report(
        self, key: str, text: str, *, lease: float | None = None
    ) -> StoredReport | None:
        """Store a report, unless one with its key was stored before; it is on disk."""

        def operation(connection: sqlite3.Connection) -> StoredReport | None:
            report = new_report(key, text, now=self._clock(), lease=lease)
            stored = connection.execute(_INSERT_REPORT, _report_row(report)).rowcount
            return report if stored else None

        return await self._opened().run(operation)

    async def take_reports(self, limit: int, lease: float) -> list[StoredReport]:
        """Claim reports that are due."""

        def operation(connection: sqlite3.Connection) -> list[StoredReport]:
            taken: list[StoredReport] = []
            while len(taken) < limit and (
                due := _reports(connection, _DUE_REPORTS, now, limit - len(taken))
            ):
                for known in due:
                    decision, report = claim_report(
                        known, now=now, lease=lease, grace_until=contact.grace_until
                    )
                    connection.execute(_REPLACE_REPORT, _report_row(report))
                    if decision is not Decision.WAIT:
                        taken.append(report)
            return taken

        # No other process uses the file, so memory is enough for the contacts.
        now = self._clock()
        self._contact = contact = next_contact(self._contact, now=now, lease=lease)
        return await self._opened().run(operation)

    async def settle_report(
        self,
        key: str,
        generation: int,
        settlement: Settlement,
        *,
        failures: int = 0,
        due_in: float = 0.0,
    ) -> None:
        """Record the result of a claimed report."""

        def operation(connection: sqlite3.Connection) -> None:
            for known in _reports(connection, _FIND_REPORT, key):
                report = settle_report(
                    known,
                    generation,
                    settlement,
                    failures=failures,
                    due_in=due_in,
                    now=self._clock(),
                )
                connection.execute(_REPLACE_REPORT, _report_row(report))

        await self._opened().run(operation)

    async def failed_reports(self) -> AsyncIterator[StoredReport]:
        """Iterate over the reports that are kept as failed, a page at a time, by their keys."""
        after = ""
        while page := await self._opened().run(
            functools.partial(_reports, statement=_FAILED_REPORTS, first=after, second=_PAGE)
        ):
            for report in page:
                yield report
            after = page[-1].key

    async def retry_report(self, key: str) -> bool:
        """Let a failed report be handed on again; return False if no failed one has this key."""

        def operation(connection: sqlite3.Connection) -> bool:
            known = _reports(connection, _FIND_REPORT, key)
            if not known or known[0].status is not Status.REJECTED:
                return False
            report = retry_report(known[0], now=self._clock())
            connection.execute(_REPLACE_REPORT, _report_row(report))
            return True

        return await self._opened().run(operation)

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
        """Iterate over the unknown entries, a page at a time, up to the last one at the start."""
        async for entry in self._pages(f"status = '{Status.UNKNOWN}'"):
            yield entry

    async def entries(self) -> AsyncIterator[Entry]:
        """Iterate over all entries, a page at a time, up to the last one at the start."""
        async for entry in self._pages("TRUE"):
            yield entry

    async def prune(self, older_than: float, *, unsettled: bool = False) -> int:
        """Delete old entries, and old reports that were handed on, a slice at once."""
        old = self._clock() - older_than
        handed_on = "" if unsettled else f" AND status = '{Status.ACCEPTED}'"
        await self._delete("reports", "key", "", f"due_at < ?{handed_on}", old)
        settled = "" if unsettled else f" AND status != '{Status.UNKNOWN}'"
        return await self._delete("sends", "number", 0, f"updated_at < ?{settled}", old)

    async def _delete(
        self, table: str, key: str, start: int | str, condition: str, old: float
    ) -> int:
        """Delete rows in slices, in the order of their keys, up to the last one at the start."""
        find_end = f"SELECT max({key}) FROM {table}"  # noqa: S608  # our own names
        slice_of = f"FROM {table} WHERE {key} > ? AND {key} <= ?"
        find_last = f"SELECT max({key}) FROM (SELECT {key} {slice_of} ORDER BY {key} LIMIT ?)"  # noqa: S608  # as above
        delete = f"DELETE {slice_of} AND {condition}"

        def operation(
            after: int | str, end: int | str, rows: int, connection: sqlite3.Connection
        ) -> tuple[int, int | str | None]:
            last = connection.execute(find_last, (after, end, rows)).fetchone()[0]
            return connection.execute(delete, (after, last, old)).rowcount, last

        deleted, rows = 0, _SMALLEST_SLICE
        last: int | str | None = start
        # Claims go on meanwhile, so without this end there might be one more row for ever.
        end: int | str | None = await self._opened().run(
            lambda connection: connection.execute(find_end).fetchone()[0]
        )
        while end is not None and last is not None:
            writer = self._opened()
            count, last = await writer.run(functools.partial(operation, last, end, rows))
            deleted += count
            rows = _next_slice(rows, writer.took)
        return deleted

    async def _pages(self, where: str) -> AsyncIterator[Entry]:
        # Claims go on meanwhile, so without this end there might be one more page for ever.
        end: int | None = await self._opened().run(
            lambda connection: connection.execute(_last_of(where)).fetchone()[0]
        )
        after = 0
        while end is not None and (
            page := await self._opened().run(
                functools.partial(_page, where=where, after=after, end=end)
            )
        ):
            for _, entry in page:
                yield entry
            after = page[-1][0]

    def _opened(self) -> SqliteWriter[_Claiming]:
        self.require_open()
        assert self._writer is not None  # noqa: S101  # require_open has seen it
        return self._writer


def _connect(path: Path) -> sqlite3.Connection:
    """Open a ledger file for this process alone, and create its tables if it is new."""
    _refuse_foreign(path)
    connection = sqlite3.connect(
        path, timeout=0, isolation_level=None, cached_statements=2 * _MOST_ROWS + 64
    )
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
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -65536")
    # This takes a lock until the connection is closed or the process ends.
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
    # Only now, so the file itself, and not only its log, says that it is a ledger.
    connection.execute("PRAGMA journal_mode = WAL")


def _refuse_foreign(path: Path) -> None:
    """Create the file if there is none; refuse one that is not a ledger, without opening it."""
    if "\0" in str(path):
        raise LedgerError(f"{str(path)!r} can't be a file: it holds a NUL; name another file")
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    # For writing, too, so a read-only file is called that, and not an error of the disk.
    with path.open("r+b") as file:
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


def _next_slice(rows: int, took: float) -> int:
    """Return the rows of the next slice, after a transaction of `took` seconds.

    The time is that of the whole transaction: on a slow disk the commit takes most of it, and in
    one commit of many the log is copied into the file.
    """
    if took > _SLICE_TIME:
        return max(_SMALLEST_SLICE, rows // 2)
    if took < _SLICE_TIME / 3:
        return min(_LARGEST_SLICE, rows * 2)
    return rows


class _Batch:
    """Performs the claims and acceptances of one transaction, on the writer's thread."""

    def __init__(self, options: LedgerOptions, clock: Callable[[], float]) -> None:
        self._options = options
        self._clock = clock

    def claim(self, connection: sqlite3.Connection, claims: Sequence[_Claiming]) -> list[Claim]:
        """Answer claims, in their order."""
        answers: list[Claim] = []
        for start in range(0, len(claims), _MOST_ROWS):
            answers += self._claim_chunk(connection, claims[start : start + _MOST_ROWS])
        return answers

    def _claim_chunk(
        self, connection: sqlite3.Connection, claims: Sequence[_Claiming]
    ) -> list[Claim]:
        options, now = self._options, self._clock()
        phone, content = options.store_phone, options.store_content
        fresh = [
            new_entry(message, mark, now=now, doubt_age=doubt_age, phone=phone, content=content)
            for message, mark, doubt_age in claims
        ]
        # Nearly every claim is the first of its RequestId, so this inserts first.
        if all(doubt_age is None for _, _, doubt_age in claims) and _insert(connection, fresh):
            return [Claim(Decision.SEND, entry) for entry in fresh]
        answers: list[Claim] = []
        for (_, _, doubt_age), entry in zip(claims, fresh, strict=True):
            known = _find(connection, entry.request_id)
            answer = claim(
                known, entry, now=now, window=options.window, resume=doubt_age is not None
            )
            _replace(connection, answer.entry, known)
            answers.append(answer)
        return answers

    def accept(self, connection: sqlite3.Connection, acceptances: Sequence[Acceptance]) -> None:
        """Store acceptances."""
        now = self._clock()
        for start in range(0, len(acceptances), _MOST_ROWS):
            chunk = acceptances[start : start + _MOST_ROWS]
            if _accept_all(connection, chunk, now):
                continue
            # Some are not in doubt any more, or were deleted.
            for request_id, sms_id, deduplicated, _ in chunk:
                if (known := _find(connection, request_id)) is not None:
                    entry = accept(known, sms_id, deduplicated=deduplicated, now=now)
                    _replace(connection, entry, known)


def _key(request_id: str) -> _Key:
    """Return the key of a RequestId in the file.

    Minted and derived ids are hexadecimal, and take half the space as bytes. For SQLite bytes never
    equal a text, so no two ids share a key.
    """
    try:
        key = bytes.fromhex(request_id)
    except ValueError:
        return request_id
    return key if key.hex() == request_id else request_id


_COLUMNS: Final = tuple(field.name for field in attrs.fields(Entry))

_SELECT: Final = f"SELECT {', '.join(_COLUMNS)} FROM sends"  # noqa: S608  # our own column names

# An entry keeps its number, so a listing meets it once.
_REPLACE: Final = (
    f"INSERT INTO sends ({', '.join(_COLUMNS)}) "  # noqa: S608  # our own column names
    f"VALUES ({', '.join('?' * len(_COLUMNS))}) ON CONFLICT (request_id) DO UPDATE SET "
    f"{', '.join(f'{name} = excluded.{name}' for name in _COLUMNS[1:])}"
)


# One statement for each number of rows: SQLite compiles it once, and Python releases the
# interpreter lock once.
@functools.cache
def _inserting(rows: int) -> str:
    values = ", ".join(["(?, ?, ?, ?, ?, ?)"] * rows)
    return (
        "INSERT INTO sends "  # noqa: S608  # no outside text in it
        f"(request_id, fingerprint, phone, content, in_doubt_since, updated_at) VALUES {values}"
    )


@functools.cache
def _finding(rows: int) -> str:
    return f"{_SELECT} WHERE request_id IN ({', '.join('?' * rows)})"


# The plus stops SQLite from scanning all unsettled entries by their index. A list of one costs as
# much as a list of fifty, so one entry has a statement of its own.
@functools.cache
def _accepting(rows: int) -> str:
    sms_id, deduplicated, key, news = "?", "?", "?", ""
    if rows > 1:
        sms_id, deduplicated, key = "news.column1", "news.column2", "news.column3"
        news = f"FROM (VALUES {', '.join(['(?, ?, ?)'] * rows)}) AS news "
    return (
        f"UPDATE sends SET status = '{Status.ACCEPTED}', reason = NULL, updated_at = ?, "  # noqa: S608  # no outside text in it
        f"code = NULL, http_status = NULL, detail = NULL, "
        f"sms_id = {sms_id}, deduplicated = {deduplicated} {news}"
        f"WHERE sends.request_id = {key} AND +sends.status = '{Status.UNKNOWN}'"
    )


def _accept_all(
    connection: sqlite3.Connection, acceptances: Sequence[Acceptance], now: float
) -> bool:
    """Store acceptances; False if some entry is not in doubt any more, or was deleted."""
    values: list[object] = [now]
    for request_id, sms_id, deduplicated, _ in acceptances:
        values += (sms_id, int(deduplicated), _key(request_id))
    changed = connection.execute(_accepting(len(acceptances)), values).rowcount
    return changed == len(acceptances)


def _insert(connection: sqlite3.Connection, entries: Sequence[Entry]) -> bool:
    """Store the entries of first claims; store none and return False if a RequestId is known."""
    values: list[object] = []
    for entry in entries:
        at = entry.updated_at
        values += (
            _key(entry.request_id),
            entry.fingerprint,
            entry.phone,
            entry.content,
            at,
            at,
        )
    try:
        connection.execute(_inserting(len(entries)), values)
    except sqlite3.IntegrityError:
        return False
    return True


def _replace(connection: sqlite3.Connection, entry: Entry, known: Entry | None) -> None:
    if entry is not known:
        connection.execute(_REPLACE, (_key(entry.request_id), *as_row(entry)))


def _find(connection: sqlite3.Connection, request_id: str) -> Entry | None:
    row = connection.execute(_finding(1), (_key(request_id),)).fetchone()
    return None if row is None else _read(row)


def _last_of(where: str) -> str:
    return f"SELECT max(number) FROM sends WHERE {where}"  # noqa: S608  # our own condition


def _paging(where: str) -> str:
    return (
        f"SELECT {', '.join(_COLUMNS)}, number FROM sends "  # noqa: S608  # our own condition
        f"WHERE {where} AND number > ? AND number <= ? ORDER BY number LIMIT ?"
    )


def _page(
    connection: sqlite3.Connection, where: str, after: int, end: int
) -> list[tuple[int, Entry]]:
    """Return some entries with their numbers, in the order of their first claims."""
    rows = connection.execute(_paging(where), (after, end, _PAGE))
    return [(number, _read(row)) for *row, number in rows]


def _read(row: Sequence[Any]) -> Entry:
    key = row[0]
    return from_row(key if isinstance(key, str) else key.hex(), cast("Row", row[1:]))


_REPORT_COLUMNS: Final = tuple(field.name for field in attrs.fields(StoredReport))
_SELECT_REPORTS: Final = f"SELECT {', '.join(_REPORT_COLUMNS)} FROM reports"  # noqa: S608  # our own column names
_FIND_REPORT: Final = f"{_SELECT_REPORTS} WHERE key = ?"
_DUE_REPORTS: Final = (
    f"{_SELECT_REPORTS} WHERE status IN ('{Status.NOT_SENT}', '{Status.UNKNOWN}') "
    "AND due_at <= ? ORDER BY due_at LIMIT ?"
)
_FAILED_REPORTS: Final = (
    f"{_SELECT_REPORTS} WHERE status = '{Status.REJECTED}' AND key > ? ORDER BY key LIMIT ?"
)
_INSERT_REPORT: Final = (
    f"INSERT OR IGNORE INTO reports ({', '.join(_REPORT_COLUMNS)}) "  # noqa: S608  # our own column names
    f"VALUES ({', '.join('?' * len(_REPORT_COLUMNS))})"
)
_REPLACE_REPORT: Final = _INSERT_REPORT.replace("IGNORE", "REPLACE")


def _reports(
    connection: sqlite3.Connection, statement: str, first: object, second: object = None
) -> list[StoredReport]:
    parameters = (first,) if second is None else (first, second)
    return [
        StoredReport(key, STATUSES[status], REASONS[reason], *others)
        for key, status, reason, *others in connection.execute(statement, parameters)
    ]


def _report_row(report: StoredReport) -> tuple[object, ...]:
    return (
        report.key,
        report.status.value,
        report.reason and report.reason.value,
        report.generation,
        report.failures,
        report.due_at,
        report.stored_at,
        report.text,
        report.detail,
    )
