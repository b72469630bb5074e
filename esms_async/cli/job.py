"""What sending and a dry run of a file have in common: its rows, their messages, the record."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import attrs

from esms_async._model.errors import InvalidMessage
from esms_async._model.messages import Message
from esms_async._model.phone import normalize_phone
from esms_async._model.text import normalize_text
from esms_async.cli.errors import InputError, InvalidField
from esms_async.cli.identity import RowIds, hold_to_secret
from esms_async.cli.ledger_choice import LedgerChoice
from esms_async.cli.rate import Rate
from esms_async.cli.reader import RowReader
from esms_async.cli.report import Refusals
from esms_async.cli.results import ResultsFile, RowResult, Tally
from esms_async.cli.rows import Row, UnreadableRow
from esms_async.cli.template import Template
from esms_async.ledger import Ledger

# After so many rows in a row that give no message, the event loop has a turn.
_ROWS_A_TURN = 100


@attrs.frozen
class BulkOptions:
    """What the command was asked to do.

    Attributes:
        file: The path of the input; `-` is standard input.
        template: What makes the content, or None for the column `content`.
        key: The column whose value tells the rows apart, or None.
        batch: The name of the batch.
        batch_is_new: True where that name was just made up.
        concurrency: How many sends are under way at most.
        rate: How fast to send, or None for as fast as the gateway answers.
        ledger: The ledger that is kept, if any.
        retry_rejected: True sends the rows anew that the ledger holds as rejected.
        by_queue: True where workers send.
        sandbox: True where the gateway checks messages, and sends none.
        dry_run: True where nothing goes to the gateway.
        results: The path of the file that lists every row, or None.
        json: True prints the counts as JSON on standard output.
        quiet: True shows neither progress nor refused rows.
        again: The command line that goes on with the job, or None where it can't be shown.
    """

    file: str
    template: Template | None = None
    key: str | None = None
    batch: str = "batch"
    batch_is_new: bool = False
    concurrency: int = 64
    rate: Rate | None = None
    ledger: LedgerChoice = attrs.Factory(LedgerChoice)
    retry_rejected: bool = False
    by_queue: bool = False
    sandbox: bool = False
    dry_run: bool = False
    results: str | None = None
    json: bool = False
    quiet: bool = False
    again: str | None = None

    def check(self) -> None:
        """Refuse options that do not go together.

        Raises:
            InputError: They don't; the error says which.
        """
        if self.retry_rejected and self.ledger.place is None:
            raise InputError("--retry-rejected needs the ledger that knows what was rejected")
        if self.batch_is_new and self.ledger.place is not None:
            raise InputError(
                "--ledger needs --batch NAME with standard input: by it the rows are known again"
            )

    @property
    def can_retry_rejected(self) -> bool:
        """Whether another run could send the rejected rows anew, as this one does not."""
        return self.ledger.place is not None and not (self.retry_rejected or self.by_queue)

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns that every row must have."""
        content = self.template.fields if self.template else ("content",)
        return tuple(dict.fromkeys(("phone", *content, *([self.key] if self.key else []))))


def default_batch(path: str) -> str:
    """Return the name of a batch that was given none.

    Returns:
        The name of the file without its suffix; a new name for standard input, which has none.
    """
    return os.urandom(4).hex() if path == "-" else Path(path).stem


def compose(options: BulkOptions, ids: RowIds, row: Row) -> Message:
    """Make the message of a row.

    Raises:
        InvalidField: The row lacks a field, or has the key of an earlier one.
        InvalidMessage: A field can't be part of a message.
    """
    phone, template = row.text("phone"), options.template
    if template is None:
        content = row.text("content")
    else:
        content = template.render({field: row.text(field) for field in template.fields})
    if options.key is None:
        request_id = ids.of_text(_canonical(phone), normalize_text(content), row.number)
        return Message(phone, content, request_id=request_id)
    message = Message(phone, content, request_id=ids.of_key(row.text(options.key)))
    if (first := ids.claim(message.request_id, row.number)) != row.number:
        raise InvalidField(options.key, f"is that of row {first} too, which goes first")
    return message


def _canonical(phone: str) -> str:
    """Return a phone however it was written in one form; what is none, Message refuses next."""
    try:
        return normalize_phone(phone)
    except ValueError:
        return phone


class Record:
    """What is kept of the outcomes: counts, the first refusals, and the file where there is one.

    Attributes:
        tally: The counts.
        refusals: The first refused rows.
        failure: Why the file could not be written on, if so. The counts go on all the same.
    """

    def __init__(self, results: ResultsFile | None, on_failure: Callable[[], None]) -> None:
        self.tally: Tally = Tally()
        self.refusals: Refusals = Refusals()
        self.failure: InputError | None = None
        self._results = results
        self._on_failure = on_failure

    def add(self, result: RowResult) -> None:
        """Take in what became of one row."""
        self.tally.add(result)
        self.refusals.add(result)
        if self._results is None:
            return
        try:
            self._results.write(result)
        except InputError as error:
            self.failure, self._results = error, None
            self._on_failure()


class Rows:
    """The rows of the input on their way to messages.

    Attributes:
        record: What became of them so far.
        pulled: How many were read.
    """

    def __init__(
        self, options: BulkOptions, reader: RowReader, ids: RowIds, record: Record
    ) -> None:
        self.record = record
        self.pulled: int = 0
        self._options = options
        self._reader = reader
        self._ids = ids

    @property
    def fraction(self) -> float | None:
        """Which fraction of the input was read, from 0 to 1; None where nobody knows."""
        return self._reader.fraction

    async def messages(self) -> AsyncIterator[tuple[int, Message]]:
        """Make the messages; a row that gives none goes into the record at once.

        Yields:
            The number of the row, and its message.
        """
        idle = 0
        async for row in self._reader:
            self.pulled += 1
            message = self._message(row)
            if message is not None:
                idle = 0
                yield row.number, message
            elif (idle := idle + 1) % _ROWS_A_TURN == 0:
                await asyncio.sleep(0)

    def _message(self, row: Row | UnreadableRow) -> Message | None:
        if isinstance(row, UnreadableRow):
            self.record.add(RowResult.invalid(row.number, "", row.problem))
            return None
        try:
            return compose(self._options, self._ids, row)
        except (InvalidField, InvalidMessage) as error:
            phone = row.values.get("phone")
            written = phone if isinstance(phone, str) else ""
            self.record.add(RowResult.invalid(row.number, written, str(error)))
            return None


@asynccontextmanager
async def open_rows(
    options: BulkOptions,
    secret: str,
    on_failure: Callable[[], None],
    ledger: Ledger | None = None,
    check: Callable[[], Awaitable[object]] | None = None,
) -> AsyncGenerator[Rows]:
    """Open the input, then the ledger, then the file of results.

    No input, no ledger is made; and a ledger that another run is using keeps the results of that
    run from being written over.

    Args:
        options: Which they are.
        secret: What the RequestIds of rows without a key are derived with.
        on_failure: Called where the file of results can't be written on.
        ledger: The ledger, which stays the caller's to close; None where there is none.
        check: Asks whether the ledger, once open, can take what is about to be sent.

    Raises:
        InputError: The input or the file of results can't be used.
        LedgerError: The ledger can't.
    """
    async with await RowReader.open(options.file, options.needed) as reader:
        if ledger is not None:
            await ledger.open()
            if check is not None:
                await check()
            if options.key is None:
                await hold_to_secret(ledger, options.batch, secret)
        with (
            RowIds(options.batch, secret) as ids,
            ResultsFile.open(
                options.results, kept=(options.file, options.ledger.place), fresh=options.dry_run
            )
            if options.results
            else nullcontext() as results,
        ):
            yield Rows(options, reader, ids, Record(results, on_failure))
