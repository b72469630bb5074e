"""The worker: takes messages out of the queue, sends each, and tells what became of it."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Annotated

import attrs
from taskiq import AsyncBroker, Context, TaskiqDepends, TaskiqEvents, TaskiqState
from taskiq.receiver import Receiver

from esms_async._model.errors import ConfigurationError, EsmsError, LedgerError
from esms_async._model.messages import Message, Outcome
from esms_async.client import EsmsClient
from esms_async.ledger import Ledger, MemoryLedger
from esms_async.ledger.base import UnreadableEntry
from esms_async.ledger.transitions import WINDOW
from esms_async.limiter import RedisLimiter
from esms_async.workers.brokers import TASK, make_broker
from esms_async.workers.outcomes import MemoryOutcomes, Outcomes, RedisOutcomes
from esms_async.workers.patience import PatientLedger, patiently
from esms_async.workers.payload import Queued, UnreadablePayload, load
from esms_async.workers.reports import Report
from esms_async.workers.settings import QueueSettings

_logger = logging.getLogger("esms_async")


class Worker:
    """What a worker process has open, and the task that it runs for each message.

    Args:
        settings: The settings.
        outcomes: Where it tells what became of each message.
        stopping: Set once it is to end.
    """

    def __init__(
        self, settings: QueueSettings, outcomes: Outcomes, stopping: asyncio.Event
    ) -> None:
        self._settings = settings
        self._outcomes = outcomes
        self._stopping = stopping
        self._client: EsmsClient | None = None
        self._limiter: RedisLimiter | None = None

    async def open(self, _: TaskiqState) -> None:
        """Make the client; it connects when the first message comes."""
        settings = self._settings
        ledger: Ledger = MemoryLedger()
        if settings.ledger_url is not None:
            ledger = PatientLedger(settings.ledger_url, self._stopping)
            if settings.rate is not None:
                key = f"{settings.name}:rate"
                self._limiter = RedisLimiter(settings.ledger_url, settings.rate, key=key)
        self._client = EsmsClient.from_env(
            settings.account,
            retry=settings.retry,
            ledger=ledger,
            limiter=self._limiter,
            max_connections=settings.concurrency,
            trackable=True,
        )

    async def aclose(self, _: TaskiqState) -> None:
        """Close what was opened."""
        self._stopping.set()
        if self._client is not None:
            await self._client.aclose()
        if self._limiter is not None:
            await self._limiter.aclose()
        await self._outcomes.aclose()

    async def send_message(self, payload: str, context: Context) -> str | None:
        """Send a queued message, tell what became of it, and acknowledge it then.

        Returns, and raises nothing, whatever became of the message. Where its outcome can't be
        known or told before the worker ends, it is not acknowledged: another worker gets it.

        Args:
            payload: The message, as it was queued.
            context: What taskiq knows of this delivery.

        Returns:
            The report, or None where there is none.
        """
        with contextlib.suppress(LedgerError):
            report = await self._handle(payload)
            await self._acknowledge(context)
            return None if report is None else report.dump()
        return None

    async def _handle(self, payload: str) -> Report | None:
        try:
            queued = load(payload, self._settings.seal)
        except UnreadablePayload as error:
            _logger.warning("request id %s is refused: %s", error.request_id, error.problem)
            report, batch = Report.of_unreadable(error), error.batch
        else:
            if await self._is_void(queued):
                return None
            report, batch = Report.of(await self._send(queued), queued.run), queued.batch
        if batch is not None:
            await patiently(lambda: self._outcomes.tell(batch, report), self._stopping)
        return report

    async def _is_void(self, queued: Queued) -> bool:
        """Tell whether a later run of the batch has put the message in again."""
        batch, run = queued.batch, queued.run
        if batch is None or run is None:
            return False
        return await patiently(lambda: self._outcomes.latest_run(batch), self._stopping) > run

    async def _send(self, queued: Queued) -> Outcome:
        assert self._client is not None  # noqa: S101  # taskiq runs tasks after `open`
        message = _bounded(queued)
        try:
            return Outcome(message, await self._client.send(message))
        except EsmsError as error:
            cause = error if isinstance(error, LedgerError) else error.__cause__
            # A ledger that is away is waited for. An entry that can't be read is not: delivered
            # again and again, it would in the end hold every place of every worker.
            if isinstance(cause, LedgerError) and not isinstance(cause, UnreadableEntry):
                raise cause from None
            return Outcome(message, error=error)

    async def _acknowledge(self, context: Context) -> None:
        try:
            if context.is_ackable:
                await context.ack()
        except Exception as error:  # noqa: BLE001  # each broker has its own
            _logger.warning(
                "request id %s: the broker was not reached (%s); it delivers the message again, "
                "which is not sent again",
                context.message.task_id,
                type(error).__name__,
            )


def _bounded(queued: Queued) -> Message:
    """Return the message, with an end that is past where it waited too long to be sent.

    The gateway may have forgotten a RequestId after a day. The ledger refuses what it knows to
    have been tried so long ago; this refuses the rest, so that no message that waited in a queue
    that nobody emptied goes out days later.
    """
    end = queued.enqueued_at + timedelta(seconds=WINDOW)
    if datetime.now(UTC) < end:
        return queued.message
    # An end before `send_at` would be refused, and nothing is to be sent.
    return attrs.evolve(queued.message, send_at=None, expires_at=end)


def make_worker_broker(settings: QueueSettings) -> tuple[AsyncBroker, Outcomes]:
    """Make the broker with the task, not yet started.

    Args:
        settings: The settings.

    Returns:
        The broker, and where its workers tell what became of each message.

    Raises:
        ConfigurationError: The library for it is missing.
    """
    stopping = asyncio.Event()
    broker = make_broker(settings, stopping)
    outcomes: Outcomes = MemoryOutcomes()
    if settings.ledger_url is not None:
        outcomes = RedisOutcomes(settings.ledger_url, settings.name)
    worker = Worker(settings, outcomes, stopping)
    broker.add_event_handler(TaskiqEvents.WORKER_STARTUP, worker.open)
    broker.add_event_handler(TaskiqEvents.WORKER_SHUTDOWN, worker.aclose)

    # taskiq gives a task another name, which a method has no room for.
    @broker.task(TASK)
    async def send_message(
        payload: str, context: Annotated[Context, TaskiqDepends()]
    ) -> str | None:
        return await worker.send_message(payload, context)

    return broker, outcomes


async def run_worker(settings: QueueSettings) -> None:
    """Run one worker until SIGTERM, SIGINT or SIGHUP, then finish what is in flight.

    Args:
        settings: The settings.

    Raises:
        ConfigurationError: A setting cannot work, or the broker's stream has other settings.
    """
    if settings.scheme == "memory":
        raise ConfigurationError(
            "with memory:// messages are sent where they are put in; a worker needs a broker"
        )
    broker, _ = make_worker_broker(settings)
    broker.is_worker_process = True
    asked_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, asked_to_stop.set)
    receiver = Receiver(
        broker, validate_params=False, max_async_tasks=settings.concurrency, run_startup=False
    )
    try:
        if await _unless(broker.startup(), asked_to_stop):
            _logger.info("the worker takes messages")
            await receiver.listen(asked_to_stop)
    finally:
        await broker.shutdown()


async def _unless(startup: Coroutine[object, object, None], stop: asyncio.Event) -> bool:
    """Start, which can take as long as the broker is away; tell whether it was done."""
    starting, stopped = asyncio.ensure_future(startup), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
        return starting.done()
    finally:
        for task in (starting, stopped):
            task.cancel()
