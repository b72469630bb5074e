"""Words from outside become one short line in which no secret shows."""

import re
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from esms_async._model.redaction import redact, redact_typed

KEY, PHONE, CONTENT = "A1b2C3d4KEY", "0901888484", "G7 2f9 la ma xac minh"


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        pytest.param("Authorize Failed", "Authorize Failed", id="nothing to hide"),
        pytest.param("Request exist 1", "Request exist 1", id="a short number"),
        pytest.param("", "", id="empty"),
        pytest.param(f"key {KEY}!", "key ***!", id="a key"),
        pytest.param(f"key {KEY.lower()}", "key ***", id="a key in another case"),
        pytest.param(f"x{KEY}{KEY}y", "x******y", id="a key inside words"),
        pytest.param(f"sent: {CONTENT}.", "sent: ***.", id="the content"),
        pytest.param("code 2f9?", "code ***?", id="the code alone"),
        pytest.param("G7 expired", "G7 expired", id="a word too short to be a code"),
        pytest.param(f"to {PHONE}", "to ***", id="the phone"),
        pytest.param("to +84901888484", "to +***", id="the phone in another form"),
        pytest.param("to 090 188.84-84", "to ***", id="the phone with separators"),
        pytest.param("code 68 68 68", "code ***", id="any four digits"),
        pytest.param("code ٦٨٦٨", "code ***", id="digits of another script"),
        pytest.param("in 123 seconds", "in 123 seconds", id="three digits"),
        pytest.param("a\r\nb\tc\x1b[31md", "a b c[31md", id="line breaks and controls"),
        pytest.param("a\u202eb\ud800c", "abc", id="direction marks and half surrogates"),
        pytest.param("x" * 200, "x" * 200, id="200 characters"),
        pytest.param("x" * 201, "x" * 199 + "…", id="201 characters"),
        pytest.param("<b>\\1</b>", "<b>\\1</b>", id="markup and back-references"),
    ],
)
def test_words(words: str, shown: str) -> None:
    """What could be a secret is masked, what could harm a terminal is dropped, the rest stays."""
    assert redact(words, KEY, PHONE, CONTENT) == shown


def test_an_empty_secret_hides_nothing() -> None:
    """A secret that is empty leaves the words as they are."""
    assert redact("Authorize Failed", "") == "Authorize Failed"
    assert redact("Authorize Failed") == "Authorize Failed"


def test_a_secret_is_taken_literally() -> None:
    """What means something in a regular expression is only text in a secret."""
    assert redact("a.b abb (x|y)+", "a.b", "(x|y)+") == "*** abb ***"


def test_the_longest_secret_goes_first() -> None:
    """A secret that holds another one is masked whole."""
    assert redact("key abcdef", "abc", "abcdef", "def") == "key ***"


def test_a_content_of_several_lines_is_found() -> None:
    """White space in a secret matches the single spaces of the redacted line."""
    content = "Ma cua ban:\n\nKHOA  BIEN"
    assert redact(f"blocked word in <{content}>", content) == "blocked word in <***>"
    assert redact("blocked word in <Ma cua ban: KHOA BIEN>", content) == "blocked word in <***>"


def test_invisible_characters_hide_no_digits() -> None:
    """Digits with unprintable characters between them are masked as if those were not there."""
    assert redact("code 68\u200b68\u206068") == "code ***"
    assert redact("key A1b2\u200bC3d4KEY", KEY) == "key ***"


def test_a_secret_on_the_edge_is_masked() -> None:
    """However often the words repeat a secret, no piece of it shows where they are cut."""
    key = "QWERTYUIOPASDFGHJKLZXCV"
    for times in range(1, 80):
        shown = redact(f"{key} " * times, key)
        assert not re.search("[A-Z]{4}", shown), shown


secrets = st.text(string.ascii_letters + "đếỹ", min_size=4, max_size=40)


@given(st.text(), secrets, st.text(), st.integers(1, 8))
@example(before="", secret="abcdefghijklm" * 3, after="", times=25)
def test_no_secret_survives(before: str, secret: str, after: str, times: int) -> None:
    """Whatever stands around a secret, and in whatever case, the secret does not show."""
    words = f"{before}{secret}{after}{secret.upper()}" * times
    assert secret.casefold() not in redact(words, secret).casefold()


@given(st.one_of(st.text(), st.text("0123456789 .-\u200b\x00\nx", min_size=4)))
def test_the_result_is_one_short_line_without_digit_runs(words: str) -> None:
    """Any words become at most 200 printable characters without four digits in a row."""
    shown = redact(words)
    assert len(shown) <= 200
    assert shown.isprintable()
    assert not re.search(r"\d(?:[ .\-]?\d){3}", shown)


def test_a_word_at_the_cut_is_dropped() -> None:
    """Of a very long text only the beginning is read, up to a whole word."""
    words = f"{'x' * 9} " * 79 + "QWERTYUIOP12"
    shown = redact(words, "unrelated QWERTYUIOP12345678")
    assert "QWERTY" not in shown


@pytest.mark.parametrize(
    ("sentence", "typed", "shown"),
    [
        (
            "'99999' is not in the range 0<=x<=65535",
            ["99999"],
            "'***' is not in the range 0<=x<=65535",
        ),
        ("no command '0901888484'", ["0901888484"], "no command '***'"),
        ("no command '090 188 84 84'", ["090 188 84 84"], "no command '***'"),
        (r"no command '0901\xa0888484'", ["0901\xa0888484"], r"no command '***\xa***'"),
        ("no option --to=0901888484", ["--to=0901888484"], "no option --to=***"),
        ("not 1000, which 8026 is", ["1000"], "not ***, which 8026 is"),
    ],
)
def test_only_numbers_that_were_typed_are_masked(
    sentence: str, typed: list[str], shown: str
) -> None:
    """A sentence keeps the numbers that it says itself, such as the bounds of an option."""
    assert redact_typed(sentence, typed) == shown


def test_a_sentence_about_what_was_typed_is_one_short_line() -> None:
    """What was typed may be long, and may hold what a terminal obeys."""
    shown = redact_typed("no command 'a\x1b\n" + "b" * 500, ["x"])
    assert shown.startswith("no command 'a b")
    assert len(shown) == 200
