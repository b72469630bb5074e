"""Sends messages: claims, attempts, settles and reports, once for each logical send.

`Sender` belongs to one client and holds what its sends share. `_Send` is one Message on its way
to an outcome; its `run` is the whole story from the claim to the settlement.

A send runs inside the task of its first caller, because a separate task would cost 5 % of a send.
It does not belong to that caller: after a cancellation `run` can be called again and continues
where it was. So if others wait for the same message, a new task continues for a cancelled caller.
"""

import asyncio
import contextlib
import copy
import logging
import os
import time
from collections.abc import Coroutine, Generator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, cast

import attrs

from esms_async._http.transport import HttpResponse, SendRequest, Transport, TransportFailure
from esms_async._model.backoff import backoff
from esms_async._model.codes import Scope, lookup
from esms_async._model.errors import (
    AccountRejected,
    DuplicateRequestId,
    EsmsError,
    ForeignLedger,
    InvalidMessage,
    LedgerError,
    NotSent,
    OutcomeUnknown,
    Rejected,
    RequestIdConflict,
    RequestIdExpired,
    SendError,
)
from esms_async._model.messages import (
    Attempt,
    Credentials,
    Evidence,
    Message,
    Outcome,
    Receipt,
    Status,
)
from esms_async._model.redaction import redact
from esms_async._model.request_ids import minted_at
from esms_async._model.routes import Route
from esms_async._send.events import Events, attempts_logger, outcomes_logger
from esms_async._send.memory import (
    Memory,
    Moment,
    Remembered,
    age,
    identity,
    knowledge,
    moment_at,
    now,
)
from esms_async._send.outcome import Conclusion, History, judge, judge_answer, settles
from esms_async._send.retry import Retries, RetryBudget, RetryPolicy
from esms_async._wire.send import (
    SEND_OPERATION,
    ZALO_OPERATION,
    Answer,
    Loads,
    SendEncoder,
    accepted_sms_id,
    decode_send,
    read_json,
)
from esms_async.ledger.base import ClaimAhead, Ledger, LedgerAcceptances, LedgerAhead
from esms_async.ledger.binding import bind
from esms_async.ledger.transitions import (
    CLAIMS,
    ONE_MORE_ATTEMPT,
    WINDOW,
    Claim,
    Decision,
    Entry,
    Reason,
    Settlement,
    fingerprint,
    fingerprint_key,
    same_fingerprint,
)

_logger = logging.getLogger("esms_async")

Limiter = AbstractAsyncContextManager[object]
"""An async context manager around each attempt: aiolimiter's AsyncLimiter, a semaphore."""

_NEVER: Final[Moment] = (0.0, 0.0)
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
# A cancelled caller waits at most this many seconds for the ledger's answer.
_LEDGER_PATIENCE: Final = 1.0


@attrs.frozen
class ViewOptions:
    """The options of one view of a client; `encode` also knows the default route."""

    retry: RetryPolicy
    limiter: Limiter | None
    encode: SendEncoder


class Sender:
    """Sends the messages of one client, and holds what these sends share."""

    def __init__(  # noqa: PLR0917  # made in one place
        self,
        transport: Transport,
        credentials: Credentials,
        loads: Loads,
        events: Events,
        budget: RetryBudget,
        ledger: "LedgerSession | None",
    ) -> None:
        self.transport = transport
        self.credentials = credentials
        self.loads = loads
        self.reads_json = loads is read_json
        self.events = events
        self.budget = budget
        self.ledger = ledger
        self.closed = False
        self._memory = Memory()
        self._under_way: dict[str, _Send] = {}
        self._continued: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()

    async def send(self, message: Message, options: ViewOptions, *, resume: bool) -> Receipt:
        """Send a message, or share the result of an earlier or concurrent send of it.

        `resume` is true if the caller knows of an attempt that may have arrived. Raises the errors
        of `EsmsClient.send`, and UsageError if the client is open on another event loop.
        """
        if not isinstance(cast("object", message), Message):
            raise InvalidMessage("message", f"is a {type(message).__name__}, not a Message")
        if self.transport.loop is not asyncio.get_running_loop():
            self.transport.require_loop()
        key = message.request_id
        while (under_way := self._under_way.get(key)) is not None:
            if not under_way.is_ending:
                return await under_way.join(message, options.encode.route, resume=resume)
            # Its outcome is older than this call: another process may have sent the message since.
            await under_way.until_ended(message)
        send = _Send(self, options, message)
        remembered = self._memory.rows.get(key)
        if remembered is not None or resume:
            known = send.begin_with(remembered, resume=resume)
            if known is not None:
                return known
        if self.closed:
            return send.end_closed()
        self._under_way[key] = send
        try:
            receipt = await send.run()
        except BaseException as error:
            await self._fail(send, error)
            raise
        self._finish(send, receipt)
        return receipt

    def truth_before(self, message: object, *, resume: bool) -> EsmsError | None:
        """Return what is true of a message whose send was cancelled before it began."""
        if not isinstance(message, Message):
            return None
        if message.request_id in self._under_way:
            return OutcomeUnknown(message, (), "cancelled while another task is sending it")
        remembered = self._memory.rows.get(message.request_id)
        if remembered is not None and isinstance(remembered.result, EsmsError):
            # What allows another send may be out of date: another process may have sent it since.
            is_certain = remembered.decision is not Decision.SEND or (
                self.ledger is None and not resume
            )
            if is_certain:
                return copy.copy(remembered.result)
        unasked = self.ledger is not None and not _is_untried(message)
        if resume or remembered is not None or unasked:
            return OutcomeUnknown(message, (), "cancelled before it was known what became of it")
        return NotSent(message, (), "not sent: cancelled before the send began")

    async def aclose(self) -> None:
        """Refuse new sends, and bring those in flight to their outcomes."""
        self.closed = True
        if self._under_way:
            await self._idle.wait()

    async def _fail(self, send: "_Send", error: BaseException) -> None:
        """End a send whose caller gets an error; a cancellation's `__cause__` is the truth."""
        if not isinstance(error, asyncio.CancelledError):
            self._finish(send, _truth(send, error))
        elif send.waiting:
            # Others wait for the result, so a new task continues the send.
            task = send.task = asyncio.get_running_loop().create_task(self._run_on(send))
            self._continued.add(task)
            task.add_done_callback(self._continued.discard)
            error.__cause__ = OutcomeUnknown(
                send.message, send.attempts, "cancelled while another task goes on sending it"
            )
        else:
            truth = await send.abandon()
            self._finish(send, truth)
            error.__cause__ = (
                truth
                if isinstance(truth, EsmsError)
                else OutcomeUnknown(
                    send.message, send.attempts, "accepted, and cancelled after that"
                )
            )

    async def _run_on(self, send: "_Send") -> None:
        try:
            result: Receipt | EsmsError = await send.run()
        except asyncio.CancelledError:
            result = await send.abandon()
        except Exception as error:  # noqa: BLE001  # a hook of the caller's; the waiters get the truth
            result = _truth(send, error)
        self._finish(send, result)

    def _finish(self, send: "_Send", result: Receipt | EsmsError) -> None:
        """Report a send, remember its result, and hand it to those who wait."""
        if isinstance(result, Receipt):
            kept: Receipt | EsmsError = result
            is_notable = result.deduplicated or len(result.attempts) > 1
        else:
            # A copy of the error has no traceback, which would keep frames alive.
            kept, is_notable = copy.copy(result), True
        if send.is_memorable:
            self._memory.remember(send.message, kept, send.since or send.began, send.default_route)
        if send.done is not None and not send.done.done():
            send.done.set_result(result)
        del self._under_way[send.message.request_id]
        if self.closed and not self._under_way:
            self._idle.set()
        # At last: a hook may end the program, and nobody may wait for this send then.
        if send.is_observed or is_notable:
            send.report(result)


class _Send:
    """One Message on its way to an outcome.

    Attributes:
        message: The message.
        default_route: The route of a message that names none.
        attempts: The attempts of this call, in order.
        began: When the send began.
        since: The first moment at which a known attempt may have arrived, or None while the
            history is clean.
        waiting: The number of other callers that wait for the result.
        done: The result for them, once one waits.
        task: The task that continues the send after its first caller was cancelled.
        is_observed: True if a log or hook wants sends without trouble, too.
        is_memorable: False if the ledger failed, so nothing was learned.
        is_abandoned: True once nobody waits for the result any more.
    """

    # Defaults live in the class: most of them never change, and a send is made for each message.
    attempts: tuple[Attempt, ...] = ()
    since: Moment | None = None
    waiting = 0
    done: "asyncio.Future[Receipt | EsmsError] | None" = None
    task: "asyncio.Task[None] | None" = None
    is_observed = False
    is_memorable = True
    is_abandoned = False
    began = _NEVER
    _started = 0.0
    _deadline = _give_up_at = 0.0
    _body = b""
    _operation = SEND_OPERATION
    _generation = 0  # of the claim in the ledger, once there is one
    _failure: SendError | None = None
    _invalid: InvalidMessage | None = None
    _is_fresh = False
    _known: Receipt | EsmsError | None = None
    _request: SendRequest | None = None
    _result: Receipt | SendError | None = None
    _retries: Retries | None = None
    _written: Moment | None = None

    def __init__(self, sender: Sender, options: ViewOptions, message: Message) -> None:
        self.message = message
        self.default_route = options.encode.route
        self._sender = sender
        self._options = options

    def begin_with(self, remembered: Remembered | None, *, resume: bool) -> Receipt | None:
        """Begin with the remembered result of the message, and return the receipt if it has one.

        Raises:
            SendError: The message must not be sent: it was rejected, is in doubt by 124 alone, or
                differs from the remembered one in phone, content or route.
        """
        message, has_ledger = self.message, self._sender.ledger is not None
        if remembered is None:
            # Only resume comes here. A ledger may know the moment, so it is read first.
            self.since = now() if has_ledger else self._since_minted()
        else:
            result = remembered.result
            if not remembered.is_result_of(message, self.default_route):
                raise RequestIdConflict(
                    message,
                    (),
                    "another message came before with the same request id; nothing sent",
                )
            match remembered.decision:
                case Decision.ALREADY_ACCEPTED:
                    assert isinstance(result, Receipt)  # noqa: S101  # the table says so
                    if not has_ledger or result.sms_id is not None:
                        return result
                    # A delivery report may have brought the ledger the SMSID meanwhile.
                    self._known = result
                case Decision.ALREADY_REJECTED:
                    raise copy.copy(_as_error(result))
                case Decision.DUPLICATE:
                    # A delivery report may have brought the ledger the outcome.
                    if not has_ledger:
                        raise copy.copy(_as_error(result))
                    self._known = result
                case Decision.RESUME:
                    self.since = remembered.since
                case _:
                    # The caller knows of an attempt that this client does not know of.
                    self.since = min(remembered.since, self._since_minted()) if resume else None
        if self.since is not None and age(self.since, now()) > WINDOW:
            raise self._expired()
        return None

    def _since_minted(self) -> Moment:
        """Return the earliest moment at which an unknown message may have been accepted.

        As a last resort, a minted id tells its age.
        """
        minted = minted_at(self.message.request_id)
        return now() if minted is None else moment_at(minted)

    async def run(self) -> Receipt:  # noqa: C901, PLR0912, PLR0915  # the whole story in one place, and on the hot path
        """Go on until the outcome is known; after a cancellation, from where it was.

        Raises:
            SendError: It was not accepted, or may not have been.
            LedgerError: The ledger can't be used, and nothing was sent.
        """
        sender, message = self._sender, self.message
        transport, retry, limiter = sender.transport, self._options.retry, self._options.limiter
        if not self._started:
            self._begin()
        ledger = sender.ledger
        if self._invalid is not None:
            return await self._refuse(self._invalid)
        if ledger is not None and not self._generation:
            ahead = ledger.claimed_ahead(message)
            if ahead is not None:
                # The machine may have slept since.
                self.began = ahead.began
            is_new = self.since is None and self._known is None
            if is_new and ahead is not None and ahead.claim.decision is Decision.SEND:
                # Nearly every row of a list comes by here.
                self._generation = ahead.claim.entry.generation
            elif early := await self._claim(ledger, ahead):
                return early
        while self._result is None:
            if self._failure is not None:
                if receipt := await self._pause(self._failure):
                    return receipt
                # The loop ends if that brought a result.
                continue
            started = time.monotonic()
            if started >= self._give_up_at:
                self._result = self.open_outcome("the deadline or expires_at has passed")
                break
            started_at = datetime.now(UTC)
            # After a cancellation, the answer to a request that has left may still be awaited.
            request = self._request
            if request is None:
                request = self._request = SendRequest(self._body, self._check_write)
            problem: str | None
            asked = answer = sms_id = None
            try:
                # A request that has left already needs no place of the limiter.
                if limiter is None or request.answer is not None:
                    time_limit = min(retry.attempt_timeout, self._deadline - started)
                    reply = await transport.post(self._operation, request, time_limit=time_limit)
                else:
                    reply = await self._post_admitted(limiter, request)
            except TransportFailure as failure:
                may_have_arrived = failure.may_have_arrived or request.writes > 0
                problem = failure.problem
                evidence = Evidence.MAY_HAVE_ARRIVED if may_have_arrived else Evidence.NOTHING_LEFT
                code = status = None
            else:
                status = reply.status
                sms_id = accepted_sms_id(status, reply.body) if sender.reads_json else None
                if sms_id is not None:
                    evidence, code, problem = Evidence.ACCEPTED, "100", None
                else:
                    answer = decode_send(status, reply.body, loads=sender.loads)
                    evidence, problem = judge_answer(answer)
                    code, sms_id = answer.code if problem is None else None, answer.sms_id
                    asked = reply.retry_after
                if request.writes > 1:
                    # A middleware of the session has made further attempts of this one.
                    self.since = self.since or self._written
            attempt = Attempt(
                started_at, time.monotonic() - started, evidence, status, code, problem, asked
            )
            self._request = None
            self.attempts += (attempt,)
            if evidence is Evidence.ACCEPTED:
                self._result = Receipt(message.request_id, sms_id, False, self.attempts)  # noqa: FBT003  # as fast as it gets
            else:
                self._judge(evidence, attempt, answer)
            # A hook may end the program, so it learns of the attempt when the result is known.
            if evidence is not Evidence.ACCEPTED or self.is_observed:
                sender.events.attempted(message, len(self.attempts), attempt, self.route)
            if isinstance(self._result, Receipt):
                if len(self.attempts) > 1:
                    sender.budget.give_back()
                elif sender.budget.spent:
                    sender.budget.reward()
        result = self._result
        assert result is not None  # noqa: S101  # the loop ends with a result
        if isinstance(result, Receipt) and (ledger is None or ledger.accept(message, result)):
            return result
        if ledger is not None:
            return await self._settle(ledger, result)
        raise _as_error(result)

    def _begin(self) -> None:
        """Start the clocks, encode the message, and mark it as tried.

        Raises:
            InvalidMessage: It can't be encoded, and nobody can have sent it before.
        """
        sender, options, message = self._sender, self._options, self.message
        is_fresh = _is_untried(message)
        self._started, self.began = time.monotonic(), now()
        self._deadline = self._give_up_at = self._started + options.retry.deadline
        if message.expires_at is not None:
            left = message.expires_at.timestamp() - time.time()
            self._give_up_at = min(self._deadline, self._started + left)
        self.is_observed = (
            bool(sender.events.hooks)
            or outcomes_logger.isEnabledFor(logging.DEBUG)
            or attempts_logger.isEnabledFor(logging.DEBUG)
        )
        if self.is_observed:
            sender.events.started(message)
        if message.params is not None:
            self._operation = ZALO_OPERATION
        # Before the claim: if the caller's own hook fails, there is nothing to undo.
        try:
            self._body = options.encode(message)
        except InvalidMessage as error:
            # Nothing was tried, so the id is free for the corrected message.
            self.is_memorable = False
            if self.since is None and (sender.ledger is None or is_fresh):
                raise
            # An earlier attempt, made while the message was valid, may have been accepted.
            self._invalid = error
        except BaseException:
            # A function of the caller's raised: nothing was learned of the message.
            self.is_memorable = False
            raise
        else:
            object.__setattr__(message, "_untried_in", -id(self) if is_fresh else None)
            self._is_fresh = is_fresh

    async def _refuse(self, error: InvalidMessage) -> Receipt:
        """Raise what is true of a message that can't be encoded, but may have been sent."""
        ledger, message, known = self._sender.ledger, self.message, self._known
        entry = None
        if ledger is not None:
            if known is not None and (receipt := await self._recall(ledger, known)):
                return receipt
            ahead = ledger.claimed_ahead(message)
            try:
                if ahead is not None and ahead.claim.decision is Decision.SEND:
                    # Nothing was sent under this claim. Another process may have taken it over.
                    self._generation = ahead.claim.entry.generation
                    entry = await ledger.give_back(message.request_id, self._generation)
                else:
                    entry = await ledger.look_up(message)
            except LedgerError as failure:
                raise OutcomeUnknown(
                    message, (), f"the ledger could not say whether it was sent before: {failure}"
                ) from error
            if entry is not None and not ledger.holds(entry, message, self.default_route):
                raise error
        if entry is not None and entry.status is Status.ACCEPTED:
            return _receipt(entry)
        if self.since is not None or (entry is not None and entry.status is Status.UNKNOWN):
            raise OutcomeUnknown(
                message, (), f"it may have been accepted, and can't be sent now: {error}"
            ) from error
        raise error

    @property
    def _is_only_try(self) -> bool:
        """True if only this send can have tried the message."""
        return self._is_fresh and getattr(self.message, "_untried_in", None) == -id(self)

    def _check_write(self) -> None:
        """Refuse to write a request too late; called immediately before every write."""
        moment, expires_at = now(), self.message.expires_at
        if expires_at is not None and moment[0] >= expires_at.timestamp():
            raise TransportFailure("expires_at has passed", may_have_arrived=False)
        # Since the send began, another process may have sent the message, too.
        if age(self.began, moment) > WINDOW or (
            self.since is not None and age(self.since, moment) > WINDOW
        ):
            raise TransportFailure("it is too late to send it again", may_have_arrived=False)
        if self._written is None:
            self._written = moment

    def _judge(self, evidence: Evidence, attempt: Attempt, answer: Answer | None) -> None:
        """Decide what follows from an attempt that brought no acceptance of its own."""
        message, attempts = self.message, self.attempts
        conclusion = judge(self._history, evidence)
        if evidence is Evidence.MAY_HAVE_ARRIVED and self.since is None:
            self.since = self._written or self.began
        self._written = None
        match conclusion:
            case Conclusion.DEDUPLICATED:
                self._result = Receipt(message.request_id, deduplicated=True, attempts=attempts)
            case Conclusion.REJECTED:
                self._result = self._rejection(attempt, answer)
            case Conclusion.DUPLICATE:
                self._result = _duplicate(message, attempts)
            case Conclusion.UNKNOWN if evidence is Evidence.DUPLICATE:
                self._result = OutcomeUnknown(
                    message, attempts, "the gateway has seen the request id, accepted or rejected"
                )
            case Conclusion.UNKNOWN:
                rejection = self._rejection(attempt, answer)
                reason = f"an earlier attempt may have been accepted, and then: {rejection.reason}"
                self._result = OutcomeUnknown(message, attempts, reason, rejection)
                self._result.__cause__ = rejection
            case _:
                if self.since is not None and age(self.since, now()) > WINDOW:
                    self._result = self._expired()
                else:
                    self._failure = self.open_outcome(attempt.error or evidence.value)

    @property
    def _history(self) -> History:
        return History.CLEAN if self.since is None else History.AMBIGUOUS

    async def _pause(self, failure: SendError) -> Receipt | None:
        """Wait before the next attempt, or end the send with its failure.

        Returns the receipt if another process has sent the message meanwhile.
        """
        sender = self._sender
        if self._retries is None:
            self._retries = Retries(self._options.retry, self._started)
        asked = (failure.attempts[-1].retry_after or 0.0) if failure.attempts else 0.0
        try:
            pause = await self._retries.pause_after(
                failure, asked=asked, give_up_at=self._give_up_at
            )
        except Exception as error:  # noqa: BLE001  # the caller's own object; the outcome must not get lost
            self._result = self.open_outcome(f"the retry policy failed: {type(error).__name__}")
            self._result.__cause__ = error
            return None
        if pause is None:
            self._result = failure
            return None
        if not sender.budget.take():
            reason = f"{failure.reason}; not tried again, because the retry budget is used up"
            self._result = type(failure)(self.message, self.attempts, reason)
            return None
        try:
            await asyncio.sleep(pause)
        except BaseException:
            sender.budget.give_back()
            raise
        self._retries.next_attempt()
        self._failure = None
        if sender.ledger is not None and self._generation and self.since is not None:
            entry = await sender.ledger.settle(
                self.message.request_id, self._generation, ONE_MORE_ATTEMPT
            )
            if entry is not None and entry.status is Status.ACCEPTED:
                return attrs.evolve(_receipt(entry), attempts=self.attempts)
        return None

    async def _post_admitted(self, limiter: Limiter, request: SendRequest) -> HttpResponse:
        """Make an attempt in the limiter, which is the caller's own code."""
        try:
            async with asyncio.timeout(self._give_up_at - time.monotonic()):
                await limiter.__aenter__()
        except TimeoutError:
            raise TransportFailure(
                "the limiter gave no place before the deadline", may_have_arrived=False
            ) from None
        except Exception as error:
            raise TransportFailure(
                f"the limiter failed: {type(error).__name__}", may_have_arrived=False
            ) from error
        try:
            limit = min(self._options.retry.attempt_timeout, self._deadline - time.monotonic())
            return await self._sender.transport.post(self._operation, request, time_limit=limit)
        finally:
            await _leave(limiter, self._deadline)

    async def _claim(  # noqa: C901, PLR0912  # one case for each decision
        self, ledger: "LedgerSession", ahead: ClaimAhead | None
    ) -> Receipt | None:
        """Claim the message in the ledger, before the first byte leaves, or take an earlier claim.

        Returns the receipt if the ledger or the client knows that the message was accepted.
        """
        message, known = self.message, self._known
        if known is not None and (receipt := await self._recall(ledger, known)):
            return receipt
        try:
            if self.since is not None and _knows_nothing_sent(await ledger.look_up(message)):
                self.since = min(self.since, self._since_minted())
            # Before the claim: the machine may sleep while the ledger answers.
            before = self.began if self.since is None or ahead is not None else now()
            doubt_age = None if self.since is None else age(self.since, before)
            if doubt_age is not None and doubt_age > WINDOW:
                # Infinite if the wall clock was set back meanwhile: no ledger may store that.
                raise self._expired()
            claim = (
                await ledger.claim(message, self.default_route, doubt_age)
                if ahead is None
                else ahead.claim
            )
        except ForeignLedger:
            self.is_memorable = False
            raise
        except LedgerError as error:
            self.is_memorable = False
            if self._is_only_try and self.since is None:
                raise
            raise OutcomeUnknown(
                message,
                (),
                f"the ledger could not say whether it was sent before: {error}",
            ) from error
        entry = claim.entry
        match claim.decision:
            case Decision.SEND:
                pass
            case Decision.RESUME:
                in_doubt = entry.updated_at - entry.in_doubt_since
                in_ledger = before[0] - in_doubt, before[1] - in_doubt
                self.since = min(self.since or in_ledger, in_ledger)
            case Decision.ALREADY_ACCEPTED:
                return _receipt(entry)
            case Decision.ALREADY_REJECTED:
                raise self._stored_rejection(entry)
            case Decision.DUPLICATE:
                raise _duplicate(message, ())
            case Decision.EXPIRED:
                self.since = moment_at(entry.in_doubt_since)
                raise self._expired()
            case _:
                self.is_memorable = False
                raise RequestIdConflict(
                    message, (), "the ledger holds this request id for another message"
                )
        self._generation = entry.generation
        return None

    async def _recall(self, ledger: "LedgerSession", known: Receipt | EsmsError) -> Receipt | None:
        """Ask the ledger what it has learned since of a message whose end this client knows.

        Where the ledger has lost the entry, or can't be used, what the client knows still holds.

        Returns:
            The receipt, where the message was accepted; None where it may be claimed.

        Raises:
            EsmsError: It is in doubt by 124 alone, and the ledger knows no more of it.
        """
        entry = None
        with contextlib.suppress(LedgerError):
            entry = await ledger.look_up(self.message)
        if isinstance(known, Receipt):
            if entry is None or entry.status is not Status.ACCEPTED:
                return known
            if not ledger.holds(entry, self.message, self.default_route):
                return known  # another message has taken the id since
            return attrs.evolve(known, sms_id=entry.sms_id)
        if _knows_nothing_sent(entry):
            raise copy.copy(known)
        return None

    async def _settle(self, ledger: "LedgerSession", result: Receipt | SendError) -> Receipt:
        """Record the result, and return or raise what is true by the ledger's answer."""
        entry = await ledger.settle(self.message.request_id, self._generation, _settlement(result))
        if isinstance(result, Receipt):
            return result
        if entry is not None and entry.status is Status.ACCEPTED:
            return attrs.evolve(_receipt(entry), attempts=self.attempts)
        if isinstance(result, OutcomeUnknown) or _is_final(result):
            raise result
        if entry is None and not self._is_only_try:
            raise self._doubted("the ledger could not say whether another process sends it", result)
        if entry is not None and entry.reason is Reason.MESSAGE:
            raise self._stored_rejection(entry) from result
        if entry is not None and entry.status is Status.UNKNOWN:
            raise self._doubted("another process is sending the same message", result)
        raise result

    def _doubted(self, doubt: str, result: SendError) -> OutcomeUnknown:
        rejection = result if isinstance(result, Rejected) else None
        reason = f"{doubt}, and here: {result.reason}"
        unknown = OutcomeUnknown(self.message, self.attempts, reason, rejection)
        unknown.__cause__ = result
        self.since = self.since or now()
        return unknown

    @property
    def receipt(self) -> Receipt | None:
        """The receipt, once the message is known to be accepted."""
        return self._result if isinstance(self._result, Receipt) else None

    @property
    def is_ending(self) -> bool:
        """True once the result is decided, or nobody waits for it, so that nobody may join."""
        return self._result is not None or self.is_abandoned

    async def join(self, message: Message, default: Route, *, resume: bool) -> Receipt:
        """Wait for the result of this send, which is under way."""
        if identity(self.message, self.default_route) != identity(message, default):
            raise RequestIdConflict(
                message, (), "another message is under way with the same request id; nothing sent"
            )
        if resume and self.since is None:
            # The joining caller knows of an earlier attempt, so this send knows it too.
            since = self._since_minted()
            self.since = since if age(since, now()) <= WINDOW else now()
        self.waiting += 1
        try:
            result = await self._shared_result()
        except asyncio.CancelledError as cancelled:
            cancelled.__cause__ = await self._leave()
            raise
        finally:
            self.waiting -= 1
        if isinstance(result, Receipt):
            return result
        raise copy.copy(result)

    def _shared_result(self) -> "asyncio.Future[Receipt | EsmsError]":
        """Return a future of the result, which a cancelled waiter does not cancel."""
        if self.done is None:
            self.done = asyncio.get_running_loop().create_future()
        return asyncio.shield(self.done)

    async def until_ended(self, message: Message) -> None:
        """Wait until this send has ended, so that another one can begin."""
        try:
            await self._shared_result()
        except asyncio.CancelledError as cancelled:
            cancelled.__cause__ = OutcomeUnknown(
                message, (), "cancelled before it was known what became of an earlier send"
            )
            raise

    async def _leave(self) -> EsmsError:
        """Return what is true for a cancelled waiter; the last one to leave ends the send."""
        going_on = "cancelled while another task goes on sending it"
        task, done = self.task, self.done
        if self.waiting == 1 and task is not None and done is not None and not done.done():
            self.is_abandoned = True
            # Not before its first step: a task cancelled then never runs, and never finishes.
            asyncio.get_running_loop().call_soon(task.cancel)
            with contextlib.suppress(asyncio.CancelledError):
                result = await asyncio.shield(done)
                if isinstance(result, EsmsError):
                    return copy.copy(result)
                going_on = "accepted, and cancelled after that"
        return OutcomeUnknown(self.message, self.attempts, going_on)

    async def abandon(self) -> Receipt | SendError:  # noqa: PLR0911  # one for each truth
        """Give up after a cancellation, and return what is true of the message."""
        self.is_abandoned = True
        ledger, request = self._sender.ledger, self._request
        if request is not None:
            request.abandon()
            evidence = (
                Evidence.MAY_HAVE_ARRIVED if request.may_have_arrived else Evidence.NOTHING_LEFT
            )
            attempt = Attempt(datetime.now(UTC), 0.0, evidence, error="cancelled")
            self.attempts += (attempt,)
            self._sender.events.attempted(self.message, len(self.attempts), attempt, self.route)
            if request.may_have_arrived:
                self.since = self.since or self._written or now()
            self._request = None
        result = self._result or self.open_outcome("cancelled")
        if ledger is None:
            return result
        if not self._generation:
            self.is_memorable = False
            if self._is_only_try and self.since is None:
                return result
            return OutcomeUnknown(
                self.message, (), "cancelled before the ledger said whether it was sent before"
            )
        # The settlement goes on in any case; an answer in time decides the outcome here.
        settling = ledger.settle_later(
            self.message.request_id, self._generation, _settlement(result)
        )
        if not isinstance(result, NotSent | Rejected) or _is_final(result):
            return result
        entry = None
        with contextlib.suppress(TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(_LEDGER_PATIENCE):
                entry = await asyncio.shield(settling)
        if entry is None and self._is_only_try:
            return result
        if entry is None or entry.status is Status.UNKNOWN:
            return self._doubted("another process may be sending the same message", result)
        return _receipt(entry) if entry.status is Status.ACCEPTED else result

    def open_outcome(self, problem: str) -> SendError:
        """Return the error that is true if nothing more is tried."""
        request = self._request
        if self.since is not None or (request is not None and request.may_have_arrived):
            return OutcomeUnknown(
                self.message, self.attempts, f"it may have been accepted: {problem}"
            )
        return NotSent(self.message, self.attempts, f"not sent: {problem}")

    def end_closed(self) -> Receipt:
        """Return or raise what is true where the client is closed, and asks its ledger no more."""
        if isinstance(self._known, Receipt):
            return self._known
        if self._known is not None:
            raise copy.copy(self._known)
        has_ledger = self._sender.ledger is not None
        if self.since is None and has_ledger and not _is_untried(self.message):
            raise OutcomeUnknown(
                self.message,
                (),
                "the client is closed, so its ledger could not say whether it was sent before",
            )
        raise self.open_outcome("the client is closed")

    @property
    def route(self) -> Route:
        """The route that the message travels by."""
        return self.message.route or self.default_route

    def report(self, result: Receipt | EsmsError) -> None:
        """Report the end of the send to the log and the hooks."""
        if isinstance(result, Receipt):
            outcome, attempts = Outcome(self.message, result), result.attempts
        else:
            outcome, attempts = Outcome(self.message, error=result), self.attempts
        duration = time.monotonic() - self._started
        self._sender.events.ended(outcome, attempts, duration, self.route)

    def _expired(self) -> RequestIdExpired:
        assert self.since is not None  # noqa: S101  # only a message in doubt expires
        since = datetime.fromtimestamp(self.since[0], UTC)
        return RequestIdExpired(
            self.message,
            self.attempts,
            f"it may have been accepted since {since:%Y-%m-%d %H:%M} UTC, which is too long ago "
            "to send it again",
            since,
        )

    def _rejection(self, attempt: Attempt, answer: Answer | None) -> Rejected:
        assert answer is not None  # noqa: S101  # a rejection is an answer
        keys, message = self._sender.credentials, self.message
        texts = (message.content or "", *(message.params or {}).values())
        secrets = keys.api_key, keys.secret_key, message.phone, *texts
        return _rejected(
            message,
            self.attempts,
            code=attempt.code,
            status=attempt.status,
            route=self.route,
            sms_id=answer.sms_id,
            detail=None if answer.detail is None else redact(answer.detail, *secrets),
        )

    def _stored_rejection(self, entry: Entry) -> Rejected:
        return _rejected(
            self.message,
            self.attempts,
            code=entry.code,
            status=entry.http_status,
            route=self.route,
            sms_id=entry.sms_id,
            detail=entry.detail,
        )


class LedgerSession:
    """The ledger of one client, and the settlements that it still has to store.

    A settlement that fails does not delay the outcome: it is tried again in the background. Until
    it succeeds the ledger says "it may have been accepted", which is true.

    The session opens and closes a ledger that is not open yet, and binds it to one destination and
    one account: a message that an emulator has accepted must still be sent.
    """

    def __init__(self, ledger: Ledger, credentials: Credentials, destination: str) -> None:
        self._ledger = ledger
        self._acceptances = ledger if isinstance(ledger, LedgerAcceptances) else None
        self._ahead = ledger if isinstance(ledger, LedgerAhead) else None
        self._credentials = credentials
        self._destination = destination
        self._key = fingerprint_key(credentials.secret_key)
        self._is_bound = False
        self._owns_ledger = False
        self._opening = asyncio.Lock()
        self._closing = asyncio.Event()
        self._outstanding: set[asyncio.Task[Entry | None]] = set()

    def claimed_ahead(self, message: Message) -> ClaimAhead | None:
        """Return the claim that was made for this send before it began, if there is one."""
        return None if self._ahead is None else self._ahead.claimed_ahead(message.request_id)

    async def claim(self, message: Message, default: Route, doubt_age: float | None) -> Claim:
        """Claim a message that has been in doubt for `doubt_age` seconds, or is not (None)."""
        ledger = self._ledger
        if not (self._is_bound and ledger.is_open):
            ledger = await self.opened()
        told = fingerprint(message, self._key, default)
        return await ledger.claim(message, told, doubt_age=doubt_age)

    async def give_back(self, request_id: str, generation: int) -> Entry:
        """Record that nothing was sent under a claim; return the entry after it.

        Raises:
            LedgerError: It could not be recorded yet, or the entry is gone.
        """
        entry = await self.settle(request_id, generation, Settlement(Status.NOT_SENT))
        if entry is None:
            raise LedgerError("the claim could not be given back")
        return entry

    async def look_up(self, message: Message) -> Entry | None:
        """Return the entry of a message, or None."""
        return await (await self.opened()).look_up(message.request_id)

    def holds(self, entry: Entry, message: Message, default: Route) -> bool:
        """Return True if an entry can belong to this message, not to another with its id."""
        return same_fingerprint(entry.fingerprint, fingerprint(message, self._key, default))

    async def opened(self) -> Ledger:
        """Return the ledger, and open it first if it is not open.

        Raises:
            LedgerError: It can't be used, or belongs to other sends.
        """
        async with self._opening:
            if not self._ledger.is_open and not self._closing.is_set():
                await self._ledger.open()
                self._owns_ledger = True
            if self._closing.is_set():
                await self._give_back()
                raise LedgerError("the client is closed")
            if not self._is_bound:
                await bind(
                    self._ledger,
                    destination=self._destination,
                    api_key=self._credentials.api_key,
                )
                self._is_bound = True
            return self._ledger

    def accept(self, message: Message, receipt: Receipt) -> bool:
        """Queue an acceptance; False if the ledger records it only by `settle`."""
        if self._acceptances is None:
            return False
        try:
            return self._acceptances.accept_soon(
                message.request_id,
                receipt.sms_id,
                deduplicated=receipt.deduplicated,
                unrecorded=self._unrecorded,
            )
        except LedgerError as error:
            self._unrecorded(message.request_id, _settlement(receipt), error)
            return True

    def _unrecorded(self, request_id: str, settlement: Settlement, error: LedgerError) -> None:
        """Store an acceptance in the background; its generation does not matter."""
        self._log_trouble(request_id, settlement, error)
        _ = self.settle_later(request_id, 0, settlement)

    async def settle(
        self, request_id: str, generation: int, settlement: Settlement
    ) -> Entry | None:
        """Record a settlement, and return the entry after it.

        None if the ledger could not record it yet, or holds no such entry.
        """
        try:
            return await self._ledger.settle(request_id, generation, settlement)
        except LedgerError as error:
            self._log_trouble(request_id, settlement, error)
            _ = self.settle_later(request_id, generation, settlement)
            return None

    def _log_trouble(self, request_id: str, settlement: Settlement, error: LedgerError) -> None:
        _logger.warning(
            "request id %s: %s could not be recorded (%s); trying again in the background",
            request_id,
            settlement.status.value,
            error,
        )

    def settle_later(
        self, request_id: str, generation: int, settlement: Settlement
    ) -> "asyncio.Task[Entry | None]":
        """Record a settlement in the background, until it succeeds or the client is closed."""
        task = asyncio.get_running_loop().create_task(
            self._settle_until_done(request_id, generation, settlement)
        )
        self._outstanding.add(task)
        task.add_done_callback(self._outstanding.discard)
        return task

    async def aclose(self) -> None:
        """Try each outstanding settlement once more, and close the ledger if it was opened here."""
        self._closing.set()
        try:
            if self._acceptances is not None and self._ledger.is_open:
                await self._acceptances.flush()
            while self._outstanding:
                await asyncio.wait(self._outstanding)
        finally:
            await self._give_back()

    async def _give_back(self) -> None:
        if self._owns_ledger:
            self._owns_ledger = False
            await self._ledger.aclose()

    async def _settle_until_done(
        self, request_id: str, generation: int, settlement: Settlement
    ) -> Entry | None:
        attempt = 0
        while True:
            attempt += 1
            last_try = self._closing.is_set()
            try:
                return await self._ledger.settle(request_id, generation, settlement)
            except LedgerError:
                if last_try:
                    break
            with contextlib.suppress(TimeoutError):
                pause = backoff(attempt, first=_FIRST_PAUSE, longest=_LONGEST_PAUSE)
                await asyncio.wait_for(self._closing.wait(), pause)
        _logger.error(
            "request id %s: %s was never recorded; the ledger says it may have been accepted",
            request_id,
            settlement.status.value,
        )
        return None


class SendCall(Coroutine[Any, Any, Receipt]):
    """A call of `send` or `resume` that can be awaited once.

    Unlike a native coroutine, it also says what is true if its task is cancelled before the first
    step.
    """

    __slots__ = ("_begun", "_coroutine", "_message", "_resume", "_sender")

    def __init__(
        self, sender: Sender, message: Message, options: ViewOptions, *, resume: bool
    ) -> None:
        self._sender = sender
        self._message = message
        self._resume = resume
        self._begun = False
        self._coroutine = sender.send(message, options, resume=resume)

    def __await__(self) -> Generator[Any, Any, Receipt]:
        return self._coroutine.__await__()

    def send(self, value: Any, /) -> Any:  # noqa: ANN401  # as Coroutine says
        """Run the call up to its next wait."""
        self._begun = True
        return self._coroutine.send(value)

    def throw(
        self,
        kind: Any,  # noqa: ANN401  # as Coroutine says
        value: BaseException | object = None,
        traceback: TracebackType | None = None,  # noqa: ARG002  # as Coroutine says
        /,
    ) -> Any:  # noqa: ANN401  # as Coroutine says
        """Raise an error inside the call."""
        error = kind if isinstance(kind, BaseException) else value
        if not self._begun and isinstance(error, asyncio.CancelledError):
            self._begun = True
            error.__cause__ = self._sender.truth_before(self._message, resume=self._resume)
        if error is None:
            error = cast("type[BaseException]", kind)()
        return self._coroutine.throw(cast("BaseException", error))

    def close(self) -> None:
        """End the call without running it further."""
        self._coroutine.close()


def _is_untried(message: Message) -> bool:
    """Return True if this process minted the id of this object and has never tried to send it.

    Nobody else can have sent such a message. During its first send, the mark is the negative id of
    that send.
    """
    mark = getattr(message, "_untried_in", None)
    return mark is not None and mark == os.getpid()


def _truth(send: _Send, error: BaseException) -> Receipt | EsmsError:
    """Return what is true of a message after an error ended its send."""
    if send.receipt is not None:
        return send.receipt
    if isinstance(error, EsmsError):
        return error
    problem = f"the send failed: {type(error).__name__}"
    # SystemExit and the like: the loop ends, so nothing more will be learned.
    return send.open_outcome(problem if isinstance(error, Exception) else "the program is ending")


def _knows_nothing_sent(entry: Entry | None) -> bool:
    """Tell whether a ledger knows of no attempt of a message that may have arrived."""
    return entry is None or CLAIMS[entry.status, entry.reason] is Decision.SEND


def _as_error(result: Receipt | EsmsError) -> EsmsError:
    assert isinstance(result, EsmsError)  # noqa: S101  # the claim table says so
    return result


def _receipt(entry: Entry) -> Receipt:
    return Receipt(entry.request_id, entry.sms_id, deduplicated=entry.deduplicated)


def _duplicate(message: Message, attempts: tuple[Attempt, ...]) -> DuplicateRequestId:
    return DuplicateRequestId(
        message,
        attempts,
        "the gateway has seen this request id (code 124), and no attempt known here explains it: "
        "it was sent before by another process, delivered twice on the way, or belongs to another "
        "message; a delivery report or reconcile tells what became of it",
    )


def _rejected(
    message: Message,
    attempts: tuple[Attempt, ...],
    *,
    code: str | None,
    status: int | None,
    route: Route,
    sms_id: str | None = None,
    detail: str | None = None,
) -> Rejected:
    """Return the error of the kind that a code asks for."""
    is_of_account = code is not None and lookup(code).scope is Scope.ACCOUNT
    kind = AccountRejected if is_of_account else Rejected
    return kind(
        message, attempts, code=code, status=status, sms_id=sms_id, detail=detail, route=route
    )


def _is_final(error: SendError) -> bool:
    """Return True for a rejection that every attempt of the message would meet."""
    return isinstance(error, Rejected) and settles(error.code)


def _settlement(result: Receipt | SendError) -> Settlement:
    """Return what a ledger records of a result."""
    status, reason = knowledge(result)
    match result:
        case Receipt():
            return Settlement(
                status, reason, sms_id=result.sms_id, deduplicated=result.deduplicated
            )
        case Rejected():
            return Settlement(
                status,
                reason,
                sms_id=result.sms_id,
                code=result.code,
                http_status=result.status,
                detail=result.detail,
            )
        case _:
            return Settlement(status, reason)


async def _leave(limiter: Limiter, give_up_at: float) -> None:
    """Leave the limiter; an error there must not hide the outcome of the request."""
    try:
        async with asyncio.timeout(give_up_at - time.monotonic()):
            await limiter.__aexit__(None, None, None)
    except Exception as error:  # noqa: BLE001  # the limiter is the caller's own
        _logger.warning("the limiter failed after an attempt: %s", type(error).__name__)
