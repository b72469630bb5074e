"""Gathers the claims of one turn of the event loop, and the acceptances that ride with them."""

import asyncio
from collections.abc import Callable
from typing import Final, Generic, NamedTuple, TypeVar

from esms_async._model.errors import LedgerError
from esms_async._model.messages import Status
from esms_async.ledger.base import Unrecorded
from esms_async.ledger.transitions import Settlement

T = TypeVar("T")
A = TypeVar("A")

# An acceptance waits this many seconds at most for a claim to ride with.
_LONGEST_RIDE: Final = 0.05


class Acceptance(NamedTuple):
    """An acceptance that is to be stored."""

    request_id: str
    sms_id: str | None
    deduplicated: bool
    unrecorded: Unrecorded

    @property
    def settlement(self) -> Settlement:
        """What it says, as a settlement."""
        return Settlement(Status.ACCEPTED, None, self.sms_id, self.deduplicated)

    def fail(self, error: LedgerError) -> None:
        """Hand it back, with why it could not be stored."""
        self.unrecorded(self.request_id, self.settlement, error)


class Gathered(Generic[T, A]):
    """The claims and acceptances that travel together.

    Attributes:
        loop: The event loop that waits for them.
        claims: What each claim needs, with the future of its answer.
        acceptances: The acceptances.
    """

    __slots__ = ("acceptances", "claims", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.claims: list[tuple[T, asyncio.Future[A]]] = []
        self.acceptances: list[Acceptance] = []


class Gatherer(Generic[T, A]):
    """Hands on what has gathered, once in a turn of its event loop.

    A claim is handed on in the same turn. An acceptance goes along with the next claim, because
    a trip or a commit of its own would cost more than the wait for it; without one it goes alone
    after 50 ms.

    Args:
        submit: Takes what has gathered.
    """

    def __init__(self, submit: Callable[[Gathered[T, A]], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self._submit = submit
        self._gathered: Gathered[T, A] = Gathered(self.loop)
        self._timer: asyncio.TimerHandle | None = None

    def claim(self, needs: T) -> "asyncio.Future[A]":
        """Hand on a claim, and return the future of its answer."""
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
        """Hand on an acceptance with the next claim, or after a short time."""
        loop = asyncio.get_running_loop()
        gathered = self._gathered if loop is self.loop else Gathered[T, A](loop)
        gathered.acceptances.append(acceptance)
        if gathered is not self._gathered:
            self._submit(gathered)
        elif self._timer is None:
            # It is not cancelled when a claim comes first: arming it costs more than firing it.
            self._timer = loop.call_later(_LONGEST_RIDE, self._flush_at_last)

    def flush(self) -> None:
        """Hand on what has gathered."""
        gathered = self._gathered
        if gathered.claims or gathered.acceptances:
            self._gathered = Gathered(self.loop)
            self._submit(gathered)

    def _flush_at_last(self) -> None:
        self._timer = None
        self.flush()

    def close(self) -> None:
        """Hand on what has gathered, and wake up no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.flush()
