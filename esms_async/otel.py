"""Makes OpenTelemetry traces and metrics of sends; needs the extra `otel`."""

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar, Token
from typing import Final

try:
    from opentelemetry import context, metrics, trace
except ModuleNotFoundError as _error:
    if _error.name is None or _error.name.partition(".")[0] != "opentelemetry":
        raise
    raise ImportError(
        "esms_async.otel needs OpenTelemetry's API: pip install 'esms_async[otel]'"
    ) from None

from esms_async import (
    Attempt,
    EsmsError,
    Hook,
    Message,
    Outcome,
    OutcomeUnknown,
    Rejected,
    __version__,
)
from esms_async.codes import CODES

__all__ = ["OpenTelemetryHook"]

_NAME: Final = "esms_async"
# From one millisecond, an answer on this machine, to 30 seconds, the default deadline.
_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

_Value = str | bool | int | float


class OpenTelemetryHook(Hook):
    """Makes one span for each logical send, with an event for each attempt, and counts both.

    The span, `esms.send`, is the current one during the send, so the spans of OpenTelemetry's
    aiohttp instrumentation are its children. It has the RequestId and the route (`default` if the
    message names none). The metrics have few, bounded attributes: `esms.send.duration` (seconds)
    and `esms.sends` have `esms.outcome` and `esms.code`, `esms.attempts` has `esms.evidence` and
    `esms.code`. A code that no page of the gateway lists counts as `other`. Neither holds a phone
    number, content or key.

    Args:
        tracer_provider: Where the spans go; the global provider by default.
        meter_provider: Where the metrics go; the global provider by default.
    """

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._tracer = trace.get_tracer(_NAME, __version__, tracer_provider)
        meter = metrics.get_meter(_NAME, __version__, meter_provider)
        self._duration = meter.create_histogram(
            "esms.send.duration",
            unit="s",
            description="How long a logical send took, with all its attempts and pauses.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._sends = meter.create_counter(
            "esms.sends", unit="{send}", description="Logical sends by what became of them."
        )
        self._attempts = meter.create_counter(
            "esms.attempts", unit="{attempt}", description="Attempts by what they got."
        )
        # The span of the task that sends. A task that it starts replaces its copy at once.
        self._under_way: ContextVar[
            tuple[trace.Span, Token[context.Context], asyncio.Task[object] | None]
        ] = ContextVar("send")

    def on_start(self, *, message: Message) -> None:
        """Begin the span, and make it the current one."""
        span = self._tracer.start_span(
            "esms.send",
            attributes={
                "esms.request_id": message.request_id,
                "esms.route": "default" if message.route is None else str(message.route),
            },
        )
        token = context.attach(trace.set_span_in_context(span))
        self._under_way.set((span, token, asyncio.current_task()))

    def on_attempt(self, *, message: Message, number: int, attempt: Attempt) -> None:  # noqa: ARG002  # the span names the message
        """Count an attempt, and make it an event of the span."""
        told = _known(
            {
                "esms.evidence": attempt.evidence.name.lower(),
                "esms.code": _listed(attempt.code),
            }
        )
        self._attempts.add(1, told)
        details = {
            "esms.attempt": number,
            "esms.attempt.duration": attempt.duration,
            "esms.error": attempt.error,
            "esms.retry_after": attempt.retry_after,
            "http.response.status_code": attempt.status,
        }
        span = self._under_way.get()[0]
        span.add_event("esms.attempt", told | _known(details))

    def on_outcome(
        self, *, outcome: Outcome, attempts: tuple[Attempt, ...], duration: float
    ) -> None:
        """Count the send, and end its span."""
        told = _known({"esms.outcome": outcome.status.value, "esms.code": _listed(_code(outcome))})
        self._sends.add(1, told)
        self._duration.record(duration, told)
        span, token, task = self._under_way.get()
        span.set_attributes(told | _details(outcome, attempts))
        if outcome.error is not None:
            span.set_status(trace.StatusCode.ERROR, outcome.status.value)
        span.end()
        # A task that continues a send for other callers has a copy of the first caller's context,
        # which ends with the task.
        if task is asyncio.current_task():
            context.detach(token)


def _details(outcome: Outcome, attempts: tuple[Attempt, ...]) -> dict[str, _Value]:
    details: dict[str, _Value | None] = {"esms.attempts": len(attempts)}
    if outcome.receipt is not None:
        details["esms.sms_id"] = outcome.receipt.sms_id
        details["esms.deduplicated"] = outcome.receipt.deduplicated
    else:
        details["error.type"] = type(outcome.error).__qualname__
    return _known(details)


def _code(outcome: Outcome) -> str | None:
    """Return the code that decided the outcome of a message, or None."""
    error: EsmsError | None = outcome.error
    if error is None:
        return "124" if outcome.receipt and outcome.receipt.deduplicated else "100"
    rejection = error.rejection if isinstance(error, OutcomeUnknown) else error
    return rejection.code if isinstance(rejection, Rejected) else None


def _listed(code: str | None) -> str | None:
    return code if code is None or code in CODES else "other"


def _known(values: Mapping[str, _Value | None]) -> dict[str, _Value]:
    """Return the attributes that have a value; OpenTelemetry takes no None."""
    return {name: value for name, value in values.items() if value is not None}
