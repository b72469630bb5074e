"""Reads Vietnamese mobile numbers into one form, and masks them."""

import re

# A mobile number is a national prefix, one of 3 5 7 8 9, and eight digits (numbering plan since
# 2018, when the 11-digit prefixes 012x, 016x, 018x and 019x were retired).
_KEPT = re.compile(r"0[35789][0-9]{8}")
_WRITTEN = re.compile(r"(?:0084|\+84|84|0)([35789][0-9]{8})")
# Separators that people and spreadsheets put in: white space, dots, and every kind of dash.
_SEPARATORS = re.compile(r"[\s.\-\u2010-\u2015\u2212]+")


def normalize_phone(written: str) -> str:
    """Return a Vietnamese mobile number in one form.

    Args:
        written: `0…`, `84…`, `+84…` or `0084…`, with spaces, dots or dashes anywhere.

    Returns:
        `0XXXXXXXXX`, ten ASCII digits.

    Raises:
        ValueError: It is not a Vietnamese mobile number. The text shows it masked.
    """
    if _KEPT.fullmatch(written):
        return written
    match = _WRITTEN.fullmatch(_SEPARATORS.sub("", written))
    if match is None:
        raise ValueError(
            f"{mask_phone(written)} is not a Vietnamese mobile number; write it as 0XXXXXXXXX, "
            "84XXXXXXXXX or +84XXXXXXXXX, where the first X is 3, 5, 7, 8 or 9"
        )
    return "0" + match[1]


def mask_phone(phone: str) -> str:
    """Return a phone number for logs and errors: `090****484`, or the length of any other text."""
    if _KEPT.fullmatch(phone):
        return f"{phone[:3]}****{phone[-3:]}"
    return f"<{len(phone)} characters>"
