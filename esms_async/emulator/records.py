"""The values in which the emulator keeps what came in, what was accepted, and what went out."""

import enum
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from types import MappingProxyType
from typing import Final

import attrs

from esms_async._model.codes import RouteKind
from esms_async._model.phone import mask_phone
from esms_async._model.text import normalize_text
from esms_async.emulator.settings import Settings

MASK: Final = "***"
"""Stands in the place of a key."""

_SECRETS = frozenset({"apikey", "secretkey"})
_MOST_SHOWN = 50
_LONGEST_NAME = 100
_LONGEST_SHOWN = 4096


class Fields(dict[str, str]):
    """The fields of a request by their names in lower case.

    Attributes:
        written: The same by their names as written.
        params: The parameters of a Zalo message, in the field TempData.
    """

    __slots__ = ("params", "written")

    def __init__(
        self,
        written: Mapping[str, str] = MappingProxyType({}),
        params: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__({name.lower(): value for name, value in written.items()})
        self.written: Mapping[str, str] = written
        self.params: Mapping[str, str] | None = params

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values of the keys, to be masked wherever they stand."""
        return tuple(filter(None, (self.get("apikey"), self.get("secretkey"))))

    def __repr__(self) -> str:
        return f"<Fields {', '.join(self)}>"


def show_fields(written: Mapping[str, str]) -> Mapping[str, str]:
    """Return fields with the keys masked and long ones cut."""
    return {
        name[:_LONGEST_NAME]: MASK if name.lower() in _SECRETS else value[:_LONGEST_SHOWN]
        for name, value in islice(written.items(), _MOST_SHOWN)
    }


class Operation(enum.StrEnum):
    """An operation of the gateway, by the name that a fault calls it."""

    SEND = "send"
    BALANCE = "balance"
    STATUS = "status"
    RECEIVER_STATUS = "receiver_status"
    SENT_DATA = "sent_data"
    BRANDNAMES = "brandnames"
    TEMPLATES = "templates"
    PRICE = "price"
    ZALO_STATUS = "zalo_status"


class DeliveryFault(enum.StrEnum):
    """What is unusual about the delivery of one message; the argument of the fault `dlr`."""

    FAILED = "failed"
    """The phone does not get it, and the report says so."""
    NEVER = "never"
    """No report comes."""
    TWICE = "twice"
    """Each report comes twice."""
    EARLY = "early"
    """The reports come before the answer to the send."""
    LATE = "late"
    """The reports come after `late_report_delay`."""


@attrs.frozen
class Delivery:
    """How and when a message reaches its phone, on the emulator's clock.

    Attributes:
        visible_at: From when the status calls know the SMSID; seconds since 1970.
        started_at: When it is handed to the operator.
        finished_at: When its result is known, or None where it never will be.
        delivered: True where the phone gets it.
        fault: What is unusual about it, if anything.
        by_hand: True where a person decided the result.
    """

    visible_at: float
    started_at: float
    finished_at: float | None
    delivered: bool = True
    fault: DeliveryFault | None = None
    by_hand: bool = False


def _masked(phone: str | None) -> str:
    return "None" if phone is None else repr(mask_phone(phone))


@attrs.frozen
class AcceptedMessage:
    """A message that the gateway accepted. Its repr shows neither content nor phone.

    Attributes:
        number: Its place in the order of acceptance, from 1.
        at: When it was accepted, UTC.
        phone: The number, as `0XXXXXXXXX`.
        content: The text; of a Zalo message, its parameters a line each.
        request_id: Its RequestId, or None where it had none.
        sms_id: The SMSID that the gateway gave it.
        unicode: True where it was sent as Unicode.
        campaign_id: Its campaignid, or None.
        callback_url: Where its delivery is reported, or None.
        send_at: The SendDate, aware, or None.
        price: What it cost, in dong.
        delivery: How and when it is delivered.
        account: The name of the account that sent it.
        route: How it travels.
        sender: The brandname, or the OAID, or None for the fixed number.
        template: The TempID of a Zalo message, or None.
        params: The parameters of a Zalo message.
        request: The number of the request that it was accepted by.
    """

    number: int
    at: datetime
    phone: str = attrs.field(repr=_masked)
    content: str = attrs.field(repr=False)
    request_id: str | None
    sms_id: str
    unicode: bool
    campaign_id: str | None
    callback_url: str | None = attrs.field(repr=False)
    send_at: datetime | None
    price: int
    delivery: Delivery = attrs.field(repr=False)
    account: str = "default"
    route: RouteKind = RouteKind.FIXED
    sender: str | None = None
    template: str | None = None
    params: Mapping[str, str] | None = attrs.field(default=None, repr=False)
    request: int = 0

    @property
    def otp(self) -> str | None:
        """The one-time code in the content, as `find_otp` finds it, or None."""
        return find_otp(self.content)


@attrs.frozen
class EmulatedAnswer:
    """What the gateway answers to one request.

    Attributes:
        body: The text.
        content_type: What it is.
        code: The code in it, or None where it holds none.
        status: The HTTP status.
        message: The message that was accepted by the request, or None.
        sms_id: The SMSID in the answer to a send, or None.
        retry_after: The Retry-After header in seconds, or None.
        why: A sentence that says what was wrong with the request, or None.
    """

    body: str = attrs.field(repr=False)
    content_type: str = "application/json"
    code: str | None = None
    status: int = 200
    message: AcceptedMessage | None = attrs.field(default=None, repr=False)
    sms_id: str | None = None
    retry_after: int | None = None
    why: str | None = None


class Struck(enum.StrEnum):
    """Where a fault struck a request."""

    DOOR = "door"
    """Before the gateway had looked at it."""
    WAY = "way"
    """On the way back: the answer was lost, spoilt or late."""


@attrs.frozen
class RawRequest:
    """A request as it came, to be shown with its secrets masked.

    Attributes:
        target: The request target, as `/path?query`.
        headers: The headers.
        body: The beginning of the body.
        body_bytes: How long the whole body was, as far as it was read.
        readable: True where the body was read, so that its secrets are known.
        read: Reads its fields again, when they are shown: kept, they would cost every send.
    """

    target: str
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    body_bytes: int = 0
    readable: bool = True
    _secrets: tuple[str, ...] = ()
    read: "Callable[[RawRequest], Fields] | None" = None

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values to mask wherever they stand."""
        return self._secrets if self.read is None else self.read(self).secrets


@attrs.frozen
class SeenRequest:
    """A request that came in, and what became of it. Its repr shows neither content nor phone.

    Attributes:
        number: Its place in the order of arrival, from 1.
        at: When it came, UTC.
        operation: What it asked for, or None where that is not known.
        method: The HTTP method.
        request_id: Its RequestId, or None.
        phone: Its phone as written, or None.
        sandbox: True where it asked for the sandbox.
        path: The path that it asked for.
        account: The name of the account whose keys it had, or None.
        route: How its message travels, where it is a send.
        fault: The fault that it met, or None.
        struck: Where the fault struck, or None.
        decided: The code that the gateway decided on, whether or not the sender was told; None
            where it decided nothing: it gave no code, or a fault came before it could.
        sms_id: The SMSID of the message that was accepted by it, or None.
        answer: The answer that was given, or None where there was no HTTP answer, or not yet.
        why: A sentence that says what was wrong with it, or None.
        fix: A sentence that says what to do about that, or None.
        taken: False where the gateway could not make sense of it, or did not let it in.
        duration: How long the answer took, in seconds of real time, or None where none came yet.
        repeats: How many requests like it came in a row, of those that were not taken.
        wanted: The request that would be taken in its place, or None.
        marks: The pieces of it that are wrong.
        wanted_marks: The pieces of `wanted` that are right in their place.
        raw: The request as it came.
    """

    number: int
    at: datetime
    operation: Operation | None
    method: str
    _fields: Mapping[str, str] = attrs.field(repr=False, eq=False)
    request_id: str | None = None
    phone: str | None = attrs.field(default=None, repr=_masked)
    sandbox: bool = False
    path: str = attrs.field(default="", repr=False)
    account: str | None = None
    route: RouteKind | None = None
    fault: str | None = None
    struck: Struck | None = None
    decided: str | None = None
    sms_id: str | None = None
    answer: EmulatedAnswer | None = attrs.field(default=None, repr=False, eq=False)
    why: str | None = None
    fix: str | None = None
    taken: bool = True
    duration: float | None = None
    repeats: int = 1
    wanted: str | None = attrs.field(default=None, repr=False)
    marks: tuple[str, ...] = attrs.field(default=(), repr=False)
    wanted_marks: tuple[str, ...] = attrs.field(default=(), repr=False)
    raw: RawRequest | None = attrs.field(default=None, repr=False, eq=False)

    @property
    def fields(self) -> Mapping[str, str]:
        """Its fields as written, with the keys masked and long ones cut."""
        raw = self.raw
        return show_fields(raw.read(raw).written if raw and raw.read else self._fields)

    @property
    def accepted(self) -> bool:
        """True where a message was accepted by it."""
        return self.sms_id is not None

    @property
    def told(self) -> str | None:
        """The code in the answer that was given, or None where there was none."""
        return None if self.answer is None else self.answer.code

    @property
    def status(self) -> int | None:
        """The HTTP status of the answer, or None where no HTTP answer was given, or not yet."""
        return None if self.answer is None else self.answer.status


@attrs.frozen
class SentReport:
    """One try to deliver a report to a CallbackUrl.

    Attributes:
        number: Its place in the order of the tries, from 1.
        at: When it ended, UTC.
        sms_id: The message.
        send_status: The SendStatus in it: 2 or 5.
        attempt: 1 for the first try, 2 for the first retry, and so on.
        result: The receiver's HTTP status (`200`), or `timeout`, `failed`, `not allowed`, or
            `dropped` where too many were waiting.
        duration: How long the receiver took, in seconds of real time, or None.
        why: What went wrong, in a sentence, or None.
        repeat: True where the same report was sent before.
    """

    number: int
    at: datetime
    sms_id: str
    send_status: int
    attempt: int
    result: str
    duration: float | None = None
    why: str | None = None
    repeat: bool = False


# "Get the message status" and "Callback Url", field SendStatus.
WAITING: Final = 2
FINISHED: Final = 5
SENT: Final = 7

# "Callback Url", field telcoid; the names as "Get message details" spells them, those that it
# does not show are assumed.
_OPERATORS: Final = (
    (1, "Viettel", "032 033 034 035 036 037 038 039 086 096 097 098"),
    (2, "Mobifone", "070 076 077 078 079 089 090 093"),
    (3, "Vinaphone", "081 082 083 084 085 088 091 094"),
    (4, "Vietnamobile", "052 056 058 092"),
    (5, "Gmobile", "059 099"),
    (6, "Itel", "087"),
    (7, "Reddi", "055"),
)
_BY_PREFIX: Final = {
    prefix: (number, name) for number, name, prefixes in _OPERATORS for prefix in prefixes.split()
}
_ANOTHER: Final = (9, "Other")


def operator(phone: str) -> tuple[int, str]:
    """Return the telcoid and the name of the operator that a phone number was given to."""
    return _BY_PREFIX.get(phone[:3], _ANOTHER)


@attrs.frozen
class Progress:
    """How far the delivery of a message is.

    Attributes:
        send_status: 2 waiting, 5 finished, 7 sent and the result not known.
        sent: 1 where it was handed to the operator, else 0.
        success: 1 where the phone got it, else 0.
        failed: 1 where the phone did not get it and will not, else 0.
        price: What it costs, in dong; a message that failed costs nothing.
    """

    send_status: int
    sent: int
    success: int
    failed: int
    price: int


def plan_delivery(
    settings: Settings,
    accepted_at: float,
    send_at: datetime | None,
    fault: DeliveryFault | None = None,
    status_lag: float | None = None,
) -> Delivery:
    """Plan the delivery of a message that is accepted.

    Args:
        settings: The times that it takes.
        accepted_at: When it is, seconds since 1970.
        send_at: Its SendDate, or None.
        fault: What is unusual about it, if anything.
        status_lag: How long the status calls do not know it; None takes the setting.
    """
    started_at = accepted_at if send_at is None else max(accepted_at, send_at.timestamp())
    finished_at: float | None = started_at + settings.report_delay
    match fault:
        case DeliveryFault.EARLY:
            finished_at = started_at = accepted_at
        case DeliveryFault.LATE:
            finished_at = started_at + settings.late_report_delay
        case DeliveryFault.NEVER:
            finished_at = None
        case _:
            pass
    lag = settings.status_lag if status_lag is None else status_lag
    delivered = fault is not DeliveryFault.FAILED
    return Delivery(accepted_at + lag, started_at, finished_at, delivered, fault)


def progress(message: AcceptedMessage, now: float) -> Progress:
    """Return how far the delivery of a message is at a time in seconds since 1970."""
    delivery = message.delivery
    if delivery.finished_at is not None and now >= delivery.finished_at:
        return finished(message)
    if delivery.finished_at is None and now >= delivery.started_at:
        return Progress(SENT, 1, 0, 0, message.price)
    return waiting(message)


def waiting(message: AcceptedMessage) -> Progress:
    """Return the progress of a message that waits to be sent."""
    return Progress(WAITING, 0, 0, 0, message.price)


def finished(message: AcceptedMessage) -> Progress:
    """Return the progress of a message whose result is known."""
    success = int(message.delivery.delivered)
    return Progress(FINISHED, 1, success, 1 - success, message.price * success)


# Digits, alone or in groups with a space or dash between them: up to four groups, or four to eight
# single digits that no other number stands beside.
_DIGITS = re.compile(
    r"(?<![\w/+])(?:[A-Z]-)?(?P<code>"
    r"(?P<spelled>(?<![0-9][ -])[0-9](?:[ -][0-9]){3,7}(?![ -][0-9]))"
    r"|[0-9]+(?:[ -][0-9]+){0,3})(?!\w)"
)
# A piece of a date, a time, an amount or a number with a fraction.
_JOINED_BEFORE = re.compile(r"(?:[0-9][.,:/-]|[\w.]-|\+|/)$")
_JOINED_AFTER = re.compile(r"^(?:[.,:/-][0-9]|/)")
_UNIT = re.compile(
    r"\s?(?:d|dong|vnd|vnđ|k|tr|trieu|%|phut|giay|gio|ngay|thang|nam|tuan|lan|diem|p|h|s|minutes?"
    r"|seconds?|hours?|days?)\b"
)
_KEYWORD = re.compile(
    r"\b(?:ma|otp|code|pin|passcode|xac minh|xac thuc|xac nhan|xac|mat khau|verif\w*)\b"
)
_OTHER_NUMBER = re.compile(
    r"(?:\b(?:don(?: hang)?|order|hotline|tong dai|goi|dt|sdt|tel|stk|tai khoan|tk|hoa don|hd"
    r"|ma (?:don|van don|kh|khach hang|so thue|giao dich|gd|giam gia|phong)(?: hang)?|nam|year"
    r"|phien|so (?:tien|du|hop dong|the)|dh|luc|ngay)\b[\s:.#]*(?:so\b)?[\s:.#]*)$"
)
# How far from a number a keyword still speaks of it.
_NEAR = 30
_ENOUGH = 2.0


def find_otp(content: str, pattern: re.Pattern[str] | None = None) -> str | None:
    """Return what looks most like a one-time code in a text, or None.

    Args:
        content: The text.
        pattern: Finds the code in place of the scores: its group 1, or the whole match.
    """
    found = find_spelled_otp(content, pattern)
    return None if found is None else re.sub(r"[ -]", "", found) if pattern is None else found


def find_spelled_otp(content: str, pattern: re.Pattern[str] | None = None) -> str | None:
    """Return the code as it is written in the text, such as `904 117`, or None."""
    if pattern is not None:
        match = pattern.search(content)
        return None if match is None else match[1 if pattern.groups else 0] or None
    best, best_score = None, _ENOUGH
    for code, score in _candidates(normalize_text(content)):
        # Of equal candidates the first counts.
        if score > best_score or (best is None and score == best_score):
            best, best_score = code, score
    return best


def _candidates(content: str) -> Iterator[tuple[str, float]]:
    """Yield the numbers of a text that can be a code, each with its score."""
    plain = ""
    for match in _DIGITS.finditer(content):
        code = match["code"]
        groups = re.split(r"[ -]", code)
        digits = "".join(groups)
        is_mixed = len(groups) > 1 and min(map(len, groups)) < 2 and match["spelled"] is None
        if not 4 <= len(digits) <= 8 or is_mixed:
            continue
        plain = plain or (content.lower() if content.isascii() else "".join(map(_plain, content)))
        before, after = plain[: match.start("code")], plain[match.end("code") :]
        score = _score(digits, before, after)
        if len(groups) > 1:
            # Numbers that only stand side by side are no code, unless a word says so.
            score -= 2
        yield code, score


def _plain(letter: str) -> str:
    """Return a letter in lower case and without its diacritics."""
    if letter.isascii():
        return letter.lower()
    if letter in "đĐ":
        return "d"
    return unicodedata.normalize("NFD", letter)[0].lower()


def _score(digits: str, before: str, after: str) -> float:
    """Return how much a number looks like a code, by its length and the words around it."""
    lettered = before[-2:-1].isalpha() and before.endswith("-") and not before[-3:-2].isalnum()
    if (_JOINED_BEFORE.search(before) and not lettered) or _JOINED_AFTER.match(after):
        return -9.0
    score = {4: 2.0, 5: 2.0, 6: 3.0, 7: 2.0, 8: 2.0}[len(digits)]
    before_it = [_NEAR - match.end() for match in _KEYWORD.finditer(before[-_NEAR:].rjust(_NEAR))]
    if len(digits) == 4 and 1900 <= int(digits) <= 2099 and min(before_it, default=_NEAR) > 2:
        score -= 2.5
    if _UNIT.match(after) or _OTHER_NUMBER.search(before[-_NEAR:]):
        score -= 8
    distances = before_it + [match.start() + 4 for match in _KEYWORD.finditer(after[:_NEAR])]
    if distances:
        score += 5 - min(distances) / 10
    return score
