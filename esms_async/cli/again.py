"""The command line that does the same again, for a person to copy."""

import shlex
from collections.abc import Iterator
from typing import cast

import click
from click.core import ParameterSource


def command_line(context: click.Context, *more: str) -> str:
    """Return the command line of a command as it was given.

    Args:
        context: The command, whose arguments have been read.
        *more: What is to stand at the end of it.
    """
    words = [word for given in _given(context) for word in given]
    return " ".join((context.command_path, shlex.join([*words, *more])))


def _given(context: click.Context) -> Iterator[list[str]]:
    """Give the words of each parameter that was given, arguments first."""
    for parameter in sorted(
        context.command.params, key=lambda parameter: isinstance(parameter, click.Option)
    ):
        name = parameter.name or ""
        if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        value: object = context.params[name]
        values = cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,)
        for one in map(str, values):
            if not isinstance(parameter, click.Option):
                yield [one]
            elif parameter.is_flag:
                yield [parameter.opts[0]]
            elif one.startswith("-"):
                yield [f"{parameter.opts[0]}={one}"]
            else:
                yield [parameter.opts[0], one]
