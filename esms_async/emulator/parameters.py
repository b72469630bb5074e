"""Reads the parameters of a control request; each error names the value and says what is taken."""

import enum
import math
from collections.abc import Mapping
from typing import TypeVar

from esms_async.errors import ConfigurationError

_LONGEST_WORD = 60
_LARGEST = 10**15
_E = TypeVar("_E", bound=enum.StrEnum)


def quote(text: str) -> str:
    """Return what was written, in quotes and short."""
    return repr(text if len(text) <= _LONGEST_WORD else text[:_LONGEST_WORD] + "…")


class Parameters:
    """The query of a control request.

    Args:
        query: The query.
        *names: The parameters that it may have.

    Raises:
        ConfigurationError: It has another.
    """

    def __init__(self, query: Mapping[str, str], *names: str) -> None:
        for name in query:
            if name not in names:
                known = f"there are {', '.join(names)}" if names else "there are none here"
                raise ConfigurationError(f"there is no parameter {quote(name)}; {known}")
        self._query = query

    def text(self, name: str) -> str | None:
        """Return a text, or None where it is not given or empty."""
        return self._query.get(name) or None

    def count(self, name: str, default: int, *, low: int = 0, high: int = _LARGEST) -> int:
        """Return a whole number."""
        written = self._query.get(name)
        if written is None:
            return default
        if written.isascii() and written.isdigit() and len(written) <= 16:
            number = int(written)
            if low <= number <= high:
                return number
        bound = f"{low} or more" if high == _LARGEST else f"from {low} to {high}"
        raise ConfigurationError(f"{name} must be a whole number, {bound}, not {quote(written)}")

    def seconds(self, name: str, default: float, high: float) -> float:
        """Return a time."""
        written = self._query.get(name)
        if written is None:
            return default
        try:
            seconds = float(written)
        except ValueError:
            seconds = math.nan
        if not 0 <= seconds <= high:
            raise ConfigurationError(
                f"{name} must be seconds from 0 to {high:g}, not {quote(written)}"
            )
        return seconds

    def choice(self, name: str, choices: type[_E]) -> _E | None:
        """Return one of some words, or None where it is not given."""
        written = self._query.get(name)
        if written is None:
            return None
        if written not in list(choices):
            raise ConfigurationError(
                f"{name} must be one of {', '.join(choices)}, not {quote(written)}"
            )
        return choices(written)
