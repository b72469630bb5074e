"""The answers to a probe's sends are read whatever they hold."""

import pytest

from esms_async import Message
from esms_async._http.transport import Transport
from tests.factories import CREDENTIALS
from tests.scripted_gateway import Exchange, ScriptedGateway
from tools.probe.findings import Findings
from tools.probe.session import Plan, Session, read


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b'{"CodeResult":"124"}', "HTTP 200, code 124"),
        (400, b'{"coderesult":108}', "HTTP 400, code 108"),
        (200, b'{"error":"Invalid request"}', "HTTP 200, an error object"),
        (200, b'{"CodeResult":"0911222333"}', "HTTP 200, JSON without a code"),
        (200, b"[]", "HTTP 200, JSON without a code"),
        (200, b"[" * 100_000, "HTTP 200, no JSON"),
        (404, b" <!DOCTYPE html>", "HTTP 404, an HTML page"),
        (500, b"911222333", "HTTP 500, JSON without a code"),
        (500, b"oh", "HTTP 500, no JSON"),
        (204, b"\n", "HTTP 204, no body"),
    ],
)
def test_an_answer_is_put_into_words_of_our_own(status: int, body: bytes, words: str) -> None:
    """No word of the answer, which might echo the request, gets into the table."""
    assert str(read(status, body)) == words


async def test_a_send_without_an_answer_may_be_charged() -> None:
    """What became of it nobody knows, so it is counted apart."""
    findings = Findings()
    plan = Plan(Message("0911222333", "686868"), sandbox=False)
    async with ScriptedGateway() as gateway:
        gateway.script.append(Exchange.reset)
        transport = Transport(gateway.url)
        seen = await Session(transport, CREDENTIALS, plan, findings).send("probe-1", sandbox=False)
        await transport.aclose()
    assert str(seen).startswith("no answer (")
    assert (findings.accepted, findings.uncertain) == (0, 1)
