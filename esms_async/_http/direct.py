"""Posts one request over aiohttp, and keeps exact account of whether it may have left.

There are two paths. `DirectPost` writes straight to a connection of the session's pool; the
client's own session takes it, because a session's own machinery costs more than everything else
of a send. `SessionPost` asks the session to post; every session that may add something on the way
(a proxy, cookies, traces, middlewares) takes it, and so does every release of aiohttp that this
code was not checked with.

On both paths the same steps come immediately before each write: the connection is checked, the
request's guard is called, the write is counted.
"""

import asyncio
import inspect
import select
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final, cast
from weakref import WeakKeyDictionary

import aiohttp
import attrs
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http_parser import RawResponseMessage
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from esms_async._model.version import __version__
from esms_async._wire.send import retry_after

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

_CONTENT_TYPE = "application/json"
_CLOSED = "the connection was closed while it was idle"
_UNASKED = "the connection held an answer that nobody had asked for"
_MOST_BODY = 64 * 1024
# After this many passes of the event loop, a connection that still has something to read is
# refused. Reading what has come takes two passes, or three.
_MOST_PASSES = 10

_Poll = Callable[[int], list[tuple[int, int]]]
_READABLE = getattr(select, "POLLIN", 0)
# Linux reports a half-closed connection by this event, the BSDs by POLLHUP alone.
_PEER_CLOSED = getattr(select, "POLLRDHUP", 0)

# The first release that does what this module relies on, and the first that it was not checked
# with. A later one may write a request without the marker's seeing it.
_FIRST_CHECKED = (3, 12)
_FIRST_UNCHECKED = (3, 15)
IS_CHECKED: Final = (
    _FIRST_CHECKED <= tuple(map(int, aiohttp.__version__.split(".")[:2])) < _FIRST_UNCHECKED
)
"""True if this module was checked with the installed release of aiohttp."""

# What a ClientSession does with a request, unless something stands in for it or wraps it.
_OWN_REQUEST = aiohttp.ClientSession._request  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # no public name; a test pins it
_IS_OWN = inspect.getfile(_OWN_REQUEST) == inspect.getfile(aiohttp.ClientSession)


def is_plain(session: aiohttp.ClientSession) -> bool:
    """Return True if `DirectPost` does what this new session would do, only sooner.

    Agents that watch an application's requests add traces, or make classes of their own. They must
    see these requests too.
    """
    return IS_CHECKED and _is_own(session) and not session.trace_configs


def is_untouched() -> bool:
    """Return True if nothing stands in for aiohttp's own request, as aioresponses does."""
    return aiohttp.ClientSession._request is _OWN_REQUEST  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # as above


def _is_own(session: aiohttp.ClientSession) -> bool:
    """Return True if no part of the session has been replaced."""
    return _IS_OWN and is_untouched() and type(session) is aiohttp.ClientSession


@attrs.define
class HttpResponse:
    """A complete HTTP answer.

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
        problem: What happened, in words that came from no peer.
    """

    def __init__(self, problem: str, *, may_have_arrived: bool) -> None:
        super().__init__(problem)
        self.problem = problem
        self.may_have_arrived = may_have_arrived


class SendRequest:
    """One POST, and how far it has come. It is posted once; a further attempt is a new SendRequest.

    Args:
        body: The bytes.
        guard: Called immediately before every write; it raises TransportFailure if the request
            must not be written any more.

    A caller that is cancelled after the write leaves the answer to a task of its own. Posting the
    request again waits for that answer; `abandon` gives it up.

    Attributes:
        answer: The task that waits for the answer, once there is one.
        writes: How often the request was handed to a connection: more than once if a middleware
            of the session repeats it.
        refusal: Why the latest write was refused, or None if it was not.
        unseen: True while something may write the request without its being counted.
        withdrawn: True once the request must not be written any more.
    """

    __slots__ = ("answer", "body", "guard", "refusal", "unseen", "withdrawn", "writes")

    def __init__(self, body: bytes, guard: Callable[[], None] | None = None) -> None:
        self.body: bytes = body
        self.guard: Callable[[], None] | None = guard
        self.answer: asyncio.Task[HttpResponse] | None = None
        self.refusal: TransportFailure | None = None
        self.unseen: bool = False
        self.withdrawn: bool = False
        self.writes: int = 0

    @property
    def may_have_arrived(self) -> bool:
        """False only as long as no byte of the request can have left this machine."""
        return self.writes > 0 or self.unseen

    def abandon(self) -> None:
        """Let the request be written no more, and close the connection of an awaited answer."""
        self.withdrawn = True
        if self.answer is not None and not self.answer.cancel() and not self.answer.cancelled():
            self.answer.exception()  # so that asyncio does not report it as never retrieved

    def count_write(self) -> None:
        """Count a write that follows at once, unless the request must not be written any more."""
        if self.withdrawn:
            raise TransportFailure("the request was given up", may_have_arrived=False)
        if self.guard is not None:
            self.guard()
        self.writes += 1


class ConnectionCheck:
    """Checks a connection immediately before a request is written to it.

    A connection that the gateway closed while it was idle would swallow the request and leave its
    outcome open. On one that holds an answer nobody asked for, that answer would be taken for the
    answer to the request. Not writing leaves the outcome certain: nothing left.

    The check keeps one poll object for each connection: making one takes longer than asking it.
    """

    def __init__(self) -> None:
        self._polls: WeakKeyDictionary[asyncio.BaseProtocol, tuple[_Poll, bool]] = (
            WeakKeyDictionary()
        )

    def is_quiet(self, transport: asyncio.BaseTransport | None) -> bool:
        """Return True if the connection is fit, False if `settle` must find out.

        Raises:
            TransportFailure: The connection is unfit.
        """
        if transport is None or transport.is_closing():
            raise TransportFailure(_CLOSED, may_have_arrived=False)
        protocol = transport.get_protocol()
        if getattr(protocol, "should_close", False):
            raise TransportFailure(_UNASKED, may_have_arrived=False)
        poll, is_encrypted = self._polls.get(protocol) or self._add(transport, protocol)
        return not (events := poll(0)) or _is_quiet(events, is_encrypted=is_encrypted)

    async def settle(self, transport: asyncio.BaseTransport) -> None:
        """Let the event loop read what came over TLS, and refuse if it was more than TLS's own.

        Session tickets look like an answer until they are decrypted, and asyncio decrypts only
        while its loop runs. A close that was read takes effect one pass later.

        Raises:
            TransportFailure: The connection is unfit.
        """
        protocol = transport.get_protocol()
        poll, is_encrypted = self._polls[protocol]
        lookout = _Lookout(protocol)
        transport.set_protocol(lookout)
        was_quiet = False
        try:
            for _ in range(_MOST_PASSES):
                await asyncio.sleep(0)
                if transport.is_closing() or lookout.is_closed:
                    raise TransportFailure(_CLOSED, may_have_arrived=False)
                if lookout.has_data:
                    break
                is_quiet = _is_quiet(poll(0), is_encrypted=is_encrypted)
                if is_quiet and was_quiet:
                    return
                was_quiet = is_quiet
        finally:
            transport.set_protocol(protocol)
        raise TransportFailure(_UNASKED, may_have_arrived=False)

    def _add(
        self, transport: asyncio.BaseTransport, protocol: asyncio.BaseProtocol
    ) -> tuple[_Poll, bool]:
        connection = transport.get_extra_info("socket")
        if connection is None or not hasattr(select, "poll"):
            # Nothing can be seen of such a connection, so a request over it may have arrived.
            known: tuple[_Poll, bool] = _see_nothing, False
        else:
            poll = select.poll()
            poll.register(connection.fileno(), _READABLE | _PEER_CLOSED)
            known = poll.poll, transport.get_extra_info("sslcontext") is not None
        self._polls[protocol] = known
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


class _Lookout(asyncio.Protocol):
    """Takes the place of a connection's protocol while nothing may come, and notes what comes.

    The protocol itself would hand the first answer to whoever waits for one, and would hide half
    an answer in its parser.
    """

    def __init__(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol
        self.has_data = False
        self.is_closed = False

    def data_received(self, data: bytes) -> None:  # noqa: ARG002  # that of every protocol
        """Note that something came."""
        self.has_data = True

    def eof_received(self) -> None:
        """Note that nothing will come any more."""
        self.is_closed = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection is gone, and pass it on."""
        self.is_closed = True
        self._protocol.connection_lost(exc)


class DirectPost:
    """Posts to one URL over a session's pool of connections, past the session itself.

    It relies on these facts about aiohttp: a connector connects by a ClientRequest, of which it
    reads only the destination; the connection that it gives has a protocol that takes parameters
    for the next answer, and then gives that answer; and releasing the connection puts it back, or
    closes it if the answer was not read to its end or forbids reuse.
    """

    def __init__(self, session: aiohttp.ClientSession, url: URL, check: ConnectionCheck) -> None:
        assert session.connector is not None  # noqa: S101  # an open session has one
        self._connect = session.connector.connect
        self._check = check
        self._destination = aiohttp.ClientRequest(
            "POST", url, headers=HEADERS, loop=asyncio.get_running_loop(), session=session
        )
        self._head = _write_head(url, self._destination.headers["Host"])

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
                # The whole answer came in one piece, as nearly every answer does.
                body += head[1].read_nowait()
                _check_size(body)
            else:
                await _read(head[1], body)
        except asyncio.CancelledError:
            protocol = connection.protocol
            if request.writes and protocol is not None:
                going_on = _go_on(connection, protocol, head, body)
                request.answer = asyncio.get_running_loop().create_task(going_on)
                # However the task ends, and even if it never begins; a released connection stays.
                request.answer.add_done_callback(lambda _: connection.close())
            else:
                connection.close()
            raise
        except BaseException:
            connection.close()
            raise
        connection.release()
        return _reply(head[0].code, head[0].headers, bytes(body))


_Head = tuple[RawResponseMessage, aiohttp.StreamReader]


async def _go_on(
    connection: Connection, protocol: ResponseHandler, head: _Head | None, body: bytearray
) -> HttpResponse:
    """Read the rest of an answer after the caller that posted the request has left."""
    while head is None or (100 <= head[0].code < 200 and head[0].code != 101):
        head = await protocol.read()
    await _read(head[1], body)
    connection.release()
    return _reply(head[0].code, head[0].headers, bytes(body))


def _write_head(url: URL, host: str) -> bytes:
    """Write the head of a request up to the place of the body's length."""
    fields = {"Host": host, **HEADERS, "Content-Type": _CONTENT_TYPE}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {url.raw_path_qs} HTTP/1.1\r\n{lines}Content-Length: ".encode()


class SessionPost:
    """Has a session post requests, and watches how far each one comes.

    Attributes:
        middlewares: The session's own middlewares, which naming any for a request replaces. A
            session's cookies cannot be switched off for one request, so behind its own middlewares
            the header is taken out again: ASP.NET may serialise requests that share a cookie.
    """

    def __init__(self, session: aiohttp.ClientSession, check: ConnectionCheck) -> None:
        self._session = session
        self._check = check
        own = session._middlewares  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # no public name; a test pins it
        self._has_own_middlewares = bool(own)
        self.middlewares: tuple[aiohttp.ClientMiddlewareType, ...] = tuple(own)
        if not isinstance(session.cookie_jar, aiohttp.DummyCookieJar):
            self.middlewares = (*own, _drop_cookies)

    async def __call__(self, url: URL, request: SendRequest) -> HttpResponse:
        """Post a request and return the answer, whatever its status; follow no redirect.

        Raises:
            TransportFailure: The guard refused, the answer had been there before the request, or
                it is too large.
            Exception: Whatever the session raises.
        """
        if self._has_own_middlewares or not (IS_CHECKED and _is_own(self._session)):
            # Until aiohttp's own code has the request, and shows what it does with it, anything
            # may be done with it.
            if request.guard is not None:
                request.guard()
            request.unseen = True
        payload = _Payload(request, self._check)

        async def watch(
            built: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            """Note into whose hands the request goes: those of aiohttp, or of something else."""
            if built.body is not payload:
                # A middleware has replaced the body, so nothing will count the write.
                request.count_write()
            elif IS_CHECKED and type(built) is aiohttp.ClientRequest:
                request.unseen = False
            else:
                request.unseen = True
            return await handler(built)

        try:
            response = await self._session.post(
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
            # A task of the session that has not written the request yet must not write it now.
            request.withdrawn = True
            raise
        return _reply(response.status, response.headers, bytes(body))


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
            # The session made a parser when it took the connection. A task of its own writes, a
            # pass of the event loop later, and half an answer may be in that parser by now.
            protocol = cast("ResponseHandler", transport.get_protocol())
            protocol.set_response_params(read_until_eof=True, auto_decompress=False)
        await super().write_with_length(writer, content_length)


async def _read(content: aiohttp.StreamReader, body: bytearray) -> None:
    """Read to the end, or until the body is too large, behind what was read before."""
    while piece := await content.readany():
        body += piece
        _check_size(body)


def _check_size(body: bytes | bytearray) -> None:
    if len(body) > _MOST_BODY:
        raise TransportFailure(
            f"the answer is larger than {_MOST_BODY} bytes", may_have_arrived=True
        )


def _reply(status: int, headers: Mapping[str, str], body: bytes) -> HttpResponse:
    asked = headers.get("Retry-After")
    if asked is None:
        return HttpResponse(status, body)
    return HttpResponse(status, body, retry_after(asked, datetime.now(UTC)))
