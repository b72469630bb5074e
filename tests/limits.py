"""The limits of tests: how long they wait, and how much the long ones do."""

import os
from typing import Final

TIMES: Final = int(os.environ.get("ESMS_TIMES", "1"))
"""By how much the numbers of the long tests are multiplied: `nox -s endurance` sets 5."""

_AT_LEAST: Final = 20.0


def generous(seconds: float) -> float:
    """Return a limit for something that takes this long at most on a quiet machine.

    The limit only ends a test that would hang, so it can be long. It grows with the number of
    processes that wait for a core.

    Args:
        seconds: The limit on a quiet machine; at least 20 seconds are given.

    Returns:
        The limit on this machine, now.
    """
    return stretched(max(seconds, _AT_LEAST))


def stretched(seconds: float) -> float:
    """Return how long something takes on this machine, now, that takes so long on a quiet one."""
    waiting = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return seconds * (1.0 + waiting / (os.cpu_count() or 1))
