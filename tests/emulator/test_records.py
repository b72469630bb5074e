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
        ("G-123456 is your code", "123456"),
        ("Ngay 23/11/2026, 500.000d, goi 0901 888 484 luc 12:3045", None),
        ("123 va 123456789", None),
        ("AB123456 1234X", None),
        ("OTP:482913", "482913"),
        ("Mã 123 456", "123456"),
        ("123 456", None),
        ("Kinh chao 2026! Ma cua ban la 55667", "55667"),
        ("Chuc mung nam moi 2026", None),
        ("Mã xác thực của bạn là 904 117. Không chia sẻ mã này cho bất kỳ ai.", "904117"),
        ("Ma OTP cua ban la 12 34 56", "123456"),
        ("Ma co hieu luc trong 5 phut. 771122 la ma cua ban", "771122"),
        ("482913 la ma, het han 300 giay", "482913"),
        ("Nap 500000d vao tai khoan. Ma: 7788", "7788"),
        ("STK 12345678 ma 4455", "4455"),
        ("Ma don hang 482913 da giao", None),
        ("GiaoNhanh: don hang DH-99213 da den kho truoc 18:00 hom nay.", None),
        ("Voucher TET2027: giam 15% cho don tu 300.000 d", None),
        ("Your code is 123-456.", "123456"),
        ("Mã xác thực là 4 4 5 5 6 6", "445566"),
        ("4 4 5 5 6 6 la ma xac thuc cua ban", "445566"),
        ("OTP: 1-2-3-4. Hotline 19001234", "1234"),
        ("Ma: 1 2 3 4 5 6 7 8", "12345678"),
        ("4 4 5 5 6 6", None),
        ("Ma giai thuong 1 2 3 4 5 6 7 8 9", None),
        ("Ma giai 9 1 2 34 56", None),
        ("686868", "686868"),
        ("M\u00e3 \u0111\u0103ng nh\u1eadp: 0042", "0042"),
        ("", None),
    ],
)
def test_the_code_in_a_text_is_found(content: str, otp: str | None) -> None:
    """A number near a word such as `ma` is one; years, dates, amounts and phones are none."""
    assert find_otp(content) == otp
