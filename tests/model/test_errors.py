"""The error family: its kinds, what each carries through pickle and copy, what none shows."""

import copy
import pickle
import traceback
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

import esms_async._model.errors
from esms_async import (
    AccountRejected,
    Attempt,
    ConfigurationError,
    DuplicateRequestId,
    EsmsError,
    Evidence,
    InvalidMessage,
    LedgerError,
    Message,
    NotSent,
    OutcomeUnknown,
    QueryAccountRejected,
    QueryError,
    QueryRejected,
    QueryUnanswered,
    Rejected,
    RequestIdConflict,
    RequestIdExpired,
    SendError,
    UsageError,
)
from esms_async._model.errors import ForeignLedger
from esms_async.delivery import InvalidReport

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
MESSAGE = Message("0901888484", "686868 la ma xac minh", request_id="login:42")
ATTEMPTS = (
    Attempt(NOON, 0.1, Evidence.MAY_HAVE_ARRIVED, 503, error="HTTP status 503", retry_after=2.0),
    Attempt(NOON, 0.2, Evidence.REFUSED, 200, "103"),
)
REJECTION = AccountRejected(MESSAGE, ATTEMPTS, code="103", status=200, detail="no money")

SEND_ERRORS: list[SendError] = [
    SendError(MESSAGE, ATTEMPTS, "why"),
    NotSent(MESSAGE, ATTEMPTS, "not sent: connection refused"),
    OutcomeUnknown(MESSAGE, ATTEMPTS, "it may have been accepted", REJECTION),
    Rejected(MESSAGE, ATTEMPTS, code="108", status=200, sms_id="d8e0", detail="bad"),
    REJECTION,
    DuplicateRequestId(MESSAGE, ATTEMPTS, "the gateway has seen it"),
    RequestIdConflict(MESSAGE, (), "in use"),
    RequestIdExpired(MESSAGE, (), "too long ago", NOON),
]
ERRORS: list[EsmsError] = [
    EsmsError("why"),
    ConfigurationError("deadline must be a number"),
    UsageError("the client is closed"),
    LedgerError("the disk is full"),
    ForeignLedger("the ledger belongs to another account"),
    InvalidMessage("phone", "is empty"),
    InvalidReport("SMSID is missing"),
    QueryError("GetBalance", "why"),
    QueryUnanswered("GetBalance", "no answer", 2.0),
    QueryRejected("GetBalance", code="108", status=200, detail="bad"),
    QueryAccountRejected("GetBalance", code="101", status=200),
    *SEND_ERRORS,
]
each_error = pytest.mark.parametrize("error", ERRORS, ids=lambda one: type(one).__name__)
each_send_error = pytest.mark.parametrize("error", SEND_ERRORS, ids=lambda one: type(one).__name__)


def pickled(protocol: int) -> Callable[[EsmsError], EsmsError]:
    """Return what takes an error to another process and back."""

    def round_trip(error: EsmsError) -> EsmsError:
        restored = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301  # bytes made here
        assert isinstance(restored, EsmsError)
        return restored

    return round_trip


COPIES: dict[str, Callable[[EsmsError], EsmsError]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{f"pickle {protocol}": pickled(protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)},
}


def test_every_error_is_in_the_table() -> None:
    """No kind of error is missing from the table that these tests go through."""
    kinds = [*vars(esms_async._model.errors).values(), InvalidReport]
    family = {kind for kind in kinds if isinstance(kind, type) and issubclass(kind, EsmsError)}
    assert {type(error) for error in ERRORS} == family


COUSINS: dict[type[EsmsError], tuple[type[Exception], ...]] = {
    ConfigurationError: (ValueError,),
    UsageError: (RuntimeError,),
    InvalidReport: (ValueError,),
    LedgerError: (OSError,),
    ForeignLedger: (OSError,),
    QueryUnanswered: (ConnectionError, OSError),
    InvalidMessage: (ValueError,),
    NotSent: (ConnectionError, OSError),
    RequestIdConflict: (ValueError,),
}


@each_error
def test_kinds(error: EsmsError) -> None:
    """Each error is of the standard-library kind that it promises, and of no other one.

    Above all, no error that may mean "sent" is an OSError, which callers take for safe to repeat.
    """
    standard = {ValueError, RuntimeError, OSError, ConnectionError, TimeoutError, LookupError}
    assert standard & set(type(error).__mro__) == set(COUSINS.get(type(error), ()))


@pytest.mark.parametrize(
    ("kind", "general"),
    [
        (AccountRejected, Rejected),
        (DuplicateRequestId, OutcomeUnknown),
        (RequestIdExpired, OutcomeUnknown),
    ],
)
def test_special_cases(kind: type[SendError], general: type[SendError]) -> None:
    """A special error is of the kind that says what is true of the message, and of no other."""
    truths = {NotSent, Rejected, OutcomeUnknown}
    assert {truth for truth in truths if issubclass(kind, truth)} == {general}


def test_a_duplicate_has_its_code() -> None:
    """Who reads the code of an error reads that of a duplicate."""
    assert DuplicateRequestId(MESSAGE, (), "seen before").code == "124"


@each_error
@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_errors_travel_whole(error: EsmsError, duplicate: Callable[[EsmsError], EsmsError]) -> None:
    """A copied or pickled error is of the same kind, says the same, and has every attribute."""
    other = duplicate(error)
    assert other is not error
    assert type(other) is type(error)
    assert (str(other), repr(other), other.args) == (str(error), repr(error), error.args)
    assert comparable(other) == comparable(error)


def comparable(error: EsmsError) -> dict[str, object]:
    """Return the attributes of an error, and of the errors in them."""
    return {
        name: comparable(value) if isinstance(value, EsmsError) else value
        for name, value in vars(error).items()
    }


@each_send_error
def test_every_send_error_carries_its_message(error: SendError) -> None:
    """A SendError carries the message, its RequestId and the attempts, through pickle too."""
    for one in (error, pickled(5)(error)):
        assert isinstance(one, SendError)
        assert one.message == MESSAGE
        assert one.request_id == "login:42"
        assert one.attempts in ((), ATTEMPTS)
        assert one.reason in str(one)


@each_error
def test_errors_can_be_raised_caught_and_noted(error: EsmsError) -> None:
    """An error keeps its cause and its notes where it is raised, and its notes where it goes."""
    fresh = copy.copy(error)
    cause = TimeoutError("why")
    fresh.add_note("seen by a test")
    with pytest.raises(type(error)) as caught:
        raise fresh from cause
    assert caught.value is fresh
    assert caught.value.__cause__ is cause
    assert pickled(5)(fresh).__notes__ == ["seen by a test"]
    assert not hasattr(error, "__notes__")


@each_send_error
def test_no_error_shows_content_or_number(error: SendError) -> None:
    """Neither text, repr, arguments nor traceback of an error hold the content or the number."""
    shown = [
        str(error),
        repr(error),
        repr(error.args),
        repr(vars(error)),
        *traceback.TracebackException.from_exception(error, capture_locals=True).format(),
    ]
    for text in shown:
        assert "686868" not in text
        assert "ma xac minh" not in text
        assert "901888484" not in text
    assert "090****484" in str(error)
    assert str(error).isprintable()


@pytest.mark.parametrize(
    ("attempts", "words"),
    [((), "0 attempts"), (ATTEMPTS[:1], "1 attempt"), (ATTEMPTS, "2 attempts")],
)
def test_the_line_of_a_send_error(attempts: tuple[Attempt, ...], words: str) -> None:
    """The text of a SendError is one line: why, to whom, under which id, after how many tries."""
    assert str(NotSent(MESSAGE, attempts, "not sent: no route")) == (
        f"not sent: no route (phone 090****484, request id login:42, {words})"
    )


@pytest.mark.parametrize(
    ("code", "status", "detail", "reason"),
    [
        ("108", 200, None, "rejected with code 108: the phone number is malformed"),
        (
            "103",
            200,
            "No",
            "rejected with code 103: the balance does not cover the message; the gateway says 'No'",
        ),
        ("999", 200, "", "rejected with code 999: a code that no page of the gateway lists"),
        (None, 403, None, "refused with HTTP status 403"),
    ],
)
def test_the_reason_of_a_rejection(
    code: str | None, status: int, detail: str | None, reason: str
) -> None:
    """A rejection says its code, what that means and the gateway's words, or its HTTP status."""
    error = Rejected(MESSAGE, (), code=code, status=status, detail=detail)
    assert error.reason == reason
    assert (error.code, error.status, error.sms_id, error.detail) == (code, status, None, detail)


def test_an_unknown_outcome_without_a_rejection() -> None:
    """An unknown outcome has a rejection only where one ended the attempts."""
    assert OutcomeUnknown(MESSAGE, (), "lost").rejection is None
    assert OutcomeUnknown(MESSAGE, (), "lost", REJECTION).rejection is REJECTION


def test_not_sent_is_no_system_error() -> None:
    """NotSent is a ConnectionError that claims no errno and no file."""
    error = pickled(5)(NotSent(MESSAGE, (), "not sent: no route"))
    assert isinstance(error, ConnectionError)
    assert (error.errno, error.strerror, error.filename) == (None, None, None)


class TariffRejected(Rejected):
    """A rejection of somebody else's making, with an attribute of its own."""

    def __init__(self, message: Message, tariff: str) -> None:
        super().__init__(message, (), code="102", status=200)
        self.tariff = tariff


def test_subclasses_travel_too() -> None:
    """A subclass made elsewhere, with other arguments, is copied and pickled as well."""
    for duplicate in COPIES.values():
        other = duplicate(TariffRejected(MESSAGE, "night"))
        assert isinstance(other, TariffRejected)
        assert (other.tariff, other.code, other.message) == ("night", "102", MESSAGE)


def test_invalid_message_names_the_field() -> None:
    """An InvalidMessage has the field and the problem apart, and both in its text."""
    error = InvalidMessage("phone", "is empty")
    assert (error.field, error.problem, str(error)) == ("phone", "is empty", "phone: is empty")
