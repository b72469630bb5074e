"""Templates of a brandname: what fits, what does not, and which part of it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esms_async import ConfigurationError
from esms_async.queries import BrandnameTemplate, Templates

OTP = "{P1,20} la ma xac minh dang ky Baotrixemay cua ban"
BIRTHDAY = "Chuc mung sinh nhat {P2,50}. Xin gui den {P2,50} coupon {P2,20}"
THANKS = "Cam on quy khach!"
TEMPLATES = Templates(
    "Baotrixemay",
    [
        BrandnameTemplate(OTP, 6, "458"),
        BrandnameTemplate(OTP, 1),
        BrandnameTemplate(BIRTHDAY, 3),
        BrandnameTemplate(THANKS, 9),
    ],
)
TEXT = "686868 la ma xac minh dang ky Baotrixemay cua ban"


@pytest.mark.parametrize(
    ("text", "networks"),
    [
        (TEXT, ("Itel", "Viettel")),
        ("1" * 20 + TEXT[6:], ("Itel", "Viettel")),
        ("Chuc mung sinh nhat An. Xin gui den An coupon X", ("VinaPhone",)),
        (THANKS, ("operator 9",)),
    ],
)
def test_what_fits(text: str, networks: tuple[str, ...]) -> None:
    """It says with which operators, and with which not."""
    match = TEMPLATES.match(text)
    assert match
    assert match.networks == networks
    assert set(match.missing) == {"Itel", "Viettel", "VinaPhone", "operator 9"} - set(networks)
    assert (match.part, match.problem) == (None, None)


@pytest.mark.parametrize(
    ("text", "part", "words"),
    [
        ("1" * 21 + TEXT[6:], "{P1,20}", "must not have 21 characters"),
        (TEXT[6:], "{P1,20}", "must not have 0 characters"),
        ("1 la ma", " la ma xac minh dang ky Baotrixemay cua ban", "is missing"),
        (TEXT.upper(), " la ma xac minh dang ky Baotrixemay cua ban", "is missing"),
        (TEXT + "!", OTP, "goes on after the end"),
        ("Chuc mung sinh nhat An. Xin gui den", ". Xin gui den ", "is missing"),
        ("Chuc mung sinh nhat A. Xin gui den A coupon " + "x" * 23, "{P2,20}", "too long by 3"),
        ("Chuc mung sinh nhat A. Xin gui den A coupon ", "{P2,20}", "ends before"),
        (f"Chuc mung sinh nhat {'A' * 51}. Xin", "{P2,50}", None),
        ("", "{P1,20}", "ends before"),
    ],
)
def test_what_does_not_fit(text: str, part: str, words: str | None) -> None:
    """The part of the nearest template is named, and nothing of the text."""
    match = TEMPLATES.match(text)
    assert not match
    assert match.part in (part, ". Xin gui den ")
    assert match.problem is not None
    assert words is None or words in match.problem
    assert "Baotrixemay" in match.problem
    assert match.networks == ()
    assert len(match.missing) == 4


def test_no_template_fits_nothing() -> None:
    """A brandname without templates has texts refused by the gateway."""
    match = Templates("x", []).match(TEXT)
    assert not match
    assert match.problem == "no template is registered for the brandname x"


def test_a_long_piece_is_shown_in_short() -> None:
    """A template may be longer than a line."""
    match = Templates("x", ["a" * 100]).match("b")
    assert match.part == "a" * 59 + "…"


def test_texts_are_templates_too() -> None:
    """For a list kept in a program; the operator is unknown then."""
    templates = Templates("x", [THANKS])
    assert templates.match(THANKS).networks == ("an unknown operator",)
    assert [one.text for one in templates] == [THANKS]


@pytest.mark.parametrize(
    ("brandname", "templates"), [("", []), (5, []), ("x", "text"), ("x", [5]), ("x", [None])]
)
def test_what_can_not_be_templates(brandname: str, templates: list[str]) -> None:
    """The error names it."""
    with pytest.raises(ConfigurationError):
        Templates(brandname, templates)


PIECES = st.lists(st.sampled_from(["a", "b", "ab", "{P1,1}", "{P2,3}", "{P3,2}"]), max_size=5)


@given(PIECES, st.text("ab", max_size=10))
def test_it_decides_as_a_pattern_would(pieces: list[str], text: str) -> None:
    """The same answer as a regular expression, which may take for ever."""
    template = "".join(pieces)
    pattern = re.sub(r"\{P.,(.)\}", r".{1,\1}", template)
    fits = re.fullmatch(pattern, text) is not None
    assert bool(Templates("x", [template]).match(text)) is fits


def test_no_template_takes_long() -> None:
    """A regular expression would not end with this one."""
    template = "{P1,400}" * 12 + "x"
    assert not Templates("x", [template]).match("a" * 400)
