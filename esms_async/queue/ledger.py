"""The ledger of a worker: it waits for its server, and settles in the step that ends a delivery."""

import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from esms_async import LedgerError, Message, Outcome
from esms_async._redis import Script
from esms_async.ledger.base import Unrecorded
from esms_async.ledger.redis import RedisLedger, accepted_members, unreadable
from esms_async.ledger.redis_scripts import UNKNOWN_ONES
from esms_async.ledger.transitions import ONE_MORE_ATTEMPT, Claim, Entry, Settlement, settle
from esms_async.queue.batcher import Batcher
from esms_async.queue.streams import GROUP, KEPT, MILLISECONDS, QueueDelivery, script

_Kind = tuple[str, str, str]
"""How deliveries end, the key of their stream, and that of their outcomes."""

_Ending = tuple[_Kind, str, str, str, str]
"""The id of a delivery, the key of its entry, what there is to settle, and the report."""

_PAUSE: Final = 0.005

DONE: Final = "done"
"""The delivery ends for good."""
LATER: Final = "later"
"""The message comes again when a lease has passed."""
AT_ONCE: Final = "now"
"""The message goes to whoever takes it next."""
LAST: Final = "last"
"""The message goes behind the others of its stream."""
FAILED: Final = "failed"
"""As LATER, and counted as a death."""


class QueueLedger(RedisLedger):
    """A ledger that a worker waits for.

    Nobody waits for a worker's answer, and a message that it has not acknowledged is safe. So a
    send that can't be claimed yet is held. What it learned in the end is kept back; `finish`
    settles it, reports it and acknowledges the message in one step.

    Args:
        url: As for `RedisLedger`.
        prefix: As for `RedisLedger`.
        worker: The name of the worker.
        patiently: Calls something until the server answers.
    """

    def __init__(
        self,
        url: str,
        prefix: str,
        worker: str,
        patiently: Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]],
    ) -> None:
        super().__init__(url, prefix=prefix)
        self._worker = worker
        self._patiently = patiently
        self._claimed: dict[str, Entry] = {}
        self._learned: dict[str, str] = {}
        # Nobody waits for the report of one message as long as a round trip costs.
        self._endings: Batcher[_Ending, bool | None] = Batcher(self._finish_together, pause=_PAUSE)

    async def open(self) -> None:
        """Connect to the server."""
        await self._patiently(super().open)

    async def claim(
        self, message: Message, fingerprint: bytes, *, doubt_age: float | None = None
    ) -> Claim:
        """Ask to send a message."""
        # An earlier try whose answer was lost may have taken effect. The next then reads "it may
        # have been accepted", which is safe, and no more than another delivery would read.
        ask = partial(super().claim, message, fingerprint, doubt_age=doubt_age)
        claim: Claim = await self._patiently(ask)
        self._claimed[message.request_id] = claim.entry
        return claim

    async def settle(
        self, request_id: str, generation: int, settlement: Settlement
    ) -> Entry | None:
        """Keep back what was learned of a message, until its delivery ends."""
        claimed = self._claimed.get(request_id)
        if claimed is None or claimed.generation != generation or settlement == ONE_MORE_ATTEMPT:
            try:
                return await super().settle(request_id, generation, settlement)
            except LedgerError:
                # The entry says "it may have been accepted" already, and sending goes on.
                return None
        self._learned[request_id] = self._settle_command(request_id, generation, settlement)[-1]
        return settle(claimed, generation, settlement, now=claimed.updated_at)

    def accept_soon(
        self, request_id: str, sms_id: str | None, *, deduplicated: bool, unrecorded: Unrecorded
    ) -> bool:
        """Keep back an acceptance, until its delivery ends."""
        del unrecorded  # `finish` is called again until the acceptance is recorded
        self._learned[request_id] = _acceptance(sms_id, deduplicated=deduplicated)
        return True

    async def finish(
        self, delivery: QueueDelivery, ending: str, outcome: Outcome | None = None, report: str = ""
    ) -> bool:
        """End a delivery, and record what was learned of its message, in one step.

        Returns:
            False where the ledger knows otherwise: another process has sent the message meanwhile,
            or is sending it. Then nothing has ended.

        Raises:
            UnreadableEntry: The entry of the message can't be read. Nothing has ended.
        """
        entry = settling = ""
        if outcome is not None:
            request_id, receipt = outcome.message.request_id, outcome.receipt
            self._claimed.pop(request_id, None)
            settling = self._learned.pop(request_id, "")
            if not settling and receipt is not None:
                # The client knew of the acceptance, and a claim that died may still be open.
                settling = _acceptance(receipt.sms_id, deduplicated=receipt.deduplicated)
            entry = self._prefix + request_id if settling else ""
        followed = self.outcomes_of(delivery) if report else ""
        kind = ending, delivery.stream, followed
        has_ended = await self._endings.add((kind, delivery.id, entry, settling, report))
        if has_ended is None:
            raise unreadable(delivery.request_id)
        return has_ended

    @staticmethod
    def outcomes_of(delivery: QueueDelivery) -> str:
        """Return the key of the stream that takes the report of a delivery."""
        return f"{delivery.stream.partition(':queue:')[0]}:queue:outcomes:{delivery.batch}"

    async def _finish_together(self, endings: list[_Ending]) -> list[bool | None]:
        """End deliveries; None of one whose entry can't be read."""
        kinds: dict[_Kind, list[int]] = {}
        for number, each in enumerate(endings):
            kinds.setdefault(each[0], []).append(number)
        streams = {"": 0}
        entries: list[str] = []
        told: list[str] = []
        for (ending, *named), numbers in kinds.items():
            places = [streams.setdefault(stream, len(streams)) for stream in named]
            _, ids, ours, settlings, reports = zip(*(endings[n] for n in numbers), strict=True)
            entries += ours
            head = json.dumps((ending, *places, len(ids)))
            told += (head, " ".join(ids), "\n".join(reports), "\n".join((*settlings, "")))
        keys = [self._prefix + UNKNOWN_ONES, *list(streams)[1:], *entries]
        shared = (GROUP, self._worker, str(KEPT), MILLISECONDS, str(self._keep))
        command = ("EVALSHA", script("finish").digest, str(len(keys)), *keys, *shared)
        run = self._opened().run
        others: list[int] = await self._patiently(
            lambda: run(*command, str(len(streams) - 1), *told)
        )
        order = [number for numbers in kinds.values() for number in numbers]
        ended: list[bool | None] = [True] * len(endings)
        for other in others:
            ended[order[abs(other) - 1]] = False if other > 0 else None
        return ended

    def _scripts(self) -> tuple[Script, ...]:
        return (*super()._scripts(), script("finish"))


def _acceptance(sms_id: str | None, *, deduplicated: bool) -> str:
    """Return what `finish.lua` settles for an acceptance: a plus, and what `turn.lua` takes."""
    return "+" + accepted_members(sms_id, deduplicated=deduplicated)
