"""The command `bulk` by way of a queue: with a real broker, a real ledger and real workers."""

import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from esms_async.emulator import Emulator
from esms_async.workers.outcomes import RedisOutcomes
from tests.cli.support import finish, listed_in, phones, write_csv, write_recipients
from tests.ledger.redis_server import RedisServer, free_port
from tests.limits import generous
from tests.workers.nats_server import NatsServer
from tests.workers.support import Workers, environment


class Bulk:
    """The command over one file, as a batch of its own."""

    def __init__(self, environ: Mapping[str, str], path: str, *options: str) -> None:
        self.environ = dict(environ)
        self.batch = environ["ESMS_QUEUE"]
        self._arguments = ("bulk", path, "--broker", environ["ESMS_BROKER_URL"], *options)

    async def start(self, *more: str) -> asyncio.subprocess.Process:
        """Start the command beside the test."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "esms_async", *self._arguments),
            *("--batch", self.batch, *more),
            env=self.environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *more: str) -> tuple[int | None, dict[str, float], str]:
        """Run it to its end; return its exit code, its counts above 0, what it said to people."""
        running = await self.start("--json", *more)
        out, err = await finish(running)
        counts = json.loads(out) if out else {}
        told = {name: n for name, n in counts.items() if n and name not in ("seconds", "total")}
        return running.returncode, told, err


async def test_workers_send_a_file_and_the_command_reports(
    environ: dict[str, str], emulated: Emulator, tmp_path: Path
) -> None:
    """Outcomes, results file and exit code are those of a local run, and so is running it again."""
    accepted = [f"{phone},686868 la ma" for phone in phones(300)]
    path = write_csv(tmp_path / "a.csv", [*accepted, "0900000099,blocked", "12,no phone"])
    listed = tmp_path / "out.csv"
    bulk = Bulk(environ, path, "--results", str(listed))
    async with Workers(environ, 2):
        code, counts, err = await bulk.run()
        assert (code, counts) == (1, {"accepted": 300, "rejected": 1, "invalid": 1})
        assert err.splitlines()[:3] == [
            f"Ledger: {environ['ESMS_LEDGER_URL']}",
            f"Workers of queue {bulk.batch!r} at {environ['ESMS_BROKER_URL'][7:]} send",
            f"Sending {path} as batch {bulk.batch!r}",
        ]
        assert "row 302 rejected code 99" in " ".join(err.split())
        assert "--retry-rejected" not in err
        assert {row["attempts"] for row in listed_in(listed)} == {"1", "0"}
        code, counts, _ = await bulk.run()
        assert (code, counts) == (1, {"already_done": 300, "rejected": 1, "invalid": 1})
    rows = listed_in(listed)
    assert sorted(int(row["row"]) for row in rows) == [*range(2, 304)]
    assert {row["sms_id"] for row in rows if row["status"] == "already done"} == {
        message.sms_id for message in emulated.messages
    }
    assert emulated.mark() == 300


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_an_interrupted_command_is_taken_up_again(
    environ: dict[str, str], emulated: Emulator, tmp_path: Path, number: signal.Signals
) -> None:
    """The same command goes on, whether it was asked to end or killed: no row goes out twice."""
    emulated.fault("delay:50ms")
    listed = tmp_path / "out.csv"
    path = write_recipients(tmp_path / "a.csv", 200)
    bulk = Bulk(environ, path, "--concurrency", "20", "--results", str(listed))
    async with Workers({**environ, "ESMS_CONCURRENCY": "4"}, 1):
        running = await bulk.start()
        await emulated.wait_for_request(count=30, timeout=generous(30))
        running.send_signal(number)
        out, err = await finish(running)
        assert running.returncode == (130 if number != signal.SIGKILL else -signal.SIGKILL)
        if number != signal.SIGKILL:
            assert err.startswith("Stopping: waiting for what is in flight")
            assert {row["status"] for row in listed_in(listed)} == {"accepted"}
            assert "To go on, run the same command again" in " ".join(out.split())
        emulated.clear_faults()
        code, counts, _ = await bulk.run()
    assert (code, sum(counts.values())) == (0, 200)
    assert counts["already_done"] > 0
    rows = listed_in(listed)
    assert sorted(int(row["row"]) for row in rows) == [*range(2, 202)]
    told = Counter(row["status"] for row in rows)
    assert told == {"already done": counts["already_done"], "accepted": counts["accepted"]}
    assert emulated.mark() == 200


async def test_a_second_interrupt_leaves_the_rows_to_the_workers(
    environ: dict[str, str], emulated: Emulator, tmp_path: Path
) -> None:
    """With no worker there the command ends all the same; a later run brings all rows out once."""
    path = write_recipients(tmp_path / "a.csv", 40)
    bulk = Bulk(environ, path, "--concurrency", "10")
    running = await bulk.start("--json")
    outcomes = RedisOutcomes(environ["ESMS_LEDGER_URL"], environ["ESMS_QUEUE"])
    while not await outcomes.latest_run(bulk.batch):  # noqa: ASYNC110  # it tells nobody
        await asyncio.sleep(0.02)
    await outcomes.aclose()
    running.send_signal(signal.SIGINT)
    assert running.stderr is not None
    while not (await running.stderr.readline()).startswith(b"Stopping: "):
        pass
    running.send_signal(signal.SIGINT)
    out, err = await finish(running)
    counts = json.loads(out)
    assert (running.returncode, counts["unknown"]) == (130, counts["total"])
    assert "Stopping now" in err
    async with Workers(environ, 1):
        code, told, _ = await bulk.run()
    # What was in the queue already is sent by the worker, before the command is back or after.
    assert (code, sum(told.values())) == (0, 40)
    assert set(told) <= {"accepted", "already_done"}
    assert emulated.mark() == 40


async def test_an_account_that_cannot_send_ends_the_job(
    environ: dict[str, str], emulated: Emulator, tmp_path: Path
) -> None:
    """The job stops with exit code 3; topped up, the same command finishes it."""
    emulated.balance = 850 * 30
    bulk = Bulk(environ, write_recipients(tmp_path / "a.csv", 100), "--concurrency", "8")
    async with Workers({**environ, "ESMS_CONCURRENCY": "4"}, 1):
        code, counts, err = await bulk.run()
        assert (code, counts["accepted"]) == (3, 30)
        assert counts["rejected"] <= 8
        assert "Stopped because the account can't send: rejected with code 103" in err
        emulated.balance = 10**9
        assert (await bulk.run())[:2] == (0, {"accepted": 70, "already_done": 30})
    assert emulated.mark() == 100


async def test_a_batch_that_is_taken_over_is_left(environ: dict[str, str], tmp_path: Path) -> None:
    """The same command started twice: the first says that another process has the batch."""
    bulk = Bulk(environ, write_recipients(tmp_path / "a.csv", 3))
    running = await bulk.start("--quiet")
    outcomes = RedisOutcomes(environ["ESMS_LEDGER_URL"], environ["ESMS_QUEUE"])
    while not await outcomes.latest_run(bulk.batch):  # noqa: ASYNC110  # it tells nobody
        await asyncio.sleep(0.02)
    await outcomes.begin_run(bulk.batch)
    await outcomes.aclose()
    _, err = await finish(running)
    assert running.returncode == 2
    assert err == f"esms-async: another process has taken over batch {bulk.batch!r}\n"


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"ESMS_LEDGER_URL": ""}, "set the environment variable ESMS_LEDGER_URL"),
        ({"ESMS_SECRET_KEY": ""}, "set ESMS_SECRET_KEY, by which rows are known again"),
        ({"ESMS_BROKER_URL": "memory://"}, "--broker memory:// has no workers"),
        ({"ESMS_BROKER_URL": "http://x"}, "--broker must begin with nats://"),
    ],
)
async def test_what_is_not_set_is_one_line(
    environ: dict[str, str], tmp_path: Path, variables: dict[str, str], problem: str
) -> None:
    """A setting that is missing or cannot work is named, and nothing is put in."""
    bulk = Bulk({**environ, **variables}, write_recipients(tmp_path / "a.csv", 1))
    code, counts, err = await bulk.run()
    (line,) = err.splitlines()
    assert (code, counts) == (2, {})
    assert line.startswith(f"esms-async: {problem}")


@pytest.mark.parametrize(
    "option",
    [
        *(["--rate", "5"], ["--ledger", "x"], ["--no-ledger"], ["--retry-rejected"]),
        *(["--emulator"], ["--base-url", "http://127.0.0.1:1"], ["--sandbox"]),
    ],
)
async def test_what_workers_decide_is_no_option(
    environ: dict[str, str], tmp_path: Path, option: list[str]
) -> None:
    """An option that has no meaning where workers send is refused by its name."""
    bulk = Bulk(environ, write_recipients(tmp_path / "a.csv", 1), *option)
    code, _, err = await bulk.run()
    (line,) = err.splitlines()
    assert code == 2
    assert line.startswith(f"esms-async: --broker and {option[0]} exclude each other")


async def test_rows_with_a_key_need_no_secret(
    environ: dict[str, str], emulated: Emulator, tmp_path: Path
) -> None:
    """The machine that fills the queue holds none of the account's keys, nor the workers' URLs."""
    rows = [f"{phone},hi,{number}" for number, phone in enumerate(phones(5))]
    path = write_csv(tmp_path / "a.csv", rows, "phone,content,order")
    without = {k: v for k, v in environ.items() if k not in ("ESMS_API_KEY", "ESMS_SECRET_KEY")}
    async with Workers(environ, 1):
        code, counts, _ = await Bulk(without, path, "--key", "order").run()
    assert (code, counts) == (0, {"accepted": 5})
    assert emulated.mark() == 5


@pytest.mark.endurance
async def test_a_broker_that_is_away_is_one_line(environ: dict[str, str], tmp_path: Path) -> None:
    """Who can't reach the broker is told so, and nothing was put in."""
    away = {**environ, "ESMS_BROKER_URL": f"nats://127.0.0.1:{free_port()}"}
    code, counts, err = await Bulk(away, write_recipients(tmp_path / "a.csv", 1)).run()
    assert (code, counts) == (2, {})
    assert err == "esms-async: the broker can't be reached (TimeoutError)\n"


async def test_a_ledger_that_is_away_is_one_line(environ: dict[str, str], tmp_path: Path) -> None:
    """Who can't reach Redis is told so, and nothing was put in."""
    away = {**environ, "ESMS_LEDGER_URL": f"redis://127.0.0.1:{free_port()}"}
    code, counts, err = await Bulk(away, write_recipients(tmp_path / "a.csv", 1)).run()
    (line,) = err.splitlines()
    assert (code, counts) == (2, {})
    assert line.startswith("esms-async: the ledger on Redis")


@pytest.mark.endurance
async def test_servers_that_come_back_cost_no_row(tmp_path: Path, emulated: Emulator) -> None:
    """Broker and Redis are killed in the middle and come back; every row is accepted once."""
    kept = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
    with NatsServer() as nats, RedisServer(kept) as redis:
        environ = environment(nats.url, redis.url, emulated.url, ESMS_QUEUE="lost")
        emulated.fault("delay:20ms")
        bulk = Bulk(environ, write_recipients(tmp_path / "a.csv", 400), "--concurrency", "20")
        async with Workers({**environ, "ESMS_CONCURRENCY": "4"}, 1):
            running = await bulk.start("--json")
            for server in (nats, redis):
                await emulated.wait_for_request(
                    count=len(emulated.requests) + 50, timeout=generous(30)
                )
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
            out, _ = await finish(running)
        assert (running.returncode, json.loads(out)["accepted"]) == (0, 400)
    assert emulated.mark() == 400
