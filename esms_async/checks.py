"""Checks of configuration values; each error names the value and what it must be."""

import sys

from esms_async.errors import ConfigurationError


def check_count(name: str, value: object) -> None:
    """Refuse what is no whole number of at least 1.

    Args:
        name: The name of the value.
        value: The value.

    Raises:
        ConfigurationError: It is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"{name} must be an int of at least 1, not {value!r}")


def check_seconds(name: str, value: object) -> None:
    """Refuse what is no duration above 0.

    Args:
        name: The name of the value.
        value: The value, in seconds.

    Raises:
        ConfigurationError: It is none.
    """
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not 0 < value <= sys.float_info.max
    ):
        raise ConfigurationError(f"{name} must be a finite number above 0, not {value!r}")


def check_type(name: str, value: object, kind: type) -> None:
    """Refuse what is not of a type.

    Args:
        name: The name of the value.
        value: The value, which the error does not show.
        kind: The type it must be of.

    Raises:
        ConfigurationError: It is not.
    """
    if not isinstance(value, kind):
        raise ConfigurationError(f"{name} must be a {kind.__name__}, not a {type(value).__name__}")
