"""The ledger of a worker: it waits for its server, and settles in the step that ends a delivery."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from esms_async._model.errors import LedgerError
from esms_async._model.messages import Message, Outcome, Status
from esms_async._redis import Script
from esms_async.ledger.redis import RedisLedger
from esms_async.ledger.redis_scripts import as_text
from esms_async.ledger.transitions import (
    ONE_MORE_ATTEMPT,
    Claim,
    Entry,
    Settlement,
    settle,
)
from esms_async.queue.streams import GROUP, KEPT, MILLISECONDS, Delivery, script

Patiently = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]

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
    send that can't be claimed yet is held. What it learned in the end is kept back, and `finish`
    settles it, reports it and acknowledges the message in one step.

    Args:
        url: As for `RedisLedger`.
        prefix: As for `RedisLedger`.
        patiently: Calls something until the server answers.
    """

    def __init__(self, url: str, *, prefix: str, patiently: Patiently) -> None:
        super().__init__(url, prefix=prefix)
        self._patiently = patiently
        self._claimed: dict[str, Entry] = {}
        self._learned: dict[str, tuple[int, Settlement]] = {}

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

    async def finish(
        self,
        delivery: Delivery,
        worker: str,
        ending: str,
        *,
        outcome: Outcome | None = None,
        report: str = "",
        outcomes: str = "",
    ) -> bool:
        """End a delivery, and record what was learned of its message, in one step.

        Args:
            delivery: The delivery.
            worker: The name of the worker.
            ending: How it ends.
            outcome: What became of the message, if it was sent.
            report: Its report.
            outcomes: The key of the stream that takes the report, or nothing.

        Returns:
            False where the ledger knows otherwise: another process has sent the message meanwhile,
            or is sending it. Then nothing has ended.
        """
        learned = None
        if outcome is not None:
            request_id = outcome.message.request_id
            learned = self._learned.pop(request_id, None)
            self._claimed.pop(request_id, None)
            if learned is None and outcome.receipt is not None:
                # The client knew of the acceptance, and a claim that died may still be open.
                receipt = outcome.receipt
                settlement = Settlement(
                    Status.ACCEPTED, None, sms_id=receipt.sms_id, deduplicated=receipt.deduplicated
                )
                learned = 0, settlement
        keys: tuple[str, ...] = ()
        arguments: tuple[str, ...] = ()
        said = ""
        if learned is not None and outcome is not None:
            command = self._settle_command(outcome.message.request_id, *learned)
            count = int(command[2])
            keys, arguments = command[3 : 3 + count], command[3 + count :]
            said = as_text((learned[1].status, learned[1].reason))
        keys = (delivery.stream, f"{delivery.stream}:deaths", outcomes, *keys)
        run = self._opened().run
        differs: object = await self._patiently(
            lambda: run(
                *("EVALSHA", script("finish").digest, str(len(keys)), *keys),
                *(GROUP, worker, delivery.id, ending, report, str(KEPT), MILLISECONDS),
                *(said, *arguments),
            )
        )
        return differs is None

    def _scripts(self) -> tuple[Script, ...]:
        return (*super()._scripts(), script("finish"))
