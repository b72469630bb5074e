"""The answers of every operation, byte-shape for byte-shape, as the service's samples show them.

The samples are those of developers.esms.vn. An answer has the shape of its sample where it has the
same names in the same order, the same types and words, and nothing more or less between them; only
what belongs to the account or the message may differ, and it differs in value alone.

Set `ESMS_CONTRACT_API_KEY` and `ESMS_CONTRACT_SECRET_KEY` to hold the real gateway to the samples
that its sandbox can give; nothing is stored, charged or delivered by that.
"""

import os
import re
from collections.abc import Mapping
from typing import Any

import aiohttp
import attrs
import pytest

from esms_async import Credentials
from esms_async.emulator import Clock, Emulator, Settings
from tests.emulator.caller import GET_SEND, POST_SEND, send_fields

REAL_URL = "https://rest.esms.vn/MainService.svc/json/"
REAL_KEYS = {
    "ApiKey": os.environ.get("ESMS_CONTRACT_API_KEY", ""),
    "SecretKey": os.environ.get("ESMS_CONTRACT_SECRET_KEY", ""),
}
KEYS = {"ApiKey": "THE-API-KEY", "SecretKey": "THE-SECRET-KEY"}
WRONG_KEYS = {"ApiKey": "WRONG", "SecretKey": "WRONG"}
SENDS = frozenset({POST_SEND, GET_SEND})
SMS_ID = "the SMSID of the message that was sent before"
SENT = send_fields(RequestId="r-1", campaignid="spring")
PERIOD = {"From": "2000-01-01 00:00:00", "To": "2100-01-01 00:00:00"}


@attrs.frozen
class Case:
    """One sample: what is asked, and what is answered.

    Attributes:
        name: What it shows.
        operation: The operation.
        fields: The fields of the request; the right keys are added where it has none.
        sample: The answer, as the service's page shows it.
        real: True where the sandbox of the real gateway can give it.
        settings: How the emulator is set.
    """

    name: str
    operation: str
    fields: Mapping[str, Any]
    sample: str
    real: bool = False
    settings: Settings = attrs.field(factory=Settings)

    @property
    def method(self) -> str:
        """The HTTP method of the operation."""
        return "GET" if self.operation in {GET_SEND, *GETS} else "POST"


GETS = ("GetSendStatus", "GetSmsReceiverStatus_get")

CASES = (
    Case(
        "a send that is accepted",
        POST_SEND,
        send_fields(ApiKey=None, SecretKey=None, Sandbox="1"),
        '{"CodeResult":"100","CountRegenerate":0,"SMSID":"d8e0a5f7b3c94c1e8f20b6d17a94c53e179"}',
        real=True,
    ),
    Case(
        "a send by GET",
        GET_SEND,
        send_fields(ApiKey=None, SecretKey=None, Sandbox="1", IsUnicode="0"),
        '{"CodeResult":"100","CountRegenerate":0,"SMSID":"d8e0a5f7b3c94c1e8f20b6d17a94c53e179"}',
        real=True,
    ),
    Case(
        "a send with wrong keys",
        POST_SEND,
        send_fields(**WRONG_KEYS, Sandbox="1"),
        '{"CodeResult":"101","CountRegenerate":0,"ErrorMessage":"Authorize Failed"}',
        real=True,
    ),
    Case(
        "a RequestId that was seen",
        POST_SEND,
        SENT,
        '{"CodeResult":"124","CountRegenerate":0,"ErrorMessage":"Request exist 1"}',
    ),
    Case(
        "a RequestId that was seen, with its status",
        POST_SEND,
        SENT,
        '{"CodeResult":"124","CountRegenerate":0,"ErrorMessage":"Request exist 1",'
        '"SendStatus":"5"}',
        settings=Settings(duplicate_tells_status=True),
    ),
    Case(
        "a rejection that has an SMSID",
        POST_SEND,
        send_fields(Phone="0900000146"),
        '{"CodeResult":"146","CountRegenerate":0,"ErrorMessage":"Template not match",'
        '"SMSID":"d8e0a5f7b3c94c1e8f20b6d17a94c53e179"}',
    ),
    Case("no valid request", POST_SEND, send_fields(Content=""), '{"error":"Invalid request"}'),
    Case(
        "the balance",
        "GetBalance_json",
        {},
        '{"Balance":36693,"CodeResponse":"100","UserID":9999}',
        real=True,
    ),
    Case(
        "the balance with wrong keys",
        "GetBalance_json",
        WRONG_KEYS,
        '{"Balance":0,"CodeResponse":"101","ErrorMessage":"Authorize Failed"}',
        real=True,
    ),
    Case(
        "the status of a send",
        "GetSendStatus",
        {"RefId": SMS_ID},
        '{"CodeResponse":"100","SMSID":"d8e0a5f7b3c94c1e8f20b6d17a94c53e179","SendFailed":0,'
        '"SendStatus":5,"SendSuccess":1,"TotalPrice":850.0000,"TotalReceiver":1,"TotalSent":1}',
    ),
    # assumed: no page shows this answer.
    Case(
        "the status of what was never sent",
        "GetSendStatus",
        {"RefId": "0" * 32},
        '{"CodeResponse":"105","SMSID":"d8e0a5f7b3c94c1e8f20b6d17a94c53e179"}',
        real=True,
    ),
    Case(
        "the receivers of a send",
        "GetSmsReceiverStatus_get",
        {"RefId": SMS_ID},
        '{"CodeResult":"100","ReceiverList":[{"IsSent":true,"NetworkName":"Viettel",'
        '"Phone":"0901888484","Retry":0,"SentResult":true}]}',
    ),
    Case(
        "the messages that were sent",
        "GetSmsSentData_V2",
        {**PERIOD, "SmsType": "8", "Page": 1, "PageSize": 500},
        '{"CodeResult":"100","CountTotal":1,"SentData":[{"Campaign":"spring","Content":"686868",'
        '"Phone":"0901888484","ReferenceId":"d8e0a5f7b3c94c1e8f20b6d17a94c53e179",'
        '"SellPrice":850.0000,"SendResult":1,"SendStatus":5,'
        '"SentTime":"/Date(1705484048995+0700)/","SmsId":29000001,"SmsType":8}]}',
    ),
)

# What belongs to the account or the message, by the form that its value has in the samples.
_OWN = {
    r'("SMSID"|"ReferenceId"):"[0-9a-f-]{32,}"': "an id",
    r'("Balance"):[0-9]+(?=,"CodeResponse":"100")': "a number",
    r'("UserID"|"SmsId"):[0-9]+(?=[,}])': "a number",
    r'("SentTime"):"/Date\([0-9]{13}\+0700\)/"': "a date",
    r'("Content"|"NetworkName"):"[^"]+"': "a text",
    r'(?<="CodeResult":"146","CountRegenerate":0,)("ErrorMessage"):"[^"]+"': "a text",
}


def shape(answer: str) -> str:
    """Return an answer with the values that may differ taken out."""
    for own, kind in _OWN.items():
        answer = re.sub(own, rf"\1:<{kind}>", answer)
    return answer


async def ask(
    url: str, keys: Mapping[str, str], case: Case, fields: Mapping[str, Any]
) -> tuple[int, str]:
    """Ask a gateway; return the HTTP status and the body. The real one gets sandbox sends alone."""
    fields = {**keys, **fields}
    if url == REAL_URL and case.operation in SENDS and fields.get("Sandbox") != "1":
        raise ValueError(f"{case.name}: this send would reach a phone")
    body, query = (fields, None) if case.method == "POST" else (None, fields)
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
        session.request(
            case.method, url + case.operation, json=body, params=query, allow_redirects=False
        ) as response,
    ):
        return response.status, await response.text()


def named(case: Case) -> str:
    """Return the name of a case."""
    return case.name


@pytest.mark.parametrize("case", CASES, ids=named)
async def test_the_emulator_answers_as_the_sample_shows(case: Case) -> None:
    """Names, order, types and words are those of the sample, a minute after a message was sent."""
    clock = Clock(running=False)
    async with Emulator(
        credentials=Credentials(*KEYS.values()), clock=clock, settings=case.settings
    ) as emulator:
        sent = attrs.evolve(case, operation=POST_SEND)
        assert (await ask(emulator.url, KEYS, sent, SENT))[0] == 200
        clock.advance(60)
        sms_id = emulator.messages[0].sms_id
        fields = {name: sms_id if value is SMS_ID else value for name, value in case.fields.items()}
        status, answer = await ask(emulator.url, KEYS, case, fields)
    assert (status, shape(answer)) == (200, shape(case.sample))


@pytest.mark.skipif(
    not all(REAL_KEYS.values()),
    reason="ESMS_CONTRACT_API_KEY and ESMS_CONTRACT_SECRET_KEY hold no keys of a real account",
)
@pytest.mark.parametrize("case", [case for case in CASES if case.real], ids=named)
async def test_the_real_sandbox_answers_as_the_sample_shows(case: Case) -> None:
    """The service itself still answers as its pages show."""
    status, answer = await ask(REAL_URL, REAL_KEYS, case, case.fields)
    assert (status, shape(answer)) == (200, shape(case.sample))


@pytest.mark.parametrize("case", [case for case in CASES if case.operation in SENDS], ids=named)
async def test_no_message_could_reach_a_phone(case: Case) -> None:
    """Whatever the real gateway is asked to send is for its sandbox; anything else is not sent."""
    assert case.fields.get("Sandbox") == "1" or not case.real
    with pytest.raises(ValueError, match="would reach a phone"):
        await ask(REAL_URL, REAL_KEYS, case, {**case.fields, "Sandbox": "0"})


@pytest.mark.parametrize(
    ("other", "sample"),
    [
        (lambda sample: sample.replace(",", ", "), CASES[0]),
        (lambda sample: sample.replace('"100"', "100"), CASES[0]),
        (lambda sample: sample.replace("SMSID", "SmsId"), CASES[0]),
        (lambda sample: sample.replace("850.0000", "850.0"), CASES[9]),
        (lambda sample: sample.replace('"SendFailed":0,', ""), CASES[9]),
        (lambda sample: sample.replace("36693", '"36693"'), CASES[7]),
        (lambda sample: sample.replace("+0700", ""), CASES[12]),
        (lambda sample: sample.replace("true", "1"), CASES[11]),
    ],
)
def test_another_spelling_order_or_type_is_another_shape(other: Any, sample: Case) -> None:
    """A table that took anything would prove nothing."""
    assert other(sample.sample) != sample.sample
    assert shape(other(sample.sample)) != shape(sample.sample)
