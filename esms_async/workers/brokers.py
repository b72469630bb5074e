"""The brokers, set so that no message is lost: each is delivered until it is acknowledged."""

import asyncio
import contextlib
import functools
import logging
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from typing import TYPE_CHECKING, Final

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NothingYet
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from taskiq import AckableMessage, AsyncBroker, BrokerMessage, InMemoryBroker, TaskiqMessage
from taskiq.abc.formatter import TaskiqFormatter
from taskiq.formatters.json_formatter import JSONFormatter
from taskiq.receiver import Receiver
from taskiq_nats import PullBasedJetStreamBroker

from esms_async._model.errors import ConfigurationError
from esms_async.workers.settings import QueueSettings

if TYPE_CHECKING:
    from taskiq_aio_pika import AioPikaBroker

TASK: Final = "esms_async.send_message"
"""The name of the task; its one argument is the payload."""

_logger = logging.getLogger("esms_async")
_PULL_SECONDS: Final = 1.0
_PAUSE: Final = 0.5
_FLUSH_SECONDS: Final = 2


class Payload(str):
    """A payload that logs do not show."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<message>"


class Formatter(TaskiqFormatter):
    """Reads whatever comes out of the queue as a call of the one task.

    taskiq drops and logs in full what it can't read, and acknowledges what it knows no task for.
    Here the task gets it, which refuses it, and says so without its content.
    """

    def dumps(self, message: TaskiqMessage) -> BrokerMessage:
        """Write a call down."""
        return JSONFormatter().dumps(message)

    def loads(self, message: bytes) -> TaskiqMessage:
        """Read a call."""
        try:
            call = JSONFormatter().loads(message)
            task_id, payload = call.task_id, str(call.args[0])
        except (ValueError, IndexError):
            task_id, payload = "unreadable", ""
        # The task itself acknowledges, once the outcome is saved. taskiq acknowledges all the
        # same where a task fails, or where its result can't be saved.
        return TaskiqMessage(
            task_id=task_id,
            task_name=TASK,
            labels={"ack_type": "manual"},
            args=[Payload(payload)],
            kwargs={},
        )


def make_broker(settings: QueueSettings, stopping: asyncio.Event) -> AsyncBroker:
    """Make the broker that the settings name, not yet started.

    Args:
        settings: The settings.
        stopping: Set by the broker once its worker takes no more messages.

    Returns:
        The broker.

    Raises:
        ConfigurationError: The library for it is missing.
    """
    match settings.scheme:
        case "memory":
            broker: AsyncBroker = InMemoryBroker(await_inplace=True)
        case "amqp" | "amqps":
            broker = _rabbit_broker(settings, stopping)
        case _:
            broker = NatsBroker(settings, stopping)
    return broker.with_formatter(Formatter())


class NatsBroker(PullBasedJetStreamBroker):
    """NATS JetStream: a stream on file that holds each message until it is acknowledged.

    A worker pulls no more messages than it has free places, so none waits in a worker while its
    time to be acknowledged runs. What comes while the worker ends is sent before it does; what
    could not be sent or told of then is handed back.
    """

    def __init__(self, settings: QueueSettings, stopping: asyncio.Event) -> None:
        name = settings.name
        super().__init__(
            settings.broker_url.split(","),
            subject=f"{name}.send",
            stream_name=f"{name}-send",
            durable=f"{name}-workers",
            stream_config=StreamConfig(
                retention=RetentionPolicy.WORK_QUEUE,
                storage=StorageType.FILE,
                discard=DiscardPolicy.NEW,
            ),
            consumer_config=ConsumerConfig(
                durable_name=f"{name}-workers",
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=settings.ack_wait,
                max_deliver=-1,
                max_ack_pending=-1,
            ),
            pull_consume_batch=settings.concurrency,
            pull_consume_timeout=_PULL_SECONDS,
            max_reconnect_attempts=-1,
            reconnect_time_wait=_PAUSE,
            error_cb=self._note_error,
        )
        self._stopping = stopping
        self._places = settings.concurrency
        self._held: dict[str, Msg] = {}

    async def startup(self) -> None:
        """Connect, and see that the stream keeps what it is given.

        Raises:
            ConfigurationError: There is a stream of that name with other settings.
        """
        await super().startup()
        config = (await self.js.stream_info(self.stream_name)).config
        if (config.retention, config.storage) != (RetentionPolicy.WORK_QUEUE, StorageType.FILE):
            raise ConfigurationError(
                f"the stream {self.stream_name} of NATS is no work queue on file, so messages "
                "could be lost; delete it, or set ESMS_QUEUE to another name"
            )

    async def _startup_consumer(self) -> None:
        # Who only enqueues may have other settings, and must not force them on the workers.
        if self.is_worker_process:
            await super()._startup_consumer()

    async def listen(self) -> AsyncGenerator[AckableMessage, None]:
        """Pull messages until the worker ends.

        Yields:
            Messages.
        """
        pulled: deque[Msg] = deque()
        pull: asyncio.Task[list[Msg]] | None = None
        try:
            while True:
                pull = asyncio.create_task(self._pull())
                pulled.extend(await asyncio.shield(pull))
                pull = None
                while pulled:
                    yield self._ackable(pulled.popleft())
        finally:
            self._stopping.set()
            if pull is not None:
                with contextlib.suppress(NatsError, OSError):
                    pulled.extend(await pull)
            await self._handle(pulled)

    async def _pull(self) -> list[Msg]:
        """Wait for messages for a while, and take as many as there are places for."""
        free = self._places - len(self._held)
        try:
            messages = await self.consumer.fetch(max(free, 1), timeout=_PULL_SECONDS)
        except NothingYet:
            return []
        except (NatsError, OSError) as error:
            if self.client.is_closed:
                raise
            _logger.warning("NATS gives no messages (%s)", type(error).__name__)
            await asyncio.sleep(_PAUSE)
            return []
        self._held.update((message.reply, message) for message in messages)
        return messages

    async def _handle(self, messages: Iterable[Msg]) -> None:
        """Handle what came after taskiq took its last message; handed back, it would come again."""
        receiver = Receiver(self, validate_params=False, run_startup=False)
        await asyncio.gather(*(receiver.callback(self._ackable(message)) for message in messages))

    def _ackable(self, message: Msg) -> AckableMessage:
        return AckableMessage(data=message.data, ack=functools.partial(self._acknowledge, message))

    async def shutdown(self) -> None:
        """Hand back what was not acknowledged, and close the connection."""
        if self.client.is_connected:
            with contextlib.suppress(NatsError, OSError):
                await self._hand_back()
                await self.client.flush(_FLUSH_SECONDS)
        await super().shutdown()

    async def _note_error(self, error: Exception) -> None:
        # Who puts messages in is told by QueueError, once.
        level = logging.WARNING if self.is_worker_process else logging.INFO
        _logger.log(level, "NATS: %s", type(error).__name__)

    async def _acknowledge(self, message: Msg) -> None:
        self._held.pop(message.reply, None)
        await message.ack()

    async def _hand_back(self) -> None:
        while self._held:
            _, message = self._held.popitem()
            await message.nak()


def _rabbit_broker(settings: QueueSettings, stopping: asyncio.Event) -> "AioPikaBroker":
    """Return RabbitMQ with a durable quorum queue, as many messages at a time as places."""
    try:
        from taskiq_aio_pika import AioPikaBroker, Exchange, Queue  # noqa: PLC0415  # an extra
    except ModuleNotFoundError:
        raise ConfigurationError(
            "amqp:// needs taskiq-aio-pika; install it with: pip install 'esms_async[rabbitmq]'"
        ) from None

    class RabbitBroker(AioPikaBroker):
        """RabbitMQ, which has back what a worker that ends did not acknowledge."""

        async def listen(self) -> AsyncGenerator[AckableMessage, None]:
            try:
                async with contextlib.aclosing(super().listen()) as messages:
                    async for message in messages:
                        yield message
            finally:
                stopping.set()

    name = settings.name
    return RabbitBroker(
        settings.broker_url,
        qos=settings.concurrency,
        exchange=Exchange(name=name),
        task_queues=[Queue(name=f"{name}-send")],
        dead_letter_queue=Queue(name=f"{name}-dead"),
    )
