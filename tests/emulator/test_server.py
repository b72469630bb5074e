"""The emulator as a whole: its life, what it tells a test, and the bounds that it keeps."""

import asyncio
import gzip
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import uvloop

from esms_async import Message
from esms_async._model.errors import ConfigurationError, UsageError
from esms_async.emulator import AccountState, Clock, Emulator, Settings
from tests.emulator.caller import (
    CONTENT,
    GET_SEND,
    PHONE,
    POST_SEND,
    Caller,
    connection,
    http_post,
    send_fields,
)
from tests.limits import generous


async def test_it_runs_inside_its_context_and_no_longer() -> None:
    """Its URL is a loopback folder that answers inside `async with`, and refuses after it."""
    emulator = Emulator()
    with pytest.raises(UsageError, match="not running"):
        _ = emulator.url
    assert repr(emulator) == "<Emulator not running>"
    async with emulator:
        url, port = emulator.url, emulator.port
        assert url == f"http://127.0.0.1:{port}/MainService.svc/json/"
        assert repr(emulator) == f"<Emulator {url}>"
        async with Caller.to(emulator) as caller:
            assert (await caller.send()).code == "100"
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await asyncio.open_connection("127.0.0.1", port)
    with pytest.raises(UsageError, match="make a new one"):
        await emulator.start()


async def test_it_listens_on_the_port_that_it_is_given() -> None:
    """A port that has become free again can be taken by the next emulator at once."""
    async with Emulator() as first:
        port = first.port
    async with Emulator(port=port) as second:
        assert second.port == port


@pytest.mark.parametrize("port", [70_000, -1])
async def test_an_invalid_port_is_refused(port: int) -> None:
    """The error names the port, and what to do."""
    with pytest.raises(ConfigurationError, match=f"{port}.*choose another port, or 0"):
        await Emulator(port=port).start()


async def test_a_port_that_is_taken_is_refused(emulator: Emulator) -> None:
    """Two emulators cannot share a port; the first one is not disturbed."""
    with pytest.raises(ConfigurationError, match="choose another port, or 0"):
        await Emulator(port=emulator.port).start()
    async with Caller.to(emulator) as caller:
        assert (await caller.send()).code == "100"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"balance": -1}, "balance"),
        ({"balance": 1.5}, "balance"),
        ({"balance": True}, "balance"),
        ({"faults": "reset"}, "list"),
        ({"faults": ["explode"]}, "no fault 'explode'"),
    ],
)
def test_what_cannot_work_is_refused_by_name(options: dict[str, Any], words: str) -> None:
    """A wrong argument is refused before anything starts."""
    with pytest.raises(ConfigurationError, match=words):
        Emulator(**options)


async def test_closing_twice_or_unstarted_is_harmless() -> None:
    """`aclose` can be called at any time."""
    await Emulator().aclose()
    emulator = Emulator()
    await emulator.start()
    await emulator.aclose()
    await emulator.aclose()


async def test_nothing_holds_the_end_up(caplog: pytest.LogCaptureFixture) -> None:
    """Hung, delayed, dribbled and half-sent requests, and reports under way, end at once."""
    faults = [
        "hang,times=1",
        "delay:1h,times=1",
        "delay:1h,phase=after,times=1",
        "dribble:1h,times=1",
        "dlr:early,times=1,skip=2",
    ]
    at_rest = asyncio.all_tasks()
    async with deaf_server() as callback:
        emulator = Emulator(faults=faults, settings=Settings(report_delay=3600))
        async with emulator, Caller.to(emulator) as caller:
            sending = [
                asyncio.create_task(caller.send(RequestId=f"r-{number}", CallbackUrl=callback))
                for number in range(6)
            ]
            await emulator.wait_for_request(count=6)
            emulator.finish(emulator.messages[0].sms_id)
            async with connection(emulator.port) as (_, writer):
                writer.write(http_post(emulator.port, send_fields())[:-10])
                await writer.drain()
                # It waits for none of these: a report is due in an hour, a hang never ends.
                await asyncio.wait_for(emulator.aclose(), generous(20))
            await asyncio.gather(*sending, return_exceptions=True)
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []
    assert asyncio.all_tasks() == at_rest


async def test_a_delayed_request_whose_client_has_gone_ends_too() -> None:
    """Nothing is accepted after the end, not even what had arrived and waited."""
    at_rest = asyncio.all_tasks()
    async with Emulator(faults=["delay:1h"]) as emulator:
        async with connection(emulator.port) as (_, writer):
            writer.write(http_post(emulator.port, send_fields()))
            await emulator.wait_for_request()
        async with Caller.to(emulator) as caller:
            await caller.request("GET", "")
    assert asyncio.all_tasks() == at_rest
    assert emulator.messages == []


@asynccontextmanager
async def deaf_server() -> AsyncIterator[str]:
    """Run a server that accepts connections and never answers; yield its URL."""
    ended = asyncio.Event()
    tasks: set[asyncio.Task[None] | None] = set()

    async def never(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        await ended.wait()
        writer.close()

    server = await asyncio.start_server(never, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        ended.set()
        await asyncio.gather(*(task for task in tasks if task is not None))


async def test_a_message_that_has_come_is_returned_at_once(
    emulator: Emulator, caller: Caller
) -> None:
    """`wait_for` returns the newest message that fits."""
    await caller.send(Content="one")
    await caller.send(Content="two")
    await caller.send(Phone="0901888485", Content="three")
    message = await emulator.wait_for(phone="+84 901 888 484", timeout=0)
    assert (message.content, message.phone) == ("two", PHONE)
    assert (await emulator.wait_for(timeout=0)).content == "three"


async def test_a_message_that_is_to_come_is_waited_for(emulator: Emulator, caller: Caller) -> None:
    """`wait_for` wakes for the first message that fits, and for no other."""
    await caller.send(RequestId="r-0")
    mark = emulator.mark()
    waiting = asyncio.create_task(emulator.wait_for(phone=PHONE, since=mark))
    await asyncio.sleep(0)
    await caller.send(Phone="0901888485")
    await caller.send(Phone="0900000103")
    assert not waiting.done()
    await caller.send(RequestId="r-1")
    await caller.send(RequestId="r-2")
    assert (await waiting).request_id == "r-1"


async def test_a_message_that_does_not_come_is_a_timeout_that_says_so(
    emulator: Emulator, caller: Caller
) -> None:
    """The error says what was waited for, with the phone masked, and what came instead."""
    await caller.send(Phone="0900000103")
    listeners = len(emulator._journal._listeners)
    with pytest.raises(TimeoutError) as caught:
        await emulator.wait_for(phone=PHONE, request_id="r-1", timeout=0.01)
    assert str(caught.value) == (
        "waited 0.01 s for a message to 090****484 with request id r-1; 1 request came so far"
    )
    await caller.request("GET", "Nothing")
    with pytest.raises(TimeoutError, match="; 2 requests came so far, 1 of them was not taken: No"):
        await emulator.wait_for(phone=PHONE, timeout=0.01)
    for path in ("Nothing", "Else"):
        await caller.request("GET", path)
    with pytest.raises(TimeoutError, match="; 4 requests came so far, 3 of them were not taken, t"):
        await emulator.wait_for(phone=PHONE, timeout=0.01)
    assert len(emulator._journal._listeners) == listeners


async def test_an_invalid_phone_cannot_be_waited_for(emulator: Emulator) -> None:
    """A mistyped phone is refused at once, not after the timeout."""
    with pytest.raises(ConfigurationError, match="phone: <5 characters>"):
        await emulator.wait_for(phone="12345")


async def test_messages_are_found_by_phone_request_id_and_mark(
    emulator: Emulator, caller: Caller
) -> None:
    """`find` returns all that fit, oldest first."""
    assert emulator.mark() == 0
    for number, phone in enumerate([PHONE, "0901888485", PHONE]):
        await caller.send(Phone=phone, RequestId=f"r-{number}")
    assert [message.number for message in emulator.find(phone="84901888484")] == [1, 3]
    assert [message.number for message in emulator.find(since=1)] == [2, 3]
    assert [message.number for message in emulator.find(request_id="r-1")] == [2]
    assert emulator.find(phone=PHONE, since=emulator.mark()) == []


async def test_requests_are_waited_for_by_their_number(emulator: Emulator, caller: Caller) -> None:
    """`wait_for_request` counts those that fit, whether they came before or come later."""
    await caller.send(RequestId="r-1")
    await caller.send(RequestId="other")
    assert (await emulator.wait_for_request(request_id="r-1", timeout=0)).number == 1
    waiting = asyncio.create_task(emulator.wait_for_request(request_id="r-1", count=2))
    await asyncio.sleep(0)
    await caller.send(RequestId="other")
    await caller.send(RequestId="r-1")
    assert (await waiting).number == 4
    with pytest.raises(TimeoutError, match="5 requests; 4 requests came so far"):
        await emulator.wait_for_request(count=5, timeout=0.01)


async def test_a_delayed_request_counts_once(emulator: Emulator, caller: Caller) -> None:
    """A request that is reported twice, on arrival and when it is answered, is one."""
    emulator.fault("delay:10ms")
    waiting = asyncio.create_task(emulator.wait_for_request(count=2))
    await asyncio.sleep(0)
    await caller.send()
    assert not waiting.done()
    await caller.send()
    assert (await waiting).number == 2


async def test_the_account_can_be_changed_while_it_runs(emulator: Emulator, caller: Caller) -> None:
    """Balance and state can be set at any time, and a wrong value is refused."""
    emulator.balance = 850
    assert [(await caller.send()).code for _ in range(2)] == ["100", "103"]
    assert emulator.balance == 0
    emulator.account = AccountState.LOCKED
    assert (await caller.send()).code == "143"
    assert emulator.account is AccountState.LOCKED
    with pytest.raises(ConfigurationError, match="balance"):
        emulator.balance = -1


async def test_faults_show_what_is_left_of_them(emulator: Emulator, caller: Caller) -> None:
    """`faults` lists what is armed; `disarm` and `clear_faults` take away."""
    limited = emulator.fault("code:103,times=2")
    endless = emulator.fault("invalid,skip=1")
    await caller.send()
    assert list(emulator.faults) == [limited, endless]
    assert [(fault.used, fault.left) for fault in emulator.faults] == [(1, 1), (0, None)]
    limited.disarm()
    assert list(emulator.faults) == [endless]
    emulator.clear_faults()
    assert list(emulator.faults) == []
    assert (await caller.send()).code == "100"


async def test_the_seed_repeats_chance() -> None:
    """Two emulators of one seed answer the same sequence the same way; a seed is always told."""

    async def codes(seed: int) -> list[str | None]:
        faults = ["code:103,p=0.5"]
        async with Emulator(seed=seed, faults=faults) as emulator, Caller.to(emulator) as caller:
            assert emulator.seed == seed
            return [(await caller.send()).code for _ in range(20)]

    first = await codes(7)
    assert first == await codes(7)
    assert set(first) == {"100", "103"}
    assert first != await codes(8)
    assert Emulator().seed != Emulator().seed


async def test_reset_makes_it_as_new() -> None:
    """Messages, RequestIds, requests and faults are gone; the balance is that of the start."""
    async with Emulator(balance=2000) as emulator, Caller.to(emulator) as caller:
        await caller.send(RequestId="r-1")
        mark = emulator.mark()
        emulator.account = AccountState.LOCKED
        emulator.fault("reset")
        emulator.reset()
        assert (emulator.messages, emulator.requests, emulator.faults) == ([], [], ())
        assert (emulator.balance, emulator.account) == (2000, AccountState.ACTIVE)
        assert emulator.accepted("r-1") == 0
        assert (await caller.send(RequestId="r-1")).code == "100"
        assert [message.number for message in emulator.find(since=mark)] == [mark + 1]


async def test_what_is_kept_is_bounded_and_request_ids_live_on() -> None:
    """Only the newest are kept, what is pruned is counted, and 124 still comes."""
    settings = Settings(max_messages=3, max_requests=2)
    async with Emulator(settings=settings) as emulator, Caller.to(emulator) as caller:
        for number in range(5):
            await caller.send(RequestId=f"r-{number}")
        assert [message.request_id for message in emulator.messages] == ["r-2", "r-3", "r-4"]
        assert [request.request_id for request in emulator.requests] == ["r-3", "r-4"]
        assert emulator.pruned == 2
        assert emulator.accepted("r-0") == 1
        assert (await caller.send(RequestId="r-0")).code == "124"


async def test_dedup_goes_by_the_clock_that_was_given() -> None:
    """Advancing the clock by a day makes a RequestId free again."""
    clock = Clock(running=False)
    async with Emulator(clock=clock) as emulator, Caller.to(emulator) as caller:
        codes = [(await caller.send(RequestId="r-1")).code for _ in range(2)]
        emulator.clock.advance(24 * 3600)
        codes.append((await caller.send(RequestId="r-1")).code)
        assert codes == ["100", "124", "100"]
        assert emulator.accepted("r-1") == 2


async def test_a_body_that_is_too_large_is_refused(emulator: Emulator, caller: Caller) -> None:
    """HTTP 413 answers a body above the bound, however it is sent, and the next send is served."""
    got = await caller.send(Content="x" * 200_000)
    assert got.status == 413

    async def chunks() -> Any:
        for _ in range(200):
            yield b"x" * 1000

    got = await caller.request("POST", POST_SEND, data=chunks())
    assert got.status == 413
    assert (await caller.send()).code == "100"


async def test_the_longest_message_fits(emulator: Emulator, caller: Caller) -> None:
    """A text of 255 parts, escaped letter by letter, is below the bound."""
    content = "ế" * (255 * 67)
    Message(PHONE, content)
    body = json.dumps(send_fields(Content=content, IsUnicode="1"))
    assert (await caller.request("POST", POST_SEND, data=body)).code == "100"
    assert emulator.messages[0].content == content


async def test_a_hundred_megabytes_are_not_read(emulator: Emulator, caller: Caller) -> None:
    """A client that announces 100 MB is refused after the first of them, and dropped soon."""
    async with connection(emulator.port) as (reader, writer):
        head = http_post(emulator.port, {})[:-2]
        writer.write(head.replace(b"Content-Length: 2", b"Content-Length: 100000000"))
        writer.write(b"x" * 1_000_000)
        assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
        await asyncio.wait_for(reader.read(), generous(5))
    assert (await caller.send()).code == "100"


async def test_a_compressed_body_is_not_unpacked(emulator: Emulator, caller: Caller) -> None:
    """A body with a Content-Encoding is bytes that cannot be read; no bomb goes off."""
    body = gzip.compress(json.dumps(send_fields()).encode())
    got = await caller.request("POST", POST_SEND, data=body, headers={"Content-Encoding": "gzip"})
    assert got.status == 400
    assert emulator.messages == []


async def test_a_body_that_does_not_come_ends_the_connection() -> None:
    """A client that sends half a body is dropped after `body_timeout`; others are served."""
    settings = Settings(body_timeout=0.05)
    async with Emulator(settings=settings) as emulator, Caller.to(emulator) as caller:
        async with connection(emulator.port) as (reader, writer):
            writer.write(http_post(emulator.port, send_fields())[:-10])
            assert (await caller.send()).code == "100"
            assert (
                await asyncio.wait_for(reader.readline(), generous(5))
                == b"HTTP/1.1 408 Request Timeout\r\n"
            )
            await asyncio.wait_for(reader.read(), generous(5))
        assert len(emulator.requests) == 1


async def test_a_body_in_two_pieces_is_read(emulator: Emulator) -> None:
    """A body may come in pieces, as long as it comes."""
    async with connection(emulator.port) as (reader, writer):
        whole = http_post(emulator.port, send_fields())
        writer.write(whole[:-10])
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(whole[-10:])
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"


async def test_a_client_that_leaves_in_its_body_is_no_error(
    emulator: Emulator, caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    """Half a request is no request, and no line in a log."""
    async with connection(emulator.port) as (_, writer):
        writer.write(http_post(emulator.port, send_fields())[:-10])
        await writer.drain()
        await asyncio.sleep(0.01)
    assert (await caller.send()).code == "100"
    assert len(emulator.requests) == 1
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


async def test_a_head_that_does_not_come_keeps_nobody_else_waiting(
    emulator: Emulator, caller: Caller
) -> None:
    """A client that drips its head is no hindrance to others."""
    async with connection(emulator.port) as (_, writer):
        writer.write(b"POST /MainService.svc/json/")
        await writer.drain()
        assert (await caller.send()).code == "100"


@pytest.mark.skipif(
    tuple(int(part) for part in aiohttp.__version__.split(".")[:3] if part.isdigit()) < (3, 14, 4),
    reason="this aiohttp counts from the first request of a connection",
)
async def test_a_head_that_does_not_come_ends_the_connection() -> None:
    """A client that drips its head is dropped after `idle_timeout`."""
    settings = Settings(idle_timeout=0.1)
    async with (
        Emulator(settings=settings) as emulator,
        connection(emulator.port) as (reader, writer),
    ):
        writer.write(b"POST /MainService.svc/json/")
        assert await asyncio.wait_for(reader.read(), generous(5)) == b""


@pytest.mark.parametrize(
    "noise",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET " + b"/" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n",
        (
            b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
    ],
)
async def test_what_is_no_http_is_refused_and_the_next_is_served(
    emulator: Emulator, caller: Caller, caplog: pytest.LogCaptureFixture, noise: bytes
) -> None:
    """Malformed requests meet a 4xx or a closed connection, and leave no traceback."""
    async with connection(emulator.port) as (reader, writer):
        writer.write(noise)
        writer.write_eof()
        try:
            answer = await asyncio.wait_for(reader.read(), generous(5))
        except ConnectionError:
            answer = b""
        assert answer == b"" or answer.split()[1].startswith(b"4")
    assert (await caller.send()).code == "100"
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_url_that_is_too_long_is_refused(emulator: Emulator, caller: Caller) -> None:
    """A GET has room for what a line of HTTP holds, and is refused above that."""
    got = await caller.get(GET_SEND, Phone=PHONE, Content="x" * 20_000, SmsType="8")
    assert got.status == 400
    assert emulator.messages == []


def test_faults_on_the_socket_are_the_same_on_uvloop() -> None:
    """A reset is a reset, and a close a close, on the other event loop too."""

    async def run() -> None:
        async with Emulator() as emulator, Caller.to(emulator) as caller:
            emulator.fault("reset,phase=after,times=1")
            with pytest.raises(aiohttp.ClientOSError):
                await caller.send(RequestId="r-1")
            emulator.fault("close,times=1")
            with pytest.raises(aiohttp.ServerDisconnectedError):
                await caller.send(RequestId="r-2")
            emulator.fault("truncate:0.5,times=1")
            with pytest.raises(aiohttp.ClientPayloadError):
                await caller.send(RequestId="r-2")
            emulator.fault("hang,times=1")
            sending = asyncio.create_task(caller.send(RequestId="r-3"))
            await emulator.wait_for_request(request_id="r-3")
            sending.cancel()
            assert (emulator.accepted("r-1"), emulator.accepted("r-2")) == (1, 0)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


async def test_content_never_shows_in_what_is_logged(
    emulator: Emulator, caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    """At the lowest level of every logger, neither keys nor content nor phone appear."""
    caplog.set_level(logging.DEBUG)
    for spec in ("reset", "garbage", "html:500", "truncate:0.5", "code:103"):
        emulator.fault(f"{spec},phase=after,times=1")
        try:
            await caller.send()
        except aiohttp.ClientError:
            continue
    shown = caplog.text
    assert not any(secret in shown for secret in ("THE-API-KEY", "THE-SECRET-KEY", CONTENT, PHONE))
