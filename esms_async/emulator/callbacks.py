"""Sends delivery reports: an HTTP GET to the CallbackUrl of a message, and again on timeout.

"Callback Url" on developers.esms.vn shows the parameters; a report is sent again up to 5 times,
where the receiver times out.
"""

import asyncio
import ipaddress
from collections import deque

import aiohttp
import attrs
from yarl import URL

from esms_async.emulator import wire
from esms_async.emulator.clock import Timetable
from esms_async.emulator.delivery import Progress, finished, waiting
from esms_async.emulator.engine import Engine
from esms_async.emulator.records import AcceptedMessage, SentReport, Twist

_MOST_AT_ONCE = 32
# Whoever sends faster, or further ahead, than reports can go out loses reports, not memory.
_MOST_PENDING = 100_000


@attrs.frozen
class _Report:
    """One report to deliver."""

    message: AcceptedMessage
    url: str
    progress: Progress
    attempt: int = 1


class Reporter:
    """Sends the delivery reports of one emulator, within one running event loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._timetable = Timetable(engine.clock)
        self._queue: deque[_Report] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None

    def plan(self, message: AcceptedMessage) -> None:
        """Have the reports of an accepted message sent when they are due.

        Args:
            message: The message; one without a CallbackUrl, and one whose reports come early or
                never, has none to plan.
        """
        delivery = message.delivery
        if delivery.finished_at is None or delivery.twist is Twist.EARLY:
            return
        halfway = (delivery.started_at + delivery.finished_at) / 2
        for _ in range(2 if delivery.twist is Twist.TWICE else 1):
            self._send_at(halfway, message, waiting(message), planned=True)
            self._send_at(delivery.finished_at, message, finished(message), planned=True)

    def send(self, message: AcceptedMessage) -> None:
        """Send the report of a finished message, now.

        Args:
            message: The message.
        """
        self._send_at(self._engine.clock.time(), message, finished(message))

    async def send_early(self, message: AcceptedMessage) -> None:
        """Send the reports of a message, and wait until they have arrived, or could not.

        Args:
            message: A message whose reports come before the answer to its send.
        """
        for progress in (waiting(message), finished(message)):
            if (report := self._report(message, progress)) is not None:
                await self._deliver(report)

    def clear(self) -> None:
        """Send none of the reports that are due later."""
        self._timetable.clear()
        self._queue.clear()

    async def aclose(self) -> None:
        """Send no more reports, and end those under way."""
        self._timetable.close()
        self._queue.clear()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def _send_at(
        self, at: float, message: AcceptedMessage, progress: Progress, *, planned: bool = False
    ) -> None:
        if (report := self._report(message, progress)) is None:
            return
        if len(self._timetable) + len(self._queue) >= _MOST_PENDING:
            self._note(report, "dropped")
        else:
            call = self._enqueue_planned if planned else self._enqueue
            self._timetable.call_at(at, lambda: call(report))

    def _report(self, message: AcceptedMessage, progress: Progress) -> _Report | None:
        """Return the report, or None where there is nobody whom it may be sent to."""
        if message.callback_url is None:
            return None
        report = _Report(message, message.callback_url, progress)
        if self._engine.settings.remote_callbacks or _is_this_machine(report.url):
            return report
        self._note(report, "not allowed")
        return None

    def _enqueue_planned(self, report: _Report) -> None:
        """Have a report sent, unless its message was finished by hand meanwhile."""
        message = self._engine.gateway.find(report.message.sms_id)
        if message is None or message.delivery == report.message.delivery:
            self._enqueue(report)

    def _enqueue(self, report: _Report) -> None:
        self._queue.append(report)
        if len(self._workers) < _MOST_AT_ONCE:
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def _work(self) -> None:
        while self._queue:
            await self._deliver(self._queue.popleft())

    async def _deliver(self, report: _Report) -> None:
        self._settle(report, await self._get(report))

    def _settle(self, report: _Report, result: str) -> None:
        """Note what came of a report, and have it sent again where the receiver timed out."""
        settings = self._engine.settings
        self._note(report, result)
        if result == "timeout" and report.attempt <= settings.report_retries:
            again = attrs.evolve(report, attempt=report.attempt + 1)
            at = self._engine.clock.time() + settings.report_retry_delay
            self._timetable.call_at(at, lambda: self._enqueue(again))

    async def _get(self, report: _Report) -> str:
        if self._session is None:
            # A connection for each report: aiohttp repeats a GET by itself when a connection
            # that it kept has died.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=self._engine.settings.report_timeout),
            )
        try:
            url = URL(report.url).extend_query(wire.report(report.message, report.progress))
            async with self._session.get(url, allow_redirects=False) as response:
                return str(response.status)
        except TimeoutError:
            return "timeout"
        except (aiohttp.ClientError, OSError, ValueError):
            return "failed"

    def _note(self, report: _Report, result: str) -> None:
        journal = self._engine.journal
        journal.note_report(
            SentReport(
                number=journal.reports.next_number(),
                at=self._engine.clock.now(),
                sms_id=report.message.sms_id,
                send_status=report.progress.send_status,
                attempt=report.attempt,
                result=result,
            )
        )


def _is_this_machine(url: str) -> bool:
    host = URL(url).host or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
