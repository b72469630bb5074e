"""A newcomer follows the tutorial to the letter, in a shell that knows nothing of this project.

The Vietnamese tutorial has the same commands, files and outputs; test_pages.py compares them.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, Block, read_blocks
from tests.docs.runner import check_printed, commands_of
from tests.limits import generous

CLONE = [
    "LICENSE",
    "README.md",
    "esms_async",
    "pyproject.toml",
    "pytest_esms_async.py",
    "tools",
]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What a newcomer has cloned, as far as the tutorial needs it."""
    folder = tmp_path / "clone"
    folder.mkdir()
    for name in CLONE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(
                source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
            )
        else:
            shutil.copy(source, folder)
    return folder


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The environment of a newcomer's shell: a Python, and no environment of this project."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python3").symlink_to(Path(sys.base_prefix, "bin", "python3"))
    kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    # Python compiles what is imported; pip would compile all of it.
    kept["PIP_NO_COMPILE"] = "1"
    home = str(Path.home())
    return {**kept, "HOME": home, "LANG": "C.UTF-8", "PATH": f"{programs}:/usr/bin:/bin"}


def follow(block: Block, folder: Path, environ: dict[str, str]) -> None:
    """Do what a block of the tutorial says."""
    if block.language == "python":
        if "fragment" not in block.marks:
            assert "file" in block.marks, f"{block.place}: a program without a name cannot be run"
            (folder / block.marks["file"]).write_text(block.text, encoding="utf-8")
        return
    assert block.language == "console", f"{block.place}: what is to be done with this?"
    for command, expected in commands_of(block):
        ended = subprocess.run(
            ["/bin/bash", "-c", command],
            check=False,
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=generous(120),
        )
        assert ended.returncode == 0, f"{block.place}: {command}\n{ended.stdout}"
        check_printed(command, ended.stdout, expected)


@pytest.mark.once
def test_the_tutorial_works_word_for_word_and_twice(clone: Path, environ: dict[str, str]) -> None:
    """Every file and command of the tutorial works in a clean shell, and again afterwards."""
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    blocks = read_blocks(text, "docs/tutorial.md")
    for _ in range(2):
        for block in blocks:
            follow(block, clone, environ)
    programs = {block.marks["file"] for block in blocks if "file" in block.marks}
    run = " ".join(block.text for block in blocks if block.language == "console")
    assert [name for name in programs if name not in run] == []
