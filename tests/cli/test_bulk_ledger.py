"""The command `bulk` with a ledger: what is done stays done, and what is not goes on."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from esms_async import Message
from esms_async._model.errors import LedgerError
from esms_async.cli.app import run as run_here
from esms_async.emulator import Emulator
from esms_async.ledger import Claim, SqliteLedger
from tests.cli.support import (
    KEYS,
    finish,
    listed_in,
    run,
    start,
    write_csv,
    write_recipients,
)
from tests.factories import ONE_ATTEMPT
from tests.ledger.redis_server import RedisServer
from tests.ports import hold_port

_COUNTS = ("accepted", "already_done", "rejected", "not_sent", "unknown", "invalid")


class _Bulk:
    """The command with its fixed arguments, run again and again."""

    def __init__(self, path: str, *arguments: str) -> None:
        self._arguments = ("bulk", path, *arguments)
        self.out = ""
        self.err = ""

    async def run(
        self, *more: str, stdin: Path | None = None, extra: Mapping[str, str] = KEYS
    ) -> tuple[int | None, dict[str, int]]:
        """Run it to its end; return its exit code, and those of its counts that are not 0."""
        if stdin is None:
            running = await start(*self._arguments, "--json", *more, extra=extra)
        else:
            with stdin.open("rb") as file:
                running = await start(*self._arguments, "--json", *more, stdin=file.fileno())
        self.out, self.err = await finish(running)
        counts = json.loads(self.out) if self.out else {}
        return running.returncode, {name: counts[name] for name in _COUNTS if counts.get(name)}


async def test_the_same_command_sends_only_what_is_not_settled(
    emulator: Emulator, tmp_path: Path
) -> None:
    """A row that was accepted is never sent again, and the results list it all the same."""
    path, listed = write_recipients(tmp_path / "a.csv", 20), tmp_path / "out.csv"
    bulk = _Bulk(path, "--base-url", emulator.url, "--results", str(listed))
    assert await bulk.run() == (0, {"accepted": 20})
    assert bulk.err.splitlines()[0] == f"Ledger: {path}.ledger"
    first = {(row["phone"], row["request_id"], row["sms_id"]) for row in listed_in(listed)}
    write_recipients(tmp_path / "a.csv", 25)
    assert await bulk.run() == (0, {"accepted": 5, "already_done": 20})
    assert emulator.mark() == 25
    rows = listed_in(listed)
    assert len(rows) == 25
    assert first < {(row["phone"], row["request_id"], row["sms_id"]) for row in rows}
    assert sorted((row["status"], row["attempts"]) for row in rows) == [
        *[("accepted", "1")] * 5,
        *[("already done", "0")] * 20,
    ]


async def test_standard_input_keeps_a_ledger_that_is_named(
    emulator: Emulator, tmp_path: Path
) -> None:
    """Without one a line says so; with one, and the name of the batch, it is taken up again."""
    file = Path(write_recipients(tmp_path / "a.csv", 5))
    bulk = _Bulk("-", "--base-url", emulator.url, "--batch", "today")
    assert await bulk.run(stdin=file) == (0, {"accepted": 5})
    assert bulk.err.startswith("No ledger: standard input is no file to keep one beside")
    emulator.reset()
    kept = ("--ledger", str(tmp_path / "kept.ledger"))
    assert await bulk.run(*kept, stdin=file) == (0, {"accepted": 5})
    assert await bulk.run(*kept, stdin=file) == (0, {"already_done": 5})


def test_an_emulator_keeps_a_ledger_only_where_one_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A ledger of what no phone has got is one that was asked for; the warning stays first."""
    path, kept = write_recipients(tmp_path / "a.csv", 3), tmp_path / "kept"
    arguments = ["bulk", path, "--emulator", "--fault", "code:201,times=1"]
    assert run_here(arguments) == 1
    assert sorted(tmp_path.iterdir()) == [Path(path)]
    capsys.readouterr()
    arguments += ["--ledger", str(kept)]
    assert run_here([*arguments, "--concurrency", "1"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("EMULATOR: NO SMS LEAVES THIS MACHINE\n")
    assert f"\nLedger: {kept}\n" in out
    assert out.endswith("With --retry-rejected, the same command sends the rejected rows again.\n")
    assert run_here(["bulk", path, "--emulator", "--ledger", str(kept), "--retry-rejected"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "already done 2" in out
    assert "1 accepted, 0 reached a phone twice" in out


async def test_the_sandbox_leaves_nothing_behind(emulator: Emulator, tmp_path: Path) -> None:
    """What was only checked can be sent for real after that."""
    path = write_recipients(tmp_path / "a.csv", 3)
    bulk = _Bulk(path, "--base-url", emulator.url)
    assert await bulk.run("--sandbox") == (0, {"accepted": 3})
    assert bulk.err.endswith("\nSandbox: what was accepted was checked, not sent.\n")
    assert emulator.mark() == 0
    assert await bulk.run() == (0, {"accepted": 3})
    assert "Sandbox" not in bulk.err
    assert emulator.mark() == 3


async def test_rejected_rows_are_sent_anew_on_request(emulator: Emulator, tmp_path: Path) -> None:
    """They stay rejected until then, and what was sent anew is known in every later run."""
    path, listed = write_recipients(tmp_path / "a.csv", 10), tmp_path / "out.csv"
    emulator.fault("code:201,times=4")
    bulk = _Bulk(path, "--base-url", emulator.url, "--results", str(listed))
    assert await bulk.run() == (1, {"accepted": 6, "rejected": 4})
    assert await bulk.run() == (1, {"already_done": 6, "rejected": 4})
    assert {row["code"] for row in listed_in(listed) if row["status"] == "rejected"} == {"201"}
    assert await bulk.run("--retry-rejected") == (0, {"accepted": 4, "already_done": 6})
    for more in ((), ("--retry-rejected",)):
        assert await bulk.run(*more) == (0, {"already_done": 10})
    request_ids = {row["request_id"] for row in listed_in(listed)}
    assert request_ids == {message.request_id for message in emulator.messages}
    assert len(request_ids) == emulator.mark() == 10


async def test_what_another_run_has_sent_without_the_ledger_is_not_sent_anew(
    emulator: Emulator, tmp_path: Path
) -> None:
    """A row that the gateway calls a duplicate has arrived, whatever the ledger knows."""
    bulk = _Bulk(write_recipients(tmp_path / "a.csv", 5), "--base-url", emulator.url)
    assert await bulk.run("--no-ledger") == (0, {"accepted": 5})
    for more in ((), ("--retry-rejected",)):
        assert await bulk.run(*more) == (1, {"unknown": 5})
        told = " ".join(bulk.err.split())
        assert "unknown 5 of these code 124 5" in told
        assert "5 of the unknown rows have code 124: the gateway has had these messages" in told
        assert "Do not send them as new messages: wait for their delivery reports, or" in told
        assert told.endswith(f"esms-async reconcile --ledger {tmp_path / 'a.csv'}.ledger")
        assert "With --retry-rejected" not in told
        assert "To go on" not in told
    assert emulator.mark() == 5
    emulator.fault("code:201,times=1")
    write_csv(tmp_path / "a.csv", ["0911000001,new"])
    await bulk.run()
    assert bulk.err.endswith("the same command sends the rejected rows again.\n")
    write_recipients(tmp_path / "a.csv", 5)
    with (tmp_path / "a.csv").open("a", encoding="utf-8") as file:
        file.write("0911000001,new\n")
    assert await bulk.run() == (1, {"rejected": 1, "unknown": 5})
    assert bulk.err.endswith("the same command sends the rejected rows again.\n")


async def test_a_key_that_comes_twice_is_sent_once(emulator: Emulator, tmp_path: Path) -> None:
    """The second row with a key is invalid, names the first, and stays so in each run."""
    rows = ["0901888484,a,7", "0901888485,b,8", "0901888486,c,7"]
    path = write_csv(tmp_path / "a.csv", rows, "phone,content,order")
    listed = tmp_path / "out.csv"
    options = ("--base-url", emulator.url, "--key", "order", "--results", str(listed))
    bulk = _Bulk(path, *options)
    assert await bulk.run() == (1, {"accepted": 2, "invalid": 1})
    assert await bulk.run() == (1, {"already_done": 2, "invalid": 1})
    (refused,) = (row for row in listed_in(listed) if row["status"] == "invalid")
    assert (refused["phone"], refused["reason"]) == (
        "0901888486",
        "order: an earlier row has this key, and goes first",
    )
    assert [message.content for message in emulator.messages] == ["a", "b"]


@pytest.mark.parametrize("code", ["101", "103"])
async def test_an_account_that_is_mended_goes_on(
    emulator: Emulator, tmp_path: Path, code: str
) -> None:
    """Wrong keys and an empty balance stop the job within its concurrency; later it finishes."""
    path = write_recipients(tmp_path / "a.csv", 200)
    if code == "103":
        emulator.balance = 850 * 30
    else:
        emulator.fault("code:101,skip=30")
    bulk = _Bulk(path, "--base-url", emulator.url, "--concurrency", "8")
    exit_code, counts = await bulk.run()
    assert (exit_code, counts["accepted"]) == (3, 30)
    assert emulator.mark() == 30
    # What was in flight, and no row after it.
    assert len(emulator.requests) <= 30 + 8
    assert f"Stopped because the account can't send: rejected with code {code}" in " ".join(
        bulk.err.split()
    )
    emulator.balance = 10**9
    emulator.clear_faults()
    again = shlex.split(bulk.err.splitlines()[-1])
    assert again[:3] == ["esms-async", "bulk", path]
    assert await bulk.run() == (0, {"accepted": 170, "already_done": 30})
    assert emulator.mark() == 200


async def test_a_ledger_in_use_harms_nothing(emulator: Emulator, tmp_path: Path) -> None:
    """A second run of the same command ends at once, and leaves the results of the first alone."""
    path, listed = write_recipients(tmp_path / "a.csv", 3), tmp_path / "out.csv"
    bulk = _Bulk(path, "--base-url", emulator.url, "--results", str(listed))
    await bulk.run()
    before = listed.read_bytes()
    async with SqliteLedger(f"{path}.ledger"):
        assert await bulk.run() == (2, {})
    (line,) = bulk.err.splitlines()
    assert line.endswith("is in use by another process; end it, or use another file")
    assert listed.read_bytes() == before


@pytest.mark.parametrize(
    ("ledger", "results", "problem"),
    [
        ("a.csv", "out.csv", "is not a ledger"),
        ("kept.csv", "kept.csv", "is the input or the ledger; name another file"),
        ("none/a.ledger", "out.csv", "No such file or directory"),
    ],
)
def test_files_do_not_write_over_each_other(
    tmp_path: Path, ledger: str, results: str, problem: str
) -> None:
    """A ledger that is the input, and results that are the ledger, are one line each."""
    path = write_recipients(tmp_path / "a.csv", 1)
    content = Path(path).read_bytes()
    named = (str(tmp_path / ledger), str(tmp_path / results))
    done = run("bulk", path, "--emulator", "--ledger", named[0], "--results", named[1])
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert problem in line
    assert Path(path).read_bytes() == content


def test_an_input_that_cannot_be_read_makes_no_ledger(tmp_path: Path) -> None:
    """A file without a header is an error before there is anything to keep."""
    path = write_csv(tmp_path / "a.csv", [], header="0901888484,686868")
    assert run("bulk", path).returncode == 2
    assert sorted(tmp_path.iterdir()) == [Path(path)]


def test_a_ledger_that_fails_stops_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nothing can be claimed any more nothing is sent, and the same command goes on later."""
    path, kept = write_recipients(tmp_path / "a.csv", 200), tmp_path / "kept"
    arguments = ["bulk", path, "--concurrency", "4", "--ledger", str(kept), "--emulator", "--json"]
    claim, claimed = SqliteLedger.claim_batch, 0

    async def fail(
        ledger: SqliteLedger,
        claims: Sequence[tuple[Message, bytes]],
    ) -> list[Claim]:
        nonlocal claimed
        claimed += len(claims)
        if claimed > 32:
            raise LedgerError("the ledger can't be used: database or disk is full")
        return await claim(ledger, claims)

    with monkeypatch.context() as patched:
        patched.setattr(SqliteLedger, "claim_batch", fail)
        assert run_here(arguments) == 2
    out, err = capsys.readouterr()
    counts = json.loads(out)
    assert counts["accepted"] == counts["total"] == 32
    *_, problem, _, go_on, command = err.splitlines()
    assert problem == "esms-async: the ledger can't be used: database or disk is full"
    # What it could not take is in doubt there.
    assert "run the same command again within 23 hours" in go_on
    assert command == f"  {shlex.join(['esms-async', *arguments])}"
    assert run_here(arguments) == 0
    counts = json.loads(capsys.readouterr().out)
    assert counts["accepted"] + counts["already_done"] == 200


async def test_a_ledger_can_be_on_redis(emulator: Emulator, tmp_path: Path) -> None:
    """A redis:// URL names a ledger as a file does, and shows without what opens it."""
    path = write_recipients(tmp_path / "a.csv", 5)
    with RedisServer({"appendonly": "yes", "maxmemory-policy": "noeviction"}) as server:
        bulk = _Bulk(path, "--base-url", emulator.url, "--ledger", server.url)
        emulator.fault("code:103,skip=3")
        exit_code, counts = await bulk.run("--concurrency", "1")
        assert (exit_code, counts) == (3, {"accepted": 3, "rejected": 1})
        assert bulk.err.startswith("Ledger: redis://")
        assert bulk.err.endswith("it sends only what is not settled.\n")
        emulator.clear_faults()
        assert await bulk.run() == (0, {"accepted": 2, "already_done": 3})
    assert sorted(tmp_path.iterdir()) == [Path(path)]


_NEW_KEY = {**KEYS, "ESMS_SECRET_KEY": "a new secret key"}


async def test_a_new_secret_key_sends_no_row_twice(emulator: Emulator, tmp_path: Path) -> None:
    """Under it rows would have other ids, so that the job waits until the former one is named."""
    path, listed = write_recipients(tmp_path / "a.csv", 5), tmp_path / "out.csv"
    bulk = _Bulk(path, "--base-url", emulator.url, "--concurrency", "1", "--results", str(listed))
    emulator.fault("code:101,skip=3")
    assert await bulk.run() == (3, {"accepted": 3, "rejected": 1})
    emulator.clear_faults()
    before = listed.read_bytes()
    assert await bulk.run(extra=_NEW_KEY) == (2, {})
    (line,) = bulk.err.splitlines()
    assert "rows of batch 'a' were sent under another secret key" in line
    assert "set ESMS_ROW_SECRET to the former secret key" in line
    assert KEYS["ESMS_SECRET_KEY"] not in line
    assert listed.read_bytes() == before
    assert emulator.mark() == 3
    former = {**_NEW_KEY, "ESMS_ROW_SECRET": KEYS["ESMS_SECRET_KEY"]}
    assert await bulk.run(extra=former) == (0, {"accepted": 2, "already_done": 3})
    assert emulator.mark() == 5


@pytest.mark.parametrize("key", ["ESMS_API_KEY", "ESMS_SECRET_KEY"])
async def test_a_mistyped_key_is_corrected_and_the_same_command_goes_on(
    emulator: Emulator, tmp_path: Path, key: str
) -> None:
    """Under wrong keys nothing is accepted, so the ledger takes the right ones."""
    path = write_recipients(tmp_path / "a.csv", 5)
    bulk = _Bulk(path, "--base-url", emulator.url)
    emulator.fault("code:101")
    exit_code, counts = await bulk.run(extra={**KEYS, key: "mistyped"})
    assert (exit_code, counts) == (3, {"rejected": 5})
    emulator.clear_faults()
    assert await bulk.run() == (0, {"accepted": 5})
    assert await bulk.run(extra={**KEYS, key: "mistyped"}) == (2, {})
    assert await bulk.run() == (0, {"already_done": 5})
    assert emulator.mark() == 5


def test_a_mistyped_address_is_corrected_and_the_same_rows_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nobody listened nothing was accepted, so the ledger takes the right address."""
    monkeypatch.setattr("esms_async.cli.gateway._PATIENT", ONE_ATTEMPT)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    path = write_recipients(tmp_path / "a.csv", 5)
    with hold_port() as held:
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        assert run_here(["bulk", path, "--base-url", url, "--stop-after", "1"]) == 4
    capsys.readouterr()
    arguments = ["bulk", path, "--emulator", "--ledger", f"{path}.ledger", "--json"]
    assert run_here(arguments) == 0
    assert json.loads(capsys.readouterr().out)["accepted"] == 5
    assert run_here(["bulk", path, "--base-url", url]) == 2
    assert (
        "the ledger holds what was sent to an emulator of this process" in capsys.readouterr().err
    )


async def test_another_api_key_is_refused_with_the_command_that_takes_it(
    emulator: Emulator, tmp_path: Path
) -> None:
    """The command can be copied; on Redis, where the URL may hold a password, URL stands for it."""
    other = {**KEYS, "ESMS_API_KEY": "other"}
    path = write_recipients(tmp_path / "a b.csv", 1)
    bulk = _Bulk(path, "--base-url", emulator.url)
    assert await bulk.run() == (0, {"accepted": 1})
    assert await bulk.run(extra=other) == (2, {})
    assert f"run `esms-async ledger rebind '{path}.ledger'` once" in bulk.err
    assert await bulk.run(extra={**other, "ESMS_LANG": "vi"}) == (2, {})
    assert f"hãy chạy `esms-async ledger rebind '{path}.ledger'` một lần" in bulk.err
    with RedisServer({"appendonly": "yes", "maxmemory-policy": "noeviction"}) as server:
        kept = ("--ledger", server.url)
        emulator.fault("code:101")
        assert (await bulk.run(*kept))[0] == 3
        # Another process may use it at this moment.
        assert await bulk.run(*kept, extra=other) == (2, {})
        assert "run `esms-async ledger rebind URL` once" in bulk.err
        assert await bulk.run(*kept, extra=_NEW_KEY) == (2, {})
        assert "--batch NEW" in bulk.err
        emulator.clear_faults()
        again = await bulk.run(*kept, "--batch", "new", extra=_NEW_KEY)
        assert again == (0, {"accepted": 1})


async def test_rows_with_a_key_outlive_a_secret_key(emulator: Emulator, tmp_path: Path) -> None:
    """Their ids do not depend on it, so that nothing is asked of the person."""
    path = write_csv(tmp_path / "a.csv", ["0901888484,a,7"], "phone,content,order")
    bulk = _Bulk(path, "--base-url", emulator.url, "--key", "order")
    assert await bulk.run() == (0, {"accepted": 1})
    assert await bulk.run(extra=_NEW_KEY) == (0, {"already_done": 1})


async def test_a_ledger_of_another_destination_is_refused_in_one_line(
    emulator: Emulator, tmp_path: Path
) -> None:
    """What an emulator had is beside the file; for the gateway nothing is begun with it."""
    path, listed = write_recipients(tmp_path / "a.csv", 3), tmp_path / "out.csv"
    bulk = _Bulk(path, "--results", str(listed))
    assert await bulk.run("--base-url", emulator.url) == (0, {"accepted": 3})
    before = listed.read_bytes()
    real = ("--base-url", "https://gateway.invalid/")
    assert await bulk.run(*real) == (2, {})
    problem = f"the ledger holds what was sent to {emulator.url.partition('/Main')[0]}; use another"
    (line,) = bulk.err.splitlines()
    assert problem in line
    assert listed.read_bytes() == before
    asked = await start("reconcile", "--ledger", f"{path}.ledger", *real)
    _, err = await finish(asked)
    (line,) = err.splitlines()
    assert (asked.returncode, problem in line) == (2, True)


async def test_a_row_that_was_mended_under_its_key_says_what_to_do(
    emulator: Emulator, tmp_path: Path
) -> None:
    """The error names the column of the key and what is left to do, and not the key itself."""
    path, listed = tmp_path / "a.csv", tmp_path / "out.csv"
    write_csv(path, ["0901888484,a,K777"], "phone,content,order")
    options = ("--key", "Order", "--results", str(listed))
    bulk = _Bulk(str(path), "--base-url", emulator.url, *options)
    assert await bulk.run() == (0, {"accepted": 1})
    write_csv(path, ["0901888484,b,K777"], "phone,content,order")
    used = "this key was used for another phone or text; give the row another one to send"
    for more in ((), ("--retry-rejected",)):
        assert await bulk.run(*more) == (1, {"invalid": 1})
        (row,) = listed_in(listed)
        assert row["reason"].startswith(used)
        assert "K777" not in bulk.err + row["reason"]
