"""The workers of `bulk`, with sends that a test scripts."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from esms_async import FixedNumber, LedgerError, Message, OutcomeUnknown, Receipt
from esms_async.cli import bulk
from esms_async.cli.bulk import BulkOptions, BulkRun, Send, open_rows
from esms_async.cli.errors import InputError
from esms_async.cli.interrupt import Stopping
from esms_async.cli.ledger_choice import LedgerChoice
from esms_async.cli.rows import RowIds, RowStatus, Template
from esms_async.cli.screen import Screen
from tests.cli.support import listed_in, write_recipients
from tests.limits import generous

if TYPE_CHECKING:
    from esms_async.cli.batch import AheadLedger
    from esms_async.cli.gateway import Connection


async def _accept(message: Message) -> Receipt:
    return Receipt(request_id=message.request_id, sms_id="s", attempts=())


async def _run(
    options: BulkOptions,
    send: Send,
    *,
    connection: object = None,
    ledger: object = None,
    concurrency: int = 2,
) -> BulkRun:
    """Run a job; its tally shows what became of the rows, also where it fails."""
    screen = Screen()
    async with AsyncExitStack() as stack:
        rows = await open_rows(stack, options, FixedNumber())
        job = BulkRun(
            options,
            rows,
            RowIds("a", "secret"),
            None,
            Stopping(screen),
            screen,
            cast("Connection | None", connection),
        )
        # It stands in `failure`, too.
        with suppress(LedgerError):
            await job.run(
                stack, send, concurrency=concurrency, ledger=cast("AheadLedger | None", ledger)
            )
    return job


def _options(tmp_path: Path, rows: int, results: str | None = None) -> BulkOptions:
    path = write_recipients(tmp_path / "a.csv", rows)
    return BulkOptions(path, yes=True, quiet=True, results=results)


async def test_a_bug_in_a_send_is_not_hidden(tmp_path: Path) -> None:
    """The job ends with the error that is no outcome of a message."""

    async def send(message: Message) -> Receipt:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await _run(_options(tmp_path, 500), send)


async def test_a_ledger_that_fails_stops_the_job(tmp_path: Path) -> None:
    """Also where it leaves open whether the row was sent before, or fails at the release."""

    async def send(message: Message) -> Receipt:
        raise OutcomeUnknown(message, (), "ledger") from LedgerError("disk full")

    job = await _run(_options(tmp_path, 500), send)
    assert str(job.failure) == "disk full"
    assert 1 <= job.tally[RowStatus.UNKNOWN] == job.tally.total <= 2

    async def release() -> None:
        raise LedgerError("disk gone")

    job = await _run(_options(tmp_path, 5), _accept, ledger=SimpleNamespace(release=release))
    assert str(job.failure) == "disk gone"


async def test_a_send_that_is_cancelled_without_a_word_is_unknown(tmp_path: Path) -> None:
    """Nobody can tell what became of its message."""

    async def send(message: Message) -> Receipt:
        raise asyncio.CancelledError

    job = await _run(_options(tmp_path, 3), send)
    assert job.tally[RowStatus.UNKNOWN] == 3


def _limited(reserve: Callable[[], Awaitable[None]]) -> SimpleNamespace:
    """Return a connection whose rate is a function's."""
    return SimpleNamespace(
        client=SimpleNamespace(route=FixedNumber()),
        limiter=SimpleNamespace(reserve=reserve),
        seed=None,
        url="http://127.0.0.1/",
        counter=None,
    )


async def test_a_turn_is_waited_for_by_no_more_workers_than_there_are_rows(tmp_path: Path) -> None:
    """An unused turn would make the job longer than its rows at the rate."""
    turns = list[int]()

    async def reserve() -> None:
        turns.append(1)
        await asyncio.sleep(0)

    async def send(message: Message) -> Receipt:
        await asyncio.sleep(0)
        return await _accept(message)

    job = await _run(_options(tmp_path, 3), send, connection=_limited(reserve))
    assert job.tally.total == 3
    assert len(turns) == 3


async def test_a_worker_that_waits_for_its_turn_takes_no_row_of_a_stopped_job(
    tmp_path: Path,
) -> None:
    """Another row has met what stops the job meanwhile."""
    turns, waits = list[int](), asyncio.Event()

    async def reserve() -> None:
        turns.append(1)
        if len(turns) > 1:
            waits.set()
            for _ in range(100):
                await asyncio.sleep(0)

    async def send(message: Message) -> Receipt:
        await waits.wait()
        raise OutcomeUnknown(message, (), "ledger") from LedgerError("disk full")

    job = await _run(_options(tmp_path, 3), send, connection=_limited(reserve))
    assert str(job.failure) == "disk full"
    assert (job.tally.total, len(turns)) == (1, 2)


async def test_settled_rows_that_wait_for_one_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list is read on once the row before them has its outcome; the order is the list's."""
    monkeypatch.setattr(bulk, "_MOST_WAITING", 16)
    go_on, sent = asyncio.Event(), list[str]()

    async def send(message: Message) -> Receipt:
        sent.append(message.phone)
        if len(sent) == 1:
            await asyncio.wait_for(go_on.wait(), generous(30))
        elif len(sent) == 20:
            asyncio.get_running_loop().call_soon(go_on.set)
        return await _accept(message)

    listed = tmp_path / "o.csv"
    job = await _run(_options(tmp_path, 200, str(listed)), send)
    assert job.tally.total == 200
    assert [row["phone"] for row in listed_in(listed)] == sorted(sent)


async def test_a_pipe_is_read_chunk_by_chunk(tmp_path: Path) -> None:
    """What the columns were found in is sent first."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    lines = "".join(f"09018884{number:02},a\n" for number in range(20))
    writing = asyncio.to_thread(path.write_text, f"phone,content\n{lines}")
    options = BulkOptions(str(path), concurrency=4, yes=True, quiet=True)
    job, _ = await asyncio.gather(_run(options, _accept), writing)
    assert job.tally.total == 20


async def test_a_loop_that_ends_takes_idle_workers_along(tmp_path: Path) -> None:
    """All tasks are cancelled at once, as at the end of asyncio.run."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    idle = asyncio.Event()

    async def send(message: Message) -> Receipt:
        if message.content == "b":
            idle.set()
            await asyncio.Event().wait()
        return await _accept(message)

    options = BulkOptions(str(path), yes=True, quiet=True)
    before = asyncio.all_tasks()
    running = asyncio.ensure_future(_run(options, send))
    writing = await asyncio.to_thread(os.open, path, os.O_WRONLY)
    os.write(writing, b"phone,content\n0901888484,a\n0901888485,b\n")
    await asyncio.wait_for(idle.wait(), generous(30))
    for task in asyncio.all_tasks() - before:
        task.cancel()
    with suppress(asyncio.CancelledError):
        await running
    os.close(writing)
    assert running.cancelled()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (BulkOptions("a.csv", retry_rejected=True), "--retry-rejected"),
        (BulkOptions("a.csv", template_changed=True), "--template-changed"),
        (BulkOptions("a.csv", Template.parse("a"), content_column="b"), "--content-column"),
        (BulkOptions("-", batch_is_new=True, ledger=LedgerChoice("a.ledger")), "--batch"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: BulkOptions, problem: str) -> None:
    """The error names the option."""
    with pytest.raises(InputError, match=problem):
        options.check()
