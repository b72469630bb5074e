"""Reading delivery reports: tolerant of what does not matter, strict with what does."""

from collections.abc import Mapping
from decimal import Decimal
from urllib.parse import urlencode

import hypothesis.strategies as st
import pytest
from hypothesis import given

from esms_async import EsmsError, delivery
from esms_async.delivery import DeliveryReport, DeliveryState, InvalidReport

QUERY = {
    "SMSID": "d8e0",
    "SendFailed": "0",
    "SendStatus": "5",
    "SendSuccess": "1",
    "TotalPrice": "850.0000",
    "TotalReceiver": "1",
    "TotalSent": "1",
    "RequestId": "order-1",
    "TypeId": "8",
    "telcoid": "1",
    "phonenumber": "0901888484",
    "switchsmsid": "",
}
REPORT = DeliveryReport(
    request_id="order-1",
    sms_id="d8e0",
    state=DeliveryState.DELIVERED,
    send_status=5,
    succeeded=1,
    failed=0,
    sent=1,
    receivers=1,
    price=Decimal(850),
    operator="Viettel",
    phone="0901888484",
)


def changed(**changes: str | None) -> dict[str, str]:
    """Return the query with some parameters of another value, or without them."""
    return {name: value for name, value in {**QUERY, **changes}.items() if value is not None}


@pytest.mark.parametrize(
    "query",
    [
        QUERY,
        urlencode(QUERY),
        {name.lower(): value for name, value in QUERY.items()},
        {name.upper(): f" {value} " for name, value in QUERY.items()},
        {**QUERY, "oaid": "x", "error_info": "\ud83d"},
        urlencode([*QUERY.items(), *QUERY.items()]),
    ],
    ids=["mapping", "query", "lower case", "upper case and blanks", "of Zalo", "written twice"],
)
def test_a_report_is_read(query: Mapping[str, str] | str) -> None:
    """However it is written, the same report comes out."""
    assert DeliveryReport.from_query(query) == REPORT


@pytest.mark.parametrize(
    ("status", "success", "failed", "state"),
    [
        ("5", "1", "0", DeliveryState.DELIVERED),
        ("5", "0", "1", DeliveryState.FAILED),
        ("5", "1", "1", DeliveryState.FAILED),
        ("5", "0", "0", DeliveryState.PENDING),
        ("4", "0", "0", DeliveryState.REFUSED),
        ("4", "1", "", DeliveryState.REFUSED),
        ("0", "0", "0", DeliveryState.PENDING),
        ("1", "0", "0", DeliveryState.PENDING),
        ("2", "0", "0", DeliveryState.PENDING),
        ("2", "1", "1", DeliveryState.PENDING),
        ("7", "x", "0", DeliveryState.PENDING),
        ("77", "1", "0", DeliveryState.PENDING),
    ],
)
def test_what_became_of_the_message(
    status: str, success: str, failed: str, state: DeliveryState
) -> None:
    """SendStatus tells how far it is, and once it is finished the counts tell the result."""
    report = DeliveryReport.from_query(
        changed(SendStatus=status, SendSuccess=success, SendFailed=failed)
    )
    assert (report.state, report.send_status) == (state, int(status))
    assert report.delivered is (state is DeliveryState.DELIVERED)
    assert report.final is (state is not DeliveryState.PENDING)


@pytest.mark.parametrize(
    ("telcoid", "operator"), [("7", "Reddi"), ("9", "9"), ("", None), (None, None), ("\x00", None)]
)
def test_an_operator_that_no_page_names_passes_through(
    telcoid: str | None, operator: str | None
) -> None:
    """A known number is named, an unknown one is shown as it is."""
    assert DeliveryReport.from_query(changed(telcoid=telcoid)).operator == operator


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("TotalPrice", "much", "price"),
        ("TotalPrice", "NaN", "price"),
        ("TotalPrice", "-850", "price"),
        ("TotalPrice", None, "price"),
        ("TotalSent", "\u0661", "sent"),
        ("TotalReceiver", "1" * 10, "receivers"),
        ("phonenumber", "", "phone"),
        ("RequestId", "", "request_id"),
        ("RequestId", None, "request_id"),
        ("SMSID", "x" * 201, "sms_id"),
        ("SMSID", "a\nb", "sms_id"),
    ],
)
def test_what_is_optional_and_cannot_be_read_is_none(
    name: str, value: str | None, field: str
) -> None:
    """A price in words does not cost a whole report."""
    assert getattr(DeliveryReport.from_query(changed(**{name: value})), field) is None


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "neither a RequestId nor an SMSID"),
        ({}, "neither a RequestId nor an SMSID"),
        (changed(SMSID=None, RequestId=None), "neither a RequestId nor an SMSID"),
        (changed(RequestId="x" * 51), "RequestId"),
        (changed(RequestId="id\ufffd"), "RequestId"),
        (changed(SendStatus=None), "SendStatus is missing"),
        (changed(SendStatus=""), "SendStatus is not a number"),
        (changed(SendStatus="-5"), "SendStatus is not a number"),
        (changed(SendStatus="five"), "SendStatus is not a number"),
        (changed(SendSuccess=None), "SendSuccess is missing"),
        (changed(SendFailed="\u0660"), "SendFailed is not a number"),
        ({**QUERY, "sendstatus": "4"}, "twice"),
        (urlencode(QUERY) + "&RequestId=order-2", "twice"),
        (urlencode(QUERY) + "&x=%", "percent sign"),
        (urlencode(QUERY) + "&x=%zz", "percent sign"),
        (urlencode(QUERY) + "&x=%ff", "UTF-8"),
        (urlencode(QUERY) + "&x=1" * 100, "too many"),
        (urlencode(QUERY) + "&x=" + "1" * 9000, "too long"),
        ({1: 2, "SendStatus": 5}, "neither"),
        (None, "NoneType"),
        (b"SendStatus=5", "bytes"),
    ],
)
def test_what_cannot_be_read_is_an_error_of_its_own(query: object, words: str) -> None:
    """Damage is told in words, and never taken for a result."""
    with pytest.raises(InvalidReport, match=words) as caught:
        DeliveryReport.from_query(query)  # type: ignore[arg-type]  # as an untyped caller may
    assert isinstance(caught.value, EsmsError)
    assert isinstance(caught.value, ValueError)


def test_a_truncated_report_never_reads_as_another_result() -> None:
    """Cut anywhere, a report reads as the same message's result, or not at all."""
    whole = urlencode({**QUERY, "RequestId": ""})
    for length in range(len(whole)):
        try:
            report = DeliveryReport.from_query(whole[:length])
        except InvalidReport:
            continue
        assert report.state is DeliveryState.DELIVERED


NAMES = st.sampled_from([*QUERY, *map(str.lower, QUERY)]) | st.text(max_size=8)
VALUES = st.sampled_from(["", "0", "1", "4", "5", *QUERY.values()]) | st.text(max_size=12)


@given(
    st.text()
    | st.text(alphabet="SMSIDsendtau=&%+05;[]\ud800", max_size=200)
    | st.lists(st.tuples(NAMES, VALUES)).map(lambda pairs: urlencode(pairs, errors="replace"))
    | st.dictionaries(NAMES, VALUES)
    | st.dictionaries(NAMES | st.integers(), VALUES | st.none() | st.binary())
)
def test_nothing_but_its_own_error_is_raised(query: Mapping[str, str] | str) -> None:
    """Whatever comes in, there is a report that makes sense, or an InvalidReport."""
    try:
        report = DeliveryReport.from_query(query)
    except InvalidReport:
        return
    else:
        assert report.request_id is not None or report.sms_id is not None
        assert report.final or report.state is DeliveryState.PENDING
        assert "\n" not in repr(report)


def test_the_phone_number_does_not_show() -> None:
    """Neither a report nor an error shows a whole phone number."""
    shown = repr(DeliveryReport.from_query(QUERY))
    assert "0901888484" not in shown
    assert "090****484" in shown
    assert "phone=None" in repr(DeliveryReport.from_query(changed(phonenumber=None)))


def test_the_names_are_public() -> None:
    """The package of delivery reports offers them, and so does the list of its public names."""
    assert delivery.DeliveryReport is DeliveryReport
    assert delivery.InvalidReport is InvalidReport
    assert {"DeliveryReport", "InvalidReport"} <= set(delivery.__all__)
