"""Writes shell completion scripts."""

import click
from click.shell_completion import get_completion_class


def completion_script(command: click.Command, shell: str, name: str) -> str:
    """Return the completion script of a command for `bash`, `zsh` or `fish`.

    The script calls the command by its name to learn its options.
    """
    completion = get_completion_class(shell)
    assert completion is not None  # noqa: S101  # click brings these three
    variable = f"_{name.replace('-', '_').upper()}_COMPLETE"
    return completion(command, {}, name, variable).source()
