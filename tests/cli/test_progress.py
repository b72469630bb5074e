"""The progress of a job."""

import asyncio
import io

import attrs
import pytest
from rich.console import Console

from esms_async.cli import progress
from esms_async.cli.progress import Pace, live_lines, plain_line, shown
from esms_async.cli.results import Tally
from esms_async.cli.rows import BulkRow, RowStatus
from esms_async.cli.screen import Screen
from esms_async.cli.words import Language

_ENGLISH = Language.ENGLISH


@attrs.define
class _Job:
    """A job that is as far as a test says."""

    expected: int | None = None
    now: float = 0.0
    tally: Tally = attrs.Factory(Tally)

    def pace(self) -> Pace:
        return Pace(self.tally, self.expected, lambda: self.now)

    def settle(self, count: int, status: RowStatus = RowStatus.ACCEPTED, attempts: int = 1) -> None:
        for _ in range(count):
            row = BulkRow(1, None).end(status)
            row.attempts = attempts
            self.tally.add(row)


def _shown(pace: Pace, width: int, language: Language = _ENGLISH) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(live_lines(pace, language, width))
    return capture.get().splitlines()


def test_a_job_that_has_just_begun() -> None:
    """Nothing done, no time gone and nothing known of the whole are no reason to fail."""
    pace = _Job().pace()
    assert plain_line(pace, _ENGLISH).startswith("0 done, 0/s, accepted 0, ")
    assert pace.seconds_left is None


def test_the_time_left_follows_from_the_plan() -> None:
    """A quarter of the rows done, and a tenth of a second a row, say how long the rest takes."""
    job = _Job(expected=4000)
    pace = job.pace()
    job.settle(900, attempts=2)
    job.settle(50, RowStatus.INVALID)
    job.settle(50, RowStatus.REJECTED)
    job.now = 100.0
    assert plain_line(pace, _ENGLISH) == (
        "1,000 of 4,000 done, 10/s, accepted 900, retried 900, rejected 50, unknown 0, "
        "invalid 50, 0:05:00 left"
    )


def test_the_whole_is_known_once_all_is_read() -> None:
    """When the input has ended, the number of rows is no estimate."""
    job = _Job(expected=40)
    pace = job.pace()
    job.settle(20)
    job.now = 3700.0
    assert plain_line(pace, _ENGLISH).startswith("20 of 40 done, 0/s, ")
    assert plain_line(pace, _ENGLISH).endswith(", 1:01:40 left")


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("expected", [None, 1_999_998])
def test_two_lines_fit_the_terminal(width: int, expected: int | None) -> None:
    """With counts of six digits nothing is cut, and nothing wraps."""
    job = _Job(expected=expected)
    pace = job.pace()
    for status in (RowStatus.ACCEPTED, RowStatus.ALREADY_DONE):
        job.tally.counts[status] = 999_999
    job.now = 100.0
    first, second = _shown(pace, width)
    assert len(first) <= width
    assert len(second) <= width
    assert "1,999,998" in first
    assert "10,000/s" in first
    assert second == "accepted 999,999  retried 0  rejected 0  unknown 0  already done 999,999"


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("language", ["en", "vi"])
def test_no_count_is_cut(width: int, language: str) -> None:
    """Where every count is there, they take one more line; a word stays with its count."""
    job = _Job(expected=20_000)
    pace = job.pace()
    for status in RowStatus:
        job.tally.counts[status] = 1_234
    job.now = 100.0
    shown = _shown(pace, width, Language(language))
    assert len(shown) == 3
    assert all(len(line) <= width for line in shown)
    counts = "  ".join(shown[1:])
    number = Language(language).number(1_234)
    assert all(part.endswith((f" {number}", " 0")) for part in counts.split("  "))
    assert counts.count(number) == len(RowStatus) - 1  # a dry run shows no progress


def test_what_was_done_before_tells_nothing_of_the_rest() -> None:
    """On a resume the time left goes by what this run has done."""
    job = _Job(expected=1000)
    pace = job.pace()
    job.settle(900, RowStatus.ALREADY_DONE, attempts=0)
    job.now = 10.0
    assert (pace.rate, pace.seconds_left) == (0, None)
    job.settle(10)
    assert (pace.rate, pace.seconds_left) == (1, 90)
    assert "already done 900" in plain_line(pace, _ENGLISH)


async def test_without_a_terminal_a_plain_line_comes_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A log file gets whole lines, and no control codes; nothing goes on when the job is over."""
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.001)
    told: asyncio.Queue[str] = asyncio.Queue()

    class Log(io.StringIO):
        def write(self, text: str) -> int:
            told.put_nowait(text)
            return len(text)

    screen = Screen()
    screen.progress = Console(file=Log(), width=80)
    async with shown(_Job().pace(), screen):
        lines = [await told.get(), await told.get()]
    assert all("0 done, 0/s" in line for line in lines)
    assert len(asyncio.all_tasks()) == 1
