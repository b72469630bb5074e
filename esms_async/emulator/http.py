"""The emulator on its socket: who may talk to it, the operations, and faults done to answers.

Whatever reaches the port is recorded; what is not taken, with a sentence that says why.
"""

import asyncio
import contextlib
import difflib
import errno
import hmac
import json
import logging
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import unquote

import attrs
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

from esms_async._model.codes import RouteKind
from esms_async._model.errors import ConfigurationError
from esms_async.emulator import wire
from esms_async.emulator.callbacks import Reporter
from esms_async.emulator.clock import Clock, RealTime, Timetable
from esms_async.emulator.faults import Fault, FaultRegistry, Kind, Phase, Target
from esms_async.emulator.gateway import Gateway, read_phone
from esms_async.emulator.journal import Journal
from esms_async.emulator.records import (
    AcceptedMessage,
    DeliveryFault,
    EmulatedAnswer,
    Fields,
    Operation,
    RawRequest,
    SeenRequest,
    Struck,
    show_fields,
)
from esms_async.emulator.settings import Settings

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

FOLDER: Final = "/MainService.svc/json/"
"""The folder of the operations."""

CONTROL: Final = "/_emulator/"
"""The folder of the control interface."""

READY: Final = "/_emulator/ready"
"""Answers whoever asks, for health checks."""

# SO_LINGER with a time of 0 makes the end of a connection a reset.
_LINGER_NOTHING = struct.pack("ii", 1, 0)
_NOT_HTTP = b"\x16\x03\x01 this is not HTTP \x00\xff\r\n\r\n"
# How often a request that hangs looks whether its client is still there.
_LOOK_AGAIN = 0.5


class Closing:
    """The moment at which the emulator closes or is reset: what hangs or waits ends there."""

    def __init__(self) -> None:
        self._begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._has_begun = False

    @property
    def has_begun(self) -> bool:
        """True once the emulator closes."""
        return self._has_begun

    def begin(self) -> None:
        """End whatever hangs or waits, now and later."""
        self._has_begun = True
        if not self._begun.done():
            self._begun.set_result(None)

    def interrupt(self) -> None:
        """End whatever hangs or waits now."""
        if not self._has_begun:
            self._begun.set_result(None)
            self._begun = asyncio.get_running_loop().create_future()

    async def within(self, seconds: float) -> bool:
        """Wait for some time, or until the emulator closes or is reset.

        Returns:
            True where it does.
        """
        begun = self._begun
        await asyncio.wait((begun,), timeout=seconds)
        return begun.done()


class NoAnswer(web.StreamResponse):
    """Stands for a response: does something else to the connection, and then closes it.

    Args:
        act: What it does; nothing by default, so the client sees the end of the connection (FIN).
        on_end: Called when that is done.
    """

    def __init__(
        self,
        act: Callable[[asyncio.Transport], Awaitable[None]] | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self._act = act
        self._on_end = on_end

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Misbehave, then leave the connection to aiohttp as if the client had gone."""
        if (transport := request.transport) is not None and self._act is not None:
            await self._act(transport)
        if self._on_end is not None:
            self._on_end()
        raise ConnectionResetError("a fault ends this connection")


async def _reset(transport: asyncio.Transport, *_: object) -> None:
    """Reset the connection (TCP RST): throw away what is unsent, and say so to the peer."""
    connection: socket.socket = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOTHING)
    transport.abort()


async def _close(*_: object) -> None:
    """Write nothing: the connection ends after every act."""


async def _hang(
    transport: asyncio.Transport, _fault: Fault, _answer: EmulatedAnswer, closing: Closing
) -> None:
    """Keep the connection open until the client leaves it or the emulator closes."""
    while not transport.is_closing() and not await closing.within(_LOOK_AGAIN):
        pass


async def _write_garbage(transport: asyncio.Transport, *_: object) -> None:
    """Write bytes that are not HTTP."""
    transport.write(_NOT_HTTP)


async def _truncate(
    transport: asyncio.Transport, fault: Fault, answer: EmulatedAnswer, _closing: Closing
) -> None:
    """Write the head of the whole answer and a fraction of its body."""
    head, body = _as_http(answer)
    transport.write(head + body[: int(len(body) * fault.fraction)])


async def _dribble(
    transport: asyncio.Transport, fault: Fault, answer: EmulatedAnswer, closing: Closing
) -> None:
    """Write one byte after the other, all of them over some time."""
    data = b"".join(_as_http(answer))
    for byte in data:
        if transport.is_closing() or await closing.within(fault.seconds / len(data)):
            return
        transport.write(bytes((byte,)))


ON_THE_SOCKET: Final[
    Mapping[Kind, Callable[[asyncio.Transport, Fault, EmulatedAnswer, Closing], Awaitable[None]]]
] = MappingProxyType(
    {
        Kind.RESET: _reset,
        Kind.CLOSE: _close,
        Kind.HANG: _hang,
        Kind.GARBAGE: _write_garbage,
        Kind.TRUNCATE: _truncate,
        Kind.DRIBBLE: _dribble,
    }
)
"""The kinds of fault that no plain HTTP answer can do, and what each does to its connection."""


def misbehave(
    fault: Fault, answer: EmulatedAnswer, closing: Closing, on_end: Callable[[], None]
) -> web.StreamResponse:
    """Make the response that a fault in `ON_THE_SOCKET` turns an answer into."""
    act = ON_THE_SOCKET[fault.kind]
    return NoAnswer(lambda transport: act(transport, fault, answer, closing), on_end)


def _as_http(answer: EmulatedAnswer) -> tuple[bytes, bytes]:
    body = answer.body.encode()
    head = (
        f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n"
        f"Content-Type: {answer.content_type}; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode(), body


_BACKLOG = 1024
# Handlers wait for nothing once the emulator closes; this is for what never finished arriving.
_SHUTDOWN_TIMEOUT = 0.1
# So long is read on after a refusal, so that a client which still sends gets to see it.
_LINGERING_TIME = 0.25
_LOOPBACK = frozenset({"127.0.0.1", "localhost"})
# Fetch Metadata, section 2.3: the page itself, or a person who typed the address.
_FROM_HERE = frozenset({"same-origin", "none"})
_COOKIE_AGE = 30 * 24 * 3600
# Of a request that is not taken the body is read to be shown, but not waited for.
_BODY_PATIENCE = 1.0
_MOST_SHOWN = 4096
_LONGEST_TARGET = 1024


class Refused(web.HTTPForbidden):
    """A request that the guard keeps out, with what to do about it."""

    def __init__(self, why: str, fix: str, *, status: int = 403) -> None:
        self.why = why
        self.fix = fix
        self.status_code = status
        super().__init__(text=f"{why} {fix}\n")


class HostGuard:
    """Keeps out requests that name another machine, and those of other sites' pages.

    A page on the web can have its own name resolve to 127.0.0.1 and then read whatever answers
    there (DNS rebinding); the name in the Host header gives it away. It can also send there
    without reading the answer; browsers say in Origin and Sec-Fetch-Site who asked. Programs can
    write any Host: beyond this machine only the token is an authentication.

    Args:
        hosts: The names that may stand in the Host header, beside 127.0.0.1 and localhost.
        token: What page and control interface ask for, or None.
        scheme: `http` or `https`.
    """

    def __init__(self, hosts: Iterable[str], token: str | None, scheme: str) -> None:
        self._hosts = _LOOPBACK | {host.lower().strip("[]") for host in hosts}
        self._token = token
        self._scheme = scheme
        # The host that was let in last: most requests name the same.
        self._passed: str | None = None

    def check(self, request: web.Request) -> None:
        """Raise Refused where a request may not come in."""
        if request.path == READY:
            return
        # RFC 9112, section 3.2.2: a host in the request line counts in place of the header.
        host = request.host.lower() if "Host" in request.headers else ""
        if host != self._passed:
            self._check_host(host)
            self._passed = host
        if self._is_cross_origin(request, host) and not _is_link_to_the_page(request):
            if is_own(request.path):
                raise Refused(
                    "A page of another site asks for the page or the control interface; "
                    "this emulator answers its own page and programs only.",
                    "Call it from your tests or from your server, not from a page.",
                )
            raise Refused(
                "The request comes from a page of another site; "
                "this emulator takes no requests from pages of other sites.",
                "Send from your server: keys in a page are public, and eSMS takes none from there.",
            )
        if self._token is not None and not self._is_known(request):
            raise Refused(
                "The token is missing or wrong; page and control interface ask for it.",
                "Send Authorization: Bearer TOKEN, or open /?token=TOKEN once.",
                status=401,
            )

    def _check_host(self, host: str) -> None:
        name, _, port = host.rpartition(":")
        if not port.isdigit():
            name = host
        if name.removeprefix("[").removesuffix("]") not in self._hosts or name.count("[") > 1:
            raise Refused(
                f"The Host header names {name[:80] or 'nobody'!r}; "
                f"this emulator answers to {', '.join(sorted(self._hosts))} only.",
                f"Start it with --allow-host {name[:80] or 'NAME'}, if that is its name.",
            )

    def login(self, request: web.Request) -> web.Response | None:
        """Answer `/?token=…` with a cookie, so that the page can go on without it."""
        given = request.query.get("token")
        if self._token is None or given is None or not _same(given, self._token):
            return None
        response = web.Response(status=303, headers={"Location": "./", "Cache-Control": "no-store"})
        response.set_cookie(
            self._cookie(request),
            self._token,
            max_age=_COOKIE_AGE,
            httponly=True,
            samesite="Strict",
            secure=self._scheme == "https",
        )
        return response

    def _cookie(self, request: web.Request) -> str:
        # Cookies do not know ports, so two emulators on one host need two names.
        return f"esms_emulator_{request.url.port}"

    def _is_known(self, request: web.Request) -> bool:
        """Return True for an operation, and for whoever has the token."""
        if not is_own(request.path):
            return True
        given = [request.cookies.get(self._cookie(request), "")]
        kind, _, bearer = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer":
            given.append(bearer.strip())
        if request.path == "/":
            given.append(request.query.get("token", ""))
        return any(_same(each, self._token or "") for each in given)

    def _is_cross_origin(self, request: web.Request, host: str) -> bool:
        origin = request.headers.get("Origin")
        if origin is not None and origin.lower() != f"{self._scheme}://{host}":
            return True
        return request.headers.get("Sec-Fetch-Site", "none") not in _FROM_HERE


def _same(given: str, token: str) -> bool:
    return bool(given) and hmac.compare_digest(given.encode(), token.encode())


def is_page(path: str) -> bool:
    """Return True for the paths that answer with the page."""
    return path in ("/", "/favicon.ico") or path.startswith(("/m/", "/r/"))


def is_own(path: str) -> bool:
    """Return True for the paths of page and control interface."""
    return path.startswith(CONTROL) or is_page(path)


def _is_link_to_the_page(request: web.Request) -> bool:
    return (
        request.method == "GET"
        and is_page(request.path)
        and request.headers.get("Sec-Fetch-Mode") == "navigate"
    )


async def read_body(request: web.Request, seconds: float) -> bytes:
    """Return the body of a request.

    Args:
        request: The request.
        seconds: How long the body may take to arrive.

    Raises:
        HTTPRequestTimeout: The client has left, or took too long.
        HTTPRequestEntityTooLarge: It is larger than the application takes.
    """
    content = request.content
    if content.is_eof() and content.total_bytes <= request.client_max_size:
        # All of it is there: `read` takes three turns for the same.
        return content.read_nowait()
    try:
        async with asyncio.timeout(seconds):
            return await request.read()
    except (TimeoutError, ConnectionError, web.RequestPayloadError):
        raise web.HTTPRequestTimeout from None


@attrs.frozen
class Endpoint:
    """One URL of the gateway.

    Attributes:
        name: The last part of its path.
        method: The HTTP method that it takes.
        operation: What it does.
        body: `json`, `form` or `query`: where its fields stand.
        zalo: True for a Zalo message.
    """

    name: str
    method: str
    operation: Operation
    body: str
    zalo: bool = False

    @property
    def path(self) -> str:
        """Its path, as the documentation writes it."""
        return f"{FOLDER}{self.name}{'/' if self.method == 'POST' else ''}"


ENDPOINTS: Final = (
    Endpoint("SendMultipleMessage_V4_post_json", "POST", Operation.SEND, "json"),
    Endpoint("SendMultipleMessage_V4_get", "GET", Operation.SEND, "query"),
    Endpoint("SendMultipleMessage_V4_post", "POST", Operation.SEND, "form"),
    Endpoint("SendZaloMessage_V6", "POST", Operation.SEND, "json", zalo=True),
    Endpoint("GetBalance_json", "POST", Operation.BALANCE, "json"),
    Endpoint("GetSendStatus", "GET", Operation.STATUS, "query"),
    Endpoint("GetSmsReceiverStatus_get", "GET", Operation.RECEIVER_STATUS, "query"),
    Endpoint("GetSmsSentData_V2", "POST", Operation.SENT_DATA, "json"),
    Endpoint("GetZaloMessageStatus", "POST", Operation.ZALO_STATUS, "json", zalo=True),
    Endpoint("GetTemplate", "POST", Operation.TEMPLATES, "json"),
    Endpoint("SummaryMultipleMessage_V4_get", "GET", Operation.PRICE, "query"),
    Endpoint("GetListBrandname/{ApiKey}/{SecretKey}", "GET", Operation.BRANDNAMES, "path"),
)
"""The URLs that are emulated."""


class Handlers:
    """Answers the requests of one emulator."""

    def __init__(
        self,
        gateway: Gateway,
        faults: FaultRegistry,
        journal: Journal,
        clock: Clock,
        *,
        reporter: Reporter,
        closing: Closing,
    ) -> None:
        self._gateway = gateway
        self._faults = faults
        self._journal = journal
        self._clock = clock
        self._reporter = reporter
        self._closing = closing
        self._timetable = Timetable(clock, journal.note_progress, _PROGRESS_PAUSE)
        self._headers: tuple[tuple[bytes, bytes], ...] = ()
        self._path = ""

    def add_routes(self, app: web.Application) -> None:
        """Add the operations, each with and without a slash at the end; neither redirects."""
        for endpoint in ENDPOINTS:
            handle = self._handler(endpoint)
            bare = FOLDER + endpoint.name
            # The documented spelling first: the router tries them in this order.
            for path in dict.fromkeys((endpoint.path, bare, f"{bare}/")):
                if endpoint.method == "POST":
                    app.router.add_post(path, handle)
                else:
                    # Without HEAD, which would send a message.
                    app.router.add_get(path, handle, allow_head=False)

    def plan(self, message: AcceptedMessage) -> None:
        """Have a message reach its phone when it is due, and its reports be sent."""
        if message.callback_url is not None:
            self._reporter.plan(message)
        delivery = message.delivery
        if delivery.finished_at is None or len(self._timetable) >= _MOST_PLANNED:
            return
        if message.send_at is not None:
            self._timetable.put(delivery.started_at, message.sms_id)
        self._timetable.put(delivery.finished_at, message.sms_id)

    def interrupt(self) -> None:
        """End whatever hangs or waits, and forget what is planned."""
        self._timetable.clear()
        self._closing.interrupt()

    def close(self) -> None:
        """Plan nothing any more."""
        self._timetable.close()

    def _handler(self, endpoint: Endpoint) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            begun = RealTime.monotonic()
            body = b""
            match endpoint.body:
                case "query":
                    fields: Fields | None = wire.read_query(request.query)
                case "path":
                    fields = Fields({**request.match_info})
                case kind:
                    body = await read_body(request, self._gateway.settings.body_timeout)
                    fields = wire.read_json(body) if kind == "json" else wire.read_form(body)
            if fields is None:
                # assumed: the page with which the service refuses what it cannot read.
                answer = wire.page(self._gateway.settings.unreadable_status)
                problem = explain_body(endpoint, request.headers, body, request.query)
                self.note_not_taken(request, body, answer, problem, begun)
                return _respond(answer)
            return await self._exchange(request, endpoint, fields, body)

        return handle

    async def _exchange(
        self,
        request: web.Request,
        endpoint: Endpoint,
        fields: Fields,
        body: bytes,
    ) -> web.StreamResponse:
        operation, fault, answer = endpoint.operation, None, None
        if self._faults.loaded:
            fault = self._faults.draw(Target.ANSWER, operation, read_phone(fields))
        number, at = self._journal.next_request_number(), self._clock.now()
        # The duration is added to that moment, so it counts from there and not from the head.
        begun = RealTime.monotonic()
        # Most requests have the path of the one before them, which is kept once.
        if request.path != self._path:
            self._path = request.path
        read = _READERS.get(endpoint.body) if len(body) <= _MOST_SHOWN else None
        if fault is None:
            answer = self._decide(number, endpoint, fields)
        message = None if answer is None else answer.message
        seen = SeenRequest(
            number,
            at,
            operation,
            endpoint.method,
            fields.written if read is None else _UNREAD,
            fields.get("requestid"),
            fields.get("phone"),
            fields.get("sandbox") == "1",
            self._path,
            self._account_of(fields) if message is None else message.account,
            _route(endpoint, fields) if message is None else message.route,
            None if fault is None else str(fault),
            None,
            None if answer is None else answer.code,
            None if message is None else message.sms_id,
            answer,
            None if answer is None else answer.why,
            duration=RealTime.monotonic() - begun if fault is None else None,
            raw=self._raw(request, body, fields.secrets if read is None else (), read=read),
        )
        if fault is not None or answer is None:
            return await self._meet(cast("Fault", fault), seen, endpoint, fields, begun)
        await self._keep(seen, message)
        return _respond(answer)

    def _account_of(self, fields: Fields) -> str | None:
        account = self._gateway.account_of(fields)
        return None if account is None else account.name

    def _decide(self, number: int, endpoint: Endpoint, fields: Fields) -> EmulatedAnswer:
        if endpoint.operation is not Operation.SEND:
            return self._gateway.query(endpoint.operation, fields)
        answer = self._gateway.send(fields, number=number, zalo=endpoint.zalo)
        if (message := answer.message) is not None and self._faults.loaded:
            lag = self._faults.draw(Target.STATUS_LAG, Operation.SEND, message.phone)
            dlr = self._faults.draw(Target.DELIVERY, Operation.SEND, message.phone)
            if lag is not None or dlr is not None:
                message = self._gateway.change_delivery(
                    message,
                    None if dlr is None else dlr.delivery,
                    None if lag is None else lag.seconds,
                )
                answer = attrs.evolve(answer, message=message)
        return answer

    async def _meet(
        self, fault: Fault, seen: SeenRequest, endpoint: Endpoint, fields: Fields, begun: float
    ) -> web.StreamResponse:
        """Answer a request that meets a fault."""
        decision: EmulatedAnswer | None = None
        is_delay = fault.kind is Kind.DELAY
        looks_first = is_delay or fault.phase is Phase.AFTER
        seen = attrs.evolve(seen, struck=Struck.WAY if looks_first else Struck.DOOR)
        if is_delay and fault.phase is Phase.BEFORE:
            self._journal.note_request(seen)
            if await self._closing.within(fault.seconds):
                return NoAnswer()
        if looks_first:
            decision = self._decide(seen.number, endpoint, fields)
        answer = self._distort(fault, endpoint.operation, fields, decision)
        is_told = fault.kind not in ON_THE_SOCKET or fault.kind is Kind.DRIBBLE
        is_slow = fault.kind in (Kind.DRIBBLE, Kind.HANG) or (
            is_delay and fault.phase is Phase.AFTER
        )
        message = None if decision is None else decision.message
        noted = attrs.evolve(
            seen,
            decided=None if decision is None else decision.code,
            sms_id=None if message is None else message.sms_id,
            why=None if decision is None else decision.why,
            duration=None if is_slow else RealTime.monotonic() - begun,
            answer=answer if is_told else None,
        )
        await self._keep(noted, message)

        def finish() -> None:
            """Note how long a slow answer took in the end."""
            if is_slow:
                duration = RealTime.monotonic() - begun
                self._journal.note_request(attrs.evolve(noted, duration=duration))

        if fault.kind in ON_THE_SOCKET:
            return misbehave(fault, answer, self._closing, finish)
        if is_delay and fault.phase is Phase.AFTER and await self._closing.within(fault.seconds):
            return NoAnswer()
        finish()
        return _respond(answer)

    def _distort(
        self, fault: Fault, operation: Operation, fields: Fields, decision: EmulatedAnswer | None
    ) -> EmulatedAnswer:
        """Return the answer that a fault puts in the place of the gateway's."""
        match fault.kind:
            case Kind.HTTP:
                answer = wire.plain(fault.status, fault.retry_after)
            case Kind.HTML:
                answer = wire.page(fault.status, fault.retry_after)
            case Kind.EMPTY:
                answer = wire.empty()
            case Kind.INVALID:
                answer = wire.invalid(self._gateway.settings.invalid_status)
            case Kind.CODE | Kind.DUPLICATE:
                sms_id = fields.get("refid") or self._gateway.new_sms_id()
                answer = wire.coded(operation, fault.code, sms_id)
            case _:
                answer = decision or wire.invalid(self._gateway.settings.invalid_status)
        return answer

    async def _keep(self, seen: SeenRequest, message: AcceptedMessage | None) -> None:
        """Keep a request and the message that was accepted by it; send reports that come early."""
        self._journal.note_request(seen, message)
        if message is not None:
            self.plan(message)
            if message.delivery.fault is DeliveryFault.EARLY:
                await self._reporter.send_early(message)

    def _raw(
        self,
        request: web.BaseRequest,
        body: bytes,
        secrets: tuple[str, ...],
        readable: bool = True,  # noqa: FBT001, FBT002  # as `find_secrets` returns it
        read: Callable[[RawRequest], Fields] | None = None,
    ) -> RawRequest:
        # Most requests have the headers of the one before them, which are kept once.
        if request.raw_headers != self._headers:
            self._headers = request.raw_headers
        target = request.raw_path
        return RawRequest(
            self._path if target == self._path else target[:_LONGEST_TARGET],
            self._headers,
            body[:_MOST_SHOWN],
            len(body),
            readable,
            secrets,
            read,
        )

    def note_not_taken(
        self,
        request: web.BaseRequest | None,
        body: bytes,
        answer: EmulatedAnswer | None,
        problem: "Problem",
        begun: float | None,
    ) -> None:
        """Record a request that was not taken; without one, bytes that are not HTTP."""
        raw = None
        if request is not None:
            raw = self._raw(request, body, *find_secrets(request, body))
        self._journal.note_not_taken(
            SeenRequest(
                self._journal.next_request_number(),
                self._clock.now(),
                None,
                "?" if request is None else request.method,
                {},
                path="" if request is None else request.path,
                answer=answer,
                why=problem.why,
                fix=problem.fix,
                taken=False,
                duration=None if begun is None else RealTime.monotonic() - begun,
                wanted=problem.wanted,
                marks=problem.marks,
                wanted_marks=problem.wanted_marks,
                raw=raw,
            )
        )

    def note_malformed(self, error: Exception) -> None:
        """Record bytes that are not HTTP, or not the TLS that this port speaks."""
        words, answer = str(error), None
        if isinstance(error, ssl.SSLError):
            problem = _TLS_PROBLEMS[error.reason or ""]
        else:
            answer = EmulatedAnswer("", "text/plain", status=400)
            problem = Problem(
                f"What came is not an HTTP request ({type(error).__name__}).",
                "Look at what the client writes: the head can't be read.",
            )
            if "HTTPS traffic" in words or "x16\\x03" in words:
                problem = _TLS_TO_HTTP
        self.note_not_taken(None, b"", answer, problem, None)

    async def note_refused(
        self, request: web.Request, error: web.HTTPException, begun: float
    ) -> None:
        """Record what was refused on its way to an operation."""
        if is_own(request.path) and not isinstance(error, Refused):
            return
        body = b""
        if not isinstance(error, web.HTTPRequestEntityTooLarge | web.HTTPRequestTimeout):
            with contextlib.suppress(web.HTTPException):
                body = await read_body(request, _BODY_PATIENCE)
        answer = EmulatedAnswer(
            error.text or "", error.content_type or "text/plain", status=error.status
        )
        self.note_not_taken(request, body, answer, explain(request, error), begun)


_MOST_PLANNED = 100_000
# The page draws no faster; a timer for each message would cost more than the message.
_PROGRESS_PAUSE = 0.1


_READERS: Final[Mapping[str, Callable[[RawRequest], Fields]]] = {
    "json": lambda raw: cast("Fields", wire.read_json(raw.body)),
    "form": lambda raw: cast("Fields", wire.read_form(raw.body)),
}
# In the place of fields that are read again from the body when they are shown.
_UNREAD: Final[Mapping[str, str]] = MappingProxyType({})


def _route(endpoint: Endpoint, fields: Fields) -> RouteKind | None:
    if endpoint.operation is not Operation.SEND:
        return None
    return RouteKind.ZALO if endpoint.zalo else wire.SMS_TYPES.get(fields.get("smstype", ""))


def _respond(answer: EmulatedAnswer) -> web.Response:
    headers = {"Content-Type": f"{answer.content_type}; charset=utf-8"}
    if answer.retry_after is not None:
        headers["Retry-After"] = str(answer.retry_after)
    return web.Response(body=answer.body.encode(), status=answer.status, headers=headers)


@attrs.frozen
class Problem:
    """Why a request was not taken.

    Attributes:
        why: A sentence.
        fix: A sentence that says what to do.
        marks: The pieces of the request that are wrong.
        wanted: The request that would be taken.
        wanted_marks: The pieces of it that make the difference.
    """

    why: str
    fix: str
    marks: tuple[str, ...] = ()
    wanted: str | None = None
    wanted_marks: tuple[str, ...] = ()


_TLS_TO_HTTP: Final = Problem(
    "The client spoke TLS; this port speaks plain HTTP.",
    "Use http:// in the URL, or start the emulator with --tls self-signed.",
)
_UNTRUSTED: Final = Problem(
    "The client does not trust the certificate of this emulator.",
    "Have it trust the file that `Certificate:` names, in development alone.",
)
_TLS_PROBLEMS: Final[Mapping[str, Problem]] = {
    "HTTP_REQUEST": Problem(
        "The client spoke plain HTTP; this port speaks TLS.",
        "Use https:// in the URL, or start the emulator without --tls.",
    ),
    "TLSV1_ALERT_UNKNOWN_CA": _UNTRUSTED,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _UNTRUSTED,
    "SSLV3_ALERT_BAD_CERTIFICATE": _UNTRUSTED,
}
_FORM = "application/x-www-form-urlencoded"
_SAMPLE: Final[Mapping[Operation, Mapping[str, str]]] = {
    Operation.SEND: {
        "SmsType": "8",
        "Phone": "0901888484",
        "Content": "482913 la ma xac minh cua ban",
        "RequestId": "login-1",
    },
    Operation.SENT_DATA: {
        "SmsType": "8",
        "From": "2026-01-01 00:00:00",
        "To": "2026-01-02 00:00:00",
        "Page": "1",
        "PageSize": "500",
    },
    Operation.TEMPLATES: {"SmsType": "2", "Brandname": "Baotrixemay"},
}
_ZALO_SAMPLE: Final = {
    "OAID": "4097311281936189049",
    "TempID": "358921",
    "Phone": "0901888484",
    "TempData": {"otp": "482913"},
    "RequestId": "login-1",
}


def _example(endpoint: Endpoint, given: Mapping[str, str] | None = None) -> Problem:
    """Write the request that an endpoint takes, with the fields that were given."""
    fields: dict[str, object] = {"ApiKey": "any", "SecretKey": "any"}
    sample: Mapping[str, object] = (
        _ZALO_SAMPLE if endpoint.zalo else _SAMPLE.get(endpoint.operation, {"RefId": "SMSID"})
    )
    fields.update(sample if not given else {})
    for name, value in (given or {}).items():
        fields[name] = "any" if name.lower() in ("apikey", "secretkey") else value
    if endpoint.operation is Operation.BALANCE:
        fields.pop("RefId", None)
    line = f"{endpoint.method} {endpoint.path} HTTP/1.1"
    if endpoint.body == "json":
        kind, body = "application/json", json.dumps(fields, ensure_ascii=False)
    elif endpoint.body == "form":
        kind, body = _FORM, "&".join(f"{name}={value}" for name, value in fields.items())
    elif endpoint.body == "path":
        return Problem("", "", wanted=line, wanted_marks=(endpoint.name,))
    else:
        query = "&".join(f"{name}={value}" for name, value in fields.items())
        line = f"{endpoint.method} {endpoint.path}?{query} HTTP/1.1"
        return Problem("", "", wanted=line)
    head = f"Content-Type: {kind}"
    return Problem("", "", wanted=f"{line}\n{head}\n\n{body}", wanted_marks=(head,))


def explain_body(
    endpoint: Endpoint, headers: Mapping[str, str], body: bytes, query: Mapping[str, str]
) -> Problem:
    """Say why the body of an operation can't be read."""
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    why, fix, marks, given = _explain_body(endpoint, headers, body, query, kind)
    if kind not in ("application/json", ""):
        marks = (*marks, f"Content-Type: {headers['Content-Type']}")
    return attrs.evolve(_example(endpoint, given), why=why, fix=fix, marks=marks)


_Explained = tuple[str, str, tuple[str, ...], Mapping[str, str] | None]
"""Why a body can't be read, what to do, the pieces that are wrong, and the fields in it."""


def _explain_body(  # noqa: PLR0911  # one for each mistake
    endpoint: Endpoint,
    headers: Mapping[str, str],
    body: bytes,
    query: Mapping[str, str],
    kind: str,
) -> _Explained:
    wants_json = endpoint.body == "json"
    takes = f"this operation takes {'JSON' if wants_json else 'a form'}"
    send = "Send one JSON object with a text for each name." if wants_json else "Send a form."
    if encoding := headers.get("Content-Encoding"):
        why = f"The body is compressed ({encoding[:20]}); {takes} as it is."
        return why, "Leave the compression out.", (f"Content-Encoding: {encoding}",), None
    if not body.strip() and query:
        why = f"The fields stand in the URL and the body is empty; {takes}."
        fix = f"Put them into the body, or use {_other(endpoint, 'query')}."
        return why, fix, (), dict(query)
    if not body.strip():
        return f"The body is empty; {takes}.", send, (), None
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        name = "UTF-16" if body[:2] in (b"\xff\xfe", b"\xfe\xff") else "another encoding"
        form = "JSON" if wants_json else "a form"
        why = f"The body is not UTF-8 (byte {error.start} is {name}): {form} is taken."
        return why, "Encode it as UTF-8.", (), None
    if kind == "multipart/form-data" or text.startswith("--"):
        return f"The body is multipart form data; {takes}.", send, (), None
    if text.lstrip().startswith("<"):
        return f"The body is XML; {takes}.", send, (), None
    form_fields = wire.read_form(body)
    if wants_json and form_fields is not None:
        fix = f"Send JSON, or use {_other(endpoint, 'form')}."
        fields = {**show_fields(form_fields.written)}
        return f"The body is form-encoded; {takes}.", fix, (), fields
    if wants_json:
        return _explain_json(text, send)
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return "The body is not form-encoded.", send, (), None
    return f"The body is JSON; {takes}.", send, (), None


def _explain_json(text: str, send: str) -> _Explained:
    try:
        value: object = json.loads(text)
        fields = cast("dict[str, object]", value) if isinstance(value, dict) else {}
        half = wire.find_half_pair(fields)
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip()) or "Unterminated" in error.msg:
            fix = "Send the whole body, and its length in bytes as Content-Length."
            return f"The JSON ends too early, after {len(text)} characters.", fix, (), None
        at = f"line {error.lineno}, column {error.colno}"
        return f"The body is not JSON: {error.msg} at {at}.", send, (), None
    except (ValueError, RecursionError):
        return "The JSON is nested too deeply, or holds too long a number.", send, (), None
    if not isinstance(value, dict):
        kind = "a text" if isinstance(value, str) else "a single value"
        kind = "an array" if isinstance(value, list) else kind
        return f"The body is {kind} of JSON; this operation takes one object.", send, (), None
    if half is not None:
        name = half[:40].encode(errors="replace").decode()
        why = f"The field {name} holds half a surrogate pair; a text is Unicode."
        return why, "Encode the text as UTF-8, and cut it between characters.", (), None
    name, kind = next(
        (name, "a list" if isinstance(each, list) else "an object")
        for name, each in cast("dict[str, object]", value).items()
        if isinstance(each, list | dict)
    )
    return f"The field {name[:40]} is {kind}; a text is taken.", send, (f'"{name}"',), None


def _other(endpoint: Endpoint, body: str) -> str:
    """Name the endpoint that does the same with another body."""
    for each in ENDPOINTS:
        if (each.operation, each.zalo, each.body) == (endpoint.operation, endpoint.zalo, body):
            words = {"form": "which takes forms", "query": "which takes them in the URL"}
            return f"{each.path.removeprefix(FOLDER)}, {words[body]}"
    return "the JSON that the documentation shows"


def explain(request: web.Request, error: web.HTTPException) -> Problem:
    """Say why a request did not reach an operation."""
    if isinstance(error, Refused):
        marks = (f"Host: {request.headers.get('Host', '')}",) if error.status == 403 else ()
        return Problem(error.why, error.fix, marks)
    name = request.path.rstrip("/").rpartition("/")[2]
    endpoint = next((each for each in ENDPOINTS if each.name == name), None)
    if isinstance(error, web.HTTPRequestEntityTooLarge | web.HTTPRequestTimeout):
        why, fix = (
            (
                "The body did not arrive in time, or the client left before its end.",
                "Send as many bytes as Content-Length says.",
            )
            if isinstance(error, web.HTTPRequestTimeout)
            else (
                "The body is too large.",
                "A send takes less than 1 kB; --set max_request_bytes=… raises the bound.",
            )
        )
        lengths = request.headers.getall("Content-Length", ())
        return Problem(why, fix, tuple(f"Content-Length: {length}" for length in lengths))
    if isinstance(error, web.HTTPMethodNotAllowed):
        return _explain_method(request, error, endpoint)
    return _explain_path(request, name)


def _explain_method(
    request: web.Request, error: web.HTTPMethodNotAllowed, endpoint: Endpoint | None
) -> Problem:
    allowed = " or ".join(sorted(error.allowed_methods))
    if request.method == "OPTIONS":
        return Problem(
            "A browser asked whether a page may send (OPTIONS); a page may not.",
            "Send from your server: keys in a page are public, and eSMS takes none from there.",
            ("OPTIONS",),
        )
    example = None if endpoint is None else _example(endpoint)
    fix = f"Use {allowed}"
    if endpoint is not None and request.method == "GET" and endpoint.operation is Operation.SEND:
        fix += ", or SendMultipleMessage_V4_get for GET"
    return attrs.evolve(
        example or Problem("", ""),
        why=f"{request.method} was used; this operation takes {allowed}.",
        fix=f"{fix}.",
        marks=(f"{request.method} ",),
        wanted_marks=(f"{allowed} ",),
    )


def _explain_path(request: web.Request, name: str) -> Problem:
    names = {each.name.partition("/")[0]: each for each in ENDPOINTS}
    first = next(
        (
            part
            for part in request.path.split("/")
            if part and part.lower() not in ("mainservice.svc", "json")
        ),
        name,
    )
    exact = next((each for known, each in names.items() if known.lower() == first.lower()), None)
    if exact is not None:
        return attrs.evolve(
            _example(exact),
            why="The folder or the spelling of the path is wrong; "
            f"the operation is at {exact.path}",
            fix=f"Use {exact.path}",
            marks=(request.path,),
            wanted_marks=(exact.path,),
        )
    near = difflib.get_close_matches(first, names, 1, 0.6)
    if not near:
        return Problem(
            "No operation has this path.",
            f"The operations are in {FOLDER}: {', '.join(names)}.",
            (request.path,),
        )
    nearest = names[near[0]]
    if first.startswith(("SendMultipleMessage", "SendZaloMessage", "MultiChannel")):
        why = f"No operation is called {first[:60]}, or it is not emulated."
    else:
        why = f"No operation has the name {first[:60]}."
    return attrs.evolve(
        _example(nearest),
        why=why,
        fix=f"The nearest is {nearest.path.removeprefix(FOLDER)}.",
        marks=(first,),
        wanted_marks=(near[0],),
    )


_SECRET_NAMES = ("apikey", "secretkey", "token", "password", "secret")
_SECRET_HEADERS = ("key", "secret", "token", "auth")
_SHORTEST_KEY = 8
_KNOWN_PARTS = frozenset({"", "mainservice.svc", "json", "_emulator"})


def find_secrets(request: web.BaseRequest, body: bytes) -> tuple[tuple[str, ...], bool]:
    """Return the values in a request that can be keys, and whether its body could be read."""
    found = {value for name, value in request.query.items() if _is_secret(name)}
    found |= {
        value for name, value in request.headers.items()
        if any(word in name.lower() for word in _SECRET_HEADERS)
    }  # fmt: skip
    # Keys can stand in the path behind the name of an operation.
    parts = [part for part in request.path.split("/") if part.lower() not in _KNOWN_PARTS]
    found |= {unquote(part) for part in parts[1:] if len(part) >= _SHORTEST_KEY}
    readable = True
    if body.strip():
        try:
            # Numbers as they are spelled, to be found again where they stand.
            value: object = json.loads(body.decode(), parse_int=str, parse_float=str)
            readable = isinstance(value, dict | list)
            found |= set(_secrets_in(value))
        except (ValueError, RecursionError):
            form = wire.read_form(body)
            readable = form is not None
            found |= set() if form is None else {v for k, v in form.items() if _is_secret(k)}
    return tuple(sorted((each for each in found if each), key=len, reverse=True)), readable


def _is_secret(name: str) -> bool:
    return name.lower() in _SECRET_NAMES


def _secrets_in(value: object, *, secret: bool = False) -> Iterator[str]:
    """Yield the texts and numbers that stand under the name of a secret, however deep."""
    if isinstance(value, dict):
        for name, each in cast("dict[str, object]", value).items():
            yield from _secrets_in(each, secret=secret or _is_secret(name))
    elif isinstance(value, list):
        for each in cast("list[object]", value):
            yield from _secrets_in(each, secret=secret)
    elif secret and isinstance(value, str):
        yield value


def new_application(settings: Settings, guard: HostGuard, handlers: Handlers) -> web.Application:
    """Make an application that lets in only whom the guard knows, and records the others."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        begun = RealTime.monotonic()
        try:
            guard.check(request)
            if request.path == "/" and (answer := guard.login(request)) is not None:
                return answer
            return await handler(request)
        except web.HTTPException as error:
            await handlers.note_refused(request, error, begun)
            raise

    return web.Application(client_max_size=settings.max_request_bytes, middlewares=[check])


async def listen(
    app: web.Application,
    host: str,
    port: int,
    settings: Settings,
    *,
    tls: ssl.SSLContext | None = None,
    on_malformed: Callable[[Exception], None],
) -> web.AppRunner:
    """Serve an application.

    Args:
        app: The application.
        host: The address to listen on.
        port: The port; 0 takes one that is free.
        settings: The bounds.
        tls: Serves https:// by this context, where there is one.
        on_malformed: Called with the error of bytes that are not HTTP.

    Raises:
        ConfigurationError: Address or port cannot be listened on.
    """
    if tls is not None:
        tls.sslobject_class = _watch_tls(on_malformed)
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=_new_logger(on_malformed),
        shutdown_timeout=_SHUTDOWN_TIMEOUT,
        keepalive_timeout=settings.idle_timeout,
        lingering_time=_LINGERING_TIME,
        # A compressed body is not JSON: 300 kB of gzip can hold 300 MB.
        auto_decompress=False,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=_BACKLOG, ssl_context=tls).start()
    except (OSError, OverflowError, RuntimeError) as error:
        await runner.cleanup()
        is_elsewhere = isinstance(error, socket.gaierror) or (
            # From Python 3.12 on, asyncio raises one without a number where no address is.
            isinstance(error, OSError) and error.errno in {errno.EADDRNOTAVAIL, None}
        )
        remedy = "name an address of this machine" if is_elsewhere else "choose another port, or 0"
        raise ConfigurationError(f"cannot listen on {host}:{port} ({error}); {remedy}") from None
    return runner


def _watch_tls(on_malformed: Callable[[Exception], None]) -> type[ssl.SSLObject]:
    """Make a class of TLS connections that tells of clients which do not get through to HTTP."""

    class Watched(ssl.SSLObject):
        def do_handshake(self) -> None:
            with watching():
                super().do_handshake()

        def read(self, len: int = 1024, buffer: "WriteableBuffer | None" = None) -> bytes:  # noqa: A002  # as the class that it extends
            # In TLS 1.3 a client refuses the certificate after the handshake of the server.
            with watching():
                return super().read(len, buffer)

    @contextlib.contextmanager
    def watching() -> Generator[None]:
        try:
            yield
        except ssl.SSLError as error:
            if error.reason in _TLS_PROBLEMS:
                on_malformed(error)
            raise

    return Watched


def _new_logger(on_malformed: Callable[[Exception], None]) -> logging.Logger:
    """Make the logger of one server, which records malformed requests in place of logging them.

    aiohttp logs each of them as an error, with a traceback and a piece of the request, which may
    hold a key.
    """

    def is_loggable(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            on_malformed(error)
            return False
        return record.levelno >= logging.WARNING

    # Not by getLogger: a filter on a logger of the whole process would outlive the server.
    logger = logging.Logger("esms_async.emulator")  # noqa: LOG001  # as said above
    logger.parent = logging.getLogger("esms_async")
    logger.setLevel(logging.DEBUG)
    logger.addFilter(is_loggable)
    return logger


async def close(runner: web.AppRunner) -> None:
    """Stop to serve; what clients have not read of their answers by then is dropped."""
    connections = [] if runner.server is None else runner.server.connections
    transports = [each.transport for each in connections if each.transport is not None]
    await runner.cleanup()
    for transport in transports:
        transport.abort()
    # The sockets are closed when the loop turns.
    await asyncio.sleep(0)
