"""One logical send: its attempts, one after the other, until the outcome is known or given up."""

import asyncio
import copy
import logging
import time
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime

import attrs

from esms_async._http.direct import Reply, Request, TransportFailure
from esms_async._http.transport import Transport
from esms_async.budget import RetryBudget
from esms_async.codes import Scope, lookup
from esms_async.errors import (
    AccountRejected,
    DuplicateRequestId,
    NotSent,
    OutcomeUnknown,
    Rejected,
    RequestIdConflict,
    SendError,
)
from esms_async.events import Events
from esms_async.messages import Attempt, Credentials, Evidence, Message, Receipt
from esms_async.outcome import History, Verdict, extend, judge
from esms_async.protocol import SEND_OPERATION, Answer, Loads, SendEncoder, decode_send
from esms_async.redaction import redact
from esms_async.retry import RetryPolicy, leaves_outcome_open, pursue

_logger = logging.getLogger("esms_async")

Limiter = AbstractAsyncContextManager[object]
"""Holds back an attempt until it may be made: aiolimiter's AsyncLimiter, a semaphore."""


@attrs.frozen
class Gateway:
    """What the sends of one client share: where they go, as whom, and how hard they try."""

    transport: Transport
    credentials: Credentials
    encode: SendEncoder
    loads: Loads
    retry: RetryPolicy
    limiter: Limiter | None
    events: Events
    budget: RetryBudget = attrs.field(
        init=False,
        default=attrs.Factory(lambda gateway: RetryBudget(gateway.retry.budget), takes_self=True),
    )


class LogicalSend:
    """One Message on its way to an outcome.

    Args:
        gateway: What the sends of the client share.
        message: The message.
        history: What earlier attempts, of another call or process, leave possible.

    Attributes:
        message: The message.
        history: What its attempts so far leave possible.
        attempts: The attempts of this call, in order.
        is_observed: True where attempts that were accepted are told of, too.
    """

    __slots__ = (
        "_body",
        "_deadline",
        "_gateway",
        "_landed",
        "_last_start",
        "_request",
        "attempts",
        "history",
        "is_observed",
        "message",
    )

    _deadline: float
    _last_start: float

    def __init__(self, gateway: Gateway, message: Message, history: History) -> None:
        self.message: Message = message
        self.history: History = history
        self.attempts: tuple[Attempt, ...] = ()
        self.is_observed: bool = False
        self._gateway = gateway
        self._body = b""
        self._request: Request | None = None
        self._landed: asyncio.Future[Receipt | SendError | None] | None = None

    async def run(self) -> Receipt:
        """Send the message.

        Returns:
            The receipt, once the gateway has accepted the message.

        Raises:
            SendError: It was not accepted, or may not have been.
            asyncio.CancelledError: The caller was cancelled. Its `__cause__` is the NotSent or
                the OutcomeUnknown that is true of the message.
        """
        gateway, started = self._gateway, time.monotonic()
        self._deadline = self._last_start = started + gateway.retry.deadline
        if self.message.expires_at is not None:
            until_expiry = (self.message.expires_at - datetime.now(UTC)).total_seconds()
            self._last_start = min(self._deadline, started + until_expiry)
        self.encode()
        try:
            try:
                receipt = await self._attempt(started)
            except SendError as error:
                if not leaves_outcome_open(error):
                    raise
                failure = error
            else:
                gateway.budget.reward()
                return receipt
            return await self._pursue(failure, started)
        except asyncio.CancelledError as cancelled:
            cancelled.__cause__ = self.left_open("cancelled")
            raise

    def encode(self) -> None:
        """Write the body of the requests, unless it is written already."""
        self._body = self._body or self._gateway.encode(self.message)

    @property
    def may_have_arrived(self) -> bool:
        """False only as long as no attempt can have reached the gateway."""
        if self.history is History.AMBIGUOUS:
            return True
        if self._request is not None:
            return self._request.may_have_arrived
        return bool(self.attempts) and self.attempts[-1].evidence is not Evidence.NOTHING_LEFT

    async def _pursue(self, failure: SendError, started: float) -> Receipt:
        try:
            return await pursue(
                self._gateway.retry,
                failure,
                self.attempt_again,
                started=started,
                give_up_at=self._last_start,
                budget=self._gateway.budget,
                sleep=asyncio.sleep,
            )
        except SendError:
            raise
        except Exception as error:
            # An object of the policy's is the caller's own code; what is true of the message
            # must not get lost where it fails.
            raise self.left_open(f"the retry policy failed: {type(error).__name__}") from error

    async def attempt_again(self) -> Receipt:
        """Make a further attempt; what it raises is true of the send should it be the last."""
        return await self._attempt(time.monotonic())

    async def join(self, message: Message, history: History) -> Receipt | History:
        """Wait for the result of this send, which is under way.

        Args:
            message: The message, as the joining caller gave it.
            history: What the joining caller knows of earlier attempts.

        Returns:
            The receipt, or the history with which to take over a send that was abandoned.

        Raises:
            RequestIdConflict: It is another message.
            SendError: What the send ended with.
        """
        under_way = self.message
        if (message.phone, message.content) != (under_way.phone, under_way.content):
            raise RequestIdConflict(
                message, (), "another message is under way with the same request id; nothing sent"
            )
        if history is History.AMBIGUOUS:
            self.history = history
        if self._landed is None:
            self._landed = asyncio.get_running_loop().create_future()
        try:
            result = await asyncio.shield(self._landed)
        except asyncio.CancelledError as cancelled:
            cancelled.__cause__ = OutcomeUnknown(
                message, (), "cancelled while another task goes on sending it"
            )
            raise
        if isinstance(result, SendError):
            raise copy.copy(result)
        return self.history if result is None else result

    def land(self, result: Receipt | SendError | None) -> None:
        """Hand the result to all who joined.

        Args:
            result: The receipt, the error, or None where the send was abandoned.
        """
        if self._landed is not None:
            self._landed.set_result(result)

    async def _attempt(self, started: float) -> Receipt:
        if started >= self._last_start:
            raise self.left_open("the deadline or expires_at has passed")
        gateway, started_at = self._gateway, datetime.now(UTC)
        guard = None if self.message.expires_at is None else self._refuse_late
        request = self._request = Request(self._body, guard)
        asked_to_wait = None
        try:
            if gateway.limiter is None:
                time_limit = min(gateway.retry.attempt_timeout, self._deadline - started)
                reply = await gateway.transport.post(SEND_OPERATION, request, time_limit=time_limit)
            else:
                reply = await self._post_admitted(gateway.limiter, request)
        except TransportFailure as failure:
            answer = _no_answer(failure.problem, may_have_arrived=failure.may_have_arrived)
        except asyncio.CancelledError:
            answer = _no_answer("cancelled", may_have_arrived=request.may_have_arrived)
            self._record(answer, started_at, started)
            raise
        else:
            answer = decode_send(reply.status, reply.body, loads=gateway.loads)
            asked_to_wait = reply.retry_after
            if request.writes > 1:
                # A middleware of the session has made further attempts of this one.
                self.history = History.AMBIGUOUS
        verdict = self._record(answer, started_at, started, asked_to_wait)
        if verdict is Verdict.ACCEPTED:
            return Receipt(self.message.request_id, answer.sms_id, attempts=self.attempts)
        return self._conclude(verdict, answer)

    def _refuse_late(self) -> None:
        """Let no request out once nobody can use the message."""
        if time.monotonic() >= self._last_start:
            raise TransportFailure("expires_at has passed", may_have_arrived=False)

    async def _post_admitted(self, limiter: Limiter, request: Request) -> Reply:
        try:
            async with asyncio.timeout(self._last_start - time.monotonic()):
                await limiter.__aenter__()
        except TimeoutError:
            raise TransportFailure(
                "the limiter gave no place before the deadline", may_have_arrived=False
            ) from None
        except Exception as error:
            # The limiter is the caller's own; what is true of the message must not get lost.
            raise TransportFailure(
                f"the limiter failed: {type(error).__name__}", may_have_arrived=False
            ) from error
        try:
            gateway = self._gateway
            time_limit = min(gateway.retry.attempt_timeout, self._deadline - time.monotonic())
            return await gateway.transport.post(SEND_OPERATION, request, time_limit=time_limit)
        finally:
            await _leave(limiter, self._deadline)

    def _record(
        self,
        answer: Answer,
        started_at: datetime,
        started: float,
        asked_to_wait: float | None = None,
    ) -> Verdict:
        """Add an attempt to the history and return what follows from it."""
        evidence, history = answer.evidence, self.history
        attempt = Attempt(
            started_at,
            time.monotonic() - started,
            evidence,
            answer.status,
            answer.code,
            answer.problem,
            asked_to_wait,
        )
        self.attempts += (attempt,)
        self._request = None
        if self.is_observed or evidence is not Evidence.ACCEPTED:
            self._gateway.events.attempted(self.message, len(self.attempts), attempt)
        self.history = extend(history, evidence)
        return judge(history, evidence)

    def _conclude(self, verdict: Verdict, answer: Answer) -> Receipt:
        """Turn any other verdict into what the caller gets."""
        match verdict:
            case Verdict.DEDUPLICATED:
                return Receipt(self.message.request_id, deduplicated=True, attempts=self.attempts)
            case Verdict.REJECTED:
                raise self._rejection(answer)
            case Verdict.UNKNOWN:
                rejection = self._rejection(answer)
                raise OutcomeUnknown(
                    self.message,
                    self.attempts,
                    f"an earlier attempt may have been accepted, and then: {rejection.reason}",
                    rejection,
                ) from rejection
            case _:
                raise self.left_open(answer.problem or answer.evidence.value)

    def left_open(self, problem: str) -> NotSent | OutcomeUnknown:
        """Return the error that is true if nothing more is tried.

        Args:
            problem: Why nothing more is tried, in words free of secrets.

        Returns:
            NotSent, or OutcomeUnknown where an attempt may have arrived.
        """
        if self.may_have_arrived:
            return OutcomeUnknown(
                self.message, self.attempts, f"it may have been accepted: {problem}"
            )
        return NotSent(self.message, self.attempts, f"not sent: {problem}")

    def _rejection(self, answer: Answer) -> Rejected:
        keys = self._gateway.credentials
        secrets = keys.api_key, keys.secret_key, self.message.phone, self.message.content
        return rejection(
            self.message,
            self.attempts,
            code=answer.code,
            status=answer.status,
            sms_id=answer.sms_id,
            detail=None if answer.detail is None else redact(answer.detail, *secrets),
        )


_REJECTIONS = {Scope.ACCOUNT: AccountRejected, Scope.DUPLICATE: DuplicateRequestId}


def rejection(
    message: Message,
    attempts: tuple[Attempt, ...],
    *,
    code: str | None,
    status: int | None,
    sms_id: str | None = None,
    detail: str | None = None,
) -> Rejected:
    """Return the error of the kind that a code asks for.

    Args:
        message: The message.
        attempts: The attempts of the send.
        code: The gateway's code, or None where an HTTP status alone refused the request.
        status: The HTTP status of the answer.
        sms_id: The SMSID of the answer.
        detail: The gateway's own words, fit to be shown.

    Returns:
        The error.
    """
    kind = Rejected if code is None else _REJECTIONS.get(lookup(code).scope, Rejected)
    return kind(message, attempts, code=code, status=status, sms_id=sms_id, detail=detail)


async def _leave(limiter: Limiter, give_up_at: float) -> None:
    """Give a place back; trouble with that must not hide what became of the request."""
    try:
        async with asyncio.timeout(give_up_at - time.monotonic()):
            await limiter.__aexit__(None, None, None)
    except Exception as error:  # noqa: BLE001  # the limiter is the caller's own
        _logger.warning("the limiter failed after an attempt: %s", type(error).__name__)


def _no_answer(problem: str, *, may_have_arrived: bool) -> Answer:
    evidence = Evidence.MAY_HAVE_ARRIVED if may_have_arrived else Evidence.NOTHING_LEFT
    return Answer(evidence, None, problem=problem)
