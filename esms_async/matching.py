"""Which line of the gateway's list is a send whose outcome is unknown: the rule, and all of it.

The list names no RequestId. A send that carried its RequestId as campaign id is known again by
it, by its phone and by its time, all three. Nothing else proves a line to be that send: a phone
and a time fit every message to that phone in those minutes, of this program or of another, and a
masked phone fits many phones.

| messages with its campaign, phone and time | what the list says | finding     |
|--------------------------------------------|--------------------|-------------|
| one                                        | the gateway has it | `FOUND`     |
| one                                        | anything else      | `UNDECIDED` |
| several                                    | anything           | `AMBIGUOUS` |
| none, but others to its phone then         | anything           | `SIMILAR`   |
| none                                       |                    | `ABSENT`    |

`FOUND` alone settles a send. Absence settles nothing: the list lags behind by a time that nobody
documents, the period is asked for by two clocks, a request may still be on its way, and a send
without a campaign id looks as if it were absent.
"""

import enum
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

import attrs

from esms_async.phone import mask_phone, normalize_phone
from esms_async.results import SendStatus, SentMessage
from esms_async.settlement import Entry

TOLERANCE: Final = timedelta(minutes=15)
"""How far the gateway's clock and the ledger's may be apart, and an attempt may take."""

# A refused message may be listed too, and what is composed or awaits approval may still be.
_TAKEN: Final = frozenset({SendStatus.WAITING, SendStatus.FINISHED, SendStatus.SENT})


class Finding(enum.StrEnum):
    """What the gateway's list tells of a send."""

    FOUND = "found"
    """It was accepted."""
    UNDECIDED = "undecided"
    """It is listed, and the gateway has not taken it yet, or refuses it."""
    AMBIGUOUS = "ambiguous"
    """Several messages could be it."""
    SIMILAR = "similar"
    """Messages to the same phone, at that time, without its RequestId as campaign id."""
    ABSENT = "absent"
    """Nothing is listed, which proves nothing."""


@attrs.frozen
class Match:
    """What the list tells of one send.

    Attributes:
        finding: What it tells.
        lines: The lines that say so.
    """

    finding: Finding
    lines: tuple[SentMessage, ...] = ()


def find_send(entry: Entry, lines: Iterable[SentMessage]) -> Match:
    """Find a send in the list.

    Args:
        entry: What the ledger holds of the send.
        lines: Lines of the list; those of other phones and times are passed over.

    Returns:
        What they tell of the send.
    """
    since, until = period(entry)
    of_phone = [line for line in lines if _fits_phone(entry, line)]
    # A line may be later than the send by any time: that of its SendDate.
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
    """Return when an attempt of a send may have reached the gateway.

    Args:
        entry: What the ledger holds of the send.

    Returns:
        The beginning and the end, UTC.
    """
    return (
        datetime.fromtimestamp(entry.opened_at, UTC) - TOLERANCE,
        datetime.fromtimestamp(entry.updated_at, UTC) + TOLERANCE,
    )


def merged(
    periods: Iterable[tuple[datetime, datetime]],
) -> tuple[tuple[datetime, datetime], ...]:
    """Return periods that cover the same time, without overlaps, in order.

    Args:
        periods: Any periods.

    Returns:
        The periods; what lies less than a second apart, the list's resolution, is one.
    """
    done: list[tuple[datetime, datetime]] = []
    for since, until in sorted(periods):
        if done and since <= done[-1][1] + timedelta(seconds=2):
            done[-1] = (done[-1][0], max(done[-1][1], until))
        else:
            done.append((since, until))
    return tuple(done)


def masked(phone: str | None) -> str | None:
    """Return what a phone shows in a ledger that keeps it masked.

    Args:
        phone: A phone in any form, or as such a ledger holds it.

    Returns:
        The masked phone, or None where it can't be read.
    """
    if phone is None or "*" in phone:
        return phone
    try:
        return mask_phone(normalize_phone(phone))
    except ValueError:
        return None


def _fits_phone(entry: Entry, line: SentMessage) -> bool:
    if "*" in entry.phone:
        return masked(line.phone) == entry.phone
    try:
        return normalize_phone(line.phone or "") == entry.phone
    except ValueError:
        return False
