"""Single fields of the gateway's answers."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esms_async._wire.fields import (
    as_amount,
    as_code,
    as_flag,
    as_sms_id,
    as_time,
    as_whole,
    as_words,
    find,
)
from tests.factories import JSON_VALUES


def test_a_name_is_found_in_any_case() -> None:
    """The name as written wins, null is as good as nothing, and other names are passed over."""
    assert find({"codeRESULT": "100", 7: "x"}, "CodeResult") == "100"
    assert find({"coderesult": "101", "CodeResult": "100"}, "CodeResult") == "100"
    assert find({"CodeResult": None, "coderesult": None}, "CodeResult") is None
    assert find({"Code": "1"}, "CodeResult") is None


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        (36693, Decimal(36693)),
        (850.0, Decimal(850)),
        ("850.0000", Decimal(850)),
        (" -12.5 ", Decimal("-12.5")),
        (1e-7, Decimal("0.0000001")),
        (True, None),
        (None, None),
        ("36,693", None),
        ("", None),
        ("NaN", None),
        (float("nan"), None),
        (float("inf"), None),
        (1e300, None),
        (10**18, None),
        (10**4000, None),
        ("9" * 5000, None),
        ([], None),
    ],
)
def test_an_amount(value: object, amount: Decimal | None) -> None:
    """A number is read as a number or as a string, and nothing else is taken for one."""
    assert as_amount(value) == amount


def test_a_whole_number() -> None:
    """A number with decimals is whole where they are zero."""
    assert [as_whole(value) for value in (1, "1", 1.0, "1.0000", 1.5, "x", None)] == [
        1,
        1,
        1,
        1,
        None,
        None,
        None,
    ]


def test_a_flag() -> None:
    """Yes and no come as JSON has them, as words in any case, and as numbers."""
    assert [as_flag(value) for value in (True, "True", "1", 1)] == [True] * 4
    assert [as_flag(value) for value in (False, "FALSE ", "0", 0)] == [False] * 4
    odd: list[object] = [None, "yes", 2, 1.0, []]
    assert [as_flag(value) for value in odd] == [None] * 5


@pytest.mark.parametrize(
    "written",
    [
        "/Date(1705484048995+0700)/",
        "/Date(1705484048995)/",
        " /Date(1705484048995-0330)/ ",
        "2024-01-17 16:34:08.995",
        "2024-01-17T16:34:08.995",
        "2024-01-17T09:34:08.995Z",
        "2024-01-17T09:34:08.995+00:00",
    ],
)
def test_a_time_is_aware(written: str) -> None:
    """The milliseconds are UTC whatever zone stands behind them; elsewhere none means Vietnam."""
    at = as_time(written)
    assert at is not None
    assert at == datetime(2024, 1, 17, 9, 34, 8, 995000, UTC)
    assert at.utcoffset() == timedelta(hours=7)


@pytest.mark.parametrize(
    "value",
    [
        None,
        1705484048995,
        "",
        "yesterday",
        "/Date(x)/",
        "/Date(999999999999999)/",
        "/Date(-999999999999999)/",
        "9999-12-31T23:59:59-12:00",
    ],
)
def test_what_is_no_time(value: object) -> None:
    """What can't be read is as good as nothing."""
    assert as_time(value) is None


@settings(deadline=None)
@given(JSON_VALUES)
def test_no_value_is_too_odd(value: object) -> None:
    """Any JSON value is read, or is None."""
    for read in (as_amount, as_code, as_flag, as_sms_id, as_time, as_whole, as_words):
        read(value)


@settings(deadline=None)
@given(st.text())
def test_no_text_is_too_odd(text: str) -> None:
    """The same of a text that is nearly a time or a number."""
    for value in (text, f"/Date({text})/", f"2024-01-17 {text}", f"1{text}"):
        assert as_time(value) is None or json.dumps(value)
        as_amount(value)
        as_flag(value)
