"""The emulator: the gateway on a socket of this machine, and what a test asks and tells it."""

import os
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from esms_async.emulator.arming import ArmedFault, Armoury
from esms_async.emulator.callbacks import Reporter
from esms_async.emulator.clock import Clock
from esms_async.emulator.control import Control
from esms_async.emulator.delivery import FINISHED, progress
from esms_async.emulator.engine import Engine
from esms_async.emulator.faults import Fault
from esms_async.emulator.feed import Feed
from esms_async.emulator.gateway import Gateway
from esms_async.emulator.handlers import FOLDER, Handlers
from esms_async.emulator.journal import Event, Journal, Listener
from esms_async.emulator.misbehaviour import Closing
from esms_async.emulator.page import Page
from esms_async.emulator.records import AcceptedMessage, SeenRequest, SentReport
from esms_async.emulator.settings import AccountState, Settings
from esms_async.emulator.site import close, listen, new_application
from esms_async.emulator.waiting import Wanted, first_event, latest_code
from esms_async.errors import ConfigurationError, UsageError
from esms_async.messages import Credentials

if TYPE_CHECKING:
    from aiohttp import web

HOST: Final = "127.0.0.1"
"""The address that an emulator listens on, and no other."""

DEFAULT_BALANCE: Final = 1_000_000_000
"""Enough for a million messages, in dong."""

_NO_MESSAGE = "no message is kept by this SMSID"


class Emulator:
    """A local eSMS gateway. No SMS ever leaves the machine through it.

    Use it with `async with`, inside the event loop that it is to run in, and give its `url` to
    `EsmsClient` as `base_url`.

    Args:
        port: The port of 127.0.0.1 to listen on; 0 takes one that is free.
        credentials: The account's keys; None takes any that are not empty.
        balance: What is on the account, in dong.
        faults: Faults to arm, as `fault` takes them.
        seed: Makes `p=` of faults, and SMSIDs, repeatable; None draws one, see `seed`.
        clock: What time it is; a clock that runs with the machine's by default.
        settings: What no page documents, and the bounds.

    Raises:
        ConfigurationError: A value cannot work; the error names it.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        credentials: Credentials | None = None,
        balance: int = DEFAULT_BALANCE,
        faults: Iterable[str | Fault] = (),
        seed: int | None = None,
        clock: Clock | None = None,
        settings: Settings = Settings(),  # noqa: B008  # a frozen value
    ) -> None:
        if isinstance(faults, str):
            raise ConfigurationError("faults must be a list of specifications, not one str")
        self._port = port
        self._starting_balance = _check_balance(balance)
        self._seed = int.from_bytes(os.urandom(4), "big") if seed is None else seed
        self._clock = Clock() if clock is None else clock
        self._gateway = Gateway(
            settings, self._clock.time, balance=balance, credentials=credentials, seed=self._seed
        )
        self._armoury = Armoury(self._seed)
        self._journal = Journal(settings.max_requests)
        self._engine = Engine(settings, self._clock, self._gateway, self._armoury, self._journal)
        for fault in faults:
            self._armoury.arm(fault)
        self._armoury.changes.add(self._note_change)
        self._closing: Closing | None = None
        self._feed: Feed | None = None
        self._reporter = Reporter(self._engine)
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """The folder of the operations: the client's `base_url`, and `ESMS_BASE_URL`."""
        return f"http://{HOST}:{self.port}{FOLDER}"

    @property
    def port(self) -> int:
        """The port that it listens on."""
        if self._runner is None or not self._runner.addresses:
            raise UsageError("the emulator is not running; use it with `async with`")
        port: int = self._runner.addresses[0][1]
        return port

    @property
    def seed(self) -> int:
        """The seed that it goes by, to give to another one that is to do the same."""
        return self._seed

    @property
    def clock(self) -> Clock:
        """The clock that deduplication and delivery go by."""
        return self._clock

    @property
    def balance(self) -> int:
        """What is on the account, in dong. It can be set."""
        return self._gateway.balance

    @balance.setter
    def balance(self, dong: int) -> None:
        self._gateway.balance = _check_balance(dong)
        self._note_change()

    @property
    def account(self) -> AccountState:
        """What is wrong with the account, if anything. It can be set."""
        return self._gateway.state

    @account.setter
    def account(self, state: AccountState) -> None:
        self._gateway.state = AccountState(state)
        self._note_change()

    @property
    def messages(self) -> list[AcceptedMessage]:
        """The messages that were accepted and are kept, oldest first."""
        return self._gateway.messages

    @property
    def pruned(self) -> int:
        """How many accepted messages made room for newer ones; their RequestIds are kept."""
        return self._gateway.pruned

    @property
    def requests(self) -> list[SeenRequest]:
        """The requests that came in and are kept, oldest first, with what became of each."""
        return self._journal.requests.records

    @property
    def reports(self) -> list[SentReport]:
        """The delivery reports that were sent, or tried to be, and are kept, oldest first."""
        return self._journal.reports.records

    @property
    def faults(self) -> tuple[ArmedFault, ...]:
        """The armed faults, with what is left of each."""
        return self._armoury.armed

    def fault(self, spec: str | Fault) -> ArmedFault:
        """Arm a fault; it strikes every request that it fits, from now on.

        Args:
            spec: `kind[:argument][@operation][,option=value]…`, such as
                `reset,phase=after,times=1`; see `esms_async.emulator.faults`.

        Returns:
            The fault at work: `used` and `left` count, `disarm()` takes it away.

        Raises:
            ConfigurationError: A part cannot be read; the error says which, and what is allowed.
        """
        return self._armoury.arm(spec)

    def clear_faults(self) -> None:
        """Take all faults away."""
        self._armoury.clear()

    def accepted(self, request_id: str) -> int:
        """Return how many times a message with a RequestId was accepted.

        Args:
            request_id: The RequestId.

        Returns:
            0, or 1; more only where it was sent again after the 24 hours of deduplication.
        """
        return self._gateway.accepted(request_id)

    def mark(self) -> int:
        """Return the present place in the order of accepted messages, for `since`."""
        return self._gateway.count

    def find(
        self, *, phone: str | None = None, request_id: str | None = None, since: int = 0
    ) -> list[AcceptedMessage]:
        """Return the accepted messages that fit, oldest first.

        Args:
            phone: The phone, in any form that a message takes; None for any.
            request_id: The RequestId; None for any.
            since: A `mark()`: only messages accepted after it.

        Returns:
            Those that are kept.

        Raises:
            ConfigurationError: `phone` is no phone number.
        """
        fits = Wanted(phone, request_id, since).fits
        return [message for message in self._gateway.messages if fits(message)]

    def latest_code(self, phone: str) -> str:
        """Return the code in the newest message to a phone, at once.

        Args:
            phone: The phone, in any form that a message takes.

        Returns:
            The code (`AcceptedMessage.otp`).

        Raises:
            LookupError: No message to it has a code so far.
            ConfigurationError: `phone` is no phone number.
        """
        return latest_code(self.messages, phone)

    async def wait_for_code(
        self,
        phone: str,
        *,
        since: int = 0,
        timeout: float = 5.0,  # noqa: ASYNC109  # as wait_for
    ) -> str:
        """Return the code in the newest message to a phone, or wait for the first message.

        Args:
            phone: The phone, in any form that a message takes.
            since: A `mark()`: only messages accepted after it.
            timeout: How long to wait, in seconds of real time.

        Returns:
            The code (`AcceptedMessage.otp`).

        Raises:
            TimeoutError: No message came.
            LookupError: The message has no code.
            ConfigurationError: `phone` is no phone number.
        """
        message = await self.wait_for(phone=phone, since=since, timeout=timeout)
        return latest_code([message], phone)

    async def wait_for(
        self,
        *,
        phone: str | None = None,
        request_id: str | None = None,
        since: int = 0,
        timeout: float = 5.0,  # noqa: ASYNC109  # the error tells what was waited for
    ) -> AcceptedMessage:
        """Return the newest accepted message that fits, or wait for the first to come.

        Args:
            phone: The phone, in any form that a message takes; None for any.
            request_id: The RequestId; None for any.
            since: A `mark()`: only messages accepted after it.
            timeout: How long to wait, in seconds of real time.

        Returns:
            The message.

        Raises:
            TimeoutError: None came; the error says what was waited for.
            ConfigurationError: `phone` is no phone number.
        """
        wanted = Wanted(phone, request_id, since)
        for message in reversed(self._gateway.messages):
            if wanted.fits(message):
                return message

        def pick(event: Event) -> AcceptedMessage | None:
            message = event.message
            return message if message is not None and wanted.fits(message) else None

        return await first_event(self._journal, pick, timeout, str(wanted))

    async def wait_for_request(
        self,
        *,
        request_id: str | None = None,
        count: int = 1,
        timeout: float = 5.0,  # noqa: ASYNC109  # the error tells what was waited for
    ) -> SeenRequest:
        """Return the n-th request that fits, and wait for it where it has not come yet.

        A request is there as soon as it has arrived, whatever fault it then meets.

        Args:
            request_id: The RequestId; None for any.
            count: Which of the requests that fit and are kept, from 1.
            timeout: How long to wait, in seconds of real time.

        Returns:
            The request, with what is known of it so far.

        Raises:
            TimeoutError: It did not come.
        """
        numbers: set[int] = set()

        def pick(request: SeenRequest | None) -> SeenRequest | None:
            if request is None or request_id not in (None, request.request_id):
                return None
            numbers.add(request.number)
            return request if len(numbers) >= count else None

        for request in self._journal.requests.records:
            if pick(request) is not None:
                return request
        wanted = "a request" if count == 1 else f"{count} requests"
        return await first_event(self._journal, lambda event: pick(event.request), timeout, wanted)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Tell a listener of everything that happens from now on.

        Args:
            listener: Called with each `Event`, at once and within the event loop: it must not
                wait, and must not raise.

        Returns:
            A function that ends it.
        """
        return self._journal.subscribe(listener)

    def finish(self, sms_id: str, *, delivered: bool = True) -> AcceptedMessage:
        """Let a message reach its phone now, or fail to, and send its report.

        Args:
            sms_id: The SMSID of a message that is kept.
            delivered: True where the phone gets it.

        Returns:
            The message as it is now.

        Raises:
            LookupError: No message is kept by that SMSID.
        """
        message = self._gateway.finish(sms_id, delivered=delivered)
        if message is None:
            raise LookupError(_NO_MESSAGE)
        self._journal.note_message(message)
        self._reporter.send(message)
        return message

    def resend_report(self, sms_id: str) -> AcceptedMessage:
        """Send the last report of a message once more.

        Args:
            sms_id: The SMSID of a message that is kept.

        Returns:
            The message.

        Raises:
            LookupError: No message is kept by that SMSID.
            UsageError: Nothing is known yet to report, or nobody is there to report to.
        """
        message = self._gateway.find(sms_id)
        if message is None:
            raise LookupError(_NO_MESSAGE)
        if message.callback_url is None:
            raise UsageError("the message has no CallbackUrl to send a report to")
        if progress(message, self._clock.time()).send_status != FINISHED:
            raise UsageError("the message has no result yet; deliver it, or let it fail")
        self._reporter.send(message)
        return message

    def clear_messages(self) -> None:
        """Forget messages, requests and reports; RequestIds, faults and balance stay."""
        self._gateway.clear_messages()
        self._journal.reset()

    def reset(self) -> None:
        """Make it as new: no messages, RequestIds, requests or faults; balance as at first."""
        self._reporter.clear()
        self._armoury.clear()
        self._gateway.reset()
        self._gateway.balance = self._starting_balance
        self._gateway.state = AccountState.ACTIVE
        self._journal.reset()

    async def start(self) -> None:
        """Start to listen.

        Raises:
            ConfigurationError: The port cannot be listened on.
            UsageError: It was started before.
        """
        if self._closing is not None:
            raise UsageError("the emulator was started before; make a new one")
        settings = self._engine.settings
        self._closing = Closing()
        self._feed = Feed(self._journal, self._clock, settings.max_requests)
        app = new_application(settings)
        Handlers(self._engine, self._reporter, self._closing).add_routes(app)
        Page().add_routes(app)
        Control(self, settings, self._feed, self._closing).add_routes(app)
        try:
            self._runner = await listen(app, HOST, self._port, settings)
        except ConfigurationError:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Stop to listen, and end whatever hangs or waits."""
        if self._closing is not None:
            self._closing.begin()
        if self._feed is not None:
            self._feed.close()
        if self._runner is not None:
            await close(self._runner)
        await self._reporter.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _note_change(self) -> None:
        """Tell that something was changed from outside."""
        self._journal.note_state()

    def __repr__(self) -> str:
        running = self._runner is not None and bool(self._runner.addresses)
        return f"<Emulator {self.url if running else 'not running'}>"


def _check_balance(dong: object) -> int:
    if not isinstance(dong, int) or isinstance(dong, bool) or dong < 0:
        raise ConfigurationError("balance must be a whole number of dong, 0 or more")
    return dong
