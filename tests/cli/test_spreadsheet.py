"""Lists as Excel and people leave them."""

import asyncio
import codecs
import csv
import datetime as dt
import json
import os
import struct
import sys
import unicodedata
from pathlib import Path

import openpyxl
import pytest

from esms_async.cli import spreadsheet
from esms_async.cli.app import run
from esms_async.cli.errors import InputError
from esms_async.cli.spreadsheet import SheetRow, open_sheet
from esms_async.cli.words import Text
from tests.cli.support import listed_in


async def _rows(path: Path, size: int = 3) -> list[SheetRow]:
    sheet = await open_sheet(str(path))
    try:
        first = [row async for chunk in sheet.chunks(size) for row in chunk]
        again = [row async for chunk in sheet.chunks(size) for row in chunk]
    finally:
        sheet.close()
    assert first == again
    return first


def _fields(rows: list[SheetRow]) -> list[object]:
    return [str(fields) if isinstance(fields, Text) else fields for _, fields, _ in rows]


_TEXT = "Số điện thoại;Nội dung\r\n0901888484;mã 1\r\n\r\n0901888485;mã 2\r\n"


@pytest.mark.parametrize(
    "content",
    [
        _TEXT.encode(),
        codecs.BOM_UTF8 + _TEXT.encode(),
        _TEXT.encode("utf-16"),
        codecs.BOM_UTF16_BE + _TEXT.encode("utf-16-be"),
        _TEXT.encode("utf-16-le"),
        _TEXT.encode("utf-16-be"),
        b"sep=;\r\n" + _TEXT.encode(),
        _TEXT.replace(";", "\t").encode(),
        _TEXT.replace("\r\n", "\r").encode(),
        _TEXT.replace("0901888485;mã 2", '"0901888485";"mã 2"').encode(),
    ],
)
async def test_every_form_of_csv_gives_the_same_rows(tmp_path: Path, content: bytes) -> None:
    """UTF-8 and UTF-16, with and without a mark, `sep=`, tabs, quotes and old line ends."""
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    rows = await _rows(path)
    assert _fields(rows) == [["0901888484", "mã 1"], ["0901888485", "mã 2"]]
    assert [number for number, _, _ in rows] == [2, 4]


async def test_a_workbook_gives_texts_as_stored_and_numbers_exactly(tmp_path: Path) -> None:
    """Numbers have every digit, dates are as in Vietnam, and a title above is no header."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet["B2"] = "DANH SÁCH"
    for row in (
        ["", "Số điện thoại", "Nội dung", "Ngày", "Giờ"],
        ["", 84901888484, "a", dt.date(2026, 1, 2), dt.time(8, 30)],
        [],
        ["", "0901888485", 0.5, dt.datetime(2026, 1, 2, 8, 30), True],  # noqa: DTZ001  # as Excel keeps it
    ):
        sheet.append(row)
    path = tmp_path / "a.xlsx"
    book.save(path)
    rows = await _rows(path)
    assert [number for number, _, _ in rows] == [4, 6]
    assert [row[-4:] for row in _fields(rows)] == [  # type: ignore[index]  # they are lists
        ["84901888484", "a", "02/01/2026", "08:30"],
        ["0901888485", "0.5", "02/01/2026 08:30", "TRUE"],
    ]


async def test_the_sheet_that_holds_rows_is_read_and_named(tmp_path: Path) -> None:
    """An empty sheet in front is passed over."""
    book = openpyxl.Workbook()
    book.create_sheet("Danh sách").append(["phone", "content"])
    book["Danh sách"].append(["0901888484", "a"])
    path = tmp_path / "a.xlsx"
    book.save(path)
    sheet = await open_sheet(str(path))
    sheet.close()
    assert (sheet.title, sheet.columns) == ("Danh sách", ["phone", "content"])


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"\n \n", "is empty"),
        ("a.csv", b"\x1f\x8b\x08\x00", "is compressed"),
        ("a.xlsx", b"PK\x03\x04 no workbook", "can't be read as a workbook"),
        ("a.json", b'[{"phone": 1}]', "is a JSON array"),
        ("a.csv", b"x" * 200_000, "longer than 131,072 characters"),
        ("a.csv", b"\xe9phone,content\n", "is not UTF-8"),
        ("a.csv", b'"phone"x,content\n', "is not well-formed CSV"),
    ],
)
async def test_what_can_t_be_read_says_why(
    tmp_path: Path, name: str, content: bytes, problem: str
) -> None:
    """The error names the file and what to do."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=problem):
        await open_sheet(str(path))


async def test_a_workbook_without_the_extra_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the extra, and the way without it."""
    path = tmp_path / "a.xlsx"
    openpyxl.Workbook().save(path)
    with pytest.raises(InputError, match="is empty"):
        await open_sheet(str(path))
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(InputError, match=r"pip install 'esms_async\[excel\]', or save it as CSV"):
        await open_sheet(str(path))


async def test_json_lines_name_their_columns_as_they_come(tmp_path: Path) -> None:
    """A row may have keys that no row before had; two of one name are refused."""
    path = tmp_path / "a.jsonl"
    rows = ['{"phone": 1, "a": "x"}', "[1]", "{", '{"b": 2}', '{"b": 1, "B": 2}', ""]
    path.write_text("\n".join(rows), encoding="utf-8")
    sheet = await open_sheet(str(path))
    read = [row async for chunk in sheet.chunks(9) for row in chunk]
    sheet.close()
    assert sheet.columns == ["phone", "a", "b"]
    assert _fields(read) == [
        [1, "x"],
        "is not a JSON object",
        "is not JSON",
        [None, None, 2],
        "has two keys of one name; rename one",
    ]


async def test_stray_quotes_and_endless_lines_harm_no_other_row(tmp_path: Path) -> None:
    """A record that can't be read costs its first line alone."""
    path = tmp_path / "a.csv"
    long = "x" * 200_000
    lines = ["phone,content", '1,"open', "2,b", f"3,{long}", '4,"a"b', '5,"two', 'lines"', "6\rx,c"]
    path.write_text("\n".join([*lines, '7,"']), encoding="utf-8", newline="")
    assert _fields(await _rows(path)) == [
        "opens a quote that is not closed",
        ["2", "b"],
        "is longer than 131,072 characters",
        "holds a quote inside quotes; double it",
        ["5", "two\nlines"],
        "holds a carriage return outside quotes; end lines with LF or CRLF",
        "opens a quote that is not closed",
    ]


async def test_a_line_that_is_too_long_ends_a_quote(tmp_path: Path) -> None:
    """Lines that a block completes, and those that no block holds, are refused alike."""
    path = tmp_path / "a.csv"
    longer = spreadsheet.LONGEST_LINE + 1
    lines = ["phone,content", f"1,{'x' * (longer - 2)}", '2,"open', "3,c", "x" * 300_000, "4,d"]
    path.write_text("\n".join([*lines, "x" * 300_000]), encoding="utf-8")
    assert _fields(await _rows(path)) == [
        "is longer than 131,072 characters",
        "opens a quote that is not closed",
        ["3", "c"],
        "is longer than 131,072 characters",
        ["4", "d"],
        "is longer than 131,072 characters",
    ]
    path = tmp_path / "a.jsonl"
    path.write_text('{"phone": "1"}\n\n' + "x" * 300_000 + "\n", encoding="utf-8")
    assert _fields(await _rows(path)) == [["1"], "is longer than 131,072 characters"]


async def test_records_that_are_empty_short_long_or_endless(tmp_path: Path) -> None:
    """Empty ones are passed over; the others say what is wrong."""
    path = tmp_path / "a.csv"
    lines = ["", '"phone",content', " , ", '"",""', "1", "1,2,3", '1,"2",3', '"a"\rb,c', '5,"x']
    lines += ["1,2"] * 120
    path.write_text("\n".join([*lines, '6,"two', 'lines"x']), encoding="utf-8", newline="")
    fields = _fields(await _rows(path, 1000))
    many = (
        "has more fields (3) than the header (2); put quotes around a field that holds the "
        "delimiter"
    )
    assert fields[:5] == [
        "has fewer fields (1) than the header (2)",
        many,
        many,
        "holds a carriage return outside quotes; end lines with LF or CRLF",
        "opens a quote that is not closed",
    ]
    assert fields[5:125] == [["1", "2"]] * 120
    assert fields[125:] == [
        "opens a quote that is not closed",
        "has fewer fields (1) than the header (2)",
    ]


async def test_a_header_may_stand_alone_or_hold_quotes(tmp_path: Path) -> None:
    """The delimiter is the first outside quotes; one column needs none."""
    path = tmp_path / "a.csv"
    for written, columns in (("phone", ["phone"]), ('"a,b";c', ["a,b", "c"])):
        path.write_text(written, encoding="utf-8")
        sheet = await open_sheet(str(path))
        assert [chunk async for chunk in sheet.chunks(9)] == []
        sheet.close()
        assert sheet.columns == columns


async def test_a_folder_and_a_file_that_is_not_there_say_why(tmp_path: Path) -> None:
    """The error has the system's own words."""
    with pytest.raises(InputError, match="Is a directory"):
        await open_sheet(str(tmp_path))
    with pytest.raises(InputError, match="No such file"):
        await open_sheet(str(tmp_path / "none.csv"))


async def test_a_pipe_is_read_once_and_holds_no_workbook(tmp_path: Path) -> None:
    """Its first bytes say what it is; a workbook must be a file."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writing = asyncio.to_thread(path.write_bytes, b"phone,content\n0901888484,a\n")
    sheet, _ = await asyncio.gather(open_sheet(str(path)), writing)
    assert not sheet.can_repeat
    assert [fields async for chunk in sheet.chunks(9) for _, fields, _ in chunk] == [
        ["0901888484", "a"]
    ]
    sheet.close()
    writing = asyncio.to_thread(path.write_bytes, b"PK\x03\x04")
    opened, _ = await asyncio.gather(open_sheet(str(path)), writing, return_exceptions=True)
    assert isinstance(opened, InputError)
    assert "save" in str(opened) or "file" in str(opened)


async def test_a_workbook_with_a_password_says_so(tmp_path: Path) -> None:
    """Excel keeps an encrypted workbook in a container with a stream EncryptedPackage."""
    end, free = 0xFFFF_FFFE, 0xFFFF_FFFF
    magic = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
    start = struct.pack("<8s16s5H6s", magic, b"", 0x3E, 3, 0xFFFE, 9, 6, b"")
    start += struct.pack("<9I", 0, 1, 1, 0, 4096, end, 0, end, 0)
    start += struct.pack("<109I", 0, *[free] * 108)
    sectors = struct.pack("<128I", 0xFFFF_FFFD, end, *[free] * 126)

    def entry(name: str, kind: int, child: int) -> bytes:
        written = name.encode("utf-16-le")
        tail = struct.pack("<H2B3I", len(written) + 2, kind, 1, free, free, child)
        return written.ljust(64, b"\0") + tail + bytes(36) + struct.pack("<IQ", end, 0)

    entries = entry("Root Entry", 5, 1) + entry("EncryptedPackage", 2, free)
    path = tmp_path / "a.xlsx"
    path.write_bytes(start + sectors + entries.ljust(512, b"\0"))
    with pytest.raises(InputError, match="password"):
        await open_sheet(str(path))


async def test_a_workbook_may_hold_one_row(tmp_path: Path) -> None:
    """It is the header."""
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.append(["phone"])
    path = tmp_path / "a.xlsx"
    book.save(path)
    assert await _rows(path) == []


async def test_standard_input_that_was_closed_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its descriptor may be that of another file by now."""
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="standard input is closed"):
        await open_sheet("-")


def test_the_plan_names_the_sheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A person must see which sheet of several is sent."""
    book = openpyxl.Workbook()
    book.create_sheet("Danh sách").append(["phone", "content"])
    book["Danh sách"].append(["0901888484", "a"])
    path = tmp_path / "a.xlsx"
    book.save(path)
    assert run(["bulk", str(path), "--dry-run"]) == 0
    assert "Danh sách" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
async def test_a_row_that_is_not_utf_8_is_refused_whatever_column_it_is_in(
    tmp_path: Path, name: str
) -> None:
    """The results could only list it with other letters; a row after it is none the worse."""
    rows: list[list[bytes]] = [
        [b"0901888484", b"a", "Nguyễn".encode()],
        [b"0901888485", b"b", b"Nguy\xean"],
        [b"0901888486", b"c", b"An"],
        [b"0901888487", b"d", b"\xea"],
    ]
    header = [b"phone", b"content", b"name"]
    if name == "a.csv":
        lines = [b",".join(fields) for fields in (header, *rows)]
    else:
        pairs = [[*zip(header, fields, strict=True)] for fields in rows]
        lines = [b"{%s}" % b", ".join(b'"%s": "%s"' % pair for pair in fields) for fields in pairs]
    path = tmp_path / name
    # Without a line end, so the last row comes at the end of the input.
    path.write_bytes(b"\n".join(lines))
    refused = [
        str(fields).startswith("the row is not UTF-8") for fields in _fields(await _rows(path))
    ]
    assert refused == [False, True, False, True]


def test_a_cell_without_a_value_may_hold_more_than_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What reads a workbook gives nothing for an error, and for a formula that no Excel saw."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["phone", "Mã"])
    sheet.append(["0901888484", "=1/0"])
    path = tmp_path / "a.xlsx"
    book.save(path)
    assert run(["bulk", str(path), "--content", "{Mã}", "--dry-run"]) == 1
    said = "Mã: is empty, an error such as #DIV/0!, or a formula without a value"
    assert said in capsys.readouterr().out


async def test_a_title_far_above_is_the_header(tmp_path: Path) -> None:
    """A sheet of one column has its header in its first row."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for value in ("phone", *range(901888400, 901888416)):
        sheet.append([value])
    path = tmp_path / "a.xlsx"
    book.save(path)
    rows = await _rows(path, 8)
    assert [number for number, _, _ in rows] == [*range(2, 18)]


async def test_a_file_that_changes_between_the_passes_is_refused(tmp_path: Path) -> None:
    """The plan must be that of what is sent."""
    path = tmp_path / "a.csv"
    path.write_text("phone,content\n0901888484,a\n", encoding="utf-8")
    sheet = await open_sheet(str(path))
    _ = [chunk async for chunk in sheet.chunks(9)]
    await asyncio.sleep(0.01)
    path.write_text("phone,content\n0901888484,b\n0901888485,b\n", encoding="utf-8")
    with pytest.raises(InputError, match="was written while it was read"):
        _ = [chunk async for chunk in sheet.chunks(9)]
    sheet.close()


@pytest.mark.parametrize(
    ("header", "row", "options"),
    [
        ("Số điện thoại,Nội dung", "0901888484,a", ()),
        (unicodedata.normalize("NFD", "Số điện thoại,Nội dung"), "0901888484,a", ()),
        ("SĐT,content", "901888484,a", ()),
        ("Tên,Điện thoại khách,Tin nhắn", "X,0901888484,a", ()),
        ("ten,lien he,text", "X,0901888484,a", ()),
        ("Điện thoại 1,Điện thoại 2,content", ",0901888484,a", ()),
        ("a,b", "0901888484,a", ("--phone-column", "A", "--content-column", "b")),
        ("phone,tên", "0901888484,a", ("--content", "{Tên}")),
        (unicodedata.normalize("NFD", "phone,tên"), "0901888484,a", ("--content", "{tên}")),
    ],
)
def test_columns_are_found_by_name_or_content(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    header: str,
    row: str,
    options: tuple[str, ...],
) -> None:
    """Vietnamese names, NFD, and a column that only its content gives away."""
    path = tmp_path / "a.csv"
    path.write_text(f"{header}\n{row}\n", encoding="utf-8")
    assert run(["bulk", str(path), "--dry-run", "--json", *options]) == 0
    assert json.loads(capsys.readouterr().out)["checked"] == 1


@pytest.mark.parametrize(
    ("header", "row", "options", "problem"),
    [
        ("a,content", "x,y", (), "--phone-column NAME says which"),
        ("0901888484,content", "x,y", (), "the first row must name the columns"),
        ("mobile,sdt,content", "0901888484,0901888485,a", (), "more than one column"),
        ("0901888484,b", "x,y", ("--phone-column", "SĐT"), "no column 'SĐT'"),
        (
            "phone,name",
            "0901888484,y",
            (),
            "--content-column NAME, or compose the text, as in --content",
        ),
        ("phone,text,message", "0901888484,y,z", (), "choose one with --content-column"),
        ("phone,a,a", "0901888484,y,z", ("--content", "{A}"), "more than one column 'A'"),
        (
            "phone,a",
            "0901888484,y",
            ("--content", "{ Có B }"),
            "no column 'Có B', which --content names",
        ),
        ("phone,a", "0901888484,y", ("--content", "{"), "a brace at position 1"),
        ("phone,a", "0901888484,y", ("--content", " "), "the template is empty"),
    ],
)
def test_a_column_that_is_not_certain_is_asked_for(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    header: str,
    row: str,
    options: tuple[str, ...],
    problem: str,
) -> None:
    """Nothing is guessed that could send the wrong thing; the error names the option."""
    path = tmp_path / "a.csv"
    path.write_text(f"{header}\n{row}\n", encoding="utf-8")
    assert run(["bulk", str(path), "--dry-run", *options]) == 2
    err = capsys.readouterr().err
    assert problem in err
    assert "0901888484" not in err


def test_the_results_are_the_list_and_ours(tmp_path: Path) -> None:
    """Own columns come first and unaltered, also one that has a name of ours; Excel reads it."""
    path, listed = tmp_path / "a.csv", tmp_path / "out.csv"
    path.write_text('Tên,phone,content,status\n"A, B",901888484,a,old\n,1,"b",x\n', "utf-8")
    assert run(["bulk", str(path), "--emulator", "--results", str(listed)]) == 1
    assert listed.read_bytes().startswith(codecs.BOM_UTF8)
    with listed.open(encoding="utf-8-sig", newline="") as file:
        header, first, second = csv.reader(file)
    ours = ["status", "request_id", "sms_id", "code", "reason", "attempts"]
    assert header == ["Tên", "phone", "content", "status", *ours]
    assert first[:5] == ["A, B", "901888484", "a", "old", "accepted"]
    assert second[:5] == ["", "1", "b", "x", "invalid"]
    listed = tmp_path / "out.jsonl"
    assert run(["bulk", str(path), "--emulator", "--results", str(listed)]) == 1
    row = json.loads(listed.read_text(encoding="utf-8").splitlines()[0])
    assert (row["status"], row["esms_status"], row["phone"]) == ("old", "accepted", "901888484")


def test_json_lines_become_csv(tmp_path: Path) -> None:
    """Columns are those of all rows; what is no text is written as JSON."""
    path, listed = tmp_path / "a.jsonl", tmp_path / "out.csv"
    path.write_text('{"phone": 901888484, "content": "a"}\n{"phone": "x", "tags": [1]}\n', "utf-8")
    assert run(["bulk", str(path), "--emulator", "--results", str(listed)]) == 1
    first, second = listed_in(listed)
    assert (first["phone"], first["tags"], first["status"]) == ("901888484", "", "accepted")
    assert (second["tags"], second["status"]) == ("[1]", "invalid")
