"""The command line: the names of its commands, and how one of them is run."""

import importlib
import io
import sys
from collections.abc import Sequence
from typing import Final, cast

import click

from esms_async import __version__
from esms_async._model.redaction import redact
from esms_async.cli.errors import ExitCode, InputError
from esms_async.cli.running import (
    NAME,
    check_standard_streams,
    complain,
    standard_output_failed,
)

_LATER: Final = {
    "balance": "query_commands:balance_command",
    "brandnames": "query_commands:brandnames_command",
    "bulk": "sending_commands:bulk_command",
    "completion": "completion:completion_command",
    "emulator": "emulator:emulator_command",
    "ledger": "ledger_commands:ledger_group",
    "price": "query_commands:price_command",
    "queue": "queue_commands:queue_group",
    "reconcile": "query_commands:reconcile_command",
    "reports": "reports:reports_group",
    "send": "sending_commands:send_command",
    "status": "query_commands:status_command",
    "templates": "query_commands:templates_group",
    "worker": "queue_commands:worker_command",
}


class _CommandGroup(click.Group):
    """The commands, each of which is imported when it is asked for.

    Importing them all takes as long as a short command itself, and the emulator twice as long.
    """

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # as click says
        """Return a command by its name."""
        if cmd_name not in _LATER:
            return None
        module, _, name = _LATER[cmd_name].partition(":")
        found = importlib.import_module(f"esms_async.cli.{module}")
        return cast("click.Command", getattr(found, name))

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # as click says
        """Return the names of the commands."""
        return sorted(_LATER)


@click.group(
    name=NAME,
    cls=_CommandGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name=NAME, message="%(prog)s %(version)s")
@click.pass_context
def _group(ctx: click.Context) -> int:
    """Send OTP messages through eSMS.vn, each phone at most once.

    Set the keys in ESMS_API_KEY and ESMS_SECRET_KEY; --emulator needs none.

    Exit codes: 0 all accepted, 1 some not, 2 wrong use or unreadable input, 3 the gateway refuses
    the account, 4 the gateway can't be reached, 130 interrupted.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
    return ExitCode.MISUSED


def run(arguments: Sequence[str], command: click.Command = _group, name: str = NAME) -> int:
    """Run a command with its arguments; return the exit code."""
    try:
        check_standard_streams()
    except InputError as error:
        complain(str(error))
        return ExitCode.MISUSED
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal can't show must not end the command.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        code = command.main(list(arguments), prog_name=name, standalone_mode=False)
    except click.ClickException as error:
        # What was typed may be a phone number, or a text without quotes.
        context = error.ctx if isinstance(error, click.UsageError) else None
        hint = f"; see {context.command_path} --help" if context else ""
        complain(redact(error.format_message().rstrip(".")) + hint)
        return ExitCode.MISUSED
    except (click.Abort, KeyboardInterrupt):
        complain("interrupted")
        return ExitCode.INTERRUPTED
    except OSError as error:
        return standard_output_failed(error)
    return int(code)
