"""Carries one request to the gateway, and says of every failure whether it may have arrived.

The only module of the client side that knows aiohttp. It relies on one fact about it, which a
test holds against the oldest and the newest supported release: a POST body that is a Payload is
asked for its `size` when the request is built, and its `write_with_length` is awaited once,
immediately before the one write that sends headers and body together.
"""

import asyncio
import ipaddress
import select
from datetime import UTC, datetime
from typing import Final

import aiohttp
import attrs
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from esms_async.deadlines import Deadlines
from esms_async.errors import ConfigurationError, UsageError
from esms_async.protocol import retry_after
from esms_async.version import __version__

DEFAULT_BASE_URL: Final = "https://rest.esms.vn/MainService.svc/json/"
"""The folder of the gateway's operations."""

_MOST_BODY = 64 * 1024
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
_HEADERS = CIMultiDictProxy(
    CIMultiDict(
        {
            # A compressed answer is refused unread: 300 kB of gzip can hold 300 MB.
            "Accept-Encoding": "identity",
            "Accept": "application/json",
            "User-Agent": f"esms_async/{__version__}",
        }
    )
)
# Linux tells a half-closed connection by this event, the BSDs by POLLHUP alone.
_PEER_CLOSED = getattr(select, "POLLRDHUP", 0)


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


class Request(aiohttp.BytesPayload):
    """The body of one request, which notes when its bytes are handed to a connection.

    Attributes:
        asked: True once a session was asked to send it.
        written: True once its bytes were handed to a connection.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__(body, content_type="application/json")
        self.asked = False
        self.written = False
        self._built = False

    @property
    def may_have_arrived(self) -> bool:
        """False only as long as no byte of the request can have left this machine.

        A request that was asked for but never built went through a session that is not
        aiohttp's own machinery, a stand-in for one, of which nothing is known.
        """
        return self.written or (self.asked and not self._built)

    @property
    def size(self) -> int | None:
        """The length of the body in bytes; reading it is how a request is built."""
        self._built = True
        return self._size

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        """Write the body, unless the connection is already known to be dead."""
        if _is_dead(writer.transport):
            raise ConnectionResetError("the connection was closed while it was idle")
        self.written = True
        await super().write_with_length(writer, content_length)


def _is_dead(transport: asyncio.WriteTransport | None) -> bool:
    """Tell whether the peer has already closed a connection, which the event loop may not know yet.

    A connection that sat in the pool and was closed by the gateway meanwhile would swallow the
    request and leave its fate open; not writing to it leaves it certain.
    """
    if transport is None or transport.is_closing():
        return True
    connection = transport.get_extra_info("socket")
    if connection is None or not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(connection.fileno(), _PEER_CLOSED)
    return bool(poll.poll(0))


# What aiohttp raises before it builds a request or gets a connection for it.
_BEFORE_ANY_WRITE = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.ServerFingerprintMismatch,
    RuntimeError,
    TypeError,
    ValueError,
)


class Transport:
    """Sends requests over one aiohttp session, its own or one that it is given."""

    def __init__(
        self,
        base_url: str = DEFAULT_BASE_URL,
        *,
        session: aiohttp.ClientSession | None = None,
        max_connections: int = 100,
    ) -> None:
        self._base_url = _check_base_url(base_url)
        self._session = session
        self._owns_session = session is None
        self._middlewares = _without_cookies(session)
        # An own session has them as its defaults, which is faster.
        self._headers = None if session is None else _HEADERS
        self._max_connections = max_connections
        self._loop: asyncio.AbstractEventLoop | None = None
        self._operations: dict[str, URL] = {}
        self._deadlines = Deadlines()

    @property
    def base_url(self) -> str:
        """The folder of the operations, with its last slash."""
        return str(self._base_url)

    async def post(self, operation: str, request: Request, *, time_limit: float) -> Reply:
        """Send a request and read the whole answer.

        Args:
            operation: The operation, relative to the base URL.
            request: The body. After a cancellation, its `may_have_arrived` tells what is known.
            time_limit: Seconds, from asking for a connection to the last byte of the answer.

        Returns:
            The answer, whatever its status; redirects are not followed.

        Raises:
            TransportFailure: No complete answer came.
            UsageError: The transport belongs to another event loop.
        """
        session = self._opened()
        deadline = self._deadlines.begin(time_limit)
        request.asked = True
        try:
            response = await session.post(
                self._operations.get(operation) or self._url_of(operation),
                data=request,
                headers=self._headers,
                timeout=_NO_TIMEOUT,
                allow_redirects=False,
                raise_for_status=False,
                auto_decompress=False,
                middlewares=self._middlewares,
            )
            content = response.content
            if not content.is_eof():
                return await _read(response)
            # The whole answer came in one piece, as nearly every answer does.
            body = content.read_nowait()
            _check_size(response, body)
            return _reply(response, body)
        except TransportFailure:
            raise
        except asyncio.CancelledError:
            if not deadline.take_back():
                raise
            problem, never_built = f"no answer within {time_limit:.3g} s", False
        except Exception as error:  # noqa: BLE001  # the marker decides, not the exception's class
            problem = _describe(error)
            never_built = isinstance(error, _BEFORE_ANY_WRITE) and not request.written
        finally:
            self._deadlines.end(deadline)
        raise TransportFailure(
            problem, may_have_arrived=request.may_have_arrived and not never_built
        )

    def _url_of(self, operation: str) -> URL:
        url = self._operations[operation] = self._base_url.join(URL(operation))
        return url

    async def aclose(self) -> None:
        """Close the session, if it is this transport's own, without waiting for its requests."""
        self._deadlines.close()
        if self._session is not None and self._owns_session:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if loop is self._loop and self._session is not None:
            return self._session
        if self._loop is not None:
            raise UsageError("this client is open on another event loop; make one for each loop")
        self._loop = loop
        self._session = self._session or aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._max_connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_HEADERS,
        )
        return self._session


def _without_cookies(
    session: aiohttp.ClientSession | None,
) -> tuple[aiohttp.ClientMiddlewareType, ...] | None:
    """Return the middlewares that keep an injected session from sending the cookies it holds.

    ASP.NET may serialise requests that share a session cookie. A session's own jar cannot be
    switched off for one request, so the header is taken out again, after the session's own
    middlewares, which naming any for a request would replace.
    """
    if session is None or isinstance(session.cookie_jar, aiohttp.DummyCookieJar):
        return None
    own = session._middlewares  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # no public name; a test pins it
    return (*own, _drop_cookies)


async def _drop_cookies(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    request.headers.popall("Cookie", None)
    return await handler(request)


async def _read(response: aiohttp.ClientResponse) -> Reply:
    """Read to the end, or until it is clear that the end is too far away."""
    body = bytearray()
    try:
        while chunk := await response.content.readany():
            body += chunk
            _check_size(response, body)
    except BaseException:
        response.close()
        raise
    return _reply(response, bytes(body))


def _reply(response: aiohttp.ClientResponse, body: bytes) -> Reply:
    asked = response.headers.get("Retry-After")
    if asked is None:
        return Reply(response.status, body)
    return Reply(response.status, body, retry_after(asked, datetime.now(UTC)))


def _check_size(response: aiohttp.ClientResponse, body: bytes | bytearray) -> None:
    if len(body) > _MOST_BODY:
        response.close()
        raise TransportFailure(
            f"the answer is larger than {_MOST_BODY} bytes", may_have_arrived=True
        )


def _describe(error: Exception) -> str:
    """Say what failed without a word of the peer's, which might echo the request."""
    name = type(error).__name__
    if isinstance(error, OSError) and isinstance(error.strerror, str):
        return f"{name}: {error.strerror}"
    return name


def _check_base_url(base_url: str) -> URL:
    try:
        url = URL(base_url)
        host = url.host
    except (TypeError, ValueError):
        raise ConfigurationError("base_url is no URL") from None
    if url.scheme not in ("http", "https") or not host:
        raise ConfigurationError("base_url must be an absolute https:// URL")
    if url.user is not None or url.password is not None:
        raise ConfigurationError("base_url must not hold a user name or password")
    if url.query_string or url.fragment:
        raise ConfigurationError("base_url must not hold a query or a fragment")
    if url.scheme == "http" and not _is_loopback(host):
        raise ConfigurationError(
            "base_url must be https://; http:// carries the keys in clear, so it is taken only for "
            "a loopback address"
        )
    return url if str(url).endswith("/") else URL(f"{url}/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
