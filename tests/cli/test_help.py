"""The help of the command and what it says of wrong use, in Vietnamese."""

import inspect
import subprocess
import sys
import unicodedata
from collections.abc import Iterator

import click
import pytest

import esms_async.cli.app
from esms_async.cli.app import run as run_here
from esms_async.cli.help_vi import HELP
from esms_async.cli.problems_vi import in_vietnamese
from tests.api import command_tree
from tests.cli.support import environment


@pytest.fixture
def _vietnamese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESMS_LANG", "vi")


COMMANDS = dict(command_tree(esms_async.cli.app._group))


def _texts() -> Iterator[str]:
    for command in COMMANDS.values():
        for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
            yield " ".join(paragraph.split())
        yield command.short_help or ""
        for parameter in command.get_params(click.Context(command)):
            if isinstance(parameter, click.Option) and not parameter.hidden:
                yield parameter.help or ""


def test_every_text_of_the_help_is_in_vietnamese_and_no_other() -> None:
    """A text that is new or changed has its Vietnamese twin; a command line needs none."""
    texts = {text for text in _texts() if text and not text.startswith("source <(")}
    assert sorted(texts - HELP.keys()) == [], "put them into esms_async/cli/help_vi.py"
    assert sorted(HELP.keys() - texts) == [], "nothing shows these any more"
    assert len(texts) > 100
    for said in HELP.values():
        assert unicodedata.normalize("NFC", said) == said
    unmarked = {said for said in HELP.values() if said.isascii()}
    assert unmarked == {"In JSON."}, "write it in Vietnamese in esms_async/cli/help_vi.py"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_in_vietnamese_fits_a_screen(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has as many lines as the English one, or a few more, of 80 columns, and no word of it."""
    assert run_here([*command, "--help"]) == 0
    english = capsys.readouterr().out.splitlines()
    monkeypatch.setenv("ESMS_LANG", "vi")
    assert run_here([*command, "--help"]) == 0
    vietnamese = capsys.readouterr().out.splitlines()
    assert vietnamese[0].startswith("Cách dùng: esms-async")
    assert len(vietnamese) <= len(english) + 6
    assert max(map(len, vietnamese)) <= 80
    for word in ("Usage", "Options:", "Commands:", "default", "env var", "required"):
        assert word not in "\n".join(vietnamese)


def test_the_locale_asks_for_vietnamese_too() -> None:
    """Without ESMS_LANG the locale says the language of the help."""
    done = _run_python("from esms_async.cli import main; main()", "--help", LC_ALL="vi_VN.UTF-8")
    assert done.stdout.startswith("Cách dùng:")


def test_the_english_help_loads_no_vietnamese_one() -> None:
    """Only who reads the Vietnamese help waits for it."""
    program = (
        "import sys; from esms_async.cli import main; main();"
        "sys.exit('esms_async.cli.help_vi' in sys.modules)"
    )
    assert _run_python(program, "--help", LC_ALL="C.UTF-8").returncode == 0
    assert _run_python(program, "--help", LC_ALL="vi_VN.UTF-8").returncode == 1


def _run_python(program: str, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        encoding="utf-8",
        env=environment({"PYTHONIOENCODING": "utf-8", **extra}),
        check=False,
    )


@pytest.mark.usefixtures("_vietnamese")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nix"], "không có lệnh "),
        (["bulk"], "thiếu đối số FILE; xem esms-async bulk --help"),
        (["completion"], "thiếu đối số {bash|zsh|fish}; xem"),
        (["completion", "ksh"], "'ksh' không thuộc 'bash', 'zsh', 'fish'"),
        (["bulk", "--nothing-like-it"], "không có tùy chọn "),
        (["bulk", "a", "--phone-colum", "x"], "; ý bạn là "),
        (["bulk", "a", "--rate"], "cần một giá trị"),
        (["bulk", "a", "--yes=1"], "không nhận giá trị"),
        (["bulk", "a", "--concurrency", "0"], "0 nằm ngoài khoảng 1<=x<=500"),
        (["bulk", "a", "--concurrency", "x"], "'x' không phải là số"),
        (["emulator", "--port", "99999"], "*** nằm ngoài khoảng 0<=x<=65535"),
        (["bulk", "a", "xac", "nhan"], "có quá nhiều đối số; hãy đặt mỗi đối số trong dấu nháy"),
        (["templates"], "thiếu tùy chọn --brandname; xem esms-async templates --help"),
        (["send", "0901888484"], "hãy cho CONTENT cần gửi"),
        (["send", "0901888484", "a", "--resume", "--emulator"], "--resume cần --request-id"),
        (["queue", "status"], "hãy cho --queue URL"),
        (["ledger", "prune", "none", "--older-than", "x"], "--older-than là một số"),
    ],
)
def test_wrong_use_is_one_line_in_vietnamese(
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What click finds wrong, and what the command does, is in the language of the help."""
    monkeypatch.delenv("ESMS_QUEUE_URL", raising=False)
    assert run_here(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("esms-async: ")
    assert said in line


def test_a_sentence_that_is_not_known_stays_as_it_is() -> None:
    """A sentence that is not known here is shown rather than lost."""
    assert in_vietnamese("Something new") == "Something new"


@pytest.mark.parametrize("group", ["ledger", "queue", "reports"])
def test_a_group_without_a_command_shows_its_help(
    group: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is wrong use, and the help says on several lines what there is."""
    assert run_here([group]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"Usage: esms-async {group}")
    assert len(err.splitlines()) > 5


@pytest.mark.usefixtures("_vietnamese")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["send", "0901888484", "686868 la ma", "--emulator"], "đã được nhận 090****484 (SMSID"),
        (["balance", "--emulator"], "số dư 1.000.000.000.000.000 đồng"),
    ],
)
def test_what_is_said_of_one_message_is_in_vietnamese(
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """So is what the command says when it has done its work."""
    assert run_here(arguments) == 0
    assert said in capsys.readouterr().out
