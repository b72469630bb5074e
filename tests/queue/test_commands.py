"""The commands `queue` and `bulk --queue`, on a real server."""

import asyncio
import contextlib
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from esms_async import Credentials, EsmsClient, Message
from esms_async.cli.app import run
from esms_async.cli.errors import InputError
from esms_async.cli.queue_views import look_at
from esms_async.cli.queue_watch import obstacles, stopped_workers, watched
from esms_async.cli.running import loop_factory
from esms_async.cli.screen import Screen
from esms_async.cli.words import Language, advice_on, text
from esms_async.ledger import RedisLedger
from esms_async.queue import MessageQueue, QueueError
from esms_async.queue.streams import LEASE, QueueStreams
from tests.ledger.redis_server import RedisServer, free_port
from tests.queue.support import PATIENCE, Gateway, Workers, environment, messages, until, working


async def command(*arguments: str, environ: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Run a command in a process of its own; return its exit code and what it wrote."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "esms_async", *arguments),
        env=environ or environment("", "http://127.0.0.1:1/"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_dead_messages_are_listed_and_put_back(
    redis: RedisServer,
    gateway: Gateway,
    queue: MessageQueue,
) -> None:
    """`dead --json` is a list with reasons; `requeue` has them tried again."""
    at = ("--queue", redis.url)
    assert json.loads((await command("queue", "dead", *at, "--json"))[1]) == []
    with redis.client() as client:
        for _ in range(3):
            client.xadd("esms:queue:bulk", {"r": "r1", "m": "?"})
    async with working(redis.url, gateway.url) as running:
        await until(lambda: running.statuses["dead"] == 3)
    found: list[dict[str, Any]] = json.loads((await command("queue", "dead", *at, "--json"))[1])
    assert [(each["request_id"], each["lane"]) for each in found] == [("r1", "bulk")] * 3
    assert all(each["reason"] and each["at"] for each in found)
    assert "r1: it is not a message" in (await command("queue", "dead", *at))[1]
    assert (await command("queue", "requeue", *at))[0] == 2
    code, _, err = await command("queue", "requeue", "nonsense", *at)
    assert code == 2
    assert "'nonsense' is no id of a dead message" in err
    assert (await command("queue", "requeue", found[0]["id"], "0-1", *at))[0] == 1
    code, out, _ = await command("queue", "requeue", "--all", "--json", *at)
    assert (code, json.loads(out)) == (0, {"requeued": 2})
    assert await queue.depth() == 3


async def test_dead_messages_are_dropped_by_id_or_all(redis: RedisServer) -> None:
    """A message that arrives while all are dropped stays, because nobody has seen it."""
    at = ("--queue", redis.url)
    with redis.client() as client:
        ids = [client.xadd("esms:queue:dead", {"lane": "otp", "r": "r"}) for _ in range(4)]
        assert (await command("queue", "drop", ids[0], "0-1", *at))[0] == 1
        code, out, _ = await command("queue", "drop", "--all", "--json", *at)
        assert (code, json.loads(out)) == (0, {"dropped": 3})
        assert client.xlen("esms:queue:dead") == 0
    code, out, _ = await command("queue", "drop", "--all", *at)
    assert (code, out) == (0, "0 deleted\n")
    code, _, err = await command("queue", "drop", *at)
    assert code == 2
    assert "or give --all" in err


async def test_the_ledger_of_a_named_queue_is_its_own(redis: RedisServer, gateway: Gateway) -> None:
    """ESMS_QUEUE_NAME names it; a ledger that is not there is said, and nothing else is changed."""
    environ = environment(redis.url, gateway.url, ESMS_QUEUE_NAME="second")
    for name, key in (("esms", "key of one"), ("second", "key of the other")):
        credentials = Credentials(key, "secret")
        ledger = RedisLedger(redis.url, prefix=f"{name}:send:")
        async with EsmsClient(credentials, base_url=gateway.url, ledger=ledger) as client:
            await client.send(Message("0901888484", f"{name} la ma", request_id=name))
    assert (await command("ledger", "show", redis.url, "second", environ=environ))[0] == 0
    assert (await command("ledger", "show", redis.url, "esms", environ=environ))[0] == 1
    with redis.client() as client:
        before = client.hgetall("esms:send:#facts")
        theirs = client.hgetall("second:send:#facts")
        assert (await command("ledger", "rebind", redis.url, "--yes", environ=environ))[0] == 0
        assert client.hgetall("esms:send:#facts") == before
        assert client.hgetall("second:send:#facts") != theirs
        environ["ESMS_QUEUE_NAME"] = "third"
        code, _, err = await command("ledger", "rebind", redis.url, "--yes", environ=environ)
        assert code == 2
        assert "holds no ledger of queue 'third'; set ESMS_QUEUE_NAME" in err
        assert not client.exists("third:send:#facts")


async def test_what_comes_while_dead_messages_are_dropped_stays(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came after the newest one that there was."""
    async with contextlib.aclosing(QueueStreams(redis.url, "esms")) as streams:
        run = streams.run
        await run("XADD", "dead", "5-0", "r", "r")

        async def run_late(*command: str | bytes, channel: str = "") -> object:
            if command[0] == "XTRIM":
                await run("XADD", "dead", "5-1", "r", "r")
            return await run(*command, channel=channel)

        monkeypatch.setattr(streams, "run", run_late)
        assert await streams.drop("dead") == 1
        assert await run("XLEN", "dead") == 1


async def test_status_pause_and_drain(
    redis: RedisServer,
    gateway: Gateway,
    queue: MessageQueue,
) -> None:
    """Status counts by lane; a paused queue is not drained, a resumed one is."""
    at = ("--queue", redis.url)
    assert (await command("queue", "pause", *at))[0] == 0
    await queue.put(messages(1)[0])
    with redis.client() as client:
        client.hset("esms:queue:breakers", "103", "top it up")
    async with working(redis.url, gateway.url) as running:
        # From now on each beat looks for what dead workers held, too, and needs places for that.
        running.worker._connected_at -= 2 * LEASE
        code, _, err = await command("queue", "drain", "--timeout", "0.3", *at)
        assert code == 1
        assert "queue 'esms' is paused; esms-async queue resume" in err
        assert "breaker 103 is open: top it up" in err
        status = json.loads((await command("queue", "status", *at, "--json"))[1])
        assert status["lanes"]["otp"]["waiting"] == status["depth"] == 1
        assert status["paused"] is True
        assert status["breakers"] == {"103": "top it up"}
        words = (await command("queue", "status", *at))[1]
        assert "otp: 1 waiting" in words
        assert "breaker 103 is open: top it up" in words
        assert (await command("queue", "resume", *at, "--json"))[0] == 0
        assert (await command("queue", "drain", *at))[0] == 0
    assert gateway.accepted.total() == 1


async def test_a_queue_that_is_not_there_is_one_line(redis: RedisServer) -> None:
    """No URL, and no server; a queue that no worker has seen is empty."""
    for options, expected in (((), 2), (("--queue", f"redis://127.0.0.1:{free_port()}"), 4)):
        code, _, err = await command("queue", "status", *options)
        assert (code, len(err.splitlines())) == (expected, 1)
    code, out, _ = await command("queue", "status", "--queue", redis.url, "--json")
    assert json.loads(out)["depth"] == code == 0


@pytest.mark.parametrize("arguments", [["queue", "status"], ["worker"], ["bulk", "a.csv"]])
def test_a_missing_library_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """The line says what to install."""
    for name in ("streams", "queue", "worker"):
        monkeypatch.setitem(sys.modules, f"esms_async.queue.{name}", None)
    monkeypatch.delitem(sys.modules, "esms_async.cli.health", raising=False)
    assert run([*arguments, "--queue", "redis://127.0.0.1:1"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


async def test_a_file_through_the_queue(
    redis: RedisServer,
    gateway: Gateway,
    tmp_path: Path,
) -> None:
    """Every row is sent by the workers, once, and reported as a local run does."""
    path = tmp_path / "a.csv"
    rows = "".join(f"091100000{number},{number} la ma\n" for number in range(5))
    path.write_text(f"phone,content\n{rows}", encoding="utf-8")
    arguments = ("bulk", str(path), "--queue", redis.url, "--json", "--quiet")
    environ = environment(redis.url, gateway.url)
    async with working(redis.url, gateway.url):
        code, out, _ = await command(*arguments, environ=environ)
    assert code == 0
    assert json.loads(out)["accepted"] == 5
    assert set(gateway.accepted.values()) == {1}
    code, _, err = await command(*arguments, "--rate", "5", environ=environ)
    assert code == 2
    assert "--queue and --rate exclude each other" in err


async def test_a_worker_runs_on_uvloop(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue
) -> None:
    """It sends as on asyncio, and ends in good order."""
    async with Workers(environment(redis.url, gateway.url), 1, "--loop", "uvloop") as workers:
        await queue.put(messages(1)[0])
        await until(lambda: gateway.accepted.total() == 1)
        await workers.terminate_one()


def test_a_loop_is_chosen_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where uvloop is missing, the error says what to install."""
    chosen = loop_factory("uvloop")
    assert chosen is not None
    with contextlib.closing(chosen()) as loop:
        assert type(loop).__module__.startswith("uvloop")
    assert loop_factory("asyncio") is None
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(InputError) as caught:
        loop_factory("uvloop")
    assert caught.value.words == text("uvloop_extra")


def test_a_remedy_that_names_no_code_is_shown_as_the_worker_wrote_it() -> None:
    """What it says of a code is in the reader's language, with the advice of the catalogue."""
    found = {"away": "the server is away", "103": "code 103: the balance is used up. Top it up"}
    state = {
        "name": "esms",
        "workers": ["w", "v"],
        "stopped": {"w": "key", "v": "103"},
        "paused": False,
        "out_of_memory": False,
        "breakers": found,
    }
    away, code, stopped = obstacles(state, Language.VIETNAMESE)
    assert away == text("breaker", name="away", remedy=text("says", problem="the server is away"))
    advice = advice_on("103", Language.VIETNAMESE)
    remedy = text("breaker_code", code="103", advice=advice)
    assert code == text("breaker", name="103", remedy=remedy)
    assert stopped == text("workers_stopped", count=1, breakers="key", workers=2, name="'esms'")
    # One that can send is enough for the queue to go on.
    state["stopped"] = {"w": "key"}
    assert stopped not in obstacles(state, Language.VIETNAMESE)
    assert stopped in stopped_workers(state)
    # Workers that can't say that they are there are no missing ones.
    state |= {"workers": [], "stopped": {}, "out_of_memory": True}
    assert obstacles(state, Language.VIETNAMESE)[0] == text("queue_full")


async def test_a_file_through_the_queue_says_what_it_waits_for_and_leaves_it_to_workers(
    redis: RedisServer, gateway: Gateway, tmp_path: Path
) -> None:
    """No worker runs, then one does; interrupted twice it ends, and workers send the rest."""
    path = tmp_path / "a.csv"
    rows = "".join(f"091100000{number},{number} la ma\n" for number in range(5))
    path.write_text(f"phone,content\n{rows}", encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "esms_async", "bulk", str(path), "--queue", redis.url, "--quiet"),
        env=environment(redis.url, gateway.url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None

    async def read_until(words: str) -> None:
        assert process.stderr is not None
        while words not in (line := (await process.stderr.readline()).decode()):
            assert line, f"{words!r} was not said"

    async with asyncio.timeout(PATIENCE):
        await read_until("no worker runs for queue 'esms'")
        gateway.answers.clear()
        async with working(redis.url, gateway.url):
            await read_until("the workers of queue 'esms' go on")
            process.send_signal(signal.SIGINT)
            await read_until("no further row goes into the queue")
            process.send_signal(signal.SIGINT)
            await read_until("Leaving what is in the queue to the workers")
            assert await process.wait() == 130
            gateway.answers.set()
            await until(lambda: gateway.accepted.total() == 5)
    assert set(gateway.accepted.values()) == {1}


async def test_a_server_without_memory_is_named(redis: RedisServer) -> None:
    """By the status, which else would say that no worker is there."""
    with redis.client() as client:
        client.config_set("maxmemory", "1")
        try:
            code, out, _ = await command("queue", "status", "--queue", redis.url)
        finally:
            client.config_set("maxmemory", "0")
    assert code == 0
    assert "the Redis server is out of memory" in out
    assert "out of memory" not in (await command("queue", "status", "--queue", redis.url))[1]


async def test_what_keeps_workers_from_sending_is_said_once(
    redis: RedisServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often the watch looks."""
    looks: list[dict[str, Any]] = []

    async def look(streams: QueueStreams) -> dict[str, Any]:
        looks.append(found := await look_at(streams))
        return found

    monkeypatch.setattr("esms_async.cli.queue_watch.look_at", look)
    monkeypatch.setattr("esms_async.cli.queue_watch._EVERY", 0.0)
    async with (
        contextlib.aclosing(QueueStreams(redis.url, "esms")) as streams,
        watched(streams, Screen()),
    ):
        await until(lambda: len(looks) > 2)
    assert capsys.readouterr().err.count("no worker runs for queue 'esms'") == 1


async def test_a_server_that_is_away_is_watched_in_silence(
    redis: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who uses the queue says that it is away; the watch goes on."""
    url = f"redis://127.0.0.1:{free_port()}"
    async with contextlib.aclosing(QueueStreams(url, "esms")) as streams:
        with pytest.raises(QueueError):
            await look_at(streams)
        async with watched(streams, Screen()):
            await asyncio.sleep(0.05)
    assert capsys.readouterr() == ("", "")
