"""Follows an emulator as a page does, by its server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import attrs

from esms_async.emulator import Emulator
from tests.limits import generous


@attrs.frozen
class Told:
    """One server-sent event."""

    kind: str
    id: str
    data: Any


class Stream:
    """A page's side of a stream."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def block(self) -> dict[str, str]:
        """Return the fields of the next block; those of a comment are empty."""
        fields: dict[str, str] = {}
        while line := (
            await asyncio.wait_for(self.response.content.readline(), generous(5))
        ).decode():
            if line == "\n":
                return fields
            name, _, value = line.rstrip("\n").partition(": ")
            fields[name] = value
        raise EOFError

    async def next(self, *kinds: str) -> Told:
        """Return the next event, of some kinds where they are named."""
        while True:
            fields = await self.block()
            if "event" in fields and fields["event"] in (kinds or (fields["event"],)):
                return Told(fields["event"], fields["id"], json.loads(fields["data"]))


@asynccontextmanager
async def following(
    emulator: Emulator, after: str | None = None, last: str | None = None
) -> AsyncIterator[Stream]:
    """Follow an emulator."""
    url = f"http://127.0.0.1:{emulator.port}/_emulator/events"
    async with (
        aiohttp.ClientSession(read_bufsize=2**20) as session,
        session.get(
            url,
            params={} if after is None else {"after": after},
            headers={} if last is None else {"Last-Event-ID": last},
        ) as response,
    ):
        assert response.status == 200
        yield Stream(response)
