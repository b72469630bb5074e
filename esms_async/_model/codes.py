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


class RouteKind(enum.StrEnum):
    """How a message travels, without the names that belong to it."""

    FIXED = "fixed"
    """SmsType 8, the fixed number."""
    BRANDNAME = "brandname"
    """SmsType 2, a brandname."""
    ZALO = "zalo"
    """A Zalo template (ZNS)."""


@attrs.frozen
class Code:
    """One row of the gateway's code table.

    Attributes:
        code: The code as the gateway writes it, a decimal number.
        scope: Whom it concerns.
        meaning: What it means, in English.
        meaning_vi: What it means, in Vietnamese.
        advice: What a sender who meets it does, in English.
        advice_vi: The same in Vietnamese.
    """

    code: str
    scope: Scope
    meaning: str
    meaning_vi: str
    advice: str
    advice_vi: str


def _of_another_product(
    code: str,
    meaning: str = "refused by a rule of another eSMS product",
    meaning_vi: str = "bị từ chối theo quy định của một sản phẩm eSMS khác",
) -> Code:
    return Code(
        code,
        Scope.OTHER,
        meaning,
        meaning_vi,
        "No fixed-number send should meet it: ask eSMS, and name the RequestId.",
        "Tin đầu số cố định không gặp mã này: hãy hỏi eSMS, kèm theo RequestId.",
    )


# Sources: developers.esms.vn, "Table of error codes" and its Vietnamese twin "Bảng mã lỗi", and the
# answers on the page "Send fixed number with cheap price". The scope is this package's reading of
# "applies to" and meaning, and so is the advice; codes that the Vietnamese table leaves out are
# translated from the English one. Only the Vietnamese table tells what 789, 790 and 791 mean.
_TABLE = (
    Code(
        "99",
        Scope.MESSAGE,
        "the phone number is blocked in the gateway",
        "số điện thoại bị chặn trên hệ thống",
        "Use another way to reach this person; only eSMS can lift the block.",
        "Liên lạc với người này bằng cách khác; chỉ eSMS gỡ chặn được.",
    ),
    Code(
        "100",
        Scope.ACCEPTED,
        "accepted by the gateway, not delivered yet",
        "yêu cầu đã được gửi đến eSMS thành công, chưa phải là tin đã đến máy",
        "Go on; the delivery report tells what becomes of it.",
        "Tiếp tục; báo cáo gửi tin sẽ cho biết kết quả cuối cùng.",
    ),
    Code(
        "101",
        Scope.ACCOUNT,
        "wrong ApiKey or SecretKey",
        "sai ApiKey hoặc SecretKey",
        "Stop sending, and compare the keys with those of the account's page at eSMS.",
        "Ngừng gửi, đối chiếu hai khóa với trang quản lý tài khoản eSMS.",
    ),
    Code(
        "102",
        Scope.ACCOUNT,
        "the account has no price list",
        "tài khoản chưa có bảng giá",
        "Stop sending, and ask eSMS to give the account a price list.",
        "Ngừng gửi, đề nghị eSMS cấp bảng giá cho tài khoản.",
    ),
    Code(
        "103",
        Scope.ACCOUNT,
        "the balance does not cover the message",
        "số dư không đủ để gửi tin",
        "Stop sending until the account is topped up, then make a new Message.",
        "Ngừng gửi cho đến khi nạp tiền, rồi tạo Message mới.",
    ),
    _of_another_product(
        "104",
        "the brandname or call code does not exist",
        "brandname hoặc mã cuộc gọi không tồn tại",
    ),
    Code(
        "105",
        Scope.OTHER,
        "the SMSID is not known, or not known yet",
        "không tìm thấy SMSID trên hệ thống, hoặc chưa có",
        "Ask again later: right after a send it proves nothing.",
        "Hỏi lại sau: ngay sau khi gửi, mã này chưa chứng minh điều gì.",
    ),
    _of_another_product("106", "the voice recording does not exist", "file ghi âm không tồn tại"),
    _of_another_product(
        "107",
        "an advertising request holds too few phone numbers",
        "yêu cầu gửi tin quảng cáo có quá ít số điện thoại",
    ),
    Code(
        "108",
        Scope.MESSAGE,
        "the phone number is malformed",
        "số điện thoại không đúng định dạng",
        "Ask the person for the number again, and make a new Message.",
        "Xin lại số điện thoại và tạo Message mới.",
    ),
    _of_another_product(
        "110",
        "the data of a personalised Zalo message is wrong",
        "dữ liệu của tin Zalo cá nhân hóa không đúng",
    ),
    _of_another_product(
        "115",
        "the phone hash of a Zalo message is not valid",
        "mã băm số điện thoại của tin Zalo không hợp lệ",
    ),
    Code(
        "118",
        Scope.ACCOUNT,
        "this SmsType is not supported for the account",
        "tài khoản không được hỗ trợ loại tin nhắn này",
        "Stop sending, and ask eSMS to enable SmsType 8 for the account.",
        "Ngừng gửi, đề nghị eSMS mở loại tin 8 cho tài khoản.",
    ),
    _of_another_product(
        "120",
        "an advertising request holds too many phone numbers",
        "danh sách số điện thoại gửi tin quảng cáo vượt quá giới hạn",
    ),
    Code(
        "124",
        Scope.DUPLICATE,
        "this RequestId was seen in the last 24 hours",
        "RequestId này đã được dùng trong 24 giờ qua",
        "Send nothing else: this message may have been accepted. A delivery report or "
        "reconcile tells; where an attempt of the same Message may have arrived, resume it.",
        "Không gửi thêm: tin này có thể đã được nhận. Chờ báo cáo gửi tin hoặc dùng "
        "reconcile; nếu một lần thử của chính Message này có thể đã đến nơi thì dùng resume.",
    ),
    Code(
        "140",
        Scope.ACCOUNT,
        "the caller's IP address is not on the account's whitelist",
        "địa chỉ IP chưa nằm trong danh sách được phép của tài khoản",
        "Stop sending from this machine, and ask eSMS to add its address.",
        "Ngừng gửi từ máy này, đề nghị eSMS thêm địa chỉ IP của máy.",
    ),
    Code(
        "143",
        Scope.ACCOUNT,
        "the account is inactive or locked",
        "tài khoản chưa kích hoạt hoặc đã bị khóa",
        "Stop sending, and ask eSMS why.",
        "Ngừng gửi và hỏi eSMS lý do.",
    ),
    _of_another_product(
        "146",
        "the text does not follow the registered customer-care template",
        "nội dung sai mẫu tin chăm sóc khách hàng đã đăng ký",
    ),
    _of_another_product("160"),
    Code(
        "163",
        Scope.CALLER,
        "more than one phone number in a fixed-number request",
        "yêu cầu gửi đầu số cố định có nhiều hơn một số điện thoại",
        "Mend the program: one request takes one number, as a Message holds.",
        "Sửa chương trình: mỗi yêu cầu chỉ nhận một số, đúng như một Message.",
    ),
    _of_another_product(
        "171",
        "the one-time code is used, expired, or of another phone number",
        "mã OTP đã được sử dụng, hết hạn hoặc không thuộc về số điện thoại này",
    ),
    Code(
        "177",
        Scope.MESSAGE,
        "the recipient's operator is not registered for this sender",
        "nhà mạng của người nhận chưa được đăng ký",
        "Use another way to reach this person, and ask eSMS to register the operator.",
        "Liên lạc với người này bằng cách khác, đề nghị eSMS đăng ký nhà mạng đó.",
    ),
    _of_another_product(
        "199",
        "an equal registration request is being processed",
        "yêu cầu đăng ký này đã tồn tại và đang được xử lý",
    ),
    Code(
        "201",
        Scope.MESSAGE,
        "the content holds a blocked word",
        "nội dung có từ khóa bị chặn",
        "Change the text, and make a new Message.",
        "Sửa nội dung và tạo Message mới.",
    ),
    _of_another_product(
        "204",
        "the Zalo OAID does not exist",
        "OAID của Zalo không tồn tại trên hệ thống",
    ),
    _of_another_product(
        "210",
        "the payload of a Zalo message is not as specified",
        "dữ liệu của tin Zalo không đúng quy định",
    ),
    Code(
        "300",
        Scope.CALLER,
        "SmsType is missing",
        "thiếu loại tin nhắn (SmsType)",
        "Look for what changes the request on its way: the package always sends SmsType.",
        "Tìm xem điều gì làm thay đổi yêu cầu trên đường đi: gói này luôn gửi SmsType.",
    ),
    _of_another_product(
        "301",
        "the service code is not supported",
        "mã của loại dịch vụ chưa được hỗ trợ",
    ),
    _of_another_product("687"),
    _of_another_product(
        "789",
        "the Zalo template is not set up for the OAID",
        "mẫu tin Zalo chưa được cấu hình cho OA ID đang dùng",
    ),
    _of_another_product(
        "790",
        "the text does not follow the Zalo (ZNS) template",
        "nội dung sai mẫu tin ZNS",
    ),
    _of_another_product(
        "791",
        "the OAID or the template id of a Zalo message is missing",
        "thiếu OA ID hoặc Template ID của tin Zalo",
    ),
    _of_another_product("799"),
    _of_another_product("801"),
    _of_another_product("802"),
    _of_another_product("851"),
    _of_another_product("854"),
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
    return CODES.get(code) or Code(
        code,
        Scope.OTHER,
        "a code that no page of the gateway lists",
        "mã không có trong tài liệu nào của eSMS",
        "Ask eSMS what it means, and name the RequestId.",
        "Hãy hỏi eSMS ý nghĩa của mã này, kèm theo RequestId.",
    )
