"""Checks of configuration values; each error names the value and what it must be."""

import sys

from esms_async._model.errors import ConfigurationError


def check_count(name: str, value: object) -> None:
    """Raise ConfigurationError unless a value is an int of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"{name} must be an int of at least 1, not {value!r}")


def check_seconds(name: str, value: object) -> None:
    """Raise ConfigurationError unless a value is a finite number of seconds above 0."""
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not 0 < value <= sys.float_info.max
    ):
        raise ConfigurationError(f"{name} must be a finite number above 0, not {value!r}")


def check_type(name: str, value: object, kind: type) -> None:
    """Raise ConfigurationError unless a value is of a type; the error does not show the value."""
    if not isinstance(value, kind):
        raise ConfigurationError(f"{name} must be a {kind.__name__}, not a {type(value).__name__}")
