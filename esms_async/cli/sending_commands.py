"""The commands that send, with their options."""

import sys
from collections.abc import Coroutine

import click

from esms_async.cli.again import command_line
from esms_async.cli.bulk import BulkOptions, bulk, default_batch
from esms_async.cli.bulk import dry_run as check_rows
from esms_async.cli.errors import ExitCode, InputError
from esms_async.cli.gateway import GatewayChoice
from esms_async.cli.interrupt import interruptible
from esms_async.cli.ledger_choice import choose_ledger, is_url
from esms_async.cli.options import PATH, Command, gateway_options, read_params, read_route
from esms_async.cli.queued import awaited_rows, bulk_by_queue
from esms_async.cli.rate import Rate
from esms_async.cli.rows import Template
from esms_async.cli.running import run_job
from esms_async.cli.screen import Screen
from esms_async.cli.send import OneMessage, send
from esms_async.cli.spreadsheet import column_name, require_standard_input


@click.command("bulk", cls=Command, short_help="Send a message to every row of a file.")
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
def bulk_command(
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


@click.command("send", cls=Command, short_help="Send one message.")
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
def send_command(
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
        text = _standard_input() if content == "-" else content
        if text is None and not params:
            raise InputError("give the CONTENT to send, or --param for a Zalo template")
        options = OneMessage(
            phone,
            text,
            read_route(route, brandname),
            read_params(params),
            request_id,
            resume,
            as_json,
        )
        return send(options, choice, screen)

    return run_job(job, as_json=as_json, debug=debug)


def _standard_input() -> str:
    require_standard_input()
    return sys.stdin.buffer.read().decode("utf-8", "surrogateescape").rstrip("\r\n")
