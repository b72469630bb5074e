"""Sends every row of a file, and says of each what became of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import nullcontext

from esms_async.cli import report
from esms_async.cli.errors import ExitCode, InputError
from esms_async.cli.gateway import Connection, GatewayChoice, connect
from esms_async.cli.interrupt import Stopping, on_interrupt
from esms_async.cli.job import BulkOptions, Rows, open_rows
from esms_async.cli.progress import Pace, shown
from esms_async.cli.results import RowResult
from esms_async.cli.screen import Screen
from esms_async.errors import AccountRejected
from esms_async.messages import Message, Status


async def bulk(options: BulkOptions, choice: GatewayChoice, screen: Screen) -> ExitCode:
    """Send every row of a file.

    Args:
        options: What to do.
        choice: The gateway.
        screen: Where to report.

    Returns:
        The exit code.

    Raises:
        EsmsError: The options, the keys, the input or the file of results can't be used.
    """
    stopping = Stopping(screen)
    screen.on_break(stopping.break_off)
    try:
        with on_interrupt(stopping.interrupt):
            async with (
                connect(choice, max_connections=options.concurrency) as connection,
                open_rows(options, connection.secret, stopping.halt) as rows,
            ):
                return await _Sending(options, connection, rows, stopping, screen).run()
    except asyncio.CancelledError:
        if not stopping.ended_job:
            raise
        stopping.say("Interrupted: nothing was sent")
        return ExitCode.INTERRUPTED


class _Sending:
    """One run over the rows."""

    def __init__(
        self,
        options: BulkOptions,
        connection: Connection,
        rows: Rows,
        stopping: Stopping,
        screen: Screen,
    ) -> None:
        self._options = options
        self._connection = connection
        self._rows = rows
        self._record = rows.record
        self._stopping = stopping
        self._screen = screen
        self._row_numbers: dict[str, int] = {}
        self._rejection: AccountRejected | None = None

    async def run(self) -> ExitCode:
        """Send the rows and report."""
        options, connection = self._options, self._connection
        self._screen.banner(connection.url, connection.seed)
        source = "standard input" if options.file == "-" else options.file
        self._screen.say(f"Sending {source} as batch {options.batch!r}")
        pace = Pace(self._record.tally, lambda: self._rows.fraction, lambda: self._rows.pulled)
        async with nullcontext() if options.quiet else shown(pace, self._screen.progress):
            unreadable = await self._send()
        self._report(pace.seconds)
        if failure := unreadable or self._record.failure:
            raise failure
        return self._exit_code()

    async def _send(self) -> InputError | None:
        """Send until something ends the rows; return why they could not be read, if so."""
        stream = self._connection.client.send_many(
            self._messages(), concurrency=self._options.concurrency
        )
        self._stopping.guard(stream)
        async with stream:
            try:
                async for outcome in stream:
                    row = self._row_numbers.pop(outcome.message.request_id)
                    self._record.add(RowResult.of_outcome(row, outcome))
            except AccountRejected as rejection:
                self._rejection = rejection
            except InputError as error:
                return error
        return None

    async def _messages(self) -> AsyncIterator[Message]:
        witness = self._connection.witness
        async for row, message in self._rows.messages():
            self._row_numbers[message.request_id] = row
            if witness is not None:
                witness.expect(message.request_id)
            yield message

    def _report(self, seconds: float) -> None:
        options, record, screen = self._options, self._record, self._screen
        witness = self._connection.witness
        counted = None if witness is None else witness.count
        report.print_outcomes(screen, record.tally, seconds, gateway=counted)
        if not options.quiet:
            report.print_refusals(screen, record.refusals, record.tally, options.results)
        self._tell_how_to_go_on()
        if options.json:
            screen.put_json(report.summary(record.tally, seconds))

    def _tell_how_to_go_on(self) -> None:
        options, tally, screen = self._options, self._record.tally, self._screen
        if self._rejection is not None:
            screen.say(f"Stopped, for the account can't send: {self._rejection.reason}.")
        elif self._stopping.requested:
            screen.say("Interrupted.")
        elif not (tally[Status.UNKNOWN] or tally[Status.NOT_SENT]):
            return
        if self._rejection is not None or self._stopping.requested:
            screen.say(f"Nothing after row {tally.last_row} was sent.")
        again = "the same command again"
        if options.batch_is_new:
            again = f"it again with --batch {options.batch}"
        if self._connection.witness is None:
            screen.say(
                f"To go on, run {again} within 23 hours: the gateway refuses (code 124) what it "
                "has accepted already, so no phone gets a message twice."
            )
        else:
            screen.say(f"To go on, run {again}; a new emulator has accepted nothing yet.")

    def _exit_code(self) -> ExitCode:
        if self._rejection is not None:
            return ExitCode.ACCOUNT_REJECTED
        if self._stopping.requested:
            return ExitCode.INTERRUPTED
        return ExitCode.ACCEPTED if self._record.tally.faultless else ExitCode.REFUSED
