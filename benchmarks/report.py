"""Puts results into tables, for a terminal and for the files that are checked in."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.compare import SCENARIOS, Figure, Scenario
from benchmarks.contestants import CONTESTANTS, REDIS_LEDGER
from benchmarks.machine import Machine
from benchmarks.parts import Part
from benchmarks.results import Bar, Results, bars
from benchmarks.storm import StormRow


@attrs.frozen
class Table:
    """A table; its first column holds words, the others figures.

    Attributes:
        title: What it shows.
        header: The heads of the columns.
        rows: The rows.
        note: What has to be known to read it.
    """

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    note: str = ""


def tables(results: Results) -> Iterator[Table]:
    """Make a table of each kind of result that there is.

    Args:
        results: The results.

    Yields:
        The tables.
    """
    if results.storm:
        yield _storm_table(results.storm)
    if held := bars(results):
        yield _bar_table(held)
    for key, figures in results.figures.items():
        yield from _speed_tables(SCENARIOS[key], figures)
    if results.parts:
        yield _part_table(results.parts)


def show(results: Results, console: Console) -> None:
    """Print the tables of some results.

    Args:
        results: The results.
        console: Where they are printed.
    """
    for table in tables(results):
        shown = RichTable(title=table.title, title_justify="left", caption_justify="left")
        shown.caption = table.note or None
        for position, head in enumerate(table.header):
            shown.add_column(head, justify="right" if position else "left")
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
    console.print(_machine_line(results.machine))


def write(results: Results, folder: Path, picture: str | None) -> list[Path]:
    """Write results as JSON and as Markdown.

    Args:
        results: The results.
        folder: Where `latest.json` and `latest.md` go.
        picture: The name of a picture in the same folder that the Markdown shows.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    as_json, as_markdown = folder / "latest.json", folder / "latest.md"
    values = {
        **attrs.asdict(results),
        "bars": [{**attrs.asdict(bar), "met": bar.met} for bar in bars(results)],
    }
    as_json.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    as_markdown.write_text(_markdown(results, picture), encoding="utf-8")
    return [as_json, as_markdown]


def _markdown(results: Results, picture: str | None) -> str:
    sections = [
        "# Benchmarks of esms_async",
        f"{results.date}, {_machine_line(results.machine)}",
        "Repeat them with `python -m benchmarks all`.",
    ]
    if picture is not None:
        sections.append(f"![Messages per second over those of aiohttp]({picture})")
    for table in tables(results):
        lines = [_line(table.header), "|---|" + "---:|" * (len(table.header) - 1)]
        lines += [_line(row) for row in table.rows]
        sections.append(f"## {table.title}\n\n" + "\n".join(lines))
        if table.note:
            sections.append(table.note)
    return "\n\n".join(sections) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _machine_line(machine: Machine) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    cores = "client and server pinned to a core each" if machine.pinned else "nothing pinned"
    return (
        f"{machine.cpu}, {machine.cores} cores ({cores}), {machine.system}, {machine.python}; "
        f"{versions}."
    )


def _storm_table(rows: list[StormRow]) -> Table:
    return Table(
        "A storm of faults",
        (
            "way to send",
            "phones reached twice",
            "outcomes told wrongly",
            "told unknown",
            "requests",
            "seconds",
        ),
        [
            (
                row.way,
                str(row.twice),
                str(row.wrong),
                str(row.unknown),
                str(row.requests),
                f"{row.seconds:.1f}",
            )
            for row in rows
        ],
        "Every way meets the same faults, before and after the gateway accepts. A word is wrong "
        "where the phone got nothing after success, or got the message after failure.",
    )


def _bar_table(held: list[Bar]) -> Table:
    return Table(
        "EsmsClient against its bars",
        ("figure", "measured", "bar", "met"),
        [
            (
                bar.name,
                f"{bar.value:.2f} {bar.unit}",
                f"{'≥' if bar.at_least else '≤'} {bar.limit:g} {bar.unit}",
                "yes" if bar.met else "no",
            )
            for bar in held
        ],
    )


def _speed_tables(scenario: Scenario, figures: list[Figure]) -> Iterator[Table]:
    baseline = CONTESTANTS[scenario.baseline].label
    for loop in dict.fromkeys(figure.case.loop for figure in figures):
        of_loop = [figure for figure in figures if figure.case.loop == loop]
        busiest = max(figure.run.server_busy for figure in of_loop)
        yield Table(
            f"{scenario.title}: {loop}",
            (
                "way to send",
                "at once",
                "messages/s",
                f"over {baseline}",
                "CPU µs",
                "p50 ms",
                "p99 ms",
            ),
            [_speed_row(figure) for figure in of_loop],
            f"CPU µs: CPU time of the client process a message. The server process was busy for at "
            f"most {busiest:.0%} of a run.{_redis_note(of_loop)}",
        )


def _redis_note(figures: list[Figure]) -> str:
    told = [
        f"{figure.run.redis_cpu * 1e6:.0f} µs at {figure.case.concurrency}"
        for figure in figures
        if figure.case.contestant == REDIS_LEDGER
    ]
    return f" CPU time of the Redis server a message: {', '.join(told)}." if told else ""


def _speed_row(figure: Figure) -> tuple[str, ...]:
    return (
        CONTESTANTS[figure.case.contestant].label,
        str(figure.case.concurrency),
        f"{figure.run.rate:,.0f}",
        "" if figure.times is None else f"{figure.times.rate:.2f}",
        f"{figure.run.cpu * 1e6:.0f}",
        f"{figure.run.p50 * 1e3:.2f}",
        f"{figure.run.p99 * 1e3:.2f}",
    )


def _part_table(parts: list[Part]) -> Table:
    return Table(
        "Parts",
        ("part", "value"),
        [(part.name, f"{part.value:.2f} {part.unit}") for part in parts],
    )
