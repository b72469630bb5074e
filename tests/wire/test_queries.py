"""The questions to the gateway and their answers."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esms_async import (
    Brandname,
    ConfigurationError,
    Message,
    QueryAccountRejected,
    QueryError,
    QueryRejected,
    QueryUnanswered,
    ZaloTemplate,
)
from esms_async._model.messages import VIETNAM_TIME
from esms_async._model.routes import FIXED_NUMBER
from esms_async._wire.queries import (
    GatewayQuery,
    balance_query,
    brandnames_query,
    check_period,
    decode,
    price_query,
    receivers_query,
    sent_query,
    status_query,
    templates_query,
    zalo_status_query,
)
from esms_async.codes import RouteKind
from esms_async.queries import (
    AccountBrandname,
    Balance,
    BrandnameTemplate,
    BrandnameType,
    Price,
    Receiver,
    SendResult,
    SendStatus,
    SentMessage,
    SmsStatus,
    Templates,
    ZaloDelivery,
    ZaloStatus,
)
from tests.factories import API_KEY, CREDENTIALS, JSON_VALUES, SECRET_KEY

NOON = datetime(2026, 5, 1, 12, tzinfo=VIETNAM_TIME)
BRAND = Brandname("Baotrixemay")
MESSAGE = Message("0901888484", "686868 la ma", unicode=True)
QUERIES: list[GatewayQuery[object]] = [
    balance_query(),
    status_query("d8e0"),
    receivers_query("d8e0"),
    sent_query(NOON, NOON, 1),
    brandnames_query(),
    templates_query("Baotrixemay"),
    price_query(MESSAGE, BRAND),
    zalo_status_query("4097311281936189049", "6dc7"),
]


def read(query: GatewayQuery[object], answer: object, status: int = 200) -> object:
    """Decode an answer."""
    return decode(query, status, json.dumps(answer).encode(), CREDENTIALS)


@pytest.mark.parametrize(
    "answer",
    [
        {"Balance": 36693, "CodeResponse": "100", "UserID": 9999},
        {"Balance": "36693.0000", "CodeResponse": 100, "UserID": "9999"},
        {"balance": 36693.0, "CODERESULT": " 100 ", "userid": 9999, "New": {}},
    ],
)
def test_the_balance(answer: object) -> None:
    """Numbers come as strings too, names in any case, and the code under either of its names."""
    assert read(balance_query(), answer) == Balance(Decimal(36693), "9999")


def test_the_balance_of_an_account_without_a_number() -> None:
    """The number of the account may be missing, the balance may not."""
    assert read(balance_query(), {"Balance": 0, "CodeResponse": "100"}) == Balance(Decimal(0))
    with pytest.raises(QueryUnanswered, match="GetBalance_json: the answer holds no Balance"):
        read(balance_query(), {"Balance": None, "CodeResponse": "100"})


def test_a_status() -> None:
    """The sample of the documents."""
    answer = {
        "CodeResponse": "100",
        "SMSID": "d8e0",
        "SendFailed": 0,
        "SendStatus": 5,
        "SendSuccess": 1,
        "TotalPrice": 850.0,
        "TotalReceiver": 1,
        "TotalSent": 1,
    }
    expected = SmsStatus("d8e0", SendStatus.FINISHED, 1, 1, 1, 0, Decimal(850))
    assert read(status_query("d8e0"), answer) == expected
    as_text = {name.lower(): str(value) for name, value in answer.items()}
    assert read(status_query("d8e0"), as_text) == expected


def test_a_status_that_tells_little() -> None:
    """What is missing is None, and a status that no page lists is passed on."""
    assert read(status_query("d8e0"), {"CodeResult": "100"}) == SmsStatus("d8e0", None)
    answer = {"CodeResult": "100", "SendStatus": "9", "TotalPrice": "much", "SMSID": None}
    status = read(status_query("d8e0"), answer)
    assert status == SmsStatus("d8e0", 9)


def test_not_known_is_no_error() -> None:
    """105 is an answer to a query for one message, and an error elsewhere."""
    for query in (status_query("d8e0"), receivers_query("d8e0")):
        assert read(query, {"CodeResponse": "105"}) is None
    with pytest.raises(QueryRejected) as caught:
        read(balance_query(), {"CodeResponse": "105"})
    assert caught.value.code == "105"


def test_the_receivers() -> None:
    """The sample of the documents, and one in which everything is missing."""
    row = {
        "IsSent": True,
        "NetworkName": "Viettel",
        "Phone": "0901888484",
        "Retry": 0,
        "SentResult": "true",
    }
    answer = {"CodeResult": "100", "ReceiverList": [row, {}]}
    receiver = Receiver("0901888484", "Viettel", sent=True, delivered=True, retries=0)
    assert read(receivers_query("d8e0"), answer) == (receiver, Receiver(None))
    assert read(receivers_query("d8e0"), {"CodeResult": "100", "ReceiverList": None}) == ()


def test_a_page_of_what_was_sent() -> None:
    """The sample of the documents, and one in which everything is missing."""
    row = {
        "Campaign": "spring",
        "Content": "686868",
        "Phone": "0901888484",
        "ReferenceId": "d8e0",
        "SellPrice": 850.0,
        "SendResult": 1,
        "SendStatus": 5,
        "SentTime": "/Date(1705484048995+0700)/",
        "SmsId": 29000001,
        "SmsType": 8,
    }
    odd = {"SendResult": 7, "SendStatus": "6", "Campaign": ""}
    page = read(
        sent_query(NOON, NOON, 1), {"CodeResult": "100", "CountTotal": "2", "SentData": [row, odd]}
    )
    sent_at = datetime(2024, 1, 17, 9, 34, 8, 995000, UTC)
    line = SentMessage(
        "d8e0",
        "0901888484",
        "686868",
        "spring",
        sent_at,
        SendStatus.FINISHED,
        SendResult.SUCCEEDED,
        Decimal(850),
        "8",
        "29000001",
    )
    assert page == (line, SentMessage(None, None, None, send_status=6, send_result=7))


@pytest.mark.parametrize("name", ["SentData", "ReceiverList"])
@pytest.mark.parametrize("value", [7, {}, "none", [None], [[]], ["x"]])
def test_an_invalid_list(name: str, value: object) -> None:
    """Lines are never passed over in silence: anything but a list of objects can't be read."""
    query: GatewayQuery[object] = (
        sent_query(NOON, NOON, 1) if name == "SentData" else receivers_query("d8e0")
    )
    with pytest.raises(QueryUnanswered, match=name):
        read(query, {"CodeResult": "100", name: value})


@pytest.mark.parametrize("code", ["101", "140", "143"])
def test_a_refused_account(code: str) -> None:
    """It is told apart from other refusals, and the gateway's words show without secrets."""
    words = f"Authorize Failed {API_KEY} {SECRET_KEY} 0901888484"
    with pytest.raises(QueryAccountRejected) as caught:
        read(balance_query(), {"Balance": 0, "CodeResponse": code, "ErrorMessage": words})
    error = caught.value
    assert (error.code, error.status, error.operation) == (code, 200, "GetBalance_json")
    assert error.detail == "Authorize Failed *** *** ***"
    assert API_KEY not in str(error) + repr(error)


def test_another_refusal() -> None:
    """A code that no page lists is a refusal that carries it, with or without words."""
    with pytest.raises(QueryRejected) as caught:
        read(status_query("d8e0"), {"CodeResponse": 7777})
    assert not isinstance(caught.value, QueryAccountRejected)
    assert (caught.value.code, caught.value.detail) == ("7777", None)


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_refusal_by_http(status: int) -> None:
    """A 4xx is a refusal whatever its body says."""
    with pytest.raises(QueryRejected, match=f"refused with HTTP status {status}") as caught:
        read(balance_query(), {"Balance": 1, "CodeResponse": "100"}, status)
    assert (caught.value.code, caught.value.status) == (None, status)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b"null"),
        (200, b'{"error":"Invalid request"}'),
        (200, b'{"CodeResponse":true}'),
        (200, b'{"CodeResponse":"1e2"}'),
        (200, b'{"CodeResponse":' + b"9" * 5000 + b"}"),
        (302, b'{"Balance":1,"CodeResponse":"100"}'),
        (429, b'{"Balance":1,"CodeResponse":"100"}'),
        (500, b'{"Balance":1,"CodeResponse":"100"}'),
        (503, b"<html>"),
    ],
)
def test_no_answer(status: int, body: bytes) -> None:
    """What can't be read, and what says "not now", is worth asking again."""
    with pytest.raises(QueryUnanswered) as caught:
        decode(balance_query(), status, body, CREDENTIALS, retry_after=2.0)
    assert caught.value.retry_after == 2.0
    assert isinstance(caught.value, ConnectionError)


def test_a_hook_that_fails() -> None:
    """A reader of JSON may fail in any way."""

    def fail(_: bytes) -> object:
        raise ZeroDivisionError

    with pytest.raises(QueryUnanswered):
        decode(balance_query(), 200, b"{}", CREDENTIALS, loads=fail)


def test_what_is_asked() -> None:
    """The period goes out in Vietnam time and in whole seconds that hold all of it."""
    since = datetime(2026, 5, 1, 5, 0, 0, 999999, UTC)
    query = sent_query(since, since + timedelta(seconds=1), 3)
    assert query.in_body
    assert json.loads(query.body(CREDENTIALS)) == {
        "ApiKey": API_KEY,
        "SecretKey": SECRET_KEY,
        "SmsType": "8",
        "From": "2026-05-01 12:00:00",
        "To": "2026-05-01 12:00:02",
        "Page": "3",
        "PageSize": "500",
    }
    assert not status_query("d8e0").in_body
    assert "d8e0" not in repr(status_query("d8e0"))


@pytest.mark.parametrize("sms_id", ["", "x" * 201, "a\nb", 7, None])
def test_what_is_no_sms_id(sms_id: object) -> None:
    """It is refused before anything is asked."""
    for ask in (status_query, receivers_query):
        with pytest.raises(ConfigurationError, match="sms_id must be a str"):
            ask(sms_id)  # type: ignore[arg-type]  # as somebody without a type checker might


EDGE = datetime(9999, 12, 31, 23, 59, tzinfo=timezone(-timedelta(hours=12)))


@pytest.mark.parametrize(
    ("since", "until", "problem"),
    [
        (NOON.replace(tzinfo=None), NOON, "since must be an aware datetime"),
        (NOON, NOON.replace(tzinfo=None), "until must be an aware datetime"),
        ("2026-05-01", NOON, "since must be an aware datetime"),
        (NOON, NOON - timedelta(seconds=1), "until lies before since"),
        (NOON, EDGE, "until lies outside the years"),
    ],
)
def test_what_is_no_period(since: datetime, until: datetime, problem: str) -> None:
    """The error names the end that cannot be."""
    with pytest.raises(ConfigurationError, match=problem):
        check_period(since, until)
    check_period(NOON, NOON)


@settings(deadline=None)
@given(st.sampled_from(QUERIES), st.integers(100, 999), st.binary() | JSON_VALUES)
def test_no_answer_is_too_odd(query: GatewayQuery[object], status: int, answer: object) -> None:
    """Any bytes and any JSON are read, or raise an error of this package."""
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    with suppress(QueryError):
        decode(query, status, body, CREDENTIALS)


# fmt: off
NAMES = st.sampled_from([
    "CodeResult", "Balance", "UserID", "SMSID", "SendFailed", "SendStatus", "SendSuccess",
    "TotalPrice", "TotalReceiver", "TotalSent", "ReceiverList", "IsSent", "NetworkName", "Phone",
    "Retry", "SentResult", "CountTotal", "SentData", "Campaign", "Content", "ReferenceId",
    "SellPrice", "SendResult", "SentTime", "SmsId", "SmsType", "ListBrandName", "Brandname", "Type",
    "BrandnameTemplates", "NetworkID", "TempContent", "TempId", "Data", "delivery_time", "status",
])
# fmt: on
ROWS = st.lists(st.dictionaries(NAMES, JSON_VALUES, max_size=3), max_size=2)
CODES = st.sampled_from(["100", "100", "105", None])


@settings(deadline=None)
@given(st.sampled_from(QUERIES), CODES, st.dictionaries(NAMES, JSON_VALUES | ROWS, max_size=4))
def test_no_field_is_too_odd(
    query: GatewayQuery[object], code: str | None, answer: dict[str, object]
) -> None:
    """The same where the fields are those of the gateway, with anything in them."""
    with suppress(QueryError):
        read(query, answer if code is None else {**answer, "CodeResult": code})


@pytest.mark.parametrize(
    "answer",
    [
        {"CodeResponse": "100", "ListBrandName": [{"Brandname": "Baotrixemay", "Type": 2}]},
        {"CodeResult": 100, "listbrandname": [{"BrandName": "Baotrixemay", "type": "2"}, {}]},
    ],
)
def test_brandnames(answer: object) -> None:
    """Page "Hàm lấy danh sách Brandname"; a row without a name is left out."""
    assert read(brandnames_query(), answer) == (
        AccountBrandname("Baotrixemay", BrandnameType.CUSTOMER_CARE),
    )


def test_wrong_keys_of_the_list_of_brandnames() -> None:
    """The code stands under another name than that of the list."""
    with pytest.raises(QueryAccountRejected) as caught:
        read(brandnames_query(), {"CodeResult": "101", "ErrorMessage": "Authorize Failed"})
    assert caught.value.code == "101"


def test_templates() -> None:
    """Page "Hàm lấy danh sách template tin chăm sóc khách hàng", and code 104 of a wrong name."""
    row = {"NetworkID": 6, "TempContent": "{P1,20} la ma", "TempId": 458}
    answer = {"BrandnameTemplates": [row], "CodeResult": "100", "ErrorMessage": "success"}
    assert read(templates_query("Baotrixemay"), answer) == Templates(
        "Baotrixemay", [BrandnameTemplate("{P1,20} la ma", 6, "458")]
    )
    with pytest.raises(QueryUnanswered, match="TempContent"):
        read(templates_query("x"), {"CodeResult": "100", "BrandnameTemplates": [{}]})
    with pytest.raises(QueryRejected) as caught:
        read(templates_query("x"), {"CodeResult": "104"})
    assert caught.value.code == "104"


def test_the_price() -> None:
    """Page "Hàm tạm tính giá tin nhắn CSKH"; of other routes no page tells a price."""
    answer = {"CodeResult": "100", "TotalPrice": 850, "TotalReceiver": 1}
    assert read(price_query(MESSAGE, BRAND), answer) == Price(Decimal(850), 1)
    assert price_query(MESSAGE, BRAND).fields["IsUnicode"] == "1"
    with pytest.raises(QueryUnanswered, match="TotalPrice"):
        read(price_query(MESSAGE, BRAND), {"CodeResult": "100"})
    for route in (FIXED_NUMBER, ZaloTemplate("1", "2")):
        with pytest.raises(ConfigurationError, match=r"the route (fixed|zalo)"):
            price_query(MESSAGE, route)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (
            {"delivery_time": "1767678030984", "message": "delivered", "status": 1},
            ZaloStatus(
                "6dc7",
                ZaloDelivery.DELIVERED,
                datetime(2026, 1, 6, 12, 40, 30, 984000, VIETNAM_TIME),
                "delivered",
            ),
        ),
        ({"delivery_time": "0", "status": "-1"}, ZaloStatus("6dc7", ZaloDelivery.UNKNOWN_TO_ZALO)),
        ({"delivery_time": 10**17, "status": 9}, ZaloStatus("6dc7", 9)),
    ],
)
def test_the_status_of_a_zalo_message(data: object, status: ZaloStatus) -> None:
    """Page "Hàm lấy thông tin trạng thái ZNS"."""
    query = zalo_status_query("4097", "6dc7")
    assert read(query, {"CodeResult": "100", "Data": data}) == status
    assert status.delivered is (status.delivery == 1)
    assert read(query, {"CodeResult": "854"}) is None
    with pytest.raises(QueryRejected):
        read(query, {"CodeResult": "160"})
    with pytest.raises(ConfigurationError, match="oa_id"):
        zalo_status_query("", "6dc7")


def test_both_forms_of_the_list() -> None:
    """Until 2024 a row had SentResult, a time with the day first, and SendStatus 3."""
    older = {"SentResult": True, "SentTime": "23/11/2023 17:06:37", "SendStatus": 3}
    answer = {"CodeResult": "100", "SentData": [older]}
    row = SentMessage(
        None,
        None,
        None,
        sent_at=datetime(2023, 11, 23, 17, 6, 37, tzinfo=VIETNAM_TIME),
        send_status=SendStatus.SENDING,
        send_result=SendResult.SUCCEEDED,
    )
    assert read(sent_query(NOON, NOON, 1), answer) == (row,)
    kinds = [sent_query(NOON, NOON, 1, kind).fields["SmsType"] for kind in RouteKind]
    assert kinds == ["8", "2", "25"]
