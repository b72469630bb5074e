"""How many retries all sends of a client may make together: the retry budget.

A gateway that is down fails every send, and each send by itself would try again. The budget is
what they share: a retry takes one from it, a send that is accepted gives back, and where it is
empty nothing is tried again. First attempts never ask. It is the token bucket of the AWS SDKs'
standard retry mode (SDKs and Tools Reference Guide, "Retry behavior"): no clock fills it, only
proof that the gateway takes messages.
"""

import math
from typing import Final

_A_RETRY: Final = 2
_A_FIRST_ATTEMPT: Final = 1
"""What an accepted first attempt gives back: half a retry.

AWS gives back a fifth. At a half, as many retries come back as go while two in five requests
fail, so an unreliable line alone empties no budget; and where more fail, all the attempts
together stay below 1.75 times the messages.
"""


class RetryBudget:
    """The retries that are left to all sends of one client.

    Args:
        retries: How many there are when nothing was retried yet, and at most; None for no bound.
    """

    __slots__ = ("_left", "_most")

    def __init__(self, retries: int | None) -> None:
        self._most = math.inf if retries is None else retries * _A_RETRY
        self._left = self._most

    @property
    def left(self) -> float:
        """How many retries are left."""
        return self._left / _A_RETRY

    def take(self) -> bool:
        """Take a retry.

        Returns:
            False where none is left.
        """
        if self._left < _A_RETRY:
            return False
        self._left -= _A_RETRY
        return True

    def give_back(self) -> None:
        """Give back a retry that was not made after all, or that was accepted."""
        self._left = min(self._most, self._left + _A_RETRY)

    def reward(self) -> None:
        """Give back for a send that was accepted at its first attempt."""
        if self._left < self._most:
            self._left += _A_FIRST_ATTEMPT
