"""The client: credentials and a connection pool, with the calls that send messages through them."""

import asyncio
import os
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypedDict, Unpack

import aiohttp

from esms_async._http.transport import DEFAULT_BASE_URL, Transport
from esms_async.asking import Questions
from esms_async.checks import check_count, check_type
from esms_async.errors import (
    ConfigurationError,
    InvalidMessage,
    SendError,
    UsageError,
)
from esms_async.events import Events
from esms_async.fanout import SendMany
from esms_async.hooks import Hook
from esms_async.ledger.base import Ledger
from esms_async.messages import Credentials, Message, Receipt, check_callback_url
from esms_async.observing import observed
from esms_async.outcome import History
from esms_async.protocol import CallbackUrl, Dumps, Loads, SendEncoder, read_json
from esms_async.reconciling import Reconciliation, reconcile
from esms_async.recording import Destination, RecordedSend, Recorder
from esms_async.repeats import Repeats
from esms_async.retry import RetryPolicy
from esms_async.sending import Gateway, Limiter, LogicalSend

if TYPE_CHECKING:
    from esms_async.emulated import EmulatedClient, EmulatedOptions

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"", "0", "false", "no", "off"})


class ClientOptions(TypedDict, total=False):
    """The keyword arguments of EsmsClient, for the calls that pass them on."""

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
    dumps: Dumps | None
    loads: Loads


class EsmsClient(Questions):
    """Sends messages through one eSMS account, each at most once.

    A client can be made anywhere and is used inside one event loop; connections are opened by
    the first send. Any number of tasks may use it at once. Use it with `async with`, or call
    `aclose()`: what is in flight then is brought to its outcome before the connections close.

    Args:
        credentials: The account's keys.
        base_url: The folder of the gateway's operations; a missing last slash is added.
            `http://` is taken only for a loopback address.
        session: An aiohttp session to use, for a proxy, an `ssl` context or tracing of your own.
            It stays yours to close; its cookies are not sent.
        retry: How long a send is pursued.
        limiter: An async context manager that each attempt is made in, such as aiolimiter's
            `AsyncLimiter`. Waiting for it counts against the deadline.
        ledger: Where what is known of each send is kept, so that neither a crash nor a second
            process sends a message twice. One that is not open yet is opened and closed by the
            client; one that is open stays its owner's.
        hooks: What is told of each send as it goes on: metrics, traces, a log of your own.
        sandbox: True has the gateway check messages without sending or charging them.
        callback_url: Where delivery is reported, for messages that name no place themselves: a
            URL, or a function that gives each message its own, as `CallbackSigner.at` makes it.
        trackable: True sends the RequestId as campaign id, for messages that name none
            themselves, so that `reconcile` can find them in the gateway's list.
        max_connections: How many connections the client's own session opens at most.
        dumps: Writes a JSON object, as text or bytes, in place of the package's own writer.
        loads: Reads JSON from bytes, in place of the standard library.

    Raises:
        ConfigurationError: A value cannot work; the error names it.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        base_url: str = DEFAULT_BASE_URL,
        session: aiohttp.ClientSession | None = None,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008  # a frozen value
        limiter: Limiter | None = None,
        ledger: Ledger | None = None,
        hooks: Sequence[Hook] = (),
        sandbox: bool = False,
        callback_url: CallbackUrl | None = None,
        trackable: bool = False,
        max_connections: int = 100,
        dumps: Dumps | None = None,
        loads: Loads = read_json,
    ) -> None:
        check_type("credentials", credentials, Credentials)
        check_type("retry", retry, RetryPolicy)
        check_count("max_connections", max_connections)
        self._transport = Transport(base_url, session=session, max_connections=max_connections)
        self._gateway = Gateway(
            self._transport,
            credentials,
            SendEncoder(
                credentials,
                sandbox=sandbox,
                callback_url=_checked_callback_url(callback_url),
                trackable=trackable,
                dumps=dumps,
            ),
            loads,
            retry,
            limiter,
            Events(hooks),
        )
        self._recorder = (
            None
            if ledger is None
            else Recorder(
                ledger, credentials.secret_key, _destination(self._transport, sandbox=sandbox)
            )
        )
        self._under_way: dict[str, LogicalSend] = {}
        self._closed = False
        self._idle = asyncio.Event()

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] | None = None, **options: Unpack[ClientOptions]
    ) -> Self:
        """Make a client from environment variables.

        `ESMS_API_KEY` and `ESMS_SECRET_KEY` are required; `ESMS_BASE_URL` and `ESMS_SANDBOX`
        (1, true, yes, on, or 0, false, no, off) are optional.

        Args:
            environ: The variables; those of the process by default.
            **options: Keyword arguments of the client. They win over the variables.

        Returns:
            The client.

        Raises:
            ConfigurationError: A variable is missing or cannot work; the error names it.
        """
        environ = os.environ if environ is None else environ
        credentials = credentials_from_env(environ)
        if base_url := environ.get("ESMS_BASE_URL"):
            options.setdefault("base_url", base_url)
        options.setdefault("sandbox", _read_switch(environ, "ESMS_SANDBOX"))
        return cls(credentials, **options)

    @staticmethod
    def emulated(
        **options: Unpack["EmulatedOptions"],
    ) -> AbstractAsyncContextManager["EmulatedClient"]:
        """Start an emulator in this process, and make a client for it; no SMS leaves the machine.

        Args:
            **options: Keyword arguments of the client, except `base_url`; and `emulator`, an
                Emulator that is set up in another way than by default and not started yet, with
                `credentials`, where it takes those of its account alone.

        Returns:
            An async context manager that gives the client; its `emulator` is the emulator.

        Raises:
            ConfigurationError: On entering: a value cannot work; the error names it.
        """
        # Who sends real messages never loads the emulator.
        from esms_async.emulated import emulated_client  # noqa: PLC0415  # as said above

        return emulated_client(**options)

    def __repr__(self) -> str:
        return f"EsmsClient(base_url={self._transport.base_url!r})"

    async def send(self, message: Message) -> Receipt:
        """Send a message, and try again until the outcome is certain or time is up.

        Args:
            message: The message. Sent again while its first send is under way, it joins that
                send: one request, one shared result.

        Returns:
            The receipt: the gateway has accepted the message.

        Raises:
            NotSent: Nothing ever left this machine.
            Rejected: The gateway refused it (`AccountRejected`, `DuplicateRequestId` among them).
            OutcomeUnknown: It may have been accepted; `resume` it within 23 hours.
            RequestIdConflict: Another message has the same RequestId; nothing was sent.
            RequestIdExpired: The ledger holds an attempt that may have been accepted too long
                ago to send again; nothing was sent.
            LedgerError: The ledger can't be used; nothing was sent.
            asyncio.CancelledError: The caller was cancelled; its `__cause__` is what is true of
                the message: NotSent, OutcomeUnknown, or the Rejected that had come.
        """
        return await self._deliver(message, History.CLEAN)

    async def resume(self, message: Message) -> Receipt:
        """Send a message of which an earlier attempt may have been accepted.

        Code 124 then means that it was: the receipt is `deduplicated`. The gateway remembers a
        RequestId for 24 hours; resume within 23.

        Args:
            message: The message, as `OutcomeUnknown.message` holds it or made again with the same
                RequestId, phone and content.

        Returns:
            The receipt: the gateway has accepted the message, once.

        Raises:
            SendError: As for `send`; never NotSent, for the earlier attempt may have arrived.
        """
        return await self._deliver(message, History.AMBIGUOUS)

    def send_many(
        self,
        messages: Iterable[Message] | AsyncIterable[Message],
        *,
        concurrency: int = 64,
        ordered: bool = False,
    ) -> SendMany:
        """Send a stream of messages, some at a time, and give their outcomes as they come.

        A RequestId that comes again is one send and two outcomes: the second shares the receipt
        or the refusal of the first, resumes it where it may have been accepted, and is sent
        where nothing of it was accepted. The latest 10 000 RequestIds are remembered; of one
        that comes again after that, the ledger or the gateway tells (`DuplicateRequestId`).

        Args:
            messages: The messages, pulled one at a time as places become free.
            concurrency: How many sends are under way at most.
            ordered: True gives the outcomes in the order of the messages.

        Returns:
            An async iterator of outcomes, which is also an async context manager.

        Raises:
            ConfigurationError: `concurrency` is no int of at least 1.
            TypeError: `messages` cannot be iterated.
        """
        send = Repeats(self.send, self.resume).send
        return SendMany(send, messages, concurrency=concurrency, ordered=ordered)

    async def reconcile(self, request_ids: Iterable[str] | None = None) -> Reconciliation:
        """Look for unsettled sends in the gateway's list, and settle in the ledger what is found.

        A send is found by its RequestId as campaign id (see `trackable`), its phone and its time.
        One that is not found stays unknown: absence from the list never proves that nothing was
        sent.

        Args:
            request_ids: Those of the sends to look for; all unsettled ones of the ledger by
                default. Of a `deduplicated` receipt it finds the SMSID.

        Returns:
            What is known now, and what remains unknown.

        Raises:
            UsageError: The client has no ledger, or is closed.
            QueryError: The list could not be had; nothing was settled.
            LedgerError: The ledger can't be used.
        """
        if self._recorder is None:
            raise UsageError("the client has no ledger to reconcile; give it one")
        self._open_gateway()
        return await reconcile(await self._recorder.opened(), self.sent, request_ids)

    async def aclose(self) -> None:
        """Bring what is in flight to its outcome, then close the connections.

        Sends that come later are NotSent. Cancelling this call closes the connections at once.
        """
        self._closed = True
        try:
            if self._under_way:
                await self._idle.wait()
        finally:
            try:
                if self._recorder is not None:
                    await self._recorder.aclose()
            finally:
                await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _new_send(self, message: Message, history: History) -> LogicalSend:
        if self._recorder is None:
            return LogicalSend(self._gateway, message, history)
        return RecordedSend(self._gateway, message, history, self._recorder)

    async def _deliver(self, message: Message, history: History) -> Receipt:
        """Send a message, unless a send of it is under way: then share the result of that one."""
        key = _require_message(message).request_id
        self._transport.require_loop()
        while (under_way := self._under_way.get(key)) is not None:
            joined = await under_way.join(message, history)
            if isinstance(joined, Receipt):
                return joined
            history = joined
        send = self._new_send(message, history)
        if self._closed:
            raise send.left_open("the client is closed")
        self._under_way[key] = send
        result: Receipt | SendError | None = None
        try:
            result = await observed(send, self._gateway.events)
        except SendError as error:
            result = error
            raise
        else:
            return result
        finally:
            send.land(result)
            del self._under_way[key]
            if self._closed and not self._under_way:
                self._idle.set()


def _require_message(message: object) -> Message:
    if not isinstance(message, Message):
        raise InvalidMessage("message", f"is a {type(message).__name__}, not a Message")
    return message


def credentials_from_env(environ: Mapping[str, str]) -> Credentials:
    """Read `ESMS_API_KEY` and `ESMS_SECRET_KEY`.

    Args:
        environ: The environment variables.

    Returns:
        The credentials.

    Raises:
        ConfigurationError: One is missing or cannot be a key; the error names it.
    """
    names = ("ESMS_API_KEY", "ESMS_SECRET_KEY")
    if missing := [name for name in names if not environ.get(name)]:
        raise ConfigurationError(f"set the environment variable {' and '.join(missing)}")
    return Credentials(*(environ[name] for name in names))


def _destination(transport: Transport, *, sandbox: bool) -> Destination:
    if sandbox:
        return Destination.SANDBOX
    return Destination.LOOPBACK if transport.is_loopback else Destination.GATEWAY


def _read_switch(environ: Mapping[str, str], name: str) -> bool:
    value = environ.get(name, "").strip().lower()
    if value not in _TRUE | _FALSE:
        raise ConfigurationError(f"{name} must be 1 or 0, not {value!r}")
    return value in _TRUE


def _checked_callback_url(callback_url: CallbackUrl | None) -> CallbackUrl | None:
    try:
        if callback_url is not None and not callable(callback_url):
            check_callback_url(callback_url)
    except InvalidMessage as error:
        raise ConfigurationError(str(error)) from None
    return callback_url
