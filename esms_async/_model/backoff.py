"""Computes pauses between attempts: exponential, with full jitter, for the whole package.

Each pause is drawn evenly from zero to a bound that doubles with every attempt ("full jitter" of
the AWS Architecture Blog, "Exponential Backoff And Jitter"): many senders that fail together do
not come back together.
"""

import random

_MOST_DOUBLINGS = 60


def backoff(attempt: int, *, first: float, longest: float) -> float:
    """Return the seconds to wait after an attempt.

    Args:
        attempt: The number of the attempt that failed, from 1.
        first: The bound of the first pause, in seconds.
        longest: The bound of every pause, in seconds.
    """
    bound = min(longest, first * 2 ** min(attempt - 1, _MOST_DOUBLINGS))
    return random.uniform(0.0, bound)  # noqa: S311  # a pause is no secret
