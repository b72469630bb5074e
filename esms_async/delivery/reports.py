"""Reads a delivery report from the query of the gateway's request.

"Callback Url" on developers.esms.vn names the parameters. Their letter case differs from page to
page, so it does not matter here.
"""

import enum
import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, Self, cast
from urllib.parse import parse_qsl

import attrs

from esms_async import EsmsError
from esms_async._model.phone import OPERATORS, mask_phone
from esms_async._model.request_ids import REQUEST_ID

# The gateway's reports have some 250 characters; those for Zalo hold an error text too.
_LONGEST_QUERY: Final = 8192
_MOST_PARAMETERS: Final = 64
_LONGEST_WORD: Final = 200

_COUNT: Final = re.compile(r"[0-9]{1,9}")
_PRICE: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?")
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")

# Field SendStatus; 0 is composing, 1 awaiting approval, 2 waiting to be sent, 7 sent.
_REFUSED: Final = 4
_FINISHED: Final = 5

# Field telcoid.
_OPERATORS: Final[Mapping[str, str]] = {str(number): name for number, name in OPERATORS.items()}


class InvalidReport(EsmsError, ValueError):
    """A delivery report can't be read."""


class DeliveryState(enum.StrEnum):
    """The result of a message that the gateway had accepted."""

    DELIVERED = "delivered"
    """The phone got it."""
    FAILED = "failed"
    """The phone did not get it, and will not."""
    PENDING = "pending"
    """It is on its way."""
    REFUSED = "refused"
    """The gateway accepted the request, but refused the message later."""


def _masked(phone: str | None) -> str:
    return repr(None if phone is None else mask_phone(phone))


@attrs.frozen(kw_only=True)
class DeliveryReport:
    """A report of the gateway on a message that it has accepted.

    Attributes:
        request_id: The message's RequestId, or None if the report does not name it.
        sms_id: The gateway's SMSID, or None if the report does not name it.
        state: The result.
        send_status: The gateway's SendStatus, from which `state` follows.
        succeeded: How many phones got it.
        failed: How many phones did not.
        sent: How many messages were handed to the operator, or None.
        receivers: How many phones it was sent to, or None.
        price: The price in dong, or None.
        operator: The name of the phone's operator; the gateway's number for it if the name is
            not known; or None.
        phone: The phone number as the gateway writes it, or None.
    """

    request_id: str | None
    sms_id: str | None
    state: DeliveryState
    send_status: int
    succeeded: int = 0
    failed: int = 0
    sent: int | None = None
    receivers: int | None = None
    price: Decimal | None = None
    operator: str | None = None
    phone: str | None = attrs.field(default=None, repr=_masked)

    @property
    def key(self) -> str:
        """The RequestId, or else the SMSID, with "#" and the state.

        Every repetition of this report has the same key, and no other report has it.
        """
        return f"{self.request_id or self.sms_id}#{self.state}"

    @property
    def delivered(self) -> bool:
        """True if the phone got the message."""
        return self.state is DeliveryState.DELIVERED

    @property
    def final(self) -> bool:
        """True if no other report will follow."""
        return self.state is not DeliveryState.PENDING

    @classmethod
    def from_query(cls, query: Mapping[str, str] | str) -> Self:
        """Read a report.

        Args:
            query: The query of the gateway's request, as it came or as its parameters. Unknown
                parameters are ignored, and so are optional ones that can't be read.

        Returns:
            The report.

        Raises:
            InvalidReport: It does not name its message or a status, or it is damaged or
                contradicts itself.
        """
        fields = _read_fields(_parameters(query))
        request_id = fields.get("requestid") or None
        if request_id is not None and not REQUEST_ID.fullmatch(request_id):
            raise InvalidReport("its RequestId has a form that this package never sends")
        sms_id = _word(fields, "smsid")
        if request_id is None and sms_id is None:
            raise InvalidReport("it names neither a RequestId nor an SMSID")
        send_status = _required_count(fields, "SendStatus")
        succeeded, failed = 0, 0
        if send_status == _FINISHED:
            succeeded = _required_count(fields, "SendSuccess")
            failed = _required_count(fields, "SendFailed")
        telco_id = _word(fields, "telcoid")
        return cls(
            request_id=request_id,
            sms_id=sms_id,
            state=_state(send_status, succeeded, failed),
            send_status=send_status,
            succeeded=succeeded,
            failed=failed,
            sent=_count(fields, "totalsent"),
            receivers=_count(fields, "totalreceiver"),
            price=_price(fields, "totalprice"),
            operator=None if telco_id is None else _OPERATORS.get(telco_id, telco_id),
            phone=_word(fields, "phonenumber"),
        )


def report_to_text(report: DeliveryReport) -> str:
    """Return a report as JSON, for a ledger to store."""
    fields: dict[str, object] = {name: getattr(report, name) for name in _STORED}
    fields["price"] = None if report.price is None else str(report.price)
    return json.dumps({name: value for name, value in fields.items() if value is not None})


def report_from_text(text: str) -> DeliveryReport:
    """Return the report that `report_to_text` wrote; ignore fields of later releases."""
    found: dict[str, Any] = json.loads(text)
    fields: dict[str, Any] = {name: found.get(name) for name in _STORED if name in found}
    fields.setdefault("request_id", None)
    fields.setdefault("sms_id", None)
    fields["state"] = DeliveryState(found["state"])
    fields["price"] = None if (price := found.get("price")) is None else Decimal(price)
    return DeliveryReport(**fields)


_STORED: Final = tuple(field.name for field in attrs.fields(DeliveryReport))


def _state(send_status: int, succeeded: int, failed: int) -> DeliveryState:
    """Return the state; a status that no page names counts as pending."""
    if send_status == _REFUSED:
        return DeliveryState.REFUSED
    if failed:
        return DeliveryState.FAILED
    return DeliveryState.DELIVERED if succeeded else DeliveryState.PENDING


def _parameters(query: object) -> Iterable[tuple[object, object]]:
    if isinstance(query, Mapping):
        return cast("Mapping[object, object]", query).items()
    if not isinstance(query, str):
        raise InvalidReport(f"it is a {type(query).__name__}, not a query")
    if len(query) > _LONGEST_QUERY:
        raise InvalidReport(f"it has {len(query)} characters, which is too long for a report")
    if _BROKEN_ESCAPE.search(query):
        raise InvalidReport("a percent sign in it is not followed by two hexadecimal digits")
    try:
        return parse_qsl(
            query, keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS
        )
    except ValueError:
        raise InvalidReport("it has too many parameters, or is not UTF-8") from None


def _read_fields(parameters: Iterable[tuple[object, object]]) -> dict[str, str]:
    """Return the values by lower-case name; raise InvalidReport if a name has two values."""
    fields: dict[str, str] = {}
    for name, value in parameters:
        if isinstance(name, str) and isinstance(value, str):
            key, text = name.lower(), value.strip()
            if fields.setdefault(key, text) != text:
                raise InvalidReport("a parameter comes twice, with two values")
    return fields


def _required_count(fields: Mapping[str, str], name: str) -> int:
    value = fields.get(name.lower())
    if value is None or not _COUNT.fullmatch(value):
        raise InvalidReport(f"{name} {'is missing' if value is None else 'is not a number'}")
    return int(value)


def _count(fields: Mapping[str, str], key: str) -> int | None:
    value = fields.get(key, "")
    return int(value) if _COUNT.fullmatch(value) else None


def _price(fields: Mapping[str, str], key: str) -> Decimal | None:
    value = fields.get(key, "")
    return Decimal(value) if _PRICE.fullmatch(value) else None


def _word(fields: Mapping[str, str], key: str) -> str | None:
    value = fields.get(key, "")
    return value if 0 < len(value) <= _LONGEST_WORD and value.isprintable() else None
