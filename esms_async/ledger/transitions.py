"""Decides what a claim may do and what a settlement changes, by two tables.

Every ledger applies these tables, and so does the client's memory of recent results. An entry says
what is true of a message (`Status`) and why (`Reason`). `now` is always the time on the ledger's
clock, in seconds since the epoch.

Why each row is as it is:

- A claim is written before the first byte of a request leaves. A process that dies after it may
  have sent the message or not, so a claimed entry reads "unknown, because of an attempt".
- Two processes may claim one entry. The later claim gets a higher generation and resumes: the
  gateway's own memory of the RequestId keeps the phone from getting two messages.
- An acceptance is a fact, whichever claim learns it, and nothing later undoes it.
- A rejection of the message itself (108, 163, 201, 300) would meet every attempt of it, by any
  process, so it settles an entry whichever claim learns it.
- "Not sent", and a rejection of the sender (keys, balance, an HTTP refusal, any other code), are
  true of the attempts of one claim. They free the entry for a new claim only when the latest
  claim learns them.
- Code 124 without a known attempt that may have arrived proves nothing: an unknown process may
  have sent this message, something on the way may have delivered the request twice, or the id
  belongs to another message. Sending again could only bring 124 again, so such an entry is not
  sent again; a delivery report or `reconcile` ends it.
- The gateway forgets a RequestId 24 hours after it took the message, which may have been the
  first attempt. So the window runs from the first moment at which an attempt may have arrived.
"""

import enum
import functools
import hashlib
import hmac
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol

import attrs

from esms_async._model.codes import RouteKind
from esms_async._model.messages import Message, Status
from esms_async._model.phone import mask_phone
from esms_async._model.routes import FIXED_NUMBER, Route

WINDOW: Final = 23 * 3600.0
"""Seconds for which an unsettled send may be resumed: the gateway's 24 hours, less a margin."""

CLOCK_TOLERANCE: Final = 24 * 3600 - WINDOW
"""Seconds by which an entry may be ahead of the clock before it counts as expired."""


class Reason(enum.StrEnum):
    """Why a message is unknown or rejected."""

    ATTEMPT = "attempt"
    """Unknown: an attempt may have been accepted."""
    DUPLICATE = "duplicate"
    """Unknown: the gateway answered 124, and no attempt is known that explains it."""
    MESSAGE = "message"
    """Rejected: every attempt of this message would be."""
    SENDER = "sender"
    """Rejected: the account or the request was refused. The message itself may be sent again."""


class Decision(enum.StrEnum):
    """The answer to a claim."""

    SEND = "send"
    """Send it: no earlier attempt can have been accepted."""
    RESUME = "resume"
    """Send it: an earlier attempt may have been accepted."""
    ALREADY_ACCEPTED = "already accepted"
    ALREADY_REJECTED = "already rejected"
    DUPLICATE = "duplicate"
    """Send nothing: the gateway has seen the RequestId, for an unknown reason."""
    EXPIRED = "expired"
    """Send nothing: an attempt may have been accepted too long ago."""
    CONFLICT = "conflict"
    """Send nothing: the RequestId belongs to another message."""
    WAIT = "wait"
    """Do nothing now: another process holds the lease, or the next try is due later."""


Knowledge = tuple[Status, Reason | None]
"""The status of a message, and why."""

_ACCEPTED: Final = (Status.ACCEPTED, None)
_MESSAGE: Final = (Status.REJECTED, Reason.MESSAGE)
_SENDER: Final = (Status.REJECTED, Reason.SENDER)
_NOT_SENT: Final = (Status.NOT_SENT, None)
_ATTEMPT: Final = (Status.UNKNOWN, Reason.ATTEMPT)
_DUPLICATE: Final = (Status.UNKNOWN, Reason.DUPLICATE)

# fmt: off
CLAIMS: Final[Mapping[Knowledge | None, Decision]] = MappingProxyType({
    None:       Decision.SEND,
    _NOT_SENT:  Decision.SEND,
    _SENDER:    Decision.SEND,
    _ATTEMPT:   Decision.RESUME,            # or EXPIRED, past the window
    _DUPLICATE: Decision.DUPLICATE,
    _ACCEPTED:  Decision.ALREADY_ACCEPTED,
    _MESSAGE:   Decision.ALREADY_REJECTED,
})
"""The answer to a claim of an entry with the same fingerprint.

Sends have no lease: the gateway remembers the RequestId, so two attempts at once are harmless. A
handler of delivery reports has no such memory, so a claim of a report has a lease, and the answer
is WAIT until it has run out (`decide`).
"""

SETTLEMENTS: Final[Mapping[tuple[Knowledge, Knowledge], tuple[Knowledge, Knowledge]]] = (
    MappingProxyType({
        # held,       learned       by the latest claim  by an earlier claim
        (_ATTEMPT,   _ACCEPTED):   (_ACCEPTED,           _ACCEPTED),
        (_ATTEMPT,   _MESSAGE):    (_MESSAGE,            _MESSAGE),
        (_ATTEMPT,   _SENDER):     (_SENDER,             _ATTEMPT),
        (_ATTEMPT,   _NOT_SENT):   (_NOT_SENT,           _ATTEMPT),
        (_ATTEMPT,   _ATTEMPT):    (_ATTEMPT,            _ATTEMPT),
        (_ATTEMPT,   _DUPLICATE):  (_DUPLICATE,          _ATTEMPT),

        (_DUPLICATE, _ACCEPTED):   (_ACCEPTED,           _ACCEPTED),
        (_DUPLICATE, _MESSAGE):    (_MESSAGE,            _MESSAGE),
        (_DUPLICATE, _SENDER):     (_DUPLICATE,          _DUPLICATE),
        (_DUPLICATE, _NOT_SENT):   (_DUPLICATE,          _DUPLICATE),
        (_DUPLICATE, _ATTEMPT):    (_DUPLICATE,          _DUPLICATE),
        (_DUPLICATE, _DUPLICATE):  (_DUPLICATE,          _DUPLICATE),

        (_ACCEPTED,  _ACCEPTED):   (_ACCEPTED,           _ACCEPTED),
        (_ACCEPTED,  _MESSAGE):    (_ACCEPTED,           _ACCEPTED),
        (_ACCEPTED,  _SENDER):     (_ACCEPTED,           _ACCEPTED),
        (_ACCEPTED,  _NOT_SENT):   (_ACCEPTED,           _ACCEPTED),
        (_ACCEPTED,  _ATTEMPT):    (_ACCEPTED,           _ACCEPTED),
        (_ACCEPTED,  _DUPLICATE):  (_ACCEPTED,           _ACCEPTED),

        (_MESSAGE,   _ACCEPTED):   (_ACCEPTED,           _ACCEPTED),
        (_MESSAGE,   _MESSAGE):    (_MESSAGE,            _MESSAGE),
        (_MESSAGE,   _SENDER):     (_MESSAGE,            _MESSAGE),
        (_MESSAGE,   _NOT_SENT):   (_MESSAGE,            _MESSAGE),
        (_MESSAGE,   _ATTEMPT):    (_MESSAGE,            _MESSAGE),
        (_MESSAGE,   _DUPLICATE):  (_MESSAGE,            _MESSAGE),

        (_SENDER,    _ACCEPTED):   (_ACCEPTED,           _ACCEPTED),
        (_SENDER,    _MESSAGE):    (_MESSAGE,            _MESSAGE),
        (_SENDER,    _SENDER):     (_SENDER,             _SENDER),
        (_SENDER,    _NOT_SENT):   (_SENDER,             _SENDER),
        (_SENDER,    _ATTEMPT):    (_ATTEMPT,            _ATTEMPT),
        (_SENDER,    _DUPLICATE):  (_DUPLICATE,          _DUPLICATE),

        (_NOT_SENT,  _ACCEPTED):   (_ACCEPTED,           _ACCEPTED),
        (_NOT_SENT,  _MESSAGE):    (_MESSAGE,            _MESSAGE),
        (_NOT_SENT,  _SENDER):     (_SENDER,             _NOT_SENT),
        (_NOT_SENT,  _NOT_SENT):   (_NOT_SENT,           _NOT_SENT),
        (_NOT_SENT,  _ATTEMPT):    (_ATTEMPT,            _ATTEMPT),
        (_NOT_SENT,  _DUPLICATE):  (_DUPLICATE,          _DUPLICATE),
    })
)
"""The state of an entry after a settlement, by the generation of its claim."""
# fmt: on


@attrs.frozen(slots=False)  # made for each message, in half the time
class Entry:
    """A ledger's record of one send.

    Attributes:
        request_id: The RequestId.
        status: What is true of the message.
        reason: Why it is unknown or rejected; None if it is accepted or not sent.
        generation: The number of claims; the latest claim has this number.
        fingerprint: Differs for another message with the same RequestId.
        phone: The phone number, masked unless the ledger stores it.
        content: The text, or None unless the ledger stores it.
        in_doubt_since: The first moment at which an attempt may have arrived, seconds since the
            epoch on the ledger's clock.
        updated_at: When the entry last changed, on the same clock.
        sms_id: The SMSID, or None.
        deduplicated: True if acceptance was learned from code 124.
        code: The code of the rejection, or None.
        http_status: The HTTP status of the rejection, or None.
        detail: The gateway's own words on the rejection, with secrets masked.
    """

    request_id: str
    status: Status
    reason: Reason | None
    generation: int
    fingerprint: bytes = attrs.field(repr=False)
    phone: str = attrs.field(repr=mask_phone)
    content: str | None = attrs.field(repr=False)
    in_doubt_since: float
    updated_at: float
    sms_id: str | None = None
    deduplicated: bool = False
    code: str | None = None
    http_status: int | None = None
    detail: str | None = None


Row = tuple[
    str,
    str | None,
    int,
    bytes,
    str,
    str | None,
    float,
    float,
    str | None,
    int,
    str | None,
    int | None,
    str | None,
]
"""The fields of an `Entry` but its RequestId, in their order, as plain values.

For a subclass of str or int, as `Status` is one, Python's sqlite3 looks for an adapter, which takes
as long as the statement. And the garbage collector visits a tuple of plain values once, but an
object again and again.
"""

STATUSES: Final[Mapping[str, Status]] = {status.value: status for status in Status}
REASONS: Final[Mapping[str | None, Reason | None]] = {
    None: None,
    **{reason.value: reason for reason in Reason},
}


def as_row(entry: Entry) -> Row:
    """Return an entry as plain values, to be stored.

    Args:
        entry: The entry.

    Returns:
        All its fields but the RequestId, in their order.
    """
    return (
        entry.status.value,
        entry.reason and entry.reason.value,
        entry.generation,
        entry.fingerprint,
        entry.phone,
        entry.content,
        entry.in_doubt_since,
        entry.updated_at,
        entry.sms_id,
        int(entry.deduplicated),
        entry.code,
        entry.http_status,
        entry.detail,
    )


def from_row(request_id: str, row: Row) -> Entry:
    """Return the entry of a RequestId from its plain values.

    Args:
        request_id: The RequestId.
        row: What `as_row` returned.
    """
    # Written out, because every row of a list comes by here, and unpacking takes twice as long.
    return Entry(
        request_id,
        STATUSES[row[0]],
        REASONS[row[1]],
        row[2],
        row[3],
        row[4],
        row[5],
        row[6],
        row[7],
        row[8],
        bool(row[9]),
        row[10],
        row[11],
        row[12],
    )


@attrs.frozen(slots=False)  # as Entry
class Claim:
    """The answer to a claim.

    Attributes:
        decision: What the claimant may do.
        entry: The entry after the claim.
    """

    decision: Decision
    entry: Entry


@attrs.frozen
class Settlement:
    """What a claimant has learned about its message.

    Attributes:
        status: What is true of the message as far as the claimant knows.
        reason: Why it is unknown or rejected.
        sms_id: The SMSID of an acceptance.
        deduplicated: True if an acceptance was learned from code 124.
        code: The code of a rejection.
        http_status: The HTTP status of a rejection.
        detail: The gateway's own words on a rejection, fit to be shown.
    """

    status: Status
    reason: Reason | None = None
    sms_id: str | None = None
    deduplicated: bool = False
    code: str | None = None
    http_status: int | None = None
    detail: str | None = None


ONE_MORE_ATTEMPT: Final = Settlement(Status.UNKNOWN, Reason.ATTEMPT)
"""Says that one more attempt may have arrived."""


def claim(entry: Entry | None, fresh: Entry, *, now: float, window: float, resume: bool) -> Claim:
    """Answer a claim with the decision and the entry to store.

    Args:
        entry: The entry that the ledger has, or None.
        fresh: The entry to store if there is none, as `new_entry` makes it.
        now: The time on the ledger's clock, in seconds since the epoch.
        window: Seconds for which an unsettled send may be resumed (`LedgerOptions.window`).
        resume: True if the claimant knows of an earlier attempt that may have arrived.

    Returns:
        The claim. Its entry is `entry` itself if nothing is to be stored.
    """
    if entry is None:
        return Claim(Decision.RESUME if resume else Decision.SEND, fresh)
    if not same_fingerprint(entry.fingerprint, fresh.fingerprint):
        return Claim(Decision.CONFLICT, entry)
    decision = decide((entry.status, entry.reason))
    if decision is Decision.RESUME and not -CLOCK_TOLERANCE <= now - entry.in_doubt_since <= window:
        return Claim(Decision.EXPIRED, entry)
    if decision is Decision.RESUME:
        return Claim(decision, attrs.evolve(entry, generation=entry.generation + 1, updated_at=now))
    if decision is Decision.SEND:
        return Claim(
            Decision.RESUME if resume else decision,
            attrs.evolve(fresh, generation=entry.generation + 1),
        )
    return Claim(decision, entry)


def decide(held: Knowledge, *, leased: bool = False) -> Decision:
    """Return the answer to a claim; `leased` is true while another process has the lease."""
    decision = CLAIMS[held]
    if leased and decision in (Decision.SEND, Decision.RESUME):
        return Decision.WAIT
    return decision


def settle(entry: Entry, generation: int, settlement: Settlement, *, now: float) -> Entry:
    """Return the entry to store after a settlement, or the same object if nothing changes.

    Args:
        entry: The entry that the ledger has.
        generation: That of the claim, or 0 for a delivery report or the gateway's list, which
            belong to no claim.
        settlement: What was learned.
        now: The time on the ledger's clock, in seconds since the epoch.
    """
    held = entry.status, entry.reason
    by_latest, by_earlier = SETTLEMENTS[held, (settlement.status, settlement.reason)]
    known = by_latest if generation == entry.generation else by_earlier
    if known == held:
        return _updated(entry, settlement, now)
    # Written out, because every send comes by here and attrs.evolve takes five times as long.
    return Entry(
        entry.request_id,
        *known,
        entry.generation,
        entry.fingerprint,
        entry.phone,
        entry.content,
        entry.in_doubt_since,
        now,
        settlement.sms_id,
        settlement.deduplicated,
        settlement.code,
        settlement.http_status,
        settlement.detail,
    )


def accept(entry: Entry, sms_id: str | None, *, deduplicated: bool, now: float) -> Entry:
    """Return the entry to store after an acceptance, as `settle` does, without a Settlement.

    An acceptance of any claim counts, so there is no generation.
    """
    if entry.status is Status.ACCEPTED:
        if entry.sms_id is not None or sms_id is None:
            return entry
        return attrs.evolve(entry, sms_id=sms_id)
    return Entry(
        entry.request_id,
        Status.ACCEPTED,
        None,
        entry.generation,
        entry.fingerprint,
        entry.phone,
        entry.content,
        entry.in_doubt_since,
        now,
        sms_id,
        deduplicated,
    )


def _updated(entry: Entry, settlement: Settlement, now: float) -> Entry:
    """Return an entry with the same status, and a new SMSID or time if the settlement has one."""
    if entry.status is Status.ACCEPTED and entry.sms_id is None and settlement.sms_id is not None:
        return attrs.evolve(entry, sms_id=settlement.sms_id)
    if entry.status is Status.UNKNOWN and settlement.reason is Reason.ATTEMPT:
        return attrs.evolve(entry, updated_at=now)
    return entry


def new_entry(
    message: Message,
    fingerprint: bytes,
    *,
    now: float,
    doubt_age: float | None,
    phone: bool,
    content: bool,
) -> Entry:
    """Return the entry of a first claim.

    Args:
        message: The message.
        fingerprint: Its fingerprint, as the ledger gets it.
        now: The time on the ledger's clock, in seconds since the epoch.
        doubt_age: The seconds since an earlier attempt that may have arrived, or None.
        phone: True stores the phone number in full, False masks it.
        content: True stores the text.
    """
    return Entry(
        message.request_id,
        Status.UNKNOWN,
        Reason.ATTEMPT,
        1,
        fingerprint,
        message.phone if phone else mask_phone(message.phone),
        message.content if content else None,
        now - (doubt_age or 0.0),
        now,
    )


@attrs.frozen
class StoredReport:
    """A delivery report in a ledger, and its progress to the application.

    Attributes:
        key: The RequestId, "#" and the reported state. Reports with the same key are one report.
        status: not_sent while it waits, unknown while a process handles it, accepted once the
            application took it, rejected once it is kept as failed.
        reason: Why it is unknown or rejected.
        generation: The number of claims; the latest claim has this number.
        failures: How often the application failed to take it, or the process that had it died.
        due_at: The end of its lease, or the time of the next try, or else of its last change;
            seconds since the epoch on the ledger's clock.
        stored_at: When it was stored, on the same clock.
        text: The report itself; None once the application took it, because it holds a phone number.
        detail: The kind of the latest failure, without its words.
    """

    key: str
    status: Status
    reason: Reason | None
    generation: int
    failures: int
    due_at: float
    stored_at: float
    text: str | None = attrs.field(repr=False)
    detail: str | None = None


def new_report(key: str, text: str, *, now: float, lease: float | None) -> StoredReport:
    """Return a report to store.

    Args:
        key: The RequestId, "#" and the reported state.
        text: The report itself.
        now: The time on the ledger's clock, in seconds since the epoch.
        lease: Seconds for which the caller claims it at once; None for no claim.
    """
    if lease is None:
        return StoredReport(key, *_NOT_SENT, 0, 0, now, now, text)
    return StoredReport(key, *_ATTEMPT, 1, 0, now + lease, now, text)


def claim_report(
    report: StoredReport, *, now: float, lease: float, grace_until: float = 0.0
) -> tuple[Decision, StoredReport]:
    """Answer a claim of a report with the decision and the report to store.

    A lease that ran out counts as a failure: the process died, perhaps because of this report.

    Args:
        report: The report that the ledger has.
        now: The time on the ledger's clock, in seconds since the epoch.
        lease: Seconds for which the caller claims it.
        grace_until: Until then no lease counts as run out (`Contact`).

    Returns:
        The decision, and the report: the same object if nothing is to be stored. Only SEND and
        RESUME let the caller take it.
    """
    decision = decide((report.status, report.reason), leased=now < report.due_at)
    if decision is Decision.RESUME and now < grace_until:
        return Decision.WAIT, attrs.evolve(report, due_at=grace_until)
    if decision not in (Decision.SEND, Decision.RESUME):
        return decision, report
    return decision, StoredReport(
        report.key,
        *_ATTEMPT,
        report.generation + 1,
        report.failures + (decision is Decision.RESUME),
        now + lease,
        report.stored_at,
        report.text,
        "its process died" if decision is Decision.RESUME else report.detail,
    )


def settle_report(
    report: StoredReport,
    generation: int,
    settlement: Settlement,
    *,
    failures: int,
    due_in: float,
    now: float,
) -> StoredReport:
    """Return the report to store after a try, or the same object if nothing changes.

    Args:
        report: The report that the ledger has.
        generation: The generation of the claim.
        settlement: Accepted, not sent (to be tried again) or rejected (to be kept as failed).
        failures: The number of failures so far.
        due_in: Seconds until the next try.
        now: The time on the ledger's clock, in seconds since the epoch.
    """
    held = report.status, report.reason
    by_latest, by_earlier = SETTLEMENTS[held, (settlement.status, settlement.reason)]
    known = by_latest if generation == report.generation else by_earlier
    if known == held:
        return report
    return StoredReport(
        report.key,
        *known,
        report.generation,
        failures,
        now + due_in,
        report.stored_at,
        None if known == _ACCEPTED else report.text,
        settlement.detail,
    )


def retry_report(report: StoredReport, *, now: float) -> StoredReport:
    """Return a failed report as one that waits again, and any other unchanged.

    Args:
        report: The report that the ledger has.
        now: The time on the ledger's clock, in seconds since the epoch.
    """
    if (report.status, report.reason) != _MESSAGE:
        return report
    return attrs.evolve(report, status=Status.NOT_SENT, reason=None, failures=0, due_at=now)


@attrs.frozen
class Contact:
    """When a process last asked for reports.

    A lease that ran out while the ledger could not be reached proves nothing: its owner may be
    alive but unable to renew it. So after a gap no lease counts as run out for one lease's length.

    Attributes:
        at: When a process last asked for reports.
        grace_until: Until then no lease counts as run out.
    """

    at: float
    grace_until: float = 0.0


def next_contact(known: Contact | None, *, now: float, lease: float) -> Contact:
    """Return the contact to store when a process asks for reports.

    Args:
        known: The stored contact, or None.
        now: The time on the ledger's clock, in seconds since the epoch.
        lease: Seconds for which reports are claimed.
    """
    if known is None:
        return Contact(now)
    gap = now - known.at > lease / CONTACTS_A_LEASE
    return Contact(now, now + lease if gap else known.grace_until)


CONTACTS_A_LEASE: Final = 4
"""A pause longer than this fraction of a lease is a gap."""

KEY_ID_LENGTH: Final = 4
"""The bytes at the start of a fingerprint that name its key."""

_MAC_LENGTH: Final = 16


class Fingerprinted(Protocol):
    """What a fingerprint is made of: a `Message`, or what one is made of later."""

    @property
    def phone(self) -> str:
        """The phone number."""
        ...

    @property
    def content(self) -> str | None:
        """The text."""
        ...

    @property
    def params(self) -> Mapping[str, str] | None:
        """The parameters of a Zalo template."""
        ...

    @property
    def route(self) -> Route | None:
        """The route, if it names one."""
        ...


def fingerprint(message: Fingerprinted, key: bytes, default: Route = FIXED_NUMBER) -> bytes:
    """Return 20 bytes that identify phone, content and route, and reveal nothing about them.

    A plain hash of a text with a six-digit code can be reversed by trying a million texts. A keyed
    hash can't, if the key is not stored in the ledger.

    Args:
        message: The message.
        key: A secret key, as `fingerprint_key` makes it.
        default: The route of a message that names none.
    """
    name, keyed = _keyed(key)
    mac = keyed.copy()
    route = message.route or default
    if route.kind is RouteKind.FIXED:
        # It begins with a digit, and the text of every other route does not.
        mac.update(f"{message.phone}\n{message.content}".encode())
    else:
        params = None if message.params is None else sorted(message.params.items())
        sent = (*attrs.astuple(route), message.phone, message.content, params)
        mac.update(f"{route.kind}{json.dumps(sent)}".encode())
    return name + mac.digest()


def key_id(key: bytes) -> bytes:
    """Return the four bytes that begin every fingerprint made with a key."""
    return _keyed(key)[0]


# Keyed BLAKE2 (RFC 7693) is a MAC: it takes a third of the time of an HMAC, and like a copied HMAC
# it keeps the interpreter lock.
@functools.lru_cache(maxsize=16)
def _keyed(key: bytes) -> "tuple[bytes, hashlib.blake2b]":
    keyed = hashlib.blake2b(key=key, digest_size=_MAC_LENGTH)
    named = keyed.copy()
    named.update(b"key id")
    return named.digest()[:KEY_ID_LENGTH], keyed


def same_fingerprint(one: bytes, other: bytes) -> bool:
    """Return True if two fingerprints can belong to one message.

    False if they differ and have the same key. Fingerprints with two keys, as before and after new
    keys of the account, prove nothing.
    """
    if one[:KEY_ID_LENGTH] != other[:KEY_ID_LENGTH]:
        return True
    return hmac.compare_digest(one, other)


def fingerprint_key(secret: str) -> bytes:
    """Derive the key of fingerprints (32 bytes) from an account's SecretKey."""
    return hmac.digest(secret.encode(), b"esms_async ledger fingerprint, version 1", hashlib.sha256)
