"""The commands: each measures one thing and prints its tables; `all` also writes files."""

import contextlib
import sys
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, cast

import attrs
import click
from rich.console import Console

from benchmarks.bulk import measure_bulk
from benchmarks.compare import CALM_KEY, SCENARIOS, Effort, compare
from benchmarks.contestants import CONTESTANTS
from benchmarks.distributed import measure_cost
from benchmarks.machine import describe
from benchmarks.parts import Thoroughness, measure_parts
from benchmarks.picture import draw
from benchmarks.processes import choose_cores, event_loops
from benchmarks.prune import measure_prunes
from benchmarks.report import show, write
from benchmarks.reports import measure_reports
from benchmarks.results import Results
from benchmarks.storm import Storm, client_is_right, run_storm

_RESULTS: Final = Path(__file__).parent / "results"
_PICTURE: Final = "latest.svg"
_WIDTH_OF_FILES: Final = 120
_LOOPS: Final = tuple(event_loops())

_QUICK_EFFORT: Final = Effort(rounds=1, seconds=0.05, loops=_LOOPS, concurrency=(1, 8))
_QUICK_PARTS: Final = Thoroughness(calls=500, rounds=2, messages=12_000)
_QUICK_STORM: Final = Storm(messages=60, timeout=0.3)

_quick = click.option("--quick", is_flag=True, help="Tiny numbers, only to see that it runs.")
_rounds = click.option(
    "--rounds",
    type=click.IntRange(1),
    default=15,
    show_default=True,
    help="How many times each case is measured; the medians count.",
)
_seconds = click.option(
    "--seconds",
    type=click.FloatRange(0.01),
    default=0.4,
    show_default=True,
    help="How long one measurement takes.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measure esms_async beside the other ways to send.

    Speed is measured against a server in a process of its own; where the system allows it, server
    and client each have a core to themselves. Leave the machine alone meanwhile.
    """


@main.command("compare")
@click.option(
    "--scenario",
    "key",
    type=click.Choice(tuple(SCENARIOS)),
    default=CALM_KEY,
    show_default=True,
    help="Nothing fails; the same with a session cookie; 30 % of requests fail once; ledgers.",
)
@_rounds
@_seconds
@click.option(
    "--concurrency",
    type=click.IntRange(1),
    multiple=True,
    help="How many sends are under way at once; may be given again. The scenario's by default.",
)
@click.option(
    "--loop",
    "loops",
    type=click.Choice(_LOOPS),
    multiple=True,
    default=_LOOPS,
    show_default=True,
    help="An event loop; may be given again.",
)
@click.option(
    "--only",
    "contestants",
    type=click.Choice(tuple(CONTESTANTS)),
    multiple=True,
    help="A way to send; may be given again. The scenario's by default.",
)
@_quick
def compare_command(
    *,
    key: str,
    rounds: int,
    seconds: float,
    concurrency: tuple[int, ...],
    loops: tuple[str, ...],
    contestants: tuple[str, ...],
    quick: bool,
) -> None:
    """Messages per second, CPU time and latency of each way to send, side by side."""
    effort = Effort(rounds, seconds, loops, concurrency, contestants)
    cores = choose_cores()
    with _measuring() as tell:
        figures = compare(SCENARIOS[key], _QUICK_EFFORT if quick else effort, cores, tell)
    show(Results(describe(cores), _today(), figures={key: figures}), _console())


@main.command("parts")
@_quick
def parts_command(*, quick: bool) -> None:
    """What the parts of a send take: values, wire format, streaming, memory, import."""
    cores = choose_cores()
    with _measuring() as tell:
        parts = measure_parts(_QUICK_PARTS if quick else Thoroughness(), cores, tell)
    show(Results(describe(cores), _today(), parts=parts), _console())


@main.command("storm")
@click.option("--seed", type=int, default=Storm().seed, show_default=True, help="Of the storm.")
@click.option(
    "--messages",
    type=click.IntRange(1),
    default=Storm().messages,
    show_default=True,
    help="How many messages are sent.",
)
@_quick
def storm_command(*, seed: int, messages: int, quick: bool) -> None:
    """Phones reached twice and outcomes told wrongly in a storm of faults, by each way to send.

    Exits with 1 where EsmsClient reached a phone twice or told an outcome wrongly.
    """
    storm = attrs.evolve(_QUICK_STORM, seed=seed) if quick else Storm(seed, messages)
    with _measuring() as tell:
        rows = run_storm(storm, tell)
    show(Results(describe(choose_cores()), _today(), storm=rows), _console())
    if not client_is_right(rows):
        raise click.exceptions.Exit(1)


@main.command("distributed")
@_quick
def distributed_command(*, quick: bool) -> None:
    """Messages per second and CPU of workers on a queue, beside one process with that ledger.

    It starts a Redis server of its own.
    """
    with _measuring() as tell:
        messages, rounds = (300, 1) if quick else (4000, 5)
        costs = measure_cost(messages, rounds, choose_cores(), tell)
    click.echo("\n".join(costs.lines()))


@main.command("bulk")
@click.option("--rows", type=click.IntRange(1), default=50_000, show_default=True, help="Rows.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Rounds.")
@click.option(
    "--memory",
    type=click.IntRange(0),
    default=0,
    metavar="ROWS",
    help="Measure the memory at so many rows beside that at 10,000 too, as at 1000000.",
)
@click.option(
    "--write",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the tables to a file, too.",
)
@_quick
def bulk_command(*, rows: int, rounds: int, memory: int, path: Path | None, quick: bool) -> None:
    """The command `bulk`, with plan, ledger and results, over a naive script with csv in and out.

    Ratios are of processor time, which other work on the machine moves less than the clock.
    """
    cores = choose_cores()
    with _measuring() as tell:
        cost = measure_bulk(500 if quick else rows, 1 if quick else rounds, memory, cores, tell)
    tables = "\n".join(cost.lines())
    click.echo(tables)
    if path is not None:
        head = (
            "# `esms-async bulk` beside a naive script\n\n"
            f"{_today()}, {describe(cores)}; {cost.rows:,} rows, 64 at once, {len(cost.rounds)} "
            "rounds in turns, one core for the client, a gateway that answers at once. Repeat them "
            "with `python -m benchmarks bulk`. The script is `benchmarks/naive_bulk.py`: csv in "
            "and out, no retry, no plan, no ledger, no check.\n"
        )
        path.write_text(f"{head}\n{tables}\n", encoding="utf-8")


@main.command("reports")
@_quick
def reports_command(*, quick: bool) -> None:
    """Delivery reports a second that a service accepts, and their CPU time, by web framework.

    It starts a Redis server of its own.
    """
    with _measuring() as tell:
        rates = measure_reports(300 if quick else 20_000, choose_cores(), tell)
    for rate in rates:
        click.echo(
            f"{rate.framework}: {rate.accepted:.0f} reports/s accepted; accepted and handed on: "
            f"{rate.cpu:.0f} µs of CPU each"
        )


@main.command("prune")
@click.option(
    "--entries", type=click.IntRange(1), default=495_000, show_default=True, help="Of each ledger."
)
@_quick
def prune_command(*, entries: int, quick: bool) -> None:
    """The longest wait of a claim while a ledger is pruned, beside that of as many without.

    It starts a Redis server of its own.
    """
    with _measuring() as tell:
        waits = measure_prunes(1_000 if quick else entries, choose_cores(), tell)
    for each in waits:
        click.echo(
            f"{each.ledger}: {each.pruned} entries in {each.seconds:.1f} s; {each.claims} claims "
            f"meanwhile: {each.median * 1e3:.2f} ms in the median, {each.longest * 1e3:.1f} ms at "
            f"most; {each.alone * 1e3:.1f} ms at most without a prune"
        )


@main.command("all")
@_rounds
@_seconds
@click.option(
    "--results",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=_RESULTS,
    help="Where the files go; benchmarks/results by default.",
)
@_quick
def all_command(*, rounds: int, seconds: float, folder: Path, quick: bool) -> None:
    """Everything in one go, written as latest.json, latest.md and latest.svg.

    Exits with 1 where EsmsClient reached a phone twice or told an outcome wrongly.
    """
    effort = _QUICK_EFFORT if quick else Effort(rounds, seconds, _LOOPS)
    cores = choose_cores()
    with _measuring() as tell:
        results = Results(
            describe(cores),
            _today(),
            storm=run_storm(_QUICK_STORM if quick else Storm(), tell),
            figures={
                key: compare(scenario, effort, cores, tell) for key, scenario in SCENARIOS.items()
            },
            parts=measure_parts(_QUICK_PARTS if quick else Thoroughness(), cores, tell),
        )
    for path in (
        draw(results.figures[CALM_KEY], folder / _PICTURE),
        *write(results, folder, _PICTURE),
    ):
        click.echo(f"written: {path}", err=True)
    show(results, _console())
    if not client_is_right(results.storm):
        raise click.exceptions.Exit(1)


@contextlib.contextmanager
def _measuring() -> Generator[Callable[[str], None]]:
    """Tell, on a line of standard error that is written over, what is being measured.

    Nothing is drawn between two lines, so that the telling takes no time from what is measured.
    """
    terminal = sys.stderr.isatty()
    last = "start"

    def tell(what: str) -> None:
        nonlocal last
        last = what
        if terminal:
            click.echo(f"\r\x1b[2K{what}", err=True, nl=False)

    try:
        yield tell
    except Exception as error:
        first = _first(error)
        raise click.ClickException(f"{last}: {type(first).__name__}: {first}") from error
    finally:
        if terminal:
            click.echo("\r\x1b[2K", err=True, nl=False)


def _first(error: Exception) -> Exception:
    """Return the failure that brought the others of a group down."""
    if not isinstance(error, ExceptionGroup):
        return error
    return _first(cast("ExceptionGroup[Exception]", error).exceptions[0])


def _console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=_WIDTH_OF_FILES)


def _today() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}"
