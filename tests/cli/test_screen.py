"""What a person reads."""

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from esms_async.cli.running import complain
from esms_async.cli.screen import OutputStream, Screen, printable


@pytest.fixture
def broken() -> Iterator[io.TextIOWrapper]:
    """A stream whose reader has gone away."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        yield stream


def test_a_reader_that_has_gone_is_reported_once(broken: io.TextIOWrapper) -> None:
    """What is written to nobody is lost quietly, at once and when the stream is closed."""
    told: list[str] = []
    outlet = OutputStream(broken)
    outlet.on_break = lambda: told.append("gone")
    outlet.write("some words")
    outlet.flush()
    outlet.write("some words")
    outlet.flush()
    assert told == ["gone"]


def test_nobody_need_be_told(broken: io.TextIOWrapper) -> None:
    """A write that is larger than the buffer meets the broken pipe itself."""
    text = "x" * 1_000_000
    assert OutputStream(broken).write(text) == len(text)


@pytest.fixture
def full() -> Iterator[io.TextIOWrapper]:
    """A stream to a disk that is full."""
    with Path("/dev/full").open("w", encoding="utf-8") as stream:
        yield stream


def test_a_disk_that_is_full_is_reported(full: io.TextIOWrapper) -> None:
    """A stream that breaks off is reported once, with why; the rest is lost quietly."""
    told: list[str] = []
    outlet = OutputStream(full)
    outlet.on_break = lambda: told.append("full")
    outlet.write("some words")
    outlet.flush()
    outlet.write("some words")
    outlet.flush()
    assert told == ["full"]
    assert outlet.failure is not None
    assert outlet.failure.errno == errno.ENOSPC


def test_a_full_disk_that_nobody_hears_of_is_an_error(full: io.TextIOWrapper) -> None:
    """It ends what prints, for nothing else would tell of it."""
    outlet = OutputStream(full)
    outlet.write("some words")
    with pytest.raises(OSError, match="No space left"):
        outlet.flush()


def test_a_terminal_that_was_closed_is_a_reader_that_has_gone() -> None:
    """What is written to it is lost quietly."""
    terminal, side = os.openpty()
    with os.fdopen(side, "w", encoding="utf-8") as stream:
        os.close(terminal)
        outlet = OutputStream(stream)
        outlet.write("some words")
        outlet.flush()
        assert outlet.failure is None


def test_an_outlet_is_like_its_stream(broken: io.TextIOWrapper) -> None:
    """What rich asks a stream about is answered by the stream."""
    outlet = OutputStream(broken)
    assert (outlet.encoding, outlet.fileno(), outlet.isatty()) == (
        broken.encoding,
        broken.fileno(),
        False,
    )


def test_a_name_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters in names of files and columns show as question marks, markup as it is."""
    Screen().say("\x1b[31mred[/] [bold]\r\n:smile:")
    assert capsys.readouterr().out == "?[31mred[/] [bold]??:smile:\n"
    assert printable("Châu") == "Châu"


def test_a_long_line_stays_one_line_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    """A file has no width to break lines at."""
    screen = Screen(for_program=True)
    screen.say("a word " * 100)
    screen.warn("a word " * 100)
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_an_error_is_broken_between_words_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a file it stays one line."""
    monkeypatch.setenv("COLUMNS", "40")
    person, terminal = os.openpty()
    with os.fdopen(terminal, "w", encoding="utf-8") as stream:
        monkeypatch.setattr("sys.stderr", stream)
        complain("a word of an error that is longer than the line of a terminal")
        lines = os.read(person, 1000).decode().split("\r\n")
    os.close(person)
    assert [line.rstrip() for line in lines] == [
        "esms-async: a word of an error that is",
        "longer than the line of a terminal",
        "",
    ]


def test_programs_read_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    """Where JSON is asked for, a person's lines go to standard error."""
    screen = Screen(for_program=True)
    screen.banner("http://127.0.0.1:1/", 7)
    screen.put_json({"total": 1})
    out, err = capsys.readouterr()
    assert out == '{"total": 1}\n'
    assert err.splitlines() == [
        "EMULATOR: NO SMS LEAVES THIS MACHINE",
        "Gateway: http://127.0.0.1:1/ (seed 7)",
    ]
