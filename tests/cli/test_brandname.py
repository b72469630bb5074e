"""The commands `brandnames`, `templates` and `price`, and `send` by each route."""

import io
import json
import sys
from pathlib import Path

import pytest

from esms_async._http.transport import HttpResponse, Transport
from esms_async.cli.app import run as run_here

BRAND = "Baotrixemay"
TEXT = "686868 la ma xac minh dang ky Baotrixemay cua ban"
TEMPLATE = "{code} la ma xac minh dang ky Baotrixemay cua ban"
PHONE = "0901888484"
CHECK = ("templates", "check")
ONLY = ("--brandname", BRAND, "--emulator")


def ask(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str], str]:
    """Run a command; return its exit code and what it said below the banner."""
    code = run_here(arguments)
    out, err = capsys.readouterr()
    lines = [line for line in out.splitlines() if not line.startswith(("EMULATOR", "Gateway"))]
    return code, lines, err


def test_brandnames(capsys: pytest.CaptureFixture[str]) -> None:
    """A person reads a line for each, a program one object."""
    assert ask(capsys, "brandnames", "--emulator") == (0, [f"{BRAND} (customer care and OTP)"], "")
    code, (line,), _ = ask(capsys, "brandnames", "--emulator", "--json")
    assert (code, json.loads(line)) == (0, {"brandnames": [{"brandname": BRAND, "type": 2}]})


def test_what_a_brandname_is_for_in_vietnamese(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its use is said in the language of the command."""
    monkeypatch.setenv("ESMS_LANG", "vi")
    assert run_here(["brandnames", "--emulator"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line == f"{BRAND} (chăm sóc khách hàng và OTP)"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ('{"CodeResponse":"100","ListBrandName":[]}', "the account has no brandname"),
        ('{"CodeResponse":"100","ListBrandName":[{"Brandname":"a","Type":9}]}', "a (type 9)"),
        ('{"CodeResponse":"100","ListBrandName":[{"Brandname":"a"}]}', "a (type not told)"),
        ('{"CodeResult":"100","BrandnameTemplates":[]}', "no template is registered"),
    ],
)
def test_odd_lists(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    words: str,
) -> None:
    """What is not there, and what no page lists, is said."""

    async def query(*_: object, **__: object) -> HttpResponse:
        return HttpResponse(200, answer.encode(), None)

    monkeypatch.setattr(Transport, "query", query)
    command = ["brandnames"] if "List" in answer else ["templates", "--brandname", BRAND]
    code, (line,), _ = ask(capsys, *command, "--emulator")
    assert code == 0
    assert words in line


def test_templates(capsys: pytest.CaptureFixture[str]) -> None:
    """Each with its operator; an unknown brandname is a refusal."""
    code, lines, _ = ask(capsys, "templates", *ONLY)
    assert code == 0
    assert "Viettel: {P1,20} la ma xac minh dang ky Baotrixemay cua ban" in lines
    code, (line,), _ = ask(capsys, "templates", *ONLY, "--json")
    assert json.loads(line)["templates"][0]["network"] == 1
    code, _, err = ask(capsys, "templates", "--brandname", "Nobody", "--emulator")
    assert code == 1
    assert "code 104" in err


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("good.txt", f"{TEXT}\n\n{TEXT}\n", ()),
        ("good.csv", f"phone,Content\n{PHONE},{TEXT}\n\n", ()),
        ("good.csv", f"\ufeffphone,Code\n{PHONE},686868\n", ("--content", TEMPLATE)),
        ("good.jsonl", f'{{"content":"{TEXT}"}}\n\n', ()),
        ("good", '{"code":686868}', ("--content", TEMPLATE)),
        ("good.txt", f"{TEMPLATE}\n", ()),
    ],
)
def test_texts_that_fit(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    name: str,
    content: str,
    options: tuple[str, ...],
) -> None:
    """The exit code is 0, and each operator is named."""
    file = tmp_path / name
    file.write_text(content, "utf-8")
    code, lines, err = ask(capsys, *CHECK, str(file), *options, *ONLY)
    assert (code, err) == (0, "")
    count = content.count(TEXT) or 1
    assert lines[0] == f"{count} of {count} texts fit a template of {BRAND}"
    assert f"  with Viettel: {count}" in lines


def test_texts_that_do_not_fit(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code is 1; each row is named with its part, and never quoted."""
    file = tmp_path / "rows.jsonl"
    rows = [f'{{"content":"{TEXT}"}}', '{"content":"1234 la"}', "[]", "{", '{"content":""}']
    file.write_text("\n".join(rows), "utf-8")
    code, lines, _ = ask(capsys, *CHECK, str(file), *ONLY)
    assert code == 1
    assert lines[0].startswith(f"row 2: fits no template of the brandname {BRAND}: ")
    assert lines[1:4] == [
        "row 3: it is no JSON object",
        "row 4: it is no JSON object",
        "row 5: content is missing",
    ]
    assert lines[4] == f"1 of 5 texts fit a template of {BRAND}"
    assert "1234" not in "".join(lines)
    code, (line,), _ = ask(capsys, *CHECK, str(file), *ONLY, "--json")
    assert [one["row"] for one in json.loads(line)["problems"]] == [2, 3, 4, 5]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x\n" * 30)))
    code, lines, _ = ask(capsys, *CHECK, "-", *ONLY)
    assert lines[20] == "and 10 more; --json lists them all"


@pytest.mark.parametrize("start", ['{"content', '{\n"content"', "{}"])
def test_broken_json_is_no_text(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    start: str,
) -> None:
    """What begins as an object of JSON is read as JSON, and Vietnamese says what is wrong."""
    monkeypatch.setenv("ESMS_LANG", "vi")
    file = tmp_path / "texts"
    file.write_text(start, "utf-8")
    code, lines, _ = ask(capsys, *CHECK, str(file), *ONLY)
    assert code == 1
    problem = "thiếu content" if start == "{}" else "không phải đối tượng JSON"
    assert f"dòng 1: {problem}" in lines


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        (b"", ONLY, "holds no text"),
        (b"phone\n1\n", ONLY, "has no column 'content'"),
        (b"\xff\xfe", ONLY, "is not UTF-8"),
        (None, ONLY, "rows.csv: No such file or directory"),
        (b"x", ("--brandname", "", "--emulator"), "--brandname: name must be"),
        (b"x", ("--emulator",), "Missing option '--brandname'"),
        (b"x", (*ONLY, "--content", "{"), "brace"),
    ],
)
def test_what_can_not_be_checked(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    content: bytes | None,
    options: tuple[str, ...],
    words: str,
) -> None:
    """One line says what is wrong, and nothing is asked."""
    file = tmp_path / "rows.csv"
    if content is not None:
        file.write_bytes(content)
    code, lines, err = ask(capsys, *CHECK, str(file), *options)
    assert (code, lines) == (2, [])
    assert words in err


def test_the_price(capsys: pytest.CaptureFixture[str]) -> None:
    """In dong, for a person and for a program."""
    assert ask(capsys, "price", PHONE, TEXT, *ONLY) == (0, ["price 850 dong"], "")
    code, (line,), _ = ask(capsys, "price", PHONE, TEXT, *ONLY, "--json")
    assert (code, json.loads(line)) == (0, {"price": 850, "receivers": 1})
    code, _, err = ask(capsys, "price", "1", TEXT, *ONLY)
    assert code == 2
    assert "phone" in err


@pytest.mark.parametrize(
    ("arguments", "variable", "code", "words"),
    [
        ((TEXT, "--brandname", BRAND), "", 0, "accepted"),
        ((TEXT, "--route", f"brandname:{BRAND}"), "", 0, "accepted"),
        ((TEXT,), f"brandname:{BRAND}", 0, "accepted"),
        (("anything",), "", 0, "accepted"),
        (("anything", "--brandname", BRAND), "", 1, "code 146"),
        (("anything", "--brandname", "Nobody"), "", 3, "code 104"),
        (("--route", "zalo:1:2", "--param", "otp=1", "--param", "n=a=b"), "", 0, "accepted"),
        (("--param", "otp=1"), "zalo:1:2:3", 0, "accepted"),
        (("--param", "otp=1"), "", 1, "params: can't be sent"),
        ((), "", 2, "give the CONTENT"),
        ((TEXT, "--param", "otp=1"), "", 2, "content: and params exclude each other"),
        (("--param", "otp"), "", 2, "--param takes NAME=VALUE"),
        (("--param", "a=1", "--param", "a=2"), "", 2, "--param gives a twice"),
        ((TEXT, "--route", "sms"), "", 2, "--route: a route is"),
        ((TEXT, "--brandname", " "), "", 2, "--brandname: name must be"),
        ((TEXT, "--brandname", "a", "--route", "fixed"), "", 2, "exclude each other"),
        ((TEXT,), "sms", 2, "ESMS_ROUTE: a route is"),
    ],
)
def test_send_by_each_route(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    variable: str,
    code: int,
    words: str,
) -> None:
    """An option wins over the variable; what does not fit is said in one line."""
    monkeypatch.setenv("ESMS_ROUTE", variable)
    got, lines, err = ask(capsys, "send", PHONE, *arguments, "--emulator")
    assert got == code
    assert words in "".join(lines) + err


def test_templates_are_those_of_a_brandname(capsys: pytest.CaptureFixture[str]) -> None:
    """Without one the error names the option."""
    code, _, err = ask(capsys, "templates", "--emulator")
    assert code == 2
    assert "Missing option '--brandname'" in err
