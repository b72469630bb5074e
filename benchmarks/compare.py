"""Measures cases side by side: interleaved rounds, of which the medians count."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from operator import sub
from statistics import median
from typing import Final

import attrs

from benchmarks.contestants import (
    BARE_MEMORY,
    BARE_REDIS,
    BARE_SQLITE,
    CONTESTANTS,
    ESMS,
    FLOOR,
    MEMORY_LEDGER,
    NAIVE,
    REDIS_LEDGER,
    SQLITE_LEDGER,
    TENACITY,
)
from benchmarks.load import Case, Run, run
from benchmarks.processes import Cores, measured_process, redis_process, server_process
from benchmarks.server import CALM, FLAKY, SESSION

Tell = Callable[[str], None]
"""Gets a line that says what is measured now."""


@attrs.frozen
class Scenario:
    """The circumstances of a comparison.

    Attributes:
        title: What they are.
        folder: The server's folder that makes them.
        baseline: The key of the contestant that the others are compared with.
        contestants: The keys of the contestants.
        concurrency: The numbers of sends under way at once.
    """

    title: str
    folder: str
    baseline: str
    contestants: tuple[str, ...]
    concurrency: tuple[int, ...]


CALM_KEY: Final = "calm"
RETRIES_KEY: Final = "retries"
LEDGERS_KEY: Final = "ledgers"
SCENARIOS: Final = {
    CALM_KEY: Scenario(
        "Nothing fails",
        CALM,
        NAIVE,
        # Those of which the ratios are held against bars are measured one after the other.
        (NAIVE, ESMS, TENACITY, FLOOR, "aiohttp-retry", "stamina", "httpx"),
        (1, 32, 100, 500),
    ),
    "session": Scenario(
        "Nothing fails, and the server sets a session cookie",
        SESSION,
        NAIVE,
        (NAIVE, ESMS, TENACITY),
        (32, 100),
    ),
    RETRIES_KEY: Scenario(
        "30 % of requests fail once with HTTP 503", FLAKY, TENACITY, (TENACITY, ESMS), (32,)
    ),
    LEDGERS_KEY: Scenario(
        "Nothing fails, without and with a ledger",
        CALM,
        ESMS,
        (
            *(ESMS, MEMORY_LEDGER, BARE_MEMORY, SQLITE_LEDGER, BARE_SQLITE),
            *(REDIS_LEDGER, BARE_REDIS),
        ),
        (1, 32, 100),
    ),
}
"""Every scenario, by its key."""


@attrs.frozen
class Effort:
    """How much is measured.

    Attributes:
        rounds: How many times each case is measured.
        seconds: How long each measurement takes.
        loops: The event loops.
        concurrency: The numbers of sends under way at once; the scenario's where there are none.
        contestants: The keys of the contestants; the scenario's where there are none.
    """

    rounds: int
    seconds: float
    loops: tuple[str, ...]
    concurrency: tuple[int, ...] = ()
    contestants: tuple[str, ...] = ()


@attrs.frozen
class Figure:
    """The medians of a case over its rounds.

    Attributes:
        case: What was measured.
        run: The median of each measured value.
        times: The median of each value over the baseline's value in the same round, which outlasts
            the machine's moods; None without a baseline.
        beyond: The median of each value less the baseline's value in the same round; None without
            a baseline.
    """

    case: Case
    run: Run
    times: Run | None
    beyond: Run | None


def compare(scenario: Scenario, effort: Effort, cores: Cores, tell: Tell) -> list[Figure]:
    """Measure the contestants of a scenario side by side.

    Args:
        scenario: The circumstances.
        effort: How much is measured.
        cores: Where the processes are pinned.
        tell: Gets a line for each measurement.

    Returns:
        The figures, beside the scenario's baseline.
    """
    cases = [
        Case(contestant, loop, concurrency)
        for loop in effort.loops
        for concurrency in effort.concurrency or scenario.concurrency
        for contestant in effort.contestants or scenario.contestants
    ]
    runs: dict[Case, list[Run]] = {case: [] for case in cases}
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(server_process(cores))
        redis = None
        if any(case.contestant in {REDIS_LEDGER, BARE_REDIS} for case in cases):
            redis = stack.enter_context(redis_process(cores))
        process = stack.enter_context(measured_process(cores))
        url = server.url(scenario.folder)
        for case in _interleaved(cases, effort.rounds, tell):
            measured = process.submit(run, case, url, effort.seconds, server.pid, redis)
            runs[case].append(measured.result())
    figures: list[Figure] = []
    for case, of_case in runs.items():
        baseline = runs.get(attrs.evolve(case, contestant=scenario.baseline))
        times, beyond = (_beside(of_case, baseline, compared) for compared in (_over, sub))
        figures.append(Figure(case, _median(of_case), times, beyond))
    return figures


def _interleaved(cases: Sequence[Case], rounds: int, tell: Tell) -> Iterator[Case]:
    """Give all cases once a round, in turn forwards and backwards, so that no drift favours one."""
    for number in range(rounds):
        for case in cases if number % 2 == 0 else cases[::-1]:
            tell(
                f"round {number + 1} of {rounds}: {CONTESTANTS[case.contestant].label}, "
                f"{case.loop}, {case.concurrency} at once"
            )
            yield case


def _median(runs: Sequence[Run]) -> Run:
    return Run(*map(median, zip(*map(attrs.astuple, runs), strict=True)))


def _beside(
    runs: Sequence[Run], baseline: Sequence[Run] | None, compared: Callable[[float, float], float]
) -> Run | None:
    """Return the medians of what each round shows beside the baseline."""
    if baseline is None:
        return None
    return _median(
        [
            Run(*map(compared, attrs.astuple(one), attrs.astuple(other)))
            for one, other in zip(runs, baseline, strict=True)
        ]
    )


def _over(one: float, other: float) -> float:
    """Divide; a server that was not there took no time from either."""
    return one / other if other else 0.0
