"""The command that runs an emulator until Ctrl-C or SIGTERM."""

import asyncio
import signal
from collections.abc import Callable, Mapping
from typing import Any

import click

from esms_async.cli.errors import ExitCode
from esms_async.cli.options import Command, debug_option
from esms_async.cli.running import run_job
from esms_async.cli.screen import Screen
from esms_async.cli.signals import on_signal
from esms_async.cli.words import text
from esms_async.emulator import Emulator
from esms_async.emulator.command import OPTIONS, Option, build
from esms_async.emulator.command import serve as serve_emulator


def emulator_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options of the emulator, which it declares itself."""
    for option in reversed(OPTIONS):
        command = click.option(
            f"--{option.name}",
            metavar=None if option.is_number else option.metavar,
            type=_type(option),
            multiple=option.many,
            default=None if option.many else option.default,
            show_default=option.default is not None,
            envvar=option.variable,
            help=option.words,
            hidden=option.hidden,
        )(command)
    return command


def _type(option: Option) -> "click.ParamType[Any]":
    if not option.is_number:
        return click.STRING
    if option.low is None and option.high is None:
        return click.INT
    return click.IntRange(option.low, option.high)


async def serve(options: Mapping[str, object], screen: Screen) -> ExitCode:
    """Run an emulator until Ctrl-C or SIGTERM; print its URL first.

    Args:
        options: The values of the options by their Python names.
        screen: Where it is said what runs.

    Raises:
        ConfigurationError: A value cannot work, or the port is taken.
    """
    stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    emulator = build(options)

    def greet(emulator: Emulator) -> list[str]:
        inbox = text("emulator_inbox", page=emulator.page, seed=str(emulator.seed))
        return [screen.say_word(text("emulator")), screen.say_word(inbox)]

    def warn(line: str) -> None:
        screen.warn(text("says", problem=line))

    with on_signal(stopped.set_result, times=1):
        number = await serve_emulator(emulator, stopped, screen.put_line, warn, greet)
    return ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.ACCEPTED


@click.command("emulator", cls=Command, short_help="Run a gateway that sends no SMS.")
@emulator_options
@debug_option
def emulator_command(*, debug: bool, **options: object) -> int:
    """Run a gateway on this machine, from which no SMS leaves, until Ctrl-C.

    The first line is its URL, for ESMS_BASE_URL. Others can read keys on a command line, but not
    in ESMS_EMULATOR_API_KEY, _SECRET_KEY and _TOKEN.
    """
    return run_job(lambda screen: serve(options, screen), as_json=True, debug=debug)
