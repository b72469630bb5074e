"""Rows out of lines, CSV or JSON Lines: what can be read, and for the rest why it can't."""

import csv
import json
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Self, cast

import attrs

from esms_async.cli.errors import InputError, InvalidField
from esms_async.cli.lines import LONGEST_LINE
from esms_async.cli.template import column_name

TOO_LONG: Final = f"is longer than {LONGEST_LINE} bytes"
"""What is wrong with a line that is too long."""

_OPEN_QUOTE = "opens a quote that is not closed"
_STRAY_QUOTE = "holds a quote inside quotes; double it"
_STRAY_RETURN = "holds a carriage return outside quotes; end lines with LF or CRLF"
_DELIMITERS = ",;\t"
# A message has at most 255 parts. A quote that is open for longer was meant to be none.
_MOST_LINES_IN_QUOTES = 100
_UNUSABLE = re.compile("[\0\ud800-\udfff]")


@attrs.frozen
class Row:
    """A row that could be read.

    Attributes:
        number: Its number, as a spreadsheet counts: the header of a CSV file is row 1.
        values: What it holds, by column.
    """

    number: int
    values: Mapping[str, object] = attrs.field(repr=False)

    def text(self, column: str) -> str:
        """Return what a column holds.

        Raises:
            InvalidField: The row has no such text.
        """
        value = self.values.get(column)
        if value is None:
            raise InvalidField(column, "is missing")
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            raise InvalidField(column, f"is of type {type(value).__name__}; write it as a string")
        if not value or value.isspace():
            raise InvalidField(column, "is empty")
        if unusable := _UNUSABLE.search(value):
            what = "holds a NUL byte" if unusable[0] == "\0" else "is not UTF-8"
            raise InvalidField(column, what)
        return value


@attrs.frozen
class UnreadableRow:
    """A row that could not be read.

    Attributes:
        number: Its number, as that of `Row`.
        problem: What is wrong with it, without its content.
    """

    number: int
    problem: str


class CsvRows:
    """The rows of a CSV file whose header has been read."""

    def __init__(
        self, columns: Sequence[str], needed: Sequence[str], delimiter: str, number: int
    ) -> None:
        self._columns = columns
        self._needed = needed
        self._records = _Records(delimiter)
        self._number = number

    @classmethod
    def after_header(cls, name: str, header: str, needed: Sequence[str], number: int) -> Self:
        """Read the header.

        Raises:
            InputError: The header can't be used.
        """
        if _UNUSABLE.search(header):
            raise InputError(f"the header of {name} is not UTF-8; save the file as CSV in UTF-8")
        delimiter = _delimiter(header)
        record = next(_Records(delimiter).feed(header), None)
        if not isinstance(record, list):
            raise InputError(f"the header of {name} is not well-formed CSV")
        columns = [column_name(column) for column in record]
        if "phone" not in columns:
            # Not a word of what is there: without a header it would be a phone number.
            raise InputError(
                f"the header of {name} has no column 'phone'; the first row must name the columns"
            )
        for place, column in enumerate(columns, 1):
            if column and (first := columns.index(column) + 1) != place:
                which = f" ({column!r})" if column in needed else ""
                raise InputError(
                    f"the header of {name} has one name{which} in columns {first} and {place}; "
                    "rename one"
                )
        for column in needed:
            if column not in columns:
                hint = "add it, or give --content TEMPLATE" if column == "content" else "add it"
                raise InputError(
                    f"the header of {name} has no column {column!r} among its {len(columns)}; "
                    f"{hint}"
                )
        return cls(columns, needed, delimiter, number)

    def feed(self, line: str | None) -> Iterator[Row | UnreadableRow]:
        """Give the rows that a line completes; the line is None where it was too long."""
        if line is None:
            yield from self.end()
            yield from self._rows(iter([TOO_LONG]))
        else:
            yield from self._rows(self._records.feed(line))

    def end(self) -> Iterator[Row | UnreadableRow]:
        """Give what is left at the end."""
        yield from self._rows(self._records.end())

    def _rows(self, records: "Iterator[list[str] | str]") -> Iterator[Row | UnreadableRow]:
        for record in records:
            self._number += 1
            if isinstance(record, str):
                yield UnreadableRow(self._number, record)
            elif any(value and not value.isspace() for value in record):
                yield self._row(record)

    def _row(self, record: list[str]) -> Row | UnreadableRow:
        columns = self._columns
        if len(record) == len(columns):
            return Row(self._number, dict(zip(columns, record, strict=True)))
        problem = f"has {_fields(len(record))}, the header {len(columns)}"
        if len(record) < len(columns):
            # Only a name that was asked for: without a header it would be what a row holds.
            missing = columns[len(record)]
            named = repr(missing) if missing in self._needed else f"column {len(record) + 1}"
            problem += f": {named} is missing"
        else:
            problem += "; put quotes around a field that holds the delimiter"
        return UnreadableRow(self._number, problem)


class JsonRows:
    """The rows of a JSON Lines file: one object a line."""

    def __init__(self, number: int) -> None:
        self._number = number

    def feed(self, line: str | None) -> Iterator[Row | UnreadableRow]:
        """Give the row of a line; the line is None where it was too long."""
        self._number += 1
        if line is None:
            yield UnreadableRow(self._number, TOO_LONG)
        elif not line.isspace():
            yield self._row(line)

    def end(self) -> Iterator[Row | UnreadableRow]:
        """Give nothing: each line is a row of its own."""
        yield from ()

    def _row(self, line: str) -> Row | UnreadableRow:
        try:
            value = json.loads(line, object_pairs_hook=_by_column)
        except _TwoOfOneNameError:
            return UnreadableRow(self._number, "has two keys of one name; rename one")
        except (ValueError, RecursionError):
            return UnreadableRow(self._number, "is not JSON")
        if not isinstance(value, dict):
            return UnreadableRow(self._number, "is not a JSON object")
        return Row(self._number, cast("dict[str, object]", value))


def _by_column(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = {column_name(key): value for key, value in pairs}
    if len(values) < len(pairs):
        raise _TwoOfOneNameError
    return values


class _TwoOfOneNameError(Exception):
    """An object has two keys that name one column."""


class _Records:
    """CSV lines to CSV records, of which a stray quote harms no other than its own.

    A record that can't be read, be it that its quote is never closed or is followed by text, is
    given up for its first line alone; the lines after it are read anew.
    """

    def __init__(self, delimiter: str) -> None:
        self._delimiter = delimiter
        self._open: list[str] = []

    def feed(self, line: str) -> Iterator[list[str] | str]:
        """Give the records that a line completes, or in place of one what is wrong with it."""
        waiting = deque([line])
        while waiting:
            self._open.append(waiting.popleft())
            record = self._read()
            if record is None:
                continue
            if isinstance(record, list):
                self._open = []
            else:
                waiting.extendleft(reversed(self._give_up()))
            yield record

    def end(self) -> Iterator[list[str] | str]:
        """Give what is left at the end."""
        while self._open:
            rest = self._give_up()
            yield _OPEN_QUOTE
            for line in rest:
                yield from self.feed(line)

    def _read(self) -> list[str] | str | None:
        """Read the open lines as one record; None where it goes on in the next line."""
        try:
            return next(csv.reader(self._lines(), delimiter=self._delimiter, strict=True))
        except _GoesOnError:
            return _OPEN_QUOTE if len(self._open) >= _MOST_LINES_IN_QUOTES else None
        except csv.Error as error:
            if len(self._open) > 1:
                # The quote that met text, or the limit of the library, in a later line.
                return _OPEN_QUOTE
            return _STRAY_RETURN if "new-line" in str(error) else _STRAY_QUOTE

    def _lines(self) -> Iterator[str]:
        yield from self._open
        raise _GoesOnError

    def _give_up(self) -> list[str]:
        _, *rest = self._open
        self._open = []
        return rest


class _GoesOnError(Exception):
    """A record is not complete yet."""


def _delimiter(header: str) -> str:
    """Return the delimiter that comes first in a header, outside quotes."""
    in_quotes = False
    for character in header:
        if character == '"':
            in_quotes = not in_quotes
        elif character in _DELIMITERS and not in_quotes:
            return character
    return ","


def _fields(count: int) -> str:
    return "1 field" if count == 1 else f"{count} fields"
