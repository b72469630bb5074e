"""The command line."""

import asyncio
import contextlib
import io
import os
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import esms_async.cli
import esms_async.cli.app
from esms_async import __version__
from esms_async.cli.app import run as run_here
from tests.cli.support import KEYS, environment, finish, run, run_apart, start, write_recipients
from tests.factories import SECRET_KEY
from tests.limits import generous


def test_the_version_is_told() -> None:
    """`--version` prints the name and the version."""
    done = run_apart("--version")
    assert (done.returncode, done.stdout) == (0, f"esms-async {__version__}\n")


def _commands(command: click.Command, *words: str) -> Iterator[tuple[str, ...]]:
    yield words
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from _commands(below, *words, name)


@pytest.mark.parametrize("command", [*_commands(esms_async.cli.app._group)])
def test_help_fits_a_screen(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Help has at most 24 lines of 80 columns; `bulk` and the list of commands have more."""
    assert run_here([*command, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Usage: esms-async")
    assert len(lines) <= {(): 30, ("bulk",): 42}.get(command, 24)
    assert max(map(len, lines)) <= 80


def test_no_command_is_wrong_use() -> None:
    """Without a command the help shows, on standard error."""
    done = run()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: esms-async")


_SECRET_WORDS = ("686868", "xac", "0901888484")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["0901888484"], "No such command '***'; see esms-async --help"),
        (["bulk"], "Missing argument 'FILE'; see esms-async bulk --help"),
        (["bulk", "a", "--concurrency", "0"], "Invalid value for '--concurrency'"),
        (["bulk", "a", "--concurrency", "x"], "Invalid value for '--concurrency'"),
        (["bulk", "a", "xac", "686868"], "too many arguments; put quotes around each; see"),
        (["send", "0901888484", "686868", "ma", "xac"], "too many arguments; put quotes around"),
        (["send", "0901888484"], "give the CONTENT to send"),
        (["bulk", "none.csv", "--emulator"], "cannot read none.csv: No such file or directory"),
        (["bulk", "none.csv"], "cannot read none.csv: No such file or directory"),
        (["bulk", "a", "--content", "{x"], "the template has a brace at position 1"),
        (["bulk", "a", "--fault", "reset"], "--fault and --seed are for --emulator; add it"),
        (["bulk", "a", "--dry-run", "--seed", "1"], "--fault and --seed are for --emulator"),
        (["bulk", "a", "--rate", "50/d"], "--rate takes a number, and /s, /m or /h, as in 50/s"),
        (["bulk", "a", "--ledger", "b", "--no-ledger"], "--ledger and --no-ledger exclude each"),
        (["bulk", "a", "--ledger", "b", "--sandbox"], "the sandbox sends nothing that a ledger"),
        (["bulk", "-", "--ledger", "b"], "--ledger needs --batch NAME with standard input"),
        (["bulk", "a", "--retry-rejected", "--no-ledger"], "needs the ledger that knows what was"),
        (["bulk", "a", "--emulator", "--fault", "x"], "there is no fault 'x'; there are reset"),
        (["bulk", "a", "--base-url", "http://esms.example"], "base_url must be https://"),
        (["send", "028 3822 7345", "686868", "--emulator"], "phone: <13 characters> is not a V"),
        (["send", "0901888484", " ", "--emulator"], "content: is empty"),
        (["send", "0901888484", "xac", "--emulator", "--resume"], "--resume needs the --request"),
        (["send", "0901888484", "xac", "--emulator", "--request-id", "?"], "request_id: must be"),
    ],
)
def test_wrong_use_is_one_line(
    arguments: list[str],
    problem: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """An error says what to do, repeats nothing that could be a secret, and exits with 2."""
    monkeypatch.chdir(tmp_path)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    assert run_here(arguments) == 2
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert line.startswith("esms-async: ")
    assert problem in line
    assert out == ""
    assert not [word for word in _SECRET_WORDS if word in line]


@pytest.mark.parametrize("command", [["bulk", "a.csv"], ["send", "0901888484", "686868"]])
@pytest.mark.parametrize("missing", KEYS)
def test_missing_keys_are_an_error(command: list[str], missing: str, tmp_path: Path) -> None:
    """Nothing is sent anywhere without the account's keys, and the error names what is missing."""
    write_recipients(tmp_path / "a.csv", 1)
    arguments = [str(tmp_path / "a.csv") if word == "a.csv" else word for word in command]
    done = run(*arguments, extra={name: KEYS[name] for name in KEYS if name != missing})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"esms-async: set the environment variable {missing}\n"


def _run_without(module: str) -> subprocess.CompletedProcess[str]:
    program = f"import sys; sys.modules[{module!r}] = None; from esms_async.cli import main; "
    return subprocess.run(
        [sys.executable, "-c", program + "sys.exit(main())"],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )


@pytest.mark.parametrize("package", ["aiolimiter", "click", "rich"])
def test_a_missing_extra_is_one_line(package: str) -> None:
    """Without the extra the command says how to get it, and exits with 2."""
    done = _run_without(package)
    assert (done.returncode, done.stdout) == (2, "")
    said = f"{package} is missing; install it with: pip install 'esms_async[cli]'"
    assert done.stderr == f"esms-async: {said}\n"


def test_another_missing_module_is_no_missing_extra() -> None:
    """A package that is broken otherwise is not blamed on the extra."""
    done = _run_without("esms_async.cli.bulk")
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr
    assert "is missing; install" not in done.stderr


def test_a_fault_of_this_program_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What nobody thought of shows without a traceback and without its words."""

    def fail(*_: object) -> None:
        raise RuntimeError("686868")

    monkeypatch.setattr(esms_async.cli.app, "send", fail)
    assert run_here(["send", "0901888484", "686868", "--emulator"]) == 1
    assert capsys.readouterr().err == (
        "esms-async: an error of this program (RuntimeError); --debug shows where\n"
    )
    assert run_here(["send", "0901888484", "686868", "--emulator", "--debug"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert "in fail" in err
    assert "RuntimeError\nesms-async: " in err


def test_ctrl_c_anywhere_else_is_one_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An interrupt that no job handles ends with 130."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(esms_async.cli.app, "send", interrupt)
    assert run_here(["send", "0901888484", "686868"]) == 130
    assert capsys.readouterr().err.strip() == "esms-async: interrupted"


def test_debug_shows_where_and_no_secret(tmp_path: Path) -> None:
    """A traceback comes only when it is asked for, and holds neither keys nor texts."""
    path = tmp_path / "a.csv"
    path.write_text("0901888484,686868 la ma\n", encoding="utf-8")
    done = run("bulk", str(path), "--debug")
    assert done.returncode == 2
    assert "rows.py" in done.stderr
    assert not [word for word in ("686868", "0901888484", SECRET_KEY) if word in done.stderr]


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("bulk", "-", "--emulator"), ("send", "0901888484", "686868", "--emulator")],
)
def test_a_full_standard_output_is_one_line(arguments: tuple[str, ...]) -> None:
    """What can't be printed is an error, and nothing is sent that could not be reported."""
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "esms_async", *arguments],
            input=b"phone,content\n0901888484,686868 la ma\n",
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(),
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == b"esms-async: cannot write: No space left on device\n"


def test_a_terminal_of_few_letters_is_no_reason_to_fail(tmp_path: Path) -> None:
    """Where standard output can't show a letter, a mark stands for it."""
    path = write_recipients(tmp_path / "Châu.csv", 1)
    done = run_apart("bulk", path, "--emulator", extra={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert "Ch?u.csv" in done.stdout


def test_standard_output_can_be_led_elsewhere() -> None:
    """A caller in the same process may put any stream in its place."""
    with contextlib.redirect_stdout(io.StringIO()) as stream:
        assert run_here(["--version"]) == 0
    assert __version__ in stream.getvalue()


def test_an_error_that_nobody_reads_is_quiet() -> None:
    """A reader of standard error that has gone changes nothing about the exit code."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "esms_async", "bulk", "none.csv"],
        stdout=subprocess.PIPE,
        stderr=writer,
        env=environment(),
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.parametrize(
    ("closed", "arguments", "problem"),
    [
        ("<&-", ["bulk", "-", "--emulator"], "standard input is closed; lead a file into it"),
        ("<&-", ["send", "0901888484", "-", "--emulator"], "standard input is closed; lead a"),
        (">&-", ["send", "0901888484", "686868", "--emulator"], "standard output is closed; lead"),
        (">&-", ["--help"], "standard output is closed; lead it to a file, or to /dev/null"),
    ],
)
def test_a_stream_that_is_closed_is_one_line(
    closed: str, arguments: list[str], problem: str
) -> None:
    """What is needed and not there is named."""
    done = _run_with_shell(closed, arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"esms-async: {problem}")


def test_a_closed_standard_error_is_no_error() -> None:
    """What nobody wants to read goes nowhere, and into no file that is opened later."""
    done = _run_with_shell("2>&-", ["send", "0901888484", "686868", "--emulator", "--json"])
    assert (done.returncode, done.stderr) == (0, "")
    assert '"status": "accepted"' in done.stdout


def _run_with_shell(closed: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *("/bin/sh", "-c", f'exec "$@" {closed}', "sh"),
            *(sys.executable, "-m", "esms_async", *arguments),
        ],
        capture_output=True,
        text=True,
        timeout=generous(60),
        env=environment(),
        check=False,
    )


async def test_sigterm_ends_a_question_with_a_word() -> None:
    """What waits for an answer ends as after Ctrl-C."""
    asked = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        asked.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        asking = await start("balance", "--base-url", f"http://127.0.0.1:{port}/")
        await asyncio.wait_for(asked.wait(), generous(30))
        asking.terminate()
        _, err = await finish(asking)
    assert (asking.returncode, err) == (130, "esms-async: interrupted\n")


def test_ctrl_c_while_the_program_is_loaded_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has begun that could be reported."""

    class Interrupted(types.ModuleType):
        def __getattr__(self, _: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "esms_async.cli.app", Interrupted("esms_async.cli.app"))
    assert esms_async.cli.main() == 130


@pytest.mark.parametrize(
    ("option", "looks_like"),
    [("--ledger=redis://u:word@[bad", "redis://"), ("--queue=redis://u:word@[bad", "rediss://")],
)
def test_a_url_that_cannot_be_read_is_one_line(
    option: str, looks_like: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error says what a URL looks like, and shows no password."""
    path = write_recipients(tmp_path / "a.csv", 1)
    assert run_here(["bulk", path, option]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert looks_like in line
    assert "u:word" not in line
