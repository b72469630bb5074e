"""The command line: its commands and their options."""

import io
import os
import sys
from collections.abc import Callable, Coroutine, Sequence

import click

from esms_async import __version__
from esms_async._model.redaction import redact_typed
from esms_async.cli import account, brandname
from esms_async.cli.again import command_line
from esms_async.cli.brandname import check as check_texts
from esms_async.cli.bulk import BulkOptions, bulk, default_batch
from esms_async.cli.bulk import dry_run as check_rows
from esms_async.cli.completion import completion_script
from esms_async.cli.errors import ExitCode, InputError
from esms_async.cli.gateway import GatewayChoice
from esms_async.cli.interrupt import interruptible
from esms_async.cli.ledger_choice import choose_ledger, is_url
from esms_async.cli.ledger_commands import ledger_group
from esms_async.cli.options import (
    PATH,
    Command,
    CommandGroup,
    brandname_option,
    gateway_options,
    read_params,
    read_route,
)
from esms_async.cli.queue_commands import queue_group, worker_command
from esms_async.cli.queued import awaited_rows, bulk_by_queue
from esms_async.cli.rate import Rate
from esms_async.cli.reports import reports_group
from esms_async.cli.rows import Template
from esms_async.cli.running import (
    NAME,
    check_standard_streams,
    complain,
    run_job,
    standard_output_failed,
)
from esms_async.cli.screen import Screen
from esms_async.cli.send import OneMessage, send
from esms_async.cli.spreadsheet import column_name, require_standard_input
from esms_async.cli.words import text


class _EsmsAsync(CommandGroup):
    """The commands; the one that runs an emulator is imported when it is asked for.

    Importing the emulator takes as long as everything else.
    """

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name."""
        if cmd_name == "emulator":
            from esms_async.cli.emulator import emulator_command  # noqa: PLC0415  # see above

            return emulator_command
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return sorted([*super().list_commands(ctx), "emulator"])


@click.group(
    name=NAME,
    cls=_EsmsAsync,
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


@_group.command("bulk", cls=Command, short_help="Send a message to every row of a file.")
@click.argument("file", type=PATH)
@click.option("--content", metavar="TEXT", help="Text, like '{code} is it' [default: a column].")
@click.option("--phone-column", metavar="COLUMN", help="Column of the phone [default: found].")
@click.option("--content-column", metavar="COLUMN", help="Column of the text [default: found].")
@click.option("--brandname", metavar="NAME", help="Send by this brandname.")
@click.option(
    "--route", "route_text", metavar="ROUTE", help="Route [default: ESMS_ROUTE, or fixed]."
)
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="NAME=COLUMN",
    help="Parameter of a Zalo template; repeatable [default: every column].",
)
@click.option("--batch", metavar="NAME", help="Name of the batch [default: name of FILE].")
@click.option("--key", metavar="COLUMN", help="Column that identifies a row [default: the phone].")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 500),
    default=64,
    metavar="N",
    show_default=True,
    help="Most sends at a time.",
)
@click.option("--rate", metavar="N", help="Most requests a second, or a minute: 600/m.")
@click.option("--ledger", type=PATH, metavar="PATH", help="Ledger [default: FILE.ledger].")
@click.option(
    "--no-ledger", is_flag=True, help="Keep no ledger; a later run sends every row again."
)
@click.option("--retry-rejected", is_flag=True, help="Send rows again that were rejected.")
@click.option("--template-changed", is_flag=True, help="Send a new text to rows that nobody got.")
@click.option("--allow-duplicates", is_flag=True, help="Send rows that repeat phone and text.")
@click.option("--allow-again", is_flag=True, help="Send a phone further texts of the batch.")
@click.option(
    "--stop-after",
    type=click.IntRange(0),
    default=50,
    metavar="N",
    show_default=True,
    help="Stop after N rows in a row that could not leave; 0 never stops.",
)
@click.option(
    "--results", type=PATH, metavar="OUT", help="Write every row to OUT.csv or OUT.jsonl."
)
@click.option("--queue", metavar="URL", help="Let the workers of a queue send.")
@click.option("--dry-run", is_flag=True, help="Check and measure every row; send nothing.")
@click.option("--yes", is_flag=True, help="Send without a question.")
@click.option("--quiet", is_flag=True, help="Hide the plan, the progress and the reasons.")
@gateway_options
def _bulk(
    *,
    file: str,
    content: str | None,
    phone_column: str | None,
    content_column: str | None,
    brandname: str | None,
    route_text: str | None,
    params: tuple[str, ...],
    batch: str | None,
    key: str | None,
    concurrency: int,
    rate: str | None,
    ledger: str | None,
    no_ledger: bool,
    retry_rejected: bool,
    template_changed: bool,
    allow_duplicates: bool,
    allow_again: bool,
    stop_after: int,
    results: str | None,
    queue: str | None,
    dry_run: bool,
    yes: bool,
    quiet: bool,
    choice: GatewayChoice,
    as_json: bool,
    debug: bool,
) -> int:
    """Send a message to every row of FILE: CSV, TSV, JSON Lines or .xlsx; - is standard input.

    At a terminal it shows the plan and asks before it sends.
    """
    context = click.get_current_context()

    def job(screen: Screen) -> Coroutine[object, object, ExitCode]:
        choice.check()
        template = None if content is None else Template.parse(content)
        batch_is_new = not batch and file == "-"
        name = batch or default_batch(file)
        # A text without a field is what is sent, and a URL may hold a password.
        secret = (template is not None and not template.fields) or is_url(ledger or "")
        secret = secret or "@" in (queue or "")
        options = BulkOptions(
            file=file,
            template=template,
            phone_column=phone_column,
            content_column=content_column,
            route=read_route(route_text, brandname),
            params=params,
            key=None if key is None else column_name(key),
            batch=name,
            batch_is_new=batch_is_new,
            concurrency=concurrency if queue is None else awaited_rows(context),
            rate=None if rate is None else Rate.parse(rate),
            ledger=choose_ledger(
                file,
                ledger,
                refused=no_ledger,
                sandbox=choice.asks_for_sandbox(),
                emulator=choice.emulator,
            ),
            retry_rejected=retry_rejected,
            template_changed=template_changed,
            allow_duplicates=allow_duplicates,
            allow_again=allow_again,
            stop_after=stop_after,
            sandbox=choice.asks_for_sandbox(),
            dry_run=dry_run,
            results=results,
            yes=yes,
            json=as_json,
            quiet=quiet,
            again=None
            if secret
            else command_line(context, *(("--batch", name) if batch_is_new else ())),
        )
        if dry_run:
            return interruptible(check_rows(options, screen))
        if queue is not None:
            return bulk_by_queue(options, queue, screen)
        return bulk(options, choice, screen)

    return run_job(job, as_json=as_json, debug=debug)


@_group.command("send", cls=Command, short_help="Send one message.")
@click.argument("phone")
@click.argument("content", required=False)
@click.option("--brandname", metavar="NAME", help="Send by this brandname.")
@click.option("--route", metavar="ROUTE", help="As ESMS_ROUTE: brandname:NAME, zalo:OAID:TEMPID.")
@click.option(
    "--param", "params", multiple=True, metavar="NAME=VALUE", help="Of a Zalo template; repeatable."
)
@click.option("--request-id", metavar="ID", help="The RequestId [default: a new one].")
@click.option("--resume", is_flag=True, help="An earlier send of ID may have been accepted.")
@gateway_options
def _send(
    *,
    phone: str,
    content: str | None,
    brandname: str | None,
    route: str | None,
    params: tuple[str, ...],
    request_id: str | None,
    resume: bool,
    choice: GatewayChoice,
    as_json: bool,
    debug: bool,
) -> int:
    """Send CONTENT to PHONE; if CONTENT is -, read it from standard input.

    Without --brandname and --route it travels as ESMS_ROUTE says, or by the fixed number: then the
    phone may ring and read it out.

    Other users of the machine can read a command line, and the shell keeps it in its history:
    pipe a one-time code in.
    """

    def job(screen: Screen) -> Coroutine[object, object, ExitCode]:
        words = _standard_input() if content == "-" else content
        if words is None and not params:
            raise InputError(text("content_or_param"))
        options = OneMessage(
            phone,
            words,
            read_route(route, brandname),
            read_params(params),
            request_id,
            resume,
            as_json,
        )
        return send(options, choice, screen)

    return run_job(job, as_json=as_json, debug=debug)


def _add_query(
    name: str,
    ask: Callable[..., Coroutine[object, object, ExitCode]],
    words: str,
    *parameters: Callable[[Callable[..., int]], Callable[..., int]],
) -> None:
    """Add a command that queries the gateway and sends nothing."""

    def command(
        *,
        choice: GatewayChoice,
        as_json: bool,
        debug: bool,
        **asked: str,
    ) -> int:
        return run_job(
            lambda screen: interruptible(
                ask(choice=choice, screen=screen, as_json=as_json, **asked)
            ),
            as_json=as_json,
            debug=debug,
        )

    for parameter in parameters:
        command = parameter(command)
    short = f"{words.partition(';')[0].rstrip('.')}."
    add = _group.command(name, cls=Command, help=words, short_help=short)
    add(gateway_options(command))


_add_query("balance", account.balance, "Show the balance of the account in dong.")
_add_query(
    "status",
    account.status,
    "Show the status of the message with SMSID; exit with 1 if it is not known, or not yet.",
    click.argument("sms_id", metavar="SMSID"),
)
_add_query(
    "reconcile",
    account.reconcile,
    "Settle the unknown sends of a ledger by the gateway's list; exit with 1 if some stay unknown.",
    click.option("--ledger", "place", type=PATH, required=True, metavar="PATH", help="Ledger."),
)


_add_query(
    "brandnames", brandname.brandnames, "Show the brandnames of the account, and what each is for."
)
_add_query(
    "price",
    brandname.price,
    "Show what sending TEXT to PHONE by a brandname would cost; nothing is sent.",
    brandname_option,
    click.argument("content", metavar="TEXT"),
    click.argument("phone"),
)


@_group.group(
    "templates",
    cls=CommandGroup,
    invoke_without_command=True,
    subcommand_metavar="[check FILE]",
    short_help="Show the templates of a brandname, or check texts.",
)
@click.option("--brandname", "name", metavar="NAME", help="Brandname; its case counts.")
@gateway_options
@click.pass_context
def _templates(
    ctx: click.Context, *, name: str | None, choice: GatewayChoice, as_json: bool, debug: bool
) -> int:
    """Show the templates of a brandname, operator by operator; {P1,20} is 1 to 20 characters."""
    if ctx.invoked_subcommand is not None:
        return ExitCode.ACCEPTED
    if name is None:
        raise click.UsageError("Missing option '--brandname'", ctx)

    return run_job(
        lambda screen: interruptible(brandname.templates(name, choice, screen, as_json=as_json)),
        as_json=as_json,
        debug=debug,
    )


@_templates.command("check", cls=Command, short_help="Check the texts of a file.")
@click.argument("file", type=PATH)
@click.option("--content", metavar="TEXT", help="Text, like '{code} is it'.")
@brandname_option
@gateway_options
def _check(  # the options of one command
    *,
    file: str,
    content: str | None,
    brandname: str,
    choice: GatewayChoice,
    as_json: bool,
    debug: bool,
) -> int:
    """Check the texts of FILE against the templates of a brandname; exit with 1 if one fits none.

    FILE is CSV or JSON Lines with a column content, or has a text on each line; - is standard
    input. Nothing is sent.
    """
    return run_job(
        lambda screen: interruptible(
            check_texts(file, brandname, content, choice, screen, as_json=as_json)
        ),
        as_json=as_json,
        debug=debug,
    )


_group.add_command(ledger_group)
_group.add_command(reports_group)


@_group.command("completion", cls=Command, short_help="Print a shell completion script.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def _completion(*, shell: str) -> int:
    """Print a script with which SHELL completes the commands and options of esms-async.

    Load it when the shell starts, with this line in ~/.bashrc or ~/.zshrc:

      source <(esms-async completion bash)

    for fish, run once: esms-async completion fish > ~/.config/fish/completions/esms-async.fish
    """
    click.echo(completion_script(_group, shell, NAME))
    return ExitCode.ACCEPTED


_group.add_command(worker_command)
_group.add_command(queue_group)


def _standard_input() -> str:
    require_standard_input()
    return sys.stdin.buffer.read().decode("utf-8", "surrogateescape").rstrip("\r\n")


def run(arguments: Sequence[str], command: click.Command = _group, name: str = NAME) -> int:
    """Run a command with its arguments; return the exit code."""
    try:
        check_standard_streams()
    except InputError as error:
        complain(error.words or str(error))
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
        settings = (value for name, value in os.environ.items() if name.startswith("ESMS_"))
        problem = redact_typed(error.format_message().rstrip("."), (*arguments, *settings))
        complain(
            text("says", problem=problem)
            if context is None
            else text("see_help", problem=problem, command=context.command_path)
        )
        return ExitCode.MISUSED
    except (click.Abort, KeyboardInterrupt):
        complain(text("interrupted_here"))
        return ExitCode.INTERRUPTED
    except OSError as error:
        return standard_output_failed(error)
    return int(code)
