"""What a worker says of a message, and what its follower makes of it."""

from datetime import UTC, datetime

import attrs
import pytest

from esms_async import (
    AccountRejected,
    Attempt,
    DuplicateRequestId,
    EsmsError,
    InvalidMessage,
    Message,
    NotSent,
    Outcome,
    OutcomeUnknown,
    Receipt,
    Rejected,
    RequestIdConflict,
    RequestIdExpired,
)
from esms_async._model.messages import Evidence
from esms_async.queue.reports import INVALID, QueueReport, load_report, report_of

MESSAGE = Message("0901888484", "686868 la ma", request_id="r")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TRIES = (
    Attempt(NOW, 0.5, Evidence.MAY_HAVE_ARRIVED, error="reset"),
    Attempt(NOW, 0.1, Evidence.REFUSED, 200, "103", None, 2.0),
)
ACCEPTED = Attempt(NOW, 1e-05, Evidence.ACCEPTED, 200, "100")
REJECTED = Rejected(MESSAGE, TRIES, code="108", status=200, sms_id="s", detail="no")
ACCOUNT = AccountRejected(MESSAGE, TRIES, code="103", status=200)


@pytest.mark.parametrize(
    "error",
    [
        REJECTED,
        ACCOUNT,
        NotSent(MESSAGE, TRIES, "not sent: refused"),
        RequestIdConflict(MESSAGE, (), "another message"),
        DuplicateRequestId(MESSAGE, TRIES, "124"),
        RequestIdExpired(MESSAGE, (), "too late", NOW),
        OutcomeUnknown(MESSAGE, TRIES, "reset"),
        OutcomeUnknown(MESSAGE, TRIES, "reset, then 103", ACCOUNT),
    ],
)
def test_an_error_comes_out_as_it_was(error: EsmsError) -> None:
    """Its class, its words, its fields and its attempts are the same."""
    text = report_of(Outcome(MESSAGE, error=error), 3)
    assert "0901888484" not in text
    assert "686868" not in text
    report = load_report(text)
    assert (report.request_id, report.run) == ("r", 3)
    back = report.error(MESSAGE)
    assert type(back) is type(error)
    assert str(back) == str(error)
    ours, theirs = vars(back), vars(error)
    for name in theirs.keys() - {"rejection"}:
        assert ours[name] == theirs[name], name
    if theirs.get("rejection") is not None:
        assert ours["rejection"].code == "103"


@pytest.mark.parametrize(
    "receipt",
    [
        Receipt("r", "s", attempts=TRIES),
        Receipt("r", deduplicated=True),
        Receipt("r", 's"\n', attempts=(ACCEPTED,)),
        Receipt("r", attempts=(ACCEPTED,)),
        Receipt("r", "s", attempts=(attrs.evolve(ACCEPTED, retry_after=2.0),)),
        Receipt("r", "s", deduplicated=True, attempts=(ACCEPTED,)),
    ],
)
def test_a_receipt_comes_out_as_it_was(receipt: Receipt) -> None:
    """With or without an SMSID, and without attempts where an earlier run had it."""
    report = load_report(report_of(Outcome(MESSAGE, receipt), 1))
    assert report.receipt() == receipt
    earlier = report.receipt(attempts=False)
    assert earlier is not None
    assert (earlier.sms_id, earlier.attempts) == (receipt.sms_id, ())


def test_what_no_worker_could_read_was_not_sent() -> None:
    """The outcome says why."""
    report = load_report(QueueReport("r", INVALID, 1, {"reason": "it is not JSON"}).dump())
    error = report.error(MESSAGE)
    assert isinstance(error, InvalidMessage)
    assert "it is not JSON" in str(error)


def test_a_message_that_cannot_be_sent_names_its_field() -> None:
    """The outcome is the error of the worker's client."""
    invalid = InvalidMessage("params", "can't be sent")
    error = load_report(report_of(Outcome(MESSAGE, error=invalid), 1)).error(MESSAGE)
    assert isinstance(error, InvalidMessage)
    assert (error.field, error.problem) == (invalid.field, invalid.problem)


def test_what_a_later_release_reports_is_unknown() -> None:
    """This release does not know what the kind says of the message."""
    report = load_report(QueueReport("r", "Postponed", 1, {"reason": "it waits"}).dump())
    assert isinstance(report.error(MESSAGE), OutcomeUnknown)


def test_an_attempt_of_a_later_release_is_read_as_far_as_it_is_known() -> None:
    """It may have more fields; the receipt is the same."""
    attempt = ["2026-01-02T03:04:05+00:00", 0.5, "accepted", 200, "100", None, None, "new"]
    written = QueueReport("r", "accepted", 1, {"sms_id": "s", "attempts": [attempt]}).dump()
    receipt = load_report(written).receipt()
    assert receipt is not None
    assert (receipt.sms_id, receipt.attempts[0].code) == ("s", "100")


@pytest.mark.parametrize(
    "written",
    [
        '{"id": "r", "kind": "accepted", "run": 2, "attempts": null}',
        '{"id": "r", "run": 2}',
        '{"id": "r", "kind": "RequestIdExpired", "run": 2, "attempts": [], "since": 5}',
        '{"id": "r", "kind": "OutcomeUnknown", "run": 2, "rejection": {"kind": "Later"}}',
    ],
)
def test_what_cannot_be_read_says_unknown_of_its_message(written: str) -> None:
    """Whoever waits for the message learns that; nobody waits for ever."""
    report = load_report(written)
    assert (report.request_id, report.run) == ("r", 2)
    assert type(report.error(MESSAGE)) is OutcomeUnknown


def test_a_report_of_no_message_names_none() -> None:
    """Its RequestId is no text."""
    assert load_report('{"id": [1], "kind": "accepted", "run": "2"}') == load_report("")


def test_another_error_is_unknown_and_so_is_an_unreadable_report() -> None:
    """Nobody is told something that is not so."""
    report = load_report(report_of(Outcome(MESSAGE, error=EsmsError("odd")), 1))
    assert isinstance(report.error(MESSAGE), OutcomeUnknown)
    for text in ("", "[]", "{}", '{"id": "r", "kind": "accepted", "run": 1, "attempts": [1]}'):
        assert isinstance(load_report(text).error(MESSAGE), OutcomeUnknown)
