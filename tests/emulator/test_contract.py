"""Answers, byte-shape for byte-shape, as the samples on developers.esms.vn show them.

Set `ESMS_CONTRACT_API_KEY` and `ESMS_CONTRACT_SECRET_KEY` to hold the real gateway's sandbox to the
same shapes; no message is stored, charged or delivered by that.
"""

import os
import re
from collections.abc import AsyncIterator

import aiohttp
import pytest

from esms_async.emulator import Clock, Emulator
from esms_async.request_ids import new_request_id
from tests.emulator.caller import GET_SEND, POST_SEND, Caller, send_fields

REAL = "https://rest.esms.vn/MainService.svc/json/"
REAL_KEYS = {
    "ApiKey": os.environ.get("ESMS_CONTRACT_API_KEY", ""),
    "SecretKey": os.environ.get("ESMS_CONTRACT_SECRET_KEY", ""),
}

ACCEPTED = r'\{"CodeResult":"100","CountRegenerate":0,"SMSID":"[0-9a-f-]{32,}"\}'
WRONG_KEYS = r'\{"CodeResult":"101","CountRegenerate":0,"ErrorMessage":"Authorize Failed"\}'
DUPLICATE = r'\{"CodeResult":"124","CountRegenerate":0,"ErrorMessage":"Request exist 1"\}'
REJECTED = (
    r'\{"CodeResult":"146","CountRegenerate":0,"ErrorMessage":"[^"]+","SMSID":"[0-9a-f-]{32,}"\}'
)
BALANCE = r'\{"Balance":[0-9]+,"CodeResponse":"100","UserID":[0-9]+\}'
NO_BALANCE = r'\{"Balance":0,"CodeResponse":"101","ErrorMessage":"Authorize Failed"\}'
SEND_STATUS = (
    r'\{"CodeResponse":"100","SMSID":"[0-9a-f-]{32,}","SendFailed":0,"SendStatus":5,'
    r'"SendSuccess":1,"TotalPrice":850\.0000,"TotalReceiver":1,"TotalSent":1\}'
)
NO_STATUS = r'\{"CodeResponse":"10[15]","SMSID":"unknown"\}'
RECEIVERS = (
    r'\{"CodeResult":"100","ReceiverList":\[\{"IsSent":true,"NetworkName":"[A-Za-z]+",'
    r'"Phone":"0901888484","Retry":0,"SentResult":true\}\]\}'
)
SENT_DATA = (
    r'\{"CodeResult":"100","CountTotal":1,"SentData":\[\{"Campaign":"spring",'
    r'"Content":"686868 la ma xac minh cua ban","Phone":"0901888484",'
    r'"ReferenceId":"[0-9a-f-]{32,}","SellPrice":850\.0000,"SendResult":1,"SendStatus":5,'
    r'"SentTime":"/Date\([0-9]{13}\+0700\)/","SmsId":[0-9]+,"SmsType":8\}\]\}'
)
INVALID = r'\{"error":"Invalid request"\}'


async def call(
    session: aiohttp.ClientSession, url: str, method: str, fields: dict[str, str]
) -> str:
    """Call an operation, and return the answer with the white space between its parts taken out."""
    body, query = (fields, None) if method == "POST" else (None, fields)
    async with session.request(
        method, url, json=body, params=query, allow_redirects=False
    ) as response:
        assert response.status == 200
        return re.sub(r'(?<=[{\[,:"0-9])\s+(?=["\[\]{}0-9])', "", await response.text())


@pytest.fixture(
    params=[
        "emulator",
        pytest.param(
            "real",
            marks=pytest.mark.skipif(
                not all(REAL_KEYS.values()), reason="the keys of a real account are not set"
            ),
        ),
    ]
)
async def gateway_url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """The URL of an emulator; and that of the real gateway, where its keys are set."""
    if request.param == "real":
        yield REAL
        return
    async with Emulator() as emulator:
        yield emulator.url


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A plain session without cookies."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as opened:
        yield opened


def keys(url: str) -> dict[str, str]:
    """Return keys that open the account at a URL."""
    return REAL_KEYS if url == REAL else {"ApiKey": "key", "SecretKey": "secret"}


@pytest.mark.parametrize(("method", "name"), [("POST", POST_SEND), ("GET", GET_SEND)])
async def test_a_sandbox_send(
    gateway_url: str, session: aiohttp.ClientSession, method: str, name: str
) -> None:
    """A send that the sandbox takes is answered with code 100 and an SMSID."""
    fields = send_fields(
        **keys(gateway_url), Sandbox="1", IsUnicode="0", RequestId=new_request_id()
    )
    assert re.fullmatch(ACCEPTED, await call(session, gateway_url + name, method, fields))


async def test_wrong_keys(gateway_url: str, session: aiohttp.ClientSession) -> None:
    """A send with wrong keys is answered with code 101 and its words."""
    wrong = {"ApiKey": "", "SecretKey": ""}
    fields = send_fields(**wrong, Sandbox="1", RequestId=new_request_id())
    assert re.fullmatch(WRONG_KEYS, await call(session, gateway_url + POST_SEND, "POST", fields))


async def test_the_balance(gateway_url: str, session: aiohttp.ClientSession) -> None:
    """The balance is a number, beside a code that is a string."""
    got = await call(session, gateway_url + "GetBalance_json", "POST", keys(gateway_url))
    assert re.fullmatch(BALANCE, got)


async def test_the_balance_with_wrong_keys(
    gateway_url: str, session: aiohttp.ClientSession
) -> None:
    """With wrong keys the balance is 0."""
    wrong = {"ApiKey": "", "SecretKey": ""}
    got = await call(session, gateway_url + "GetBalance_json", "POST", wrong)
    assert re.fullmatch(NO_BALANCE, got)


async def test_the_status_of_what_was_never_sent(
    gateway_url: str, session: aiohttp.ClientSession
) -> None:
    """An SMSID that is not known is told back with its code."""
    fields = {**keys(gateway_url), "RefId": "unknown"}
    got = await call(session, gateway_url + "GetSendStatus", "GET", fields)
    assert re.fullmatch(NO_STATUS, got)


# What follows stores messages, so that it is asked of the emulator alone.


async def test_a_duplicate(caller: Caller) -> None:
    """The answer 124 has no SMSID."""
    await caller.send(RequestId="r-1")
    assert re.fullmatch(DUPLICATE, (await caller.send(RequestId="r-1")).text)


async def test_a_rejection_with_an_sms_id(caller: Caller) -> None:
    """The answer 146 has one, and is a rejection all the same."""
    assert re.fullmatch(REJECTED, (await caller.send(Phone="0900000146")).text)


async def test_an_invalid_request(caller: Caller) -> None:
    """What has no code has nothing but the word `error`."""
    assert re.fullmatch(INVALID, (await caller.send(Content="")).text)


async def test_a_message_that_was_delivered() -> None:
    """The three calls that tell of a sent message, with prices of four decimals."""
    clock = Clock(running=False)
    async with Emulator(clock=clock) as emulator, Caller.to(emulator) as caller:
        got = await caller.send(RequestId="r-1", campaignid="spring")
        assert re.fullmatch(ACCEPTED, got.text)
        clock.advance(60)
        sms_id = got.json["SMSID"]
        assert re.fullmatch(SEND_STATUS, (await caller.get("GetSendStatus", RefId=sms_id)).text)
        receivers = await caller.get("GetSmsReceiverStatus_get", RefId=sms_id)
        assert re.fullmatch(RECEIVERS, receivers.text)
        sent = await caller.post(
            "GetSmsSentData_V2",
            SmsType="8",
            From="2000-01-01 00:00:00",
            To="2100-01-01 00:00:00",
            Page=1,
            PageSize=500,
        )
        assert re.fullmatch(SENT_DATA, sent.text)
