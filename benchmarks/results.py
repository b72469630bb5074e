"""The results of a run, and the bars that they are held against."""

from collections.abc import Iterator
from typing import Final

import attrs

from benchmarks.compare import CALM_KEY, LEDGERS_KEY, RETRIES_KEY, Figure
from benchmarks.contestants import (
    ESMS,
    MEMORY_LEDGER,
    REDIS_LEDGER,
    SQLITE_LEDGER,
    TENACITY,
)
from benchmarks.load import Case, Run
from benchmarks.machine import Machine
from benchmarks.parts import IMPORT, MEMORY, SEND_MANY, Part
from benchmarks.storm import StormRow


@attrs.frozen
class Results:
    """Everything that one run measured; what it did not measure is empty.

    Attributes:
        machine: What it ran on.
        date: The day it began on, as YYYY-MM-DD.
        storm: The storm of faults.
        figures: The figures of each scenario, by its key.
        parts: The parts of a send.
    """

    machine: Machine
    date: str
    storm: list[StormRow] = attrs.field(factory=list[StormRow])
    figures: dict[str, list[Figure]] = attrs.field(factory=dict[str, list[Figure]])
    parts: list[Part] = attrs.field(factory=list[Part])


@attrs.frozen
class Bar:
    """A bar, and the figure that is held against it.

    Attributes:
        name: What is held against it.
        value: The measured value.
        limit: The bar.
        at_least: True where the value is to be at least the limit, False where at most.
        unit: The unit of both.
    """

    name: str
    value: float
    limit: float
    at_least: bool
    unit: str

    @property
    def met(self) -> bool:
        """True where the value keeps to the limit."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


_TIMES: Final = "times"
_OVER_NAIVE: Final = {"asyncio": 1.2, "uvloop": 1.3}
_CPU_OVER_SEND: Final = 1.5
_MOST_OF_PART: Final = {SEND_MANY: 10.0, MEMORY: 10.0, IMPORT: 40.0}

# µs a message of the client's CPU over a send without a ledger, by how many are under way.
_CPU_OF_LEDGER: Final = {
    (MEMORY_LEDGER, 32): 12.0,
    (MEMORY_LEDGER, 100): 12.0,
    (SQLITE_LEDGER, 32): 42.0,
    (SQLITE_LEDGER, 100): 28.0,
    (REDIS_LEDGER, 32): 45.0,
    (REDIS_LEDGER, 100): 40.0,
}
_CPU_OF_REDIS: Final = 35.0
_SQLITE_ALONE: Final = 950.0
_REDIS_ALONE: Final = 350.0


def bars(results: Results) -> list[Bar]:
    """Hold the results against the bars.

    Args:
        results: The results.

    Returns:
        A bar for each figure that was measured and has one.
    """
    return [
        *_speed_bars(results.figures.get(CALM_KEY, [])),
        *_retry_bars(results.figures.get(RETRIES_KEY, [])),
        *_ledger_bars(results.figures.get(LEDGERS_KEY, [])),
        *_part_bars(results.parts),
    ]


def _speed_bars(figures: list[Figure]) -> Iterator[Bar]:
    of_case = {figure.case: figure for figure in figures}

    def times(contestant: str, loop: str, concurrency: int) -> Run | None:
        figure = of_case.get(Case(contestant, loop, concurrency))
        return None if figure is None else figure.times

    for loop, limit in _OVER_NAIVE.items():
        for concurrency in (1, 32, 100):
            if (over := times(ESMS, loop, concurrency)) is None:
                continue
            if concurrency > 1:
                name = f"messages/s over aiohttp, {loop}, {concurrency} at once"
                yield Bar(name, over.rate, limit, at_least=True, unit=_TIMES)
            name = f"CPU of aiohttp over that of send, {loop}, {concurrency} at once"
            yield Bar(name, 1 / over.cpu, _CPU_OVER_SEND, at_least=True, unit=_TIMES)
            if concurrency == 1:
                name = f"median latency over that of aiohttp, {loop}, 1 at once"
                yield Bar(name, over.p50, 1.0, at_least=False, unit=_TIMES)
        one, other = times(ESMS, loop, 32), times(TENACITY, loop, 32)
        if one is not None and other is not None:
            name = f"messages/s over aiohttp + tenacity, {loop}, 32 at once"
            yield Bar(name, one.rate / other.rate, 2.0, at_least=True, unit=_TIMES)


def _retry_bars(retries: list[Figure]) -> Iterator[Bar]:
    for figure in retries:
        if figure.case.contestant == ESMS and figure.times is not None:
            name = (
                "messages/s over aiohttp + tenacity while 30 % of requests fail once, "
                f"{figure.case.loop}, {figure.case.concurrency} at once"
            )
            yield Bar(name, figure.times.rate, 1.5, at_least=True, unit=_TIMES)


def _ledger_bars(figures: list[Figure]) -> Iterator[Bar]:
    of_case = {figure.case: figure for figure in figures if figure.case.loop == "asyncio"}

    def figure(contestant: str, concurrency: int) -> Figure | None:
        return of_case.get(Case(contestant, "asyncio", concurrency))

    for (ledger, concurrency), limit in _CPU_OF_LEDGER.items():
        one = figure(ledger, concurrency)
        if one is not None and one.beyond is not None:
            name = f"CPU a message over none, {ledger}, asyncio, {concurrency} at once"
            yield Bar(name, one.beyond.cpu * 1e6, limit, at_least=False, unit="µs")
        if one is not None and ledger == REDIS_LEDGER:
            name = f"CPU of the Redis server a message, asyncio, {concurrency} at once"
            yield Bar(name, one.run.redis_cpu * 1e6, _CPU_OF_REDIS, at_least=False, unit="µs")
    if (one := figure(SQLITE_LEDGER, 1)) is not None:
        name = f"time of a send, {SQLITE_LEDGER}, asyncio, 1 at once"
        yield Bar(name, one.run.mean * 1e6, _SQLITE_ALONE, at_least=False, unit="µs")
    if (one := figure(REDIS_LEDGER, 1)) is not None and one.beyond is not None:
        name = f"time of a send over none, {REDIS_LEDGER}, asyncio, 1 at once"
        yield Bar(name, one.beyond.mean * 1e6, _REDIS_ALONE, at_least=False, unit="µs")


def _part_bars(parts: list[Part]) -> Iterator[Bar]:
    for part in parts:
        for start, limit in _MOST_OF_PART.items():
            if part.name.startswith(start):
                yield Bar(part.name, part.value, limit, at_least=False, unit=part.unit)
