"""Batches the claims of one turn of the event loop, together with queued acceptances."""

import asyncio
from collections.abc import Callable
from typing import Final, Generic, NamedTuple, TypeVar

from esms_async._model.errors import LedgerError
from esms_async._model.messages import Status
from esms_async.ledger.base import Unrecorded
from esms_async.ledger.transitions import Settlement

T = TypeVar("T")
A = TypeVar("A")

# An acceptance waits at most this many seconds for a batch of claims.
_LONGEST_WAIT: Final = 0.05


class Acceptance(NamedTuple):
    """An acceptance that is to be stored."""

    request_id: str
    sms_id: str | None
    deduplicated: bool
    unrecorded: Unrecorded

    @property
    def settlement(self) -> Settlement:
        """The settlement of this acceptance."""
        return Settlement(Status.ACCEPTED, None, self.sms_id, self.deduplicated)

    def fail(self, error: LedgerError) -> None:
        """Hand it back with the error that kept it from being stored."""
        self.unrecorded(self.request_id, self.settlement, error)


class Gathered(Generic[T, A]):
    """One batch of claims and acceptances.

    Attributes:
        loop: The event loop that waits for them.
        claims: The arguments of each claim, with the future of its answer.
        acceptances: The acceptances.
    """

    __slots__ = ("acceptances", "claims", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop: asyncio.AbstractEventLoop = loop
        self.claims: list[tuple[T, asyncio.Future[A]]] = []
        self.acceptances: list[Acceptance] = []


class Gatherer(Generic[T, A]):
    """Submits one batch in each turn of its event loop.

    A claim is submitted in the same turn. An acceptance waits for the next claim, because a round
    trip or a commit of its own would cost more than the wait; without a claim it goes after 50 ms.

    Args:
        submit: Takes a batch.
    """

    def __init__(self, submit: Callable[[Gathered[T, A]], None]) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._submit = submit
        self._gathered: Gathered[T, A] = Gathered(self.loop)
        self._timer: asyncio.TimerHandle | None = None

    def claim(self, needs: T) -> "asyncio.Future[A]":
        """Add a claim, and return the future of its answer."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[A] = loop.create_future()
        gathered = self._gathered if loop is self.loop else Gathered[T, A](loop)
        gathered.claims.append((needs, done))
        if gathered is not self._gathered:
            self._submit(gathered)
        elif len(gathered.claims) == 1:
            loop.call_soon(self.flush)
        return done

    def accept(self, acceptance: Acceptance) -> None:
        """Add an acceptance, to go with the next claim or after a short time."""
        loop = asyncio.get_running_loop()
        gathered = self._gathered if loop is self.loop else Gathered[T, A](loop)
        gathered.acceptances.append(acceptance)
        if gathered is not self._gathered:
            self._submit(gathered)
        elif self._timer is None:
            # A claim does not cancel it: setting a timer costs more than its firing.
            self._timer = loop.call_later(_LONGEST_WAIT, self._flush_at_last)

    def flush(self) -> None:
        """Submit the batch."""
        gathered = self._gathered
        if gathered.claims or gathered.acceptances:
            self._gathered = Gathered(self.loop)
            self._submit(gathered)

    def _flush_at_last(self) -> None:
        self._timer = None
        self.flush()

    def close(self) -> None:
        """Submit the batch, and stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.flush()
