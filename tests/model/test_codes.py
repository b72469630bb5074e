"""The gateway's code table: every documented code, and whom it concerns."""

from unicodedata import normalize

import pytest

from esms_async.codes import CODES, Scope, lookup

# "Send fixed number with cheap price" and "Table of error codes": what a fixed-number send meets.
OF_A_SEND = {
    "99": Scope.MESSAGE,
    "100": Scope.ACCEPTED,
    "101": Scope.ACCOUNT,
    "102": Scope.ACCOUNT,
    "103": Scope.ACCOUNT,
    "108": Scope.MESSAGE,
    "118": Scope.ACCOUNT,
    "124": Scope.DUPLICATE,
    "140": Scope.ACCOUNT,
    "143": Scope.ACCOUNT,
    "163": Scope.CALLER,
    "177": Scope.MESSAGE,
    "201": Scope.MESSAGE,
    "300": Scope.CALLER,
}
# fmt: off
OF_OTHER_PRODUCTS = [str(code) for code in (
    104, 105, 106, 107, 110, 115, 120, 146, 160, 171, 199, 204,
    210, 301, 687, 789, 790, 791, 799, 801, 802, 851, 854,
)]
# fmt: on


def test_the_table_is_whole() -> None:
    """Every documented code has its row, and no other code has one."""
    assert set(CODES) == {*OF_A_SEND, *OF_OTHER_PRODUCTS}


@pytest.mark.parametrize(
    ("code", "scope"),
    [*OF_A_SEND.items(), *((code, Scope.OTHER) for code in OF_OTHER_PRODUCTS)],
)
def test_whom_a_code_concerns(code: str, scope: Scope) -> None:
    """Each code has its scope, and a meaning and advice in one plain line each."""
    row = lookup(code)
    assert (row.code, row.scope) == (code, scope)
    assert row is CODES[code]
    for text in (row.meaning, row.meaning_vi, row.advice, row.advice_vi):
        assert text.isprintable()
        assert len(text) > 10


@pytest.mark.parametrize("code", [*CODES, "999"])
def test_each_language_is_its_own(code: str) -> None:
    """The Vietnamese words have diacritics and are composed (NFC), the English ones are ASCII."""
    row = lookup(code)
    for english in (row.meaning, row.advice):
        assert english.isascii()
    for vietnamese in (row.meaning_vi, row.advice_vi):
        assert not vietnamese.isascii()
        assert normalize("NFC", vietnamese) == vietnamese
    for advice in (row.advice, row.advice_vi):
        assert advice.endswith(".")


@pytest.mark.parametrize("code", ["0", "999", "123456", "0100", "", "abc"])
def test_unlisted_codes_pass_through(code: str) -> None:
    """A code that no page lists keeps its number, tells nothing else, and stays unlisted."""
    row = lookup(code)
    assert (row.code, row.scope) == (code, Scope.OTHER)
    assert row.meaning == "a code that no page of the gateway lists"
    assert code not in CODES


def test_the_table_cannot_be_changed() -> None:
    """Neither the table nor a row of it can be changed."""
    with pytest.raises(TypeError):
        CODES["100"] = CODES["101"]  # type: ignore[index]  # that it is refused is the point
    with pytest.raises(AttributeError):
        CODES["100"].scope = Scope.OTHER  # type: ignore[misc]  # the same
