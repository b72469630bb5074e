"""What workers tell of a message, and what a follower makes of it."""

import json
from datetime import UTC, datetime

import pytest

from esms_async import (
    AccountRejected,
    Attempt,
    DuplicateRequestId,
    EsmsError,
    Evidence,
    InvalidMessage,
    NotSent,
    Outcome,
    OutcomeUnknown,
    Receipt,
    Rejected,
    RequestIdConflict,
    RequestIdExpired,
    Status,
)
from esms_async.workers.payload import UnreadablePayload
from esms_async.workers.reports import Report
from tests.factories import a_message

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
MESSAGE = a_message()
ATTEMPTS = (
    Attempt(NOW, 0.5, Evidence.MAY_HAVE_ARRIVED, error="the connection was reset"),
    Attempt(NOW, 0.25, Evidence.ACCEPTED, 200, "100"),
)
ACCOUNT = AccountRejected(MESSAGE, ATTEMPTS, code="103", status=200, detail="no money")


@pytest.mark.parametrize(
    "receipt",
    [
        Receipt(MESSAGE.request_id, "sms", attempts=ATTEMPTS),
        Receipt(MESSAGE.request_id, deduplicated=True),
    ],
)
def test_an_acceptance_comes_back(receipt: Receipt) -> None:
    """The follower has the receipt that the worker had, attempts and all."""
    outcome = Outcome(MESSAGE, receipt)
    report = Report.load(Report.of(outcome, run=2).dump())
    assert report.ok
    assert report.run == 2
    assert report.outcome(MESSAGE) == outcome


@pytest.mark.parametrize(
    "error",
    [
        Rejected(MESSAGE, ATTEMPTS, code="99", status=200, sms_id="sms", detail="blocked"),
        Rejected(MESSAGE, (), code=None, status=403),
        DuplicateRequestId(MESSAGE, (), "seen before (code 124)"),
        ACCOUNT,
        NotSent(MESSAGE, ATTEMPTS, "not sent: refused"),
        OutcomeUnknown(MESSAGE, ATTEMPTS, "it may have been accepted"),
        OutcomeUnknown(MESSAGE, ATTEMPTS, "it may have been accepted", ACCOUNT),
        RequestIdConflict(MESSAGE, (), "another"),
        RequestIdExpired(MESSAGE, (), "too long ago", NOW),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_back(error: EsmsError) -> None:
    """The follower has the error that the worker had, of its very kind."""
    outcome = Outcome(MESSAGE, error=error)
    report = Report.load(Report.of(outcome).dump())
    told = report.outcome(MESSAGE)
    assert report.status is told.status is outcome.status
    assert type(told.error) is type(error)
    assert told.error is not None
    assert str(told.error) == str(error)
    for name in ("attempts", "code", "status", "sms_id", "detail", "since"):
        assert getattr(told.error, name, None) == getattr(error, name, None)
    if isinstance(error, OutcomeUnknown):
        assert isinstance(told.error, OutcomeUnknown)
        assert repr(told.error.rejection) == repr(error.rejection)


def test_a_report_holds_neither_content_nor_phone() -> None:
    """What is kept on a server for a week shows nothing of the message but its RequestId."""
    text = Report.of(Outcome(MESSAGE, error=NotSent(MESSAGE, ATTEMPTS, "not sent"))).dump()
    assert MESSAGE.request_id in text
    assert MESSAGE.phone not in text
    assert "686868" not in text


def test_what_no_worker_could_read_was_not_sent() -> None:
    """A message that came out of the queue spoilt is told of as one that was not sent."""
    report = Report.of_unreadable(UnreadablePayload("no key opens it", MESSAGE.request_id))
    outcome = Report.load(report.dump()).outcome(MESSAGE)
    assert outcome.status is Status.NOT_SENT
    assert isinstance(outcome.error, InvalidMessage)
    assert "no key opens it" in str(outcome.error)


def test_an_error_of_another_kind_is_told_in_words() -> None:
    """An error that no other kind covers keeps its words."""
    report = Report.of(Outcome(MESSAGE, error=InvalidMessage("phone", "is odd")))
    assert "phone: is odd" in str(report.outcome(MESSAGE).error)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"status": "odd"}', '{"status": "accepted"}'])
def test_what_is_no_report_says_unknown_of_no_message(text: str) -> None:
    """A text that no worker wrote stops nobody who reads on, and is not shown."""
    report = Report.load(text)
    assert (report.request_id, report.status) == ("", "unknown")
    assert "can't be read" in report.reason
    assert "odd" not in report.reason


def test_a_report_of_a_later_release_is_read_as_far_as_it_can_be() -> None:
    """What it tells besides is left alone; a status that is not known yet says "unknown"."""
    written = json.loads(Report.of(Outcome(MESSAGE, Receipt(MESSAGE.request_id)), run=2).dump())
    assert Report.load(json.dumps(written | {"moon": "full"})).ok
    report = Report.load(json.dumps(written | {"status": "orbiting"}))
    assert (report.request_id, report.run, report.status) == (MESSAGE.request_id, 2, "unknown")
    assert isinstance(report.outcome(MESSAGE).error, OutcomeUnknown)
