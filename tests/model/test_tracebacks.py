"""Where an error comes from."""

from collections.abc import Callable

import pytest

from esms_async._model.tracebacks import traceback_without_values
from esms_async.cli.errors import InputError

_SECRET = "686868 la ma"


def _fail(secret: str) -> None:
    int(secret)


def _caused(secret: str) -> None:
    try:
        _fail(secret)
    except ValueError as error:
        raise InputError("the file is bad") from error


def _met(secret: str) -> None:
    try:
        _fail(secret)
    except ValueError:
        raise InputError("the file is bad")  # noqa: B904  # the context is the point


def _suppressed(secret: str) -> None:
    try:
        _fail(secret)
    except ValueError:
        raise InputError("the file is bad") from None


def _circular(secret: str) -> None:
    try:
        _fail(secret)
    except ValueError as error:
        told = InputError("the file is bad")
        error.__cause__ = told
        raise told from error


@pytest.mark.parametrize(
    ("fail", "kinds"),
    [
        (_caused, ["ValueError", "InputError: the file is bad"]),
        (_met, ["ValueError", "InputError: the file is bad"]),
        (_suppressed, ["InputError: the file is bad"]),
        (_circular, ["ValueError", "InputError: the file is bad"]),
    ],
)
def test_frames_show_and_foreign_words_do_not(
    fail: Callable[[str], None], kinds: list[str]
) -> None:
    """Every error of the chain shows with its frames; what another library quotes does not."""
    with pytest.raises(InputError) as raised:
        fail(_SECRET)
    shown = traceback_without_values(raised.value)
    assert [line for line in shown.splitlines()[1:] if not line.startswith(" ")] == kinds
    assert fail.__name__ in shown
    assert "686868" not in shown
