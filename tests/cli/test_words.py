"""The catalogue of what the command says in English and in Vietnamese."""

import re
import string
from pathlib import Path

import pytest

import esms_async.cli
from esms_async.cli.words import CATALOGUES, Language, advice_on, text

_SOURCE = Path(esms_async.cli.__file__).parent
_CALL = re.compile(r'text\(\s*f?"([a-z0-9_]+)"')
_NAMES = re.compile(r'"((?:go_on|other|label|columns|too|key|nothing|ask|duplicates)[a-z_0-9]*)"')


def _fields(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name}


def test_both_languages_have_every_sentence_with_the_same_values() -> None:
    """No sentence is missing, and none lacks a value that the other language shows."""
    english, vietnamese = CATALOGUES[Language.ENGLISH], CATALOGUES[Language.VIETNAMESE]
    assert english.keys() == vietnamese.keys()
    for key, sentence in english.items():
        assert _fields(sentence) == _fields(vietnamese[key]), key
        assert vietnamese[key].strip()


def test_every_sentence_that_is_said_is_in_the_catalogue() -> None:
    """A key that the code names stands in the catalogue."""
    named: set[str] = set()
    for path in _SOURCE.glob("*.py"):
        if path.name != "words.py":
            named |= set(_CALL.findall(path.read_text(encoding="utf-8")))
    # Names that are put together at run time.
    known = CATALOGUES[Language.ENGLISH].keys()
    assert {name for name in named if name not in known} <= {
        "label_",
        "columns",
        "columns_template",
    }
    assert len(named) > 80


@pytest.mark.parametrize(
    ("environ", "language"),
    [
        ({}, Language.ENGLISH),
        ({"LANG": "vi_VN.UTF-8"}, Language.VIETNAMESE),
        ({"LANG": "vi_VN.UTF-8", "LC_ALL": "C"}, Language.ENGLISH),
        ({"LANG": "vi_VN.UTF-8", "ESMS_LANG": "en"}, Language.ENGLISH),
        ({"LANG": "en_US.UTF-8", "ESMS_LANG": "vi"}, Language.VIETNAMESE),
        ({"LANG": "vim"}, Language.ENGLISH),
    ],
)
def test_the_variable_wins_over_the_locale(environ: dict[str, str], language: Language) -> None:
    """ESMS_LANG says the language, and by default the locale does."""
    assert Language.of(environ) is language


def test_numbers_and_codes_are_in_the_language() -> None:
    """Thousands are set apart as each language does, and a code has its meaning in it."""
    asked = text("ask", count=12_000)
    assert str(asked).startswith("Send 12,000 messages")
    assert asked.said(Language.VIETNAMESE).startswith("Gửi 12.000 tin")
    assert "số dư" in text("code", code="103").said(Language.VIETNAMESE)
    assert advice_on("103", Language.VIETNAMESE).startswith("Ngừng gửi")
