"""Rows to messages: what a list may hold, and which rows give no message."""

import random
from pathlib import Path

import pytest

from esms_async.cli.errors import InputError
from esms_async.cli.rows import (
    BulkRow,
    Columns,
    RowChecker,
    RowIds,
    RowRules,
    RowStatus,
    Template,
    _Met,
    _Seen,
    find_columns,
)
from esms_async.cli.spreadsheet import SheetRow, open_sheet
from esms_async.cli.words import Text

_NAMES = ("phone", "content", "key")
_COLUMNS = Columns(phone=0, content=(1,), key=None)
_KEYED = Columns(phone=0, content=(1,), key=2)


def _check(*rows: list[object], rules: RowRules | None = None) -> list[BulkRow]:
    checker = RowChecker(rules or RowRules(_COLUMNS), RowIds("batch", "secret"), _NAMES)
    read: list[SheetRow] = [(number, fields, fields) for number, fields in enumerate(rows, 2)]
    return checker.check(read)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (["0901888484", " "], "content: is empty"),
        (["0901888484"], "content: is missing"),
        (["0901888484", None], "content: is missing"),
        (["0901888484", 1.5], "float"),
        (["0901888484", True], "bool"),
        ([None, "a"], "phone: is missing"),
        (["12", "a"], "not a Vietnamese mobile number"),
        (["9.01888E+08", "a"], "Excel rounded the phone number"),
        (["0901888484", "a\x00b"], "U+0000"),
        (["0901888484", "a\udce9"], "UTF-8"),
        (["0901888484", "a" * 40_000], "255"),
    ],
)
def test_a_row_without_a_message_says_why(fields: list[object], reason: str) -> None:
    """The reason names the column or the character, and shows nothing of the phone."""
    (row,) = _check(fields)
    assert (row.status, row.request_id) == (RowStatus.INVALID, "")
    assert isinstance(row.reason, Text)
    assert reason in str(row.reason)
    assert "0901888484" not in str(row.reason)


def test_a_number_is_a_text_and_a_line_break_may_stand_in_it() -> None:
    """JSON has numbers; a cell may have two lines."""
    one, two = _check([901888484, 7], ["0901888485", "a\nb"])
    assert (one.message.phone, one.message.content) == ("0901888484", "7")
    assert two.message.content == "a\nb"


async def test_rounded_numbers_are_a_column_of_phones(tmp_path: Path) -> None:
    """A column of them is found, so that each row can say what is wrong."""
    path = tmp_path / "a.csv"
    path.write_text("ten,lien he,content\nAn,9.01888E+08,a\n", encoding="utf-8")
    sheet = await open_sheet(str(path))
    (sample,) = [chunk async for chunk in sheet.chunks(9)]
    sheet.close()
    found = find_columns(sheet, sample, phone=None, content=None, template=None, key=None)
    assert (found.phone, found.is_guessed) == (1, True)


def test_a_template_without_fields_is_one_text_for_all() -> None:
    """Doubled braces are braces."""
    template = Template.parse("xin {{chao}}")
    rules = RowRules(Columns(0, (), None), template)
    (row,) = _check(["0901888484"], rules=rules)
    assert row.message.content == "xin {chao}"


def test_a_key_that_repeats_is_invalid() -> None:
    """The second row of a key is refused, whatever else it holds."""
    rules = RowRules(_KEYED)
    first, second, third = _check(
        ["0901888484", "a", "k"], ["0901888485", "b", "k"], ["0901888485", "b", "l"], rules=rules
    )
    assert first.status is None
    assert second.status is RowStatus.INVALID
    assert "key: an earlier row has this key" in str(second.reason)
    # The refused row has used up its phone and its text all the same.
    assert third.status is RowStatus.HELD_BACK


def test_every_copy_that_is_allowed_has_an_id_of_its_own() -> None:
    """Copies and further texts get ids that the next run finds again."""
    rules = RowRules(_COLUMNS, allow_duplicates=True, allow_again=True)
    rows: list[list[object]] = [["0901888484", text] for text in "aaab"]
    ids = [row.request_id for row in _check(*rows, rules=rules)]
    assert len({*ids}) == 4
    assert ids == [row.request_id for row in _check(*rows, rules=rules)]


@pytest.mark.parametrize(
    "rules",
    [
        RowRules(_KEYED),
        RowRules(_COLUMNS),
        RowRules(_COLUMNS, allow_duplicates=True, allow_again=True),
    ],
)
def test_the_second_pass_says_what_the_first_said(rules: RowRules) -> None:
    """What a row repeats is found out once; the first pass needs no ids for that."""
    rows: list[list[object]] = [
        [f"090188848{phone}", text, key]
        for phone, text, key in ("1ak", "1al", "?am", "1bn", "2ak", "3 k", "1ak", "2co", "4do")
    ]
    read: list[SheetRow] = [(number, fields, fields) for number, fields in enumerate(rows, 2)]
    checker = RowChecker(rules, RowIds("batch", "secret"), _NAMES)
    first = [*checker.check(read[:4], ids=False), *checker.check(read[4:], ids=False)]
    checker.begin_again("a.csv")
    second = checker.check(read)
    assert [(row.status, row.reason) for row in first] == [
        (row.status, row.reason) for row in second
    ]
    assert {row.request_id for row in first} == {""}
    messages = [row.message for row in second if row.status is None]
    assert [row.content for row in second if row.status is None] == [
        message.content for message in messages
    ]
    expected = _check(*rows, rules=rules)
    assert [row.status for row in second] == [row.status for row in expected]
    assert messages == [row.message for row in expected if row.status is None]
    with pytest.raises(InputError, match=r"a\.csv was written"):
        checker.check([(99, ["0901888499", "a", "z"], None)])


def test_phones_that_came_before_are_known_among_many() -> None:
    """The table of phones answers as a dictionary of sets does, however far it has grown."""
    drawn = random.Random(20)  # noqa: S311  # no secret
    seen, texts = _Seen(), dict[int, set[str]]()
    for _ in range(60_000):
        phone, content = drawn.randrange(900_000_000, 900_030_000), str(drawn.randrange(3))
        held = texts.setdefault(phone, set())
        expected = _Met.BOTH if content in held else _Met.PHONE if held else _Met.NOTHING
        held.add(content)
        assert seen.add(phone, content) is expected


def test_a_parameter_that_can_t_be_sent_is_named() -> None:
    """A control character in it makes the row invalid."""
    rules = RowRules(Columns(0, (), None, params=(("ten", 1),)))
    (row,) = _check(["0901888484", "a\x00"], rules=rules)
    assert row.status is RowStatus.INVALID
    assert "printable text for ten" in str(row.reason)


async def test_the_parameters_of_a_template_are_columns(tmp_path: Path) -> None:
    """Without names every other column is one; `NAME=COLUMN` gives one another name."""
    path = tmp_path / "a.csv"
    path.write_text("phone,Tên,,code\n0901888484,An,x,7\n", encoding="utf-8")
    sheet = await open_sheet(str(path))
    sheet.close()
    found = [
        find_columns(
            sheet, [], phone=None, content=None, template=None, key=None, params=params
        ).params
        for params in ((), ("ma=code", "Tên"))
    ]
    assert found == [(("Tên", 1), ("code", 3)), (("ma", 3), ("Tên", 1))]
