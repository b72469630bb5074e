"""The worker: takes messages out of the queue, sends each, and says what became of it.

One message passes three steps on the Redis server: it is taken with others, it is claimed in the
ledger, and one script settles, reports and acknowledges it. A worker takes no more messages than
it has places; `otp` has some of its own, and goes first where the rate is short. Every third of a
lease the worker renews what it holds, takes over what a dead worker held, and learns what all
workers share.
"""

import asyncio
import contextlib
import functools
import hashlib
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self, TypeVar

import attrs

from esms_async._model.backoff import backoff
from esms_async._model.errors import (
    ConfigurationError,
    EsmsError,
    ForeignLedger,
    LedgerError,
    QueryError,
    QueryRejected,
    QueryUnanswered,
)
from esms_async._model.messages import Message, Outcome
from esms_async._send.retry import RetryPolicy
from esms_async.client import EsmsClient, credentials_from_env
from esms_async.ledger.base import UnreadableEntry
from esms_async.limiter import RedisLimiter
from esms_async.queue import breakers as faults
from esms_async.queue.breakers import Breaker, Breakers, Fault, Reach
from esms_async.queue.cipher import MessageCipher, Unreadable, keys_from_env
from esms_async.queue.health import ListenAddress, WorkerMetrics, serving
from esms_async.queue.ledger import AT_ONCE, DONE, FAILED, LATER, QueueLedger
from esms_async.queue.reports import UNREADABLE, QueueReport, report_of
from esms_async.queue.streams import (
    LANES,
    LEASE,
    Delivery,
    QueueError,
    Shared,
    Streams,
    redact_id,
)
from esms_async.queue.tracing import hooks, span

T = TypeVar("T")

_logger = logging.getLogger("esms_async.queue")

MOST_DEATHS: Final = 5
"""A message on which so many workers died goes to the dead stream."""

_MOST_CONCURRENT: Final = 1000
_MOST_BATCHES: Final = 32
_ATTEMPTS: Final = 8
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
# Places that become free within this time are filled together.
_GATHER: Final = 0.004
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
        listen: Where it serves health and metrics, or None.
        account: The variables that the client reads: keys, base URL, sandbox.
    """

    url: str = attrs.field(repr=False)
    name: str = "esms"
    keys: str = attrs.field(repr=False, default="")
    rate: float | None = None
    concurrency: int = 64
    deadline: float = 30.0
    listen: ListenAddress | None = None
    account: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)

    @classmethod
    def from_env(cls, environ: Mapping[str, str], *, listen: str | None = None) -> Self:
        """Read the settings from environment variables.

        `ESMS_QUEUE_URL`, and `ESMS_QUEUE_KEY` or `ESMS_QUEUE_CLEAR=1`, are required;
        `ESMS_QUEUE_NAME`, `ESMS_RATE`, `ESMS_CONCURRENCY` and `ESMS_DEADLINE` are optional.

        Raises:
            ConfigurationError: A variable is missing or can't work; the error names it.
        """
        url = environ.get("ESMS_QUEUE_URL")
        if not url:
            raise ConfigurationError("set the environment variable ESMS_QUEUE_URL, or give --queue")
        concurrency = _number(environ, "ESMS_CONCURRENCY") or 64
        if concurrency != int(concurrency) or concurrency > _MOST_CONCURRENT:
            raise ConfigurationError(
                f"ESMS_CONCURRENCY must be a whole number from 1 to {_MOST_CONCURRENT}"
            )
        credentials_from_env(environ)
        return cls(
            url,
            environ.get("ESMS_QUEUE_NAME") or "esms",
            keys_from_env(environ),
            _number(environ, "ESMS_RATE"),
            int(concurrency),
            _number(environ, "ESMS_DEADLINE") or 30.0,
            None if listen is None else ListenAddress.parse(listen),
            dict(environ),
        )


async def run_worker(settings: WorkerSettings, stopping: asyncio.Event) -> None:
    """Run one worker until it is asked to stop, then finish what is in flight.

    Args:
        settings: How it runs.
        stopping: Set once it is to stop.

    Raises:
        ConfigurationError: A setting can't work.
        ForeignLedger: The ledger belongs to another destination or account.
    """
    worker = _Worker(settings, stopping)
    async with contextlib.AsyncExitStack() as stack:
        if settings.listen is not None:
            port = await stack.enter_async_context(
                serving(settings.listen, worker.problems, worker.metrics_text)
            )
            _logger.info("health and metrics on http://%s:%d/readyz", settings.listen.host, port)
        await worker.run()


class _Worker:
    """One worker of one queue."""

    def __init__(self, settings: WorkerSettings, stopping: asyncio.Event) -> None:
        self._settings = settings
        self._stopping = stopping
        self._streams = Streams(settings.url, settings.name)
        self._cipher = MessageCipher(settings.name, settings.keys)
        self._name = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"
        self._breakers = Breakers()
        self._metrics = WorkerMetrics()
        self._shared = Shared()
        self._announced: set[str] = set()
        self._runs: dict[str, int] = {}
        self._held: dict[asyncio.Task[None], Delivery] = {}
        self._waiting: set[asyncio.Task[None]] = set()
        self._reserved = 0
        self._wake = {lane: asyncio.Event() for lane in LANES}
        self._problem: str | None = "it is starting"
        self._away: str | None = None
        self._connected_at = time.monotonic()
        self._limiter: RedisLimiter | None = None
        account = hashlib.sha256(settings.account.get("ESMS_API_KEY", "").encode()).hexdigest()
        if settings.rate is not None:
            self._limiter = RedisLimiter(
                settings.url, settings.rate, key=f"esms:rate:{account[:16]}"
            )
        ledger = QueueLedger(
            settings.url, prefix=f"{settings.name}:send:", patiently=self._patiently
        )
        self._ledger = ledger
        client = EsmsClient.from_env(
            settings.account,
            retry=RetryPolicy(_ATTEMPTS, settings.deadline),
            ledger=ledger,
            max_connections=settings.concurrency,
            trackable=True,
            hooks=hooks(),
        )
        self._client = client
        self._views = dict.fromkeys(LANES, client)
        if self._limiter is not None:
            self._rows = {
                LANES[0]: _Prepaid(self._limiter),
                LANES[1]: _Prepaid(self._limiter.behind),
            }
            self._views = {
                lane: client.with_options(limiter=row) for lane, row in self._rows.items()
            }

    # What the outside sees.

    def problems(self) -> list[str]:
        """Return why the worker is not ready."""
        found = [each for each in (self._problem, self._away) if each is not None]
        found += [
            f"breaker {breaker.fault.name}: {breaker.fault.remedy}"
            for breaker in self._breakers.stopping
            if not breaker.is_half_open
        ]
        return found + (["it is stopping"] if self._stopping.is_set() else [])

    async def metrics_text(self) -> bytes:
        """Return the metrics."""
        self._metrics.in_flight.set(len(self._held))
        self._metrics.breakers.clear()
        for name in self._breakers.open:
            self._metrics.breakers.labels(name).set(1)
        return await self._metrics.render(self._streams)

    # The life of the worker.

    async def run(self) -> None:
        """Run until it is asked to stop."""
        try:
            with contextlib.suppress(_Stopped):
                await self._prepare()
                async with asyncio.TaskGroup() as group:
                    ticking = group.create_task(self._tick())
                    pulling = [group.create_task(self._pull(lane)) for lane in LANES]
                    probing = group.create_task(self._probe())
                    await self._stopping.wait()
                    self._wake_all()
                    await asyncio.wait(pulling)
                    self._recall()
                    while self._held:
                        await asyncio.wait(self._held)
                    for task in (ticking, probing):
                        task.cancel()
                with contextlib.suppress(QueueError):
                    await self._streams.leave(self._name)
        finally:
            await self._client.aclose()
            if self._limiter is not None:
                await self._limiter.aclose()
            await self._streams.aclose()

    async def _prepare(self) -> None:
        """Wait for each dependency, and name the one that is missing."""
        settings = self._settings
        await self._patiently(self._streams.check)
        await self._patiently(self._renew)
        # It looks for no send; it says whether the ledger may take these.
        await self._patiently(lambda: self._client.reconcile(()))
        await self._look_at_gateway()
        self._problem = None
        rate = "no rate" if settings.rate is None else f"{settings.rate:g} a second of all workers"
        _logger.info(
            "worker %s sends from queue %r on Redis %s: %d at a time, %s",
            self._name,
            settings.name,
            self._streams.address,
            settings.concurrency,
            rate,
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
                result = await call()
            except (UnreadableEntry, ForeignLedger, _Stopped):
                raise
            except (LedgerError, QueueError) as error:
                problem = str(error)
                self._note_away(problem)
                if self._stopping.is_set():
                    raise _Stopped from None
            else:
                if self._away is not None:
                    _logger.info("Redis %s is back", self._streams.address)
                    self._away = None
                return result
            attempt += 1
            with contextlib.suppress(TimeoutError):
                pause = backoff(attempt, first=_FIRST_PAUSE, longest=_LONGEST_PAUSE)
                await asyncio.wait_for(self._stopping.wait(), pause)
            if "NOGROUP" in problem:
                # The server has forgotten the queue.
                with contextlib.suppress(QueueError):
                    await self._streams.check()

    def _note_away(self, problem: str) -> None:
        self._connected_at = time.monotonic()
        if self._away is None:
            _logger.error("%s; waiting for it", problem)
            self._away = problem

    def _wake_all(self) -> None:
        for event in self._wake.values():
            event.set()

    def _recall(self) -> None:
        """Have what waits for the rate go back to the queue."""
        for task in self._waiting:
            task.cancel()

    # Taking messages.

    @property
    def _places(self) -> int:
        half_open = any(breaker.is_half_open for breaker in self._breakers.stopping)
        return 1 if half_open else self._settings.concurrency

    def _free(self, lane: str) -> int:
        """Return how many messages of a lane may be taken."""
        if "paused" in self._shared.facts or not self._breakers.may_pull:
            return 0
        places = self._places
        # The first lane has places of its own.
        kept = 0 if lane == LANES[0] or places == 1 else max(1, places // 8)
        return places - kept - len(self._held) - self._reserved

    async def _pull(self, lane: str) -> None:
        """Take messages of a lane as places become free."""
        stream, wake = self._streams.key(lane), self._wake[lane]
        drained = False
        while not self._stopping.is_set():
            wake.clear()
            if (free := self._free(lane)) < 1:
                await wake.wait()
                continue
            if lane != LANES[0] and free < self._places // 4:
                await asyncio.sleep(_GATHER)
                free = max(1, self._free(lane))
            # A take that waits holds one place, so that no other lane waits for it.
            waits = drained and free > 1
            count = 1 if waits else free
            self._reserved += count
            try:
                taken = await self._take(stream, count, wait=waits)
            except _Stopped:
                return
            finally:
                self._reserved -= count
            drained = len(taken) < count
            for delivery in taken:
                self._begin(delivery, lane)
            if drained and not waits and free == 1:
                await asyncio.sleep(_IDLE)

    async def _take(self, stream: str, count: int, *, wait: bool) -> list[Delivery]:
        known = list(self._runs)
        taken, runs = await self._patiently(
            lambda: self._streams.take(stream, self._name, count, known, wait=wait)
        )
        self._runs.update(runs)
        await self._learn_runs(taken)
        return taken

    async def _learn_runs(self, taken: list[Delivery]) -> None:
        """Learn the latest run of batches that this worker meets for the first time."""
        new = {each.batch for each in taken if each.batch is not None} - self._runs.keys()
        if new:
            # Which batches are being sent changes, and each one costs a little.
            if len(self._runs) > _MOST_BATCHES:
                self._runs.clear()
            self._runs |= await self._patiently(lambda: self._streams.latest_runs(sorted(new)))

    def _begin(self, delivery: Delivery, lane: str, *, trying: Breaker | None = None) -> None:
        """Deliver a message in a task of its own."""
        task = asyncio.get_running_loop().create_task(self._deliver(delivery, lane, trying=trying))
        self._held[task] = delivery
        task.add_done_callback(self._end)

    def _end(self, task: "asyncio.Task[None]") -> None:
        self._held.pop(task, None)
        self._wake_all()

    # Sending one message.

    async def _deliver(self, delivery: Delivery, lane: str, *, trying: Breaker | None) -> None:
        """Send one message, and end its delivery."""
        began = time.monotonic()
        try:
            status = await self._handle(delivery, lane, trying=trying)
        except _Stopped:
            return
        except UnreadableEntry as error:
            await self._bury(delivery, str(error), kind="OutcomeUnknown")
            status = "dead"
        except Exception as error:  # one message must not end the worker
            _logger.exception(
                "request id %s: the worker failed on it (%s); it is tried again",
                redact_id(delivery.request_id),
                type(error).__name__,
            )
            with contextlib.suppress(_Stopped):
                await self._ledger.finish(delivery, self._name, FAILED)
            return
        if status is not None:
            self._metrics.outcomes.labels(lane, status).inc()
            self._metrics.seconds.labels(lane).observe(time.monotonic() - began)

    async def _handle(  # noqa: PLR0911  # one for each way in which a delivery ends
        self, delivery: Delivery, lane: str, *, trying: Breaker | None
    ) -> str | None:
        """Send a message; return what became of it, or None where it comes again."""
        batch = delivery.batch
        if batch is not None and delivery.run < self._runs.get(batch, 0):
            await self._ledger.finish(delivery, self._name, DONE)
            return "void"
        if delivery.deaths >= MOST_DEATHS:
            why = f"{delivery.deaths} workers died while they had it"
            await self._bury(delivery, why, kind="OutcomeUnknown")
            return "dead"
        try:
            message = self._cipher.read(delivery.written, delivery.request_id)
        except Unreadable as error:
            if error.form and error.form == self._shared.facts.get("form"):
                await self._trip(self._form_fault(error.form))
                await self._ledger.finish(delivery, self._name, AT_ONCE)
                return None
            await self._bury(delivery, str(error), kind=UNREADABLE)
            return "dead"
        route = str(message.route or self._client.route)
        if trying is None and (breaker := self._breakers.holds(route)) is not None:
            parked = self._streams.key("parked", breaker.fault.name)
            await self._patiently(lambda: self._streams.move(delivery, parked))
            return None
        if not await self._may_begin(lane):
            await self._ledger.finish(delivery, self._name, AT_ONCE)
            return None
        with span("process", self._settings.name, message.request_id, delivery.trace):
            return await self._send(delivery, message, lane, route, trying)

    async def _may_begin(self, lane: str) -> bool:
        """Wait for the rate; False where the message is to go back to the queue."""
        if self._limiter is not None:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101  # it is a coroutine
            self._waiting.add(task)
            try:
                await self._rows[lane].prepay()
            except asyncio.CancelledError:
                task.uncancel()
                return False
            finally:
                self._waiting.discard(task)
        return self._breakers.may_pull and not self._stopping.is_set()

    async def _send(
        self, delivery: Delivery, message: Message, lane: str, route: str, trying: Breaker | None
    ) -> str | None:
        while True:
            try:
                outcome = Outcome(message, await self._views[lane].send(message))
            except EsmsError as error:
                cause = error if isinstance(error, LedgerError) else error.__cause__
                if isinstance(cause, UnreadableEntry | _Stopped):
                    raise cause from None
                outcome = Outcome(message, error=error)
            ending = await self._judge(outcome, route, trying)
            report, outcomes = "", ""
            if ending == DONE and delivery.batch is not None:
                report = report_of(outcome, delivery.run).dump()
                outcomes = self._streams.key("outcomes", delivery.batch)
            if await self._ledger.finish(
                delivery,
                self._name,
                ending,
                outcome=outcome,
                report=report,
                outcomes=outcomes,
            ):
                break
            # Another process knows more of the message. Sent again, it is told that.
        if ending != DONE:
            return None
        if not outcome.ok:
            reason = str(outcome.error).partition(" (phone")[0]
            _logger.warning(
                "request id %s is %s: %s",
                message.request_id,
                outcome.status.value.replace("_", " "),
                reason,
                extra={"esms_request_id": message.request_id, "esms_outcome": outcome.status.value},
            )
        return outcome.status.value

    async def _judge(self, outcome: Outcome, route: str, trying: Breaker | None) -> str:
        """Return how a delivery ends, and open or close breakers by what it shows."""
        expires_at = outcome.message.expires_at
        is_over = expires_at is not None and expires_at <= datetime.now(UTC)
        is_open_end = faults.is_open_end(outcome.error)
        if is_over and is_open_end:
            return DONE
        fault = self._breakers.judge(outcome, route)
        if fault is not None:
            await self._trip(fault)
            return AT_ONCE
        if is_open_end:
            return LATER
        for breaker in list(self._breakers.stopping):
            if breaker.is_half_open:
                await self._close(breaker)
        if trying is not None:
            await self._close(trying)
        return DONE

    async def _bury(self, delivery: Delivery, why: str, *, kind: str) -> None:
        """Move a message to the dead stream."""
        request_id = redact_id(delivery.request_id)
        _logger.error("request id %s goes to the dead stream: %s", request_id or "unknown", why)
        report = QueueReport(delivery.request_id, kind, delivery.run, why).dump()
        dead = self._streams.key("dead")
        await self._patiently(lambda: self._streams.move(delivery, dead, why=why, report=report))

    # Breakers.

    def _form_fault(self, form: str) -> Fault:
        return Fault(
            faults.FORM,
            Reach.WORKER,
            f"messages in queue {self._settings.name!r} are written in form {form}, which this "
            "worker can't read; give it the same ESMS_QUEUE_KEY, and the same release",
        )

    async def _trip(self, fault: Fault, *, announce: bool = True) -> None:
        """Open a breaker, and say so once."""
        if self._breakers.trip(fault):
            _logger.error(
                "breaker %s opens, for %s: %s; no message is lost, and sending goes on once it is "
                "mended",
                fault.name,
                fault.reach.value,
                fault.remedy,
                extra={"esms_breaker": fault.name},
            )
            if fault.reach is not Reach.ROUTE:
                self._recall()
        if announce and fault.reach is not Reach.WORKER and fault.name not in self._announced:
            await self._patiently(
                lambda: self._streams.set_fact(fault.name, fault.remedy, of="breakers")
            )
            self._announced.add(fault.name)

    async def _close(self, breaker: Breaker, *, announce: bool = True) -> None:
        """Close a breaker, and say so."""
        fault = breaker.fault
        if self._breakers.open.pop(fault.name, None) is None:
            return
        _logger.info("breaker %s closes after %.0f s", fault.name, time.monotonic() - breaker.since)
        self._announced.discard(fault.name)
        if announce and fault.reach is not Reach.WORKER:
            await self._patiently(lambda: self._streams.set_fact(fault.name, None, of="breakers"))
        self._wake_all()

    async def _probe(self) -> None:
        """Try now and then whether the faults of open breakers are mended."""
        while True:
            await asyncio.sleep(_IDLE)
            for breaker in list(self._breakers.open.values()):
                if breaker.is_due and not self._stopping.is_set():
                    with contextlib.suppress(_Stopped):
                        await self._try(breaker)

    async def _try(self, breaker: Breaker) -> None:
        breaker.wait()
        match breaker.fault:
            case Fault(name=faults.FORM):
                pass  # the next renewal tells
            case Fault(name=faults.FOREIGN):
                with contextlib.suppress(ForeignLedger):
                    await self._patiently(lambda: self._client.reconcile(()))
                    await self._close(breaker)
            case Fault(reach=Reach.ROUTE):
                await self._try_route(breaker)
            case _:
                fault = await self._gateway_fault()
                # A gateway that leaves the question unanswered may take a message all the same.
                if fault is None or fault.name == faults.SILENT:
                    breaker.is_half_open = True
                    self._wake_all()

    async def _try_route(self, breaker: Breaker) -> None:
        """Send one message of a route that waits."""
        stream = self._streams.key("parked", breaker.fault.name)
        await self._patiently(lambda: self._streams.make_group(stream))
        taken = await self._patiently(lambda: self._streams.reclaim(stream, self._name, 1))
        taken = taken or await self._take(stream, 1, wait=False)
        if not taken:
            await self._close(breaker)
        for delivery in taken:
            await self._learn_runs([delivery])
            self._begin(delivery, LANES[1], trying=breaker)

    async def _gateway_fault(self) -> Fault | None:
        """Ask for the balance; return the fault that keeps the gateway from answering."""
        try:
            await self._client.with_options(retry=_PROBE).balance()
        except QueryUnanswered as error:
            return faults.silence(error.reason)
        except QueryRejected as error:
            return faults.fault_of_query(error)
        except QueryError as error:
            _logger.debug("the balance is not known: %s", error)
        return None

    async def _look_at_gateway(self) -> None:
        if (fault := await self._gateway_fault()) is not None:
            await self._trip(fault)

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
        known = set(self._announced)
        shared = await self._streams.renew(self._name, list(self._held.values()))
        if shared.facts.get("paused") != self._shared.facts.get("paused"):
            _logger.info("the queue is %s", "paused" if "paused" in shared.facts else "resumed")
        self._shared = shared
        form = shared.facts.get("form")
        breaker = self._breakers.open.get(faults.FORM)
        if form is not None and not self._cipher.reads(form):
            await self._trip(self._form_fault(form))
        elif breaker is not None:
            await self._close(breaker)
        for name, remedy in shared.breakers.items():
            if name not in self._breakers.open:
                reach = faults.REACHES.get(name.partition(" ")[0], Reach.ACCOUNT)
                self._announced.add(name)
                await self._trip(Fault(name, reach, remedy), announce=False)
        for name in known - shared.breakers.keys():
            if (breaker := self._breakers.open.get(name)) is not None:
                await self._close(breaker, announce=False)
        self._wake_all()

    async def _reclaim(self) -> None:
        # After an outage the others need a moment to renew what they hold.
        if time.monotonic() - self._connected_at < LEASE or self._stopping.is_set():
            return
        for parked in self._shared.parked:
            if parked.removeprefix(self._streams.key("parked", "")) not in self._breakers.open:
                await self._patiently(functools.partial(self._streams.release, parked))
        held = {(each.stream, each.id) for each in self._held.values()}
        for lane in LANES:
            if (free := self._free(lane)) < 1:
                continue
            stream = self._streams.key(lane)
            self._reserved += free
            try:
                taken = await self._patiently(
                    functools.partial(self._streams.reclaim, stream, self._name, free)
                )
                await self._learn_runs(taken)
            finally:
                self._reserved -= free
            for delivery in taken:
                if (delivery.stream, delivery.id) not in held:
                    self._begin(delivery, lane)


class _Stopped(LedgerError):
    """The Redis server is away, and the worker is to stop."""


_is_prepaid: ContextVar[bool] = ContextVar("is_prepaid", default=False)


class _Prepaid:
    """A limiter whose first place a send has before it begins.

    So its deadline does not run while it waits for the rate.
    """

    def __init__(self, limiter: contextlib.AbstractAsyncContextManager[object]) -> None:
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

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave at once."""


def _number(environ: Mapping[str, str], name: str) -> float | None:
    text = environ.get(name)
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise ConfigurationError(f"{name} must be a number above 0, not {text!r}")
    return value
