"""Questions over an aiohttp session, and who gets to see the account's keys."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from esms_async import Credentials, EsmsClient, QueryRejected, QueryUnanswered
from tests.answering import CUT, Answering
from tests.factories import API_KEY, CREDENTIALS, ONE_ATTEMPT, QUICK, SECRET_KEY
from tests.scripted_gateway import ScriptedGateway
from tests.steps import answer

STATUS = b'{"CodeResponse":"100","SendStatus":5}'
BALANCE = b'{"Balance":1,"CodeResponse":"100"}'
BRANDNAMES = b'{"CodeResponse":"100","ListBrandName":[]}'
NOW = datetime(2026, 5, 1, tzinfo=UTC)
ODD = Credentials("a+b &=%", "ü/?#")


@pytest.fixture
async def gateway() -> AsyncIterator[Answering]:
    """A gateway that knows every message."""
    async with Answering(STATUS) as running:
        yield running


async def test_what_goes_over_the_wire(gateway: Answering) -> None:
    """The gateway gets the keys: in the body of a POST, and in the query of a GET."""
    async with EsmsClient(ODD, base_url=gateway.url) as client:
        await client.status("d8e0")
        gateway.told[0] = (200, BALANCE, {})
        await client.balance()
        gateway.told[0] = (200, BRANDNAMES, {})
        await client.brandnames()
    keys = {"ApiKey": ODD.api_key, "SecretKey": ODD.secret_key}
    asked, posted, listed = gateway.asked
    assert listed == ("GET", f"/GetListBrandname/{ODD.api_key}/{ODD.secret_key}", {}, b"")
    assert asked == ("GET", "/GetSendStatus", {"RefId": "d8e0", **keys}, b"")
    assert (posted[:3], json.loads(posted[3])) == (("POST", "/GetBalance_json", {}), keys)


def traced() -> tuple[aiohttp.TraceConfig, list[str]]:
    """A trace that notes all that instrumentation of an application's requests looks at."""
    config, seen = aiohttp.TraceConfig(), list[str]()

    async def note(session: object, context: object, params: Any) -> None:
        for name in ("url", "headers"):
            seen.append(str(getattr(params, name)))
        if isinstance(params, aiohttp.TraceRequestEndParams):
            response = params.response
            seen.extend((str(response.url), str(response.real_url), repr(response)))
        if isinstance(params, aiohttp.TraceRequestExceptionParams):
            seen.append(str(params.exception))

    config.on_request_start.append(note)
    config.on_request_end.append(note)
    config.on_request_exception.append(note)
    return config, seen


async def test_who_watches_does_not_see_the_keys(
    gateway: Answering, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither traces nor logs show a key, whether the question is answered or not."""
    config, seen = traced()
    asyncio.get_running_loop().set_debug(True)
    with caplog.at_level(logging.DEBUG):
        async with (
            aiohttp.ClientSession(trace_configs=[config]) as session,
            EsmsClient(
                CREDENTIALS, base_url=gateway.url, session=session, retry=ONE_ATTEMPT
            ) as client,
        ):
            assert await client.status("d8e0")
            gateway.told[0] = (302, b"", {"Location": "/Elsewhere"})
            with pytest.raises(QueryUnanswered):
                await client.receivers("d8e0")
            gateway.told[0] = (200, CUT, {})
            with pytest.raises(QueryUnanswered):
                await client.status("d8e0")
            gateway.told[0] = (400, STATUS, {})
            with pytest.raises(QueryRejected):
                await client.status("d8e0")
    assert any(word.endswith("/GetSendStatus") for word in seen)
    # What is asked stands behind that, too: a price is asked for a phone and a text.
    assert not any("RefId" in word for word in seen)
    assert "Server disconnected" in seen
    # What aiohttp asks again by itself was asked with the keys too; a redirect was not followed.
    assert {query["ApiKey"] for _, _, query, _ in gateway.asked} == {API_KEY}
    assert {path for _, path, _, _ in gateway.asked} == {
        "/GetSendStatus",
        "/GetSmsReceiverStatus_get",
    }
    shown = "".join(seen) + caplog.text
    assert API_KEY not in shown
    assert SECRET_KEY not in shown


async def test_a_session_keeps_its_ways(gateway: Answering) -> None:
    """Middlewares of a session run, and the cookies that it holds do not go along."""
    heads: list[dict[str, str]] = []

    async def note(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        heads.append(dict(request.headers))
        response = await handler(request)
        heads.append(dict(request.headers))
        return response

    jars = (aiohttp.CookieJar(unsafe=True), aiohttp.DummyCookieJar())
    for jar in jars:
        jar.update_cookies({"ASP.NET_SessionId": "x"})
        async with (
            aiohttp.ClientSession(middlewares=[note], cookie_jar=jar) as session,
            EsmsClient(CREDENTIALS, base_url=gateway.url, session=session) as client,
        ):
            assert await client.status("d8e0")
    assert ["Cookie" in head for head in heads] == [True, False, False, False]
    assert len(gateway.asked) == 2


async def test_an_answer_without_end() -> None:
    """It is given up after 4 MB."""

    async def pour(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(64 * 1024))

    app = web.Application()
    app.router.add_get("/GetSendStatus", pour)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        async with EsmsClient(CREDENTIALS, base_url=url, retry=ONE_ATTEMPT) as client:
            with pytest.raises(QueryUnanswered, match="larger than 4194304 bytes"):
                await client.status("d8e0")
    finally:
        await runner.cleanup()


async def test_a_large_answer() -> None:
    """A page of 500 long texts is read to its end."""
    row = {"ReferenceId": "x", "Content": "ộ" * 1000}
    body = json.dumps({"CodeResult": "100", "CountTotal": 1, "SentData": [row] * 500}).encode()
    async with (
        Answering(body) as gateway,
        EsmsClient(CREDENTIALS, base_url=gateway.url, retry=QUICK) as client,
    ):
        assert [len(one.content or "") async for one in client.sent(NOW, NOW)] == [1000]
    assert len(body) > 3_000_000


async def test_a_stray_answer_is_no_answer_to_a_query() -> None:
    """What came over an idle connection of the client's own session answers no query."""
    foreign = b'{"Balance":1,"CodeResponse":"100","UserID":1}'
    head = b"HTTP/1.1 200 Told\r\nContent-Length: %d\r\n\r\n" % len(foreign)
    own = answer(b'{"Balance":36693,"CodeResponse":"100","UserID":9999}')
    async with (
        ScriptedGateway() as gateway,
        EsmsClient(CREDENTIALS, base_url=gateway.url) as client,
    ):
        for _ in range(20):
            gateway.script.append(own)
            assert (await client.balance()).amount == 36693
            gateway.say(head + foreign)
