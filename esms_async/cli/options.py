"""What several commands have in common: how they read their arguments, and options they share."""

import functools
from collections.abc import Callable

import click

from esms_async.cli.gateway import GatewayChoice

PATH = click.Path(readable=False, allow_dash=True)
"""What shells complete; whether it can be read is found out, and told, by who reads it."""


class Command(click.Command):
    """A command that does not repeat surplus arguments: they are words of an unquoted text."""

    allow_extra_args = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments; see click."""
        rest = super().parse_args(ctx, args)
        if ctx.args and not ctx.resilient_parsing:
            raise click.UsageError("there are too many arguments; put quotes around each", ctx)
        return rest


def debug_option(command: Callable[..., int]) -> Callable[..., int]:
    """Add `--debug`, which every command takes, and which the error that needs it names.

    Args:
        command: What takes it, as `debug`.

    Returns:
        The same with the option.
    """
    words = "Show where an error comes from."
    return click.option("--debug", is_flag=True, hidden=True, help=words)(command)


def gateway_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options that say which gateway a command uses, `--json` and `--debug`.

    Args:
        command: What takes them: `choice`, a GatewayChoice, with `as_json` and `debug`.

    Returns:
        The same with the options.
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
        click.option("--sandbox", is_flag=True, help="Have messages checked, not sent."),
        click.option("--base-url", metavar="URL", help="Another address of the gateway."),
        click.option("--seed", type=int, metavar="N", help="Make its faults repeatable."),
        click.option("--fault", multiple=True, metavar="SPEC", help="Arm a fault in it; repeat."),
        click.option("--emulator", is_flag=True, help="Use an emulator: no SMS leaves."),
    ):
        decorated = option(decorated)
    return decorated
