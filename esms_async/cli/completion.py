"""The command `completion`, which writes shell completion scripts."""

import click
from click.shell_completion import get_completion_class

from esms_async.cli.errors import ExitCode
from esms_async.cli.options import Command
from esms_async.cli.running import NAME


def completion_script(command: click.Command, shell: str, name: str) -> str:
    """Return the completion script of a command for `bash`, `zsh` or `fish`.

    The script calls the command by its name to learn its options.
    """
    completion = get_completion_class(shell)
    assert completion is not None  # noqa: S101  # click brings these three
    variable = f"_{name.replace('-', '_').upper()}_COMPLETE"
    return completion(command, {}, name, variable).source()


@click.command("completion", cls=Command, short_help="Print a shell completion script.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(*, shell: str) -> int:
    """Print a script with which SHELL completes the commands and options of esms-async.

    Load it when the shell starts, with this line in ~/.bashrc or ~/.zshrc:

      source <(esms-async completion bash)

    for fish, run once: esms-async completion fish > ~/.config/fish/completions/esms-async.fish
    """
    click.echo(completion_script(click.get_current_context().find_root().command, shell, NAME))
    return ExitCode.ACCEPTED
