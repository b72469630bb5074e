"""Records the command at work in a terminal, and draws the recording as an animated SVG.

A workbook of rows is sent to an emulator on this machine, interrupted by Ctrl-C, and sent again by
the same command. The recording is a real run: what the command wrote into its terminal, screen by
screen. Only the prompt and the keys are this script's.
"""

import asyncio
import codecs
import fcntl
import os
import re
import select
import sys
import tempfile
import termios
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Final

import attrs
import openpyxl
import pyte

from esms_async.emulator import Emulator, Settings

COLUMNS, LINES = 96, 31
ROWS = 300
COMMAND = "esms-async bulk khach.xlsx --results {results} --rate 60"
INTERRUPT_AT = 0.4
"""The share of the rows that are sent when Ctrl-C is pressed."""

_WIDTH, _HEIGHT, _PAD = 8.43, 18, 14
# Seconds: to read a screen, to read the last one, and the shortest that a screen stands.
_TO_READ, _LAST, _SHORTEST = 2.0, 6.0, 0.2
_RESULTS: Final = {"en": "sent.csv", "vi": "ketqua.csv"}
_QUESTION: Final = {"en": "[y/N]", "vi": "[c/K]"}
_YES: Final = {"en": b"y\n", "vi": b"c\n"}
_COLOURS: Final = {
    "red": "#ff7b72",
    "green": "#7ee787",
    "brown": "#f2cc60",
    "blue": "#79c0ff",
    "magenta": "#d2a8ff",
    "cyan": "#76e3ea",
    "black": "#6e7681",
    "white": "#f0f6fc",
}


Line = tuple[tuple[int, str, str, bool], ...]
"""The runs of one line: each a column, a text, a colour or "", and whether it is bold."""


@attrs.frozen
class Frame:
    """What the terminal showed at a time.

    Attributes:
        at: Seconds since the start.
        lines: The lines.
    """

    at: float
    lines: tuple[Line, ...]


@attrs.define
class _Terminal:
    """A terminal of fixed size, whose screens are kept."""

    screen: pyte.Screen = attrs.field(factory=lambda: pyte.Screen(COLUMNS, LINES))
    frames: list[Frame] = attrs.field(factory=list[Frame])
    _stream: pyte.Stream = attrs.field(init=False)
    _clock: float = 0.0

    def __attrs_post_init__(self) -> None:
        self._stream = pyte.Stream(self.screen)

    def write(self, text: str, lasting: float) -> None:
        """Show a text for some seconds."""
        self._stream.feed(text)
        lines = tuple(self._runs(number) for number in range(LINES))
        if not self.frames or lines != self.frames[-1].lines:
            self.frames.append(Frame(self._clock, lines))
        self.wait(lasting)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self._clock += seconds

    def shows(self) -> str:
        """Return what is on the screen."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def _runs(self, number: int) -> Line:
        runs: list[tuple[int, str, str, bool]] = []
        for column in range(COLUMNS):
            cell = self.screen.buffer[number][column]
            colour = "" if cell.fg == "default" else cell.fg
            if runs and runs[-1][2:] == (colour, cell.bold):
                start, text, *_ = runs[-1]
                runs[-1] = (start, text + cell.data, colour, cell.bold)
            else:
                runs.append((column, cell.data, colour, cell.bold))
        return tuple(run for run in runs if run[1].strip())


async def record(language: str) -> str:
    """Record the command in a language, `en` or `vi`; return the SVG."""
    terminal = _Terminal()
    # The port that a person who tries this has in the plan, too.
    async with Emulator(settings=Settings(report_delay=0), port=8026) as gateway:
        with tempfile.TemporaryDirectory() as folder:
            _write_workbook(Path(folder, "khach.xlsx"))
            environ = {
                "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
                "TERM": "xterm-256color",
                "LANG": "C.UTF-8",
                "ESMS_LANG": language,
                "ESMS_API_KEY": "any",
                "ESMS_SECRET_KEY": "any",
                "ESMS_BASE_URL": gateway.url,
            }
            run = _Run(terminal, language, Path(folder), environ)
            await run.until_done(lambda: len(gateway.messages) > ROWS * INTERRUPT_AT)
            await run.until_done(lambda: False)
    terminal.write("$ ", 0)
    return draw(terminal.frames)


def _write_workbook(path: Path) -> None:
    workbook = openpyxl.Workbook(write_only=True)
    sheet = workbook.create_sheet()
    sheet.append(["Họ tên", "Số điện thoại", "Nội dung"])
    for number in range(ROWS):
        phone = f"09{number + 10_000_000}"
        # Every fifth phone was typed as a number, and Excel took its zero.
        typed = int(phone) if number % 5 == 0 else phone
        sheet.append([f"Khách {number + 1}", typed, f"Ma cua ban: {number * 7919 % 1_000_000:06}"])
    workbook.save(path)


@attrs.frozen
class _Run:
    """The command in a terminal, as a person starts it."""

    terminal: _Terminal
    language: str
    folder: Path
    environ: dict[str, str]

    async def until_done(self, interrupt: Callable[[], bool]) -> None:
        """Run the command to its end, and press Ctrl-C once a condition holds."""
        command = COMMAND.format(results=_RESULTS[self.language])
        self.terminal.write(f"$ {command}", 0.8)
        self.terminal.write("\r\n", 0.2)
        mine, its = os.openpty()
        termios.tcsetwinsize(its, (LINES, COLUMNS))
        process = await asyncio.create_subprocess_exec(
            *command.split(" "),
            cwd=self.folder,
            env=self.environ,
            stdin=its,
            stdout=its,
            stderr=its,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(its, termios.TIOCSCTTY, 0),  # Ctrl-C is for it
        )
        os.close(its)
        await self._watch(mine, interrupt)
        os.close(mine)
        await process.wait()

    async def _watch(self, descriptor: int, interrupt: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        decode = codecs.getincrementaldecoder("utf-8")().decode
        is_asked = is_interrupted = False
        before = loop.time()
        while shown := await asyncio.to_thread(_read, descriptor):
            now = loop.time()
            self.terminal.wait(now - before)
            before = now
            self.terminal.write(decode(shown), 0)
            if not is_asked and _QUESTION[self.language] in self.terminal.shows():
                is_asked = True
                self.terminal.wait(_TO_READ)
                os.write(descriptor, _YES[self.language])
            elif not is_interrupted and interrupt():
                is_interrupted = True
                os.write(descriptor, b"\x03")
        self.terminal.wait(_TO_READ)


def _read(descriptor: int) -> bytes:
    """Read what is shown at once: a line that is cleared and written again is one change."""
    shown = b""
    try:
        while not shown or select.select([descriptor], [], [], 0.02)[0]:
            shown += os.read(descriptor, 4096)
    except OSError:
        pass  # so a terminal ends whose other side is closed
    return shown


def draw(frames: list[Frame]) -> str:
    """Draw frames as an SVG that plays them again and again.

    The screens stand one below the other, and the window moves from one to the next. Where nothing
    moves, it stands at the last one.
    """
    kept = frames[:1]
    for frame in frames[1:]:
        if frame.at - kept[-1].at < _SHORTEST:
            kept[-1] = attrs.evolve(frame, at=kept[-1].at)
        else:
            kept.append(frame)
    length = kept[-1].at + _LAST
    height = LINES * _HEIGHT
    steps = "".join(
        f"{frame.at / length:.2%}{{transform:translateY({-number * height}px)}}"
        for number, frame in enumerate(kept)
    )
    names: dict[Line, str] = {}
    screens: list[str] = []
    for number, frame in enumerate(kept):
        for row, line in enumerate(frame.lines):
            if line:
                name = names.setdefault(line, f"l{len(names)}")
                y = number * height + row * _HEIGHT
                screens.append(f'<use href="#{name}" y="{y}"/>')
    lines = "".join(f'<g id="{name}">{_draw_line(line)}</g>' for line, name in names.items())
    width = round(COLUMNS * _WIDTH)
    rules = "".join(f".{name}{{fill:{colour}}}" for name, colour in _COLOURS.items())
    still = f"transform:translateY({-(len(kept) - 1) * height}px)"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width + 2 * _PAD} '
        f'{height + 2 * _PAD}" width="{width + 2 * _PAD}" height="{height + 2 * _PAD}">'
        f"<style>text{{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',"
        f"monospace;fill:#e6edf3;white-space:pre}}.b{{font-weight:700}}{rules}#s{{{still}}}"
        f"@media (prefers-reduced-motion:no-preference){{#s{{animation:s {length:.1f}s step-end "
        f"infinite}}}}@keyframes s{{{steps}}}</style>"
        f'<rect width="100%" height="100%" rx="8" fill="#0d1117"/><defs>{lines}</defs>'
        f'<svg x="{_PAD}" y="{_PAD}" width="{width}" height="{height}"><g id="s">'
        f"{''.join(screens)}</g></svg></svg>\n"
    )


def _draw_line(line: Line) -> str:
    drawn: list[str] = []
    for column, text, colour, is_bold in line:
        # Words that stand apart are placed apart: no font has exactly the width that is assumed.
        for part in re.finditer(r"\S+(?: \S+)*", text):
            classes = " ".join(name for name in (colour, "b" if is_bold else "") if name)
            x = round((column + part.start()) * _WIDTH, 1)
            length = round(len(part[0]) * _WIDTH, 1)
            styled = f' class="{classes}"' if classes else ""
            drawn.append(
                f'<text x="{x:g}" y="14" textLength="{length:g}"{styled}>{escape(part[0])}</text>'
            )
    return "".join(drawn)
