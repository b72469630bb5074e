"""Defines the settings of a service: purposes with their texts, and the guard with its caps."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

import attrs

from esms_async import ConfigurationError, InvalidMessage, Message
from esms_async.otp.rules import Cap

_UNITS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_CAP: Final = re.compile(r"\s*([1-9][0-9]{0,8})\s*/\s*([1-9][0-9]{0,5})\s*([smhd])\s*", re.ASCII)
_DOMAIN: Final = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?", re.ASCII)
_ANDROID_HASH: Final = re.compile(r"[A-Za-z0-9+/]{11}", re.ASCII)
# Android's SMS Retriever reads messages of at most 140 bytes.
_MOST_BYTES_WITH_HASH: Final = 140
_PLACE: Final = "{code}"
_SAMPLE_PHONE: Final = "0900000000"


def _as_templates(template: Any) -> tuple[str, ...]:  # noqa: ANN401  # whatever a caller passes
    texts: Any = (template,) if isinstance(template, str) else template
    if not isinstance(texts, tuple | list) or not texts:
        raise ConfigurationError("template must be a text, or a tuple of texts")
    checked = tuple(text for text in cast("Sequence[Any]", texts) if _is_template(text))
    if len(checked) < len(cast("Sequence[Any]", texts)):
        raise ConfigurationError(f"a template must be a text that has {_PLACE} once")
    return checked


def _is_template(text: object) -> bool:
    return isinstance(text, str) and text.count(_PLACE) == 1


_Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def _number(low: float, high: float, *, whole: bool = True) -> _Validator:
    kinds = int if whole else int | float

    def check(_: object, attribute: "attrs.Attribute[float]", value: object) -> None:
        if not isinstance(value, kinds) or isinstance(value, bool) or not low <= value <= high:
            what = "an int" if whole else "a number"
            raise ConfigurationError(
                f"{attribute.name} must be {what} from {low:g} to {high:g}, not {value!r}"
            )

    return check


def check_durations(name: str, values: object, *, least: float) -> None:
    """Raise ConfigurationError unless values are one or more durations in seconds."""
    if isinstance(values, str | bytes) or not isinstance(values, Sequence) or not values:
        raise ConfigurationError(f"{name} must be a tuple of seconds, not {values!r}")
    for value in cast("Sequence[object]", values):
        if (
            not isinstance(value, int | float)
            or isinstance(value, bool)
            or not least <= value <= 1e9
        ):
            raise ConfigurationError(f"{name} must hold seconds from {least:g}, not {value!r}")


def _check_lock(_: object, attribute: "attrs.Attribute[Sequence[float]]", value: object) -> None:
    check_durations(attribute.name, value, least=1)


def _check_domain(_: object, attribute: "attrs.Attribute[str | None]", value: object) -> None:
    if value is not None and not (isinstance(value, str) and _DOMAIN.fullmatch(value)):
        raise ConfigurationError(
            f"{attribute.name} must be a host name such as 'example.com', not {value!r}"
        )


def _check_hash(_: object, attribute: "attrs.Attribute[str | None]", value: object) -> None:
    if value is not None and not (isinstance(value, str) and _ANDROID_HASH.fullmatch(value)):
        raise ConfigurationError(
            f"{attribute.name} must be the 11 characters of the app's hash, not {value!r}"
        )


@attrs.frozen
class Purpose:
    """A purpose of codes: their text, how long they are valid, and how many tries they allow.

    Args:
        template: The text of the message, with `{code}` once; a tuple gives each resend another
            text, because operators may drop the same text within five minutes.
        digits: Length of the code, 6 to 10.
        ttl: Seconds for which a code is valid, 60 to 600.
        attempts: The number of wrong codes that lock the phone for this purpose, 1 to 10.
        lock: Seconds of the first, the second, … lock. Success starts over.
        domain: The site on whose pages browsers may offer the code (WICG origin-bound codes).
        android_hash: The hash of the app that gets the message from Android's SMS Retriever.

    Raises:
        ConfigurationError: A value cannot work; the error names it.
    """

    template: tuple[str, ...] = attrs.field(converter=_as_templates)
    digits: int = attrs.field(default=6, kw_only=True, validator=_number(6, 10))
    ttl: float = attrs.field(default=300, kw_only=True, validator=_number(60, 600, whole=False))
    attempts: int = attrs.field(default=5, kw_only=True, validator=_number(1, 10))
    lock: Sequence[float] = attrs.field(
        default=(900, 3600, 14400, 86400), kw_only=True, validator=_check_lock
    )
    domain: str | None = attrs.field(default=None, kw_only=True, validator=_check_domain)
    android_hash: str | None = attrs.field(default=None, kw_only=True, validator=_check_hash)

    def __attrs_post_init__(self) -> None:
        for number in range(1, len(self.template) + 1):
            text = self.text(number, "0" * self.digits)
            try:
                Message(_SAMPLE_PHONE, text)
            except InvalidMessage as error:
                raise ConfigurationError(f"template: {error}") from None
            size = len(text.encode())
            if self.android_hash is not None and size > _MOST_BYTES_WITH_HASH:
                raise ConfigurationError(
                    f"template: the text with android_hash has {size} bytes; Android reads at "
                    f"most {_MOST_BYTES_WITH_HASH}"
                )

    def text(self, number: int, code: str) -> str:
        """Return the text of the n-th send."""
        text = self.template[(number - 1) % len(self.template)].replace(_PLACE, code)
        # WICG reads "@domain #code" and ignores what follows; Android wants its hash last.
        last = [f"@{self.domain} #{code}"] if self.domain is not None else []
        last += [self.android_hash] if self.android_hash is not None else []
        return f"{text}\n{' '.join(last)}" if last else text


def _as_caps(written: object) -> tuple[Cap, ...]:
    if written is None:
        return ()
    texts = written.split(",") if isinstance(written, str) else [""]
    matches = [match for match in map(_CAP.fullmatch, texts) if match is not None]
    if len(matches) < len(texts):
        raise ConfigurationError(
            "a cap is written as '3/10m' or '3/10m,10/1d' (s, m, h, d), or is None, "
            f"not {written!r}"
        )
    return tuple(Cap(int(each[1]), int(each[2]) * _UNITS[each[3]]) for each in matches)


def _check_cap(_: object, __: object, value: Any) -> None:  # noqa: ANN401  # the same
    _as_caps(value)


@attrs.frozen
class Guard:
    """Limits the codes that are sent, and the wrong codes from one address.

    A cap is `n/window`: `3/10m` allows three in any ten minutes; commas separate several caps.
    None is no cap.

    Args:
        per_phone: Sends to one phone, over all purposes.
        per_ip: Sends requested by one address (IPv6: its /64, and five times as many for its /48).
            Codes that were entered do not count.
        per_prefix: Sends to the phones that share their first three digits.
        total: All sends.
        wrong_per_ip: Wrong codes from one address.
        conversion: The share of codes that must be entered, for each range (the first three digits
            of the phones) in the last hour; below it, sends to that range are refused as `fraud`.
            0 turns it off.
        conversion_floor: The number of codes of a range that may always be unentered in an hour.

    Raises:
        ConfigurationError: A value cannot work; the error names it.
    """

    per_phone: str | None = attrs.field(default="3/10m,10/1d", validator=_check_cap)
    per_ip: str | None = attrs.field(default="20/1h", validator=_check_cap)
    per_prefix: str | None = attrs.field(default=None, validator=_check_cap)
    total: str | None = attrs.field(default="5000/1h", validator=_check_cap)
    wrong_per_ip: str | None = attrs.field(default="20/1h", validator=_check_cap)
    conversion: float = attrs.field(default=0.2, validator=_number(0, 1, whole=False))
    conversion_floor: int = attrs.field(default=200, validator=_number(1, 10**9))

    def caps(self, name: str) -> tuple[Cap, ...]:
        """Return the parsed caps of an argument."""
        return _as_caps(getattr(self, name))


def read_keys(keys: object) -> tuple[bytes, ...]:
    """Return keys as bytes; raise ConfigurationError if there is none, or one is too short."""
    if isinstance(keys, str | bytes) or not isinstance(keys, Sequence) or not keys:
        raise ConfigurationError(
            "keys must be a list of keys, such as [os.environ['OTP_KEY'].encode()]"
        )
    return tuple(map(read_key, cast("Sequence[object]", keys)))


def read_key(key: object) -> bytes:
    """Return a key as bytes; raise ConfigurationError if it is too short."""
    raw = key.encode() if isinstance(key, str) else key
    if not isinstance(raw, bytes | bytearray) or len(raw) < 32:
        raise ConfigurationError(
            "a key must have at least 32 bytes; make one with: "
            'python -c "import secrets; print(secrets.token_urlsafe(32))"'
        )
    return bytes(raw)


def read_purposes(purposes: object) -> dict[str, Purpose]:
    """Return a copy of the purposes; raise ConfigurationError unless each one is a Purpose."""
    if not isinstance(purposes, Mapping) or not purposes:
        raise ConfigurationError("purposes must be a dict such as {'login': Purpose(...)}")
    read: dict[str, Purpose] = {}
    for name, purpose in cast("Mapping[object, object]", purposes).items():
        if not isinstance(name, str) or not name or not isinstance(purpose, Purpose):
            raise ConfigurationError(
                f"purposes must hold a Purpose under each name, not {name!r}: "
                f"{type(purpose).__name__}"
            )
        read[name] = purpose
    return read
