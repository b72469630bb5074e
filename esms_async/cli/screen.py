"""What a person reads: two streams that may break off, and the lines that every command prints."""

import errno
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Final, TextIO

from rich.console import Console
from rich.text import Text as Line

from esms_async.cli.words import Language, Text, text

# What a pipe says whose reader has gone, and a terminal that was closed.
_GONE: Final = frozenset({errno.EPIPE, errno.EIO})


class OutputStream:
    """A stream that may break off, as `| head` does; what is written then is lost quietly.

    Where nobody wants to know that, any error but an absent reader is raised once.

    Attributes:
        on_break: Told once it has broken off.
        failure: Why it can't be written, if that was reported and somebody may read it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.on_break: Callable[[], None] | None = None
        self.failure: OSError | None = None

    @property
    def encoding(self) -> str:
        """The encoding of the stream."""
        return self._stream.encoding

    def isatty(self) -> bool:
        """Tell whether a person is looking at a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the descriptor of the stream."""
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Write a text."""
        try:
            return self._stream.write(text)
        except OSError as error:
            return self._break(error, len(text))

    def flush(self) -> None:
        """Hand what was written to the reader."""
        try:
            self._stream.flush()
        except OSError as error:
            self._break(error, 0)

    def _break(self, error: OSError, written: int) -> int:
        silence(self._stream)
        if error.errno not in _GONE:
            if self.on_break is None:
                raise error
            self.failure = error
        if self.on_break is not None:
            self.on_break()
        return written


class Screen:
    """Standard output and standard error.

    Attributes:
        human: Where a person reads: standard output, or standard error where standard output is
            for a program.
        progress: Where progress shows: standard error.
        language: The language of what a person reads.
        told: The error that ended the job, once it was printed.
    """

    def __init__(
        self, *, for_program: bool = False, environ: Mapping[str, str] = os.environ
    ) -> None:
        self.language: Language = Language.of(environ)
        self.told: Exception | None = None
        self._out = OutputStream(sys.stdout)
        self._err = OutputStream(sys.stderr)
        self.progress: Console = _console(self._err)
        self.human: Console = self.progress if for_program else _console(self._out)

    @property
    def failure(self) -> OSError | None:
        """Why one of the streams can't be written, unless nobody is there to read it."""
        return self._out.failure or self._err.failure

    @property
    def can_ask(self) -> bool:
        """Whether a person sits at a terminal who reads a question and can answer it."""
        return sys.stdin is not None and sys.stdin.isatty() and self.human.file.isatty()

    def ask(self, question: Text) -> None:
        """Print a question; the answer follows on its line."""
        self.human.print(Line(self.say_word(question)), end=" ", soft_wrap=True)
        self.human.file.flush()

    def say_word(self, word: str | Text) -> str:
        """Return a text in the language of the screen."""
        return word if isinstance(word, str) else word.said(self.language)

    def say(self, line: str | Text, style: str = "") -> None:
        """Print one line for a person."""
        _print(self.human, Line(printable(self.say_word(line)), style))

    def say_command(self, line: str) -> None:
        """Print a command line for a person, to be copied: only the terminal itself breaks it."""
        self.human.print(Line(f"  {printable(line)}"), soft_wrap=True)

    def warn(self, line: str | Text) -> None:
        """Print one line on standard error."""
        _print(self.progress, Line(printable(self.say_word(line))))

    def banner(self, url: str, seed: int | None) -> None:
        """Say where messages go, before any does.

        Args:
            url: The gateway.
            seed: The seed of an emulator, which must not be overlooked; None for no emulator.
        """
        if seed is None:
            self.say(text("gateway", url=url))
        else:
            self.say(text("emulator"), "bold white on red")
            self.say(text("gateway_seed", url=url, seed=str(seed)))

    def put_json(self, value: Mapping[str, object]) -> None:
        """Print one object for a program on standard output."""
        self.put_value(value)

    def put_value(self, value: object) -> None:
        """Print one value for a program on standard output."""
        self.put_line(json.dumps(value))

    def put_line(self, line: str) -> None:
        """Print one line for a program on standard output."""
        self._out.write(f"{line}\n")
        self._out.flush()

    def on_break(self, told: Callable[[], None]) -> None:
        """Have a function called once a reader has gone away.

        Args:
            told: The function. It may be called from another thread.
        """
        self._out.on_break = self._err.on_break = told


def printable(line: str) -> str:
    """Return a line without what a terminal would obey: names of files and columns may hold it."""
    if line.isprintable():
        return line
    return "".join(character if character.isprintable() else "?" for character in line)


def silence(stream: TextIO) -> None:
    """Lead what is still written to a stream nowhere, without an error at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def print_line(stream: TextIO, line: str) -> None:
    """Print one line on a stream."""
    _print(_console(OutputStream(stream)), Line(line))


def _print(console: Console, line: Line) -> None:
    # A terminal breaks a long line between words; in a file it stays one line.
    console.print(line, soft_wrap=not console.file.isatty())


def _console(stream: OutputStream) -> Console:
    # What is printed is data: no markup in it, and nothing to be coloured by its looks.
    return Console(file=stream, markup=False, highlight=False, emoji=False)  # type: ignore[arg-type]  # it has all that a console calls
