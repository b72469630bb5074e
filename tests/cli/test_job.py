"""Rows on their way to messages."""

import asyncio
from pathlib import Path

import pytest

from esms_async import InvalidMessage, Message
from esms_async.cli.errors import InvalidField
from esms_async.cli.identity import RowIds
from esms_async.cli.job import BulkOptions, compose, default_batch, open_rows
from esms_async.cli.results import RowStatus
from esms_async.cli.rows import Row
from esms_async.cli.template import Template
from tests.cli.support import write_csv

_PLAIN = BulkOptions("a.csv")
_KEYED = BulkOptions("a.csv", key="id")


def _compose(options: BulkOptions, *rows: dict[str, object]) -> list[Message]:
    with RowIds("batch", "secret") as ids:
        return [compose(options, ids, Row(number, row)) for number, row in enumerate(rows, 2)]


@pytest.mark.parametrize(
    ("path", "batch"), [("docs/recipients.csv", "recipients"), ("a.b.jsonl", "a.b"), ("a", "a")]
)
def test_a_batch_is_named_after_its_file(path: str, batch: str) -> None:
    """The folder and the suffix are no part of it; standard input has a new name each time."""
    assert default_batch(path) == batch
    assert default_batch("-") != default_batch("-")


def test_the_needed_columns_are_named_once() -> None:
    """A template takes the place of the content; a key may be one of its fields."""
    template = Template.parse("{name}: {code}, {phone}")
    assert _PLAIN.needed == ("phone", "content")
    assert BulkOptions("a", template=template, key="code").needed == ("phone", "name", "code")
    assert _KEYED.needed == ("phone", "content", "id")


def test_however_a_phone_is_written_it_is_the_same_row() -> None:
    """The id depends on the phone and the text, not on how either of them is written."""
    (one,) = _compose(_PLAIN, {"phone": "0901888484", "content": "mã"})
    (other,) = _compose(_PLAIN, {"phone": "+84 901 888 484", "content": "ma\u0303"})
    assert one == other


def test_equal_rows_are_messages_of_their_own() -> None:
    """A row that stands twice in the file is sent twice."""
    row: dict[str, object] = {"phone": "0901888484", "content": "a"}
    first, second = _compose(_PLAIN, row, row)
    assert first.request_id != second.request_id


def test_a_key_tells_rows_apart() -> None:
    """With a key the text may change, and the row stays the same message."""
    (one,) = _compose(_KEYED, {"phone": "0901888484", "content": "a", "id": "7"})
    (other,) = _compose(_KEYED, {"phone": "0901888484", "content": "b", "id": 7})
    assert one.request_id == other.request_id


def test_a_second_row_with_a_key_is_invalid() -> None:
    """It is told which row goes first; a row that is invalid itself takes no key."""
    with RowIds("batch", "secret") as ids:
        row: dict[str, object] = {"phone": "0901888484", "content": "a", "id": "7"}
        with pytest.raises(InvalidMessage):
            compose(_KEYED, ids, Row(2, {**row, "phone": "028"}))
        compose(_KEYED, ids, Row(3, row))
        with pytest.raises(InvalidField, match="id: is that of row 3 too, which goes first"):
            compose(_KEYED, ids, Row(4, row))


def test_a_template_takes_what_a_row_holds() -> None:
    """Each field must hold something: a text with a gap where the code belongs is no message."""
    options = BulkOptions("a", template=Template.parse("{name}: {code} la ma"))
    row: dict[str, object] = {"phone": "0901888484", "name": "Châu", "code": "686868"}
    (message,) = _compose(options, row)
    assert message.content == "Châu: 686868 la ma"
    with pytest.raises(InvalidField, match="code: is empty"):
        _compose(options, {**row, "code": " "})


async def test_a_stretch_of_bad_rows_does_not_starve_the_others(tmp_path: Path) -> None:
    """Many rows that give no message leave the event loop its turns."""
    path = write_csv(tmp_path / "a.csv", [*["028,a"] * 1000, "0901888484,a"])
    turns = 0

    async def look() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with open_rows(BulkOptions(path), "secret", lambda: None) as rows:
        looking = asyncio.ensure_future(look())
        messages = rows.messages()
        assert (await anext(messages))[0] == 1002
        looking.cancel()
        assert [message async for message in messages] == []
    assert rows.record.tally[RowStatus.INVALID] == 1000
    assert turns >= 9
