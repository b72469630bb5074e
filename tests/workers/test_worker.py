"""A worker: what it acknowledges, what it refuses, and how it ends."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import attrs
import pytest
from taskiq import Context, TaskiqState

from esms_async import ConfigurationError, EsmsClient, LedgerError, Message, Status
from esms_async.emulator import Emulator
from esms_async.ledger import ONE_MORE_ATTEMPT, RedisLedger
from esms_async.workers import MessageQueue, QueueSettings, Report, run_worker
from esms_async.workers.outcomes import RedisOutcomes
from esms_async.workers.patience import PatientLedger, patiently
from esms_async.workers.payload import Queued, Seal, dump
from esms_async.workers.worker import Worker
from tests.factories import CREDENTIALS, ONE_ATTEMPT, a_message
from tests.ledger.redis_server import RedisServer, free_port
from tests.workers.support import wait_until_empty

NOW = datetime.now(UTC)


class Delivery:
    """Stands for taskiq's context of one delivery."""

    is_ackable = True
    acked = False
    error: Exception | None = None

    message = SimpleNamespace(task_id="1")

    async def ack(self) -> None:
        """Note it."""
        if self.error is not None:
            raise self.error
        self.acked = True


class Handling:
    """A worker that is given payloads by hand."""

    def __init__(self, settings: QueueSettings) -> None:
        self.stopping = asyncio.Event()
        self.outcomes = RedisOutcomes(settings.ledger_url or "", settings.name)
        self.worker = Worker(settings, self.outcomes, self.stopping)

    async def __call__(self, payload: str, delivery: Delivery | None = None) -> tuple[Any, bool]:
        """Handle one payload; give the report, and whether the delivery was acknowledged."""
        delivery = delivery or Delivery()
        text = await self.worker.send_message(payload, cast("Context", delivery))
        return None if text is None else Report.load(text), delivery.acked


@pytest.fixture
async def handle(environ: dict[str, str]) -> AsyncIterator[Handling]:
    """A worker that tries once."""
    settings = QueueSettings.from_env(environ)
    handling = Handling(attrs.evolve(settings, retry=ONE_ATTEMPT))
    await handling.worker.open(TaskiqState())
    yield handling
    await handling.worker.aclose(TaskiqState())


def queued(
    message: Message, *, age: float = 0, batch: str | None = None, run: int | None = None
) -> str:
    """Return the payload of a message that was put in some seconds ago."""
    return dump(Queued(message, NOW - timedelta(seconds=age), batch, run), Seal())


async def test_a_message_is_sent_told_of_and_acknowledged(
    handle: Handling, emulated: Emulator
) -> None:
    """Once delivered again it is not sent again, and told of as accepted."""
    message = a_message()
    for _ in range(2):
        report, acked = await handle(queued(message, batch="b"))
        assert report.ok
        assert acked
    assert emulated.accepted(message.request_id) == len(emulated.requests) == 1
    # By which `reconcile` finds it in the gateway's list.
    assert emulated.messages[0].campaign_id == message.request_id
    told = await handle.outcomes.read("b", "0", wait=False)
    assert [report.request_id for _, report in told] == [message.request_id] * 2


async def test_an_outcome_is_a_value_and_acknowledged(handle: Handling, emulated: Emulator) -> None:
    """A rejection, and what may have been accepted, are told of and raised nowhere."""
    report, acked = await handle(queued(a_message("0900000099")))
    assert (report.status, report.code, acked) == ("rejected", "99", True)
    emulated.fault("reset,phase=after,times=1")
    report, acked = await handle(queued(a_message()))
    assert (report.status, acked) == ("unknown", True)


async def test_past_the_window_nothing_is_sent(handle: Handling, emulated: Emulator) -> None:
    """A message that waited a day is refused, whether or not it was to be sent later still."""
    late = attrs.evolve(a_message(), send_at=NOW + timedelta(days=3))
    for message in (a_message(), late):
        report, acked = await handle(queued(message, age=24 * 3600))
        assert (report.status, acked) == ("not_sent", True)
    assert emulated.requests == []


async def test_past_its_own_end_nothing_is_sent(
    handle: Handling,
    emulated: Emulator,
    redis: RedisServer,
) -> None:
    """A message past its `expires_at` is refused, and the ledger has it on record."""
    message = attrs.evolve(a_message(), expires_at=NOW - timedelta(seconds=1))
    report, acked = await handle(queued(message))
    assert (report.status, acked) == ("not_sent", True)
    assert emulated.requests == []
    async with RedisLedger(redis.url) as ledger:
        entry = await ledger.look_up(message.request_id)
    assert entry is not None
    assert entry.status is Status.NOT_SENT


async def test_what_may_have_arrived_a_day_ago_is_unknown(
    handle: Handling,
    emulated: Emulator,
    redis: RedisServer,
) -> None:
    """A redelivery past the 24 hours of the gateway is told of as unknown, and not sent."""
    message = a_message()
    emulated.fault("reset,phase=after,times=1")
    a_day_ago = RedisLedger(redis.url, clock=lambda: NOW.timestamp() - 25 * 3600)
    async with EsmsClient(
        CREDENTIALS, base_url=emulated.url, ledger=a_day_ago, retry=ONE_ATTEMPT
    ) as client:
        with pytest.raises(Exception, match="may have been accepted"):
            await client.send(message)
    report, acked = await handle(queued(message, age=25 * 3600))
    assert (report.kind, report.status, acked) == ("RequestIdExpired", "unknown", True)
    assert len(emulated.requests) == 1


async def test_what_a_later_run_put_in_again_is_void(handle: Handling, emulated: Emulator) -> None:
    """Only the latest run of a batch is sent; what is left of an earlier one is dropped."""
    message, run = a_message(), await handle.outcomes.begin_run("b")
    assert await handle.outcomes.begin_run("b") == run + 1
    assert await handle(queued(message, batch="b", run=run)) == (None, True)
    assert emulated.requests == []
    report, _ = await handle(queued(message, batch="b", run=run + 1))
    assert report.ok


async def test_what_cannot_be_read_is_refused_and_not_shown(
    handle: Handling,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is told of where its batch can be read, acknowledged, and no log has its content."""
    fields = {**json.loads(queued(a_message(), batch="b")), "version": 9}
    with caplog.at_level(logging.DEBUG):
        report, acked = await handle(json.dumps(fields))
        assert (report.status, report.request_id, acked) == ("not_sent", fields["request_id"], True)
        assert (await handle("686868"))[1]
    assert len(await handle.outcomes.read("b", "0", wait=False)) == 1
    assert "is refused" in caplog.text
    assert "686868" not in caplog.text


async def test_a_broker_that_does_not_hear_the_acknowledgement_is_no_failure(
    handle: Handling,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The outcome stands; the broker will deliver the message again, which is not sent again."""
    delivery = Delivery()
    delivery.error = ConnectionError("gone")
    report, acked = await handle(queued(a_message()), delivery)
    assert report.ok
    assert not acked
    assert "delivers the message again" in caplog.text


async def test_a_broker_without_acknowledgements_needs_none(handle: Handling) -> None:
    """A message of a broker in memory is sent all the same."""
    delivery = Delivery()
    delivery.is_ackable = False
    report, acked = await handle(queued(a_message()), delivery)
    assert report.ok
    assert not acked


async def test_while_the_ledger_is_away_nothing_is_sent_or_acknowledged(
    environ: dict[str, str], emulated: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """A message is held while Redis is away; a worker that is to end leaves it in the queue."""
    url = f"redis://127.0.0.1:{free_port()}"
    settings = QueueSettings.from_env({**environ, "ESMS_LEDGER_URL": url})
    stopping = asyncio.Event()
    worker = Worker(settings, RedisOutcomes(url, "away"), stopping)
    await worker.open(TaskiqState())
    delivery = Delivery()
    sending = asyncio.create_task(
        worker.send_message(queued(a_message()), cast("Context", delivery))
    )
    while "waits for it" not in caplog.text:  # noqa: ASYNC110  # a log tells nobody
        await asyncio.sleep(0.01)
    assert not sending.done()
    stopping.set()
    assert await sending is None
    assert not delivery.acked
    assert emulated.requests == []
    await worker.aclose(TaskiqState())


@pytest.mark.parametrize("written", ["a text", {"status": "odd"}, {"generation": "many"}])
async def test_an_entry_that_cannot_be_read_holds_up_nothing(
    handle: Handling,
    emulated: Emulator,
    redis: RedisServer,
    written: str | dict[str, str],
) -> None:
    """Only the message that it is of is unknown; it isn't sent, and leaves the queue."""
    message = a_message()
    # By another worker, which remembers what became of it.
    another = Handling(handle.worker._settings)
    await another.worker.open(TaskiqState())
    await another(queued(message))
    await another.worker.aclose(TaskiqState())
    with redis.client() as client:
        (key,) = client.keys(f"*{message.request_id}")
        if isinstance(written, dict):
            client.hset(key, mapping=written)
        else:
            client.set(key, written)
    report, acked = await handle(queued(message))
    assert (report.status, acked) == ("unknown", True)
    assert emulated.accepted(message.request_id) == 1
    report, _ = await handle(queued(a_message()))
    assert report.ok


async def test_a_ledger_that_comes_back_is_waited_for() -> None:
    """A call is made again until the server answers."""
    answers = [LedgerError("away"), LedgerError("away"), None]

    async def call() -> str:
        if (error := answers.pop(0)) is not None:
            raise error
        return "done"

    assert await patiently(call, asyncio.Event()) == "done"


async def test_the_next_attempt_does_not_wait_for_the_ledger() -> None:
    """That an attempt may have arrived is on record already: a send goes on to its deadline."""
    with RedisServer() as server:
        ledger = PatientLedger(server.url, asyncio.Event())
        await ledger.open()
        claim = await ledger.claim(message := a_message(), b"f" * 20)
        await asyncio.to_thread(server.kill)
        with pytest.raises(LedgerError):
            await ledger.settle(message.request_id, claim.entry.generation, ONE_MORE_ATTEMPT)
        await ledger.aclose()


async def test_an_unopened_worker_closes(environ: dict[str, str]) -> None:
    """One that never started has nothing to close."""
    outcomes = RedisOutcomes("redis://localhost", "none")
    await Worker(QueueSettings.from_env(environ), outcomes, asyncio.Event()).aclose(TaskiqState())


async def test_a_worker_in_memory_is_refused() -> None:
    """There is nothing that a worker of a queue in memory could take messages from."""
    with pytest.raises(ConfigurationError, match="needs a broker"):
        await run_worker(QueueSettings("memory://"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_worker_ends_at_a_signal(
    environ: dict[str, str], emulated: Emulator, number: signal.Signals
) -> None:
    """Once it has sent what there was, a signal ends it in good order, in this very process."""
    message = a_message()
    environ = {**environ, "ESMS_RATE": "100"}
    working = asyncio.create_task(run_worker(QueueSettings.from_env(environ)))
    async with MessageQueue.from_env(environ) as queue:
        async with queue.send_many([message], batch="b") as stream:
            assert [outcome.ok async for outcome in stream] == [True]
        await wait_until_empty(environ["ESMS_BROKER_URL"], f"{environ['ESMS_QUEUE']}-send")
    os.kill(os.getpid(), number)
    await working
    assert emulated.accepted(message.request_id) == 1


async def test_sigterm_ends_a_worker_that_waits_for_its_broker(environ: dict[str, str]) -> None:
    """A worker that has not found its broker yet ends too."""
    away = {**environ, "ESMS_BROKER_URL": f"nats://127.0.0.1:{free_port()}"}
    working = asyncio.create_task(run_worker(QueueSettings.from_env(away)))
    await asyncio.sleep(0.1)
    os.kill(os.getpid(), signal.SIGTERM)
    await working


async def test_taskiqs_own_command_runs_the_workers(
    environ: dict[str, str], emulated: Emulator
) -> None:
    """`taskiq worker esms_async.workers:broker` sends what is put in."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "taskiq",
        "worker",
        "esms_async.workers:broker",
        "--workers",
        "1",
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    message = a_message()
    async with (
        MessageQueue.from_env(environ) as queue,
        queue.send_many([message], batch="b") as stream,
    ):
        assert [outcome.ok async for outcome in stream] == [True]
    process.send_signal(signal.SIGTERM)
    await process.wait()
    assert emulated.accepted(message.request_id) == 1


def test_a_command_without_variables_says_what_to_set() -> None:
    """One line, no traceback."""
    environ = {name: value for name, value in os.environ.items() if name[:5] != "ESMS_"}
    ended = subprocess.run(
        [sys.executable, "-m", "esms_async", "worker"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr == "esms-async: set the environment variable ESMS_BROKER_URL\n"
