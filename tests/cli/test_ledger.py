"""The commands that look at a ledger: what they print, and what they never show."""

import asyncio
import csv
import json
import time
from pathlib import Path

import pytest

from esms_async import Message
from esms_async.ledger import News, Settlement, SqliteLedger
from esms_async.ledger.base import LedgerOptions
from esms_async.settlement import fingerprint
from tests.cli.support import run
from tests.ledger.redis_server import RedisServer

ACCEPTED = Message("0901888484", "686868 la ma", request_id="accepted-one")
OPEN = Message("0901888485", "686869 la ma", request_id="open-one")


async def fill(path: Path) -> None:
    """Make a ledger that stores more than it should show."""
    options = LedgerOptions(store_phone=True, store_content=True)
    two_hours_ago = time.time() - 7200
    async with SqliteLedger(path, options=options, clock=lambda: two_hours_ago) as ledger:
        for message in (ACCEPTED, OPEN):
            await ledger.claim(message, fingerprint(message, b"key"))
        await ledger.settle(
            ACCEPTED.request_id, 1, Settlement(News.ACCEPTED, sms_id="d8e0", deduplicated=False)
        )


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    """The file of a ledger with one accepted send and one open."""
    path = tmp_path / "otp.ledger"
    asyncio.run(fill(path))
    return str(path)


def test_one_send_is_shown(ledger: str) -> None:
    """A person sees what is known, and neither the text nor the whole number."""
    done = run("ledger", "show", ledger, "accepted-one", extra={})
    assert done.returncode == 0
    assert "state        accepted" in done.stdout
    assert "sms_id       d8e0" in done.stdout
    for secret in ("0901888484", "686868"):
        assert secret not in done.stdout
    shown = json.loads(run("ledger", "show", ledger, "open-one", "--json", extra={}).stdout)
    assert (shown["state"], shown["phone"]) == ("open", "090****485")


def test_an_unknown_send_is_said_to_be(ledger: str) -> None:
    """What the ledger does not hold is one line and exit code 1."""
    done = run("ledger", "show", ledger, "nobody", extra={})
    assert (done.returncode, done.stdout) == (1, "")
    assert "holds no send" in done.stderr


def test_unsettled_sends_are_listed(ledger: str) -> None:
    """Only what may have been accepted is listed, for people and for programs."""
    done = run("ledger", "unsettled", ledger, extra={})
    assert done.returncode == 1
    assert done.stdout.startswith("open-one  090****485  20")
    assert "1 unsettled" in done.stderr
    (line,) = run("ledger", "unsettled", ledger, "--json", extra={}).stdout.splitlines()
    assert json.loads(line)["request_id"] == "open-one"


def test_old_sends_are_forgotten(ledger: str) -> None:
    """Nothing young goes; settled sends go by age, open ones only on request."""
    assert "0 forgotten" in run("ledger", "prune", ledger, extra={}).stdout
    assert "1 forgotten" in run("ledger", "prune", ledger, "--older-than", "1h", extra={}).stdout
    done = run("ledger", "prune", ledger, "--older-than", "60m", "--unsettled", extra={})
    assert "1 forgotten" in done.stdout
    assert run("ledger", "unsettled", ledger, extra={}).returncode == 0


@pytest.mark.parametrize("written", ["soon", "0d", "-3d", "30", ""])
def test_a_duration_that_is_none_is_refused(ledger: str, written: str) -> None:
    """The error says what a duration looks like."""
    done = run("ledger", "prune", ledger, f"--older-than={written}", extra={})
    assert done.returncode == 2
    assert "as in 30d" in done.stderr


def test_every_send_is_exported(ledger: str) -> None:
    """All entries come out as JSON lines, or as CSV with a header."""
    lines = run("ledger", "export", ledger, extra={}).stdout.splitlines()
    assert {json.loads(line)["request_id"] for line in lines} == {"accepted-one", "open-one"}
    rows = list(
        csv.DictReader(run("ledger", "export", ledger, "--csv", extra={}).stdout.splitlines())
    )
    assert {row["state"] for row in rows} == {"accepted", "open"}
    assert {row["phone"] for row in rows} == {"090****484", "090****485"}


def test_no_ledger_is_made_by_looking_for_one(tmp_path: Path) -> None:
    """A wrong name is one line, and no new file."""
    done = run("ledger", "unsettled", str(tmp_path / "missing"), extra={})
    assert done.returncode == 2
    assert "there is no ledger" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_on_redis_is_looked_at_too() -> None:
    """A redis:// URL names a ledger as a file does."""
    with RedisServer({"appendonly": "yes"}) as server:
        done = run("ledger", "unsettled", server.url, extra={})
        assert (done.returncode, done.stdout) == (0, "")
