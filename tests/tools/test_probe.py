"""Where the gateway gives no clear answer, the probe says so, and pays no more than was agreed."""

import asyncio
import json

import pytest

from esms_async import Message
from esms_async._http.transport import Transport
from esms_async.emulator import Emulator
from tests.factories import CREDENTIALS
from tests.scripted_gateway import Exchange, ScriptedGateway, accept
from tests.tools.support import get
from tools.probe.findings import Conclusion, Findings, Point
from tools.probe.listener import Listener
from tools.probe.probe import Probe
from tools.probe.session import MOST_PAID, Plan, Session


async def probed(
    url: str,
    *,
    sandbox: bool = False,
    callback_url: str | None = None,
    listener: Listener | None = None,
) -> Findings:
    """Probe a gateway with few sends at once and little patience."""
    plan = Plan(Message("0911222333", "686868"), sandbox, callback_url, burst=2, wait=1)
    findings = Findings()
    transport = Transport(url)
    try:
        session = Session(transport, CREDENTIALS, plan, findings)
        await Probe(plan, session, findings, listener).run()
    finally:
        await transport.aclose()
    return findings


async def test_a_gateway_without_clear_answers_teaches_nothing() -> None:
    """No point is guessed at, and each says what came instead."""
    async with Emulator(faults=["http:503@send"]) as gateway:
        found = await probed(gateway.url)
        assert gateway.messages == []
    assert found.uncertain == 2
    assert found[Point.REJECTION_USES].words == "the phone 123 is not rejected: HTTP 503, no JSON"
    for point in set(Point) - {Point.NO_JSON, Point.INVALID_STATUS}:
        assert found[point].verdict is Conclusion.NOT_OBSERVED
    assert found[Point.CODED_STATUS].words == "no answer showed it"


async def test_one_unclear_answer_leaves_one_point_open() -> None:
    """The second sandbox send meets an error, and the rest goes on."""
    async with Emulator(faults=["http:503@send,skip=3,times=1"]) as gateway:
        found = await probed(gateway.url)
    assert found[Point.SANDBOX_REMEMBERS].words == "HTTP 503, no JSON"
    assert found[Point.DUPLICATE].verdict is Conclusion.CONFIRMED


async def test_a_lost_answer_leaves_its_point_open() -> None:
    """No answer is neither the one that is assumed nor another."""
    async with ScriptedGateway() as gateway:
        gateway.script.extend([accept, Exchange.reset])
        found = await probed(gateway.url, sandbox=True)
    assert found[Point.NO_JSON].verdict is Conclusion.NOT_OBSERVED
    assert found[Point.NO_JSON].words.startswith("no answer (")


async def accept_anything(exchange: Exchange) -> None:
    """Accept what should be refused, too."""
    exchange.answer(b'{"CodeResult":"100","CountRegenerate":0,"SMSID":"d8e0"}')


@pytest.mark.parametrize("sandbox", [True, False])
async def test_no_more_is_paid_than_was_agreed(*, sandbox: bool) -> None:
    """A gateway that accepts all that it should refuse gets as many sends as were named."""
    async with ScriptedGateway() as gateway:
        gateway.script.extend([accept_anything] * 20)
        found = await probed(gateway.url, sandbox=sandbox)
        paid = [body for body in gateway.bodies if b'"Sandbox": "0"' in body]
    assert found.accepted == len(paid) == (0 if sandbox else MOST_PAID)


async def test_a_report_that_is_not_given_up_is_not_waited_for_for_ever(
    unused_tcp_port: int,
) -> None:
    """What the time did not show is not observed, and says how long that was."""
    port = unused_tcp_port
    reporting: list[asyncio.StreamWriter] = []

    async def report_early(exchange: Exchange) -> None:
        if b"CallbackUrl" in exchange.body:
            request_id = json.loads(exchange.body)["RequestId"]
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(get(f"SMSID=d8e0&SendStatus=2&RequestId={request_id}"))
            reporting.append(writer)
        await accept_anything(exchange)

    async with ScriptedGateway() as gateway, Listener("127.0.0.1", port) as listener:
        gateway.script.extend([report_early] * 20)
        url = f"http://127.0.0.1:{port}/"
        found = await probed(gateway.url, callback_url=url, listener=listener)
    for writer in reporting:
        writer.close()
    assert found[Point.REPORT_COMES].words.endswith("the final one: not seen")
    assert found[Point.REPORT_RETRIED].words == "not given up within 1 s"
    assert found[Point.REPORT_ONCE].words == "no final report was answered within 1 s"
