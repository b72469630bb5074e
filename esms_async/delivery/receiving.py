"""What happens to a report that comes in: proved, read, told to the ledger, handed on once.

The rules stand here once; the adapters for web frameworks only carry path and query in, and the
status out.
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

from esms_async.checks import check_seconds, check_type
from esms_async.delivery.reports import DeliveryReport
from esms_async.delivery.signing import CallbackSigner
from esms_async.errors import InvalidReport, LedgerError
from esms_async.handover import Answer, Turn
from esms_async.ledger.base import Ledger
from esms_async.ledger.memory import MemoryLedger
from esms_async.settlement import News, Settlement
from esms_async.tracebacks import traceback_without_values

OnReport = Callable[[DeliveryReport], Awaitable[None]]
"""The application's handler of a report."""

_logger = logging.getLogger("esms_async")
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0


class Result(enum.Enum):
    """What became of one report that came in."""

    HANDED_ON = "handed on"
    REPEATED = "repeated"
    """It had been handed on before."""
    PENDING = "pending"
    """It is not final: the ledger was told, and the handler was not called."""
    REFUSED = "refused"
    """Forged, altered or too old: its path proves nothing, or its query is another message's."""
    UNREADABLE = "unreadable"
    """Its path is genuine, and its query can't be read."""
    FAILED = "failed"
    """The handler raised or took too long."""
    UNAVAILABLE = "unavailable"
    """The ledger can't be used, or another process was busy with the report for too long."""

    @property
    def status(self) -> HTTPStatus:
        """The HTTP status that answers the gateway."""
        return _STATUSES[self]


_STATUSES: Final[Mapping[Result, HTTPStatus]] = MappingProxyType(
    {
        Result.HANDED_ON: HTTPStatus.OK,
        Result.REPEATED: HTTPStatus.OK,
        Result.PENDING: HTTPStatus.OK,
        # As for any path where nothing is: whoever tries paths learns nothing.
        Result.REFUSED: HTTPStatus.NOT_FOUND,
        Result.UNREADABLE: HTTPStatus.BAD_REQUEST,
        Result.FAILED: HTTPStatus.INTERNAL_SERVER_ERROR,
        Result.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    }
)


class ReportReceiver:
    """Takes delivery reports, tells the ledger, and hands each final one on once.

    Args:
        on_report: The application's handler, awaited with each final report before the gateway
            is answered. Where it raises, the report counts as not handed on, and a repetition of
            it is handed on again.
        signer: What the client's `callback_url` was signed with.
        ledger: The client's ledger: a report settles an unknown send and brings its SMSID, and
            replicas that share the ledger hand a report on once between them. It must be open
            when reports come in, and stays its owner's. None keeps what was handed on in this
            process's memory, for two days.
        timeout: For how many seconds the handler may run; then it is cancelled. A process that
            dies in the middle keeps others from handing its report on for twice as long.

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
        self._owns_ledger = ledger is None
        self._ledger = MemoryLedger() if ledger is None else ledger
        self._timeout = timeout
        self._counts = Counter[Result]()

    @property
    def counts(self) -> Mapping[Result, int]:
        """How many reports came to each result since this receiver was made."""
        return MappingProxyType(self._counts)

    async def receive(self, segment: str, query: str) -> Result:
        """Take what came in at a CallbackUrl.

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
        """Tell the ledger of a report, and hand it on unless that was done before.

        Args:
            report: A report that is known to be genuine, such as one that was made from what the
                gateway answered when it was asked.

        Returns:
            What became of it.

        Raises:
            InvalidReport: It names no RequestId, by which to tell it from others.
        """
        if report.request_id is None:
            raise InvalidReport("it names no RequestId, by which to tell it from others")
        try:
            if self._owns_ledger and not self._ledger.is_open:
                await self._ledger.open()  # it is in memory, and holds nothing to be closed
            # Whatever became of the message, and even if the gateway refused it later: it had
            # been accepted. No claim has generation 0, so this is news by an earlier one.
            await self._ledger.settle(
                report.request_id, 0, Settlement(News.ACCEPTED, sms_id=report.sms_id)
            )
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
        """Begin to hand a report on, waiting for another who is at it.

        The gateway repeats a report whose answer does not come ("Callback Url": on timeout only),
        so one that must wait is better kept waiting than sent away. It outlasts the lease of a
        process that died.
        """
        lease = 2 * self._timeout
        give_up_at = asyncio.get_running_loop().time() + lease + _LONGEST_PAUSE
        pause = _FIRST_PAUSE
        while True:
            turn = await self._ledger.begin_report(request_id, report.state, lease)
            late = asyncio.get_running_loop().time() >= give_up_at
            if turn.answer is not Answer.WAIT or late:
                return turn
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _end(self, turn: Turn, *, success: bool) -> None:
        """Write down how a turn ended; where that can't be, its lease runs out."""
        handover = turn.handover
        try:
            await self._ledger.end_report(
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
    """Read a report whose path proves whose it is.

    Args:
        signer: What the CallbackUrl was signed with.
        segment: The last segment of the path that was called.
        query: The query as it came.

    Returns:
        The report, with the RequestId of its path; None where the path is not genuine, or the
        query speaks of another message.

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
