"""The settings of the emulated gateway, declared once for Python, `--set`, HTTP and OpenAPI.

Each setting marked `assumed` stands for something that only a real account can tell.
"""

import enum
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeVar, cast

import attrs

from esms_async._model.errors import ConfigurationError

# "900", "900ms", "2s", "1.5m", "24h"; a bare number is seconds.
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|)")
_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}
_YES = frozenset({"1", "true", "yes", "on"})
_NO = frozenset({"0", "false", "no", "off"})
_LONGEST_PATTERN = 200
_LARGEST = 10**12
_T = TypeVar("_T")


class Check(enum.StrEnum):
    """One thing that the gateway looks at before it accepts a send."""

    KEYS = "keys"
    ACCOUNT = "account"
    TYPE = "type"
    PHONE = "phone"
    CONTENT = "content"
    REQUEST_ID = "request_id"
    BALANCE = "balance"


class AccountState(enum.StrEnum):
    """What is wrong with an account, if anything; an empty balance is a matter of `balance`."""

    ACTIVE = "active"
    LOCKED = "locked"
    IP_NOT_LISTED = "ip_not_listed"
    NO_PRICE_LIST = "no_price_list"


def read_duration(text: str) -> float | None:
    """Return the seconds of a time such as `500ms`, `2s`, `5m`, `1h` or `2`, or None."""
    match = _DURATION.fullmatch(text)
    return None if match is None else float(match[1]) * _UNITS[match[2]]


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Compile a pattern that finds a code in a text.

    Raises:
        ConfigurationError: It is too long, or no regular expression.
    """
    if len(pattern) > _LONGEST_PATTERN:
        raise ConfigurationError(f"pattern must have at most {_LONGEST_PATTERN} characters")
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ConfigurationError(
            f"pattern must be a regular expression, not {pattern[:60]!r} ({error})"
        ) from None


@attrs.frozen
class Type:
    """A type of setting: what fits, how it is written, and its JSON Schema."""

    words: str
    schema: Mapping[str, object]
    fits: Callable[[object], bool]
    read: Callable[[str], object]
    from_json: Callable[[object], object] = lambda value: value


def _is_number(value: object) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and 0 <= value <= _LARGEST
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST


def _read_count(text: str) -> object:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else None


def _read_switch(text: str) -> object:
    word = text.lower()
    return word in _YES if word in _YES | _NO else None


def _read_words(text: str) -> object:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _is_words(value: object) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(word, str) and word for word in cast("tuple[object, ...]", value)
    )


def _are_checks(value: object) -> bool:
    return isinstance(value, tuple) and sorted(map(str, cast("tuple[object, ...]", value))) == (
        sorted(Check)
    )


def _read_checks(text: str) -> object:
    return _to_checks(list(cast("tuple[str, ...]", _read_words(text))))


def _to_checks(value: object) -> object:
    words = cast("list[object]", value) if isinstance(value, list) else []
    return tuple(Check(word) for word in words if isinstance(word, str) and word in list(Check))


def _to_whole(value: object) -> object:
    """Return what JSON calls a whole number, such as 850.0, as one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _to_tuple(value: object) -> object:
    return tuple(cast("list[object]", value)) if isinstance(value, list) else value


def _to_list(value: object) -> object:
    return list(cast("tuple[object, ...]", value)) if isinstance(value, tuple) else value


_WHOLE = {"type": "integer", "minimum": 0, "maximum": _LARGEST}
_SOME = {**_WHOLE, "minimum": 1}
_SECONDS = Type(
    f"seconds, from 0 to {_LARGEST}",
    {"type": "number", "minimum": 0, "maximum": _LARGEST},
    _is_number,
    read_duration,
)
_TIMEOUT = Type(
    f"seconds, more than 0 and at most {_LARGEST}",
    {"type": "number", "exclusiveMinimum": 0, "maximum": _LARGEST},
    lambda value: _is_number(value) and value != 0,
    read_duration,
)
_COUNT = Type(f"a whole number, from 0 to {_LARGEST}", _WHOLE, _is_count, _read_count, _to_whole)
_SIZE = Type(
    f"a whole number, from 1 to {_LARGEST}",
    _SOME,
    lambda value: _is_count(value) and value != 0,
    _read_count,
    _to_whole,
)
_RATE = Type(
    f"a whole number, from 1 to {_LARGEST}, or none",
    {"oneOf": [{"type": "null"}, _SOME]},
    lambda value: value is None or (_is_count(value) and value != 0),
    lambda text: None if text in ("", "none") else _read_count(text) or "",
    _to_whole,
)
_STATUS = Type(
    "200 or 400", {"enum": [200, 400]}, lambda value: value in (200, 400), _read_count, _to_whole
)
_SWITCH = Type(
    "true or false", {"type": "boolean"}, lambda value: isinstance(value, bool), _read_switch
)
_WORDS = Type(
    "a list of words",
    {"type": "array", "items": {"type": "string", "minLength": 1}},
    _is_words,
    _read_words,
    _to_tuple,
)
_ORDER = Type(
    f"a list that must name each of these once: {', '.join(Check)}",
    {
        "type": "array",
        "items": {"enum": list(Check)},
        "minItems": len(Check),
        "maxItems": len(Check),
        "uniqueItems": True,
    },
    _are_checks,
    _read_checks,
    _to_checks,
)
_PATTERN = Type(
    "a regular expression, or none",
    {"oneOf": [{"type": "null"}, {"type": "string", "minLength": 1, "maxLength": 200}]},
    lambda value: value is None or (isinstance(value, str) and value != ""),
    lambda text: text or None,
)


def _field(kind: Type, default: _T, words: str, *, live: bool = True) -> _T:
    """Declare a setting; one that is not `live` is fixed when the emulator starts."""

    def check(_: object, attribute: "attrs.Attribute[_T]", value: object) -> None:
        if not kind.fits(value):
            raise ConfigurationError(f"{attribute.name} must be {kind.words}")
        if kind is _PATTERN and isinstance(value, str):
            compile_pattern(value)

    metadata = {"type": kind, "words": words, "live": live}
    return attrs.field(default=default, validator=check, metadata=metadata)


@attrs.frozen(kw_only=True)
class Settings:
    """How the emulated gateway behaves. Times are seconds, prices are dong.

    `SETTINGS` describes each one; the docs list them all.

    Raises:
        ConfigurationError: A value cannot work; the error names it.
    """

    # assumed: the order.
    checks: tuple[Check, ...] = _field(
        _ORDER,
        tuple(Check),
        "The order in which a send is checked; the first check that fails answers.",
    )
    # "Send fixed number with cheap price", field RequestId: 24 hours.
    dedup_window: float = _field(_SECONDS, 24 * 3600.0, "How long a RequestId is remembered.")
    # assumed: the nine that follow.
    refuses_duplicates: bool = _field(
        _SWITCH, default=True, words="Answers 124 to a RequestId that was used."
    )
    rejection_status: int = _field(
        _STATUS, 200, "The HTTP status of an answer with a code other than 100."
    )
    unreadable_status: int = _field(
        _STATUS, 400, "The HTTP status of the page that answers what can't be read."
    )
    rejection_uses_request_id: bool = _field(
        _SWITCH, default=False, words="A rejected send uses up its RequestId."
    )
    sandbox_remembers_request_ids: bool = _field(
        _SWITCH, default=False, words="Sandbox sends use up their RequestIds."
    )
    sandbox_needs_balance: bool = _field(
        _SWITCH, default=False, words="Refuses a sandbox send that the balance does not cover."
    )
    duplicate_tells_status: bool = _field(
        _SWITCH, default=False, words="Puts SendStatus into the answer 124."
    )
    invalid_status: int = _field(_STATUS, 200, 'The HTTP status of {"error": …}.')
    sends_per_second: int | None = _field(
        _RATE, None, "More sends than this in one second get HTTP 429; none sets no limit."
    )
    # The page "Get send status" shows 850.0000 for one message; assumed: no part counts extra.
    price: int = _field(_COUNT, 850, "The price of one accepted SMS, in dong.")
    # assumed: no page shows one.
    zalo_price: int = _field(_COUNT, 300, "The price of one accepted Zalo message, in dong.")
    blocked_words: tuple[str, ...] = _field(
        _WORDS, (), "A content that holds one, in any case, is refused with code 201."
    )
    otp_pattern: str | None = _field(
        _PATTERN, None, "Finds the code in a text: its group 1, or the whole match."
    )
    # assumed: the times; that a report is sent again up to 5 times, on timeout, is documented.
    status_lag: float = _field(
        _SECONDS, 0.0, "How long after a send the status calls do not know its SMSID."
    )
    report_delay: float = _field(
        _SECONDS, 1.0, "How long after a send it is delivered, and reported."
    )
    late_report_delay: float = _field(
        _SECONDS, 60.0, "The same, for a message that meets the fault dlr:late."
    )
    report_timeout: float = _field(
        _TIMEOUT, 5.0, "How long a delivery report waits for the receiver's answer."
    )
    report_retries: int = _field(_COUNT, 5, "How often a report that timed out is sent again.")
    report_retry_delay: float = _field(_SECONDS, 1.0, "The pause before it is.")
    # Over HTTP these can't be set: they keep strangers and floods out.
    remote_callbacks: bool = _field(
        _SWITCH, default=False, words="Sends reports to any machine, not to this one.", live=False
    )
    max_messages: int = _field(
        _SIZE, 5000, "How many accepted messages are kept; the oldest go first.", live=False
    )
    max_requests: int = _field(
        _SIZE, 5000, "The same for requests, and for delivery reports.", live=False
    )
    max_request_bytes: int = _field(
        _SIZE, 128 * 1024, "A larger request body is refused with HTTP 413.", live=False
    )
    body_timeout: float = _field(
        _TIMEOUT, 10.0, "How long a request body may take to arrive.", live=False
    )
    idle_timeout: float = _field(
        _TIMEOUT,
        75.0,
        "How long a connection is kept on which no whole request head arrives.",
        live=False,
    )


@attrs.frozen
class Setting:
    """One setting: its name, type, default, and what it does."""

    name: str
    type: Type
    default: object
    words: str
    live: bool

    @property
    def schema(self) -> Mapping[str, object]:
        """Its JSON Schema."""
        return {
            **self.type.schema,
            "default": _to_list(self.default),
            "description": self.words,
        }


SETTINGS: Final[Mapping[str, Setting]] = {
    field.name: Setting(
        field.name,
        field.metadata["type"],
        field.default,
        field.metadata["words"],
        field.metadata["live"],
    )
    for field in attrs.fields(Settings)
}
"""All settings by their names."""


def find_setting(name: str) -> Setting:
    """Return a setting.

    Raises:
        ConfigurationError: There is none by that name.
    """
    if name not in SETTINGS:
        raise ConfigurationError(
            f"there is no setting {name[:60]!r}; there are {', '.join(SETTINGS)}"
        )
    return SETTINGS[name]


def parse_settings(written: Iterable[str], settings: Settings | None = None) -> Settings:
    """Change settings as `name=value` says, such as `report_delay=500ms`.

    Raises:
        ConfigurationError: A name or a value cannot work; the error names it.
    """
    settings = Settings() if settings is None else settings
    changes: dict[str, object] = {}
    for each in written:
        name, equals, text = each.partition("=")
        if not equals:
            raise ConfigurationError(f"--set takes NAME=VALUE, not {each[:60]!r}")
        setting = find_setting(name.strip())
        value = setting.type.read(text.strip())
        if not setting.type.fits(value):
            raise ConfigurationError(
                f"{setting.name} must be {setting.type.words}, not {text[:60]!r}"
            )
        changes[setting.name] = value
    return attrs.evolve(settings, **changes)  # type: ignore[arg-type]  # each was checked


def change_settings(settings: Settings, values: Mapping[str, object]) -> Settings:
    """Change settings of a running emulator by JSON values.

    Raises:
        ConfigurationError: A name or a value cannot work; the error names it.
    """
    changes: dict[str, object] = {}
    for name, value in values.items():
        setting = find_setting(name)
        if not setting.live:
            raise ConfigurationError(
                f"{name} is fixed when the emulator starts; use --set {name}=…"
            )
        changes[name] = setting.type.from_json(value)
        if not setting.type.fits(changes[name]):
            raise ConfigurationError(
                f"{name} must be {setting.type.words}, not {json.dumps(value)[:60]}"
            )
    return attrs.evolve(settings, **changes)  # type: ignore[arg-type]  # each was checked


def view_settings(settings: Settings) -> Mapping[str, object]:
    """Return the settings as JSON values."""
    values: dict[str, object] = attrs.asdict(settings, recurse=False)
    return {name: _to_list(value) for name, value in values.items()}
