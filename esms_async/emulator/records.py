"""The values in which the emulator tells what it saw and did."""

import enum
import re
from collections.abc import Mapping
from datetime import datetime

import attrs

from esms_async.phone import mask_phone

# Digits that are no piece of a word, a date, a time, an amount or a phone number.
_CODE = re.compile(r"(?<![\w.,:/+-])[0-9]{4,8}(?![\w]|[.,:/-][0-9]| [0-9]{3})")


def _masked(phone: str | None) -> str:
    return "None" if phone is None else repr(mask_phone(phone))


def find_otp(content: str) -> str | None:
    """Return what looks like a one-time code in a text, or None."""
    codes: list[str] = _CODE.findall(content)
    return next((code for code in codes if len(code) == 6), codes[0] if codes else None)


class Operation(enum.StrEnum):
    """An operation of the gateway, by the name that a fault calls it."""

    SEND = "send"
    BALANCE = "balance"
    STATUS = "status"
    RECEIVER_STATUS = "receiver_status"
    SENT_DATA = "sent_data"


class Twist(enum.StrEnum):
    """What is unusual about the delivery of one message; the argument of the fault `dlr`."""

    FAILED = "failed"
    """The phone does not get it, and the report says so."""
    NEVER = "never"
    """No report comes."""
    TWICE = "twice"
    """Each report comes twice."""
    EARLY = "early"
    """The reports come before the answer to the send."""
    LATE = "late"
    """The reports come after `late_report_delay`."""


@attrs.frozen
class Delivery:
    """How and when a message reaches its phone, on the emulator's clock.

    Attributes:
        visible_at: From when the status calls know the SMSID; seconds since 1970.
        started_at: When it is handed to the operator.
        finished_at: When its result is known, or None where it never will be.
        delivered: True where the phone gets it.
        twist: What is unusual about it, if anything.
    """

    visible_at: float
    started_at: float
    finished_at: float | None
    delivered: bool = True
    twist: Twist | None = None


@attrs.frozen
class AcceptedMessage:
    """A message that the gateway accepted. Its repr shows neither content nor phone.

    Attributes:
        number: Its place in the order of acceptance, from 1.
        at: When it was accepted, UTC.
        phone: The number, as `0XXXXXXXXX`.
        content: The text.
        request_id: Its RequestId, or None where it had none.
        sms_id: The SMSID that the gateway gave it.
        unicode: True where it was sent as Unicode.
        campaign_id: Its campaignid, or None.
        callback_url: Where its delivery is reported, or None.
        send_at: The SendDate, aware, or None.
        price: What it cost, in dong.
        delivery: How and when it is delivered.
    """

    number: int
    at: datetime
    phone: str = attrs.field(repr=_masked)
    content: str = attrs.field(repr=False)
    request_id: str | None
    sms_id: str
    unicode: bool
    campaign_id: str | None
    callback_url: str | None = attrs.field(repr=False)
    send_at: datetime | None
    price: int
    delivery: Delivery = attrs.field(repr=False)

    @property
    def otp(self) -> str | None:
        """The one-time code in the content, or None.

        That is its first six digits that stand alone, or else its first four to eight.
        """
        return find_otp(self.content)


@attrs.frozen
class SeenRequest:
    """A request that came in, and what became of it. Its repr shows neither content nor phone.

    Attributes:
        number: Its place in the order of arrival, from 1.
        at: When it came, UTC.
        operation: What it asked for.
        method: The HTTP method.
        fields: Its fields as written, with the keys masked.
        request_id: Its RequestId, or None.
        phone: Its phone as written, or None.
        sandbox: True where it asked for the sandbox.
        fault: The fault that it met, or None.
        decided: The code that the gateway decided on, whether or not the sender was told; None
            where it decided nothing: it gave no code, or a fault came before it could.
        told: The code in the answer that was given, or None where there was none.
        status: The HTTP status of the answer, or None where no HTTP answer was given, or not yet.
        accepted: True where a message was accepted by it.
        sms_id: The SMSID of that message, or None.
    """

    number: int
    at: datetime
    operation: Operation
    method: str
    fields: Mapping[str, str] = attrs.field(repr=False)
    request_id: str | None = None
    phone: str | None = attrs.field(default=None, repr=_masked)
    sandbox: bool = False
    fault: str | None = None
    decided: str | None = None
    told: str | None = None
    status: int | None = None
    accepted: bool = False
    sms_id: str | None = None


@attrs.frozen
class SentReport:
    """One try to deliver a report to a CallbackUrl.

    Attributes:
        number: Its place in the order of the tries, from 1.
        at: When it ended, UTC.
        sms_id: The message.
        send_status: The SendStatus that it told: 2 or 5.
        attempt: 1 for the first try, 2 for the first retry, and so on.
        result: The receiver's HTTP status (`200`), or `timeout`, `failed`, `not allowed`, or
            `dropped` where too many were waiting.
    """

    number: int
    at: datetime
    sms_id: str
    send_status: int
    attempt: int
    result: str
