"""The gateway's result codes: what each one means, and whom it concerns."""

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs


class Scope(enum.Enum):
    """Whom a result code concerns, which decides what the sender can conclude from it."""

    ACCEPTED = "accepted"
    """The gateway took the message."""
    DUPLICATE = "duplicate"
    """The gateway has seen this RequestId within 24 hours."""
    ACCOUNT = "account"
    """The account can't send at all; every other message would meet the same code."""
    MESSAGE = "message"
    """This message is refused, whenever it is sent."""
    CALLER = "caller"
    """The request was built wrongly: a bug in the caller."""
    OTHER = "other"
    """A code of another eSMS product, or one that no page lists: it tells nothing else."""


@attrs.frozen
class Code:
    """One row of the gateway's code table.

    Attributes:
        code: The code as the gateway writes it, a decimal number.
        scope: Whom it concerns.
        meaning: What it means, in English.
    """

    code: str
    scope: Scope
    meaning: str


# Source: developers.esms.vn, "Table of error codes", and the answers on the page "Send fixed
# number with cheap price". The scope is this package's reading of "applies to" and meaning.
_TABLE = (
    Code("99", Scope.MESSAGE, "the phone number is blocked in the gateway"),
    Code("100", Scope.ACCEPTED, "accepted by the gateway, not delivered yet"),
    Code("101", Scope.ACCOUNT, "wrong ApiKey or SecretKey"),
    Code("102", Scope.ACCOUNT, "the account has no price list"),
    Code("103", Scope.ACCOUNT, "the balance does not cover the message"),
    Code("104", Scope.OTHER, "the brandname or call code does not exist"),
    Code("105", Scope.OTHER, "the SMSID is not known, or not known yet"),
    Code("106", Scope.OTHER, "the voice recording does not exist"),
    Code("107", Scope.OTHER, "an advertising request holds too few phone numbers"),
    Code("108", Scope.MESSAGE, "the phone number is malformed"),
    Code("110", Scope.OTHER, "the data of a personalised Zalo message is wrong"),
    Code("115", Scope.OTHER, "the phone hash of a Zalo message is not valid"),
    Code("118", Scope.ACCOUNT, "this SmsType is not supported for the account"),
    Code("120", Scope.OTHER, "an advertising request holds too many phone numbers"),
    Code("124", Scope.DUPLICATE, "this RequestId was seen in the last 24 hours"),
    Code("140", Scope.ACCOUNT, "the caller's IP address is not on the account's whitelist"),
    Code("143", Scope.ACCOUNT, "the account is inactive or locked"),
    Code("146", Scope.OTHER, "the text does not follow the registered customer-care template"),
    Code("160", Scope.OTHER, "refused by a rule of another eSMS product"),
    Code("163", Scope.CALLER, "more than one phone number in a fixed-number request"),
    Code("171", Scope.OTHER, "the one-time code is used, expired, or of another phone number"),
    Code("177", Scope.MESSAGE, "the recipient's operator is not registered for this sender"),
    Code("199", Scope.OTHER, "an equal registration request is being processed"),
    Code("201", Scope.MESSAGE, "the content holds a blocked word"),
    Code("204", Scope.OTHER, "the Zalo OAID does not exist"),
    Code("210", Scope.OTHER, "the payload of a Zalo message is not as specified"),
    Code("300", Scope.CALLER, "SmsType is missing"),
    Code("301", Scope.OTHER, "the service code is not supported"),
    Code("687", Scope.OTHER, "refused by a rule of another eSMS product"),
    Code("789", Scope.OTHER, "refused by a rule of another eSMS product"),
    Code("790", Scope.OTHER, "refused by a rule of another eSMS product"),
    Code("791", Scope.OTHER, "refused by a rule of another eSMS product"),
    Code("799", Scope.OTHER, "refused by a rule of another eSMS product"),
    Code("801", Scope.OTHER, "refused by a rule of another eSMS product"),
    Code("802", Scope.OTHER, "refused by a rule of another eSMS product"),
    Code("851", Scope.OTHER, "refused by a rule of another eSMS product"),
    Code("854", Scope.OTHER, "refused by a rule of another eSMS product"),
)

CODES: Final[Mapping[str, Code]] = MappingProxyType({row.code: row for row in _TABLE})
"""Every listed code by its number."""


def lookup(code: str) -> Code:
    """Return the row of a code.

    Args:
        code: A code as the gateway writes it.

    Returns:
        The row of the table, or for an unlisted code a row of scope `Scope.OTHER`.
    """
    return CODES.get(code) or Code(code, Scope.OTHER, "a code that no page of the gateway lists")
