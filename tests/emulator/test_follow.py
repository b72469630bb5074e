"""Server-sent events: what a page that follows an emulator is told."""

import asyncio

import aiohttp
import attrs
import pytest

from esms_async.emulator import Clock, Emulator, Settings, control
from tests.emulator.caller import PHONE, Caller, connection
from tests.emulator.following import following
from tests.limits import generous


async def test_a_page_hears_of_a_send(emulator: Emulator, caller: Caller) -> None:
    """First comes the state, then the row of the send, and the state that it leads to."""
    async with following(emulator) as stream:
        assert stream.response.content_type == "text/event-stream"
        assert stream.response.headers["X-Accel-Buffering"] == "no"
        assert stream.response.headers["Cache-Control"] == "no-store"
        assert await stream.block() == {"retry": "1000"}
        before = await stream.next()
        await caller.send(RequestId="r-1")
        row, after = [await stream.next() for _ in range(2)]
        assert [told.kind for told in (before, row, after)] == ["state", "row", "state"]
        assert (row.data["code"], row.data["phone"]) == ("686868", PHONE)
        assert (row.data["request_id"], row.data["attempts"]) == ("r-1", 1)
        assert before.data["balance"] - after.data["balance"] == 850


async def test_a_page_hears_of_reports_faults_clock_and_reset() -> None:
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
        row = await stream.next("row")
        assert (row.data["state"], row.data["marks"]) == ("waiting", ["fault", "callback"])
        assert [fault["left"] for fault in (await stream.next("state")).data["spent"]] == [0]
        armed.disarm()
        assert (await stream.next("state")).data["spent"] == []
        emulator.clock.advance(10)
        assert (await stream.next("row")).data["state"] == "failed"
        assert (await stream.next("state")).data["clock"]["now"] != now
        emulator.reset()
        await stream.next("reset")
        assert (await stream.next("state")).data["messages"] == 0


async def test_a_page_that_comes_back_catches_up(emulator: Emulator, caller: Caller) -> None:
    """The id of the last event that was seen leads to those after it, by header or by query."""
    async with following(emulator) as stream:
        await caller.send(RequestId="r-1")
        seen = await stream.next("row")
    await caller.send(RequestId="r-2")
    for options in ({"last": seen.id}, {"after": seen.id}, {"last": seen.id, "after": "x"}):
        async with following(emulator, **options) as stream:
            assert (await stream.next()).data["request_id"] == "r-2"


async def test_a_list_names_the_event_to_follow_from(emulator: Emulator, caller: Caller) -> None:
    """What happens between loading a list and following it is told."""
    got = await caller.request("GET", "../../_emulator/messages")
    await caller.send(RequestId="r-1")
    async with following(emulator, after=got.json["event"]) as stream:
        assert (await stream.next("row")).data["request_id"] == "r-1"


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


async def test_a_page_that_reads_nothing_slows_nobody_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sends go on at their pace, and the page is told to load anew when it reads again."""
    monkeypatch.setattr(control, "_PAUSE", 0.0)
    settings = Settings(max_requests=200, max_messages=200)
    async with (
        Emulator(settings=settings) as emulator,
        Caller.to(emulator) as caller,
        connection(emulator.port, buffer=4096) as (reader, writer),
    ):
        head = f"GET /_emulator/events HTTP/1.1\r\nHost: 127.0.0.1:{emulator.port}\r\n\r\n"
        writer.write(head.encode())
        await reader.readuntil(b"event: state\n")
        # More than the sockets and their buffers take in.
        for number in range(1800):
            content = f"{number} " + "x" * 4000
            assert (await caller.send(Content=content)).code == "100"
        assert len(emulator.messages) == 200
        read = 0
        while b"event: reload\n" not in (
            line := await asyncio.wait_for(reader.readline(), generous(5))
        ):
            read += len(line)
        assert read < 1800 * 4000


async def test_a_stream_without_news_shows_that_it_lives(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Comments keep a silent stream open, and find out that its page has gone."""
    monkeypatch.setattr(control, "_ALIVE", 0.01)
    async with following(emulator) as stream:
        await stream.next("state")
        assert await stream.block() == {"": "alive"}
    at_rest = {task for task in asyncio.all_tasks() if "follow" in repr(task.get_coro())}
    assert at_rest == set()


async def test_the_number_of_streams_is_bounded(
    emulator: Emulator, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One stream more than there may be is refused; one that ends makes room."""
    monkeypatch.setattr(control, "_MOST_FOLLOWERS", 1)
    monkeypatch.setattr(control, "_ALIVE", 0.01)
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
    monkeypatch.setattr(control, "_PAUSE", pause)
    monkeypatch.setattr(control, "_ALIVE", 0.05)
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


async def test_a_page_hears_of_a_burst_by_its_newest_rows(
    emulator: Emulator, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More changes than anybody can follow are one event; the counts catch up behind it."""
    monkeypatch.setattr(control, "_BURST", 20)
    monkeypatch.setattr(control, "_TOP", 10)
    monkeypatch.setattr(control, "_MOST_LOOKS", 12)
    before = (await caller.request("GET", "../../_emulator/messages")).json["event"]
    for number in range(30):
        await caller.send(RequestId=f"r-{number}", Content=f"{100_000 + number} la ma")
    async with following(emulator, after=before) as stream:
        top = await stream.next()
        assert (top.kind, top.data["older"]) == ("top", True)
        codes = [row["code"] for row in top.data["rows"]]
        assert codes == [str(100_029 - number) for number in range(10)]
        states = [await stream.next("state") for _ in range(4)]
        assert [told.data["counts"]["code"] for told in states] == [0, 12, 24, 30]
        assert {told.data["counts"]["all"] for told in states} == {30}
        assert states[0].data["oldest"] == {"send": 1, "not_taken": 0}
    emulator.reset()
    for number in range(21):
        await caller.send(RequestId=f"r-{number}")
    async with following(emulator, after=before) as stream:
        assert [(await stream.next()).kind for _ in range(3)] == ["reset", "top", "state"]


async def test_the_state_counts_codes_and_trouble_as_they_change(
    emulator: Emulator, caller: Caller
) -> None:
    """What is counted once is counted anew where it changes, and no more where it is gone."""

    async def counts() -> tuple[int, int, int]:
        state = (await caller.request("GET", "../../_emulator/state")).json["counts"]
        return state["all"], state["code"], state["trouble"]

    sent = await caller.send(Content="123456 la ma")
    await caller.send(Content="no code")
    assert await counts() == (2, 1, 0)
    await caller.request("POST", f"../../_emulator/messages/{sent.json['SMSID']}/fail")
    assert await counts() == (2, 1, 1)
    await caller.request("PATCH", "../../_emulator/state", json={"otp_pattern": "no (code)"})
    assert await counts() == (2, 1, 1)
    emulator.clear_messages()
    assert await counts() == (0, 0, 0)
