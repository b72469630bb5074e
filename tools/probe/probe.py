"""What a probe does, step by step, and what each answer says of what is assumed."""

import asyncio
import contextlib

from esms_async._model.request_ids import new_request_id
from tools.probe.findings import Findings, Point
from tools.probe.listener import Listener
from tools.probe.session import ACCEPTED, DUPLICATE, AccountStopped, Plan, Seen, Session

_PAID = (Point.REJECTION_USES, Point.DUPLICATE)
_REPORTS = (
    Point.REPORT_COMES,
    Point.REPORT_AFTER_ANSWER,
    Point.REPORT_RETRIED,
    Point.REPORT_ONCE,
)
_ERROR = "an error object"
# "Table of error codes", 108. No phone can get it, should it be accepted.
_REJECTED = {"Phone": "123"}
# How long a report that was answered is given to come again.
_SETTLE = 2.0


class Probe:
    """Does one plan.

    Args:
        plan: What to do.
        session: What sends.
        findings: Where everything that is seen goes.
        listener: What takes the delivery reports, open, or None.
    """

    def __init__(
        self, plan: Plan, session: Session, findings: Findings, listener: Listener | None = None
    ) -> None:
        self._plan = plan
        self._session = session
        self._findings = findings
        self._listener = listener
        self._answered = 0.0

    async def run(self) -> None:
        """Do everything. Cut short, it leaves what was found so far; all points have a finding.

        Raises:
            AccountStopped: The account can't send.
        """
        why = "interrupted before"
        try:
            await self._send_malformed()
            usual = await self._send_to_sandbox()
            delivered = await self._pay()
            await self._send_at_once(usual)
            await self._see_reports(delivered=delivered)
            why = "no answer showed it"
        except AccountStopped as stopped:
            why = str(stopped)
            raise
        finally:
            self._see_statuses()
            self._findings.miss(why)

    async def _send_malformed(self) -> None:
        await self._session.send(new_request_id(), _REJECTED)
        seen = await self._session.post(b'{"Phone":')
        self._tell(Point.NO_JSON, seen, as_assumed=seen.status == 400)
        seen = await self._session.send(new_request_id(), {"Content": ""})
        self._tell(Point.INVALID_STATUS, seen, as_assumed=(seen.status, seen.body) == (200, _ERROR))

    async def _send_to_sandbox(self) -> Seen:
        """Send twice with one RequestId, and return the first answer."""
        request_id = new_request_id()
        first = await self._session.send(request_id)
        if first.code != ACCEPTED:
            self._findings.miss(f"the sandbox does not accept: {first}", Point.SANDBOX_REMEMBERS)
            return first
        again = await self._session.send(request_id)
        self._tell_use(Point.SANDBOX_REMEMBERS, again, assumed=False)
        return first

    async def _pay(self) -> bool:
        """Send the message that is paid for, and tell whether its delivery can be reported."""
        if self._plan.sandbox:
            self._findings.miss("needs messages that are paid for", *_PAID, *_REPORTS)
            return False
        request_id = new_request_id()
        seen = await self._session.send(request_id, _REJECTED, sandbox=False)
        if seen.code is None or seen.code in (ACCEPTED, DUPLICATE):
            self._findings.miss(f"the phone 123 is not rejected: {seen}", Point.REJECTION_USES)
            request_id = new_request_id()
            seen = await self._send_right(request_id)
        else:
            seen = await self._send_right(request_id)
            self._tell_use(Point.REJECTION_USES, seen, assumed=False)
            if seen.code == DUPLICATE:
                request_id = new_request_id()
                seen = await self._send_right(request_id)
        if seen.code != ACCEPTED:
            self._findings.miss(f"the message is not accepted: {seen}", *_PAID, *_REPORTS)
            return False
        # Without a CallbackUrl: a report that comes twice is to be one of the same message.
        self._tell_use(
            Point.DUPLICATE, await self._session.send(request_id, sandbox=False), assumed=True
        )
        return True

    async def _send_right(self, request_id: str) -> Seen:
        changes: dict[str, str] = {}
        if self._listener is not None and (url := self._plan.callback_url) is not None:
            self._listener.expect(request_id)
            changes["CallbackUrl"] = url
        seen = await self._session.send(request_id, changes, sandbox=False)
        self._answered = asyncio.get_running_loop().time()
        return seen

    async def _send_at_once(self, usual: Seen) -> None:
        if usual.code != ACCEPTED:
            self._findings.miss(f"the sandbox does not accept: {usual}", Point.RATE_LIMIT)
            return
        count = self._plan.burst
        answers = await asyncio.gather(
            *(self._session.send(new_request_id()) for _ in range(count))
        )
        others = sorted(str(seen) for seen in answers if seen.code != ACCEPTED)
        words = f"{count} sandbox sends at once: "
        kinds = "; ".join(dict.fromkeys(others))
        words += f"{len(others)} refused ({kinds})" if others else "none refused"
        self._findings.observe(Point.RATE_LIMIT, words, as_assumed=not others)

    async def _see_reports(self, *, delivered: bool) -> None:
        if self._listener is None:
            self._findings.miss("needs --callback-url and --listen", *_REPORTS)
        if self._listener is None or not delivered:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._plan.wait):
                await self._listener.finish()
                await asyncio.sleep(_SETTLE)
        self._read_reports(self._listener)

    def _read_reports(self, listener: Listener) -> None:
        findings, arrivals, wait = self._findings, listener.arrivals, f"{self._plan.wait:g} s"
        if not arrivals:
            findings.observe(Point.REPORT_COMES, f"none within {wait}", as_assumed=False)
            findings.miss(f"no report within {wait}", *_REPORTS)
            return
        first, finals = arrivals[0], listener.finals
        delay = first.at - self._answered
        ahead = f"{abs(delay):.2f} s {'before' if delay < 0 else 'after'} the answer"
        final = f"{finals[0].at - self._answered:.2f} s" if finals else "not seen"
        words = f"the first {ahead}, the final one: {final}"
        findings.observe(Point.REPORT_COMES, words, as_assumed=True)
        findings.observe(Point.REPORT_AFTER_ANSWER, ahead, as_assumed=delay >= 0)
        if first.left is None:
            findings.miss(f"not given up within {wait}", Point.REPORT_RETRIED)
        else:
            self._read_retry(first.left - first.at, first.left, listener)
        if finals:
            words = f"{len(finals)} final after an answer"
            findings.observe(Point.REPORT_ONCE, words, as_assumed=len(finals) == 1)
        else:
            findings.miss(f"no final report was answered within {wait}", Point.REPORT_ONCE)

    def _read_retry(self, patience: float, left: float, listener: Listener) -> None:
        again = listener.again
        words = f"given up after {patience:.2f} s, "
        words += "not sent again" if again is None else f"again {again.at - left:.2f} s later"
        self._findings.observe(Point.REPORT_RETRIED, words, as_assumed=again is not None)

    def _see_statuses(self) -> None:
        statuses = sorted(self._session.rejected_at)
        if statuses:
            words = ", ".join(f"HTTP {status}" for status in statuses)
            self._findings.observe(Point.CODED_STATUS, words, as_assumed=statuses == [200])

    def _tell(self, point: Point, seen: Seen, *, as_assumed: bool) -> None:
        """Note an answer, or that there was none."""
        if seen.status is None:
            self._findings.miss(str(seen), point)
        else:
            self._findings.observe(point, str(seen), as_assumed=as_assumed)

    def _tell_use(self, point: Point, seen: Seen, *, assumed: bool) -> None:
        """Note whether a RequestId was used before; any other answer says nothing of that."""
        if seen.code in (ACCEPTED, DUPLICATE):
            used = seen.code == DUPLICATE
            words = f"{'yes' if used else 'no'}: {seen}"
            self._findings.observe(point, words, as_assumed=used == assumed)
        else:
            self._findings.miss(str(seen), point)
