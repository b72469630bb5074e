"""The operations over HTTP: names, slashes, methods, fields, and what is written down of them."""

import asyncio
import contextlib
from typing import Any

import aiohttp
import pytest

from esms_async import Credentials
from esms_async.emulator import (
    AccountState,
    Clock,
    Emulator,
    Event,
    EventKind,
    Operation,
    Settings,
)
from tests.emulator.caller import CONTENT, GET_SEND, KEYS, PHONE, POST_SEND, Caller, send_fields

POSTS = [POST_SEND, "GetBalance_json", "GetSmsSentData_V2"]
GETS = [GET_SEND, "GetSendStatus", "GetSmsReceiverStatus_get"]


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("name", POSTS + GETS)
async def test_every_operation_answers_with_and_without_a_slash(
    caller: Caller, name: str, slash: str
) -> None:
    """Neither spelling redirects: a redirect would repeat the keys, or lose the body."""
    fields = send_fields(RefId="unknown")
    if name in POSTS:
        got = await caller.request("POST", name + slash, json=fields)
    else:
        got = await caller.request("GET", name + slash, params=fields)
    assert got.status == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "POST"])
@pytest.mark.parametrize("name", POSTS + GETS)
async def test_any_other_method_is_refused(
    emulator: Emulator, caller: Caller, name: str, method: str
) -> None:
    """A method that an operation does not have does nothing; HEAD least of all sends a message."""
    if method == ("POST" if name in POSTS else "GET"):
        return
    got = await caller.request(method, name, params=send_fields())
    assert got.status == 405
    assert emulator.messages == []


@pytest.mark.parametrize(
    "path",
    ["", "Nothing", "../json", "%2e%2e/", "/" + POST_SEND, POST_SEND + "//", POST_SEND + "/x"],
)
async def test_any_other_path_is_not_found(emulator: Emulator, caller: Caller, path: str) -> None:
    """No trick with a path reaches an operation, or a redirect."""
    got = await caller.request("POST", path, json=send_fields())
    assert got.status == 404
    assert emulator.messages == []


async def test_field_names_are_read_in_any_case(emulator: Emulator, caller: Caller) -> None:
    """A field counts however its name is spelled, by POST and by GET."""
    odd = {name.swapcase(): value for name, value in send_fields(RequestId="r-1").items()}
    assert (await caller.request("POST", POST_SEND, json=odd)).code == "100"
    assert (await caller.request("GET", GET_SEND, params=odd)).code == "124"
    assert emulator.accepted("r-1") == 1


async def test_a_send_by_get_is_a_send(emulator: Emulator, caller: Caller) -> None:
    """The same fields in the query of a GET make the same message, with any character in them."""
    content = "Mã xác minh: 100% & 686868 + cảm ơn"
    got = await caller.get(
        GET_SEND, Phone=PHONE, Content=content, SmsType="8", IsUnicode="1", RequestId="r-1"
    )
    assert got.code == "100"
    (message,) = emulator.messages
    assert (message.content, message.unicode, message.request_id) == (content, True, "r-1")


async def test_of_a_field_that_comes_twice_the_first_counts(
    emulator: Emulator, caller: Caller
) -> None:
    """A query that names a field twice is read by its first value."""
    fields = [*send_fields().items(), ("Content", "another")]
    await caller.request("GET", GET_SEND, params=fields)
    assert emulator.messages[0].content == CONTENT


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[1]", b"\xff" * 100])
async def test_a_body_that_cannot_be_read_meets_a_page(
    emulator: Emulator, caller: Caller, body: bytes
) -> None:
    """What is no JSON object is answered with HTTP 400 and HTML, and is no request."""
    got = await caller.request("POST", POST_SEND, data=body)
    assert got.status == 400
    assert got.headers["Content-Type"].startswith("text/html")
    assert emulator.requests == []


async def test_coded_answers_are_json(caller: Caller) -> None:
    """A coded answer has status 200 and the content type of the service."""
    got = await caller.send()
    assert (got.status, got.headers["Content-Type"]) == (200, "application/json; charset=utf-8")


async def test_of_equal_requests_at_once_one_is_accepted(
    emulator: Emulator, caller: Caller
) -> None:
    """However many equal sends come together, one meets 100 and all others 124."""
    got = await asyncio.gather(*(caller.send(RequestId="r-1") for _ in range(50)))
    assert sorted(answer.code or "" for answer in got) == ["100"] + ["124"] * 49
    assert emulator.accepted("r-1") == 1
    assert len(emulator.messages) == 1


async def test_of_equal_requests_that_wait_together_one_is_accepted(
    emulator: Emulator, caller: Caller
) -> None:
    """The same holds where a fault makes them all wait before they are checked."""
    emulator.fault("delay:30ms")
    got = await asyncio.gather(*(caller.send(RequestId="r-1") for _ in range(20)))
    assert sorted(answer.code or "" for answer in got) == ["100"] + ["124"] * 19


async def test_a_request_is_written_down_with_what_became_of_it() -> None:
    """The record of a request has its fields with the keys masked, the decision and the answer."""
    async with Emulator() as emulator, Caller.to(emulator) as caller:
        await caller.send(RequestId="r-1")
        await caller.send(RequestId="r-1", Sandbox="1", Phone="1")
        await caller.post("GetBalance_json")
        first, second, third = emulator.requests
    assert (first.number, first.operation, first.method) == (1, Operation.SEND, "POST")
    assert first.fields["Content"] == CONTENT
    assert (first.fields["ApiKey"], first.fields["SecretKey"]) == ("***", "***")
    assert (first.request_id, first.phone, first.fault) == ("r-1", PHONE, None)
    assert (first.decided, first.told, first.status) == ("100", "100", 200)
    assert (first.accepted, first.sms_id) == (True, emulator.messages[0].sms_id)
    assert (second.sandbox, second.decided, second.accepted) == (True, "108", False)
    assert (third.operation, third.decided, third.phone) == (Operation.BALANCE, "100", None)


@pytest.mark.parametrize(
    ("spec", "decided", "told", "status"),
    [
        ("reset", None, None, None),
        ("reset,phase=after", "100", None, None),
        ("http:503,phase=after", "100", None, 503),
        ("code:103,phase=after", "100", "103", 200),
        ("code:103", None, "103", 200),
        ("dribble:0", "100", "100", 200),
        ("delay:0", "100", "100", 200),
        ("truncate:0.5,phase=after", "100", None, None),
    ],
)
async def test_what_a_fault_did_is_written_down(
    emulator: Emulator,
    caller: Caller,
    *,
    spec: str,
    decided: str | None,
    told: str | None,
    status: int | None,
) -> None:
    """The record tells apart what the gateway decided and what the sender was told."""
    emulator.fault(spec)
    with contextlib.suppress(aiohttp.ClientError):
        await caller.send()
    (seen,) = emulator.requests
    assert (seen.fault, seen.decided, seen.told, seen.status) == (spec, decided, told, status)
    assert seen.accepted is (decided == "100")


async def test_keys_show_nowhere_in_what_is_kept(emulator: Emulator, caller: Caller) -> None:
    """Neither key is in any record, by whichever way it came."""
    await caller.send(RequestId="r-1")
    await caller.get(GET_SEND, Phone=PHONE, Content=CONTENT, SmsType="8")
    await caller.request("POST", POST_SEND, json={"APIKEY": KEYS["ApiKey"], "x": "y"})
    kept = repr([dict(request.fields) for request in emulator.requests])
    kept += repr(emulator.requests) + repr(emulator.messages) + repr(emulator)
    assert len(emulator.requests) == 3
    assert not any(key in kept for key in KEYS.values())


async def test_the_balance_is_told_and_goes_down() -> None:
    """GetBalance_json tells what is left, as a number."""
    async with Emulator(balance=36693) as emulator, Caller.to(emulator) as caller:
        await caller.send()
        got = await caller.post("GetBalance_json")
        assert got.json == {"Balance": 36693 - 850, "CodeResponse": "100", "UserID": 9999}


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (AccountState.LOCKED, "143"),
        (AccountState.IP_NOT_LISTED, "140"),
        (AccountState.NO_PRICE_LIST, "100"),
    ],
)
async def test_the_state_of_the_account_stops_the_other_calls(
    emulator: Emulator, caller: Caller, state: AccountState, code: str
) -> None:
    """A locked account, or a wrong address, can ask nothing; a missing price list stops sends."""
    sent = await caller.send()
    emulator.account = state
    assert (await caller.post("GetBalance_json")).code == code
    for operation in ("GetSendStatus", "GetSmsReceiverStatus_get"):
        assert (await caller.get(operation, RefId=sent.json["SMSID"])).code == code


async def test_the_status_calls_follow_the_clock() -> None:
    """A message waits, is finished after the delay, and is not known after seven days."""
    clock = Clock(running=False)
    async with (
        Emulator(clock=clock, settings=Settings(report_delay=10)) as emulator,
        Caller.to(emulator) as caller,
    ):
        sms_id = (await caller.send()).json["SMSID"]

        async def status() -> tuple[Any, ...]:
            one = (await caller.get("GetSendStatus", RefId=sms_id)).json
            two = (await caller.get("GetSmsReceiverStatus_get", RefId=sms_id)).json
            receiver = two.get("ReceiverList", [{}])[0]
            return one["CodeResponse"], one.get("SendStatus"), receiver.get("SentResult")

        assert await status() == ("100", 2, False)
        clock.advance(10)
        assert await status() == ("100", 5, True)
        clock.advance(7 * 24 * 3600)
        assert await status() == ("105", None, None)


async def test_a_status_can_lag_behind_the_send() -> None:
    """`status_lag` has the status calls answer 105 for so long, of the messages that it fits."""
    clock = Clock(running=False)
    async with Emulator(clock=clock) as emulator, Caller.to(emulator) as caller:
        emulator.fault("status_lag:3s,times=1")
        lagging, other = [(await caller.send()).json["SMSID"] for _ in range(2)]
        assert (await caller.get("GetSendStatus", RefId=lagging)).code == "105"
        assert (await caller.get("GetSmsReceiverStatus_get", RefId=lagging)).code == "105"
        assert (await caller.get("GetSendStatus", RefId=other)).code == "100"
        clock.advance(3)
        assert (await caller.get("GetSendStatus", RefId=lagging)).code == "100"


async def test_a_failed_delivery_is_told_by_the_status_calls(
    emulator: Emulator, caller: Caller
) -> None:
    """`dlr:failed` shows as SendFailed, and as a receiver without a result."""
    emulator.fault("dlr:failed")
    sms_id = (await caller.send()).json["SMSID"]
    emulator.clock.advance(60)
    status = (await caller.get("GetSendStatus", RefId=sms_id)).json
    assert (status["SendStatus"], status["SendSuccess"], status["SendFailed"]) == (5, 0, 1)
    receivers = (await caller.get("GetSmsReceiverStatus_get", RefId=sms_id)).json["ReceiverList"]
    assert [(one["IsSent"], one["SentResult"]) for one in receivers] == [(True, False)]


async def test_a_fault_of_the_delivery_is_not_spent_on_a_refusal(
    emulator: Emulator, caller: Caller
) -> None:
    """`times` of `dlr` and `status_lag` counts messages that are accepted."""
    armed = [emulator.fault("dlr:failed,times=1"), emulator.fault("status_lag:1h,times=1")]
    await caller.send(Phone="0900000103")
    await caller.send(Sandbox="1")
    assert [one.used for one in armed] == [0, 0]
    await caller.send()
    assert [one.used for one in armed] == [1, 1]


PERIOD = {"From": "2000-01-01 00:00:00", "To": "2100-01-01 00:00:00"}


async def test_the_sent_data_come_in_pages(emulator: Emulator, caller: Caller) -> None:
    """CountTotal counts the period, SentData is the page; each row is found by its SMSID."""
    for number in range(5):
        await caller.send(Content=f"number {number}", campaignid="spring")
    got = await caller.post("GetSmsSentData_V2", **PERIOD, SmsType="8", Page=2, PageSize=2)
    assert got.json["CountTotal"] == 5
    rows = got.json["SentData"]
    assert [row["Content"] for row in rows] == ["number 2", "number 3"]
    assert [row["ReferenceId"] for row in rows] == [
        message.sms_id for message in emulator.messages[2:4]
    ]
    assert {row["SendResult"] for row in rows} == {2}
    emulator.clock.advance(60)
    got = await caller.post("GetSmsSentData_V2", **PERIOD, Page="3", PageSize="2")
    assert [(row["SendResult"], row["SendStatus"]) for row in got.json["SentData"]] == [(1, 5)]


async def test_the_sent_data_are_of_a_period_and_a_type(caller: Caller) -> None:
    """Another period, or another type of message, has none."""
    await caller.send()
    past = {"From": "2000-01-01 00:00:00", "To": "2001-01-01 00:00:00"}
    for asked in (past, {**PERIOD, "SmsType": "2"}):
        got = await caller.post("GetSmsSentData_V2", **asked)
        assert got.json == {"CodeResult": "100", "CountTotal": 0, "SentData": []}


@pytest.mark.parametrize(
    "wrong", [{"From": "yesterday"}, {"To": ""}, {"Page": 0}, {"PageSize": 0}, {"Page": "one"}]
)
async def test_sent_data_of_no_period_are_refused(caller: Caller, wrong: dict[str, Any]) -> None:
    """An invalid period or page gets the answer without a code."""
    got = await caller.post("GetSmsSentData_V2", **{**PERIOD, **wrong})
    assert got.json == {"error": "Invalid request"}


async def test_a_fault_strikes_the_operation_that_it_names(
    emulator: Emulator, caller: Caller
) -> None:
    """`@balance` leaves sends alone; a code is written the way the operation writes it."""
    emulator.fault("code:103@balance")
    emulator.fault("code:105@receiver_status")
    emulator.fault("code:143@status")
    emulator.fault("code:101@sent_data")
    assert (await caller.send()).code == "100"
    assert (await caller.post("GetBalance_json")).json["CodeResponse"] == "103"
    assert (await caller.get("GetSmsReceiverStatus_get", RefId="x")).json["CodeResult"] == "105"
    assert (await caller.get("GetSendStatus", RefId="x")).json == {
        "CodeResponse": "143",
        "SMSID": "x",
    }
    assert (await caller.post("GetSmsSentData_V2")).json["CodeResult"] == "101"


async def test_a_fault_strikes_the_phone_that_it_names(emulator: Emulator, caller: Caller) -> None:
    """`phone=` picks by the number, however the request spells it."""
    emulator.fault("code:103,phone=0901888484")
    assert (await caller.send(Phone="+84 901 888 484")).code == "103"
    assert (await caller.send(Phone="0901888485")).code == "100"
    assert (await caller.send(Phone="nonsense")).code == "108"
    assert (await caller.post("GetBalance_json")).code == "100"


async def test_the_invalid_answer_can_be_set_to_another_status() -> None:
    """Whether `{"error": …}` comes with 200 or 400 is an assumption."""
    settings = Settings(invalid_status=400)
    async with Emulator(settings=settings) as emulator, Caller.to(emulator) as caller:
        got = await caller.send(Content=None)
        assert (got.status, got.json) == (400, {"error": "Invalid request"})


async def test_the_rate_limit_is_told_with_retry_after() -> None:
    """Above the limit that was set, HTTP 429 says when to come again."""
    settings = Settings(sends_per_second=1)
    clock = Clock(running=False)
    async with (
        Emulator(settings=settings, clock=clock) as emulator,
        Caller.to(emulator) as caller,
    ):
        got = [await caller.send() for _ in range(2)]
        assert [answer.status for answer in got] == [200, 429]
        assert got[1].headers["Retry-After"] == "1"


async def test_only_its_credentials_open_the_account() -> None:
    """With credentials set, the gateway knows no other keys, on any operation."""
    async with (
        Emulator(credentials=Credentials("key", "secret")) as emulator,
        Caller.to(emulator) as caller,
    ):
        assert (await caller.send()).code == "101"
        assert (await caller.send(ApiKey="key", SecretKey="secret")).code == "100"
        for name in ("GetBalance_json", "GetSmsSentData_V2"):
            assert (await caller.post(name)).code == "101"
        for name in ("GetSendStatus", "GetSmsReceiverStatus_get"):
            assert (await caller.get(name)).code == "101"


async def test_listeners_hear_of_messages_and_requests(emulator: Emulator, caller: Caller) -> None:
    """An accepted send is told as a message, then as a request; a refused one as a request."""
    heard: list[tuple[EventKind, str | None]] = []

    def listen(event: Event) -> None:
        heard.append((event.kind, None if event.request is None else event.request.decided))

    end = emulator.subscribe(listen)
    await caller.send()
    await caller.send(Phone="1")
    end()
    await caller.send()
    assert heard == [
        (EventKind.MESSAGE, None),
        (EventKind.REQUEST, "100"),
        (EventKind.REQUEST, "108"),
    ]
