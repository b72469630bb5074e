"""Shows how far a job has come: two live lines on a terminal, else a plain line now and then."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import attrs
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from esms_async.cli.results import RowStatus, Tally

_SECONDS_BETWEEN_LINES = 5.0


@attrs.frozen
class Pace:
    """How far a job has come, and how fast.

    Args:
        tally: The counts, which go on.
        fraction: Tells which fraction of the input has been read, or None.
        pulled: Tells how many rows have been read.
        clock: The time in seconds.
    """

    tally: Tally
    fraction: Callable[[], float | None]
    pulled: Callable[[], int]
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
    def expected(self) -> int | None:
        """How many rows there will be, as far as what was read tells; exact once all is read."""
        fraction = self.fraction()
        return round(self.pulled() / fraction) if fraction else None

    @property
    def exact(self) -> bool:
        """True where `expected` is no estimate."""
        return self.fraction() == 1

    @property
    def seconds_left(self) -> float | None:
        """How long the rest will take at this pace, or None where nobody knows."""
        done, expected = self.tally.total, self.expected
        # What earlier runs have done goes by so fast that it tells nothing of the rest.
        done_now = done - self.tally[RowStatus.ALREADY_DONE]
        if not done_now or expected is None:
            return None
        return self.seconds * max(0, expected - done) / done_now


@asynccontextmanager
async def shown(pace: Pace, console: Console) -> AsyncGenerator[None]:
    """Show the progress of a job for as long as the context lasts."""
    if console.file.isatty() and not console.is_dumb_terminal:
        with Live(
            get_renderable=lambda: live_lines(pace),
            console=console,
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ):
            yield
        return
    printing = asyncio.create_task(_print_lines(pace, console))
    try:
        yield
    finally:
        printing.cancel()
        await asyncio.wait([printing])


async def _print_lines(pace: Pace, console: Console) -> None:
    while True:
        await asyncio.sleep(_SECONDS_BETWEEN_LINES)
        console.print(plain_line(pace), soft_wrap=True)


def plain_line(pace: Pace) -> str:
    """Return the progress in one line."""
    left = _left(pace)
    return ", ".join(
        [
            f"{_done(pace)} done",
            f"{pace.rate:,.0f}/s",
            *(f"{word} {count:,}" for word, count in _counts(pace.tally)),
            *([left] if left else []),
        ]
    )


def live_lines(pace: Pace) -> RenderableType:
    """Return the progress in two lines that fit a terminal of 80 columns."""
    expected = pace.expected
    bar = ProgressBar(
        total=expected,
        completed=pace.tally.total,
        pulse=expected is None,
        animation_time=pace.seconds,
    )
    first = Table.grid(padding=(0, 2), expand=True)
    first.add_column(ratio=1)
    for _ in range(3):
        first.add_column(no_wrap=True)
    first.add_row(bar, f"{_done(pace)} done", f"{pace.rate:,.0f}/s", _left(pace))
    second = Text(
        "  ".join(f"{word} {count:,}" for word, count in _counts(pace.tally)),
        no_wrap=True,
        overflow="ellipsis",
    )
    return Group(first, second)


def _done(pace: Pace) -> str:
    expected = pace.expected
    if expected is None:
        return f"{pace.tally.total:,}"
    return f"{pace.tally.total:,} of {'' if pace.exact else 'about '}{expected:,}"


def _left(pace: Pace) -> str:
    seconds = pace.seconds_left
    if seconds is None:
        return ""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02} left"


def _counts(tally: Tally) -> list[tuple[str, int]]:
    always = [
        ("accepted", tally[RowStatus.ACCEPTED]),
        ("retried", tally.retried),
        ("rejected", tally[RowStatus.REJECTED]),
        ("unknown", tally[RowStatus.UNKNOWN]),
    ]
    seldom = [
        ("already done", tally[RowStatus.ALREADY_DONE]),
        ("not sent", tally[RowStatus.NOT_SENT]),
        ("invalid", tally[RowStatus.INVALID]),
    ]
    return [*always, *((word, count) for word, count in seldom if count)]
