"""Runs a thread with one SQLite connection, and commits gathered work together."""

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar, cast

from esms_async._model.errors import LedgerError, UsageError
from esms_async.ledger.gather import Acceptance, Gathered, Gatherer
from esms_async.ledger.transitions import Claim

T = TypeVar("T")
C = TypeVar("C")
C_contra = TypeVar("C_contra", contravariant=True)

Work = Callable[[sqlite3.Connection], object]
"""A function of the connection."""

_Submitted = tuple[Work, "asyncio.Future[object]"]

# A commit waits for the disk. With more turns in one commit, latency would grow.
_LARGEST_BATCH = 512
# If many wait at once, more will follow: after a short delay they share the next commit. PostgreSQL
# has the same as commit_siblings and commit_delay (here in seconds).
_SIBLINGS = 8
_COMMIT_DELAY = 0.001


class BatchWork(Protocol[C_contra]):
    """Performs the work of one transaction, on the writer's thread."""

    def claim(
        self, connection: sqlite3.Connection, claims: Sequence[C_contra], /
    ) -> Sequence[Claim]:
        """Answer claims, in their order."""
        ...

    def accept(self, connection: sqlite3.Connection, acceptances: Sequence[Acceptance], /) -> None:
        """Store acceptances."""
        ...


class SqliteWriter(Generic[C]):
    """Runs gathered work on one connection, in shared transactions.

    Attributes:
        took: How long the latest transaction took, with its commit, in seconds.

    Args:
        path: The file, for error texts.
        connect: Opens the connection, on the thread.
        batch: Performs claims and acceptances.
    """

    def __init__(
        self, path: Path, connect: Callable[[], sqlite3.Connection], batch: BatchWork[C]
    ) -> None:
        self.took: float = 0.0
        self._path = path
        self._connect = connect
        self._batch = batch
        self._jobs: queue.SimpleQueue[Gathered[C, Claim] | _Submitted | None] = queue.SimpleQueue()
        self._gathered: list[Gathered[C, Claim] | _Submitted] = []
        self._stopping = False
        # A daemon, because a thread that nobody stops must not keep the process alive. All that it
        # has acknowledged is on disk.
        self._thread = threading.Thread(
            target=self._run, name="esms_async SqliteLedger", daemon=True
        )
        self._process = os.getpid()
        self._gatherer: Gatherer[C, Claim] = Gatherer(self._jobs.put)
        self._loop = self._gatherer.loop
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

    def run(self, work: Callable[[sqlite3.Connection], T]) -> "asyncio.Future[T]":
        """Run work in a transaction that it may share, and return its result once it is on disk.

        If any work raises, the whole transaction is rolled back, and all the work in it fails.

        Raises:
            LedgerError: The transaction failed and stored nothing, or the process was forked after
                the ledger was opened.
        """
        self._require_own_process()
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        # Earlier acceptances come first, so the work sees them.
        if done.get_loop() is self._loop:
            self._gatherer.flush()
        self._jobs.put((work, done))  # type: ignore[arg-type]  # a future of T takes T only
        return done

    def claim(self, needs: C) -> "asyncio.Future[Claim]":
        """Answer a claim, once it is on disk; it raises as `run` does."""
        self._require_own_process()
        return self._gatherer.claim(needs)

    def accept(self, acceptance: Acceptance) -> None:
        """Store an acceptance with the next claims or soon; it raises as `run` does."""
        self._require_own_process()
        self._gatherer.accept(acceptance)

    def _require_own_process(self) -> None:
        if os.getpid() != self._process:
            raise LedgerError(
                f"the ledger {self._path} was opened before this process was forked, and belongs "
                "to the parent; open a ledger of its own in each process, after the fork"
            )

    @property
    def outlives_its_loop(self) -> bool:
        """True if the event loop that opened the file is closed.

        Raises:
            UsageError: That loop is not this one, and can still close the file.
        """
        if os.getpid() != self._process or asyncio.get_running_loop() is self._loop:
            return False
        if not self._loop.is_closed():
            raise UsageError(
                f"the ledger {self._path} was opened on another event loop; close it on that one"
            )
        return True

    async def stop(self) -> None:
        """Finish the submitted work, close the connection and end the thread.

        A forked process has no such thread, and leaves the file to its parent.
        """
        if os.getpid() == self._process:
            self._ended = asyncio.get_running_loop().create_future()
            self._gatherer.close()
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
        _deliver([(self._ended, None)], [])

    def _serve(self, connection: sqlite3.Connection) -> None:
        while not self._stopping:
            self._gather()
            if self._gathered:
                self._commit(connection)

    def _fail_until_stopped(self, error: BaseException) -> None:
        """Give every caller the same error, so nobody waits for ever."""
        self._fail(error)
        while not self._stopping:
            self._gather()
            self._fail(error)

    def _gather(self) -> None:
        """Wait for work, and take all that is queued."""
        self._gathered = []
        job = self._jobs.get()
        while job is not None:
            self._gathered.append(job)
            if len(self._gathered) >= _LARGEST_BATCH:
                return
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return
        self._stopping = True

    def _commit(self, connection: sqlite3.Connection) -> None:
        """Perform the gathered work in one transaction, and answer it."""
        turns, works = _apart(self._gathered)
        claims = [one for turn in turns for one in turn.claims]
        acceptances = [one for turn in turns for one in turn.acceptances]
        began = time.perf_counter()
        try:
            connection.execute("BEGIN IMMEDIATE")
            if acceptances:
                self._batch.accept(connection, acceptances)
            answers = self._batch.claim(connection, [needs for needs, _ in claims])
            results: list[tuple[asyncio.Future[object], object]] = [
                (done, work(connection)) for work, done in works
            ]
            connection.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001  # whatever it is, every caller must learn it
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            self._fail(error)
            return
        self.took = time.perf_counter() - began
        results.extend(
            (cast("asyncio.Future[object]", done), answer)
            for (_, done), answer in zip(claims, answers, strict=True)
        )
        _deliver(results, [])
        if len(claims) >= _SIBLINGS:
            time.sleep(_COMMIT_DELAY)

    def _fail(self, error: BaseException) -> None:
        failure = self._as_ledger_error(error)
        turns, works = _apart(self._gathered)
        waiting = [done for _, done in works]
        waiting += [
            cast("asyncio.Future[object]", done) for turn in turns for _, done in turn.claims
        ]
        lost = [(turn.loop, one) for turn in turns for one in turn.acceptances]
        _deliver([(done, failure) for done in waiting], [(*each, failure) for each in lost])

    def _as_ledger_error(self, error: BaseException) -> LedgerError:
        if isinstance(error, LedgerError):
            return error
        words = str(error) or type(error).__name__
        return LedgerError(f"the ledger {self._path} can't be used: {words}")


def _apart(
    gathered: "Sequence[Gathered[C, Claim] | _Submitted]",
) -> "tuple[list[Gathered[C, Claim]], list[_Submitted]]":
    turns = [one for one in gathered if isinstance(one, Gathered)]
    return turns, [one for one in gathered if not isinstance(one, Gathered)]


_Results = list[tuple["asyncio.Future[object]", object]]
_Lost = tuple[asyncio.AbstractEventLoop, Acceptance, LedgerError]


def _deliver(results: _Results, lost: Sequence[_Lost]) -> None:
    """Hand results and failures to the event loops that wait for them, with one wake-up each."""
    by_loop: dict[asyncio.AbstractEventLoop, tuple[_Results, list[_Lost]]] = {}
    for one in results:
        by_loop.setdefault(one[0].get_loop(), ([], []))[0].append(one)
    for each in lost:
        by_loop.setdefault(each[0], ([], []))[1].append(each)
    for loop, its in by_loop.items():
        # On a closed loop nobody waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_answer, *its)


def _answer(results: _Results, lost: Sequence[_Lost]) -> None:
    # Failures first: a caller that waits in `flush` must see them reported.
    try:
        for _, acceptance, error in lost:
            acceptance.fail(error)
    finally:
        _settle(results)


def _settle(results: _Results) -> None:
    for done, result in results:
        if done.done():
            continue
        if isinstance(result, LedgerError):
            done.set_exception(LedgerError(*result.args))
        else:
            done.set_result(result)
