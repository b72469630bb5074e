"""Limits the rate of sends of any number of processes, through a Redis server."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

import attrs
from redis.asyncio import Redis
from redis.exceptions import RedisError

from esms_async import ConfigurationError, UsageError
from esms_async._model.backoff import backoff
from esms_async._model.checks import check_seconds
from esms_async._redis import RedisAddress

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from contextlib import AbstractAsyncContextManager

__all__ = ["RedisLimiter"]

_logger = logging.getLogger("esms_async")

_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
_DEFAULT_BURST_SECONDS: Final = 0.1
# Those behind reserve no place further ahead than so many µs, and get one place in so many at
# least.
_HORIZON: Final = "100000"
_ONE_IN: Final = "10"

# The generic cell rate algorithm without credit for idle time: the first key holds the time of the
# next place, in µs of the server's clock. The answer is the number of places given, and the time
# until the first of them. Attempts behind get no place beyond a horizon; while the queue is full,
# they get one place in so many, at the time in the second key.
_RESERVE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local count, interval = tonumber(ARGV[1]), tonumber(ARGV[2])
local first = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
if KEYS[2] then
  local horizon, one_in = tonumber(ARGV[3]), tonumber(ARGV[4])
  local room = math.floor((now + horizon - first) / interval) + 1
  if room < 1 then
    local due = tonumber(redis.call('GET', KEYS[2]) or '0')
    if due > now then
      return {0, string.format('%.0f', math.min(first - horizon, due) - now)}
    end
    room = 1
  end
  count = math.min(count, room)
  local due = now + interval * one_in
  local kept = math.ceil(interval * one_in / 1000) + 1000
  redis.call('SET', KEYS[2], string.format('%.0f', due), 'PX', string.format('%.0f', kept))
end
local following = first + count * interval
redis.call(
  'SET', KEYS[1], string.format('%.0f', following),
  'PX', string.format('%.0f', math.ceil((following - now) / 1000) + 1000)
)
return {count, string.format('%.0f', first - now)}
"""


@attrs.frozen
class _Place:
    """The right to one send, on `time.monotonic()`.

    Its exact time lies between `earliest` and `due`, because the delay of the server's answer is
    unknown. It is used after `due`, and lateness counts from `earliest`.
    """

    due: float
    earliest: float


class RedisLimiter:
    """Holds back attempts so that all processes together keep to one rate.

    Attempts get places in one queue, `1 / rate` seconds apart on the server's clock, first come,
    first served. A process with many waiting attempts takes up to `burst` places at a time, and
    more when they are used, so processes take turns. Idle time earns nothing. A process drops a
    place that it reaches too late, so at most `rate * span + burst + 1` attempts start in any span
    of time.

    A cancelled wait leaves its place to the next attempt of the same process. An unused place
    lapses: returning it would move the places that others hold behind it, and a lapsed place only
    lowers the rate.

    While the server is unreachable, attempts wait until their deadline and are NotSent. A server
    that loses the queue in a restart may give out again the places that processes still hold, at
    most `burst` for each process.

    `behind` is a second limiter in the same queue, for attempts that may wait: it takes no place
    more than 0.1 seconds ahead, so an attempt in front finds one soon. One place in ten is always
    its own.

    Pass it as `EsmsClient(limiter=...)` to any number of clients in one event loop. It connects on
    first use; close it yourself, for example with `contextlib.aclosing`.

    Args:
        url: `redis://`, `rediss://` or `unix://`, with the options that redis-py takes in a URL.
        rate: Attempts a second, of all processes that use the same key.
        burst: The number of attempts above the rate in any span of time; None for a tenth of a
            second's worth, and at least 1. It lets a process be late: one that is often late by
            more than `burst / rate` seconds sends less than its share.
        key: The key on the server, one for each account.

    Raises:
        ConfigurationError: A value cannot work; the error names it.
    """

    def __init__(
        self, url: str, rate: float, *, burst: float | None = None, key: str = "esms:rate"
    ) -> None:
        check_seconds("rate", rate)
        burst = max(1.0, rate * _DEFAULT_BURST_SECONDS) if burst is None else burst
        check_seconds("burst", burst)
        if not key:
            raise ConfigurationError("key must not be empty")
        self._address = RedisAddress(url)
        self._server: Redis | None = None
        self._front = _Row(self._reserve, 1 / rate, burst, (key,))
        self._behind = _Row(self._reserve, 1 / rate, burst, (key, f"{key}:behind"))

    @property
    def behind(self) -> "AbstractAsyncContextManager[None]":
        """The limiter for what may wait; it closes with this one."""
        return self._behind

    async def __aenter__(self) -> None:
        await self._front.__aenter__()

    async def __aexit__(self, *_: object) -> None:
        """Do nothing: the attempt used its place when it began."""

    async def aclose(self) -> None:
        """Close the connection; waiting attempts raise UsageError."""
        for row in (self._front, self._behind):
            await row.aclose()
        server, self._server = self._server, None
        if server is not None:
            await server.connection_pool.disconnect()

    async def _reserve(
        self, count: int, interval: float, keys: tuple[str, ...]
    ) -> tuple[int, float]:
        """Reserve places in a row; return how many, and in how many seconds the first is due.

        Raises:
            _Away: The server can't be used.
        """
        if self._server is None:
            self._server = Redis(connection_pool=self._address.pool())
        more = (_HORIZON, _ONE_IN) if len(keys) > 1 else ()
        reply = self._server.eval(
            _RESERVE, len(keys), *keys, str(count), repr(interval * 1e6), *more
        )
        try:
            given, ahead = await cast("Awaitable[tuple[int, str]]", reply)
        except (RedisError, OSError) as error:
            raise _Away(
                f"on Redis {self._address} can't be used ({type(error).__name__})"
            ) from None
        return int(given), int(ahead) / 1e6


class _Away(Exception):
    """The server can't be used now."""


_Reserve = Callable[[int, float, tuple[str, ...]], "Awaitable[tuple[int, float]]"]


class _Row:
    """Those of this process who wait for a place, and the places that are reserved for them."""

    def __init__(
        self, reserve: _Reserve, interval: float, burst: float, keys: tuple[str, ...]
    ) -> None:
        self._ask = reserve
        self._closed = False
        self._interval = interval
        self._tolerance = burst * interval
        self._most_at_once = max(1, int(burst))
        self._keys = keys
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._places: deque[_Place] = deque()
        self._clerk: asyncio.Task[None] | None = None
        self._failures = 0

    async def __aenter__(self) -> None:
        if self._closed:
            raise UsageError("the RedisLimiter is closed")
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        if self._clerk is None:
            self._clerk = loop.create_task(self._serve())
        await turn

    async def __aexit__(self, *_: object) -> None:
        """Do nothing: the attempt used its place when it began."""

    async def aclose(self) -> None:
        """Give no more places; waiting attempts raise UsageError."""
        self._closed = True
        if self._clerk is not None:
            self._clerk.cancel()
            await asyncio.wait([self._clerk])
        for turn in self._waiting:
            if not turn.done():
                turn.set_exception(UsageError("the RedisLimiter was closed"))

    async def _serve(self) -> None:
        """Give places to the waiting attempts, in turn, until none waits."""
        try:
            # redis-py sometimes swallows a cancellation, so this checks for the close, too.
            while self._somebody_waits() and not self._closed:
                place = self._next_place()
                if place is None:
                    await self._reserve()
                elif (ahead := place.due - time.monotonic()) > 0:
                    await asyncio.sleep(ahead)
                else:
                    self._places.popleft()
                    turn = self._waiting.popleft()
                    turn.set_result(None)
        finally:
            self._clerk = None

    def _somebody_waits(self) -> bool:
        """Drop cancelled waiters from the front, and return True if any are left."""
        while self._waiting and self._waiting[0].done():
            del self._waiting[0]
        return bool(self._waiting)

    def _next_place(self) -> _Place | None:
        """Return the first place that is not too late to be used."""
        too_late = time.monotonic() - self._tolerance
        while self._places and self._places[0].earliest < too_late:
            self._places.popleft()
        return self._places[0] if self._places else None

    async def _reserve(self) -> None:
        """Reserve places for the waiting attempts, or pause if the server is unreachable."""
        count = min(len(self._waiting), self._most_at_once)
        asked = time.monotonic()
        try:
            given, ahead = await self._ask(count, self._interval, self._keys)
        except _Away as error:
            if not self._failures:
                _logger.warning("the limiter %s; sends wait for it", error)
            self._failures += 1
            pause = backoff(self._failures, first=_FIRST_PAUSE, longest=_LONGEST_PAUSE)
            await asyncio.sleep(pause)
            return
        told = time.monotonic()
        self._failures = 0
        if not given:
            # The row in front is full for so long.
            await asyncio.sleep(max(ahead, self._interval))
        offsets = (ahead + number * self._interval for number in range(given))
        self._places.extend(_Place(told + offset, asked + offset) for offset in offsets)
