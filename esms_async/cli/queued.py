"""Has the workers of a queue send every row of a file, and says of each what became of it."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from typing import Final, Protocol, Self

import attrs
import click
from click.core import ParameterSource

from esms_async import (
    EsmsError,
    FixedNumber,
    Message,
    NotSent,
    Outcome,
    OutcomeUnknown,
    Receipt,
)
from esms_async.cli.batch import AheadLedger, Batch
from esms_async.cli.bulk import BulkOptions, BulkRun, open_rows
from esms_async.cli.errors import ExitCode, InputError
from esms_async.cli.gateway import row_secret
from esms_async.cli.interrupt import Stopping, on_interrupt
from esms_async.cli.ledger_choice import LedgerChoice, queue_name
from esms_async.cli.rows import RowIds
from esms_async.cli.screen import Screen
from esms_async.cli.words import text

_AWAITED: Final = 1000
# How the gateway is reached, and what is kept, is set where the workers run.
_OF_WORKERS: Final = (
    "emulator",
    "fault",
    "seed",
    "base_url",
    "sandbox",
    "rate",
    "ledger",
    "no_ledger",
    "retry_rejected",
)


def awaited_rows(context: click.Context) -> int:
    """Return how many rows wait for their outcome at most; refuse options that workers decide.

    Raises:
        InputError: An option has no meaning beside `--queue`; the error names it.
    """
    for name in _OF_WORKERS:
        if _is_given(context, name):
            option = f"--{name.replace('_', '-')}"
            raise InputError(text("queue_or_option", option=option))
    if not _is_given(context, "concurrency"):
        return _AWAITED
    concurrency: int = context.params["concurrency"]
    return concurrency


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE


async def bulk_by_queue(options: BulkOptions, url: str, screen: Screen) -> ExitCode:
    """Have workers send every row of a file.

    Args:
        options: What to do. The ledger is that of the workers, whatever they say.
        url: Where the queue is; `ESMS_QUEUE_NAME` names it.
        screen: Where to report.

    Raises:
        EsmsError: The options, the environment variables, the input or the file of results can't
            be used, a library is missing, or a server can't be reached.
    """
    try:
        from esms_async.cli.queue_watch import watched  # noqa: PLC0415  # it needs the extra
        from esms_async.ledger import RedisLedger  # noqa: PLC0415  # the same
        from esms_async.queue import MessageQueue  # noqa: PLC0415  # the same
        from esms_async.queue.streams import QueueStreams, ledger_prefix  # noqa: PLC0415  # the same
    except ImportError as error:
        raise InputError(str(error)) from None
    name = queue_name()
    queue = MessageQueue(url, name=name)
    options = attrs.evolve(options, ledger=LedgerChoice.named(url), by_queue=True)
    options.check()
    secret = _secret(options)
    stopping = Stopping(screen, ("stopping_queue", "stopping_queue_now"))
    screen.on_break(stopping.break_off)
    try:
        with on_interrupt(stopping.interrupt):
            async with AsyncExitStack() as stack:
                rows = await open_rows(stack, options, FixedNumber())
                # Opening it shows that the server is there before anything is put in.
                stored = RedisLedger(url, prefix=ledger_prefix(name))
                ledger = AheadLedger(await stack.enter_async_context(aclosing(stored)))
                await ledger.open()
                ids = RowIds(options.batch, secret)
                keyed = options.key is not None
                batch = Batch(ledger, options.batch, secret=secret, ids=ids, is_keyed=keyed)
                await batch.check_secret()
                await stack.enter_async_context(queue)
                screen.say(text("workers_send", name=repr(name)))
                stream = StreamSender(
                    lambda messages: queue.send_many(
                        messages, batch=options.batch, concurrency=options.concurrency
                    )
                )
                await stack.enter_async_context(stream)
                watching = await stack.enter_async_context(aclosing(QueueStreams(url, name)))
                await stack.enter_async_context(watched(watching, screen))
                run = BulkRun(options, rows, ids, batch, stopping, screen, None)
                return await run.run(stack, stream.send, concurrency=options.concurrency)
    except asyncio.CancelledError:
        if not stopping.ended_job:
            raise
        stopping.say(text("nothing_sent"))
        return ExitCode.INTERRUPTED


class OutcomeStream(Protocol):
    """The outcomes of a stream of messages, in any order."""

    def __aiter__(self) -> AsyncIterator[Outcome]:
        """Iterate over them."""
        ...

    async def aclose(self, *, cancel: bool = False) -> None:
        """Take no more messages, and bring what is in flight to its outcome or give it up."""
        ...


class StreamSender:
    """Sends single messages by way of a function that gives outcomes for a stream of them.

    Use it with `async with`.
    """

    def __init__(self, deliver: Callable[[AsyncIterable[Message]], OutcomeStream]) -> None:
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue()
        self._waiting: dict[str, asyncio.Future[Outcome]] = {}
        self._stream = deliver(self._source())
        self._failure: EsmsError | None = None
        self._task: asyncio.Task[None]

    async def send(self, message: Message) -> Receipt:
        """Put a message into the stream and wait for its outcome."""
        if self._failure is not None:
            raise NotSent(message, (), str(self._failure)) from self._failure
        done = self._waiting[message.request_id] = asyncio.get_running_loop().create_future()
        self._messages.put_nowait(message)
        try:
            outcome = await done
        except asyncio.CancelledError as cancelled:
            cancelled.__cause__ = OutcomeUnknown(message, (), "a worker may send it yet")
            raise
        finally:
            self._waiting.pop(message.request_id, None)
        if outcome.error is not None:
            raise outcome.error
        receipt: Receipt | None = outcome.receipt
        assert receipt is not None  # noqa: S101  # an Outcome holds one or the other
        return receipt

    async def __aenter__(self) -> Self:
        self._task = asyncio.get_running_loop().create_task(self._receive())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._messages.put_nowait(None)
        await self._stream.aclose(cancel=True)
        await asyncio.wait([self._task])

    async def _source(self) -> AsyncIterator[Message]:
        while (message := await self._messages.get()) is not None:
            yield message

    async def _receive(self) -> None:
        try:
            async for outcome in self._stream:
                waiting = self._waiting.get(outcome.message.request_id)
                if waiting is not None and not waiting.done():
                    waiting.set_result(outcome)
        except EsmsError as error:
            self._failure = error
            for waiting in self._waiting.values():
                # One who was cancelled this moment waits no more.
                with contextlib.suppress(asyncio.InvalidStateError):
                    waiting.set_exception(error)


def _secret(options: BulkOptions) -> str:
    """Return what the RequestIds of rows are derived with, the same as without a queue."""
    secret = row_secret(os.environ)
    if not secret and options.key is None:
        raise InputError(text("secret_or_key"))
    return secret
