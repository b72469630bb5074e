"""The command `reports`: lists delivery reports that failed, and has them handed on again."""

from collections.abc import Callable, Sequence

import click

from esms_async.cli.errors import ExitCode
from esms_async.cli.interrupt import interruptible
from esms_async.cli.ledger import opened, utc
from esms_async.cli.options import PATH, Command, CommandGroup, debug_option
from esms_async.cli.running import run_job
from esms_async.cli.screen import Screen
from esms_async.cli.words import text
from esms_async.ledger import Ledger, LedgerReports, StoredReport


@click.group("reports", cls=CommandGroup, short_help="List and retry delivery reports that failed.")
def reports_group() -> None:
    """List and retry delivery reports that the application's handler failed to take.

    LEDGER is the file of an SQLite ledger, or the redis:// URL of one on Redis. One process at a
    time uses a file, so stop the service first where the ledger is one.
    """


def _command(name: str, short_help: str) -> Callable[[Callable[..., int]], click.Command]:
    """Make a function a command whose first argument is a ledger."""
    command = reports_group.command(name, cls=Command, short_help=short_help)
    place = click.argument("place", metavar="LEDGER", type=PATH)
    return lambda function: command(place(debug_option(function)))


@_command("failed", "List the reports that failed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
def _failed(*, place: str, as_json: bool, debug: bool) -> int:
    """List the reports in LEDGER that are kept as failed; exit with 1 if there are any."""
    return run_job(
        lambda screen: interruptible(failed(place, screen, as_json=as_json)),
        as_json=as_json,
        debug=debug,
    )


@_command("retry", "Hand failed reports on again.")
@click.argument("keys", metavar="[KEY]...", nargs=-1)
def _retry(*, place: str, keys: Sequence[str], debug: bool) -> int:
    """Let the service that receives reports hand failed ones on again: those with a KEY, or all.

    KEY is the first column of `reports failed`; exit with 1 if one of them is not a failed report.
    """
    return run_job(
        lambda screen: interruptible(retry(place, keys, screen)), as_json=False, debug=debug
    )


async def failed(place: str, screen: Screen, *, as_json: bool) -> ExitCode:
    """List the reports that are kept as failed; REFUSED if there are any."""
    count = 0
    async with opened(place, bound=False) as ledger:
        async for report in _reports(ledger).failed_reports():
            count += 1
            if as_json:
                screen.put_json(_described(report))
                continue
            line = text(
                "report_failed",
                report=report.key,
                stored_at=utc(report.stored_at),
                failures=report.failures,
                detail=report.detail or "",
            )
            screen.say(screen.say_word(line).rstrip())
    screen.warn(text("reports_failed", count=count))
    return ExitCode.REFUSED if count else ExitCode.ACCEPTED


async def retry(place: str, keys: Sequence[str], screen: Screen) -> ExitCode:
    """Let failed reports be handed on again; REFUSED if one of the keys is not of a failed one."""
    async with opened(place, bound=False) as ledger:
        reports = _reports(ledger)
        wanted = keys or [report.key async for report in reports.failed_reports()]
        retried = [key for key in wanted if await reports.retry_report(key)]
    for key in wanted:
        if key not in retried:
            screen.warn(text("no_such_report", report=key))
    screen.say(text("reports_retried", count=len(retried)))
    return ExitCode.ACCEPTED if len(retried) == len(wanted) else ExitCode.REFUSED


def _reports(ledger: Ledger) -> LedgerReports:
    assert isinstance(ledger, LedgerReports)  # noqa: S101  # a file's and a server's are
    return ledger


def _described(report: StoredReport) -> dict[str, object]:
    """Return what may be shown of a report: not its text, which holds a phone number."""
    request_id, _, state = report.key.rpartition("#")
    return {
        "key": report.key,
        "request_id": request_id,
        "state": state,
        "failures": report.failures,
        "detail": report.detail,
        "stored_at": utc(report.stored_at),
        "failed_at": utc(report.due_at),
    }
