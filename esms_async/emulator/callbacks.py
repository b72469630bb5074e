"""Sends delivery reports: an HTTP GET to the CallbackUrl of a message, and again on timeout.

"Callback Url" on developers.esms.vn shows the parameters; a report is sent again up to 5 times,
where the receiver times out.
"""

import asyncio
import ipaddress
from collections import deque
from collections.abc import Iterable

import aiohttp
import attrs
from yarl import URL

from esms_async.emulator import wire
from esms_async.emulator.clock import Clock, RealTime, Timetable
from esms_async.emulator.gateway import Gateway
from esms_async.emulator.journal import Journal
from esms_async.emulator.records import (
    AcceptedMessage,
    DeliveryFault,
    Progress,
    SentReport,
    finished,
    waiting,
)

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
    planned: bool = False


class Reporter:
    """Sends the delivery reports of one emulator, within one running event loop."""

    def __init__(
        self, gateway: Gateway, journal: Journal, clock: Clock, allowed_hosts: Iterable[str] = ()
    ) -> None:
        self._gateway = gateway
        self._journal = journal
        self._clock = clock
        self._allowed_hosts = frozenset(host.lower() for host in allowed_hosts)
        self._timetable = Timetable(clock, self._enqueue)
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
        if delivery.finished_at is None or delivery.fault is DeliveryFault.EARLY:
            return
        halfway = (delivery.started_at + delivery.finished_at) / 2
        for _ in range(2 if delivery.fault is DeliveryFault.TWICE else 1):
            self._send_at(halfway, message, waiting(message), planned=True)
            self._send_at(delivery.finished_at, message, finished(message), planned=True)

    def send(self, message: AcceptedMessage) -> None:
        """Send the report of a finished message, now.

        Args:
            message: The message.
        """
        self._send_at(self._clock.time(), message, finished(message))

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
            self._note(report, "dropped", why="too many reports were waiting")
        else:
            self._timetable.put(at, attrs.evolve(report, planned=planned))

    def _report(self, message: AcceptedMessage, progress: Progress) -> _Report | None:
        """Return the report, or None where there is nobody whom it may be sent to."""
        if message.callback_url is None:
            return None
        report = _Report(message, message.callback_url, progress)
        host = URL(report.url).host or ""
        if (
            self._gateway.settings.remote_callbacks
            or is_this_machine(host)
            or host.lower() in self._allowed_hosts
        ):
            return report
        self._note(
            report,
            "not allowed",
            why=f"reports go to this machine only; start the emulator with "
            f"--allow-callback-host {host}",
        )
        return None

    def _enqueue(self, report: _Report) -> None:
        """Have a report sent, unless it was planned and its message finished by hand meanwhile."""
        message = self._gateway.find(report.message.sms_id) if report.planned else None
        if message is not None and message.delivery != report.message.delivery:
            return
        self._queue.append(report)
        if len(self._workers) < _MOST_AT_ONCE:
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def _work(self) -> None:
        while self._queue:
            await self._deliver(self._queue.popleft())

    async def _deliver(self, report: _Report) -> None:
        begun = RealTime.monotonic()
        result, why = await self._get(report)
        self._settle(report, result, duration=RealTime.monotonic() - begun, why=why)

    def _settle(self, report: _Report, result: str, *, duration: float, why: str | None) -> None:
        """Note what came of a report, and have it sent again where the receiver timed out."""
        self._note(report, result, duration=duration, why=why)
        settings = self._gateway.settings
        if result == "timeout" and report.attempt <= settings.report_retries:
            again = attrs.evolve(report, attempt=report.attempt + 1, planned=False)
            at = self._clock.time() + settings.report_retry_delay
            self._timetable.put(at, again)

    async def _get(self, report: _Report) -> tuple[str, str | None]:
        """Send a report; return what came of it, and what went wrong."""
        if self._session is None:
            # A connection for each report: aiohttp repeats a GET by itself when a connection
            # that it kept has died.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        timeout = self._gateway.settings.report_timeout
        try:
            url = URL(report.url).extend_query(wire.report(report.message, report.progress))
            async with self._session.get(
                url, allow_redirects=False, timeout=aiohttp.ClientTimeout(total=timeout)
            ) as response:
                return str(response.status), None
        except TimeoutError:
            return "timeout", f"the receiver did not answer within {timeout:g} s"
        except aiohttp.ClientConnectorDNSError:
            return "failed", "the name of the receiver's host is not known here"
        except aiohttp.ClientConnectorError as error:
            return "failed", f"the receiver can't be reached: {error.os_error.strerror}"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return "failed", f"the receiver's answer can't be read: {type(error).__name__}"

    def _note(
        self, report: _Report, result: str, *, duration: float | None = None, why: str | None = None
    ) -> None:
        self._journal.note_report(
            SentReport(
                number=self._journal.reports.next_number(),
                at=self._clock.now(),
                sms_id=report.message.sms_id,
                send_status=report.progress.send_status,
                attempt=report.attempt,
                result=result,
                duration=duration,
                why=why,
                repeat=self._was_sent(report),
            )
        )

    def _was_sent(self, report: _Report) -> bool:
        """Return True where the receiver has answered the same report before."""
        send = self._journal.send_by_sms_id(report.message.sms_id)
        return send is not None and any(
            earlier.sms_id == report.message.sms_id
            and earlier.send_status == report.progress.send_status
            and earlier.result.isdigit()
            for earlier in send.reports
        )


def is_this_machine(host: str) -> bool:
    """Return True for a loopback address, and for localhost."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
