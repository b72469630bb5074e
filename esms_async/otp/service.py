"""Starts, resends and verifies one-time codes; each send at most once, each code once."""

import asyncio
import logging
import secrets
import time
from collections.abc import Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Self, TypeVar

import attrs

from esms_async import (
    Brandname,
    ConfigurationError,
    DuplicateRequestId,
    EsmsClient,
    EsmsError,
    InvalidMessage,
    Message,
    OutcomeUnknown,
    Rejected,
    RequestIdConflict,
    RequestIdExpired,
    Route,
    SendError,
    Status,
    ZaloTemplate,
    normalize_phone,
)
from esms_async.otp import rules
from esms_async.otp.events import OtpEvents
from esms_async.otp.policy import (
    Guard,
    Purpose,
    check_durations,
    read_key,
    read_keys,
    read_purposes,
)
from esms_async.otp.rules import (
    Action,
    Breaker,
    Claimed,
    CodeClaim,
    Counter,
    Guess,
    OtpRefused,
    OtpStoreError,
    SendState,
    Settling,
    VerifyReason,
)
from esms_async.otp.stores import OtpStore

_T = TypeVar("_T")
_logger = logging.getLogger("esms_async.otp")

SEND_DEADLINE: Final = 12.0
"""Seconds for one send; less than the lease, so no process resumes a send that still runs."""
_PREFIX_LENGTH: Final = 3


@attrs.frozen
class Challenge:
    """A code that was sent or is being sent.

    Attributes:
        id: The id for `verify` and `resend`. It holds no secret, and each call of `start` returns
            another one.
        expires_at: When the code stops being valid, UTC.
        resend_after: Seconds until `resend` may be called.
        status: ACCEPTED if the gateway has accepted the message; UNKNOWN if it may have.
    """

    id: str
    expires_at: datetime
    resend_after: float
    status: Status


@attrs.frozen(repr=False)
class Verification:
    """Whether a code was right.

    Attributes:
        ok: True for the right code, once.
        reason: `verified`, `wrong`, `used`, `expired` or `locked`.
        attempts_left: How many more codes may be tried.
        retry_after: Seconds until a lock ends; None without a lock, or if only `Otp.unlock` ends
            it.
        device: After success, a cookie for the phone's next logins, valid for 90 days: strangers
            can't lock its holder out. Set it HttpOnly, Secure, SameSite.
    """

    ok: bool
    reason: VerifyReason
    attempts_left: int
    retry_after: float | None = None
    device: str | None = None

    def __repr__(self) -> str:
        return (
            f"Verification(ok={self.ok}, reason={self.reason!r}, "
            f"attempts_left={self.attempts_left}, retry_after={self.retry_after})"
        )


@attrs.frozen(repr=False)
class _Flow:
    """The data that the sends of one flow share, with the code."""

    phone: str
    purpose_name: str
    purpose: Purpose
    bind: bytes
    gen: bytes
    key: bytes
    code: str
    is_silent: bool


class Otp:
    """One-time codes over a client and a store.

    Use it with `async with`, or call `aclose()`. It does not close the client; it opens and closes
    a store that is not open yet.

    Args:
        esms: The client that sends.
        store: A MemoryOtpStore, SqliteOtpStore or RedisOtpStore.
        keys: Secret keys of at least 32 bytes. The first one makes new codes; all of them verify.
        purposes: The purposes by name: `{"login": Purpose("{code} is your code")}`.
        guard: Caps on sends and on wrong codes.
        resend_after: Seconds between sends to a phone: after the first of an hour, the second, ….
        routes: The routes that resends take in turn; None is the client's own. A ZaloTemplate gets
            the code as its parameter `otp`.
        phone_key: The key that hashes phones; the last of `keys` by default. It must not change
            when keys rotate: deploy `[OLD, NEW], phone_key=OLD`, then `[NEW, OLD]`; drop OLD from
            `keys` when devices that it signed may be forgotten (90 days), and keep `phone_key`.
        test_numbers: Codes by phone, for all purposes, which must have the same `digits`. Nothing
            is sent to these numbers, but all limits hold. Anyone who knows such a number can log
            in with it, so it must own no account.
        same_text_after: Seconds in which operators may drop the same text to a phone (assumed).

    Raises:
        ConfigurationError: A value cannot work; the error names it.
    """

    def __init__(
        self,
        esms: EsmsClient,
        *,
        store: OtpStore,
        keys: Sequence[bytes | str],
        purposes: Mapping[str, Purpose],
        guard: Guard = Guard(),
        resend_after: Sequence[float] = (30, 60, 120, 300),
        routes: Sequence[Route | None] | None = None,
        phone_key: bytes | str | None = None,
        test_numbers: Mapping[str, str] | None = None,
        same_text_after: float = 300,
    ) -> None:
        if not hasattr(store, "verify"):
            raise ConfigurationError(
                f"store must be a MemoryOtpStore, SqliteOtpStore or RedisOtpStore, not {store!r}"
            )
        if not isinstance(guard, Guard):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
            raise ConfigurationError(f"guard must be a Guard, not {guard!r}")
        check_durations("resend_after", resend_after, least=0)
        check_durations("same_text_after", [same_text_after], least=0)
        self._esms = esms
        self._store = store
        keys_read = read_keys(keys)
        self._keys = {rules.key_id(key): key for key in keys_read}
        self._key = keys_read[0]
        self._phone_key = keys_read[-1] if phone_key is None else read_key(phone_key)
        self._purposes = read_purposes(purposes)
        self._waits = tuple(_milliseconds(wait) for wait in resend_after)
        self._routes = _read_routes(routes, self._purposes, esms)
        self._test_numbers = _read_test_numbers(test_numbers or {}, self._purposes)
        self._guard = guard
        self._phone_caps = guard.caps("per_phone")
        self._ip_caps = guard.caps("per_ip")
        self._wrong_caps = guard.caps("wrong_per_ip")
        self._prefix_caps = guard.caps("per_prefix")
        self._total = tuple(
            Counter("total", f"all:{cap.window}", cap) for cap in guard.caps("total")
        )
        self._events = OtpEvents()
        self._opening = asyncio.Lock()
        self._is_ready = False
        self._owns_store = False
        self._tasks: set[asyncio.Task[object]] = set()
        if self._test_numbers:
            _logger.warning(
                "%d test numbers: their codes are fixed, so they must own no account",
                len(self._test_numbers),
            )
        self._warn_of_same_text(resend_after[0], same_text_after)

    def __repr__(self) -> str:
        return f"Otp(store={self._store!r}, purposes={list(self._purposes)!r})"

    async def start(
        self,
        phone: str,
        purpose: str | None = None,
        *,
        subject: str | None = None,
        ip: str | None = None,
        device: str | None = None,
        decoy: bool = False,
        wait: bool = True,
    ) -> Challenge:
        """Send a code, or join one that is already on its way.

        Args:
            phone: A Vietnamese mobile number, in any form that `Message` takes.
            purpose: One of the purposes; optional if there is only one.
            subject: What else the code is bound to, such as the id of a payment or an account.
            ip: The caller's address, as your server knows it; never an unchecked header.
            device: The cookie of a known device, from an earlier `Verification.device`.
            decoy: True does everything but send, for phones that the service does not know.
            wait: False returns before the gateway has answered.

        Returns:
            The challenge. Keep its id with the session; it may be shown to the caller.

        Raises:
            OtpRefused: A limit refuses it; nothing was sent.
            NotSent, Rejected: The gateway did not accept it; another `start` may work.
            OtpStoreError: The store can't be used; nothing was sent.
            InvalidMessage: It is not a Vietnamese mobile number, if `field` is `phone`; otherwise
                the client can't send the message, as with a bad callback URL.
        """
        phone = _read_phone(phone)
        name, chosen = self._choose(purpose)
        bind = rules.bind_of(self._phone_key, phone, name, _read_subject(subject))
        salt = secrets.token_bytes(16)
        gen = rules.gen_of(self._key, salt, bind)
        code = self._code(phone, chosen, self._key, salt, bind)
        check = rules.check_of(self._key, bind, gen, code)
        claim = attrs.evolve(
            self._claim("start", phone, bind, gen, ip=ip, device=device),
            kid=rules.key_id(self._key),
            salt=salt.hex(),
            # Nobody has the code of a decoy, and no guess is right.
            check=secrets.token_hex(16) if decoy else check,
            purpose=name,
            ttl=_milliseconds(chosen.ttl),
            decoy=decoy,
        )
        return await self._owned(self._claim_and_send(phone, claim, wait=wait))

    async def resend(
        self,
        challenge_id: str,
        *,
        phone: str,
        ip: str | None = None,
        device: str | None = None,
        wait: bool = True,
    ) -> Challenge:
        """Send the same code again, with the next text and route; or resume an unknown send.

        Args:
            challenge_id: The id of the challenge.
            phone: The phone of the challenge.
            ip: As for `start`.
            device: As for `start`.
            wait: As for `start`.

        Returns:
            A challenge with a new id, for the same code.

        Raises:
            OtpRefused: As for `start`; `expired` if the code is valid for less than a minute more.
            NotSent, Rejected, OtpStoreError, InvalidMessage: As for `start`.
        """
        phone = _read_phone(phone)
        bind, gen = rules.read_id(challenge_id)
        claim = self._claim("resend", phone, bind, gen, ip=ip, device=device)
        return await self._owned(self._claim_and_send(phone, claim, wait=wait))

    async def verify(
        self,
        challenge_id: str,
        code: str,
        *,
        phone: str,
        purpose: str | None = None,
        subject: str | None = None,
        ip: str | None = None,
        device: str | None = None,
    ) -> Verification:
        """Check a code, and use it up if it is right.

        Args:
            challenge_id: The id of a challenge.
            code: The code as typed; spaces, dots and dashes are ignored.
            phone: The phone of the challenge.
            purpose: As for `start`.
            subject: As for `start`.
            ip: As for `start`.
            device: As for `start`.

        Returns:
            The verification. Only its `ok` lets anyone in.

        Raises:
            OtpStoreError: The store can't be used; no code is believed.
            InvalidMessage: It is not a Vietnamese mobile number.
        """
        phone = _read_phone(phone)
        name, chosen = self._choose(purpose)
        bind = rules.bind_of(self._phone_key, phone, name, _read_subject(subject))
        id_bind, gen = rules.read_id(challenge_id)
        # An id of another phone, purpose or subject finds no flow, and takes the same time.
        gid = rules.gen_hash(gen if id_bind == bind else secrets.token_bytes(16))
        typed = rules.read_code(code, chosen.digits)
        checks = {
            kid: rules.check_of(key, bind, gen, typed or "") if typed is not None else ""
            for kid, key in self._keys.items()
        }
        its_device, until = rules.read_device(tuple(self._keys.values()), phone, device)
        guess = Guess(
            bind=bind.hex(),
            ph=rules.phone_hash(self._phone_key, phone),
            gid=gid,
            purpose=name,
            checks=checks,
            device=self._scope(its_device),
            device_until=until,
            attempts=chosen.attempts,
            lock=tuple(map(_milliseconds, chosen.lock)),
            wrong=self._address_counters("w", ip),
            verified=self._range_key("v", phone) if self._guard.conversion else "",
        )
        await self._open()
        result = await self._store.verify(guess)
        is_right, cookie = result.reason == "verified", None
        if is_right:
            cookie = self._device_cookie(phone, its_device if result.device else "", result.now)
            self._events.verified(name, phone, self._route(chosen, result.number))
        else:
            self._events.failed(name, result.reason)
        return Verification(is_right, result.reason, result.left, _seconds(result.wait), cookie)

    async def unlock(self, phone: str, purpose: str | None = None) -> None:
        """Forget the wrong codes of a phone, and end its locks.

        Args:
            phone: The phone.
            purpose: As for `start`.

        Raises:
            OtpStoreError: The store can't be used.
            InvalidMessage: It is not a Vietnamese mobile number.
        """
        name, _ = self._choose(purpose)
        ph = rules.phone_hash(self._phone_key, _read_phone(phone))
        await self._open()
        await self._store.unlock(ph, name)

    async def aclose(self) -> None:
        """Finish the sends under way, and close the store if it was opened here."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._is_ready = False
        if self._owns_store:
            self._owns_store = False
            await self._store.aclose()

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _open(self) -> None:
        """Open the store if it is not open, and check that it belongs to this phone key."""
        if self._is_ready and self._store.is_open:
            return
        async with self._opening:
            if not self._store.is_open:
                await self._store.open()
                self._owns_store = True
            try:
                mine = rules.key_id(rules.mac(self._phone_key, "phone key"))
                kept = await self._store.keep_fact("phone_key", mine)
                _require_same_phone_key(kept, mine)
            except BaseException:
                if self._owns_store:
                    self._owns_store = False
                    await self._store.aclose()
                raise
            self._is_ready = True

    async def _owned(self, work: Coroutine[object, object, _T]) -> _T:
        """Run work in a task that the caller's cancellation does not cancel."""
        return await asyncio.shield(self._spawn(work))

    def _spawn(self, work: Coroutine[object, object, _T]) -> asyncio.Task[_T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: "asyncio.Task[object]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may have been cancelled

    async def _claim_and_send(self, phone: str, claim: CodeClaim, *, wait: bool) -> Challenge:
        """Claim a send, make it unless another call does, and return the challenge."""
        await self._open()
        claimed = await self._store.claim(claim)
        reason = claimed.reason
        if reason is None and claimed.purpose not in self._purposes:
            reason = "expired"  # the challenge of a process that has other purposes
        if reason is not None:
            self._events.refused(claimed.purpose or claim.purpose or "unknown", reason)
            raise OtpRefused(reason, _seconds(claimed.wait))
        flow = self._flow(phone, bytes.fromhex(claim.bind), claimed)
        if claimed.action is Action.SEND and claimed.number == 1:
            self._events.started(flow.purpose_name)
        status = Status.UNKNOWN
        if claimed.action is Action.JOIN:
            if claimed.state == SendState.ACCEPTED:
                status = Status.ACCEPTED
        elif wait:
            status = await self._send(flow, claimed, claim.token)
        else:
            _ = self._spawn(_logged(self._send(flow, claimed, claim.token)))
        return Challenge(
            rules.new_id(flow.bind, flow.gen),
            datetime.fromtimestamp(claimed.exp / 1000, UTC),
            claimed.resend_after / 1000,
            status,
        )

    def _flow(self, phone: str, bind: bytes, claimed: Claimed) -> _Flow:
        key, salt = self._keys[claimed.kid], bytes.fromhex(claimed.salt)
        purpose = self._purposes[claimed.purpose]
        return _Flow(
            phone,
            claimed.purpose,
            purpose,
            bind,
            rules.gen_of(key, salt, bind),
            key,
            self._code(phone, purpose, key, salt, bind),
            claimed.decoy or phone in self._test_numbers,
        )

    async def _send(self, flow: _Flow, claimed: Claimed, token: str) -> Status:
        """Make the numbered send of a claim, and record its result."""
        state, error = SendState.ACCEPTED, None
        if not flow.is_silent:
            state, error = await self._attempt(flow, claimed)
        await self._settle(
            Settling(flow.bind.hex(), rules.gen_hash(flow.gen), claimed.number, token, state.value)
        )
        if error is not None and state is SendState.NONE:
            raise error
        return Status.ACCEPTED if state is SendState.ACCEPTED else Status.UNKNOWN

    async def _attempt(self, flow: _Flow, claimed: Claimed) -> tuple[SendState, EsmsError | None]:
        """Send or resume the message, and return what is true of it, with the error if any."""
        number, resumes = claimed.number, claimed.action is Action.RESUME
        route = self._route(flow.purpose, number)
        state, error = SendState.ACCEPTED, None
        began = time.monotonic()
        try:
            message = make_message(
                flow.phone,
                flow.purpose,
                number,
                flow.code,
                request_id=rules.request_id_of(flow.key, flow.bind, flow.gen, number),
                route=route or self._esms.route,
            )
            await self._deliver(message, resumes=resumes)
        except EsmsError as failure:
            state, error = what_is_true(failure, resumes=resumes), failure
            if state is SendState.UNKNOWN:
                # It is not raised: without this line an outage would look like success.
                _logger.warning("it is unknown whether a code was sent: %s", reason_of(failure))
        self._events.sent(flow.purpose_name, flow.phone, route, state, time.monotonic() - began)
        return state, error

    async def _deliver(self, message: Message, *, resumes: bool) -> None:
        """Send or resume a message, for at most SEND_DEADLINE seconds."""
        retry = self._esms.retry
        if retry.deadline > SEND_DEADLINE:
            retry = attrs.evolve(retry, deadline=SEND_DEADLINE)
        esms = self._esms.with_options(retry=retry)
        await (esms.resume(message) if resumes else esms.send(message))

    async def _settle(self, settling: Settling) -> None:
        """Record the result of a send; if that fails, a call after the lease settles it."""
        try:
            await self._store.settle(settling)
        except (OtpStoreError, EsmsError) as error:
            _logger.warning("%s could not be recorded: %s", settling.state, error)

    def _claim(
        self, call: str, phone: str, bind: bytes, gen: bytes, *, ip: str | None, device: str | None
    ) -> CodeClaim:
        """Return a claim with its limits; a start adds the flow that it would make."""
        its_device, until = rules.read_device(tuple(self._keys.values()), phone, device)
        ranges = tuple(
            Counter("prefix", f"{self._range_key('p', phone)}:{cap.window}", cap)
            for cap in self._prefix_caps
        )
        return CodeClaim(
            call=call,
            bind=bind.hex(),
            ph=rules.phone_hash(self._phone_key, phone),
            gid=rules.gen_hash(gen),
            token=secrets.token_hex(8),
            kids=tuple(self._keys),
            device=self._scope(its_device),
            device_until=until,
            waits=self._waits,
            phone_caps=self._phone_caps,
            counters=(*self._address_counters("ip", ip), *ranges),
            breaker=self._breaker(phone),
            total=self._total,
        )

    def _breaker(self, phone: str) -> Breaker | None:
        """Return the breaker of a phone's number range, or None if it is turned off."""
        share = self._guard.conversion
        if not share:
            return None
        return Breaker(
            self._range_key("u", phone),
            self._range_key("v", phone),
            self._guard.conversion_floor,
            (1 - share) / share,
        )

    def _device_cookie(self, phone: str, device: str, now: int) -> str:
        """Return the cookie of a known device, or of a new one ("")."""
        return rules.new_device(
            self._key, phone, device or secrets.token_hex(16), now + rules.DEVICE_LIFE
        )

    def _address_counters(self, scope: str, ip: str | None) -> tuple[Counter, ...]:
        caps = self._ip_caps if scope == "ip" else self._wrong_caps
        return tuple(
            Counter(
                "ip",
                f"{scope}{kind.removeprefix('ip')}:{self._hash(network)}:{cap.window}",
                attrs.evolve(cap, limit=cap.limit * factor),
            )
            for kind, network, factor in (rules.counted_networks(ip) if caps else ())
            for cap in caps
        )

    def _scope(self, device: str) -> str:
        """Return the key of a device's counts; unknown devices share one."""
        return self._hash(device) if device else ""

    def _range_key(self, scope: str, phone: str) -> str:
        return f"{scope}:{self._hash(phone[:_PREFIX_LENGTH])}"

    def _hash(self, what: str) -> str:
        return rules.mac(self._phone_key, "count", what.encode("utf-8", "surrogatepass"))[:16].hex()

    def _code(self, phone: str, purpose: Purpose, key: bytes, salt: bytes, bind: bytes) -> str:
        fixed = self._test_numbers.get(phone)
        return rules.code_of(key, salt, bind, purpose.digits) if fixed is None else fixed

    def _route(self, purpose: Purpose, number: int) -> Route | None:
        return self._routes[(number - 1) // len(purpose.template) % len(self._routes)]

    def _choose(self, name: str | None) -> tuple[str, Purpose]:
        if name is None:
            if len(self._purposes) > 1:
                raise ConfigurationError(f"purpose must be one of {', '.join(self._purposes)}")
            return next(iter(self._purposes.items()))
        purpose = self._purposes.get(name)
        if purpose is None:
            raise ConfigurationError(
                f"purpose must be one of {', '.join(self._purposes)}, not {name!r}"
            )
        return name, purpose

    def _warn_of_same_text(self, first_resend: float, same_text_after: float) -> None:
        routes = [route or self._esms.route for route in self._routes]
        if first_resend >= same_text_after or not all(
            isinstance(route, Brandname) for route in routes
        ):
            return
        for name, purpose in self._purposes.items():
            if len(purpose.template) == 1:
                _logger.warning(
                    "purpose %s has one template, on a brandname alone: operators may drop a "
                    "resend within %g s, because its text is the same; register a second "
                    "template, or add a route",
                    name,
                    same_text_after,
                )


def _require_same_phone_key(kept: str, mine: str) -> None:
    if kept != mine:
        raise ConfigurationError(
            "the store was made with another phone_key, so every lock and count would be lost; "
            "pass the old one as phone_key (it was the last of keys)"
        )


def what_is_true(error: EsmsError, *, resumes: bool) -> SendState:
    """Return the state of a numbered send that an error of the client proves.

    Nobody else uses its RequestId, an HMAC of the flow and the number, so code 124 means that it
    was accepted. A resumed send was tried before, and may have arrived.
    """
    match error:
        case DuplicateRequestId():
            return SendState.ACCEPTED
        case OutcomeUnknown() | RequestIdExpired() | RequestIdConflict():
            return SendState.UNKNOWN
        case Rejected():
            return SendState.NONE
        case _:
            return SendState.UNKNOWN if resumes else SendState.NONE


def make_message(
    phone: str, purpose: Purpose, number: int, code: str, *, request_id: str, route: Route
) -> Message:
    """Return the message of a numbered send. Only this function knows routes."""
    if isinstance(route, ZaloTemplate):
        return Message(phone, params={"otp": code}, request_id=request_id, route=route)
    return Message(phone, purpose.text(number, code), request_id=request_id, route=route)


async def _logged(sending: Coroutine[object, object, object]) -> None:
    """Send in the background, and log an error."""
    try:
        await sending
    except EsmsError as error:
        _logger.warning("a code was not sent: %s", reason_of(error))


def reason_of(error: EsmsError) -> str:
    """Return what happened as the log shows it, without phone and RequestId."""
    return error.reason if isinstance(error, SendError) else str(error)


def _read_phone(phone: object) -> str:
    if not isinstance(phone, str):
        raise InvalidMessage("phone", f"must be a str, not {type(phone).__name__}")
    try:
        return normalize_phone(phone)
    except ValueError as error:
        raise InvalidMessage("phone", str(error)) from None


def _read_subject(subject: object) -> str | None:
    if subject is not None and not isinstance(subject, str):
        raise ConfigurationError(f"subject must be a str or None, not {type(subject).__name__}")
    return subject


def _read_routes(
    routes: Sequence[Route | None] | None, purposes: Mapping[str, Purpose], esms: EsmsClient
) -> tuple[Route | None, ...]:
    read: tuple[Route | None, ...] = (None,) if routes is None else tuple(routes)
    for route in read:
        if not isinstance(route, Route | None):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
            raise ConfigurationError(
                "routes must hold FixedNumber(), Brandname or ZaloTemplate, not a "
                f"{type(route).__name__}"
            )
        for name, purpose in purposes.items():
            _check_texts(name, purpose, route or esms.route, esms)
    return read


def _check_texts(name: str, purpose: Purpose, route: Route, esms: EsmsClient) -> None:
    """Raise ConfigurationError unless the client takes each text of a purpose by a route."""
    code = "0" * purpose.digits
    for number in range(1, len(purpose.template) + 1):
        try:
            esms.check(
                make_message("0900000000", purpose, number, code, request_id="check", route=route)
            )
        except InvalidMessage as error:
            raise ConfigurationError(f"purpose {name}, text {number}: {error}") from None


def _read_test_numbers(
    numbers: Mapping[str, str], purposes: Mapping[str, Purpose]
) -> dict[str, str]:
    if not isinstance(numbers, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
        raise ConfigurationError("test_numbers must be a dict of codes by phone")
    read: dict[str, str] = {}
    digits = {purpose.digits for purpose in purposes.values()}
    for phone, code in numbers.items():
        try:
            kept = normalize_phone(phone)
        except ValueError as error:
            raise ConfigurationError(f"test_numbers: {error}") from None
        if not code.isascii() or not code.isdecimal() or {len(code)} != digits:
            raise ConfigurationError(
                "test_numbers must hold a code for each phone, with as many digits as each purpose"
            )
        read[kept] = code
    return read


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000 + 0.5)


def _seconds(milliseconds: int) -> float | None:
    return None if milliseconds < 0 else milliseconds / 1000
