"""Carries one request to the gateway, and says of every failure whether it may have arrived."""

import asyncio
import ipaddress
import logging
import re
from collections.abc import Iterable
from typing import Final, TypeVar

import aiohttp
from yarl import URL

from esms_async.deadlines import Deadlines
from esms_async.errors import ConfigurationError, UsageError
from esms_async.exchange import (
    DirectPost,
    Reply,
    Request,
    TransportFailure,
    is_plain,
    post_through,
)
from esms_async.fetch import fetch
from esms_async.messages import Credentials
from esms_async.reads import Question

_logger = logging.getLogger("esms_async")
_T = TypeVar("_T")

_HOST_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?")

DEFAULT_BASE_URL: Final = "https://rest.esms.vn/MainService.svc/json/"
"""The folder of the gateway's operations."""

# What a stand-in for a session is believed, for aiohttp raises it before a connection is there.
_BEFORE_ANY_WRITE = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.ServerFingerprintMismatch,
)


class Transport:
    """Sends requests over one aiohttp session, its own or one that it is given."""

    def __init__(
        self,
        base_url: str = DEFAULT_BASE_URL,
        *,
        session: aiohttp.ClientSession | None = None,
        max_connections: int = 100,
        allow_http: Iterable[str] = (),
    ) -> None:
        self._base_url = _check_base_url(base_url, _check_allow_http(allow_http))
        self._session = session
        self._owns_session = session is None
        self._middlewares = _middlewares_of(session)
        self._max_connections = max_connections
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._urls: dict[str, URL] = {}
        self._direct: dict[str, DirectPost] = {}
        self._deadlines = Deadlines()

    @property
    def base_url(self) -> str:
        """The folder of the operations, with its last slash."""
        return str(self._base_url)

    @property
    def is_loopback(self) -> bool:
        """True where the requests go to this machine, or to a host that plain http is allowed for.

        Neither is the gateway.
        """
        return self._base_url.scheme == "http" or _is_loopback(self._base_url.host or "")

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
        if session.closed:
            raise TransportFailure("the session is closed", may_have_arrived=False)
        deadline = self._deadlines.begin(time_limit)
        try:
            if self._owns_session and is_plain(session):
                return await (self._direct.get(operation) or self._direct_post(operation))(request)
            url = self._urls.get(operation) or self._url_of(operation)
            return await post_through(session, url, request, middlewares=self._middlewares)
        except TransportFailure:
            raise
        except asyncio.CancelledError:
            # aiohttp cancels those who wait for a place in a pool that is closed.
            in_time = not deadline.has_struck
            if not deadline.take_back():
                raise
            never_built = False
            problem = f"no answer within {time_limit:.3g} s"
            if in_time:
                problem = "the session was closed"
        except Exception as error:  # noqa: BLE001  # the marker decides, not the exception's class
            problem = _describe(error)
            never_built = isinstance(error, _BEFORE_ANY_WRITE) and not request.writes
        finally:
            self._deadlines.end(deadline)
        raise TransportFailure(
            problem, may_have_arrived=request.may_have_arrived and not never_built
        )

    async def ask(
        self, question: Question[_T], credentials: Credentials, *, time_limit: float
    ) -> Reply:
        """Ask a question, which changes nothing wherever it fails.

        Args:
            question: The question.
            credentials: The account's keys.
            time_limit: Seconds, from asking for a connection to the last byte of the answer.

        Returns:
            The answer, whatever its status; redirects are not followed.

        Raises:
            TransportFailure: No complete answer came.
            UsageError: The session is closed, or belongs to another event loop.
        """
        if self._closed:
            raise UsageError("the client is closed")
        session = self._opened()
        if session.closed:
            raise UsageError("the session is closed")
        url = self._urls.get(question.operation) or self._url_of(question.operation)
        try:
            async with asyncio.timeout(time_limit):
                return await fetch(
                    session, url, question, credentials, middlewares=self._middlewares
                )
        except TransportFailure:
            raise
        except TimeoutError:
            problem = f"no answer within {time_limit:.3g} s"
        except Exception as error:  # noqa: BLE001  # whatever it is, the question can be asked again
            problem = _describe(error)
        raise TransportFailure(problem, may_have_arrived=True)

    def _url_of(self, operation: str) -> URL:
        url = self._urls[operation] = self._base_url.join(URL(operation))
        return url

    def _direct_post(self, operation: str) -> DirectPost:
        session = self._opened()
        assert session.connector is not None  # noqa: S101  # an open session has one
        direct = DirectPost(session.connector, self._url_of(operation), session)
        self._direct[operation] = direct
        return direct

    async def aclose(self) -> None:
        """Close the session, if it is this transport's own, without waiting for its requests."""
        self._closed = True
        self._deadlines.close()
        if self._session is not None and self._owns_session:
            await self._session.close()

    def require_loop(self) -> None:
        """Belong to the running event loop from now on.

        Raises:
            UsageError: The transport belongs to another one.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            if self._loop is not None:
                raise UsageError(
                    "this client is open on another event loop; make one for each loop"
                )
            self._loop = loop

    def _opened(self) -> aiohttp.ClientSession:
        self.require_loop()
        if self._closed:
            raise TransportFailure("the client is closed", may_have_arrived=False)
        if self._session is not None:
            return self._session
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._max_connections),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self._session


def _middlewares_of(
    session: aiohttp.ClientSession | None,
) -> tuple[aiohttp.ClientMiddlewareType, ...]:
    """Return the middlewares of an injected session, which naming any for a request replaces.

    ASP.NET may serialise requests that share a session cookie. A session's own jar cannot be
    switched off for one request, so behind its own middlewares the header is taken out again.
    """
    if session is None:
        return ()
    own = session._middlewares  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # no public name; a test pins it
    if isinstance(session.cookie_jar, aiohttp.DummyCookieJar):
        return tuple(own)
    return (*own, _drop_cookies)


async def _drop_cookies(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    request.headers.popall("Cookie", None)
    return await handler(request)


def _describe(error: Exception) -> str:
    """Say what failed without a word of the peer's, which might echo the request."""
    name = type(error).__name__
    if isinstance(error, OSError) and isinstance(error.strerror, str):
        return f"{name}: {error.strerror}"
    return name


def _check_allow_http(hosts: Iterable[str]) -> frozenset[str]:
    """Return the hosts that plain http is allowed for, in lower case."""
    if isinstance(hosts, str):
        raise ConfigurationError("allow_http must be a list of host names, not one str")
    allowed = frozenset(host.lower() for host in hosts)
    for host in allowed:
        if not _HOST_NAME.fullmatch(host):
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
        raise ConfigurationError("base_url is no URL") from None
    if url.scheme not in ("http", "https") or not host:
        raise ConfigurationError("base_url must be an absolute https:// URL")
    if url.user is not None or url.password is not None:
        raise ConfigurationError("base_url must not hold a user name or password")
    if url.query_string or url.fragment:
        raise ConfigurationError("base_url must not hold a query or a fragment")
    if url.scheme == "http" and not _is_loopback(host):
        if host.lower() not in allow_http:
            raise ConfigurationError(
                "base_url must be https://; http:// carries the keys in clear, so it is taken only "
                "for a loopback address, and for an emulator's host that ESMS_ALLOW_HTTP names"
            )
        _logger.warning(
            "KEYS AND MESSAGES GO IN CLEAR to http://%s, as ESMS_ALLOW_HTTP or allow_http says; "
            "that is for an emulator, never for the gateway",
            host,
        )
    return url if str(url).endswith("/") else URL(f"{url}/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
