"""Rows out of files, whatever form they are in."""

from pathlib import Path

import pytest

from esms_async.cli.errors import InputError
from esms_async.cli.lines import LONGEST_LINE
from esms_async.cli.reader import RowReader
from esms_async.cli.rows import Row, UnreadableRow

_FIRST = '{"phone": "0901888484", "content": "ma 1"}'


async def _read(path: Path) -> list[Row | UnreadableRow]:
    async with await RowReader.open(str(path), ("phone", "content")) as reader:
        rows = [row async for row in reader]
        assert reader.fraction == 1
        return rows


@pytest.mark.parametrize(
    ("name", "content", "first"),
    [
        ("a.csv", "phone,content\n0901888484,ma 1\n0901888485,mã 2\n", 2),
        ("a.csv", "\ufeffphone;content\r\n0901888484;ma 1\r\n0901888485;mã 2", 2),
        ("a.txt", "\n\nphone\tcontent\n0901888484\tma 1\n0901888485\tmã 2\n", 4),
        (
            "a.jsonl",
            f'{_FIRST}\n{{"phone": 84901888485, "content": "m\\u00e3 2"}}\n',
            1,
        ),
        (
            "a",
            f'\n  {_FIRST}\n{{"phone": "0901888485", "content": "mã 2"}}',
            2,
        ),
    ],
)
async def test_each_form_gives_the_same_rows(
    tmp_path: Path, name: str, content: str, first: int
) -> None:
    """CSV with any delimiter and JSON Lines are told apart, and count rows as editors do."""
    path = tmp_path / name
    path.write_bytes(content.encode())
    rows = await _read(path)
    assert [row.number for row in rows] == [first, first + 1]
    contents = [row.text("content") for row in rows if isinstance(row, Row)]
    assert contents == ["ma 1", "mã 2"]


async def test_the_name_tells_json_lines_whose_first_line_is_bad(tmp_path: Path) -> None:
    """A first line that is no JSON is one bad row of a .jsonl file, not a header."""
    path = tmp_path / "a.JSONL"
    path.write_text('phone\n{"content": "b"}\n', encoding="utf-8")
    bad, good = await _read(path)
    assert isinstance(bad, UnreadableRow)
    assert isinstance(good, Row)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"\n \r\n", "is empty"),
        (b'[{"phone": "0901888484"}]', "is a JSON array"),
        (b"x" * (LONGEST_LINE + 1), "is longer than"),
        (b"0901888484,686868\n", "has no column 'phone'"),
    ],
)
async def test_a_file_that_cannot_be_used_is_an_error(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    """The error says in one line what is wrong with the file as a whole."""
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=problem):
        await _read(path)


async def test_the_last_open_quote_is_told_of(tmp_path: Path) -> None:
    """What is left over at the end of the file is a row too."""
    path = tmp_path / "a.csv"
    path.write_text('phone,content\n0901888484,"ma', encoding="utf-8")
    (row,) = await _read(path)
    assert isinstance(row, UnreadableRow)
    assert row.number == 2
