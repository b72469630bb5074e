"""The command `bulk` over many rows: each row once, whatever fails and whoever is killed."""

import asyncio
import csv
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import openpyxl
import pytest

from esms_async.cli.rows import RowIds
from esms_async.emulator import Emulator, Event
from esms_async.ledger import SqliteLedger
from tests.cli.support import environment, finish, phones, start, write_recipients
from tests.factories import SECRET_KEY
from tests.limits import TIMES, generous

pytestmark = pytest.mark.once

_FAULTS = ("reset,phase=after,p=0.05", "reset,p=0.05", "http:503,p=0.05", "garbage,p=0.02")


def _row_ids(rows: int, batch: str) -> list[str]:
    """The RequestIds of the rows that `write_recipients` writes."""
    ids = RowIds(batch, SECRET_KEY)
    return [ids.of_phone(phone) for phone in phones(rows)]


async def test_many_rows_arrive_once(tmp_path: Path) -> None:
    """Through faults of every kind each row is accepted once, and every count adds up."""
    rows, listed = 1000 * TIMES, tmp_path / "out.csv"
    path = write_recipients(tmp_path / "many.csv", rows)
    async with Emulator(faults=_FAULTS, seed=7) as emulator:
        running = await start(
            *("bulk", path, "--base-url", emulator.url, "--results", str(listed), "--json")
        )
        out, _ = await asyncio.wait_for(running.communicate(), generous(120))
        counts = json.loads(out)
        assert running.returncode == 0
        assert (counts["total"], counts["accepted"]) == (rows, rows)
        assert counts["deduplicated"] > 0
        assert emulator.mark() == rows
        request_ids = _row_ids(rows, "many")
        assert {emulator.accepted(request_id) for request_id in request_ids} == {1}
    with listed.open(encoding="utf-8-sig", newline="") as file:
        told = [(row["request_id"], row["status"]) for row in csv.DictReader(file)]
    assert told == [(request_id, "accepted") for request_id in request_ids]


class _Crowd:
    """Tells when a gateway has accepted so many messages."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._wanted = 0
        self._there = asyncio.Event()
        emulator.subscribe(self._see)

    def _see(self, _: Event) -> None:
        if self._emulator.mark() >= self._wanted:
            self._there.set()

    async def grow(self, by: int) -> None:
        """Wait until as many more were accepted."""
        self._wanted = self._emulator.mark() + by
        self._there.clear()
        await asyncio.wait_for(self._there.wait(), generous(60))


def _write_workbook(path: Path, rows: int) -> str:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["Họ tên", "Số điện thoại", "Nội dung"])
    for number, phone in enumerate(phones(rows)):
        # As Excel keeps what somebody typed: a number, whose zero is lost.
        sheet.append([f"Người {number}", int(phone), f"{number:06d} la ma"])
    book.save(path)
    return str(path)


@pytest.mark.parametrize("seed", range(7, 7 + TIMES))
@pytest.mark.parametrize("kind", ["csv", "xlsx"])
async def test_killed_at_any_moment_every_row_arrives_once(
    tmp_path: Path, kind: str, seed: int
) -> None:
    """However often it is killed, the same command goes on, and ends with every row sent once."""
    rows, lives, listed = 600 * TIMES, 5 * TIMES, tmp_path / "out.jsonl"
    chance = random.Random(seed)  # noqa: S311  # it only picks the moments
    place = tmp_path / f"killed.{kind}"
    path = (write_recipients if kind == "csv" else _write_workbook)(place, rows)
    async with Emulator(faults=_FAULTS, seed=seed) as emulator:
        crowd = _Crowd(emulator)
        command = ("bulk", path, "--base-url", emulator.url, "--results", str(listed), "--json")
        for _ in range(lives):
            running = await start(*command)
            # The last life must have something left to do: a kill leaves up to 64 in flight.
            await crowd.grow(chance.randrange(1, rows // lives // 3))
            running.kill()
            await running.communicate()
        running = await start(*command)
        counts = json.loads((await finish(running))[0])
        assert running.returncode == 0
        assert counts["total"] == counts["accepted"] + counts["already_done"] == rows
        assert counts["already_done"] > 0
        assert emulator.mark() == rows
        request_ids = _row_ids(rows, "killed")
        assert {emulator.accepted(request_id) for request_id in request_ids} == {1}
    told = [json.loads(line) for line in listed.read_text(encoding="utf-8").splitlines()]
    assert [row["request_id"] for row in told] == request_ids
    assert {row["status"] for row in told} == {"accepted", "already done"}
    async with SqliteLedger(f"{path}.ledger") as ledger:
        assert [entry async for entry in ledger.unsettled()] == []


def _peak_of_a_stream(rows: int) -> int:
    """Pipe rows into a dry run, and return the most memory it took, in bytes."""
    text = "la ma" + " x" * 100
    with subprocess.Popen(
        [sys.executable, "-m", "esms_async", "bulk", "-", "--dry-run", "--quiet"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=environment(),
    ) as running:
        assert running.stdin is not None
        running.stdin.write(b"phone,content\n")
        for phone in phones(rows):
            running.stdin.write(f"{phone},{text}\n".encode())
        running.stdin.close()
        _, status, used = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
    assert running.returncode == 0
    return used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def test_a_long_stream_takes_no_more_memory() -> None:
    """What is piped in is read as it is used: twenty times the rows need no more room."""
    rows = max(50_000, 40_000 * TIMES)
    few, many = _peak_of_a_stream(2_500), _peak_of_a_stream(rows)
    # The phones that came before take some 14 bytes a row.
    assert many - few < 3_300_000 + 14 * rows
