"""One thread with one SQLite connection, which commits together whatever has gathered."""

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from esms_async.errors import LedgerError

T = TypeVar("T")


class Job(Generic[T]):
    """Work with a result of type T that whoever made the writer knows how to do."""

    __slots__ = ()


Work = Job[object] | Callable[[sqlite3.Connection], object]
"""A job, or a function of the connection."""

_Submitted = tuple[Work, "asyncio.Future[object]"]

# A commit waits for the disk; more jobs than this share one only at the price of their latency.
_LARGEST_BATCH = 512
# Where many wait at once, as many again are about to: with a moment's patience they share the next
# commit. PostgreSQL knows the same as commit_siblings and commit_delay, here in seconds.
_SIBLINGS = 8
_COMMIT_DELAY = 0.001


class SqliteWriter:
    """Does work on one connection, in batches of what has gathered.

    Args:
        path: The file, for error texts.
        connect: Opens the connection.
        perform: Does what has gathered, in a transaction, and returns the results in its order.
        undone: Is told of a transaction that was undone. All three are called on the thread.
    """

    def __init__(
        self,
        path: Path,
        connect: Callable[[], sqlite3.Connection],
        perform: Callable[[sqlite3.Connection, Sequence[Work]], Sequence[object]],
        undone: Callable[[], None],
    ) -> None:
        self._path = path
        self._connect = connect
        self._perform = perform
        self._undone = undone
        self._jobs: queue.SimpleQueue[_Submitted | None] = queue.SimpleQueue()
        # A thread that is left behind must not keep the process from ending: what it has
        # acknowledged is on disk.
        self._thread = threading.Thread(target=self._run, name=f"ledger {path.name}", daemon=True)
        self._ended: asyncio.Future[object] | None = None

    async def start(self) -> None:
        """Start the thread and open the connection.

        Raises:
            LedgerError: The connection cannot be opened.
        """
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        opened = loop.create_future()
        self._jobs.put((lambda _: None, opened))
        self._thread.start()
        try:
            await opened
        except BaseException:
            await self.stop()
            raise

    def run(self, work: Job[T] | Callable[[sqlite3.Connection], T]) -> "asyncio.Future[T]":
        """Do some work in a transaction that it may share with other work.

        Args:
            work: What is to be done. Where it raises, its whole transaction is undone, and all
                the work in it fails.

        Returns:
            The result, once it is on disk.

        Raises:
            LedgerError: The transaction failed; nothing of it was stored.
        """
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put((work, done))  # type: ignore[arg-type]  # a future of T takes T only
        return done

    async def stop(self) -> None:
        """Finish what was submitted, close the connection and end the thread."""
        assert self._ended is not None  # noqa: S101  # only what was started is stopped
        self._jobs.put(None)
        await self._ended

    def _run(self) -> None:
        ended = self._ended
        assert ended is not None  # noqa: S101  # start sets it before the thread begins
        try:
            connection = self._connect()
        except (sqlite3.Error, OSError, LedgerError) as error:
            _resolve([(self._gather()[0][0][1], self._as_ledger_error(error))])
        else:
            try:
                self._serve(connection)
            finally:
                connection.close()
        _resolve([(ended, None)])

    def _serve(self, connection: sqlite3.Connection) -> None:
        last = False
        while not last:
            jobs, last = self._gather()
            if jobs:
                _resolve(self._commit(connection, jobs))
            if len(jobs) >= _SIBLINGS:
                time.sleep(_COMMIT_DELAY)

    def _gather(self) -> tuple[list[_Submitted], bool]:
        """Return the jobs that have gathered, at least one, and whether the last one is seen."""
        job = self._jobs.get()
        jobs: list[_Submitted] = []
        while job is not None:
            jobs.append(job)
            if len(jobs) >= _LARGEST_BATCH:
                return jobs, False
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return jobs, False
        return jobs, True

    def _commit(
        self, connection: sqlite3.Connection, jobs: list[_Submitted]
    ) -> "list[tuple[asyncio.Future[object], object]]":
        try:
            connection.execute("BEGIN IMMEDIATE")
            results = self._perform(connection, [work for work, _ in jobs])
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001  # whatever it is, the senders must be told
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            self._undone()
            failure = self._as_ledger_error(error)
            return [(done, failure) for _, done in jobs]
        return [(done, result) for (_, done), result in zip(jobs, results, strict=True)]

    def _as_ledger_error(self, error: Exception) -> LedgerError:
        if isinstance(error, LedgerError):
            return error
        return LedgerError(f"the ledger {self._path} can't be used: {error}")


def _resolve(results: "list[tuple[asyncio.Future[object], object]]") -> None:
    """Hand results to the event loop that waits for them, in one wake-up."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[object], object]]] = {}
    for done, result in results:
        by_loop.setdefault(done.get_loop(), []).append((done, result))
    for loop, its_results in by_loop.items():
        # A loop that is closed has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_set_results, its_results)


def _set_results(results: "list[tuple[asyncio.Future[object], object]]") -> None:
    for done, result in results:
        if done.done():
            continue
        if isinstance(result, LedgerError):
            done.set_exception(LedgerError(*result.args))
        else:
            done.set_result(result)
