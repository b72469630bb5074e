"""The two ways of a request, past a session and through it: that they do the same, and when."""

import asyncio
import os
import select
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import aiohttp
import aiohttp.client_proto
import pytest
import trustme
from aioresponses import aioresponses

from esms_async import EsmsClient, NotSent, OutcomeUnknown
from esms_async._http.transport import ConnectionCheck, SendRequest, TransportFailure, is_plain
from esms_async._reads import LARGEST_READ
from esms_async._wire.send import SEND_OPERATION
from tests.factories import CREDENTIALS, ONE_ATTEMPT, a_message
from tests.scripted_gateway import ACCEPTED, Exchange, ScriptedGateway
from tests.steps import cancelled_with


def a_client(gateway: ScriptedGateway, session: aiohttp.ClientSession | None = None) -> EsmsClient:
    """A client that tries once."""
    return EsmsClient(CREDENTIALS, base_url=gateway.url, session=session, retry=ONE_ATTEMPT)


def fields(head: bytes) -> tuple[bytes, list[bytes]]:
    """Return the first line of a request's head, and its header fields in order of name."""
    first, *lines = head.strip().split(b"\r\n")
    return first, sorted(line.lower() for line in lines)


async def test_both_ways_send_the_same_request(gateway: ScriptedGateway) -> None:
    """Past a session or through it, the gateway gets the same head and the same body."""
    message = a_message()
    async with a_client(gateway) as client:
        await client.send(message)
    async with aiohttp.ClientSession() as session, a_client(gateway, session) as client:
        await client.resume(message)
    direct, through = gateway.heads
    assert fields(direct) == fields(through)
    assert gateway.bodies[0] == gateway.bodies[1]


async def test_a_connection_is_used_again(gateway: ScriptedGateway) -> None:
    """Requests past the session share its pool: one after the other need one connection."""
    async with a_client(gateway) as client:
        for _ in range(5):
            await client.send(a_message())
    assert gateway.connections == 1


async def test_a_connection_that_the_gateway_ends_is_not_used_again(
    gateway: ScriptedGateway,
) -> None:
    """After `Connection: close` the next request opens another connection."""

    async def accept_and_end(exchange: Exchange) -> None:
        exchange.answer(exchange.accept(), headers="Connection: close\r\n")

    gateway.script.append(accept_and_end)
    async with a_client(gateway) as client:
        await client.send(a_message())
        await client.send(a_message())
    assert gateway.connections == 2


@pytest.mark.parametrize("interim", [b"100 Continue", b"102 Processing", b"103 Early Hints"])
async def test_an_interim_answer_is_read_over(gateway: ScriptedGateway, interim: bytes) -> None:
    """What comes before the answer (RFC 9110, section 15.2) is not taken for it."""

    async def accept_in_two_answers(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 %b\r\n\r\n" % interim)
        exchange.answer(exchange.accept())

    gateway.script.append(accept_in_two_answers)
    async with a_client(gateway) as client:
        assert (await client.send(a_message())).sms_id == "d8e0"


async def test_a_certificate_that_the_machine_trusts_is_enough(tmp_path: Path) -> None:
    """Past the session too, TLS holds the gateway's certificate against its name and the trust."""
    authority = trustme.CA()
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server_tls)
    trusted = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(trusted)
    program = (
        "import asyncio, sys\n"
        "from esms_async import Credentials, EsmsClient, Message\n"
        "async def main():\n"
        "    async with EsmsClient(Credentials('k', 's'), base_url=sys.argv[1]) as client:\n"
        "        print((await client.send(Message('0911000001', 'code 1'))).sms_id)\n"
        "asyncio.run(main())\n"
    )
    async with ScriptedGateway(tls=server_tls) as gateway:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            program,
            gateway.url,
            env={**os.environ, "SSL_CERT_FILE": str(trusted)},
            stdout=asyncio.subprocess.PIPE,
        )
        told, _ = await process.communicate()
    assert told.strip() == b"d8e0"


async def test_a_stand_in_gets_the_requests_of_a_client_that_is_open(
    gateway: ScriptedGateway, stubbed: aioresponses
) -> None:
    """What takes the place of a session's machinery is asked, and no byte leaves."""
    stubbed.post(f"{gateway.url}{SEND_OPERATION}", body=ACCEPTED)
    async with a_client(gateway) as client:
        assert (await client.send(a_message())).sms_id == "d8e0"
    assert gateway.connections == 0


async def test_a_trace_gets_the_requests_of_a_client(
    gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent that adds traces to every new session sees each request."""
    seen: list[str] = []

    async def note(_: object, __: object, parameters: aiohttp.TraceRequestStartParams) -> None:
        seen.append(parameters.method)

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(note)
    original = aiohttp.ClientSession.__init__

    def traced(self: aiohttp.ClientSession, **options: object) -> None:
        original(self, **options, trace_configs=[trace])  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", traced)
    async with a_client(gateway) as client:
        await client.send(a_message())
    assert seen == ["POST"]


async def test_the_installed_aiohttp_is_one_that_requests_go_past() -> None:
    """The tests here run on a release that the direct way is meant for, so they do test it."""
    async with aiohttp.ClientSession() as session:
        assert is_plain(session)


class Pipe(asyncio.Transport):
    """A connection that nobody reads."""

    def __init__(self, **extra: object) -> None:
        super().__init__(extra=extra)
        self._protocol: asyncio.BaseProtocol = aiohttp.client_proto.ResponseHandler(
            asyncio.get_running_loop()
        )

    def is_closing(self) -> bool:
        """Stay open."""
        return False

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Put another in its place."""
        self._protocol = protocol


async def test_only_the_clients_own_connections_read_less_at_once(
    gateway: ScriptedGateway,
    session: aiohttp.ClientSession | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Large reads cost time, but a session of the caller's may need them."""
    transports: list[asyncio.BaseTransport] = []
    check = ConnectionCheck.is_quiet

    def and_note(self: ConnectionCheck, transport: asyncio.BaseTransport | None) -> bool:
        assert transport is not None
        transports.append(transport)
        return check(self, transport)

    monkeypatch.setattr(ConnectionCheck, "is_quiet", and_note)
    async with a_client(gateway, session) as client:
        await client.send(a_message())
    readers: list[Any] = [getattr(one, "_ssl_protocol", one) for one in transports]
    asked = [reader.max_size for reader in readers]
    assert asked == [LARGEST_READ if session is None else 256 * 1024]


@pytest.mark.parametrize("lacking", ["socket", "poll"])
async def test_where_a_dead_connection_cannot_be_seen_it_counts_as_alive(
    monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    """Without a socket to ask, or a way to ask it, the request is written and may have arrived."""
    if lacking == "poll":
        monkeypatch.delattr(select, "poll")
    assert ConnectionCheck().is_quiet(Pipe(socket=None if lacking == "socket" else object()))


async def test_a_connection_that_is_gone_is_refused() -> None:
    """A connection without a transport takes no request."""
    with pytest.raises(TransportFailure, match="while it was idle"):
        ConnectionCheck().is_quiet(None)


async def test_a_connection_that_stays_readable_is_refused() -> None:
    """What the event loop does not read within a few passes may be anything."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pipe, check = Pipe(socket=ours, sslcontext=object()), ConnectionCheck()
        assert check.is_quiet(pipe)
        theirs.send(b"x")
        assert not check.is_quiet(pipe)
        with pytest.raises(TransportFailure, match="nobody had asked for") as caught:
            await check.settle(pipe)
    assert not caught.value.may_have_arrived


async def test_a_connection_is_fit_once_the_loop_has_read_what_came() -> None:
    """So it is with a session ticket, in which there is nothing for the protocol."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pipe, check = Pipe(socket=ours, sslcontext=object()), ConnectionCheck()
        protocol = pipe.get_protocol()
        theirs.send(b"x")
        assert not check.is_quiet(pipe)
        settling = asyncio.create_task(check.settle(pipe))
        await asyncio.sleep(0)
        ours.recv(1)
        await settling
        assert check.is_quiet(pipe)
        assert pipe.get_protocol() is protocol


async def test_a_connection_that_is_lost_meanwhile_is_refused() -> None:
    """Its protocol learns of it all the same."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pipe, check = Pipe(socket=ours, sslcontext=object()), ConnectionCheck()
        protocol = pipe.get_protocol()
        assert isinstance(protocol, aiohttp.client_proto.ResponseHandler)
        theirs.send(b"x")
        assert not check.is_quiet(pipe)
        settling = asyncio.create_task(check.settle(pipe))
        await asyncio.sleep(0)
        lookout = pipe.get_protocol()
        assert isinstance(lookout, asyncio.Protocol)
        lookout.connection_lost(None)
        with pytest.raises(TransportFailure, match="while it was idle"):
            await settling
        assert pipe.get_protocol() is protocol
        assert protocol.should_close


async def test_a_connection_has_one_poll_object(
    gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made for the first request over a connection, and asked again for the others."""
    made: list[object] = []
    poll = select.poll

    def count() -> object:
        made.append(None)
        return poll()

    async with a_client(gateway) as client:
        await client.send(a_message())
        monkeypatch.setattr(select, "poll", count)
        for _ in range(5):
            await client.send(a_message())
    assert made == []


async def test_a_request_is_written_once_it_was_withdrawn_no_more() -> None:
    """A task of a session that would still write it is refused."""
    request = SendRequest(b"{}")
    request.withdrawn = True
    with pytest.raises(TransportFailure):
        request.count_write()
    assert not request.may_have_arrived


async def test_a_connection_is_closed_when_its_check_is_cancelled(
    gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled before the write, the request never leaves, and its connection is not kept."""
    checking = asyncio.Event()

    async def wait(_: object, __: asyncio.BaseTransport) -> None:
        checking.set()
        await asyncio.Event().wait()

    async with EsmsClient(CREDENTIALS, base_url=gateway.url, retry=ONE_ATTEMPT) as client:
        await client.send(a_message())
        with monkeypatch.context() as busy:
            busy.setattr(ConnectionCheck, "is_quiet", lambda *_: False)
            busy.setattr(ConnectionCheck, "settle", wait)
            sending = asyncio.create_task(client.send(a_message()))
            await checking.wait()
            assert isinstance(await cancelled_with(sending), NotSent)
        await client.send(a_message())
    assert gateway.connections == len(gateway.bodies) == 2


@pytest.mark.parametrize("cut", [1, 20, 60, 100], ids="byte {}".format)
async def test_an_answer_in_pieces_is_read_on_after_a_cancellation(
    gateway: ScriptedGateway, cut: int
) -> None:
    """Whatever part has come when the first caller leaves, the next one gets the whole answer."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def in_two_pieces(exchange: Exchange) -> None:
        body = exchange.accept()
        raw = b"HTTP/1.1 200 Told\r\nX-Pad: 12345678901234567890\r\nContent-Length: %d\r\n\r\n%b"
        whole = raw % (len(body), body)
        exchange.send(whole[:cut])
        begun.set()
        await go_on.wait()
        exchange.send(whole[cut:])

    gateway.script.append(in_two_pieces)
    message = a_message()
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, retry=ONE_ATTEMPT) as client:
        first = asyncio.create_task(client.send(message))
        await begun.wait()
        second = asyncio.create_task(client.send(message))
        for _ in range(5):
            # So the client reads the first piece.
            await asyncio.sleep(0)
        assert isinstance(await cancelled_with(first), OutcomeUnknown)
        go_on.set()
        receipt = await second
        assert (receipt.sms_id, len(receipt.attempts)) == ("d8e0", 1)
        await client.send(a_message())
    assert gateway.connections == 1
    assert len(gateway.bodies) == 2
