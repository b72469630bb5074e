"""How the tests run the command: in their process, in one of its own, or at a terminal."""

import asyncio
import contextlib
import csv
import io
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from unittest import mock

from esms_async.cli.app import run as run_here
from tests.factories import API_KEY, SECRET_KEY
from tests.limits import generous

KEYS = {"ESMS_API_KEY": API_KEY, "ESMS_SECRET_KEY": SECRET_KEY}
_COMMAND = (sys.executable, "-m", "esms_async")


def environment(extra: Mapping[str, str] = KEYS) -> dict[str, str]:
    """The variables of this process without those that the command reads, and some more."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ESMS_")}
    return {**kept, "PYTHONWARNINGS": "error", **extra}


def run(*arguments: str, extra: Mapping[str, str] = KEYS) -> subprocess.CompletedProcess[str]:
    """Run the command to its end in this process, which is ten times as fast as in its own."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2)]
    with (
        mock.patch.dict(os.environ, environment(extra), clear=True),
        contextlib.redirect_stdout(streams[0]),
        contextlib.redirect_stderr(streams[1]),
    ):
        code = run_here(arguments)
    for stream in streams:
        stream.seek(0)
    return subprocess.CompletedProcess(arguments, code, *(stream.read() for stream in streams))


def run_apart(
    *arguments: str, stdin: bytes = b"", extra: Mapping[str, str] = KEYS
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, in a process of its own."""
    done = subprocess.run(
        [*_COMMAND, *arguments],
        input=stdin,
        capture_output=True,
        timeout=generous(60),
        env=environment(extra),
        check=False,
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def answer_at_a_terminal(answer: bytes, *arguments: str, language: str = "en") -> tuple[int, bytes]:
    """Run the command at a terminal, type an answer to what it asks, return what it showed."""
    person, terminal = os.openpty()
    with subprocess.Popen(
        [*_COMMAND, *arguments],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**environment(), "ESMS_LANG": language},
    ) as running:
        os.close(terminal)
        shown = b""
        try:
            while b"?" not in shown:
                shown += os.read(person, 1000)
            os.write(person, answer)
            while more := os.read(person, 1000):
                shown += more
        except OSError:
            pass  # so a terminal ends whose other side is closed
        finally:
            os.close(person)
        return running.wait(60), shown


async def start(
    *arguments: str, stdin: int | None = None, extra: Mapping[str, str] = KEYS
) -> asyncio.subprocess.Process:
    """Start the command beside the test."""
    return await asyncio.create_subprocess_exec(
        *_COMMAND,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL if stdin is None else stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(extra),
    )


async def finish(running: asyncio.subprocess.Process) -> tuple[str, str]:
    """Wait for the end of the command; return what it said on its two streams."""
    try:
        out, err = await asyncio.wait_for(running.communicate(), generous(30))
    except TimeoutError:
        running.kill()
        await running.wait()
        raise
    return (out or b"").decode(), (err or b"").decode()


def phones(count: int) -> list[str]:
    """As many phone numbers, each another."""
    return [f"095{number:07d}" for number in range(count)]


def write_csv(path: Path, rows: Iterable[str], header: str = "phone,content") -> str:
    """Write a file, and return its path."""
    path.write_text("".join(f"{line}\n" for line in (header, *rows)), encoding="utf-8")
    return str(path)


def write_recipients(path: Path, count: int) -> str:
    """Write a file of good rows, and return its path."""
    rows = (f"{phone},{number:06d} la ma" for number, phone in enumerate(phones(count)))
    return write_csv(path, rows)


def listed_in(path: Path) -> list[dict[str, str]]:
    """The rows of a file of results."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [*csv.DictReader(file)]


def words(out: str) -> list[str]:
    """The lines with what is in them, without the spaces of a table."""
    return [" ".join(line.split()) for line in out.splitlines() if line.strip()]
