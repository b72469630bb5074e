"""One request and its answer over aiohttp, and what is known of whether the request left.

There are two ways. A session that may have something to say on the way (a proxy, cookies,
traces, middlewares) is asked to post. A session that has nothing to say is spared the asking,
which takes longer than everything else of a send: the request goes straight over a connection of
its pool.
"""

import asyncio
import inspect
import select
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import aiohttp
import attrs
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from esms_async.protocol import retry_after
from esms_async.version import __version__

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
"""What every request says of its sender and of the answer it wants."""

_CONTENT_TYPE = "application/json"
_UNASKED = "an answer came that nobody had asked for"
_MOST_BODY = 64 * 1024
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
# Linux tells a half-closed connection by this event, the BSDs by POLLHUP alone.
_PEER_CLOSED = getattr(select, "POLLRDHUP", 0)
_READABLE = _PEER_CLOSED | getattr(select, "POLLIN", 0)


# What a ClientSession does with a request, unless something stands in for it or wraps it.
_OWN_REQUEST = aiohttp.ClientSession._request  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # no public name; a test pins it
_IS_OWN = inspect.getfile(_OWN_REQUEST) == inspect.getfile(aiohttp.ClientSession)
# The first release that does what DirectPost relies on, and the first that no test has seen do it.
_SUPPORTED = (3, 12)
_UNTESTED = (3, 15)
_IS_TESTED = _SUPPORTED <= tuple(map(int, aiohttp.__version__.split(".")[:2])) < _UNTESTED


def is_plain(session: aiohttp.ClientSession) -> bool:
    """Tell whether a session has nothing to say to a request, so that it need not be asked.

    Stand-ins such as aioresponses, and agents that watch an application's requests, put
    themselves in the place of `ClientSession._request`, or add traces. They are to see these
    requests too.

    Args:
        session: A session without cookies, proxy, authentication and middlewares.

    Returns:
        True where `DirectPost` does the same as the session would, sooner.
    """
    return _IS_TESTED and _is_own(session) and not session.trace_configs


def _is_own(session: aiohttp.ClientSession) -> bool:
    """Tell whether a session is aiohttp's own, in no part replaced."""
    request = aiohttp.ClientSession._request  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # as above
    return _IS_OWN and request is _OWN_REQUEST and type(session) is aiohttp.ClientSession


@attrs.define
class Reply:
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
        may_have_arrived: False only where no byte of the request left this machine.
        problem: What happened, in words that came from no peer.
    """

    def __init__(self, problem: str, *, may_have_arrived: bool) -> None:
        super().__init__(problem)
        self.problem = problem
        self.may_have_arrived = may_have_arrived


class Request:
    """The body of one request, and how far it has come.

    Args:
        body: The bytes.
        not_after: When it is not to be written any more, on the monotonic clock; None is never.

    Attributes:
        body: The bytes.
        built: True once a session has made an HTTP request of it.
        out_of_sight: True once it was given to what stands in for a session of aiohttp's own.
        writes: How often it was handed to a connection: more than once where a middleware of
            the session repeats it.
        withdrawn: True once it is not to be written any more.
    """

    __slots__ = ("body", "built", "not_after", "out_of_sight", "withdrawn", "writes")

    def __init__(self, body: bytes, not_after: float | None = None) -> None:
        self.body: bytes = body
        self.not_after: float | None = not_after
        self.built: bool = False
        self.out_of_sight: bool = False
        self.writes: int = 0
        self.withdrawn: bool = False

    @property
    def may_have_arrived(self) -> bool:
        """False only as long as no byte of the request can have left this machine.

        Of a stand-in for a session nothing is known, until it has aiohttp build the request.
        """
        return self.writes > 0 or (self.out_of_sight and not self.built)

    def refuse_late(self) -> None:
        """Refuse to be written once it is too late for that.

        Raises:
            TransportFailure: Nobody can use the message any more.
        """
        if self.not_after is not None and time.monotonic() >= self.not_after:
            raise TransportFailure("expires_at has passed", may_have_arrived=False)


class _Payload(aiohttp.BytesPayload):
    """The body of a request as a session takes it, which notes how far the request has come.

    It relies on one fact about aiohttp: a POST body that is a Payload is asked for its `size`
    when the request is built, and its `write_with_length` is awaited once, immediately before
    the one write that sends headers and body together.
    """

    def __init__(self, request: Request) -> None:
        super().__init__(request.body, content_type=_CONTENT_TYPE)
        self._request = request

    @property
    def size(self) -> int | None:
        """The length of the body in bytes; reading it is how a request is built."""
        self._request.built = True
        return self._size

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        """Write the body, unless the connection is known to be unfit for it."""
        if self._request.withdrawn:
            raise ConnectionResetError(_UNASKED)
        refuse_unfit(writer.transport)
        self._request.refuse_late()
        self._request.writes += 1
        await super().write_with_length(writer, content_length)


async def post_through(
    session: aiohttp.ClientSession,
    url: URL,
    request: Request,
    *,
    middlewares: tuple[aiohttp.ClientMiddlewareType, ...],
) -> Reply:
    """Have a session post a request.

    Args:
        session: The session.
        url: Where to.
        request: The body.
        middlewares: Those to use in place of the session's own, which are among them.

    Returns:
        The answer, whatever its status; redirects are not followed.

    Raises:
        TransportFailure: The answer is too large.
        Exception: Whatever the session raises.
    """
    request.out_of_sight = not _is_own(session)
    payload = _Payload(request)

    async def watch(
        built: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Note a body that a middleware has put in the place of the payload, which would."""
        if built.body is not payload:
            request.writes += 1
        return await handler(built)

    response = await session.post(
        url,
        data=payload,
        headers=HEADERS,
        timeout=_NO_TIMEOUT,
        allow_redirects=False,
        raise_for_status=False,
        auto_decompress=False,
        middlewares=(*middlewares, watch) if middlewares else None,
    )
    try:
        _refuse_unasked(request)
        body = await _read(response.content)
    except BaseException:
        response.close()
        raise
    return _reply(response.status, response.headers, body)


def _refuse_unasked(request: Request) -> None:
    """Refuse an answer that was there before its request, which is then not written any more."""
    if request.built and not request.writes:
        request.withdrawn = True
        raise ConnectionResetError(_UNASKED)


class DirectPost:
    """Posts to one URL over a session's pool of connections, past the session itself.

    It relies on these facts about aiohttp: a connector connects by a ClientRequest, of which it
    asks only where to; the connection that it gives has a protocol that is told how to read an
    answer, and then gives it; and releasing the connection puts it back, or closes it where the
    answer was not read to its end or forbids reuse.

    Args:
        connector: The session's connector.
        url: Where to.
        session: The session.
    """

    def __init__(
        self, connector: aiohttp.BaseConnector, url: URL, session: aiohttp.ClientSession
    ) -> None:
        self._connector = connector
        self._destination = aiohttp.ClientRequest(
            "POST", url, headers=HEADERS, loop=asyncio.get_running_loop(), session=session
        )
        self._head = _write_head(url, self._destination.headers["Host"])

    async def __call__(self, request: Request) -> Reply:
        """Post a request.

        Args:
            request: The body.

        Returns:
            The answer, whatever its status.

        Raises:
            TransportFailure: The answer is too large.
            Exception: Whatever aiohttp raises.
        """
        connection = await self._connector.connect(self._destination, [], _NO_TIMEOUT)
        try:
            protocol = connection.protocol
            assert protocol is not None  # noqa: S101  # it has not been released yet
            protocol.set_response_params(read_until_eof=True, auto_decompress=False)
            transport = refuse_unfit(protocol.transport)
            request.refuse_late()
            request.writes += 1
            transport.write(b"%b%d\r\n\r\n%b" % (self._head, len(request.body), request.body))
            message, payload = await protocol.read()
            while 100 <= message.code < 200 and message.code != 101:
                message, payload = await protocol.read()
            body = await _read(payload)
        except BaseException:
            connection.close()
            raise
        connection.release()
        return _reply(message.code, message.headers, body)


def _write_head(url: URL, host: str) -> bytes:
    """Write the head of a request up to the place of the body's length."""
    fields = {"Host": host, **HEADERS, "Content-Type": _CONTENT_TYPE}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {url.raw_path_qs} HTTP/1.1\r\n{lines}Content-Length: ".encode()


def refuse_unfit(transport: asyncio.WriteTransport | None) -> asyncio.WriteTransport:
    """Refuse a connection that cannot carry one request and its answer, before anything is written.

    A connection that sat in the pool and was closed by the gateway meanwhile would swallow the
    request and leave its fate open; not writing to it leaves it certain. One over which something
    came that nobody asked for would give that for the answer.

    Args:
        transport: The connection's transport, or None where it is gone.

    Returns:
        The transport.

    Raises:
        ConnectionResetError: The connection is unfit.
    """
    if transport is None or transport.is_closing() or _peer_has_closed(transport):
        raise ConnectionResetError("the connection was closed while it was idle")
    if getattr(transport.get_protocol(), "should_close", False):
        raise ConnectionResetError(_UNASKED)
    return transport


def _peer_has_closed(transport: asyncio.WriteTransport) -> bool:
    """Tell whether the peer has closed a connection, which the event loop may not know yet."""
    connection = transport.get_extra_info("socket")
    if connection is None or not hasattr(select, "poll"):
        return False
    poll = select.poll()
    # Whatever there is to read was not asked for, but over TLS it may be a session ticket.
    is_encrypted = transport.get_extra_info("sslcontext") is not None
    poll.register(connection.fileno(), _PEER_CLOSED if is_encrypted else _READABLE)
    return bool(poll.poll(0))


async def _read(content: aiohttp.StreamReader) -> bytes:
    """Read to the end, or until it is clear that the end is too far away."""
    if content.is_eof():
        # The whole answer came in one piece, as nearly every answer does.
        body = content.read_nowait()
        _check_size(body)
        return body
    pieces = bytearray()
    while piece := await content.readany():
        pieces += piece
        _check_size(pieces)
    return bytes(pieces)


def _check_size(body: bytes | bytearray) -> None:
    if len(body) > _MOST_BODY:
        raise TransportFailure(
            f"the answer is larger than {_MOST_BODY} bytes", may_have_arrived=True
        )


def _reply(status: int, headers: Mapping[str, str], body: bytes) -> Reply:
    asked = headers.get("Retry-After")
    if asked is None:
        return Reply(status, body)
    return Reply(status, body, retry_after(asked, datetime.now(UTC)))
