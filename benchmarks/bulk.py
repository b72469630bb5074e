"""Measures `esms-async bulk` beside the naive script, rows and reruns, on one core.

The command reads the list twice (plan and send), keeps a ledger and writes results; the script
does neither plan nor ledger. Both are whole processes, started again each time.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import attrs

from benchmarks.processes import Cores, server_process
from benchmarks.server import CALM

_CONCURRENCY: Final = 64
_SEND: Final = "SendMultipleMessage_V4_post_json/"
_ENVIRON: Final = {"ESMS_API_KEY": "key", "ESMS_SECRET_KEY": "secret"}
_NO_BYTECODE: Final = "PYTHONDONTWRITEBYTECODE"
_FEW: Final = 10_000


@attrs.frozen
class Cost:
    """What one process took.

    Attributes:
        seconds: From its start to its end.
        cpu: Its processor time in seconds.
        peak: The most memory it took, in bytes.
    """

    seconds: float
    cpu: float
    peak: int


@attrs.frozen
class Round:
    """What each process took in one round.

    Attributes:
        naive: The naive script.
        bulk: The command with a ledger, results and the plan.
        rerun: The command again: every row is done.
        start: The command over a list of one row that is done.
    """

    naive: Cost
    bulk: Cost
    rerun: Cost
    start: Cost

    @property
    def beyond_start(self) -> float:
        """CPU seconds of the rerun beyond the start."""
        return max(1e-9, self.rerun.cpu - self.start.cpu)


@attrs.frozen
class BulkResult:
    """What some rounds showed; medians count.

    Attributes:
        rows: How many rows were sent.
        rounds: The rounds.
        few: The memory at 10,000 rows, in bytes; None if it was not measured.
        many: The same at `many_rows`.
        many_rows: How many rows that were.
    """

    rows: int
    rounds: tuple[Round, ...]
    few: int | None = None
    many: int | None = None
    many_rows: int = 0

    @property
    def ratio(self) -> float:
        """How many times as fast as the script the command is, by processor time."""
        return statistics.median(each.naive.cpu / each.bulk.cpu for each in self.rounds)

    @property
    def ratio_of_seconds(self) -> float:
        """The same by the clock."""
        return statistics.median(each.naive.seconds / each.bulk.seconds for each in self.rounds)

    @property
    def rerun_rate(self) -> float:
        """Rows that are done a second, beyond the start, by processor time."""
        return statistics.median(self.rows / each.beyond_start for each in self.rounds)

    @property
    def rerun_ratio(self) -> float:
        """How many times the script's own rate that is; a slower machine changes it little."""
        return statistics.median(each.naive.cpu / each.beyond_start for each in self.rounds)

    def lines(self) -> list[str]:
        """Return tables in Markdown."""
        shown = [
            "| process | CPU a row, µs | seconds |",
            "|---|---:|---:|",
            *(f"| {name} | {self._row(pick)} |" for name, pick in _PROCESSES.items()),
            "",
            "| figure | median |",
            "|---|---:|",
            f"| script over bulk, by CPU | {self.ratio:.2f} |",
            f"| script over bulk, by the clock | {self.ratio_of_seconds:.2f} |",
            f"| rerun, rows a second beyond the start | {self.rerun_rate:,.0f} |",
            f"| rerun over the script's rows a second | {self.rerun_ratio:.2f} |",
            f"| start, CPU seconds | {self._median(lambda each: each.start):.2f} |",
        ]
        if self.few is not None and self.many is not None:
            grown = (self.many - self.few) / 1e6
            at = f"memory at {self.many_rows:,} rows beyond that at 10,000, MB"
            shown.append(f"| {at} | {grown:.0f} |")
        return shown

    def _row(self, pick: Callable[[Round], Cost]) -> str:
        seconds = statistics.median(pick(each).seconds for each in self.rounds)
        return f"{self._median(pick) / self.rows * 1e6:.1f} | {seconds:.2f}"

    def _median(self, pick: Callable[[Round], Cost]) -> float:
        return statistics.median(pick(each).cpu for each in self.rounds)


_PROCESSES: Final[Mapping[str, Callable[[Round], Cost]]] = {
    "the script": lambda each: each.naive,
    "bulk": lambda each: each.bulk,
    "bulk again, every row done": lambda each: each.rerun,
}


def measure_bulk(
    rows: int, rounds: int, many: int, cores: Cores, tell: Callable[[str], None]
) -> BulkResult:
    """Measure the command and the script in turns.

    Args:
        rows: How many rows are sent.
        rounds: How often; the medians count.
        many: At how many rows the memory is measured beside that at 10,000; 0 for not at all.
        cores: Where the processes run.
        tell: Gets a line for each measurement.
    """
    done: list[Round] = []
    with tempfile.TemporaryDirectory() as folder, server_process(cores) as server:
        place, url = Path(folder), server.url(CALM)
        source, single = place / "list.csv", place / "single.csv"
        _write(source, rows)
        _write(single, 1)
        _run(_command(single, url), cores.client)
        for number in range(rounds):
            tell(f"bulk, round {number + 1}")
            script = [sys.executable, "-m", "benchmarks.naive_bulk", f"{url}{_SEND}"]
            script += [str(source), str(place / "naive.csv"), str(_CONCURRENCY)]
            naive = _run(script, cores.client)
            for left in place.glob("list.csv.ledger*"):
                left.unlink()
            bulk, rerun, start = (
                _run(_command(file, url), cores.client) for file in (source, source, single)
            )
            done.append(Round(naive, bulk, rerun, start))
        few = many_peak = None
        if many:
            tell("bulk, memory")
            few, many_peak = (_peak(place, url, count, cores) for count in (_FEW, many))
    return BulkResult(rows, tuple(done), few=few, many=many_peak, many_rows=many)


def _peak(place: Path, url: str, rows: int, cores: Cores) -> int:
    source = place / f"memory{rows}.csv"
    _write(source, rows)
    return _run(_command(source, url), cores.client).peak


def _command(source: Path, url: str) -> list[str]:
    results = source.with_suffix(".results.csv")
    words = [sys.executable, "-m", "esms_async", "bulk", str(source), "--base-url", url]
    return [*words, "--results", str(results), "--concurrency", str(_CONCURRENCY), "--quiet"]


def _write(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write("phone,content\n")
        file.writelines(
            f"0{900_000_000 + number * 89 % 100_000_000},{number % 1_000_000:06d} la ma xac minh\n"
            for number in range(rows)
        )


def _run(command: list[str], core: int | None) -> Cost:
    def pin() -> None:
        if core is not None:
            os.sched_setaffinity(0, {core})

    # As installed: an installer compiles the package, and the first run compiles a checkout.
    kept = {name: value for name, value in os.environ.items() if name != _NO_BYTECODE}
    environ: Mapping[str, str] = {**kept, **_ENVIRON}
    started = time.perf_counter()
    with subprocess.Popen(  # noqa: S603  # commands of this module
        command,
        env=environ,
        stdout=subprocess.DEVNULL,
        preexec_fn=pin,  # noqa: PLW1509  # no threads yet
    ) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command[2:5])} ended with {process.returncode}")
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Cost(time.perf_counter() - started, used.ru_utime + used.ru_stime, peak)
