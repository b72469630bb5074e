"""The command `bulk --queue`, as far as it goes without a worker."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from esms_async.cli.app import run as run_here
from esms_async.cli.batch import AheadLedger, Batch, Manifest
from esms_async.cli.bulk import BulkOptions
from esms_async.cli.errors import ExitCode
from esms_async.cli.queued import bulk_by_queue
from esms_async.cli.rows import RowIds
from esms_async.cli.screen import Screen
from esms_async.ledger import RedisLedger
from tests.cli.support import write_recipients
from tests.ledger.redis_server import RedisServer
from tests.queue.support import KEY, Gateway, working


async def _hold(url: str, batch: str, secret: str) -> None:
    async with RedisLedger(url, prefix="esms:send:") as ledger:
        begun = Batch(AheadLedger(ledger), batch, secret=secret, ids=RowIds(batch, secret))
        await begun.begin(
            Manifest.of(secret, "column content", key=None, route="fixed", columns=())
        )


def test_a_new_secret_key_puts_no_row_into_the_queue(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows that workers sent under another secret key are the same rows."""
    path = write_recipients(tmp_path / "a.csv", 1)
    with (
        RedisServer({"appendonly": "yes", "maxmemory-policy": "noeviction"}) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        asyncio.run(_hold(server.url, "a", "former"))
        for name, value in {
            "ESMS_QUEUE_CLEAR": "1",
            "ESMS_SECRET_KEY": "new",
            "ESMS_ROW_SECRET": "",
        }.items():
            patch.setenv(name, value)
        assert run_here(["bulk", path, "--queue", server.url]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "rows of batch 'a' were sent under another secret key" in line


@pytest.mark.parametrize("interrupted", [True, False])
async def test_an_interrupt_before_the_first_row_ends_the_job(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], interrupted: bool
) -> None:
    """While the header is waited for nothing was sent; a cancellation stays a cancellation."""
    monkeypatch.setenv("ESMS_QUEUE_CLEAR", "1")
    monkeypatch.setenv("ESMS_SECRET_KEY", "secret")
    reader, writer = os.pipe()
    before = signal.getsignal(signal.SIGTERM)
    options = BulkOptions(f"/dev/fd/{reader}")
    job = asyncio.ensure_future(bulk_by_queue(options, "redis://127.0.0.1:1", Screen()))
    while signal.getsignal(signal.SIGTERM) is before:  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0)
    if interrupted:
        os.kill(os.getpid(), signal.SIGTERM)
        assert await job is ExitCode.INTERRUPTED
        assert capsys.readouterr().err == "Interrupted: nothing was sent\n"
    else:
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
    os.close(writer)
    os.close(reader)


def test_a_missing_extra_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the libraries of the workers nothing is begun."""
    monkeypatch.setitem(sys.modules, "esms_async.queue", None)
    assert run_here(["bulk", "a.csv", "--queue", "redis://127.0.0.1:1"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "esms_async.queue" in line


def test_options_of_a_queue_are_read_and_a_missing_key_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--concurrency` counts here too; without a key rows cannot be told apart."""
    path = write_recipients(tmp_path / "a.csv", 1)
    for name in ("ESMS_SECRET_KEY", "ESMS_ROW_SECRET"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("ESMS_QUEUE_CLEAR", "1")
    given = ("--queue", "redis://127.0.0.1:1", "--concurrency", "5")
    assert run_here(["bulk", path, *given]) == 2
    assert "set ESMS_SECRET_KEY" in capsys.readouterr().err


async def test_a_list_is_sent_by_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row has the outcome that a worker brings."""
    path = write_recipients(tmp_path / "a.csv", 3)
    monkeypatch.setenv("ESMS_QUEUE_KEY", KEY)
    monkeypatch.setenv("ESMS_SECRET_KEY", "secret")
    with RedisServer({"appendonly": "yes", "maxmemory-policy": "noeviction"}) as server:
        async with Gateway() as gateway, working(server.url, gateway.url):
            options = BulkOptions(path, batch="of a worker", quiet=True)
            assert await bulk_by_queue(options, server.url, Screen()) is ExitCode.ACCEPTED
    assert set(gateway.accepted.values()) == {1}
    assert len(gateway.accepted) == 3
