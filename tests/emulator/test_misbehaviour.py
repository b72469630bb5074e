"""Each fault on a real socket: what a client sees of it, and what the gateway has stored."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta

import aiohttp
import pytest

from esms_async.emulator import Emulator, Kind, http, parse_fault
from tests.emulator.caller import Caller, Got, connection, http_post, send_fields
from tests.limits import generous

NO_ANSWER = [
    ("reset", aiohttp.ClientOSError),
    ("close", aiohttp.ServerDisconnectedError),
    ("garbage", aiohttp.ClientResponseError),
    ("truncate:0.5", aiohttp.ClientPayloadError),
    ("truncate:0", aiohttp.ClientPayloadError),
]
ANOTHER_ANSWER: list[tuple[str, Callable[[Got], bool]]] = [
    ("http:503", lambda got: (got.status, got.text) == (503, "503 Service Unavailable")),
    ("http:307", lambda got: got.status == 307),
    ("html:400", lambda got: got.status == 400 and got.text.startswith("<!DOCTYPE html>")),
    ("html:200", lambda got: got.status == 200 and "<h1>200 OK</h1>" in got.text),
    ("empty", lambda got: (got.status, got.text) == (200, "")),
    ("invalid", lambda got: (got.status, got.json) == (200, {"error": "Invalid request"})),
    ("code:103", lambda got: (got.status, got.code) == (200, "103")),
    ("code:4711", lambda got: got.code == "4711"),
    ("duplicate", lambda got: got.code == "124"),
]
# What they do shows in the time of the answer or in a later call, so each has tests of its own.
ELSEWHERE = {Kind.HANG, Kind.DELAY, Kind.DRIBBLE, Kind.STATUS_LAG, Kind.DLR}


def test_the_lists_show_every_kind() -> None:
    """No kind of fault is without a test of what it does."""
    shown = {parse_fault(spec).kind for spec, _ in (*NO_ANSWER, *ANOTHER_ANSWER)}
    assert shown == set(Kind) - ELSEWHERE, "add it to a list in tests/emulator/test_misbehaviour.py"


@pytest.mark.parametrize(("spec", "error"), NO_ANSWER)
@pytest.mark.parametrize(("phase", "stored"), [("before", 0), ("after", 1)])
async def test_a_fault_loses_the_answer(
    emulator: Emulator,
    caller: Caller,
    *,
    spec: str,
    error: type[Exception],
    phase: str,
    stored: int,
) -> None:
    """The client gets no answer; the message is stored where the fault came after, else not."""
    emulator.fault(f"{spec},phase={phase},times=1")
    with pytest.raises(error):
        await caller.send(RequestId="r-1")
    assert emulator.accepted("r-1") == stored
    assert len(emulator.messages) == stored
    again = await caller.send(RequestId="r-1")
    assert again.code == ("124" if stored else "100")
    assert emulator.accepted("r-1") == 1


async def test_an_answer_is_lost_before_its_retry_comes(emulator: Emulator, caller: Caller) -> None:
    """The timeline has them in this order, also where the body took its time to arrive."""
    emulator.fault("reset,phase=after,times=1")
    request = http_post(emulator.port, send_fields(RequestId="r-1"))
    head, _, body = request.partition(b"\r\n\r\n")
    async with connection(emulator.port) as (reader, writer):
        writer.write(head + b"\r\n\r\n")
        await asyncio.sleep(0.1)  # the slow body, nothing that is waited for
        writer.write(body)
        with pytest.raises(ConnectionError):
            await reader.read()
    await caller.send(RequestId="r-1")
    first, second = emulator.requests
    assert first.at + timedelta(seconds=first.duration or 0) <= second.at


@pytest.mark.parametrize(("spec", "is_expected"), ANOTHER_ANSWER)
@pytest.mark.parametrize(("phase", "stored"), [("before", 0), ("after", 1)])
async def test_a_fault_puts_another_answer_in_the_place_of_the_gateways(
    emulator: Emulator,
    caller: Caller,
    *,
    spec: str,
    is_expected: Callable[[Got], bool],
    phase: str,
    stored: int,
) -> None:
    """The client gets that answer; the message is stored where the fault came after, else not."""
    emulator.fault(f"{spec},phase={phase},times=1")
    got = await caller.send(RequestId="r-1")
    assert is_expected(got)
    assert emulator.accepted("r-1") == stored
    again = await caller.send(RequestId="r-1")
    assert again.code == ("124" if stored else "100")
    assert emulator.accepted("r-1") == 1


@pytest.mark.parametrize("spec", ["http:503", "html:502"])
async def test_a_status_comes_with_retry_after_where_asked_for(
    emulator: Emulator, caller: Caller, spec: str
) -> None:
    """`retry_after` sets the header; without it there is none."""
    emulator.fault(f"{spec},retry_after=7,times=1")
    emulator.fault(spec)
    first, second = await caller.send(), await caller.send()
    assert first.headers["Retry-After"] == "7"
    assert "Retry-After" not in second.headers


@pytest.mark.parametrize(("spec", "seen"), [("reset", ConnectionResetError), ("close", None)])
async def test_a_reset_is_a_reset_and_a_close_is_a_close(
    emulator: Emulator, spec: str, seen: type[Exception] | None
) -> None:
    """On the bare socket `reset` is an RST, and `close` an end of the stream without a byte."""
    emulator.fault(spec)
    async with connection(emulator.port) as (reader, writer):
        writer.write(http_post(emulator.port, send_fields()))
        if seen is None:
            assert await reader.read() == b""
        else:
            with pytest.raises(seen):
                await reader.read()


async def test_a_connection_that_was_kept_alive_meets_faults_too(
    emulator: Emulator, caller: Caller
) -> None:
    """A fault strikes the second request of a connection as it does the first."""
    assert (await caller.send()).code == "100"
    emulator.fault("reset,phase=after,times=1")
    with pytest.raises(aiohttp.ClientOSError):
        await caller.send(RequestId="r-1")
    assert emulator.accepted("r-1") == 1


@pytest.mark.parametrize(("phase", "stored"), [("before", 0), ("after", 1)])
async def test_a_hung_request_is_never_answered(
    emulator: Emulator, caller: Caller, phase: str, stored: int
) -> None:
    """No byte comes; what was stored before the hang stays stored."""
    emulator.fault(f"hang,phase={phase}")
    sending = asyncio.create_task(caller.send(RequestId="r-1"))
    seen = await emulator.wait_for_request(request_id="r-1")
    assert (seen.fault, seen.status) == ("hang" + (",phase=after" if stored else ""), None)
    done, _ = await asyncio.wait([sending], timeout=0.05)
    assert not done
    assert emulator.accepted("r-1") == stored
    sending.cancel()


async def test_a_hung_request_ends_when_its_client_leaves(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests that hang cost nothing once their clients have gone."""
    monkeypatch.setattr(http, "_LOOK_AGAIN", 0.001)
    emulator.fault("hang")
    at_rest = asyncio.all_tasks()
    async with connection(emulator.port) as (_, writer):
        writer.write(http_post(emulator.port, send_fields()))
        await emulator.wait_for_request()
        hanging = asyncio.all_tasks() - at_rest
        assert hanging
    _, pending = await asyncio.wait(hanging, timeout=generous(5))
    assert not pending


@pytest.mark.parametrize("phase", ["before", "after"])
async def test_a_delayed_answer_is_the_true_one(
    emulator: Emulator, caller: Caller, phase: str
) -> None:
    """The answer comes no earlier than the delay, and is the gateway's own."""
    emulator.fault(f"delay:50ms,phase={phase}")
    begun = time.monotonic()
    got = await caller.send(RequestId="r-1")
    assert time.monotonic() - begun >= 0.05
    assert got.code == "100"
    assert got.json["SMSID"] == emulator.messages[0].sms_id


async def test_a_delay_before_stores_even_where_the_client_has_given_up(
    emulator: Emulator, caller: Caller
) -> None:
    """The gateway is slow, not deaf: what arrived is accepted in the end, once."""
    emulator.fault("delay:250ms")
    with pytest.raises(TimeoutError):
        await caller.request(
            "POST",
            "SendMultipleMessage_V4_post_json",
            json=send_fields(RequestId="r-1"),
            timeout=aiohttp.ClientTimeout(total=0.02),
        )
    assert emulator.accepted("r-1") == 0
    assert emulator.requests[0].decided is None
    message = await emulator.wait_for(request_id="r-1")
    assert emulator.messages == [message]
    assert emulator.requests[0].decided == "100"


async def test_a_delay_after_has_stored_before_it_waits(emulator: Emulator, caller: Caller) -> None:
    """With `phase=after` the message is there while the client still waits."""
    emulator.fault("delay:1h,phase=after")
    sending = asyncio.create_task(caller.send(RequestId="r-1"))
    await emulator.wait_for(request_id="r-1")
    assert not sending.done()
    sending.cancel()


async def test_a_dribbled_answer_arrives_whole_and_slowly(
    emulator: Emulator, caller: Caller
) -> None:
    """The true answer comes byte by byte, over the time that was asked for."""
    emulator.fault("dribble:50ms,times=1")
    begun = time.monotonic()
    got = await caller.send(RequestId="r-1")
    assert time.monotonic() - begun >= 0.05
    assert got.json["SMSID"] == emulator.messages[0].sms_id


async def test_a_dribble_before_stores_nothing(emulator: Emulator, caller: Caller) -> None:
    """With `phase=before` it is the answer without a code that comes byte by byte."""
    emulator.fault("dribble:0,phase=before")
    got = await caller.send(RequestId="r-1")
    assert got.json == {"error": "Invalid request"}
    assert emulator.accepted("r-1") == 0


async def test_a_dribble_stops_when_its_client_leaves(emulator: Emulator) -> None:
    """An answer that nobody waits for any more is not written to its end."""
    emulator.fault("dribble:20s")
    at_rest = asyncio.all_tasks()
    async with connection(emulator.port) as (_, writer):
        writer.write(http_post(emulator.port, send_fields()))
        await emulator.wait_for_request()
        dribbling = asyncio.all_tasks() - at_rest
        assert dribbling
    _, pending = await asyncio.wait(dribbling, timeout=generous(5))
    assert not pending


async def test_truncate_says_the_whole_length_and_sends_the_fraction(emulator: Emulator) -> None:
    """The head is that of the whole answer; that fraction of the body follows, then the end."""
    emulator.fault("truncate:0.5,phase=after")
    async with connection(emulator.port) as (reader, writer):
        writer.write(http_post(emulator.port, send_fields()))
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    whole = len(
        f'{{"CodeResult":"100","CountRegenerate":0,"SMSID":"{emulator.messages[0].sms_id}"}}'
    )
    assert b"Content-Length: %d" % whole in head
    assert len(body) == whole // 2


@pytest.mark.parametrize(
    ("fields", "decided"),
    [({"Phone": "0900000103"}, "103"), ({"ApiKey": ""}, "101"), ({"Content": " "}, None)],
)
async def test_a_fault_after_a_refusal_loses_the_refusal(
    emulator: Emulator, caller: Caller, fields: dict[str, str], decided: str | None
) -> None:
    """`phase=after` accepts nothing that the gateway itself would not have accepted."""
    emulator.fault("close,phase=after")
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await caller.send(**fields)
    assert emulator.messages == []
    assert emulator.requests[0].decided == decided


async def test_a_client_that_left_before_its_fault_is_no_error(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """A client gone while its request waits leaves no trace in the log."""
    emulator.fault("delay:20ms,times=1")
    emulator.fault("reset")
    async with connection(emulator.port) as (_, writer):
        writer.write(http_post(emulator.port, send_fields()))
        await emulator.wait_for_request()
    await emulator.wait_for()
    assert caplog.records == []
