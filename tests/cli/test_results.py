"""What became of each row, its counts, and its file."""

import csv
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from esms_async import (
    Attempt,
    DuplicateRequestId,
    EsmsError,
    Evidence,
    InvalidMessage,
    LedgerError,
    Message,
    NotSent,
    Outcome,
    OutcomeUnknown,
    Receipt,
    Rejected,
    RequestIdConflict,
    UsageError,
)
from esms_async.cli.errors import InputError
from esms_async.cli.results import ResultsFile, RowResult, RowStatus, Tally

_MESSAGE = Message("0901888484", "686868 la ma", request_id="id")
_RETRY = Message("0901888484", "686868 la ma", request_id="retry")
_LOST = Attempt(datetime.now(UTC), 0.1, Evidence.MAY_HAVE_ARRIVED)
_TOOK = Attempt(datetime.now(UTC), 0.1, Evidence.ACCEPTED, 200, "100")
_SEEN = Attempt(datetime.now(UTC), 0.1, Evidence.DUPLICATE, 200, "124")
_HAD = DuplicateRequestId(_MESSAGE, (_SEEN,), "seen before")
_REFUSED = Attempt(datetime.now(UTC), 0.1, Evidence.MESSAGE_REJECTED, 200, "201")


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (
            Outcome(_MESSAGE, Receipt("id", "d8e0", attempts=(_TOOK,))),
            RowResult(2, "090****484", "id", RowStatus.ACCEPTED, "d8e0", "100", 1),
        ),
        (
            Outcome(_MESSAGE, Receipt("id", None, deduplicated=True, attempts=(_LOST, _SEEN))),
            RowResult(2, "090****484", "id", RowStatus.ACCEPTED, "", "124", 2, deduplicated=True),
        ),
        (
            Outcome(
                _MESSAGE,
                error=Rejected(_MESSAGE, (_REFUSED,), code="201", status=200, sms_id="d8e0"),
            ),
            RowResult(
                2,
                "090****484",
                "id",
                RowStatus.REJECTED,
                "d8e0",
                "201",
                1,
                "rejected with code 201: the content holds a blocked word",
            ),
        ),
        (
            Outcome(_MESSAGE, Receipt("retry", "d8e0")),
            RowResult(2, "090****484", "retry", RowStatus.ALREADY_DONE, "d8e0", "", 0),
        ),
        (
            Outcome(_MESSAGE, error=Rejected(_RETRY, (), code="201", status=200)),
            RowResult(
                2,
                "090****484",
                "retry",
                RowStatus.REJECTED,
                "",
                "201",
                0,
                "rejected with code 201: the content holds a blocked word",
            ),
        ),
        (
            Outcome(_MESSAGE, error=OutcomeUnknown(_MESSAGE, (_LOST,), "it may have arrived")),
            RowResult(2, "090****484", "id", RowStatus.UNKNOWN, "", "", 1, "it may have arrived"),
        ),
        (
            Outcome(_MESSAGE, error=_HAD),
            RowResult(2, "090****484", "id", RowStatus.UNKNOWN, "", "124", 1, "seen before"),
        ),
        (
            Outcome(_MESSAGE, error=DuplicateRequestId(_MESSAGE, (), "seen before")),
            RowResult(2, "090****484", "id", RowStatus.UNKNOWN, "", "124", 0, "seen before"),
        ),
        (
            Outcome(_MESSAGE, error=RequestIdConflict(_MESSAGE, (), "in use")),
            RowResult(2, "090****484", "id", RowStatus.INVALID, "", "", 0, "in use"),
        ),
        (
            Outcome(_MESSAGE, error=InvalidMessage("message", "is a str")),
            RowResult(2, "090****484", "id", RowStatus.INVALID, "", "", 0, "message: is a str"),
        ),
        (
            Outcome(_MESSAGE, error=UsageError("the client is closed")),
            RowResult(2, "090****484", "id", RowStatus.NOT_SENT, "", "", 0, "the client is closed"),
        ),
        (
            Outcome(_MESSAGE, error=NotSent(_MESSAGE, (), "not sent: cancelled")),
            RowResult(2, "090****484", "id", RowStatus.NOT_SENT, "", "", 0, "not sent: cancelled"),
        ),
        (
            Outcome(_MESSAGE, error=LedgerError("the disk is full")),
            RowResult(2, "090****484", "id", RowStatus.NOT_SENT, "", "", 0, "the disk is full"),
        ),
    ],
)
def test_an_outcome_becomes_a_line(outcome: Outcome, told: RowResult) -> None:
    """Every word of it is the library's own; neither content nor whole phone is in it."""
    result = RowResult.of_outcome(2, outcome)
    assert result == told
    assert "686868" not in repr(result)
    assert "0901888484" not in repr(result)


@pytest.mark.parametrize(
    ("phone", "shown"),
    [("+84 901 888 484", "090****484"), ("028 3822 7345", "<13 characters>"), ("", "")],
)
def test_an_invalid_row_shows_what_it_can(phone: str, shown: str) -> None:
    """A phone that is one shows masked, whatever else is wrong with the row."""
    assert RowResult.invalid(3, phone, "content: is empty").phone == shown


def test_a_tally_counts_every_kind() -> None:
    """Each row counts once; retried and deduplicated are counted of the accepted alone."""
    tally = Tally()
    assert tally.faultless
    errors: list[EsmsError] = [
        Rejected(_MESSAGE, (_LOST, _REFUSED), code="201", status=200),
        RequestIdConflict(_MESSAGE, (), "in use"),
        NotSent(_MESSAGE, (), "not sent"),
        OutcomeUnknown(_MESSAGE, (_LOST,), "unknown"),
    ]
    tally.add(RowResult.of_outcome(9, Outcome(_MESSAGE, Receipt("id", attempts=(_TOOK,)))))
    attempts = (_LOST, _SEEN)
    receipt = Receipt("id", deduplicated=True, attempts=attempts)
    tally.add(RowResult.of_outcome(2, Outcome(_MESSAGE, receipt)))
    tally.add(RowResult.checked(3, _MESSAGE))
    tally.add(RowResult.of_outcome(5, Outcome(_MESSAGE, Receipt("id", deduplicated=True))))
    assert tally.faultless
    for error in errors:
        tally.add(RowResult.of_outcome(4, Outcome(_MESSAGE, error=error)))
    assert not tally.faultless
    assert (tally.total, tally.sent, tally.last_row) == (8, 5, 9)
    assert tally.duplicates == 0
    tally.add(RowResult.of_outcome(4, Outcome(_MESSAGE, error=_HAD)))
    assert tally.duplicates == 1
    assert (tally[RowStatus.ACCEPTED], tally.retried, tally.deduplicated) == (2, 1, 1)
    assert (tally[RowStatus.REJECTED], tally[RowStatus.UNKNOWN]) == (1, 2)
    others = (RowStatus.INVALID, RowStatus.NOT_SENT, RowStatus.CHECKED, RowStatus.ALREADY_DONE)
    assert [tally[status] for status in others] == [1] * 4


_RESULT = RowResult(2, "090****484", "id", RowStatus.REJECTED, "", "201", 2, 'a word, "as told"')
_LINE = {
    "row": 2,
    "phone": "090****484",
    "request_id": "id",
    "status": "rejected",
    "sms_id": "",
    "code": "201",
    "attempts": 2,
    "reason": 'a word, "as told"',
}


def test_csv_results(tmp_path: Path) -> None:
    """A row is in the file as soon as it is written, before the file is closed."""
    path = tmp_path / "out.csv"
    path.write_text("of an earlier run\n", encoding="utf-8")
    with ResultsFile.open(str(path), kept=()) as results:
        assert path.read_text(encoding="utf-8").strip() == ",".join(_LINE)
        results.write(_RESULT)
        with path.open(encoding="utf-8", newline="") as file:
            assert [*csv.DictReader(file)] == [{name: str(held) for name, held in _LINE.items()}]


def test_json_results(tmp_path: Path) -> None:
    """A .jsonl file has one object a line."""
    path = tmp_path / "out.JSONL"
    with ResultsFile.open(str(path), kept=[str(tmp_path / "in.csv"), None]) as results:
        results.write(_RESULT)
        results.write(_RESULT)
        lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [_LINE, _LINE]


def test_two_runs_never_write_one_file(tmp_path: Path) -> None:
    """The second one is refused, and nothing of the first is lost."""
    path = tmp_path / "out.jsonl"
    with ResultsFile.open(str(path), kept=()) as results:
        results.write(_RESULT)
        with pytest.raises(InputError, match="is being written by another run; name another file"):
            ResultsFile.open(str(path), kept=())
        assert json.loads(path.read_text(encoding="utf-8")) == _LINE
    with ResultsFile.open(str(path), kept=()):
        assert path.read_text(encoding="utf-8") == ""


def test_what_is_to_be_fresh_writes_over_nothing(tmp_path: Path) -> None:
    """A file that holds something stays as it is; an empty one is taken."""
    path = tmp_path / "out.jsonl"
    for _ in range(2):
        with ResultsFile.open(str(path), kept=(), fresh=True):
            pass
    path.write_text("outcomes", encoding="utf-8")
    with pytest.raises(InputError, match="is not empty, and a dry run writes over nothing"):
        ResultsFile.open(str(path), kept=(), fresh=True)
    assert path.read_text(encoding="utf-8") == "outcomes"


def test_a_system_without_locks_writes_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are none, the ledger's lock alone keeps two runs apart."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    path = str(tmp_path / "out.jsonl")
    with ResultsFile.open(path, kept=()), ResultsFile.open(path, kept=()) as results:
        results.write(_RESULT)


def test_a_file_that_cannot_be_emptied_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What may only grow is no file of results."""

    def refuse(*_: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("esms_async.cli.results.os.ftruncate", refuse)
    with pytest.raises(InputError, match=r"cannot write .*: Operation not permitted"):
        ResultsFile.open(str(tmp_path / "out.jsonl"), kept=())


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("out.txt", "must end in .csv or .jsonl"),
        ("in.csv", "is the input or the ledger; name another file"),
        ("link.csv", "is the input or the ledger; name another file"),
        ("none/out.csv", "No such file or directory"),
        ("full.csv", "No space left on device"),
    ],
)
def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path, name: str, problem: str) -> None:
    """The error comes before anything is sent, and the input is never written over."""
    source = tmp_path / "in.csv"
    source.write_text("phone,content\n", encoding="utf-8")
    (tmp_path / "link.csv").symlink_to(source)
    (tmp_path / "full.csv").symlink_to("/dev/full")
    with pytest.raises(InputError, match=problem):
        ResultsFile.open(str(tmp_path / name), kept=[str(source), None])
    assert source.read_text(encoding="utf-8") == "phone,content\n"


def test_a_full_disk_is_an_error_of_the_row(tmp_path: Path) -> None:
    """A line that can't be written is told of when it is written, and closing is quiet."""
    path = tmp_path / "full.jsonl"
    path.symlink_to("/dev/full")
    with (
        ResultsFile.open(str(path), kept=()) as results,
        pytest.raises(InputError, match="No space left on device"),
    ):
        results.write(_RESULT)
