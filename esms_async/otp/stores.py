"""Defines the stores of one-time codes, and those in memory and on SQLite.

A store carries out the rules of `esms_async.otp.rules` atomically, on its own clock.
"""

import abc
import asyncio
import contextlib
import json
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from esms_async import UsageError
from esms_async.otp import rules
from esms_async.otp.rules import (
    CLOCK_TOLERANCE,
    Claimed,
    CodeClaim,
    Guess,
    GuessResult,
    OtpStoreError,
    Record,
    Settling,
    Tables,
)

_T = TypeVar("_T")
Clock = Callable[[], float]
"""Returns seconds since the epoch."""

_TABLES: Final = ("c", "f", "s", "cd", "g")
_SWEEP_EVERY: Final = 60_000
# It counts suspend, which time.monotonic does not on Linux; elsewhere there is no such clock.
_BOOT_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", None)


def _boot_time() -> float:
    return time.monotonic() if _BOOT_CLOCK is None else time.clock_gettime(_BOOT_CLOCK)


class ProcessClock:
    """A clock of one process that does not go back when the machine's clock is set back.

    Args:
        clock: The clock of a test, or None for the machine's.
    """

    def __init__(self, clock: Clock | None) -> None:
        self._clock = clock
        self._raw = 0
        self._last = 0
        self._boot = 0

    def now(self) -> int:
        """Return the time, in milliseconds since the epoch."""
        raw = _milliseconds((self._clock or time.time)())
        self.move_to(rules.next_time(raw, self._last, self._elapsed(raw)))
        self._raw = raw
        return self._last

    def floor(self) -> int:
        """Return the lowest time that a correct clock can show."""
        return self._last + self._elapsed(0) if self._last else 0

    def move_to(self, now: int) -> None:
        """Move forward to a time that the store has recorded."""
        self._last = max(self._last, now)
        self._boot = _milliseconds(_boot_time())

    def _elapsed(self, raw: int) -> int:
        if not self._last:
            return 0
        if self._clock is not None:
            return max(raw - self._raw, 0)
        return _milliseconds(_boot_time()) - self._boot


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000 + 0.5)


def clock_error(place: str, known: int, now: int, command: str) -> OtpStoreError:
    """Return the error of a store whose time is ahead of its clock."""
    return OtpStoreError(
        f"the store of one-time codes {place} has seen the time {_shown(known)}, but its clock "
        f"shows {_shown(now)}: set the clock right, or where it was wrong before, run: {command}"
    )


def _shown(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


class OtpStore(abc.ABC):
    """Stores codes, sends and failures. All methods raise OtpStoreError.

    Use a store with `async with`; `Otp` opens one that is not open yet. Each operation is atomic,
    whatever other tasks and processes do.
    """

    @property
    @abc.abstractmethod
    def is_open(self) -> bool:
        """True between `open` and `aclose`."""

    @abc.abstractmethod
    async def open(self) -> None:
        """Make the store ready."""

    @abc.abstractmethod
    async def aclose(self) -> None:
        """Finish operations under way, and release all resources."""

    @abc.abstractmethod
    async def claim(self, asked: CodeClaim) -> Claimed:
        """Decide about a start or a resend."""

    @abc.abstractmethod
    async def settle(self, settling: Settling) -> None:
        """Record the result of a send."""

    @abc.abstractmethod
    async def verify(self, guess: Guess) -> GuessResult:
        """Count and compare a guess, and use the code up if it is right."""

    @abc.abstractmethod
    async def unlock(self, ph: str, purpose: str) -> None:
        """Forget the failures of a phone."""

    @abc.abstractmethod
    async def keep_fact(self, name: str, value: str) -> str:
        """Store a fact unless the store has one of that name; return the one it has now."""

    @abc.abstractmethod
    async def reset_clock(self) -> None:
        """Take the clock's time, and forget codes, sends and counts; locks stay."""

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class _LocalStore(OtpStore):
    """A store that decides in this process."""

    @abc.abstractmethod
    async def _transact(self, step: Callable[[Tables, int], _T]) -> _T: ...

    async def claim(self, asked: CodeClaim) -> Claimed:
        """Decide about a start or a resend."""
        return await self._transact(lambda tables, now: rules.claim(tables, asked, now))

    async def settle(self, settling: Settling) -> None:
        """Record the result of a send."""
        await self._transact(lambda tables, _: rules.settle(tables, settling))

    async def verify(self, guess: Guess) -> GuessResult:
        """Count and compare a guess, and use the code up if it is right."""
        return await self._transact(lambda tables, now: rules.verify(tables, guess, now))

    async def unlock(self, ph: str, purpose: str) -> None:
        """Forget the failures of a phone."""
        await self._transact(lambda tables, _: tables.drop("f", f"{ph}:{purpose}"))


class _MemoryTables:
    """Records in dicts."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, Record]] = {table: {} for table in _TABLES}
        self.now = 0

    def get(self, table: str, key: str) -> Record | None:
        record = self.records[table].get(key)
        return record if record is not None and record["end"] > self.now else None

    def put(self, table: str, key: str, record: Record, end: int) -> None:
        record["end"] = end
        self.records[table][key] = record

    def drop(self, table: str, key: str) -> None:
        self.records[table].pop(key, None)

    def sweep(self) -> None:
        for table in self.records.values():
            for key in [key for key, record in table.items() if record["end"] <= self.now]:
                del table[key]


class MemoryOtpStore(_LocalStore):
    """Keeps codes in memory: for tests, and for one process that may forget them on a restart.

    Args:
        clock: Seconds since the epoch, for tests; None for the machine's clock.
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = ProcessClock(clock)
        self._lock = threading.Lock()
        self._tables = _MemoryTables()
        self._facts: dict[str, str] = {}
        self._next_sweep = 0
        self._is_open = False

    def __repr__(self) -> str:
        return "MemoryOtpStore()"

    @property
    def is_open(self) -> bool:
        """True between `open` and `aclose`."""
        return self._is_open

    async def open(self) -> None:
        """Make the store ready."""
        self._is_open = True

    async def aclose(self) -> None:
        """Close the store; its data stays for the next one."""
        self._is_open = False

    async def keep_fact(self, name: str, value: str) -> str:
        """Store a fact unless the store has one of that name; return the one it has now."""
        return self._facts.setdefault(name, value)

    async def reset_clock(self) -> None:
        """Forget codes, sends and counts; locks stay."""
        with self._lock:
            for table in _TABLES:
                if table != "f":
                    self._tables.records[table].clear()

    async def _transact(self, step: Callable[[Tables, int], _T]) -> _T:
        with self._lock:
            now = self._tables.now = self._clock.now()
            if now >= self._next_sweep:
                self._next_sweep = now + _SWEEP_EVERY
                self._tables.sweep()
            return step(self._tables, now)


_Step = Callable[["_SqliteTables", int], Any]
# The step, where its result goes, and whether it sets the store's time.
_Job = tuple[_Step, "asyncio.Future[Any]", bool]

_MOST_TOGETHER: Final = 256
_BUSY_SECONDS: Final = 5.0
_APPLICATION_ID: Final = 0x6F747031
_SCHEMA: Final = (
    *(
        f"CREATE TABLE IF NOT EXISTS {table} (key TEXT PRIMARY KEY, value TEXT NOT NULL, "
        f"end INTEGER NOT NULL) WITHOUT ROWID"
        for table in _TABLES
    ),
    *(f"CREATE INDEX IF NOT EXISTS {table}_end ON {table} (end)" for table in _TABLES),
    "CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
)
_GET: Final = {table: f"SELECT value FROM {table} WHERE key = ? AND end > ?" for table in _TABLES}  # noqa: S608  # no outside text
_PUT: Final = {table: f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)" for table in _TABLES}  # noqa: S608  # the same
_DROP: Final = {table: f"DELETE FROM {table} WHERE key = ?" for table in _TABLES}  # noqa: S608  # the same
_SWEEP: Final = tuple(f"DELETE FROM {table} WHERE end <= ?" for table in _TABLES)  # noqa: S608  # the same
_FACT: Final = "SELECT value FROM facts WHERE name = ?"


class _SqliteTables:
    """Records in a file, within one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.now = 0

    def get(self, table: str, key: str) -> Record | None:
        row = self.connection.execute(_GET[table], (key, self.now)).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, table: str, key: str, record: Record, end: int) -> None:
        record["end"] = end
        self.connection.execute(_PUT[table], (key, json.dumps(record), end))

    def drop(self, table: str, key: str) -> None:
        self.connection.execute(_DROP[table], (key,))


class SqliteOtpStore(_LocalStore):
    """Keeps codes in a file, which the processes of one machine may share.

    Acknowledged data are on disk. One thread commits all waiting operations together.

    Args:
        path: The file; it is created if it does not exist.
        clock: Seconds since the epoch, for tests; None for the machine's clock.
    """

    def __init__(self, path: str | os.PathLike[str], *, clock: Clock | None = None) -> None:
        self._path = Path(path)
        self._clock = ProcessClock(clock)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._ended: asyncio.Future[Any] | None = None
        self._next_sweep = 0

    def __repr__(self) -> str:
        return f"SqliteOtpStore({str(self._path)!r})"

    @property
    def is_open(self) -> bool:
        """True between `open` and `aclose`."""
        return self._ended is not None

    async def open(self) -> None:
        """Open the file."""
        if self._ended is not None:
            raise UsageError(f"{self!r} is open already")
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[Any] = loop.create_future()
        ended: asyncio.Future[Any] = loop.create_future()
        # A daemon, so a store that nobody closes does not keep the process alive.
        threading.Thread(
            target=self._run, args=(opened, ended), name=f"otp {self._path.name}", daemon=True
        ).start()
        self._ended = ended
        try:
            await asyncio.shield(opened)
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Finish operations under way, and close the file."""
        if self._ended is not None:
            ended, self._ended = self._ended, None
            self._jobs.put(None)
            await ended

    async def keep_fact(self, name: str, value: str) -> str:
        """Store a fact unless the store has one of that name; return the one it has now."""

        def step(tables: Tables, _: int) -> str:
            assert isinstance(tables, _SqliteTables)  # noqa: S101  # there are no others here
            tables.connection.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", (name, value))
            return str(tables.connection.execute(_FACT, (name,)).fetchone()[0])

        return await self._transact(step)

    async def reset_clock(self) -> None:
        """Take the clock's time, and forget codes, sends and counts; locks stay."""

        def step(tables: _SqliteTables, now: int) -> None:
            for table in _TABLES:
                if table != "f":
                    tables.connection.execute(f"DELETE FROM {table}")  # noqa: S608  # no outside text
            tables.connection.execute("REPLACE INTO facts VALUES ('time', ?)", (str(now),))

        await self._submit(step, resets=True)

    async def _transact(self, step: Callable[[Tables, int], _T]) -> _T:
        result: _T = await self._submit(step)
        return result

    async def _submit(self, step: _Step, *, resets: bool = False) -> Any:  # noqa: ANN401  # the step's
        if self._ended is None:
            raise UsageError(f"{self!r} is not open; open it with async with")
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._jobs.put((step, done, resets))
        return await done

    def _run(self, opened: "asyncio.Future[Any]", ended: "asyncio.Future[Any]") -> None:
        """Serve jobs in a thread until the last one."""
        try:
            connection = self._connect()
        except (sqlite3.Error, OSError) as error:
            _resolve([(opened, self._as_store_error(error))])
            self._refuse_jobs(error)
        else:
            _resolve([(opened, None)])
            try:
                self._serve(connection)
            finally:
                connection.close()
        _resolve([(ended, None)])

    def _refuse_jobs(self, error: Exception) -> None:
        while (job := self._jobs.get()) is not None:
            _resolve([(job[1], self._as_store_error(error))])

    def _serve(self, connection: sqlite3.Connection) -> None:
        tables = _SqliteTables(connection)
        last = False
        while not last:
            jobs, last = self._gather()
            if jobs:
                _resolve(self._commit(tables, jobs))

    def _gather(self) -> tuple[list[_Job], bool]:
        """Return the waiting jobs, and True after the last one."""
        job = self._jobs.get()
        jobs: list[_Job] = []
        while job is not None:
            jobs.append(job)
            if len(jobs) >= _MOST_TOGETHER:
                return jobs, False
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return jobs, False
        return jobs, True

    def _commit(
        self, tables: _SqliteTables, jobs: list[_Job]
    ) -> "list[tuple[asyncio.Future[Any], object]]":
        connection = tables.connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            now, problem = self._time(connection)
            tables.now = now
            if now >= self._next_sweep:
                self._next_sweep = now + _SWEEP_EVERY
                for statement in _SWEEP:
                    connection.execute(statement, (now,))
            results = [
                step(tables, now) if problem is None or resets else problem
                for step, _, resets in jobs
            ]
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001  # whatever it is, the callers must get it
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            return [(done, self._as_store_error(error)) for _, done, _ in jobs]
        return [(done, result) for (_, done, _), result in zip(jobs, results, strict=True)]

    def _time(self, connection: sqlite3.Connection) -> tuple[int, OtpStoreError | None]:
        """Return the time, and an error if the file has recorded a much later one."""
        now = self._clock.now()
        row = connection.execute(_FACT, ("time",)).fetchone()
        known = int(row[0]) if row else 0
        if known - now > CLOCK_TOLERANCE:
            command = f"python -m esms_async.otp reset-clock {self._path}"
            return now, clock_error(f"in {self._path}", known, now, command)
        if known > now:
            self._clock.move_to(known)
            now = known
        connection.execute("REPLACE INTO facts VALUES ('time', ?)", (str(now),))
        return now, None

    def _connect(self) -> sqlite3.Connection:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            kind = connection.execute("PRAGMA application_id").fetchone()[0]
            count = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if kind != _APPLICATION_ID and count:
                raise sqlite3.DatabaseError("the file holds something else")  # noqa: TRY301  # one way out
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        return connection

    def _as_store_error(self, error: Exception) -> OtpStoreError:
        return OtpStoreError(f"the store of one-time codes in {self._path} can't be used: {error}")


def _resolve(results: "list[tuple[asyncio.Future[Any], object]]") -> None:
    """Hand results to the event loops that wait for them."""
    for done, result in results:
        # On a closed loop nobody waits.
        with contextlib.suppress(RuntimeError):
            done.get_loop().call_soon_threadsafe(_set_result, done, result)


def _set_result(done: "asyncio.Future[Any]", result: object) -> None:
    if done.done():
        return
    if isinstance(result, OtpStoreError):
        done.set_exception(result)
    else:
        done.set_result(result)
