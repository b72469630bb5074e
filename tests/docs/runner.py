"""Runs the code blocks of one page, in order, in a folder of their own."""

import ast
import asyncio
import configparser
import contextlib
import csv
import doctest
import json
import os
import re
import shlex
import shutil
import signal
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import attrs
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.docs.blocks import ROOT, Block
from tests.limits import generous
from tests.ports import hold_port

_TIME_LIMIT = 60.0
# A page names ports, and this machine may use them: whatever listens gets one that is free.
_EMULATOR = re.compile(r"\besms-async emulator\b(?!.*--port)")
_DEFAULT_PORT = "8026"
_PORT = re.compile(r"(?<=127\.0\.0\.1:)\d{4,5}\b|(?<=--port )[1-9]\d{3,4}\b")
_SEPARATORS = {"|", "||", "&&", ";", "&"}
# What a page may call besides the command itself.
_PROGRAMS = frozenset(
    ("cat", "cp", "curl", "echo", "esms-async", "head", "printf", "python", "python3", "timeout")
)
_TOOLS = {"httpx2", "nox", "pre-commit", "pytest", "pytest-asyncio", "uvicorn"}
_TERMINATED = {0, -signal.SIGTERM, 128 + signal.SIGTERM}


class Runner(contextlib.AsyncExitStack):
    """Runs the blocks of a page. What they leave running ends with the runner.

    Args:
        folder: The folder to run in.
        base_url: The emulator to send to.
    """

    def __init__(self, folder: Path, base_url: str) -> None:
        super().__init__()
        self._folder = folder
        self._earlier = ""
        self._ports: dict[str, int] = {}
        self._draining: list[asyncio.Future[bytes]] = []
        shutil.copytree(ROOT / "docs" / "examples", folder / "docs" / "examples")
        (folder / "tools").symlink_to(ROOT / "tools")
        programs = str(Path(sys.executable).parent)
        self._environ = {
            name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")
        } | {
            "ESMS_API_KEY": "an-api-key",
            "ESMS_SECRET_KEY": "a-secret-key",
            "ESMS_BASE_URL": base_url,
            "PATH": os.pathsep.join([programs, os.environ["PATH"]]),
            "PYTHONPATH": str(folder),
            "COLUMNS": "100",
        }

    async def run(self, block: Block) -> None:
        """Run a block.

        Args:
            block: The block.

        Raises:
            AssertionError: It does not do what its page says.
        """
        block = attrs.evolve(block, text=self._with_free_ports(block.text))
        if "file" in block.marks:
            (self._folder / block.marks["file"]).write_text(block.text, encoding="utf-8")
        try:
            match block.language:
                case "python":
                    await self._run_python(block)
                case "console":
                    await self._run_console(block)
                case _:
                    _read_data(block)
        except (AssertionError, SyntaxError, ValueError, yaml.YAMLError) as error:
            raise AssertionError(f"{block.place}: {error}") from error

    def _with_free_ports(self, text: str) -> str:
        text = _EMULATOR.sub(rf"\g<0> --port {_DEFAULT_PORT}", text)
        return _PORT.sub(lambda found: str(self._free_port(found[0])), text)

    def _free_port(self, named: str) -> int:
        """Return the port that stands for one that the page names."""
        if named not in self._ports:
            self._ports[named] = self.enter_context(hold_port()).getsockname()[1]
        return self._ports[named]

    async def _run_python(self, block: Block) -> None:
        if "fragment" in block.marks:
            compile(block.text, block.place, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            return
        text = self._earlier + block.text if "continued" in block.marks else block.text
        self._earlier = text
        name = block.marks.get("file", "program.py")
        (self._folder / name).write_text(text, encoding="utf-8")
        command = f"python {name}"
        if any(getattr(each, "name", "").startswith("test_") for each in ast.parse(text).body):
            options = "-q -p no:cacheprovider -o asyncio_mode=auto -o python_files=*.py"
            command = f"python -m pytest {options} {name}"
        await self._run_command(command, None, block)

    async def _run_console(self, block: Block) -> None:
        for command, expected in commands_of(block):
            for part in map(str.strip, command.split(" && ")):
                words = shlex.split(part)
                if words[0] == "export":
                    for name, _, value in (word.partition("=") for word in words[1:]):
                        self._environ[name] = await self._evaluated(value, block)
                elif not _is_set_up(words):
                    _check_programs(part)
                    await self._run_command(part.removeprefix(".venv/bin/"), expected, block)

    async def _evaluated(self, value: str, block: Block) -> str:
        """Return a value as the shell would: what a command in `$(…)` prints, or the words."""
        if not value.startswith("$("):
            return value
        _check_programs(value.removeprefix("$(").removesuffix(")"))
        process = await asyncio.create_subprocess_exec(
            "bash",
            "-c",
            f'printf %s "{value}"',
            env=self._environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        printed, _ = await process.communicate()
        assert printed, f"{block.place}: {value} prints nothing"
        return printed.decode()

    async def _run_command(self, command: str, expected: str | None, block: Block) -> None:
        process = await asyncio.create_subprocess_exec(
            "bash",
            "-c",
            f"set -o pipefail; {command}" if "|" in command else f"exec {command}",
            cwd=self._folder,
            env=self._environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        if "background" in block.marks:
            await self._leave_running(process, block.marks["background"])
            return
        async with asyncio.timeout(generous(_TIME_LIMIT)):
            output = (await process.communicate())[0].decode()
        assert process.returncode == block.exit_code, f"exit {process.returncode}\n{output}"
        check_printed(command, output, expected)

    async def _leave_running(self, process: asyncio.subprocess.Process, words: str) -> None:
        assert process.stdout is not None
        self.push_async_callback(_end, process)
        printed: list[str] = []
        async with asyncio.timeout(generous(_TIME_LIMIT)):
            while not printed or words not in printed[-1]:
                line = await process.stdout.readline()
                if not line:
                    await process.wait()
                    told = "".join(printed)
                    raise AssertionError(f"it ended without printing {words!r}: {told}")
                printed.append(line.decode())
        self._draining.append(asyncio.ensure_future(process.stdout.read()))


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ask a process that was left running to end, and see that it does."""
    if process.returncode is not None:
        return
    process.terminate()
    async with asyncio.timeout(generous(_TIME_LIMIT)):
        exit_code = await process.wait()
    assert exit_code in _TERMINATED, f"a server left running ended with {exit_code}"


def _read_data(block: Block) -> None:
    match block.language:
        case "text":
            pass
        case "json":
            json.loads(block.text)
        case "yaml":
            yaml.safe_load(block.text)
        case "toml":
            tomllib.loads(block.text)
        case "ini":
            configparser.ConfigParser(interpolation=None).read_string(block.text)
        case "csv":
            lengths = {len(row) for row in csv.reader(block.text.splitlines())}
            assert len(lengths) == 1, "its rows differ in length"
        case other:
            raise AssertionError(f"nobody knows how to run {other or 'a block without language'}")


def commands_of(block: Block) -> list[tuple[str, str | None]]:
    """Return the commands of a block, each with what it must print, if the block says so."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if not any(line.startswith("$ ") for line in lines):
        return [(line, None) for line in lines if line.strip()]
    assert lines[0].startswith("$ "), "the first line is no command"
    commands: list[tuple[str, str | None]] = []
    for line in lines:
        if line.startswith("$ "):
            commands.append((line.removeprefix("$ "), None))
        else:
            command, printed = commands[-1]
            commands[-1] = command, f"{printed or ''}{line.replace('…', '...')}\n"
    return commands


def check_printed(command: str, output: str, expected: str | None) -> None:
    """Compare what a command printed with what its page says, if it says anything."""
    if expected is not None:
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        same = doctest.OutputChecker().check_output(expected, output, flags)
        assert same, f"{command} printed\n{output}\nand not\n{expected}"


def _is_set_up(words: list[str]) -> bool:
    """Tell whether a command only sets up; what it names must exist."""
    match [words[0].removeprefix(".venv/bin/"), *words[1:]]:
        case ["python3", "-m", "venv", _]:
            return True
        case ["pip", "install", *rest]:
            for word in rest:
                if not word.startswith("-"):
                    _check_requirement(word)
            return True
        case ["nox", *rest]:
            noxfile = (ROOT / "noxfile.py").read_text(encoding="utf-8")
            for word in rest[: rest.index("--") if "--" in rest else None]:
                assert word.startswith("-") or f"\ndef {word}(" in noxfile, f"no session {word}"
            return True
    return False


def _check_requirement(word: str) -> None:
    requirement = Requirement(f"esms_async{word[1:]}" if word.startswith(".") else word)
    name = canonicalize_name(requirement.name)
    if name == "esms-async":
        extras = metadata.metadata("esms_async").get_all("Provides-Extra", [])
        assert requirement.extras <= set(extras), f"no such extra in {word}"
        return
    required = metadata.requires("esms_async") or []
    known = {canonicalize_name(Requirement(each).name) for each in required}
    assert name in known | _TOOLS, f"{name} is nothing that this package knows of"


def _check_programs(command: str) -> None:
    at_start = True
    for token in shlex.shlex(command, posix=True, punctuation_chars=True):
        if at_start and "=" not in token:
            program = token.removeprefix(".venv/bin/")
            assert program in _PROGRAMS | _TOOLS, f"nobody knows how to run {program}"
        at_start = token in _SEPARATORS
