"""Sends messages and queries for one account, over one connection pool."""

import copy
import os
from collections.abc import AsyncGenerator, AsyncIterable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypedDict, Unpack, cast

import aiohttp
import attrs

from esms_async._http.transport import DEFAULT_BASE_URL, Transport
from esms_async._model.checks import check_callback_url, check_count, check_type
from esms_async._model.errors import ConfigurationError, InvalidMessage, UsageError
from esms_async._model.messages import Credentials, Message, Receipt
from esms_async._model.routes import FIXED_NUMBER, Brandname, Route, check_route, parse_route
from esms_async._model.templates import Templates
from esms_async._send.events import Events, Hook
from esms_async._send.retry import RetryBudget, RetryPolicy
from esms_async._send.send import LedgerSession, Limiter, SendCall, Sender, ViewOptions
from esms_async._send.stream import SendMany
from esms_async._wire.send import CallbackUrl, Dumps, Loads, SendEncoder, read_json
from esms_async.ledger.base import Ledger

if TYPE_CHECKING:
    from esms_async._model.results import (
        AccountBrandname,
        Balance,
        Price,
        Receiver,
        SentMessage,
        SmsStatus,
        ZaloStatus,
    )
    from esms_async._send.query import Queries
    from esms_async._send.reconcile import Reconciliation

# Stands for an option that a view keeps; no caller can pass it by accident.
_UNCHANGED: Final = cast("Any", object())
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"", "0", "false", "no", "off"})


class ClientOptions(TypedDict, total=False):
    """The keyword arguments of EsmsClient, for functions that pass them on."""

    route: Route
    templates: Templates | Iterable[Templates]
    base_url: str
    session: aiohttp.ClientSession | None
    retry: RetryPolicy
    limiter: Limiter | None
    ledger: Ledger | None
    hooks: Sequence[Hook]
    sandbox: bool
    callback_url: CallbackUrl | None
    trackable: bool
    max_connections: int
    allow_http: Iterable[str]
    dumps: Dumps | None
    loads: Loads


class EsmsClient:
    """Sends messages through one eSMS account, each at most once.

    A client can be made anywhere and is used in one event loop, by any number of tasks. The first
    send opens connections. Use the client with `async with`, or call `aclose()`: sends in flight
    are brought to their outcomes before the connections close.

    Args:
        credentials: The account's keys.
        route: The route of messages that name none: `FixedNumber()` (the phone may ring and read
            the text out), `Brandname` or `ZaloTemplate`.
        templates: The templates of brandnames, as `templates()` returns them. A message of such
            a brandname whose text fits none of them raises InvalidMessage, and nothing is sent.
            Messages of other brandnames are sent unchecked.
        base_url: The folder of the gateway's operations; a missing last slash is added.
            `http://` is allowed only for a loopback address.
        session: An aiohttp session to use, for a proxy, an `ssl` context or tracing of your own.
            It stays yours to close; its cookies are not sent.
        retry: When a send is tried again, and for how long.
        limiter: An async context manager around each attempt, such as aiolimiter's
            `AsyncLimiter`. Waiting for it counts against the deadline.
        ledger: Keeps the state of each send, so neither a crash nor a second process sends a
            message twice. The client opens and closes a ledger that is not open yet.
        hooks: Receive the events of each send: metrics, traces, a log of your own.
        sandbox: True lets the gateway check messages without sending or charging them.
        callback_url: The CallbackUrl of messages that have none: a URL, or a function that
            returns one for each message, as `CallbackSigner.at` makes it.
        trackable: True sends the RequestId as the campaign id of messages that have none, so
            `reconcile` can find them in the gateway's list.
        max_connections: The most connections that the client's own session opens.
        allow_http: Exact names of hosts for which `http://` is allowed too: an emulator on another
            machine. A host under esms.vn is refused.
        dumps: Writes a JSON object, as text or bytes, instead of the package's own writer.
        loads: Reads JSON from bytes, instead of the standard library.

    Raises:
        ConfigurationError: A value cannot work; the error names it.
    """

    # The destination that a ledger is bound to, if the base URL does not tell it.
    _destination: ClassVar[str | None] = None
    # True for a client that `with_options` returned.
    _is_view = False

    def __init__(
        self,
        credentials: Credentials,
        *,
        route: Route = FIXED_NUMBER,
        templates: Templates | Iterable[Templates] = (),
        base_url: str = DEFAULT_BASE_URL,
        session: aiohttp.ClientSession | None = None,
        retry: RetryPolicy = RetryPolicy(),
        limiter: Limiter | None = None,
        ledger: Ledger | None = None,
        hooks: Sequence[Hook] = (),
        sandbox: bool = False,
        callback_url: CallbackUrl | None = None,
        trackable: bool = False,
        max_connections: int = 100,
        allow_http: Iterable[str] = (),
        dumps: Dumps | None = None,
        loads: Loads = read_json,
    ) -> None:
        check_type("credentials", credentials, Credentials)
        check_route(route)
        check_type("retry", retry, RetryPolicy)
        check_count("max_connections", max_connections)
        transport = Transport(
            base_url, session=session, max_connections=max_connections, allow_http=allow_http
        )
        ledger_session = None
        if ledger is not None:
            destination = self._destination or transport.destination
            destination += " sandbox" if sandbox else ""
            ledger_session = LedgerSession(ledger, credentials, destination)
        encode = SendEncoder(
            credentials,
            sandbox=sandbox,
            callback_url=_checked_callback_url(callback_url),
            trackable=trackable,
            dumps=dumps,
            route=route,
            templates=_read_templates(templates),
        )
        self._sender = Sender(
            transport, credentials, loads, Events(hooks), RetryBudget(retry.budget), ledger_session
        )
        self._options = ViewOptions(retry, limiter, encode)

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] | None = None, **options: Unpack[ClientOptions]
    ) -> Self:
        """Make a client from environment variables.

        `ESMS_API_KEY` and `ESMS_SECRET_KEY` are required; `ESMS_BASE_URL` and `ESMS_SANDBOX`
        (1, true, yes, on, or 0, false, no, off) are optional. `ESMS_ALLOW_HTTP` names the hosts,
        separated by commas, for which `http://` is allowed: those of an emulator. `ESMS_ROUTE` is
        the route of messages that name none: `fixed` (the default), `brandname:NAME` or
        `zalo:OAID:TEMPID[:MODE]`.

        Args:
            environ: The variables; those of the process by default.
            **options: Keyword arguments of the client. They win over the variables.

        Raises:
            ConfigurationError: A variable is missing or cannot work; the error names it.
        """
        environ = os.environ if environ is None else environ
        try:
            credentials = credentials_from_env(environ)
            if base_url := environ.get("ESMS_BASE_URL"):
                options.setdefault("base_url", base_url)
            if hosts := environ.get("ESMS_ALLOW_HTTP"):
                options.setdefault("allow_http", [host.strip() for host in hosts.split(",")])
            options.setdefault("sandbox", _read_switch(environ, "ESMS_SANDBOX"))
            options.setdefault("route", route_from_env(environ))
        except ConfigurationError as error:
            # Error trackers record the locals of every frame, so none may hold the variables.
            environ = None
            raise error.with_traceback(None) from None
        del environ
        return cls(credentials, **options)

    def __repr__(self) -> str:
        # Error trackers also show a client whose `__init__` has failed.
        sender: Sender | None = getattr(self, "_sender", None)
        return f"EsmsClient(base_url={sender and sender.transport.base_url!r})"

    @property
    def route(self) -> Route:
        """The route of messages that name none."""
        return self._options.encode.route

    @property
    def retry(self) -> RetryPolicy:
        """When a send is tried again."""
        return self._options.retry

    def with_options(
        self,
        *,
        retry: RetryPolicy | None = None,
        limiter: Limiter | None = _UNCHANGED,
        route: Route | None = None,
        callback_url: CallbackUrl | None = _UNCHANGED,
    ) -> Self:
        """Return a view of this client that sends with other options.

        The view shares the connections, the ledger, the sends under way, the memory of results and
        the retry budget with this client. Closing it does nothing: they belong to the client.

        Args:
            retry: When to try again; its `budget` is ignored, because the client's is shared.
            limiter: The limiter around each attempt; None for no limit.
            route: The route of messages that name none.
            callback_url: The CallbackUrl of messages that have none; None for no reports.

        Raises:
            ConfigurationError: A value cannot work; the error names it.
        """
        options = self._options
        if retry is not None:
            check_type("retry", retry, RetryPolicy)
            options = attrs.evolve(options, retry=retry)
        if limiter is not _UNCHANGED:
            options = attrs.evolve(options, limiter=limiter)
        if route is not None or callback_url is not _UNCHANGED:
            encode = options.encode
            route = encode.route if route is None else route
            check_route(route)
            url = encode.callback_url
            if callback_url is not _UNCHANGED:
                url = _checked_callback_url(callback_url)
            encode = encode.with_options(route=route, callback_url=url)
            options = attrs.evolve(options, encode=encode)
        view = copy.copy(self)
        view._options = options  # noqa: SLF001  # a copy of itself
        view._is_view = True  # noqa: SLF001  # the same
        return view

    def check(self, message: Message) -> None:
        """Check a message by its route and by `templates`, as `send` does; nothing is sent.

        Raises:
            InvalidMessage: It has content but its route takes params, or the reverse, or its
                content fits no template of `templates`.
        """
        self._options.encode.check(message)

    def send(self, message: Message) -> Coroutine[Any, Any, Receipt]:
        """Send a message, and try again until the outcome is certain or time is up.

        A message that this client has sent before gives the same receipt, or raises the same
        rejection of the message itself; a message in doubt is resumed. A message that is under way
        joins that send: one request, one shared result.

        Returns:
            The receipt: the gateway has accepted the message.

        Raises:
            InvalidMessage: It has content but its route takes params, or the reverse, or its
                content fits no template of `templates`; nothing was sent.
            NotSent: Nothing ever left this machine.
            Rejected: The gateway refused it (`AccountRejected` among them).
            OutcomeUnknown: It may have been accepted; `resume` it within 23 hours.
            DuplicateRequestId: The gateway has seen the RequestId (code 124), and no known attempt
                explains it; a delivery report or `reconcile` settles it.
            RequestIdExpired: An attempt may have been accepted too long ago to send it again.
            RequestIdConflict: Another message has the same RequestId, or the same message was sent
                by another route; nothing was sent.
            LedgerError: The ledger can't be used; nothing was sent.
            UsageError: The client or its ledger is open on another event loop; nothing was sent.
            asyncio.CancelledError: The caller was cancelled; `__cause__` says what is true of the
                message: NotSent, OutcomeUnknown, or the Rejected that had come.
        """
        return SendCall(self._sender, message, self._options, resume=False)

    def resume(self, message: Message) -> Coroutine[Any, Any, Receipt]:
        """Send a message again after an attempt that may have been accepted.

        Code 124 then means that it was: the receipt is `deduplicated`. The gateway remembers a
        RequestId for 24 hours, so resume within 23. If neither this client nor its ledger knows the
        message, the age of a minted RequestId counts. A message in doubt by code 124 alone is not
        sent.

        Args:
            message: The message, as `OutcomeUnknown.message` holds it or made again with the same
                RequestId, phone and content.

        Returns:
            The receipt: the gateway has accepted the message, once.

        Raises:
            SendError: As for `send`; never NotSent, because the earlier attempt may have arrived.
        """
        return SendCall(self._sender, message, self._options, resume=True)

    def send_many(
        self,
        messages: Iterable[Message] | AsyncIterable[Message],
        *,
        concurrency: int = 64,
        ordered: bool = False,
    ) -> SendMany:
        """Send a stream of messages concurrently, and yield their outcomes as they come.

        A repeated RequestId is one send and two outcomes, as for `send`.

        Args:
            messages: The messages, pulled one at a time as places become free.
            concurrency: The most sends under way.
            ordered: True yields the outcomes in the order of the messages.

        Returns:
            An async iterator of outcomes, which is also an async context manager.

        Raises:
            ConfigurationError: `concurrency` is not an int of at least 1.
            TypeError: `messages` cannot be iterated.
        """
        sender, options = self._sender, self._options

        def send(message: Message) -> Coroutine[Any, Any, Receipt]:
            return sender.send(message, options, resume=False)

        return SendMany(send, messages, concurrency=concurrency, ordered=ordered)

    async def balance(self) -> "Balance":
        """Return the balance of the account, in dong.

        Raises:
            QueryError: No answer came, or a refusal (`QueryAccountRejected` among them).
        """
        return await self._queries().balance()

    async def status(self, sms_id: str) -> "SmsStatus | None":
        """Return the status of a message of the last 7 days.

        Args:
            sms_id: The SMSID, from the receipt or the delivery report.

        Returns:
            The status; None if the gateway does not know the SMSID. Shortly after a send that
            means "not yet", and it never means that nothing was sent.

        Raises:
            QueryError: No answer came, or a refusal.
            ConfigurationError: The value can't be an SMSID.
        """
        return await self._queries().status(sms_id)

    async def receivers(self, sms_id: str) -> "tuple[Receiver, ...] | None":
        """Return the status of a message for each of its phones.

        Args:
            sms_id: The SMSID, from the receipt or the delivery report.

        Returns:
            The receivers; None if the gateway does not know the SMSID, or not yet.

        Raises:
            QueryError: No answer came, or a refusal.
            ConfigurationError: The value can't be an SMSID.
        """
        return await self._queries().receivers(sms_id)

    async def brandnames(self) -> "tuple[AccountBrandname, ...]":
        """Return the brandnames of the account.

        Raises:
            QueryError: No answer came, or a refusal.
        """
        return await self._queries().brandnames()

    async def templates(self, brandname: str | Brandname) -> Templates:
        """Return the templates that are registered for a brandname.

        Args:
            brandname: The brandname; its case counts.

        Returns:
            The templates. Iterate over them; `match` returns whether a text fits one, and
            `EsmsClient(templates=…)` takes them.

        Raises:
            QueryError: No answer came, or a refusal: code 104 if there is no such brandname.
            ConfigurationError: The value can't be a brandname.
        """
        name = brandname.name if isinstance(brandname, Brandname) else Brandname(brandname).name
        return await self._queries().templates(name)

    async def price(self, message: Message) -> "Price":
        """Return the price of a brandname message, which is not sent.

        Raises:
            QueryError: No answer came, or a refusal.
            ConfigurationError: The message has another route; the gateway has no price for it.
        """
        return await self._queries().price(message, self.route)

    async def zalo_status(self, oa_id: str, message_id: str) -> "ZaloStatus | None":
        """Return Zalo's status of a message. The gateway takes 30 such queries a second.

        Args:
            oa_id: The OAID that it was sent from.
            message_id: Zalo's id of the message: `partnerids` of the delivery report.

        Returns:
            The status; None if the gateway has no data.

        Raises:
            QueryError: No answer came, or a refusal.
            ConfigurationError: An id can't be one.
        """
        return await self._queries().zalo_status(oa_id, message_id)

    def sent(
        self, since: datetime, until: datetime, *, route: Route | None = None
    ) -> "AsyncGenerator[SentMessage]":
        """List what the account has sent by one kind of route, page by page.

        A period longer than 3 days is read in pieces of 3 days.

        Args:
            since: The beginning of the period, aware; it is rounded down to a second.
            until: Its end, aware; it is rounded up. If it lies in the past, new sends do not move
                the lines.
            route: A route of the kind to list: the fixed number, all brandnames, or all normal
                Zalo messages; the client's default by default.

        Returns:
            An async iterator of the messages, in the gateway's order. Each page is one query, made
            when its first message is asked for; it may raise QueryError.

        Raises:
            ConfigurationError: A time is not an aware datetime, or `until` lies before `since`.
        """
        route = self.route if route is None else route
        check_route(route)
        return self._queries().sent(since, until, route.kind)

    async def reconcile(self, messages: Iterable[str | Message] | None = None) -> "Reconciliation":
        """Look for unsettled sends in the gateway's list, and settle those it finds in the ledger.

        It finds a send by its RequestId as campaign id (see `trackable`), its phone and its time.
        A send that is not found stays unknown: absence from the list never proves that nothing was
        sent. It reads the lists of the client's default route and of the routes that the Messages
        name; `with_options(route=…).reconcile()` reads another.

        Args:
            messages: Messages or RequestIds; all unsettled sends of the ledger by default. It also
                finds the SMSID of a `deduplicated` receipt.

        Returns:
            The sends whose outcome is known now, and those still unknown, each with the reason.

        Raises:
            UsageError: The client has no ledger, or is closed.
            QueryError: The list could not be read; nothing was settled.
            LedgerError: The ledger can't be used.
        """
        # Few programs reconcile, and each would import it.
        from esms_async._send.reconcile import reconcile  # noqa: PLC0415

        ledger = self._sender.ledger
        if ledger is None:
            raise UsageError("the client has no ledger to reconcile; give it one")
        self._open_sender()
        if messages is not None and not isinstance(messages, str | Message):
            messages = list(messages)
        routes = {self.route.kind: self.route}
        for one in messages if isinstance(messages, list) else ():
            if isinstance(one, Message) and one.route is not None:
                routes.setdefault(one.route.kind, one.route)

        async def list_all(since: datetime, until: datetime) -> "AsyncGenerator[SentMessage]":
            for route in routes.values():
                async for line in self.sent(since, until, route=route):
                    yield line

        return await reconcile(await ledger.opened(), list_all, messages)

    async def aclose(self) -> None:
        """Bring the sends in flight to their outcomes, then close the connections.

        Later sends raise NotSent. Cancelling this call closes the connections at once.
        """
        sender = self._sender
        if self._is_view:
            return
        try:
            await sender.aclose()
        finally:
            try:
                if sender.ledger is not None:
                    await sender.ledger.aclose()
            finally:
                await sender.transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _queries(self) -> "Queries":
        # Imported at the first query: most programs only send.
        from esms_async._send.query import Queries  # noqa: PLC0415

        return Queries(self._open_sender(), self._options.retry)

    def _open_sender(self) -> Sender:
        if self._sender.closed:
            raise UsageError("the client is closed")
        return self._sender


def credentials_from_env(environ: Mapping[str, str]) -> Credentials:
    """Read `ESMS_API_KEY` and `ESMS_SECRET_KEY`; raise ConfigurationError if they can't be keys."""
    names = ("ESMS_API_KEY", "ESMS_SECRET_KEY")
    if missing := [name for name in names if not environ.get(name)]:
        del environ
        noun = "variable" if len(missing) == 1 else "variables"
        raise ConfigurationError(f"set the environment {noun} {' and '.join(missing)}")
    try:
        return Credentials(*(environ[name] for name in names))
    except ConfigurationError as error:
        del environ
        raise error.with_traceback(None) from None


def _read_switch(environ: Mapping[str, str], name: str) -> bool:
    value = environ.get(name, "").strip().lower()
    if value not in _TRUE | _FALSE:
        raise ConfigurationError(f"{name} must be 1 or 0, not {value!r}")
    return value in _TRUE


def _read_templates(templates: Templates | Iterable[Templates]) -> dict[str, Templates]:
    given = (templates,) if isinstance(templates, Templates) else tuple(templates)
    for one in given:
        check_type("templates", one, Templates)
    return {one.brandname: one for one in given}


def route_from_env(environ: Mapping[str, str]) -> Route:
    """Read `ESMS_ROUTE`, by default `fixed`; raise ConfigurationError if it can't be a route."""
    try:
        return parse_route(environ.get("ESMS_ROUTE") or "fixed")
    except ConfigurationError as error:
        raise ConfigurationError(f"ESMS_ROUTE: {error}") from None


def _checked_callback_url(callback_url: CallbackUrl | None) -> CallbackUrl | None:
    try:
        if callback_url is not None and not callable(callback_url):
            check_callback_url(callback_url)
    except InvalidMessage as error:
        raise ConfigurationError(str(error)) from None
    return callback_url
