"""Runs one thread with one SQLite connection, and commits together what has gathered."""

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from esms_async._model.errors import LedgerError, UsageError

T = TypeVar("T")


class SqliteJob(Generic[T]):
    """Work with a result of type T, which `perform` knows how to do."""

    __slots__ = ()


Work = SqliteJob[object] | Callable[[sqlite3.Connection], object]
"""A job, or a function of the connection."""

_Submitted = tuple[Work, "asyncio.Future[object]"]

# A commit waits for the disk. More jobs than this would share one only at the price of latency.
_LARGEST_BATCH = 512
# When many wait at once, as many again are about to: after a short delay they share the next
# commit. PostgreSQL has the same as commit_siblings and commit_delay (here in seconds).
_SIBLINGS = 8
_COMMIT_DELAY = 0.001


class SqliteWriter:
    """Does work on one connection, in batches of what has gathered.

    Args:
        path: The file, for error texts.
        connect: Opens the connection.
        perform: Does a batch of work in a transaction, and returns the results in its order.
        undone: Called when a transaction was rolled back. All three are called on the thread.
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
        self._batch: list[_Submitted] = []
        self._stopping = False
        # A thread that nobody stops must not keep the process alive: what it has acknowledged is
        # on disk.
        self._thread = threading.Thread(
            target=self._run, name="esms_async SqliteLedger", daemon=True
        )
        self._process = os.getpid()
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[object]

    async def start(self) -> None:
        """Start the thread and open the connection.

        Raises:
            LedgerError: The connection cannot be opened.
        """
        opened: asyncio.Future[object] = self._loop.create_future()
        self._jobs.put((lambda _: None, opened))
        self._thread.start()
        try:
            await opened
        except BaseException:
            await self.stop()
            raise

    def run(self, work: SqliteJob[T] | Callable[[sqlite3.Connection], T]) -> "asyncio.Future[T]":
        """Do some work in a transaction that it may share with other work.

        Args:
            work: What to do. If it raises, its whole transaction is rolled back, and all the work
                in it fails.

        Returns:
            The result, once it is on disk.

        Raises:
            LedgerError: The transaction failed and nothing of it was stored, or the process was
                forked since the ledger was opened.
        """
        if os.getpid() != self._process:
            raise LedgerError(
                f"the ledger {self._path} was opened before this process was forked, and belongs "
                "to the parent; open a ledger of its own in each process, after the fork"
            )
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put((work, done))  # type: ignore[arg-type]  # a future of T takes T only
        return done

    @property
    def outlives_its_loop(self) -> bool:
        """True where the event loop that opened the file has been closed.

        Raises:
            UsageError: That loop is another one than this, and can still close the file.
        """
        if os.getpid() != self._process or asyncio.get_running_loop() is self._loop:
            return False
        if not self._loop.is_closed():
            raise UsageError(
                f"the ledger {self._path} was opened on another event loop; close it on that one"
            )
        return True

    async def stop(self) -> None:
        """Finish what was submitted, close the connection and end the thread.

        A forked process has no such thread, and leaves the file to its parent.
        """
        if os.getpid() == self._process:
            self._ended = asyncio.get_running_loop().create_future()
            self._jobs.put(None)
            await self._ended

    def _run(self) -> None:
        try:
            connection = self._connect()
        except BaseException as error:  # noqa: BLE001  # nobody else sees what ends this thread
            self._fail_until_stopped(error)
        else:
            try:
                self._serve(connection)
            except BaseException as error:  # noqa: BLE001  # as above
                self._fail_until_stopped(error)
            finally:
                connection.close()
        _resolve([(self._ended, None)])

    def _serve(self, connection: sqlite3.Connection) -> None:
        while not self._stopping:
            self._gather()
            if self._batch:
                _resolve(self._commit(connection, self._batch))
            if len(self._batch) >= _SIBLINGS:
                time.sleep(_COMMIT_DELAY)

    def _fail_until_stopped(self, error: BaseException) -> None:
        """Give every job the same error, so nobody waits for an answer that will not come."""
        failure = self._as_ledger_error(error)
        _resolve([(done, failure) for _, done in self._batch])
        while not self._stopping:
            self._gather()
            _resolve([(done, failure) for _, done in self._batch])

    def _gather(self) -> None:
        """Wait for a job, and take it and what has gathered behind it."""
        self._batch = []
        job = self._jobs.get()
        while job is not None:
            self._batch.append(job)
            if len(self._batch) >= _LARGEST_BATCH:
                return
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return
        self._stopping = True

    def _commit(
        self, connection: sqlite3.Connection, jobs: Sequence[_Submitted]
    ) -> "list[tuple[asyncio.Future[object], object]]":
        try:
            connection.execute("BEGIN IMMEDIATE")
            results = self._perform(connection, [work for work, _ in jobs])
            connection.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001  # whatever it is, every caller must learn it
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            self._undone()
            failure = self._as_ledger_error(error)
            return [(done, failure) for _, done in jobs]
        return [(done, result) for (_, done), result in zip(jobs, results, strict=True)]

    def _as_ledger_error(self, error: BaseException) -> LedgerError:
        if isinstance(error, LedgerError):
            return error
        words = str(error) or type(error).__name__
        return LedgerError(f"the ledger {self._path} can't be used: {words}")


def _resolve(results: "list[tuple[asyncio.Future[object], object]]") -> None:
    """Hand results to the event loops that wait for them, with one wake-up each."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[object], object]]] = {}
    for done, result in results:
        by_loop.setdefault(done.get_loop(), []).append((done, result))
    for loop, its_results in by_loop.items():
        # On a closed loop nobody waits.
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
