"""Carries requests to the gateway, and says of each failure whether it may have arrived."""

import asyncio
import ipaddress
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, TypeVar, cast

import aiohttp
from yarl import URL

from esms_async._http.direct import (
    HEADERS,
    IS_CHECKED,
    NO_TIMEOUT,
    ConnectionCheck,
    DirectPost,
    Reply,
    Request,
    SessionPost,
    TransportFailure,
    is_plain,
)
from esms_async.errors import ConfigurationError, UsageError
from esms_async.messages import Credentials
from esms_async.protocol import retry_after
from esms_async.reads import Question, keys

_T = TypeVar("_T")
_logger = logging.getLogger("esms_async")

DEFAULT_BASE_URL: Final = "https://rest.esms.vn/MainService.svc/json/"
"""The folder of the gateway's operations."""

RESOLUTION: Final = 0.05
"""Seconds by which a request may outlive its deadline."""

# A page holds 500 lines, each with a text that takes a few kB at most.
_MOST_QUERY_BODY: Final = 4 * 1024 * 1024

# These are believed even of a stand-in for a session: aiohttp raises them before there is a
# connection to write to.
_BEFORE_ANY_WRITE = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.ServerFingerprintMismatch,
)


class Transport:
    """Sends requests over one aiohttp session, its own or one that it is given.

    Args:
        base_url: The folder of the gateway's operations.
        session: A session of the caller's, which stays the caller's to close.
        max_connections: How many connections an own session opens at most.
        allow_http: Hosts that `http://` is taken for, beside loopback: exact names, as a base URL
            spells them. Keys and texts travel to them in clear.

    Raises:
        ConfigurationError: A value cannot work; the error names it.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_BASE_URL,
        *,
        session: aiohttp.ClientSession | None = None,
        max_connections: int = 100,
        allow_http: frozenset[str] = frozenset(),
    ) -> None:
        self._base_url = _check_base_url(base_url, _check_allow_http(allow_http))
        _check_session(session)
        self._check = ConnectionCheck()
        self._session = session
        self._owns_session = session is None
        self._session_post: SessionPost | None = None
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
        """True if the requests stay on this machine."""
        return _is_loopback(self._base_url.host or "")

    async def post(self, operation: str, request: Request, *, time_limit: float) -> Reply:
        """Post a request and read the whole answer, whatever its status; follow no redirect.

        Args:
            operation: The operation, relative to the base URL.
            request: The request. Its `may_have_arrived` is true of it at any time, also after a
                cancellation.
            time_limit: Seconds, from asking for a connection to the last byte of the answer.

        Raises:
            TransportFailure: No complete answer came.
            UsageError: The transport belongs to another event loop.
        """
        session, through = self._open()
        if session.closed:
            raise TransportFailure("the session is closed", may_have_arrived=False)
        deadline = self._deadlines.begin(time_limit)
        never_left = False
        try:
            if self._owns_session and is_plain(session):
                direct = self._direct.get(operation) or self._direct_post(session, operation)
                return await direct(request)
            return await through(self._urls.get(operation) or self._url_of(operation), request)
        except TransportFailure as failure:
            if failure.may_have_arrived or not request.may_have_arrived:
                raise
            problem = failure.problem
        except asyncio.CancelledError:
            # aiohttp cancels those who wait for a place in a pool that is closed.
            in_time = not deadline.has_struck
            if not deadline.take_back():
                raise
            problem = f"no answer within {time_limit:.3g} s"
            if in_time:
                problem = "the session was closed"
        except Exception as error:  # noqa: BLE001  # the marker decides, not the exception's class
            problem = _describe(error) if request.refusal is None else request.refusal.problem
            never_left = isinstance(error, _BEFORE_ANY_WRITE) and not request.writes
        finally:
            self._deadlines.end(deadline)
        raise TransportFailure(
            problem, may_have_arrived=request.may_have_arrived and not never_left
        )

    async def query(
        self, question: Question[_T], credentials: Credentials, *, time_limit: float
    ) -> Reply:
        """Put a question to the gateway, which changes nothing wherever it fails.

        Some questions the gateway takes as GET alone, with the keys in the query. Those who watch
        an application's requests (traces, instrumentation, the texts of aiohttp's errors) see the
        URL that a session was asked for. So the keys are added behind that: by a middleware, to
        the request that is about to leave.

        Args:
            question: The question.
            credentials: The account's keys.
            time_limit: Seconds, from asking for a connection to the last byte of the answer.

        Raises:
            TransportFailure: No complete answer came.
            UsageError: The session is closed, or belongs to another event loop.
        """
        if self._closed:
            raise UsageError("the client is closed")
        session, through = self._open()
        if session.closed:
            raise UsageError("the session is closed")
        url = self._urls.get(question.operation) or self._url_of(question.operation)
        body, middlewares = None, through.middlewares
        if question.in_body:
            body = aiohttp.BytesPayload(question.body(credentials), content_type="application/json")
        else:
            url = url.with_query(question.fields)
            middlewares = (*middlewares, _with_query(keys(credentials)))
        try:
            async with (
                asyncio.timeout(time_limit),
                session.request(
                    "POST" if question.in_body else "GET",
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
                pause = retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
                return Reply(response.status, await _read_page(response), pause)
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

    def _direct_post(self, session: aiohttp.ClientSession, operation: str) -> DirectPost:
        direct = DirectPost(session, self._url_of(operation), self._check)
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

    def _open(self) -> tuple[aiohttp.ClientSession, SessionPost]:
        self.require_loop()
        if self._closed:
            raise TransportFailure("the client is closed", may_have_arrived=False)
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._max_connections),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        if self._session_post is None:
            self._session_post = SessionPost(self._session, self._check)
            if not IS_CHECKED:
                _logger.warning(
                    "esms_async was not checked with aiohttp %s, so its sends go through the "
                    "session, and one without an answer may count as one that may have arrived. "
                    "Look for a release of esms_async that knows this aiohttp",
                    aiohttp.__version__,
                )
        return self._session, self._session_post


class Deadline:
    """The time that one task has for one thing."""

    __slots__ = ("_at", "_cancelling", "_struck", "_task")

    def __init__(self, task: "asyncio.Task[object]", at: float) -> None:
        self._task = task
        self._at = at
        self._cancelling = task.cancelling()
        self._struck = False

    def strike(self, now: float) -> None:
        """Cancel the task if its time is up."""
        if now >= self._at and not self._struck:
            self._struck = True
            self._task.cancel()

    def take_back(self) -> bool:
        """Take back the cancellation that this deadline made, if it has made one.

        Returns:
            True if nobody else has cancelled the task meanwhile. Then the CancelledError just
            caught is this deadline's, or comes from something the task was waiting for; otherwise
            the task must go on being cancelled.
        """
        if self._struck:
            self._struck = False
            return self._task.uncancel() <= self._cancelling
        return self._task.cancelling() <= self._cancelling

    @property
    def has_struck(self) -> bool:
        """True once the time was up, until that is taken back."""
        return self._struck


class Deadlines:
    """Ends tasks whose time is up, with one timer for all tasks of an event loop.

    `asyncio.timeout` costs a timer and several calls for each request, a tenth of what the request
    itself costs. Here a request only enters a set, which is looked through now and then.
    """

    def __init__(self) -> None:
        self._pending: set[Deadline] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, seconds: float) -> Deadline:
        """Give the current task some seconds; it is cancelled once they have passed.

        Returns:
            The deadline, for `end`.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # only coroutines call this
        deadline = Deadline(task, time.monotonic() + seconds)
        self._pending.add(deadline)
        if self._timer is None:
            self._timer = task.get_loop().call_later(RESOLUTION, self._look, task.get_loop())
        return deadline

    def end(self, deadline: Deadline) -> None:
        """Forget a deadline: what it was for is over, in time or not."""
        self._pending.discard(deadline)
        if deadline.has_struck:
            deadline.take_back()

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._pending:
            now = time.monotonic()
            for deadline in self._pending:
                deadline.strike(now)
            self._timer = loop.call_later(RESOLUTION, self._look, loop)


def _with_query(secrets: Mapping[str, str]) -> aiohttp.ClientMiddlewareType:
    """Return a middleware that adds to the query of a request."""

    async def add(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        request.url = request.url.update_query(secrets)
        return await handler(request)

    return add


async def _read_page(response: aiohttp.ClientResponse) -> bytes:
    """Read to the end, or until the body is too large."""
    body = bytearray()
    while piece := await response.content.readany():
        body += piece
        if len(body) > _MOST_QUERY_BODY:
            response.close()
            raise TransportFailure(
                f"the answer is larger than {_MOST_QUERY_BODY} bytes", may_have_arrived=True
            )
    return bytes(body)


def _describe(error: Exception) -> str:
    """Say what failed without a word of the peer's, which might echo the request."""
    name = type(error).__name__
    if isinstance(error, OSError) and isinstance(error.strerror, str):
        return f"{name}: {error.strerror}"
    return name


def _check_session(session: object) -> None:
    if session is None or isinstance(session, aiohttp.ClientSession):
        return
    found = f"the class {session!r}" if isinstance(session, type) else f"a {type(session).__name__}"
    raise ConfigurationError(f"session must be an open aiohttp.ClientSession, not {found}")


def _check_allow_http(allow_http: object) -> frozenset[str]:
    if not isinstance(allow_http, frozenset):
        raise ConfigurationError(
            "allow_http must be a frozenset of host names, such as frozenset({'gateway.internal'})"
        )
    hosts = cast("frozenset[object]", allow_http)
    for host in hosts:
        if not isinstance(host, str) or not _is_host(host):
            raise ConfigurationError(
                f"allow_http takes host names alone, such as 'gateway.internal', not {host!r}"
            )
    return frozenset(str(host).lower() for host in hosts)


def _is_host(host: str) -> bool:
    try:
        return "*" not in host and URL.build(scheme="http", host=host).host == host.lower()
    except ValueError:
        return False


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
        if f".{host.lower().rstrip('.')}".endswith(".esms.vn"):
            raise ConfigurationError(
                "base_url must be https:// for a host under esms.vn, whatever allow_http names"
            )
        if host.lower() not in allow_http:
            raise ConfigurationError(
                "base_url must be https://; http:// carries the keys in clear, so it is taken only "
                f"for a loopback address, or for a host named in allow_http, which {host} is not"
            )
    return url if str(url).endswith("/") else URL(f"{url}/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
