"""The emulator: the gateway on a socket of this machine, and what a test asks of it."""

import asyncio
import concurrent.futures
import contextlib
import errno
import json
import os
import re
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import partial, wraps
from pathlib import Path
from types import TracebackType
from typing import (
    TYPE_CHECKING,
    Concatenate,
    Final,
    ParamSpec,
    Self,
    TypedDict,
    TypeVar,
    Unpack,
    cast,
)

from esms_async._model.errors import ConfigurationError, UsageError
from esms_async._model.messages import Credentials
from esms_async._model.phone import mask_phone
from esms_async.emulator.callbacks import Reporter
from esms_async.emulator.clock import Clock, RealTimeLoop
from esms_async.emulator.control import Control, Page
from esms_async.emulator.database import Database
from esms_async.emulator.faults import ArmedFault, Fault, FaultRegistry
from esms_async.emulator.gateway import (
    DEFAULT_BALANCE,
    AcceptedSend,
    AccountSetup,
    Gateway,
    Use,
    check_balance,
)
from esms_async.emulator.http import (
    FOLDER,
    Closing,
    Handlers,
    HostGuard,
    close,
    listen,
    new_application,
)
from esms_async.emulator.journal import (
    Event,
    Journal,
    Listener,
    Wanted,
    first_event,
)
from esms_async.emulator.records import (
    FINISHED,
    AcceptedMessage,
    SeenRequest,
    SentReport,
    find_otp,
    progress,
)
from esms_async.emulator.settings import (
    SETTINGS,
    AccountState,
    Settings,
    change_settings,
    compile_pattern,
)
from esms_async.emulator.story import tell_story

if TYPE_CHECKING:
    from aiohttp import web

HOST: Final = "127.0.0.1"
"""The address that an emulator listens on, unless another one is given."""

_CHANGES = ("balance", "account", "clock", "settings", "accounts")
_NO_MESSAGE = "no message is kept by this SMSID"
_HOST_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?|\[?[0-9a-fA-F:]+\]?")
_SHORTEST_TOKEN = 8
_CERTIFICATE_DAYS = 365

_P = ParamSpec("_P")
_T = TypeVar("_T")


class WaitOptions(TypedDict, total=False):
    """Which message is waited for, and how long.

    Attributes:
        request_id: The RequestId; None for any.
        account: The name of the account that sent it; None for any.
        since: A `mark()`: only messages accepted after it.
        timeout: How long to wait, in seconds of real time; 5 by default.
        pattern: Only a message in which this regular expression finds a code: its group 1, or the
            whole match.
    """

    request_id: str | None
    account: str | None
    since: int
    timeout: float
    pattern: str | re.Pattern[str] | None


def _on_loop(
    method: Callable[Concatenate["Emulator", _P], _T],
) -> Callable[Concatenate["Emulator", _P], _T]:
    """Have a method run on the loop that its emulator serves on."""

    @wraps(method)
    def relayed(self: "Emulator", /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return self._run_on_loop(partial(method, self, *args, **kwargs))  # pyright: ignore[reportPrivateUsage]  # for its methods alone

    return relayed


def _awaited_on_loop(
    method: Callable[Concatenate["Emulator", _P], Coroutine[object, object, _T]],
) -> Callable[Concatenate["Emulator", _P], Coroutine[object, object, _T]]:
    """Have a coroutine method run on the loop that its emulator serves on."""

    @wraps(method)
    async def relayed(self: "Emulator", /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return await self._await_on_loop(method(self, *args, **kwargs))  # pyright: ignore[reportPrivateUsage]  # the same

    return relayed


class Emulator:
    """A local eSMS gateway. No SMS ever leaves the machine through it.

    Use it with `async with`, inside the event loop that it is to run in, and give its `url` to
    `EsmsClient` as `base_url`.

    Args:
        port: The port to listen on; 0 takes one that is free.
        credentials: The account's keys; None takes any that are not empty.
        balance: What is on the account, in dong.
        faults: Faults to arm, as `fault` takes them.
        seed: Makes `p=` of faults repeatable; None draws one, see `seed`.
        clock: What time it is; a clock that runs with the machine's by default.
        settings: What no page documents, and the bounds.
        accounts: More accounts, or all of them where the first is called `default`.
        host: The address to listen on; `0.0.0.0` for all.
        allow_hosts: Names that clients may call it by, beside 127.0.0.1 and localhost.
        allow_callback_hosts: Hosts that delivery reports may be sent to, beside this machine.
        token: What page and control interface ask for, at least 8 characters; None asks nothing.
        tls: `self-signed` serves https:// with a new certificate; a folder keeps one in it, as
            `cert.pem` and `key.pem`.
        db: A SQLite file that keeps messages and RequestIds over restarts.

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
        settings: Settings = Settings(),
        accounts: Iterable[AccountSetup] = (),
        host: str = HOST,
        allow_hosts: Iterable[str] = (),
        allow_callback_hosts: Iterable[str] = (),
        token: str | None = None,
        tls: str | os.PathLike[str] | None = None,
        db: str | os.PathLike[str] | None = None,
    ) -> None:
        if isinstance(faults, str):
            raise ConfigurationError("faults must be a list of specifications, not one str")
        self._port = port
        self._host = host
        self._allow_hosts = _check_hosts("allow_hosts", allow_hosts)
        callback_hosts = _check_hosts("allow_callback_hosts", allow_callback_hosts)
        if token is not None and len(token) < _SHORTEST_TOKEN:
            raise ConfigurationError(f"token must have at least {_SHORTEST_TOKEN} characters")
        self._token = token
        self._tls = tls
        self._certificate: Path | None = None
        self._db = None if db is None else os.fspath(db)
        self._database: Database | None = None
        self._seed = int.from_bytes(os.urandom(4), "big") if seed is None else seed
        self._clock = Clock() if clock is None else clock
        self._starting_settings = settings
        setups = [*accounts]
        if not setups or setups[0].name != "default":
            setups.insert(0, AccountSetup("default", credentials, balance))
        elif len({setup.name for setup in setups}) < len(setups):
            raise ConfigurationError("accounts must have names of their own")
        self._gateway = Gateway(
            settings,
            self._clock.time,
            accounts=setups,
            on_use=self._store_use,
            on_accept=self._store_accepted,
            on_message=self._store_message,
        )
        self._faults = FaultRegistry(self._seed)
        self._journal = Journal(settings.max_requests, settings.max_messages, self._clock)
        for fault in faults:
            self._faults.arm(fault)
        self._faults.changes.add(self._note_change)
        self._closing: Closing | None = None
        self._handlers: Handlers | None = None
        self._reporter = Reporter(self._gateway, self._journal, self._clock, callback_hosts)
        self._runner: web.AppRunner | None = None
        self._folder = contextlib.ExitStack()

    def _run_on_loop(self, call: Callable[[], _T]) -> _T:
        """Run a function on the loop that the emulator serves on; here that is the caller's."""
        return call()

    async def _await_on_loop(self, waiting: Coroutine[object, object, _T]) -> _T:
        """Await something on the loop that the emulator serves on; here that is the caller's."""
        return await waiting

    @property
    def url(self) -> str:
        """The folder of the operations: the client's `base_url`, and `ESMS_BASE_URL`."""
        return f"{self.page[:-1]}{FOLDER}"

    @property
    def page(self) -> str:
        """The address of the inbox page."""
        return f"{self._scheme}://{self._named_host}:{self.port}/"

    @property
    def listens_on(self) -> str:
        """Address and port that it listens on."""
        return f"{self._host}:{self.port}"

    @property
    def _scheme(self) -> str:
        return "http" if self._tls is None else "https"

    @property
    def _named_host(self) -> str:
        if self._host in ("0.0.0.0", "::", "localhost"):  # noqa: S104  # compared, not bound
            return HOST
        return f"[{self._host}]" if ":" in self._host else self._host

    @property
    def port(self) -> int:
        """The port that it listens on."""
        if self._runner is None or not self._runner.addresses:
            raise UsageError("the emulator is not running; use it with `async with`")
        port: int = self._runner.addresses[0][1]
        return port

    @property
    def certificate(self) -> Path | None:
        """The certificate that clients have to trust, where it serves https://."""
        return self._certificate

    @property
    def seed(self) -> int:
        """The seed that faults go by, to give to another emulator that is to do the same."""
        return self._seed

    @property
    def clock(self) -> Clock:
        """The clock that deduplication and delivery go by."""
        return self._clock

    @property
    def settings(self) -> Settings:
        """How it behaves. It can be set, but for the bounds."""
        return self._gateway.settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        self._gateway.settings = settings
        self._note_change()

    @property
    def pattern(self) -> re.Pattern[str] | None:
        """What finds codes in place of the scores, or None."""
        pattern = self._gateway.settings.otp_pattern
        return None if pattern is None else re.compile(pattern)

    @property
    def balance(self) -> int:
        """What is on the first account, in dong. It can be set."""
        return self._gateway.first.balance

    @balance.setter
    def balance(self, dong: int) -> None:
        self.change({"balance": dong})

    @property
    def account(self) -> AccountState:
        """What is wrong with the first account, if anything. It can be set."""
        return self._gateway.first.state

    @account.setter
    def account(self, state: AccountState) -> None:
        self.change({"account": state})

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
        """The requests that were taken and are kept, oldest first, with what became of each."""
        return self._journal.requests.records

    @property
    def not_taken(self) -> list[SeenRequest]:
        """The requests that were not taken, oldest first, each with a sentence why."""
        return self._journal.not_taken.records

    @property
    def reports(self) -> list[SentReport]:
        """The delivery reports that were sent, or tried to be, and are kept, oldest first."""
        return self._journal.reports.records

    @property
    def faults(self) -> tuple[ArmedFault, ...]:
        """The faults, the newest of those that are used up among them, in order of arming."""
        found = self._faults.armed + self._faults.spent
        return tuple(sorted(found, key=lambda armed: armed.number))

    @_on_loop
    def change(self, values: Mapping[str, object]) -> None:
        """Change balance, account, clock and settings, all or, where one cannot work, none.

        Args:
            values: Any of `balance`, `account`, `clock`, `settings`, `accounts` and the names of
                settings, as `PATCH /_emulator/state` takes them.

        Raises:
            ConfigurationError: A value cannot work; the error names it.
        """
        gateway, settings = self._gateway, self._gateway.settings
        changes: list[Callable[[], None]] = []
        for name, value in values.items():
            match name:
                case "balance":
                    changes.append(partial(_set, gateway.first, "balance", check_balance(value)))
                case "account":
                    changes.append(partial(_set, gateway.first, "state", _check_state(value)))
                case "accounts":
                    for key, each in _check_object(name, value).items():
                        changes += _account_changes(gateway, key, each)
                case "settings":
                    settings = change_settings(settings, _check_object(name, value))
                case "clock":
                    changes.append(partial(self._clock.advance, self._check_shift(value)))
                case _ if name in SETTINGS:
                    settings = change_settings(settings, {name: value})
                case _:
                    names = ", ".join((*_CHANGES, *SETTINGS))
                    raise ConfigurationError(f"there is no {name[:60]!r}; there are {names}")
        changes.append(partial(_set, gateway, "settings", settings))
        for change in changes:
            change()
        self._note_change()

    def _check_shift(self, value: object) -> float:
        given = _check_object("clock", value)
        shift = given.get("shift") if set(given) == {"shift"} else None
        if not isinstance(shift, int | float) or isinstance(shift, bool):
            raise ConfigurationError(
                f'clock must be such as {{"shift": 3600}}, not {json.dumps(value)[:60]}'
            )
        by = shift - self._clock.shift
        if not 0 <= by <= 10**10:
            raise ConfigurationError(
                f"clock.shift must be {self._clock.shift:g} or more, not {shift:g}: "
                "the clock does not go back, but by a reset"
            )
        return by

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
        return self._faults.arm(spec)

    def clear_faults(self) -> None:
        """Take all faults away."""
        self._faults.clear()

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
        self,
        *,
        phone: str | None = None,
        request_id: str | None = None,
        account: str | None = None,
        since: int = 0,
    ) -> list[AcceptedMessage]:
        """Return the accepted messages that fit, oldest first.

        Args:
            phone: The phone, in any form that a message takes; None for any.
            request_id: The RequestId; None for any.
            account: The name of the account that sent it; None for any.
            since: A `mark()`: only messages accepted after it.

        Returns:
            Those that are kept.

        Raises:
            ConfigurationError: `phone` is not a phone number, or there is no such account.
        """
        fits = Wanted(phone, request_id, since, account=self._to_account(account)).fits
        return [message for message in self._gateway.messages if fits(message)]

    def code_of(
        self, message: AcceptedMessage, pattern: str | re.Pattern[str] | None = None
    ) -> str | None:
        """Return the one-time code in a message, or None.

        Args:
            message: The message.
            pattern: A regular expression that finds it: its group 1, or the whole match.

        Raises:
            ConfigurationError: `pattern` is not a regular expression.
        """
        return find_otp(message.content, self._to_pattern(pattern))

    def _to_account(self, name: str | None) -> str | None:
        return None if name is None else self._gateway.account(name).name

    def _to_pattern(self, pattern: str | re.Pattern[str] | None) -> re.Pattern[str] | None:
        return compile_pattern(pattern) if isinstance(pattern, str) else pattern or self.pattern

    @_awaited_on_loop
    async def wait_for(
        self,
        *,
        phone: str | None = None,
        request_id: str | None = None,
        account: str | None = None,
        since: int = 0,
        timeout: float = 5.0,  # noqa: ASYNC109  # the error tells what was waited for
        pattern: str | re.Pattern[str] | None = None,
        with_code: bool = False,
    ) -> AcceptedMessage:
        """Return the newest accepted message that fits, or wait for the first to come.

        Args:
            phone: The phone, in any form that a message takes; None for any.
            request_id: The RequestId; None for any.
            account: The name of the account that sent it; None for any.
            since: A `mark()`: only messages accepted after it.
            timeout: How long to wait, in seconds of real time.
            pattern: Only a message in which this finds a code.
            with_code: Only a message in which a code is found.

        Returns:
            The message.

        Raises:
            TimeoutError: None came; the error says what was waited for.
            ConfigurationError: `phone`, `account` or `pattern` cannot work.
        """
        compiled = self._to_pattern(pattern)

        def has_code(message: AcceptedMessage) -> bool:
            return find_otp(message.content, compiled) is not None

        needs_code = with_code or pattern is not None
        wanted = Wanted(
            phone,
            request_id,
            since,
            has_code if needs_code else None,
            self._to_account(account),
        )
        for message in reversed(self._gateway.messages):
            if wanted.fits(message):
                return message

        def pick(event: Event) -> AcceptedMessage | None:
            message = event.message
            return message if message is not None and wanted.fits(message) else None

        return await first_event(self._journal, pick, timeout, str(wanted))

    async def wait(
        self, phone: str | None = None, **options: Unpack[WaitOptions]
    ) -> AcceptedMessage:
        """Return the newest accepted message to a phone, as `wait_for` does."""
        return await self.wait_for(phone=phone, **options)

    def latest_code(
        self,
        phone: str | None = None,
        *,
        account: str | None = None,
        since: int = 0,
        pattern: str | re.Pattern[str] | None = None,
    ) -> str:
        """Return the newest one-time code that came to a phone, without waiting.

        Args:
            phone: The phone, in any form that a message takes; None for any.
            account: The name of the account that sent it; None for any.
            since: A `mark()`: only codes that came after it.
            pattern: A regular expression that finds the code: its group 1, or the whole match.

        Raises:
            LookupError: No code came so far.
            ConfigurationError: `phone`, `account` or `pattern` cannot work.
        """
        for message in reversed(self.find(phone=phone, account=account, since=since)):
            if (code := self.code_of(message, pattern)) is not None:
                return code
        to = "" if phone is None else f" to {mask_phone(phone)}"
        raise LookupError(f"no code was sent{to} so far; `wait` waits for a message")

    @_awaited_on_loop
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
            if request is None or not request.taken or request_id not in (None, request.request_id):
                return None
            numbers.add(request.number)
            return request if len(numbers) >= count else None

        for request in self._journal.requests.records:
            if pick(request) is not None:
                return request
        wanted = "a request" if count == 1 else f"{count} requests"
        return await first_event(self._journal, lambda event: pick(event.request), timeout, wanted)

    def assert_sent_once(
        self, phone: str, *, account: str | None = None, since: int = 0
    ) -> AcceptedMessage:
        """Assert that exactly one message was accepted for a phone.

        Args:
            phone: The phone, in any form that a message takes.
            account: The name of the account that sent it; None for any.
            since: A `mark()`: only messages accepted after it.

        Returns:
            The message.

        Raises:
            AssertionError: There was none, or more than one.
            ConfigurationError: `phone` is not a phone number, or there is no such account.
        """
        found = self.find(phone=phone, account=account, since=since)
        if len(found) == 1:
            return found[0]
        shown = mask_phone(Wanted(phone).phone or "")
        ids = ", ".join(message.request_id or "no RequestId" for message in found)
        words = f"{len(found)} messages were accepted for {shown}, not one"
        raise AssertionError(f"{words} ({ids})" if found else words)

    def assert_never_twice(self) -> None:
        """Assert that no phone got the same message twice.

        Twice is: two accepted messages with one RequestId, or with one phone and one text.

        Raises:
            AssertionError: A phone did; the error names each case.
        """
        seen: dict[tuple[str, ...], AcceptedMessage] = {}
        twice: list[str] = []
        for message in self._gateway.messages:
            keys: list[tuple[str, ...]] = [
                ("text", message.account, message.phone, message.content)
            ]
            if message.request_id is not None:
                keys.append(("id", message.account, message.request_id))
            earlier = next((seen[key] for key in keys if key in seen), None)
            if earlier is not None:
                twice.append(
                    f"{mask_phone(message.phone)} (request ids {earlier.request_id} and "
                    f"{message.request_id})"
                )
            seen.update(dict.fromkeys(keys, message))
        if twice:
            raise AssertionError(f"the same message was accepted twice for {'; '.join(twice)}")

    @_on_loop
    def story(self) -> str:
        """Write the timeline of each send, for a report; phones are masked, texts left out."""
        return tell_story(
            self._journal.sends.records, self._journal.not_taken.records, self._clock.time()
        )

    @_on_loop
    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call a listener with everything that happens from now on.

        Args:
            listener: Called with each `Event`, at once and within the event loop: it must not
                wait, and must not raise.

        Returns:
            A function that ends it.
        """
        return partial(self._run_on_loop, self._journal.subscribe(listener))

    @_on_loop
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

    @_on_loop
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

    @_on_loop
    def clear_messages(self) -> None:
        """Forget messages, requests and reports; RequestIds, faults and balance stay."""
        self._gateway.clear_messages()
        if self._database is not None:
            self._database.clear(request_ids=False)
        self._journal.reset()

    @_on_loop
    def reset(self) -> None:
        """Make it as new: nothing kept or armed, what hangs is ended, all else as at first."""
        self._reporter.clear()
        if self._handlers is not None:
            self._handlers.interrupt()
        self._faults.clear()
        self._gateway.reset()
        self._gateway.settings = self._starting_settings
        if self._database is not None:
            self._database.clear(request_ids=True)
        self._journal.reset()
        self._clock.reset()
        self._note_change()

    async def start(self) -> None:
        """Start to listen.

        Raises:
            ConfigurationError: The port cannot be listened on, or the database not be used.
            UsageError: It was started before.
        """
        if self._closing is not None:
            raise UsageError("the emulator was started before; make a new one")
        settings = self._gateway.settings
        self._closing = closing = Closing()
        self._handlers = handlers = Handlers(
            self._gateway,
            self._faults,
            self._journal,
            self._clock,
            reporter=self._reporter,
            closing=closing,
        )
        try:
            self._load()
            names = {*self._allow_hosts, *({self._host} - {"0.0.0.0", "::"})}  # noqa: S104  # left out, not bound
            app = new_application(settings, HostGuard(names, self._token, self._scheme), handlers)
            handlers.add_routes(app)
            Page().add_routes(app)
            control = Control(
                self,
                gateway=self._gateway,
                faults=self._faults,
                journal=self._journal,
                closing=closing,
            )
            control.add_routes(app)
            self._runner = await listen(
                app,
                self._host,
                self._port,
                settings,
                tls=None if self._tls is None else await asyncio.to_thread(self._new_tls),
                on_malformed=handlers.note_malformed,
            )
        except ConfigurationError:
            await self.aclose()
            raise

    def _load(self) -> None:
        """Take in what an earlier run has stored."""
        if self._db is None:
            return
        database = Database(self._db)
        balances, shift = database.load_facts()
        messages = database.load_messages(self._gateway.settings.max_messages)
        self._gateway.load(messages, database.load_uses(), balances)
        self._journal.load(messages)
        self._clock.advance(max(shift - self._clock.shift, 0.0))
        now = self._clock.time()
        for message in messages:
            end = message.delivery.finished_at
            if end is not None and end > now and self._handlers is not None:
                self._handlers.plan(message)
        self._database = database

    def _new_tls(self) -> ssl.SSLContext:
        """Read the certificate to serve by, and make it first where there is none."""
        if self._tls == "self-signed":
            folder = Path(
                self._folder.enter_context(tempfile.TemporaryDirectory(prefix="esms-emulator-"))
            )
        else:
            folder = Path(os.fspath(self._tls or ""))
        certificate, key = folder / "cert.pem", folder / "key.pem"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not certificate.exists():
                _make_certificate(certificate, key, {HOST, "localhost", *self._allow_hosts})
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
        except (OSError, subprocess.SubprocessError) as error:
            raise ConfigurationError(
                f"cannot make or read a certificate in {folder.name!r} "
                f"({type(error).__name__}: {error}); it takes the command openssl, or a folder "
                "with cert.pem and key.pem"
            ) from None
        self._certificate = certificate
        return context

    async def aclose(self) -> None:
        """Stop to listen, and end whatever hangs or waits."""
        if self._closing is not None:
            self._closing.begin()
        self._journal.feed.close()
        if self._handlers is not None:
            self._handlers.close()
        if self._runner is not None:
            await close(self._runner)
        await self._reporter.aclose()
        if self._database is not None:
            self._store_facts()
            self._database.close()
            self._database = None
        self._folder.close()

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

    @_on_loop
    def _note_change(self) -> None:
        """Tell that something was changed from outside."""
        self._store_facts()
        self._journal.note_state()

    def _store_use(self, account: str, request_id: str, use: Use) -> None:
        if self._database is not None:
            self._database.put_use(account, request_id, use)

    def _store_accepted(self, accepted: AcceptedSend) -> None:
        if self._database is not None:
            self._database.put_accepted(accepted, self._clock.shift)

    def _store_message(self, message: AcceptedMessage) -> None:
        if self._database is not None:
            self._database.put_message(message)

    def _store_facts(self) -> None:
        if self._database is not None:
            self._database.put_facts(self._gateway.accounts, self._clock.shift)

    def __repr__(self) -> str:
        running = self._runner is not None and bool(self._runner.addresses)
        return f"<Emulator {self.url if running else 'not running'}>"


def _set(target: object, name: str, value: object) -> None:
    setattr(target, name, value)


def _check_state(value: object) -> AccountState:
    if value not in list(AccountState):
        raise ConfigurationError(
            f"account must be one of {', '.join(AccountState)}, not {str(value)[:60]!r}"
        )
    return AccountState(cast("str", value))


def _check_object(name: str, value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{name} must be an object, not {str(value)[:60]!r}")
    return cast("Mapping[str, object]", value)


def _account_changes(gateway: Gateway, name: str, value: object) -> list[Callable[[], None]]:
    account = gateway.account(name)
    changes: list[Callable[[], None]] = []
    for key, each in _check_object(f"accounts.{name}", value).items():
        if key == "balance":
            changes.append(partial(_set, account, "balance", check_balance(each)))
        elif key == "state":
            changes.append(partial(_set, account, "state", _check_state(each)))
        else:
            raise ConfigurationError(f"an account has balance and state, and no {str(key)[:60]!r}")
    return changes


def _check_hosts(name: str, hosts: Iterable[str]) -> tuple[str, ...]:
    if isinstance(hosts, str):
        raise ConfigurationError(f"{name} must be a list of host names, not one str")
    kept = tuple(hosts)
    for host in kept:
        if not _HOST_NAME.fullmatch(host):
            raise ConfigurationError(
                f"{name} must be host names without scheme and port, not {host[:60]!r}"
            )
    return kept


def _make_certificate(certificate: Path, key: Path, hosts: Iterable[str]) -> None:
    """Make a certificate for some hosts by the command openssl."""
    names = ",".join(
        f"{'IP' if re.fullmatch(r'[0-9.]+|.*:.*', host) else 'DNS'}:{host.strip('[]')}"
        for host in sorted(hosts)
    )
    subprocess.run(  # noqa: S603  # hosts were checked
        [  # wherever it is
            *("openssl", "req", "-x509", "-newkey", "ec"),
            *("-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", str(_CERTIFICATE_DAYS), "-subj", "/CN=esms-async emulator"),
            *("-addext", f"subjectAltName={names}"),
            *("-keyout", os.fspath(key), "-out", os.fspath(certificate)),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )


class ThreadedEmulator(Emulator):
    """An emulator that serves on an event loop of its own, in a thread of its own.

    Use it with `with`, from any thread, on any asyncio loop and on none: it is an `Emulator` in
    all but that listeners are called in its thread, and that it can be waited for without a loop.
    It takes the same arguments.
    """

    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._stopping = asyncio.Event()
        self._started: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._clock._run_by(self._run_on_loop)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # an emulator on a thread is all that needs it
        self._thread = threading.Thread(target=self._run, name="esms-emulator", daemon=True)
        self._thread.start()
        error = self._started.exception()
        if error is not None:
            self._thread.join()
            if isinstance(error, ConfigurationError | UsageError):
                raise error
            raise ConfigurationError(
                f"the emulator cannot start ({type(error).__name__}: {error}); "
                f"{start_remedy(error)}"
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._run_on_loop(self._stopping.set)
        cast("threading.Thread", self._thread).join()
        self._loop = None

    def wait(  # type: ignore[override]  # a thread has no loop to await on
        self, phone: str | None = None, **options: Unpack[WaitOptions]
    ) -> AcceptedMessage:
        """Block until a message that fits is there, as `wait_for` waits.

        Raises:
            TimeoutError: None came; the error says what was waited for.
            ConfigurationError: `phone`, `account` or `pattern` cannot work.
            UsageError: It is not running, or called in its own thread.
        """
        return self._block(self.wait_for(phone=phone, **options))

    def latest_code(self, phone: str | None = None, **options: Unpack[WaitOptions]) -> str:
        """Block until a one-time code came to a phone, and return the newest; see `wait`."""
        waiting = self.wait_for(phone=phone, with_code=True, **options)
        return cast("str", self.code_of(self._block(waiting), options.get("pattern")))

    def _block(self, waiting: Coroutine[object, object, _T]) -> _T:
        if (loop := self._elsewhere) is None:
            waiting.close()
            raise UsageError("the emulator is not running; use it with `with`")
        return asyncio.run_coroutine_threadsafe(waiting, loop).result()

    def _run_on_loop(self, call: Callable[[], _T]) -> _T:
        """Run a function on the loop that the emulator serves on."""
        if (loop := self._elsewhere) is None:
            return call()

        async def run() -> _T:
            return call()

        return asyncio.run_coroutine_threadsafe(run(), loop).result()

    async def _await_on_loop(self, waiting: Coroutine[object, object, _T]) -> _T:
        """Await something on the loop that the emulator serves on."""
        if (loop := self._elsewhere) is None:
            return await waiting
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(waiting, loop))

    def _run(self) -> None:
        try:
            _require_files()
            with asyncio.Runner(loop_factory=RealTimeLoop) as runner:
                runner.run(self._serve())
        except BaseException as error:  # it is raised where the thread was started
            if self._started.done():
                raise
            self._started.set_exception(error)

    async def _serve(self) -> None:
        await self.start()
        self._loop = asyncio.get_running_loop()
        self._started.set_result(None)
        await self._stopping.wait()
        await self.aclose()

    @property
    def _elsewhere(self) -> asyncio.AbstractEventLoop | None:
        """The loop that it serves on, unless that is the caller's own, or not running."""
        return None if threading.current_thread() is self._thread else self._loop


def _require_files() -> None:
    """Open what a loop and a server need, so that a loop is not left half made without it."""
    with contextlib.ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(socket.socket())


def start_remedy(error: BaseException) -> str:
    """Say what to do about an error that keeps an emulator from starting."""
    if "SocketBlocked" in type(error).__name__ or "tried to use socket" in str(error):
        return "allow sockets to this machine: --allow-hosts=127.0.0.1, or the mark enable_socket"
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return "close files that are no longer needed, or raise the limit (ulimit -n)"
    return "see the error above"
