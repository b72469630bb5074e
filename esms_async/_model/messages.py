"""Defines the values of a send: credentials, message, attempts, receipt, outcome."""

import enum
import os
import unicodedata
from collections.abc import Callable, Mapping
from datetime import MAXYEAR, datetime, timedelta, timezone
from typing import Final, cast

import attrs

from esms_async._model.checks import check_callback_url
from esms_async._model.errors import (
    ConfigurationError,
    EsmsError,
    InvalidMessage,
    OutcomeUnknown,
    Rejected,
)
from esms_async._model.phone import mask_phone, normalize_phone
from esms_async._model.request_ids import REQUEST_ID, new_request_id
from esms_async._model.routes import Params, Route, check_fits, check_route, parse_route
from esms_async._model.text import foreign_characters, measure, needs_unicode, normalize_text

VIETNAM_TIME: Final = timezone(timedelta(hours=7), "Vietnam")
"""UTC+7 without daylight saving, the time zone of SendDate (assumed: no page names it)."""

# 3GPP TS 23.040, section 9.2.3.24.1: the number of parts of one message is an octet.
_MOST_PARTS = 255
# A part holds 33 to 153 characters in any alphabet, so a text below the lower bound needs no exact
# count of its parts.
_SURELY_FITS = _MOST_PARTS * 33
# "Send fixed number with cheap price", field campaignid.
_LONGEST_CAMPAIGN_ID = 254
# SendDate has four digits for the year.
_FIRST_YEAR = 1000
_LINE_BREAKS_AND_TABS = frozenset("\n\r\t\f")


# Not None: a business key that is None by accident must not mint an id.
_TO_BE_MINTED: Final = cast("str", object())


def _require_str(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidMessage(field, f"must be a str, not {type(value).__name__}")
    return value


def _checked_phone(value: str) -> str:
    if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
        raise InvalidMessage("phone", f"must be a str, not {type(value).__name__}")
    try:
        return normalize_phone(value)
    except ValueError as error:
        raise InvalidMessage("phone", str(error)) from None


def _checked_content(value: str | None) -> str:
    if not isinstance(value, str):
        if value is None:
            raise InvalidMessage("content", "is missing; give the text to send, or params")
        raise InvalidMessage("content", f"must be a str, not {type(value).__name__}")
    if not value or value.isspace():
        raise InvalidMessage("content", "is empty; give the text to send")
    if not value.isprintable():
        _refuse_unprintable(value)
    return value if value.isascii() else normalize_text(value)


def _check_length(content: str, *, unicode: bool) -> None:
    parts = measure(content, unicode=unicode).parts
    if parts > _MOST_PARTS:
        raise InvalidMessage(
            "content", f"would take {parts} parts; a message has at most {_MOST_PARTS}"
        )


def _refuse_unprintable(text: str) -> None:
    for position, character in enumerate(text):
        category = unicodedata.category(character)
        if category == "Cs":
            raise InvalidMessage(
                "content", f"holds half a surrogate pair at position {position}; decode it as UTF-8"
            )
        if category == "Cc" and character not in _LINE_BREAKS_AND_TABS:
            raise InvalidMessage(
                "content",
                f"holds the control character U+{ord(character):04X} at position {position}; "
                "remove it",
            )


def _checked_request_id(value: str) -> str:
    if not REQUEST_ID.fullmatch(_require_str("request_id", value)):
        raise InvalidMessage(
            "request_id", "must be 1 to 50 characters out of letters, digits and . _ : -"
        )
    return value


def _check_unicode(value: object, content: str) -> None:
    if not isinstance(value, bool):
        raise InvalidMessage("unicode", f"must be True, False or None, not {type(value).__name__}")
    if not value and needs_unicode(content):
        raise InvalidMessage(
            "unicode",
            f"is False, but the content holds {len(foreign_characters(content))} kinds of "
            "characters that GSM-7 does not have; leave it None, or take the diacritics off",
        )


def _checked_params(content: object, params: Mapping[str, str], unicode: object) -> Params:
    if content is not None:
        raise InvalidMessage("content", "and params exclude each other; a Zalo message has params")
    if unicode:
        raise InvalidMessage("unicode", "is for content alone; a Zalo message has params")
    return params if isinstance(params, Params) else Params(params)


def _check_route(route: Route, content: object, params: object) -> None:
    try:
        check_route(route)
    except ConfigurationError as error:
        raise InvalidMessage("route", str(error).removeprefix("route ")) from None
    check_fits(route, has_content=content is not None, has_params=params is not None)


def _check_campaign_id(value: str) -> None:
    text = _require_str("campaign_id", value)
    if not 1 <= len(text) <= _LONGEST_CAMPAIGN_ID or not text.isprintable():
        raise InvalidMessage(
            "campaign_id", f"must be 1 to {_LONGEST_CAMPAIGN_ID} printable characters"
        )


def _check_times(send_at: datetime | None, expires_at: datetime | None) -> None:
    for field, value in (("send_at", send_at), ("expires_at", expires_at)):
        if value is not None:
            _check_time(field, value)
    if send_at is not None and expires_at is not None and expires_at < send_at:
        raise InvalidMessage("expires_at", "lies before send_at")


def _check_time(field: str, value: object) -> None:
    if not isinstance(value, datetime):
        raise InvalidMessage(field, f"must be a datetime, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise InvalidMessage(field, "must be an aware datetime; give it a tzinfo")
    if _FIRST_YEAR < value.year < MAXYEAR:
        return  # in Vietnam it lies less than two days away
    try:
        year = value.astimezone(VIETNAM_TIME).year
    except OverflowError:
        year = 0
    if year < _FIRST_YEAR:
        raise InvalidMessage(field, f"lies outside the years {_FIRST_YEAR} to 9999 in Vietnam")


# The form that `Message.to_dict` writes. A reader takes it and every earlier one.
_DICT_VERSION: Final = 1
_TIMES: Final = ("send_at", "expires_at")
_REQUIRED: Final = ("phone", "request_id")
_OPTIONAL: Final = (
    *("content", "unicode", "params", "route", "campaign_id", "callback_url"),
    *_TIMES,
)
_FIELDS: Final = frozenset({*_REQUIRED, *_OPTIONAL})


def _checked_fields(fields: object) -> dict[str, object]:
    """Return the arguments of a Message that was written down; refuse what is not one."""
    if not isinstance(fields, Mapping):
        raise InvalidMessage("message", f"must be a mapping, not {type(fields).__name__}")
    given = dict(cast("Mapping[str, object]", fields))
    version = given.pop("version", None)
    if version != _DICT_VERSION or isinstance(version, bool):
        raise InvalidMessage(
            "version", f"must be {_DICT_VERSION}; a later release of esms_async wrote it, or none"
        )
    for name in _REQUIRED:
        if given.get(name) is None:
            raise InvalidMessage(name, "is missing")
    if not given.keys() <= _FIELDS:
        raise InvalidMessage("message", "holds a field that this release of esms_async lacks")
    if (route := given.get("route")) is not None:
        try:
            given["route"] = parse_route(_require_str("route", route))
        except ConfigurationError:
            raise InvalidMessage("route", "is not a route, as str(route) writes it") from None
    for name in _TIMES:
        if (value := given.get(name)) is not None:
            given[name] = _read_time(name, value)
    return given


def _read_time(field: str, value: object) -> datetime:
    try:
        return datetime.fromisoformat(cast("str", value))
    except (TypeError, ValueError):
        raise InvalidMessage(field, "is not a time in ISO 8601") from None


class _Mark:
    """Holds a mark that no copy, pickle or JSON of a Message carries."""

    __slots__ = ("_untried_in",)


@attrs.frozen(repr=False, init=False)
class Message(_Mark):
    """One logical send: one text, or one Zalo template, to one phone, under one RequestId for ever.

    The RequestId is minted when the Message is made. Every attempt to send it, in this process
    or any other, carries that id, so the phone gets the text at most once. Keep the Message (or
    its RequestId) for as long as you may want to resume it.

    Args:
        phone: Vietnamese mobile number: `0…`, `84…` or `+84…`, with spaces, dots or dashes. Kept
            as `0XXXXXXXXX`.
        content: The text, with at least one character that is not a space. Kept in Unicode NFC.
            None for a Zalo message, which has params.
        params: The parameters of a Zalo template, instead of content; copied.
        route: The route; None for the client's default.
        request_id: 1 to 50 characters of `[A-Za-z0-9._:-]`; minted by default.
        unicode: True sends UCS-2 (diacritics), False GSM-7, None chooses by the text and keeps the
            choice. Pass None again if you evolve a Message to another text.
        campaign_id: The gateway's `campaignid`, at most 254 characters.
        callback_url: The URL that the gateway calls to report delivery (HTTP GET).
        send_at: When the gateway sends it, an aware datetime; None is at once. It is written in
            Vietnam time, in whole seconds.
        expires_at: No attempt starts at or after this aware datetime.

    Raises:
        InvalidMessage: A field is invalid; the error names it.
    """

    phone: str
    content: str | None
    params: Mapping[str, str] | None
    route: Route | None
    request_id: str
    unicode: bool
    campaign_id: str | None
    callback_url: str | None
    send_at: datetime | None
    expires_at: datetime | None

    # Written by hand, because each send makes a Message: omitted fields cost nothing here.
    def __init__(
        self,
        phone: str,
        content: str | None = None,
        *,
        params: Mapping[str, str] | None = None,
        route: Route | None = None,
        request_id: str = _TO_BE_MINTED,
        unicode: bool | None = None,
        campaign_id: str | None = None,
        callback_url: str | None = None,
        send_at: datetime | None = None,
        expires_at: datetime | None = None,
    ) -> None:
        try:
            phone = _checked_phone(phone)
            if route is not None:
                _check_route(route, content, params)
            if params is None:
                content = _checked_content(content)
                if unicode is None:
                    unicode = needs_unicode(content)
                else:
                    _check_unicode(unicode, content)
                if len(content) > _SURELY_FITS:
                    _check_length(content, unicode=unicode)
            else:
                params = _checked_params(content, params, unicode)
                unicode = False
            if request_id is _TO_BE_MINTED:
                request_id = new_request_id()
                _set_untried_in(self, os.getpid())
            else:
                request_id = _checked_request_id(request_id)
            if campaign_id is not None:
                _check_campaign_id(campaign_id)
            if callback_url is not None:
                check_callback_url(callback_url)
            if send_at is not None or expires_at is not None:
                _check_times(send_at, expires_at)
        except InvalidMessage as error:
            # Error trackers record the locals of every frame, so none may hold phone or content,
            # nor a Message that is not ready and so has no repr.
            del self, phone, content, params
            error.__context__ = None
            raise error.with_traceback(None) from None
        _set_phone(self, phone)
        _set_content(self, content)
        _set_params(self, params)
        _set_route(self, route)
        _set_request_id(self, request_id)
        _set_unicode(self, unicode)
        _set_campaign_id(self, campaign_id)
        _set_callback_url(self, callback_url)
        _set_send_at(self, send_at)
        _set_expires_at(self, expires_at)

    def __repr__(self) -> str:
        route = "" if self.route is None else f", route={self.route!r}"
        return f"Message(phone={mask_phone(self.phone)!r}, request_id={self.request_id!r}{route})"

    def to_dict(self) -> dict[str, object]:
        """Return the message as values that JSON takes, for a queue or a task of your own.

        It holds the phone and the text. `from_dict` makes the same Message of it, in this release
        and later ones.
        """
        fields: dict[str, object] = {
            "version": _DICT_VERSION,
            "request_id": self.request_id,
            "phone": self.phone,
        }
        if self.params is None:
            fields |= {"content": self.content, "unicode": self.unicode}
        else:
            fields["params"] = dict(self.params)
        if self.route is not None:
            fields["route"] = str(self.route)
        for name in ("campaign_id", "callback_url"):
            if (value := getattr(self, name)) is not None:
                fields[name] = value
        for name in _TIMES:
            if (moment := getattr(self, name)) is not None:
                fields[name] = moment.isoformat()
        return fields

    @classmethod
    def from_dict(cls, fields: Mapping[str, object]) -> "Message":
        """Return the message that `to_dict` gave, with every field checked.

        Args:
            fields: What `to_dict` gave, as JSON carried it.

        Raises:
            InvalidMessage: It is something else, or a later release wrote it; the error names the
                field.
        """
        given = _checked_fields(fields)
        try:
            return cls(cast("str", given.pop("phone")), **given)  # type: ignore[arg-type]  # checked there
        except InvalidMessage as error:
            # Error trackers record the locals of every frame.
            del fields, given
            raise error.with_traceback(None) from None

    def renewed(self) -> "Message":
        """Return a Message with the same text and phone, and a new RequestId.

        If this message was accepted, the new one is a second SMS. So make it only if this one was
        rejected or not sent.
        """
        return Message(
            self.phone,
            self.content,
            params=self.params,
            route=self.route,
            unicode=self.unicode,
            campaign_id=self.campaign_id,
            callback_url=self.callback_url,
            send_at=self.send_at,
            expires_at=self.expires_at,
        )


# The setter of a slot takes half the time that `object.__setattr__` takes.
_Setter = Callable[[Message, object], None]
_set_phone: _Setter = vars(Message)["phone"].__set__
_set_content: _Setter = vars(Message)["content"].__set__
_set_params: _Setter = vars(Message)["params"].__set__
_set_route: _Setter = vars(Message)["route"].__set__
_set_request_id: _Setter = vars(Message)["request_id"].__set__
_set_unicode: _Setter = vars(Message)["unicode"].__set__
_set_campaign_id: _Setter = vars(Message)["campaign_id"].__set__
_set_callback_url: _Setter = vars(Message)["callback_url"].__set__
_set_send_at: _Setter = vars(Message)["send_at"].__set__
_set_expires_at: _Setter = vars(Message)["expires_at"].__set__
_set_untried_in: _Setter = vars(_Mark)["_untried_in"].__set__


# A StrEnum, because Python code computes the hash of a plain Enum, and the tables need it.
class Evidence(enum.StrEnum):
    """What one attempt proves about its message."""

    ACCEPTED = "accepted"
    """Code 100."""
    DUPLICATE = "duplicate"
    """Code 124: the gateway has seen the RequestId."""
    MESSAGE_REJECTED = "message rejected"
    """A code that every attempt of the same message would get."""
    REFUSED = "refused"
    """A refusal that proves nothing about other attempts: another code, or a 4xx without one."""
    MAY_HAVE_ARRIVED = "may have arrived"
    """The request may have reached the gateway, and no readable answer came."""
    NOTHING_LEFT = "nothing left"
    """No byte of the request left this machine."""


@attrs.frozen
class Attempt:
    """One request that tried to send a message.

    Attributes:
        started_at: When it began, UTC.
        duration: How long it took, in seconds.
        evidence: What it proves.
        status: The HTTP status of the answer, or None.
        code: The gateway's code, or None.
        error: What went wrong, without secrets, or None.
        retry_after: The pause that the answer asks for, in seconds, or None.
    """

    started_at: datetime
    duration: float
    evidence: Evidence
    status: int | None = None
    code: str | None = None
    error: str | None = None
    retry_after: float | None = None


@attrs.frozen
class Receipt:
    """The gateway has accepted a message. It is not delivered yet.

    Attributes:
        request_id: The message's RequestId.
        sms_id: The gateway's SMSID, or None if it is not known (see `deduplicated`).
        deduplicated: True if code 124 proved the acceptance, after an attempt whose answer was
            lost. The SMSID then comes with the delivery report.
        attempts: Every attempt of this call, in order.
    """

    request_id: str
    sms_id: str | None = None
    deduplicated: bool = False
    attempts: tuple[Attempt, ...] = ()


class Status(enum.StrEnum):
    """What is true of a message."""

    ACCEPTED = "accepted"
    """The gateway accepted it."""
    REJECTED = "rejected"
    """The gateway refused it."""
    NOT_SENT = "not_sent"
    """Nothing of it left this machine; also if it was refused before any attempt."""
    UNKNOWN = "unknown"
    """It may have been accepted."""


@attrs.frozen
class Outcome:
    """The result of one message of a stream: a receipt, or an error.

    Attributes:
        message: The message.
        receipt: The receipt, if it was accepted.
        error: Otherwise, the error that `EsmsClient.send` would have raised.
    """

    message: Message
    receipt: Receipt | None = None
    error: EsmsError | None = None

    def __attrs_post_init__(self) -> None:
        if (self.receipt is None) == (self.error is None):
            raise ValueError("an Outcome holds a receipt or an error, and not both")

    @property
    def ok(self) -> bool:
        """True if the gateway accepted the message."""
        return self.receipt is not None

    @property
    def status(self) -> Status:
        """What is true of the message."""
        match self.error:
            case None:
                return Status.ACCEPTED
            case Rejected():
                return Status.REJECTED
            case OutcomeUnknown():
                return Status.UNKNOWN
            case _:
                return Status.NOT_SENT


def _problem_of_key(value: object) -> str | None:
    if not isinstance(value, str) or not value or not value.isprintable():
        return "must be a non-empty printable str"
    return "has white space around it" if value != value.strip() else None


@attrs.frozen(repr=False, init=False)
class Credentials:
    """The keys of an eSMS account. Every request holds them, and nothing shows them.

    Args:
        api_key: The account's ApiKey.
        secret_key: The account's SecretKey.

    Raises:
        ConfigurationError: A key is not a str, is empty, or has white space around it.
    """

    api_key: str
    secret_key: str

    def __init__(self, api_key: str, secret_key: str) -> None:
        keys = {"api_key": api_key, "secret_key": secret_key}
        problems = [
            f"{name} {what}" for name, key in keys.items() if (what := _problem_of_key(key))
        ]
        if problems:
            # Error trackers record the locals of every frame.
            del keys, api_key, secret_key
            raise ConfigurationError(problems[0])
        object.__setattr__(self, "api_key", api_key)
        object.__setattr__(self, "secret_key", secret_key)

    def __repr__(self) -> str:
        return "Credentials(<hidden>)"
