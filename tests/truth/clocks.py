"""The clocks of this machine, which a test moves. Everything that knows how is in this module."""

import time
from typing import Any

import pytest

HOUR = 3600.0


class Clocks:
    """The wall clock, the clock that counts suspend, and the time that really passes.

    The monotonic clock is left alone: as on Linux, it stands still while the machine sleeps.

    Attributes:
        ahead: By how many seconds the wall clock was moved.
        slept: By how many seconds the clock that counts suspend was moved.
        passed: How many seconds have passed for the rest of the world, beside those of the test.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.ahead = self.slept = self.passed = 0.0
        self._time, self._time_ns = time.time, time.time_ns
        self._gettime, self._gettime_ns = time.clock_gettime, time.clock_gettime_ns
        patch.setattr(time, "time", self.wall)
        patch.setattr(time, "time_ns", lambda: int(self._time_ns() + self.ahead * 1e9))
        patch.setattr(time, "clock_gettime", self._clock_gettime)
        patch.setattr(time, "clock_gettime_ns", self._clock_gettime_ns)

    def wall(self) -> float:
        """Return the time of the wall clock, for this machine and its ledgers."""
        return self._time() + self.ahead

    def world(self) -> float:
        """Return the time at the gateway."""
        return self._time() + self.passed

    def sleep(self, seconds: float, *, wall: bool = True, counted: bool = True) -> None:
        """Let time pass in which the machine does nothing.

        Args:
            seconds: How long.
            wall: False where the wall clock does not notice.
            counted: False where the clock that counts suspend does not notice.
        """
        self.passed += seconds
        self.ahead += seconds if wall else 0
        self.slept += seconds if counted else 0

    def set_wall(self, seconds: float) -> None:
        """Set the wall clock ahead, or back, while no time passes."""
        self.ahead += seconds

    def _shift(self, clock: Any) -> float:
        if clock == time.CLOCK_REALTIME:
            return self.ahead
        return self.slept if clock == getattr(time, "CLOCK_BOOTTIME", None) else 0.0

    def _clock_gettime(self, clock: Any) -> float:
        return self._gettime(clock) + self._shift(clock)

    def _clock_gettime_ns(self, clock: Any) -> int:
        return int(self._gettime_ns(clock) + self._shift(clock) * 1e9)
