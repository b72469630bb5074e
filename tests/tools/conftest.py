"""Makes `tools` importable, and nothing else of the checkout: the package is the installed one."""

import importlib.util
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"

if "tools" not in sys.modules:
    _spec = importlib.util.spec_from_file_location("tools", TOOLS / "__init__.py")
    assert _spec is not None
    sys.modules["tools"] = importlib.util.module_from_spec(_spec)


@pytest.fixture(autouse=True)
def _tools_in_subprocesses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the processes of a test import `tools`."""
    (tmp_path / "tools").symlink_to(TOOLS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
