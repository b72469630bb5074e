"""Shows how far a job has come: a bar and counts on a terminal, else a plain line now and then."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager

import attrs
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text as Line

from esms_async.cli.results import Tally
from esms_async.cli.rows import RowStatus
from esms_async.cli.screen import Screen
from esms_async.cli.words import Language, text

_SECONDS_BETWEEN_LINES = 5.0


@attrs.frozen
class Pace:
    """How far a job has come, and how fast.

    Args:
        tally: The counts, which go on.
        expected: How many rows there are, or None if nobody knows.
        clock: The time in seconds.
    """

    tally: Tally
    expected: int | None
    clock: Callable[[], float] = time.monotonic
    _started: float = attrs.field(
        default=attrs.Factory(lambda self: self.clock(), takes_self=True), init=False
    )

    @property
    def seconds(self) -> float:
        """The time since the start."""
        return self.clock() - self._started

    @property
    def rate(self) -> float:
        """Messages a second since the start."""
        return self.tally.sent / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """How long the rest will take at this pace, or None if nobody knows."""
        done = self.tally.total
        # What earlier runs have done goes by so fast that it tells nothing of the rest.
        done_now = done - self.tally[RowStatus.ALREADY_DONE]
        if not done_now or self.expected is None:
            return None
        return self.seconds * max(0, self.expected - done) / done_now


@asynccontextmanager
async def shown(pace: Pace, screen: Screen) -> AsyncGenerator[None]:
    """Show the progress of a job for as long as the context lasts."""
    console, language = screen.progress, screen.language
    if console.file.isatty() and not console.is_dumb_terminal:
        from rich.live import Live  # noqa: PLC0415  # only a terminal needs it

        with Live(
            get_renderable=lambda: live_lines(pace, language, console.width),
            console=console,
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ):
            yield
        return
    printing = asyncio.create_task(_print_lines(pace, screen))
    try:
        yield
    finally:
        printing.cancel()
        await asyncio.wait([printing])


async def _print_lines(pace: Pace, screen: Screen) -> None:
    while True:
        await asyncio.sleep(_SECONDS_BETWEEN_LINES)
        screen.progress.print(plain_line(pace, screen.language), soft_wrap=True)


def plain_line(pace: Pace, language: Language) -> str:
    """Return the progress in one line."""
    left = _left(pace, language)
    counts = (f"{word} {count}" for word, count in _counts(pace.tally, language))
    return ", ".join(
        [_done(pace, language), _rate(pace, language), *counts, *([left] if left else [])]
    )


def live_lines(pace: Pace, language: Language, width: int) -> RenderableType:
    """Return the progress: a line with a bar, and as many lines as the counts take."""
    from rich.progress_bar import ProgressBar  # noqa: PLC0415  # only a terminal needs it

    bar = ProgressBar(
        total=pace.expected,
        completed=pace.tally.total,
        pulse=pace.expected is None,
        animation_time=pace.seconds,
    )
    first = Table.grid(padding=(0, 2), expand=True)
    first.add_column(ratio=1)
    for _ in range(3):
        first.add_column(no_wrap=True)
    first.add_row(bar, _done(pace, language), _rate(pace, language), _left(pace, language))
    counts = [f"{word} {count}" for word, count in _counts(pace.tally, language)]
    return Group(first, *(Line(line, no_wrap=True) for line in _packed(counts, width)))


def _packed(parts: Iterable[str], width: int) -> list[str]:
    """Put parts into lines that fit a width; a word and its count stay together."""
    lines: list[str] = []
    for part in parts:
        longer = f"{lines[-1]}  {part}" if lines else part
        if lines and cell_len(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines


def _done(pace: Pace, language: Language) -> str:
    if pace.expected is None:
        return text("done", count=pace.tally.total).said(language)
    return text("done_of", count=pace.tally.total, expected=pace.expected).said(language)


def _rate(pace: Pace, language: Language) -> str:
    return text("rate_now", rate=round(pace.rate)).said(language)


def _left(pace: Pace, language: Language) -> str:
    seconds = pace.seconds_left
    if seconds is None:
        return ""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return text("left", time=f"{hours}:{minutes:02}:{seconds:02}").said(language)


def _counts(tally: Tally, language: Language) -> list[tuple[str, str]]:
    always = [
        ("label_accepted", tally[RowStatus.ACCEPTED]),
        ("retried", tally.retried),
        ("label_rejected", tally[RowStatus.REJECTED]),
        ("label_unknown", tally[RowStatus.UNKNOWN]),
    ]
    seldom = [
        ("label_already_done", tally[RowStatus.ALREADY_DONE]),
        ("label_not_sent", tally[RowStatus.NOT_SENT]),
        ("label_held_back", tally[RowStatus.HELD_BACK]),
        ("label_invalid", tally[RowStatus.INVALID]),
    ]
    counted = [*always, *((key, count) for key, count in seldom if count)]
    return [(text(key).said(language), language.number(count)) for key, count in counted]
