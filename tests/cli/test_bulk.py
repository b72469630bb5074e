"""The command `bulk`."""

import asyncio
import json
import os
import pty
import re
import shlex
import socket
import sys
from pathlib import Path

import pytest

from esms_async.cli.app import run as run_here
from esms_async.emulator import Emulator
from tests.cli.support import (
    KEYS,
    environment,
    finish,
    listed_in,
    phones,
    run,
    run_apart,
    start,
    words,
    write_csv,
    write_recipients,
)
from tests.factories import ONE_ATTEMPT

_EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "recipients.csv"
_NO_PHONE = (
    "the phone is not a Vietnamese mobile number (0 and nine digits, the first of them 3, 5, 7, 8 "
    "or 9)"
)
_NO_SMS = "EMULATOR: NO SMS LEAVES THIS MACHINE"


def test_the_example_is_sent(tmp_path: Path) -> None:
    """With lost answers and a gateway that stumbles, each good row of the example arrives once."""
    listed = tmp_path / "out.csv"
    done = run(
        *("bulk", str(_EXAMPLE), "--emulator", "--seed", "7", "--results", str(listed)),
        *("--fault", "reset,phase=after,p=0.1", "--fault", "http:503,p=0.05"),
        extra={},
    )
    assert (done.returncode, done.stderr) == (1, "")
    lines = words(done.stdout)
    assert lines[0] == _NO_SMS
    assert lines[2].endswith("recipients.csv as batch 'recipients'")
    accepted = "117"
    counts = dict(line.rsplit(" ", 1) for line in lines if line.split()[-1].isdigit())
    assert counts["total"] == "134"
    assert (counts["accepted"], counts["rejected"]) == (accepted, "1")
    assert (counts["held back"], counts["invalid"]) == ("4", "12")
    assert (counts["not sent"], counts["unknown"]) == ("0", "0")
    assert int(counts["of these retried"]) >= int(counts["of these deduplicated"]) > 0
    assert "By the gateway's own count: 117 accepted, 0 reached a phone twice" in lines
    assert lines[-1] == f"Every row with its reason: {listed}"
    rows = listed_in(listed)
    assert [row["phone"] for row in rows] == [row["phone"] for row in listed_in(_EXAMPLE)]
    assert {row["code"] for row in rows if row["status"] == "rejected"} == {"201"}


def test_the_example_works_with_a_template() -> None:
    """The columns of the example make another text, also where its own is empty."""
    done = run(
        *("bulk", str(_EXAMPLE), "--emulator", "--json"),
        *("--content", "{name}: {code} la ma xac minh"),
    )
    counts = json.loads(done.stdout)
    assert (counts["total"], counts["accepted"], counts["invalid"]) == (134, 119, 10)


def test_all_accepted_is_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where every row is accepted the table ends the report, and the exit code is 0."""
    path = write_recipients(tmp_path / "a.csv", 100)
    assert run_here(["bulk", path, "--emulator", "--concurrency", "500"]) == 0
    lines = words(capsys.readouterr().out)
    assert lines[-1] == "By the gateway's own count: 100 accepted, 0 reached a phone twice"


def test_json_is_one_object(tmp_path: Path) -> None:
    """Standard output is for a program; what is for a person goes to standard error."""
    path = write_csv(tmp_path / "a.csv", ["0901888484,a", "028,a", "0900000201,a"])
    done = run("bulk", path, "--emulator", "--json")
    counts = json.loads(done.stdout)
    assert counts.pop("seconds") >= 0
    assert counts == {
        "total": 3,
        "accepted": 1,
        "deduplicated": 0,
        "already_done": 0,
        "rejected": 1,
        "not_sent": 0,
        "unknown": 0,
        "invalid": 1,
        "held_back": 0,
        "repaired": 0,
    }
    assert done.stderr.startswith(_NO_SMS)
    assert done.returncode == 1


def test_quiet_is_the_table_alone(tmp_path: Path) -> None:
    """Quiet leaves the refused rows out, and never the warning of an emulator."""
    path = write_csv(tmp_path / "a.csv", ["028,a"])
    done = run("bulk", path, "--emulator", "--quiet")
    assert done.stdout.startswith(_NO_SMS)
    assert "invalid" in done.stdout
    assert "row 2" not in done.stdout
    assert done.stderr == ""


def test_every_bad_row_is_reported_and_harms_no_other(tmp_path: Path) -> None:
    """NUL bytes, Latin-1, stray quotes, endless lines and other widths cost their row alone."""
    path, listed = tmp_path / "a.csv", tmp_path / "out.jsonl"
    bad = [
        b"0901888484,na\0y",
        "0901888484,mã".encode("latin-1", "replace") + b"\xe9",
        b'0901888484,"open',
        b'0901888484,"a"b',
        b"0901888484," + b"x" * 10_000_000,
        b"0901888484,a,b",
        b"0901888484",
        b"09018\xe9,a",
        b"1" * 5000 + b",a",
        b"0901888484,\x07",
    ]
    good = [f"095000000{number},a".encode() for number in range(len(bad))]
    rows = [row for pair in zip(bad, good, strict=True) for row in pair]
    path.write_bytes(b"\n".join([b"phone,content", *rows]))
    done = run("bulk", str(path), "--emulator", "--results", str(listed))
    assert done.returncode == 1
    told = [json.loads(line) for line in listed.read_text(encoding="utf-8").splitlines()]
    assert [row["phone"] for row in told[1::2]] == [f"095000000{number}" for number in range(10)]
    assert [row["status"] for row in told[1::2]] == ["accepted"] * 10
    assert {row["status"] for row in told[::2]} == {"invalid"}
    assert [row["reason"].partition(";")[0] for row in told[::2]] == [
        "the text holds the control character U+0000",
        "the row is not UTF-8",
        "opens a quote that is not closed",
        "holds a quote inside quotes",
        "is longer than 131,072 characters",
        "has more fields (3) than the header (2)",
        "has fewer fields (1) than the header (2)",
        "the row is not UTF-8",
        _NO_PHONE,
        "the text holds the control character U+0007",
    ]


def test_json_lines_are_sent_from_standard_input() -> None:
    """Where the input has no name the batch is made up, and can be named."""
    stdin = b'{"phone": "0901888484", "content": "a"}\n{"phone": 84901888485, "content": 686868}\n'
    done = run_apart("bulk", "-", "--emulator", "--batch", "today", stdin=stdin)
    assert done.returncode == 0
    assert "Sending standard input as batch 'today'" in done.stdout
    assert (
        "Sending standard input as batch '"
        in run_apart("bulk", "-", "--emulator", stdin=stdin).stdout
    )


async def test_the_same_batch_is_never_sent_twice(emulator: Emulator, tmp_path: Path) -> None:
    """Run again without a ledger, a file gives the gateway ids that it knows, which it refuses."""
    path = write_recipients(tmp_path / "a.csv", 50)
    for code in (0, 1):
        running = await start("bulk", path, "--base-url", emulator.url, "--json", "--no-ledger")
        counts = json.loads((await finish(running))[0])
        assert running.returncode == code
    assert (counts["accepted"], counts["rejected"], counts["unknown"]) == (0, 0, 50)
    assert emulator.mark() == 50
    assert sorted(tmp_path.iterdir()) == [Path(path)]
    running = await start("bulk", path, "--base-url", emulator.url, "--batch", "other", "--json")
    await finish(running)
    assert emulator.mark() == 100


@pytest.mark.parametrize(
    ("faults", "code"),
    [
        (("reset,phase=after,p=0.2", "html:503,p=0.1", "garbage,p=0.1", "code:177,p=0.05"), 1),
        (("html:400,skip=20",), 3),
    ],
)
async def test_no_secret_shows_anywhere(
    emulator: Emulator, tmp_path: Path, faults: tuple[str, ...], code: int
) -> None:
    """Keys, codes and whole numbers are in no output, whatever fails; results name their rows."""
    numbers = [*phones(60), "028 3822 7345", "0900000201"]
    codes = [f"{731_000 + place}" for place in range(len(numbers))]
    rows = [f"{phone},{code} la ma" for phone, code in zip(numbers, codes, strict=True)]
    path = write_csv(tmp_path / "a.csv", rows)
    listed = tmp_path / "out.csv"
    for spec in faults:
        emulator.fault(spec)
    arguments = ["bulk", path, "--base-url", emulator.url, "--results", str(listed), "--debug"]
    running = await start(*arguments)
    out, err = await finish(running)
    shown = out + err
    assert "KEYKEY" not in listed.read_text(encoding="utf-8")
    assert running.returncode == code
    assert not [phone for phone in numbers if phone in shown]
    # Six digits may stand by chance within the hexadecimal digits of an id.
    assert not set(codes) & set(re.findall(r"(?<![0-9a-f])[0-9]{6}(?![0-9a-f])", shown))
    assert not [word for word in ("KEYKEY", "SECRETSECRET") if word in shown]


@pytest.mark.parametrize("file", ["a.csv", "-"])
async def test_an_account_that_cannot_send_stops_the_job(
    emulator: Emulator, tmp_path: Path, file: str
) -> None:
    """Within what is under way it stops, says why and how to go on, and exits with 3."""
    emulator.balance = 850 * 40
    path = write_recipients(tmp_path / "a.csv", 500)
    arguments = ["--base-url", emulator.url, "--concurrency", "8", "--json"]
    content = os.open(path, os.O_RDONLY)
    running = await start("bulk", path if file == "a.csv" else file, *arguments, stdin=content)
    os.close(content)
    out, err = await finish(running)
    counts = json.loads(out)
    assert running.returncode == 3
    assert emulator.mark() == counts["accepted"] == 40
    assert 1 <= counts["rejected"] <= 16
    assert counts["total"] == counts["accepted"] + counts["rejected"]
    told = " ".join(err.split())
    assert "Stopped because the account can't send: rejected with code 103: the balance" in told
    assert f"This run sent nothing after row {counts['total'] + 1}." in told
    again = "run the same command again" if file == "a.csv" else "run it again with --batch "
    assert f"To go on, {again}" in told
    # Which is what the last line does, once the balance is topped up.
    emulator.balance = 10**9
    _, _, command, *arguments = shlex.split(err.splitlines()[-1])
    assert (command, ("--batch" in arguments)) == (path if file == "a.csv" else "-", file == "-")
    content = os.open(path, os.O_RDONLY)
    running = await start("bulk", command, *arguments, stdin=content)
    os.close(content)
    counts = json.loads((await finish(running))[0])
    assert emulator.mark() == 500
    if file == "a.csv":
        assert running.returncode == 0
        assert (counts["accepted"], counts["already_done"]) == (460, 40)
    else:
        assert (counts["accepted"], counts["rejected"], counts["unknown"]) == (460, 0, 40)


async def test_a_refusal_without_a_code_stops_the_job(emulator: Emulator, tmp_path: Path) -> None:
    """A firewall that answers 403 refuses every row, so it stops the job like the account."""
    emulator.fault("html:403,skip=5")
    path = write_recipients(tmp_path / "a.csv", 500)
    running = await start("bulk", path, "--base-url", emulator.url, "--concurrency", "4", "--json")
    out, err = await finish(running)
    counts = json.loads(out)
    assert running.returncode == 3
    assert counts["accepted"] == emulator.mark() == 5
    assert 1 <= counts["rejected"] == counts["total"] - 5 <= 8
    told = " ".join(err.split())
    assert "Stopped because every row would be refused: refused with HTTP status 403." in told
    assert "To go on, run the same command again; it sends only what is not settled." in told


def test_a_new_emulator_knows_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With an emulator, running again begins anew, and the report does not say otherwise."""
    path = write_recipients(tmp_path / "a.csv", 1)
    assert run_here(["bulk", path, "--emulator", "--fault", "code:101"]) == 3
    assert "a new emulator has accepted nothing yet" in capsys.readouterr().out


def test_what_is_not_sent_can_be_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where no gateway listens the rows are not sent, and the report says how to go on."""
    monkeypatch.setattr("esms_async.cli.gateway._PATIENT", ONE_ATTEMPT)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}/"
    path = write_csv(tmp_path / "a.csv", ["0901888484,a"])
    for more, told in [
        (["--no-ledger"], "within 23 hours: the gateway refuses (code 124)"),
        ([], "To go on, run the same command again; it sends only what is not settled."),
        (["--content", "no field", "--batch", "b"], "only what is not settled.\n"),
    ]:
        arguments = ["bulk", path, *more, "--base-url", url]
        assert run_here(arguments) == 1
        out = capsys.readouterr().out
        assert "not sent 1" in words(out)
        assert "1  not sent: nothing left this machine: ClientConnectorError" in out
        assert "(row 2)" in out
        assert told in out
        # A text without a field is what is sent, and is not shown.
        assert (shlex.join(["esms-async", *arguments]) in out) is ("no field" not in arguments)
        assert "no field" not in out


async def test_a_terminal_shows_the_job_live(emulator: Emulator, tmp_path: Path) -> None:
    """On a terminal two lines are kept up to date, and the report stands alone at the end."""
    emulator.fault("delay:300ms")
    phone_numbers = [f"{phone},a" for phone in phones(64)]
    path = write_csv(tmp_path / "a.csv", ["028 3822 7345,a", *phone_numbers])
    terminal, slave = pty.openpty()
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "esms_async", "bulk", path, "--base-url", emulator.url),
        stdout=slave,
        stderr=slave,
        env={**environment(), "TERM": "xterm-256color", "COLUMNS": "80"},
    )
    os.close(slave)
    shown = await asyncio.to_thread(_read_terminal, terminal)
    assert await running.wait() == 1
    assert "1 of 65 done" in shown
    assert "accepted 0  retried 0  rejected 0" in shown
    assert "1  invalid: the phone is not a Vietnamese mobile number" in shown
    assert all(len(line) <= 80 for line in shown.splitlines() if "\x1b" not in line)


def _read_terminal(descriptor: int) -> str:
    """Read until the last process has closed its side, which is an error on Linux."""
    pieces: list[bytes] = []
    while True:
        try:
            piece = os.read(descriptor, 65536)
        except OSError:
            piece = b""
        if not piece:
            os.close(descriptor)
            return b"".join(pieces).decode()
        pieces.append(piece)


async def test_results_that_cannot_be_written_stop_the_job(
    emulator: Emulator, tmp_path: Path
) -> None:
    """The disk that is full does not lose the counts, and no row is sent that can't be listed."""
    listed = tmp_path / "out.jsonl"
    listed.symlink_to("/dev/full")
    path = write_recipients(tmp_path / "a.csv", 1000)
    running = await start(
        *("bulk", path, "--base-url", emulator.url, "--concurrency", "4"),
        *("--results", str(listed), "--json"),
    )
    out, err = await finish(running)
    assert running.returncode == 2
    told = " ".join(err.split())
    problem = f"esms-async: cannot write {listed}: No space left on device"
    assert f"{problem} This run sent nothing after row " in told
    assert "run the same command again within 23 hours; it sends only what is not settled." in told
    assert json.loads(out)["accepted"] == emulator.mark() <= 32


def test_an_input_that_fails_midway_loses_no_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was sent before the disk failed is counted; then the error is told."""
    path = write_recipients(tmp_path / "a.csv", 20_000)
    read, reads = os.read, 0

    def fail(descriptor: int, length: int) -> bytes:
        nonlocal reads
        reads += 1
        # The sample and the plan take 11 of them.
        if reads > 14:
            raise OSError(5, "Input/output error")
        return read(descriptor, length)

    monkeypatch.setattr("esms_async.cli.spreadsheet.os.read", fail)
    monkeypatch.setattr("esms_async.cli.spreadsheet._BLOCK", 64 * 1024)
    assert run_here(["bulk", path, "--emulator", "--json"]) == 2
    out, err = capsys.readouterr()
    counts = json.loads(out)
    assert counts["total"] == counts["accepted"] > 10
    assert f"esms-async: cannot read {path}: Input/output error" in err.splitlines()
