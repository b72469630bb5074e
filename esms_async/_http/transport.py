"""Carries requests to the gateway, and says of each failure whether it may have arrived.

There are two paths. `DirectPost` writes straight to a connection of the session's pool. The
client's own session uses it, because aiohttp's own request code costs more than the rest of a
send. `SessionPost` lets the session post. A session that may add something (a proxy, cookies,
traces, middlewares) uses it, and so does every release of aiohttp that this code was not checked
with.

On both paths the same steps come immediately before each write: the connection is checked, the
request's guard is called, the write is counted.
"""

import asyncio
import inspect
import ipaddress
import logging
import re
import select
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import quote

import aiohttp
import attrs
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.http_parser import RawResponseMessage
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from esms_async._model.errors import ConfigurationError, UsageError
from esms_async._model.messages import Credentials
from esms_async._model.version import __version__
from esms_async._reads import read_less
from esms_async._wire.send import retry_after

if TYPE_CHECKING:
    from esms_async._wire.queries import GatewayQuery

_logger = logging.getLogger("esms_async")

DEFAULT_BASE_URL: Final = "https://rest.esms.vn/MainService.svc/json/"
"""The folder of the gateway's operations."""

HEADERS: Final = CIMultiDictProxy(
    CIMultiDict(
        {
            # A compressed answer is refused unread: 300 kB of gzip can hold 300 MB.
            "Accept-Encoding": "identity",
            "Accept": "application/json",
            "User-Agent": f"esms_async/{__version__}",
        }
    )
)
"""The headers of every request."""

NO_TIMEOUT: Final = aiohttp.ClientTimeout(
    total=None, connect=None, sock_connect=None, sock_read=None
)
"""Turns aiohttp's own timeouts off: one deadline covers the whole request."""

RESOLUTION: Final = 0.05
"""Seconds by which a request may outlive its deadline."""

_CONTENT_TYPE = "application/json"
_HOST_NAME: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?")
_CLOSED = "the connection was closed while it was idle"
_UNASKED = "the connection held an answer that nobody had asked for"
_MOST_BODY = 64 * 1024
# A page holds 500 lines, each with a text that takes a few kB at most.
_MOST_QUERY_BODY: Final = 4 * 1024 * 1024
# After this many passes of the event loop, a connection that still has something to read is
# refused. Reading what has come takes two passes, or three.
_MOST_PASSES = 10

_Poll = Callable[[int], list[tuple[int, int]]]
_READABLE = getattr(select, "POLLIN", 0)
# Linux reports a half-closed connection by this event, the BSDs by POLLHUP alone.
_PEER_CLOSED = getattr(select, "POLLRDHUP", 0)

# This module was checked with the releases from the first to just before the second. Another one
# may write a request without counting the write.
_FIRST_CHECKED = (3, 12)
_FIRST_UNCHECKED = (3, 15)
IS_CHECKED: Final = (
    _FIRST_CHECKED <= tuple(map(int, aiohttp.__version__.split(".")[:2])) < _FIRST_UNCHECKED
)
"""True if this module was checked with the installed release of aiohttp."""

# How a ClientSession sends a request, unless something replaces or wraps it.
_OWN_REQUEST = aiohttp.ClientSession._request  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # no public name; a test pins it
_IS_OWN = inspect.getfile(_OWN_REQUEST) == inspect.getfile(aiohttp.ClientSession)

# aiohttp raises these before it has a connection to write to, so they prove "nothing left" for any
# session.
_BEFORE_ANY_WRITE = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.ServerFingerprintMismatch,
)


def is_plain(session: aiohttp.ClientSession) -> bool:
    """Return True if `DirectPost` does the same as this new session, only faster.

    Monitoring agents add traces, or replace the class. They must see these requests too.
    """
    return IS_CHECKED and _is_own(session) and not session.trace_configs


def _is_own(session: aiohttp.ClientSession) -> bool:
    """Return True if no part of the session has been replaced."""
    return _IS_OWN and _is_untouched() and type(session) is aiohttp.ClientSession


def _is_untouched() -> bool:
    """Return True if nothing replaces aiohttp's own request, as aioresponses does."""
    return aiohttp.ClientSession._request is _OWN_REQUEST  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # as above


@attrs.define
class HttpResponse:
    """A complete answer.

    Attributes:
        status: The HTTP status.
        body: The body, at most 64 kB.
        retry_after: The pause that the answer asks for, in seconds, or None.
    """

    status: int
    body: bytes = attrs.field(repr=False)
    retry_after: float | None = None


class TransportFailure(Exception):
    """A request got no complete answer.

    Attributes:
        may_have_arrived: False only if no byte of the request left this machine.
        problem: What happened, without a word of the peer.
    """

    def __init__(self, problem: str, *, may_have_arrived: bool) -> None:
        super().__init__(problem)
        self.problem = problem
        self.may_have_arrived = may_have_arrived


class SendRequest:
    """One POST, and how far it has come. A further attempt is a new SendRequest.

    If the caller is cancelled after the write, a separate task waits for the answer. Posting the
    request again joins that task; `abandon` cancels it.

    Attributes:
        body: The bytes.
        guard: Called immediately before every write; it raises TransportFailure if the request
            must not be written any more.
        answer: The task that waits for the answer, once there is one.
        writes: How often the request was written: more than once if a middleware repeats it.
        refusal: Why the latest write was refused, or None if it was not.
        unseen: True while something may write the request uncounted.
        withdrawn: True once the request must not be written any more.
    """

    __slots__ = ("answer", "body", "guard", "refusal", "unseen", "withdrawn", "writes")

    def __init__(self, body: bytes, guard: Callable[[], None] | None = None) -> None:
        self.body = body
        self.guard = guard
        self.answer: asyncio.Task[HttpResponse] | None = None
        self.refusal: TransportFailure | None = None
        self.unseen = False
        self.withdrawn = False
        self.writes = 0

    @property
    def may_have_arrived(self) -> bool:
        """False only as long as no byte of the request can have left this machine."""
        return self.writes > 0 or self.unseen

    def abandon(self) -> None:
        """Forbid further writes, and close the connection of an answer that is awaited."""
        self.withdrawn = True
        if self.answer is not None and not self.answer.cancel() and not self.answer.cancelled():
            self.answer.exception()  # so that asyncio does not report it as never retrieved

    def count_write(self) -> None:
        """Count the write that follows at once, or raise if the request must not be written."""
        if self.withdrawn:
            raise TransportFailure("the request was given up", may_have_arrived=False)
        if self.guard is not None:
            self.guard()
        self.writes += 1


class Deadlines:
    """Cancels tasks at their deadlines, with one timer for all tasks of an event loop.

    `asyncio.timeout` costs a timer and several calls a request, a tenth of the request itself.
    Here a task only enters a dict, which the timer scans. A task has one deadline at a time.
    """

    def __init__(self) -> None:
        self._pending: dict[asyncio.Task[object], float] = {}
        # Tasks that their deadline has cancelled.
        self._expired: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, seconds: float) -> "asyncio.Task[object]":
        """Start a deadline for the current task, which is cancelled then, and return the task."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # only coroutines call this
        self._pending[task] = time.monotonic() + seconds
        if self._timer is None:
            self._timer = task.get_loop().call_later(RESOLUTION, self._look, task.get_loop())
        return task

    def has_expired(self, task: "asyncio.Task[object]") -> bool:
        """Return True if its deadline has cancelled a task."""
        return task in self._expired

    def undo_cancellation(self, task: "asyncio.Task[object]", before: int) -> bool:
        """Undo the cancellation by the deadline, if there was one.

        `before` is the task's count of cancellations when its deadline began. False means that
        somebody else has cancelled the task, so its CancelledError must go on; True means that the
        error is the deadline's, or came from something that the task awaited.
        """
        if task in self._expired:
            self._expired.discard(task)
            return task.uncancel() <= before
        return task.cancelling() <= before

    def end(self, task: "asyncio.Task[object]") -> None:
        """Remove a deadline, whether it was met or not."""
        self._pending.pop(task, None)
        if self._expired and task in self._expired:
            self._expired.discard(task)
            task.uncancel()

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._pending:
            now = time.monotonic()
            for task, at in self._pending.items():
                if now >= at and task not in self._expired:
                    self._expired.add(task)
                    task.cancel()
            self._timer = loop.call_later(RESOLUTION, self._look, loop)


class ConnectionCheck:
    """Checks a connection immediately before a request is written to it.

    A request on a connection that the gateway has closed is lost, and its outcome open. An answer
    that came before the request would be read as the answer to it. Without a write the outcome is
    certain: nothing left.

    Args:
        reads_little: True if nothing but answers to sends comes over the connections.
    """

    def __init__(self, *, reads_little: bool = False) -> None:
        self._reads_little = reads_little
        # One poll object for each connection: making one takes longer than a poll.
        self._polls: dict[asyncio.BaseTransport, tuple[_Poll, bool]] = {}

    def is_quiet(self, transport: asyncio.BaseTransport | None) -> bool:
        """Return True if the connection is fit for a write, False if only `settle` can tell.

        Raises:
            TransportFailure: The connection is unfit.
        """
        if transport is None or transport.is_closing():
            raise TransportFailure(_CLOSED, may_have_arrived=False)
        if getattr(transport.get_protocol(), "should_close", False):
            raise TransportFailure(_UNASKED, may_have_arrived=False)
        poll, is_encrypted = self._polls.get(transport) or self._add(transport)
        return not (events := poll(0)) or _is_quiet(events, is_encrypted=is_encrypted)

    async def settle(self, transport: asyncio.BaseTransport) -> None:
        """Let the event loop read pending TLS records, and refuse if any holds application data.

        Session tickets look like an answer until asyncio decrypts them, which it does only while
        its loop runs. A close takes effect one pass after it was read.

        Raises:
            TransportFailure: The connection is unfit.
        """
        poll, is_encrypted = self._polls[transport]
        protocol = transport.get_protocol()
        watcher = _IdleProtocol(protocol)
        transport.set_protocol(watcher)
        was_quiet = False
        try:
            for _ in range(_MOST_PASSES):
                await asyncio.sleep(0)
                if transport.is_closing() or watcher.is_closed:
                    raise TransportFailure(_CLOSED, may_have_arrived=False)
                if watcher.has_data:
                    break
                is_quiet = _is_quiet(poll(0), is_encrypted=is_encrypted)
                if is_quiet and was_quiet:
                    return
                was_quiet = is_quiet
        finally:
            transport.set_protocol(protocol)
        raise TransportFailure(_UNASKED, may_have_arrived=False)

    def _add(self, transport: asyncio.BaseTransport) -> tuple[_Poll, bool]:
        if self._reads_little:
            read_less(transport)
        connection = transport.get_extra_info("socket")
        if connection is None or not hasattr(select, "poll"):
            # Such a connection can't be checked, so a request over it may have arrived.
            known: tuple[_Poll, bool] = _see_nothing, False
        else:
            poll = select.poll()
            poll.register(connection.fileno(), _READABLE | _PEER_CLOSED)
            known = poll.poll, transport.get_extra_info("sslcontext") is not None
        # New connections are rare, so closed ones are dropped here.
        self._polls = {one: of for one, of in self._polls.items() if not one.is_closing()}
        self._polls[transport] = known
        return known


def _see_nothing(_timeout: int) -> list[tuple[int, int]]:
    return []


def _is_quiet(events: list[tuple[int, int]], *, is_encrypted: bool) -> bool:
    if not events:
        return True
    if events[0][1] != _READABLE:
        raise TransportFailure(_CLOSED, may_have_arrived=False)
    if not is_encrypted:
        raise TransportFailure(_UNASKED, may_have_arrived=False)
    return False


class _IdleProtocol(asyncio.Protocol):
    """Replaces the protocol of an idle connection, and notes any data that comes.

    The connection's own protocol would give that data to the next reader as an answer, or keep
    half an answer in its parser.
    """

    def __init__(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol
        self.has_data = False
        self.is_closed = False

    def data_received(self, data: bytes) -> None:  # noqa: ARG002  # the signature of a protocol
        """Note that data came."""
        self.has_data = True

    def eof_received(self) -> None:
        """Note that nothing will come any more."""
        self.is_closed = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection is gone, and pass it on."""
        self.is_closed = True
        self._protocol.connection_lost(exc)


_Head = tuple[RawResponseMessage, aiohttp.StreamReader]


class _Destination(aiohttp.ClientRequest):
    """A request from which a connector reads only the destination."""

    def __init__(self, session: aiohttp.ClientSession, url: URL) -> None:
        loop = asyncio.get_running_loop()
        super().__init__("POST", url, headers=HEADERS, loop=loop, session=session)
        # The key never changes, but aiohttp's own property builds it again for each send.
        self._key = super().connection_key

    @property
    def connection_key(self) -> ConnectionKey:
        """The key of the destination in the connector's pool."""
        return self._key


class DirectPost:
    """Posts to one URL over a session's connection pool, without the session's request code.

    It relies on these facts about aiohttp: a connector connects by a ClientRequest and reads only
    its destination; the protocol of the connection takes parameters for the next answer, and then
    returns that answer; releasing the connection puts it back, or closes it if the answer was not
    read to its end or forbids reuse.
    """

    def __init__(self, session: aiohttp.ClientSession, url: URL, check: ConnectionCheck) -> None:
        assert session.connector is not None  # noqa: S101  # an open session has one
        self._connect = session.connector.connect
        self._check = check
        self._destination = _Destination(session, url)
        fields = {
            "Host": self._destination.headers["Host"],
            **HEADERS,
            "Content-Type": _CONTENT_TYPE,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        # The head of a request, up to the place of the body's length.
        self._head = f"POST {url.raw_path_qs} HTTP/1.1\r\n{lines}Content-Length: ".encode()

    async def __call__(self, request: SendRequest) -> HttpResponse:
        """Post a request and return the answer, whatever its status.

        Raises:
            TransportFailure: The connection was unfit, the guard refused, or the answer is too
                large.
            Exception: Whatever aiohttp raises.
        """
        connection = await self._connect(self._destination, [], NO_TIMEOUT)
        head = None
        body = bytearray()
        try:
            protocol = connection.protocol
            assert protocol is not None  # noqa: S101  # it has not been released yet
            transport = protocol.transport
            is_quiet = self._check.is_quiet(transport)
            assert transport is not None  # noqa: S101  # the check refuses None
            if not is_quiet:
                await self._check.settle(transport)
            protocol.set_response_params(read_until_eof=True, auto_decompress=False)
            request.count_write()
            # No local name holds the body: frames show up in error reports.
            transport.write(b"%b%d\r\n\r\n%b" % (self._head, len(request.body), request.body))
            head = await protocol.read()
            while 100 <= head[0].code < 200 and head[0].code != 101:
                head = None
                head = await protocol.read()
            if head[1].is_eof():
                # The whole answer came in one piece, as nearly all do.
                body += head[1].read_nowait()
                if len(body) > _MOST_BODY:
                    raise _too_large(_MOST_BODY)  # noqa: TRY301  # every send comes here
            else:
                await _read(head[1], body)
        except asyncio.CancelledError:
            protocol = connection.protocol
            if request.writes and protocol is not None:
                going_on = _go_on(connection, protocol, head, body)
                request.answer = asyncio.get_running_loop().create_task(going_on)
                # Also if the task never begins; a connection that was released stays open.
                request.answer.add_done_callback(lambda _: connection.close())
            else:
                connection.close()
            raise
        except BaseException:
            connection.close()
            raise
        connection.release()
        return _response(head[0].code, head[0].headers, body)


async def _go_on(
    connection: Connection, protocol: ResponseHandler, head: _Head | None, body: bytearray
) -> HttpResponse:
    """Read the rest of an answer after the caller that posted the request has left."""
    while head is None or (100 <= head[0].code < 200 and head[0].code != 101):
        head = await protocol.read()
    await _read(head[1], body)
    connection.release()
    return _response(head[0].code, head[0].headers, body)


class SessionPost:
    """Posts requests through a session, and counts the writes of each one.

    Attributes:
        session: The session.
        middlewares: The session's own middlewares, because those of a request replace them, and
            one more that removes the Cookie header: ASP.NET may serialise requests that share a
            cookie, and aiohttp can't switch cookies off for one request.
    """

    def __init__(self, session: aiohttp.ClientSession, check: ConnectionCheck) -> None:
        self.session = session
        self._check = check
        own = session._middlewares  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # no public name; a test pins it
        self._has_own_middlewares = bool(own)
        self.middlewares: tuple[aiohttp.ClientMiddlewareType, ...] = tuple(own)
        if not isinstance(session.cookie_jar, aiohttp.DummyCookieJar):
            self.middlewares = (*own, _drop_cookies)

    async def __call__(self, url: URL, request: SendRequest) -> HttpResponse:
        """Post a request and return the answer, whatever its status; follow no redirect.

        Raises:
            TransportFailure: The guard refused, the answer came before the request, or it is too
                large.
            Exception: Whatever the session raises.
        """
        if self._has_own_middlewares or not (IS_CHECKED and _is_own(self.session)):
            # Until aiohttp's own code has the request, anything may write it.
            if request.guard is not None:
                request.guard()
            request.unseen = True
        payload = _Payload(request, self._check)

        async def watch(
            built: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            """Note whether aiohttp's own code gets the request, or something else does."""
            if built.body is not payload:
                # A middleware has replaced the body, so nothing will count the write.
                request.count_write()
            elif IS_CHECKED and type(built) is aiohttp.ClientRequest:
                request.unseen = False
            else:
                request.unseen = True
            return await handler(built)

        try:
            response = await self.session.post(
                url,
                data=payload,
                headers=HEADERS,
                timeout=NO_TIMEOUT,
                allow_redirects=False,
                raise_for_status=False,
                auto_decompress=False,
                middlewares=(*self.middlewares, watch),
            )
            body = bytearray()
            try:
                _refuse_unasked(request)
                await _read(response.content, body)
            except BaseException:
                response.close()
                raise
        except BaseException:
            # A task of the session may still hold the request; it must not write it now.
            request.withdrawn = True
            raise
        return _response(response.status, response.headers, body)


def _refuse_unasked(request: SendRequest) -> None:
    """Refuse an answer that came although the request was not written."""
    if request.refusal is not None:
        raise request.refusal
    if not request.may_have_arrived:
        raise TransportFailure(_UNASKED, may_have_arrived=False)


async def _drop_cookies(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    request.headers.popall("Cookie", None)
    return await handler(request)


class _Payload(aiohttp.BytesPayload):
    """The body of a request as a session takes it: the marker that counts its writes.

    It relies on one fact about aiohttp: the `write_with_length` of a POST body that is a Payload
    is awaited once, immediately before the one write that sends headers and body together.
    """

    def __init__(self, request: SendRequest, check: ConnectionCheck) -> None:
        super().__init__(request.body, content_type=_CONTENT_TYPE)
        self._request = request
        self._check = check

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        """Write the body, unless the connection is unfit or the request's guard refuses."""
        request, transport = self._request, writer.transport
        # From here on, every write is counted.
        request.unseen = False
        try:
            is_quiet = self._check.is_quiet(transport)
            assert transport is not None  # noqa: S101  # the check refuses None
            if not is_quiet:
                await self._check.settle(transport)
            request.count_write()
        except TransportFailure as failure:
            request.refusal = failure
            raise
        request.refusal = None
        if IS_CHECKED:
            # The session made its parser one pass of the event loop before this write, and half an
            # answer may be in that parser by now.
            protocol = cast("ResponseHandler", transport.get_protocol())
            protocol.set_response_params(read_until_eof=True, auto_decompress=False)
        await super().write_with_length(writer, content_length)


async def _read(content: aiohttp.StreamReader, body: bytearray, most: int = _MOST_BODY) -> None:
    """Append the rest of an answer to a body; raise if it grows too large."""
    while piece := await content.readany():
        body += piece
        if len(body) > most:
            raise _too_large(most)


def _too_large(most: int) -> TransportFailure:
    return TransportFailure(f"the answer is larger than {most} bytes", may_have_arrived=True)


def _response(status: int, headers: Mapping[str, str], body: bytes | bytearray) -> HttpResponse:
    asked = headers.get("Retry-After")
    if asked is not None:
        return HttpResponse(status, bytes(body), retry_after(asked, datetime.now(UTC)))
    return HttpResponse(status, bytes(body))


class Transport:
    """Sends requests over one aiohttp session: its own, or one that the caller owns and closes.

    Args:
        base_url: The folder of the gateway's operations.
        session: The caller's session, or None.
        max_connections: The most connections that an own session opens.
        allow_http: Hosts beside loopback for which `http://` is allowed, exactly as a base URL
            names them. Keys and texts travel to them in clear.

    Attributes:
        loop: The event loop that the transport belongs to, or None before its first use.

    Raises:
        ConfigurationError: A value cannot work; the error names it.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_BASE_URL,
        *,
        session: aiohttp.ClientSession | None = None,
        max_connections: int = 100,
        allow_http: Iterable[str] = (),
    ) -> None:
        self._base_url = _check_base_url(base_url, _check_allow_http(allow_http))
        _check_session(session)
        self._check = ConnectionCheck(reads_little=session is None)
        self._session = session
        self._owns_session = session is None
        self._is_plain = False
        self._query_session: aiohttp.ClientSession | None = None
        self._session_post: SessionPost | None = None
        self._max_connections = max_connections
        self._closed = False
        self.loop: asyncio.AbstractEventLoop | None = None
        self._urls: dict[str, URL] = {}
        self._direct: dict[str, DirectPost] = {}
        self._deadlines = Deadlines()

    @property
    def base_url(self) -> str:
        """The folder of the operations, with its last slash."""
        return str(self._base_url)

    @property
    def destination(self) -> str:
        """Where the requests go: scheme, host and port."""
        return f"{self._base_url.scheme}://{self._base_url.host}:{self._base_url.port}"

    @property
    def is_loopback(self) -> bool:
        """True if the requests stay on this machine."""
        return _is_loopback(self._base_url.host or "")

    async def post(  # noqa: C901  # one handler for each way to end
        self, operation: str, request: SendRequest, *, time_limit: float
    ) -> HttpResponse:
        """Post a request and read the whole answer, whatever its status; follow no redirect.

        The request's `may_have_arrived` holds at any time, also after a cancellation. The time
        limit, in seconds, covers everything from the wait for a connection to the last byte.

        Raises:
            TransportFailure: No complete answer came.
            UsageError: The transport belongs to another event loop.
        """
        through = self._session_post
        if through is None or self._closed:
            through = self._open()
        if not self._owns_session and through.session.closed:
            raise TransportFailure("the session is closed", may_have_arrived=False)
        task = self._deadlines.begin(time_limit)
        cancelled_before = task.cancelling()
        never_left = False
        try:
            if request.answer is not None:
                return await _result_of(request.answer)
            if self._is_plain and _is_untouched():
                direct = self._direct.get(operation)
                if direct is None:
                    direct = DirectPost(through.session, self._url_of(operation), self._check)
                    self._direct[operation] = direct
                return await direct(request)
            going = through(self._url_of(operation), request)
            request.answer = asyncio.get_running_loop().create_task(going)
            return await _result_of(request.answer)
        except TransportFailure as failure:
            if failure.may_have_arrived or not request.may_have_arrived:
                raise
            problem = failure.problem
        except asyncio.CancelledError:
            # aiohttp cancels those who wait for a place in a pool that is closed.
            in_time = not self._deadlines.has_expired(task)
            if not self._deadlines.undo_cancellation(task, cancelled_before):
                raise
            request.abandon()
            problem = f"no answer within {time_limit:.3g} s"
            if in_time:
                problem = "the session was closed"
        except Exception as error:  # noqa: BLE001  # the marker decides, not the exception's class
            problem = _describe(error) if request.refusal is None else request.refusal.problem
            never_left = isinstance(error, _BEFORE_ANY_WRITE) and not request.writes
        finally:
            self._deadlines.end(task)
        raise TransportFailure(
            problem, may_have_arrived=request.may_have_arrived and not never_left
        )

    async def query(
        self, query: "GatewayQuery[object]", credentials: Credentials, *, time_limit: float
    ) -> HttpResponse:
        """Send a query, which changes nothing even if it fails; the time limit is as for `post`.

        The gateway takes some queries only as GET, with the keys in the URL, and one with a phone
        number and a text. Traces, instrumentation and aiohttp's errors show the URL that a session
        was called with, so a middleware adds the fields later, to the request that is about to
        leave.

        Raises:
            TransportFailure: No complete answer came.
            UsageError: The session is closed, or belongs to another event loop.
        """
        if self._closed:
            raise UsageError("the client is closed")
        through = self._open()
        if through.session.closed:
            raise UsageError("the session is closed")
        session = self._open_for_queries() if self._owns_session else through.session
        url = self._url_of(query.operation)
        body, middlewares = None, through.middlewares
        if query.in_body:
            body = aiohttp.BytesPayload(query.body(credentials), content_type="application/json")
        else:
            middlewares = (*middlewares, _with_fields(query, credentials))
        try:
            async with (
                asyncio.timeout(time_limit),
                session.request(
                    "POST" if query.in_body else "GET",
                    url,
                    data=body,
                    headers=HEADERS,
                    timeout=NO_TIMEOUT,
                    allow_redirects=False,
                    raise_for_status=False,
                    auto_decompress=False,
                    middlewares=middlewares,
                ) as response,
            ):
                content = bytearray()
                await _read(response.content, content, _MOST_QUERY_BODY)
                return _response(response.status, response.headers, content)
        except TransportFailure:
            raise
        except TimeoutError:
            problem = f"no answer within {time_limit:.3g} s"
        except Exception as error:  # noqa: BLE001  # a query can always be repeated
            problem = _describe(error)
        raise TransportFailure(problem, may_have_arrived=True)

    def _open_for_queries(self) -> aiohttp.ClientSession:
        """Return a session whose every query has a connection of its own.

        A stray answer on a pooled connection would be read as a status or a list, and `reconcile`
        would settle from it. A session of the caller's pools as the caller says.
        """
        if self._query_session is None:
            self._query_session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._max_connections, force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._query_session

    def _url_of(self, operation: str) -> URL:
        url = self._urls.get(operation)
        if url is None:
            url = self._urls[operation] = self._base_url.join(URL(operation))
        return url

    async def aclose(self) -> None:
        """Close the session, if it is this transport's own, without waiting for its requests."""
        self._closed = True
        self._deadlines.close()
        if self._session is not None and self._owns_session:
            await self._session.close()
        if self._query_session is not None:
            await self._query_session.close()

    def require_loop(self) -> None:
        """Belong to the running event loop from now on.

        Raises:
            UsageError: The transport belongs to another one.
        """
        loop = asyncio.get_running_loop()
        if self.loop is None:
            self.loop = loop
        elif loop is not self.loop:
            raise UsageError("this client is open on another event loop; make one for each loop")

    def _open(self) -> SessionPost:
        self.require_loop()
        if self._closed:
            raise TransportFailure("the client is closed", may_have_arrived=False)
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._max_connections),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
            self._is_plain = is_plain(self._session)
        if self._session_post is None:
            self._session_post = SessionPost(self._session, self._check)
            if not IS_CHECKED:
                _logger.warning(
                    "esms_async was not checked with aiohttp %s, so its sends go through the "
                    "session, and a send without an answer may count as one that may have arrived; "
                    "look for a release of esms_async that knows this aiohttp",
                    aiohttp.__version__,
                )
        return self._session_post


def _with_fields(
    query: "GatewayQuery[object]", credentials: Credentials
) -> aiohttp.ClientMiddlewareType:
    """Return a middleware that adds the fields of a query and the account's keys to a URL."""
    secrets = query.keys(credentials)

    async def add(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if query.keys_in_path:
            written = "/".join(quote(secret, safe="") for secret in secrets.values())
            path = f"{request.url.raw_path}/{written}"
            request.url = request.url.with_path(path, encoded=True)
        else:
            request.url = request.url.update_query({**query.fields, **secrets})
        return await handler(request)

    return add


async def _result_of(task: "asyncio.Task[HttpResponse]") -> HttpResponse:
    """Wait for a task that does not end with its waiter."""
    woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake(_: object) -> None:
        if not woken.done():
            woken.set_result(None)

    task.add_done_callback(wake)
    try:
        await woken
    finally:
        task.remove_done_callback(wake)
    return task.result()


def _describe(error: Exception) -> str:
    """Say what failed, without the peer's words, which may repeat the request."""
    name = type(error).__name__
    if isinstance(error, OSError) and isinstance(error.strerror, str):
        return f"{name}: {error.strerror}"
    return name


def _check_session(session: object) -> None:
    if session is None or isinstance(session, aiohttp.ClientSession):
        return
    found = f"the class {session!r}" if isinstance(session, type) else f"a {type(session).__name__}"
    raise ConfigurationError(f"session must be an open aiohttp.ClientSession, not {found}")


def _check_allow_http(hosts: Iterable[str]) -> frozenset[str]:
    """Return the hosts that plain http is allowed for, in lower case."""
    if isinstance(hosts, str):
        raise ConfigurationError("allow_http must be a list of host names, not one str")
    allowed = frozenset(str(host).lower() for host in hosts)
    for host in allowed:
        if not _HOST_NAME.fullmatch(host) and _ip_address(host) is None:
            raise ConfigurationError(
                f"allow_http must hold host names without scheme and port, not {host[:60]!r}"
            )
        if f".{host}".endswith(".esms.vn"):
            raise ConfigurationError(
                f"allow_http must not hold {host!r}: http:// carries the keys in clear"
            )
    return allowed


def _check_base_url(base_url: str, allow_http: frozenset[str]) -> URL:
    try:
        url = URL(base_url)
        host = url.host
    except (TypeError, ValueError):
        raise ConfigurationError("base_url is not a URL") from None
    if url.scheme not in ("http", "https") or not host:
        raise ConfigurationError("base_url must be an absolute https:// URL")
    if url.user is not None or url.password is not None:
        raise ConfigurationError("base_url must not hold a user name or password")
    if url.query_string or url.fragment:
        raise ConfigurationError("base_url must not hold a query or a fragment")
    if url.scheme == "http" and not _is_loopback(host):
        if host.lower() not in allow_http:
            raise ConfigurationError(
                "base_url must be https://; http:// carries the keys in clear, so it is allowed "
                "only for a loopback address and an emulator's host that ESMS_ALLOW_HTTP names"
            )
        _logger.warning(
            "KEYS AND MESSAGES GO IN CLEAR to http://%s, as ESMS_ALLOW_HTTP or allow_http says; "
            "that is for an emulator, never for the gateway",
            host,
        )
    return url if str(url).endswith("/") else URL(f"{url}/")


def _is_loopback(host: str) -> bool:
    address = _ip_address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def _ip_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
