"""The values that the emulator shows: their reprs give nothing away."""

from datetime import UTC, datetime

import pytest

from esms_async.emulator import AcceptedMessage, Delivery, Operation, SeenRequest
from esms_async.emulator.records import find_otp
from tests.emulator.caller import CONTENT, PHONE

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def test_the_repr_of_a_message_hides_content_phone_and_callback() -> None:
    """The repr of an accepted message can go into a log."""
    message = AcceptedMessage(
        number=1,
        at=NOW,
        phone=PHONE,
        content=CONTENT,
        request_id="r-1",
        sms_id="s-1",
        unicode=False,
        campaign_id=None,
        callback_url="http://127.0.0.1/?token=T0KEN",
        send_at=None,
        price=850,
        delivery=Delivery(0.0, 0.0, None),
    )
    shown = repr(message)
    assert "090****484" in shown
    assert "r-1" in shown
    assert not any(secret in shown for secret in (PHONE, "686868", "T0KEN"))


def test_the_repr_of_a_request_hides_fields_and_phone() -> None:
    """So can the repr of a request, whatever stood in the place of its phone."""
    request = SeenRequest(
        number=1,
        at=NOW,
        operation=Operation.SEND,
        method="POST",
        fields={"Content": CONTENT},
        phone=PHONE,
    )
    assert PHONE not in repr(request)
    assert "686868" not in repr(request)
    assert "phone=None" in repr(SeenRequest(1, NOW, Operation.BALANCE, "POST", {}))


@pytest.mark.parametrize(
    ("content", "otp"),
    [
        (CONTENT, "686868"),
        ("Ma xac thuc Shop cua ban la 1234", "1234"),
        ("Hotline 19001234. Ma cua ban: 482913.", "482913"),
        ("Mã 2026 hoặc 12345678", "2026"),
        ("G-123456 is your code", None),
        ("Ngay 23/11/2026, 500.000d, goi 0901 888 484 luc 12:3045", None),
        ("123 va 123456789", None),
        ("AB123456 1234X", None),
        ("", None),
    ],
)
def test_the_code_in_a_text_is_found(content: str, otp: str | None) -> None:
    """Six digits that stand alone come first, then four to eight; dates and amounts are none."""
    assert find_otp(content) == otp
