"""What a ledger knows of a send, and what may follow: the states, and every transition.

Everything that decides over an entry of a ledger lives in this file, in two tables. A ledger
applies them, whatever it keeps its entries in, and adds nothing of its own.

Why each line is as it is:

- A claim is written before the first byte of a request leaves. A process that dies after it may
  have sent the message or not, so an OPEN entry always reads "it may have been accepted".
- Two replicas may claim one entry. The later claim gets a higher generation and goes on with an
  ambiguous history; the gateway's own memory of the RequestId keeps the phone from getting two
  messages. What the earlier one learns after that is news only if it is an acceptance: that is
  a fact whoever learns it, and it never goes back. "Not sent" and "rejected" are true of the
  attempts of one claim, not of those that a later claim makes.
- A rejection of the account, or by HTTP, is no fault of the message, which may be sent again
  once the account is mended: it leaves the entry RELEASED, as "not sent" does.
- The gateway forgets a RequestId 24 hours after it took the message, which may have been the
  first attempt of all. So the window is measured from the first moment at which an attempt may
  have arrived: sending again later could reach the phone a second time.
"""

import enum
import functools
import hashlib
import hmac
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import attrs

from esms_async.messages import Message
from esms_async.phone import mask_phone

WINDOW: Final = 23 * 3600.0
"""Seconds for which an unsettled send may be resumed: the gateway's 24 hours, less a margin."""

CLOCK_TOLERANCE: Final = 24 * 3600 - WINDOW
"""Seconds by which the clock may have been set back since a send was claimed: that margin."""


class State(enum.StrEnum):
    """What a ledger knows of a send."""

    OPEN = "open"
    """It may have been accepted."""
    ACCEPTED = "accepted"
    """The gateway has accepted it."""
    REJECTED = "rejected"
    """The gateway refuses this message, whenever it is sent."""
    RELEASED = "released"
    """Nothing of it was accepted, and it may be sent."""


class Decision(enum.StrEnum):
    """What a claim is answered with."""

    SEND = "send"
    """Send it: no earlier attempt can have been accepted."""
    RESUME = "resume"
    """Send it with the same RequestId: an earlier attempt may have been accepted."""
    ALREADY_ACCEPTED = "already accepted"
    ALREADY_REJECTED = "already rejected"
    EXPIRED = "expired"
    """It may have been accepted so long ago that the gateway may have forgotten its RequestId."""
    CONFLICT = "conflict"
    """The RequestId belongs to another phone or content."""


class News(enum.StrEnum):
    """What a sender has learnt of its claim."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    RELEASED = "released"
    UNCERTAIN = "uncertain"
    """One more attempt may have arrived."""


# fmt: off
CLAIMS: Final[Mapping[State | None, Decision]] = MappingProxyType({
    None:           Decision.SEND,
    State.OPEN:     Decision.RESUME,            # or EXPIRED, past the window
    State.ACCEPTED: Decision.ALREADY_ACCEPTED,
    State.REJECTED: Decision.ALREADY_REJECTED,
    State.RELEASED: Decision.SEND,
})
"""What a claim of an entry is answered with, its fingerprint being the same."""

SETTLEMENTS: Final[Mapping[tuple[State, News], tuple[State, State]]] = MappingProxyType({
    # state,        news              by the latest claim  by an earlier claim
    (State.OPEN,     News.ACCEPTED):  (State.ACCEPTED,     State.ACCEPTED),
    (State.OPEN,     News.REJECTED):  (State.REJECTED,     State.OPEN),
    (State.OPEN,     News.RELEASED):  (State.RELEASED,     State.OPEN),
    (State.OPEN,     News.UNCERTAIN): (State.OPEN,         State.OPEN),

    (State.ACCEPTED, News.ACCEPTED):  (State.ACCEPTED,     State.ACCEPTED),
    (State.ACCEPTED, News.REJECTED):  (State.ACCEPTED,     State.ACCEPTED),
    (State.ACCEPTED, News.RELEASED):  (State.ACCEPTED,     State.ACCEPTED),
    (State.ACCEPTED, News.UNCERTAIN): (State.ACCEPTED,     State.ACCEPTED),

    (State.REJECTED, News.ACCEPTED):  (State.ACCEPTED,     State.ACCEPTED),
    (State.REJECTED, News.REJECTED):  (State.REJECTED,     State.REJECTED),
    (State.REJECTED, News.RELEASED):  (State.REJECTED,     State.REJECTED),
    (State.REJECTED, News.UNCERTAIN): (State.REJECTED,     State.REJECTED),

    (State.RELEASED, News.ACCEPTED):  (State.ACCEPTED,     State.ACCEPTED),
    (State.RELEASED, News.REJECTED):  (State.REJECTED,     State.RELEASED),
    (State.RELEASED, News.RELEASED):  (State.RELEASED,     State.RELEASED),
    (State.RELEASED, News.UNCERTAIN): (State.OPEN,         State.OPEN),
})
"""The state of an entry after news of it, by the generation of the claim that brings them."""
# fmt: on


@attrs.frozen
class Entry:
    """What a ledger holds of one send.

    Attributes:
        request_id: The RequestId.
        state: What is known.
        generation: How often it was claimed; the latest claim is the one with this number.
        fingerprint: What tells another phone or content under the same RequestId.
        phone: The phone number, masked unless the ledger was asked to store it.
        content: The text, or None unless the ledger was asked to store it.
        opened_at: The first moment at which an attempt may have arrived, seconds since the epoch
            on the ledger's clock.
        updated_at: When the entry last changed, on the same clock.
        sms_id: The SMSID, where it is known.
        deduplicated: True where acceptance was learnt from code 124.
        code: The code of the rejection, where there is one.
        status: The HTTP status of the rejection, where there is one.
        detail: The gateway's own words on the rejection, with whatever could be secret masked.
    """

    request_id: str
    state: State
    generation: int
    fingerprint: bytes = attrs.field(repr=False)
    phone: str = attrs.field(repr=mask_phone)
    content: str | None = attrs.field(repr=False)
    opened_at: float
    updated_at: float
    sms_id: str | None = None
    deduplicated: bool = False
    code: str | None = None
    status: int | None = None
    detail: str | None = None


@attrs.frozen
class Claim:
    """The answer to a claim.

    Attributes:
        decision: What the claimant may do.
        entry: The entry, as it stands after the claim.
    """

    decision: Decision
    entry: Entry


@attrs.frozen
class Settlement:
    """News of a claim, for the ledger.

    Attributes:
        news: What was learnt.
        sms_id: The SMSID of an acceptance.
        deduplicated: True where an acceptance was learnt from code 124.
        code: The code of a rejection.
        status: The HTTP status of a rejection.
        detail: The gateway's own words on a rejection, fit to be shown.
    """

    news: News
    sms_id: str | None = None
    deduplicated: bool = False
    code: str | None = None
    status: int | None = None
    detail: str | None = None


def claim(entry: Entry | None, fresh: Entry, *, now: float, window: float, resume: bool) -> Claim:
    """Answer a claim.

    Args:
        entry: The entry that the ledger holds of the RequestId, or None.
        fresh: The entry to begin with where there is none.
        now: The time on the ledger's clock, seconds since the epoch.
        window: For how many seconds an unsettled send may be resumed.
        resume: True where the claimant knows of an earlier attempt that may have arrived.

    Returns:
        The decision, with the entry to store; it is the given one where nothing changes.
    """
    if entry is None:
        return Claim(Decision.RESUME if resume else Decision.SEND, fresh)
    if not same_fingerprint(entry.fingerprint, fresh.fingerprint):
        return Claim(Decision.CONFLICT, entry)
    decision = CLAIMS[entry.state]
    if decision is Decision.RESUME and not -CLOCK_TOLERANCE <= now - entry.opened_at <= window:
        return Claim(Decision.EXPIRED, entry)
    if decision is Decision.RESUME:
        return Claim(decision, attrs.evolve(entry, generation=entry.generation + 1, updated_at=now))
    if decision is Decision.SEND:
        return Claim(
            Decision.RESUME if resume else decision,
            attrs.evolve(fresh, generation=entry.generation + 1),
        )
    return Claim(decision, entry)


def settle(entry: Entry, generation: int, settlement: Settlement, *, now: float) -> Entry:
    """Apply news of a claim to an entry.

    Args:
        entry: The entry that the ledger holds.
        generation: The generation of the claim that brings the news.
        settlement: The news.
        now: The time on the ledger's clock, seconds since the epoch.

    Returns:
        The entry to store; it is the given one where nothing changes.
    """
    by_latest, by_earlier = SETTLEMENTS[entry.state, settlement.news]
    state = by_latest if generation == entry.generation else by_earlier
    if state is entry.state:
        return _updated(entry, settlement, now)
    # Written out, for every send comes by here, and attrs.evolve takes five times as long.
    return Entry(
        entry.request_id,
        state,
        entry.generation,
        entry.fingerprint,
        entry.phone,
        entry.content,
        entry.opened_at,
        now,
        settlement.sms_id,
        settlement.deduplicated,
        settlement.code,
        settlement.status,
        settlement.detail,
    )


def _updated(entry: Entry, settlement: Settlement, now: float) -> Entry:
    """Return an entry whose state stays: an SMSID or a moment may be news all the same."""
    if entry.state is State.ACCEPTED and entry.sms_id is None and settlement.sms_id is not None:
        return attrs.evolve(entry, sms_id=settlement.sms_id)
    if entry.state is State.OPEN and settlement.news is News.UNCERTAIN:
        return attrs.evolve(entry, updated_at=now)
    return entry


def new_entry(
    message: Message, fingerprint: bytes, *, now: float, phone: bool, content: bool
) -> Entry:
    """Return the entry that a first claim begins with.

    Args:
        message: The message.
        fingerprint: Its fingerprint.
        now: The time on the ledger's clock, seconds since the epoch.
        phone: True to store the full phone number, not the masked one.
        content: True to store the text.

    Returns:
        An open entry of the first generation.
    """
    return Entry(
        message.request_id,
        State.OPEN,
        1,
        fingerprint,
        message.phone if phone else mask_phone(message.phone),
        message.content if content else None,
        now,
        now,
    )


KEY_ID_LENGTH: Final = 4
"""How many bytes of a fingerprint name the key that it was made with."""

_MAC_LENGTH = 16
_BLOCK = 64


def fingerprint(message: Message, key: bytes) -> bytes:
    """Return what tells this phone and content from others, and tells nothing else.

    A plain hash of a text that holds a code of six digits is undone by trying a million of them;
    a keyed one is not, as long as the key is kept elsewhere than the ledger.

    Args:
        message: The message.
        key: A secret key of at most 64 bytes.

    Returns:
        20 bytes: four that name the key, and 16 of an HMAC-SHA-256 over phone and content.
    """
    text = f"{message.phone}\n{message.content}".encode()
    return key_id(key) + _keyed(key)(text)[:_MAC_LENGTH]


@functools.lru_cache(maxsize=16)
def key_id(key: bytes) -> bytes:
    """Return what names a key, and tells nothing of it.

    Args:
        key: A secret key of at most 64 bytes, as `fingerprint_key` makes it.

    Returns:
        The four bytes that the fingerprints begin with that were made with it.
    """
    return _keyed(key)(b"key id")[:KEY_ID_LENGTH]


@functools.lru_cache(maxsize=16)
def _keyed(key: bytes) -> Callable[[bytes], bytes]:
    """Return HMAC-SHA-256 under a key (RFC 2104), with what is the same for every text done."""
    padded = key.ljust(_BLOCK, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded))
    outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))

    def mac(text: bytes) -> bytes:
        inside, outside = inner.copy(), outer.copy()
        inside.update(text)
        outside.update(inside.digest())
        return outside.digest()

    return mac


def same_fingerprint(one: bytes, other: bytes) -> bool:
    """Tell whether two fingerprints can be of one message.

    Args:
        one: A fingerprint.
        other: Another.

    Returns:
        False where they were made with one key and differ. Those of two keys, as before and
        after a rotation of the account's keys, tell nothing.
    """
    if one[:KEY_ID_LENGTH] != other[:KEY_ID_LENGTH]:
        return True
    return hmac.compare_digest(one, other)


def fingerprint_key(secret: str) -> bytes:
    """Derive the key of fingerprints from an account's SecretKey.

    Args:
        secret: The SecretKey, which is kept elsewhere than the ledger.

    Returns:
        32 bytes.
    """
    return hmac.digest(secret.encode(), b"esms_async ledger fingerprint, version 1", hashlib.sha256)
