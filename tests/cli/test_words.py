"""The catalogue of what the command says in English and in Vietnamese."""

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

import esms_async.cli
from esms_async import Status
from esms_async._send.reconcile import _MISSING
from esms_async.cli.problems_vi import in_vietnamese
from esms_async.cli.words import CATALOGUES, Language, advice_on, text
from esms_async.ledger import Entry, Reason
from esms_async.queries import BrandnameType, Finding, SendStatus

_SOURCE = Path(esms_async.cli.__file__).parent
# The errors of the package that a command can end with, and where they are raised.
_ERRORS = (
    *("ConfigurationError", "ForeignLedger", "InputError", "InvalidMessage", "LedgerError"),
    *("NotSent", "OutcomeUnknown", "QueueError", "RequestIdConflict", "TransportFailure"),
    *("Unreadable", "UnreadableEntry", "_doubted", "_refuse", "open_outcome"),
)
_PLACES = (
    *("_http/transport.py", "_model/messages.py", "_model/routes.py", "_redis.py"),
    *("_send/send.py", "_wire/queries.py", "client.py"),
    *("cli/health.py", "cli/options.py", "cli/queued.py", "cli/worker.py"),
    *("emulator/command.py", "emulator/database.py", "emulator/faults.py", "emulator/gateway.py"),
    *("emulator/http.py", "emulator/server.py", "emulator/settings.py"),
    *("ledger/binding.py", "ledger/redis.py", "ledger/sqlite.py", "ledger/sqlite_writer.py"),
    *("queue/cipher.py", "queue/queue.py", "queue/streams.py"),
)
# What only a program can do wrong, and sentences of which only the parts have words.
_OF_PROGRAMS = re.compile(
    r"(\w+: )?(must be an? (str|datetime|mapping|aware datetime)\b.*|must be a mapping of .*)"
    r"|(campaign_id|expires_at|unicode|version|message): .*|lies outside .*|is missing"
    r"|is not a time .*|route: is not a route.*|until lies before since"
    r"|7 (lies outside|must be a str of|must be an aware|must be printable|has more|must hold).*"
    r"|a fault is written as a str.*|there is no (account )?7; .*|clock\.shift .*|an account has .*"
    r"|the emulator cannot start .*|7 is fixed when .*|prefix must not be empty|.* was forked, .*"
    r"|7: 7|ESMS_ROUTE: 7|set the environment 7 7|option 7 7|phone 7|7 must be 7|\w+"
)
_CALL = re.compile(r'text\(\s*"([a-z0-9_]+)"')
# Sentences that are the same in both languages, or have no word with a mark.
_WITHOUT_MARKS = {
    *("brandname_viber", "done", "entry_sms_id", "one_sms_id", "says", "see_help", "status_of"),
    "workers",
}
_WORDS = "esms_async/cli/words.py"


def _fields(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name}


def test_both_languages_have_every_sentence_with_the_same_values() -> None:
    """No sentence is missing, and none lacks a value that the other language shows."""
    english, vietnamese = CATALOGUES[Language.ENGLISH], CATALOGUES[Language.VIETNAMESE]
    assert english.keys() == vietnamese.keys(), f"put it into both halves of {_WORDS}"
    for key, sentence in english.items():
        assert _fields(sentence) == _fields(vietnamese[key]), key
        assert vietnamese[key].strip()


def test_each_language_is_its_own() -> None:
    """An English sentence in the Vietnamese half is noticed: it has no marks."""
    vietnamese = CATALOGUES[Language.VIETNAMESE]
    unmarked = {key for key, sentence in vietnamese.items() if sentence.isascii()}
    assert unmarked == _WITHOUT_MARKS, f"write it in Vietnamese in {_WORDS}, or name it here"


def _put_together() -> set[str]:
    """The keys that are put together at run time."""
    hidden = {"fingerprint", "content"}
    return {
        *(f"status_{one.name.lower()}" for one in SendStatus),
        *(f"reason_{one.name.lower()}" for one in Reason),
        *(f"entry_{one.name}" for one in attrs.fields(Entry) if one.name not in hidden),
        *(f"missing_{one}" for one in Finding),
        *(f"brandname_{one.name.lower()}" for one in BrandnameType),
        *(f"one_{one}" for one in (*Status, "invalid", "held_back", "sandboxed")),
        *("columns_guessed", "columns_template_guessed"),
    }


def test_the_catalogue_has_what_is_said_and_nothing_else() -> None:
    """Each key that the code names stands in the catalogue, and the code names each of them."""
    called, named = set[str](), _put_together()
    for path in _SOURCE.glob("*.py"):
        if path.name != "words.py":
            source = path.read_text(encoding="utf-8")
            called |= set(_CALL.findall(source))
            named |= {
                node.value
                for node in ast.walk(ast.parse(source))
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            }
    known = CATALOGUES[Language.ENGLISH].keys()
    assert (called | _put_together()) - known == set(), f"put it into {_WORDS}"
    assert known - named == set(), f"nothing says it: delete it from {_WORDS}"
    assert len(called) > 80


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


def test_what_is_missing_is_said_in_the_same_words() -> None:
    """A finding of `reconcile` reads as in its errors."""
    for finding in Finding:
        assert str(text(f"missing_{finding}")) == _MISSING[finding]


def _sentences(node: ast.expr) -> Iterator[str]:
    """Yield what an argument can say, with 7 for each value in it."""
    match node:
        case ast.Constant(value=str(words)):
            yield words
        case ast.JoinedStr():
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "7" for part in node.values
            )
        case ast.IfExp():
            yield from _sentences(node.body)
            yield from _sentences(node.orelse)


def _errors(place: str) -> Iterator[str]:
    """Yield what the errors say that a module raises."""
    for node in ast.walk(ast.parse((_SOURCE.parent / place).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            words = [each for argument in node.args for each in _sentences(argument)]
            if name == "InvalidMessage":
                yield ": ".join(words)
            elif name in _ERRORS:
                yield from words


@pytest.mark.parametrize("place", _PLACES)
def test_every_error_that_a_command_can_meet_has_its_vietnamese_twin(place: str) -> None:
    """An error of the package that is new or changed is put into `problems_vi.py`."""
    english = [words for words in _errors(place) if in_vietnamese(words) == words]
    assert [words for words in english if not _OF_PROGRAMS.fullmatch(words)] == []


def test_an_error_without_a_twin_is_noticed() -> None:
    """The test above can fail."""
    assert len([*_errors("queue/cipher.py")]) > 5
    assert _OF_PROGRAMS.fullmatch("the queue is on fire") is None


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
            "GetBalance_json: không kết nối được tới 127.0.0.1:9",
        ),
        ("No such file or directory", "không có tệp này"),
        ("there is no setting 'x'; there are a, b", "không có cài đặt 'x'; có a, b"),
        (
            "set the environment variables ESMS_API_KEY and ESMS_SECRET_KEY",
            "hãy đặt biến môi trường ESMS_API_KEY và ESMS_SECRET_KEY",
        ),
        (
            "HTTP status 503; not tried again, because the retry budget is used up",
            "mã HTTP 503; không thử lại, vì đã hết hạn mức thử lại",
        ),
        (
            "fault delay: needs an argument, as in delay:2s",
            "lỗi giả delay: cần một đối số, ví dụ delay:2s",
        ),
        (
            "report_delay must be seconds, from 0 to 9, not 'x'",
            "report_delay phải là số giây, từ 0 đến 9, không phải 'x'",
        ),
        (
            "the ledger /x can't be used: [Errno 13] Permission denied: '/x'",
            "không dùng được sổ ghi /x: không có quyền",
        ),
        (
            "the ledger /x can't be used: [Errno 30] Read-only file system: 'x'",
            "không dùng được sổ ghi /x: ổ đĩa hoặc thư mục này chỉ cho đọc",
        ),
        (
            "the queue on Redis h:1, database 0 can't be used: Error 111. Connect call failed",
            "không dùng được hàng đợi trên Redis h:1, database 0: không kết nối được",
        ),
        (
            "GetBalance_json: rejected with code 101: wrong ApiKey; the gateway says 'no'",
            "GetBalance_json: mã 101: sai ApiKey hoặc SecretKey; cổng báo 'no'",
        ),
        (
            "fits no template of the brandname Shop: the text goes on after the end of {P1,6}",
            "không khớp mẫu tin nào của brandname Shop: nội dung còn tiếp sau phần cuối {P1,6}",
        ),
        (
            "GetTemplate/: ClientOSError: Connection reset by peer",
            "GetTemplate/: kết nối bị cắt giữa chừng",
        ),
    ],
)
def test_problems_from_below_are_in_vietnamese(problem: str, said: str) -> None:
    """What the package and the system say most often has its Vietnamese twin."""
    assert in_vietnamese(problem) == said
    assert text("failed", problem=problem).said(Language.VIETNAMESE).endswith(said)
    assert str(text("failed", problem=problem)) == problem
