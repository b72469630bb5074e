"""One logical send under a ledger: claimed before a byte leaves, settled after the answer."""

import asyncio
import contextlib
import enum
import logging
from datetime import UTC, datetime

import attrs

from esms_async.errors import (
    LedgerError,
    NotSent,
    OutcomeUnknown,
    Rejected,
    RequestIdConflict,
    RequestIdExpired,
    SendError,
)
from esms_async.ledger.base import Ledger
from esms_async.messages import Evidence, Message, Receipt
from esms_async.outcome import History, evidence_of_code, meets_every_attempt
from esms_async.sending import Gateway, LogicalSend, rejection
from esms_async.settlement import (
    Claim,
    Decision,
    Entry,
    News,
    Settlement,
    State,
    fingerprint,
    fingerprint_key,
)

_logger = logging.getLogger("esms_async")
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0


class Destination(enum.StrEnum):
    """Where the sends of a client go. What was accepted in one place never reached another."""

    GATEWAY = "the gateway"
    SANDBOX = "the sandbox"
    LOOPBACK = "a loopback address, as an emulator has"


class Recorder:
    """The ledger of one client, and what is still to be written into it.

    A settlement that fails is no reason to withhold the outcome: it is tried again in the
    background, for until it succeeds the ledger says "it may have been accepted", which is true.

    Args:
        ledger: The ledger.
        secret: The account's SecretKey.
        destination: Where the sends go. A ledger holds those of one destination: a message that
            an emulator has accepted is still to be sent.
    """

    def __init__(self, ledger: Ledger, secret: str, destination: Destination) -> None:
        self.ledger = ledger
        self._destination = destination
        self._is_ours = False
        self._key = fingerprint_key(secret)
        self._opening = asyncio.Lock()
        self._closing = asyncio.Event()
        self._owns_ledger = False
        self._outstanding: set[asyncio.Task[None]] = set()

    def fingerprint(self, message: Message) -> bytes:
        """Return what tells the message from others with its RequestId."""
        return fingerprint(message, self._key)

    @property
    def is_ready(self) -> bool:
        """True once the ledger is known to be open, and to hold what goes where these sends go."""
        return self._is_ours and self.ledger.is_open

    async def opened(self) -> Ledger:
        """Return the ledger, opened first if nobody has.

        Raises:
            LedgerError: It can't be used, or holds sends that went elsewhere.
        """
        async with self._opening:
            if not self.ledger.is_open and not self._closing.is_set():
                await self.ledger.open()
                self._owns_ledger = True
            if self._closing.is_set():
                await self._give_back()
                raise LedgerError("the client is closed")
            if not self._is_ours:
                await self._take()
        return self.ledger

    async def _take(self) -> None:
        kept = await self.ledger.keep_fact("destination", self._destination.value)
        if kept != self._destination:
            raise LedgerError(
                f"the ledger holds what was sent to {kept}; give another one for what is sent to "
                f"{self._destination}"
            )
        self._is_ours = True

    async def record(self, claimed: Entry, settlement: Settlement) -> Entry | None:
        """Settle a claim, at once or else in the background, and return the entry as known."""
        try:
            if settlement.news is News.UNCERTAIN:
                return await self.ledger.record_uncertainty(claimed.request_id, claimed.generation)
            return await self.ledger.settle(claimed.request_id, claimed.generation, settlement)
        except LedgerError as error:
            _logger.warning(
                "request id %s: %s could not be recorded (%s); trying again in the background",
                claimed.request_id,
                settlement.news.value,
                error,
            )
            self.record_later(claimed, settlement)
            return attrs.evolve(claimed, state=_STATES.get(settlement.news, State.OPEN))

    def record_later(self, claimed: Entry, settlement: Settlement) -> None:
        """Settle a claim in the background, until it succeeds or the client is closed."""
        task = asyncio.get_running_loop().create_task(self._record_until_done(claimed, settlement))
        self._outstanding.add(task)
        task.add_done_callback(self._outstanding.discard)

    async def aclose(self) -> None:
        """Give each outstanding settlement a last try, and close the ledger if it is ours."""
        self._closing.set()
        try:
            while self._outstanding:
                await asyncio.wait(self._outstanding)
        finally:
            await self._give_back()

    async def _give_back(self) -> None:
        if self._owns_ledger:
            self._owns_ledger = False
            await self.ledger.aclose()

    async def _record_until_done(self, claimed: Entry, settlement: Settlement) -> None:
        pause = _FIRST_PAUSE
        while True:
            last_try = self._closing.is_set()
            try:
                await self.ledger.settle(claimed.request_id, claimed.generation, settlement)
            except LedgerError:
                if last_try:
                    break
            else:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        _logger.error(
            "request id %s: %s was never recorded; the ledger says it may have been accepted",
            claimed.request_id,
            settlement.news.value,
        )


class RecordedSend(LogicalSend):
    """One Message on its way to an outcome, under a claim of a ledger.

    Args:
        gateway: What the sends of the client share.
        message: The message.
        history: What earlier attempts, of another call or process, leave possible.
        recorder: The client's ledger.
    """

    __slots__ = ("_claimed", "_recorder")

    _claimed: Entry

    def __init__(
        self, gateway: Gateway, message: Message, history: History, recorder: Recorder
    ) -> None:
        super().__init__(gateway, message, history)
        self._recorder = recorder

    async def run(self) -> Receipt:
        """Claim the message, send it, and record what became of it.

        Returns:
            The receipt: of this send, or of an earlier one that the ledger knows.

        Raises:
            LedgerError: The ledger can't be used; nothing was sent.
            SendError: As for a send without a ledger, or as the ledger holds it.
            asyncio.CancelledError: As for a send without a ledger; its `__cause__` may also be
                the rejection that had come.
        """
        # Before the claim: where the caller's own hook fails, there is nothing to give back.
        self.encode()
        claim = await self._claim()
        if claim.decision is Decision.RESUME:
            self.history = History.AMBIGUOUS
        elif claim.decision is not Decision.SEND:
            return self._without_sending(claim)
        self._claimed = claim.entry
        try:
            receipt = await super().run()
        except SendError as error:
            return await self._record_failure(error)
        except (Exception, asyncio.CancelledError):
            # On proof alone. Whatever else ends a task, such as SystemExit, leaves it open.
            if not self.may_have_arrived:
                self._recorder.record_later(self._claimed, Settlement(News.RELEASED))
            raise
        accepted = Settlement(
            News.ACCEPTED, sms_id=receipt.sms_id, deduplicated=receipt.deduplicated
        )
        try:
            await self._recorder.record(self._claimed, accepted)
        except asyncio.CancelledError as cancelled:
            self._recorder.record_later(self._claimed, accepted)
            cancelled.__cause__ = self.left_open("cancelled while the ledger was being told")
            raise
        return receipt

    async def attempt_again(self) -> Receipt:
        """Make a further attempt, unless another process has sent the message meanwhile."""
        if self.history is History.AMBIGUOUS:
            entry = await self._recorder.record(self._claimed, Settlement(News.UNCERTAIN))
            if entry is not None and entry.state is State.ACCEPTED:
                return attrs.evolve(_receipt(entry), attempts=self.attempts)
        return await super().attempt_again()

    def _without_sending(self, claim: Claim) -> Receipt:
        """Tell what the ledger holds of a message that is not to be sent."""
        match claim.decision:
            case Decision.ALREADY_ACCEPTED:
                return _receipt(claim.entry)
            case Decision.ALREADY_REJECTED:
                raise self._stored_rejection(claim.entry)
            case Decision.EXPIRED:
                raise self._expired(claim.entry)
            case _:
                raise RequestIdConflict(
                    self.message, (), "the ledger holds this request id for another message"
                )

    async def _claim(self) -> Claim:
        recorder, message = self._recorder, self.message
        fingerprint = recorder.fingerprint(message)
        resume = self.history is History.AMBIGUOUS
        try:
            ledger = recorder.ledger if recorder.is_ready else await recorder.opened()
            return await ledger.claim(message, fingerprint, resume=resume)
        except asyncio.CancelledError as cancelled:
            cancelled.__cause__ = OutcomeUnknown(
                self.message, (), "cancelled before the ledger told of earlier attempts"
            )
            raise

    async def _record_failure(self, error: SendError) -> Receipt:
        """Record why a send failed, and tell what is true in the light of the ledger."""
        settlement = _settlement(error)
        try:
            entry = await self._recorder.record(self._claimed, settlement)
        except asyncio.CancelledError as cancelled:
            self._recorder.record_later(self._claimed, settlement)
            cancelled.__cause__ = error
            raise
        if entry is not None and entry.state is State.ACCEPTED:
            return attrs.evolve(_receipt(entry), attempts=self.attempts)
        if entry is None or isinstance(error, OutcomeUnknown) or _is_final(error):
            raise error
        if entry.state is State.REJECTED:
            raise self._stored_rejection(entry) from error
        if entry.state is State.OPEN:
            raise OutcomeUnknown(
                self.message,
                self.attempts,
                f"another process is sending the same message, and here: {error.reason}",
                error if isinstance(error, Rejected) else None,
            ) from error
        raise error

    def _stored_rejection(self, entry: Entry) -> Rejected:
        return rejection(
            self.message,
            self.attempts,
            code=entry.code,
            status=entry.status,
            sms_id=entry.sms_id,
            detail=entry.detail,
        )

    def _expired(self, entry: Entry) -> RequestIdExpired:
        since = datetime.fromtimestamp(entry.opened_at, UTC)
        return RequestIdExpired(
            self.message,
            (),
            f"it may have been accepted since {since:%Y-%m-%d %H:%M} UTC, which is too long ago "
            "to send it again",
            since,
        )


_STATES = {
    News.ACCEPTED: State.ACCEPTED,
    News.REJECTED: State.REJECTED,
    News.RELEASED: State.RELEASED,
}


def _receipt(entry: Entry) -> Receipt:
    return Receipt(entry.request_id, entry.sms_id, deduplicated=entry.deduplicated)


def _is_final(error: SendError) -> bool:
    """Tell whether an error is a rejection that every claimant's attempt would meet."""
    return (
        isinstance(error, Rejected)
        and error.code is not None
        and evidence_of_code(error.code) is Evidence.MESSAGE_REJECTED
    )


def _settlement(error: SendError) -> Settlement:
    match error:
        case Rejected(code=code) if meets_every_attempt(code):
            news = News.REJECTED
        case NotSent() | Rejected():
            news = News.RELEASED
        case _:
            return Settlement(News.UNCERTAIN)
    if not isinstance(error, Rejected):
        return Settlement(news)
    return Settlement(
        news,
        sms_id=error.sms_id,
        code=error.code,
        status=error.status,
        detail=error.detail,
    )
