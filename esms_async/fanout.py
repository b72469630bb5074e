"""Sends a stream of messages with bounded concurrency and memory, and streams the outcomes."""

import asyncio
import warnings
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Self, cast

from esms_async.checks import check_count
from esms_async.errors import (
    AccountRejected,
    EsmsError,
    OutcomeUnknown,
    UsageError,
)
from esms_async.messages import Message, Outcome, Receipt

Send = Callable[[Message], Awaitable[Receipt]]


class SendMany:
    """The outcomes of a stream of messages, as an async iterator.

    Messages are pulled one at a time, as places become free. A consumer that takes its time
    stops the sending: at most twice `concurrency` messages are pulled whose outcomes were not
    handed over. A failed message is one outcome with its error. An error raised by the source of
    the messages, and the rejection of the account as a whole, stop the pulling, and are raised
    once the outcomes of what was in flight have been handed over.

    Leave it early with `async with` or `aclose()`: nothing more is pulled, and what is in flight
    is brought to its outcome. Those outcomes stay in the stream and can still be iterated.
    """

    def __init__(
        self,
        send: Send,
        messages: Iterable[Message] | AsyncIterable[Message],
        *,
        concurrency: int,
        ordered: bool,
    ) -> None:
        check_count("concurrency", concurrency)
        self._crew = _Crew(send, _source(messages), concurrency, ordered=ordered)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Outcome:
        return await self._crew.next_outcome()

    async def aclose(self, *, cancel: bool = False) -> None:
        """Pull nothing more, and wait until what is in flight has its outcome.

        Args:
            cancel: True cancels what is in flight instead; each outcome is then the NotSent or
                the OutcomeUnknown that is true of the message.
        """
        await self._crew.stop(cancel=cancel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if hasattr(self, "_crew") and self._crew.abandon():
            warnings.warn(
                "send_many was left without aclose(); the outcomes of what was in flight are lost",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )


class _Place:
    """The place of one pulled message in the stream, with its outcome once it has one."""

    __slots__ = ("outcome",)

    def __init__(self) -> None:
        self.outcome: Outcome | None = None


class _Crew:
    """The workers of one stream: each pulls a message, sends it, and puts down the outcome.

    Workers hold this object, and never the SendMany in front of it, so that a stream nobody
    refers to any more is noticed.
    """

    def __init__(
        self, send: Send, source: AsyncIterator[object], concurrency: int, *, ordered: bool
    ) -> None:
        self._send = send
        self._source = source
        self._concurrency = concurrency
        self._ordered = ordered
        self._places: deque[_Place] = deque()
        self._outstanding = 0
        self._workers: set[asyncio.Task[None]] = set()
        self._pulling = asyncio.Lock()
        self._pullers = 0
        self._waiting_for_source: asyncio.Task[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._progress: asyncio.Future[None] | None = None
        self._started = False
        self._stopped = False
        self._closed = False
        self._failure: BaseException | None = None

    async def next_outcome(self) -> Outcome:
        """Hand over the next outcome, or raise what ended the stream."""
        if self._progress is not None:
            raise UsageError("this stream is already being iterated by another task")
        if not self._started:
            self._started = True
            self._hire()
        while True:
            if self._places and (outcome := self._places[0].outcome) is not None:
                self._places.popleft()
                self._outstanding -= 1
                _wake(self._room)
                return outcome
            if not self._workers:
                failure, self._failure = self._failure, None
                raise failure or StopAsyncIteration
            self._progress = asyncio.get_running_loop().create_future()
            try:
                await self._progress
            finally:
                self._progress = None

    async def stop(self, *, cancel: bool) -> None:
        """Pull nothing more and wait for the workers; cancelled meanwhile, cancel them too."""
        self._closed = True
        self._halt()
        if cancel:
            self._cancel_workers()
        try:
            while self._workers:
                await asyncio.wait(self._workers)
        except asyncio.CancelledError:
            self._cancel_workers()
            while self._workers:
                await asyncio.wait(self._workers)
            raise

    def abandon(self) -> bool:
        """Pull nothing more; tell whether outcomes are lost that nobody chose to leave."""
        worker = next(iter(self._workers), None)
        if worker is not None and not worker.get_loop().is_closed():
            self._halt()
        return self._outstanding > 0 and not self._closed

    def _halt(self) -> None:
        self._stopped = True
        _wake(self._room)
        if self._waiting_for_source is not None:
            self._waiting_for_source.cancel()

    def _cancel_workers(self) -> None:
        for worker in self._workers:
            worker.cancel()

    def _fail(self, failure: BaseException) -> None:
        """Pull nothing more, and raise the first such failure once what is in flight is done."""
        self._failure = self._failure or failure
        self._halt()

    def _hire(self) -> None:
        if self._stopped or self._pullers or len(self._workers) >= self._concurrency:
            return
        worker = asyncio.get_running_loop().create_task(self._work())
        self._pullers += 1
        self._workers.add(worker)
        worker.add_done_callback(self._leave)

    def _leave(self, worker: "asyncio.Task[None]") -> None:
        self._workers.discard(worker)
        if worker.cancelled():
            if not self._stopped:
                self._fail(UsageError("a task of the stream was cancelled from outside"))
        elif (failure := worker.exception()) is not None:
            self._outstanding -= 1
            self._fail(failure)
        _wake(self._progress)

    async def _work(self) -> None:
        while (pulled := await self._pull()) is not None:
            place, message = pulled
            self._hire()
            try:
                place.outcome = await self._deliver(message)
            except Exception as error:
                error.add_note(f"raised by the send of {message!r}")
                if self._ordered:
                    self._places.remove(place)
                raise
            if not self._ordered:
                self._places.append(place)
            _wake(self._progress)
            self._pullers += 1

    async def _pull(self) -> tuple[_Place, object] | None:
        """Pull one message once there is room for its outcome; None ends a worker."""
        try:
            async with self._pulling:
                while self._outstanding >= 2 * self._concurrency and not self._stopped:
                    self._room = asyncio.get_running_loop().create_future()
                    await self._room
                if self._stopped or not (pulled := await self._take()):
                    return None
                self._outstanding += 1
                place = _Place()
                if self._ordered:
                    self._places.append(place)
                return place, pulled[0]
        finally:
            self._pullers -= 1

    async def _take(self) -> tuple[object] | None:
        self._waiting_for_source = asyncio.current_task()
        try:
            return (await anext(self._source),)
        except StopAsyncIteration:
            self._stopped = True
        except asyncio.CancelledError:
            if not self._stopped:
                raise
        except Exception as error:  # noqa: BLE001  # the consumer gets it, whatever it is
            self._fail(error)
        finally:
            self._waiting_for_source = None
        return None

    async def _deliver(self, message: object) -> Outcome:
        # What is no Message is refused by the client, and its outcome names it all the same.
        message = cast("Message", message)
        try:
            return Outcome(message, await self._send(message))
        except EsmsError as error:
            if (rejection := _account_rejection(error)) is not None:
                self._fail(rejection)
            return Outcome(message, error=error)
        except asyncio.CancelledError as cancelled:
            self._halt()
            told = cancelled.__cause__
            unknown = OutcomeUnknown(message, (), "it may have been accepted: cancelled")
            return Outcome(message, error=told if isinstance(told, EsmsError) else unknown)


class _OneByOne(AsyncIterator[object]):
    """An iterable as an async iterator, without reading ahead."""

    def __init__(self, items: Iterable[object]) -> None:
        self._items = iter(items)

    async def __anext__(self) -> object:
        try:
            return next(self._items)
        except StopIteration:
            raise StopAsyncIteration from None


def _source(messages: Iterable[object] | AsyncIterable[object]) -> AsyncIterator[object]:
    return aiter(messages) if isinstance(messages, AsyncIterable) else _OneByOne(messages)


def _account_rejection(error: EsmsError) -> AccountRejected | None:
    """Return the rejection of the account that an error holds, if any."""
    rejection = error.rejection if isinstance(error, OutcomeUnknown) else error
    return rejection if isinstance(rejection, AccountRejected) else None


def _wake(waiter: "asyncio.Future[None] | None") -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
