"""The emulator's clock, which can jump ahead, and the things to do at its times."""

import asyncio
import heapq
import sys
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import itemgetter
from typing import Generic, ParamSpec, TypeVar

from esms_async._model.errors import ConfigurationError

_P = ParamSpec("_P")
_T = TypeVar("_T")

# No datetime is later than the year 9999; what is planned on the way needs some room.
_LAST = datetime(9000, 1, 1, tzinfo=UTC).timestamp()
# CLOCK_REALTIME_COARSE of Linux, which Python does not name.
_REALTIME_COARSE = 5
_ORDER = itemgetter(0, 1)


# Wrapped, because freezegun replaces the functions of `time` where modules hold them themselves.
_monotonic, _wall = (
    (
        partial(time.clock_gettime, time.CLOCK_BOOTTIME),
        partial(time.clock_gettime, _REALTIME_COARSE),
    )
    if sys.platform == "linux"
    else (partial(time.perf_counter), partial(time.time))
)


class RealTime:
    """The machine's clocks, out of reach of the libraries that freeze time in tests.

    time-machine replaces `time.time` itself, and `clock_gettime` for CLOCK_REALTIME alone.
    """

    _origin = _wall() - _monotonic()

    @staticmethod
    def monotonic() -> float:
        """Return seconds that never go back; on Linux they count while the machine sleeps."""
        return _monotonic()

    @classmethod
    def time(cls) -> float:
        """Return the seconds since 1970."""
        return cls._origin + _monotonic()


class RealTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose timers go on where a test has frozen the time."""

    def time(self) -> float:
        """Return the loop's time in seconds."""
        return RealTime.monotonic()


class Listeners(Generic[_P]):
    """Functions to call when something happens, in the order in which they were added."""

    def __init__(self) -> None:
        self._calls: tuple[Callable[_P, None], ...] = ()

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call: Callable[_P, None]) -> Callable[[], None]:
        """Call a function from now on.

        Returns:
            A function that ends it; it may be called twice, and while the others are called.
        """
        self._calls += (call,)

        def remove() -> None:
            calls = [*self._calls]
            if call in calls:
                calls.remove(call)
                self._calls = tuple(calls)

        return remove

    def tell(self, *args: _P.args, **kwargs: _P.kwargs) -> None:
        """Call them all."""
        for call in self._calls:
            call(*args, **kwargs)


class Clock:
    """The time of the emulated gateway.

    Deduplication, delivery and its reports go by this clock. Faults on the socket (`delay`,
    `dribble`) take real time, because the timeouts of the client do.

    Args:
        start: The time it shows at first, aware; that of the machine by default.
        running: False makes a clock that only `advance` moves.

    Raises:
        ConfigurationError: `start` is no aware datetime.
    """

    def __init__(self, start: datetime | None = None, *, running: bool = True) -> None:
        if start is not None and start.utcoffset() is None:
            raise ConfigurationError("start must be an aware datetime; give it a tzinfo")
        # Whole microseconds, as a datetime has them: what falls due by a datetime is due then.
        now = RealTime.time()
        self._start = round(now if start is None else start.timestamp(), 6)
        self._ahead = 0.0 if start is None else self._start - now
        self._shift = 0.0
        self._running = running
        self._since = RealTime.monotonic()
        self._listeners: Listeners[[]] = Listeners()
        self._run: Callable[[Callable[[], None]], None] = lambda call: call()

    @property
    def running(self) -> bool:
        """False where only `advance` moves it."""
        return self._running

    @property
    def shift(self) -> float:
        """How far it is ahead of the machine's clock, in seconds; less than 0 where it is behind.

        A clock that does not run is taken as it was made, and moved by `advance` since.
        """
        return self._ahead + self._shift

    def time(self) -> float:
        """Return the time in seconds since 1970, UTC. It never goes back but by `reset`."""
        elapsed = _monotonic() - self._since if self._running else 0.0
        return self._start + self._shift + elapsed

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
        self._run(partial(self._jump, self._shift + seconds))

    def reset(self) -> None:
        """Take all jumps back."""
        self._run(partial(self._jump, 0.0))

    def _run_by(self, relay: Callable[[Callable[[], None]], None]) -> None:
        """Have it jump in the thread of its emulator.

        Args:
            relay: Runs a function there.
        """
        self._run = relay

    def _jump(self, shift: float) -> None:
        self._shift = shift
        self._listeners.tell()

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call a listener whenever the clock has jumped.

        Returns:
            A function that ends it.
        """
        return self._listeners.add(listener)


class Timetable(Generic[_T]):
    """Things to do at times of a clock, within one running event loop.

    Args:
        clock: The clock.
        do: Called with each thing when it is due.
        pause: The least time between two runs, in seconds, where the time runs by itself: what is
            due within it is done in one.
    """

    def __init__(self, clock: Clock, do: Callable[[_T], None], pause: float = 0.0) -> None:
        self._clock = clock
        self._do = do
        self._pause = pause
        # Most come in the order of their times, and need no heap.
        self._queue: deque[tuple[float, int, _T]] = deque()
        self._heap: list[tuple[float, int, _T]] = []
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timed = 0.0
        self._unsubscribe = clock.subscribe(self._do_what_is_due)

    def __len__(self) -> int:
        return len(self._queue) + len(self._heap)

    def put(self, at: float, thing: _T) -> None:
        """Have a thing done at a time in seconds since 1970; soon, if that is past."""
        self._count += 1
        entry = (at, self._count, thing)
        if not self._queue or at >= self._queue[-1][0]:
            self._queue.append(entry)
        else:
            heapq.heappush(self._heap, entry)
        if self._timer is None or at < self._timed:
            self._set_timer()

    def clear(self) -> None:
        """Forget everything that was to be done."""
        self._queue.clear()
        self._heap.clear()
        self._set_timer()

    def close(self) -> None:
        """Forget everything, also what would come later."""
        self._unsubscribe()
        self.clear()

    def _set_timer(self, pause: float = 0.0) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (first := self._first()) is None:
            return
        left = first[0] - self._clock.time()
        if left <= 0 or self._clock.running:
            self._timed = first[0]
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(left, pause), self._do_what_is_due)

    def _first(self) -> tuple[float, int, _T] | None:
        if self._queue and self._heap:
            return min(self._queue[0], self._heap[0], key=_ORDER)
        kept = self._queue or self._heap
        return kept[0] if kept else None

    def _do_what_is_due(self) -> None:
        now = self._clock.time()
        while (first := self._first()) is not None and first[0] <= now:
            if self._queue and first is self._queue[0]:
                self._queue.popleft()
            else:
                heapq.heappop(self._heap)
            self._do(first[2])
        self._set_timer(self._pause)
