"""Reads single fields of the gateway's JSON answers, whatever their case and their type.

Pages differ in the case of names, and the service writes the same number sometimes as a number and
sometimes as a string. A value that can't be read is None, as if it were missing.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from esms_async._model.codes import CODES
from esms_async._model.messages import VIETNAM_TIME

_CODE = re.compile(r"[0-9]{1,6}")
_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")
# WCF writes milliseconds since 1970, UTC, and the zone of the service behind them.
_WCF_DATE = re.compile(r"/Date\((-?[0-9]{1,15})([+-][0-9]{4})?\)/")
_FLAGS: Final[Mapping[str, bool]] = {"true": True, "1": True, "false": False, "0": False}
# The list had this form until 2024.
_DAY_FIRST = re.compile(r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4}) ([0-9]{2}:[0-9]{2}:[0-9]{2})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

LONGEST_SMS_ID: Final = 200
"""A longer SMSID counts as missing."""


def find(answer: Mapping[object, object], name: str) -> object:
    """Return the value of a field whatever the case of its name, or None."""
    if (value := answer.get(name)) is not None:
        return value
    folded = name.casefold()
    for key, value in answer.items():
        if isinstance(key, str) and key.casefold() == folded:
            return value
    return None


def as_code(value: object) -> str | None:
    """Return a code that came as a string or as a number."""
    if isinstance(value, str):
        code = value.strip()
        return code if code in CODES or _CODE.fullmatch(code) else None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1_000_000:
        return str(value)
    return None


def as_sms_id(value: object) -> str | None:
    """Return an SMSID, or another identifier of the gateway's."""
    if isinstance(value, str):
        return value if 0 < len(value) <= LONGEST_SMS_ID and value.isprintable() else None
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**30:
        return str(value)
    return None


def as_words(value: object) -> str | None:
    """Return a text that is not empty, or None."""
    return value if isinstance(value, str) and value else None


def as_amount(value: object) -> Decimal | None:
    """Return a number that may have decimals, such as a price."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, int) and abs(value) >= 10**18:
        return None
    written = value.strip() if isinstance(value, str) else f"{Decimal(str(value)):f}"
    return Decimal(written) if _NUMBER.fullmatch(written) else None


def as_whole(value: object) -> int | None:
    """Return a whole number."""
    amount = as_amount(value)
    return int(amount) if amount is not None and amount == int(amount) else None


def as_flag(value: object) -> bool | None:
    """Return a yes or no."""
    if isinstance(value, bool):
        return value
    return _FLAGS.get(str(value).strip().lower()) if isinstance(value, str | int) else None


def as_time(value: object) -> datetime | None:
    """Return a moment, aware and in Vietnam time.

    The service writes `/Date(1705484048995+0700)/`, `dd/mm/yyyy HH:MM:SS`, `yyyy-mm-dd HH:MM:SS`
    or ISO 8601; without a zone the last three are Vietnam time.
    """
    if not isinstance(value, str):
        return None
    try:
        if match := _WCF_DATE.fullmatch(value.strip()):
            return (_EPOCH + timedelta(milliseconds=int(match[1]))).astimezone(VIETNAM_TIME)
        written = _DAY_FIRST.sub(_year_first, value.strip(), count=1)
        at = datetime.fromisoformat(written)
        return at.replace(tzinfo=at.tzinfo or VIETNAM_TIME).astimezone(VIETNAM_TIME)
    except (ValueError, OverflowError):
        return None


def _year_first(match: re.Match[str]) -> str:
    day, month, year, time = match.groups()
    return f"{year}-{month:0>2}-{day:0>2} {time}"


# Statuses that say "not now": the gateway may have received the request all the same.
_TRANSIENT_STATUSES: Final = frozenset({408, 425, 429})


def is_refusal(status: int) -> bool:
    """Return True if an HTTP status refuses a request: any 4xx except 408, 425 and 429."""
    return 400 <= status < 500 and status not in _TRANSIENT_STATUSES
