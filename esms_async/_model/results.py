"""Defines the results of queries: balance, prices, and the status of messages.

Prices and balances are in Vietnamese dong. A missing or unreadable value is None; a number that no
page lists stays a number.
"""

import enum
from datetime import datetime
from decimal import Decimal

import attrs

from esms_async._model.phone import mask_phone


class SendStatus(enum.IntEnum):
    """The gateway's progress with a message."""

    COMPOSING = 0
    AWAITING_APPROVAL = 1
    WAITING = 2
    """It waits to be sent."""
    SENDING = 3
    """It is being sent; the list used this until 2024."""
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


class BrandnameType(enum.IntEnum):
    """What a brandname is registered for."""

    ADVERTISING = 1
    CUSTOMER_CARE = 2
    """One-time codes and customer care: what the route `Brandname` sends."""
    VIBER = 23


class ZaloDelivery(enum.IntEnum):
    """Zalo's progress with a message."""

    UNKNOWN_TO_ZALO = -1
    """Zalo has no such message."""
    ON_ITS_WAY = 0
    """Zalo has it, and the phone does not have it yet."""
    DELIVERED = 1


def _masked(phone: str | None) -> str:
    return repr(phone if phone is None else mask_phone(phone))


@attrs.frozen
class Balance:
    """The balance of the account.

    Attributes:
        amount: The balance, in dong.
        user_id: The gateway's number of the account, or None.
    """

    amount: Decimal
    user_id: str | None = None


@attrs.frozen
class SmsStatus:
    """The status of one SMSID; a fixed-number send is one message to one phone.

    Attributes:
        sms_id: The SMSID.
        send_status: The gateway's progress, or a number that no page lists.
        receivers: How many phones it was for.
        sent: How many messages were handed to an operator.
        succeeded: How many phones got it.
        failed: How many phones did not, and will not.
        price: The whole price, in dong.
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
        """True if nothing will change any more."""
        return self.send_status in (SendStatus.REFUSED, SendStatus.FINISHED)

    @property
    def delivered(self) -> bool | None:
        """Whether every phone got it; None while that is not known."""
        if self.send_status == SendStatus.REFUSED or (self.final and self.failed):
            return False
        return True if self.final and self.succeeded else None


@attrs.frozen
class Receiver:
    """The status of a message for one phone.

    Attributes:
        phone: The phone as the gateway writes it.
        network: The name of its operator.
        sent: Whether the message was handed to the operator.
        delivered: Whether the phone got it; also False while that is not known.
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
        send_status: The gateway's progress, or a number that no page lists.
        send_result: Whether the phone got it, or a number that no page lists.
        price: The price, in dong.
        sms_type: The SmsType: `8` is the fixed number, `2` a brandname, `25` Zalo.
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


@attrs.frozen
class AccountBrandname:
    """A brandname of the account.

    Attributes:
        name: The brandname, as it is registered.
        type: What it is registered for, or a number that no page lists.
    """

    name: str
    type: BrandnameType | int | None = None


@attrs.frozen
class Price:
    """The price of a message, as the gateway computes it.

    Attributes:
        amount: The whole price, in dong.
        receivers: How many phones that is for.
    """

    amount: Decimal
    receivers: int | None = None


@attrs.frozen
class ZaloStatus:
    """Zalo's status of a message.

    Attributes:
        message_id: Zalo's id of the message.
        delivery: Zalo's progress, or a number that no page lists.
        delivered_at: When the phone got it, aware, in Vietnam time.
        words: Zalo's own words.
    """

    message_id: str
    delivery: ZaloDelivery | int | None = None
    delivered_at: datetime | None = None
    words: str | None = None

    @property
    def delivered(self) -> bool:
        """True if the phone got it."""
        return self.delivery == ZaloDelivery.DELIVERED
