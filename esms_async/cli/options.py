"""Options that several commands share, and how commands read their arguments."""

import functools
from collections.abc import Callable

import click

from esms_async.cli.gateway import GatewayChoice

PATH = click.Path(readable=False, allow_dash=True)
"""A path that shells complete. Whoever opens it reports that it can't be read."""


class Command(click.Command):
    """A command whose error does not show surplus arguments: they may be words of a message."""

    allow_extra_args = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments; see click."""
        rest = super().parse_args(ctx, args)
        if ctx.args and not ctx.resilient_parsing:
            raise click.UsageError("there are too many arguments; put quotes around each", ctx)
        return rest


def debug_option(command: Callable[..., int]) -> Callable[..., int]:
    """Add `--debug`, which every command takes as `debug`."""
    words = "Show where an error comes from."
    return click.option("--debug", is_flag=True, hidden=True, help=words)(command)


def gateway_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options of the gateway, `--json` and `--debug`.

    The command takes them as `choice`, a GatewayChoice, `as_json` and `debug`.
    """

    @functools.wraps(command)
    def with_choice(
        *,
        emulator: bool,
        fault: tuple[str, ...],
        seed: int | None,
        base_url: str | None,
        sandbox: bool,
        **others: object,
    ) -> int:
        return command(choice=GatewayChoice(emulator, fault, seed, base_url, sandbox), **others)

    decorated: Callable[..., int] = with_choice
    for option in (
        debug_option,
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end."),
        click.option("--sandbox", is_flag=True, help="Only check messages; send none."),
        click.option("--base-url", metavar="URL", help="URL of the gateway."),
        click.option("--seed", type=int, metavar="N", help="Seed of its random faults."),
        click.option("--fault", multiple=True, metavar="SPEC", help="Inject a fault; repeatable."),
        click.option("--emulator", is_flag=True, help="Send to an emulator; no SMS is sent."),
    ):
        decorated = option(decorated)
    return decorated
