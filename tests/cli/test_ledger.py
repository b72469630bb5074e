"""The commands that look at a ledger: what they print, and what they never show."""

import asyncio
import csv
import json
import sys
import time
from contextlib import aclosing
from pathlib import Path

import pytest

from esms_async import LedgerError, Message, Status
from esms_async.cli.ledger_choice import ledger_at
from esms_async.ledger import LedgerOptions, Reason, Settlement, SqliteLedger
from esms_async.ledger.binding import bind
from esms_async.ledger.transitions import fingerprint
from tests.cli.support import answer_at_a_terminal, run
from tests.factories import API_KEY
from tests.ledger.redis_server import RedisServer

ACCEPTED = Message("0901888484", "686868 la ma", request_id="accepted-one")
OPEN = Message("0901888485", "686869 la ma", request_id="open-one")
UNSENT = Message("0901888486", "686870 la ma", request_id="unsent-one")
REFUSED = Message("0901888487", "686871 la ma", request_id="refused-one")


async def fill(path: Path) -> None:
    """Make a ledger that stores more than it should show."""
    options = LedgerOptions(store_phone=True, store_content=True)
    two_hours_ago = time.time() - 7200
    async with SqliteLedger(path, options=options, clock=lambda: two_hours_ago) as ledger:
        for message in (ACCEPTED, OPEN, UNSENT, REFUSED):
            await ledger.claim(message, fingerprint(message, b"key"))
        await ledger.settle(
            ACCEPTED.request_id, 1, Settlement(Status.ACCEPTED, sms_id="d8e0", deduplicated=False)
        )
        await ledger.settle(UNSENT.request_id, 1, Settlement(Status.NOT_SENT))
        refused = Settlement(Status.REJECTED, Reason.SENDER, code="103", http_status=200)
        await ledger.settle(REFUSED.request_id, 1, refused)


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    """The file of a ledger with a send of each status."""
    path = tmp_path / "otp.ledger"
    asyncio.run(fill(path))
    return str(path)


def test_one_send_is_shown(ledger: str) -> None:
    """A person sees what is known, and neither the text nor the whole number."""
    done = run("ledger", "show", ledger, "accepted-one", extra={})
    assert done.returncode == 0
    assert "status          accepted" in done.stdout
    assert "reason" not in done.stdout
    assert "sms_id          d8e0" in done.stdout
    for secret in ("0901888484", "686868"):
        assert secret not in done.stdout
    shown = json.loads(run("ledger", "show", ledger, "open-one", "--json", extra={}).stdout)
    assert (shown["status"], shown["reason"]) == ("unknown", "attempt")
    assert shown["phone"] == "090****485"


def test_status_and_reason_are_shown_in_words(ledger: str) -> None:
    """A person reads "not sent", and why a send was rejected; a program gets the bare names."""
    assert (
        "status          not sent\n" in run("ledger", "show", ledger, "unsent-one", extra={}).stdout
    )
    done = run("ledger", "show", ledger, "refused-one", extra={})
    assert "status          rejected\n" in done.stdout
    assert "reason          the account or the request was refused, not the message" in done.stdout
    assert "code            103" in done.stdout
    shown = json.loads(run("ledger", "show", ledger, "unsent-one", "--json", extra={}).stdout)
    assert (shown["status"], shown["reason"]) == ("not_sent", None)


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
    assert done.stdout.endswith("an attempt may have been accepted\n")
    assert "1 unsettled" in done.stderr
    (line,) = run("ledger", "unsettled", ledger, "--json", extra={}).stdout.splitlines()
    assert json.loads(line)["request_id"] == "open-one"


def test_old_sends_are_deleted(ledger: str) -> None:
    """Nothing young goes; settled sends go by age, unknown ones only on request."""
    assert "0 deleted" in run("ledger", "prune", ledger, extra={}).stdout
    assert "3 deleted" in run("ledger", "prune", ledger, "--older-than", "1h", extra={}).stdout
    done = run("ledger", "prune", ledger, "--older-than", "60m", "--unsettled", extra={})
    assert "1 deleted" in done.stdout
    assert run("ledger", "unsettled", ledger, extra={}).returncode == 0


@pytest.mark.parametrize("written", ["soon", "0d", "-3d", "30", ""])
def test_an_invalid_duration_is_refused(ledger: str, written: str) -> None:
    """The error says what a duration looks like."""
    done = run("ledger", "prune", ledger, f"--older-than={written}", extra={})
    assert done.returncode == 2
    assert "as in 30d" in done.stderr


def test_every_send_is_exported(ledger: str) -> None:
    """All entries come out as JSON lines, or as CSV with a header."""
    lines = run("ledger", "export", ledger, extra={}).stdout.splitlines()
    assert {json.loads(line)["request_id"] for line in lines} == {
        "accepted-one",
        "open-one",
        "unsent-one",
        "refused-one",
    }
    rows = list(
        csv.DictReader(run("ledger", "export", ledger, "--csv", extra={}).stdout.splitlines())
    )
    assert {(row["status"], row["reason"]) for row in rows} == {
        ("accepted", ""),
        ("unknown", "attempt"),
        ("not_sent", ""),
        ("rejected", "sender"),
    }
    assert {row["phone"] for row in rows} >= {"090****484", "090****485"}


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
        assert done.returncode == 2
        assert "holds no ledger of queue 'esms'" in done.stderr
        asyncio.run(bind_to(server.url, API_KEY))
        done = run("ledger", "unsettled", server.url, extra={})
        assert (done.returncode, done.stdout) == (0, "")


async def bind_to(place: str, api_key: str) -> None:
    """Bind a ledger to the account of a key, as a client does."""
    async with aclosing(ledger_at(place)) as ledger:
        await ledger.open()
        await bind(ledger, destination="https://rest.esms.vn:443", api_key=api_key)


def test_a_ledger_goes_on_under_new_keys_of_its_account(ledger: str) -> None:
    """After `rebind` it takes the new ApiKey, and the former one no more."""
    asyncio.run(bind_to(ledger, "the former key"))
    with pytest.raises(LedgerError, match="esms-async ledger rebind LEDGER"):
        asyncio.run(bind_to(ledger, API_KEY))
    done = run("ledger", "rebind", ledger, "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert "belongs to the account of ESMS_API_KEY now" in done.stdout
    asyncio.run(bind_to(ledger, API_KEY))
    with pytest.raises(LedgerError, match="another ApiKey"):
        asyncio.run(bind_to(ledger, "the former key"))
    assert "already; nothing was changed" in run("ledger", "rebind", ledger, "--yes").stdout


def test_where_nobody_can_be_asked_rebinding_takes_an_option(ledger: str) -> None:
    """Without a terminal nothing is changed unless `--yes` says so; keys are needed, too."""
    asyncio.run(bind_to(ledger, "the former key"))
    done = run("ledger", "rebind", ledger)
    assert done.returncode == 2
    assert "add --yes" in done.stderr
    done = run("ledger", "rebind", ledger, "--yes", extra={})
    assert done.returncode == 2
    assert "ESMS_API_KEY" in done.stderr
    asyncio.run(bind_to(ledger, "the former key"))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
@pytest.mark.parametrize(
    ("answer", "language", "code", "words"),
    [
        (b"n\n", "en", 1, "nothing was changed"),
        (b"y\n", "en", 0, "belongs to the account of ESMS_API_KEY now"),
        (b"\x04", "en", 1, "nothing was changed"),
        (b"c\n", "vi", 0, "thuộc về tài khoản của ESMS_API_KEY"),
        ("co\u0301\n".encode(), "vi", 0, "thuộc về tài khoản của ESMS_API_KEY"),
        (b"y\n", "vi", 1, "không đổi gì"),
    ],
)
def test_a_person_is_asked_before_rebinding(
    ledger: str, answer: bytes, language: str, code: int, words: str
) -> None:
    """At a terminal the question says what it is about; no, and no answer, change nothing."""
    asyncio.run(bind_to(ledger, "the former key"))
    returned, shown = answer_at_a_terminal(answer, "ledger", "rebind", ledger, language=language)
    assert ("[y/N] " if language == "en" else "[c/K] ") in shown.decode()
    assert (returned, words in shown.decode()) == (code, True)
    asyncio.run(bind_to(ledger, API_KEY if code == 0 else "the former key"))
