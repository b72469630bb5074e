"""Settles sends whose outcome is unknown, from the gateway's list of sent messages.

The list has no RequestIds. A line belongs to a send only if its campaign id is the send's RequestId
and its phone and time fit, all three. Phone and time alone prove nothing: they fit every message
to that phone in those minutes, from any program, and a masked phone fits many phones.

| messages with its campaign id, phone and time | the list says      | finding     |
|-----------------------------------------------|--------------------|-------------|
| one                                           | the gateway has it | `FOUND`     |
| one                                           | anything else      | `UNDECIDED` |
| several                                       | anything           | `AMBIGUOUS` |
| none, but others to its phone then            | anything           | `SIMILAR`   |
| none                                          |                    | `ABSENT`    |

Only `FOUND` settles a send. Absence settles nothing: the list lags by a time that nobody
documents, the ledger's clock and the gateway's differ, a request may still be on its way, and a
send without a campaign id always looks absent.
"""

import enum
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final, cast

import attrs

from esms_async._model.errors import ConfigurationError
from esms_async._model.messages import Message, Status
from esms_async._model.phone import mask_phone, normalize_phone
from esms_async._model.results import SendStatus, SentMessage
from esms_async.ledger.base import Ledger
from esms_async.ledger.transitions import Entry, Reason, Settlement

ListSent = Callable[[datetime, datetime], AsyncIterator[SentMessage]]
"""Lists what the account has sent in a period, as `EsmsClient.sent` does."""

TOLERANCE: Final = timedelta(minutes=15)
"""How far the gateway's clock and the ledger's may differ, and how long an attempt may take."""

_GATEWAY_REMEMBERS: Final = timedelta(hours=24)
"""How long after a send the gateway still answers 124 ("Send fixed number with cheap price")."""

# Delivery reports and the list belong to no claim.
_NO_CLAIM: Final = 0

# The list also shows refused messages, and those that await approval may still be refused.
_TAKEN: Final = frozenset({SendStatus.WAITING, SendStatus.FINISHED, SendStatus.SENT})


class Finding(enum.StrEnum):
    """What the gateway's list shows of a send."""

    FOUND = "found"
    """The gateway accepted it."""
    UNDECIDED = "undecided"
    """It is listed, but the gateway has not taken it yet, or refuses it."""
    AMBIGUOUS = "ambiguous"
    """Several messages match."""
    SIMILAR = "similar"
    """Messages to the same phone at that time, none with its RequestId as campaign id."""
    ABSENT = "absent"
    """Nothing is listed, which proves nothing."""


_MISSING: Final[Mapping[Finding | None, str]] = MappingProxyType(
    {
        None: "the ledger has no entry of this request id, so nobody knows when to look for it",
        Finding.FOUND: "it is listed as accepted, but its entry was deleted from the ledger "
        "meanwhile",
        Finding.UNDECIDED: "it is listed, but the gateway has not taken it yet, or refuses it",
        Finding.AMBIGUOUS: "several listed messages have its request id as campaign id",
        Finding.SIMILAR: "messages to this phone are listed for that time, but none has its "
        "request id as campaign id; only a client made with trackable=True sends that",
        Finding.ABSENT: "it is not listed, which proves nothing: the list lags behind, and a "
        "client made without trackable=True sends no campaign id to find it by",
    }
)


@attrs.frozen
class Reconciled:
    """The result of looking for one send in the gateway's list.

    Attributes:
        request_id: Its RequestId.
        finding: What the list shows; None if it was not read, because the ledger knows the
            outcome or has no such send.
        entry: The ledger's entry now, or None.
        lines: The lines behind the finding, for a person to look at if it is not `FOUND`.
        missing: Why the outcome is still unknown, in one sentence; None if it is known.
    """

    request_id: str
    finding: Finding | None
    entry: Entry | None
    lines: tuple[SentMessage, ...] = ()
    missing: str | None = None

    @property
    def settled(self) -> bool:
        """True if the outcome is known."""
        return self.entry is not None and self.entry.status is not Status.UNKNOWN


@attrs.frozen
class Reconciliation:
    """The result of looking for many sends in the gateway's list.

    Attributes:
        settled: The sends whose outcome is known.
        unknown: The others. Each may have been accepted.
    """

    settled: tuple[Reconciled, ...]
    unknown: tuple[Reconciled, ...]


@attrs.frozen
class Match:
    """What the list shows of one send, and the lines that show it."""

    finding: Finding
    lines: tuple[SentMessage, ...] = ()


async def reconcile(
    ledger: Ledger, list_sent: ListSent, sends: Iterable[str | Message] | None = None
) -> Reconciliation:
    """Look for sends in the gateway's list, and settle in the ledger those that are found.

    Args:
        ledger: The ledger, open.
        list_sent: Lists what the account has sent.
        sends: Messages or RequestIds; None for all unsettled sends of the ledger. An accepted
            send without an SMSID gets it from the list.

    Raises:
        ConfigurationError: `sends` is a single str or Message, or holds something else.
        QueryError: The list could not be read; nothing was settled.
        LedgerError: The ledger can't be used.
    """
    done: list[Reconciled] = []
    wanted: list[tuple[Entry, Message | None]] = []
    async for request_id, message, entry in _entries(ledger, sends):
        if entry is None:
            done.append(Reconciled(request_id, None, None, missing=_MISSING[None]))
        elif message is not None and not _same_phone(entry, message.phone):
            words = "the ledger holds this request id for a message to another phone"
            done.append(Reconciled(request_id, None, None, missing=words))
        elif _can_learn(entry):
            wanted.append((entry, message))
        else:
            done.append(Reconciled(request_id, None, entry))
    lines = await _lines(list_sent, [entry for entry, _ in wanted])
    for entry, message in wanted:
        # The ledger may hold the phone masked; a Message has it whole.
        sought = entry if message is None else attrs.evolve(entry, phone=message.phone)
        match = find_send(sought, lines[masked(entry.phone)])
        done.append(await _settle(ledger, entry, message, match))
    return Reconciliation(
        tuple(one for one in done if one.settled), tuple(one for one in done if not one.settled)
    )


async def _entries(
    ledger: Ledger, sends: Iterable[str | Message] | None
) -> AsyncIterator[tuple[str, Message | None, Entry | None]]:
    if sends is None:
        async for entry in ledger.unsettled():
            yield entry.request_id, None, entry
        return
    if isinstance(sends, str | Message):
        raise ConfigurationError(
            f"reconcile takes several sends, not one {type(sends).__name__}; put it in a list"
        )
    wanted: dict[str, Message | None] = {}
    for one in cast("Iterable[object]", sends):
        if isinstance(one, Message):
            wanted[one.request_id] = one
        elif isinstance(one, str):
            wanted.setdefault(one, None)
        else:
            raise ConfigurationError(
                f"reconcile takes Messages and request ids, not {type(one).__name__}"
            )
    for request_id, message in wanted.items():
        yield request_id, message, await ledger.look_up(request_id)


def _can_learn(entry: Entry) -> bool:
    """Return True if the list can add to the ledger's entry."""
    return entry.status is Status.UNKNOWN or (
        entry.status is Status.ACCEPTED and entry.sms_id is None
    )


async def _lines(
    list_sent: ListSent, wanted: list[Entry]
) -> defaultdict[str | None, list[SentMessage]]:
    """Return the lines of the wanted phones and times, by masked phone."""
    lines: defaultdict[str | None, list[SentMessage]] = defaultdict(list)
    phones = {masked(entry.phone) for entry in wanted}
    for since, until in merged(map(period, wanted)):
        async for line in list_sent(since, until):
            if (phone := masked(line.phone)) in phones:
                lines[phone].append(line)
    return lines


async def _settle(
    ledger: Ledger, entry: Entry, message: Message | None, match: Match
) -> Reconciled:
    now: Entry | None = entry
    if match.finding is Finding.FOUND:
        accepted = Settlement(Status.ACCEPTED, sms_id=match.lines[0].sms_id)
        now = await ledger.settle(entry.request_id, _NO_CLAIM, accepted)
    found = Reconciled(entry.request_id, match.finding, now, match.lines)
    return found if found.settled else attrs.evolve(found, missing=_missing(match, message))


def _missing(match: Match, message: Message | None) -> str:
    own = None if message is None else message.campaign_id
    if match.finding in (Finding.SIMILAR, Finding.ABSENT) and own is not None:
        return (
            f"the message has a campaign id of its own ({own}), so the list can't show its "
            "request id"
        )
    return _MISSING[match.finding]


def find_send(entry: Entry, lines: Iterable[SentMessage]) -> Match:
    """Find a send among lines of the list; lines of other phones and times are ignored."""
    since, until = period(entry)
    of_phone = [line for line in lines if line.phone and _same_phone(entry, line.phone)]
    # A line may be much later than the send: it has the time of its SendDate.
    own = tuple(
        line
        for line in of_phone
        if line.campaign_id == entry.request_id and line.sent_at and since <= line.sent_at
    )
    messages = {line.sms_id or line for line in own}
    if len(messages) > 1:
        return Match(Finding.AMBIGUOUS, own)
    if own:
        taken = all(line.send_status in _TAKEN for line in own)
        return Match(Finding.FOUND if taken else Finding.UNDECIDED, own)
    near = tuple(
        line for line in of_phone if line.sent_at is None or since <= line.sent_at <= until
    )
    return Match(Finding.SIMILAR, near) if near else Match(Finding.ABSENT)


def period(entry: Entry) -> tuple[datetime, datetime]:
    """Return the period (UTC) in which a send may have reached the gateway.

    An entry in doubt by code 124 alone may have been sent up to 24 hours before the ledger knew it.
    """
    since = datetime.fromtimestamp(entry.in_doubt_since, UTC) - TOLERANCE
    if entry.reason is Reason.DUPLICATE:
        since -= _GATEWAY_REMEMBERS
    # A clock that was set back may have written the later moment first.
    until = max(entry.in_doubt_since, entry.updated_at)
    return since, datetime.fromtimestamp(until, UTC) + TOLERANCE


def merged(
    periods: Iterable[tuple[datetime, datetime]],
) -> tuple[tuple[datetime, datetime], ...]:
    """Return periods that cover the same time in order, without overlaps.

    Periods less than a second apart, the list's resolution, become one.
    """
    done: list[tuple[datetime, datetime]] = []
    for since, until in sorted(periods):
        if done and since <= done[-1][1] + timedelta(seconds=2):
            done[-1] = (done[-1][0], max(done[-1][1], until))
        else:
            done.append((since, until))
    return tuple(done)


def masked(phone: str | None) -> str | None:
    """Return a phone, in any form, as a ledger shows it masked; None if it can't be read."""
    if phone is None or "*" in phone:
        return phone
    try:
        return mask_phone(normalize_phone(phone))
    except ValueError:
        return None


def _same_phone(entry: Entry, phone: str) -> bool:
    """Return True if an entry, which may hold its phone masked, can be for this phone."""
    if "*" in entry.phone:
        return masked(phone) == entry.phone
    try:
        return normalize_phone(phone) == entry.phone
    except ValueError:
        return False
