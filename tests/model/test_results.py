"""What the gateway tells when it is asked."""

import pytest

from esms_async.queries import Receiver, SendStatus, SentMessage, SmsStatus

PHONE = "0901888484"


@pytest.mark.parametrize(
    ("send_status", "succeeded", "failed", "final", "delivered"),
    [
        (SendStatus.FINISHED, 1, 0, True, True),
        (SendStatus.FINISHED, 0, 1, True, False),
        (SendStatus.FINISHED, 1, 1, True, False),
        (SendStatus.FINISHED, 0, 0, True, None),
        (SendStatus.FINISHED, None, None, True, None),
        (SendStatus.REFUSED, 0, 0, True, False),
        (SendStatus.SENT, 0, 0, False, None),
        (SendStatus.SENT, 1, 0, False, None),
        (SendStatus.WAITING, 0, 1, False, None),
        (3, 1, 0, False, None),
        (None, 1, 0, False, None),
    ],
)
def test_what_a_status_says(
    send_status: int | None,
    succeeded: int | None,
    failed: int | None,
    *,
    final: bool,
    delivered: bool | None,
) -> None:
    """The counts are a result only once the gateway has finished."""
    status = SmsStatus("id", send_status, 1, 1, succeeded, failed)
    assert (status.final, status.delivered) == (final, delivered)


def test_no_phone_and_no_content_shows() -> None:
    """What is listed shows neither the middle of a phone nor a text."""
    assert repr(Receiver(PHONE)).startswith("Receiver(phone='090****484'")
    assert repr(Receiver(None)).startswith("Receiver(phone=None")
    shown = repr(SentMessage("id", f"84{PHONE[1:]}", "686868 la ma"))
    assert "phone='<11 characters>'" in shown
    assert "686868" not in shown
