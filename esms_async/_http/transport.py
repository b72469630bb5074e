"""Carries requests to the gateway, and says of each failure whether it may have arrived."""

import asyncio
import ipaddress
import logging
import re
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final, TypeVar

import aiohttp
from yarl import URL

from esms_async._http.direct import (
    HEADERS,
    IS_CHECKED,
    NO_TIMEOUT,
    ConnectionCheck,
    DirectPost,
    HttpResponse,
    SendRequest,
    SessionPost,
    TransportFailure,
    is_plain,
    is_untouched,
)
from esms_async._model.errors import ConfigurationError, UsageError
from esms_async._model.messages import Credentials
from esms_async._wire.queries import Question, keys
from esms_async._wire.send import retry_after

_T = TypeVar("_T")
_logger = logging.getLogger("esms_async")

DEFAULT_BASE_URL: Final = "https://rest.esms.vn/MainService.svc/json/"
"""The folder of the gateway's operations."""

_HOST_NAME: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?")

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
        allow_http: Iterable[str] = (),
    ) -> None:
        self._base_url = _check_base_url(base_url, _check_allow_http(allow_http))
        _check_session(session)
        self._check = ConnectionCheck()
        self._session = session
        self._owns_session = session is None
        self._is_plain = False
        self._query_session: aiohttp.ClientSession | None = None
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

        Args:
            operation: The operation, relative to the base URL.
            request: The request. Its `may_have_arrived` is true of it at any time, also after a
                cancellation.
            time_limit: Seconds, from asking for a connection to the last byte of the answer.

        Raises:
            TransportFailure: No complete answer came.
            UsageError: The transport belongs to another event loop.
        """
        session, through = self._session, self._session_post
        if session is None or through is None or self._closed:
            session, through = self._open()
        if not self._owns_session and session.closed:
            raise TransportFailure("the session is closed", may_have_arrived=False)
        task = self._deadlines.begin(time_limit)
        cancelled_before = task.cancelling()
        never_left = False
        try:
            if request.answer is not None:
                return await _result_of(request.answer)
            if self._is_plain and is_untouched():
                direct = self._direct.get(operation) or self._direct_post(session, operation)
                return await direct(request)
            url = self._urls.get(operation) or self._url_of(operation)
            request.answer = asyncio.get_running_loop().create_task(through(url, request))
            return await _result_of(request.answer)
        except TransportFailure as failure:
            if failure.may_have_arrived or not request.may_have_arrived:
                raise
            problem = failure.problem
        except asyncio.CancelledError:
            # aiohttp cancels those who wait for a place in a pool that is closed.
            in_time = not self._deadlines.has_struck(task)
            if not self._deadlines.take_back(task, cancelled_before):
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
        self, question: Question[_T], credentials: Credentials, *, time_limit: float
    ) -> HttpResponse:
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
        if self._owns_session:
            session = self._open_for_queries()
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
                return HttpResponse(response.status, await _read_page(response), pause)
        except TransportFailure:
            raise
        except TimeoutError:
            problem = f"no answer within {time_limit:.3g} s"
        except Exception as error:  # noqa: BLE001  # whatever it is, the question can be asked again
            problem = _describe(error)
        raise TransportFailure(problem, may_have_arrived=True)

    def _open_for_queries(self) -> aiohttp.ClientSession:
        """Return a session whose every query has a connection of its own.

        A stray answer on a pooled connection would be read as a status or a list, from which
        `reconcile` settles. A session of the caller's own pools as the caller says.
        """
        if self._query_session is None:
            self._query_session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._max_connections, force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._query_session

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
        if self._query_session is not None:
            await self._query_session.close()

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
            self._is_plain = is_plain(self._session)
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


class Deadlines:
    """Ends tasks whose time is up, with one timer for all tasks of an event loop.

    `asyncio.timeout` costs a timer and several calls for each request, a tenth of what the request
    itself costs. Here a task only enters a dict, which is looked through now and then. A task has
    one deadline at a time.
    """

    def __init__(self) -> None:
        self._pending: dict[asyncio.Task[object], float] = {}
        # Tasks that their deadline has cancelled.
        self._struck: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, seconds: float) -> "asyncio.Task[object]":
        """Give the current task some seconds, and return it; it is cancelled once they passed."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # only coroutines call this
        self._pending[task] = time.monotonic() + seconds
        if self._timer is None:
            self._timer = task.get_loop().call_later(RESOLUTION, self._look, task.get_loop())
        return task

    def has_struck(self, task: "asyncio.Task[object]") -> bool:
        """Tell whether a task was cancelled by its deadline."""
        return task in self._struck

    def take_back(self, task: "asyncio.Task[object]", before: int) -> bool:
        """Take back the cancellation by the deadline, if there was one.

        Args:
            task: The task.
            before: How often the task had been cancelled when its deadline began.

        Returns:
            True if nobody else has cancelled the task meanwhile. Then the CancelledError just
            caught is the deadline's, or comes from something the task was waiting for; otherwise
            the task must go on being cancelled.
        """
        if task in self._struck:
            self._struck.discard(task)
            return task.uncancel() <= before
        return task.cancelling() <= before

    def end(self, task: "asyncio.Task[object]") -> None:
        """Forget a deadline: what it was for is over, in time or not."""
        self._pending.pop(task, None)
        if task in self._struck:
            self._struck.discard(task)
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
                if now >= at and task not in self._struck:
                    self._struck.add(task)
                    task.cancel()
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
    address = _ip_address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def _ip_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
