"""The command `ledger` and those below it, with their options."""

from collections.abc import Callable

import click

from esms_async.cli import ledger as jobs
from esms_async.cli.interrupt import interruptible
from esms_async.cli.options import PATH, Command, CommandGroup, debug_option
from esms_async.cli.running import run_job


@click.group("ledger", cls=CommandGroup, short_help="Look at what a ledger knows of each send.")
def ledger_group() -> None:
    """Look at what a ledger knows of each send.

    LEDGER is the file of an SQLite ledger, or the redis:// URL of one on Redis.
    """


_json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, one object a line."
)


def _command(name: str, short_help: str) -> Callable[[Callable[..., int]], click.Command]:
    """Make a function a command whose first argument is a ledger."""
    command = ledger_group.command(name, cls=Command, short_help=short_help)
    place = click.argument("place", metavar="LEDGER", type=PATH)
    return lambda function: command(place(debug_option(function)))


@_command("show", "Show one send.")
@click.argument("request_id")
@_json_option
def _show(*, place: str, request_id: str, as_json: bool, debug: bool) -> int:
    """Show what LEDGER holds of the send with REQUEST_ID; exit with 1 if it holds nothing."""
    return run_job(
        lambda screen: interruptible(jobs.show(place, request_id, screen, as_json=as_json)),
        as_json=as_json,
        debug=debug,
    )


@_command("unsettled", "List what may have been accepted.")
@_json_option
def _unsettled(*, place: str, as_json: bool, debug: bool) -> int:
    """List the sends in LEDGER whose outcome is unknown; exit with 1 if there are any."""
    return run_job(
        lambda screen: interruptible(jobs.unsettled(place, screen, as_json=as_json)),
        as_json=as_json,
        debug=debug,
    )


@_command("prune", "Delete old sends.")
@click.option("--older-than", default="30d", show_default=True, metavar="TIME", help="As 12h.")
@click.option("--unsettled", is_flag=True, help="Delete unknown ones too.")
def _prune(*, place: str, older_than: str, unsettled: bool, debug: bool) -> int:
    """Delete the sends in LEDGER that did not change for a time.

    A message that is sent again after that is sent as a new one. Delivery reports that were handed
    on go with them; with --unsettled, all reports.
    """
    return run_job(
        lambda screen: interruptible(jobs.prune(place, older_than, screen, unsettled=unsettled)),
        as_json=False,
        debug=debug,
    )


@_command("export", "Print every send.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, not JSON.")
def _export(*, place: str, as_csv: bool, debug: bool) -> int:
    """Print every send in LEDGER, one JSON object a line."""
    return run_job(
        lambda screen: interruptible(jobs.export(place, screen, as_csv=as_csv)),
        as_json=True,
        debug=debug,
    )


@_command("rebind", "Go on after new keys of the same account.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def _rebind(*, place: str, yes: bool, debug: bool) -> int:
    """Bind LEDGER to the account of ESMS_API_KEY, after new keys of the same account.

    A ledger holds what one account has sent. With another account, a message in doubt could reach
    its phone twice.
    """
    return run_job(
        lambda screen: interruptible(jobs.rebind(place, screen, yes=yes)),
        as_json=False,
        debug=debug,
    )
