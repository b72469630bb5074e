"""The catalogue of what the command says in English and in Vietnamese."""

import re
import string
from pathlib import Path

import attrs
import pytest

import esms_async.cli
from esms_async._send.reconcile import _MISSING
from esms_async.cli.help_vi import in_vietnamese
from esms_async.cli.words import CATALOGUES, Language, advice_on, text
from esms_async.ledger import Entry, Reason
from esms_async.queries import Finding, SendStatus

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
    assert Language.VIETNAMESE.decimal(1234.5) == "1.234,50"
    assert Language.ENGLISH.decimal(1234.5) == "1,234.50"


def test_every_value_of_a_query_and_a_ledger_has_its_words() -> None:
    """Names that are put together at run time stand in the catalogue, too."""
    known = CATALOGUES[Language.ENGLISH].keys()
    assert {f"status_{one.name.lower()}" for one in SendStatus} <= known
    assert {f"reason_{one.name.lower()}" for one in Reason} <= known
    hidden = {"fingerprint", "content"}
    assert {f"entry_{one.name}" for one in attrs.fields(Entry) if one.name not in hidden} <= known
    for finding in Finding:
        assert str(text(f"missing_{finding}")) == _MISSING[finding]


@pytest.mark.parametrize("code", ["103", "104", "118", "146"])
def test_advice_for_a_person_speaks_of_no_message_object(code: str) -> None:
    """A person has no Message to make: running the command again sends what is not settled."""
    assert "Message" not in advice_on(code, Language.ENGLISH)
    assert "Message" not in advice_on(code, Language.VIETNAMESE)


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        ("set the environment variable ESMS_API_KEY", "hãy đặt biến môi trường ESMS_API_KEY"),
        ("it may have been accepted: HTTP status 503", "có thể đã được nhận: mã HTTP 503"),
        (
            "GetBalance_json: ClientConnectorError: Connect call failed ('127.0.0.1', 9)",
            "GetBalance_json: không kết nối được tới '127.0.0.1', 9",
        ),
        ("No such file or directory", "không có tệp này"),
        ("there is no setting 'x'; there are a, b", "không có cài đặt 'x'; có a, b"),
    ],
)
def test_problems_from_below_are_in_vietnamese(problem: str, said: str) -> None:
    """What the package and the system say most often has its Vietnamese twin."""
    assert in_vietnamese(problem) == said
    assert text("failed", problem=problem).said(Language.VIETNAMESE).endswith(said)
    assert str(text("failed", problem=problem)) == problem
