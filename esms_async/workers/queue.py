"""The queue as those who fill it see it: put messages in, and follow what becomes of them."""

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

from taskiq.exceptions import SendTaskError
from taskiq.kicker import AsyncKicker

from esms_async._model.errors import EsmsError
from esms_async._model.messages import Message, Receipt
from esms_async._send.stream import SendMany
from esms_async.workers import outcomes as reported
from esms_async.workers.brokers import TASK, Payload
from esms_async.workers.following import QueuedSends, require_message
from esms_async.workers.outcomes import BEGINNING
from esms_async.workers.payload import Queued, dump
from esms_async.workers.reports import Report
from esms_async.workers.settings import QueueSettings
from esms_async.workers.worker import make_worker_broker

_logger = logging.getLogger("esms_async")
_CONNECT_SECONDS: Final = 10.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0


class QueueError(EsmsError, ConnectionError):
    """The broker can't be reached, or did not confirm a message, which may be in the queue."""


class MessageQueue:
    """Puts messages into the queue of the workers, which send them.

    It needs no keys of the account. Use it with `async with`.

    Args:
        settings: The settings.

    Raises:
        ConfigurationError: The library for the broker is missing.
    """

    def __init__(self, settings: QueueSettings) -> None:
        self._settings = settings
        self._broker, self._outcomes = make_worker_broker(settings)
        self._away = False

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Make one from environment variables, as `QueueSettings.from_env` reads them.

        Args:
            environ: The variables; those of the process by default.

        Returns:
            The queue.

        Raises:
            ConfigurationError: A variable is missing or cannot work; the error names it.
        """
        return cls(QueueSettings.from_env(environ))

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await self._broker.startup()
        except (OSError, TimeoutError) as error:
            await self.aclose()
            raise QueueError(f"the broker can't be reached ({type(error).__name__})") from None
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._broker.shutdown()
        await self._outcomes.aclose()

    async def enqueue(self, message: Message, *, batch: str | None = None) -> None:
        """Put a message into the queue.

        A message that is put in twice is sent once, for both are the same Message.

        Args:
            message: The message.
            batch: Where its outcome is to be told, for `follow`; None tells it nowhere but in
                the ledger.

        Raises:
            InvalidMessage: It is no Message.
            QueueError: The broker did not confirm it. Put the same Message in again.
        """
        require_message(message)
        await self._put(Queued(message, datetime.now(UTC), batch))

    async def enqueue_many(
        self,
        messages: Iterable[Message] | AsyncIterable[Message],
        *,
        batch: str,
        concurrency: int = 64,
    ) -> int:
        """Put a stream of messages into the queue.

        Args:
            messages: The messages.
            batch: Where their outcomes are to be told, for `follow`.
            concurrency: How many are on their way to the broker at most.

        Returns:
            How many they are.

        Raises:
            QueueError: The broker did not confirm one. Put the same Messages in again.
        """

        async def put(message: Message) -> Receipt:
            await self.enqueue(message, batch=batch)
            return Receipt(message.request_id)

        count = 0
        async with SendMany(put, messages, concurrency=concurrency, ordered=False) as outcomes:
            async for outcome in outcomes:
                if outcome.error is not None:
                    raise outcome.error
                count += 1
        return count

    def follow(self, batch: str, *, after: str = BEGINNING) -> AsyncIterator[tuple[str, Report]]:
        """Iterate over what becomes of the messages of a batch, from its beginning, for ever.

        A message that was put in twice, or whose worker died, may be told of twice.

        Args:
            batch: The batch.
            after: A position that an earlier call gave, to go on behind it.

        Returns:
            An async iterator of positions and reports. It raises LedgerError where the Redis
            server is away: go on after the last position.
        """
        return reported.follow(self._outcomes, batch, after)

    def send_many(
        self,
        messages: Iterable[Message] | AsyncIterable[Message],
        *,
        batch: str,
        concurrency: int = 1000,
        ordered: bool = False,
    ) -> QueuedSends:
        """Have workers send a stream of messages, and give their outcomes as they come.

        It is `EsmsClient.send_many` over the queue. When it is left early, or its process dies,
        what is in the queue is sent all the same. Called again with the same messages and batch
        it goes on: what was accepted is told at once, with no attempts, and the rest is put in
        anew, which makes void what of it is still in the queue.

        Args:
            messages: The messages, pulled one at a time as places become free.
            batch: The name of the batch. One process at a time follows it like this.
            concurrency: For how many messages an outcome is awaited at most.
            ordered: True gives the outcomes in the order of the messages.

        Returns:
            An async iterator of outcomes, which is also an async context manager.
        """
        return QueuedSends(
            self._put_patiently,
            self._outcomes,
            batch,
            messages,
            concurrency=concurrency,
            ordered=ordered,
        )

    async def _put_patiently(self, message: Message, batch: str, run: int) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._put(Queued(message, datetime.now(UTC), batch, run))
            except QueueError as error:
                if not self._away:
                    _logger.warning("%s; trying again until it does", error)
                self._away = True
            else:
                self._away = False
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _put(self, queued: Queued) -> None:
        kicker: AsyncKicker[[str], str | None] = AsyncKicker(TASK, self._broker, {})
        try:
            await kicker.with_task_id(queued.message.request_id).kiq(
                Payload(dump(queued, self._settings.seal))
            )
        except SendTaskError as error:
            raise QueueError(
                "the broker did not confirm a message "
                f"({type(error.__cause__).__name__}, request id {queued.message.request_id})"
            ) from None
