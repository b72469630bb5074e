"""Tells how old a moment is, by the wall clock and by a clock that counts suspend.

Each clock alone is wrong somewhere. The wall clock can be set back. `time.monotonic` stands still
on Linux while the machine sleeps. So the age of a moment is the larger one of two: by the wall
clock, and by `CLOCK_BOOTTIME`, which counts suspend. A virtual machine that was paused or
restored stops both clocks until its wall clock is set again.
"""

import math
import time
from typing import Final

from esms_async.ledger.transitions import CLOCK_TOLERANCE

_BOOT_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


Moment = tuple[float, float]
"""A moment on both clocks: seconds since the epoch, and seconds since the machine started."""


def now() -> Moment:
    """Return the current moment."""
    return time.time(), time.clock_gettime(_BOOT_CLOCK)


def moment_at(wall: float) -> Moment:
    """Return the moment of a wall-clock time that another process, or an id, recorded."""
    present_wall, present_boot = now()
    return wall, present_boot - (present_wall - wall)


def age(since: Moment, present: Moment) -> float:
    """Return the age of a moment in seconds, by the clock that says more.

    A moment from more than an hour ahead is infinitely old: the wall clock has jumped, and nobody
    can tell by how much.
    """
    by_wall, by_boot = present[0] - since[0], present[1] - since[1]
    if by_wall < -CLOCK_TOLERANCE:
        return math.inf
    return by_wall if by_wall > by_boot else by_boot  # noqa: FURB136  # max takes longer
