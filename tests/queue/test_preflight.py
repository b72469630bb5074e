"""What a worker process says when something it needs is not there: one line, as JSON."""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from esms_async.cli.app import run
from esms_async.queue import MessageQueue
from tests.ledger.redis_server import RedisServer, free_port
from tests.queue.support import KEY, PATIENCE, Gateway, environment, messages, until

KEPT = {"appendonly": "yes", "maxmemory-policy": "noeviction"}


class Lines:
    """The log of a worker process, as it comes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.all: list[dict[str, Any]] = []

    async def next(self) -> dict[str, Any]:
        """Wait for a line."""
        assert self.process.stderr is not None
        line = await asyncio.wait_for(self.process.stderr.readline(), PATIENCE)
        self.all.append(json.loads(line))
        return self.all[-1]


@asynccontextmanager
async def worker(environ: Mapping[str, str], *options: str) -> AsyncGenerator[Lines]:
    """Run a worker process; it must end in good order."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "esms_async", "worker", *options),
        env=dict(environ),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Lines(process)
        process.terminate()
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_clean_start_is_one_line(redis: RedisServer, gateway: Gateway) -> None:
    """It says what it works on, and at the end that it holds nothing."""
    async with worker(environment(redis.url, gateway.url)) as lines:
        line = await lines.next()
        assert line["level"] == "INFO"
        assert "sends from queue 'esms' on Redis" in line["message"]
    assert "holds nothing" in (await lines.next())["message"]


async def test_a_server_that_is_away_is_one_line_and_waited_for(gateway: Gateway) -> None:
    """Unreachable at the start and gone later: one line each, and one when it is back."""
    with RedisServer(KEPT) as server:
        server.kill()
        async with worker(environment(server.url, gateway.url, ESMS_CONCURRENCY="4")) as lines:
            line = await lines.next()
            assert (line["level"], "waiting for it" in line["message"]) == ("ERROR", True)
            await asyncio.to_thread(server.start)
            assert "is back" in (await lines.next())["message"]
            assert "sends from queue" in (await lines.next())["message"]
            await asyncio.to_thread(server.kill)
            assert "waiting for it" in (await lines.next())["message"]
            await asyncio.to_thread(server.start)
            assert "is back" in (await lines.next())["message"]
            async with MessageQueue(server.url, key=KEY) as queue:
                await queue.put(messages(1)[0])
                await until(lambda: gateway.accepted.total() == 1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"requirepass": "secret"}, "Authentication required"),
        ({"maxmemory-policy": "allkeys-lru"}, "CONFIG SET maxmemory-policy noeviction"),
    ],
)
async def test_a_server_that_can_not_carry_the_queue_is_one_line(
    gateway: Gateway, settings: dict[str, str], words: str
) -> None:
    """No password, or keys that are evicted: the line says so, and the worker waits."""
    with RedisServer() as server, server.client() as client:
        for name, value in settings.items():
            client.config_set(name, value)
        async with worker(environment(server.url, gateway.url)) as lines:
            line = await lines.next()
            assert words in line["message"]
            assert line["level"] == "ERROR"
            assert "secret" not in line["message"]


async def test_a_user_without_permission_or_with_a_wrong_password_is_one_line(
    redis: RedisServer, gateway: Gateway
) -> None:
    """The line names what is not allowed."""
    with redis.client() as client:
        client.execute_command("ACL", "SETUSER", "weak", "on", ">word", "~*", "+@all", "-xgroup")
    at = redis.url.removeprefix("redis://")
    for user, words in (("weak:word", "xgroup"), ("weak:wrong", "WRONGPASS")):
        environ = environment(f"redis://{user}@{at}", gateway.url)
        async with worker(environ) as lines:
            message = (await lines.next())["message"]
            assert words.lower() in message.lower() or "invalid username" in message
            assert "waiting for it" in message


async def test_a_gateway_that_is_away_is_one_line(redis: RedisServer) -> None:
    """Nobody listens there: the breaker opens before a message is taken."""
    url = f"http://127.0.0.1:{free_port()}/"
    async with worker(environment(redis.url, url)) as lines:
        line = await lines.next()
        assert line["esms_breaker"] == "no answer"
        assert "see to the network" in line["message"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ESMS_QUEUE_KEY": ""}, "ESMS_QUEUE_KEY"),
        ({"ESMS_QUEUE_KEY": "short"}, "32 bytes in base64url"),
        ({"ESMS_QUEUE_CLEAR": "1"}, "not both"),
        ({"ESMS_QUEUE_CLEAR": "yes"}, "must be 1 or 0"),
        ({"ESMS_RATE": "fast"}, "--rate, or ESMS_RATE"),
        ({"ESMS_CONCURRENCY": "1.5"}, "--concurrency, or ESMS_CONCURRENCY"),
        ({"ESMS_DEADLINE": "0"}, "--deadline, or ESMS_DEADLINE"),
        ({"ESMS_DEADLINE": "soon"}, "--deadline, or ESMS_DEADLINE"),
        ({"ESMS_QUEUE_URL": ""}, "ESMS_QUEUE_URL"),
        ({"ESMS_QUEUE_URL": "redis://a,b"}, "Redis Cluster"),
        ({"ESMS_QUEUE_URL": "redis+cluster://a"}, "Redis Cluster"),
        ({"ESMS_QUEUE_NAME": "a b"}, "name of a queue"),
        ({"ESMS_API_KEY": ""}, "ESMS_API_KEY"),
    ],
)
def test_a_setting_that_can_not_work_ends_it(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, str],
    words: str,
) -> None:
    """It is one line on standard error, and exit code 2."""
    environ = environment("redis://127.0.0.1:1", "http://127.0.0.1:1/") | change
    with monkeypatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        # The log of the worker would take the place of that of the tests.
        patch.setattr("esms_async.cli.worker._set_up_logging", lambda *, as_text: None)
        assert run(["worker"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


async def test_health_and_metrics(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue
) -> None:
    """Ready once it takes messages; the metrics count outcomes and tell the depth."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    base = f"http://127.0.0.1:{port}"
    async with (
        worker(environment(redis.url, gateway.url), "--listen", f"127.0.0.1:{port}") as lines,
        aiohttp.ClientSession() as session,
    ):
        assert "health and metrics" in (await lines.next())["message"]
        await lines.next()
        await queue.put(messages(1)[0])
        await until(lambda: gateway.accepted.total() == 1)

        async def get(path: str) -> tuple[int, str]:
            async with session.get(base + path) as response:
                return response.status, await response.text()

        assert (await get("/livez"))[0] == 200
        assert (await get("/readyz"))[0] == 200

        async def is_counted() -> bool:
            _, text = await get("/metrics")
            counted = 'esms_queue_outcomes_total{lane="otp",status="accepted"} 1.0' in text
            return counted and 'esms_queue_depth{lane="otp"} 0.0' in text

        await until(is_counted)
