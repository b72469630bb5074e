"""Receives delivery reports: checks the signature, settles the ledger, hands each report over once.

The adapters for web frameworks only pass path and query in, and the HTTP status out.
"""

import asyncio
import enum
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

import attrs

from esms_async._model.backoff import backoff
from esms_async._model.checks import check_seconds, check_type
from esms_async._model.errors import InvalidReport, LedgerError
from esms_async._model.messages import Status
from esms_async._model.tracebacks import traceback_without_values
from esms_async.delivery.reports import DeliveryReport
from esms_async.delivery.signing import CallbackSigner
from esms_async.ledger.base import Ledger, LedgerReports
from esms_async.ledger.handover import Answer, Turn
from esms_async.ledger.memory import MemoryLedger
from esms_async.ledger.transitions import Settlement

OnReport = Callable[[DeliveryReport], Awaitable[None]]
"""The application's handler of a report."""

_logger = logging.getLogger("esms_async")
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0


class Result(enum.Enum):
    """What became of one report that was received."""

    HANDED_ON = "handed on"
    REPEATED = "repeated"
    """It had been handed on before."""
    PENDING = "pending"
    """It is not final: the ledger was settled, and the handler was not called."""
    REFUSED = "refused"
    """Forged, altered or too old: its path proves nothing, or its query is about another one."""
    UNREADABLE = "unreadable"
    """Its path is genuine, and its query can't be read."""
    FAILED = "failed"
    """The handler raised or took too long."""
    UNAVAILABLE = "unavailable"
    """The ledger can't be used, or another process held the report for too long."""

    @property
    def status(self) -> HTTPStatus:
        """The HTTP status that answers the gateway."""
        return _STATUSES[self]


_STATUSES: Final[Mapping[Result, HTTPStatus]] = MappingProxyType(
    {
        Result.HANDED_ON: HTTPStatus.OK,
        Result.REPEATED: HTTPStatus.OK,
        Result.PENDING: HTTPStatus.OK,
        # As for any unknown path, so that guessing paths reveals nothing.
        Result.REFUSED: HTTPStatus.NOT_FOUND,
        Result.UNREADABLE: HTTPStatus.BAD_REQUEST,
        Result.FAILED: HTTPStatus.INTERNAL_SERVER_ERROR,
        Result.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    }
)


class ReportReceiver:
    """Takes delivery reports, settles the ledger, and hands each final report on once.

    Args:
        on_report: The application's handler, awaited with each final report before the gateway
            gets its answer. If it raises, the report counts as not handed on, and a repetition
            of it is handed on again.
        signer: What the client's `callback_url` was signed with.
        ledger: The client's ledger: a report settles an unknown send and brings its SMSID, and
            replicas that share the ledger hand each report on once between them. It must be open
            when reports come in, and its owner closes it. With None, or a ledger that keeps no
            reports (`LedgerReports`), this process remembers in memory, for two days, what was
            handed on.
        timeout: Seconds after which the handler is cancelled. If a process dies in the middle,
            others wait twice as long before they hand its report on.

    Raises:
        ConfigurationError: A value cannot work; the error names it.
    """

    def __init__(
        self,
        on_report: OnReport,
        *,
        signer: CallbackSigner,
        ledger: Ledger | None = None,
        timeout: float = 4.0,
    ) -> None:
        check_type("signer", signer, CallbackSigner)
        check_seconds("timeout", timeout)
        self._on_report = on_report
        self._signer = signer
        self._ledger = ledger
        self._memory = MemoryLedger()
        self._reports: LedgerReports = self._memory
        if isinstance(ledger, LedgerReports):
            self._reports = ledger
        self._timeout = timeout
        self._counts = Counter[Result]()

    @property
    def counts(self) -> Mapping[Result, int]:
        """The number of reports by result, since this receiver was made."""
        return MappingProxyType(self._counts)

    async def receive(self, segment: str, query: str) -> Result:
        """Receive a request to a CallbackUrl.

        Args:
            segment: The last segment of the path, percent-decoded.
            query: The query as it came.

        Returns:
            What became of it; its `status` is the answer to the gateway.
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
        """Settle the ledger by a report, and hand the report on unless that was done before.

        Args:
            report: A report that is known to be genuine, such as one made from the gateway's
                answer to a query.

        Returns:
            What became of it.

        Raises:
            InvalidReport: It has no RequestId, so it can't be told from others.
        """
        if report.request_id is None:
            raise InvalidReport("it has no RequestId, so it can't be told from others")
        try:
            await self._memory.open()  # it holds nothing that must be closed
            if self._ledger is not None:
                # A report of any kind proves that the gateway had accepted the message, whether
                # the entry is in doubt by an attempt or by code 124 alone. It belongs to no claim.
                accepted = Settlement(Status.ACCEPTED, sms_id=report.sms_id)
                await self._ledger.settle(report.request_id, 0, accepted)
            if not report.final:
                return self._count(Result.PENDING)
            result = await self._hand_on_once(report, report.request_id)
        except LedgerError as error:
            _logger.warning(
                "request id %s: its delivery report can't be taken now (%s)",
                report.request_id,
                error,
            )
            result = Result.UNAVAILABLE
        return self._count(result)

    async def _hand_on_once(self, report: DeliveryReport, request_id: str) -> Result:
        turn = await self._next_turn(report, request_id)
        match turn.answer:
            case Answer.DONE:
                return Result.REPEATED
            case Answer.WAIT:
                return Result.UNAVAILABLE
            case _:
                assert turn.answer is Answer.GO  # noqa: S101  # no other is left
        success = False
        try:
            async with asyncio.timeout(self._timeout):
                await self._on_report(report)
            success = True
        except Exception as error:  # noqa: BLE001  # the handler is the caller's own
            _logger.error(  # noqa: TRY400  # the words of its error may hold a phone number
                "request id %s: the handler of its delivery report failed\n%s",
                request_id,
                traceback_without_values(error),
            )
            return Result.FAILED
        finally:
            await self._end(turn, success=success)
        return Result.HANDED_ON

    async def _next_turn(self, report: DeliveryReport, request_id: str) -> Turn:
        """Begin to hand a report on; wait while another process is doing it.

        The gateway repeats a report only after a timeout ("Callback Url"), so it is better to
        keep it waiting than to refuse it. The wait is longer than the lease of a process that
        died.
        """
        lease = 2 * self._timeout
        give_up_at = asyncio.get_running_loop().time() + lease + _LONGEST_PAUSE
        attempt = 0
        while True:
            attempt += 1
            turn = await self._reports.begin_report(request_id, report.state, lease)
            late = asyncio.get_running_loop().time() >= give_up_at
            if turn.answer is not Answer.WAIT or late:
                return turn
            await asyncio.sleep(backoff(attempt, first=_FIRST_PAUSE, longest=_LONGEST_PAUSE))

    async def _end(self, turn: Turn, *, success: bool) -> None:
        """Record how a turn ended; if that fails, its lease runs out."""
        handover = turn.handover
        try:
            await self._reports.end_report(
                handover.request_id, handover.state, handover.turn, success=success
            )
        except LedgerError as error:
            _logger.warning(
                "request id %s: its delivery report was %s, which can't be recorded (%s)",
                handover.request_id,
                "handed on" if success else "not handed on",
                error,
            )

    def _count(self, result: Result) -> Result:
        self._counts[result] += 1
        return result


def read_report(signer: CallbackSigner, segment: str, query: str) -> DeliveryReport | None:
    """Read a report whose path proves which message it is about.

    Args:
        signer: The signer of the CallbackUrl.
        segment: The last segment of the path.
        query: The query string as it came.

    Returns:
        The report, with the RequestId of its path; None if the path is not genuine, or the
        query is about another message.

    Raises:
        InvalidReport: The path is genuine, and the query can't be read.
    """
    request_id = signer.read(segment)
    if request_id is None:
        return None
    report = DeliveryReport.from_query(query)
    if report.request_id not in (None, request_id):
        return None
    return attrs.evolve(report, request_id=request_id)
