"""Waits for a Redis server that is away, for as long as the worker goes on."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from esms_async._model.errors import LedgerError
from esms_async._model.messages import Message
from esms_async.ledger.base import UnreadableEntry, Unrecorded
from esms_async.ledger.redis import RedisLedger
from esms_async.ledger.transitions import ONE_MORE_ATTEMPT, Claim, Entry, Settlement

T = TypeVar("T")

_logger = logging.getLogger("esms_async")
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0


async def patiently(call: Callable[[], Awaitable[T]], stopping: asyncio.Event) -> T:
    """Call something until the server answers.

    Args:
        call: What to call.
        stopping: Set once the worker is to end: then one failure is enough.

    Returns:
        What it returned.

    Raises:
        LedgerError: The server is away, and the worker is to end.
        UnreadableEntry: What it holds can't be read, now or later.
    """
    pause = _FIRST_PAUSE
    while True:
        try:
            return await call()
        except UnreadableEntry:
            raise
        except LedgerError as error:
            if stopping.is_set():
                raise
            if pause == _FIRST_PAUSE:
                _logger.warning("%s; what is under way waits for it", error)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


class PatientLedger(RedisLedger):
    """A ledger that a worker waits for.

    Nobody waits for a worker's answer, and a message that it has not acknowledged is safe. So a
    send that can't be claimed yet is held, and its result is not told before it is written down:
    where the worker dies until then, the broker gives the message to another.

    Args:
        url: As for `RedisLedger`.
        stopping: Set once the worker is to end.
    """

    def __init__(self, url: str, stopping: asyncio.Event) -> None:
        super().__init__(url)
        self._stopping = stopping

    async def open(self) -> None:
        """Connect to the server."""
        await patiently(super().open, self._stopping)

    async def claim(
        self, message: Message, fingerprint: bytes, *, doubt_age: float | None = None
    ) -> Claim:
        """Ask to send a message."""
        ask = super().claim
        # An earlier try whose answer was lost may have taken effect. The next then reads "it may
        # have been accepted", which is safe, and no more than another delivery would read.
        return await patiently(
            lambda: ask(message, fingerprint, doubt_age=doubt_age), self._stopping
        )

    def accept_soon(
        self,
        request_id: str,  # noqa: ARG002  # nothing is queued
        sms_id: str | None,  # noqa: ARG002  # the same
        *,
        deduplicated: bool,  # noqa: ARG002  # the same
        unrecorded: Unrecorded,  # noqa: ARG002  # the same
    ) -> bool:
        """Leave acceptances to `settle`: a worker acknowledges what is written down."""
        return False

    async def settle(
        self, request_id: str, generation: int, settlement: Settlement
    ) -> Entry | None:
        """Record what became of a claim."""
        record = super().settle
        if settlement == ONE_MORE_ATTEMPT:
            # The entry says that already, and the next attempt has a deadline.
            return await record(request_id, generation, settlement)
        return await patiently(lambda: record(request_id, generation, settlement), self._stopping)
