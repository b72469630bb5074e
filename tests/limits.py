"""How long a test waits for what must come: longer, the busier the machine is."""

import os
from typing import Final

_AT_LEAST: Final = 20.0


def generous(seconds: float) -> float:
    """Return a limit for something that takes this long at most on a quiet machine.

    No test passes or fails by it as long as what is waited for comes at all: it ends a test that
    would hang. So it may well be long; under load it grows with the number of processes that wait
    for a core.

    Args:
        seconds: The limit on a quiet machine; at least 20 seconds are given.

    Returns:
        The limit on this machine, now.
    """
    waiting = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return max(seconds, _AT_LEAST) * (1.0 + waiting / (os.cpu_count() or 1))
