"""How fast a job may send: the rate that was asked for, and what follows from it."""

import math
import re
from typing import Final, Self

import attrs
from aiolimiter import AsyncLimiter

from esms_async.cli.errors import InputError
from esms_async.retry import RetryPolicy

_WRITTEN = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(?:/([smh]))?")
_SECONDS: Final = {None: 1, "s": 1, "m": 60, "h": 3600}

# A bucket lets its whole content through at once, so that it holds the requests of a moment only.
_MOMENT = 0.05
# What waits longer for its turn only makes an interrupt take longer.
_LONGEST_QUEUE = 10.0


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

        Returns:
            The rate.

        Raises:
            InputError: It is none.
        """
        match = _WRITTEN.fullmatch(written)
        if match is None or (number := float(match[1])) == 0:
            raise InputError("--rate takes a number, and /s, /m or /h, as in 50/s or 600/m")
        return cls(number / _SECONDS[match[2]])

    def limiter(self) -> AsyncLimiter:
        """Return a new limiter of this rate, for one event loop."""
        at_once = max(1.0, self.per_second * _MOMENT)
        return AsyncLimiter(at_once, at_once / self.per_second)

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

        Returns:
            The policy with a later deadline.
        """
        longest_wait = concurrency / self.per_second
        return attrs.evolve(policy, deadline=policy.deadline + policy.attempts * longest_wait)
