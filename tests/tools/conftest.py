"""Lets the processes of a test import `tools`."""

from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture(autouse=True)
def _tools_in_subprocesses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tools").symlink_to(TOOLS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
