"""What a job ends with: the table of outcomes, the first refused rows, the counts as JSON."""

from collections import defaultdict
from typing import Final

import attrs
from rich import box
from rich.table import Table
from rich.text import Text

from esms_async.cli.results import RowResult, RowStatus, Tally
from esms_async.cli.screen import Screen, printable

# What needs a person's eye most comes first.
_REFUSED: Final = (
    RowStatus.UNKNOWN,
    RowStatus.NOT_SENT,
    RowStatus.REJECTED,
    RowStatus.INVALID,
)
_SHOWN_OF_EACH = 5


class Refusals:
    """The first refused rows of each kind."""

    def __init__(self) -> None:
        self._first: defaultdict[RowStatus, list[RowResult]] = defaultdict(list)

    def add(self, result: RowResult) -> None:
        """Keep a result, where it is a refusal and among the first."""
        if result.status in _REFUSED and len(self._first[result.status]) < _SHOWN_OF_EACH:
            self._first[result.status].append(result)

    @property
    def kept(self) -> list[RowResult]:
        """Those that were kept, the gravest first, each kind by row."""
        return [
            result
            for status in _REFUSED
            for result in sorted(self._first[status], key=lambda result: result.row)
        ]


@attrs.frozen
class GatewayCount:
    """What an emulated gateway says itself.

    Attributes:
        accepted: How many messages it accepted.
        twice: How many of them reached a phone that had got the same message before.
    """

    accepted: int
    twice: int


@attrs.frozen
class Parts:
    """What a dry run found out about the texts.

    Attributes:
        parts: How many message parts would be sent and charged.
        unicode: How many messages need UCS-2.
    """

    parts: int
    unicode: int


def summary(tally: Tally, seconds: float) -> dict[str, int | float]:
    """Return the counts of a job for a program."""
    return {
        "total": tally.total,
        "accepted": tally[RowStatus.ACCEPTED],
        "deduplicated": tally.deduplicated,
        "already_done": tally[RowStatus.ALREADY_DONE],
        "rejected": tally[RowStatus.REJECTED],
        "not_sent": tally[RowStatus.NOT_SENT],
        "unknown": tally[RowStatus.UNKNOWN],
        "invalid": tally[RowStatus.INVALID],
        "seconds": round(seconds, 3),
    }


def print_outcomes(
    screen: Screen,
    tally: Tally,
    seconds: float,
    *,
    gateway: GatewayCount | None = None,
) -> None:
    """Print the table of outcomes.

    Args:
        screen: Where.
        tally: The counts.
        seconds: How long the job took.
        gateway: What the emulated gateway counts, where there is one.
    """
    table = _table()
    table.add_row("accepted", _count(tally[RowStatus.ACCEPTED], "green"))
    table.add_row("  of these retried", _count(tally.retried), style="dim")
    table.add_row("  of these deduplicated", _count(tally.deduplicated), style="dim")
    if tally[RowStatus.ALREADY_DONE]:
        table.add_row("already done", _count(tally[RowStatus.ALREADY_DONE], "green"))
    table.add_row("rejected", _count(tally[RowStatus.REJECTED], "red"))
    table.add_row("not sent", _count(tally[RowStatus.NOT_SENT], "red"))
    table.add_row("unknown", _count(tally[RowStatus.UNKNOWN], "bold red"))
    if tally.duplicates:
        table.add_row("  of these code 124", _count(tally.duplicates), style="dim")
    table.add_row("invalid", _count(tally[RowStatus.INVALID], "red"), end_section=True)
    table.add_row("total", _count(tally.total, "bold"))
    screen.human.print(table)
    rate = tally.sent / seconds if seconds > 0 else 0.0
    screen.say(f"{seconds:.2f} s, {rate:,.0f} msgs/s")
    if gateway is not None:
        screen.say(
            f"By the gateway's own count: {gateway.accepted:,} accepted, "
            f"{gateway.twice:,} reached a phone twice",
            "bold red" if gateway.twice else "",
        )


def print_check(screen: Screen, tally: Tally, parts: Parts) -> None:
    """Print the table of a dry run."""
    table = _table()
    table.add_row("can be sent", _count(tally[RowStatus.CHECKED], "green"))
    table.add_row("  of these with diacritics", _count(parts.unicode), style="dim")
    table.add_row("  message parts in all", _count(parts.parts), style="dim")
    table.add_row("invalid", _count(tally[RowStatus.INVALID], "red"), end_section=True)
    table.add_row("total", _count(tally.total, "bold"))
    screen.human.print(table)
    screen.say("Dry run: nothing was sent.")


def print_refusals(screen: Screen, refusals: Refusals, tally: Tally, results: str | None) -> None:
    """Print the first refused rows, one line each.

    Args:
        screen: Where.
        refusals: The rows.
        tally: The counts.
        results: The path of the file that lists them all, or None.
    """
    kept = refusals.kept
    width = max((len(f"{result.row}") for result in kept), default=0)
    for result in kept:
        status, reason = result.status, printable(result.reason)
        for repeated in (f"{status} with ", f"{status}: "):
            reason = reason.removeprefix(repeated)
        line = Text(f"row {result.row:>{width}}  {status:<8}  {reason}")
        if screen.human.file.isatty():
            # Cut at the edge of the window, whose width a pipe does not have.
            screen.human.print(line, no_wrap=True, overflow="ellipsis")
        else:
            screen.human.print(line, soft_wrap=True)
    refused = sum(tally[status] for status in _REFUSED)
    if refused > len(kept):
        where = f"{results} lists" if results else "--results OUT.csv lists"
        screen.say(f"and {refused - len(kept):,} more; {where} every row")


def _table() -> Table:
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False, padding=(0, 1))
    table.add_column()
    table.add_column(justify="right")
    return table


def _count(count: int, style: str = "") -> Text:
    return Text(f"{count:,}", style if count else "")
