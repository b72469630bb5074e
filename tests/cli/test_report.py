"""What a job ends with."""

from datetime import UTC, datetime

import pytest

from esms_async import Attempt, Evidence, Message, Outcome, Receipt, Rejected
from esms_async.cli import report
from esms_async.cli.report import GatewayCount, Parts, Refusals
from esms_async.cli.results import RowResult, RowStatus, Tally
from esms_async.cli.screen import Screen

_MESSAGE = Message("0901888484", "686868 la ma", request_id="id")


def _result(row: int, status: RowStatus, reason: str = "") -> RowResult:
    return RowResult(row, "090****484", "id", status, attempts=1, reason=reason)


def _tally(**counts: int) -> Tally:
    tally = Tally()
    for name, count in counts.items():
        for row in range(count):
            tally.add(_result(row, RowStatus[name.upper()]))
    return tally


def test_the_summary_names_every_count() -> None:
    """The object for programs has these keys, in this order, and no other."""
    tally = _tally(accepted=4, rejected=3, not_sent=2, unknown=1, invalid=5)
    attempt = Attempt(datetime.now(UTC), 0.1, Evidence.DUPLICATE, 200, "124")
    for attempts in ((attempt,), ()):
        receipt = Receipt("id", deduplicated=True, attempts=attempts)
        tally.add(RowResult.of_outcome(1, Outcome(_MESSAGE, receipt)))
    assert [*report.summary(tally, 1.23456).items()] == [
        ("total", 17),
        ("accepted", 5),
        ("deduplicated", 1),
        ("already_done", 1),
        ("rejected", 3),
        ("not_sent", 2),
        ("unknown", 1),
        ("invalid", 5),
        ("seconds", 1.235),
    ]


def test_code_124_stands_below_the_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    """Rows with code 124 are counted among the unknown, if there are any."""
    tally = _tally(unknown=2)
    tally.add(RowResult(9, "090****484", "id", RowStatus.UNKNOWN, code="124", attempts=1))
    report.print_outcomes(Screen(), tally, 2.0)
    told = " ".join(capsys.readouterr().out.split())
    assert "unknown 3 of these code 124 1 invalid 0" in told


def test_the_table_fits_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    """Each count stands on a line of its own, with the time, the rate and the gateway's count."""
    tally = _tally(accepted=12_345, rejected=3, not_sent=2, unknown=1, invalid=5)
    tally.add(RowResult(1, "090****484", "id", RowStatus.ALREADY_DONE))
    report.print_outcomes(Screen(), tally, 2.0, gateway=GatewayCount(12_346, 0))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line] == [
        "accepted 12,345",
        "of these retried 0",
        "of these deduplicated 0",
        "already done 1",
        "rejected 3",
        "not sent 2",
        "unknown 1",
        "invalid 5",
        "total 12,357",
        "2.00 s, 6,176 msgs/s",
        "By the gateway's own count: 12,346 accepted, 0 reached a phone twice",
    ]


def test_a_job_of_no_time_has_no_rate(capsys: pytest.CaptureFixture[str]) -> None:
    """A clock that has not moved is no reason to fail; a message that came twice is told."""
    report.print_outcomes(Screen(), Tally(), 0.0, gateway=GatewayCount(2, 1))
    out = capsys.readouterr().out
    assert "0.00 s, 0 msgs/s" in out
    assert "1 reached a phone twice" in out


def test_a_dry_run_has_its_own_table(capsys: pytest.CaptureFixture[str]) -> None:
    """It says what would be sent and charged, and that nothing was sent."""
    report.print_check(Screen(), _tally(checked=3, invalid=1), Parts(parts=5, unicode=2))
    out = " ".join(capsys.readouterr().out.split())
    assert out.startswith("can be sent 3 of these with diacritics 2 message parts in all 5 inv")
    assert out.endswith("total 4 Dry run: nothing was sent.")


def test_the_gravest_refusals_come_first(capsys: pytest.CaptureFixture[str]) -> None:
    """Five of each kind show, by row, in one line each, and the rest is counted."""
    refusals, tally = Refusals(), Tally()
    refused = Rejected(_MESSAGE, (), code="201", status=200)
    for result in [
        *(_result(row, RowStatus.INVALID, "content: is empty") for row in range(117, 110, -1)),
        RowResult.of_outcome(9, Outcome(_MESSAGE, error=refused)),
        _result(8, RowStatus.NOT_SENT, "not sent: the client is closed"),
        _result(1000, RowStatus.UNKNOWN, "it may have been accepted: reset"),
        _result(5, RowStatus.ACCEPTED),
    ]:
        refusals.add(result)
        tally.add(result)
    report.print_refusals(Screen(), refusals, tally, "out.csv")
    assert capsys.readouterr().out.splitlines() == [
        "row 1000  unknown   it may have been accepted: reset",
        "row    8  not sent  the client is closed",
        "row    9  rejected  code 201: the content holds a blocked word",
        "row  113  invalid   content: is empty",
        "row  114  invalid   content: is empty",
        "row  115  invalid   content: is empty",
        "row  116  invalid   content: is empty",
        "row  117  invalid   content: is empty",
        "and 2 more; out.csv lists every row",
    ]


def test_without_a_file_the_way_to_one_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """What does not fit the screen can be listed, and the option for it is named."""
    refusals, tally = Refusals(), _tally(invalid=6)
    for row in range(6):
        refusals.add(_result(row, RowStatus.INVALID, "is\x1b[31m not JSON"))
    report.print_refusals(Screen(), refusals, tally, None)
    *rows, last = capsys.readouterr().out.splitlines()
    assert last == "and 1 more; --results OUT.csv lists every row"
    assert rows[0] == "row 0  invalid   is?[31m not JSON"


def test_nothing_refused_is_nothing_said(capsys: pytest.CaptureFixture[str]) -> None:
    """A job without a refusal says nothing of any."""
    report.print_refusals(Screen(), Refusals(), _tally(accepted=1), None)
    assert capsys.readouterr().out == ""
