"""The command line that does the same again."""

import shlex

import click
import pytest

from esms_async.cli.again import command_line


@click.command()
@click.argument("file")
@click.option("--batch", default="a")
@click.option("--content")
@click.option("--fault", multiple=True)
@click.option("--number", type=int)
@click.option("--json", "as_json", is_flag=True)
def _command(**_: object) -> None:
    click.echo(command_line(click.get_current_context(), "--more", "a b"))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["a.csv"], ["a.csv"]),
        (["--json", "my file.csv", "--batch", "b"], ["my file.csv", "--batch", "b", "--json"]),
        (
            ["a", "--fault", "x", "--number", "7", "--fault", "y;z"],
            ["a", "--fault", "x", "--fault", "y;z", "--number", "7"],
        ),
        (["a", "--content=-{code}'s"], ["a", "--content=-{code}'s"]),
    ],
)
def test_what_was_given_is_told(
    given: list[str], told: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Every option that was given stands there once, fit for a shell, and no default does."""
    _command.main(given, prog_name="command", standalone_mode=False)
    assert shlex.split(capsys.readouterr().out) == ["command", *told, "--more", "a b"]
