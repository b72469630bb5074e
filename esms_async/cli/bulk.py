"""Sends every row of a file, and says of each what became of it."""

import asyncio
import shlex
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, nullcontext

import attrs

from esms_async._model.errors import (
    EsmsError,
    ForeignLedger,
    LedgerError,
    OutcomeUnknown,
    Rejected,
    RequestIdConflict,
    UsageError,
)
from esms_async._model.messages import Message, Outcome
from esms_async.cli import report
from esms_async.cli.delivery import Courier, Deliver
from esms_async.cli.errors import ExitCode, InputError
from esms_async.cli.gateway import Connection, GatewayChoice, connect
from esms_async.cli.interrupt import Stopping, on_interrupt
from esms_async.cli.job import BulkOptions, Rows, open_rows
from esms_async.cli.ledger_choice import is_url
from esms_async.cli.progress import Pace, shown
from esms_async.cli.report import GatewayCount
from esms_async.cli.results import RowResult, RowStatus
from esms_async.cli.screen import Screen


async def bulk(options: BulkOptions, choice: GatewayChoice, screen: Screen) -> ExitCode:
    """Send every row of a file.

    Raises:
        EsmsError: The options, the keys, the input, the ledger or the file of results can't be
            used.
    """
    options.check()
    stopping = Stopping(screen)
    screen.on_break(stopping.break_off)
    ledger, rate = options.ledger.make(), options.rate
    concurrency = options.concurrency if rate is None else rate.bounded(options.concurrency)
    try:
        with on_interrupt(stopping.interrupt):
            async with (
                # It is opened once the input is, and closed once the client has settled all.
                nullcontext() if ledger is None else aclosing(ledger),
                connect(
                    choice, max_connections=concurrency, rate=rate, ledger=ledger
                ) as connection,
                open_rows(
                    options,
                    connection.secret,
                    stopping.halt,
                    ledger,
                    # It asks of no send, and so nothing but whether the ledger may take these.
                    lambda: connection.client.reconcile(()),
                ) as rows,
            ):
                _announce(options, connection, screen)
                witness = connection.witness
                if connection.turnstile is not None:
                    stopping.on_halt = connection.turnstile.close
                courier = Courier(
                    connection.client,
                    ledger,
                    concurrency=concurrency,
                    retry_rejected=options.retry_rejected,
                    expect=witness.expect if witness else lambda _: None,
                )
                job = Job(options, courier.deliver, rows, stopping, screen)
                return await job.run(lambda: witness.count if witness else None)
    except asyncio.CancelledError:
        if not stopping.ended_job:
            raise
        stopping.say("Interrupted: nothing was sent")
        return ExitCode.INTERRUPTED


def _announce(options: BulkOptions, connection: Connection, screen: Screen) -> None:
    """Say what is about to be done, the emulator's warning first."""
    if connection.seed is not None:
        screen.banner(connection.url, connection.seed)
    if options.ledger.line:
        screen.say(options.ledger.line)
    if connection.seed is None:
        screen.banner(connection.url, None)
    source = "standard input" if options.file == "-" else options.file
    screen.say(f"Sending {source} as batch {options.batch!r}")


class Job:
    """One run over the rows, whoever delivers their messages."""

    def __init__(
        self,
        options: BulkOptions,
        deliver: Deliver,
        rows: Rows,
        stopping: Stopping,
        screen: Screen,
    ) -> None:
        self._options = options
        self._deliver = deliver
        self._rows = rows
        self._record = rows.record
        self._stopping = stopping
        self._screen = screen
        self._row_numbers: dict[str, int] = {}
        self._rejection: Rejected | None = None
        self._failure: EsmsError | None = None

    async def run(self, emulated: Callable[[], GatewayCount | None]) -> ExitCode:
        """Send the rows and report.

        Args:
            emulated: Tells what an emulated gateway counts, or None.

        Raises:
            EsmsError: The input, the ledger or the file of results failed on the way.
        """
        pace = Pace(self._record.tally, lambda: self._rows.fraction, lambda: self._rows.pulled)
        async with nullcontext() if self._options.quiet else shown(pace, self._screen.progress):
            await self._send()
        self._report(pace.seconds, emulated())
        if failure := self._failure or self._record.failure:
            raise failure
        return self._exit_code()

    async def _send(self) -> None:
        """Send until the rows end, or something ends them."""
        stream = self._deliver(self._messages())
        self._stopping.guard(stream)
        async with aclosing(stream):
            try:
                async for outcome in stream:
                    row = self._row_numbers.pop(outcome.message.request_id)
                    self._record.add(self._result(row, outcome))
                    failure = _stops_job(outcome.error)
                    if failure is not None and self._failure is None:
                        self._failure = failure
                        self._stopping.halt()
            except Rejected as rejection:
                self._rejection = rejection
            except (ForeignLedger, InputError) as failure:
                self._failure = failure

    def _result(self, row: int, outcome: Outcome) -> RowResult:
        result, key = RowResult.of_outcome(row, outcome), self._options.key
        if key is None or not isinstance(outcome.error, RequestIdConflict):
            return result
        remedy = "give the row another one to send this too"
        if self._options.can_retry_rejected:
            remedy += ", or add --retry-rejected if that was rejected"
        return attrs.evolve(
            result, reason=f"{key}: this key was used for another phone or text; {remedy}"
        )

    async def _messages(self) -> AsyncIterator[Message]:
        async for row, message in self._rows.messages():
            self._row_numbers[message.request_id] = row
            yield message

    def _report(self, seconds: float, emulated: GatewayCount | None) -> None:
        options, record, screen = self._options, self._record, self._screen
        report.print_outcomes(screen, record.tally, seconds, gateway=emulated)
        if options.sandbox:
            screen.say("Sandbox: what was accepted was checked, not sent.")
        if not options.quiet:
            report.print_refusals(screen, record.refusals, record.tally, options.results)
        self._tell_how_to_go_on(emulated=emulated is not None)
        if options.json:
            screen.put_json(report.summary(record.tally, seconds))

    def _tell_how_to_go_on(self, *, emulated: bool) -> None:
        options, tally, screen = self._options, self._record.tally, self._screen
        failed = self._failure is not None or self._record.failure is not None
        stopped = failed or self._rejection is not None or self._stopping.requested
        if self._rejection is not None:
            why = "the account can't send" if self._rejection.code else "every row would be refused"
            screen.say(f"Stopped because {why}: {self._rejection.reason}.")
        elif self._stopping.requested:
            screen.say("Interrupted.")
        if stopped:
            screen.say(f"This run sent nothing after row {tally.last_row}.")
        if tally.duplicates:
            self._advise_on_duplicates()
        if stopped or tally[RowStatus.UNKNOWN] > tally.duplicates or tally[RowStatus.NOT_SENT]:
            screen.say(self._way_to_go_on(emulated=emulated))
            if options.again is not None:
                screen.say_command(options.again)
        elif tally[RowStatus.REJECTED] and options.can_retry_rejected:
            screen.say("With --retry-rejected, the same command sends the rejected rows anew.")

    def _advise_on_duplicates(self) -> None:
        place, screen = self._options.ledger.place, self._screen
        screen.say(
            f"{self._record.tally.duplicates:,} of the unknown rows have code 124: the gateway has "
            "had these messages before, and nothing here tells what became of them. Do not send "
            "them as new messages: wait for their delivery reports"
            + ("." if place is None else ", or look for them in the gateway's list with:")
        )
        if place is not None:
            named = "URL" if is_url(place) else shlex.quote(place)
            screen.say_command(f"esms-async reconcile --ledger {named}")

    def _way_to_go_on(self, *, emulated: bool) -> str:
        options = self._options
        again = "the same command again"
        if options.batch_is_new:
            again = f"it again with --batch {options.batch}"
        if options.ledger.place is not None:
            soon = " within 23 hours" if self._record.tally[RowStatus.UNKNOWN] else ""
            return f"To go on, run {again}{soon}; it sends only what is not settled."
        if emulated:
            return f"To go on, run {again}; a new emulator has accepted nothing yet."
        return (
            f"To go on, run {again} within 23 hours: the gateway refuses (code 124) what it "
            "has accepted already, so no phone gets a message twice."
        )

    def _exit_code(self) -> ExitCode:
        if self._rejection is not None:
            return ExitCode.ACCOUNT_REJECTED
        if self._stopping.requested:
            return ExitCode.INTERRUPTED
        return ExitCode.ACCEPTED if self._record.tally.faultless else ExitCode.REFUSED


def _stops_job(error: EsmsError | None) -> EsmsError | None:
    """Return the error that every other row would meet, too, if an error is or comes from one.

    That is a ledger that can't be used, also where it leaves open whether a row was sent before,
    and another process that has taken over the batch.
    """
    cause = error.__cause__ if isinstance(error, OutcomeUnknown) else error
    return cause if isinstance(cause, LedgerError | UsageError) else None
