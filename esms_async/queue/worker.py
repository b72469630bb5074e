"""The worker: takes messages out of the queue, sends each, and says what became of it.

One message passes three steps on the Redis server: it is taken with others, it is claimed in the
ledger, and one script settles, reports and acknowledges it. A worker takes no more messages than
it has places; `otp` has some of its own, and goes first where the rate is short. Every third of a
lease the worker renews what it holds, takes over what a dead worker held, and learns what all
workers share.
"""

import asyncio
import contextlib
import hashlib
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from typing import Final, TypeVar

import attrs

import esms_async as errors
from esms_async import EsmsClient, Message, Outcome, Receipt, RetryPolicy, Status
from esms_async._model.backoff import backoff
from esms_async.ledger.base import UnreadableEntry
from esms_async.limiter import RedisLimiter
from esms_async.queue import breakers as faults
from esms_async.queue.breakers import Breakers, OpenBreaker, Reach, WorkerFault
from esms_async.queue.cipher import MessageCipher, Unreadable
from esms_async.queue.ledger import AT_ONCE, DONE, FAILED, LAST, LATER, QueueLedger
from esms_async.queue.reports import INVALID, UNKNOWN, QueueReport, report_of
from esms_async.queue.streams import (
    LANES,
    LEASE,
    MILLISECONDS,
    QueueDelivery,
    QueueError,
    QueueStreams,
    SharedState,
    ledger_prefix,
    redact_id,
)
from esms_async.queue.tracing import hooks, span

T = TypeVar("T")
Counted = Callable[[str, str, float], None]

_logger = logging.getLogger("esms_async.queue")

MOST_DEATHS: Final = 5
"""A message on which so many workers died goes to the dead stream."""

_ATTEMPTS: Final = 8
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
# Places that become free within this time are filled together.
_GATHER: Final = 0.004
# What is taken together, at most. While one page travels, another is sent.
_PAGE: Final = 64
_IDLE: Final = 0.05
_PROBE: Final = RetryPolicy(attempts=1, deadline=5.0)


@attrs.frozen
class WorkerSettings:
    """How a worker runs.

    Attributes:
        url: The Redis server that holds queue and ledger.
        name: The name of the queue.
        keys: The keys of the queue; empty for messages in clear.
        rate: Attempts a second of all workers of the account together, or None.
        concurrency: How many sends it has under way at most.
        deadline: Seconds for one try to send a message, with its retries.
        account: The variables that the client reads: keys, base URL, sandbox, route.
    """

    url: str = attrs.field(repr=False)
    name: str = "esms"
    keys: str = attrs.field(repr=False, default="")
    rate: float | None = None
    concurrency: int = 64
    deadline: float = 30.0
    account: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)


class QueueWorker:
    """One worker of one queue.

    Args:
        settings: How it runs.
        stopping: Set once it is to stop; what is in flight is finished then.
        count: Gets the lane, what became of a message, and how long that took in seconds.

    Raises:
        ConfigurationError: A setting can't work.
    """

    def __init__(self, settings: WorkerSettings, stopping: asyncio.Event, count: Counted) -> None:
        self.streams: QueueStreams = QueueStreams(settings.url, settings.name)
        self.breakers: Breakers = Breakers()
        self._settings = settings
        self._stopping = stopping
        self._count = count
        self._cipher = MessageCipher(settings.name, settings.keys)
        self._name = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"
        self._shared = SharedState()
        self._announced: set[str] = set()
        self._held: dict[asyncio.Task[None], QueueDelivery] = {}
        self._waiting: set[asyncio.Task[None]] = set()
        self._reserved: dict[str, int] = dict.fromkeys(LANES, 0)
        self._wake: dict[str, asyncio.Event] = {lane: asyncio.Event() for lane in LANES}
        self._problem: str | None = "it is starting"
        self._away: str | None = None
        self._connected_at = time.monotonic()
        prefix = ledger_prefix(settings.name)
        self._ledger = QueueLedger(settings.url, prefix, self._name, self._patiently)
        self._client = EsmsClient.from_env(
            settings.account,
            retry=RetryPolicy(_ATTEMPTS, settings.deadline),
            ledger=self._ledger,
            max_connections=settings.concurrency,
            trackable=True,
            hooks=hooks(),
        )
        self._limiter: RedisLimiter | None = None
        self._rows: dict[str, _Prepaid] = {}
        self._views: dict[str, EsmsClient] = dict.fromkeys(LANES, self._client)
        if settings.rate is not None:
            account = hashlib.sha256(settings.account.get("ESMS_API_KEY", "").encode()).hexdigest()
            key = f"esms:rate:{account[:16]}"
            self._limiter = limiter = RedisLimiter(settings.url, settings.rate, key=key)
            rows = zip(LANES, (limiter, limiter.behind), strict=True)
            self._rows = {lane: _Prepaid(row) for lane, row in rows}
            for lane, row in self._rows.items():
                self._views[lane] = self._client.with_options(limiter=row)

    @property
    def held(self) -> int:
        """How many messages it holds."""
        return len(self._held)

    def problems(self) -> list[str]:
        """Return why the worker is not ready."""
        found = [each for each in (self._problem, self._away) if each is not None]
        found += [
            f"breaker {breaker.fault.name}: {breaker.fault.remedy}"
            for breaker in self.breakers.fully_open
        ]
        return found + (["it is stopping"] if self._stopping.is_set() else [])

    # The life of the worker.

    async def run(self) -> None:
        """Run until it is asked to stop.

        Raises:
            ConfigurationError: The Redis server can't carry a queue.
            ForeignLedger: The ledger belongs to another destination or account.
        """
        try:
            with contextlib.suppress(_Stopped):
                await self._prepare()
                async with asyncio.TaskGroup() as group:
                    beats = [group.create_task(each()) for each in (self._tick, self._probe)]
                    pulls = [group.create_task(self._pull(lane)) for lane in LANES]
                    await self._stopping.wait()
                    self._wake_all()
                    await asyncio.wait(pulls)
                    self._recall()
                    while self._held:
                        await asyncio.wait(self._held)
                    for beat in beats:
                        beat.cancel()
                with contextlib.suppress(QueueError):
                    await self.streams.leave(self._name)
        finally:
            await self._client.aclose()
            if self._limiter is not None:
                await self._limiter.aclose()
            await self.streams.aclose()

    async def _prepare(self) -> None:
        """Wait for each dependency, and name the one that is missing."""
        await self._patiently(self.streams.check)
        await self._patiently(self._renew)
        # It looks for no send; it says whether the ledger may take these.
        await self._patiently(lambda: self._client.reconcile(()))
        if (fault := await self._gateway_fault()) is not None:
            await self._trip(fault)
        self._problem = None
        settings, rate = self._settings, self._settings.rate
        _logger.info(
            "worker %s sends from queue %r on Redis %s: %d at a time, %s",
            self._name,
            settings.name,
            self.streams.address,
            settings.concurrency,
            "no rate" if rate is None else f"{rate:g} a second of all workers",
        )

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call something until the Redis server answers; log each outage once, and its end.

        Raises:
            _Stopped: The server is away, and the worker is to stop.
            UnreadableEntry: One entry can't be read, now or later.
        """
        attempt = 0
        while True:
            try:
                return await call()
            except (UnreadableEntry, errors.ForeignLedger, _Stopped):
                raise
            except (errors.LedgerError, QueueError) as error:
                problem = str(error)
            self._connected_at = time.monotonic()
            if self._away is None:
                _logger.error("%s; waiting for it", problem.rstrip("."))
                self._away = problem
            if self._stopping.is_set():
                raise _Stopped
            attempt += 1
            with contextlib.suppress(TimeoutError):
                pause = backoff(attempt, first=_FIRST_PAUSE, longest=_LONGEST_PAUSE)
                await asyncio.wait_for(self._stopping.wait(), pause)
            if "NOGROUP" in problem:
                # The server has forgotten the queue.
                with contextlib.suppress(QueueError):
                    await self.streams.check()

    def _wake_all(self) -> None:
        for event in self._wake.values():
            event.set()

    def _recall(self) -> None:
        """Have what waits for the rate go back to the queue."""
        for task in self._waiting:
            task.cancel()

    # Taking messages.

    def _free(self, lane: str) -> int:
        """Return how many messages of a lane may be taken."""
        if "paused" in self._shared.facts or not self.breakers.may_pull:
            return 0
        # While a breaker is half open, one message at a time tries the gateway.
        places = 1 if self.breakers.stopping else self._settings.concurrency
        first, second = self._reserved.values()
        free = places - len(self._held) - first - second
        # The first lane has places of its own, and waits for messages in one of them.
        kept = 0 if lane == LANES[0] or places == 1 else max(1, places // 8)
        return free - max(0, kept - first)

    async def _pull(self, lane: str) -> None:
        """Take messages of a lane as places become free."""
        wake, drained = self._wake[lane], False
        while not self._stopping.is_set():
            wake.clear()
            if (free := self._free(lane)) < 1:
                await wake.wait()
                continue
            if lane != LANES[0] and free < self._settings.concurrency // 4:
                await asyncio.sleep(_GATHER)
                if (free := self._free(lane)) < 1:
                    continue  # the other lane has taken the places meanwhile
            # A take that waits holds one place, so that no other lane waits for it.
            waits = drained and free > 1
            count = 1 if waits else min(free, _PAGE)
            try:
                taken = await self._take(lane, count, wait=waits)
            except _Stopped:
                return
            drained = len(taken) < count
            for delivery in taken:
                self._begin(delivery, lane)
            if drained and free == 1:
                await asyncio.sleep(_IDLE)

    async def _take(
        self, lane: str, count: int, stream: str = "", *, wait: bool = False, lease: str = ""
    ) -> list[QueueDelivery]:
        """Take messages of a lane, or of another stream, and reserve their places meanwhile."""
        self._reserved[lane] += count
        stream = stream or self.streams.key(lane)
        take = partial(self.streams.take, stream, self._name, count, wait=wait, lease=lease)
        try:
            return await self._patiently(take)
        finally:
            self._reserved[lane] -= count
            # Another lane may wait for the only place there is.
            self._wake_all()

    async def _take_one(self, lane: str, stream: str = "") -> list[QueueDelivery]:
        """Take a message that was given back, or else the next one."""
        taken = await self._take(lane, 1, stream, lease=MILLISECONDS)
        return taken or await self._take(lane, 1, stream)

    def _begin(self, delivery: QueueDelivery, lane: str, trying: OpenBreaker | None = None) -> None:
        """Deliver a message in a task of its own."""
        task = asyncio.get_running_loop().create_task(self._deliver(delivery, lane, trying))
        self._held[task] = delivery
        task.add_done_callback(self._end)

    def _end(self, task: "asyncio.Task[None]") -> None:
        self._held.pop(task, None)
        self._wake_all()

    # Sending one message.

    async def _deliver(
        self, delivery: QueueDelivery, lane: str, trying: OpenBreaker | None
    ) -> None:
        """Send one message, and end its delivery."""
        began = time.monotonic()
        with contextlib.suppress(_Stopped):
            try:
                status = await self._handle(delivery, lane, trying)
            except UnreadableEntry as error:
                status = await self._bury(delivery, str(error))
            except _Stopped:
                raise
            except Exception as error:
                request_id = redact_id(delivery.request_id)
                _logger.exception("the worker failed on request id %s", request_id, exc_info=error)
                await self._ledger.finish(delivery, FAILED)
                return
            if status is not None:
                self._count(lane, status, time.monotonic() - began)

    async def _handle(  # noqa: PLR0911  # one for each way in which a delivery ends
        self, delivery: QueueDelivery, lane: str, trying: OpenBreaker | None
    ) -> str | None:
        """Send a message; return what became of it, or None where it comes again."""
        if delivery.is_void:
            await self._ledger.finish(delivery, DONE)
            return "void"
        if delivery.deaths >= MOST_DEATHS:
            return await self._bury(delivery, f"{delivery.deaths} workers died while they had it")
        try:
            message = self._cipher.read(delivery.written, delivery.request_id)
        except Unreadable as error:
            if not await self._is_in_use(error.form):
                look_up = partial(self._ledger.look_up, delivery.request_id)
                entry = await self._patiently(look_up)
                # Another worker may have read it, and sent it, with a key that is gone since.
                is_unsent = entry is None or entry.status is Status.NOT_SENT
                kind = INVALID if is_unsent else UNKNOWN
                return await self._bury(delivery, str(error), kind=kind)
            await self._trip(self._form_fault(error.form))
            await self._ledger.finish(delivery, AT_ONCE)
            return None
        if trying is None and self.breakers.open:
            breaker = self.breakers.holds(str(message.route or self._client.route))
            if breaker is not None:
                parked = self.streams.key("parked", breaker.fault.name)
                await self._patiently(lambda: self.streams.move(delivery, parked))
                return None
        if not await self._may_begin(lane):
            await self._ledger.finish(delivery, AT_ONCE)
            return None
        with span("process", self._settings.name, message.request_id, delivery):
            return await self._send(delivery, message, lane, trying)

    async def _may_begin(self, lane: str) -> bool:
        """Wait for the rate; False where the message is to go back to the queue."""
        if self._limiter is not None and (task := asyncio.current_task()) is not None:
            self._waiting.add(task)
            try:
                await self._rows[lane].prepay()
            except asyncio.CancelledError:
                task.uncancel()
                return False
            finally:
                self._waiting.discard(task)
        return self.breakers.may_pull and not self._stopping.is_set()

    async def _send(
        self, delivery: QueueDelivery, message: Message, lane: str, trying: OpenBreaker | None
    ) -> str | None:
        outcome = await self._attempt(message, lane)
        while True:
            ending = await self._judge(outcome, delivery, trying)
            is_followed = ending == DONE and delivery.batch
            report = report_of(outcome, delivery.run) if is_followed else ""
            if await self._ledger.finish(delivery, ending, outcome, report):
                break
            # Another process knows more of the message. Sent again, it learns that; an acceptance
            # is looked up, because the client remembers a rejection of its own.
            look_up = partial(self._ledger.look_up, message.request_id)
            entry = await self._patiently(look_up)
            if entry is not None and entry.status is Status.ACCEPTED:
                receipt = Receipt(message.request_id, entry.sms_id, entry.deduplicated)
                outcome = Outcome(message, receipt)
            else:
                outcome = await self._attempt(message, lane)
        if ending != DONE:
            return None
        status = outcome.status.value
        if not outcome.ok:
            words, reason = status.replace("_", " "), str(outcome.error).partition(" (phone")[0]
            facts = {"esms_request_id": message.request_id, "esms_outcome": status}
            _logger.warning(
                "request id %s is %s: %s", message.request_id, words, reason, extra=facts
            )
        return status

    async def _attempt(self, message: Message, lane: str) -> Outcome:
        try:
            return Outcome(message, await self._views[lane].send(message))
        except errors.EsmsError as error:
            cause = error if isinstance(error, errors.LedgerError) else error.__cause__
            if isinstance(cause, UnreadableEntry | _Stopped):
                raise cause from None
            return Outcome(message, error=error)

    async def _judge(
        self, outcome: Outcome, delivery: QueueDelivery, trying: OpenBreaker | None
    ) -> str:
        """Return how a delivery ends, and open or close breakers by what it shows."""
        message, is_open_end = outcome.message, faults.is_open_end(outcome.error)
        end = message.expires_at
        if is_open_end and end is not None and end <= datetime.now(UTC):
            return DONE
        fault = self.breakers.judge(outcome, str(message.route or self._client.route))
        if fault is not None:
            return await self._meet(fault, delivery)
        if is_open_end:
            return LATER
        tried = [breaker for breaker in self.breakers.stopping if breaker.is_half_open]
        for breaker in tried if trying is None else (*tried, trying):
            if (met_by := breaker.met_by[0]) not in {"", message.request_id}:
                suspect = partial(self.streams.suspect, breaker.fault.name, met_by)
                await self._patiently(suspect)
            await self._close(breaker)
        return DONE

    async def _meet(self, fault: WorkerFault, delivery: QueueDelivery) -> str:
        """Open a breaker for a fault that a message met; return how its delivery ends."""
        request_id = delivery.request_id
        breaker = self.breakers.open.get(fault.name)
        # The balance may be short for one message alone.
        suspicion = partial(self.streams.suspicion, fault.name, request_id)
        if breaker is None and (known := await self._patiently(suspicion)):
            if known == "new":
                _logger.warning(
                    "request id %s meets breaker %s again, and other messages do not: it stops no "
                    "others, and is tried every %.0f s; see what is special to it. %s",
                    *(redact_id(request_id), fault.name, LEASE, fault.remedy),
                )
            return LATER
        parked = self.streams.key("parked", fault.name)
        is_a_try = breaker is not None and (breaker.is_half_open or delivery.stream == parked)
        await self._trip(fault)
        now_open = self.breakers.open.get(fault.name)
        if now_open is not None and (breaker is None or is_a_try):
            now_open.met_by = request_id, delivery.stream
        # The next try is another message's: the fault may be this one's own.
        return LAST if is_a_try else AT_ONCE

    async def _bury(self, delivery: QueueDelivery, why: str, *, kind: str = UNKNOWN) -> str:
        """Move a message to the dead stream."""
        request_id = redact_id(delivery.request_id)
        _logger.error("request id %s goes to the dead stream: %s", request_id or "unknown", why)
        report = QueueReport(delivery.request_id, kind, delivery.run, {"reason": why}).dump()
        dead = self.streams.key("dead")
        await self._patiently(lambda: self.streams.move(delivery, dead, why=why, report=report))
        return "dead"

    # Breakers.

    async def _is_in_use(self, form: str) -> bool:
        """Tell whether services write messages in a form; the last renewal may not know it yet."""
        if not form:
            return False
        if form == self._shared.facts.get("form"):
            return True
        return form == await self._patiently(partial(self.streams.fact, "form"))

    def _form_fault(self, form: str) -> WorkerFault:
        return WorkerFault(
            faults.FORM,
            Reach.WORKER,
            f"messages in queue {self._settings.name!r} are written in form {form}, which this "
            "worker can't read; give it the same ESMS_QUEUE_KEY, and the same release",
        )

    async def _trip(self, fault: WorkerFault, *, announce: bool = True) -> None:
        """Open a breaker, and say so once."""
        if self.breakers.trip(fault):
            _logger.error(
                "breaker %s opens, for %s: %s. Messages wait; sending goes on once it is mended",
                fault.name,
                fault.reach.value,
                fault.remedy.rstrip("."),
                extra={"esms_breaker": fault.name},
            )
            if fault.reach is not Reach.ROUTE:
                self._recall()
        if announce and fault.reach is not Reach.WORKER and fault.name not in self._announced:
            say = partial(self.streams.set_fact, fault.name, fault.remedy, of="breakers")
            await self._patiently(say)
            # Closed meanwhile, it is to be announced when it opens again.
            if fault.name in self.breakers.open:
                self._announced.add(fault.name)

    async def _close(self, breaker: OpenBreaker, *, announce: bool = True) -> None:
        """Close a breaker, and say so."""
        fault = breaker.fault
        if self.breakers.open.pop(fault.name, None) is None:
            return
        seconds = time.monotonic() - breaker.since
        _logger.info("breaker %s closes after %.0f s", fault.name, seconds)
        self._announced.discard(fault.name)
        if announce and fault.reach is not Reach.WORKER:
            await self._patiently(partial(self.streams.set_fact, fault.name, None, of="breakers"))
        self._wake_all()

    async def _probe(self) -> None:
        """Try now and then whether the faults of open breakers are mended."""
        while True:
            await asyncio.sleep(_IDLE)
            for breaker in list(self.breakers.open.values()):
                if breaker.is_due and not self._stopping.is_set():
                    breaker.wait()
                    with contextlib.suppress(_Stopped, errors.ForeignLedger):
                        await self._try(breaker)

    async def _try(self, breaker: OpenBreaker) -> None:
        fault = breaker.fault
        if fault.name == faults.FORM:
            return  # the next renewal tells
        if fault.name == faults.FOREIGN:
            await self._patiently(lambda: self._client.reconcile(()))
            await self._close(breaker)
        elif fault.reach is Reach.ROUTE:
            # One message of those that wait for the route.
            stream = self.streams.key("parked", fault.name)
            await self._patiently(lambda: self.streams.make_group(stream))
            taken = await self._take_one(LANES[1], stream)
            if not taken:
                await self._close(breaker)
            for delivery in taken:
                self._begin(delivery, LANES[1], breaker)
        else:
            found = await self._gateway_fault()
            # A gateway that leaves the question unanswered may take a message all the same.
            if found is None and not any((await self._patiently(self.streams.depth)).values()):
                await self._close(breaker)
            elif found is None or found.name == faults.SILENT:
                await self._try_one(breaker)

    async def _try_one(self, breaker: OpenBreaker) -> None:
        """Have one message try the gateway: one that was given back, or else the next one."""
        breaker.is_half_open = True
        # The lane whose message failed last gives way to the other.
        for lane in sorted(LANES, key=lambda each: self.streams.key(each) == breaker.met_by[1]):
            for delivery in await self._take_one(lane) if self._free(lane) > 0 else ():
                self._begin(delivery, lane)

    async def _gateway_fault(self) -> WorkerFault | None:
        """Query the balance; return the fault that keeps the gateway from answering."""
        try:
            await self._client.with_options(retry=_PROBE).balance()
        except errors.QueryUnanswered as error:
            return faults.silence(error.reason)
        except errors.QueryRejected as error:
            return faults.fault_of_query(error)
        return None

    # The beat.

    async def _tick(self) -> None:
        """Renew what is held, and take over what nobody renews, every third of a lease."""
        while True:
            started = time.monotonic()
            with contextlib.suppress(_Stopped):
                await self._patiently(self._renew)
                await self._reclaim()
            await asyncio.sleep(max(0.0, started + LEASE / 3 - time.monotonic()))

    async def _renew(self) -> None:
        known, open_before = set(self._announced), set(self.breakers.open)
        stopped_by = ", ".join(breaker.fault.name for breaker in self.breakers.fully_open)
        shared = await self.streams.renew(self._name, list(self._held.values()), stopped_by)
        if shared.facts.get("paused") != self._shared.facts.get("paused"):
            _logger.info("the queue is %s", "paused" if "paused" in shared.facts else "resumed")
        self._shared = shared
        if self._away is not None:
            # A renewal writes. A server that is out of memory answers what only reads.
            _logger.info("Redis %s is back", self.streams.address)
            self._away = None
        form, breaker = shared.facts.get("form"), self.breakers.open.get(faults.FORM)
        if form is not None and not self._cipher.reads(form):
            await self._trip(self._form_fault(form))
        elif breaker is not None:
            await self._close(breaker)
        # What the server said of a breaker that closed meanwhile is out of date.
        for name in shared.breakers.keys() - self.breakers.open.keys() - open_before:
            reach = faults.reach_of(name) or Reach.ACCOUNT
            self._announced.add(name)
            await self._trip(WorkerFault(name, reach, shared.breakers[name]), announce=False)
        for name in known - shared.breakers.keys():
            self._announced.discard(name)
            if (breaker := self.breakers.open.get(name)) is not None:
                await self._close(breaker, announce=False)
        self._wake_all()

    async def _reclaim(self) -> None:
        # After an outage the others need a moment to renew what they hold.
        if time.monotonic() - self._connected_at < LEASE or self._stopping.is_set():
            return
        for parked in self._shared.parked:
            if parked.removeprefix(self.streams.key("parked", "")) not in self.breakers.open:
                await self._patiently(partial(self.streams.release, parked))
        held = {(each.stream, each.id) for each in self._held.values()}
        for lane in LANES:
            free = self._free(lane)
            taken = await self._take(lane, free, lease=MILLISECONDS) if free > 0 else []
            new = [each for each in taken if (each.stream, each.id) not in held]
            if died := sum(each.deaths > 0 for each in new):
                _logger.warning("%d messages of lane %s come from workers that died", died, lane)
            for delivery in new:
                self._begin(delivery, lane)


class _Stopped(errors.LedgerError):
    """The Redis server is away, and the worker is to stop."""


_is_prepaid: ContextVar[bool] = ContextVar("is_prepaid", default=False)


class _Prepaid:
    """A limiter whose first place a send has before it begins.

    So its deadline does not run while it waits for the rate.
    """

    def __init__(self, limiter: AbstractAsyncContextManager[object]) -> None:
        self._limiter = limiter

    async def prepay(self) -> None:
        """Wait for a place, which the next attempt of this task has."""
        await self._limiter.__aenter__()
        _is_prepaid.set(True)

    async def __aenter__(self) -> None:
        if _is_prepaid.get():
            _is_prepaid.set(False)
        else:
            await self._limiter.__aenter__()

    async def __aexit__(self, *_: object) -> None:
        """Leave at once."""
