"""Encodes queries to the gateway and reads their answers, without any I/O.

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
from decimal import Decimal
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
class GatewayQuery(Generic[_T_co]):
    """One query. It changes nothing, so it can be repeated at will.

    Attributes:
        operation: The operation, relative to the folder of the operations.
        fields: The fields, without the account's keys.
        in_body: True if the gateway takes it as a POST; False if it takes a GET only.
        read: Reads the answer of code 100.
        may_be_unknown: True if code 105 or 854 is an answer: "not known, or not known yet".
        keys_in_path: True if the keys end the path instead of standing in the query string.
    """

    operation: str
    fields: Mapping[str, str] = attrs.field(repr=False)
    in_body: bool
    read: Callable[[_Object], _T_co] = attrs.field(repr=False)
    may_be_unknown: bool = False
    keys_in_path: bool = False

    def body(self, credentials: Credentials) -> bytes:
        """Encode the JSON body of a POST."""
        return json.dumps({**self.keys(credentials), **self.fields}).encode()

    @staticmethod
    def keys(credentials: Credentials) -> dict[str, str]:
        """Return the fields that name an account to the gateway."""
        return {"ApiKey": credentials.api_key, "SecretKey": credentials.secret_key}


def balance_query() -> GatewayQuery[Balance]:
    """Return the query for the balance."""
    return GatewayQuery("GetBalance_json", {}, in_body=True, read=_read_balance)


def status_query(sms_id: str) -> GatewayQuery[SmsStatus]:
    """Return the query for the status of an SMSID; raise ConfigurationError if it can't be one."""

    def read(answer: _Object) -> SmsStatus:
        return _read_status(answer, sms_id)

    fields = {"RefId": _checked(sms_id)}
    return GatewayQuery("GetSendStatus", fields, in_body=False, read=read, may_be_unknown=True)


def receivers_query(sms_id: str) -> GatewayQuery[tuple[Receiver, ...]]:
    """Return the query for the receivers of an SMSID, checked as for `status_query`."""
    return GatewayQuery(
        "GetSmsReceiverStatus_get",
        {"RefId": _checked(sms_id)},
        in_body=False,
        read=_read_receivers,
        may_be_unknown=True,
    )


def brandnames_query() -> GatewayQuery[tuple[AccountBrandname, ...]]:
    """Return the query for the brandnames of the account."""
    return GatewayQuery(
        "GetListBrandname", {}, in_body=False, read=_read_brandnames, keys_in_path=True
    )


def templates_query(brandname: str) -> GatewayQuery[Templates]:
    """Return the query for the templates of a brandname."""

    def read(answer: _Object) -> Templates:
        return Templates(brandname, map(_template, _rows(answer, "BrandnameTemplates")))

    fields = {"SmsType": _CUSTOMER_CARE, "Brandname": brandname}
    return GatewayQuery("GetTemplate/", fields, in_body=True, read=read)


def price_query(message: Message, default: Route) -> GatewayQuery[Price]:
    """Return the query for the price of a message; raise ConfigurationError if it has no brandname.

    `default` is the route of a message that names none.
    """
    route = message.route or default
    if not isinstance(route, Brandname) or message.content is None:
        raise ConfigurationError(
            f"the gateway gives prices for brandname messages only, not for the route {route}"
        )
    fields = {
        "Phone": message.phone,
        "Content": message.content,
        "SmsType": _CUSTOMER_CARE,
        "BrandName": route.name,
        "IsUnicode": "1" if message.unicode else "0",
    }
    return GatewayQuery("SummaryMultipleMessage_V4_get", fields, in_body=False, read=_read_price)


def zalo_status_query(oa_id: str, message_id: str) -> GatewayQuery[ZaloStatus]:
    """Return the query for Zalo's status of a message; raise ConfigurationError for a bad id."""

    def read(answer: _Object) -> ZaloStatus:
        return _read_zalo_status(answer, message_id)

    fields = {"OAID": _checked(oa_id, "oa_id"), "MessageId": _checked(message_id, "message_id")}
    return GatewayQuery(
        "GetZaloMessageStatus", fields, in_body=True, read=read, may_be_unknown=True
    )


def sent_query(
    since: datetime, until: datetime, page: int, kind: RouteKind = RouteKind.FIXED
) -> GatewayQuery[tuple[SentMessage, ...]]:
    """Return the query for one page, from 1, of the messages sent by one kind of route.

    Both times are aware; `since` is rounded down to a second, `until` up.
    """
    fields = {
        "SmsType": _LISTED_TYPES[kind],
        "From": _written(since),
        "To": _written(until + timedelta(microseconds=999_999)),
        "Page": str(page),
        "PageSize": str(PAGE_SIZE),
    }
    return GatewayQuery("GetSmsSentData_V2", fields, in_body=True, read=_read_page)


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
    query: GatewayQuery[T],
    status: int,
    body: bytes,
    credentials: Credentials,
    *,
    loads: Loads = read_json,
    retry_after: float | None = None,
) -> T | None:
    """Read the answer to a query, however hostile its body.

    The keys are masked in the gateway's words. `retry_after` is the pause, in seconds, that the
    answer asks for.

    Returns:
        The result; None if the gateway does not know it, or not yet.

    Raises:
        QueryUnanswered: The answer can't be read, or says "not now".
        QueryRejected: The answer is a refusal.
    """
    try:
        return _decode(query, status, body, credentials, loads)
    except _Unreadable as problem:
        raise QueryUnanswered(query.operation, str(problem), retry_after) from None


def _decode(
    query: GatewayQuery[T], status: int, body: bytes, credentials: Credentials, loads: Loads
) -> T | None:
    if is_refusal(status):
        raise QueryRejected(query.operation, code=None, status=status)
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
        return query.read(fields)
    if code in _NOT_KNOWN and query.may_be_unknown:
        return None
    if code is None:
        raise _Unreadable("the answer holds no code")
    raise _rejection(query.operation, code, status, fields, credentials)


def _rejection(
    operation: str, code: str, status: int, answer: _Object, credentials: Credentials
) -> QueryError:
    kind = QueryAccountRejected if lookup(code).scope is Scope.ACCOUNT else QueryRejected
    detail = as_words(find(answer, "ErrorMessage"))
    if detail is not None:
        detail = redact(detail, credentials.api_key, credentials.secret_key)
    return kind(operation, code=code, status=status, detail=detail)


def _amount(answer: _Object, name: str) -> Decimal:
    amount = as_amount(find(answer, name))
    if amount is None:
        raise _Unreadable(f"the answer holds no {name}")
    return amount


def _read_balance(answer: _Object) -> Balance:
    return Balance(_amount(answer, "Balance"), as_sms_id(find(answer, "UserID")))


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
    return Price(_amount(answer, "TotalPrice"), as_whole(find(answer, "TotalReceiver")))


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
        raise _Unreadable(f"{name} is not a list")
    return [_object(row, f"a line of {name}") for row in cast("list[object]", rows)]


def _object(value: object, what: str) -> _Object:
    if not isinstance(value, dict):
        raise _Unreadable(f"{what} is not a JSON object")
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
