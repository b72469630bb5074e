"""The command line: its options, and how a command that can't go on says so."""

import asyncio
import contextlib
import io
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import TypeVar

import click

from esms_async.cli import ledger as commands
from esms_async.cli.bulk import bulk
from esms_async.cli.debug import traceback_without_values
from esms_async.cli.dry_run import dry_run as check_rows
from esms_async.cli.errors import ExitCode
from esms_async.cli.gateway import GatewayChoice
from esms_async.cli.job import BulkOptions, default_batch
from esms_async.cli.screen import Screen, printable, silence
from esms_async.cli.send import SendOptions, send
from esms_async.cli.template import Template, column_name
from esms_async.errors import EsmsError
from esms_async.redaction import redact
from esms_async.version import __version__

_F = TypeVar("_F", bound=Callable[..., object])
_NAME = "esms-async"


class _Command(click.Command):
    """A command that does not repeat surplus arguments: they are words of an unquoted text."""

    allow_extra_args = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        if ctx.args and not ctx.resilient_parsing:
            raise click.UsageError("there are too many arguments; put quotes around each", ctx)
        return rest


def _gateway_options(command: _F) -> _F:
    """Add the options that say which gateway a command uses."""
    for option in (
        click.option("--debug", is_flag=True, help="Show where an error comes from."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end."),
        click.option("--sandbox", is_flag=True, help="Have messages checked, not sent."),
        click.option("--base-url", metavar="URL", help="Another address of the gateway."),
        click.option("--seed", type=int, metavar="N", help="Make its faults repeatable."),
        click.option("--fault", multiple=True, metavar="SPEC", help="Arm a fault in it; repeat."),
        click.option("--emulator", is_flag=True, help="Use an emulator: no SMS leaves."),
    ):
        command = option(command)
    return command


@click.group(
    name=_NAME,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name=_NAME, message="%(prog)s %(version)s")
@click.pass_context
def _group(ctx: click.Context) -> int:
    """Send OTP messages through eSMS.vn, each phone at most once.

    The account's keys are read from ESMS_API_KEY and ESMS_SECRET_KEY; with --emulator none are
    needed, and no SMS leaves this machine.

    Exit codes: 0 all accepted, 1 some not, 2 wrong use or unreadable input, 3 the account can't
    send, 130 interrupted.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
    return ExitCode.MISUSED


@_group.command("bulk", cls=_Command, short_help="Send a message to every row of a file.")
@click.argument("file")
@click.option("--content", metavar="TEXT", help="Template, as '{code} is your code'.")
@click.option("--batch", metavar="NAME", help="Name of this sending [default: the file's].")
@click.option("--key", metavar="COLUMN", help="Column that tells the rows apart.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 500),
    default=64,
    metavar="N",
    show_default=True,
    help="Sends under way at most.",
)
@click.option("--results", metavar="OUT", help="List every row in OUT.csv or OUT.jsonl.")
@click.option("--dry-run", is_flag=True, help="Check and measure every row, send nothing.")
@click.option("--quiet", is_flag=True, help="Show neither progress nor refused rows.")
@_gateway_options
def _bulk(
    *,
    file: str,
    content: str | None,
    batch: str | None,
    key: str | None,
    concurrency: int,
    results: str | None,
    dry_run: bool,
    quiet: bool,
    emulator: bool,
    fault: tuple[str, ...],
    seed: int | None,
    base_url: str | None,
    sandbox: bool,
    as_json: bool,
    debug: bool,
) -> int:
    """Send a message to every row of FILE, or of standard input (-).

    FILE is CSV with a header (columns phone and content, or those that --content names) or
    JSON Lines, in UTF-8. The same row of the same batch keeps its RequestId.
    """

    def job(screen: Screen) -> Coroutine[object, object, ExitCode]:
        options = BulkOptions(
            file=file,
            template=None if content is None else Template.parse(content),
            key=None if key is None else column_name(key),
            batch=batch or default_batch(file),
            batch_is_new=not batch and file == "-",
            concurrency=concurrency,
            results=results,
            json=as_json,
            quiet=quiet,
        )
        choice = GatewayChoice(emulator, fault, seed, base_url, sandbox)
        choice.check()
        return check_rows(options, screen) if dry_run else bulk(options, choice, screen)

    return _run(job, as_json=as_json, debug=debug)


@_group.command("send", cls=_Command, short_help="Send one message.")
@click.argument("phone")
@click.argument("content")
@click.option("--request-id", metavar="ID", help="The RequestId [default: a new one].")
@click.option("--resume", is_flag=True, help="An earlier send with ID may have arrived.")
@_gateway_options
def _send(
    *,
    phone: str,
    content: str,
    request_id: str | None,
    resume: bool,
    emulator: bool,
    fault: tuple[str, ...],
    seed: int | None,
    base_url: str | None,
    sandbox: bool,
    as_json: bool,
    debug: bool,
) -> int:
    """Send CONTENT to PHONE; a CONTENT of - is read from standard input.

    What is typed on a command line can be read by others on the machine, and stays in the
    history of the shell: pipe a one-time code in.
    """

    def job(screen: Screen) -> Coroutine[object, object, ExitCode]:
        text = _standard_input() if content == "-" else content
        choice = GatewayChoice(emulator, fault, seed, base_url, sandbox)
        return send(SendOptions(phone, text, request_id, resume, as_json), choice, screen)

    return _run(job, as_json=as_json, debug=debug)


@_group.group("ledger", short_help="Look at what a ledger knows of each send.")
def _ledger() -> None:
    """Look at what a ledger knows of each send.

    LEDGER is the file of an SQLite ledger, or the redis:// URL of one on Redis.
    """


_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
_DEBUG = click.option("--debug", is_flag=True, help="Show where an error comes from.")


@_ledger.command("show", cls=_Command, short_help="Show one send.")
@click.argument("ledger")
@click.argument("request_id")
@_JSON
@_DEBUG
def _show(*, ledger: str, request_id: str, as_json: bool, debug: bool) -> int:
    """Show what LEDGER holds of the send with REQUEST_ID; exit with 1 where it holds nothing."""
    return _run(
        lambda screen: commands.show(ledger, request_id, screen, as_json=as_json),
        as_json=as_json,
        debug=debug,
    )


@_ledger.command("unsettled", cls=_Command, short_help="List what may have been accepted.")
@click.argument("ledger")
@_JSON
@_DEBUG
def _unsettled(*, ledger: str, as_json: bool, debug: bool) -> int:
    """List the sends in LEDGER that may have been accepted; exit with 1 where there are any."""
    return _run(
        lambda screen: commands.unsettled(ledger, screen, as_json=as_json),
        as_json=as_json,
        debug=debug,
    )


@_ledger.command("prune", cls=_Command, short_help="Forget old sends.")
@click.argument("ledger")
@click.option("--older-than", default="30d", show_default=True, metavar="TIME", help="As 12h.")
@click.option("--unsettled", is_flag=True, help="Forget those too that may have been accepted.")
@_DEBUG
def _prune(*, ledger: str, older_than: str, unsettled: bool, debug: bool) -> int:
    """Forget the sends in LEDGER that did not change for a time.

    A message that is sent again after that is sent as a new one.
    """
    return _run(
        lambda screen: commands.prune(ledger, older_than, screen, unsettled=unsettled),
        as_json=False,
        debug=debug,
    )


@_ledger.command("export", cls=_Command, short_help="Print every send.")
@click.argument("ledger")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, not JSON.")
@_DEBUG
def _export(*, ledger: str, as_csv: bool, debug: bool) -> int:
    """Print every send in LEDGER, one JSON object a line."""
    return _run(
        lambda screen: commands.export(ledger, screen, as_csv=as_csv), as_json=True, debug=debug
    )


def _standard_input() -> str:
    return sys.stdin.buffer.read().decode("utf-8", "surrogateescape").rstrip("\r\n")


def _run(
    job: Callable[[Screen], Coroutine[object, object, ExitCode]], *, as_json: bool, debug: bool
) -> int:
    """Run a job, and tell in one line what ended it."""
    try:
        return asyncio.run(job(Screen(for_program=as_json)))
    except Exception as error:  # noqa: BLE001  # a person gets one line, whatever it is
        if debug:
            sys.stderr.write(traceback_without_values(error))
        if isinstance(error, EsmsError):
            _complain(str(error))
            return ExitCode.MISUSED
        if isinstance(error, OSError) and error.strerror:
            return _standard_output_failed(error)
        # Its own words could hold anything, a one-time code too.
        _complain(f"an error of this program ({type(error).__name__}); --debug shows where")
        return ExitCode.REFUSED


def _standard_output_failed(error: OSError) -> int:
    # Any file of the job has an error of its own.
    silence(sys.stdout)
    _complain(f"cannot write: {error.strerror}")
    return ExitCode.MISUSED


def _complain(problem: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        sys.stderr.write(f"{_NAME}: {printable(problem)}\n")
        sys.stderr.flush()


def run(arguments: Sequence[str]) -> int:
    """Run the command.

    Args:
        arguments: The arguments after the name of the program.

    Returns:
        The exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        # A name or a word that the terminal can't show is no reason to end.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        code = _group.main(list(arguments), prog_name=_NAME, standalone_mode=False)
    except click.ClickException as error:
        # What was typed may be a phone number, or a text without quotes.
        context = error.ctx if isinstance(error, click.UsageError) else None
        hint = f"; see {context.command_path} --help" if context else ""
        _complain(redact(error.format_message().rstrip(".")) + hint)
        return ExitCode.MISUSED
    except (click.Abort, KeyboardInterrupt):
        _complain("interrupted")
        return ExitCode.INTERRUPTED
    except OSError as error:
        return _standard_output_failed(error)
    return int(code)
