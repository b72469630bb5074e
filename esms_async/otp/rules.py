"""Decides when codes are sent, refused and accepted, in pure functions.

The stores make these rules atomic. `claim`, `settle` and `verify` decide for the stores in memory
and on SQLite; `claim.lua` and `verify.lua` do the same on Redis, and one test suite checks all
three.

A *flow* is one code with its sends, for a phone, a purpose and a subject. Keys of the store are
hashes. All times are whole milliseconds since the epoch on the store's clock.

To compute a code takes a secret key and the `salt` of the flow, which never leaves the store.

| value | from | where it is |
|---|---|---|
| `bind` | phone key: phone, purpose, subject | challenge id, store |
| `gen` | key: salt, bind | challenge id; its SHA-256 in the store |
| code | key: salt, bind | the SMS |
| `check` | key: bind, gen, code | store |
"""

import base64
import enum
import hashlib
import hmac
import ipaddress
import secrets
import unicodedata
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol

import attrs

from esms_async import EsmsError

LEASE: Final = 15_000
"""How long a send may take, with its deadline of 12 s, before another process resumes it."""
SETTLED_FLOW_KEPT: Final = 600_000
FAILURES_KEPT: Final = 30 * 86_400_000
FOR_EVER: Final = 1 << 52
MOST_FAILURES: Final = 100
"""NIST SP 800-63B-4, 3.2.2: no more than 100 consecutive failures."""
SHORTEST_REST: Final = 60_000
"""A code with less time left than this is not sent again."""
HOUR: Final = 3_600_000
DEVICE_LIFE: Final = 90 * 86_400_000
CLOCK_TOLERANCE: Final = 600_000
_JITTER: Final = 2_000
_SLICES: Final = 10
_NETWORK_FACTOR: Final = 5

RefusedReason = Literal["cooldown", "phone", "ip", "prefix", "total", "fraud", "locked", "expired"]
VerifyReason = Literal["verified", "wrong", "used", "expired", "locked"]


class OtpRefused(EsmsError):
    """No code was sent, because a limit refuses it. Nothing was counted.

    Attributes:
        reason: `cooldown`, `phone`, `ip`, `prefix`, `total` (a cap), `fraud` (too few codes of
            this number range are entered), `locked` (too many wrong codes) or `expired` (the
            challenge is over: start again).
        retry_after: Seconds until the next try, or None if waiting does not help: `expired`, and
            `locked` until `Otp.unlock`.
    """

    def __init__(self, reason: RefusedReason, retry_after: float | None = None) -> None:
        super().__init__(reason, retry_after)
        self.reason: RefusedReason = reason
        self.retry_after = retry_after

    def __str__(self) -> str:
        if self.retry_after is None:
            return f"refused: {self.reason}"
        return f"refused: {self.reason}; try again in {self.retry_after:g} s"


class OtpStoreError(EsmsError, OSError):
    """The store of one-time codes can't be used; nothing was sent, and no code was believed."""


class SendState(enum.StrEnum):
    """The state of the latest send of a flow."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    UNKNOWN = "unknown"
    NONE = "none"


class Action(enum.StrEnum):
    """What a caller of `start` or `resend` must do."""

    JOIN = "join"
    """Nothing: the code is on its way, or may be."""
    RESUME = "resume"
    """Send the same number once more, under the same RequestId."""
    SEND = "send"
    """Send the next number."""


# fmt: off
ACTIONS: Final[Mapping[tuple[str, SendState], tuple[Action, Action]]] = MappingProxyType({
    # call,     state                in the lease  after it
    ("start",  SendState.PENDING):  (Action.JOIN,   Action.RESUME),
    ("start",  SendState.ACCEPTED): (Action.JOIN,   Action.JOIN),
    ("start",  SendState.UNKNOWN):  (Action.JOIN,   Action.JOIN),
    ("start",  SendState.NONE):     (Action.SEND,   Action.SEND),
    ("resend", SendState.PENDING):  (Action.JOIN,   Action.RESUME),
    ("resend", SendState.ACCEPTED): (Action.SEND,   Action.SEND),
    # A send that may have arrived is resumed first: the same number, never a second one.
    ("resend", SendState.UNKNOWN):  (Action.RESUME, Action.RESUME),
    ("resend", SendState.NONE):     (Action.SEND,   Action.SEND),
})
"""What a call does with a live flow."""
# fmt: on


# Derivation.


def mac(key: bytes, label: str, *fields: bytes | None) -> bytes:
    """Return HMAC-SHA256 of fields, each with its length, so no two tuples look alike."""
    parts = [label.encode()]
    parts += [b"-" if field is None else b"%d:%b" % (len(field), field) for field in fields]
    return hmac.digest(key, b"esms_async otp 1\0" + b"\0".join(parts), "sha256")


def key_id(key: bytes) -> str:
    """Return a name for a key that reveals nothing of it."""
    return mac(key, "key id")[:8].hex()


def phone_hash(phone_key: bytes, phone: str) -> str:
    """Return the hash that a phone's counts are stored under."""
    return mac(phone_key, "phone", phone.encode())[:16].hex()


def bind_of(phone_key: bytes, phone: str, purpose: str, subject: str | None) -> bytes:
    """Return the hash that binds a flow to its phone, purpose and subject."""
    who = None if subject is None else subject.encode("utf-8", "surrogatepass")
    return mac(phone_key, "bind", phone.encode(), purpose.encode(), who)[:16]


def gen_of(key: bytes, salt: bytes, bind: bytes) -> bytes:
    """Return the value that distinguishes the flows of one bind."""
    return mac(key, "gen", salt, bind)[:16]


def code_of(key: bytes, salt: bytes, bind: bytes, digits: int) -> str:
    """Return the code of a flow; the bias of the remainder is below 2**-223."""
    number = int.from_bytes(mac(key, "code", salt, bind)) % 10**digits
    return f"{number:0{digits}}"


def check_of(key: bytes, bind: bytes, gen: bytes, code: str) -> str:
    """Return the check value that is stored for a code."""
    return mac(key, "check", bind, gen, code.encode())[:16].hex()


def request_id_of(key: bytes, bind: bytes, gen: bytes, number: int) -> str:
    """Return the RequestId of a numbered send of a flow.

    It has 40 digits like a derived id: some hashes of 32 digits look like a minted id, and `resume`
    would read a time in them.
    """
    return mac(key, "request id", bind, gen, b"%d" % number)[:20].hex()


def new_id(bind: bytes, gen: bytes) -> str:
    """Return a new challenge id of a flow."""
    return base64.urlsafe_b64encode(bind + gen + secrets.token_bytes(8)).rstrip(b"=").decode()


def read_id(challenge_id: object) -> tuple[bytes, bytes]:
    """Return bind and gen of a challenge id, or values of no flow for any other text."""
    raw = _decoded(challenge_id)
    return (raw[:16], raw[16:32]) if len(raw) == 40 else (secrets.token_bytes(16), b"")


def gen_hash(gen: bytes) -> str:
    """Return the hash that the store keeps of a gen."""
    return hashlib.sha256(gen).hexdigest()


def new_device(key: bytes, phone: str, device: str, until: int) -> str:
    """Return the signed cookie of a known device."""
    raw = bytes.fromhex(device) + until.to_bytes(8)
    signed = raw + mac(key, "device", phone.encode(), raw)[:16]
    return base64.urlsafe_b64encode(signed).rstrip(b"=").decode()


def read_device(keys: Sequence[bytes], phone: str, cookie: object) -> tuple[str, int]:
    """Return the device of a cookie and until when it is known; ("", 0) where it is forged."""
    raw = _decoded(cookie)
    if len(raw) == 40:
        for key in keys:
            if hmac.compare_digest(mac(key, "device", phone.encode(), raw[:24])[:16], raw[24:]):
                return raw[:16].hex(), int.from_bytes(raw[16:24])
    return "", 0


def _decoded(text: object) -> bytes:
    if not isinstance(text, str) or len(text) != 54 or not text.isascii():
        return b""
    try:
        return base64.b64decode(text + "==", b"-_", validate=True)
    except ValueError:
        return b""


def read_code(written: object, digits: int) -> str | None:
    """Return a typed code in ASCII digits, or None if it can't be a code.

    It ignores spaces, dots and dashes, and reads digits of any script.
    """
    if not isinstance(written, str) or len(written) > 64:
        return None
    kept: list[str] = []
    for character in written:
        digit = unicodedata.decimal(character, None)
        if digit is not None:
            kept.append(str(digit))
        elif not (
            character.isspace() or character in ".\u2212" or unicodedata.category(character) == "Pd"
        ):
            return None
    return "".join(kept) if len(kept) == digits else None


# Caps.


@attrs.frozen
class Cap:
    """At most `limit` in any `window` (milliseconds)."""

    limit: int
    window: int


@attrs.frozen
class Counter:
    """A cap on what is counted under one key, in slices of a tenth of its window.

    Attributes:
        reason: Why a send is refused if it is full.
        key: The key of the count.
        cap: The cap.
    """

    reason: RefusedReason
    key: str
    cap: Cap


@attrs.frozen
class Breaker:
    """Refuses a number range where too few codes are entered.

    Attributes:
        unverified: The key that counts sends until their code is entered.
        verified: The key that counts entered codes.
        floor: The unverified sends that are always allowed in an hour.
        ratio: The unverified sends that each verified one allows.
    """

    unverified: str
    verified: str
    floor: int
    ratio: float


def counted_networks(ip: str | None) -> list[tuple[str, str, int]]:
    """Return the counters of an address: scope, network, and the factor of its cap.

    One customer has an IPv6 /64 or more, so single addresses mean nothing.
    """
    if ip is None:
        return []
    try:
        address = ipaddress.ip_address(ip.strip())
    except ValueError:
        return [("ip", ip, 1)]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            packed = address.packed
            return [("ip", packed[:8].hex(), 1), ("ip48", packed[:6].hex(), _NETWORK_FACTOR)]
        address = address.ipv4_mapped
    return [("ip", str(address), 1)]


# What stores do.


@attrs.frozen
class CodeClaim:
    """Asks to send a code: a start or a resend.

    Attributes:
        call: `start` or `resend`.
        bind: The bind of the flow, in hex.
        ph: The hash of the phone.
        gid: The SHA-256 of gen: of the flow that a start would make, or of the challenge id.
        token: Identifies this claim.
        kids: The keys that this process knows.
        device: A hash of the known device, or "".
        device_until: Until when it is known.
        waits: The cooldown after the first, second, … send of an hour.
        phone_caps: Caps on the sends to the phone.
        counters: Other caps, in the order in which they refuse.
        breaker: The breaker of the number range, or None.
        total: The caps on all sends.
        kid: The key of the flow that a start would make; its salt, check and purpose likewise.
        salt: As above, in hex.
        check: As above.
        purpose: As above.
        ttl: How long its code is valid.
        decoy: True if nothing may be sent.
    """

    call: str
    bind: str
    ph: str
    gid: str
    token: str
    kids: tuple[str, ...]
    device: str
    device_until: int
    waits: tuple[int, ...]
    phone_caps: tuple[Cap, ...]
    counters: tuple[Counter, ...]
    breaker: Breaker | None
    total: tuple[Counter, ...]
    kid: str = ""
    salt: str = ""
    check: str = ""
    purpose: str = ""
    ttl: int = 0
    decoy: bool = False


@attrs.frozen
class Claimed:
    """The answer to a claim.

    Attributes:
        action: What the caller must do, or None if it is refused.
        reason: Why it is refused, or None.
        wait: Milliseconds until a refusal may end; -1 if that is not known.
        kid: The key of the flow; its salt, purpose, end, latest number and state likewise.
        salt: As above.
        purpose: As above.
        exp: As above.
        number: As above.
        state: As above.
        decoy: True if nothing may be sent.
        resend_after: Milliseconds until a resend may be asked for.
    """

    action: Action | None = attrs.field(default=None, converter=attrs.converters.optional(Action))
    reason: RefusedReason | None = None
    wait: int = -1
    kid: str = ""
    salt: str = ""
    purpose: str = ""
    exp: int = 0
    number: int = 0
    state: str = ""
    decoy: bool = False
    resend_after: int = 0


@attrs.frozen
class Settling:
    """Records the result of a send: accepted, unknown or none."""

    bind: str
    gid: str
    number: int
    token: str
    state: str


@attrs.frozen
class Guess:
    """Asks whether a code is right.

    Attributes:
        bind: The bind that the caller's phone, purpose and subject have, in hex.
        ph: The hash of the phone.
        gid: The SHA-256 of the challenge id's gen, or of no flow's if the id has another bind.
        purpose: The purpose.
        checks: The check value of the code with each key that this process knows; empty ones if
            it can't be a code.
        device: A hash of the known device, or "".
        device_until: Until when it is known.
        attempts: How many wrong codes lock.
        lock: For how long, the first, second, … time.
        wrong: Caps on the wrong codes of the caller's address.
        verified: The key that counts entered codes, or "".
    """

    bind: str
    ph: str
    gid: str
    purpose: str
    checks: dict[str, str]
    device: str
    device_until: int
    attempts: int
    lock: tuple[int, ...]
    wrong: tuple[Counter, ...]
    verified: str


@attrs.frozen
class GuessResult:
    """The answer to a guess.

    Attributes:
        reason: Whether the code was right, or why not.
        left: The attempts that are left.
        wait: Milliseconds until the lock ends; -1 without a lock, or if it has no end.
        now: The time.
        device: The device that the guess counted for, or "".
        number: The sends of the flow, after a right guess.
    """

    reason: VerifyReason
    left: int = 0
    wait: int = -1
    now: int = 0
    device: str = ""
    number: int = 0


Record = dict[str, Any]
"""What is stored under one key: JSON."""


class Tables(Protocol):
    """Records by table and key, within one transaction."""

    def get(self, table: str, key: str) -> Record | None:
        """Return a record that has not passed its end, or None."""
        ...

    def put(self, table: str, key: str, record: Record, end: int) -> None:
        """Store a record until a time."""
        ...

    def drop(self, table: str, key: str) -> None:
        """Forget a record."""
        ...


def claim(tables: Tables, asked: CodeClaim, now: int) -> Claimed:  # noqa: C901, PLR0911  # one decision, read from top to bottom
    """Decide about a start or a resend, and count it if it may send."""
    resends = asked.call == "resend"
    flow = _live_flow(tables, asked, now)
    if resends and flow is None:
        return Claimed(reason="expired")
    purpose = asked.purpose if flow is None or not resends else flow["purpose"]
    device = asked.device if asked.device_until > now else ""
    if wait := _locked(tables.get("f", f"{asked.ph}:{purpose}"), device, now):
        return Claimed(reason="locked", wait=wait, purpose=purpose)
    cooldown = _cooldown(tables, asked, device, now)
    if flow is not None and flow["exp"] - now < SHORTEST_REST:
        if resends:
            return Claimed(reason="expired")
        if not cooldown and not _is_in_flight(flow, now):
            flow = None  # a new code, because this one ends soon
    if flow is not None:
        in_lease, after_it = ACTIONS[asked.call, SendState(flow["state"])]
        match in_lease if now < flow["lease"] else after_it:
            case Action.JOIN:
                return _claimed(Action.JOIN, flow, cooldown)
            case Action.RESUME if flow["state"] == SendState.UNKNOWN and cooldown:
                return Claimed(reason="cooldown", wait=cooldown, purpose=purpose)
            case Action.RESUME:
                return _resume(tables, asked, flow, device=device, now=now)
            case _:
                pass  # the next number
    if refusal := _refusal(tables, asked, device, cooldown, now):
        return attrs.evolve(refusal, purpose=purpose)
    return _send(tables, asked, flow, device=device, now=now)


def _live_flow(tables: Tables, asked: CodeClaim, now: int) -> Record | None:
    """Return the flow that a start joins, or whose challenge a resend names; None without one."""
    flow = tables.get("c", asked.bind)
    if flow is None or flow["kid"] not in asked.kids or flow["used"] or now >= flow["exp"]:
        return None
    if asked.call == "resend":
        return flow if flow["gid"] == asked.gid and flow["ph"] == asked.ph else None
    # A decoy was never sent, so a real start does not join it.
    return flow if asked.decoy or not flow["decoy"] else None


def _is_in_flight(flow: Record, now: int) -> bool:
    return bool(flow["state"] == SendState.PENDING and now < flow["lease"])


def _resume(tables: Tables, asked: CodeClaim, flow: Record, *, device: str, now: int) -> Claimed:
    """Give the latest send of a flow to this claim; it counts from now on."""
    _move_send(tables, flow, now)
    flow |= {"state": SendState.PENDING, "lease": now + LEASE, "claim": asked.token}
    tables.put("c", asked.bind, flow, flow["exp"] + SETTLED_FLOW_KEPT)
    return _claimed(Action.RESUME, flow, _cooldown(tables, asked, device, now))


def _send(
    tables: Tables, asked: CodeClaim, flow: Record | None, *, device: str, now: int
) -> Claimed:
    """Give the next send of a flow, or the first one of a new flow, to this claim."""
    if flow is None:
        new: Record = {
            "kid": asked.kid,
            "salt": asked.salt,
            "gid": asked.gid,
            "check": asked.check,
            "purpose": asked.purpose,
            "ph": asked.ph,
            "exp": now + asked.ttl,
            "sends": 0,
            "used": False,
            "decoy": asked.decoy,
            "back": [],
        }
        flow = new
    flow |= {
        "sends": flow["sends"] + 1,
        "state": SendState.PENDING,
        "lease": now + LEASE,
        "claim": asked.token,
        "at": now,
        "device": device,
    }
    _count_send(tables, asked, flow, device, now)
    tables.put("c", asked.bind, flow, flow["exp"] + SETTLED_FLOW_KEPT)
    return _claimed(Action.SEND, flow, _cooldown(tables, asked, device, now))


def settle(tables: Tables, settling: Settling) -> None:
    """Record the result of a send. Acceptance is final; the rest counts for its own claim."""
    flow = tables.get("c", settling.bind)
    if flow is None or flow["gid"] != settling.gid or flow["sends"] != settling.number:
        return
    is_own = flow["claim"] == settling.token and flow["state"] == SendState.PENDING
    if settling.state != SendState.ACCEPTED and not is_own:
        return
    flow["state"] = settling.state
    if settling.state == SendState.NONE:
        _move_send(tables, flow, None)
    tables.put("c", settling.bind, flow, flow["exp"] + SETTLED_FLOW_KEPT)


def verify(tables: Tables, guess: Guess, now: int) -> GuessResult:  # noqa: PLR0911  # the same
    """Count and compare a guess, and use the code up if it is right."""
    flow = tables.get("c", guess.bind)
    if flow is None or flow["gid"] != guess.gid or flow["kid"] not in guess.checks:
        return GuessResult("expired", now=now)
    if flow["used"]:
        return GuessResult("used", now=now)
    if now >= flow["exp"]:
        return GuessResult("expired", now=now)
    device = guess.device if guess.device_until > now else ""
    key = f"{guess.ph}:{guess.purpose}"
    failures: Record = tables.get("f", key) or {"total": 0, "device": {}}
    wait = _locked(failures, device, now) or max(
        [_full(tables, counter, now) for counter in guess.wrong], default=0
    )
    if wait:
        return GuessResult("locked", wait=wait, now=now)
    own: Record = failures["device"].get(device) or {"n": 0, "until": 0, "level": 0, "back": []}
    left = min(guess.attempts - own["n"], MOST_FAILURES - failures["total"])
    check = guess.checks[flow["kid"]]
    if not check:
        return GuessResult("wrong", left=max(left, 0), now=now)
    if hmac.compare_digest(check, flow["check"]):
        _succeed(tables, guess, flow, failures, device=device, now=now)
        return GuessResult(
            "verified", left=guess.attempts, now=now, device=device, number=flow["sends"]
        )
    own["n"] += 1
    failures["total"] += 1
    for counter in guess.wrong:
        own["back"].append([counter.key, _add(tables, counter.key, counter.cap.window, now)])
    left, wait = left - 1, -1
    level: int = own["level"]
    if own["n"] >= guess.attempts:
        left, wait = 0, guess.lock[min(level, len(guess.lock) - 1)]
        own |= {"n": 0, "until": now + wait, "level": level + 1}
    forgotten = now + FAILURES_KEPT
    if failures["total"] >= MOST_FAILURES:
        left, wait, forgotten = 0, -1, FOR_EVER
    failures["device"][device] = own
    tables.put("f", key, failures, forgotten)
    return GuessResult("wrong", left=left, wait=wait, now=now)


def _claimed(action: Action, flow: Record, resend_after: int) -> Claimed:
    return Claimed(
        action,
        kid=flow["kid"],
        salt=flow["salt"],
        purpose=flow["purpose"],
        exp=flow["exp"],
        number=flow["sends"],
        state=flow["state"],
        decoy=flow["decoy"],
        resend_after=resend_after,
    )


def _locked(failures: Record | None, device: str, now: int) -> int:
    """Return the time until a device is unlocked; 0 without a lock, -1 if only `unlock` ends it."""
    if failures is None:
        return 0
    if failures["total"] >= MOST_FAILURES:
        return -1
    own: Record | None = failures["device"].get(device)
    until: int = own["until"] if own else 0
    return max(until - now, 0)


def _cooldown(tables: Tables, asked: CodeClaim, device: str, now: int) -> int:
    """Return the time until the next send to the phone is allowed."""
    record = tables.get("cd", f"{asked.ph}:{device}")
    times: list[int] = [at for at in record["at"] if at > now - HOUR] if record else []
    if not times:
        return 0
    wait = asked.waits[min(len(times), len(asked.waits)) - 1]
    return max(times[-1] + wait - now, 0)


def _refusal(  # noqa: PLR0911  # the same
    tables: Tables, asked: CodeClaim, device: str, cooldown: int, now: int
) -> Claimed | None:
    """Return why nothing may be sent now, or None."""
    if cooldown:
        return Claimed(reason="cooldown", wait=cooldown)
    record = tables.get("s", f"{asked.ph}:{device}")
    times: list[int] = record["at"] if record else []
    wait = max(
        [
            times[-cap.limit] + cap.window - now if len(times) >= cap.limit else 0
            for cap in asked.phone_caps
        ],
        default=0,
    )
    if wait > 0:
        return Claimed(reason="phone", wait=wait)
    for counter in asked.counters:
        if wait := _full(tables, counter, now):
            return Claimed(reason=counter.reason, wait=wait)
    if device:
        return None  # a known device passes the breaker and the total
    if asked.breaker is not None:
        verified = sum(_slices(tables, asked.breaker.verified, HOUR, now).values())
        limit = max(asked.breaker.floor, verified * asked.breaker.ratio)
        if wait := _wait_below(tables, asked.breaker.unverified, HOUR, limit, now):
            return Claimed(reason="fraud", wait=wait)
    for counter in asked.total:
        if wait := _full(tables, counter, now):
            return Claimed(reason="total", wait=wait)
    return None


def _count_send(tables: Tables, asked: CodeClaim, flow: Record, device: str, now: int) -> None:
    """Count a send, and note in the flow the counts that a success gives back."""
    most = max((cap.limit for cap in asked.phone_caps), default=0)
    longest = max((cap.window for cap in asked.phone_caps), default=0)
    key = f"{asked.ph}:{device}"
    if most:
        times = (tables.get("s", key) or {"at": []})["at"]
        tables.put("s", key, {"at": [*times, now][-most:]}, now + longest)
    recent = [at for at in (tables.get("cd", key) or {"at": []})["at"] if at > now - HOUR]
    tables.put("cd", key, {"at": [*recent, now]}, now + HOUR)
    for counter in (*asked.counters, *asked.total):
        at = _add(tables, counter.key, counter.cap.window, now)
        if counter.reason == "ip":
            flow["back"].append([counter.key, at])
    if asked.breaker is not None:
        key = asked.breaker.unverified
        flow["back"].append([key, _add(tables, key, HOUR, now)])


def _move_send(tables: Tables, flow: Record, now: int | None) -> None:
    """Count the latest send of a flow as one at `now`, or not at all (None)."""
    key, at = f"{flow['ph']}:{flow['device']}", flow["at"]
    for table in ("s", "cd"):
        record = tables.get(table, key)
        if record and at in record["at"]:
            record["at"].remove(at)
            later = 0
            if now is not None:
                record["at"].append(now)
                later = now - at
            tables.put(table, key, record, record["end"] + later)
    if now is not None:
        flow["at"] = now


def _succeed(
    tables: Tables, guess: Guess, flow: Record, failures: Record, *, device: str, now: int
) -> None:
    """Use a code up, clear its owner's failures, and give back counts."""
    flow["used"] = True
    tables.put("c", guess.bind, flow, flow["exp"] + SETTLED_FLOW_KEPT)
    own: Record | None = failures["device"].pop(device, None)
    failures["total"] = 0
    if failures["device"]:
        tables.put("f", f"{guess.ph}:{guess.purpose}", failures, now + FAILURES_KEPT)
    else:
        tables.drop("f", f"{guess.ph}:{guess.purpose}")
    for scope in {device, flow["device"]}:
        tables.drop("cd", f"{guess.ph}:{scope}")
    # The address that entered the right code gets its wrong ones back; others do not.
    addresses = {counter.key for counter in guess.wrong}
    counted: list[tuple[str, int]] = own["back"] if own else []
    wrong = [each for each in counted if each[0] in addresses]
    sends: list[tuple[str, int]] = flow["back"]
    for key, at in [*sends, *wrong]:
        record = tables.get("g", key)
        if record and record["n"].get(str(at), 0) > 0:
            record["n"][str(at)] -= 1
            tables.put("g", key, record, record["end"])
    if guess.verified:
        _add(tables, guess.verified, HOUR, now)


def _width(window: int) -> int:
    return -(-window // _SLICES)


def _add(tables: Tables, key: str, window: int, now: int) -> int:
    """Count one under a key, and return the slice that it was counted in."""
    at = now // _width(window)
    counts: dict[str, int] = (tables.get("g", key) or {"n": {}})["n"]
    counts = {each: count for each, count in counts.items() if int(each) >= at - _SLICES}
    counts[str(at)] = counts.get(str(at), 0) + 1
    tables.put("g", key, {"n": counts}, now + window + _width(window))
    return at


def _slices(tables: Tables, key: str, window: int, now: int) -> dict[int, int]:
    """Return the counts of the slice that has begun and the ten before it.

    They cover every window that ends now.
    """
    record = tables.get("g", key)
    counts: dict[str, int] = record["n"] if record else {}
    oldest = now // _width(window) - _SLICES
    return {int(at): count for at, count in counts.items() if int(at) >= oldest}


def _full(tables: Tables, counter: Counter, now: int) -> int:
    return _wait_below(tables, counter.key, counter.cap.window, counter.cap.limit, now)


def _wait_below(tables: Tables, key: str, window: int, limit: float, now: int) -> int:
    """Return the time until a count is below a limit; 0 if it is."""
    counts = _slices(tables, key, window, now)
    count, until = sum(counts.values()), now
    for at in sorted(counts):
        if count < limit:
            break
        count -= counts[at]
        until = (at + _SLICES + 1) * _width(window)
    return until - now


def next_time(raw: int, last: int, elapsed: int) -> int:
    """Return the time of a process, which never goes back.

    `raw` is the clock's time, `last` the last result, `elapsed` the time since then by a clock that
    nobody can set.
    """
    # Follow a clock that is slewed and lags a little, but not one that was set back.
    return last + elapsed if last + elapsed - raw > _JITTER else max(raw, last)
