"""Keeps a ledger in memory, for one process whose sends may be forgotten with it."""

import asyncio
import heapq
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Final

from esms_async._model.checks import check_seconds
from esms_async._model.messages import Message, Status
from esms_async._model.phone import mask_phone
from esms_async.ledger.base import LedgerBase, LedgerOptions, Unrecorded
from esms_async.ledger.transitions import (
    Claim,
    Contact,
    Decision,
    Entry,
    Reason,
    Row,
    Settlement,
    StoredReport,
    accept,
    as_row,
    claim,
    claim_report,
    from_row,
    new_entry,
    new_report,
    next_contact,
    retry_report,
    settle,
    settle_report,
)

_TWO_DAYS = 48 * 3600.0
_UNKNOWN: Final = Status.UNKNOWN.value
_ACCEPTED: Final = Status.ACCEPTED.value
_ATTEMPT: Final = Reason.ATTEMPT.value
_IN_DOUBT: Final = (Status.UNKNOWN, Reason.ATTEMPT)
_SEND: Final = Decision.SEND
_UPDATED_AT: Final = 7
# A prune lets others run after so many entries.
_SLICE: Final = 1000


class MemoryLedger(LedgerBase):
    """Stores the state of each send while the process lives, and settled entries for two days.

    Args:
        options: The options that all ledgers share.
        keep: Seconds for which a settled entry is kept after its last change.
        clock: The time in seconds since the epoch.

    Raises:
        ConfigurationError: `keep` is not a positive number of seconds.
    """

    def __init__(
        self,
        *,
        options: LedgerOptions = LedgerOptions(),
        keep: float = _TWO_DAYS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        check_seconds("keep", keep)
        self._options = options
        self._keep = keep
        self._clock = clock
        self._entries: dict[str, Row] = {}
        # Each settlement with its time, so the oldest entries are found without a search. An entry
        # that was settled again stands here twice.
        self._settled: deque[tuple[float, str]] = deque()
        # Before this moment even the oldest is not old enough to be deleted.
        self._next_look = 0.0
        self._reports: dict[str, StoredReport] = {}
        self._due: list[tuple[float, str]] = []
        self._contact: Contact | None = None
        self._facts: dict[str, str] = {}
        self._open = False

    @property
    def is_open(self) -> bool:
        """True between `open` and `aclose`."""
        return self._open

    async def open(self) -> None:
        """Make the ledger ready. Entries from before it was closed are still there."""
        self._open = True

    async def aclose(self) -> None:
        """Refuse further calls. The entries stay until the ledger itself is dropped."""
        self._open = False

    async def claim(
        self, message: Message, fingerprint: bytes, *, doubt_age: float | None = None
    ) -> Claim:
        """Claim a message."""
        if not self._open:  # without a call, because every send comes by here
            self.require_open()
        options, now = self._options, self._clock()
        if now > self._next_look:
            self._delete_oldest(now)
        request_id = message.request_id
        if doubt_age is None and request_id not in self._entries:
            # Nearly every claim ends here. What `new_entry` and `claim` return is written out: it
            # takes half the time. A new ledger calls them, as below.
            phone = message.phone if options.store_phone else mask_phone(message.phone)
            content = message.content if options.store_content else None
            self._entries[request_id] = (
                _UNKNOWN,
                _ATTEMPT,
                1,
                fingerprint,
                phone,
                content,
                now,
                now,
                None,
                0,
                None,
                None,
                None,
            )
            entry = Entry(request_id, *_IN_DOUBT, 1, fingerprint, phone, content, now, now)
            return Claim(_SEND, entry)
        fresh = new_entry(
            message,
            fingerprint,
            now=now,
            doubt_age=doubt_age,
            phone=options.store_phone,
            content=options.store_content,
        )
        known = self._find(request_id)
        answer = claim(known, fresh, now=now, window=options.window, resume=doubt_age is not None)
        self._put(answer.entry, known)
        return answer

    async def settle(
        self, request_id: str, generation: int, settlement: Settlement
    ) -> Entry | None:
        """Record a result of a message."""
        self.require_open()
        known = self._find(request_id)
        if known is None:
            return None
        entry = settle(known, generation, settlement, now=self._clock())
        self._put(entry, known)
        return entry

    def accept_soon(
        self,
        request_id: str,
        sms_id: str | None,
        *,
        deduplicated: bool,
        unrecorded: Unrecorded,  # noqa: ARG002  # memory does not fail
    ) -> bool:
        """Record an acceptance at once."""
        if not self._open:
            self.require_open()
        row = self._entries.get(request_id)
        if row is not None and row[0] == _UNKNOWN:
            # Nearly every acceptance ends here; `accept` would take three times as long.
            now = self._clock()
            _, _, generation, fingerprint, phone, content, in_doubt_since, *_ = row
            self._entries[request_id] = (
                _ACCEPTED,
                None,
                generation,
                fingerprint,
                phone,
                content,
                in_doubt_since,
                now,
                sms_id,
                int(deduplicated),
                None,
                None,
                None,
            )
            self._settled.append((now, request_id))
        elif (known := self._find(request_id)) is not None:
            self._put(accept(known, sms_id, deduplicated=deduplicated, now=self._clock()), known)
        return True

    async def flush(self) -> None:
        """Return: nothing is ever queued."""

    async def store_report(
        self, key: str, text: str, *, lease: float | None = None
    ) -> StoredReport | None:
        """Store a report, unless one with its key was stored before."""
        self.require_open()
        now = self._clock()
        self._delete_oldest_reports(now)
        if key in self._reports:
            return None
        report = new_report(key, text, now=now, lease=lease)
        self._put_report(report)
        return report

    async def take_reports(self, limit: int, lease: float) -> list[StoredReport]:
        """Claim reports that are due."""
        self.require_open()
        now, taken = self._clock(), list[StoredReport]()
        self._contact = next_contact(self._contact, now=now, lease=lease)
        while self._due and len(taken) < limit and self._due[0][0] <= now:
            due_at, key = heapq.heappop(self._due)
            known = self._reports.get(key)
            if known is None or known.due_at != due_at:
                continue  # it was settled meanwhile
            decision, report = claim_report(
                known, now=now, lease=lease, grace_until=self._contact.grace_until
            )
            self._put_report(report)
            if decision in (Decision.SEND, Decision.RESUME):
                taken.append(report)
        return taken

    async def settle_report(
        self,
        key: str,
        generation: int,
        settlement: Settlement,
        *,
        failures: int = 0,
        due_in: float = 0.0,
    ) -> None:
        """Record the result of a claimed report."""
        self.require_open()
        if (known := self._reports.get(key)) is not None:
            self._put_report(
                settle_report(
                    known,
                    generation,
                    settlement,
                    failures=failures,
                    due_in=due_in,
                    now=self._clock(),
                )
            )

    async def failed_reports(self) -> AsyncIterator[StoredReport]:
        """Iterate over the reports that are kept as failed, as they are at the start."""
        self.require_open()
        for report in list(self._reports.values()):
            if report.status is Status.REJECTED:
                yield report

    async def retry_report(self, key: str) -> bool:
        """Let a failed report be handed on again; return False if no failed one has this key."""
        self.require_open()
        known = self._reports.get(key)
        if known is None or known.status is not Status.REJECTED:
            return False
        self._put_report(retry_report(known, now=self._clock()))
        return True

    async def keep_fact(self, name: str, value: str) -> str:
        """Store a fact unless the ledger has one of that name; return the one it has now."""
        self.require_open()
        return self._facts.setdefault(name, value)

    async def replace_fact(self, name: str, value: str) -> None:
        """Store a fact in place of any other of that name."""
        self.require_open()
        self._facts[name] = value

    async def facts(self) -> dict[str, str]:
        """Return all facts by name."""
        self.require_open()
        return dict(self._facts)

    async def look_up(self, request_id: str) -> Entry | None:
        """Return the entry of a RequestId, or None."""
        self.require_open()
        return self._find(request_id)

    async def unsettled(self) -> AsyncIterator[Entry]:
        """Iterate over the unknown entries, as they are at the start."""
        async for entry in self.entries():
            if entry.status is Status.UNKNOWN:
                yield entry

    async def entries(self) -> AsyncIterator[Entry]:
        """Iterate over all entries, as they are at the start."""
        self.require_open()
        for request_id, row in list(self._entries.items()):
            yield from_row(request_id, row)

    async def prune(self, older_than: float, *, unsettled: bool = False) -> int:
        """Delete old entries, and old reports that were handed on."""
        self.require_open()
        before = self._clock() - older_than
        deleted = 0
        async for request_id in _in_slices(self._entries):
            row = self._entries.get(request_id)
            if row is not None and row[_UPDATED_AT] < before and (unsettled or row[0] != _UNKNOWN):
                del self._entries[request_id]
                deleted += 1
        async for key in _in_slices(self._reports):
            report = self._reports.get(key)
            if (
                report is not None
                and report.due_at < before
                and (unsettled or report.status is Status.ACCEPTED)
            ):
                del self._reports[key]
        return deleted

    def _find(self, request_id: str) -> Entry | None:
        row = self._entries.get(request_id)
        return None if row is None else from_row(request_id, row)

    def _put(self, entry: Entry, known: Entry | None) -> None:
        if entry is not known:
            self._entries[entry.request_id] = as_row(entry)
            if entry.status is not Status.UNKNOWN:
                self._settled.append((entry.updated_at, entry.request_id))

    def _put_report(self, report: StoredReport) -> None:
        if report is self._reports.get(report.key):
            return
        self._reports.pop(report.key, None)
        self._reports[report.key] = report
        if report.status in (Status.NOT_SENT, Status.UNKNOWN):
            heapq.heappush(self._due, (report.due_at, report.key))

    # Each claim or report adds one, so deleting up to two keeps pace.
    def _delete_oldest_reports(self, now: float) -> None:
        for report in list(itertools.islice(self._reports.values(), 2)):
            if report.due_at < now - self._keep:
                del self._reports[report.key]
                # A report that was not handed on moves behind the others.
                if report.status is not Status.ACCEPTED:
                    self._reports[report.key] = report

    def _delete_oldest(self, now: float) -> None:
        for _ in range(2):
            if not self._settled:
                return
            settled_at, request_id = self._settled[0]
            self._next_look = settled_at + self._keep
            if now <= self._next_look:
                return
            row = self._entries.get(request_id)
            # It may have been claimed or settled again since.
            if row is not None and row[0] != _UNKNOWN and row[_UPDATED_AT] == settled_at:
                del self._entries[request_id]
            self._settled.popleft()


async def _in_slices(keys: Iterable[str]) -> AsyncIterator[str]:
    """Iterate over keys as they are at the start, and let other tasks run after each slice."""
    for number, key in enumerate(list(keys), 1):
        yield key
        if number % _SLICE == 0:
            await asyncio.sleep(0)
