"""The probe, against the emulator with each assumption flipped, reports the flip."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from esms_async import Credentials
from esms_async.emulator import AccountState, Emulator, Settings
from tests.cli.support import KEYS, environment, finish
from tests.factories import API_KEY, SECRET_KEY
from tests.limits import generous

PHONE = "0911222333"
COMMAND = (sys.executable, "-m", "tools.probe")
QUICK: Mapping[str, Any] = {
    "report_delay": 0.2,
    "report_timeout": 2.0,
    "report_retry_delay": 0.1,
}

pytestmark = pytest.mark.once  # the probe waits for what does not come


def run(*options: str, extra: Mapping[str, str] = KEYS) -> subprocess.CompletedProcess[str]:
    """Run the real command to its end."""
    return subprocess.run(
        [*COMMAND, *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=generous(60),
        env=environment(extra),
        check=False,
    )


async def probe(gateway: Emulator, *options: str) -> tuple[int, str, str]:
    """Run the real command against a gateway; return its exit code and its two streams."""
    extra = {**KEYS, "ESMS_BASE_URL": gateway.url}
    done = await asyncio.to_thread(run, "--phone", PHONE, *options, extra=extra)
    return done.returncode, done.stdout, done.stderr


async def verdicts(gateway: Emulator, *options: str) -> dict[str, tuple[str, str]]:
    """Probe, and return the verdict and the words by point."""
    code, out, _ = await probe(gateway, "--yes", "--json", *options)
    assert code == 0
    return {one["point"]: (one["verdict"], one["observed"]) for one in json.loads(out)["points"]}


def reporting(port: int, wait: str = "20") -> list[str]:
    """The options that have delivery reported to a port."""
    url = f"http://127.0.0.1:{port}/reports"
    return ["--callback-url", url, "--listen", f"127.0.0.1:{port}", "--wait", wait]


async def test_flipping_nothing_confirms_everything(unused_tcp_port: int) -> None:
    """Every point is confirmed, one message is accepted, and the table tells no secret."""
    async with Emulator(settings=Settings(**QUICK)) as gateway:
        code, out, err = await probe(gateway, "--yes", *reporting(unused_tcp_port))
        rows = out.splitlines()[1:]
        assert code == 0
        assert [row for row in rows[2:] if not row.endswith("| confirmed |")] == []
        assert rows[0].startswith("| question | documented | assumed | observed |")
        assert len(rows) == 13
        assert len(gateway.messages) == 1
    assert err.splitlines()[0].startswith("At most 3 messages to 091****333 will be charged")
    assert "Messages accepted: 1;" in err
    for secret in (API_KEY, SECRET_KEY, PHONE, "686868"):
        assert secret not in out + err


@pytest.mark.parametrize(
    ("settings", "point", "observed"),
    [
        ({"refuses_duplicates": False}, "duplicate_refused", "no: HTTP 200, code 100"),
        (
            {"rejection_uses_request_id": True},
            "rejection_uses_request_id",
            "yes: HTTP 200, code 124",
        ),
        ({"invalid_status": 400}, "invalid_status", "HTTP 400, an error object"),
        ({"unreadable_status": 200}, "no_json", "HTTP 200, an HTML page"),
        ({"rejection_status": 400}, "rejection_status", "HTTP 400"),
        (
            {"sandbox_remembers_request_ids": True},
            "sandbox_remembers_request_ids",
            "yes: HTTP 200, code 124",
        ),
        ({"sends_per_second": 15}, "sends_per_second", "HTTP 429, an error object"),
    ],
)
async def test_a_flipped_setting_is_reported(
    settings: dict[str, Any], point: str, observed: str
) -> None:
    """The flipped point differs, and it alone."""
    async with Emulator(settings=Settings(**settings)) as gateway:
        found = await verdicts(gateway)
        assert found[point][0] == "different"
        assert observed in found[point][1]
        assert [one for one in found if found[one][0] == "different"] == [point]
        assert len(gateway.messages) <= 2


@pytest.mark.parametrize(
    ("fault", "settings", "point"),
    [
        ("dlr:twice", {}, "report_once"),
        ("dlr:early", {}, "report_after_answer"),
        ("dlr:never", {}, "report_comes"),
        ("dlr:late", {"report_retries": 0, "late_report_delay": 0.2}, "report_retried"),
    ],
)
async def test_a_flipped_report_is_reported(
    unused_tcp_port: int, fault: str, settings: dict[str, Any], point: str
) -> None:
    """What is unusual about the delivery report differs."""
    async with Emulator(faults=[fault], settings=Settings(**{**QUICK, **settings})) as gateway:
        found = await verdicts(gateway, *reporting(unused_tcp_port, "4"))
        assert found[point][0] == "different"


async def test_the_sandbox_costs_nothing() -> None:
    """With --sandbox nobody is asked, nothing is accepted, and the table says what it costs."""
    async with Emulator() as gateway:
        code, out, err = await probe(gateway, "--sandbox")
        assert gateway.messages == []
    assert code == 0
    assert "charged" not in err
    assert out.count("needs messages that are paid for | not observed |") == 6


async def test_nobody_to_agree_means_no() -> None:
    """Without a terminal and without --yes nothing is sent."""
    async with Emulator() as gateway:
        code, out, err = await probe(gateway)
        assert gateway.requests == []
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("esms-async: nobody can be asked here")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--phone", "0123"], "phone"),
        (["--phone", PHONE, "--listen", "127.0.0.1:8080"], "go together"),
        (["--phone", PHONE, "--listen", "8080", "--callback-url", "http://a.vn/"], "--listen"),
        (["--phone", PHONE, "--listen", "a:99999", "--callback-url", "http://a.vn/"], "--listen"),
        (["--phone", PHONE, "--emulator", "--base-url", "https://a.vn/"], "exclude"),
    ],
)
def test_wrong_use_is_one_line(options: list[str], problem: str) -> None:
    """What cannot work is refused before anything is sent."""
    done = run("--yes", *options)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert problem in done.stderr


def test_an_address_that_cannot_be_had_is_one_line() -> None:
    """A port that is taken is named."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        options = ["--listen", f"127.0.0.1:{port}", "--callback-url", "http://127.0.0.1/"]
        done = run("--phone", PHONE, "--emulator", *options)
    assert done.returncode == 2
    assert "can't listen on 127.0.0.1" in done.stderr


async def test_a_locked_account_is_one_line() -> None:
    """An account that can't send has its exit code, and no message is sent."""
    async with Emulator() as gateway:
        gateway.account = AccountState.LOCKED
        code, out, err = await probe(gateway, "--yes")
        assert len(gateway.requests) == 1
    assert code == 3
    assert "143" in err.splitlines()[-1]
    assert "question" not in out


async def test_bad_keys_are_one_line() -> None:
    """Keys that open no account have the same exit code."""
    async with Emulator(credentials=Credentials("another", "pair")) as gateway:
        code, out, err = await probe(gateway, "--sandbox")
    assert code == 3
    assert len(err.splitlines()) == 1
    assert "question" not in out


async def test_no_balance_leaves_what_was_found() -> None:
    """What the sandbox told is printed, and the exit code is that of the account."""
    async with Emulator(balance=0) as gateway:
        code, out, err = await probe(gateway, "--yes")
    assert code == 3
    assert "the account can't send: code 103" in err
    assert "| no: HTTP 200, code 100 | confirmed |" in out


def test_a_gateway_that_is_away_is_one_line() -> None:
    """Where nobody answers there is no table."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
        done = run("--phone", PHONE, "--sandbox", extra={**KEYS, "ESMS_BASE_URL": url})
    assert done.returncode == 1
    assert "question" not in done.stdout
    assert len(done.stderr.splitlines()) == 1


async def test_an_interrupt_leaves_what_was_found(unused_tcp_port: int) -> None:
    """Ctrl-C while reports are waited for prints the table of what was found so far."""
    async with Emulator(faults=["dlr:never"]) as gateway:
        running = await start_probe(gateway, "--yes", *reporting(unused_tcp_port, "600"))
        # All was sent: the balance, seven sends, and those at once.
        await gateway.wait_for_request(count=48, timeout=generous(30))
        running.send_signal(signal.SIGINT)
        out, err = await finish(running)
    assert running.returncode == 130
    assert "Does code 124 come for a RequestId that was accepted?" in out
    assert "| interrupted before | not observed |" in out
    assert "Traceback" not in err


@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"n\n", 130)])
async def test_a_person_is_asked(answer: bytes, code: int) -> None:
    """At a terminal a person says yes or no, and a no sends nothing."""
    async with Emulator() as gateway:
        person, terminal = os.openpty()
        running = await start_probe(gateway, stdin=terminal)
        os.close(terminal)
        os.write(person, answer)
        out, err = await finish(running)
        os.close(person)
        assert running.returncode == code
        assert len(gateway.requests) == (0 if code else 48)
    assert "Send them? [y/N]:" in err
    assert ("| confirmed |" in out) == (code == 0)


async def start_probe(
    gateway: Emulator, *options: str, stdin: int = asyncio.subprocess.DEVNULL
) -> asyncio.subprocess.Process:
    """Start the command beside the test."""
    return await asyncio.create_subprocess_exec(
        *(*COMMAND, "--phone", PHONE, *options),
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment({**KEYS, "ESMS_BASE_URL": gateway.url}),
    )


async def test_the_record_has_no_secret(tmp_path: Path) -> None:
    """One new file has what was found by the test brandname, and nothing of account or phone."""
    path = tmp_path / "day.json"
    options = ("--brandname", "Baotrixemay", "--yes", "--record", str(path))
    async with Emulator() as gateway:
        running = await start_probe(gateway, *options)
        await finish(running)
        (message,) = gateway.messages
        found = json.loads(path.read_text(encoding="utf-8"))
        assert (running.returncode, found["route"], found["accepted"]) == (0, "brandname", 1)
        assert message.content.endswith("la ma xac minh dang ky Baotrixemay cua ban")
        verdicts = {point["point"]: point["verdict"] for point in found["points"]}
        assert verdicts["duplicate_refused"] == verdicts["rejection_uses_request_id"] == "confirmed"
        secrets = (PHONE, API_KEY, SECRET_KEY, "686868", message.request_id, str(gateway.port))
        written = path.read_text(encoding="utf-8")
        assert [word for word in secrets if str(word) in written] == []
        # It is not written over, and nothing is sent that could not be recorded.
        count = len(gateway.requests)
        again = await start_probe(gateway, *options)
        _, err = await finish(again)
        assert again.returncode == 2
        assert "--record takes a new file" in err
        assert len(gateway.requests) == count


async def test_another_brandname_needs_its_text() -> None:
    """The probe knows the text of the public brandname alone."""
    async with Emulator() as gateway:
        running = await start_probe(gateway, "--brandname", "Shop", "--yes")
        _, err = await finish(running)
        assert gateway.requests == []
    assert running.returncode == 2
    assert "give the --content that fits a template" in err
