"""The commands for delivery reports that failed: what they list, and what they never show."""

import asyncio
import json
from pathlib import Path

import pytest

from esms_async import Status
from esms_async.ledger import LedgerReports, Reason, RedisLedger, Settlement, SqliteLedger
from tests.cli.support import run, run_apart
from tests.ledger.redis_server import RedisServer

KEYS = ["order-1#delivered", "order-2#failed"]
FAILED = Settlement(Status.REJECTED, Reason.MESSAGE, detail="RuntimeError")


async def fill(ledger: LedgerReports) -> None:
    """Keep two reports as failed, and one that waits."""
    for key in KEYS:
        await ledger.store_report(key, '{"phone": "0901888484"}', lease=10)
        await ledger.settle_report(key, 1, FAILED, failures=30)
    await ledger.store_report("order-3#delivered", "text")


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    """The file of a ledger with reports."""
    path = tmp_path / "otp.ledger"

    async def make() -> None:
        async with SqliteLedger(path) as ledger:
            await fill(ledger)

    asyncio.run(make())
    return str(path)


def test_failed_reports_are_listed(ledger: str) -> None:
    """With their key, how often they failed and of what, without the phone number."""
    done = run("reports", "failed", ledger, extra={})
    assert done.returncode == 1
    assert [line.split()[0] for line in done.stdout.splitlines()] == KEYS
    assert "30 failures  RuntimeError" in done.stdout
    assert done.stderr == "2 failed\n"
    done = run("reports", "failed", ledger, "--json", extra={})
    first, _ = map(json.loads, done.stdout.splitlines())
    assert (first["key"], first["request_id"], first["state"]) == (KEYS[0], "order-1", "delivered")
    assert (first["failures"], first["detail"]) == (30, "RuntimeError")
    assert "0901888484" not in done.stdout


def test_some_are_handed_on_again(ledger: str) -> None:
    """Those that are named; a key without a report is named, and the exit code says so."""
    done = run("reports", "retry", ledger, KEYS[1], "order-3#delivered", extra={})
    assert done.returncode == 1
    assert done.stdout == "1 to be handed on again\n"
    assert done.stderr == "no failed report has the key order-3#delivered\n"
    done = run("reports", "failed", ledger, extra={})
    assert done.stdout.startswith(KEYS[0])
    assert done.stderr == "1 failed\n"


def test_all_are_handed_on_again(ledger: str) -> None:
    """Without a key, every failed one; after that there is none."""
    done = run("reports", "retry", ledger, extra={})
    assert (done.returncode, done.stdout) == (0, "2 to be handed on again\n")
    done = run("reports", "failed", ledger, extra={})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "0 failed\n")


def test_a_ledger_on_redis_is_read_beside_its_service() -> None:
    """While a service has it open, and it sees what the command did."""

    async def main(url: str) -> None:
        async with RedisLedger(url) as ledger:
            await fill(ledger)
            done = await asyncio.to_thread(run_apart, "reports", "retry", url, KEYS[0])
            assert done.stdout == "1 to be handed on again\n"
            keys = {report.key for report in await ledger.take_reports(10, 10)}
            assert keys == {KEYS[0], "order-3#delivered"}

    with RedisServer() as server:
        asyncio.run(main(server.url))


def test_what_is_not_a_ledger_is_an_error(tmp_path: Path) -> None:
    """No command creates one."""
    done = run("reports", "failed", str(tmp_path / "none.ledger"), extra={})
    assert done.returncode == 2
    assert "there is no ledger" in done.stderr
