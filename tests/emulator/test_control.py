"""The control interface: what it shows, what it does, and what it refuses."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import aiohttp
import pytest

from esms_async.emulator import Clock, Emulator, Settings
from tests.emulator.caller import CONTENT, PHONE, Caller, Got, connection
from tests.limits import generous

OTHER = "0911888485"


class Controller(Caller):
    """Calls the control interface beside the operations."""

    async def control(self, method: str, path: str, **options: Any) -> Got:
        """Make a request to the control interface."""
        return await self.request(method, f"../../_emulator/{path}", **options)

    async def ask(self, path: str) -> Any:
        """Get something that is there."""
        got = await self.control("GET", path)
        assert got.status == 200, got.text
        return got.json

    async def tell(self, path: str, body: Any = None) -> Any:
        """Post something that is taken."""
        got = await self.control("POST", path, **({} if body is None else {"json": body}))
        assert got.status in {200, 201}, got.text
        return got.json


@pytest.fixture
async def caller(emulator: Emulator) -> AsyncIterator[Controller]:
    """Calls the emulator."""
    async with Controller.to(emulator) as calling:
        yield calling


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[tuple[Emulator, Controller]]:
    """Run an emulator that is not as it comes."""
    async with Emulator(**options) as emulator, Controller.to(emulator) as controller:
        yield emulator, controller


async def one_more_listener(emulator: Emulator, before: int) -> None:
    """Wait until a long poll listens."""
    while len(emulator._journal._listeners) == before:  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0)


async def test_it_says_that_it_is_ready(emulator: Emulator, caller: Controller) -> None:
    """A script that has started an emulator asks here, and gets the base URL."""
    told = await caller.ask("ready")
    assert (told["ready"], told["url"]) == (True, emulator.url)


async def test_a_message_is_shown_whole(emulator: Emulator, caller: Controller) -> None:
    """A message has what a test may want to know: the code in it, its parts, its state."""
    got = await caller.send(RequestId="r-1", campaignid="c-1", SendDate="2030-01-01 07:00:00")
    (message,) = (await caller.ask("messages"))["messages"]
    assert message.pop("at") == emulator.messages[0].at.isoformat(timespec="milliseconds")
    assert message == {
        "number": 1,
        "phone": PHONE,
        "content": CONTENT,
        "otp": "686868",
        "code": "686868",
        "account": "default",
        "route": "fixed",
        "sender": None,
        "params": None,
        "template": None,
        "warning": None,
        "request_id": "r-1",
        "sms_id": got.json["SMSID"],
        "unicode": False,
        "alphabet": "GSM-7",
        "units": 29,
        "parts": 1,
        "campaign_id": "c-1",
        "callback_url": None,
        "send_at": "2030-01-01T00:00:00.000+00:00",
        "price": 850,
        "state": "held",
        "delivery": {
            "started_at": "2030-01-01T00:00:00.000+00:00",
            "finished_at": "2030-01-01T00:00:01.000+00:00",
            "delivered": True,
            "fault": None,
        },
    }


async def test_the_alphabet_is_that_of_the_send_or_of_the_text(caller: Controller) -> None:
    """A text sent as Unicode goes as UCS-2, and so does one that needs it."""
    await caller.send(IsUnicode="1")
    await caller.send(Content="mã xác minh")
    shown = (await caller.ask("messages"))["messages"]
    assert [message["alphabet"] for message in shown] == ["UCS-2", "UCS-2"]


@pytest.mark.parametrize(
    ("fault", "states"),
    [
        (None, ["waiting", "delivered"]),
        ("dlr:failed", ["waiting", "failed"]),
        ("dlr:never", ["sent", "sent"]),
    ],
)
async def test_the_state_of_a_message_goes_by_the_clock(
    fault: str | None, states: list[str]
) -> None:
    """A message waits, and is delivered, fails or stays sent, as its delivery goes."""
    faults = [] if fault is None else [fault]
    async with running(clock=Clock(running=False), faults=faults) as (_, caller):
        await caller.send()
        seen = [(await caller.ask("messages"))["messages"][0]["state"]]
        await caller.tell("clock/advance", {"seconds": 10})
        seen.append((await caller.ask("messages"))["messages"][0]["state"])
        assert seen == states


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("", [4, 3, 2, 1]),
        (f"phone=84{OTHER[1:]}", [4, 2]),
        ("text=MINH", [4, 3, 2, 1]),
        ("text=number 3", [3]),
        ("request_id=r-2", [2]),
        ("since=3", [4]),
        ("before=3", [2, 1]),
        ("limit=1", [4]),
        (f"phone={OTHER}&text=number 2&limit=5", [2]),
        ("sms_id=unknown", []),
    ],
)
async def test_messages_are_picked(caller: Controller, query: str, numbers: list[int]) -> None:
    """Each parameter picks, and all of them together; the newest comes first."""
    for number in range(1, 5):
        phone = PHONE if number % 2 else OTHER
        await caller.send(
            Phone=phone, RequestId=f"r-{number}", Content=f"686868 ma xac minh, number {number}"
        )
    told = await caller.ask(f"messages?{query}")
    assert [message["number"] for message in told["messages"]] == numbers
    assert told["older"] is (query == "limit=1")


async def test_a_message_is_picked_by_its_sms_id(caller: Controller) -> None:
    """An SMSID picks the one message that has it."""
    await caller.send()
    sms_id = (await caller.send()).json["SMSID"]
    told = await caller.ask(f"messages?sms_id={sms_id}")
    assert [message["number"] for message in told["messages"]] == [2]


async def test_the_latest_message_is_there_or_waited_for(
    emulator: Emulator, caller: Controller
) -> None:
    """`latest` answers at once with what has come, or as soon as it comes."""
    await caller.send(RequestId="r-1")
    assert (await caller.ask(f"messages/latest?phone={PHONE}"))["request_id"] == "r-1"
    listeners = len(emulator._journal._listeners)
    waiting = asyncio.create_task(
        caller.ask(f"messages/latest?phone={PHONE}&since={emulator.mark()}&timeout=5")
    )
    await one_more_listener(emulator, listeners)
    await caller.send(Phone=OTHER)
    await caller.send(RequestId="r-2")
    assert (await waiting)["request_id"] == "r-2"


async def test_a_latest_message_that_does_not_come_is_not_found(caller: Controller) -> None:
    """After the timeout, the answer says what was waited for."""
    got = await caller.control("GET", "messages/latest?request_id=r-1&timeout=0.01")
    assert got.status == 404
    assert got.json["error"].startswith("waited 0.01 s for a message with request id r-1")


async def test_a_long_poll_does_not_hold_the_end_up() -> None:
    """An emulator that closes ends the requests that wait for a message."""
    at_rest = asyncio.all_tasks()
    async with running() as (emulator, caller):
        listeners = len(emulator._journal._listeners)
        waiting = asyncio.create_task(caller.control("GET", "messages/latest?timeout=60"))
        await one_more_listener(emulator, listeners)
        await asyncio.wait_for(emulator.aclose(), generous(5))
        with pytest.raises(aiohttp.ClientError):
            await waiting
    assert asyncio.all_tasks() == at_rest


async def test_requests_are_shown_with_what_became_of_them(caller: Controller) -> None:
    """A request shows its fault, what was decided and what was told, with the keys masked."""
    await caller.tell("faults", {"spec": "html:502@send,phase=after,times=1"})
    for _ in range(2):
        await caller.send(RequestId="r-1")
    await caller.post("GetBalance_json")
    told = await caller.ask("requests")
    balance, again, first = told["requests"]
    assert (first["fault"], first["decided"], first["told"], first["status"]) == (
        "html:502@send,phase=after,times=1",
        "100",
        None,
        502,
    )
    assert (again["told"], again["meaning"], again["accepted"]) == ("124", "Request exist 1", False)
    assert (balance["operation"], balance["meaning"]) == ("balance", None)
    assert (first["fields"]["ApiKey"], first["fields"]["SecretKey"]) == ("***", "***")
    assert (first["fields"]["Phone"], first["sms_id"] is not None) == (PHONE, True)


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("operation=balance", [4]),
        ("operation=send&request_id=r-1", [3, 1]),
        (f"phone={OTHER}", [2]),
        ("since=2&limit=1", [4]),
        ("before=2", [1]),
    ],
)
async def test_requests_are_picked(caller: Controller, query: str, numbers: list[int]) -> None:
    """Requests are picked as messages are, and by their operation."""
    await caller.send(RequestId="r-1")
    await caller.send(RequestId="r-2", Phone=OTHER)
    await caller.send(RequestId="r-1")
    await caller.post("GetBalance_json")
    told = await caller.ask(f"requests?{query}")
    assert [request["number"] for request in told["requests"]] == numbers


async def test_faults_are_armed_listed_and_taken_away(
    emulator: Emulator, caller: Controller
) -> None:
    """A fault that is armed here strikes, shows what is left of it, and goes when told."""
    got = await caller.control("POST", "faults", json={"spec": "code:103@send,times=2"})
    assert got.status == 201
    spec = {"number": 1, "spec": "code:103@send,times=2"}
    assert got.json == {**spec, "name": None, "used": 0, "left": 2, "spent": False}
    await caller.tell("faults", {"spec": f"invalid,phone={PHONE}"})
    assert (await caller.send()).code == "103"
    first, second = (await caller.ask("faults"))["faults"]
    assert (first["used"], first["left"]) == (1, 1)
    assert (second["spec"], second["left"]) == ("invalid,phone=090****484", None)
    left = await caller.control("DELETE", "faults/1")
    assert [fault["number"] for fault in left.json["faults"]] == [2]
    assert (await caller.control("DELETE", "faults/1")).status == 404
    assert (await caller.control("DELETE", "faults")).json["faults"] == []
    assert (await caller.send()).code == "100"
    assert (await caller.tell("faults", {"spec": "reset"}))["number"] == 3


async def test_the_clock_is_shown_and_moved(emulator: Emulator, caller: Controller) -> None:
    """A day later by the clock, a RequestId is free again."""
    await caller.send(RequestId="r-1")
    assert (await caller.send(RequestId="r-1")).code == "124"
    before = await caller.ask("clock")
    after = await caller.tell("clock/advance", {"seconds": 24 * 3600})
    assert before["running"] is True
    assert after["now"][:10] > before["now"][:10]
    assert (await caller.send(RequestId="r-1")).code == "100"


async def test_delivery_is_decided_here() -> None:
    """`deliver` and `fail` finish a message, and the status calls know."""
    async with running(clock=Clock(running=False)) as (_, caller):
        sms_id = (await caller.send()).json["SMSID"]
        failed = await caller.tell(f"messages/{sms_id}/fail")
        assert (failed["state"], failed["delivery"]["delivered"]) == ("failed", False)
        assert (await caller.get("GetSendStatus", RefId=sms_id)).json["SendFailed"] == 1
        assert (await caller.tell(f"messages/{sms_id}/deliver"))["state"] == "delivered"


async def test_a_report_is_sent_again_on_demand() -> None:
    """`resend` repeats the last report; each try is listed with what came of it."""
    async with running(clock=Clock(running=False)) as (emulator, caller):
        sms_id = (await caller.send(CallbackUrl="http://esms.example/")).json["SMSID"]
        await caller.send(CallbackUrl="http://esms.example/")
        early = await caller.control("POST", f"messages/{sms_id}/resend")
        assert (early.status, early.json["error"]) == (
            409,
            "the message has no result yet; deliver it, or let it fail",
        )
        await caller.tell(f"messages/{sms_id}/deliver")
        await caller.tell(f"messages/{sms_id}/resend")
        told = (await caller.ask(f"reports?sms_id={sms_id}"))["reports"]
        assert [report["send_status"] for report in told] == [5, 5, 5, 2]
        assert {report["result"] for report in told} == {"not allowed"}
        assert len((await caller.ask("reports"))["reports"]) == len(emulator.reports) == 6


async def test_what_has_no_callback_url_has_no_report(caller: Controller) -> None:
    """There is nothing to send again where nobody is told."""
    sms_id = (await caller.send()).json["SMSID"]
    got = await caller.control("POST", f"messages/{sms_id}/resend")
    assert (got.status, got.json["error"]) == (
        409,
        "the message has no CallbackUrl to send a report to",
    )


@pytest.mark.parametrize("action", ["deliver", "fail", "resend"])
async def test_an_unknown_message_is_not_found(caller: Controller, action: str) -> None:
    """No action is taken on a message that is not kept."""
    got = await caller.control("POST", f"messages/unknown/{action}")
    assert (got.status, got.json["error"]) == (404, "no message is kept by this SMSID")


async def test_clearing_leaves_request_ids_and_faults(
    emulator: Emulator, caller: Controller
) -> None:
    """After DELETE the inbox is empty, while 124 still comes and what is armed stays."""
    await caller.send(RequestId="r-1")
    await caller.tell("faults", {"spec": "reset,skip=9"})
    state = (await caller.control("DELETE", "messages")).json
    assert (state["messages"], state["requests"], len(state["faults"])) == (0, 0, 1)
    assert (emulator.messages, emulator.requests, emulator.reports) == ([], [], [])
    assert (await caller.send(RequestId="r-1")).code == "124"


async def test_reset_forgets_everything(emulator: Emulator, caller: Controller) -> None:
    """After a reset the same RequestId is accepted, and nothing is armed."""
    await caller.send(RequestId="r-1")
    await caller.tell("faults", {"spec": "reset,skip=9"})
    state = await caller.tell("reset")
    assert (state["messages"], state["faults"]) == (0, [])
    assert (await caller.send(RequestId="r-1")).code == "100"


async def test_the_state_tells_the_figures() -> None:
    """Balance, counts, clock and faults are shown together."""
    settings = Settings(max_messages=1)
    async with running(balance=2000, seed=7, settings=settings) as (emulator, caller):
        for _ in range(2):
            await caller.send()
        state = await caller.ask("state")
        names = ("url", "balance", "account", "seed", "accepted", "messages", "pruned", "requests")
        assert [state[name] for name in names] == [
            *(emulator.url, 300, "active", 7),
            *(2, 1, 1, 2),
        ]
        assert (state["faults"], state["spent"], state["clock"]["shift"]) == ([], [], 0)
        assert state["settings"]["max_messages"] == 1
        assert state["counts"] == {
            "all": 1,
            "messages": 1,
            "code": 1,
            "trouble": 0,
            "not_taken": 0,
            "pruned": 1,
        }


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "messages?fone=1", 400, "no parameter 'fone'; there are phone, text"),
        ("GET", "ready?x=1", 400, "no parameter 'x'; there are none here"),
        ("GET", "messages?limit=0", 400, "limit must be a whole number, from 1 to 500, not '0'"),
        ("GET", "messages?limit=501", 400, "not '501'"),
        (
            "GET",
            "messages?since=-1",
            400,
            "since must be a whole number, from 0 to 1000000000000000, not '-1'",
        ),
        ("GET", "codes/latest?phone=", 400, "phone must not be empty"),
        ("GET", "messages/latest?request_id=", 400, "request_id must not be empty"),
        ("GET", "messages?pattern=", 400, "pattern must not be empty"),
        ("GET", "messages?text=", 400, "text must not be empty"),
        ("GET", "inbox?phone=", 400, "phone must not be empty"),
        ("GET", "reports?sms_id=", 400, "sms_id must not be empty"),
        ("GET", "inbox?account=shop", 400, "there is no account 'shop'; there are default"),
        ("GET", "messages?account=shop", 400, "there is no account 'shop'"),
        ("GET", "codes/latest?account=shop", 400, "there is no account 'shop'"),
        ("GET", "requests?account=", 400, "there is no account ''"),
        ("GET", "messages?since=²", 400, "since must be"),
        ("GET", f"messages?since={'9' * 5000}", 400, "since must be"),
        ("GET", "messages?phone=12345", 400, "phone: <5 characters> is not a Vietnamese"),
        ("GET", "messages/latest?timeout=x", 400, "timeout must be seconds from 0 to 60, not 'x'"),
        ("GET", "messages/latest?timeout=61", 400, "not '61'"),
        ("GET", "messages/latest?timeout=nan", 400, "not 'nan'"),
        ("GET", "requests?operation=sned", 400, "operation must be one of send, balance, "),
        ("DELETE", "faults/7", 404, "no fault is known by the number '7'"),
        ("POST", "faults/13/again", 404, "no fault is known by the number '13'"),
        ("DELETE", "faults/x", 404, "number 'x'"),
        ("GET", "nothing", 404, "there is no '/_emulator/nothing'"),
        ("PUT", "faults", 405, "'/_emulator/faults' takes DELETE, GET, POST, not 'PUT'"),
        ("HEAD", "messages", 405, ""),
    ],
)
async def test_a_wrong_request_is_refused_by_name(
    caller: Controller, method: str, path: str, status: int, words: str
) -> None:
    """What is wrong is named, as JSON, with what would be right."""
    got = await caller.control(method, path)
    assert got.status == status
    assert words in (got.json["error"] if got.text else "")
    assert got.headers["Content-Type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("faults", b'{"spec":"boom"}', "there is no fault 'boom'; there are reset"),
        ("faults", b'{"spec":7}', "spec must be a string such as"),
        ("faults", b'{"fault":"reset"}', "spec is missing; the body must be a JSON object such"),
        ("faults", b'{"spec":"reset","extra":1}', "there is no field 'extra' here; the body must"),
        ("faults", b"[]", "a JSON object"),
        ("faults", b"\xff", "a JSON object"),
        ("faults", b"[" * 100_000, "a JSON object"),
        ("faults", b"", "a JSON object"),
        ("clock/advance", b'{"seconds":"1h"}', "seconds must be a number, not '\"1h\"'"),
        ("clock/advance", b'{"seconds":true}', "seconds must be a number"),
        ("clock/advance", b'{"seconds":-1}', "a clock advances by 0 seconds or more"),
        ("clock/advance", b'{"seconds":NaN}', "a clock advances by 0 seconds or more"),
        ("clock/advance", b'{"seconds":1e300}', "not past the year 9000"),
    ],
)
async def test_a_wrong_body_is_refused_by_name(
    emulator: Emulator, caller: Controller, path: str, body: bytes, words: str
) -> None:
    """A body that cannot be read changes nothing, and the answer says what is taken."""
    got = await caller.control("POST", path, data=body)
    assert got.status == 400
    assert words in got.json["error"]
    assert emulator.faults == ()
    assert (await caller.send()).code == "100"


async def test_a_body_that_is_too_large_is_refused(caller: Controller) -> None:
    """The bound on requests holds here too."""
    got = await caller.control("POST", "faults", data=b"x" * 200_000)
    assert (got.status, got.json["error"]) == (413, HTTPStatus(413).phrase)


async def test_a_body_that_does_not_come_is_given_up() -> None:
    """A client that stops in its body is told so after `body_timeout`."""
    async with (
        Emulator(settings=Settings(body_timeout=0.05)) as emulator,
        connection(emulator.port) as (reader, writer),
    ):
        head = f"POST /_emulator/faults HTTP/1.1\r\nHost: 127.0.0.1:{emulator.port}\r\n"
        writer.write(f"{head}Content-Length: 10\r\n\r\n".encode())
        line = await asyncio.wait_for(reader.readline(), generous(5))
        assert line.startswith(b"HTTP/1.1 408 ")


async def test_what_is_answered_is_kept_nowhere(caller: Controller) -> None:
    """No cache keeps the messages, and no other site's page may take them in."""
    for path in ("messages", "nothing"):
        headers = (await caller.control("GET", path)).headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in headers["Content-Security-Policy"]


async def test_a_text_is_json_whatever_stands_in_it(caller: Controller) -> None:
    """Quotes, markup, line breaks and surrogate pairs come back as they were sent."""
    content = '</script><script>alert("686868")</script>\r\n\u2028 \U0001f600'
    await caller.request(
        "POST",
        "SendMultipleMessage_V4_post_json",
        data=json.dumps(
            {"ApiKey": "k", "SecretKey": "s", "SmsType": "8", "Phone": PHONE, "Content": content}
        ),
    )
    (message,) = (await caller.ask("messages"))["messages"]
    assert message["content"] == content
