"""The events of an emulator for those who follow it: places, what is gone, waiting."""

import asyncio

import aiohttp
import pytest

from esms_async.emulator import Clock, Emulator
from esms_async.emulator.journal import Feed, Journal, RowKind
from tests.emulator.caller import Caller


class Bench:
    """A feed with its journal and clock."""

    def __init__(self, size: int = 3) -> None:
        self.clock = Clock(running=False)
        self.journal = Journal(10, 10, self.clock)
        self.feed = self.journal.feed = Feed(self.clock, size)


async def test_events_are_kept_by_their_places() -> None:
    """After a place come the events since, oldest first, no more than asked for."""
    bench = Bench()
    assert bench.feed.after(0, 10) == []
    bench.journal.note_state()
    bench.clock.advance(1)
    events = bench.feed.after(0, 10)
    assert events is not None
    assert events == [
        (1, (RowKind.STATE, 0)),
        (2, (RowKind.STATE, 0)),
    ]
    assert (len(bench.feed.after(0, 1) or []), bench.feed.after(2, 10)) == (1, [])


async def test_what_is_gone_is_said_to_be() -> None:
    """Who comes too late, or names a place that is yet to come, is told None, not half of it."""
    bench = Bench(size=3)
    for _ in range(5):
        bench.journal.note_state()
    assert bench.feed.after(1, 10) is None
    assert len(bench.feed.after(2, 10) or []) == 3
    assert bench.feed.after(6, 10) is None


async def test_a_reset_stands_for_all_that_was_before_it() -> None:
    """A reset drops the events before it; a follower gets the reset instead."""
    bench = Bench(size=2)
    bench.journal.note_state()
    bench.journal.note_state()
    bench.journal.reset()
    for place in (0, 1, 2):
        (told,) = bench.feed.after(place, 10) or []
        assert told == (3, (RowKind.RESET, 0))
    bench.journal.note_state()
    assert len(bench.feed.after(0, 10) or []) == 2
    bench.journal.note_state()
    assert bench.feed.after(2, 10) is None
    assert len(bench.feed.after(3, 10) or []) == 2


@pytest.mark.parametrize("name", ["", "1", "-1", "other-1", "{epoch}-", "{epoch}-²", "{epoch}-x"])
async def test_a_strange_event_id_has_no_place(name: str) -> None:
    """An id of another emulator, or of none, is not taken for one of this feed."""
    feed = Bench().feed
    epoch = feed.name(0).partition("-")[0]
    assert feed.find(name.format(epoch=epoch)) is None
    assert feed.find(f"{epoch}-{'9' * 16}") is None
    assert feed.find(feed.name(3)) == 3


async def test_two_feeds_have_different_ids() -> None:
    """An emulator that takes over the port of another gives no id that the other gave."""
    assert Bench().feed.name(1) != Bench().feed.name(1)


async def test_several_wait_for_the_same_event() -> None:
    """One event wakes everyone; whom it finds awake need not wait."""
    bench = Bench()
    waiting = [asyncio.create_task(bench.feed.wait(0, 5)) for _ in range(2)]
    await asyncio.sleep(0)
    bench.journal.note_state()
    assert await asyncio.gather(*waiting) == [True, True]
    assert await bench.feed.wait(0, 5)
    assert not await bench.feed.wait(1, 0.001)


async def test_a_closed_feed_keeps_nobody_waiting() -> None:
    """Closing wakes who waits, and whoever comes later; nothing is taken in any more."""
    bench = Bench()
    waiting = asyncio.create_task(bench.feed.wait(0, 60))
    await asyncio.sleep(0)
    bench.feed.close()
    assert not await waiting
    assert not await bench.feed.wait(0, 60)
    bench.journal.note_state()
    bench.clock.advance(1)
    assert bench.feed.newest == 0


async def test_a_page_follows_what_is_not_taken(emulator: Emulator, caller: Caller) -> None:
    """Rows of both kinds come in one batch, but for what is gone again."""
    journal = emulator._journal
    async with aiohttp.ClientSession() as session:
        url = f"{emulator.page}_emulator/events"
        async with session.get(url) as response:
            await caller.request("POST", "Nothing", data=b"{")
            journal.feed.put(RowKind.ROW, 999)
            async for line in response.content:
                if line.startswith(b"data: ") and b'"kind":"not_taken"' in line:
                    assert b"No operation" in line
                    break
