"""What a row ends with, and the file that lists every row."""

import csv
import fcntl
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esms_async import EsmsError, LedgerError, Receipt, RequestIdConflict
from esms_async.cli import results
from esms_async.cli.errors import InputError
from esms_async.cli.results import (
    Chunk,
    OrderedResults,
    ResultsFile,
    Tally,
    accept,
    reason_of,
    refuse,
)
from esms_async.cli.rows import BulkRow, RowStatus
from esms_async.cli.words import Language, text
from tests.cli.support import listed_in
from tests.factories import a_message


def _row(number: int, source: object, status: RowStatus = RowStatus.ACCEPTED) -> BulkRow:
    return BulkRow(number, source).end(status)


def _file(path: Path) -> ResultsFile:
    return ResultsFile(str(path), Language.ENGLISH, kept=(None, str(path.with_name("a.csv"))))


@pytest.mark.parametrize(
    ("is_keyed", "status"), [(True, RowStatus.INVALID), (False, RowStatus.HELD_BACK)]
)
def test_another_text_under_the_same_id_is_not_sent(*, is_keyed: bool, status: RowStatus) -> None:
    """A key that was used is the row's own fault; a phone that was texted is held back."""
    row = _row(2, [])
    refuse(row, RequestIdConflict(a_message(), (), "another text"), is_keyed=is_keyed)
    assert row.status is status
    assert row.reason in {text("key_used"), text("other_text_sent")}


def test_an_acceptance_without_a_request_is_an_earlier_one() -> None:
    """Only a ledger knows of one."""
    row = _row(2, [])
    accept(row, Receipt(request_id="r", sms_id="s", attempts=()))
    assert (row.status, row.sms_id, row.attempts) == (RowStatus.ALREADY_DONE, "s", 0)


def test_reasons_beyond_measure_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory stays bounded, and each row still has its own reason in the file."""
    monkeypatch.setattr(results, "_MOST_REASONS", 2)
    tally = Tally()
    for number in range(5):
        tally.add(_row(number, []).end(RowStatus.INVALID, text("message_invalid", problem=number)))
    assert tally.reasons[RowStatus.INVALID, text("other_reasons")].count == 3
    assert str(reason_of(LedgerError("disk full"))) == "disk full"


@pytest.mark.parametrize("name", ["out.txt", "a.csv"])
def test_a_file_of_results_has_a_name_of_its_own(tmp_path: Path, name: str) -> None:
    """Its suffix says the form, and it is never the list."""
    (tmp_path / "a.csv").touch()
    with pytest.raises(InputError):
        _file(tmp_path / name)


def test_a_file_that_can_t_be_written_says_why(tmp_path: Path) -> None:
    """A folder that is not there, and another run that writes the same file."""
    with pytest.raises(InputError, match="No such file"), _file(tmp_path / "none" / "o.csv") as out:
        out.open(["phone"])
    path = tmp_path / "o.csv"
    with path.open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another run"), _file(path) as out:
            out.open(["phone"])


def test_files_without_locks_are_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems have none."""

    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with _file(tmp_path / "o.csv") as out:
        out.open(["phone"])
        out.write([_row(2, ["0901888484"])])
    assert listed_in(tmp_path / "o.csv")[0]["phone"] == "0901888484"


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_every_form_of_a_row_is_listed(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fields, an object, a row that grew shorter than the header, and a line that is neither."""
    monkeypatch.setattr(results, "_MOST_REASONS", 1)
    path = tmp_path / f"o{suffix}"
    rows = [
        _row(2, ["1", "a"]),
        _row(3, ["2"]),
        _row(4, {"phone": "3", "x": [1]}),
        _row(5, '4,"x').end(RowStatus.INVALID, text("quote_open")),
        _row(6, "").end(RowStatus.INVALID, text("not_json")),
    ]
    with _file(path) as out:
        out.open(["phone", ""])
        out.write([*rows, BulkRow(7, [])])
    lines = path.read_text("utf-8-sig").splitlines()
    assert len(lines) == 5 + (suffix == ".csv")
    shown = lines[-4:]
    first = ("2,,accepted", "3,", '"4,""x",,invalid', ",,invalid")
    objects = ('{"phone": "2"', '{"phone": "3", "x": [1]', '{"line": "4,', '{"line": ""')
    for line, begin in zip(shown, first if suffix == ".csv" else objects, strict=True):
        assert line.startswith(begin)
    assert "is not JSON" in lines[-1]


@given(st.lists(st.text(st.sampled_from('ab ,;"\r\n\u2028é')), min_size=2, max_size=2))
def test_a_cell_is_read_as_it_stood_in_the_list(cells: list[str]) -> None:
    """A delimiter, a quote or a line break in a cell moves no other one."""
    lines = results._csv_lines([cells, cells])
    assert list(csv.reader(io.StringIO(lines, newline=""))) == [cells, cells]


def test_a_pipe_takes_results_too(tmp_path: Path) -> None:
    """What is no regular file is neither emptied nor looked for."""
    path = tmp_path / "o.jsonl"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with _file(path) as out:
        out.open(["phone"])
        out.write([_row(2, ["1"])])
    assert os.read(reader, 1000).startswith(b'{"phone": "1", "status": "accepted"')
    os.close(reader)


def test_chunks_are_listed_in_order_and_not_after_a_failure(tmp_path: Path) -> None:
    """A chunk waits for the one before it; what could not be written is not tried again."""
    path = tmp_path / "o.csv"
    with _file(path) as out:
        out.open(["phone"])
        ordered = OrderedResults(out)
        first, second = Chunk([_row(2, ["1"])], 1), Chunk([_row(3, ["2"])], 1)
        for chunk in (first, second):
            ordered.add(chunk)
        ordered.settled(second)
        assert ordered.waiting == 2
        ordered.settled(first)
        assert ordered.waiting == 0
        assert [row["phone"] for row in listed_in(path)] == ["1", "2"]
        path.unlink()
        for _ in range(2):
            ordered.add(Chunk([_row(4, ["3"])], 0))
        assert isinstance(ordered.failure, EsmsError)
        assert not path.exists()
