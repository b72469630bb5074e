"""Rows out of lines."""

import csv
import io
import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esms_async.cli.errors import InputError, InvalidField
from esms_async.cli.rows import CsvRows, JsonRows, Row, UnreadableRow

_NEEDED = ("phone", "content")


def _csv(
    text: str, header: str = "phone,content\n", needed: Sequence[str] = _NEEDED
) -> list[Row | UnreadableRow]:
    parser = CsvRows.after_header("a.csv", header, needed, 1)
    lines = text.splitlines(keepends=True)
    rows = [row for line in lines for row in parser.feed(line)]
    return [*rows, *parser.end()]


def _json(*lines: str) -> list[Row | UnreadableRow]:
    parser = JsonRows(0)
    rows = [row for line in lines for row in parser.feed(line)]
    return [*rows, *parser.end()]


def _told(rows: list[Row | UnreadableRow]) -> list[tuple[int, object]]:
    """Each row's number, with the content or with what is wrong."""
    return [
        (row.number, row.values["content"] if isinstance(row, Row) else row.problem) for row in rows
    ]


_text = st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"]), max_size=9)


@given(
    st.lists(st.tuples(st.just("0901888484"), _text), max_size=9),
    st.sampled_from(",;\t"),
    st.sampled_from(["\n", "\r\n"]),
)
def test_what_a_csv_writer_wrote_is_read(
    rows: list[tuple[str, str]], delimiter: str, end: str
) -> None:
    """Quotes, delimiters and line breaks in fields, and the ends of lines of any system, hold."""
    written = io.StringIO(newline="")
    csv.writer(written, delimiter=delimiter, lineterminator=end).writerows(rows)
    parser = CsvRows.after_header("a.csv", f"phone{delimiter}content{end}", _NEEDED, 1)
    read = [row for line in written.getvalue().split("\n")[:-1] for row in parser.feed(line + "\n")]
    assert not [*parser.end()]
    assert _told(read) == [(number, content) for number, (_, content) in enumerate(rows, 2)]


@pytest.mark.parametrize(
    "header",
    ["phone,content", "PHONE , Content\r\n", '"phone","content"\n', "\tphone\tcontent\n".strip()],
)
def test_column_names_are_compared_without_spaces_and_case(header: str) -> None:
    """The header of a spreadsheet need not be written as a programmer would."""
    delimiter = "\t" if "\t" in header else ","
    assert _told(_csv(f"1{delimiter}a\n", header)) == [(2, "a")]


def test_one_column_can_be_enough() -> None:
    """With a template that names no column, a list of phones is a CSV file."""
    parser = CsvRows.after_header("a.csv", "phone\n", ("phone",), 1)
    (row,) = parser.feed("0901888484\n")
    assert isinstance(row, Row)
    assert row.text("phone") == "0901888484"


def test_unnamed_columns_are_no_duplicates() -> None:
    """The empty columns that a spreadsheet leaves at the right edge are ignored."""
    assert _told(_csv("1;a;;\n2;b;;\n", "phone;content;;\n")) == [(2, "a"), (3, "b")]


@pytest.mark.parametrize(
    ("header", "needed", "problem"),
    [
        ("0901888484,686868 la ma\n", _NEEDED, "has no column 'phone'; the first row must"),
        ("phone,Phone,content\n", _NEEDED, r"one name \('phone'\) in columns 1 and 2; rename one"),
        ("phone,x,x,content\n", _NEEDED, "has one name in columns 2 and 3; rename one"),
        ("phone,text\n", _NEEDED, "no column 'content' among its 2; add it, or give --cont"),
        ("phone,name\n", ("phone", "code"), "no column 'code' among its 2; add it$"),
        ("0901888484,phone,686868\n", _NEEDED, "no column 'content' among its 3; add it"),
        ("phone,content,0901888484,0901888484\n", _NEEDED, "one name in columns 3 and 4; rename"),
        ("phone,c\udce9\n", _NEEDED, "is not UTF-8"),
        ("p\0h\0o\0n\0e\0,\n", _NEEDED, "is not UTF-8"),
        ('phone,"content\n', _NEEDED, "is not well-formed CSV"),
        ('phone,"con"tent\n', _NEEDED, "is not well-formed CSV"),
    ],
)
def test_a_header_that_cannot_be_used_is_an_error(
    header: str, needed: Sequence[str], problem: str
) -> None:
    """The error names the file and what is missing, and nothing that could be a person's."""
    with pytest.raises(InputError, match=problem) as refused:
        CsvRows.after_header("a.csv", header, needed, 1)
    assert "a.csv" in str(refused.value)
    assert "686868" not in str(refused.value)
    assert "0901" not in str(refused.value)


_TOO_MANY = "has 3 fields, the header 2; put quotes around a field that holds the delimiter"
_OPEN = "opens a quote that is not closed"
_INSIDE = "holds a quote inside quotes; double it"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1\n2,b\n", [(2, "has 1 field, the header 2: 'content' is missing"), (3, "b")]),
        (
            "1,a,x\n2,b\n",
            [(2, _TOO_MANY), (3, "b")],
        ),
        ('1,"a\n2,b\n3,c\n', [(2, _OPEN), (3, "b"), (4, "c")]),
        ('1,"a\n2,b\n3,"c"\n4,d\n', [(2, _OPEN), (3, "b"), (4, "c"), (5, "d")]),
        ('1,"a"b\n2,b\n', [(2, _INSIDE), (3, "b")]),
        ('1,"a\n2,"b\n3,"c\n', [(2, _OPEN), (3, _OPEN), (4, _OPEN)]),
        ('1,5" pipe\n2,b\n', [(2, '5" pipe'), (3, "b")]),
        ('1,"a\nb"\n2,c\n', [(2, "a\nb"), (3, "c")]),
        ("\n,\n1,a\n \n2,b\n", [(4, "a"), (6, "b")]),
        ("", []),
    ],
)
def test_a_bad_row_harms_no_other(text: str, told: list[tuple[int, object]]) -> None:
    """A row that can't be read is told of by its number; those around it are read."""
    assert _told(_csv(text)) == told


def test_a_column_that_nobody_asked_for_is_told_of_by_its_place() -> None:
    """In a file without a header its name would be what a row holds."""
    assert _told(_csv("1,a\n", "phone,content,0901888484\n")) == [
        (2, "has 2 fields, the header 3: column 3 is missing")
    ]


@pytest.mark.parametrize("twin", ["Phone", "phone", " PHONE "])
def test_an_object_with_two_keys_of_one_name_is_invalid(twin: str) -> None:
    """Neither of the two is taken for the other; the rows around it are read."""
    line = f'{{"phone": "0901888484", "{twin}": "0901888485", "content": "a"}}'
    assert _told(_json(line, '{"content": "b"}')) == [
        (1, "has two keys of one name; rename one"),
        (2, "b"),
    ]


def test_a_carriage_return_outside_quotes_is_named() -> None:
    """The line ends of old Macs make one line of many, which is told of as what it is."""
    parser = CsvRows.after_header("a.csv", "phone,content\n", _NEEDED, 1)
    ((number, problem),) = _told([*parser.feed("1,a\r2,b\r\n")])
    assert number == 2
    assert "carriage return" in str(problem)


@pytest.mark.parametrize("width", [1, 2000])
def test_an_open_quote_swallows_a_bounded_part(width: int) -> None:
    """A quote that is never closed costs its own row, and neither memory nor the rows after it."""
    parser = CsvRows.after_header("a.csv", "phone,content\n", _NEEDED, 1)
    rows = [*parser.feed('1,"a\n')]
    for number in range(1000):
        rows += parser.feed(f"{number},{'x' * width}\n")
        assert len(parser._records._open) <= 100
    rows += parser.end()
    problem, *good = _told(rows)
    assert problem == (2, _OPEN)
    assert good == [(number, "x" * width) for number in range(3, 1003)]


def test_a_line_that_is_too_long_is_a_row() -> None:
    """A line that was too long is told of, also where it cuts an open quote short."""
    parser = CsvRows.after_header("a.csv", "phone,content\n", _NEEDED, 1)
    rows = [*parser.feed('1,"a\n'), *parser.feed(None), *parser.feed("2,b\n")]
    assert _told(rows) == [(2, _OPEN), (3, "is longer than 131072 bytes"), (4, "b")]
    assert _told([*JsonRows(0).feed(None)]) == [(1, "is longer than 131072 bytes")]


def test_json_lines_are_read() -> None:
    """Each line is an object; names are compared as those of columns, blank lines are counted."""
    rows = _json('{"Phone": "1", "content": "a"}\n', "\n", '{"content": "b"}')
    assert _told(rows) == [(1, "a"), (3, "b")]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("phone,content", "is not JSON"),
        ('{"phone": ', "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('{"phone": ' + "9" * 5000 + "}", "is not JSON"),
        ('"text"', "is not a JSON object"),
        ('["phone"]', "is not a JSON object"),
    ],
)
def test_a_line_that_is_no_json_object_harms_no_other(line: str, problem: str) -> None:
    """What can't be read is told of by its number."""
    assert _told(_json(line, '{"content": "b"}')) == [(1, problem), (2, "b")]


@pytest.mark.parametrize(("value", "text"), [("a", "a"), (84901888484, "84901888484"), ("0", "0")])
def test_a_field_is_a_text(value: object, text: str) -> None:
    """A number in JSON stands for its digits."""
    assert Row(1, {"phone": value}).text("phone") == text


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("{}", "phone: is missing"),
        ('{"phone": null}', "phone: is missing"),
        ('{"phone": ""}', "phone: is empty"),
        ('{"phone": " \\u00a0"}', "phone: is empty"),
        ('{"phone": true}', "phone: is of type bool; write it as a string"),
        ('{"phone": 1.5}', "phone: is of type float; write it as a string"),
        ('{"phone": ["0901888484"]}', "phone: is of type list; write it as a string"),
        ('{"phone": "090\\u00001888484"}', "phone: holds a NUL byte"),
        ('{"phone": "090\\ud8001888484"}', "phone: is not UTF-8"),
    ],
)
def test_a_field_without_a_usable_text_is_named(written: str, problem: str) -> None:
    """What is wrong is told with the field's name and without its content."""
    with pytest.raises(InvalidField) as refused:
        Row(1, json.loads(written)).text("phone")
    assert str(refused.value) == problem


def test_bytes_that_are_no_utf8_harm_their_field_alone() -> None:
    """A Latin-1 name in a column that nobody needs leaves the row usable."""
    (row,) = _csv("1,a,Jos\udce9\n", "phone,content,name\n")
    assert isinstance(row, Row)
    assert row.text("content") == "a"
    with pytest.raises(InvalidField, match="name: is not UTF-8"):
        row.text("name")


def test_the_repr_shows_no_values() -> None:
    """The values of a row are a person's."""
    assert repr(Row(7, {"phone": "0901888484"})) == "Row(number=7)"
