"""What has a shell complete the command."""

import pytest

from esms_async.cli.app import run as run_here
from tests.cli.support import run_apart


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_calls_the_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each shell gets a script of its own, which asks the command what there is to complete."""
    assert run_here(["completion", shell]) == 0
    assert f"_ESMS_ASYNC_COMPLETE={shell}_complete" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "completed"),
    [("esms-async bul", "plain,bulk"), ("esms-async bulk --led", "plain,--ledger")],
)
def test_the_command_answers_the_script(typed: str, completed: str) -> None:
    """Commands and options are completed."""
    asked = {
        "_ESMS_ASYNC_COMPLETE": "bash_complete",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(typed.count(" ")),
    }
    done = run_apart(extra=asked)
    assert (done.returncode, done.stdout.splitlines()) == (0, [completed])


def test_files_are_completed_by_the_shell() -> None:
    """Where a file is asked for, the shell completes it itself."""
    asked = {
        "_ESMS_ASYNC_COMPLETE": "bash_complete",
        "COMP_WORDS": "esms-async bulk recip",
        "COMP_CWORD": "2",
    }
    assert run_apart(extra=asked).stdout.splitlines() == ["file,recip"]


def test_another_shell_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    """A shell that is not known is one line that names those that are."""
    assert run_here(["completion", "tcsh"]) == 2
    assert "bash" in capsys.readouterr().err
