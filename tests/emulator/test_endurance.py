"""Many sends while pages are open: the emulator keeps its bounds, and its pages their place."""

import asyncio
import gc
import tracemalloc

import aiohttp
import pytest

from esms_async.emulator import Emulator, Settings
from tests.emulator.caller import Caller, connection
from tests.emulator.following import following
from tests.limits import TIMES, generous

SENDS = max(4000, 2000 * TIMES)
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


async def only_pages_are_connected(emulator: Emulator) -> None:
    """Wait until the emulator has closed its side of every connection but the two pages."""
    server = emulator._runner and emulator._runner.server
    assert server
    async with asyncio.timeout(generous(10)):
        while len(server.connections) > 2:  # noqa: ASYNC110  # no event says it
            await asyncio.sleep(0.01)


@pytest.mark.once
async def test_memory_is_bounded_while_pages_look_on() -> None:
    """With a page that reads and one that does not, the second half of many sends adds little.

    What does grow are the RequestIds, which are to live on for a day.
    """
    settings = Settings(max_messages=500, max_requests=500)
    async with (
        Emulator(settings=settings) as emulator,
        following(emulator) as stream,
        connection(emulator.port) as (reader, writer),
    ):
        head = f"GET /_emulator/events HTTP/1.1\r\nHost: 127.0.0.1:{emulator.port}\r\n\r\n"
        writer.write(head.encode())
        await reader.readuntil(b"event: state\n")

        async def read_until(accepted: int) -> None:
            while (await stream.next("state")).data["accepted"] < accepted:
                pass

        async def memory_after(start: int) -> int:
            """Return the memory in use once half of the messages are sent and the page has them.

            Open connections, and cycles that the collector has not seen yet, are no growth.
            """
            connector = aiohttp.TCPConnector(limit=AT_ONCE)
            async with aiohttp.ClientSession(connector=connector) as session:
                sending = send_many(Caller(session, emulator), start, SENDS // 2)
                await asyncio.gather(sending, read_until(start + SENDS // 2))
            await only_pages_are_connected(emulator)
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            first = await memory_after(0)
            grown = await memory_after(SENDS // 2) - first
        finally:
            tracemalloc.stop()
        assert emulator.mark() == SENDS
        assert len(emulator.messages) == len(emulator.requests) == 500
        assert emulator.pruned == SENDS - 500
        assert emulator.accepted("r-0") == 1
        # The RequestIds of the second half take less than one megabyte.
        assert grown < GROWTH
