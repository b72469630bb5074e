"""Sends every row of a list: reads it, shows the plan, asks, sends, and reports.

The list is read twice, if it is a file: once for the plan, and once to send. Each time it comes in
chunks, which are checked, claimed in the ledger and listed as a whole; only the sends go one by
one.
"""

import asyncio
import os
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, nullcontext
from pathlib import Path
from typing import Final, cast

import attrs

from esms_async import (
    AccountRejected,
    Brandname,
    EsmsError,
    FixedNumber,
    ForeignLedger,
    LedgerError,
    Message,
    NotSent,
    OutcomeUnknown,
    QueryError,
    Receipt,
    Rejected,
    Route,
    UsageError,
)
from esms_async.cli.batch import AheadLedger, Batch, Manifest
from esms_async.cli.errors import ExitCode, InputError
from esms_async.cli.gateway import Connection, GatewayChoice, connect
from esms_async.cli.interrupt import Stopping, confirm, on_interrupt
from esms_async.cli.ledger_choice import LedgerChoice, naming_ledger
from esms_async.cli.progress import Pace, shown
from esms_async.cli.rate import Rate
from esms_async.cli.report import Plan, print_plan, print_report
from esms_async.cli.results import Chunk, OrderedResults, ResultsFile, Tally, accept, refuse
from esms_async.cli.rows import (
    BulkRow,
    Columns,
    RowChecker,
    RowIds,
    RowRules,
    RowStatus,
    Template,
    find_columns,
)
from esms_async.cli.screen import Screen
from esms_async.cli.spreadsheet import Sheet, SheetRow, column_name, open_sheet
from esms_async.cli.words import text
from esms_async.text import Alphabet, measure

Send = Callable[[Message], Awaitable[Receipt]]
"""Sends one message from here, or by way of others."""

_SAMPLED: Final = 100
# The plan claims nothing, so its chunks are as large as a signal may wait for.
_PLANNED: Final = 512
# How many rows are checked, claimed and listed as a whole: some for each send under way.
_CHUNKS: Final = 4
_LARGEST_CHUNK: Final = 256
# Rows that are settled wait for those before them, to be listed in order; so many at most.
_MOST_WAITING: Final = 16_384
# No character of ASCII takes more than two of the 160 septets of a message.
_SURELY_ONE_PART: Final = 80


@attrs.frozen
class BulkOptions:
    """What the command was asked to do.

    Attributes:
        file: The path of the list; `-` is standard input.
        template: What makes the text, or None for a column.
        phone_column: The column of the phone, or None to find it.
        content_column: The column of the text, or None to find it.
        key: The column that identifies a row, or None.
        route: How the messages travel, or None for what ESMS_ROUTE says.
        params: The columns of the parameters of a Zalo template; see `find_columns`.
        batch: The name of the batch.
        batch_is_new: True if that name was just made up.
        concurrency: How many sends are under way at most.
        rate: How fast to send, or None for as fast as the gateway answers.
        ledger: The ledger that is kept, if any.
        retry_rejected: True sends rows again that the ledger holds as rejected.
        template_changed: True goes on with a batch under a new text.
        allow_duplicates: True sends the same text to a phone as often as the list says.
        allow_again: True sends further texts of the batch to a phone.
        stop_after: After how many sends in a row that never left this machine to stop; 0 is never.
        by_queue: True if workers send.
        sandbox: True if the gateway checks messages and sends none.
        dry_run: True if nothing goes to the gateway.
        results: The path of the file that lists every row, or None.
        yes: True asks nothing.
        json: True prints the counts as JSON on standard output.
        quiet: True hides the plan, the progress and the reasons.
        again: The command line that goes on with the job, or None if it can't be shown.
    """

    file: str
    template: Template | None = None
    phone_column: str | None = None
    content_column: str | None = None
    key: str | None = None
    route: Route | None = None
    params: tuple[str, ...] = ()
    batch: str = "batch"
    batch_is_new: bool = False
    concurrency: int = 64
    rate: Rate | None = None
    ledger: LedgerChoice = attrs.Factory(LedgerChoice)
    retry_rejected: bool = False
    template_changed: bool = False
    allow_duplicates: bool = False
    allow_again: bool = False
    stop_after: int = 50
    by_queue: bool = False
    sandbox: bool = False
    dry_run: bool = False
    results: str | None = None
    yes: bool = False
    json: bool = False
    quiet: bool = False
    again: str | None = None

    def check(self) -> None:
        """Refuse options that do not go together.

        Raises:
            InputError: They don't; the error says which.
        """
        if self.retry_rejected and self.ledger.place is None:
            raise InputError(text("retry_needs_ledger"))
        if self.template_changed and self.ledger.place is None:
            raise InputError(text("changed_needs_ledger"))
        if self.template is not None and self.content_column is not None:
            raise InputError(text("two_contents"))
        if self.batch_is_new and self.ledger.place is not None:
            raise InputError(text("batch_needed"))

    @property
    def can_retry_rejected(self) -> bool:
        """Whether another run could send the rejected rows again, as this one does not."""
        return self.ledger.place is not None and not (self.retry_rejected or self.by_queue)


def default_batch(path: str) -> str:
    """Return the name of a batch that was given none.

    Returns:
        The name of the file without its suffix; a new name for standard input, which has none.
    """
    return os.urandom(4).hex() if path == "-" else Path(path).stem


class RowList:
    """The rows of a list whose columns are known.

    Attributes:
        sheet: The list as it is read.
        columns: Its columns.
    """

    def __init__(
        self, sheet: Sheet, columns: Columns, first: AsyncIterator[list[SheetRow]] | None
    ) -> None:
        self.sheet = sheet
        self.columns = columns
        self._first = first

    def chunks(self, size: int) -> AsyncIterator[list[SheetRow]]:
        """Read the rows; those of a pipe once."""
        first, self._first = self._first, None
        return self.sheet.chunks(size) if first is None else first


async def open_rows(stack: AsyncExitStack, options: BulkOptions, route: Route) -> RowList:
    """Open the list and find its columns.

    Args:
        stack: What closes it.
        options: What to do.
        route: How the messages travel.

    Raises:
        InputError: It can't be used, or holds no rows.
    """
    sheet = await open_sheet(options.file)
    stack.callback(sheet.close)
    chunks = sheet.chunks(
        _SAMPLED if sheet.can_repeat else min(options.concurrency, _LARGEST_CHUNK)
    )
    try:
        sample = await anext(chunks, None)
        columns = find_columns(
            sheet,
            sample or [],
            phone=options.phone_column,
            content=options.content_column,
            template=options.template,
            key=options.key,
            params=options.params if route.takes_params else None,
        )
        if sample is None:
            raise InputError(text("no_rows", file=sheet.name))
    finally:
        if sheet.can_repeat:
            await cast("AsyncGenerator[list[SheetRow]]", chunks).aclose()
    return RowList(sheet, columns, None if sheet.can_repeat else _chained(sample, chunks))


async def _chained(
    first: list[SheetRow], rest: AsyncIterator[list[SheetRow]]
) -> AsyncIterator[list[SheetRow]]:
    yield first
    async for chunk in rest:
        yield chunk


def row_rules(options: BulkOptions, columns: Columns) -> RowRules:
    """Return what decides whether a row gives a message."""
    return RowRules(
        columns,
        options.template,
        allow_duplicates=options.allow_duplicates,
        allow_again=options.allow_again,
    )


def new_checker(options: BulkOptions, rows: RowList, ids: RowIds) -> RowChecker:
    """Return what makes messages of the rows."""
    rules, sheet = row_rules(options, rows.columns), rows.sheet
    return RowChecker(rules, ids, sheet.columns, sheet.empty)


async def make_plan(
    rows: RowList,
    checker: RowChecker,
    batch: Batch | None,
    listed: Callable[[list[BulkRow]], None] = lambda _: None,
) -> Plan:
    """Read the list and count what would become of it."""
    plan, tally = Plan(), Tally()
    plan.tally = tally
    # The ledger holds nothing of a new batch, so only the message that is priced needs an id.
    earlier = None if batch is None or batch.is_new else batch
    async for chunk in rows.chunks(_PLANNED):
        checked = checker.check(chunk, ids=earlier is not None or plan.sample is None)
        if earlier is not None:
            await earlier.preview(checked)
        else:
            # So a signal is heard.
            await asyncio.sleep(0)
        for row in checked:
            if row.status is None:
                plan.sample = plan.sample or row.message
                content = row.content
                if content is None:
                    # A Zalo message is charged as one.
                    plan.parts += 1
                elif len(content) <= _SURELY_ONE_PART and content.isascii():
                    plan.parts += 1
                else:
                    size = measure(content)
                    plan.parts += size.parts
                    plan.unicode += size.alphabet is Alphabet.UCS2
                row.status = RowStatus.CHECKED
        tally.add(*checked)
        listed(checked)
    return plan


async def dry_run(options: BulkOptions, screen: Screen) -> ExitCode:
    """Check every row of a list, measure its texts, and send nothing.

    Raises:
        InputError: The options, the list or the file of results can't be used.
    """
    options.check()
    async with AsyncExitStack() as stack:
        rows = await open_rows(stack, options, options.route or FixedNumber())
        results = _results(options, screen)
        if results is not None:
            stack.enter_context(results).open(rows.sheet.columns, fresh=True)
        # No RequestId of a dry run is ever sent, so it takes no secret key.
        checker = new_checker(options, rows, RowIds(options.batch, "dry run"))
        ordered = OrderedResults(results)

        def listed(checked: list[BulkRow]) -> None:
            for row in checked:
                row.request_id = ""
            ordered.add(Chunk(checked, 0))
            if ordered.failure is not None:
                raise ordered.failure

        plan = await make_plan(rows, checker, None, listed)
    tally = plan.tally
    print_plan(screen, options, rows, plan, route=options.route or FixedNumber(), dry_run=True)
    if options.json:
        checked = tally[RowStatus.CHECKED]
        screen.put_json({**tally.summary(0.0), "checked": checked, "parts": plan.parts})
    return ExitCode.ACCEPTED if tally.faultless else ExitCode.REFUSED


def _results(options: BulkOptions, screen: Screen) -> ResultsFile | None:
    if options.results is None:
        return None
    kept = (options.file, options.ledger.place)
    return ResultsFile(options.results, screen.language, kept=kept)


async def bulk(options: BulkOptions, choice: GatewayChoice, screen: Screen) -> ExitCode:
    """Send every row of a list.

    Raises:
        EsmsError: The options, the keys, the list, the ledger or the file of results can't be
            used.
    """
    options.check()
    stopping = Stopping(screen)
    screen.on_break(stopping.break_off)
    kept, rate = options.ledger.make(), options.rate
    concurrency = options.concurrency if rate is None else rate.bounded(options.concurrency)
    try:
        with on_interrupt(stopping.interrupt):
            async with AsyncExitStack() as stack:
                # It is opened once the list is, and closed once the client has settled all.
                ledger = None
                if kept is not None:
                    ledger = await stack.enter_async_context(aclosing(AheadLedger(kept)))
                connection = await stack.enter_async_context(
                    connect(
                        choice,
                        max_connections=concurrency,
                        rate=rate,
                        ledger=ledger,
                        route=options.route,
                    )
                )
                rows = await open_rows(stack, options, connection.client.route)
                if connection.limiter is not None:
                    stopping.on_halt = connection.limiter.close
                ids = RowIds(options.batch, connection.secret)
                batch = None
                if ledger is not None:
                    ledger.make_fingerprints_with(
                        connection.account_secret, connection.client.route
                    )
                    await ledger.open()
                    # It looks for no send, so it only asks whether the ledger may take these.
                    with naming_ledger(options.ledger.place or ""):
                        await connection.client.reconcile(())
                    batch = _batch(options, ledger, connection.secret, ids)
                job = BulkRun(options, rows, ids, batch, stopping, screen, connection)
                return await job.run(
                    stack,
                    connection.client.send,
                    concurrency=concurrency,
                    ledger=ledger,
                )
    except asyncio.CancelledError:
        if not stopping.ended_job:
            raise
        stopping.say(text("nothing_sent"))
        return ExitCode.INTERRUPTED


def _batch(options: BulkOptions, ledger: AheadLedger, secret: str, ids: RowIds) -> Batch:
    return Batch(
        ledger,
        options.batch,
        secret=secret,
        ids=ids,
        is_keyed=options.key is not None,
        retry_rejected=options.retry_rejected,
        template_changed=options.template_changed,
        allow_again=options.allow_again,
    )


def manifest_of(options: BulkOptions, rows: RowList, secret: str, route: Route) -> Manifest:
    """Return what a batch is begun with."""
    columns, names = rows.columns, rows.sheet.columns
    used = (columns.phone, *columns.content, *(place for _, place in columns.params))
    former = None
    if columns.params:
        template = f"params {columns.params}"
    elif options.template is not None:
        fields = [column_name(names[place]) for place in columns.content]
        template = f"template {options.template.named(fields)}"
        former = f"template {options.template.written}"
    else:
        template = f"column {column_name(names[columns.content[0]])}"
    return Manifest.of(
        secret,
        template,
        former=former,
        key=None if columns.key is None else column_name(names[columns.key]),
        route=str(route),
        columns=tuple(dict.fromkeys(names[place] for place in used)),
    )


class BulkRun:
    """One run over the rows, whoever sends their messages.

    Attributes:
        tally: What became of the rows.
    """

    def __init__(  # noqa: PLR0917  # made in two places
        self,
        options: BulkOptions,
        rows: RowList,
        ids: RowIds,
        batch: Batch | None,
        stopping: Stopping,
        screen: Screen,
        connection: Connection | None,
    ) -> None:
        self.options = options
        self.tally: Tally = Tally()
        self.connection = connection
        self.route: Route = FixedNumber() if connection is None else connection.client.route
        self.rejection: Rejected | None = None
        self.failure: EsmsError | None = None
        self.unreachable: int = 0
        self.results_failed: bool = False
        self._rows = rows
        self._ids = ids
        self._batch = batch
        self._stopping = stopping
        self._screen = screen

    async def run(
        self,
        stack: AsyncExitStack,
        send: Send,
        *,
        concurrency: int,
        ledger: AheadLedger | None = None,
    ) -> ExitCode:
        """Show the plan, ask, send the rows and report.

        Raises:
            EsmsError: The list, the ledger or the file of results failed on the way.
        """
        options, screen, rows = self.options, self._screen, self._rows
        batch = self._batch
        results = _results(options, screen)
        manifest = None
        if batch is not None:
            manifest = manifest_of(options, rows, batch.secret, self.route)
            await batch.check(manifest)
        plan, checker = None, new_checker(options, rows, self._ids)
        if rows.sheet.can_repeat:
            plan = await make_plan(rows, checker, batch)
            checker.begin_again(rows.sheet.name)
            plan.cost = await self._estimated_cost(plan)
        print_plan(screen, options, rows, plan, route=self.route, connection=self.connection)
        if not await self._is_wanted(plan):
            screen.say(text("nothing_sent_no"))
            return ExitCode.REFUSED
        if batch is not None and manifest is not None:
            await batch.begin(manifest)
        if plan is not None and not plan.tally[RowStatus.CHECKED] and options.results is None:
            # The plan knows already what became of every row.
            self.tally = plan.tally
            print_report(screen, self, 0.0, plan, interrupted=False)
            return self._exit_code()
        if results is not None:
            stack.enter_context(results).open(rows.sheet.columns)
        expected = None if plan is None else plan.tally.total
        pace = Pace(self.tally, expected)
        sending = Sending(self, send, OrderedResults(results), concurrency, ledger)
        async with nullcontext() if options.quiet else shown(pace, screen):
            await sending.run(rows, checker, self._batch, self._stopping)
        print_report(screen, self, pace.seconds, plan, interrupted=self._stopping.requested)
        if self.failure is not None:
            raise self.failure
        return self._exit_code()

    async def _estimated_cost(self, plan: Plan) -> int | None:
        """Ask what the first message costs, and count the parts; None if no price can be had."""
        sample, connection = plan.sample, self.connection
        if sample is None or connection is None or not isinstance(self.route, Brandname):
            return None
        try:
            price = await connection.client.price(sample)
        except QueryError:
            return None
        parts = measure(sample.content or "", unicode=sample.unicode).parts
        return round(price.amount / parts * plan.parts)

    async def _is_wanted(self, plan: Plan | None) -> bool:
        """Ask the person at the terminal, if there is one and anything would be sent."""
        options, screen, connection = self.options, self._screen, self.connection
        is_real = connection is None or (connection.seed is None and not options.sandbox)
        nothing = plan is not None and not plan.tally[RowStatus.CHECKED]
        if options.yes or not is_real or nothing or not screen.can_ask:
            return True
        count = None if plan is None else plan.tally[RowStatus.CHECKED]
        return await confirm(screen, text("ask_all") if count is None else text("ask", count=count))

    def _exit_code(self) -> ExitCode:
        if self.rejection is not None:
            return ExitCode.ACCOUNT_REJECTED
        if self._stopping.requested:
            return ExitCode.INTERRUPTED
        if self.unreachable:
            return ExitCode.UNREACHABLE
        return ExitCode.ACCEPTED if self.tally.faultless else ExitCode.REFUSED


class Sending:
    """The workers of one run, and what feeds them."""

    def __init__(
        self,
        job: BulkRun,
        send: Send,
        results: OrderedResults,
        concurrency: int,
        ledger: AheadLedger | None,
    ) -> None:
        self._job = job
        self._send = send
        self._results = results
        self._concurrency = concurrency
        self._ledger = ledger
        self._limiter = None if job.connection is None else job.connection.limiter
        self._is_keyed = job.options.key is not None
        # What is claimed and never sent is in doubt: a second of the rate at most.
        # The next chunk comes before the last row is taken, so no worker has to wait for it.
        rate = job.options.rate
        self._size = min(_LARGEST_CHUNK, _CHUNKS * concurrency)
        if rate is not None:
            self._size = max(1, min(self._size, int(rate.per_second / 2)))
        self._low = min(self._size // 2, concurrency)
        self._ready: deque[tuple[BulkRow, Chunk]] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._reserving = 0
        self._wanted = asyncio.Event()
        self._stopped = False
        self._is_reading = False
        self._is_over = False
        self._unsent = 0
        self._bug: BaseException | None = None
        self._workers: set[asyncio.Task[None]] = set()
        self._feeding: asyncio.Task[None] | None = None

    async def run(
        self, rows: RowList, checker: RowChecker, batch: Batch | None, stopping: Stopping
    ) -> None:
        """Send the rows until they end, or something ends them."""
        stopping.guard(self.stop)
        feeding = self._feeding = asyncio.ensure_future(self._feed(rows, checker, batch))
        try:
            await asyncio.wait([feeding])
            self._is_over = True
            self._wake(len(self._idle))
            while self._workers:
                await asyncio.wait(self._workers)
        finally:
            self.stop(cancel=True)
            while self._workers:
                await asyncio.wait(self._workers)
            await self._release()
        if not feeding.cancelled() and (error := feeding.exception()) is not None:
            self._bug = error
        if self._bug is not None:
            if not isinstance(self._bug, EsmsError):
                raise self._bug
            self._fail(self._bug)
        self._results.write_settled(all_of_them=True)
        self._check_results()

    def stop(self, *, cancel: bool = False) -> None:
        """Begin no further row; with `cancel` also give up those under way."""
        self._stopped = True
        # Not in the middle of a claim, which would leave rows in doubt that were never sent.
        if self._feeding is not None and self._is_reading:
            self._feeding.cancel()
        self._wanted.set()
        self._wake(len(self._idle))
        if cancel:
            for worker in self._workers:
                worker.cancel()

    async def _release(self) -> None:
        """Give back what was claimed and not begun, and write what was learned."""
        if self._ledger is None:
            return
        try:
            await self._ledger.release()
        except LedgerError as error:
            self._fail(error)

    async def _feed(self, rows: RowList, checker: RowChecker, batch: Batch | None) -> None:
        """Check and claim the rows, a chunk at a time, as places become free."""
        ready, results = self._ready, self._results
        size, low = self._size, self._low
        chunks = rows.chunks(size)
        while (sheet_rows := await self._read(chunks)) is not None:
            checked = checker.check(sheet_rows)
            to_send: Sequence[BulkRow] = [row for row in checked if row.status is None]
            if batch is not None and to_send:
                to_send = await batch.claim(to_send)
            chunk = Chunk(checked, len(to_send))
            self._job.tally.add(*[row for row in checked if row.status is not None])
            results.add(chunk)
            self._check_results()
            if not to_send:
                await asyncio.sleep(0)
                continue
            ready.extend([(row, chunk) for row in to_send])
            self._start_workers(len(to_send))
            while (len(ready) > low or results.waiting > _MOST_WAITING) and not self._stopped:
                self._wanted.clear()
                await self._wanted.wait()

    async def _read(self, chunks: AsyncIterator[list[SheetRow]]) -> list[SheetRow] | None:
        """Read the next rows; None if there are none, or none are wanted."""
        if self._stopped:
            return None
        self._is_reading = True
        try:
            return await anext(chunks, None)
        finally:
            self._is_reading = False

    def _start_workers(self, count: int) -> None:
        """Have workers take rows: idle ones first."""
        woken = min(count, len(self._idle))
        self._wake(woken)
        loop = asyncio.get_running_loop()
        for _ in range(min(count - woken, self._concurrency - len(self._workers))):
            worker = loop.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._end_worker)

    def _end_worker(self, worker: "asyncio.Task[None]") -> None:
        self._workers.discard(worker)
        if not worker.cancelled() and (error := worker.exception()) is not None:
            self._bug = self._bug or error
            self.stop()

    def _wake(self, count: int) -> None:
        for _ in range(count):
            if not (waiter := self._idle.popleft()).done():
                waiter.set_result(None)

    async def _work(self) -> None:  # noqa: C901, PLR0912  # flat, because every row comes by here
        """Take one row after the other, send it, and settle it."""
        ready, send, job = self._ready, self._send, self._job
        tally, results, limiter, low = job.tally, self._results, self._limiter, self._low
        while not self._stopped:
            # No more workers wait for a turn than there are rows: an unused turn costs time.
            if not ready or self._reserving >= len(ready):
                if self._is_over:
                    return
                waiter = asyncio.get_running_loop().create_future()
                self._idle.append(waiter)
                await waiter
                continue
            if limiter is not None:
                # Before a row is taken, so that none waits for its turn in a worker's hands.
                self._reserving += 1
                try:
                    await limiter.reserve()
                finally:
                    self._reserving -= 1
                if self._stopped:
                    return
            row, chunk = ready.popleft()
            if len(ready) == low:
                self._wanted.set()
            try:
                receipt = await send(row.message)
            except EsmsError as error:
                self._refuse(row, error)
            except asyncio.CancelledError as cancelled:
                truth = cancelled.__cause__
                if not isinstance(truth, EsmsError):
                    truth = OutcomeUnknown(row.message, (), "cancelled")
                refuse(row, truth, is_keyed=self._is_keyed)
            else:
                accept(row, receipt)
                if receipt.deduplicated and receipt.attempts:
                    tally.deduplicated += 1
                self._unsent = 0
            row.forget_message()
            tally.add(row)
            is_full = results.waiting > _MOST_WAITING
            results.settled(chunk)
            if results.failure is not None:
                self._check_results()
            elif is_full and results.waiting <= _MOST_WAITING:
                self._wanted.set()

    def _check_results(self) -> None:
        if self._results.failure is not None:
            self._job.results_failed = True
            self._fail(self._results.failure)

    def _refuse(self, row: BulkRow, error: EsmsError) -> None:
        refuse(row, error, is_keyed=self._is_keyed)
        job = self._job
        cause = error.rejection if isinstance(error, OutcomeUnknown) else error
        # A 4xx without a code refuses every message, as a rejection of the account does.
        if isinstance(cause, AccountRejected) or (isinstance(cause, Rejected) and not cause.code):
            job.rejection = job.rejection or cause
            self.stop()
            return
        if (failure := _stops_job(error)) is not None:
            self._fail(failure)
            return
        if isinstance(error, Rejected):
            self._unsent = 0
        elif isinstance(error, NotSent):
            self._unsent += 1
            if 0 < job.options.stop_after <= self._unsent and not self._stopped:
                job.unreachable = self._unsent
                self.stop()

    def _fail(self, failure: EsmsError) -> None:
        """Stop because of an error that every other row would meet, too."""
        self._job.failure = self._job.failure or failure
        self.stop()


def _stops_job(error: EsmsError) -> EsmsError | None:
    """Return the error that every other row would meet, too, if an error is or comes from one.

    That is a ledger that can't be used, also where it leaves open whether a row was sent before,
    and another process that has taken over the batch.
    """
    cause = error.__cause__ if isinstance(error, OutcomeUnknown) else error
    return cause if isinstance(cause, LedgerError | UsageError | ForeignLedger) else None
