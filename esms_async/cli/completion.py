"""What has a shell complete the command."""

import click
from click.shell_completion import get_completion_class


def completion_script(command: click.Command, shell: str, name: str) -> str:
    """Return the script that has a shell complete a command.

    Args:
        command: The command.
        shell: `bash`, `zsh` or `fish`.
        name: The name that the command is called by.

    Returns:
        The script. It calls the command itself to learn what there is to complete.
    """
    completion = get_completion_class(shell)
    assert completion is not None  # noqa: S101  # click brings these three
    variable = f"_{name.replace('-', '_').upper()}_COMPLETE"
    return completion(command, {}, name, variable).source()
