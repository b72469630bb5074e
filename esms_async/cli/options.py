"""Options that several commands share, and how commands read their arguments."""

import functools
import os
from collections.abc import Callable, Sequence

import click

from esms_async import Brandname, ConfigurationError, Route
from esms_async._model.routes import parse_route
from esms_async.cli.errors import ExitCode, InputError
from esms_async.cli.gateway import GatewayChoice
from esms_async.cli.words import Language, text

PATH = click.Path(readable=False, allow_dash=True)
"""A path that shells complete. Whoever opens it reports that it can't be read."""


class Context(click.Context):
    """A context that shows help in the language of the environment."""

    def make_formatter(self) -> click.HelpFormatter:
        """Return what lays out the help; see click."""
        if Language.of(os.environ) is Language.ENGLISH:
            return super().make_formatter()
        # Only who reads the help waits for it.
        from esms_async.cli.help_vi import VietnameseFormatter  # noqa: PLC0415  # see above

        return VietnameseFormatter(width=self.terminal_width, max_width=self.max_content_width)


class CommandGroup(click.Group):
    """Commands whose help is in the language of the environment; without one it is shown."""

    context_class: type[click.Context] = Context

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments; see click."""
        if not args and self.no_args_is_help and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(ExitCode.MISUSED)
        return super().parse_args(ctx, args)


class Command(click.Command):
    """A command whose help is in the language of the environment.

    Its error does not show surplus arguments: they may be words of a message.
    """

    allow_extra_args = True
    context_class: type[click.Context] = Context

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


def brandname_option(command: Callable[..., int]) -> Callable[..., int]:
    """Add `--brandname`, which is required."""
    words = "Brandname; its case counts."
    return click.option("--brandname", metavar="NAME", required=True, help=words)(command)


def read_route(route: str | None, brandname: str | None) -> Route | None:
    """Read `--route` and `--brandname`; None where neither was given.

    Raises:
        InputError: Both were given, or one can't be a route.
    """
    if route is not None and brandname is not None:
        raise InputError(text("two_routes"))
    try:
        if brandname is not None:
            return Brandname(brandname)
        return None if route is None else parse_route(route)
    except ConfigurationError as error:
        option = "--route" if brandname is None else "--brandname"
        raise InputError(f"{option}: {error}") from None


def read_params(params: Sequence[str]) -> dict[str, str] | None:
    """Read `--param NAME=VALUE`; None where none was given.

    Raises:
        InputError: One has another form, or a name comes twice.
    """
    read: dict[str, str] = {}
    for param in params:
        name, is_pair, value = param.partition("=")
        if not is_pair or not name:
            raise InputError(text("param"))
        if name in read:
            raise InputError(text("param_twice", name=name))
        read[name] = value
    return read or None


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
