"""The ledger of a worker: it waits for its server, and settles in the step that ends a delivery."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from esms_async._model.errors import LedgerError
from esms_async._model.messages import Message, Outcome, Status
from esms_async._redis import Script
from esms_async.ledger.base import Unrecorded
from esms_async.ledger.redis import RedisLedger
from esms_async.ledger.redis_scripts import as_text
from esms_async.ledger.transitions import ONE_MORE_ATTEMPT, Claim, Entry, Settlement, settle
from esms_async.queue.streams import GROUP, KEPT, MILLISECONDS, QueueDelivery, script

T = TypeVar("T")
_Ending = tuple[tuple[str, ...], tuple[str, ...], "asyncio.Future[object]"]

DONE: Final = "done"
"""The delivery ends for good."""
LATER: Final = "later"
"""The message comes again when a lease has passed."""
AT_ONCE: Final = "at once"
"""The message goes to whoever takes it next."""
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
        self._learned: dict[str, tuple[int, Settlement]] = {}
        self._endings: list[_Ending] = []
        self._ending: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Connect to the server."""
        await self._patiently(super().open)

    async def claim(
        self, message: Message, fingerprint: bytes, *, doubt_age: float | None = None
    ) -> Claim:
        """Ask to send a message."""
        # An earlier try whose answer was lost may have taken effect. The next then reads "it may
        # have been accepted", which is safe, and no more than another delivery would read.
        ask = super().claim
        claim: Claim = await self._patiently(lambda: ask(message, fingerprint, doubt_age=doubt_age))
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
        self._learned[request_id] = generation, settlement
        return settle(claimed, generation, settlement, now=claimed.updated_at)

    def accept_soon(
        self, request_id: str, sms_id: str | None, *, deduplicated: bool, unrecorded: Unrecorded
    ) -> bool:
        """Keep back an acceptance, until its delivery ends."""
        del unrecorded  # `finish` is called again until the acceptance is recorded
        settlement = Settlement(Status.ACCEPTED, None, sms_id, deduplicated)
        self._learned[request_id] = 0, settlement
        return True

    async def finish(
        self, delivery: QueueDelivery, ending: str, outcome: Outcome | None = None, report: str = ""
    ) -> bool:
        """End a delivery, and record what was learned of its message, in one step.

        Returns:
            False where the ledger knows otherwise: another process has sent the message meanwhile,
            or is sending it. Then nothing has ended.
        """
        entry = learned = settling = ""
        if outcome is not None:
            request_id = outcome.message.request_id
            known = self._learned.pop(request_id, None)
            self._claimed.pop(request_id, None)
            if known is None and (receipt := outcome.receipt) is not None:
                # The client knew of the acceptance, and a claim that died may still be open.
                known = 0, Settlement(Status.ACCEPTED, None, receipt.sms_id, receipt.deduplicated)
            if known is not None:
                *_, entry, _, settling = self._settle_command(request_id, *known)
                learned = as_text((known[1].status, known[1].reason))
        followed = self.outcomes_of(delivery) if report else ""
        keys = (delivery.stream, f"{delivery.stream}:deaths", followed, entry)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[object] = loop.create_future()
        if not self._endings:
            loop.call_soon(self._finish_turn)
        self._endings.append((keys, (delivery.id, ending, report, learned, settling), answer))
        return await answer is None

    @staticmethod
    def outcomes_of(delivery: QueueDelivery) -> str:
        """Return the key of the stream that takes the report of a delivery."""
        return f"{delivery.stream.partition(':queue:')[0]}:queue:outcomes:{delivery.batch}"

    def _finish_turn(self) -> None:
        """End the deliveries that gathered in one turn of the loop together."""
        endings, self._endings = self._endings, []
        task = asyncio.get_running_loop().create_task(self._finish_together(endings))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _finish_together(self, endings: list[_Ending]) -> None:
        *_, unknown_ones, _ = self._settle_command("", 0, ONE_MORE_ATTEMPT)
        keys = [unknown_ones, *(key for each in endings for key in each[0])]
        told = [argument for each in endings for argument in each[1]]
        command = ("EVALSHA", script("finish").digest, str(len(keys)), *keys)
        shared = (GROUP, self._worker, str(KEPT), MILLISECONDS)
        run = self._opened().run
        try:
            answers = await self._patiently(lambda: run(*command, *shared, *told))
        except LedgerError as error:
            for _, _, answer in endings:
                if not answer.done():
                    answer.set_exception(error)
            return
        for (_, _, answer), said in zip(endings, answers, strict=True):
            if not answer.done():
                answer.set_result(said)

    def _scripts(self) -> tuple[Script, ...]:
        return (*super()._scripts(), script("finish"))
