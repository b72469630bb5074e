"""What the gateway tells when it is asked: the balance, and what became of messages it took.

Prices and balances are in Vietnamese dong. A value that the gateway left out, or wrote so that it
can't be read, is None; a number that no page lists is passed on as it is.
"""

import enum
from datetime import datetime
from decimal import Decimal

import attrs

from esms_async._model.phone import mask_phone


class SendStatus(enum.IntEnum):
    """How far the gateway is with a message."""

    COMPOSING = 0
    AWAITING_APPROVAL = 1
    WAITING = 2
    """It is to be sent."""
    REFUSED = 4
    FINISHED = 5
    """It was sent, and its result is known."""
    SENT = 7
    """It was sent, and its result is not known yet."""


class SendResult(enum.IntEnum):
    """Whether a phone got a message."""

    FAILED = 0
    SUCCEEDED = 1
    UNKNOWN = 2


def _masked(phone: str | None) -> str:
    return repr(phone if phone is None else mask_phone(phone))


@attrs.frozen
class Balance:
    """What is on the account.

    Attributes:
        amount: The balance, in dong.
        user_id: The gateway's number of the account, or None.
    """

    amount: Decimal
    user_id: str | None = None


@attrs.frozen
class SmsStatus:
    """What became of the messages of one SMSID; a fixed-number send is one message to one phone.

    Attributes:
        sms_id: The SMSID.
        send_status: How far the gateway is, or a number that no page lists.
        receivers: How many phones it was for.
        sent: How many messages were handed to an operator.
        succeeded: How many phones got it.
        failed: How many phones did not, and will not.
        price: What it costs in all, in dong.
    """

    sms_id: str
    send_status: SendStatus | int | None
    receivers: int | None = None
    sent: int | None = None
    succeeded: int | None = None
    failed: int | None = None
    price: Decimal | None = None

    @property
    def final(self) -> bool:
        """True where nothing of it will change any more."""
        return self.send_status in (SendStatus.REFUSED, SendStatus.FINISHED)

    @property
    def delivered(self) -> bool | None:
        """Whether every phone got it; None as long as that is not known."""
        if self.send_status == SendStatus.REFUSED or (self.final and self.failed):
            return False
        return True if self.final and self.succeeded else None


@attrs.frozen
class Receiver:
    """What became of a message on its way to one phone.

    Attributes:
        phone: The phone as the gateway writes it.
        network: The name of its operator.
        sent: Whether the message was handed to the operator.
        delivered: Whether the phone got it; False also while that is not known yet.
        retries: How often the gateway has tried again.
    """

    phone: str | None = attrs.field(repr=_masked)
    network: str | None = None
    sent: bool | None = None
    delivered: bool | None = None
    retries: int | None = None


@attrs.frozen
class SentMessage:
    """One line of the list of what the account has sent.

    Attributes:
        sms_id: The SMSID, which the list calls ReferenceId.
        phone: The phone as the gateway writes it.
        content: The text.
        campaign_id: The `campaignid` of the send.
        sent_at: When it was sent, aware, in Vietnam time.
        send_status: How far the gateway is, or a number that no page lists.
        send_result: Whether the phone got it, or a number that no page lists.
        price: What it costs, in dong.
        sms_type: The SmsType; `8` is a fixed-number send.
        portal_id: The number that the gateway's own pages show.
    """

    sms_id: str | None
    phone: str | None = attrs.field(repr=_masked)
    content: str | None = attrs.field(repr=False)
    campaign_id: str | None = None
    sent_at: datetime | None = None
    send_status: SendStatus | int | None = None
    send_result: SendResult | int | None = None
    price: Decimal | None = None
    sms_type: str | None = None
    portal_id: str | None = None
