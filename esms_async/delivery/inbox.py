"""Receives delivery reports: stores each in the ledger, answers, and hands it on in the background.

The adapters for web frameworks only pass path and query in, and the HTTP status out.

The gateway repeats a report only if no answer came in time ("Callback Url" on developers.esms.vn),
so an error status would lose it. The answer is therefore 200 as soon as the report is stored,
whatever the application's handler does later. While it can't be stored there is no answer, so the
gateway repeats it.
"""

import asyncio
import contextlib
import enum
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final, Self

import attrs

from esms_async import LedgerError, Status, UsageError
from esms_async._model.backoff import backoff
from esms_async._model.checks import check_count, check_seconds, check_type
from esms_async._model.tracebacks import traceback_without_values
from esms_async.delivery.reports import (
    DeliveryReport,
    InvalidReport,
    report_from_text,
    report_to_text,
)
from esms_async.delivery.signing import CallbackSigner
from esms_async.ledger.base import Ledger, LedgerReports, UnreadableEntry
from esms_async.ledger.memory import MemoryLedger
from esms_async.ledger.transitions import Reason, Settlement, StoredReport
from esms_async.queries import SmsStatus

OnReport = Callable[[DeliveryReport], Awaitable[None]]
"""The application's handler of a report."""

Confirm = Callable[[str], Awaitable[SmsStatus | None]]
"""Queries the status of an SMSID, as `EsmsClient.status` does."""

_logger = logging.getLogger("esms_async")

_LEASE_IN_TIMEOUTS: Final = 2
_POLLS_A_LEASE: Final = 16
_LONGEST_POLL: Final = 1.0
# The pause after a failure of the handler: 30 failures take about half a day.
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 3600.0
# The pause after a failure of the ledger.
_FIRST_LEDGER_PAUSE: Final = 0.05
_LONGEST_LEDGER_PAUSE: Final = 1.0

_ACCEPTED: Final = Settlement(Status.ACCEPTED)


class Result(enum.Enum):
    """The answer to one report that came in."""

    STORED = "stored"
    """It is stored, and will be handed on."""
    REPEATED = "repeated"
    """It was stored before."""
    PENDING = "pending"
    """It is not final: the send was settled, and there is nothing to hand on."""
    REFUSED = "refused"
    """Forged, altered or too old: its path is not valid, or its query names another message."""
    UNREADABLE = "unreadable"
    """Its path is valid, but its query can't be read."""
    UNAVAILABLE = "unavailable"
    """The ledger could not be used for too long, or too many reports waited for it."""

    @property
    def status(self) -> HTTPStatus:
        """The HTTP status that answers the gateway."""
        return _STATUSES[self]


_STATUSES: Final[Mapping[Result, HTTPStatus]] = MappingProxyType(
    {
        Result.STORED: HTTPStatus.OK,
        Result.REPEATED: HTTPStatus.OK,
        Result.PENDING: HTTPStatus.OK,
        # As for any unknown path, so guessing paths reveals nothing.
        Result.REFUSED: HTTPStatus.NOT_FOUND,
        Result.UNREADABLE: HTTPStatus.BAD_REQUEST,
        Result.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    }
)


class _UnconfirmedError(Exception):
    """The gateway does not confirm the report, or not yet."""


class ReportReceiver:
    """Stores delivery reports in the ledger, and hands each final one on until that succeeds.

    An async context manager: enter it after the ledger, leave it before. Any number of processes
    may share one ledger on Redis. The handler gets a report at least once, and twice only if a
    process died inside the handler or stood still for longer than `timeout`. A repeated report has
    the same `key`.

    Args:
        on_report: The application's handler, awaited with each final report in the background. If
            it raises or takes too long, it gets the report again later, with growing pauses of at
            most an hour.
        signer: The signer of the client's `callback_url`.
        ledger: The client's ledger, open. A report settles an unknown send and brings its SMSID;
            processes that share the ledger share the reports. With None, or a ledger that stores
            no reports (`LedgerReports`), reports wait in memory, and a crash loses them.
        timeout: Seconds after which the handler is cancelled. If a process dies inside it, another
            one takes its report after twice that time.
        concurrency: The most handlers that run at once in this process.
        max_failures: After this many failures a report is kept as failed, and the log has an
            error. `esms-async reports failed` lists such reports, `esms-async reports retry` hands
            them on again.
        confirm: `EsmsClient.status` of an open client, to let the gateway confirm each report
            first; None to trust the signature of the CallbackUrl.
        hold: Seconds for which a report gets no answer while the ledger can't be used; then the
            answer is 503. Choose more than the gateway waits, so it repeats the report.
        max_held: The most reports without an answer at once; others get 503.

    Raises:
        ConfigurationError: A value cannot work; the error names it.
    """

    def __init__(
        self,
        on_report: OnReport,
        *,
        signer: CallbackSigner,
        ledger: Ledger | None = None,
        timeout: float = 10.0,
        concurrency: int = 16,
        max_failures: int = 30,
        confirm: Confirm | None = None,
        hold: float = 30.0,
        max_held: int = 1000,
    ) -> None:
        check_type("signer", signer, CallbackSigner)
        check_seconds("timeout", timeout)
        check_seconds("hold", hold)
        check_count("concurrency", concurrency)
        check_count("max_failures", max_failures)
        check_count("max_held", max_held)
        self._on_report = on_report
        self._signer = signer
        self._ledger = ledger
        self._memory = MemoryLedger()
        self._reports: LedgerReports = self._memory
        if isinstance(ledger, LedgerReports):
            self._reports = ledger
        self._timeout = timeout
        self._lease = _LEASE_IN_TIMEOUTS * timeout
        self._poll = min(_LONGEST_POLL, self._lease / _POLLS_A_LEASE)
        self._concurrency = concurrency
        self._max_failures = max_failures
        self._confirm = confirm
        self._hold_for = hold
        self._max_held = max_held
        self._held = 0
        self._counts = Counter[Result]()
        self._places = 0  # taken by reports in hand, and by those that are being claimed
        self._in_hand = dict[asyncio.Task[None], str]()  # with the keys of their reports
        self._more = False  # true while reports may wait in the ledger for a place
        self._wake = asyncio.Event()
        self._taking: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def counts(self) -> Mapping[Result, int]:
        """The number of received reports, by result."""
        return MappingProxyType(self._counts)

    async def __aenter__(self) -> Self:
        if self._taking is not None:
            raise UsageError("the ReportReceiver was entered before; make another one")
        if self._ledger is not None and not self._ledger.is_open:
            raise UsageError("the ledger of a ReportReceiver is not open; enter the ledger first")
        await self._memory.open()
        self._taking = asyncio.create_task(self._take(), name="esms_async ReportReceiver")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Take no more reports, and wait for the running handlers.

        If cancelled, it cancels them and gives their reports back.
        """
        assert self._taking is not None  # noqa: S101  # it was entered
        self._closing = True
        self._wake.set()
        try:
            await asyncio.wait({self._taking})
            while self._in_hand:
                await asyncio.wait(self._in_hand)
        finally:
            tasks = {self._taking, *self._in_hand}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._memory.aclose()

    async def receive(self, segment: str, query: str) -> Result:
        """Receive a request to a CallbackUrl.

        Args:
            segment: The last segment of the path, percent-decoded.
            query: The query as it came.

        Returns:
            The result; its `status` is the answer to the gateway.

        Raises:
            UsageError: The receiver is not entered.
        """
        try:
            report = read_report(self._signer, segment, query)
        except InvalidReport as error:
            _logger.warning("a delivery report can't be read: %s", error)
            return self._count(Result.UNREADABLE)
        if report is None:
            return self._count(Result.REFUSED)
        return await self.hand_on(report)

    async def hand_on(self, report: DeliveryReport) -> Result:
        """Settle the send of a report, and store the report to be handed on.

        Args:
            report: A genuine report, such as one made from the gateway's answer to a query.

        Returns:
            The result.

        Raises:
            InvalidReport: It has no RequestId, so it can't be told from others.
            UsageError: The receiver is not entered.
        """
        if self._taking is None or self._closing:
            raise UsageError("the ReportReceiver is not open; enter it with `async with`")
        if report.request_id is None:
            raise InvalidReport("it has no RequestId, so it can't be told from others")
        try:
            result = await self._store(report, report.request_id)
        except LedgerError as error:
            _logger.warning(
                "request id %s: its delivery report can't be stored now (%s)",
                report.request_id,
                error,
            )
            result = await self._hold(report, report.request_id)
        return self._count(result)

    async def _hold(self, report: DeliveryReport, request_id: str) -> Result:
        """Try to store a report for as long as it may go without an answer."""
        if self._held >= self._max_held:
            return Result.UNAVAILABLE
        self._held += 1
        try:
            attempt = 0
            async with asyncio.timeout(self._hold_for):
                while not self._closing:
                    attempt += 1
                    await _pause_for_ledger(attempt)
                    with contextlib.suppress(LedgerError):
                        return await self._store(report, request_id)
        except TimeoutError:
            pass
        finally:
            self._held -= 1
        return Result.UNAVAILABLE

    async def _store(self, report: DeliveryReport, request_id: str) -> Result:
        """Settle the send and store the report; begin to hand it on if there is room."""
        settling = asyncio.ensure_future(self._settle_send(request_id, report.sms_id))
        try:
            return await self._store_final(report) if report.final else Result.PENDING
        finally:
            await settling

    async def _settle_send(self, request_id: str, sms_id: str | None) -> None:
        """Settle the send: any report proves that the gateway accepted it.

        That holds for a doubt by an attempt and by code 124 alone. The settlement belongs to no
        claim.
        """
        if self._ledger is None:
            return
        try:
            await self._ledger.settle(request_id, 0, Settlement(Status.ACCEPTED, sms_id=sms_id))
        except UnreadableEntry as error:
            _logger.warning("request id %s: %s", request_id, error)

    async def _store_final(self, report: DeliveryReport) -> Result:
        has_room = self._places < self._concurrency
        self._places += has_room
        stored = None
        try:
            stored = await self._reports.store_report(
                report.key, report_to_text(report), lease=self._lease if has_room else None
            )
        finally:
            if has_room and stored is None:
                self._places -= 1
        if stored is None:
            return Result.REPEATED
        if has_room:
            self._begin(stored)
        else:
            self._more = True
        return Result.STORED

    async def _take(self) -> None:
        """Take due reports from the ledger while the receiver is open."""
        failures = 0
        while not self._closing:
            self._wake.clear()
            self._more = False
            room = self._concurrency - self._places
            self._places += room
            taken = 0
            try:
                due = await self._reports.take_reports(room, self._lease)
                for report in due:
                    # The lease of what waits to be recorded may run out, and is renewed by this.
                    if report.key not in self._in_hand.values():
                        self._begin(report)
                        taken += 1
            except Exception as error:  # noqa: BLE001  # if this loop ended, nobody would notice
                failures += 1
                if failures == 1:
                    is_known = isinstance(error, LedgerError)
                    words = error if is_known else traceback_without_values(error)
                    _logger.warning("delivery reports can't be taken from the ledger (%s)", words)
                pause = backoff(failures, first=_FIRST_LEDGER_PAUSE, longest=self._poll)
            else:
                failures = 0
                self._more |= len(due) == room
                pause = self._poll
            finally:
                self._places -= room - taken
            if self._more and self._places < self._concurrency:
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    def _begin(self, report: StoredReport) -> None:
        """Start a task that hands a claimed report on; it has its place already."""
        task = asyncio.create_task(self._hand_on(report))
        self._in_hand[task] = report.key
        task.add_done_callback(self._make_room)

    def _make_room(self, ended: "asyncio.Task[None]") -> None:
        del self._in_hand[ended]
        self._places -= 1
        if self._more:
            self._wake.set()

    async def _hand_on(self, stored: StoredReport) -> None:
        if stored.failures >= self._max_failures:
            await self._keep_as_failed(stored, stored.failures, stored.detail)
            return
        try:
            async with asyncio.timeout(self._timeout):
                report = report_from_text(stored.text or "")
                await self._check(report)
                await self._on_report(report)
        except asyncio.CancelledError:
            if _is_cancelled():
                with contextlib.suppress(LedgerError):
                    await self._reports.settle_report(
                        stored.key,
                        stored.generation,
                        Settlement(Status.NOT_SENT, detail=stored.detail),
                        failures=stored.failures,
                    )
                raise
            await self._fail(stored, asyncio.CancelledError())  # the handler raised it by itself
        except Exception as error:  # noqa: BLE001  # the handler is the caller's own
            await self._fail(stored, error)
        else:
            await self._record(stored, _ACCEPTED, failures=stored.failures)

    async def _check(self, report: DeliveryReport) -> None:
        """Let the gateway confirm a report, if `confirm` is given."""
        if self._confirm is None:
            return
        sms_id = report.sms_id
        if self._ledger is not None and report.request_id is not None:
            entry = await self._ledger.look_up(report.request_id)
            sms_id = (entry and entry.sms_id) or sms_id
        status = None if sms_id is None else await self._confirm(sms_id)
        if status is None or status.delivered is not report.delivered:
            raise _UnconfirmedError

    async def _fail(self, stored: StoredReport, error: BaseException) -> None:
        failures = stored.failures + 1
        _logger.error(
            "report %s: handing it on failed, for the %d. time\n%s",
            stored.key,
            failures,
            # The words of its error may hold a phone number.
            traceback_without_values(error),
        )
        detail = _NAMES.get(type(error), type(error).__name__)
        if failures >= self._max_failures:
            await self._keep_as_failed(stored, failures, detail)
            return
        pause = backoff(failures, first=_FIRST_PAUSE, longest=_LONGEST_PAUSE)
        settlement = Settlement(Status.NOT_SENT, detail=detail)
        await self._record(stored, settlement, failures=failures, due_in=pause)

    async def _keep_as_failed(
        self, stored: StoredReport, failures: int, detail: str | None
    ) -> None:
        _logger.error(
            "report %s: kept as failed after %d failures; `esms-async reports failed LEDGER` lists "
            "it, and `esms-async reports retry LEDGER` hands it on again",
            stored.key,
            failures,
        )
        settlement = Settlement(Status.REJECTED, Reason.MESSAGE, detail=detail)
        await self._record(stored, settlement, failures=failures)

    async def _record(
        self, stored: StoredReport, settlement: Settlement, *, failures: int, due_in: float = 0.0
    ) -> None:
        """Record the result of a report, however long the ledger is unreachable.

        After the receiver is left, it tries for as long as a handler may take.
        """
        loop, attempt, give_up_at = asyncio.get_running_loop(), 0, None
        while True:
            try:
                await self._reports.settle_report(
                    stored.key, stored.generation, settlement, failures=failures, due_in=due_in
                )
            except LedgerError as error:
                attempt += 1
                if self._closing and give_up_at is None:
                    give_up_at = loop.time() + self._timeout
                late = give_up_at is not None and loop.time() >= give_up_at
                if late or isinstance(error, UnreadableEntry):
                    _logger.error(  # noqa: TRY400  # the ledger's words say it all
                        "report %s: it is %s, which can't be recorded (%s)",
                        stored.key,
                        settlement.status.value.replace("_", " "),
                        error,
                    )
                    return
                await _pause_for_ledger(attempt)
            else:
                return

    def _count(self, result: Result) -> Result:
        self._counts[result] += 1
        return result


_NAMES: Final[Mapping[type[BaseException], str]] = {
    TimeoutError: "it took too long",
    _UnconfirmedError: "the gateway did not confirm it",
}


async def _pause_for_ledger(attempt: int) -> None:
    pause = backoff(attempt, first=_FIRST_LEDGER_PAUSE, longest=_LONGEST_LEDGER_PAUSE)
    await asyncio.sleep(pause)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def read_report(signer: CallbackSigner, segment: str, query: str) -> DeliveryReport | None:
    """Read a report, with the RequestId that its signed path proves.

    Args:
        signer: The signer of the CallbackUrl.
        segment: The last segment of the path.
        query: The query string as it came.

    Returns:
        The report; None if the path is not valid, or the query names another message.

    Raises:
        InvalidReport: The path is valid, but the query can't be read.
    """
    request_id = signer.read(segment)
    if request_id is None:
        return None
    report = DeliveryReport.from_query(query)
    if report.request_id not in (None, request_id):
        return None
    return attrs.evolve(report, request_id=request_id)
