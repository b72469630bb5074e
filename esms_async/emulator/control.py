"""The control interface under `/_emulator/`, its OpenAPI description, its events, and the page.

Page, plugin and tests in any language use it. One table declares each operation: its route, its
parameters and its answer. Answers are JSON; what cannot be done is answered with a 4xx and
`{"error": "…"}`, which names the value that is in the way.
"""

import json
import math
import unicodedata
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from heapq import merge
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar, cast

import attrs
from aiohttp import web
from aiohttp.typedefs import Handler

from esms_async._model.codes import RouteKind
from esms_async._model.errors import ConfigurationError, UsageError
from esms_async.emulator.faults import PRESETS, ArmedFault, FaultRegistry
from esms_async.emulator.gateway import LARGEST_BALANCE, STATE_CODES, Gateway
from esms_async.emulator.http import CONTROL, Closing, read_body
from esms_async.emulator.journal import Journal, Numbered, RowKind, Send, Wanted
from esms_async.emulator.records import AcceptedMessage, Operation, SeenRequest, find_otp
from esms_async.emulator.settings import (
    SETTINGS,
    AccountState,
    compile_pattern,
    view_settings,
)
from esms_async.emulator.story import (
    ACCOUNT_STATES,
    View,
    flags_of,
    is_send,
    view_account,
    view_clock,
    view_fault,
    view_message,
    view_not_taken,
    view_report,
    view_request,
    view_row,
    view_send,
)

if TYPE_CHECKING:
    import re

    from esms_async.emulator.server import Emulator

PRIVATE: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Headers that keep what is answered out of caches, and out of the pages of other sites."""

_MOST_AT_ONCE = 500
_LONGEST_WAIT = 60.0
_LONGEST_WORD = 60
_LARGEST = 10**15
_MOST_FOLLOWERS = 32
# So often a page gets events at most; what comes meanwhile goes out together.
_PAUSE = 0.1
# More changes than this are a burst: a page is shown the newest rows alone, and less often.
_BURST = 400
_BURST_PAUSE = 0.3
_TOP = 50
# How many sends are looked at for the counts while a page waits for them.
_MOST_LOOKS = 500
# A stream with nothing to tell says so now and then, or nobody would notice that its page has gone.
_ALIVE = 5.0
# How long a page waits before it connects again, in milliseconds.
_RETRY = 1000
_R = TypeVar("_R", bound=Numbered)
_dumps = json.JSONEncoder(separators=(",", ":")).encode


def installed_version() -> str:
    """Return the version of the package, as it is installed."""
    try:
        return version("esms-async")
    except PackageNotFoundError:
        return "not installed"


def _quote(text: str) -> str:
    """Return what was written, in quotes and short."""
    return repr(text if len(text) <= _LONGEST_WORD else text[:_LONGEST_WORD] + "…")


@attrs.frozen
class Parameter:
    """A parameter of the query: its JSON Schema, and how it is read."""

    name: str
    schema: Mapping[str, object]
    read: Callable[[str, str], object]
    words: str = ""


_FILLED: Final[Mapping[str, object]] = {"type": "string", "minLength": 1}


def _check_not_empty(name: str, written: str) -> str:
    # An empty filter is a variable that its caller never set: it must not fit everything.
    if not written:
        raise ConfigurationError(f"{name} must not be empty")
    return written


def _text(name: str, words: str) -> Parameter:
    return Parameter(name, _FILLED, _check_not_empty, words)


def _count(name: str, words: str, low: int = 0, high: int = _LARGEST) -> Parameter:
    def read(name: str, written: str) -> object:
        if written.isascii() and written.isdigit() and len(written) <= 16:
            number = int(written)
            if low <= number <= high:
                return number
        raise ConfigurationError(
            f"{name} must be a whole number, from {low} to {high}, not {_quote(written)}"
        )

    schema = {"type": "integer", "minimum": low, "maximum": high}
    return Parameter(name, schema, read, words)


def _seconds(name: str, words: str, high: float) -> Parameter:
    def read(name: str, written: str) -> object:
        try:
            seconds = float(written)
        except ValueError:
            seconds = math.nan
        if not 0 <= seconds <= high:
            raise ConfigurationError(
                f"{name} must be seconds from 0 to {high:g}, not {_quote(written)}"
            )
        return seconds

    return Parameter(name, {"type": "number", "minimum": 0, "maximum": high}, read, words)


def _choice(name: str, words: str, choices: Iterable[str]) -> Parameter:
    known = [*choices]

    def read(name: str, written: str) -> object:
        if written not in known:
            raise ConfigurationError(
                f"{name} must be one of {', '.join(known)}, not {_quote(written)}"
            )
        return written

    return Parameter(name, {"type": "string", "enum": known}, read, words)


def _pattern() -> Parameter:
    def read(name: str, written: str) -> object:
        return compile_pattern(_check_not_empty(name, written))

    schema = {**_FILLED, "maxLength": 200, "format": "regex"}
    words = "A regular expression that finds the code: its group 1, or the whole match."
    return Parameter("pattern", schema, read, words)


class Query:
    """The query of a control request, read by its parameters.

    Raises:
        ConfigurationError: It has another parameter, or a value that can't be read.
    """

    def __init__(self, query: Mapping[str, str], parameters: Iterable[Parameter]) -> None:
        known = {parameter.name: parameter for parameter in parameters}
        self._values: dict[str, object] = {}
        for name, written in query.items():
            if name not in known:
                there = f"there are {', '.join(known)}" if known else "there are none here"
                raise ConfigurationError(f"there is no parameter {_quote(name)}; {there}")
            self._values[name] = known[name].read(name, written)

    def text(self, name: str) -> str | None:
        """Return a text, or None where it is not given."""
        return cast("str | None", self._values.get(name))

    def count(self, name: str, default: int = 0) -> int:
        """Return a whole number."""
        return cast("int", self._values.get(name, default))

    def seconds(self, name: str) -> float:
        """Return a time, 0 where it is not given."""
        return cast("float", self._values.get(name, 0.0))

    def get(self, name: str) -> object:
        """Return a value of any type, or None."""
        return self._values.get(name)


# Schemas of the answers.
_STRING = {"type": "string"}
_INTEGER = {"type": "integer"}
_BOOLEAN = {"type": "boolean"}
_OBJECT = {"type": "object"}
_TYPES: Final[Mapping[str, Mapping[str, object]]] = {
    "": _STRING,
    "int": _INTEGER,
    "number": {"type": "number"},
    "bool": _BOOLEAN,
    "object": _OBJECT,
}
_STATE_NAMES = ("waiting", "held", "sent", "delivered", "failed")
_ENUMS: Final[Mapping[str, Iterable[str]]] = {
    "route": RouteKind,
    "operation": Operation,
    "state": AccountState,
    "delivery": _STATE_NAMES,
    "row": (*_STATE_NAMES, "rejected", "sandbox", "lost"),
    "tone": ("ok", "warn", "bad", "wait", "mute"),
    "struck": ("door", "way", "phone"),
    "step": (*("send", "answer", "accepted", "held", "pause", "arrives", "due", "report", "note"),),
}


def _enum(words: Iterable[str]) -> Mapping[str, object]:
    return {"type": "string", "enum": [*words]}


def _list(schema: Mapping[str, object]) -> Mapping[str, object]:
    return {"type": "array", "items": schema}


def _schema(word: str) -> Mapping[str, object]:
    """Read a type: `int`, `Send`, an enum as `<state>`; `[]` makes a list, `?` allows null."""
    if word.endswith("?"):
        return {"oneOf": [{"type": "null"}, _schema(word[:-1])]}
    if word.endswith("[]"):
        return _list(_schema(word[:-2]))
    if word.startswith("<"):
        return _enum(_ENUMS[word[1:-1]])
    return _TYPES.get(word) or {"$ref": f"#/components/schemas/{word}"}


def _shape(words: str, **more: Mapping[str, object]) -> Mapping[str, object]:
    """Read an object: `name`, `name?` or `name:type` for each property, texts by default."""
    properties = {**more}
    for word in words.split():
        name, _, kind = word.partition(":")
        properties[name.rstrip("?")] = _schema(kind or "?" * name.endswith("?"))
    return {"type": "object", "properties": properties, "required": [*properties]}


_ROW = """
    number:int link at? account? phone phone_shown operator route:<route> sender content
    params:object? oa? template? code? code_spelled? state:<row> word tone:<tone> attempts:int
    marks:[] sms_id? request_id? campaign_id? callback_url? send_at? price:int alphabet units:int
    limit:int parts:int forced_by:[] parts_plain:int price_plain:int part_starts:int[] ghost?
    warning? not_taken:bool trouble:bool
"""
_KIND = {"send": {"kind": _enum(["send"])}, "not_taken": {"kind": _enum(["not_taken"])}}
SCHEMAS: Final[Mapping[str, Mapping[str, object]]] = {
    "Error": _shape("error"),
    "SendRow": _shape(_ROW, **_KIND["send"]),
    "NotTakenRow": _shape(
        "number:int link at method path path_short reason? fix? status:int? tone word repeats:int "
        "not_taken:bool trouble:bool",
        **_KIND["not_taken"],
    ),
    "Step": _shape(
        "at ms:number kind:<step> from? to? what text fault? struck:<struck>? status? "
        "duration_ms:number? attempt:int? repeat:bool later:bool tone"
    ),
    "Send": _shape(
        f"{_ROW} steps:Step[] requests:Request[] requests_pruned:int reports:Report[] curl pytest",
        verdict=_shape("tone text why"),
        can=_shape("deliver:bool fail:bool resend:bool why_not?"),
        **_KIND["send"],
    ),
    "Message": _shape(
        "number:int at account phone route:<route> sender? content params:object? template? otp? "
        "code? request_id? sms_id unicode:bool alphabet units:int parts:int campaign_id? "
        "callback_url? send_at? price:int warning? state:<delivery>",
        delivery=_shape("started_at? finished_at? delivered:bool fault?"),
    ),
    "Request": _shape(
        "number:int at operation:<operation>? method path account? request_id? phone? sandbox:bool "
        "fault? struck:<struck>? decided? told? status:int? meaning? accepted:bool sms_id? "
        "fields:object taken:bool reason? fix? repeats:int marks:[] head body body_bytes:int "
        "wanted? wanted_marks:[] answer? duration_ms:number? client?"
    ),
    "Report": _shape(
        "number:int at sms_id send_status:int attempt:int result duration_ms:number? url? "
        "repeat:bool reason?"
    ),
    "Fault": _shape("number:int spec name? used:int left:int? spent:bool"),
    "Faults": _shape("faults:Fault[] spent:Fault[]", presets=_list(_shape("name spec"))),
    "Clock": _shape("now running:bool shift:number"),
    "Account": _shape("name api_key balance:int state:<state> code? brandnames:[] messages:int"),
    "Settings": {
        "type": "object",
        "properties": {name: setting.schema for name, setting in SETTINGS.items()},
        "required": [*SETTINGS],
        "additionalProperties": False,
    },
    "Counts": _shape("all:int messages:int code:int trouble:int not_taken:int pruned:int"),
    "State": _shape(
        "url page version seed:int listen tls:bool balance:int account:<state> account_code? "
        "accounts:Account[] clock:Clock counts:Counts accepted:int messages:int requests:int "
        "pruned:int faults:Fault[] spent:Fault[] settings:Settings",
        account_states=_list(_shape("name code? words")),
        oldest=_shape("send:int not_taken:int"),
    ),
}
"""The schemas of all answers."""

_BALANCE = {"type": "integer", "minimum": 0, "maximum": LARGEST_BALANCE}
_FARTHEST = 10**10
_SHIFT = {"type": "number", "minimum": 0, "maximum": _FARTHEST}
_LIVE = {name: setting.schema for name, setting in SETTINGS.items() if setting.live}
_CHANGE: Final[Mapping[str, object]] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        **_LIVE,
        "balance": _BALANCE,
        "account": _enum(AccountState),
        "clock": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"shift": _SHIFT},
            "required": ["shift"],
        },
        "settings": {
            "type": "object",
            "additionalProperties": False,
            "properties": _LIVE,
        },
        "accounts": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "properties": {"balance": _BALANCE, "state": _enum(AccountState)},
            },
        },
    },
}


def _body(name: str, schema: Mapping[str, object]) -> Mapping[str, object]:
    """Return the schema of a body with one property."""
    return {
        "type": "object",
        "properties": {name: schema},
        "required": [name],
        "additionalProperties": False,
    }


@attrs.frozen
class Request:
    """A control request, read by what its operation declares."""

    query: Query
    path: Mapping[str, str]
    body: Mapping[str, object]


Handle = Callable[[Request], View | Awaitable[View]]


@attrs.frozen
class ControlOperation:
    """One operation of the control interface.

    Attributes:
        method: The HTTP method.
        path: The path below `/_emulator`.
        handle: What does it.
        words: What it does, in a sentence.
        answer: The schema of its answer.
        query: The parameters of its query.
        body: The schema of its body, or None.
        example: The body that an error shows.
        status: The HTTP status of its answer.
        errors: The statuses of what can go wrong beside a wrong parameter.
    """

    method: str
    path: str
    handle: Handle
    words: str
    answer: Mapping[str, object]
    query: tuple[Parameter, ...] = ()
    body: Mapping[str, object] | None = None
    example: str = ""
    status: int = 200
    errors: tuple[int, ...] = ()


_PHONE = _text("phone", "The phone, in any form that a message takes.")
_REQUEST_ID = _text("request_id", "The RequestId.")
_SINCE = _count("since", "Only what has a higher number.")
_BEFORE = _count("before", "Only what has a lower number; 0 for all.")
_LIMIT = _count("limit", "How many at most; 100 by default.", 1, _MOST_AT_ONCE)
_TIMEOUT = _seconds("timeout", "How long to wait.", _LONGEST_WAIT)
_FILTERS = ("all", "code", "trouble", "not_taken")


class Control:
    """Answers the control requests of one emulator.

    Args:
        emulator: The emulator.
        gateway: Its accounts, RequestIds and messages.
        faults: Its faults.
        journal: What came in and went out.
        closing: When it closes.
    """

    def __init__(
        self,
        emulator: "Emulator",
        *,
        gateway: Gateway,
        faults: FaultRegistry,
        journal: Journal,
        closing: Closing,
    ) -> None:
        self._emulator = emulator
        self._gateway = gateway
        self._faults = faults
        self._journal = journal
        self._feed = journal.feed
        self._closing = closing
        self._followers = 0
        # What found the codes that the flags of the sends speak of.
        self._pattern = emulator.pattern
        self._version = installed_version()
        self.operations: tuple[ControlOperation, ...] = self._declare()

    def _declare(self) -> tuple[ControlOperation, ...]:
        emulator, operation = self._emulator, ControlOperation
        state, message, send, fault, faults, clock = map(
            _schema, ("State", "Message", "Send", "Fault", "Faults", "Clock")
        )
        account = Parameter(
            "account", _FILLED,
            lambda _, written: self._gateway.account(written).name, "The name of an account.",
        )  # fmt: skip
        waits = (_PHONE, _REQUEST_ID, account, _SINCE, _TIMEOUT, _pattern())
        page, listed = (_BEFORE, _LIMIT), "older:bool event"
        return (
            operation(
                "GET", "/ready", lambda _: {
                    "ready": True, "url": emulator.url, "version": self._version
                },
                "Tells that the emulator serves.", _shape("ready:bool url version"),
            ),
            operation("GET", "/state", self._do(None), "Shows state and settings.", state),
            operation(
                "PATCH", "/state", self._do(lambda request: emulator.change(request.body)),
                "Changes balance, account, clock and settings.", state,
                body=_CHANGE, example='{"balance": 0}',
            ),
            operation(
                "GET", "/inbox", self._get_inbox, "Lists the rows of the page, newest first.",
                _shape(
                    f"counts:Counts {listed}",
                    rows=_list({"oneOf": [_schema("SendRow"), _schema("NotTakenRow")]}),
                ),
                (
                    _choice("filter", "Which rows.", _FILTERS),
                    # The search field of the page is empty at first.
                    Parameter(
                        "q", _STRING, lambda _, written: written,
                        "A text in phone, content, ids, path or reason.",
                    ),
                    account,
                    _PHONE,
                    *page,
                ),
            ),
            operation(
                "GET", "/sends/{number}", self._get_send, "Shows a send with its timeline.",
                send, errors=(404,),
            ),
            operation(
                "GET", "/messages", self._get_messages, "Lists accepted messages, newest first.",
                _shape(f"messages:Message[] {listed}"),
                (
                    _PHONE, _text("text", "A piece of the text."), _REQUEST_ID,
                    _text("sms_id", "The SMSID."), account, _SINCE, *page, _pattern(),
                ),
            ),
            operation(
                "DELETE", "/messages", self._do(lambda _: emulator.clear_messages()),
                "Forgets messages, requests and reports; RequestIds stay.", state,
            ),
            operation(
                "GET", "/messages/latest", self._get_latest,
                "Waits for the newest message that fits.", message, waits, errors=(404,),
            ),
            operation(
                "GET", "/codes/latest", self._get_code, "Waits for the newest code that fits.",
                _shape("code message:Message"), waits, errors=(404,),
            ),
            operation(
                "GET", "/messages/{sms_id}", self._get_message,
                "Shows the send of a message with its timeline.", send, errors=(404,),
            ),
            operation(
                "POST", "/messages/{sms_id}/deliver",
                lambda request: self._view_message(emulator.finish(request.path["sms_id"])),
                "Lets a message reach its phone now, and reports it.", message, errors=(404,),
            ),
            operation(
                "POST", "/messages/{sms_id}/fail",
                lambda request: self._view_message(
                    emulator.finish(request.path["sms_id"], delivered=False)
                ),
                "Lets a message fail now, and reports it.", message, errors=(404,),
            ),
            operation(
                "POST", "/messages/{sms_id}/resend",
                lambda request: self._view_message(emulator.resend_report(request.path["sms_id"])),
                "Sends the last report of a message once more.", message, errors=(404, 409),
            ),
            operation(
                "GET", "/requests", self._get_requests,
                "Lists requests, newest first, those that were not taken among them.",
                _shape(f"requests:Request[] {listed}"),
                (
                    _choice("operation", "What they ask for.", Operation),
                    _choice("taken", "Only those that were taken, or not.", ("true", "false")),
                    _PHONE, _REQUEST_ID, account, _SINCE, *page,
                ),
            ),
            operation(
                "GET", "/requests/{number}", self._get_request, "Shows a request.",
                _schema("Request"), errors=(404,),
            ),
            operation(
                "GET", "/reports", self._get_reports, "Lists delivery reports, newest first.",
                _shape(f"reports:Report[] {listed}"), (_text("sms_id", "The SMSID."), *page),
            ),
            operation("GET", "/faults", lambda _: self._list_faults(), "Lists the faults.", faults),
            operation(
                "POST", "/faults", self._arm, "Arms a fault.", fault, body=_body("spec", _STRING),
                example='{"spec": "reset,phase=after,times=1"}', status=201,
            ),
            operation(
                "POST", "/faults/{number}/again",
                lambda request: view_fault(emulator.fault(self._find_fault(request).fault)),
                "Arms a fault once more, under a new number.", fault, status=201, errors=(404,),
            ),
            operation(
                "DELETE", "/faults", self._disarm_all, "Takes all faults away.", faults
            ),
            operation(
                "DELETE", "/faults/{number}", self._disarm, "Takes a fault away.", faults,
                errors=(404,),
            ),
            operation(
                "GET", "/clock", lambda _: view_clock(emulator.clock), "Shows the clock.", clock
            ),
            operation(
                "POST", "/clock/advance", self._advance, "Moves the clock ahead.", clock,
                body=_body("seconds", _SHIFT), example='{"seconds": 3600}',
            ),
            operation(
                "POST", "/reset", self._do(lambda _: emulator.reset()),
                "Makes the emulator as new.", state,
            ),
            operation(
                "GET", "/openapi.json", lambda _: describe(self.operations, self._version),
                "Describes this interface.", _OBJECT,
            ),
        )  # fmt: skip

    def _do(self, change: Callable[[Request], None] | None) -> Handle:
        """Make the handler of an operation that changes something, and shows the state."""

        def handle(request: Request) -> View:
            if change is not None:
                change(request)
            return self._view_state()

        return handle

    def add_routes(self, app: web.Application) -> None:
        """Add the control interface to an application."""
        control = web.Application(middlewares=[_in_json])
        for operation in self.operations:
            handle = self._read(operation)
            if operation.method == "GET":
                control.router.add_get(operation.path, handle, allow_head=False)
            else:
                control.router.add_route(operation.method, operation.path, handle)
        control.router.add_get("/events", self._follow, allow_head=False)
        app.add_subapp(CONTROL, control)

    def _read(self, operation: ControlOperation) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            query = Query(request.query, operation.query)
            body: Mapping[str, object] = {}
            if operation.body is not None:
                raw = await read_body(request, self._emulator.settings.body_timeout)
                body = _read_object(raw, operation)
            view = operation.handle(Request(query, request.match_info, body))
            return _answer(
                view if isinstance(view, Mapping) else await view, status=operation.status
            )

        return handle

    def _get_inbox(self, request: Request) -> View:
        query = request.query
        before, limit = query.count("before"), query.count("limit", 100)
        fits = self._filter(query)
        found: list[View] = []
        # The thread of one phone is asked for again and again while messages come in.
        looks = None if query.text("phone") is None else _MOST_LOOKS
        older, counts = False, self._count(looks, query.text("account"))
        for kept in self._newest_rows(query):
            if before and kept.number >= before:
                continue
            view = self._view_row(kept)
            if not fits(view):
                continue
            if len(found) == limit:
                older = True
                break
            found.append(view)
        return self._view_list("rows", found, older=older, counts=counts)

    def _newest_rows(self, query: Query) -> Iterator[Send | SeenRequest]:
        """Yield what can fit, newest first, by what is known of it without looking."""
        wanted, phone = query.text("filter") or "all", Wanted(query.text("phone")).phone
        sends = self._journal.sends.records if phone is None else self._journal.sends_to(phone)
        kinds: list[list[Send] | list[SeenRequest]] = []
        if wanted in ("code", "trouble"):
            flag = 1 if wanted == "code" else 2
            unseen = self._journal.unseen
            sends = [send for send in sends if send.flags & flag or send.number in unseen]
        if wanted != "not_taken":
            kinds.append(sends)
        if wanted in ("all", "not_taken") and phone is None:
            kinds.append(self._journal.not_taken.records)
        newest_first: list[Iterator[Send | SeenRequest]] = [reversed(kind) for kind in kinds]
        return merge(*newest_first, key=lambda kept: -kept.number)

    def _filter(self, query: Query) -> Callable[[View], bool]:
        wanted, account = query.text("filter") or "all", query.text("account")
        phone = Wanted(query.text("phone")).phone
        words = _fold(query.text("q") or "")
        digits = "".join(words.split())
        if digits.startswith(("84", "+84")) and digits.removeprefix("+").isdigit():
            digits = "0" + digits.removeprefix("+")[2:]

        def fits(view: View) -> bool:
            if (
                (wanted == "code" and not view.get("code"))
                or (wanted == "trouble" and not view["trouble"])
                or account not in (None, view.get("account"))
                or phone not in (None, view.get("phone"))
            ):
                return False
            if not words:
                return True
            if digits.isdigit() and digits in str(view.get("phone", "")):
                return True
            return any(words in _fold(str(view.get(name) or "")) for name in _SEARCHED)

        return fits

    def _view_row(self, kept: Send | SeenRequest) -> View:
        if isinstance(kept, SeenRequest):
            return view_not_taken(kept)
        return view_row(kept, self._time(), self._emulator.pattern)

    def _get_send(self, request: Request) -> View:
        number = _to_number(request.path["number"])
        for send in (self._journal.sends.get(number), self._send_of(number)):
            if send is not None:
                return self._view_send(send)
        raise LookupError(f"no send is kept by the number {_quote(request.path['number'])}")

    def _send_of(self, number: int) -> Send | None:
        """Return the send that a later request belongs to."""
        request = self._journal.requests.get(number)
        if request is None or not is_send(request):
            return None
        return next(
            (
                send
                for send in reversed(self._journal.sends.records)
                if any(each.number == number for each in send.requests)
            ),
            None,
        )

    def _get_message(self, request: Request) -> View:
        send = self._journal.send_by_sms_id(request.path["sms_id"])
        if send is None:
            raise LookupError("no message is kept by this SMSID")
        return self._view_send(send)

    def _view_send(self, send: Send) -> View:
        emulator = self._emulator
        return view_send(send, self._time(), emulator.url, emulator.pattern)

    def _get_messages(self, request: Request) -> View:
        query = request.query
        pattern = cast("re.Pattern[str] | None", query.get("pattern"))
        fits = Wanted(
            query.text("phone"),
            query.text("request_id"),
            query.count("since"),
            None if pattern is None else lambda message: bool(find_otp(message.content, pattern)),
            query.text("account"),
        ).fits
        text, sms_id = (query.text("text") or "").casefold(), query.text("sms_id")

        def is_asked_for(message: AcceptedMessage) -> bool:
            return (
                fits(message)
                and sms_id in (None, message.sms_id)
                and text in message.content.casefold()
            )

        found, older = _page(self._emulator.messages, is_asked_for, query)
        views = [self._view_message(message, pattern) for message in found]
        return self._view_list("messages", views, older=older)

    async def _get_latest(self, request: Request) -> View:
        query = request.query
        message = await self._wait(query, with_code=query.get("pattern") is not None)
        return self._view_message(message, query.get("pattern"))

    async def _get_code(self, request: Request) -> View:
        pattern = request.query.get("pattern")
        view = self._view_message(await self._wait(request.query, with_code=True), pattern)
        return {"code": view["code"], "message": view}

    async def _wait(self, query: Query, *, with_code: bool) -> AcceptedMessage:
        return await self._emulator.wait_for(
            phone=query.text("phone"),
            request_id=query.text("request_id"),
            account=query.text("account"),
            since=query.count("since"),
            timeout=query.seconds("timeout"),
            pattern=cast("re.Pattern[str] | None", query.get("pattern")),
            with_code=with_code,
        )

    def _get_requests(self, request: Request) -> View:
        query = request.query
        operation, phone = query.text("operation"), query.text("phone")
        request_id, since = query.text("request_id"), query.count("since")
        account = query.text("account")
        taken = {"true": True, "false": False}.get(query.text("taken") or "")

        def is_asked_for(seen: SeenRequest) -> bool:
            return (
                seen.number > since
                and taken in (None, seen.taken)
                and operation in (None, seen.operation)
                and phone in (None, seen.phone)
                and request_id in (None, seen.request_id)
                and account in (None, seen.account)
            )

        journal = self._journal
        seen = [*merge(
            journal.requests.records, journal.not_taken.records, key=lambda each: each.number
        )]  # fmt: skip
        found, older = _page(seen, is_asked_for, query)
        return self._view_list("requests", map(view_request, found), older=older)

    def _get_request(self, request: Request) -> View:
        number = _to_number(request.path["number"])
        seen = self._journal.not_taken.get(number) or self._journal.requests.get(number)
        if seen is None:
            raise LookupError(f"no request is kept by the number {_quote(request.path['number'])}")
        return view_request(seen)

    def _get_reports(self, request: Request) -> View:
        sms_id = request.query.text("sms_id")
        found, older = _page(
            self._emulator.reports, lambda report: sms_id in (None, report.sms_id), request.query
        )
        views = [view_report(each, self._journal.send_by_sms_id(each.sms_id)) for each in found]
        return self._view_list("reports", views, older=older)

    def _arm(self, request: Request) -> View:
        spec = request.body["spec"]
        if not isinstance(spec, str):
            raise ConfigurationError("spec must be a string such as 'reset,phase=after,times=1'")
        return view_fault(self._emulator.fault(spec))

    def _disarm_all(self, _: Request) -> View:
        self._emulator.clear_faults()
        return self._list_faults()

    def _disarm(self, request: Request) -> View:
        self._find_fault(request).disarm()
        return self._list_faults()

    def _find_fault(self, request: Request) -> ArmedFault:
        number = request.path["number"]
        for armed in self._emulator.faults:
            if str(armed.number) == number:
                return armed
        raise LookupError(f"no fault is known by the number {_quote(number)}")

    def _advance(self, request: Request) -> View:
        seconds = request.body["seconds"]
        if not isinstance(seconds, int | float) or isinstance(seconds, bool):
            raise ConfigurationError(f"seconds must be a number, not {_quote(json.dumps(seconds))}")
        if _FARTHEST < seconds <= _LARGEST:
            raise ConfigurationError(f"seconds must be at most {_FARTHEST}, not {seconds:g}")
        self._emulator.clock.advance(seconds)
        return view_clock(self._emulator.clock)

    def _list_faults(self) -> View:
        presets = [{"name": name, "spec": spec} for name, spec in PRESETS]
        return {**self._view_faults(), "presets": presets}

    def _view_faults(self) -> View:
        faults = self._faults
        return {
            "faults": [view_fault(armed) for armed in faults.armed],
            "spent": [view_fault(armed) for armed in reversed(faults.spent)],
        }

    def _view_list(self, name: str, views: Iterable[View], *, older: bool, **more: object) -> View:
        event = self._feed.name(self._feed.newest)
        return {name: list(views), "older": older, "event": event, **more}

    def _time(self) -> float:
        return self._emulator.clock.time()

    def _view_message(self, message: AcceptedMessage, pattern: object = None) -> View:
        given = cast("re.Pattern[str] | None", pattern)
        return view_message(message, self._time(), given or self._emulator.pattern)

    def _view_state(self, looks: int | None = None) -> View:
        emulator, gateway = self._emulator, self._gateway
        return {
            "url": emulator.url,
            "page": emulator.page,
            "version": self._version,
            "seed": emulator.seed,
            "listen": emulator.listens_on,
            "tls": emulator.url.startswith("https:"),
            "balance": gateway.first.balance,
            "account": gateway.first.state,
            "account_code": STATE_CODES[gateway.first.state],
            "accounts": [view_account(account) for account in gateway.accounts],
            "account_states": ACCOUNT_STATES,
            "clock": view_clock(emulator.clock),
            "counts": self._count(looks),
            "oldest": {
                "send": self._journal.sends.oldest,
                "not_taken": self._journal.not_taken.oldest,
            },
            "accepted": gateway.count,
            "messages": gateway.kept,
            "pruned": gateway.pruned,
            "requests": len(self._journal.requests),
            **self._view_faults(),
            "settings": view_settings(gateway.settings),
        }

    def _count(self, looks: int | None, account: str | None = None) -> View:
        """Count what there is; of the sends that have changed, look at so many, or at all.

        What was not taken belongs to no account.
        """
        journal, now, pattern = self._journal, self._time(), self._emulator.pattern
        if pattern != self._pattern:
            self._pattern = pattern
            journal.unseen.update((send.number, send) for send in journal.sends.records)
        for send in [*islice(journal.unseen.values(), looks)]:
            journal.note_flags(send, flags_of(send, now, pattern))
        if account is not None:
            sends = [send for send in journal.sends.records if send.account == account]
            return {
                "all": len(sends),
                "messages": sum(each.account == account for each in self._emulator.messages),
                "code": sum(send.flags & 1 for send in sends),
                "trouble": sum(send.flags >> 1 for send in sends),
                "not_taken": 0,
                "pruned": journal.pruned[account],
            }
        not_taken = len(journal.not_taken)
        return {
            "all": len(journal.sends) + not_taken,
            "messages": self._gateway.kept,
            "code": journal.codes,
            "trouble": journal.troubles,
            "not_taken": not_taken,
            "pruned": journal.sends.pruned,
        }

    async def _follow(self, request: web.Request) -> web.StreamResponse:
        """Stream events to one page until it leaves, or the emulator closes."""
        place = self._start(request)
        if self._followers >= _MOST_FOLLOWERS:
            raise web.HTTPServiceUnavailable(reason=f"{self._followers} streams are open already")
        self._followers += 1
        # nginx buffers a stream, unless this header turns that off.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers=headers)
        response.content_type = "text/event-stream"
        try:
            await response.prepare(request)
            await response.write(f"retry: {_RETRY}\n\n".encode())
            await self._stream(response, place)
        except ConnectionError:
            pass
        finally:
            self._followers -= 1
        return response

    def _start(self, request: web.Request) -> int | None:
        """Return the place after which the stream starts, or None where it is not known any more.

        A browser that connects again names the last event that it has seen in a header.
        """
        after = Query(request.query, (_AFTER,)).text("after")
        name = request.headers.get("Last-Event-ID", after)
        return self._feed.newest if name is None else self._feed.find(name)

    async def _stream(self, response: web.StreamResponse, place: int | None) -> None:
        while True:
            changes = None if place is None else self._feed.after(place, _BURST + 1)
            seen, place = place, self._feed.newest
            is_burst = changes is not None and len(changes) > _BURST
            if seen is None or changes is None:
                events = [self._event("reload", {}, place)]
            elif is_burst:
                events = [*self._view_top(seen, place)]
            else:
                events = [*self._events([change for _, change in changes], place)]
            state = self._view_state(0 if is_burst else _MOST_LOOKS)
            events.append(self._event("state", state, place))
            await response.write("".join(events).encode())
            await self._closing.within(_BURST_PAUSE if is_burst else _PAUSE)
            if self._closing.has_begun:
                return
            while not (self._journal.unseen or await self._feed.wait(place, _ALIVE)):
                if self._closing.has_begun:
                    return
                await response.write(b": alive\n\n")

    def _view_top(self, seen: int, place: int) -> Iterator[str]:
        """Write the newest rows, in the place of all that a page has."""
        if seen < self._feed.reset_at:
            yield self._event("reset", {}, place)
        newest = [*islice(self._newest_rows(Query({}, ())), _TOP + 1)]
        rows = [self._view_row(kept) for kept in newest[:_TOP]]
        yield self._event("top", {"rows": rows, "older": len(newest) > _TOP}, place)

    def _events(self, changes: list[tuple[RowKind, int]], place: int) -> Iterator[str]:
        """Write each row once, in its latest state, whatever happened to it in this batch."""
        rows: dict[int, None] = {}
        for kind, number in changes:
            if kind is RowKind.RESET:
                rows.clear()
                yield self._event("reset", {}, place)
            elif kind is RowKind.ROW:
                rows[number] = None
        for number in rows:
            kept = self._journal.sends.get(number) or self._journal.not_taken.get(number)
            if kept is not None:
                yield self._event("row", self._view_row(kept), place)

    def _event(self, kind: str, view: View, place: int) -> str:
        return f"id: {self._feed.name(place)}\nevent: {kind}\ndata: {_dumps(view)}\n\n"


_AFTER = _text("after", "The id of the last event that was seen.")
_SEARCHED = ("phone", "content", "request_id", "sms_id", "path", "reason", "sender", "code")


def _fold(text: str) -> str:
    """Return a text without case, diacritics and doubled spaces, so `ma xac` finds `Mã xác`."""
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFD", text.replace("đ", "d").replace("Đ", "d"))
    return "".join(each for each in plain if not unicodedata.combining(each)).lower()


def _to_number(written: str) -> int:
    return int(written) if written.isascii() and written.isdigit() and len(written) <= 15 else 0


def _page(records: list[_R], fits: Callable[[_R], bool], query: Query) -> tuple[list[_R], bool]:
    """Return the newest records that fit, newest first, and whether there are older ones."""
    before, limit = query.count("before"), query.count("limit", 100)
    fitting = (
        record
        for record in reversed(records)
        if (not before or record.number < before) and fits(record)
    )
    found = [*islice(fitting, limit + 1)]
    return found[:limit], len(found) > limit


def _read_object(raw: bytes, operation: ControlOperation) -> Mapping[str, object]:
    """Read a body that is an object with the names that the operation declares."""
    try:
        body: object = json.loads(raw)
    except (ValueError, RecursionError):
        body = None
    must = f"the body must be a JSON object such as {operation.example}"
    if not isinstance(body, dict):
        raise ConfigurationError(must)
    given, schema = cast("dict[str, object]", body), operation.body or {}
    required = cast("list[str]", schema.get("required", []))
    for name in required:
        if name not in given:
            raise ConfigurationError(f"{name} is missing; {must}")
    # A body without required names is read where it is used.
    for name in given if required else ():
        if name not in required:
            raise ConfigurationError(f"there is no field {_quote(name)} here; {must}")
    return given


def describe(operations: Iterable[ControlOperation], version: str) -> View:
    """Write the OpenAPI description of the control interface."""
    security: list[Mapping[str, list[str]]] = [{}, {"token": []}]
    paths: dict[str, dict[str, object]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(operation)
    paths["/events"] = {
        "get": {
            "summary": "Streams rows and state as server-sent events.",
            "operationId": "get_events",
            "parameters": [_describe_parameter(_AFTER)],
            "responses": {
                "200": {
                    "description": "Events row, top, state, reload and reset.",
                    "content": {"text/event-stream": {"schema": _STRING}},
                },
                "400": _ERROR,
            },
        }
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "esms-async emulator",
            "version": version,
            "description": "The control interface of a local eSMS gateway. No SMS leaves it.",
        },
        "servers": [{"url": CONTROL.rstrip("/")}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": security,
    }


_ERROR: Final[Mapping[str, object]] = {
    "description": "It can't be done; the error names the value.",
    "content": {"application/json": {"schema": _schema("Error")}},
}


def _describe_parameter(parameter: Parameter) -> View:
    return {
        "name": parameter.name,
        "in": "query",
        "required": False,
        "description": parameter.words,
        "schema": parameter.schema,
    }


def _describe(operation: ControlOperation) -> View:
    names = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    described: dict[str, object] = {
        "summary": operation.words,
        "operationId": f"{operation.method.lower()}{operation.path}".translate(
            str.maketrans("/{}.", "____")
        ),
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": _STRING} for name in names
        ]
        + [_describe_parameter(parameter) for parameter in operation.query],
        "responses": {
            str(operation.status): {
                "description": operation.words,
                "content": {"application/json": {"schema": operation.answer}},
            },
            **{str(status): _ERROR for status in (400, 401, 403, *operation.errors)},
        },
    }
    if operation.body is not None:
        content = {"application/json": {"schema": operation.body}}
        described["requestBody"] = {"required": True, "content": content}
        described["responses"] = {
            **cast("dict[str, object]", described["responses"]), "408": _ERROR, "413": _ERROR,
        }  # fmt: skip
    return described


@web.middleware
async def _in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what cannot be done as JSON."""
    try:
        return await handler(request)
    except (ConfigurationError, LookupError, TimeoutError, UsageError) as error:
        return _refuse(_status(error), error)
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        words = f"{_quote(request.path)} takes {allowed}, not {_quote(error.method)}"
        return _refuse(405, words, Allow=allowed)
    except web.HTTPNotFound:
        return _refuse(404, f"there is no {_quote(request.path)}")
    except web.HTTPException as error:
        return _refuse(error.status, error.reason)


def _status(error: Exception) -> int:
    if isinstance(error, ConfigurationError):
        return 400
    return 409 if isinstance(error, UsageError) else 404


def _refuse(status: int, words: object, **headers: str) -> web.Response:
    response = _answer({"error": str(words)}, status=status)
    response.headers.update(headers)
    return response


def _answer(view: View, *, status: int = 200) -> web.Response:
    return web.json_response(view, status=status, headers=PRIVATE)


PAGE_FOLDER: Final = f"{CONTROL}page/"
"""Where the page's scripts and styles are."""

_FILE_TYPES: Final = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_INDEX = "index.html"
# Whatever a message holds: no script but the page's own runs, nothing is loaded from elsewhere,
# nothing is sent elsewhere, and no text can become markup.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_PAGE_HEADERS: Final = {
    **PRIVATE,
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


class Page:
    """Answers the requests for the page. Its files are read once, when it is made."""

    def __init__(self) -> None:
        folder = files("esms_async.emulator") / "static"
        self._files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}

    def add_routes(self, app: web.Application) -> None:
        """Add the page, its deep links and its files, before the control interface."""
        for name, body in self._files.items():
            kind = _FILE_TYPES.get(name[name.rindex(".") :], "application/octet-stream")
            served = {PAGE_FOLDER + name: body}
            if name == _INDEX:
                # Its links are relative, so that a proxy may serve it in a folder.
                deeper = body.replace(b'="_emulator/', b'="../_emulator/')
                served = {"/": body, "/m/{sms_id}": deeper, "/r/{number}": deeper}
            for path, served_body in served.items():
                app.router.add_get(path, _file_handler(kind, served_body), allow_head=False)


def _file_handler(content_type: str, body: bytes) -> Handler:
    async def handle(_: web.Request) -> web.StreamResponse:
        return web.Response(
            body=body, content_type=content_type, charset="utf-8", headers=_PAGE_HEADERS
        )

    return handle
