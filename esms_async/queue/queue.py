"""The queue as those who fill it see it: put messages in, and follow what becomes of them."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Final, Self, TypeVar

from esms_async import (
    ConfigurationError,
    InvalidMessage,
    Message,
    Outcome,
    OutcomeUnknown,
    Receipt,
    RequestIdConflict,
    SendMany,
    UsageError,
)
from esms_async._model.backoff import backoff
from esms_async.ledger.transitions import WINDOW
from esms_async.queue.batcher import Batcher
from esms_async.queue.cipher import MessageCipher, keys_from_env
from esms_async.queue.reports import ACCEPTED, QueueReport, load_report
from esms_async.queue.streams import LANES, QueuedText, QueueError, QueueStreams
from esms_async.queue.tracing import span

_T = TypeVar("_T")
_Write = Callable[[Message, str, str, int], QueuedText]
_Put = Callable[[Sequence[QueuedText]], Awaitable[object]]

# No code of the morning is sent in the afternoon, and nothing that waited a day is sent at all.
_LIFETIMES: Final = {LANES[0]: timedelta(minutes=10), LANES[1]: timedelta(seconds=WINDOW)}
_LONGEST_BATCH: Final = 200
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0


class MessageQueue:
    """Puts messages into the queue of the workers, which send them.

    It needs no keys of the account. Use it with `async with`, inside one event loop.

    Args:
        url: The Redis server: `redis://`, `rediss://` or `unix://`.
        name: The name of the queue; its keys begin with it.
        key: What texts and phone numbers are encrypted with: 32 random bytes in base64url, or
            several such keys separated by commas, the first of which encrypts. None reads
            `ESMS_QUEUE_KEY`; `ESMS_QUEUE_CLEAR=1` encrypts nothing.

    Raises:
        ConfigurationError: A value can't be used, or there is neither a key nor
            `ESMS_QUEUE_CLEAR=1`.
    """

    def __init__(self, url: str, *, name: str = "esms", key: str | None = None) -> None:
        if key == "":
            raise ConfigurationError("key must not be empty; set ESMS_QUEUE_CLEAR=1 for no key")
        self._streams = QueueStreams(url, name)
        self._cipher = MessageCipher(name, keys_from_env(os.environ) if key is None else key)
        self._puts: Batcher[QueuedText, None] = Batcher(self._put_page)
        self._is_open = False
        self._form_is_known = False

    def __repr__(self) -> str:
        return f"MessageQueue(<{self._streams.address}>, name={self._streams.name!r})"

    async def __aenter__(self) -> Self:
        if self._is_open:
            raise UsageError(f"{self!r} is open already")
        try:
            await self._streams.check()
        except BaseException:
            await self._streams.aclose()
            raise
        self._is_open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections. What is in the queue is sent all the same."""
        self._is_open = False
        await self._streams.aclose()

    async def put(self, message: Message, lane: str = "otp") -> None:
        """Put a message into the queue.

        A message that is put in twice is sent once, because both are the same Message. One
        without `expires_at` is given up after 10 minutes in the lane `otp`, and after 23 hours in
        `bulk`.

        Args:
            message: The message.
            lane: `otp`, which goes first, or `bulk`.

        Raises:
            InvalidMessage: It is not a Message.
            ConfigurationError: There is no such lane.
            QueueError: The server did not confirm it. Put the same Message in again.
        """
        with span("send", self._streams.name, getattr(message, "request_id", "")) as trace:
            await self._puts.add(self._write(message, lane, trace))

    def send_many(
        self,
        messages: Iterable[Message] | AsyncIterable[Message],
        lane: str = "bulk",
        *,
        batch: str | None = None,
        concurrency: int = 1000,
        ordered: bool = False,
    ) -> "QueuedSends":
        """Have workers send a stream of messages, and give their outcomes as they come.

        It is `EsmsClient.send_many` over the queue. When it is left, or its process dies, what is
        in the queue is sent all the same. Called again with the same messages and batch it goes
        on: what was accepted is reported at once, with no attempts; the rest is put in again, which
        makes void what of it is still in the queue.

        Args:
            messages: The messages, pulled one at a time as places become free.
            lane: The lane.
            batch: The name of the batch, to attach to it again; None makes one up. One process
                at a time follows a batch. Outcomes are kept for a week.
            concurrency: For how many messages an outcome is awaited at most.
            ordered: True gives the outcomes in the order of the messages.

        Returns:
            An async iterator of outcomes, which is also an async context manager.

        Raises:
            ConfigurationError: A value can't be used.
        """
        _check_lane(lane)
        if batch is not None and not 0 < len(batch.encode()) <= _LONGEST_BATCH:
            raise ConfigurationError(f"batch must have 1 to {_LONGEST_BATCH} bytes")
        if batch is None:
            batch = os.urandom(12).hex()
        run = _Run(self._write_followed, self._put_page, self._streams, lane, batch)
        return QueuedSends(run, messages, concurrency=concurrency, ordered=ordered)

    async def depth(self) -> int:
        """Return how many messages wait or are under way; dead ones do not count.

        Raises:
            QueueError: The server can't be used.
        """
        self._require_open()
        return sum((await self._streams.depth()).values())

    def _write_followed(self, message: Message, lane: str, batch: str, run: int) -> QueuedText:
        """Return a message whose outcome a batch follows, as it is put in."""
        with span("send", self._streams.name, getattr(message, "request_id", "")) as trace:
            return self._write(message, lane, (("b", batch), ("n", str(run)), *trace))

    def _write(self, message: Message, lane: str, more: tuple[tuple[str, str], ...]) -> QueuedText:
        """Return a message as it is put in, with more fields of its entry."""
        if not isinstance(message, Message):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may have no types
            raise InvalidMessage("message", f"is a {type(message).__name__}, not a Message")
        _check_lane(lane)
        self._require_open()
        fields = message.to_dict()
        if message.expires_at is None:
            begins = datetime.now(UTC)
            if message.send_at is not None:
                begins = max(begins, message.send_at)
            fields["expires_at"] = (begins + _LIFETIMES[lane]).isoformat()
        request_id = message.request_id
        return QueuedText(lane, more, request_id, self._cipher.write(fields, request_id))

    async def _put_page(self, page: Sequence[QueuedText]) -> Sequence[None]:
        if not self._form_is_known:
            # Workers that can't read it say so before they take a message.
            await self._streams.set_fact("form", self._cipher.form)
            self._form_is_known = True
        await self._streams.put(page)
        return [None] * len(page)

    def _require_open(self) -> None:
        if not self._is_open:
            raise UsageError(f"{self!r} is not open; use it with `async with`")


class QueuedSends(SendMany):
    """The outcomes of a stream of messages that workers send; as `SendMany` in all else.

    `aclose` waits until workers have sent what is in the queue. `detach` leaves it to them: its
    outcomes are unknown here, and `send_many` with the same batch goes on.

    Attributes:
        batch: The name of the batch.
    """

    def __init__(
        self,
        run: "_Run",
        messages: Iterable[Message] | AsyncIterable[Message],
        *,
        concurrency: int,
        ordered: bool,
    ) -> None:
        self.batch: str = run.batch
        self._run = run
        super().__init__(run.send, messages, concurrency=concurrency, ordered=ordered)

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

    async def detach(self) -> None:
        """Leave what is in the queue to the workers, and wait for nothing."""
        await self.aclose(cancel=True)


class _Run:
    """One run over the messages of a batch, and who waits for which outcome."""

    def __init__(
        self, write: _Write, put: _Put, streams: QueueStreams, lane: str, batch: str
    ) -> None:
        self.batch = batch
        self._write = write
        self._put = put
        # The answers are reports.
        self._puts: Batcher[QueuedText, QueueReport] = Batcher(self._put_page)
        self._streams = streams
        self._lane = lane
        self._number = 0
        self._position = "0"
        self._accepted: dict[str, Receipt] = {}
        self._waiting: dict[str, tuple[Message, asyncio.Future[QueueReport]]] = {}
        self._beginning = asyncio.Lock()
        self._following: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    async def send(self, message: Message) -> Receipt:
        """Have a worker send a message, unless an earlier run has; give what became of it."""
        if self._following is None:
            async with self._beginning:
                await self._begin()
        request_id = getattr(message, "request_id", "")
        if (accepted := self._accepted.get(request_id)) is not None:
            return accepted
        report = await self._report(message, request_id)
        if (receipt := report.receipt()) is not None:
            return receipt
        raise report.error(message)

    async def aclose(self) -> None:
        """Follow no more, and put in no more."""
        self._puts.close()
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])

    async def _begin(self) -> None:
        """Make void what earlier runs left in the queue, and read what they have done, once."""
        if self._following is not None:
            return
        self._number = await _patiently(lambda: self._streams.begin_run(self.batch))
        while page := await _patiently(
            lambda: self._streams.reports(self.batch, self._position, wait=False)
        ):
            for position, text in page:
                report = load_report(text)
                self._position = position
                # As from a ledger: with no attempt of this run.
                if (receipt := report.receipt(attempts=False)) is not None:
                    self._accepted[report.request_id] = receipt
        self._following = asyncio.create_task(self._follow())

    async def _report(self, message: Message, request_id: str) -> QueueReport:
        if (waiting := self._waiting.get(request_id)) is not None:
            under_way, told = waiting
            if _sent(under_way) != _sent(message):
                raise RequestIdConflict(
                    message,
                    (),
                    "another message is under way with the same request id; nothing sent",
                )
            return await asyncio.shield(told)
        written = self._write(message, self._lane, self.batch, self._number)
        if self._failure is not None:
            raise _unknown(message, self._failure) from self._failure
        told = self._puts.add(written)
        self._waiting[request_id] = message, told
        try:
            return await told
        except Exception as error:
            raise _unknown(message, error) from error
        finally:
            del self._waiting[request_id]

    async def _put_page(self, page: Sequence[QueuedText]) -> None:
        await _patiently(lambda: self._put(page))

    async def _follow(self) -> None:
        try:
            while True:
                await _patiently(self._read)
        except Exception as error:  # noqa: BLE001  # nobody must wait for ever, now or later
            self._failure = error
            for _, told in self._waiting.values():
                # One who was cancelled this moment waits no more.
                with contextlib.suppress(asyncio.InvalidStateError):
                    told.set_exception(error)

    async def _read(self) -> None:
        page = await self._streams.reports(self.batch, self._position, wait=True)
        for position, text in page:
            self._position = position
            report = load_report(text)
            _, told = self._waiting.get(report.request_id, (None, None))
            # An acceptance is true of every run; anything else is for its own run to tell.
            if (
                told is not None
                and not told.done()
                and (report.kind == ACCEPTED or report.run == self._number)
            ):
                told.set_result(report)
        if not page and (latest := await self._streams.latest_run(self.batch)) != self._number:
            if latest < self._number:
                raise UsageError(
                    f"the Redis server has lost what it knew of batch {self.batch!r}; send it "
                    "again: what was accepted is not sent twice"
                )
            raise UsageError(f"another process has taken over batch {self.batch!r}")


def _sent(message: Message) -> tuple[object, ...]:
    """Return what two Messages share if they are the same logical send."""
    return message.phone, message.content, message.params, message.route


def _unknown(message: Message, error: Exception) -> OutcomeUnknown:
    """Return what is true of a message whose outcome can't be followed: workers may send it."""
    return OutcomeUnknown(message, (), f"it may have been accepted: {error}")


async def _patiently(call: Callable[[], Awaitable[_T]]) -> _T:
    """Call something until the server answers."""
    attempt = 0
    while True:
        try:
            return await call()
        except QueueError:
            attempt += 1
            await asyncio.sleep(backoff(attempt, first=_FIRST_PAUSE, longest=_LONGEST_PAUSE))


def _check_lane(lane: str) -> None:
    if lane not in LANES:
        raise ConfigurationError(f"lane must be {' or '.join(LANES)}, not {lane!r}")
