"""How far a message is at which time, with each fault of its delivery."""

from datetime import UTC, datetime

import pytest

from esms_async.emulator import AcceptedMessage, DeliveryFault, Settings
from esms_async.emulator.records import operator, plan_delivery, progress

AT = 1_000.0
SETTINGS = Settings(report_delay=10, late_report_delay=100, status_lag=3)


def message(fault: DeliveryFault | None, send_at: datetime | None = None) -> AcceptedMessage:
    """Make a message that was accepted at `AT`."""
    return AcceptedMessage(
        number=1,
        at=datetime.fromtimestamp(AT, UTC),
        phone="0901888484",
        content="1",
        request_id=None,
        sms_id="s",
        unicode=False,
        campaign_id=None,
        callback_url=None,
        send_at=send_at,
        price=850,
        delivery=plan_delivery(SETTINGS, AT, send_at, fault),
    )


@pytest.mark.parametrize(
    ("fault", "after", "send_status", "success", "failed"),
    [
        (None, 0, 2, 0, 0),
        (None, 9.9, 2, 0, 0),
        (None, 10, 5, 1, 0),
        (DeliveryFault.TWICE, 10, 5, 1, 0),
        (DeliveryFault.FAILED, 9.9, 2, 0, 0),
        (DeliveryFault.FAILED, 10, 5, 0, 1),
        (DeliveryFault.NEVER, 0, 7, 0, 0),
        (DeliveryFault.NEVER, 10_000, 7, 0, 0),
        (DeliveryFault.EARLY, 0, 5, 1, 0),
        (DeliveryFault.LATE, 99, 2, 0, 0),
        (DeliveryFault.LATE, 100, 5, 1, 0),
    ],
)
def test_the_progress_follows_the_clock(
    fault: DeliveryFault | None, after: float, send_status: int, success: int, failed: int
) -> None:
    """A message waits (2), and is finished (5) with its result, or is sent for ever (7)."""
    now = progress(message(fault), AT + after)
    assert (now.send_status, now.success, now.failed) == (send_status, success, failed)


def test_a_message_for_later_waits_until_then() -> None:
    """A SendDate in the future puts everything off; one in the past does nothing."""
    later = message(None, datetime.fromtimestamp(AT + 50, UTC))
    assert [progress(later, AT + 59).send_status, progress(later, AT + 60).send_status] == [2, 5]
    never = message(DeliveryFault.NEVER, datetime.fromtimestamp(AT + 50, UTC))
    assert [progress(never, AT + 49).send_status, progress(never, AT + 50).send_status] == [2, 7]
    past = message(None, datetime.fromtimestamp(AT - 50, UTC))
    assert [progress(past, AT + 9).send_status, progress(past, AT + 10).send_status] == [2, 5]


def test_a_message_that_failed_costs_nothing() -> None:
    """The price of a failed message is 0."""
    assert progress(message(DeliveryFault.FAILED), AT + 10).price == 0
    assert progress(message(None), AT + 10).price == 850


def test_the_lag_is_as_set_unless_told_otherwise() -> None:
    """A lag that a fault asks for takes the place of the setting."""
    assert plan_delivery(SETTINGS, AT, None).visible_at == AT + 3
    assert plan_delivery(SETTINGS, AT, None, status_lag=0.0).visible_at == AT


@pytest.mark.parametrize(
    ("phone", "number", "name"),
    [
        ("0961888484", 1, "Viettel"),
        ("0765418062", 2, "Mobifone"),
        ("0918238965", 3, "Vinaphone"),
        ("0921888484", 4, "Vietnamobile"),
        ("0991888484", 5, "Gmobile"),
        ("0871888484", 6, "Itel"),
        ("0551888484", 7, "Reddi"),
        ("0501888484", 9, "Other"),
    ],
)
def test_the_operator_is_told_by_the_prefix(phone: str, number: int, name: str) -> None:
    """A number is its first operator's; a prefix that nobody has is another's."""
    assert operator(phone) == (number, name)
