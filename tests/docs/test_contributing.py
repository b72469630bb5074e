"""CONTRIBUTING describes the repository as it is: its places exist, its commands select tests."""

import os
import re
import shlex
import subprocess
import sys

import pytest

from tests.docs.blocks import ROOT, read_blocks

# The walk at the end copies its programs from the README.
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("### The walk")[0]

# A folder ends in a slash, a file in a suffix.
_PLACES = sorted(set(re.findall(r"`((?:[\w.-]+/)+(?:[\w.-]+\.\w+)?|\w+\.(?:py|md|toml))`", TEXT)))


def commands() -> list[list[str]]:
    """The options of the example commands that run a part of the tests."""
    lines = [
        line.removeprefix("$ ").partition("#")[0]
        for block in read_blocks(TEXT, "CONTRIBUTING.md")
        if block.language == "console"
        for line in block.text.splitlines()
        if line.startswith("$ .venv/bin/pytest ")
    ]
    lines += re.findall(r"`nox -s tests\S* -- ([^`]+)`", TEXT)
    # How many processes there are selects nothing.
    options = [
        shlex.split(line.removeprefix(".venv/bin/pytest").replace("-n auto", "")) for line in lines
    ]
    return [each for each in options if each]


def is_there(place: str) -> bool:
    """Tell whether a file or folder exists."""
    return (ROOT / place).is_dir() if place.endswith("/") else (ROOT / place).is_file()


def test_what_is_looked_for_is_found() -> None:
    """The map names every folder of the package and the other folders of the repository."""
    folders = {
        f"{path.relative_to(ROOT)}/"
        for path in (ROOT / "esms_async").iterdir()
        if (path / "__init__.py").exists()
    }
    assert folders | {"benchmarks/", "docs/", "tests/", "tools/"} <= set(_PLACES)
    assert len(commands()) == 3


@pytest.mark.parametrize("place", _PLACES)
def test_every_place_exists(place: str) -> None:
    """A file or folder that the page names is where it says."""
    assert is_there(place), f"there is no {place}"


def test_a_place_that_is_gone_is_noticed() -> None:
    """The test above can fail."""
    assert not is_there("esms_async/nowhere/")
    assert not is_there("esms_async/nowhere.py")


@pytest.mark.once
@pytest.mark.parametrize("options", commands(), ids=shlex.join)
def test_every_example_selects_a_test(options: list[str]) -> None:
    """An example command of pytest selects at least one test."""
    assert selected(options) > 0


def test_an_example_that_selects_nothing_is_noticed() -> None:
    """The test above can fail."""
    assert selected(["tests/docs/test_contributing.py", "-k", "no_test_has_this_name"]) == 0


def selected(options: list[str]) -> int:
    """Return how many tests pytest selects with some options."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "--collect-only",
            "-q",
            "-p",
            "no:cacheprovider",
            *options,
        ],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 5), done.stdout + done.stderr
    return sum("::" in line for line in done.stdout.splitlines())
