"""The emulator's clock, which jumps ahead when told to, and what is to be done by it."""

import asyncio
import heapq
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from esms_async.emulator.listeners import Listeners
from esms_async.errors import ConfigurationError

# No datetime is later than the year 9999; what is planned on the way needs some room.
_LAST = datetime(9000, 1, 1, tzinfo=UTC).timestamp()


class Clock:
    """The time that the emulated gateway goes by.

    Deduplication, delivery and its reports go by this clock. Faults on the socket (`delay`,
    `dribble`) take real time, for so do the timeouts of whoever waits for the answer.

    Args:
        start: The time it shows at first, aware; that of the machine by default.
        running: False makes a clock that only `advance` moves.

    Raises:
        ConfigurationError: `start` is no aware datetime.
    """

    def __init__(self, start: datetime | None = None, *, running: bool = True) -> None:
        start = datetime.now(UTC) if start is None else start
        if start.utcoffset() is None:
            raise ConfigurationError("start must be an aware datetime; give it a tzinfo")
        self._shown = start.timestamp()
        self._running = running
        self._since = time.monotonic()
        self._listeners: Listeners[[]] = Listeners()

    @property
    def running(self) -> bool:
        """False where only `advance` moves it."""
        return self._running

    def time(self) -> float:
        """Return the time in seconds since 1970, UTC. It never goes back."""
        if self._running:
            return self._shown + (time.monotonic() - self._since)
        return self._shown

    def now(self) -> datetime:
        """Return the time as an aware datetime, UTC."""
        return datetime.fromtimestamp(self.time(), UTC)

    def advance(self, by: float | timedelta) -> None:
        """Jump ahead; what falls due on the way is done at once.

        Args:
            by: Seconds or a timedelta, at least 0.

        Raises:
            ConfigurationError: It is negative, or no number, or leads too far ahead.
        """
        seconds = by.total_seconds() if isinstance(by, timedelta) else by
        if not 0 <= seconds <= _LAST - self.time():
            raise ConfigurationError(
                "a clock advances by 0 seconds or more, and not past the year 9000"
            )
        self._shown += seconds
        self._listeners.tell()

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Tell a listener whenever the clock has jumped ahead.

        Args:
            listener: What to call.

        Returns:
            A function that ends it.
        """
        return self._listeners.add(listener)


class Timetable:
    """What is to be done at which time by a clock. It is used within one running event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._unsubscribe = clock.subscribe(self._do_what_is_due)

    def __len__(self) -> int:
        return len(self._entries)

    def call_at(self, at: float, call: Callable[[], None]) -> None:
        """Have something done.

        Args:
            at: When, in seconds since 1970; what is past is done as soon as the loop turns.
            call: What to call.
        """
        self._count += 1
        entry = (at, self._count, call)
        heapq.heappush(self._entries, entry)
        if self._entries[0] is entry:
            self._set_timer()

    def clear(self) -> None:
        """Have nothing done that was to be."""
        self._entries.clear()
        self._set_timer()

    def close(self) -> None:
        """Have nothing done any more."""
        self._unsubscribe()
        self.clear()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._entries:
            return
        left = self._entries[0][0] - self._clock.time()
        if left <= 0 or self._clock.running:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(left, 0.0), self._do_what_is_due)

    def _do_what_is_due(self) -> None:
        while self._entries and self._entries[0][0] <= self._clock.time():
            heapq.heappop(self._entries)[2]()
        self._set_timer()
