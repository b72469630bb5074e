"""Checks configuration values and URLs; each error names the value and what it must be."""

import sys
from urllib.parse import urlsplit

from esms_async._model.errors import ConfigurationError, InvalidMessage

_LONGEST_CALLBACK_URL = 2000


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


def check_callback_url(value: object) -> None:
    """Raise InvalidMessage unless a CallbackUrl is an absolute http(s) URL of legal length."""
    if not isinstance(value, str):
        raise InvalidMessage("callback_url", f"must be a str, not {type(value).__name__}")
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        usable = usable and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or not value.isascii() or not value.isprintable() or " " in value:
        raise InvalidMessage("callback_url", "must be an absolute http:// or https:// URL in ASCII")
    if len(value) > _LONGEST_CALLBACK_URL:
        raise InvalidMessage(
            "callback_url", f"has {len(value)} characters; at most {_LONGEST_CALLBACK_URL} are sent"
        )
