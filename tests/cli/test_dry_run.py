"""The command `bulk --dry-run`."""

import asyncio
import json
from pathlib import Path

import pytest

from esms_async.cli.app import run
from tests.cli.support import listed_in, start, write_csv
from tests.limits import generous


def test_every_row_is_checked_and_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without keys and without a gateway, the parts are counted and the bad rows listed."""
    monkeypatch.delenv("ESMS_API_KEY", raising=False)
    listed = tmp_path / "out.csv"
    rows = ["0901888484,ma", "0901888486,mã", f"0901888485,{'ã' * 71}", "028,ma"]
    path = write_csv(tmp_path / "a.csv", rows)
    assert run(["bulk", path, "--dry-run", "--results", str(listed)]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "can be sent 3 of these with diacritics 2 SMS parts 4 invalid 1" in out
    assert "1 invalid: the phone is not a Vietnamese mobile number" in out
    outcomes = [row["status"] for row in listed_in(listed)]
    assert outcomes == ["checked", "checked", "checked", "invalid"]


def test_a_good_file_is_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file without a bad row exits with 0; for programs there is an object with the parts."""
    path = write_csv(tmp_path / "a.csv", ["0901888484,ma"])
    assert run(["bulk", path, "--dry-run", "--quiet", "--json"]) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert (told["total"], told["accepted"], told["checked"], told["parts"]) == (1, 0, 1, 1)
    assert "row" not in err


def test_outcomes_of_a_real_run_are_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dry run writes no file anew that holds what became of rows."""
    path, listed = write_csv(tmp_path / "a.csv", ["0901888484,ma"]), tmp_path / "out.csv"
    assert run(["bulk", path, "--emulator", "--results", str(listed)]) == 0
    before = listed.read_bytes()
    assert run(["bulk", path, "--dry-run", "--results", str(listed)]) == 2
    assert "is not empty, and a dry run writes over nothing" in capsys.readouterr().err
    assert listed.read_bytes() == before


def test_what_a_real_run_refuses_a_dry_run_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Options that do not go together are found out before anything is sent."""
    path = write_csv(tmp_path / "a.csv", ["0901888484,ma"])
    assert run(["bulk", path, "--dry-run", "--no-ledger", "--retry-rejected"]) == 2
    assert "--retry-rejected needs the ledger" in capsys.readouterr().err


async def test_sigterm_ends_it_with_a_word(tmp_path: Path) -> None:
    """While more rows are waited for, the process ends as after Ctrl-C."""
    listed = tmp_path / "out.jsonl"
    checking = await start(
        *("bulk", "-", "--dry-run", "--results", str(listed)), stdin=asyncio.subprocess.PIPE
    )
    assert checking.stdin is not None
    assert checking.stderr is not None
    checking.stdin.write(b"phone,content\n0901888484,ma\n")
    while not (listed.exists() and listed.read_bytes()):  # noqa: ASYNC110  # it tells nobody
        await asyncio.sleep(0.02)
    checking.terminate()
    assert await asyncio.wait_for(checking.wait(), generous(30)) == 130
    assert await checking.stderr.read() == b"esms-async: interrupted\n"
    checking.stdin.close()


def test_results_that_cannot_be_written_are_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full disk ends the check at once."""
    listed = tmp_path / "out.jsonl"
    listed.symlink_to("/dev/full")
    path = write_csv(tmp_path / "a.csv", ["0901888484,ma"] * 3)
    assert run(["bulk", path, "--dry-run", "--results", str(listed)]) == 2
    assert capsys.readouterr().err == (
        f"esms-async: cannot write {listed}: No space left on device\n"
    )
