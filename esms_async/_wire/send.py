"""Encodes sends and reads their answers in the gateway's wire format, without any I/O.

Facts come from developers.esms.vn, pages "Send fixed number with cheap price" (SmsType 8), its
Vietnamese twin "Tin Voice OTP", "Tin nhắn SMS OTP/CSKH (Khuyên Dùng)" (SmsType 2), "Tin nhắn Zalo",
and "Table of error codes".
"""

import copy
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Final, cast

import attrs

from esms_async._model.checks import check_callback_url
from esms_async._model.errors import InvalidMessage
from esms_async._model.messages import VIETNAM_TIME, Credentials, Message
from esms_async._model.routes import FIXED_NUMBER, Brandname, FixedNumber, Route, check_fits
from esms_async._model.templates import Templates
from esms_async._wire.fields import LONGEST_SMS_ID, as_code, as_sms_id, as_words, find

SEND_OPERATION: Final = "SendMultipleMessage_V4_post_json/"
"""The operation that sends a text, relative to the folder of the operations."""
ZALO_OPERATION: Final = "SendZaloMessage_V6/"
"""The operation that sends a Zalo template, which is what a message with params is."""

Dumps = Callable[[Mapping[str, object]], bytes | str]
"""Writes an object as JSON. Its values are strings, and for Zalo one object of strings."""
Loads = Callable[[bytes], object]
"""Reads JSON; raises an Exception of any kind where it can't."""
CallbackUrl = str | Callable[[Message], str]
"""A CallbackUrl, or a function that returns one for each message."""

_FIXED_NUMBER = "8"
_CUSTOMER_CARE = "2"
_ACCEPTED = re.compile(
    rb'\{"CodeResult":"100","CountRegenerate":0,"SMSID":"([0-9A-Za-z-]{1,%d})"\}' % LONGEST_SMS_ID
)
_quote = json.encoder.encode_basestring_ascii
_decode = json.JSONDecoder().decode


@attrs.define
class Answer:
    """What the gateway answered to a send, as far as it can be read.

    Attributes:
        status: The HTTP status.
        code: The gateway's code, or None.
        sms_id: The SMSID. Its presence proves nothing: some rejections carry one.
        detail: The gateway's own words, which may hold secrets.
        problem: Why there is no code, without secrets, or None if there is one.
        is_error_object: True for `{"error": "Invalid request"}`, which the documents file under a
            connection error: whether the message was taken is unknown.
    """

    status: int
    code: str | None = None
    sms_id: str | None = None
    detail: str | None = attrs.field(default=None, repr=False)
    problem: str | None = None
    is_error_object: bool = False


class SendEncoder:
    """Encodes the sends of one account. Every value is a string on the wire.

    Args:
        credentials: The account's keys; there is no header authentication.
        sandbox: True has the gateway check messages without sending or charging them.
        callback_url: The CallbackUrl of a message that has none.
        trackable: True sends the RequestId as the campaign id of a message that has none.
        dumps: Writes an object as JSON.
        route: The route of a message that names none.
        templates: The templates that texts must fit, by brandname.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        sandbox: bool = False,
        callback_url: CallbackUrl | None = None,
        trackable: bool = False,
        dumps: Dumps | None = None,
        route: Route = FIXED_NUMBER,
        templates: Mapping[str, Templates] = MappingProxyType({}),
    ) -> None:
        self._templates = templates
        self._trackable = trackable
        self._callback_url = callback_url
        self._dumps = dumps
        self._account = {
            "ApiKey": credentials.api_key,
            "SecretKey": credentials.secret_key,
            "Sandbox": "1" if sandbox else "0",
        }
        self._set_route(route)

    def with_options(self, *, route: Route, callback_url: CallbackUrl | None) -> "SendEncoder":
        """Return an encoder of the same account with another default route and CallbackUrl."""
        encoder = copy.copy(self)
        encoder._callback_url = callback_url  # noqa: SLF001  # a copy of itself
        encoder._set_route(route)  # noqa: SLF001  # the same
        return encoder

    def _set_route(self, route: Route) -> None:
        self.route = route
        self._head = f'{{{_write_members({**self._account, **_route_fields(route)})},"Phone":"'
        # A message of such an encoder that sets nothing of its own is written in one piece.
        self._is_bare = (
            self._callback_url is None
            and self._dumps is None
            and not route.takes_params
            and not (isinstance(route, Brandname) and route.name in self._templates)
        )

    @property
    def callback_url(self) -> CallbackUrl | None:
        """The CallbackUrl of a message that has none."""
        return self._callback_url

    def __call__(self, message: Message) -> bytes:
        """Encode the body of a send as JSON in UTF-8.

        Raises:
            InvalidMessage: The message has content but its route takes params, or the reverse; its
                content fits no template; or the callback URL function returned an unusable one.
        """
        # No local holds the fields: error trackers record them where a caller's hook fails.
        if (
            self._is_bare
            and message.campaign_id is None
            and message.callback_url is None
            and message.send_at is None
            and message.route is None
            and (content := message.content) is not None
        ):
            # Nearly every message has these fields alone; only the content can need an escape.
            request_id = message.request_id
            campaign = f',"campaignid":"{request_id}"' if self._trackable else ""
            return (
                f'{self._head}{message.phone}","Content":{_quote(content)},'
                f'"IsUnicode":"{"1" if message.unicode else "0"}",'
                f'"RequestId":"{request_id}"{campaign}}}'
            ).encode()
        self.check(message)
        route = message.route or self.route
        if self._dumps is None:
            return (
                b"{%b}"
                % _write_members(
                    {**self._account, **_route_fields(route), **self._fields(message)}
                ).encode()
            )
        encoded = self._dumps({**self._account, **_route_fields(route), **self._fields(message)})
        return encoded.encode() if isinstance(encoded, str) else encoded

    def check(self, message: Message) -> None:
        """Raise InvalidMessage unless a message has what its route takes, and fits a template."""
        route = message.route or self.route
        check_fits(
            route,
            has_content=message.content is not None,
            has_params=message.params is not None,
        )
        if self._templates and isinstance(route, Brandname):
            self._check_template(route, message)

    def _check_template(self, route: Brandname, message: Message) -> None:
        templates = self._templates.get(route.name)
        if templates is not None:
            match = templates.match(message.content or "")
            if match.problem is not None:
                raise InvalidMessage("content", match.problem)

    def _fields(self, message: Message) -> dict[str, str | Mapping[str, str]]:
        report_to = message.callback_url or self._callback_url
        if report_to is not None and not isinstance(report_to, str):
            report_to = report_to(message)
            check_callback_url(report_to)
        fields: dict[str, str | Mapping[str, str]] = {"Phone": message.phone}
        if message.params is not None:
            fields["TempData"] = dict(message.params)
        else:
            fields["Content"] = message.content or ""
            # The tables say Unicode; the samples and the service's own model say IsUnicode.
            fields["IsUnicode"] = "1" if message.unicode else "0"
        fields["RequestId"] = message.request_id
        if message.campaign_id is not None:
            fields["campaignid"] = message.campaign_id
        elif self._trackable:
            fields["campaignid"] = message.request_id
        if report_to is not None:
            fields["CallbackUrl"] = report_to
        if message.send_at is not None:
            fields["SendDate"] = f"{message.send_at.astimezone(VIETNAM_TIME):%Y-%m-%d %H:%M:%S}"
        return fields


def _route_fields(route: Route) -> dict[str, str]:
    """Return the fields that name a route to the gateway."""
    match route:
        case FixedNumber():
            return {"SmsType": _FIXED_NUMBER}
        case Brandname(name):
            return {"SmsType": _CUSTOMER_CARE, "Brandname": name}
        case _:
            return {
                "OAID": route.oa_id,
                "TempID": route.template_id,
                "SendingMode": route.sending_mode,
            }


def _write_members(fields: Mapping[str, str | Mapping[str, str]]) -> str:
    """Write the members of a JSON object, some three times as fast as `json.dumps`."""
    return ",".join(
        [
            f"{_quote(name)}:{_quote(value)}"
            if isinstance(value, str)
            else f"{_quote(name)}:{{{_write_members(value)}}}"
            for name, value in fields.items()
        ]
    )


def read_json(body: bytes) -> object:
    """Read JSON in UTF-8, UTF-16 or UTF-32, and UTF-8 faster than `json.loads` does.

    Raises:
        ValueError: The body is not JSON.
        RecursionError: It is nested too deep.
    """
    try:
        return _decode(body.decode())
    except ValueError:
        return json.loads(body)


def decode_send(status: int, body: bytes, *, loads: Loads = read_json) -> Answer:
    """Read the answer to a send. Any bytes at all give an Answer."""
    if loads is read_json and (sms_id := accepted_sms_id(status, body)) is not None:
        return Answer(status, "100", sms_id)
    try:
        answer = loads(body)
    except Exception:  # noqa: BLE001  # a hook may fail in any way, and each means "unreadable"
        answer = None
    if not isinstance(answer, dict):
        return Answer(status, problem="the answer is not a JSON object")
    fields = cast("dict[object, object]", answer)
    written = find(fields, "CodeResult")
    if written is None and find(fields, "error") is not None:
        return Answer(status, problem="the answer is an error object", is_error_object=True)
    code = as_code(written)
    if code is None:
        return Answer(status, problem="the answer holds no CodeResult")
    return Answer(
        status, code, as_sms_id(find(fields, "SMSID")), as_words(find(fields, "ErrorMessage"))
    )


def retry_after(value: str | None, now: datetime) -> float | None:
    """Return the seconds, at least 0, that a Retry-After header asks for; None if unreadable.

    The header holds seconds or an HTTP date (RFC 9110, section 10.2.3); `now` is aware.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - now).total_seconds())


def accepted_sms_id(status: int, body: bytes) -> str | None:
    """Return the SMSID of an acceptance that looks exactly like the documents' sample, else None.

    Nearly every answer does. Matching it takes a fifth of the time of reading the JSON.
    """
    if status == 200 and (match := _ACCEPTED.fullmatch(body)) is not None:
        return match[1].decode()
    return None
