"""Carries a trace through the queue, where OpenTelemetry runs; the API alone, and only if set up.

Names and kinds follow the semantic conventions for messaging: `send esms` (producer) where a
message is put in, `process esms` (consumer) where a worker sends it. No span holds a phone or a
text.
"""

import sys
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final

from esms_async import Hook, __version__
from esms_async.queue.streams import QueueDelivery

_CARRIED: Final = ("traceparent", "tracestate")


def is_traced() -> bool:
    """Tell whether spans go anywhere: `opentelemetry-instrument` or the program set that up."""
    # Asked once for each message, so not of OpenTelemetry, which looks into the environment.
    trace = sys.modules.get("opentelemetry.trace")
    return getattr(trace, "_TRACER_PROVIDER", None) is not None


_Carried = tuple[tuple[str, str], ...]
_NO_SPAN: Final[AbstractContextManager[_Carried]] = nullcontext(())


def span(
    operation: str, queue: str, request_id: str, delivery: QueueDelivery | None = None
) -> AbstractContextManager[_Carried]:
    """Make a span the current one, where spans go anywhere.

    Args:
        operation: `send` or `process`.
        queue: The name of the queue.
        request_id: The RequestId of the message.
        delivery: The message to process, which carries its trace context.

    Returns:
        A context manager that gives the trace context to send with a message.
    """
    return _span(operation, queue, request_id, delivery) if is_traced() else _NO_SPAN


@contextmanager
def _span(
    operation: str, queue: str, request_id: str, delivery: QueueDelivery | None
) -> Generator[_Carried]:
    from opentelemetry import propagate, trace  # noqa: PLC0415  # it needs the extra `otel`

    kind, parent = trace.SpanKind.PRODUCER, None
    if delivery is not None:
        told = zip(_CARRIED, delivery.trace, strict=True)
        kind, parent = trace.SpanKind.CONSUMER, propagate.extract(dict(told))
    with trace.get_tracer("esms_async", __version__).start_as_current_span(
        f"{operation} {queue}",
        context=parent,
        kind=kind,
        attributes={
            "messaging.system": "redis",
            "messaging.destination.name": queue,
            "messaging.operation.name": operation,
            "messaging.operation.type": operation,
            "messaging.message.id": request_id,
        },
    ):
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        yield tuple((name, carrier[name]) for name in _CARRIED if name in carrier)


def hooks() -> list[Hook]:
    """Return the hook that makes a span of each send, where spans go anywhere."""
    if not is_traced():
        return []
    from esms_async.otel import OpenTelemetryHook  # noqa: PLC0415  # it needs the extra `otel`

    return [OpenTelemetryHook()]
