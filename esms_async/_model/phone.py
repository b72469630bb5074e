"""Reads Vietnamese mobile numbers into one form, and masks them."""

import enum
import re
from typing import Final

OPERATORS: Final = {
    1: "Viettel",
    2: "MobiFone",
    3: "VinaPhone",
    4: "Vietnamobile",
    5: "Gmobile",
    6: "Itel",
    7: "Reddi",
}
"""The operators by `telcoid` ("Callback Url") and NetworkID ("Hàm lấy danh sách template …")."""

# A mobile number is a national prefix, one of 3 5 7 8 9, and eight digits (numbering plan since
# 2018, when the 11-digit prefixes 012x, 016x, 018x and 019x were retired).
_KEPT = re.compile(r"0[35789][0-9]{8}")
_WRITTEN = re.compile(r"(?:0084|\+84|84|0)([35789][0-9]{8})")
# Separators that people and spreadsheets put in: white space, dots, and every kind of dash.
_SEPARATORS = re.compile(r"[\s.\-\u2010-\u2015\u2212]+")


# Numbers as spreadsheets print them: nobody types ".0" behind a phone number.
_DECIMAL = re.compile(r"\+?([1-9][0-9]*)[.,]0{1,2}")
_SCIENTIFIC = re.compile(r"\+?([1-9])(?:[.,]([0-9]+))?[eE]\+?([0-9]{1,3})")
_LOST_ZERO = re.compile(r"[35789][0-9]{8}")
# The trunk zero after the country code, which nobody may dial: +84 (0) 901 888 484.
_COUNTRY_AND_ZERO = re.compile(r"(?:0084|\+?84)0([35789][0-9]{8})")
# Brackets, the apostrophe that marks text, and invisible marks from phone books.
_DECORATION = re.compile("[()\\[\\]'\u2019\u200b-\u200f\u202a-\u202e\u2060\ufeff]+")


class PhoneRepair(enum.Enum):
    """What was wrong with a number in a spreadsheet."""

    LOST_ZERO = "lost its zero"
    DECIMAL = "ended in .0"
    COUNTRY_CODE = "had brackets or a zero after the country code"


class RoundedPhone(ValueError):
    """A spreadsheet has rounded the number; its last digits can't be known."""


def normalize_phone(written: str, *, spreadsheet: bool = False) -> str:
    """Return a Vietnamese mobile number in one form.

    Args:
        written: `0…`, `84…`, `+84…` or `0084…`, with spaces, dots or dashes anywhere.
        spreadsheet: True also repairs what spreadsheets make of a number: a lost leading zero
            (`901888484`), a decimal (`84901888484.0`), scientific notation that shows every digit,
            and `(+84)` or `+84 (0)`.

    Returns:
        `0XXXXXXXXX`, ten ASCII digits.

    Raises:
        ValueError: It is not a Vietnamese mobile number. The text shows it masked.
    """
    if spreadsheet:
        return repair_phone(written)[0]
    if _KEPT.fullmatch(written):
        return written
    match = _WRITTEN.fullmatch(_SEPARATORS.sub("", written))
    if match is None:
        raise _not_mobile(written)
    return "0" + match[1]


def repair_phone(written: str) -> tuple[str, PhoneRepair | None]:
    """Return a number of a spreadsheet in its one form, and what was repaired.

    Raises:
        RoundedPhone: The spreadsheet has rounded it.
        ValueError: It is not a Vietnamese mobile number.
    """
    if _KEPT.fullmatch(written):
        return written, None
    plain, repair = written.strip(), None
    if (number := _SCIENTIFIC.fullmatch(plain)) is not None:
        first, digits, exponent = number[1], number[2] or "", int(number[3])
        # A digit that is not shown may be a zero, or may have been rounded away.
        if len(digits) < exponent:
            raise RoundedPhone("Excel has rounded the number; format the column as text")
        if digits[exponent:].strip("0"):
            raise _not_mobile(written)
        plain, repair = first + digits[:exponent], PhoneRepair.DECIMAL
    elif (decimal := _DECIMAL.fullmatch(plain)) is not None:
        plain, repair = decimal[1], PhoneRepair.DECIMAL
    plain = _SEPARATORS.sub("", plain)
    if (match := _WRITTEN.fullmatch(plain)) is not None:
        return "0" + match[1], repair
    if _LOST_ZERO.fullmatch(plain):
        return "0" + plain, repair or PhoneRepair.LOST_ZERO
    plain = _DECORATION.sub("", plain)
    match = _WRITTEN.fullmatch(plain) or _COUNTRY_AND_ZERO.fullmatch(plain)
    if match is not None:
        return "0" + match[1], PhoneRepair.COUNTRY_CODE
    if _LOST_ZERO.fullmatch(plain):
        return "0" + plain, PhoneRepair.LOST_ZERO
    raise _not_mobile(written)


def _not_mobile(written: str) -> ValueError:
    return ValueError(
        f"{mask_phone(written)} is not a Vietnamese mobile number; write it as 0XXXXXXXXX, "
        "84XXXXXXXXX or +84XXXXXXXXX, where the first X is 3, 5, 7, 8 or 9"
    )


def mask_phone(phone: str) -> str:
    """Return a phone number for logs and errors: `090****484`, or the length of any other text."""
    if _KEPT.fullmatch(phone):
        return f"{phone[:3]}****{phone[-3:]}"
    return f"<{len(phone)} characters>"
