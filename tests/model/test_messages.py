"""The values a caller meets: what they take, what they refuse and how, what they show."""

import copy
import json
import pickle
import unicodedata
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import cast

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import esms_async._model.errors
from esms_async import (
    AccountRejected,
    Attempt,
    Brandname,
    ConfigurationError,
    Credentials,
    DuplicateRequestId,
    EsmsError,
    Evidence,
    ForeignLedger,
    InvalidMessage,
    LedgerError,
    Message,
    NotSent,
    Outcome,
    OutcomeUnknown,
    QueryAccountRejected,
    QueryError,
    QueryRejected,
    QueryUnanswered,
    Receipt,
    Rejected,
    RequestIdConflict,
    RequestIdExpired,
    SendError,
    Status,
    UsageError,
    ZaloTemplate,
)
from esms_async._model.messages import VIETNAM_TIME
from esms_async.delivery import InvalidReport
from tests.factories import CREDENTIALS, a_message

PHONE = "0901888484"
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
WEST, EAST = timezone(timedelta(hours=-12)), timezone(timedelta(hours=14))
FULL = Message(
    "+84 901 888 484",
    "Mã của bạn: 686868",
    request_id="login:42",
    unicode=True,
    campaign_id="Khuyến mãi",
    callback_url="https://example.vn/report?a=1",
    send_at=NOON,
    expires_at=NOON + timedelta(minutes=5),
)


class Nowhere(tzinfo):
    """A time zone that knows no offset."""

    def utcoffset(self, moment: datetime | None) -> None:
        """Know nothing."""

    def dst(self, moment: datetime | None) -> None:
        """Know nothing."""

    def tzname(self, moment: datetime | None) -> None:
        """Know nothing."""


NOT_STRINGS: dict[str, object] = {
    "None": None,
    "int": 901888484,
    "bytes": b"0901888484",
    "list": ["0901888484"],
}
NOT_TIMES: dict[str, object] = {
    "text": "2030-01-01 12:00:00",
    "int": 1893499200,
    "date": date(2030, 1, 1),
    "naive": datetime(2030, 1, 1, 12),  # noqa: DTZ001  # that it is naive is the point
    "no offset": datetime(2030, 1, 1, 12, tzinfo=Nowhere()),
    "past the last year": datetime.max.replace(tzinfo=WEST),
    "past the last year in Vietnam": datetime(9999, 12, 31, 17, tzinfo=UTC),
    "before the first year": datetime.min.replace(tzinfo=EAST),
    "a year of three digits": datetime(999, 12, 31, 16, 59, 59, tzinfo=UTC),
}
REFUSED: dict[str, dict[str, object]] = {
    "phone": {
        **NOT_STRINGS,
        "empty": "",
        "landline": "02838123456",
        "foreign": "+14155550100",
        "text": "ma bi mat",
    },
    "content": {
        **NOT_STRINGS,
        "empty": "",
        "spaces": "   ",
        "line breaks": "\r\n\t",
        "wide spaces": "\u2003\u3000",
        "NUL": "686868\x00",
        "ESC": "686868\x1b[0m",
        "DEL": "686868\x7f",
        "C1 control": "686868\x85",
        "half a surrogate pair": "686868\ud83d",
        "256 parts of GSM-7": "a" * (255 * 153 + 1),
        "256 parts of escape pairs": "€" * (255 * 76 + 1),
        "256 parts of UCS-2": "ế" * (255 * 67 + 1),
        "256 parts of surrogate pairs": "😀" * (255 * 33 + 1),
    },
    "request_id": {
        **{name: value for name, value in NOT_STRINGS.items() if value is not None},
        "empty": "",
        "51 characters": "x" * 51,
        "space": "login 42",
        "slash": "login/42",
        "line break": "login42\n",
        "letter with a diacritic": "đăng-nhập",
        "digits of another script": "٦٨٦٨٦٨",
    },
    "unicode": {"text": "true", "1": 1, "0": 0, "float": 1.0, "list": []},
    "campaign_id": {
        **{name: value for name, value in NOT_STRINGS.items() if value is not None},
        "empty": "",
        "255 characters": "x" * 255,
        "line break": "spring\nsale",
        "half a surrogate pair": "spring\ud83d",
    },
    "callback_url": {
        **{name: value for name, value in NOT_STRINGS.items() if value is not None},
        "empty": "",
        "no scheme": "example.vn/report",
        "no host": "https:///report",
        "path alone": "/report",
        "another scheme": "ftp://example.vn/report",
        "script": "javascript:alert(1)",
        "space": "https://example.vn/a b",
        "line break": "https://example.vn/report\r\nX: y",
        "letters with diacritics": "https://ví-dụ.vn/",
        "port 0": "https://example.vn:0/",
        "port too high": "https://example.vn:65536/",
        "port of letters": "https://example.vn:http/",
        "broken IPv6": "https://[::1/",
        "2001 characters": "https://example.vn/".ljust(2001, "x"),
    },
    "send_at": NOT_TIMES,
    "expires_at": NOT_TIMES,
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param(field, value, id=f"{field}: {name}")
        for field, values in REFUSED.items()
        for name, value in values.items()
    ],
)
def test_a_bad_field_is_named_and_not_shown(field: str, value: object) -> None:
    """A field that does not hold what it must is refused by an error that names it alone."""
    fields = {"phone": PHONE, "content": "686868 la ma", field: value}
    with pytest.raises(InvalidMessage) as caught:
        Message(**fields)  # type: ignore[arg-type]  # the wrong types are the point
    error = caught.value
    assert isinstance(error, ValueError)
    assert error.field == field
    assert str(error) == f"{field}: {error.problem}"
    assert len(str(error)) < 200
    assert str(error).isprintable()
    for shown in (str(error), repr(error)):
        assert "686868" not in shown
        assert not isinstance(value, str) or len(value) < 2 or value not in shown


def test_the_parts_are_counted_in_the_alphabet_that_is_sent() -> None:
    """A plain text that is sent as UCS-2 on request has the room that UCS-2 has."""
    assert Message(PHONE, "a" * (255 * 67), unicode=True).unicode is True
    with pytest.raises(InvalidMessage, match="content: would take 256 parts"):
        Message(PHONE, "a" * (255 * 67 + 1), unicode=True)


def test_diacritics_in_gsm7_are_refused() -> None:
    """A text that needs UCS-2 is not sent as GSM-7, which would garble it."""
    with pytest.raises(InvalidMessage, match="holds 2 kinds of characters") as caught:
        Message(PHONE, "Tiếng Việt, tiếng Việt", unicode=False)
    assert caught.value.field == "unicode"


def test_a_message_cannot_expire_before_it_is_due() -> None:
    """An expires_at before send_at, in whatever zones, is refused."""
    due = NOON.astimezone(VIETNAM_TIME)
    with pytest.raises(InvalidMessage) as caught:
        Message(PHONE, "x", send_at=due, expires_at=NOON - timedelta(microseconds=1))
    assert caught.value.field == "expires_at"
    assert Message(PHONE, "x", send_at=due, expires_at=NOON).expires_at == NOON


ACCEPTED: dict[str, dict[str, object]] = {
    "content": {
        "one character": "x",
        "spaces around": "  686868 \n",
        "line breaks and tabs": "Ma:\r\n\t686868\f",
        "invisible format characters": "a\u200bb",
        "255 parts of GSM-7": "a" * (255 * 153),
        "255 parts of escape pairs": "€" * (255 * 76),
        "255 parts of UCS-2": "ế" * (255 * 67),
        "255 parts of surrogate pairs": "😀" * (255 * 33),
    },
    "request_id": {"one character": "0", "50 characters": "x" * 50, "all kinds": "aZ09._:-"},
    "campaign_id": {"one character": "x", "254 characters": "x" * 254, "Vietnamese": "Tết 2030"},
    "callback_url": {
        "plain": "http://example.vn",
        "port": "https://example.vn:8443/report?x=%20#y",
        "IPv6": "http://[::1]:80/",
        "scheme in capitals": "HTTPS://EXAMPLE.VN/",
        "2000 characters": "https://example.vn/".ljust(2000, "x"),
    },
    "send_at": {
        "first": datetime(999, 12, 31, 17, tzinfo=UTC),
        "last": datetime(9999, 12, 31, 16, 59, 59, tzinfo=UTC),
        "in another zone": datetime(2030, 1, 1, tzinfo=WEST),
    },
    "expires_at": {"past": datetime(2020, 1, 1, tzinfo=UTC)},
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param(field, value, id=f"{field}: {name}")
        for field, values in ACCEPTED.items()
        for name, value in values.items()
    ],
)
def test_a_good_field_is_kept_as_given(field: str, value: object) -> None:
    """What a field may hold, up to its bounds, is kept unchanged."""
    fields = {"phone": PHONE, "content": "686868 la ma", field: value}
    message = Message(**fields)  # type: ignore[arg-type]  # a table holds values of many types
    assert getattr(message, field) == value


def test_fields_are_kept_in_one_form() -> None:
    """The phone is kept in ten digits and the content composed, however they were written."""
    content = unicodedata.normalize("NFD", "Mã của bạn: 686868")
    message = attrs.evolve(FULL, phone="0084-901.888.484", content=content)
    assert message == FULL
    assert (message.phone, message.content) == (PHONE, "Mã của bạn: 686868")


def test_what_is_not_given() -> None:
    """A Message of phone and content alone has a RequestId of its own, and nothing else."""
    message, other = Message(PHONE, "x"), Message(PHONE, "x")
    assert message.request_id != other.request_id
    assert message != other
    assert attrs.asdict(message) == {
        "phone": PHONE,
        "content": "x",
        "params": None,
        "route": None,
        "request_id": message.request_id,
        "unicode": False,
        "campaign_id": None,
        "callback_url": None,
        "send_at": None,
        "expires_at": None,
    }


@pytest.mark.parametrize(
    ("content", "asked", "kept"),
    [
        ("Ma cua ban", None, False),
        ("Mã của bạn", None, True),
        ("Ma cua ban", True, True),
        ("Mã của bạn", True, True),
        ("Ma cua ban", False, False),
        ("à là €", None, False),
        (unicodedata.normalize("NFD", "à là"), None, False),
        ("a `quoted` word", None, True),
    ],
)
def test_the_alphabet_is_chosen_once(content: str, asked: bool | None, kept: bool) -> None:
    """The choice of alphabet is made with the Message, by the text where it is left open."""
    assert Message(PHONE, content, unicode=asked).unicode is kept


@pytest.mark.parametrize("name", [field.name for field in attrs.fields(Message)])
def test_a_message_cannot_be_changed(name: str) -> None:
    """No field of a Message can be set or deleted."""
    message = a_message()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(message, name, getattr(message, name))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        delattr(message, name)


def test_renewed() -> None:
    """A renewed Message is the same but for its RequestId, and the first one stays as it was."""
    before = copy.copy(FULL)
    renewed = FULL.renewed()
    assert renewed.request_id != FULL.request_id
    assert attrs.evolve(renewed, request_id=FULL.request_id) == FULL == before
    assert renewed.renewed().request_id not in {renewed.request_id, FULL.request_id}


def test_a_change_is_checked_too() -> None:
    """A Message evolved from another one keeps its RequestId and meets the same checks."""
    assert attrs.evolve(FULL, expires_at=None).request_id == FULL.request_id
    with pytest.raises(InvalidMessage, match=r"^phone: "):
        attrs.evolve(FULL, phone="1")
    with pytest.raises(InvalidMessage, match=r"^expires_at: "):
        attrs.evolve(FULL, expires_at=NOON - timedelta(hours=1))


def test_a_message_shows_neither_text_nor_number() -> None:
    """The repr of a Message holds its RequestId and the ends of its number, nothing else."""
    assert repr(FULL) == str(FULL) == "Message(phone='090****484', request_id='login:42')"


ATTEMPT = Attempt(NOON, 0.25, Evidence.MAY_HAVE_ARRIVED, 503, error="HTTP status 503")
RECEIPT = Receipt("login:42", "d8e0", attempts=(ATTEMPT,))
VALUES: dict[str, object] = {
    "message": FULL,
    "a minimal message": a_message(),
    "attempt": ATTEMPT,
    "receipt": RECEIPT,
    "outcome": Outcome(FULL, RECEIPT),
    "credentials": CREDENTIALS,
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_values_are_values(value: object) -> None:
    """Each value can be hashed, copied and pickled, has slots, and can't be changed."""
    copies = [copy.copy(value), copy.deepcopy(value)]
    copies += [
        pickle.loads(pickle.dumps(value, protocol))  # noqa: S301  # bytes made on this line
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
    ]
    assert {value, *copies} == {value}
    assert all(one == value and type(one) is type(value) for one in copies)
    assert not hasattr(value, "__dict__")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        value.anything = 1  # type: ignore[attr-defined]  # that it is refused is the point


def test_what_attempts_and_receipts_leave_out() -> None:
    """What an attempt did not meet, and what a receipt does not know, is None."""
    bare = Attempt(NOON, 0.1, Evidence.NOTHING_LEFT)
    assert (bare.status, bare.code, bare.error, bare.retry_after) == (None, None, None, None)
    assert Receipt("login:42") == Receipt("login:42", sms_id=None, deduplicated=False, attempts=())


_LOST: tuple[Message, tuple[Attempt, ...], str] = (FULL, (ATTEMPT,), "why")
STATUSES: dict[type[EsmsError], tuple[EsmsError, Status]] = {
    EsmsError: (EsmsError("why"), Status.NOT_SENT),
    ConfigurationError: (ConfigurationError("why"), Status.NOT_SENT),
    UsageError: (UsageError("why"), Status.NOT_SENT),
    LedgerError: (LedgerError("why"), Status.NOT_SENT),
    InvalidMessage: (InvalidMessage("phone", "why"), Status.NOT_SENT),
    SendError: (SendError(*_LOST), Status.NOT_SENT),
    NotSent: (NotSent(*_LOST), Status.NOT_SENT),
    OutcomeUnknown: (OutcomeUnknown(*_LOST), Status.UNKNOWN),
    Rejected: (Rejected(FULL, (), code="108", status=200), Status.REJECTED),
    AccountRejected: (AccountRejected(FULL, (), code="103", status=200), Status.REJECTED),
    DuplicateRequestId: (DuplicateRequestId(*_LOST), Status.UNKNOWN),
    RequestIdConflict: (RequestIdConflict(*_LOST), Status.NOT_SENT),
    RequestIdExpired: (RequestIdExpired(*_LOST, NOON), Status.UNKNOWN),
    ForeignLedger: (ForeignLedger("why"), Status.NOT_SENT),
    InvalidReport: (InvalidReport("why"), Status.NOT_SENT),
    QueryError: (QueryError("GetBalance", "why"), Status.NOT_SENT),
    QueryUnanswered: (QueryUnanswered("GetBalance", "why"), Status.NOT_SENT),
    QueryRejected: (QueryRejected("GetBalance", code="108", status=200), Status.NOT_SENT),
    QueryAccountRejected: (
        QueryAccountRejected("GetBalance", code="101", status=200),
        Status.NOT_SENT,
    ),
}


@pytest.mark.parametrize(
    ("error", "status"), STATUSES.values(), ids=[kind.__name__ for kind in STATUSES]
)
def test_the_status_of_an_error(error: EsmsError, status: Status) -> None:
    """Each error has one word for what became of the message, and is never acceptance."""
    outcome = Outcome(FULL, error=error)
    assert outcome.status is status
    assert not outcome.ok


def test_every_error_has_its_status() -> None:
    """No kind of error is missing from the table above."""
    kinds = [*vars(esms_async._model.errors).values(), InvalidReport]
    family = {kind for kind in kinds if isinstance(kind, type) and issubclass(kind, EsmsError)}
    assert set(STATUSES) == family


def test_the_status_of_a_receipt() -> None:
    """A receipt is acceptance, told by a word that is a string."""
    outcome = Outcome(FULL, Receipt("login:42", deduplicated=True))
    assert outcome.ok
    assert outcome.status is Status.ACCEPTED
    assert f"{outcome.status}" == "accepted"


@pytest.mark.parametrize(
    "bad", ["", " S3C", "S3C\n", "S\x003C", "S3C\ud800", None, 53, b"S3C"], ids=repr
)
@pytest.mark.parametrize("field", ["api_key", "secret_key"])
def test_bad_credentials(field: str, bad: object) -> None:
    """A key that is not clean text is refused by an error that names its field alone."""
    with pytest.raises(ConfigurationError) as caught:
        Credentials(**{"api_key": "good", "secret_key": "good", field: bad})  # type: ignore[arg-type]  # the wrong types are the point
    assert str(caught.value).startswith(f"{field} ")
    assert "3" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_credentials_show_nothing() -> None:
    """Credentials compare by value and hide it."""
    assert Credentials("KEY", "SECRET") == Credentials("KEY", "SECRET") != CREDENTIALS
    assert f"{CREDENTIALS} {CREDENTIALS!r}" == "Credentials(<hidden>) Credentials(<hidden>)"


@given(st.text(), st.text(), st.text())
def test_any_texts_make_a_message_or_name_a_field(phone: str, content: str, key: str) -> None:
    """Any texts at all make a Message that can be encoded, or an error that names their field."""
    fields = {"phone": phone, "content": content, "request_id": key}
    for name, value in fields.items():
        try:
            message = Message(**{"phone": PHONE, "content": "x", name: value})  # type: ignore[arg-type]  # mypy takes the mapping for every field at once
        except InvalidMessage as error:
            named = error.field
        else:
            named = name
            assert message.content
            assert message.content.encode()
        assert named == name


def test_an_outcome_is_a_receipt_or_an_error() -> None:
    """Neither, or both, would be no outcome."""
    message = Message(PHONE, "686868")
    receipt = Receipt(message.request_id)
    with pytest.raises(ValueError, match="not both"):
        Outcome(message)
    with pytest.raises(ValueError, match="not both"):
        Outcome(message, receipt, NotSent(message, (), "not sent"))


WRITTEN = Message(
    "0901888484",
    "Mã 686868",
    request_id="r",
    route=Brandname("Shop: A"),
    campaign_id="c",
    callback_url="https://a.example/",
    send_at=datetime(2030, 1, 1, tzinfo=UTC),
    expires_at=datetime(2030, 1, 2, tzinfo=UTC),
)
ZALO = Message("0901888484", params={"otp": "1"}, route=ZaloTemplate("1", "2"), request_id="r")


@pytest.mark.parametrize("message", [WRITTEN, ZALO, Message("0901888484", "text")])
def test_a_message_survives_json(message: Message) -> None:
    """`from_dict` makes the same Message of what `to_dict` gave, through JSON."""
    assert Message.from_dict(json.loads(json.dumps(message.to_dict()))) == message


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"version": 2}, "version"),
        ({"version": True}, "version"),
        ({"phone": None}, "phone"),
        ({"phone": 1}, "phone"),
        ({"request_id": None}, "request_id"),
        ({"later": 1}, "message"),
        ({"route": "pigeon"}, "route"),
        ({"route": 1}, "route"),
        ({"send_at": "soon"}, "send_at"),
        ({"send_at": 5}, "send_at"),
        ({"content": 5}, "content"),
    ],
)
def test_what_is_no_written_message_is_refused(change: dict[str, object], field: str) -> None:
    """The error names the field, and shows no value."""
    with pytest.raises(InvalidMessage) as caught:
        Message.from_dict(WRITTEN.to_dict() | change)
    assert caught.value.field == field
    with pytest.raises(InvalidMessage, match="must be a mapping"):
        Message.from_dict(cast("dict[str, object]", []))
