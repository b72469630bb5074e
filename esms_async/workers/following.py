"""A stream of messages through the queue, and their outcomes back."""

import asyncio
from collections.abc import AsyncIterable, Awaitable, Iterable
from typing import Protocol

from esms_async._model.errors import InvalidMessage, LedgerError, UsageError
from esms_async._model.messages import Message, Outcome, Receipt
from esms_async._send.stream import SendMany
from esms_async.workers.outcomes import BEGINNING, Outcomes
from esms_async.workers.patience import patiently
from esms_async.workers.reports import Report


class Put(Protocol):
    """Puts a message into the queue, however long the broker is away."""

    def __call__(self, message: Message, batch: str, run: int) -> Awaitable[None]:
        """Put a message in for a run of a batch."""
        ...


class QueuedSends(SendMany):
    """The outcomes of a stream of messages that workers send; as `SendMany` in all else.

    `aclose` waits until workers have sent what is in the queue; `aclose(cancel=True)` leaves it
    to them, and its outcomes are unknown here.
    """

    def __init__(
        self,
        put: Put,
        outcomes: Outcomes,
        batch: str,
        messages: Iterable[Message] | AsyncIterable[Message],
        *,
        concurrency: int,
        ordered: bool,
    ) -> None:
        self._run = _Run(put, outcomes, batch)
        super().__init__(self._run.send, messages, concurrency=concurrency, ordered=ordered)

    async def __anext__(self) -> Outcome:
        try:
            return await super().__anext__()
        except StopAsyncIteration:
            await self._run.aclose()
            raise

    async def aclose(self, *, cancel: bool = False) -> None:
        """Pull nothing more, and wait until what is in the queue has its outcome.

        Args:
            cancel: True does not wait; each outcome is then unknown here.
        """
        try:
            await super().aclose(cancel=cancel)
        finally:
            await self._run.aclose()


class _Run:
    """One run over the messages of a batch, and who waits for which outcome."""

    def __init__(self, put: Put, outcomes: Outcomes, batch: str) -> None:
        self._put = put
        self._outcomes = outcomes
        self._batch = batch
        self._number = 0
        self._position = BEGINNING
        self._accepted: dict[str, Receipt] = {}
        self._waiting: dict[str, asyncio.Future[Report]] = {}
        self._beginning = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    async def send(self, message: Message) -> Receipt:
        """Have a worker send a message, unless an earlier run has; give what became of it."""
        require_message(message)
        async with self._beginning:
            if self._watch is None:
                await self._begin()
        if (accepted := self._accepted.get(message.request_id)) is not None:
            return accepted
        outcome = (await self._report(message)).outcome(message)
        if outcome.receipt is None:
            assert outcome.error is not None  # noqa: S101  # an Outcome holds one of the two
            raise outcome.error
        return outcome.receipt

    async def aclose(self) -> None:
        """Follow no more."""
        self._stopping.set()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])

    async def _begin(self) -> None:
        """Make void what earlier runs left in the queue, and read what they have done."""
        self._number = await self._outcomes.begin_run(self._batch)
        while page := await self._outcomes.read(self._batch, self._position, wait=False):
            for _, report in page:
                if report.ok:
                    self._accepted[report.request_id] = _earlier(report)
            self._position = page[-1][0]
        self._watch = asyncio.create_task(self._follow())

    async def _report(self, message: Message) -> Report:
        request_id = message.request_id
        if (waiting := self._waiting.get(request_id)) is not None:
            return await asyncio.shield(waiting)
        told: asyncio.Future[Report] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = told
        try:
            await self._put(message, self._batch, self._number)
            return await told
        finally:
            del self._waiting[request_id]

    async def _follow(self) -> None:
        try:
            while True:
                await patiently(self._read, self._stopping)
        except (LedgerError, UsageError) as error:
            for told in self._waiting.values():
                if not told.done():
                    told.set_exception(error)

    async def _read(self) -> None:
        page = await self._outcomes.read(self._batch, self._position, wait=True)
        for position, report in page:
            self._position = position
            told = self._waiting.get(report.request_id)
            # What an earlier run is told of counts where it was accepted; else it was this one's
            # turn, which is told of separately.
            if told is not None and not told.done() and (report.ok or report.run == self._number):
                told.set_result(report)
        if not page and await self._outcomes.latest_run(self._batch) != self._number:
            raise UsageError(f"another process has taken over batch {self._batch!r}")


def _earlier(report: Report) -> Receipt:
    """Return the receipt of an earlier run: as from a ledger, with no attempt of this one."""
    return Receipt(report.request_id, report.sms_id, report.deduplicated)


def require_message(message: object) -> None:
    """Refuse what is no Message.

    Args:
        message: What was given as one.

    Raises:
        InvalidMessage: It is none.
    """
    if not isinstance(message, Message):
        raise InvalidMessage("message", f"is a {type(message).__name__}, not a Message")
