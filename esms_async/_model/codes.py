"""Lists the gateway's result codes: meaning, routes, and what the sender can conclude."""

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs


class Scope(enum.Enum):
    """What a result code is about, which decides what the sender can conclude."""

    ACCEPTED = "accepted"
    """The gateway accepted the message."""
    DUPLICATE = "duplicate"
    """The gateway has seen this RequestId within 24 hours."""
    ACCOUNT = "account"
    """The account can't send; every other message would get the same code."""
    ROUTE = "route"
    """The route can't be used; every other message of the route would get the same code."""
    MESSAGE = "message"
    """This message is refused, whenever it is sent."""
    ATTEMPT = "attempt"
    """This attempt is refused. An earlier one may have been accepted, because the reason (a block,
    a template, an operator) may have changed since."""
    CALLER = "caller"
    """The request was built wrongly: a bug in the caller."""
    OTHER = "other"
    """A code of another eSMS product, or one that no page lists."""


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
        scope: What it is about.
        routes: The kinds of routes that it is documented for; none if it belongs to a query or to
            another eSMS product.
        meaning: What it means, in English.
        meaning_vi: What it means, in Vietnamese.
        advice: What a sender should do, in English.
        advice_vi: The same in Vietnamese.
    """

    code: str
    scope: Scope
    routes: frozenset[RouteKind]
    meaning: str
    meaning_vi: str
    advice: str
    advice_vi: str


_EVERYWHERE: Final = frozenset(RouteKind)
_NOWHERE: Final[frozenset[RouteKind]] = frozenset()
_FIXED: Final = frozenset({RouteKind.FIXED})
_BRANDNAME: Final = frozenset({RouteKind.BRANDNAME})
_ZALO: Final = frozenset({RouteKind.ZALO})


def _of_another_product(
    code: str,
    meaning: str = "refused by a rule of another eSMS product",
    meaning_vi: str = "bị từ chối theo quy định của một sản phẩm eSMS khác",
) -> Code:
    return Code(
        code,
        Scope.OTHER,
        _NOWHERE,
        meaning,
        meaning_vi,
        "No send of this package should meet it: ask eSMS, and name the RequestId.",
        "Không lần gửi nào của gói này gặp mã này: hãy hỏi eSMS, kèm theo RequestId.",
    )


# Sources: developers.esms.vn, "Table of error codes" and its Vietnamese twin "Bảng mã lỗi" (as of
# 2026-04), whose column "Loại tin áp dụng" names the routes, and the answers on the pages of the
# sends. 117 stands on the page "Tin gencode tự động (SMS)" alone. 132 stands on no page: public
# clients of the API list it. The scope is this package's reading, and so is the advice.
_TABLE = (
    Code(
        "99",
        Scope.ATTEMPT,
        _EVERYWHERE,
        "the phone number is blocked in the gateway",
        "số điện thoại bị chặn trên hệ thống",
        "Use another way to reach this person; only eSMS can lift the block.",
        "Liên lạc với người này bằng cách khác; chỉ eSMS gỡ chặn được.",
    ),
    Code(
        "100",
        Scope.ACCEPTED,
        _EVERYWHERE,
        "accepted by the gateway, not delivered yet",
        "yêu cầu đã được gửi đến eSMS thành công, chưa phải là tin đã đến máy",
        "Go on; the delivery report tells what becomes of it.",
        "Tiếp tục; báo cáo phát tin sẽ cho biết kết quả cuối cùng.",
    ),
    Code(
        "101",
        Scope.ACCOUNT,
        _EVERYWHERE,
        "wrong ApiKey or SecretKey",
        "sai ApiKey hoặc SecretKey",
        "Stop sending, and compare the keys with those of the account's page at eSMS.",
        "Ngừng gửi, đối chiếu hai khóa với trang quản lý tài khoản eSMS.",
    ),
    Code(
        "102",
        Scope.ACCOUNT,
        _EVERYWHERE,
        "the account has no price list",
        "tài khoản chưa có bảng giá",
        "Stop sending, and ask eSMS to give the account a price list.",
        "Ngừng gửi, đề nghị eSMS cấp bảng giá cho tài khoản.",
    ),
    Code(
        "103",
        Scope.ACCOUNT,
        _EVERYWHERE,
        "the balance does not cover the message",
        "số dư không đủ để gửi tin",
        "Stop sending until the account is topped up.",
        "Ngừng gửi cho đến khi nạp tiền.",
    ),
    Code(
        "104",
        Scope.ROUTE,
        _BRANDNAME,
        "the brandname does not exist, or is not active",
        "brandname không tồn tại hoặc chưa được kích hoạt",
        "Stop sending by this brandname; compare it, its case too, with the list of brandnames.",
        "Ngừng gửi bằng brandname này; so tên, kể cả chữ hoa chữ thường, với danh sách brandname.",
    ),
    Code(
        "105",
        Scope.OTHER,
        _NOWHERE,
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
        _EVERYWHERE,
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
    _of_another_product(
        "117",
        "the generated code is wrong, used or expired",
        "mã do eSMS tạo sai, đã dùng hoặc hết hạn",
    ),
    Code(
        "118",
        Scope.ACCOUNT,
        _EVERYWHERE,
        "this type of message is not supported for the account",
        "tài khoản không được hỗ trợ loại tin nhắn này",
        "Stop sending, and ask eSMS to enable the type: 8 is the fixed number, 2 a brandname.",
        "Ngừng gửi, đề nghị eSMS mở loại tin: 8 là đầu số cố định, 2 là brandname.",
    ),
    _of_another_product(
        "120",
        "an advertising request holds too many phone numbers",
        "danh sách số điện thoại gửi tin quảng cáo vượt quá giới hạn",
    ),
    Code(
        "124",
        Scope.DUPLICATE,
        _EVERYWHERE,
        "this RequestId was seen in the last 24 hours",
        "RequestId này đã được dùng trong 24 giờ qua",
        "Send nothing else: this message may have been accepted. A delivery report or "
        "reconcile tells; where an attempt of the same Message may have arrived, resume it.",
        "Không gửi thêm: tin này có thể đã được nhận. Chờ báo cáo phát tin hoặc dùng "
        "reconcile; nếu một lần thử của chính Message này có thể đã đến nơi thì dùng resume.",
    ),
    Code(
        "132",
        Scope.ROUTE,
        _FIXED,
        "the account was not granted the fixed number",
        "tài khoản chưa được cấp đầu số cố định",
        "Stop sending by the fixed number, and ask eSMS to grant it, or use a brandname.",
        "Ngừng gửi bằng đầu số cố định, đề nghị eSMS cấp đầu số hoặc dùng brandname.",
    ),
    Code(
        "140",
        Scope.ACCOUNT,
        _EVERYWHERE,
        "the caller's IP address is not on the account's whitelist",
        "địa chỉ IP chưa nằm trong danh sách được phép của tài khoản",
        "Stop sending from this machine, and ask eSMS to add its address.",
        "Ngừng gửi từ máy này, đề nghị eSMS thêm địa chỉ IP của máy.",
    ),
    Code(
        "143",
        Scope.ACCOUNT,
        _EVERYWHERE,
        "the account is inactive or locked",
        "tài khoản chưa kích hoạt hoặc đã bị khóa",
        "Stop sending, and ask eSMS why.",
        "Ngừng gửi và hỏi eSMS lý do.",
    ),
    Code(
        "146",
        Scope.ATTEMPT,
        _BRANDNAME,
        "the text fits no template that is registered for the brandname",
        "nội dung không khớp mẫu tin nào đã đăng ký cho brandname",
        "Change the text to fit a registered template, or register one, and make a new Message.",
        "Sửa nội dung cho khớp mẫu đã đăng ký, hoặc đăng ký mẫu mới, rồi tạo Message mới.",
    ),
    Code(
        "160",
        Scope.OTHER,
        _NOWHERE,
        "too many queries a second for the status of Zalo messages",
        "vượt giới hạn số yêu cầu mỗi giây của hàm lấy trạng thái ZNS",
        "Ask more slowly: the gateway takes 30 such queries a second.",
        "Hỏi chậm lại: hệ thống nhận 30 yêu cầu loại này mỗi giây.",
    ),
    Code(
        "163",
        Scope.CALLER,
        _FIXED,
        "more than one phone number in a fixed-number request",
        "yêu cầu gửi đầu số cố định có nhiều hơn một số điện thoại",
        "Correct the program: one request takes one number, as a Message holds.",
        "Sửa chương trình: mỗi yêu cầu chỉ nhận một số, đúng như một Message.",
    ),
    _of_another_product(
        "171",
        "the one-time code is used, expired, or of another phone number",
        "mã OTP đã được sử dụng, hết hạn hoặc không thuộc về số điện thoại này",
    ),
    Code(
        "177",
        Scope.ATTEMPT,
        _BRANDNAME,
        "the brandname is not registered with the recipient's operator",
        "brandname chưa được đăng ký với nhà mạng của người nhận",
        "Use another way to reach this person, and ask eSMS to register the brandname there.",
        "Liên lạc với người này bằng cách khác, đề nghị eSMS đăng ký brandname với nhà mạng đó.",
    ),
    _of_another_product(
        "199",
        "an equal registration request is being processed",
        "yêu cầu đăng ký này đã tồn tại và đang được xử lý",
    ),
    Code(
        "201",
        Scope.MESSAGE,
        _BRANDNAME,
        "the content holds a blocked word",
        "nội dung có từ khóa bị chặn",
        "Change the text, and make a new Message.",
        "Sửa nội dung và tạo Message mới.",
    ),
    Code(
        "204",
        Scope.ROUTE,
        _ZALO,
        "the Zalo OAID does not exist in the gateway",
        "OAID của Zalo không tồn tại trên hệ thống",
        "Stop sending by this Official Account, and compare its OAID with that at eSMS.",
        "Ngừng gửi bằng OA này, đối chiếu OAID với tài khoản eSMS.",
    ),
    _of_another_product(
        "210",
        "the payload of a Zalo message is not as specified",
        "dữ liệu của tin Zalo không đúng quy định",
    ),
    Code(
        "300",
        Scope.CALLER,
        _BRANDNAME,
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
    Code(
        "789",
        Scope.ROUTE,
        _ZALO,
        "the Zalo template is not set up for the OAID",
        "mẫu tin Zalo chưa được cấu hình cho OA ID đang dùng",
        "Stop sending by this template, and ask eSMS to set it up for the Official Account.",
        "Ngừng gửi bằng mẫu này, đề nghị eSMS cấu hình mẫu cho OA.",
    ),
    Code(
        "790",
        Scope.ATTEMPT,
        _ZALO,
        "the parameters do not fit the Zalo (ZNS) template",
        "tham số không đúng với mẫu tin ZNS",
        "Compare the names and values of the params with the template, and make a new Message.",
        "Đối chiếu tên và giá trị tham số với mẫu tin, rồi tạo Message mới.",
    ),
    Code(
        "791",
        Scope.ROUTE,
        _ZALO,
        "the OAID or the template id of a Zalo message is missing",
        "thiếu OA ID hoặc Template ID của tin Zalo",
        "Look for what changes the request on its way: the package always sends both.",
        "Tìm xem điều gì làm thay đổi yêu cầu trên đường đi: gói này luôn gửi cả hai.",
    ),
    Code(
        "799",
        Scope.ROUTE,
        _ZALO,
        "the Zalo Official Account is not active, wrong, or not added to the account",
        "OA Zalo không hoạt động, sai, hoặc chưa được thêm vào tài khoản",
        "Stop sending by this Official Account, and ask eSMS to add it or to activate it.",
        "Ngừng gửi bằng OA này, đề nghị eSMS thêm hoặc kích hoạt OA.",
    ),
    Code(
        "801",
        Scope.ATTEMPT,
        _ZALO,
        "sending beyond the quota (SendingMode 3) takes no time to send at",
        "chế độ gửi vượt hạn mức không cho phép hẹn giờ",
        "Leave send_at out, or use sending_mode 1, and make a new Message.",
        "Bỏ send_at hoặc dùng sending_mode 1, rồi tạo Message mới.",
    ),
    Code(
        "802",
        Scope.ROUTE,
        _ZALO,
        "the Official Account may not send beyond its quota (SendingMode 3)",
        "OA chưa được phép gửi tin ở chế độ vượt hạn mức",
        "Use sending_mode 1, or ask eSMS to have the Official Account put on the list.",
        "Dùng sending_mode 1, hoặc đề nghị eSMS đăng ký cho OA.",
    ),
    Code(
        "851",
        Scope.OTHER,
        _NOWHERE,
        "the MessageId or SMSID is missing in a query",
        "thiếu MessageId hoặc SMSID",
        "Ask with the id that the delivery report or the receipt holds.",
        "Hỏi bằng id có trong báo cáo phát tin hoặc trong Receipt.",
    ),
    Code(
        "854",
        Scope.OTHER,
        _NOWHERE,
        "the query found no data",
        "không tìm thấy dữ liệu",
        "Compare the id, and ask again later.",
        "Kiểm tra lại id và hỏi lại sau.",
    ),
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
        _NOWHERE,
        "a code that no page of the gateway lists",
        "mã không có trong tài liệu nào của eSMS",
        "Ask eSMS what it means, and name the RequestId.",
        "Hãy hỏi eSMS ý nghĩa của mã này, kèm theo RequestId.",
    )
