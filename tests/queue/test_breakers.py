"""What stops a worker: which fault opens which breaker, and how long one waits."""

from datetime import UTC, datetime

import pytest

from esms_async import (
    AccountRejected,
    Message,
    NotSent,
    Outcome,
    OutcomeUnknown,
    QueryRejected,
    Receipt,
    Rejected,
    RequestIdExpired,
)
from esms_async._model.errors import EsmsError, ForeignLedger
from esms_async.queue.breakers import (
    FOREIGN,
    SILENT,
    Breakers,
    Reach,
    WorkerFault,
    fault_of,
    fault_of_query,
    reach_of,
    silence,
)

MESSAGE = Message("0901888484", "686868 la ma", request_id="r")
ACCOUNT = AccountRejected(MESSAGE, (), code="103", status=200)
ROUTE = WorkerFault("104 brandname:Shop", Reach.ROUTE, "register it")


def rejected(code: str | None, status: int = 200) -> Rejected:
    """Return a rejection of the message."""
    return Rejected(MESSAGE, (), code=code, status=status)


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (None, None),
        (rejected("108"), None),
        (rejected("104"), "104 fixed"),
        (rejected(None, 407), "HTTP 407"),
        (AccountRejected(MESSAGE, (), code="101", status=200), "101"),
        (ACCOUNT, "103"),
        (OutcomeUnknown(MESSAGE, (), "reset, then 103", ACCOUNT), "103"),
        (OutcomeUnknown(MESSAGE, (), "reset"), None),
        (NotSent(MESSAGE, (), "not sent"), None),
        (ForeignLedger("it belongs to others"), FOREIGN),
    ],
)
def test_a_fault_that_is_not_the_messages_own_has_a_name(
    error: EsmsError | None, name: str | None
) -> None:
    """Faults of the worker, the account and the route are told from those of a message."""
    fault = fault_of(error, "fixed")
    assert (fault and fault.name) == name


@pytest.mark.parametrize(
    ("code", "status", "name"),
    [("101", 200, "101"), ("108", 200, None), (None, 403, "HTTP 403"), (None, 404, None)],
)
def test_a_refused_question_says_something_of_sends_or_nothing(
    code: str | None, status: int, name: str | None
) -> None:
    """A gateway without the question answers 404, which stops nobody."""
    fault = fault_of_query(QueryRejected("balance", code=code, status=status))
    assert (fault and fault.name) == name


def test_a_breaker_reaches_as_far_as_its_name_says() -> None:
    """A name with a route in it stops that route; another name is looked up."""
    assert reach_of(ROUTE.name) is Reach.ROUTE
    assert reach_of("103") is Reach.ACCOUNT
    assert reach_of("101") is Reach.WORKER
    assert reach_of("999") is None


def test_a_breaker_opens_once_and_waits_again_after_a_try_that_failed() -> None:
    """Tripped while it is half open, it is open again."""
    breakers = Breakers()
    fault = silence("nobody listens")
    assert breakers.trip(fault)
    assert not breakers.may_pull
    assert not breakers.trip(fault)
    breaker = breakers.open[SILENT]
    breaker.is_half_open = True
    assert not breaker.is_due
    assert breakers.may_pull
    assert not breakers.trip(fault)
    assert not breakers.may_pull


def test_a_breaker_of_a_route_stops_that_route_alone() -> None:
    """Workers go on; a breaker of the account never holds one route."""
    breakers = Breakers()
    breakers.trip(WorkerFault("103", Reach.ACCOUNT, "top it up"))
    assert breakers.holds("brandname:Shop") is None
    del breakers.open["103"]
    breakers.trip(ROUTE)
    held = breakers.holds("brandname:Shop")
    assert held is not None
    assert held.fault is ROUTE
    assert breakers.holds("fixed") is None
    assert breakers.may_pull


def test_sends_without_an_answer_open_a_breaker_in_the_end() -> None:
    """Five in a row do, an answer begins anew, and one more keeps an open breaker open."""
    breakers = Breakers()
    silent = Outcome(MESSAGE, error=OutcomeUnknown(MESSAGE, (), "reset (phone 09…)"))
    for _ in range(4):
        assert breakers.judge(silent, "fixed") is None
    assert breakers.judge(Outcome(MESSAGE, Receipt("r")), "fixed") is None
    expired = RequestIdExpired(MESSAGE, (), "too late", datetime.now(UTC))
    assert breakers.judge(Outcome(MESSAGE, error=expired), "fixed") is None
    for _ in range(4):
        assert breakers.judge(silent, "fixed") is None
    fault = breakers.judge(silent, "fixed")
    assert fault is not None
    assert fault.name == SILENT
    breakers.judge(Outcome(MESSAGE, Receipt("r")), "fixed")
    breakers.trip(fault)
    assert breakers.judge(silent, "fixed") == fault
