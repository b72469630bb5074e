"""Reads the rows of a file or a pipe: CSV, TSV, JSON Lines and .xlsx, as Excel leaves them.

Rows come in chunks, because code that runs once a row between two waits costs two to three times
what it costs in a loop. A row that can't be read costs no other row.
"""

import asyncio
import codecs
import csv
import functools
import json
import os
import stat
import sys
import threading
import unicodedata
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import date, datetime, time
from itertools import chain
from typing import TYPE_CHECKING, Final, Protocol, Self, TypeVar, cast

from esms_async.cli.errors import InputError
from esms_async.cli.words import Text, text

if TYPE_CHECKING:
    from python_calamine import CalamineSheet

T = TypeVar("T")
Fields = list[object]
SheetRow = tuple[int, Fields | Text, object]
"""The number of a row as a spreadsheet counts; its fields, or why it can't be read; and the row as
it stands in the input, for the results."""

LONGEST_LINE: Final = 128 * 1024
"""Characters. The longest message that can be sent takes less than half of it."""

_BLOCK: Final = 256 * 1024
_JSON_LINES: Final = (".jsonl", ".ndjson")
_WORKBOOK: Final = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_COMPRESSED: Final = b"\x1f\x8b"
_DELIMITERS: Final = ",;\t"
# A message has at most 255 parts. A quote that is open for longer is a stray one.
_MOST_LINES_IN_QUOTES: Final = 100
# A title may stand above the header of a sheet.
_MOST_ROWS_ABOVE_HEADER: Final = 10
# Excel keeps 15 digits of a number.
_MOST_EXACT: Final = 10**15


def column_name(written: str) -> str:
    """Return the name of a column as it is compared: in NFC, without outer spaces and case."""
    return " ".join(unicodedata.normalize("NFC", written).casefold().split())


class Sheet(Protocol):
    """The rows of an input whose header has been read."""

    name: str | Text
    """What the input is called in messages."""
    columns: list[str]
    """The columns as they are written; those of JSON Lines grow as rows are read."""
    title: str | None
    """The name of the sheet in a workbook."""
    can_repeat: bool
    """True if the rows can be read more than once."""
    empty: str
    """The sentence of the catalogue that is said of an empty cell."""

    def chunks(self, size: int) -> AsyncIterator[list[SheetRow]]:
        """Read the rows from the first one, some at a time."""
        ...

    def close(self) -> None:
        """Close the input."""
        ...


async def open_sheet(path: str) -> Sheet:
    """Open a file, or standard input (`-`), and read its header.

    Raises:
        InputError: It can't be used; the error says why.
    """
    source = await _Source.open(path)
    try:
        start = await source.start()
        if start.startswith(_WORKBOOK):
            return await _open_workbook(source, path)
        if start.startswith(_COMPRESSED):
            raise InputError(text("file_compressed", file=source.name))  # noqa: TRY301  # closed below
        lines = _TextSheet(source, is_json=path.lower().endswith(_JSON_LINES))
        await lines.read_header()
    except BaseException:
        source.close()
        raise
    return lines


class _Source:
    """Bytes of a file or a pipe, read beside the event loop.

    A pipe that gives nothing for an hour holds up neither the sends in flight nor an interrupt.
    """

    def __init__(self, name: str | Text, descriptor: int) -> None:
        self.name = name
        self._descriptor = descriptor
        self._reading = False
        self._start = b""
        status = os.fstat(descriptor)
        self.is_file = stat.S_ISREG(status.st_mode)
        self._version = status.st_size, status.st_mtime_ns

    @classmethod
    async def open(cls, path: str) -> Self:
        if path == "-":
            require_standard_input()
            return cls(text("standard_input"), os.dup(0))
        try:
            # On a thread, because opening a named pipe waits for its writer.
            return cls(path, await on_thread(lambda: os.open(path, os.O_RDONLY)))
        except OSError as error:
            raise _unreadable(path, error) from None

    async def start(self) -> bytes:
        """Read as many bytes as say what the input is; `blocks` gives them again."""
        while len(self._start) < 4 and (block := await self._read()):
            self._start += block
        if not self._start:
            raise InputError(text("file_empty", file=self.name))
        return self._start

    async def blocks(self) -> AsyncIterator[bytes]:
        """Read from the beginning; a second time only where it is a file."""
        if self.is_file:
            os.lseek(self._descriptor, 0, os.SEEK_SET)
        else:
            yield self._start
        while block := await self._read():
            yield block

    def check_unchanged(self) -> None:
        """Refuse to go on with a file that was written since it was opened."""
        status = os.fstat(self._descriptor)
        if (status.st_size, status.st_mtime_ns) != self._version:
            raise InputError(text("file_changed", file=self.name))

    def close(self) -> None:
        """Close it. A read that still waits for a pipe keeps the pipe open until it ends."""
        if not self._reading:
            os.close(self._descriptor)

    async def _read(self) -> bytes:
        self._reading = True
        try:
            block = await on_thread(lambda: os.read(self._descriptor, _BLOCK))
        except OSError as error:
            self._reading = False
            raise _unreadable(self.name, error) from None
        # Not where the read is cancelled: its thread goes on to use the descriptor.
        self._reading = False
        return block


class _TextSheet:
    """CSV, TSV or JSON Lines."""

    empty = "value_empty"

    def __init__(self, source: _Source, *, is_json: bool) -> None:
        self.name = source.name
        self.title: str | None = None
        self._is_json = is_json
        self.columns: list[str] = []
        self.can_repeat = source.is_file
        self._source = source
        self._blocks = source.blocks()
        self._waiting: list[str | None] = []
        self._decoder: codecs.IncrementalDecoder | None = None
        self._line_end = "\n"
        self._rest = ""
        self._rest_is_too_long = False
        self._new_parser: Callable[[], _CsvParser | _JsonParser]
        self._is_begun = False
        self._is_clean = True

    async def read_header(self) -> None:
        """Find out from the first line that is not blank what the lines hold."""
        number, delimiter = 0, None
        async for line in self._lines():
            if line is None:
                raise InputError(text("header_too_long", file=self.name, longest=LONGEST_LINE))
            if delimiter is None and number == 0 and (given := _given_delimiter(line)):
                delimiter = given
                continue
            number += 1
            start = line.lstrip()[:1]
            if not start:
                continue
            if start == "[":
                raise InputError(text("json_array", file=self.name))
            if self._is_json or start == "{":
                self._new_parser = functools.partial(_JsonParser, self.columns, number - 1)
                self._waiting.insert(0, line)
            else:
                self._read_csv_header(line, delimiter, number)
            return
        raise InputError(text("file_empty", file=self.name))

    async def chunks(self, size: int) -> AsyncIterator[list[SheetRow]]:
        """Read the rows; see Sheet."""
        if self._is_begun:
            self._source.check_unchanged()
            self._blocks, self._waiting, self._decoder = self._source.blocks(), [], None
            self._rest, self._rest_is_too_long = "", False
            await self.read_header()
        self._is_begun = True
        parser = self._new_parser()
        lines, self._waiting = self._waiting, []
        while True:
            rows = self._checked(parser.feed(lines))
            for place in range(0, len(rows), size):
                yield rows[place : place + size]
            if (block := await anext(self._blocks, None)) is None:
                break
            lines = self._split(block)
        rows = self._checked(parser.feed(self._last_line()) + parser.end())
        for place in range(0, len(rows), size):
            yield rows[place : place + size]

    def close(self) -> None:
        """Close the input."""
        self._source.close()

    async def _lines(self) -> AsyncIterator[str | None]:
        """Give the first lines; what a block holds beyond them stays in `_waiting`."""
        async for block in self._blocks:
            self._waiting = self._split(block)
            while self._waiting:
                yield self._waiting.pop(0)
        for line in self._last_line():
            yield line

    def _split(self, block: bytes) -> list[str | None]:
        """Return the lines that a block completes; None in place of one that is too long."""
        if self._decoder is None:
            self._decoder = _decoder_for(block)
            decoded = self._decoder.decode(block).removeprefix("\ufeff")
            # The "CSV (Macintosh)" of Excel ends lines with a carriage return alone.
            only_returns = "\r" in decoded.rstrip("\r") and "\n" not in decoded
            self._line_end = "\r" if only_returns else "\n"
        else:
            decoded = self._decoder.decode(block)
        self._is_clean = self._is_clean and is_clean(decoded)
        lines: list[str | None] = [*(self._rest + decoded).split(self._line_end)]
        self._rest = cast("str", lines.pop())
        if lines and self._rest_is_too_long:
            lines[0], self._rest_is_too_long = None, False
        if any(line is not None and len(line) > LONGEST_LINE for line in lines):
            lines = [None if line is None or len(line) > LONGEST_LINE else line for line in lines]
        if len(self._rest) > LONGEST_LINE:
            self._rest, self._rest_is_too_long = "", True
        return lines

    def _checked(self, rows: list[SheetRow]) -> list[SheetRow]:
        """Refuse rows that are not UTF-8, also in a column that no message takes.

        The results could only list them with other letters, and the rest of the file has most
        likely been read wrongly, too.
        """
        if self._is_clean:
            return rows
        refused = text("not_utf8")
        return [
            (number, fields if is_clean(_written(source)) else refused, source)
            for number, fields, source in rows
        ]

    def _last_line(self) -> list[str | None]:
        decoded = "" if self._decoder is None else self._decoder.decode(b"", final=True)
        self._is_clean = self._is_clean and is_clean(decoded)
        rest, self._rest = self._rest + decoded, ""
        if self._rest_is_too_long:
            self._rest_is_too_long = False
            return [None]
        return [rest] if rest else []

    def _read_csv_header(self, line: str, delimiter: str | None, number: int) -> None:
        if not is_clean(line):
            raise InputError(text("header_not_utf8", file=self.name))
        delimiter = delimiter or _delimiter_of(line)
        parsed = _CsvParser(delimiter, 0, 0).feed([line])
        if not parsed or isinstance(parsed[0][1], Text):
            raise InputError(text("header_not_csv", file=self.name))
        self.columns = [str(field) for field in parsed[0][1]]
        width = len(self.columns)
        self._new_parser = lambda: _CsvParser(delimiter, width, number)


def _decoder_for(start: bytes) -> codecs.IncrementalDecoder:
    """Choose UTF-16 or UTF-8; bytes that are not UTF-8 come as lone surrogates."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return codecs.getincrementaldecoder("utf-16")("replace")
    if start[1:2] == b"\0":
        return codecs.getincrementaldecoder("utf-16-le")("replace")
    if start[:1] == b"\0":
        return codecs.getincrementaldecoder("utf-16-be")("replace")
    return codecs.getincrementaldecoder("utf-8")("surrogateescape")


class _CsvParser:
    """CSV lines to rows. A stray quote harms no record but its own.

    A record that can't be read, because its quote is never closed or is followed by text, is given
    up for its first line alone; the lines after it are read again.
    """

    def __init__(self, delimiter: str, width: int, number: int) -> None:
        self._delimiter = delimiter
        self._width = width
        self._number = number
        self._open: list[str] = []

    def feed(self, lines: Iterable[str | None]) -> list[SheetRow]:  # noqa: C901  # a tight loop
        """Return the rows that the lines complete."""
        rows: list[SheetRow] = []
        delimiter, width, number = self._delimiter, self._width, self._number
        waiting = list(reversed([*lines]))
        opened = self._open
        while waiting:
            line = waiting.pop()
            if line is None:
                if opened:
                    # No record goes on behind a line that is lost: its quote stays open.
                    waiting += [None, *reversed(opened[1:])]
                    line, opened = opened[0], []
                    number += 1
                    rows.append((number, text("quote_open"), line))
                    continue
                number += 1
                rows.append((number, text("line_too_long", longest=LONGEST_LINE), ""))
                continue
            # What nearly every line is: fields without quotes.
            if '"' not in line and not opened:
                line = line.removesuffix("\r")
                number += 1
                if "\r" in line:
                    rows.append((number, text("stray_return"), line))
                    continue
                fields: Fields = [*line.split(delimiter)]
                if len(fields) == width:
                    if not line or line.isspace() or not any(map(str.strip, fields)):  # type: ignore[arg-type]  # all are str
                        continue
                    rows.append((number, fields, fields))
                elif line and not line.isspace():
                    rows.append(self._checked(number, fields, line))
                continue
            opened.append(line)
            record = self._read(opened)
            if record is None:
                continue
            number += 1
            if isinstance(record, Text):
                rows.append((number, record, opened[0]))
                waiting.extend(reversed(opened[1:]))
            elif any(field and not field.isspace() for field in record):
                rows.append(self._checked(number, [*record], "\n".join(opened)))
            opened = []
        self._open, self._number = opened, number
        return rows

    def end(self) -> list[SheetRow]:
        """Return what is left at the end."""
        rows: list[SheetRow] = []
        while self._open:
            first, *rest = self._open
            self._open = []
            self._number += 1
            rows.append((self._number, text("quote_open"), first))
            rows += self.feed(rest)
        return rows

    def _checked(self, number: int, fields: Fields, line: str) -> SheetRow:
        width, count = self._width, len(fields)
        if count == width or not width:
            return number, fields, fields
        key = "too_few_fields" if count < width else "too_many_fields"
        return number, text(key, count=count, width=width), line

    def _read(self, lines: Sequence[str]) -> list[str] | Text | None:
        """Read lines as one record; None where it goes on in the next line."""
        try:
            return next(csv.reader(_record(lines), delimiter=self._delimiter, strict=True))
        except _GoesOnError:
            return text("quote_open") if len(lines) >= _MOST_LINES_IN_QUOTES else None
        except csv.Error as error:
            if len(lines) > 1:
                # The quote that met text, or the limit of the library, in a later line.
                return text("quote_open")
            return text("stray_return" if "new-line" in str(error) else "stray_quote")


def _record(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        yield f"{line}\n"
    raise _GoesOnError


class _GoesOnError(Exception):
    """A record is not complete yet."""


class _JsonParser:
    """JSON Lines to rows: one object a line. It adds to the columns what a row is first to have."""

    def __init__(self, columns: list[str], number: int) -> None:
        self._columns = columns
        self._number = number
        self._places = {column_name(column): place for place, column in enumerate(columns)}

    def feed(self, lines: Iterable[str | None]) -> list[SheetRow]:
        """Return the rows of lines."""
        rows: list[SheetRow] = []
        for line in lines:
            self._number += 1
            if line is None:
                problem = text("line_too_long", longest=LONGEST_LINE)
                rows.append((self._number, problem, ""))
            elif line and not line.isspace():
                rows.append(self._row(line))
        return rows

    def end(self) -> list[SheetRow]:
        """Return nothing: each line is a row of its own."""
        return []

    def _row(self, line: str) -> SheetRow:
        number, line = self._number, line.rstrip("\r")
        try:
            pairs = json.loads(line, object_pairs_hook=_Pairs)
        except (ValueError, RecursionError):
            return number, text("not_json"), line
        if not isinstance(pairs, _Pairs):
            return number, text("not_an_object"), line
        fields: Fields = [None] * len(self._columns)
        for key, value in pairs:
            place = self._places.get(name := column_name(key))
            if place is None:
                self._places[name] = place = len(self._columns)
                self._columns.append(key)
            while len(fields) <= place:
                fields.append(None)
            fields[place] = value
        if len({column_name(key) for key, _ in pairs}) < len(pairs):
            return number, text("two_keys_of_one_name"), line
        return number, fields, dict(pairs)


class _Pairs(list[tuple[str, object]]):
    """The members of a JSON object, in order."""


def is_clean(value: str) -> bool:
    """Tell whether a text can be written as UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _written(source: object) -> str:
    """Return all that a row holds."""
    if isinstance(source, dict):
        return "".join(map(str, chain.from_iterable(cast("dict[str, object]", source).items())))
    return "".join(cast("list[str] | str", source))


def _given_delimiter(line: str) -> str | None:
    """Return the delimiter that a first line `sep=;` gives, as Excel reads it."""
    plain = line.rstrip("\r").strip('"')
    return plain[4] if len(plain) == 5 and plain[:4].lower() == "sep=" else None


def _delimiter_of(header: str) -> str:
    """Return the delimiter that comes first in a header, outside quotes."""
    in_quotes = False
    for character in header:
        if character == '"':
            in_quotes = not in_quotes
        elif character in _DELIMITERS and not in_quotes:
            return character
    return ","


async def _open_workbook(source: _Source, path: str) -> "_WorkbookSheet":
    try:
        import python_calamine  # noqa: PLC0415  # it needs an extra
    except ImportError:
        raise InputError(text("excel_missing", file=source.name)) from None
    if not source.is_file:
        raise InputError(text("workbook_from_pipe", file=source.name))

    def load() -> "tuple[CalamineSheet, int] | str":
        try:
            with python_calamine.CalamineWorkbook.from_path(path) as workbook:  # pyright: ignore[reportUnknownMemberType]  # its annotation leaves open what kind of path it takes
                names = workbook.sheet_names
                sheets = map(workbook.get_sheet_by_name, names)
                found = next((sheet for sheet in sheets if sheet.height), None)
                return "" if found is None else (found, len(names))
        except python_calamine.PasswordError:
            return "password"
        except (python_calamine.CalamineError, ValueError, OSError) as error:
            return f"{type(error).__name__}: {error}"

    found = await on_thread(load)
    if found == "":
        raise InputError(text("file_empty", file=source.name))
    if found == "password":
        raise InputError(text("workbook_password", file=source.name))
    if isinstance(found, str):
        raise InputError(text("workbook_unreadable", file=source.name, problem=found))
    return _WorkbookSheet(source, *found)


class _WorkbookSheet:
    """The first sheet of a workbook that holds anything."""

    can_repeat = True
    # What reads the workbook gives an empty text for an error and for a formula without a value.
    empty = "value_empty_in_workbook"

    def __init__(self, source: _Source, sheet: "CalamineSheet", sheets: int) -> None:
        self.name = source.name
        self.title = sheet.name if sheets > 1 else None
        self._source = source
        self._sheet = sheet
        # A name alone is a title; the header is the first row that names two columns.
        rows = self._rows()
        first = next(rows, None)
        header = first
        for row in rows:
            if header is None or row[0] > header[0] + _MOST_ROWS_ABOVE_HEADER:
                break
            if len(_filled(header[1])) > 1:
                break
            if len(_filled(row[1])) > 1:
                header = row
        assert header is not None  # noqa: S101  # a sheet without rows is refused before
        self._header = header[0]
        self.columns = [str(field) for field in header[1]]

    async def chunks(self, size: int) -> AsyncIterator[list[SheetRow]]:
        """Read the rows; see Sheet."""
        chunk: list[SheetRow] = []
        for number, fields in self._rows():
            if number <= self._header:
                continue
            chunk.append((number, fields, fields))
            if len(chunk) >= size:
                yield chunk
                chunk = []
        if chunk:
            yield chunk

    def close(self) -> None:
        """Close the input."""
        self._source.close()

    def _rows(self) -> Iterator[tuple[int, Fields]]:
        """Give the rows that hold anything, with their numbers."""
        for number, cells in enumerate(self._sheet.iter_rows(), 1):
            fields = [cell if isinstance(cell, str) else _cell_text(cell) for cell in cells]
            if any(field and not field.isspace() for field in fields):
                yield number, [*fields]


def _filled(fields: Fields) -> list[object]:
    return [field for field in fields if str(field).strip()]


def _cell_text(cell: object) -> str:
    """Return what a cell holds as a person would write it: numbers exactly, dates as in Vietnam."""
    match cell:
        case bool():
            return "TRUE" if cell else "FALSE"
        case float() if cell.is_integer() and abs(cell) < _MOST_EXACT:
            return str(int(cell))
        case datetime() if (cell.hour, cell.minute) != (0, 0):
            return f"{cell:%d/%m/%Y %H:%M}"
        case date():
            return f"{cell:%d/%m/%Y}"
        case time():
            return f"{cell:%H:%M}"
        case _:
            return str(cell)


def require_standard_input() -> None:
    """Refuse to read what was closed: its descriptor may be that of another file by now.

    Raises:
        InputError: Standard input is closed.
    """
    if sys.stdin is None:
        raise InputError(text("standard_input_closed"))


def _unreadable(name: str | Text, error: OSError) -> InputError:
    return InputError(text("file_unreadable", file=name, problem=error.strerror or str(error)))


async def on_thread(call: Callable[[], T]) -> T:
    """Run a call that may block on a thread of its own, which nothing waits for at exit.

    asyncio.to_thread would make the interpreter wait for a pipe that never gives anything.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: OSError | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(cast("T", result))

    def run() -> None:
        result, problem = None, None
        try:
            result = call()
        except OSError as error:
            problem = error
        # The loop is closed where nobody waits any more.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, problem)

    threading.Thread(target=run, daemon=True).start()
    return await future
