"""The commands that query the gateway and send nothing, with their options."""

from collections.abc import Callable, Coroutine

import click

from esms_async.cli import account, brandname
from esms_async.cli.brandname import check as check_texts
from esms_async.cli.errors import ExitCode
from esms_async.cli.gateway import GatewayChoice
from esms_async.cli.interrupt import interruptible
from esms_async.cli.options import PATH, Command, brandname_option, gateway_options
from esms_async.cli.running import run_job


def _query(
    name: str,
    ask: Callable[..., Coroutine[object, object, ExitCode]],
    words: str,
    *parameters: Callable[[Callable[..., int]], Callable[..., int]],
) -> click.Command:
    """Make a command that queries the gateway and sends nothing."""

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
    make = click.command(name, cls=Command, help=words, short_help=short)
    return make(gateway_options(command))


balance_command = _query("balance", account.balance, "Show the balance of the account in dong.")
status_command = _query(
    "status",
    account.status,
    "Show the status of the message with SMSID; exit with 1 if it is not known, or not yet.",
    click.argument("sms_id", metavar="SMSID"),
)
reconcile_command = _query(
    "reconcile",
    account.reconcile,
    "Settle the unknown sends of a ledger by the gateway's list; exit with 1 if some stay unknown.",
    click.option("--ledger", "place", type=PATH, required=True, metavar="PATH", help="Ledger."),
)


brandnames_command = _query(
    "brandnames", brandname.brandnames, "Show the brandnames of the account, and what each is for."
)
price_command = _query(
    "price",
    brandname.price,
    "Show what sending TEXT to PHONE by a brandname would cost; nothing is sent.",
    brandname_option,
    click.argument("content", metavar="TEXT"),
    click.argument("phone"),
)


@click.group(
    "templates",
    invoke_without_command=True,
    subcommand_metavar="[check FILE]",
    short_help="Show the templates of a brandname, or check texts.",
)
@click.option("--brandname", "name", metavar="NAME", help="Brandname; its case counts.")
@gateway_options
@click.pass_context
def templates_group(
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


@templates_group.command("check", cls=Command, short_help="Check the texts of a file.")
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
