"""Server-sent events: what a page that follows an emulator is told."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import attrs
import pytest

from esms_async.emulator import Clock, Emulator, Settings, follow
from tests.emulator.caller import PHONE, Caller, connection
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


async def test_a_page_is_told_of_a_send(emulator: Emulator, caller: Caller) -> None:
    """First comes the state, then each message and request, and the state that they lead to."""
    async with following(emulator) as stream:
        assert stream.response.content_type == "text/event-stream"
        assert stream.response.headers["Cache-Control"] == "no-store"
        assert await stream.block() == {"retry": "1000"}
        before = await stream.next()
        await caller.send(RequestId="r-1")
        message, request, after = [await stream.next() for _ in range(3)]
        assert [told.kind for told in (before, message, request, after)] == [
            "state",
            "message",
            "request",
            "state",
        ]
        assert (message.data["otp"], message.data["phone"]) == ("686868", PHONE)
        assert (request.data["request_id"], request.data["told"]) == ("r-1", "100")
        assert request.data["fields"]["ApiKey"] == "***"
        assert before.data["balance"] - after.data["balance"] == 850


async def test_a_page_is_told_of_reports_faults_clock_and_reset() -> None:
    """Whatever changes from outside shows in an event of its own, or in the state."""
    settings = Settings(report_delay=10)
    clock = Clock(running=False)
    async with (
        Emulator(clock=clock, settings=settings) as emulator,
        Caller.to(emulator) as caller,
        following(emulator) as stream,
    ):
        now = (await stream.next("state")).data["clock"]["now"]
        armed = emulator.fault("dlr:failed,times=1")
        faults = (await stream.next("state")).data["faults"]
        assert [(fault["spec"], fault["left"]) for fault in faults] == [("dlr:failed,times=1", 1)]
        await caller.send(CallbackUrl="http://esms.example/")
        report = await stream.next("report")
        assert (report.data["send_status"], report.data["result"]) == (2, "not allowed")
        assert (await stream.next("state")).data["faults"][0]["left"] == 0
        armed.disarm()
        assert (await stream.next("state")).data["faults"] == []
        emulator.clock.advance(10)
        assert (await stream.next("state")).data["clock"]["now"] != now
        emulator.reset()
        await stream.next("reset")
        assert (await stream.next("state")).data["messages"] == 0


async def test_a_page_that_comes_back_catches_up(emulator: Emulator, caller: Caller) -> None:
    """The id of the last event that was seen leads to those after it, by header or by query."""
    async with following(emulator) as stream:
        await caller.send(RequestId="r-1")
        seen = await stream.next("request")
    await caller.send(RequestId="r-2")
    for options in ({"last": seen.id}, {"after": seen.id}, {"last": seen.id, "after": "x"}):
        async with following(emulator, **options) as stream:
            assert (await stream.next()).data["request_id"] == "r-2"


async def test_a_list_names_the_event_to_follow_from(emulator: Emulator, caller: Caller) -> None:
    """What happens between loading a list and following it is told."""
    got = await caller.request("GET", "../../_emulator/messages")
    await caller.send(RequestId="r-1")
    async with following(emulator, after=got.json["event"]) as stream:
        assert (await stream.next("message")).data["request_id"] == "r-1"


@pytest.mark.parametrize("after", ["x", "00000000-0", "{epoch}-999"])
async def test_a_page_that_was_away_too_long_loads_anew(
    emulator: Emulator, caller: Caller, after: str
) -> None:
    """An id that leads nowhere is answered with `reload`, whose own id leads on from there."""
    await caller.send(RequestId="r-1")
    async with following(emulator) as stream:
        epoch = (await stream.next()).id.partition("-")[0]
    async with following(emulator, after=after.format(epoch=epoch)) as stream:
        reload = await stream.next()
        assert (reload.kind, reload.data) == ("reload", {})
        assert (await stream.next()).kind == "state"
    await caller.send(RequestId="r-2")
    async with following(emulator, last=reload.id) as stream:
        assert (await stream.next()).data["request_id"] == "r-2"


async def test_a_page_that_reads_nothing_slows_nobody_down() -> None:
    """Sends go on at their pace, and the page is told to load anew when it reads again."""
    settings = Settings(max_requests=50, max_messages=50)
    async with (
        Emulator(settings=settings) as emulator,
        Caller.to(emulator) as caller,
        connection(emulator.port) as (reader, writer),
    ):
        head = f"GET /_emulator/events HTTP/1.1\r\nHost: 127.0.0.1:{emulator.port}\r\n\r\n"
        writer.write(head.encode())
        await reader.readuntil(b"event: state\n")
        # More than the sockets and their buffers take in.
        for number in range(120):
            content = f"{number} " + "x" * 100_000
            assert (await caller.send(Content=content)).code == "100"
        assert len(emulator.messages) == 50
        read = 0
        while b"event: reload\n" not in (
            line := await asyncio.wait_for(reader.readline(), generous(5))
        ):
            read += len(line)
        assert read < 120 * 100_000


async def test_a_stream_without_news_shows_that_it_lives(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Comments keep a silent stream open, and find out that its page has gone."""
    monkeypatch.setattr(follow, "_ALIVE", 0.01)
    async with following(emulator) as stream:
        await stream.next("state")
        assert await stream.block() == {"": "alive"}
    at_rest = {task for task in asyncio.all_tasks() if "follow" in repr(task.get_coro())}
    assert at_rest == set()


async def test_the_number_of_streams_is_bounded(
    emulator: Emulator, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One stream more than there may be is refused; one that ends makes room."""
    monkeypatch.setattr(follow, "_MOST_FOLLOWERS", 1)
    monkeypatch.setattr(follow, "_ALIVE", 0.01)
    async with following(emulator) as stream:
        await stream.next("state")
        got = await caller.request("GET", "../../_emulator/events")
        assert (got.status, got.json["error"]) == (503, "1 streams are open already")
    while got.status == 503:
        await asyncio.sleep(0.01)
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{emulator.port}/_emulator/events"
            async with session.get(url) as response:
                got = attrs.evolve(got, status=response.status)
    assert got.status == 200


@pytest.mark.parametrize("pause", [0.0, 60.0])
async def test_a_stream_ends_with_the_emulator(
    monkeypatch: pytest.MonkeyPatch, pause: float
) -> None:
    """Closing ends a stream that waits for news, and one that was just told some."""
    monkeypatch.setattr(follow, "_PAUSE", pause)
    monkeypatch.setattr(follow, "_ALIVE", 0.05)
    at_rest = asyncio.all_tasks()
    async with Emulator() as emulator, following(emulator) as stream:
        await stream.next("state")
        if not pause:
            await stream.block()
        await asyncio.wait_for(emulator.aclose(), generous(5))
        with pytest.raises((EOFError, aiohttp.ClientError)):
            await stream.next()
    assert asyncio.all_tasks() == at_rest


async def test_a_strange_parameter_is_refused(caller: Caller) -> None:
    """A misspelt parameter is named, not passed over."""
    got = await caller.request("GET", "../../_emulator/events?since=1")
    assert (got.status, got.json["error"]) == (
        400,
        "there is no parameter 'since'; there are after",
    )
