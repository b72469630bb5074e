"""Vietnamese mobile numbers: what is accepted, the one form kept, and what an error may show."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esms_async._model.phone import (
    PhoneRepair,
    RoundedPhone,
    mask_phone,
    normalize_phone,
    repair_phone,
)

PREFIXES = ("0", "84", "+84", "0084")
SEPARATORS = " \t\n\r\v\f.-\u00a0\u2003\u202f\u3000\u2010\u2011\u2012\u2013\u2014\u2015\u2212"
KEPT = re.compile(r"0[35789][0-9]{8}", re.ASCII)

WRITTEN = {
    "kept": "0901888484",
    "country code": "84901888484",
    "plus": "+84901888484",
    "international prefix": "0084901888484",
    "spaces": "090 188 84 84",
    "dots": "0901.888.484",
    "dashes": "090-188-8484",
    "separators in a row": "090 - 188 - 8484",
    "mixed": "+84 90-188.84.84",
    "plus set apart": "+ 84 901 888 484",
    "country code split": "8-4901888484",
    "around": "\t 0901888484 \r\n",
    "no-break spaces": "090\u00a0188\u202f8484",
    "en dash": "090\u2013188\u20138484",
    "minus sign": "090\u2212188\u22128484",
}

REFUSED = {
    "empty": "",
    "white space": " \t",
    "separators": "-.-",
    "letters": "khong phai so",
    "a letter for a digit": "O901888484",
    "a letter after": "0901888484x",
    "nine digits": "090188848",
    "leading zero lost": "901888484",
    "eleven digits": "09018884840",
    "retired 012x": "01212345678",
    "retired 016x": "01688888484",
    "retired with country code": "+841688888484",
    "landline": "02838123456",
    "landline of ten digits": "0283812345",
    "landline with country code": "+842838123456",
    "hotline": "19001234",
    "zero kept after the country code": "+840901888484",
    "plus before the zero": "+0901888484",
    "two pluses": "++84901888484",
    "plus at the end": "84901888484+",
    "plus before 00": "+0084901888484",
    "foreign": "+14155550100",
    "foreign, like ours": "+85901888484",
    "two numbers": "0901888484, 0901888485",
    "brackets": "(090) 1888484",
    "underscores": "0901_888_484",
    "scheme": "tel:0901888484",
    "a formula": "=0901888484",
    "a float of a spreadsheet": "901888484.0",
    "scientific notation": "9.01888484E+08",
    "Arabic-Indic digits": "٠٩٠١٨٨٨٤٨٤",
    "one Arabic-Indic digit": "090188848٤",
    "full-width digits": "\uff10\uff19\uff10\uff11\uff18\uff18\uff18\uff14\uff18\uff14",
    "superscripts": "09018884\u2078\u2074",
    "NUL": "0901888484\x00",
}


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
def test_forms_people_write_are_one_number(written: str) -> None:
    """Every form in which people write a number is kept as the same ten digits."""
    assert normalize_phone(written) == "0901888484"


@pytest.mark.parametrize("written", REFUSED.values(), ids=REFUSED)
def test_everything_else_is_refused_without_being_shown(written: str) -> None:
    """What is no Vietnamese mobile number is refused, and the error shows none of its digits."""
    with pytest.raises(
        ValueError, match="is not a Vietnamese mobile number; write it as"
    ) as caught:
        normalize_phone(written)
    assert f"<{len(written)} characters>" in str(caught.value)
    assert not re.search(r"\d{4}", str(caught.value))


@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_first_digit_tells_mobile_numbers(prefix: str) -> None:
    """With each prefix, numbers that go on with 3, 5, 7, 8 or 9 are mobile, and no others are."""

    def is_accepted(first: int) -> bool:
        try:
            return normalize_phone(f"{prefix}{first}55123456") == f"0{first}55123456"
        except ValueError:
            return False

    assert [first for first in range(10) if is_accepted(first)] == [3, 5, 7, 8, 9]


@given(
    prefix=st.sampled_from(PREFIXES),
    number=st.from_regex(r"[35789][0-9]{8}", fullmatch=True),
    gaps=st.lists(st.text(SEPARATORS, max_size=2), min_size=15, max_size=15),
)
def test_every_accepted_form_is_the_same_number(prefix: str, number: str, gaps: list[str]) -> None:
    """Whatever the prefix and the separators, one number has one kept form."""
    characters = prefix + number
    written = "".join(gap + character for gap, character in zip(gaps, characters, strict=False))
    assert normalize_phone(written + gaps[-1]) == "0" + number
    assert normalize_phone("0" + number) == "0" + number


@given(st.one_of(st.text(), st.text("0123456789+ .-84", min_size=8, max_size=16)))
def test_any_text_is_a_kept_number_or_an_error_without_it(written: str) -> None:
    """Any text at all either is kept as ten digits, or is refused by an error that hides it."""
    try:
        kept = normalize_phone(written)
    except ValueError as error:
        shown = str(error)
    else:
        shown = mask_phone(kept)
        assert KEPT.fullmatch(kept)
        assert re.sub(r"\D", "", written).endswith(kept[1:])
    assert not re.search(r"\d{4}", shown)


@pytest.mark.parametrize(
    ("phone", "shown"),
    [
        ("0901888484", "090****484"),
        ("84901888484", "<11 characters>"),
        ("090 188 8484", "<12 characters>"),
        ("secret", "<6 characters>"),
        ("", "<0 characters>"),
    ],
)
def test_masks(phone: str, shown: str) -> None:
    """A kept number shows its ends; anything else shows its length alone."""
    assert mask_phone(phone) == shown


@pytest.mark.parametrize(
    ("written", "repair"),
    [
        ("0901888484", None),
        ("+84 901.888.484", None),
        ("901888484", PhoneRepair.LOST_ZERO),
        ("901 888 484", PhoneRepair.LOST_ZERO),
        ("'901888484", PhoneRepair.LOST_ZERO),
        ("901888484.0", PhoneRepair.DECIMAL),
        ("84901888484.0", PhoneRepair.DECIMAL),
        ("84901888484,00", PhoneRepair.DECIMAL),
        ("9.01888484E+08", PhoneRepair.DECIMAL),
        ("9,018884840e8", PhoneRepair.DECIMAL),
        ("(+84) 901888484", PhoneRepair.COUNTRY_CODE),
        ("+84 (0) 901888484", PhoneRepair.COUNTRY_CODE),
        ("840901888484", PhoneRepair.COUNTRY_CODE),
        ("\u202a0901888484\u202c", PhoneRepair.COUNTRY_CODE),
    ],
)
def test_what_a_spreadsheet_makes_of_a_number_is_repaired(
    written: str, repair: PhoneRepair | None
) -> None:
    """Each form gives the number, and the repair is named."""
    assert repair_phone(written) == ("0901888484", repair)
    assert normalize_phone(written, spreadsheet=True) == "0901888484"


@pytest.mark.parametrize("written", ["9.01888E+08", "9E+08", "8.49019E+10"])
def test_a_rounded_number_is_refused(written: str) -> None:
    """Digits that are not shown can't be known."""
    with pytest.raises(RoundedPhone, match="Excel has rounded the number"):
        normalize_phone(written, spreadsheet=True)


@pytest.mark.parametrize(
    "written", ["", "201888484", "9.018884845E+08", "1.5", "(090) 188", "+14155550100", "x"]
)
def test_what_is_no_number_is_not_repaired(written: str) -> None:
    """The error shows nothing of what stood there."""
    with pytest.raises(ValueError, match="is not a Vietnamese mobile number") as caught:
        repair_phone(written)
    assert not isinstance(caught.value, RoundedPhone)
