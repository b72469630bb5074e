"""A ledger in this process's memory, for sends that need not outlive it."""

import itertools
import time
from collections.abc import AsyncIterator, Callable

from esms_async.checks import check_seconds
from esms_async.handover import Handover, Turn, begin, end, new_handover
from esms_async.ledger.base import LedgerBase, LedgerOptions
from esms_async.messages import Message
from esms_async.settlement import Claim, Entry, Settlement, State, claim, new_entry, settle

_TWO_DAYS = 48 * 3600.0


class MemoryLedger(LedgerBase):
    """Keeps what is known of each send while the process lives, if settled for two days.

    Args:
        options: What all ledgers are told alike.
        keep: For how many seconds a settled entry is kept after its last change.
        clock: The time in seconds since the epoch.

    Raises:
        ConfigurationError: `keep` is no duration.
    """

    def __init__(
        self,
        *,
        options: LedgerOptions = LedgerOptions(),  # noqa: B008  # a frozen value
        keep: float = _TWO_DAYS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        check_seconds("keep", keep)
        self._options = options
        self._keep = keep
        self._clock = clock
        # In the order of their last change, so that the oldest are found without a search.
        self._entries: dict[str, Entry] = {}
        self._handovers: dict[tuple[str, str], Handover] = {}
        self._facts: dict[str, str] = {}
        self._open = False

    @property
    def is_open(self) -> bool:
        """True between `open` and `aclose`."""
        return self._open

    async def open(self) -> None:
        """Make the ledger ready. Entries of an earlier opening are still there."""
        self._open = True

    async def aclose(self) -> None:
        """Stop taking claims. The entries stay until the ledger itself is dropped."""
        self._open = False

    async def claim(self, message: Message, fingerprint: bytes, *, resume: bool = False) -> Claim:
        """Ask to send a message."""
        self.require_open()
        options, now = self._options, self._clock()
        self._forget_oldest(now)
        fresh = new_entry(
            message,
            fingerprint,
            now=now,
            phone=options.store_phone,
            content=options.store_content,
        )
        known = self._entries.get(message.request_id)
        answer = claim(known, fresh, now=now, window=options.window, resume=resume)
        self._put(answer.entry, known)
        return answer

    async def settle(
        self, request_id: str, generation: int, settlement: Settlement
    ) -> Entry | None:
        """Record what became of a claim."""
        self.require_open()
        known = self._entries.get(request_id)
        if known is None:
            return None
        entry = settle(known, generation, settlement, now=self._clock())
        self._put(entry, known)
        return entry

    async def begin_report(self, request_id: str, state: str, lease: float) -> Turn:
        """Ask to hand a delivery report on."""
        self.require_open()
        now, key = self._clock(), (request_id, state)
        self._forget_oldest_handovers(now)
        fresh = new_handover(request_id, state, now=now, lease=lease)
        known = self._handovers.get(key)
        turn = begin(known, fresh, now=now)
        self._put_handover(key, turn.handover, known)
        return turn

    async def end_report(self, request_id: str, state: str, turn: int, *, success: bool) -> None:
        """Record how a turn at handing a report on has ended."""
        self.require_open()
        key = (request_id, state)
        if (known := self._handovers.get(key)) is not None:
            ended = end(known, turn, success=success, now=self._clock())
            self._put_handover(key, ended, known)

    async def keep_fact(self, name: str, value: str) -> str:
        """Keep a fact about the ledger itself, unless one of that name is kept already."""
        self.require_open()
        return self._facts.setdefault(name, value)

    async def look_up(self, request_id: str) -> Entry | None:
        """Return the entry of a RequestId, or None."""
        self.require_open()
        return self._entries.get(request_id)

    async def unsettled(self) -> AsyncIterator[Entry]:
        """Iterate over the open entries, as they are at the start."""
        async for entry in self.entries():
            if entry.state is State.OPEN:
                yield entry

    async def entries(self) -> AsyncIterator[Entry]:
        """Iterate over all entries, as they are at the start."""
        self.require_open()
        for entry in list(self._entries.values()):
            yield entry

    async def prune(self, older_than: float, *, unsettled: bool = False) -> int:
        """Forget entries and reports that did not change for a time."""
        self.require_open()
        before = self._clock() - older_than
        old = [
            entry.request_id
            for entry in self._entries.values()
            if entry.updated_at < before and (unsettled or entry.state is not State.OPEN)
        ]
        for request_id in old:
            del self._entries[request_id]
        for key in [key for key, each in self._handovers.items() if each.until < before]:
            del self._handovers[key]
        return len(old)

    def _put(self, entry: Entry, known: Entry | None) -> None:
        if entry is not known:
            self._entries.pop(entry.request_id, None)
            self._entries[entry.request_id] = entry

    def _put_handover(
        self, key: tuple[str, str], handover: Handover, known: Handover | None
    ) -> None:
        if handover is not known:
            self._handovers.pop(key, None)
            self._handovers[key] = handover

    def _forget_oldest_handovers(self, now: float) -> None:
        """Look at the two oldest, which keeps up with one report adding one."""
        for key, handover in list(itertools.islice(self._handovers.items(), 2)):
            if handover.until < now - self._keep:
                del self._handovers[key]

    def _forget_oldest(self, now: float) -> None:
        """Look at the two oldest entries, which keeps up with one claim adding one.

        An open entry stays, behind all others: forgotten, it could be sent a second time.
        """
        for entry in list(itertools.islice(self._entries.values(), 2)):
            if entry.updated_at < now - self._keep:
                del self._entries[entry.request_id]
                if entry.state is State.OPEN:
                    self._entries[entry.request_id] = entry
