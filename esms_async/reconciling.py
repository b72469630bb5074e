"""Finds out from the gateway's list what became of sends that a ledger holds as unknown."""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime

import attrs

from esms_async.errors import ConfigurationError
from esms_async.ledger.base import Ledger
from esms_async.matching import Finding, Match, find_send, masked, merged, period
from esms_async.results import SentMessage
from esms_async.settlement import Entry, News, Settlement, State

ListSent = Callable[[datetime, datetime], AsyncIterator[SentMessage]]
"""Lists what the account has sent in a period, as `EsmsClient.sent` does."""

# No claim has it: the news come from nobody who sent the message.
_NO_CLAIM = 0


@attrs.frozen
class Reconciled:
    """What was found out of one send.

    Attributes:
        request_id: Its RequestId.
        finding: What the gateway's list tells; None where it was not asked, for the ledger knows
            the outcome, or holds no such send.
        entry: What the ledger holds of it now, or None.
        lines: The lines of the list that say so. Those of a finding other than `FOUND` are for a
            person to look at.
    """

    request_id: str
    finding: Finding | None
    entry: Entry | None
    lines: tuple[SentMessage, ...] = ()

    @property
    def settled(self) -> bool:
        """True where the outcome is known."""
        return self.entry is not None and self.entry.state is not State.OPEN


@attrs.frozen
class Reconciliation:
    """What was found out of many sends.

    Attributes:
        settled: Those whose outcome is known now.
        unknown: Those of which it is not. None of them is known not to have been sent.
    """

    settled: tuple[Reconciled, ...]
    unknown: tuple[Reconciled, ...]


async def reconcile(
    ledger: Ledger, list_sent: ListSent, request_ids: Iterable[str] | None = None
) -> Reconciliation:
    """Look for sends in the gateway's list, and settle those that are found.

    Args:
        ledger: The ledger, open.
        list_sent: Lists what the account has sent.
        request_ids: Those of the sends to look for; all unsettled ones by default. Of an accepted
            one the list may tell the SMSID.

    Returns:
        What was found out.

    Raises:
        ConfigurationError: `request_ids` is a single str.
        QueryError: The list could not be had; nothing was settled.
        LedgerError: The ledger can't be used.
    """
    told: list[Reconciled] = []
    wanted: list[Entry] = []
    async for request_id, entry in _entries(ledger, request_ids):
        if entry is not None and _is_open_question(entry):
            wanted.append(entry)
        else:
            told.append(Reconciled(request_id, None, entry))
    lines = await _lines(list_sent, wanted)
    for entry in wanted:
        found = find_send(entry, lines[masked(entry.phone)])
        told.append(await _settle(ledger, entry, found))
    return Reconciliation(
        tuple(one for one in told if one.settled), tuple(one for one in told if not one.settled)
    )


async def _entries(
    ledger: Ledger, request_ids: Iterable[str] | None
) -> AsyncIterator[tuple[str, Entry | None]]:
    if isinstance(request_ids, str):
        raise ConfigurationError("request_ids must be several, not one str; put it in a list")
    if request_ids is None:
        async for entry in ledger.unsettled():
            yield entry.request_id, entry
        return
    for request_id in dict.fromkeys(request_ids):
        yield request_id, await ledger.look_up(request_id)


def _is_open_question(entry: Entry) -> bool:
    """Tell whether the list can tell more of a send than the ledger does."""
    return entry.state is State.OPEN or (entry.state is State.ACCEPTED and entry.sms_id is None)


async def _lines(
    list_sent: ListSent, wanted: list[Entry]
) -> defaultdict[str | None, list[SentMessage]]:
    """Return the lines of the phones and times that are wanted, by what a masked phone shows."""
    lines: defaultdict[str | None, list[SentMessage]] = defaultdict(list)
    phones = {masked(entry.phone) for entry in wanted}
    for since, until in merged(map(period, wanted)):
        async for line in list_sent(since, until):
            if (phone := masked(line.phone)) in phones:
                lines[phone].append(line)
    return lines


async def _settle(ledger: Ledger, entry: Entry, found: Match) -> Reconciled:
    if found.finding is not Finding.FOUND:
        return Reconciled(entry.request_id, found.finding, entry, found.lines)
    accepted = Settlement(News.ACCEPTED, sms_id=found.lines[0].sms_id)
    now = await ledger.settle(entry.request_id, _NO_CLAIM, accepted)
    return Reconciled(entry.request_id, found.finding, now, found.lines)
