"""The commands `queue` and `bulk --queue`, on a real server."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from esms_async.cli.app import run
from esms_async.queue import MessageQueue
from tests.factories import SECRET_KEY
from tests.ledger.redis_server import RedisServer, free_port
from tests.queue.support import KEY, PATIENCE, Gateway, environment, messages, until, working


async def command(*arguments: str) -> int:
    """Run a command in a thread, as it has an event loop of its own."""
    return await asyncio.to_thread(run, list(arguments))


async def test_dead_messages_are_listed_and_put_back(
    redis: RedisServer,
    gateway: Gateway,
    queue: MessageQueue,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`dead --json` is a list with reasons; `requeue` has them tried again."""
    at = ("--queue", redis.url)
    assert await command("queue", "dead", *at, "--json") == 0
    assert json.loads(capsys.readouterr().out) == []
    with redis.client() as client:
        for _ in range(3):
            client.xadd("esms:queue:bulk", {"r": "r1", "m": "?"})
    async with working(redis.url, gateway.url) as running:
        await until(lambda: running.statuses["dead"] == 3)
    assert await command("queue", "dead", *at, "--json") == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert [(each["request_id"], each["lane"]) for each in found] == [("r1", "bulk")] * 3
    assert all(each["reason"] and each["at"] for each in found)
    assert await command("queue", "dead", *at) == 0
    assert "r1: it is not a message" in capsys.readouterr().out
    assert await command("queue", "requeue", *at) == 2
    assert await command("queue", "requeue", found[0]["id"], "0-1", *at) == 1
    assert await command("queue", "requeue", "--all", "--json", *at) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"requeued": 2}
    assert await queue.depth() == 3


async def test_status_pause_and_drain(
    redis: RedisServer,
    gateway: Gateway,
    queue: MessageQueue,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Status counts by lane; a paused queue is not drained, a resumed one is."""
    at = ("--queue", redis.url)
    assert await command("queue", "pause", *at) == 0
    await queue.put(messages(1)[0])
    with redis.client() as client:
        client.hset("esms:queue:breakers", "103", "top it up")
    async with working(redis.url, gateway.url):
        await until(lambda: bool(_status(redis, capsys)))
        assert await command("queue", "drain", "--timeout", "0.3", *at) == 1
        capsys.readouterr()
        assert await command("queue", "status", *at, "--json") == 0
        status = json.loads(capsys.readouterr().out)
        assert status["lanes"]["otp"]["waiting"] == status["depth"] == 1
        assert status["paused"] is True
        assert status["breakers"] == {"103": "top it up"}
        assert await command("queue", "status", *at) == 0
        words = capsys.readouterr().out
        assert "otp: 1 waiting" in words
        assert "breaker 103 is open: top it up" in words
        assert await command("queue", "resume", *at, "--json") == 0
        assert await command("queue", "drain", "--timeout", str(PATIENCE), *at) == 0
    assert gateway.accepted.total() == 1


def _status(redis: RedisServer, capsys: pytest.CaptureFixture[str]) -> list[str]:
    with redis.client() as client:
        return list(client.zrange("esms:queue:workers", 0, -1))


async def test_a_queue_that_is_not_there_is_one_line(
    redis: RedisServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No URL, no server, no workers yet, and no library."""
    monkeypatch.delenv("ESMS_QUEUE_URL", raising=False)
    assert await command("queue", "status") == 2
    assert await command("queue", "status", "--queue", f"redis://127.0.0.1:{free_port()}") == 2
    assert await command("queue", "status", "--queue", redis.url, "--json") == 0
    assert json.loads(capsys.readouterr().out)["depth"] == 0
    monkeypatch.setitem(sys.modules, "esms_async.queue.streams", None)
    assert await command("queue", "status", "--queue", redis.url) == 2
    assert "pip install 'esms_async[cli,queue]'" in capsys.readouterr().err


async def test_a_file_through_the_queue(
    redis: RedisServer,
    gateway: Gateway,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every row is sent by the workers, once, and reported as a local run does."""
    path = tmp_path / "a.csv"
    rows = "".join(f"091100000{number},{number} la ma\n" for number in range(5))
    path.write_text(f"phone,content\n{rows}", encoding="utf-8")
    monkeypatch.setenv("ESMS_QUEUE_KEY", KEY)
    monkeypatch.setenv("ESMS_SECRET_KEY", SECRET_KEY)
    arguments = ("bulk", str(path), "--queue", redis.url, "--json", "--quiet")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "esms_async", *arguments),
        env=environment(redis.url, gateway.url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    async with working(redis.url, gateway.url):
        written, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 0
    assert json.loads(written)["accepted"] == 5
    assert set(gateway.accepted.values()) == {1}
    assert await command(*arguments, "--rate", "5") == 2
    assert "--queue and --rate exclude each other" in capsys.readouterr().err
