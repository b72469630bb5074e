"""What ends a job of the command `bulk` early, and how it goes on."""

import asyncio
import json
import os
import shlex
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from esms_async.cli.bulk import BulkOptions, bulk
from esms_async.cli.errors import ExitCode
from esms_async.cli.gateway import GatewayChoice
from esms_async.cli.screen import Screen
from esms_async.emulator import Emulator
from tests.cli.support import (
    environment,
    finish,
    listed_in,
    phones,
    start,
    words,
    write_recipients,
)
from tests.limits import generous

pytestmark = pytest.mark.slow  # processes that are interrupted half-way


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_an_interrupt_finishes_what_is_in_flight(
    emulator: Emulator, tmp_path: Path, number: signal.Signals
) -> None:
    """Nothing more is pulled, each send has its outcome, and everything is written."""
    emulator.fault("delay:100ms")
    listed = tmp_path / "out.csv"
    path = write_recipients(tmp_path / "a.csv", 1000)
    running = await start(
        *("bulk", path, "--base-url", emulator.url, "--concurrency", "4"),
        *("--results", str(listed)),
    )
    await emulator.wait_for_request(count=6, timeout=generous(30))
    running.send_signal(number)
    out, err = await finish(running)
    assert running.returncode == 130
    assert err.startswith("Stopping: waiting for what is in flight")
    rows = listed_in(listed)
    assert {row["status"] for row in rows} == {"accepted"}
    # How many is a matter of the machine; that no more is pulled, test_interrupt.py shows exactly.
    assert 6 <= len(rows) == emulator.mark() < 1000
    told = " ".join(words(out))
    assert "Interrupted. This run sent nothing after row " in told
    assert "To go on, run" in told
    emulator.clear_faults()
    resumed = await start(*shlex.split(out.splitlines()[-1])[1:], "--json")
    counts = json.loads((await finish(resumed))[0])
    assert resumed.returncode == 0
    assert (counts["already_done"], counts["accepted"]) == (len(rows), 1000 - len(rows))
    rows = listed_in(listed)
    assert [row["phone"] for row in rows] == phones(1000)
    assert Counter(row["status"] for row in rows) == {
        "already done": counts["already_done"],
        "accepted": counts["accepted"],
    }
    assert emulator.mark() == 1000


async def test_a_second_interrupt_stops_at_once(emulator: Emulator, tmp_path: Path) -> None:
    """What hangs is given up, and is reported as unknown."""
    emulator.fault("hang,phase=after")
    listed = tmp_path / "out.csv"
    path = write_recipients(tmp_path / "a.csv", 1000)
    running = await start(
        *("bulk", path, "--base-url", emulator.url, "--concurrency", "4"),
        *("--results", str(listed)),
    )
    assert running.stderr is not None
    await emulator.wait_for_request(count=4, timeout=generous(30))
    running.send_signal(signal.SIGINT)
    assert (await asyncio.wait_for(running.stderr.readline(), generous(10))).startswith(
        b"Stopping: waiting"
    )
    running.send_signal(signal.SIGINT)
    out, _ = await finish(running)
    assert running.returncode == 130
    assert [row["status"] for row in listed_in(listed)] == ["unknown"] * 4
    assert "run the same command again within 23 hours; it sends only what" in " ".join(out.split())
    assert emulator.mark() == 4
    emulator.clear_faults()
    resumed = await start(*shlex.split(out.splitlines()[-1])[1:], "--json")
    counts = json.loads((await finish(resumed))[0])
    assert (resumed.returncode, counts["accepted"], counts["deduplicated"]) == (0, 1000, 4)
    assert emulator.mark() == 1000


async def test_a_slow_pipe_holds_up_nothing(emulator: Emulator) -> None:
    """A row is sent while the next one is waited for, and an interrupt meanwhile ends the job."""
    running = await start(
        "bulk", "-", "--base-url", emulator.url, "--json", stdin=asyncio.subprocess.PIPE
    )
    assert running.stdin is not None
    assert running.stdout is not None
    running.stdin.write(b"phone,content\n0901888484,a\n")
    await emulator.wait_for(timeout=generous(30))
    running.send_signal(signal.SIGINT)
    counts = json.loads(await asyncio.wait_for(running.stdout.readline(), generous(10)))
    assert (counts["total"], counts["accepted"]) == (1, 1)
    assert await asyncio.wait_for(running.wait(), generous(10)) == 130
    running.stdin.close()


async def test_an_interrupt_before_the_first_row_ends_the_job(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """While the header is waited for, there is nothing to finish."""
    reader, writer = os.pipe()
    before = signal.getsignal(signal.SIGTERM)
    options = BulkOptions(f"/dev/fd/{reader}")
    job = asyncio.ensure_future(bulk(options, GatewayChoice(emulator=True), Screen()))
    while signal.getsignal(signal.SIGTERM) is before:  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await job is ExitCode.INTERRUPTED
    assert capsys.readouterr().err == "Interrupted: nothing was sent\n"
    os.close(writer)
    os.close(reader)


async def test_who_runs_the_job_can_cancel_it() -> None:
    """A cancellation that is no interrupt stays a cancellation."""
    reader, writer = os.pipe()
    options = BulkOptions(f"/dev/fd/{reader}")
    job = asyncio.ensure_future(bulk(options, GatewayChoice(emulator=True), Screen()))
    await asyncio.sleep(0)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    os.close(writer)
    os.close(reader)


@pytest.mark.parametrize("merged", [False, True])
async def test_a_reader_that_goes_away_ends_the_job_quietly(
    emulator: Emulator,
    tmp_path: Path,
    merged: bool,  # a parameter of a test
) -> None:
    """With `| head` nothing is complained of, and no process is left that sends on."""
    emulator.fault("delay:50ms")
    path = write_recipients(tmp_path / "a.csv", 1000)
    reader, writer = os.pipe()
    os.close(reader)
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "esms_async", "bulk", path, "--base-url", emulator.url),
        stdout=writer,
        stderr=writer if merged else asyncio.subprocess.PIPE,
        env=environment(),
    )
    os.close(writer)
    _, err = await finish(running)
    assert running.returncode == 130
    assert not err
    before = emulator.mark()
    assert before < 1000
    emulator.clear_faults()
    resumed = await start("bulk", path, "--base-url", emulator.url, "--json")
    counts = json.loads((await finish(resumed))[0])
    assert (resumed.returncode, counts["already_done"]) == (0, before)
    assert emulator.mark() == 1000


@pytest.mark.parametrize("more", [(), ("--quiet",)])
async def test_a_terminal_that_is_closed_ends_the_job(
    emulator: Emulator, tmp_path: Path, more: tuple[str, ...]
) -> None:
    """What is in flight finishes, whether or not anything can still be shown there."""
    emulator.fault("delay:100ms")
    listed = tmp_path / "out.csv"
    path = write_recipients(tmp_path / "a.csv", 1000)
    terminal, side = os.openpty()
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "esms_async", "bulk", path, "--base-url", emulator.url),
        *("--yes", "--concurrency", "4", "--results", str(listed), *more),
        stdin=side,
        stdout=side,
        stderr=side,
        env=environment(),
    )
    os.close(side)
    await emulator.wait_for_request(count=6, timeout=generous(30))
    os.close(terminal)
    # The system sends it to the processes of a terminal that was closed.
    running.send_signal(signal.SIGHUP)
    assert await asyncio.wait_for(running.wait(), generous(30)) == 130
    rows = listed_in(listed)
    assert {row["status"] for row in rows} == {"accepted"}
    assert 6 <= len(rows) == emulator.mark() < 1000


async def test_a_full_disk_for_what_is_said_keeps_no_job_running(
    emulator: Emulator, tmp_path: Path
) -> None:
    """Where SIGTERM can't be answered in words, it ends the job all the same."""
    emulator.fault("delay:100ms")
    path = write_recipients(tmp_path / "a.csv", 1000)
    full = os.open("/dev/full", os.O_WRONLY)
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "esms_async", "bulk", path, "--base-url", emulator.url),
        *("--concurrency", "4", "--quiet"),
        stdout=asyncio.subprocess.PIPE,
        stderr=full,
        env=environment(),
    )
    os.close(full)
    await emulator.wait_for_request(count=6, timeout=generous(30))
    running.terminate()
    out, _ = await finish(running)
    assert running.returncode == 2
    assert "This run sent nothing after row" in out
    assert 6 <= emulator.mark() < 1000


async def test_an_interrupt_waits_for_no_turn(emulator: Emulator, tmp_path: Path) -> None:
    """At 36 an hour the next turn is far; what waits for it is not sent, and the job ends."""
    listed = tmp_path / "out.csv"
    path = write_recipients(tmp_path / "a.csv", 9)
    running = await start(
        *("bulk", path, "--base-url", emulator.url, "--rate", "36/h"),
        *("--results", str(listed)),
    )
    await emulator.wait_for(timeout=generous(30))
    while len(listed_in(listed)) < 1:  # noqa: ASYNC110  # it tells nobody
        await asyncio.sleep(0.02)
    running.send_signal(signal.SIGINT)
    out, _ = await finish(running)
    assert running.returncode == 130
    assert "Interrupted." in out
    assert [row["status"] for row in listed_in(listed)][:1] == ["accepted"]
    assert {row["status"] for row in listed_in(listed)[1:]} <= {"not sent"}
    assert emulator.mark() == 1
