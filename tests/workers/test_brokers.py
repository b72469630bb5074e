"""The brokers' settings as the servers themselves tell them, and what a worker pulls."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncGenerator
from typing import Annotated

import pytest
from nats.js.api import StreamConfig
from nats.js.errors import ServiceUnavailableError
from taskiq import AckableMessage, Context, TaskiqDepends, TaskiqMessage
from taskiq_aio_pika import AioPikaBroker

from esms_async import ConfigurationError, workers
from esms_async.workers import MessageQueue, QueueSettings
from esms_async.workers.brokers import TASK, Formatter, NatsBroker, make_broker
from tests.factories import a_message
from tests.workers.nats_server import NatsServer
from tests.workers.support import jetstream, wait_until_empty


@pytest.fixture
async def broker(environ: dict[str, str]) -> NatsBroker:
    """A worker's broker, not yet started."""
    broker = make_broker(QueueSettings.from_env(environ), asyncio.Event())
    assert isinstance(broker, NatsBroker)
    broker.is_worker_process = True
    return broker


def note_payloads(broker: NatsBroker) -> list[str]:
    """Return a list to which the broker's task adds what it handles."""
    payloads: list[str] = []

    @broker.task(TASK)
    async def send_message(payload: str, context: Annotated[Context, TaskiqDepends()]) -> None:
        payloads.append(payload)
        await context.ack()

    return payloads


async def test_nats_keeps_each_message_until_it_is_acknowledged(
    broker: NatsBroker, environ: dict[str, str], nats: NatsServer
) -> None:
    """The server's own word: a work queue on file, explicit acknowledgement, no last delivery."""
    await broker.startup()
    async with jetstream(nats.url) as context:
        stream = await context.stream_info(broker.stream_name)
        consumer = await context.consumer_info(broker.stream_name, broker.durable)
    await broker.shutdown()
    assert (stream.config.retention, stream.config.storage) == ("workqueue", "file")
    assert (stream.config.max_age, stream.config.max_msgs, stream.config.discard) == (0, -1, "new")
    assert consumer.config.durable_name == broker.durable
    assert consumer.config.ack_policy == "explicit"
    assert consumer.config.max_deliver == -1
    settings = QueueSettings.from_env(environ)
    assert consumer.config.ack_wait == settings.ack_wait > settings.retry.deadline
    assert 1 <= broker.pull_consume_batch <= settings.concurrency


async def test_a_stream_that_could_lose_messages_is_refused(
    broker: NatsBroker, nats: NatsServer
) -> None:
    """A stream of that name with other settings is not taken as it is."""
    async with jetstream(nats.url) as context:
        await context.add_stream(
            StreamConfig(name=broker.stream_name, subjects=[broker.subject], storage="memory")  # type: ignore[arg-type]  # it takes the word too
        )
    with pytest.raises(ConfigurationError, match="no work queue on file"):
        await broker.startup()
    await broker.shutdown()


async def test_messages_that_come_while_the_worker_ends_are_handled(
    broker: NatsBroker, environ: dict[str, str], nats: NatsServer
) -> None:
    """What a pull brings that is on its way by then is handled once, and acknowledged."""
    handled = note_payloads(broker)
    await broker.startup()
    messages = broker.listen()
    async with MessageQueue.from_env(environ) as queue:
        pulling = asyncio.ensure_future(anext(messages))
        await asyncio.sleep(0)
        # The pull is on its way to the server by now, and is not taken back.
        pulling.cancel()
        await queue.enqueue(a_message())
        await asyncio.wait([pulling])
    assert len(handled) == 1
    assert broker._stopping.is_set()
    await wait_until_empty(nats.url, broker.stream_name)
    await broker.shutdown()


async def test_messages_that_were_pulled_together_are_handled_though_the_worker_ends(
    broker: NatsBroker, environ: dict[str, str], nats: NatsServer
) -> None:
    """The first is taskiq's; the others, which it did not take any more, are handled too."""
    handled = note_payloads(broker)
    async with MessageQueue.from_env(environ) as queue:
        for _ in range(3):
            await queue.enqueue(a_message())
    await broker.startup()
    messages = broker.listen()
    first = await anext(messages)
    await messages.aclose()
    assert len(handled) == 2
    await first.ack()  # type: ignore[misc]  # taskiq's type allows an ack that is not awaited
    await wait_until_empty(nats.url, broker.stream_name)
    await broker.shutdown()


async def test_what_was_not_acknowledged_is_handed_back_at_the_end(
    broker: NatsBroker, environ: dict[str, str]
) -> None:
    """A message that a worker gives up unsent is the next worker's at once."""
    async with MessageQueue.from_env(environ) as queue:
        await queue.enqueue(a_message())
    await broker.startup()
    messages = broker.listen()
    await anext(messages)
    await messages.aclose()
    await broker.shutdown()
    other = make_broker(QueueSettings.from_env(environ), asyncio.Event())
    other.is_worker_process = True
    await other.startup()
    messages = other.listen()  # type: ignore[assignment]  # taskiq's brokers give bytes too
    await asyncio.wait_for(anext(messages), timeout=3)
    await messages.aclose()
    await other.shutdown()


async def test_a_worker_outlives_errors_of_the_server(
    broker: NatsBroker, environ: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """A pull that fails is made again; on a connection closed for good the worker ends."""
    await broker.startup()
    fetch, failed = broker.consumer.fetch, asyncio.Event()

    async def fail_once(*args: object, **options: object) -> object:
        broker.consumer.fetch = fetch  # type: ignore[method-assign]  # the server is back
        failed.set()
        raise ServiceUnavailableError

    broker.consumer.fetch = fail_once  # type: ignore[assignment]  # the server is away
    messages = broker.listen()
    with caplog.at_level(logging.WARNING):
        pulling = asyncio.ensure_future(anext(messages))
        await failed.wait()
        async with MessageQueue.from_env(environ) as queue:
            await queue.enqueue(a_message())
        assert isinstance(await pulling, AckableMessage)
    assert "NATS gives no messages" in caplog.text
    await broker.shutdown()
    with pytest.raises(Exception, match="closed"):
        await anext(messages)


def test_what_can_be_read_or_not_is_a_call_of_the_one_task() -> None:
    """Neither a spoilt message nor one for another task is dropped, or shown by a log."""
    formatter = Formatter()
    written = formatter.dumps(
        TaskiqMessage(task_id="1", task_name="other", labels={}, args=["686868"], kwargs={})
    )
    for data in (written.message, b"686868", b'{"task_id": "1", "args": []}'):
        call = formatter.loads(data)
        assert call.task_name == TASK
        assert call.labels == {"ack_type": "manual"}
        assert "686868" not in repr(call)
    assert formatter.loads(written.message).args == ["686868"]
    assert formatter.loads(b"686868").args == [""]


async def test_a_missing_library_for_rabbitmq_is_named(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "taskiq_aio_pika", None)
    with pytest.raises(ConfigurationError, match=r"esms_async\[rabbitmq\]"):
        MessageQueue.from_env({**environ, "ESMS_BROKER_URL": "amqp://localhost"})


def test_an_unknown_name_is_an_attribute_error() -> None:
    """The package, which imports its modules when they are asked for, knows what it has."""
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = workers.nothing_such


async def test_rabbitmq_lets_the_worker_know_that_it_takes_no_more(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its messages pass through, and their end sets what waits for a server free."""

    async def two(_: AioPikaBroker) -> AsyncGenerator[AckableMessage, None]:
        for data in (b"1", b"2"):
            yield AckableMessage(data=data, ack=lambda: None)

    monkeypatch.setattr(AioPikaBroker, "listen", two)
    stopping = asyncio.Event()
    settings = QueueSettings.from_env({**environ, "ESMS_BROKER_URL": "amqp://localhost"})
    broker = make_broker(settings, stopping)
    assert [message.data async for message in broker.listen()] == [b"1", b"2"]  # type: ignore[union-attr]  # taskiq's brokers give bytes too
    assert stopping.is_set()


async def test_the_broker_for_taskiqs_command_is_made_when_asked_for(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`esms_async.workers:broker` knows the one task."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert TASK in workers.broker.get_all_tasks()


@pytest.mark.parametrize(
    ("module", "said"), [("taskiq", "pip install"), ("pydantic", "ModuleNotFoundError")]
)
def test_a_missing_library_is_named(module: str, said: str) -> None:
    """What an extra brings is named with its extra; anything else is Python's own error."""
    code = f"import sys; sys.modules[{module!r}] = None; from esms_async.workers import run_worker"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert said in ended.stderr.splitlines()[-1]


def test_the_command_names_a_missing_library() -> None:
    """One line that says what to install."""
    code = (
        "import sys; sys.modules['taskiq'] = None; from esms_async.cli.app import run; "
        "sys.exit(run(['worker']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("esms-async: esms_async.workers needs more libraries")
