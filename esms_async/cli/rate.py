"""How fast a job may send: the rate that was asked for, and what follows from it."""

import asyncio
import math
import re
from typing import TYPE_CHECKING, Final, Self, cast

import attrs

from esms_async import RetryPolicy
from esms_async.cli.errors import InputError
from esms_async.cli.words import text

if TYPE_CHECKING:
    from aiolimiter import AsyncLimiter

_WRITTEN = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(?:/([smh]))?")
_SECONDS: Final = {None: 1, "s": 1, "m": 60, "h": 3600}

# A bucket lets its whole content through at once, so that it holds the requests of a moment only.
_MOMENT = 0.05
# What waits longer for its turn only makes an interrupt take longer.
_LONGEST_QUEUE = 10.0


class ReservingLimiter:
    """A limiter whose turn can be taken before there is anything to send, and which can be closed.

    `reserve` is for the first attempt of a row, before the row is taken; the client's own attempt
    in the same task then passes at once, and only further attempts wait.
    """

    def __init__(self, limiter: "AsyncLimiter") -> None:
        self._limiter = limiter
        self._waiting: set[asyncio.Task[object]] = set()
        self._reserved: set[asyncio.Task[object]] = set()
        self._closed = False

    def close(self) -> None:
        """Cancel the tasks that wait in `reserve`, and let none wait there again.

        A further attempt has its turn all the same: an earlier one may have arrived.
        """
        self._closed = True
        for task in self._waiting:
            task.cancel()

    async def reserve(self) -> None:
        """Wait for a turn, which the next attempt of this task takes."""
        task = cast("asyncio.Task[object]", asyncio.current_task())
        if task in self._reserved:
            return
        if self._closed and not self._limiter.has_capacity():
            raise asyncio.CancelledError
        self._waiting.add(task)
        try:
            await self._limiter.acquire()
        finally:
            self._waiting.discard(task)
        self._reserved.add(task)

    async def __aenter__(self) -> None:
        task = cast("asyncio.Task[object]", asyncio.current_task())
        if task in self._reserved:
            self._reserved.discard(task)
        else:
            await self._limiter.acquire()

    async def __aexit__(self, *_: object) -> None:
        """Leave; a turn that was taken is not given back."""


@attrs.frozen
class Rate:
    """How many requests a second may go to the gateway, retries among them.

    Attributes:
        per_second: The number.
    """

    per_second: float

    @classmethod
    def parse(cls, written: str) -> Self:
        """Read a rate.

        Args:
            written: A number, a second's where it does not end in `/s`, `/m` or `/h`.

        Raises:
            InputError: It is none.
        """
        match = _WRITTEN.fullmatch(written)
        if match is None or (number := float(match[1])) == 0:
            raise InputError(text("rate"))
        return cls(number / _SECONDS[match[2]])

    def limiter(self) -> "ReservingLimiter":
        """Return a new limiter of this rate, for one event loop."""
        from aiolimiter import AsyncLimiter  # noqa: PLC0415  # few jobs have a rate

        at_once = max(1.0, self.per_second * _MOMENT)
        return ReservingLimiter(AsyncLimiter(at_once, at_once / self.per_second))

    def bounded(self, concurrency: int) -> int:
        """Return how many sends may be under way, so that none waits long for its turn.

        Args:
            concurrency: How many may be at most.

        Returns:
            At least 1.
        """
        return max(1, min(concurrency, math.ceil(self.per_second * _LONGEST_QUEUE)))

    def allow_for(self, policy: RetryPolicy, concurrency: int) -> RetryPolicy:
        """Return a policy whose deadline leaves each attempt the time to wait for its turn.

        Args:
            policy: The policy without a rate.
            concurrency: How many sends are under way at most.
        """
        longest_wait = concurrency / self.per_second
        return attrs.evolve(policy, deadline=policy.deadline + policy.attempts * longest_wait)
