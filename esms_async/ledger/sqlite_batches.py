"""The claims and settlements of a ledger file, carried out together."""

import sqlite3
from collections.abc import Callable, Iterable, Sequence

import attrs

from esms_async.ledger.base import LedgerOptions
from esms_async.ledger.sqlite_rows import find, insert, replace, update_settled
from esms_async.ledger.sqlite_writer import Job, Work
from esms_async.messages import Message
from esms_async.settlement import Claim, Entry, Settlement, claim, new_entry, settle

_MOST_REMEMBERED = 10_000


@attrs.define(eq=False)
class Claiming(Job[Claim]):
    """Asks to send a message."""

    message: Message
    fingerprint: bytes
    resume: bool


@attrs.define(eq=False)
class Settling(Job[Entry | None]):
    """Tells what became of a claim."""

    request_id: str
    generation: int
    settlement: Settlement


class Batches:
    """Carries out what has gathered. All of it runs on the writer's thread, in a transaction.

    Args:
        options: What all ledgers are told alike.
        clock: The time in seconds since the epoch.
    """

    def __init__(self, options: LedgerOptions, clock: Callable[[], float]) -> None:
        self._options = options
        self._clock = clock
        # The entries of claims, as they are stored, so that a settlement need not read its own.
        self._claimed: dict[str, Entry] = {}

    def perform(self, connection: sqlite3.Connection, work: Sequence[Work]) -> list[object]:
        """Carry out claims, settlements and whatever else there is.

        None of them has been answered yet, so that any order of them is the right one.

        Args:
            connection: In a transaction.
            work: What is to be done.

        Returns:
            The results, in the order of the work.
        """
        settled = iter(self._settle(connection, [one for one in work if isinstance(one, Settling)]))
        claimed = iter(self._claim(connection, [one for one in work if isinstance(one, Claiming)]))
        results: list[object] = []
        for one in work:
            if isinstance(one, Settling):
                results.append(next(settled))
            elif isinstance(one, Claiming):
                results.append(next(claimed))
            else:
                assert callable(one)  # noqa: S101  # there is no other kind of job
                results.append(one(connection))
        return results

    def forget(self) -> None:
        """Remember no entry: what is stored may be another."""
        self._claimed.clear()

    def _claim(self, connection: sqlite3.Connection, claims: Sequence[Claiming]) -> list[Claim]:
        options, now = self._options, self._clock()
        fresh = [
            new_entry(
                one.message,
                one.fingerprint,
                now=now,
                phone=options.store_phone,
                content=options.store_content,
            )
            for one in claims
        ]
        # Nearly every claim is the first of its RequestId, which storing its entry shows.
        first = insert(connection, fresh)
        answers: list[Claim] = []
        for one, entry in zip(claims, fresh, strict=True):
            known = None
            if entry.request_id in first:
                first.remove(entry.request_id)
            else:
                known = find(connection, entry.request_id)
            answer = claim(known, entry, now=now, window=options.window, resume=one.resume)
            if known is not None and answer.entry is not known:
                replace(connection, answer.entry)
            answers.append(answer)
        self._remember(answer.entry for answer in answers)
        return answers

    def _remember(self, entries: Iterable[Entry]) -> None:
        if len(self._claimed) >= _MOST_REMEMBERED:
            self._claimed.clear()
        self._claimed.update((entry.request_id, entry) for entry in entries)

    def _settle(
        self, connection: sqlite3.Connection, settlements: Sequence[Settling]
    ) -> list[Entry | None]:
        now = self._clock()
        results: list[Entry | None] = []
        changed: list[Entry] = []
        for one in settlements:
            known = self._claimed.pop(one.request_id, None)
            if known is None:
                # It may be among those that changed a moment ago.
                update_settled(connection, changed)
                changed.clear()
                known = find(connection, one.request_id)
            entry = known and settle(known, one.generation, one.settlement, now=now)
            if entry is not None and entry is not known:
                changed.append(entry)
            results.append(entry)
        update_settled(connection, changed)
        return results
