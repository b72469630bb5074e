"""Many sends while pages are open: the emulator keeps its bounds, and its pages their place."""

import asyncio
import tracemalloc

import aiohttp
import pytest

from esms_async.emulator import Emulator, Settings
from tests.emulator.caller import Caller, connection
from tests.emulator.following import following
from tests.limits import generous

SENDS = 4000
AT_ONCE = 200
GROWTH = 2_000_000


async def send_many(caller: Caller, start: int, count: int) -> None:
    """Send many messages, each with a RequestId of its own, some hundred at a time."""
    numbers = iter(range(start, start + count))

    async def work() -> None:
        for number in numbers:
            got = await caller.send(RequestId=f"r-{number}", Content=f"{number:06} la ma")
            assert got.code == "100"

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


@pytest.mark.endurance
async def test_memory_is_bounded_while_pages_look_on() -> None:
    """With a page that reads and one that does not, the second half of many sends adds little.

    What does grow are the RequestIds, which are to live on for a day.
    """
    settings = Settings(max_messages=500, max_requests=500)
    async with (
        Emulator(settings=settings) as emulator,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=AT_ONCE)) as session,
        following(emulator) as stream,
        connection(emulator.port) as (reader, writer),
    ):
        caller = Caller(session, emulator)
        head = f"GET /_emulator/events HTTP/1.1\r\nHost: 127.0.0.1:{emulator.port}\r\n\r\n"
        writer.write(head.encode())
        await reader.readuntil(b"event: state\n")
        accepted = 0

        async def read() -> None:
            nonlocal accepted
            while accepted < SENDS:
                told = await stream.next("state")
                accepted = told.data["accepted"]

        reading = asyncio.create_task(read())
        tracemalloc.start()
        try:
            await send_many(caller, 0, SENDS // 2)
            before = tracemalloc.get_traced_memory()[0]
            await send_many(caller, SENDS // 2, SENDS // 2)
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        await asyncio.wait_for(reading, generous(30))
        assert (emulator.mark(), accepted) == (SENDS, SENDS)
        assert len(emulator.messages) == len(emulator.requests) == 500
        assert emulator.pruned == SENDS - 500
        assert emulator.accepted("r-0") == 1
        # The RequestIds of the second half take less than one megabyte.
        assert grown < GROWTH
