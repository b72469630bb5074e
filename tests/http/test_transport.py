"""Each way a request can fail on a real socket: what the gateway did, what the caller is told."""

import asyncio
import contextlib
import itertools
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
import trustme
from aioresponses import aioresponses

from esms_async import (
    ConfigurationError,
    EsmsClient,
    Evidence,
    Message,
    NotSent,
    OutcomeUnknown,
    Rejected,
    RetryPolicy,
    SendError,
    UsageError,
)
from esms_async._http.transport import (
    HttpResponse,
    SendRequest,
    Transport,
    TransportFailure,
    _refuse_unasked,
)
from esms_async._wire.queries import balance_query
from esms_async._wire.send import SEND_OPERATION
from esms_async.ledger import MemoryLedger
from tests import steps
from tests.factories import CREDENTIALS, ONE_ATTEMPT, QUICK, a_message
from tests.http.failures import (
    MAY_HAVE_ARRIVED,
    SILENT,
    close,
    garbage,
    hang,
    name_of,
    reset,
    status,
)
from tests.limits import generous
from tests.scripted_gateway import ACCEPTED, Exchange, ScriptedGateway, Step

STALE = b'{"CodeResult":"100","CountRegenerate":0,"SMSID":"stale"}'
IMPATIENT = RetryPolicy(attempts=1, attempt_timeout=0.5)


def after_acceptance(step: Step) -> Step:
    """Take the message, and then fail."""

    async def accept_then(exchange: Exchange) -> None:
        exchange.accept()
        await step(exchange)

    return accept_then


@asynccontextmanager
async def a_client(
    gateway: ScriptedGateway,
    retry: RetryPolicy,
    session: aiohttp.ClientSession | None,
    *,
    reused: bool = False,
) -> AsyncIterator[EsmsClient]:
    """A client whose next request goes over a fresh connection or over a reused one."""
    async with EsmsClient(
        CREDENTIALS, base_url=gateway.url, session=session, retry=retry
    ) as client:
        if reused:
            script, gateway.script = gateway.script, type(gateway.script)()
            await client.send(a_message())
            gateway.script = script
        yield client


async def run_out_of_time(gateway: ScriptedGateway, client: EsmsClient) -> None:
    """Let the time of a request be up once the gateway hangs, however slow this machine is."""
    await gateway.hanging.wait()
    pending = client._sender.transport._deadlines._pending
    pending.update(dict.fromkeys(pending, 0.0))


def a_body() -> bytes:
    """The body of a new message, as much of it as the gateway looks at."""
    return b'{"RequestId":"%b"}' % a_message().request_id.encode()


async def post(transport: Transport, request: SendRequest) -> HttpResponse:
    """Post a request, with time enough."""
    return await transport.post(SEND_OPERATION, request, time_limit=30)


@asynccontextmanager
async def a_transport(
    gateway: ScriptedGateway, session: aiohttp.ClientSession | None
) -> AsyncIterator[Transport]:
    """A transport to a gateway."""
    transport = Transport(gateway.url, session=session)
    try:
        yield transport
    finally:
        await transport.aclose()


async def passes(count: int) -> None:
    """Let the event loop run some times."""
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("reused", [False, True], ids=["fresh", "reused"])
@pytest.mark.parametrize("taken", [False, True], ids=["not-taken", "taken"])
@pytest.mark.parametrize("step", [*MAY_HAVE_ARRIVED, *SILENT], ids=name_of)
async def test_an_unreadable_answer_leaves_the_outcome_unknown(
    gateway: ScriptedGateway,
    session: aiohttp.ClientSession | None,
    step: Step,
    taken: bool,
    reused: bool,
) -> None:
    """Whatever the gateway did with the request, the caller is told that it is unknown."""
    message = a_message()
    gateway.script.append(after_acceptance(step) if taken else step)
    async with a_client(gateway, ONE_ATTEMPT, session, reused=reused) as client:
        sending = asyncio.create_task(client.send(message))
        if step in SILENT:
            await run_out_of_time(gateway, client)
        with pytest.raises(OutcomeUnknown) as caught:
            await sending
        assert caught.value.message is message
        assert len(caught.value.attempts) == 1
        assert gateway.accepted[message.request_id] == int(taken)
        assert gateway.connections == 1

        receipt = await client.resume(caught.value.message)
        assert receipt.deduplicated is taken
        assert gateway.accepted[message.request_id] == 1


@pytest.mark.parametrize("taken", [False, True], ids=["not-taken", "taken"])
@pytest.mark.parametrize("step", MAY_HAVE_ARRIVED, ids=name_of)
async def test_a_retry_after_an_unreadable_answer_reaches_the_phone_once(
    plain_gateway: ScriptedGateway, step: Step, taken: bool
) -> None:
    """The retry carries the same RequestId, so the message is accepted once and said to be.

    That each kind of connection tells the same of each step is shown above.
    """
    message = a_message()
    plain_gateway.script.extend([after_acceptance(step) if taken else step, step])
    async with a_client(plain_gateway, QUICK, None) as client:
        receipt = await client.send(message)
        assert receipt.deduplicated is taken
        assert len(receipt.attempts) == 3
        assert plain_gateway.accepted[message.request_id] == 1


@pytest.mark.parametrize("reused", [False, True], ids=["fresh", "reused"])
async def test_a_reset_while_the_gateway_reads_may_have_arrived(
    gateway: ScriptedGateway, session: aiohttp.ClientSession | None, reused: bool
) -> None:
    """A connection reset in the middle of the request leaves the outcome unknown."""
    gateway.before_reading = True
    gateway.script.append(reset)
    message = a_message()
    async with a_client(gateway, ONE_ATTEMPT, session, reused=reused) as client:
        with pytest.raises(OutcomeUnknown):
            await client.send(message)
    assert gateway.accepted[message.request_id] == 0


@pytest.mark.parametrize("code", [400, 401, 403, 404, 405, 413, 422])
@pytest.mark.parametrize("reused", [False, True], ids=["fresh", "reused"])
async def test_a_client_error_status_is_a_rejection(
    gateway: ScriptedGateway, session: aiohttp.ClientSession | None, code: int, reused: bool
) -> None:
    """A service that refuses to read the request has not taken it, and is not asked again."""
    message = a_message()
    gateway.script.append(steps.answer(b"<html>", code))
    async with a_client(gateway, QUICK, session, reused=reused) as client:
        with pytest.raises(Rejected) as caught:
            await client.send(message)
    assert (caught.value.code, caught.value.status) == (None, code)
    assert len(caught.value.attempts) == 1
    assert gateway.accepted[message.request_id] == 0


async def test_a_redirect_is_never_followed(
    gateway: ScriptedGateway, session: aiohttp.ClientSession | None
) -> None:
    """No redirect carries the keys anywhere: each request is made to the operation itself."""
    gateway.script.extend(map(status, [301, 302, 303, 307, 308]))
    retry = RetryPolicy(attempts=5, backoff_initial=0.001)
    async with a_client(gateway, retry, session) as client:
        with pytest.raises(OutcomeUnknown):
            await client.send(a_message())
    lines = {head.split(b"\r\n")[0] for head in gateway.heads}
    assert lines == {b"POST /MainService.svc/json/SendMultipleMessage_V4_post_json/ HTTP/1.1"}


class FailingResolver(aiohttp.abc.AbstractResolver):
    """A resolver that knows no name."""

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[object]:  # type: ignore[override]  # it never returns
        """Fail as a resolver does."""
        raise OSError(-2, "Name or service not known")

    async def close(self) -> None:
        """Nothing to close."""


async def expect_not_sent(client: EsmsClient, words: str) -> None:
    """Send a message and see it not sent, with a reason that helps."""
    with pytest.raises(NotSent, match=words) as caught:
        await client.send(a_message())
    assert len(caught.value.attempts) == 1


async def test_a_refused_connection_is_not_sent(unused_tcp_port: int) -> None:
    """Where nobody listens, nothing left this machine."""
    url = f"http://127.0.0.1:{unused_tcp_port}/"
    async with EsmsClient(CREDENTIALS, base_url=url, retry=ONE_ATTEMPT) as client:
        await expect_not_sent(client, "ClientConnectorError")


async def test_an_unknown_host_is_not_sent() -> None:
    """Where the name does not resolve, nothing left this machine."""
    connector = aiohttp.TCPConnector(resolver=FailingResolver())
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        EsmsClient(
            CREDENTIALS, base_url="https://gateway.invalid/", session=session, retry=ONE_ATTEMPT
        ) as client,
    ):
        await expect_not_sent(client, "ClientConnectorDNSError")


async def test_an_untrusted_certificate_is_not_sent(server_tls: ssl.SSLContext) -> None:
    """TLS is verified by default, and a failed handshake lets no request out."""
    async with (
        ScriptedGateway(tls=server_tls) as gateway,
        EsmsClient(CREDENTIALS, base_url=gateway.url, retry=ONE_ATTEMPT) as client,
    ):
        await expect_not_sent(client, "ClientConnectorCertificateError")
        assert gateway.bodies == []


async def test_tls_to_a_plain_server_is_not_sent(plain_gateway: ScriptedGateway) -> None:
    """A handshake that fails lets no request out."""
    url = plain_gateway.url.replace("http://", "https://")
    plain_gateway.before_reading = True
    plain_gateway.script.append(garbage)
    async with EsmsClient(CREDENTIALS, base_url=url, retry=ONE_ATTEMPT) as client:
        await expect_not_sent(client, "ClientConnectorSSLError|ClientConnectorError")


async def test_a_wrong_fingerprint_is_not_sent(server_tls: ssl.SSLContext) -> None:
    """A pinned certificate that does not match lets no request out."""
    connector = aiohttp.TCPConnector(ssl=aiohttp.Fingerprint(b"\0" * 32))
    async with (
        ScriptedGateway(tls=server_tls) as gateway,
        aiohttp.ClientSession(connector=connector) as session,
        EsmsClient(CREDENTIALS, base_url=gateway.url, session=session, retry=ONE_ATTEMPT) as client,
    ):
        await expect_not_sent(client, "ServerFingerprintMismatch")
        assert gateway.bodies == []


async def test_a_trusted_context_is_taken_from_an_injected_session(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """A custom `ssl` context comes with an injected session, and the message arrives over TLS."""
    async with (
        ScriptedGateway(tls=server_tls) as gateway,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=client_tls)) as session,
        EsmsClient(CREDENTIALS, base_url=gateway.url, session=session) as client,
    ):
        first, second = a_message(), a_message()
        assert (await client.send(first)).sms_id == "d8e0"
        assert (await client.send(second)).sms_id == "d8e0"
        assert gateway.connections == 1


async def test_a_missing_client_certificate_may_have_arrived(
    authority: trustme.CA, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """TLS 1.3 refuses a client only after the request was written: the outcome is unknown."""
    strict = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    strict.minimum_version = ssl.TLSVersion.TLSv1_3
    authority.issue_cert("localhost").configure_cert(strict)
    authority.configure_trust(strict)
    strict.verify_mode = ssl.CERT_REQUIRED
    async with (
        ScriptedGateway(tls=strict) as gateway,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=client_tls)) as session,
        EsmsClient(CREDENTIALS, base_url=gateway.url, session=session, retry=ONE_ATTEMPT) as client,
    ):
        with pytest.raises(OutcomeUnknown):
            await client.send(a_message())
        assert gateway.bodies == []


async def test_a_handshake_that_hangs_is_not_sent(plain_gateway: ScriptedGateway) -> None:
    """The attempt's time runs out before a connection stands: nothing left this machine."""
    plain_gateway.before_reading = True
    plain_gateway.script.append(hang)
    url = plain_gateway.url.replace("http://", "https://")
    async with EsmsClient(CREDENTIALS, base_url=url, retry=IMPATIENT) as client:
        await expect_not_sent(client, "no answer within 0.5 s")


async def test_waiting_for_a_connection_of_the_pool_is_not_sent(gateway: ScriptedGateway) -> None:
    """A send that never got a connection left nothing, while the one that has it is unknown."""
    gateway.script.append(hang)
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session,
        EsmsClient(CREDENTIALS, base_url=gateway.url, session=session) as patient,
        EsmsClient(CREDENTIALS, base_url=gateway.url, session=session, retry=IMPATIENT) as client,
    ):
        first = asyncio.create_task(patient.send(a_message()))
        await gateway.hanging.wait()
        await expect_not_sent(client, "no answer within 0.5 s")
        first.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await first
        assert isinstance(caught.value.__cause__, OutcomeUnknown)
    assert len(gateway.bodies) == 1


@pytest.mark.parametrize("step", [close, garbage, status(403), status(502)], ids=name_of)
async def test_a_proxy_that_refuses_the_tunnel_is_not_sent(
    plain_gateway: ScriptedGateway, step: Step
) -> None:
    """Whatever a proxy says to CONNECT, the request itself never left this machine."""
    plain_gateway.before_reading = True
    plain_gateway.script.append(step)
    async with (
        aiohttp.ClientSession(proxy=plain_gateway.url) as session,
        EsmsClient(
            CREDENTIALS,
            base_url="https://plain_gateway.invalid/",
            session=session,
            retry=ONE_ATTEMPT,
        ) as client,
    ):
        await expect_not_sent(client, "not sent")
    assert plain_gateway.bodies == []


async def test_an_unreachable_proxy_is_not_sent(unused_tcp_port: int) -> None:
    """Without its proxy, nothing left this machine."""
    async with (
        aiohttp.ClientSession(proxy=f"http://127.0.0.1:{unused_tcp_port}") as session,
        EsmsClient(
            CREDENTIALS, base_url="https://gateway.invalid/", session=session, retry=ONE_ATTEMPT
        ) as client,
    ):
        await expect_not_sent(client, "ClientProxyConnectionError")


async def test_a_host_label_that_is_too_long_is_not_sent() -> None:
    """A name that no resolver can be asked for leaves nothing."""
    url = f"https://{'a' * 64}.vn/"
    async with EsmsClient(CREDENTIALS, base_url=url, retry=ONE_ATTEMPT) as client:
        await expect_not_sent(client, "not sent")


async def test_a_closed_injected_session_is_not_sent(gateway: ScriptedGateway) -> None:
    """A session that its owner has closed sends nothing."""
    session = aiohttp.ClientSession()
    await session.close()
    async with EsmsClient(
        CREDENTIALS, base_url=gateway.url, session=session, retry=ONE_ATTEMPT
    ) as client:
        await expect_not_sent(client, "the session is closed")


async def test_a_connection_closed_while_idle_never_swallows_a_request(
    gateway: ScriptedGateway, session: aiohttp.ClientSession | None
) -> None:
    """A pooled connection that the gateway has closed is noticed before anything is written."""
    async with a_client(gateway, ONE_ATTEMPT, session) as client:
        for round_number in range(1, 21):
            await client.send(a_message())
            gateway.hang_up()
            await expect_not_sent(client, "not sent")
            assert len(gateway.bodies) == round_number


async def test_a_send_over_a_closed_idle_connection_needs_one_retry(
    gateway: ScriptedGateway, session: aiohttp.ClientSession | None
) -> None:
    """The retry takes a fresh connection, and the first attempt is known not to have left."""
    async with a_client(gateway, QUICK, session) as client:
        await client.send(a_message())
        gateway.hang_up()
        receipt = await client.send(a_message())
    assert [attempt.evidence for attempt in receipt.attempts] == [
        Evidence.NOTHING_LEFT,
        Evidence.ACCEPTED,
    ]


@pytest.mark.parametrize("late", [False, True], ids=["at-once", "late"])
async def test_an_answer_that_nobody_asked_for_answers_no_other_request(
    gateway: ScriptedGateway, session: aiohttp.ClientSession | None, late: bool
) -> None:
    """What comes behind an answer is not taken for the answer to the next request."""
    told = asyncio.Event()

    async def answer_twice(exchange: Exchange) -> None:
        exchange.answer(exchange.accept())
        if late:
            await exchange.writer.drain()
            await told.wait()
        exchange.answer(ACCEPTED)

    async def refuse(exchange: Exchange) -> None:
        exchange.answer(b'{"CodeResult":"99","CountRegenerate":0}')

    gateway.script.extend([answer_twice, refuse])
    async with a_client(gateway, QUICK, session) as client:
        await client.send(a_message())
        told.set()
        for _ in range(20):
            await asyncio.sleep(0.001)
        with pytest.raises(Rejected) as caught:
            await client.send(a_message())
    assert caught.value.code == "99"
    assert gateway.connections == 2


def answer(body: bytes, status: int = 200) -> bytes:
    """Write a whole HTTP answer."""
    return b"HTTP/1.1 %d Told\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


STRAYS = {
    "bad-request": answer(b"", 400),
    "no-account": answer(b'{"CodeResult":"101"}'),
    "accepted": answer(STALE),
    "timed-out": answer(b"", 408),
    "interim": b"HTTP/1.1 100 Continue\r\n\r\n",
    "half": b"HTTP/1.1 400 Told\r\nX-Half: ",
    "garbage": b"\x00\xff SMTP? 220 hello\r\n\r\n",
}


@pytest.mark.parametrize("stray", STRAYS.values(), ids=STRAYS)
async def test_an_answer_that_lies_unread_answers_no_other_request(
    gateway: ScriptedGateway, session: aiohttp.ClientSession | None, stray: bytes
) -> None:
    """What came over a connection while it was idle is not taken for the answer to a request."""
    async with a_client(gateway, QUICK, session) as client:
        for _ in range(50):
            await client.send(a_message())
            gateway.say(stray)
            receipt = await client.send(a_message())
            assert receipt.sms_id == "d8e0"
            evidence = [attempt.evidence for attempt in receipt.attempts]
            # Half an answer that aiohttp has read before the write is dropped with its parser.
            if session is None or stray is not STRAYS["half"] or len(evidence) > 1:
                assert evidence == [Evidence.NOTHING_LEFT, Evidence.ACCEPTED]
    assert list(gateway.accepted.values()) == [1] * 100


@pytest.mark.parametrize("stray", STRAYS.values(), ids=STRAYS)
@pytest.mark.parametrize("lead", [0, 1, 2, 3, 5])
async def test_an_answer_that_comes_just_before_a_request_is_not_its_answer(
    gateway: ScriptedGateway, session: aiohttp.ClientSession | None, stray: bytes, lead: int
) -> None:
    """Some passes of the event loop before or after the request is begun, but not yet written."""
    for delay in range(12):
        async with a_transport(gateway, session) as transport:
            await post(transport, SendRequest(a_body()))
            request = SendRequest(a_body())

            async def attack(delay: int = delay, request: SendRequest = request) -> None:
                await passes(delay)
                if not request.writes:
                    gateway.say(stray)

            attacking = asyncio.create_task(attack())
            await passes(lead)
            (told,) = await asyncio.gather(post(transport, request), return_exceptions=True)
            await attacking
            if request.may_have_arrived:
                assert isinstance(told, HttpResponse)
                assert (told.status, told.body) == (200, ACCEPTED)
            else:
                assert isinstance(told, TransportFailure)
                assert not told.may_have_arrived
            assert sum(gateway.accepted.values()) == len(gateway.bodies)


async def test_session_tickets_cost_no_connection(
    tls_gateway: ScriptedGateway, session: aiohttp.ClientSession | None
) -> None:
    """TLS 1.3 sends tickets behind the handshake; they are read, and the connection is kept."""
    async with a_client(tls_gateway, QUICK, session) as client:
        for _ in range(3):
            sends = [client.send(a_message()) for _ in range(8)]
            assert {len(receipt.attempts) for receipt in await asyncio.gather(*sends)} == {1}
    assert tls_gateway.connections == 8


async def test_a_connection_that_ends_politely_swallows_no_request(
    gateway: ScriptedGateway, session: aiohttp.ClientSession | None
) -> None:
    """Neither a FIN nor TLS's own word of farewell leaves the outcome of the next send open."""

    async def accept_and_close(exchange: Exchange) -> None:
        exchange.answer(exchange.accept())
        await exchange.close()

    for delay in range(8):
        async with a_client(gateway, QUICK, session) as client:
            gateway.script.append(accept_and_close)
            await client.send(a_message())
            await passes(delay)
            receipt = await client.send(a_message())
            assert not receipt.deduplicated
            assert Evidence.MAY_HAVE_ARRIVED not in {one.evidence for one in receipt.attempts}


async def test_a_word_of_farewell_that_lies_unread_swallows_no_request(
    tls_gateway: ScriptedGateway, session: aiohttp.ClientSession | None
) -> None:
    """What TLS says at the end of a connection is read before anything is written to it."""
    async with a_client(tls_gateway, ONE_ATTEMPT, session) as client:
        for _ in range(10):
            await client.send(a_message())
            tls_gateway.part()
            await expect_not_sent(client, "while it was idle")
    assert list(tls_gateway.accepted.values()) == [1] * 10


class Refusal:
    """A guard that counts its calls, and refuses from the given one on."""

    def __init__(self, first_refused: int) -> None:
        self.calls = 0
        self.first_refused = first_refused

    def __call__(self) -> None:
        """Count a call."""
        self.calls += 1
        if self.calls >= self.first_refused:
            raise TransportFailure("too old", may_have_arrived=False)


async def test_a_guard_is_asked_before_a_request_is_written(
    gateway: ScriptedGateway, session: aiohttp.ClientSession | None
) -> None:
    """It is called once for one write, and what it refuses never leaves."""
    async with a_transport(gateway, session) as transport:
        for _ in range(2):
            allowed = SendRequest(a_body(), guard=Refusal(2))
            assert (await post(transport, allowed)).status == 200
            assert (allowed.writes, allowed.may_have_arrived) == (1, True)
            refused = SendRequest(a_body(), guard=Refusal(1))
            with pytest.raises(TransportFailure, match="too old") as caught:
                await post(transport, refused)
            assert not caught.value.may_have_arrived
            assert (refused.writes, refused.may_have_arrived) == (0, False)
    assert len(gateway.bodies) == 2


async def test_a_guard_is_asked_after_the_connection_was_checked(
    gateway: ScriptedGateway, session: aiohttp.ClientSession | None
) -> None:
    """Nothing can happen between its word and the write."""
    async with a_transport(gateway, session) as transport:
        await post(transport, SendRequest(a_body()))
        gateway.say(answer(STALE))
        guard = Refusal(1)
        with pytest.raises(TransportFailure, match="nobody had asked for"):
            await post(transport, SendRequest(a_body(), guard=guard))
        assert guard.calls == 0


async def test_a_guard_is_asked_before_each_write_of_a_middleware(gateway: ScriptedGateway) -> None:
    """What a middleware repeats is refused too, and then it may have arrived."""

    async def fail(exchange: Exchange) -> None:
        exchange.accept()
        exchange.answer(b"", status=503)

    gateway.script.append(fail)
    async with (
        aiohttp.ClientSession(middlewares=[try_twice]) as session,
        a_transport(gateway, session) as transport,
    ):
        # Once when the middlewares get the request, since they might send it themselves.
        request = SendRequest(a_body(), guard=Refusal(3))
        with pytest.raises(TransportFailure, match="too old") as caught:
            await post(transport, request)
    assert caught.value.may_have_arrived
    assert (request.writes, len(gateway.bodies)) == (1, 1)


async def test_a_stray_answer_to_what_a_middleware_repeats_is_not_the_answer(
    gateway: ScriptedGateway,
) -> None:
    """The second write is refused, so what comes then answers nothing."""

    async def fail(exchange: Exchange) -> None:
        exchange.accept()
        exchange.answer(b"", status=503)
        exchange.send(answer(STALE))

    gateway.script.append(fail)
    async with (
        aiohttp.ClientSession(middlewares=[try_twice]) as session,
        a_transport(gateway, session) as transport,
    ):
        request = SendRequest(a_body())
        with contextlib.suppress(TransportFailure):
            assert (await post(transport, request)).body != STALE
    assert request.may_have_arrived
    assert set(gateway.accepted.values()) == {1}


async def test_a_guard_is_asked_before_a_replaced_body_and_a_stand_in(
    gateway: ScriptedGateway, request: pytest.FixtureRequest
) -> None:
    """Where the write itself is out of sight, the guard is asked before it gets out of sight."""
    for middlewares in REPLACED:
        async with (
            aiohttp.ClientSession(middlewares=middlewares) as session,
            a_transport(gateway, session) as transport,
        ):
            late = SendRequest(a_body(), guard=Refusal(2))
            with pytest.raises(TransportFailure, match="too old"):
                await post(transport, late)
    stubbed = request.getfixturevalue("stubbed")
    stubbed.post(f"{gateway.url}{SEND_OPERATION}", body=ACCEPTED)
    async with a_transport(gateway, None) as transport:
        with pytest.raises(TransportFailure, match="too old") as caught:
            await post(transport, SendRequest(a_body(), guard=Refusal(1)))
        assert not caught.value.may_have_arrived
    assert (stubbed.requests, gateway.bodies) == ({}, [])


async def test_an_answer_of_a_middleware_is_an_answer(gateway: ScriptedGateway) -> None:
    """A middleware that sends a request by means of its own has the answer to it."""

    async def send_elsewise(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        assert isinstance(request.body, aiohttp.BytesPayload)
        return await elsewise.post(request.url, data=bytes(request.body._value))

    async with (
        aiohttp.ClientSession() as elsewise,
        aiohttp.ClientSession(middlewares=[send_elsewise]) as session,
        a_client(gateway, ONE_ATTEMPT, session) as client,
    ):
        assert (await client.send(a_message())).sms_id == "d8e0"
        gateway.script.append(after_acceptance(reset))
        with pytest.raises(OutcomeUnknown):
            await client.send(a_message())


class ForgetfulRequest(aiohttp.ClientRequest):
    """A request as an aiohttp that is still to come might write it: past the payload's hook."""

    async def write_bytes(self, writer: Any, conn: Any, content_length: int | None = None) -> None:
        """Write the body."""
        assert isinstance(self.body, aiohttp.BytesPayload)
        await writer.write(bytes(self.body._value))
        await writer.write_eof()
        conn.protocol.start_timeout()


@pytest.fixture
def new_aiohttp(monkeypatch: pytest.MonkeyPatch) -> None:
    """An aiohttp that is newer than the checked ones."""
    monkeypatch.setattr("esms_async._http.transport.IS_CHECKED", False)


@pytest.fixture
def forgetful_aiohttp(new_aiohttp: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """An aiohttp that is newer, and no longer calls the hook of a payload."""
    monkeypatch.setattr(aiohttp.ClientRequest, "write_bytes", ForgetfulRequest.write_bytes)


@pytest.mark.usefixtures("forgetful_aiohttp")
async def test_an_unchecked_aiohttp_throws_no_answer_away(
    gateway: ScriptedGateway, session: aiohttp.ClientSession | None
) -> None:
    """What was not seen written may have arrived, and an answer to it is an answer."""
    async with a_client(gateway, ONE_ATTEMPT, session) as client:
        assert (await client.send(a_message())).sms_id == "d8e0"
        gateway.script.append(after_acceptance(reset))
        with pytest.raises(OutcomeUnknown):
            await client.send(a_message())
        gateway.script.append(after_acceptance(hang))
        sending = asyncio.create_task(client.send(a_message()))
        await run_out_of_time(gateway, client)
        with pytest.raises(OutcomeUnknown, match="no answer within"):
            await sending
    assert list(gateway.accepted.values()) == [1] * 3


@pytest.mark.usefixtures("new_aiohttp")
async def test_an_unchecked_aiohttp_that_calls_the_hook_is_followed(
    gateway: ScriptedGateway,
    session: aiohttp.ClientSession | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What the hook saw is known, also there; the log says once that the rest is not."""
    async with a_client(gateway, ONE_ATTEMPT, session) as client:
        await client.send(a_message())
        gateway.hang_up()
        await expect_not_sent(client, "while it was idle")
        await client.send(a_message())
    warnings = [record for record in caplog.records if "not checked" in record.getMessage()]
    assert len(warnings) == 1


@pytest.mark.usefixtures("new_aiohttp")
async def test_an_unchecked_aiohttp_that_cannot_connect_has_sent_nothing(
    unused_tcp_port: int,
) -> None:
    """It raises that before it has a connection to write to."""
    url = f"http://127.0.0.1:{unused_tcp_port}/"
    async with EsmsClient(CREDENTIALS, base_url=url, retry=ONE_ATTEMPT) as client:
        await expect_not_sent(client, "ClientConnectorError")


async def test_a_request_class_of_the_callers_throws_no_answer_away(
    gateway: ScriptedGateway,
) -> None:
    """A session may write requests in a way of its own."""
    async with (
        aiohttp.ClientSession(request_class=ForgetfulRequest) as session,
        a_client(gateway, ONE_ATTEMPT, session) as client,
    ):
        assert (await client.send(a_message())).sms_id == "d8e0"
        gateway.script.append(after_acceptance(reset))
        with pytest.raises(OutcomeUnknown):
            await client.send(a_message())


@pytest.mark.parametrize("reused", [False, True], ids=["fresh", "reused"])
async def test_a_cancelled_request_tells_the_truth(
    gateway: ScriptedGateway, session: aiohttp.ClientSession | None, reused: bool
) -> None:
    """Wherever a cancellation strikes, what was not written then is not written later."""
    seen: set[bool] = set()
    async with asyncio.timeout(generous(60)), a_transport(gateway, session) as transport:
        # A busy machine takes more turns of the loop for a handshake.
        for delay in itertools.takewhile(
            lambda delay: delay < 40 or seen != {False, True}, itertools.count()
        ):
            if reused:
                await post(transport, SendRequest(a_body()))
            gateway.bodies.clear()
            request = SendRequest(a_body())
            posting = asyncio.create_task(post(transport, request))
            await passes(delay)
            posting.cancel()
            result = (await asyncio.gather(posting, return_exceptions=True))[0]
            request.abandon()
            told = request.may_have_arrived
            await passes(30)
            assert request.may_have_arrived is told
            assert told or not gateway.bodies
            assert told or isinstance(result, asyncio.CancelledError)
            seen.add(told)
            if not reused and session is None:
                # The next one is to connect again.
                await gateway.close_connections()


@pytest.mark.parametrize("reused", [False, True], ids=["fresh", "reused"])
async def test_a_request_is_posted_on_after_a_cancellation(
    gateway: ScriptedGateway, session: aiohttp.ClientSession | None, reused: bool
) -> None:
    """Wherever a cancellation strikes, posting the request again gets the answer to one write."""
    async with a_transport(gateway, session) as transport:
        for delay in range(40):
            if reused:
                await post(transport, SendRequest(a_body()))
            gateway.bodies.clear()
            request = SendRequest(a_body())
            posting = asyncio.create_task(post(transport, request))
            await passes(delay)
            posting.cancel()
            await asyncio.gather(posting, return_exceptions=True)
            if posting.cancelled():
                reply = await post(transport, request)
                assert (reply.status, reply.body) == (200, ACCEPTED)
            assert request.writes == len(gateway.bodies) == 1
            if not reused and session is None:
                await gateway.close_connections()


async def test_a_message_that_expires_in_the_queue_for_a_connection_is_not_sent(
    gateway: ScriptedGateway, session: aiohttp.ClientSession | None
) -> None:
    """`expires_at` holds at the moment of writing, not only at the start of the attempt."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def wait(exchange: Exchange) -> None:
        begun.set()
        await go_on.wait()
        exchange.answer(exchange.accept())

    gateway.script.append(wait)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as narrow:
        client = EsmsClient(
            CREDENTIALS,
            base_url=gateway.url,
            session=None if session is None else narrow,
            max_connections=1,
            retry=ONE_ATTEMPT,
        )
        async with client:
            first = asyncio.create_task(client.send(a_message()))
            await begun.wait()
            expires_at = datetime.now(UTC) + timedelta(milliseconds=50)
            late = Message("0901888484", "too late", expires_at=expires_at)
            second = asyncio.create_task(client.send(late))
            while datetime.now(UTC) <= expires_at:  # noqa: ASYNC110  # only the clock can tell
                await asyncio.sleep(0.01)
            go_on.set()
            await first
            with pytest.raises(NotSent):
                await second
    assert len(gateway.bodies) == 1


async def replace_body(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Put the same text in the place of the body."""
    body = request.body
    assert isinstance(body, aiohttp.BytesPayload)
    await request.update_body(bytes(body._value))
    request.headers["Content-Type"] = "application/json"
    return await handler(request)


async def try_twice(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Make the request again where the first answer is HTTP 503."""
    response = await handler(request)
    if response.status != 503:
        return response
    response.release()
    return await handler(request)


# The oldest aiohttp that is supported has no way for a middleware to replace the body.
REPLACED = [[replace_body]] if hasattr(aiohttp.ClientRequest, "update_body") else []


@pytest.mark.parametrize("wrap", [[], *REPLACED])
async def test_what_a_middleware_sends_is_seen(
    gateway: ScriptedGateway, wrap: list[aiohttp.ClientMiddlewareType]
) -> None:
    """Neither a body that is replaced nor a request that is repeated makes an outcome wrong."""

    async def accept_and_fail(exchange: Exchange) -> None:
        exchange.accept()
        exchange.answer(b"", status=503)

    async with (
        aiohttp.ClientSession(middlewares=[*wrap, try_twice]) as session,
        a_client(gateway, ONE_ATTEMPT, session) as client,
    ):
        assert (await client.send(a_message())).sms_id == "d8e0"
        gateway.script.append(accept_and_fail)
        repeated = await client.send(a_message())
        assert repeated.deduplicated
        gateway.script.append(after_acceptance(reset))
        with pytest.raises(OutcomeUnknown):
            await client.send(a_message())
    assert set(gateway.accepted.values()) == {1}


async def test_whoever_waits_for_a_connection_is_told_when_the_pool_is_closed(
    gateway: ScriptedGateway,
) -> None:
    """Aiohttp cancels those who wait; nobody has cancelled the send, which was not sent."""

    async def hang(exchange: Exchange) -> None:
        await exchange.hang()

    gateway.script.append(hang)
    client = EsmsClient(CREDENTIALS, base_url=gateway.url, max_connections=1, retry=ONE_ATTEMPT)
    sends = [asyncio.create_task(client.send(a_message())) for _ in range(3)]
    await gateway.hanging.wait()
    closing = asyncio.create_task(client.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    results = await asyncio.gather(*sends, return_exceptions=True)
    assert [type(result) for result in results] == [OutcomeUnknown, NotSent, NotSent]
    assert gateway.connections == 1


async def test_a_closed_client_opens_nothing_any_more() -> None:
    """A transport that was never opened stays closed."""
    transport = Transport()
    await transport.aclose()
    with pytest.raises(TransportFailure, match="the client is closed") as caught:
        await transport.post(SEND_OPERATION, SendRequest(b"{}"), time_limit=1)
    assert not caught.value.may_have_arrived
    with pytest.raises(UsageError, match="the client is closed"):
        await transport.query(balance_query(), CREDENTIALS, time_limit=1)
    assert transport._session is None


async def test_another_event_loop_joins_no_send_that_is_under_way(gateway: ScriptedGateway) -> None:
    """The result of one loop is not handed to another, and nothing is claimed or sent there."""

    async def hang(exchange: Exchange) -> None:
        await exchange.hang()

    gateway.script.append(hang)
    message, ledger = a_message(), MemoryLedger()
    async with EsmsClient(
        CREDENTIALS, base_url=gateway.url, retry=ONE_ATTEMPT, ledger=ledger
    ) as client:
        sending = asyncio.create_task(client.send(message))
        await gateway.hanging.wait()
        for one in (message, a_message()):
            with pytest.raises(UsageError, match="another event loop"):
                await asyncio.to_thread(asyncio.run, client.send(one))
        assert len([entry async for entry in ledger.entries()]) == 1
        sending.cancel()
        await asyncio.wait([sending])
    assert len(gateway.bodies) == 1


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("x"), OutcomeUnknown),
        (TypeError("x"), OutcomeUnknown),
        (RuntimeError("x"), OutcomeUnknown),
        (aiohttp.ServerDisconnectedError(), OutcomeUnknown),
        (aiohttp.ClientOSError(104, "reset"), OutcomeUnknown),
        (aiohttp.InvalidURL("x"), NotSent),
        (aiohttp.ConnectionTimeoutError(), NotSent),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_a_stand_in_session_is_never_believed_to_have_sent_nothing(
    gateway: ScriptedGateway,
    stubbed: aioresponses,
    error: Exception,
    told: type[SendError],
) -> None:
    """Where aiohttp's own machinery is bypassed, only errors from before any write are NotSent."""
    stubbed.post(f"{gateway.url}{SEND_OPERATION}", exception=error)
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, retry=ONE_ATTEMPT) as client:
        with pytest.raises(told):
            await client.send(a_message())


@pytest.mark.parametrize(
    ("base_url", "words"),
    [
        ("http://rest.esms.vn/json/", "must be https"),
        ("http://192.168.1.5/", "must be https"),
        ("http://127.0.0.1.example.com/", "must be https"),
        ("ftp://rest.esms.vn/", "absolute https"),
        ("rest.esms.vn", "absolute https"),
        ("/json/", "absolute https"),
        ("", "absolute https"),
        ("https://", "absolute https"),
        ("https://[::1", "is not a URL"),
        ("https://host:port/", "is not a URL"),
        (None, "is not a URL"),
        (b"https://rest.esms.vn/", "is not a URL"),
        ("https://me:secret@rest.esms.vn/", "user name or password"),
        ("https://rest.esms.vn/?ApiKey=secret", "query"),
        ("https://rest.esms.vn/#secret", "fragment"),
    ],
)
def test_a_base_url_that_cannot_work_is_refused(base_url: str, words: str) -> None:
    """Plain HTTP to anywhere but loopback, and anything that hides keys in the URL, is refused."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        Transport(base_url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("base_url", "kept"),
    [
        ("https://rest.esms.vn/MainService.svc/json", "https://rest.esms.vn/MainService.svc/json/"),
        ("https://rest.esms.vn", "https://rest.esms.vn/"),
        ("http://localhost:8026/", "http://localhost:8026/"),
        ("http://127.8.8.8/", "http://127.8.8.8/"),
        ("http://[::1]:8026/json", "http://[::1]:8026/json/"),
    ],
)
def test_a_base_url_gets_its_last_slash(base_url: str, kept: str) -> None:
    """The base URL is a folder, over TLS or on loopback."""
    assert Transport(base_url).base_url == kept


@pytest.mark.parametrize(
    ("session", "words"),
    [
        (object(), "must be an open aiohttp.ClientSession, not a object"),
        ("session", "not a str"),
        (aiohttp.ClientSession, "not the class .*ClientSession"),
    ],
)
def test_a_session_of_another_kind_is_refused(session: Any, words: str) -> None:
    """What is no session of aiohttp's is refused when the client is made, in words that help."""
    with pytest.raises(ConfigurationError, match=words):
        EsmsClient(CREDENTIALS, session=session)


@pytest.mark.parametrize("host", ["gateway.internal", "GATEWAY.internal", "10.1.2.3", "fd00::1"])
def test_plain_http_is_taken_for_a_host_that_is_named(host: str) -> None:
    """A host inside one's own network is named exactly, and its neighbours are not meant."""
    url = f"http://[{host}]:8026/" if ":" in host else f"http://{host}:8026/"
    assert not Transport(url, allow_http=frozenset({host})).is_loopback
    with pytest.raises(ConfigurationError, match="must be https"):
        Transport(
            f"http://a.{host}/" if ":" not in host else "http://[fd00::2]/",
            allow_http=frozenset({host}),
        )


@pytest.mark.parametrize("host", ["rest.esms.vn", "esms.vn", "REST.ESMS.VN", "rest.esms.vn."])
def test_plain_http_is_never_taken_for_the_gateway(host: str) -> None:
    """The keys never travel to the real gateway in clear, whatever is named."""
    with pytest.raises(ConfigurationError, match=r"allow_http must (not )?hold .*esms\.vn"):
        Transport(f"http://{host}/", allow_http=frozenset({host}))


@pytest.mark.parametrize("make", [list, tuple, set, frozenset, iter])
def test_hosts_for_plain_http_come_in_any_iterable(make: Callable[[list[str]], Any]) -> None:
    """A list, a set or an iterator of host names will do."""
    Transport("http://gateway.internal/", allow_http=make(["other", "Gateway.internal"]))


def test_hosts_for_plain_http_are_not_one_str() -> None:
    """A bare str is refused, because it would be taken for one host per letter."""
    with pytest.raises(ConfigurationError, match="allow_http must be a list of host names, not"):
        Transport(allow_http="gateway")


@pytest.mark.parametrize("name", ["http://gateway", "gateway:80", "", "*", "a b"])
def test_hosts_for_plain_http_must_be_host_names(name: str) -> None:
    """A URL, a port or a pattern is refused, and the error names it."""
    with pytest.raises(ConfigurationError, match=rf"allow_http .*{re.escape(repr(name))}"):
        Transport(allow_http=["gateway", name])


async def test_no_cookie_is_ever_sent(gateway: ScriptedGateway) -> None:
    """A session cookie, which ASP.NET would serialise requests by, is not sent back."""

    async def set_cookie(exchange: Exchange) -> None:
        exchange.answer(exchange.accept(), headers="Set-Cookie: ASP.NET_SessionId=abc; path=/\r\n")

    gateway.script.extend([set_cookie, set_cookie])
    jar = aiohttp.CookieJar(unsafe=True)
    jar.update_cookies({"everywhere": "1"})
    async with (
        aiohttp.ClientSession(cookie_jar=jar) as session,
        EsmsClient(CREDENTIALS, base_url=gateway.url, session=session) as injected,
        EsmsClient(CREDENTIALS, base_url=gateway.url) as own,
    ):
        for client in (injected, own, injected, own):
            await client.send(a_message())
    assert len(gateway.heads) == 4
    assert not any(b"cookie" in head.lower() for head in gateway.heads)


async def test_the_middlewares_of_an_injected_session_still_run(gateway: ScriptedGateway) -> None:
    """Taking the cookies out does not take out what the session's owner put in."""
    seen: list[str] = []

    async def middleware(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        seen.append(request.method)
        return await handler(request)

    async with (
        aiohttp.ClientSession(middlewares=[middleware]) as session,
        EsmsClient(CREDENTIALS, base_url=gateway.url, session=session) as client,
    ):
        await client.send(a_message())
    assert seen == ["POST"]


async def test_an_injected_session_stays_open(gateway: ScriptedGateway) -> None:
    """A client closes only a session that it made."""
    async with aiohttp.ClientSession() as session:
        async with EsmsClient(CREDENTIALS, base_url=gateway.url, session=session) as client:
            await client.send(a_message())
        assert not session.closed


def test_a_client_serves_one_event_loop(unused_tcp_port: int) -> None:
    """A client that is open on one event loop refuses to work on another, in words that help."""
    client = EsmsClient(
        CREDENTIALS, base_url=f"http://127.0.0.1:{unused_tcp_port}/", retry=ONE_ATTEMPT
    )

    async def send_and_close() -> None:
        with pytest.raises(NotSent):
            await client.send(a_message())
        await client.aclose()

    async def send_only() -> None:
        await Transport.post(client._sender.transport, "", SendRequest(b""), time_limit=1)

    asyncio.run(send_and_close())
    with pytest.raises(UsageError, match="one for each loop"):
        asyncio.run(send_only())


@pytest.mark.parametrize(
    ("written", "told"), [("7", 7.0), (None, None), ("soon", None), ("-3", None)]
)
async def test_retry_after_is_read(
    gateway: ScriptedGateway,
    session: aiohttp.ClientSession | None,
    written: str | None,
    told: float | None,
) -> None:
    """The attempt tells the pause that the gateway asked for."""

    async def busy(exchange: Exchange) -> None:
        asked = "" if written is None else f"Retry-After: {written}\r\n"
        exchange.answer(b"", status=503, headers=asked)

    gateway.script.append(busy)
    async with a_client(gateway, ONE_ATTEMPT, session) as client:
        with pytest.raises(OutcomeUnknown) as caught:
            await client.send(a_message())
    assert caught.value.attempts[0].retry_after == told


async def test_an_answer_in_pieces_is_put_together(
    gateway: ScriptedGateway, session: aiohttp.ClientSession | None
) -> None:
    """An answer that dribbles in is read to its end."""

    async def dribble(exchange: Exchange) -> None:
        answer = exchange.accept()
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer))
        for byte in answer:
            exchange.send(bytes([byte]))
            await exchange.writer.drain()
            await asyncio.sleep(0)

    gateway.script.append(dribble)
    async with a_client(gateway, ONE_ATTEMPT, session) as client:
        assert (await client.send(a_message())).sms_id == "d8e0"


def test_an_answer_to_a_request_that_was_not_written_is_refused() -> None:
    """It belongs to something else, so nothing has left for this message."""
    with pytest.raises(TransportFailure) as caught:
        _refuse_unasked(SendRequest(b""))
    assert not caught.value.may_have_arrived
