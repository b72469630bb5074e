"""The gateway's side of the wire: requests to fields, answers to bytes, without any I/O.

Answers have the names, the order and the types of the samples on developers.esms.vn. What no
sample shows is marked `assumed`.
"""

import json
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Final, cast
from urllib.parse import parse_qsl, quote

from esms_async._model.codes import RouteKind, lookup
from esms_async.emulator.records import (
    FINISHED,
    AcceptedMessage,
    EmulatedAnswer,
    Fields,
    Operation,
    Progress,
    operator,
)

SMS_TYPES: Final[Mapping[str, RouteKind]] = {"8": RouteKind.FIXED, "2": RouteKind.BRANDNAME}
"""The SmsTypes that are emulated."""

LISTED_TYPES: Final = {**SMS_TYPES, "25": RouteKind.ZALO}
"""The SmsTypes of the list of what was sent; 25 is a normal Zalo message."""

# assumed for the fixed number: no page shows its TypeId.
_TYPE_IDS: Final = {RouteKind.FIXED: "8", RouteKind.BRANDNAME: "2", RouteKind.ZALO: "25"}
_CUSTOMER_CARE = 2
_USER_ID = 9999
_FIRST_PORTAL_NUMBER = 29_000_000
_dumps = json.JSONEncoder(separators=(",", ":")).encode
_loads = json.JSONDecoder().decode

# The words that the samples show; for every other code the meaning stands in (assumed).
_WORDS: Final[Mapping[str, str]] = {
    "101": "Authorize Failed",
    "104": "Brand name code is not exist",
    "124": "Request exist 1",
    "146": "Sai template Brandname CSKH",
}
_REJECTED_WITH_SMS_ID: Final = "146"


def read_json(body: bytes) -> Fields | None:
    """Read the fields of a POST, or return None where the body is not a flat JSON object.

    One that holds half a surrogate pair is not read either (assumed): only an escape of JSON can
    carry it, and no delivery report could.
    """
    try:
        written = _loads(body.decode().removeprefix("\ufeff"))
        if not isinstance(written, dict) or (
            _SURROGATE.search(body)
            and find_half_pair(cast("dict[str, object]", written)) is not None
        ):
            return None
    except (ValueError, RecursionError):
        return None
    params: Mapping[str, str] | None = None
    for name, value in [*cast("dict[str, object]", written).items()]:
        if isinstance(value, str):
            continue
        if (text := _read_value(value)) is not None:
            written[name] = text
        elif name.lower() == _PARAMS and (params := _read_params(value)) is not None:
            written[name] = _dumps(params)
        elif value is None:
            del written[name]
        else:
            return None
    return Fields(cast("dict[str, str]", written), params)


_PARAMS: Final = "tempdata"
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def find_half_pair(fields: Mapping[str, object]) -> str | None:
    """Return the name of the first field that holds half a surrogate pair, or None."""
    for name, value in fields.items():
        try:
            json.dumps([name, value], ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return name
    return None


def _read_value(value: object) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value) if isinstance(value, int | float) else None


def _read_params(value: object) -> Mapping[str, str] | None:
    """Read TempData: an object, or a list of objects with a key and a value, the older form."""
    pairs: list[tuple[object, object]] = []
    if isinstance(value, dict):
        pairs = [*cast("dict[object, object]", value).items()]
    elif isinstance(value, list):
        for each in cast("list[object]", value):
            if not isinstance(each, dict):
                return None
            named = {str(k).lower(): v for k, v in cast("dict[object, object]", each).items()}
            pairs.append((named.get("key"), named.get("value")))
    params = {str(name): _read_value(text) for name, text in pairs if isinstance(name, str)}
    if len(params) != len(pairs) or None in params.values() or not params:
        return None
    return cast("dict[str, str]", params)


def read_query(query: Mapping[str, str]) -> Fields:
    """Read the fields of a GET; of a name that comes twice the first value counts."""
    return Fields({name: query[name] for name in query})


def read_form(body: bytes) -> Fields | None:
    """Read the fields of a form, or return None where the body is none."""
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=100
        )
    except ValueError:
        return None
    fields: dict[str, str] = {}
    for name, value in pairs:
        fields.setdefault(name, value)
    return Fields(fields)


def accepted(message: AcceptedMessage) -> EmulatedAnswer:
    """Answer that a message is accepted."""
    return _accepted(message.sms_id, message)


def checked(sms_id: str) -> EmulatedAnswer:
    """Answer that the sandbox would have accepted a message."""
    return _accepted(sms_id, None)


def _accepted(sms_id: str, message: AcceptedMessage | None) -> EmulatedAnswer:
    body = f'{{"CodeResult":"100","CountRegenerate":0,"SMSID":"{sms_id}"}}'
    return EmulatedAnswer(body, code="100", message=message, sms_id=sms_id)


def rejected(
    code: str, sms_id: str, send_status: int | None = None, why: str | None = None
) -> EmulatedAnswer:
    """Answer that a send is rejected.

    Args:
        code: The code.
        sms_id: An SMSID for the rejections that carry one.
        send_status: The SendStatus that the answer 124 sometimes carries, or None.
        why: A sentence that says what was wrong.
    """
    fields: dict[str, object] = {
        "CodeResult": code,
        "CountRegenerate": 0,
        "ErrorMessage": error_message(code),
    }
    if code != _REJECTED_WITH_SMS_ID:
        sms_id = ""
    if sms_id:
        fields["SMSID"] = sms_id
    if send_status is not None:
        fields["SendStatus"] = str(send_status)
    return EmulatedAnswer(_dumps(fields), code=code, sms_id=sms_id or None, why=why)


def plain(status: int, retry_after: int | None = None) -> EmulatedAnswer:
    """Answer with an HTTP status and its name, as a gateway under strain may."""
    text = f"{status} {_phrase(status)}"
    return EmulatedAnswer(text, content_type="text/plain", status=status, retry_after=retry_after)


def page(status: int, retry_after: int | None = None) -> EmulatedAnswer:
    """Answer with a page, as the proxy before the service, or the service itself, writes it."""
    title = f"{status} {_phrase(status)}"
    text = (
        f"<!DOCTYPE html>\n<html><head><title>{title}</title></head>"
        f"<body><h1>{title}</h1></body></html>\n"
    )
    return EmulatedAnswer(text, content_type="text/html", status=status, retry_after=retry_after)


def empty() -> EmulatedAnswer:
    """Answer with nothing at all."""
    return EmulatedAnswer("")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def invalid(status: int, why: str | None = None) -> EmulatedAnswer:
    """Answer that a request is not valid, without any code."""
    return EmulatedAnswer('{"error":"Invalid request"}', status=status, why=why)


def too_many() -> EmulatedAnswer:
    """Answer that sends come too fast (assumed: nobody documents the answer)."""
    return EmulatedAnswer('{"error":"Too many requests"}', status=429, retry_after=1)


def coded(operation: Operation, code: str, sms_id: str) -> EmulatedAnswer:
    """Answer any operation with a code that is not 100.

    Args:
        operation: The operation.
        code: The code.
        sms_id: For a send, an SMSID for the rejections that carry one; for a status call, the
            RefId that it asked for.
    """
    fields: dict[str, object]
    match operation:
        case Operation.SEND:
            return rejected(code, sms_id)
        case Operation.BALANCE:
            fields = {"Balance": 0, "CodeResponse": code, "ErrorMessage": error_message(code)}
        case Operation.STATUS:
            fields = {"CodeResponse": code, "SMSID": sms_id}
        case _:
            fields = {"CodeResult": code, "ErrorMessage": error_message(code)}
    return EmulatedAnswer(_dumps(fields), code=code)


def balance(dong: int) -> EmulatedAnswer:
    """Answer GetBalance_json."""
    body = _dumps({"Balance": dong, "CodeResponse": "100", "UserID": _USER_ID})
    return EmulatedAnswer(body, code="100")


def send_status(message: AcceptedMessage, progress: Progress) -> EmulatedAnswer:
    """Answer GetSendStatus for a message."""
    before: dict[str, object] = {
        "CodeResponse": "100",
        "SMSID": message.sms_id,
        "SendFailed": progress.failed,
        "SendStatus": progress.send_status,
        "SendSuccess": progress.success,
    }
    after: dict[str, object] = {"TotalReceiver": 1, "TotalSent": progress.sent}
    return EmulatedAnswer(_with_price(before, "TotalPrice", progress.price, after), code="100")


def receiver_status(message: AcceptedMessage, progress: Progress) -> EmulatedAnswer:
    """Answer GetSmsReceiverStatus_get for a message."""
    receiver = {
        "IsSent": bool(progress.sent),
        "NetworkName": operator(message.phone)[1],
        "Phone": message.phone,
        "Retry": 0,
        "SentResult": bool(progress.success),
    }
    return EmulatedAnswer(_dumps({"CodeResult": "100", "ReceiverList": [receiver]}), code="100")


def zalo_status(message: AcceptedMessage | None, progress: Progress | None) -> EmulatedAnswer:
    """Answer GetZaloMessageStatus for a Zalo message, or for a MessageId that is not known."""
    # "Get ZNS status information". assumed: a message that failed was pushed, and not delivered.
    status, at = -1, ""
    if message is not None and progress is not None:
        status = progress.success
        if status and message.delivery.finished_at is not None:
            at = f"{message.delivery.finished_at * 1000:.0f}"
    data = {"delivery_time": at, "message": _ZALO_STATUSES[status], "status": status}
    fields = {"CodeResult": "100", "Data": data, "ErrorMessage": "success. "}
    return EmulatedAnswer(_dumps(fields), code="100")


_ZALO_STATUSES: Final = {
    -1: "The message does not exist",
    0: "The message is pushed successfully to Zalo server but has not yet delivered "
    "to user's phone",
    1: "The message was delivered to the user's phone",
}


def sent_data(total: int, rows: Iterable[tuple[AcceptedMessage, Progress]]) -> EmulatedAnswer:
    """Answer GetSmsSentData_V2.

    Args:
        total: How many messages the period has.
        rows: Those of the page that is asked for.
    """
    data = ",".join(_sent_row(message, progress) for message, progress in rows)
    body = f'{{"CodeResult":"100","CountTotal":{total},"SentData":[{data}]}}'
    return EmulatedAnswer(body, code="100")


def _sent_row(message: AcceptedMessage, progress: Progress) -> str:
    result = 2 if progress.send_status != FINISHED else progress.success
    at = message.at if message.send_at is None else max(message.at, message.send_at)
    before: dict[str, object] = {
        "Campaign": message.campaign_id or "",
        "Content": message.content,
        "Phone": message.phone,
        "ReferenceId": message.sms_id,
    }
    after: dict[str, object] = {
        "SendResult": result,
        "SendStatus": progress.send_status,
        "SentTime": f"/Date({at.timestamp() * 1000:.0f}+0700)/",
        "SmsId": _FIRST_PORTAL_NUMBER + message.number,
        "SmsType": int(_TYPE_IDS[message.route]),
    }
    return _with_price(before, "SellPrice", progress.price, after)


def brandnames(names: Iterable[str]) -> EmulatedAnswer:
    """Answer GetListBrandname."""
    listed = [{"Brandname": name, "Type": _CUSTOMER_CARE} for name in names]
    return EmulatedAnswer(_dumps({"CodeResponse": "100", "ListBrandName": listed}), code="100")


def templates(found: Iterable[tuple[int, str, int]]) -> EmulatedAnswer:
    """Answer GetTemplate with templates as NetworkID, text and TempId."""
    listed = [
        {"NetworkID": network, "TempContent": text, "TempId": number}
        for network, text, number in found
    ]
    fields = {"BrandnameTemplates": listed, "CodeResult": "100", "ErrorMessage": "success"}
    return EmulatedAnswer(_dumps(fields), code="100")


def price(dong: int) -> EmulatedAnswer:
    """Answer SummaryMultipleMessage_V4_get."""
    fields: dict[str, object] = {
        "CodeResult": "100",
        "ErrorMessage": "success",
        "TotalPrice": dong,
        "TotalReceiver": 1,
    }
    return EmulatedAnswer(_dumps(fields), code="100")


def report(message: AcceptedMessage, progress: Progress) -> dict[str, str]:
    """Return the parameters of a delivery report."""
    fields = {
        "SMSID": message.sms_id,
        "SendFailed": str(progress.failed),
        "SendStatus": str(progress.send_status),
        "SendSuccess": str(progress.success),
        "TotalPrice": _decimal(progress.price),
        "TotalReceiver": "1",
        "TotalSent": str(progress.sent),
        "RequestId": message.request_id or "",
        "TypeId": _TYPE_IDS[message.route],
        "telcoid": str(operator(message.phone)[0]),
        "phonenumber": message.phone,
        "switchsmsid": "",
    }
    if message.route is RouteKind.ZALO:
        # assumed: Zalo's id of the message, which GetZaloMessageStatus takes, is the SMSID here.
        fields["partnerids"] = message.sms_id
        fields["error_info"] = quote(_ZALO_FAILED) if progress.failed else ""
        fields["oaid"] = message.sender or ""
        fields["tempid"] = message.template or ""
    return fields


# "Callback Url", the sample of error_info.
_ZALO_FAILED: Final = '{"error":-114,"message":"User is inactive, or reject the message"}'


def _with_price(
    before: Mapping[str, object], name: str, dong: int, after: Mapping[str, object]
) -> str:
    """Write an object with a price in it, whose four decimals no JSON encoder would keep."""
    return f'{_dumps(before)[:-1]},"{name}":{_decimal(dong)},{_dumps(after)[1:]}'


def _decimal(dong: int) -> str:
    return f"{dong}.0000"


def error_message(code: str) -> str:
    """Return the ErrorMessage that goes with a code."""
    return _WORDS.get(code) or lookup(code).meaning
