"""Serves a worker's health and metrics over HTTP: `/livez`, `/readyz` and `/metrics`."""

import contextlib
import functools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import attrs
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from esms_async import ConfigurationError
from esms_async.cli.queue_views import look_at
from esms_async.queue.streams import QueueError
from esms_async.queue.worker import QueueWorker

_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class WorkerMetrics:
    """The metrics of one worker, in a registry of their own."""

    def __init__(self) -> None:
        self.registry: CollectorRegistry = CollectorRegistry()
        registry = self.registry
        self.outcomes: Counter = Counter(
            "esms_queue_outcomes",
            "Messages that left the queue, by what became of them.",
            ["lane", "status"],
            registry=registry,
        )
        self.seconds: Histogram = Histogram(
            "esms_queue_send_seconds",
            "Seconds from taking a message out of the queue to its outcome.",
            ["lane"],
            buckets=_SECONDS,
            registry=registry,
        )
        # Finding the metric of some labels costs more than counting.
        self._outcome = functools.cache(self.outcomes.labels)
        self._seconds = functools.cache(self.seconds.labels)
        self.ready: Gauge = Gauge(
            "esms_queue_ready", "1 while this worker can send, as /readyz says.", registry=registry
        )
        self.paused: Gauge = Gauge(
            "esms_queue_paused", "1 while the queue is paused.", registry=registry
        )
        self.in_flight: Gauge = Gauge(
            "esms_queue_in_flight", "Messages that this worker holds.", registry=registry
        )
        self.breakers: Gauge = Gauge(
            "esms_queue_breaker_open", "1 for each open breaker.", ["breaker"], registry=registry
        )
        self.depth: Gauge = Gauge(
            "esms_queue_depth",
            "Messages that wait or are under way, with all workers.",
            ["lane"],
            registry=registry,
        )
        self.oldest: Gauge = Gauge(
            "esms_queue_oldest_seconds", "Age of the oldest message.", ["lane"], registry=registry
        )
        self.dead: Gauge = Gauge(
            "esms_queue_dead", "Messages in the dead stream.", registry=registry
        )

    def count(self, lane: str, status: str, seconds: float) -> None:
        """Count a message that left the queue."""
        self._outcome(lane, status).inc()
        self._seconds(lane).observe(seconds)

    async def render(self, worker: QueueWorker) -> bytes:
        """Return the metrics as text; those of the queue itself only where Redis answers."""
        self.in_flight.set(worker.held)
        self.ready.set(not worker.problems())
        for gauge in (self.breakers, self.depth, self.oldest):
            gauge.clear()
        for name in worker.breakers.open:
            self.breakers.labels(name).set(1)
        with contextlib.suppress(QueueError):
            found = await look_at(worker.streams)
            for lane, numbers in found["lanes"].items():
                self.depth.labels(lane).set(numbers["waiting"] + numbers["under_way"])
                self.oldest.labels(lane).set(numbers["oldest_seconds"])
            self.depth.labels("parked").set(found["parked"])
            self.dead.set(found["dead"])
            self.paused.set(found["paused"])
        return generate_latest(self.registry)


@attrs.frozen
class ListenAddress:
    """Where health and metrics are served.

    Attributes:
        host: The host to listen on.
        port: The port; 0 for any that is free.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "ListenAddress":
        """Read HOST:PORT.

        Raises:
            ConfigurationError: It is something else.
        """
        host, _, port = text.rpartition(":")
        if not host or not port.isdecimal() or len(port) > 5 or int(port) > 65535:
            raise ConfigurationError(f"--listen must be HOST:PORT, not {text!r}")
        return cls(host.strip("[]"), int(port))


@asynccontextmanager
async def serving(
    address: ListenAddress,
    problems: Callable[[], list[str]],
    metrics: Callable[[], Awaitable[bytes]],
) -> AsyncGenerator[int]:
    """Serve health and metrics.

    Args:
        address: Where.
        problems: Says why the worker is not ready; nothing where it is.
        metrics: Gives the metrics.

    Yields:
        The port.

    Raises:
        ConfigurationError: Nothing can listen there.
    """

    async def live(_: web.Request) -> web.Response:
        return web.json_response({"status": "live"})

    async def ready(_: web.Request) -> web.Response:
        found = problems()
        status = "not ready" if found else "ready"
        body = {"status": status, "problems": found}
        return web.json_response(body, status=503 if found else 200)

    async def measured(_: web.Request) -> web.Response:
        return web.Response(body=await metrics(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes(
        [
            web.get("/livez", live),
            web.get("/readyz", ready),
            web.get("/metrics", measured),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, address.host, address.port)
        try:
            await site.start()
        except OSError as error:
            raise ConfigurationError(
                f"--listen {address.host}:{address.port} can't be used: {error.strerror}"
            ) from None
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
