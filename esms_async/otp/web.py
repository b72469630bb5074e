"""Serves start, resend and verify over HTTP without a framework: JSON in, JSON or a problem out.

`esms_async.otp.fastapi` and the aiohttp.web example in the docs use these endpoints. Problems are
those of RFC 9457, in Vietnamese or English, with two more members: `reason` and `attempts_left`.

| status | reason |
|---|---|
| 400 | wrong, used, expired (of a code) |
| 400 with Retry-After | wrong, with attempts_left 0: the phone is locked now |
| 410 | expired (of a challenge, on resend) |
| 422 | phone, request |
| 429 | cooldown, phone, ip, prefix, total, fraud, locked |
| 503 | store, send |
"""

import inspect
import json
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar, cast

import attrs

from esms_async import EsmsError, InvalidMessage, LedgerError, SendError, normalize_phone
from esms_async.otp.rules import OtpRefused, OtpStoreError
from esms_async.otp.service import Challenge, Otp, Verification, reason_of

__all__ = ["Caller", "OtpEndpoints", "Reply"]

_T = TypeVar("_T")
Allow = Callable[[str], bool | Awaitable[bool]]
"""Returns True if a phone (`0XXXXXXXXX`) may get a code."""

PROBLEM_TYPE: Final = "application/problem+json"
_LONGEST_FIELD: Final = 128
_logger = logging.getLogger("esms_async.otp")

# Reason: status, English, Vietnamese.
_PROBLEMS: Final[Mapping[str, tuple[int, str, str]]] = {
    "wrong": (400, "The code is wrong.", "Mã không đúng."),
    "last_wrong": (
        400,
        "The code is wrong, and no more can be tried for now. Try again later.",
        "Mã không đúng, và tạm thời không thể nhập thêm mã. Hãy thử lại sau.",
    ),
    "used": (
        400,
        "The code was used already. Ask for a new one.",
        "Mã đã được dùng. Hãy yêu cầu mã mới.",
    ),
    "expired": (
        400,
        "The code is not valid any more. Ask for a new one.",
        "Mã không còn hiệu lực. Hãy yêu cầu mã mới.",
    ),
    "invalid_phone": (
        422,
        "This is not a Vietnamese mobile number.",
        "Đây không phải là số di động Việt Nam.",
    ),
    "request": (
        422,
        "The request is not valid: a field is missing or has a wrong value.",
        "Yêu cầu không hợp lệ: có thông tin bị thiếu hoặc không đúng.",
    ),
    "cooldown": (
        429,
        "A code was just sent. Wait a moment before the next one.",
        "Mã vừa được gửi. Hãy đợi một lát rồi yêu cầu mã tiếp theo.",
    ),
    "locked": (
        429,
        "Too many wrong codes. Try again later.",
        "Nhập sai quá nhiều lần. Hãy thử lại sau.",
    ),
    "limit": (
        429,
        "Too many codes were asked for. Try again later.",
        "Đã yêu cầu quá nhiều mã. Hãy thử lại sau.",
    ),
    "store": (
        503,
        "The service can't work at the moment. Try again.",
        "Dịch vụ tạm thời gián đoạn. Hãy thử lại.",
    ),
    "send": (
        503,
        "The code could not be sent. Try again.",
        "Không gửi được mã. Hãy thử lại.",
    ),
}
# Reasons that a page sees by another name. "phone" is the cap on a phone's sends in 429, and the
# phone itself in 422.
_SHOWN: Final = {"last_wrong": "wrong", "invalid_phone": "phone"}
_LIMITS: Final = frozenset({"phone", "ip", "prefix", "total", "fraud"})


@attrs.frozen
class Reply:
    """An answer to a request.

    Attributes:
        status: The HTTP status.
        body: The JSON object.
        headers: The headers, with Content-Type.
    """

    status: int
    body: dict[str, Any]
    headers: dict[str, str]

    def text(self) -> str:
        """Return the body as JSON."""
        return json.dumps(self.body, ensure_ascii=False)


@attrs.frozen
class Caller:
    """The client of a request, as the application identifies it.

    Attributes:
        ip: The address, or None.
        device: The cookie of a known device, or None.
        subject: What the code is bound to besides, or None.
        language: The Accept-Language header.
    """

    ip: str | None = None
    device: str | None = None
    subject: str | None = None
    language: str | None = None


class OtpEndpoints:
    """The three endpoints.

    Args:
        otp: The service.
        purpose: The purpose of the codes; optional if there is only one.
        allow: Returns True if a phone may get a code; without it, every phone may. The answer is
            the same for other phones, so nobody learns who has an account.

    Raises:
        ConfigurationError: There is no such purpose, or several and none is named.
    """

    def __init__(self, otp: Otp, purpose: str | None = None, *, allow: Allow | None = None) -> None:
        self._otp = otp
        # An application that would fail at every request must not start.
        self._purpose, _ = otp._choose(purpose)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # of the same package
        self._allow = allow

    async def start(self, data: object, caller: Caller) -> Reply:
        """Answer `{"phone": …}`: 202 with id, expires_at and resend_after, or a problem."""
        try:
            phone = _phone(data)
            allowed = self._allow is None or await resolved(self._allow(phone))
            challenge = await self._otp.start(
                phone,
                self._purpose,
                subject=caller.subject,
                ip=caller.ip,
                device=caller.device,
                decoy=not allowed,
                wait=self._allow is None,
            )
        except EsmsError as error:
            return _problem_of(error, caller.language)
        return _accepted(challenge)

    async def resend(self, data: object, caller: Caller) -> Reply:
        """Answer `{"id": …, "phone": …}` as `start` does."""
        try:
            challenge = await self._otp.resend(
                _field(data, "id"),
                phone=_phone(data),
                ip=caller.ip,
                device=caller.device,
                wait=self._allow is None,
            )
        except EsmsError as error:
            return _problem_of(error, caller.language, gone=True)
        return _accepted(challenge)

    async def verify(self, data: object, caller: Caller) -> Reply | tuple[str, Verification]:
        """Answer `{"id": …, "phone": …, "code": …}`: the phone and the success, or a problem."""
        try:
            phone = _phone(data)
            result = await self._otp.verify(
                _field(data, "id"),
                _field(data, "code"),
                phone=phone,
                purpose=self._purpose,
                subject=caller.subject,
                ip=caller.ip,
                device=caller.device,
            )
        except EsmsError as error:
            return _problem_of(error, caller.language)
        if result.ok:
            return phone, result
        is_last = result.reason == "wrong" and not result.attempts_left
        return problem(
            "last_wrong" if is_last else result.reason,
            caller.language,
            retry_after=result.retry_after,
            attempts_left=result.attempts_left,
        )


def problem(
    reason: str,
    language: str | None = None,
    *,
    gone: bool = False,
    retry_after: float | None = None,
    attempts_left: int | None = None,
) -> Reply:
    """Return a problem, in the language that the caller prefers.

    Args:
        reason: Why.
        language: The Accept-Language header.
        gone: True if `expired` is about the challenge of a resend.
        retry_after: Seconds, or None.
        attempts_left: How many more codes may be tried, or None if none was.
    """
    status, english, vietnamese = _PROBLEMS["limit" if reason in _LIMITS else reason]
    spoken = _language(language)
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": _TITLES[410 if gone and reason == "expired" else status],
        "status": 410 if gone and reason == "expired" else status,
        "detail": vietnamese if spoken == "vi" else english,
        "reason": _SHOWN.get(reason, reason),
    }
    if attempts_left is not None:
        body["attempts_left"] = attempts_left
    headers = {
        "Content-Type": PROBLEM_TYPE,
        "Content-Language": spoken,
        "Vary": "Accept-Language",
        "Cache-Control": "no-store",
    }
    if retry_after is not None:
        headers["Retry-After"] = str(max(math.ceil(retry_after), 1))
    return Reply(body["status"], body, headers)


_TITLES: Final = {
    400: "Bad Request",
    410: "Gone",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    503: "Service Unavailable",
}


async def resolved(value: _T | Awaitable[_T]) -> _T:
    """Return the result of the application's function, plain or async."""
    if inspect.isawaitable(value):
        return await value
    return value


class _InvalidRequest(EsmsError):
    """A request lacks a field, or has something else in it than a text."""


def _problem_of(error: EsmsError, language: str | None, *, gone: bool = False) -> Reply:
    match error:
        case OtpRefused():
            return problem(error.reason, language, gone=gone, retry_after=error.retry_after)
        case OtpStoreError():
            # The page's user learns no details, so the log is the only place for them.
            _logger.warning("a request was answered with 503: %s", error)
            return problem("store", language)
        case _InvalidRequest():
            return problem("request", language)
        case InvalidMessage() if error.field == "phone":
            return problem("invalid_phone", language)
        case SendError() | LedgerError() | InvalidMessage():
            _logger.warning("a code was not sent: %s", reason_of(error))
            return problem("send", language)
        case _:
            raise error


def _accepted(challenge: Challenge) -> Reply:
    body = {
        "id": challenge.id,
        "expires_at": challenge.expires_at.isoformat(),
        "resend_after": math.ceil(challenge.resend_after),
    }
    return Reply(202, body, {"Content-Type": "application/json", "Cache-Control": "no-store"})


def _get(data: object, name: str) -> object:
    return cast("Mapping[str, object]", data).get(name) if isinstance(data, Mapping) else None


def _field(data: object, name: str) -> str:
    value = _get(data, name)
    if not isinstance(value, str) or len(value) > _LONGEST_FIELD:
        raise _InvalidRequest(name)
    return value


def _phone(data: object) -> str:
    value = _get(data, "phone")
    if not isinstance(value, str):
        raise _InvalidRequest("phone")
    try:
        return normalize_phone(value)
    except ValueError as error:
        raise InvalidMessage("phone", str(error)) from None


def _language(header: str | None) -> str:
    """Return `vi` or `en`, as an Accept-Language header prefers; `en` without one."""
    best, chosen = 0.0, "en"
    for each in (header or "").split(","):
        tag, _, weight = each.partition(";")
        primary = tag.strip().partition("-")[0].lower()
        name, _, value = weight.strip().partition("=")
        try:
            quality = float(value) if name.strip() == "q" else 1.0
        except ValueError:
            quality = 0.0
        if primary in ("vi", "en") and quality > best:
            best, chosen = quality, primary
    return chosen
