"""Reads the rows of a file or a pipe, whatever of the known forms it is in."""

from collections.abc import AsyncIterator, Sequence
from typing import Self

from esms_async.cli.errors import InputError
from esms_async.cli.lines import Input
from esms_async.cli.rows import TOO_LONG, CsvRows, JsonRows, Row, UnreadableRow

_JSON_LINES = (".jsonl", ".ndjson")


class RowReader:
    """The rows of a file or a pipe, in order.

    Use it with `async with`: it closes the input.
    """

    def __init__(self, source: Input, needed: Sequence[str]) -> None:
        self._source = source
        self._needed = needed
        self._lines = source.lines()
        self._first: str | None = None
        self._parser: CsvRows | JsonRows

    @classmethod
    async def open(cls, path: str, needed: Sequence[str]) -> Self:
        """Open a file and read its header.

        Args:
            path: Its path; `-` is standard input.
            needed: The columns that each row must have.

        Raises:
            InputError: The file as a whole can't be used; the error says why.
        """
        reader = cls(await Input.open(path), needed)
        try:
            await reader._read_header(is_json=path.lower().endswith(_JSON_LINES))
        except BaseException:
            reader._source.close()
            raise
        return reader

    @property
    def fraction(self) -> float | None:
        """Which fraction of the input has been read, from 0 to 1; None where nobody knows."""
        return self._source.fraction

    async def __aiter__(self) -> AsyncIterator[Row | UnreadableRow]:
        if self._first is not None:
            for row in self._parser.feed(self._first):
                yield row
        async for line in self._lines:
            for row in self._parser.feed(line):
                yield row
        for row in self._parser.end():
            yield row

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._source.close()

    async def _read_header(self, *, is_json: bool) -> None:
        """Find out from the first line that is not blank what the lines hold."""
        name, number = self._source.name, 0
        async for line in self._lines:
            number += 1
            if line is None:
                raise InputError(f"the first line of {name} {TOO_LONG}")
            start = line.lstrip()[:1]
            if not start:
                continue
            if start == "[":
                raise InputError(f"{name} is a JSON array; write one object a line (JSON Lines)")
            if is_json or start == "{":
                self._parser, self._first = JsonRows(number - 1), line
            else:
                self._parser = CsvRows.after_header(name, line, self._needed, number)
            return
        raise InputError(f"{name} is empty")
