"""The rows of a ledger file, written many at a time.

Python's sqlite3 lets go of the interpreter for each statement, and has to get it back from an event
loop that is busy sending, which takes longer than the statement. So the rows of a batch go into as
few statements as can be.
"""

import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

import attrs

from esms_async.settlement import Entry, State

T = TypeVar("T")

_COLUMNS: Final = tuple(field.name for field in attrs.fields(Entry))
# What a settlement can change of an entry.
_SETTLED: Final = ("state", "updated_at", "sms_id", "deduplicated", "code", "status", "detail")
_STATES: Final = {state.value: state for state in State}

SELECT: Final = f"SELECT {', '.join(_COLUMNS)} FROM sends"  # noqa: S608  # our own column names
"""Reads what `read` makes an entry of."""

# How many rows a statement takes: few statements, so that SQLite compiles each of them once.
_SIZES: Final = (64, 16, 4, 1)


def _places(columns: Sequence[str], rows: int) -> str:
    return ", ".join([f"({', '.join('?' * len(columns))})"] * rows)


_INSERT: Final = {
    size: f"INSERT OR IGNORE INTO sends ({', '.join(_COLUMNS)}) "  # noqa: S608  # our own column names
    f"VALUES {_places(_COLUMNS, size)}"
    for size in _SIZES
}
_REPLACE: Final = _INSERT[1].replace("IGNORE", "REPLACE")
_ASSIGNMENTS: Final = ", ".join(
    f"{name} = news.column{number}" for number, name in enumerate(_SETTLED, start=2)
)
_SETTLE: Final = {
    size: f"UPDATE sends SET {_ASSIGNMENTS} "  # noqa: S608  # our own column names
    f"FROM (VALUES {_places(('request_id', *_SETTLED), size)}) AS news "
    "WHERE sends.request_id = news.column1"
    for size in _SIZES
}


def insert(connection: sqlite3.Connection, entries: Sequence[Entry]) -> set[str]:
    """Store the entries of RequestIds that are not held yet.

    Args:
        connection: In a transaction.
        entries: The entries.

    Returns:
        The RequestIds that were not held, and now are.
    """
    inserted: set[str] = set()
    for chunk in _chunks(entries):
        rows = tuple(itertools.chain.from_iterable(map(_row, chunk)))
        count = connection.execute(_INSERT[len(chunk)], rows).rowcount
        if count == len(chunk):
            inserted.update(entry.request_id for entry in chunk)
        elif count:
            # SQLite numbers the rows of a table as they come: these are the last ones.
            last = "SELECT request_id FROM sends ORDER BY rowid DESC LIMIT ?"
            inserted.update(row[0] for row in connection.execute(last, (count,)))
    return inserted


def replace(connection: sqlite3.Connection, entry: Entry) -> None:
    """Store an entry in place of the one that is held of its RequestId."""
    connection.execute(_REPLACE, _row(entry))


def update_settled(connection: sqlite3.Connection, entries: Sequence[Entry]) -> None:
    """Store what settlements have changed of entries that are held, each named once."""
    for chunk in _chunks(entries):
        rows = tuple(itertools.chain.from_iterable(map(_settled_row, chunk)))
        connection.execute(_SETTLE[len(chunk)], rows)


def find(connection: sqlite3.Connection, request_id: str) -> Entry | None:
    """Return the entry of a RequestId, or None."""
    row = connection.execute(f"{SELECT} WHERE request_id = ?", (request_id,)).fetchone()
    return None if row is None else read(row)


def read(row: tuple[Any, ...]) -> Entry:
    """Return the entry of a row that `SELECT` gave."""
    request_id, state, *known, deduplicated, code, status, detail = row
    generation, fingerprint, phone, content, opened_at, updated_at, sms_id = known
    return Entry(
        request_id,
        _STATES[state],
        generation,
        fingerprint,
        phone,
        content,
        opened_at,
        updated_at,
        sms_id,
        bool(deduplicated),
        code,
        status,
        detail,
    )


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    start = 0
    for size in _SIZES:
        while len(items) - start >= size:
            yield items[start : start + size]
            start += size


# SQLite takes a str or an int as it is; of a kind of them Python first asks how to adapt it,
# which takes as long as the statement.
def _row(entry: Entry) -> tuple[object, ...]:
    return (
        entry.request_id,
        entry.state.value,
        entry.generation,
        entry.fingerprint,
        entry.phone,
        entry.content,
        entry.opened_at,
        entry.updated_at,
        entry.sms_id,
        int(entry.deduplicated),
        entry.code,
        entry.status,
        entry.detail,
    )


def _settled_row(entry: Entry) -> tuple[object, ...]:
    return (
        entry.request_id,
        entry.state.value,
        entry.updated_at,
        entry.sms_id,
        int(entry.deduplicated),
        entry.code,
        entry.status,
        entry.detail,
    )
