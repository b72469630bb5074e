"""How a message gets to its phone, by the clock: when, how, and what is told of it."""

from datetime import datetime
from typing import Final

import attrs

from esms_async.emulator.records import AcceptedMessage, Delivery, Twist
from esms_async.emulator.settings import Settings

# "Get the message status" and "Callback Url", field SendStatus.
WAITING: Final = 2
FINISHED: Final = 5
SENT: Final = 7

# "Callback Url", field telcoid; the names as "Get message details" spells them, those that it
# does not show are assumed.
_OPERATORS: Final = (
    (1, "Viettel", "032 033 034 035 036 037 038 039 086 096 097 098"),
    (2, "Mobifone", "070 076 077 078 079 089 090 093"),
    (3, "Vinaphone", "081 082 083 084 085 088 091 094"),
    (4, "Vietnamobile", "052 056 058 092"),
    (5, "Gmobile", "059 099"),
    (6, "Itel", "087"),
    (7, "Reddi", "055"),
)
_BY_PREFIX: Final = {
    prefix: (number, name) for number, name, prefixes in _OPERATORS for prefix in prefixes.split()
}
_ANOTHER: Final = (9, "Other")


@attrs.frozen
class Progress:
    """How far the delivery of a message is.

    Attributes:
        send_status: 2 waiting, 5 finished, 7 sent and the result not known.
        sent: 1 where it was handed to the operator, else 0.
        success: 1 where the phone got it, else 0.
        failed: 1 where the phone did not get it and will not, else 0.
        price: What it costs, in dong; a message that failed costs nothing.
    """

    send_status: int
    sent: int
    success: int
    failed: int
    price: int


def plan_delivery(
    settings: Settings,
    accepted_at: float,
    send_at: datetime | None,
    twist: Twist | None = None,
    status_lag: float | None = None,
) -> Delivery:
    """Plan the delivery of a message that is accepted.

    Args:
        settings: The times that it takes.
        accepted_at: When it is, seconds since 1970.
        send_at: Its SendDate, or None.
        twist: What is unusual about it, if anything.
        status_lag: How long the status calls are not to know it; None is as set.

    Returns:
        The plan.
    """
    started_at = accepted_at if send_at is None else max(accepted_at, send_at.timestamp())
    finished_at: float | None = started_at + settings.report_delay
    match twist:
        case Twist.EARLY:
            finished_at = started_at = accepted_at
        case Twist.LATE:
            finished_at = started_at + settings.late_report_delay
        case Twist.NEVER:
            finished_at = None
        case _:
            pass
    lag = settings.status_lag if status_lag is None else status_lag
    return Delivery(accepted_at + lag, started_at, finished_at, twist is not Twist.FAILED, twist)


def progress(message: AcceptedMessage, now: float) -> Progress:
    """Return how far the delivery of a message is.

    Args:
        message: The message.
        now: The time, seconds since 1970.
    """
    delivery = message.delivery
    if delivery.finished_at is not None and now >= delivery.finished_at:
        return finished(message)
    if delivery.finished_at is None and now >= delivery.started_at:
        return Progress(SENT, 1, 0, 0, message.price)
    return waiting(message)


def waiting(message: AcceptedMessage) -> Progress:
    """Return the progress of a message that waits to be sent."""
    return Progress(WAITING, 0, 0, 0, message.price)


def finished(message: AcceptedMessage) -> Progress:
    """Return the progress of a message whose result is known."""
    success = int(message.delivery.delivered)
    return Progress(FINISHED, 1, success, 1 - success, message.price * success)


def operator(phone: str) -> tuple[int, str]:
    """Return the telcoid and the name of the operator that a phone number was given to."""
    return _BY_PREFIX.get(phone[:3], _ANOTHER)
