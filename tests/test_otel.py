"""Traces and metrics of real sends, read back from OpenTelemetry's in-memory exporters."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from esms_async import EsmsClient, Message
from esms_async.ledger import MemoryLedger
from esms_async.otel import OpenTelemetryHook
from tests.factories import API_KEY, CREDENTIALS, ONE_ATTEMPT, QUICK, SECRET_KEY, a_message
from tests.scripted_gateway import ScriptedGateway, accept
from tests.steps import (
    Paused,
    cancelled_with,
    code,
    end_of,
    hang,
    no_balance,
    reset,
    take_and_reset,
)


@attrs.frozen
class Telemetry:
    """A hook, and what has come out of it."""

    hook: OpenTelemetryHook
    tracers: TracerProvider
    exporter: InMemorySpanExporter
    reader: InMemoryMetricReader

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """The spans that have ended."""
        return self.exporter.get_finished_spans()

    @property
    def points(self) -> dict[str, list[Any]]:
        """The data points of each metric, by its name."""
        data = self.reader.get_metrics_data()
        assert data is not None
        return {
            metric.name: list(metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def counts(self, name: str) -> dict[tuple[str, ...], int]:
        """The values of a counter, by the values of its attributes."""
        return {tuple(point.attributes.values()): point.value for point in self.points[name]}


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """A hook with exporters of its own."""
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    meters = MeterProvider([reader], shutdown_on_exit=False)
    hook = OpenTelemetryHook(tracer_provider=tracers, meter_provider=meters)
    yield Telemetry(hook, tracers, exporter, reader)
    tracers.shutdown()
    meters.shutdown()


async def test_one_span_for_a_send_with_an_event_for_each_attempt(
    gateway: ScriptedGateway, telemetry: Telemetry
) -> None:
    """A send that was tried again is one span, which tells of both attempts."""
    gateway.script.append(reset)
    message = a_message()
    async with EsmsClient(
        CREDENTIALS, base_url=gateway.url, retry=QUICK, hooks=[telemetry.hook]
    ) as client:
        receipt = await client.send(message)
    (span,) = telemetry.spans
    assert (span.name, span.kind) == ("esms.send", SpanKind.INTERNAL)
    assert span.status.status_code is StatusCode.UNSET
    assert span.attributes == {
        "esms.request_id": message.request_id,
        "esms.route": "default",
        "esms.outcome": "accepted",
        "esms.code": "100",
        "esms.attempts": 2,
        "esms.sms_id": "d8e0",
        "esms.deduplicated": False,
    }
    lost, taken = span.events
    assert lost.name == taken.name == "esms.attempt"
    assert lost.attributes == {
        "esms.attempt": 1,
        "esms.evidence": "may_have_arrived",
        "esms.error": receipt.attempts[0].error,
        "esms.attempt.duration": receipt.attempts[0].duration,
    }
    assert taken.attributes == {
        "esms.attempt": 2,
        "esms.evidence": "accepted",
        "esms.code": "100",
        "esms.attempt.duration": receipt.attempts[1].duration,
        "http.response.status_code": 200,
    }


async def test_metrics_by_outcome_and_code(gateway: ScriptedGateway, telemetry: Telemetry) -> None:
    """Sends and attempts are counted by what became of them, and sends are timed."""
    gateway.script.extend([no_balance, code("4711"), reset, take_and_reset])
    async with EsmsClient(
        CREDENTIALS, base_url=gateway.url, retry=ONE_ATTEMPT, hooks=[telemetry.hook]
    ) as client:
        for _ in range(3):
            await end_of(client.send(a_message()))
        lost = a_message()
        await end_of(client.send(lost))
        await client.resume(lost)
        for _ in range(5):
            await client.send(a_message())
    assert telemetry.counts("esms.sends") == {
        ("rejected", "103"): 1,
        ("rejected", "other"): 1,
        ("unknown",): 2,
        ("accepted", "124"): 1,
        ("accepted", "100"): 5,
    }
    assert telemetry.counts("esms.attempts") == {
        ("refused", "103"): 1,
        ("refused", "other"): 1,
        ("may_have_arrived",): 2,
        ("duplicate", "124"): 1,
        ("accepted", "100"): 5,
    }
    times = telemetry.points["esms.send.duration"]
    assert {tuple(point.attributes.values()): point.count for point in times} == (
        telemetry.counts("esms.sends")
    )
    assert times[0].explicit_bounds[0] == 0.01
    assert times[0].explicit_bounds[-1] == 60.0
    assert all(point.sum > 0 for point in times)


async def test_a_failed_send_is_an_error_span(
    gateway: ScriptedGateway, telemetry: Telemetry
) -> None:
    """An error of the send is the status of its span, with the code that ended it."""
    gateway.script.extend([reset, no_balance])
    async with EsmsClient(
        CREDENTIALS, base_url=gateway.url, retry=QUICK, hooks=[telemetry.hook]
    ) as client:
        await end_of(client.send(a_message()))
    (span,) = telemetry.spans
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "unknown")
    assert span.attributes is not None
    assert span.attributes["error.type"] == "OutcomeUnknown"
    assert span.attributes["esms.code"] == "103"


async def test_a_cancelled_send_ends_its_span(
    gateway: ScriptedGateway, telemetry: Telemetry
) -> None:
    """However a send ends, its span ends, and the context is what it was."""
    gateway.script.append(hang)

    async def send(client: EsmsClient) -> trace.Span:
        try:
            await client.send(a_message())
        except asyncio.CancelledError:
            return trace.get_current_span()
        raise AssertionError

    async with EsmsClient(CREDENTIALS, base_url=gateway.url, hooks=[telemetry.hook]) as client:
        task = asyncio.create_task(send(client))
        await gateway.hanging.wait()
        task.cancel()
        assert await task is trace.INVALID_SPAN
    (span,) = telemetry.spans
    assert span.status.description == "unknown"


async def test_a_send_that_goes_on_without_its_first_caller_ends_its_span(
    gateway: ScriptedGateway, telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    """The span of a shared send ends with the send, and nothing is logged as failed."""
    message, step = a_message(), Paused(accept)
    gateway.script.append(step)
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, hooks=[telemetry.hook]) as client:
        first = asyncio.create_task(client.send(message))
        await step.came.wait()
        second = asyncio.create_task(client.send(message))
        await asyncio.sleep(0)
        await cancelled_with(first)
        assert not telemetry.spans
        step.go_on.set()
        await second
    (span,) = telemetry.spans
    assert (span.attributes or {})["esms.outcome"] == "accepted"
    assert [one.name for one in span.events] == ["esms.attempt"]
    assert "Failed to detach context" not in caplog.text


async def test_a_send_that_the_ledger_answers(
    gateway: ScriptedGateway, telemetry: Telemetry
) -> None:
    """A message that was accepted before is a span without an attempt."""
    message = a_message()
    async with MemoryLedger() as ledger:
        for _ in range(2):
            async with EsmsClient(
                CREDENTIALS, base_url=gateway.url, ledger=ledger, hooks=[telemetry.hook]
            ) as client:
                await client.send(message)
    assert [len(span.events) for span in telemetry.spans] == [1, 0]


async def test_spans_lie_in_the_callers_trace_and_keep_apart(
    gateway: ScriptedGateway, telemetry: Telemetry
) -> None:
    """Concurrent sends are children of the caller's span, each with its own attempts."""
    gateway.script.extend([reset] * 10)
    tracer = telemetry.tracers.get_tracer("the application")
    messages = [a_message(f"09{number:08}") for number in range(40)]
    async with EsmsClient(
        CREDENTIALS, base_url=gateway.url, retry=QUICK, hooks=[telemetry.hook]
    ) as client:
        with tracer.start_as_current_span("job") as job:
            receipts = await asyncio.gather(*map(client.send, messages))
            assert trace.get_current_span() is job
    attempts = {receipt.request_id: len(receipt.attempts) for receipt in receipts}
    sends = [span for span in telemetry.spans if span.name == "esms.send"]
    assert len(sends) == 40
    for span in sends:
        assert span.parent is not None
        assert span.parent.span_id == job.get_span_context().span_id
        assert span.attributes is not None
        assert len(span.events) == attempts[str(span.attributes["esms.request_id"])]


async def test_the_http_spans_of_the_instrumentation_lie_under_ours(
    gateway: ScriptedGateway, telemetry: Telemetry
) -> None:
    """Each attempt is one HTTP span under the send's, and no attribute of any holds a secret."""
    gateway.script.append(reset)
    AioHttpClientInstrumentor().instrument(tracer_provider=telemetry.tracers)
    try:
        async with EsmsClient(
            CREDENTIALS, base_url=gateway.url, retry=QUICK, hooks=[telemetry.hook]
        ) as client:
            await client.send(Message("0901888484", "686868 la ma"))
    finally:
        AioHttpClientInstrumentor().uninstrument()
    *requests, send = telemetry.spans
    assert send.name == "esms.send"
    assert send.context is not None
    assert [span.kind for span in requests] == [SpanKind.CLIENT] * 2
    for span in requests:
        assert span.parent is not None
        assert span.parent.span_id == send.context.span_id
    written = "".join(span.to_json() for span in telemetry.spans) + str(telemetry.points)
    for secret in (API_KEY, SECRET_KEY, "686868", "0901888484", "901888484"):
        assert secret not in written


async def test_without_providers_nothing_happens(gateway: ScriptedGateway) -> None:
    """In an application that has set up no telemetry the hook costs little and tells nothing."""
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, hooks=[OpenTelemetryHook()]) as client:
        assert (await client.send(a_message())).sms_id == "d8e0"


_ABSENT = """
import sys
{}
try:
    import esms_async.otel
except ImportError as error:
    print(type(error).__name__, error)
"""


_HIDDEN = "sys.modules['opentelemetry'] = None"
_BROKEN = """
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == "opentelemetry":
            raise ModuleNotFoundError("No module named elsewhere", name="elsewhere")
sys.meta_path.insert(0, Broken())
"""
_ASKS = "ImportError esms_async.otel needs OpenTelemetry's API: pip install 'esms_async[otel]'\n"


@pytest.mark.parametrize(
    ("absent", "words"),
    [(_HIDDEN, _ASKS), (_BROKEN, "ModuleNotFoundError No module named elsewhere\n")],
    ids=["the extra", "something else"],
)
def test_an_absent_extra_is_said_in_one_line(absent: str, words: str) -> None:
    """The error says what to install, and hides no other reason."""
    script = _ABSENT.format(absent)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == words


def test_the_package_does_not_import_opentelemetry() -> None:
    """Who does not ask for telemetry does not pay for it."""
    script = "import sys, esms_async; print('opentelemetry' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
