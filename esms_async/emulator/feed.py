"""The events of an emulator for those who follow it from outside, in one ring for all of them.

Each follower has no more than a place in the ring, so that a slow one costs nothing: what it has
not read in time is gone, and it is told to load everything anew.
"""

import asyncio
import os
from collections import deque
from itertools import islice

from esms_async.emulator.clock import Clock
from esms_async.emulator.journal import Event, EventKind, Journal


class Feed:
    """The newest events of one emulator, within one running event loop.

    Args:
        journal: Where events come from.
        clock: The clock, whose jumps are events too.
        size: How many are kept.
    """

    def __init__(self, journal: Journal, clock: Clock, size: int) -> None:
        # Places of another emulator, which ran on the same port before, mean nothing here.
        self._epoch = os.urandom(4).hex()
        self._events: deque[Event] = deque(maxlen=size)
        self._newest = 0
        # The place from which on nothing is gone.
        self._least = 0
        self._closed = False
        self._news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unsubscribe = (
            journal.subscribe(self._put),
            clock.subscribe(lambda: self._put(Event(EventKind.STATE))),
        )

    @property
    def newest(self) -> int:
        """The place of the newest event."""
        return self._newest

    def name(self, place: int) -> str:
        """Return the event id that stands for a place."""
        return f"{self._epoch}-{place}"

    def find(self, name: str) -> int | None:
        """Return the place that an event id stands for, or None where it is none of this feed."""
        epoch, _, place = name.partition("-")
        if epoch != self._epoch or not (place.isascii() and place.isdigit()) or len(place) > 15:
            return None
        return int(place)

    def after(self, place: int, limit: int) -> list[tuple[int, Event]] | None:
        """Return the events after a place.

        Args:
            place: The place.
            limit: How many, at most.

        Returns:
            The events by their places, the oldest first; None where some of them are gone, though
            not by a reset, before which nothing matters.
        """
        oldest = self._newest - len(self._events)
        if not self._least <= place <= self._newest:
            return None
        start = max(place, oldest)
        found = islice(self._events, start - oldest, start - oldest + limit)
        return list(enumerate(found, start + 1))

    async def wait(self, place: int, seconds: float) -> bool:
        """Wait for an event after a place, or for the end of the feed.

        Args:
            place: The place.
            seconds: How long to wait at most.

        Returns:
            True where there is one.
        """
        if place == self._newest and not self._closed:
            if self._news.done():
                self._news = asyncio.get_running_loop().create_future()
            await asyncio.wait((self._news,), timeout=seconds)
        return place != self._newest

    def close(self) -> None:
        """Take no more events, and keep nobody waiting."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._closed = True
        self._wake()

    def _put(self, event: Event) -> None:
        if event.kind is EventKind.RESET:
            self._events.clear()
            self._least = 0
        elif len(self._events) == self._events.maxlen:
            self._least = self._newest - len(self._events) + 1
        self._events.append(event)
        self._newest += 1
        self._wake()

    def _wake(self) -> None:
        if not self._news.done():
            self._news.set_result(None)
