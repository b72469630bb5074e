"""Sends a stream of messages with bounded concurrency and memory, and streams the outcomes."""

import asyncio
import contextlib
import operator
import warnings
from collections import deque
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
)
from typing import Self, cast

from esms_async._model.checks import check_count
from esms_async._model.errors import (
    AccountRejected,
    EsmsError,
    ForeignLedger,
    OutcomeUnknown,
    Rejected,
    UsageError,
)
from esms_async._model.messages import Message, Outcome, Receipt

Send = Callable[[Message], Awaitable[Receipt]]


class SendMany:
    """The outcomes of a stream of messages, as an async iterator.

    Messages are pulled one at a time, as places become free. A slow consumer slows the sending: at
    most twice `concurrency` messages are pulled ahead of the outcomes it took. A failed message is
    one outcome with its error. An error raised by the source of the messages, and a refusal that
    every message would meet (of the account, of the route, or a 4xx without a code), stop the
    pulling, and are raised after the outcomes of the sends in flight.

    Leave it early with `async with` or `aclose()`: nothing more is pulled, and the sends in flight
    are brought to their outcomes, which stay in the stream and can still be iterated.
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
        self._workers = _Workers(send, messages, concurrency, ordered=ordered)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Outcome:
        return await self._workers.next_outcome()

    async def aclose(self, *, cancel: bool = False) -> None:
        """Pull nothing more, and wait for the outcomes of the sends in flight.

        Args:
            cancel: True cancels these sends instead; each outcome is then the NotSent or the
                OutcomeUnknown that is true of the message.
        """
        await self._workers.stop(cancel=cancel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if hasattr(self, "_workers") and self._workers.abandon():
            warnings.warn(
                "send_many was left without aclose(); the outcomes of what was in flight are lost",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )


class _Slot:
    """One pulled message, with its outcome once there is one."""

    __slots__ = ("outcome",)

    def __init__(self) -> None:
        self.outcome: Outcome | None = None


class _Workers:
    """The workers of one stream: each pulls a message, sends it, and hands over the outcome.

    Workers hold this object and never the SendMany, so `SendMany.__del__` sees an abandoned stream.
    """

    def __init__(
        self,
        send: Send,
        messages: Iterable[object] | AsyncIterable[object],
        concurrency: int,
        *,
        ordered: bool,
    ) -> None:
        self._send = send
        self._async_source: AsyncIterator[object] | None = None
        self._source: Iterator[object] = iter(())
        if isinstance(messages, AsyncIterable):
            self._async_source = aiter(messages)
        else:
            self._source = iter(messages)
        self._concurrency = min(concurrency, operator.length_hint(messages, concurrency) or 1)
        self._most_outstanding = 2 * concurrency
        self._ordered = ordered
        self._slots: deque[_Slot] = deque()
        self._outstanding = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._pulling = asyncio.Lock()
        self._puller: asyncio.Task[None] | None = None
        self._for_room: deque[asyncio.Future[None]] = deque()
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
            self._start()
        slots = self._slots
        while True:
            if slots and (outcome := slots[0].outcome) is not None:
                slots.popleft()
                self._outstanding -= 1
                if self._for_room:
                    self._wake_one()
                return outcome
            if not self._tasks:
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
            self._cancel()
        try:
            while self._tasks:
                await asyncio.wait(self._tasks)
        except asyncio.CancelledError:
            self._cancel()
            while self._tasks:
                await asyncio.wait(self._tasks)
            raise

    def abandon(self) -> bool:
        """Pull nothing more; return True if outcomes are lost that the caller did not give up."""
        task = next(iter(self._tasks), None)
        if task is not None and not task.get_loop().is_closed():
            self._halt()
        return self._outstanding > 0 and not self._closed

    def _start(self) -> None:
        self._started = True
        if self._stopped:
            return
        loop = asyncio.get_running_loop()
        for _ in range(self._concurrency):
            task = loop.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._leave)

    def _halt(self) -> None:
        self._stopped = True
        while self._for_room:
            self._wake_one()
        if self._puller is not None:
            self._puller.cancel()

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _fail(self, failure: BaseException) -> None:
        """Pull nothing more, and raise the first such failure after the sends in flight."""
        self._failure = self._failure or failure
        self._halt()

    def _leave(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if task.cancelled():
            if not self._stopped:
                self._fail(UsageError("a task of the stream was cancelled from outside"))
        elif (failure := task.exception()) is not None:
            self._outstanding -= 1
            self._fail(failure)
        _wake(self._progress)

    async def _work(self) -> None:  # noqa: C901, PLR0912  # the whole life of a worker
        send, slots = self._send, self._slots
        while not self._stopped:
            if self._outstanding >= self._most_outstanding:
                await self._wait_for_room()
                continue
            if self._async_source is None:
                try:
                    message = next(self._source)
                except StopIteration:
                    self._stopped = True
                    return
                except Exception as error:  # noqa: BLE001  # the consumer gets it, whatever it is
                    self._fail(error)
                    return
            elif (pulled := await self._pull(self._async_source)) is None:
                continue
            else:
                message = pulled[0]
            # The client refuses what is not a Message; the outcome still names it.
            message = cast("Message", message)
            self._outstanding += 1
            slot = _Slot()
            if self._ordered:
                slots.append(slot)
            try:
                slot.outcome = Outcome(message, await send(message))
            except EsmsError as error:
                if (cause := _stops_stream(error)) is not None:
                    self._fail(cause)
                slot.outcome = Outcome(message, error=error)
            except asyncio.CancelledError as cancelled:
                if not self._stopped:
                    self._fail(UsageError("a task of the stream was cancelled from outside"))
                truth = cancelled.__cause__
                unknown = OutcomeUnknown(message, (), "it may have been accepted: cancelled")
                slot.outcome = Outcome(
                    message, error=truth if isinstance(truth, EsmsError) else unknown
                )
            except Exception as error:
                error.add_note(f"raised by the send of {message!r}")
                if self._ordered:
                    slots.remove(slot)
                raise
            if not self._ordered:
                slots.append(slot)
            if self._progress is not None:
                _wake(self._progress)

    async def _pull(self, source: AsyncIterator[object]) -> tuple[object] | None:
        """Pull one message of an async source, one worker at a time; None if there is none."""
        async with self._pulling:
            if self._stopped or self._outstanding >= self._most_outstanding:
                return None
            self._puller = asyncio.current_task()
            try:
                return (await anext(source),)
            except StopAsyncIteration:
                self._stopped = True
            except asyncio.CancelledError:
                if not self._stopped:
                    raise
            except Exception as error:  # noqa: BLE001  # the consumer gets it, whatever it is
                self._fail(error)
            finally:
                self._puller = None
        return None

    async def _wait_for_room(self) -> None:
        room = asyncio.get_running_loop().create_future()
        self._for_room.append(room)
        try:
            await room
        finally:
            if not room.done() or room.cancelled():
                with contextlib.suppress(ValueError):
                    self._for_room.remove(room)

    def _wake_one(self) -> None:
        _wake(self._for_room.popleft())


def _stops_stream(error: EsmsError) -> EsmsError | None:
    """Return the error that every other message would meet, too, if an error is or holds one.

    That is a rejection of the account, or of the route (an unknown brandname), a 4xx without a code
    (a firewall in front of the gateway refuses everybody), and a ledger that belongs to other
    sends.
    """
    cause = error.rejection if isinstance(error, OutcomeUnknown) else error
    match cause:
        case (
            AccountRejected() | Rejected(code=None) | Rejected(refuses_route=True) | ForeignLedger()
        ):
            return cause
        case _:
            return None


def _wake(waiter: "asyncio.Future[None] | None") -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
