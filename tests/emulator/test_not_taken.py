"""Whatever reaches the port is recorded; what is not taken, with a sentence why."""

import asyncio
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

import aiohttp
import attrs
import pytest

from esms_async.emulator import Emulator, EventKind, Settings
from tests.cli.support import environment
from tests.emulator.caller import GET_SEND, KEYS, PHONE, POST_SEND, Caller, connection, send_fields

FOLDER = "/MainService.svc/json/"
FORM = "SendMultipleMessage_V4_post"
GOOD = json.dumps(send_fields())


@attrs.frozen
class Wrong:
    """A request that a newcomer gets wrong, and what is said of it."""

    name: str
    why: str
    fix: str = ""
    method: str = "POST"
    path: str = FOLDER + POST_SEND
    body: bytes = b""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    status: int = 400
    mark: str | None = None


NESTED = (
    '{"ApiKey": {"a": ["THE-API-KEY"]}, '
    '"SecretKey": [["THE-SECRET-KEY"], 12345.60, 1.25e+99, null], '
    '"Rest": [{"SecretKey": 5550123}]}'
)
FORM_BODY = b"ApiKey=THE-API-KEY&SecretKey=THE-SECRET-KEY&Phone=0901888484&Content=305718+la+ma"
KINDS = (
    Wrong(
        "form-encoded",
        "The body is form-encoded; this operation takes JSON.",
        "Send JSON, or use SendMultipleMessage_V4_post/, which takes forms.",
        body=FORM_BODY,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        mark="Content-Type: application/x-www-form-urlencoded",
    ),
    Wrong("truncated JSON", "The JSON ends too early, after ", body=GOOD[:60].encode()),
    Wrong("not JSON", "The body is not JSON: Expecting", body=b"{'Phone': 1}"),
    Wrong("an array", "The body is an array of JSON; this op", body=f"[{GOOD}]".encode()),
    Wrong("a JSON text", "The body is a text of JSON", body=json.dumps(GOOD).encode()),
    Wrong("a number", "The body is a single value of JSON", body=b"7"),
    Wrong(
        "nested", "The field Phone is a list; a text is taken.", mark='"Phone"',
        body=json.dumps(send_fields(Phone=[PHONE])).encode(),
    ),
    Wrong(
        "an object inside", "The field Content is an object",
        body=json.dumps(send_fields(Content={"text": "1"})).encode(),
    ),
    Wrong("nested keys", "The field ApiKey is an object", body=NESTED.encode()),
    Wrong(
        "half a surrogate pair", "The field RequestId holds half a surrogate pair",
        "cut it between characters", body=json.dumps(send_fields(RequestId="x\ud800")).encode(),
    ),
    Wrong(
        "half a pair in a name", "The field x? holds half a surrogate pair",
        body=json.dumps(send_fields(**{"x\udfff": "1"})).encode(),
    ),
    Wrong(
        "half a pair in a Zalo parameter", "The field TempData holds half a surrogate pair",
        path=f"{FOLDER}SendZaloMessage_V6",
        body=json.dumps({**KEYS, "TempData": {"otp": "\ud83d"}}).encode(),
    ),
    Wrong("too deep", "The JSON is nested too deeply", body=b"[" * 130_000),
    Wrong("nothing", "The body is empty; this operation takes JSON."),
    Wrong(
        "fields in the URL", "The fields stand in the URL and the body is empty",
        "or use SendMultipleMessage_V4_get, which takes them in the URL.",
        path=f"{FOLDER}{POST_SEND}?ApiKey=THE-API-KEY&Phone={PHONE}",
    ),
    Wrong(
        "compressed", "The body is compressed (gzip)", body=b"\x1f\x8b123",
        headers={"Content-Encoding": "gzip"}, mark="Content-Encoding: gzip",
    ),
    Wrong("UTF-16", "The body is not UTF-8 (byte 0 is UTF-16)", body=GOOD.encode("utf-16")),
    Wrong("Latin-1", "The body is not UTF-8", body='{"Content":"caf\u00e9"}'.encode("latin-1")),
    Wrong("XML", "The body is XML", body=b"<RQST><APIKEY>THE-API-KEY</APIKEY></RQST>"),
    Wrong(
        "multipart", "The body is multipart form data", body=b"--x\r\nname=Phone\r\n\r\n1\r\n--x--",
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    ),
    Wrong(
        "JSON to the form", "The body is JSON; this operation takes a form.",
        path=FOLDER + FORM, body=GOOD.encode(),
    ),
    Wrong("nonsense to the form", "The body is not form-encoded.", path=FOLDER + FORM, body=b"x"),
    Wrong(
        "wrong verb", "GET was used; this operation takes POST.",
        "Use POST, or SendMultipleMessage_V4_get for GET.", method="GET", status=405, mark="GET ",
    ),
    Wrong(
        "another wrong verb", "PUT was used; this operation takes GET.", "Use GET.",
        method="PUT", path=FOLDER + GET_SEND, status=405,
    ),
    Wrong(
        "from a page", "A browser asked whether a page may send (OPTIONS)", "keys in a page are",
        method="OPTIONS", status=405,
    ),
    Wrong(
        "a letter missing", "No operation has the name SendMultipleMesage_V4_post_json.",
        "The nearest is SendMultipleMessage_V4_post_json/.",
        path=f"{FOLDER}SendMultipleMesage_V4_post_json/", body=GOOD.encode(), status=404,
        mark="SendMultipleMesage_V4_post_json",
    ),
    Wrong(
        "not emulated", "No operation is called SendMultipleMessage_V4_xml_post, or it is not",
        path=f"{FOLDER}SendMultipleMessage_V4_xml_post/", status=404,
    ),
    Wrong(
        "no folder", "The folder or the spelling of the path is wrong", f"Use {FOLDER}{POST_SEND}/",
        path=f"/{POST_SEND}/", body=GOOD.encode(), status=404,
    ),
    Wrong(
        "lower case", "the operation is at /MainService.svc/json/GetBalance_json/",
        path=f"{FOLDER}getbalance_json", status=404,
    ),
    Wrong("something else", "No operation has this path.", path="/api/v1/sms", status=404),
    Wrong("too large", "The body is too large.", body=b"x" * 200_000, status=413),
    Wrong(
        "another host", "The Host header names 'emulator'; this emulator answers to 127.0.0.1",
        "Start it with --allow-host emulator", body=GOOD.encode(),
        headers={"Host": "emulator:8126"}, status=403, mark="Host: emulator:8126",
    ),
    Wrong(
        "another origin", "The request comes from a page of another site", body=GOOD.encode(),
        headers={"Origin": "https://evil.example"}, status=403,
    ),
    Wrong(
        "the control interface from another origin",
        "A page of another site asks for the page or the control interface",
        "Call it from your tests or from your server", method="GET", path="/_emulator/state",
        headers={"Origin": "http://localhost:3000"}, status=403,
    ),
)  # fmt: skip


async def send(emulator: Emulator, wrong: Wrong) -> int:
    """Send a wrong request, and return the status of the answer."""
    head = {"Host": f"127.0.0.1:{emulator.port}", **wrong.headers}
    lines = [f"{wrong.method} {wrong.path} HTTP/1.1", *(f"{k}: {v}" for k, v in head.items())]
    lines += [f"Content-Length: {len(wrong.body)}", "Cookie: session=S3CR3T", "X-Api-Key: H3AD3R"]
    async with connection(emulator.port) as (reader, writer):
        writer.write("\r\n".join((*lines, "", "")).encode() + wrong.body)
        return int((await asyncio.wait_for(reader.readline(), 10)).split()[1])


@pytest.mark.parametrize("wrong", KINDS, ids=[wrong.name for wrong in KINDS])
async def test_a_wrong_request_is_explained(emulator: Emulator, wrong: Wrong) -> None:
    """It is recorded with head, masked body, answer, duration, reason, remedy and an example."""
    assert await send(emulator, wrong) == wrong.status
    assert (emulator.messages, emulator.requests) == ([], [])
    async with Caller.to(emulator) as caller:
        got = await caller.request("GET", "../../_emulator/requests")
        (seen,) = got.json["requests"]
        (row,) = (await caller.request("GET", "../../_emulator/inbox")).json["rows"]
    assert wrong.why in seen["reason"]
    assert wrong.fix in seen["fix"]
    assert (seen["taken"], seen["status"]) == (False, wrong.status)
    assert seen["head"].startswith(f"{wrong.method} {wrong.path[:20]}")
    assert seen["answer"].startswith(f"HTTP/1.1 {wrong.status} ")
    assert seen["duration_ms"] >= 0
    assert (row["kind"], row["reason"], row["number"]) == ("not_taken", seen["reason"], 1)
    if wrong.mark is not None:
        assert wrong.mark in seen["marks"]
    shown = got.text
    secrets = (*KEYS.values(), "S3CR3T", "H3AD3R", "Cookie", "12345.60", "1.25e+99", "5550123")
    assert not any(secret in shown for secret in secrets)
    if seen["wanted"] is not None and wrong.path.startswith(FOLDER):
        assert seen["wanted"].partition(" ")[0] in ("POST", "GET")


async def test_what_would_be_taken_is_taken(emulator: Emulator, caller: Caller) -> None:
    """The example that stands beside a wrong request, sent as it is, makes a message."""
    await send(emulator, KINDS[0])
    (seen,) = emulator.not_taken
    assert seen.wanted is not None
    head, _, body = seen.wanted.partition("\n\n")
    assert head == f"POST {FOLDER}{POST_SEND}/ HTTP/1.1\nContent-Type: application/json"
    fields = {**json.loads(body), "SmsType": "8"}
    assert (await caller.request("POST", POST_SEND, json=fields)).code == "100"
    assert emulator.messages[0].content == "305718 la ma"


async def test_of_an_unreadable_body_only_the_shape_is_kept(emulator: Emulator) -> None:
    """Names of fields and punctuation stay; whatever could be a key, a code or a phone does not."""
    body = b'{"ApiKey": "THE-API-KEY", "Phone": "0901888484", "Content": "686868 la'
    await send(emulator, attrs.evolve(KINDS[1], body=body))
    async with Caller.to(emulator) as caller:
        seen = (await caller.request("GET", "../../_emulator/requests")).json["requests"][0]
    assert seen["body"] == (
        '{"ApiKey": "xxx-xxx-xxx", "Phone": "xxxxxxxxxx", "Content": "xxxxxx xx'
    )


async def test_bytes_that_are_not_http_are_recorded(emulator: Emulator) -> None:
    """TLS on the plain port is told as such; other nonsense is counted."""
    for data in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"NONSENSE\r\n\r\n"):
        async with connection(emulator.port) as (reader, writer):
            writer.write(data)
            await asyncio.wait_for(reader.read(), 10)
    tls, nonsense = emulator.not_taken
    assert tls.why == "The client spoke TLS; this port speaks plain HTTP."
    assert "is not an HTTP request" in (nonsense.why or "")


async def test_a_body_that_does_not_arrive_is_recorded() -> None:
    """A client that announces more than it sends learns so."""
    async with (
        Emulator(settings=Settings(body_timeout=0.05)) as emulator,
        connection(emulator.port) as (reader, writer),
    ):
        head = f"POST {FOLDER}{POST_SEND} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n"
        writer.write(head.encode())
        assert b" 408 " in await asyncio.wait_for(reader.readline(), 10)
        assert "did not arrive in time" in (emulator.not_taken[0].why or "")


async def test_the_same_mistake_again_and_again_takes_one_place(emulator: Emulator) -> None:
    """A client in a loop fills neither list nor memory; listeners hear of each."""
    heard: list[int] = []
    emulator.subscribe(
        lambda event: (
            heard.append(event.request.repeats)
            if event.kind is EventKind.NOT_TAKEN and event.request
            else None
        )
    )
    for _ in range(3):
        await send(emulator, KINDS[0])
    await send(emulator, KINDS[2])
    assert [seen.repeats for seen in emulator.not_taken] == [3, 1]
    assert heard == [1, 2, 3, 1]


async def test_the_records_are_bounded(emulator: Emulator, caller: Caller) -> None:
    """Of requests that are not taken 500 are kept, and they push no message out."""
    await caller.send()
    for number in range(510):
        await caller.request("GET", f"Nothing{number}")
    assert len(emulator.not_taken) == 500
    rows = (await caller.request("GET", "../../_emulator/inbox?filter=code")).json["rows"]
    assert [row["number"] for row in rows] == [1]
    counts = (await caller.request("GET", "../../_emulator/state")).json["counts"]
    assert (counts["all"], counts["not_taken"], counts["code"]) == (501, 500, 1)


async def test_what_does_not_get_through_to_tls_is_told() -> None:
    """Plain HTTP on the TLS port, and a client that does not trust the certificate."""
    async with Emulator(tls="self-signed") as emulator:
        noted = asyncio.Queue[str]()
        emulator.subscribe(lambda event: noted.put_nowait(str(event.request and event.request.why)))
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientError):
                await session.post(emulator.url.replace("https:", "http:"), json=KEYS)
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            await asyncio.to_thread(urllib.request.urlopen, emulator.page)
        told = [await asyncio.wait_for(noted.get(), 30) for _ in range(2)]
        assert told == [
            "The client spoke plain HTTP; this port speaks TLS.",
            "The client does not trust the certificate of this emulator.",
        ]
        fixes = [request.fix or "" for request in emulator.not_taken]
        assert ["https://" in fixes[0], "Have it trust the file" in fixes[1]] == [True, True]


async def test_the_console_has_a_line_for_each() -> None:
    """The command says at once what was not taken, why, and what to do."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "esms_async.emulator", "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment({}),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        url = (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip()
        async with aiohttp.ClientSession() as session:
            async with session.post(url + POST_SEND, data=FORM_BODY) as response:
                assert response.status == 400
            async with session.post(url + "GetBalance", json=KEYS) as response:
                assert response.status == 404
        said = [(await asyncio.wait_for(process.stderr.readline(), 10)).decode() for _ in range(4)]
    finally:
        process.terminate()
        await process.communicate()
    assert said[2] == (
        f"Not taken: POST …/{POST_SEND} (400): The body is form-encoded; this operation takes "
        "JSON. Send JSON, or use SendMultipleMessage_V4_post/, which takes forms.\n"
    )
    assert "(404): No operation has the name GetBalance." in said[3]
    assert not any(key in line for key in KEYS.values() for line in said)


async def test_a_rejection_says_what_was_wrong(emulator: Emulator, caller: Caller) -> None:
    """What is answered by a code, or by `Invalid request`, has a sentence too."""
    cases: dict[str, dict[str, Any]] = {
        "ApiKey or SecretKey is missing": {"ApiKey": None},
        "SmsType is missing": {"SmsType": None},
        "SmsType '1' is not emulated": {"SmsType": "1"},
        "Phone holds more than one number": {"Phone": "0901888484,0901888485"},
        "Phone: <3 characters>": {"Phone": "123"},
        "a number that always meets 103": {"Phone": "0900000103"},
        "Content is missing": {"Content": ""},
        "RequestId has 51 characters": {"RequestId": "x" * 51},
        "campaignid has 255 characters": {"campaignid": "x" * 255},
        "SendDate must be a time": {"SendDate": "tomorrow"},
        "CallbackUrl is not": {"CallbackUrl": "ftp://x"},
        "Brandname is missing": {"SmsType": "2"},
    }
    for words, changes in cases.items():
        await caller.send(**changes)
        assert words in (emulator.requests[-1].why or ""), words
        got = await caller.request("GET", f"../../_emulator/sends/{emulator.requests[-1].number}")
        assert (got.json["state"], got.json["tone"]) == ("rejected", "bad")
        assert words in got.json["verdict"]["why"]


async def test_a_short_key_is_masked_as_a_whole_word_only(
    emulator: Emulator, caller: Caller
) -> None:
    """Who writes k and s for keys can still read the rest of the request."""
    body = "ApiKey=k&SecretKey=s&Phone=0901888484"
    await caller.request("POST", POST_SEND, data=body.encode())
    (row,) = (await caller.request("GET", "../../_emulator/inbox")).json["rows"]
    assert row["path"] == FOLDER + POST_SEND
    number = row["number"]
    seen = (await caller.request("GET", f"../../_emulator/requests/{number}")).json
    assert seen["body"] == "ApiKey=***&SecretKey=***&Phone=0901888484"
