"""The questions to the gateway and their answers: values to bytes and back, without any I/O.

Facts come from developers.esms.vn, pages "Get the account balance", "Get SMS by SMSID", "Get
message details", "Get the message status", "Hàm lấy danh sách Brandname", "Hàm lấy danh sách
template tin chăm sóc khách hàng", "Hàm tạm tính giá tin nhắn CSKH" and "Hàm lấy thông tin trạng
thái ZNS".
"""

import contextlib
import enum
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, TypeVar, cast

import attrs

from esms_async._model.codes import RouteKind, Scope, lookup
from esms_async._model.errors import (
    ConfigurationError,
    QueryAccountRejected,
    QueryError,
    QueryRejected,
    QueryUnanswered,
)
from esms_async._model.messages import VIETNAM_TIME, Credentials, Message
from esms_async._model.redaction import redact
from esms_async._model.results import (
    AccountBrandname,
    Balance,
    BrandnameType,
    Price,
    Receiver,
    SendResult,
    SendStatus,
    SentMessage,
    SmsStatus,
    ZaloDelivery,
    ZaloStatus,
)
from esms_async._model.routes import Brandname, Route
from esms_async._model.templates import BrandnameTemplate, Templates
from esms_async._wire.fields import (
    LONGEST_SMS_ID,
    as_amount,
    as_code,
    as_flag,
    as_sms_id,
    as_time,
    as_whole,
    as_words,
    find,
    is_refusal,
)
from esms_async._wire.send import Loads, read_json

T = TypeVar("T")
_T_co = TypeVar("_T_co", covariant=True)
_E = TypeVar("_E", bound=enum.IntEnum)

PAGE_SIZE: Final = 500
"""How many lines of the list one page holds at most; field PageSize."""

_ANSWERED = "100"
_NOT_KNOWN = frozenset({"105", "854"})
_CUSTOMER_CARE = "2"
# Field SmsType of the list: 25 is a normal Zalo message.
_LISTED_TYPES: Final = {RouteKind.FIXED: "8", RouteKind.BRANDNAME: "2", RouteKind.ZALO: "25"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_Object = Mapping[object, object]


class _Unreadable(Exception):
    """An answer does not hold what it must."""


@attrs.frozen
class Question(Generic[_T_co]):
    """A question that changes nothing, so it can be asked again at will.

    Attributes:
        operation: The operation, relative to the folder of the operations.
        fields: What it asks, without the account's keys.
        in_body: True where the gateway takes it as a POST; False where it takes a GET alone.
        read: Reads the answer of code 100.
        may_be_unknown: True where code 105 or 854 is an answer: "not known, or not known yet".
        keys_in_path: True where the keys are the last parts of the path, and not in the query.
    """

    operation: str
    fields: Mapping[str, str] = attrs.field(repr=False)
    in_body: bool
    read: Callable[[_Object], _T_co] = attrs.field(repr=False)
    may_be_unknown: bool = False
    keys_in_path: bool = False

    def body(self, credentials: Credentials) -> bytes:
        """Encode the JSON body of a POST."""
        return json.dumps({**keys(credentials), **self.fields}).encode()


def keys(credentials: Credentials) -> dict[str, str]:
    """Return the fields by which the gateway knows an account."""
    return {"ApiKey": credentials.api_key, "SecretKey": credentials.secret_key}


def ask_balance() -> Question[Balance]:
    """Ask for the balance."""
    return Question("GetBalance_json", {}, in_body=True, read=_read_balance)


def ask_status(sms_id: str) -> Question[SmsStatus]:
    """Ask for the status of an SMSID; raise ConfigurationError if it can't be one."""

    def read(answer: _Object) -> SmsStatus:
        return _read_status(answer, sms_id)

    fields = {"RefId": _checked(sms_id)}
    return Question("GetSendStatus", fields, in_body=False, read=read, may_be_unknown=True)


def ask_receivers(sms_id: str) -> Question[tuple[Receiver, ...]]:
    """Ask for the receivers of an SMSID; raise ConfigurationError if it can't be one."""
    return Question(
        "GetSmsReceiverStatus_get",
        {"RefId": _checked(sms_id)},
        in_body=False,
        read=_read_receivers,
        may_be_unknown=True,
    )


def ask_brandnames() -> Question[tuple[AccountBrandname, ...]]:
    """Ask for the brandnames of the account."""
    return Question("GetListBrandname", {}, in_body=False, read=_read_brandnames, keys_in_path=True)


def ask_templates(brandname: str) -> Question[Templates]:
    """Ask for the templates of a brandname."""

    def read(answer: _Object) -> Templates:
        return Templates(brandname, map(_template, _rows(answer, "BrandnameTemplates")))

    fields = {"SmsType": _CUSTOMER_CARE, "Brandname": brandname}
    return Question("GetTemplate/", fields, in_body=True, read=read)


def ask_price(message: Message, default: Route) -> Question[Price]:
    """Ask what a message would cost.

    Args:
        message: The message.
        default: How it travels if it names no route itself.

    Raises:
        ConfigurationError: It travels by another route than a brandname.
    """
    route = message.route or default
    if not isinstance(route, Brandname) or message.content is None:
        raise ConfigurationError(
            f"the gateway tells prices of brandname messages alone, not of the route {route}"
        )
    fields = {
        "Phone": message.phone,
        "Content": message.content,
        "SmsType": _CUSTOMER_CARE,
        "BrandName": route.name,
        "IsUnicode": "1" if message.unicode else "0",
    }
    return Question("SummaryMultipleMessage_V4_get", fields, in_body=False, read=_read_price)


def ask_zalo_status(oa_id: str, message_id: str) -> Question[ZaloStatus]:
    """Ask how far Zalo is with a message; raise ConfigurationError if an id can't be one."""

    def read(answer: _Object) -> ZaloStatus:
        return _read_zalo_status(answer, message_id)

    fields = {"OAID": _checked(oa_id, "oa_id"), "MessageId": _checked(message_id, "message_id")}
    return Question("GetZaloMessageStatus", fields, in_body=True, read=read, may_be_unknown=True)


def ask_sent(
    since: datetime, until: datetime, page: int, kind: RouteKind = RouteKind.FIXED
) -> Question[tuple[SentMessage, ...]]:
    """Ask for a page of the list of what was sent by one kind of route.

    Args:
        since: The beginning of the period, aware; it is rounded down to a second.
        until: Its end, aware; it is rounded up.
        page: The page, from 1.
        kind: The kind of route.
    """
    fields = {
        "SmsType": _LISTED_TYPES[kind],
        "From": _written(since),
        "To": _written(until + timedelta(microseconds=999_999)),
        "Page": str(page),
        "PageSize": str(PAGE_SIZE),
    }
    return Question("GetSmsSentData_V2", fields, in_body=True, read=_read_page)


def check_period(since: datetime, until: datetime) -> None:
    """Raise ConfigurationError unless both are aware datetimes, the earlier one first."""
    for name, value in (("since", since), ("until", until)):
        if not isinstance(cast("object", value), datetime) or value.utcoffset() is None:
            raise ConfigurationError(f"{name} must be an aware datetime; give it a tzinfo")
        try:
            _written(value + timedelta(seconds=1))
        except OverflowError:
            raise ConfigurationError(f"{name} lies outside the years 1 to 9999") from None
    if until < since:
        raise ConfigurationError("until lies before since")


def decode(
    question: Question[T],
    status: int,
    body: bytes,
    credentials: Credentials,
    *,
    loads: Loads = read_json,
    retry_after: float | None = None,
) -> T | None:
    """Read the answer to a question.

    Args:
        question: The question.
        status: The HTTP status.
        body: The body, however hostile.
        credentials: The account's keys, which the gateway's words must not repeat.
        loads: Reads JSON.
        retry_after: The pause that the answer asks for, in seconds, or None.

    Returns:
        What was asked for; None where the gateway does not know it, or not yet.

    Raises:
        QueryUnanswered: It can't be read, or says "not now".
        QueryRejected: It is a refusal.
    """
    try:
        return _decode(question, status, body, credentials, loads)
    except _Unreadable as problem:
        raise QueryUnanswered(question.operation, str(problem), retry_after) from None


def _decode(
    question: Question[T], status: int, body: bytes, credentials: Credentials, loads: Loads
) -> T | None:
    if is_refusal(status):
        raise QueryRejected(question.operation, code=None, status=status)
    if not 200 <= status < 300:
        raise _Unreadable(f"HTTP status {status}")
    try:
        answer = loads(body)
    except Exception:  # noqa: BLE001  # a hook may fail in any way, and each means "unreadable"
        answer = None
    fields = _object(answer, "the answer")
    # The name differs from page to page.
    written = find(fields, "CodeResult")
    code = as_code(find(fields, "CodeResponse") if written is None else written)
    if code == _ANSWERED:
        return question.read(fields)
    if code in _NOT_KNOWN and question.may_be_unknown:
        return None
    if code is None:
        raise _Unreadable("the answer holds no code")
    raise _rejection(question.operation, code, status, fields, credentials)


def _rejection(
    operation: str, code: str, status: int, answer: _Object, credentials: Credentials
) -> QueryError:
    kind = QueryAccountRejected if lookup(code).scope is Scope.ACCOUNT else QueryRejected
    detail = as_words(find(answer, "ErrorMessage"))
    if detail is not None:
        detail = redact(detail, credentials.api_key, credentials.secret_key)
    return kind(operation, code=code, status=status, detail=detail)


def _read_balance(answer: _Object) -> Balance:
    amount = as_amount(find(answer, "Balance"))
    if amount is None:
        raise _Unreadable("the answer holds no Balance")
    return Balance(amount, as_sms_id(find(answer, "UserID")))


def _read_status(answer: _Object, sms_id: str) -> SmsStatus:
    return SmsStatus(
        as_sms_id(find(answer, "SMSID")) or sms_id,
        _listed(SendStatus, find(answer, "SendStatus")),
        as_whole(find(answer, "TotalReceiver")),
        as_whole(find(answer, "TotalSent")),
        as_whole(find(answer, "SendSuccess")),
        as_whole(find(answer, "SendFailed")),
        as_amount(find(answer, "TotalPrice")),
    )


def _read_receivers(answer: _Object) -> tuple[Receiver, ...]:
    return tuple(
        Receiver(
            as_sms_id(find(row, "Phone")),
            as_words(find(row, "NetworkName")),
            as_flag(find(row, "IsSent")),
            as_flag(find(row, "SentResult")),
            as_whole(find(row, "Retry")),
        )
        for row in _rows(answer, "ReceiverList")
    )


def _read_page(answer: _Object) -> tuple[SentMessage, ...]:
    return tuple(map(_sent_message, _rows(answer, "SentData")))


def _read_brandnames(answer: _Object) -> tuple[AccountBrandname, ...]:
    return tuple(
        AccountBrandname(name, _listed(BrandnameType, find(row, "Type")))
        for row in _rows(answer, "ListBrandName")
        if (name := as_words(find(row, "Brandname"))) is not None
    )


def _template(row: _Object) -> BrandnameTemplate:
    text = as_words(find(row, "TempContent"))
    if text is None:
        raise _Unreadable("a template holds no TempContent")
    return BrandnameTemplate(text, as_whole(find(row, "NetworkID")), as_sms_id(find(row, "TempId")))


def _read_price(answer: _Object) -> Price:
    amount = as_amount(find(answer, "TotalPrice"))
    if amount is None:
        raise _Unreadable("the answer holds no TotalPrice")
    return Price(amount, as_whole(find(answer, "TotalReceiver")))


def _read_zalo_status(answer: _Object, message_id: str) -> ZaloStatus:
    data = _object(find(answer, "Data"), "Data")
    milliseconds = as_whole(find(data, "delivery_time"))
    at = None
    if milliseconds:
        with contextlib.suppress(OverflowError):
            at = (_EPOCH + timedelta(milliseconds=milliseconds)).astimezone(VIETNAM_TIME)
    delivery = _listed(ZaloDelivery, find(data, "status"))
    return ZaloStatus(message_id, delivery, at, as_words(find(data, "message")))


def _sent_message(row: _Object) -> SentMessage:
    return SentMessage(
        as_sms_id(find(row, "ReferenceId")),
        as_sms_id(find(row, "Phone")),
        as_words(find(row, "Content")),
        as_words(find(row, "Campaign")),
        as_time(find(row, "SentTime")),
        _listed(SendStatus, find(row, "SendStatus")),
        _send_result(row),
        as_amount(find(row, "SellPrice")),
        as_sms_id(find(row, "SmsType")),
        as_sms_id(find(row, "SmsId")),
    )


def _send_result(row: _Object) -> SendResult | int | None:
    result = _listed(SendResult, find(row, "SendResult"))
    if result is not None:
        return result
    # Until 2024 the list had a yes or no.
    succeeded = as_flag(find(row, "SentResult"))
    return None if succeeded is None else SendResult(succeeded)


def _listed(kind: type[_E], value: object) -> _E | int | None:
    """Return a member of an enumeration, or a number that no page lists."""
    number = as_whole(value)
    if number is None:
        return None
    try:
        return kind(number)
    except ValueError:
        return number


def _rows(answer: _Object, name: str) -> list[_Object]:
    rows = find(answer, name)
    if rows is None:
        return []
    if not isinstance(rows, list):
        raise _Unreadable(f"{name} is no list")
    return [_object(row, f"a line of {name}") for row in cast("list[object]", rows)]


def _object(value: object, what: str) -> _Object:
    if not isinstance(value, dict):
        raise _Unreadable(f"{what} is no JSON object")
    return cast("_Object", value)


def _checked(value: object, name: str = "sms_id") -> str:
    if not isinstance(value, str) or as_sms_id(value) is None:
        raise ConfigurationError(
            f"{name} must be a str of 1 to {LONGEST_SMS_ID} printable characters"
        )
    return value


def _written(at: datetime) -> str:
    # assumed: the zone of From and To, as of SendDate.
    return f"{at.astimezone(VIETNAM_TIME):%Y-%m-%d %H:%M:%S}"
