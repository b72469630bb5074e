"""The trace of a message goes through the queue, under the names of the conventions."""

import subprocess
import sys
from pathlib import Path

from tests.ledger.redis_server import RedisServer
from tests.queue.support import Gateway, environment

ROOT = Path(__file__).parents[2]
# OpenTelemetry's provider is global, so it is set in a process of its own.
# `tests` comes last on its path, so the package is the installed one.
PROGRAM = """
import asyncio
import sys

sys.path.append(sys.argv.pop())
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)

from esms_async import Message
from esms_async.queue import MessageQueue
from tests.queue.support import KEY, working


async def main(redis, gateway):
    async with MessageQueue(redis, key=KEY) as queue, working(redis, gateway):
        await queue.put(Message("0901888484", "686868 la ma"))
        while await queue.depth():
            await asyncio.sleep(0.02)


asyncio.run(main(*sys.argv[1:]))
spans = {span.name: span for span in exporter.get_finished_spans()}
put, process, send = spans["send esms"], spans["process esms"], spans["esms.send"]
assert process.parent.span_id == put.context.span_id
assert send.parent.span_id == process.context.span_id
print(put.kind.name, process.kind.name, process.attributes["messaging.operation.name"])
assert "0901888484" not in str([span.attributes for span in spans.values()])
"""


async def test_the_trace_goes_through_the_queue(redis: RedisServer, gateway: Gateway) -> None:
    """`send esms` is the producer, `process esms` its child, and `esms.send` lies under that."""
    import asyncio  # noqa: PLC0415  # the program above has its own

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, redis.url, gateway.url, str(ROOT)),
        env=environment(redis.url, gateway.url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()
    assert out.decode().split() == ["PRODUCER", "CONSUMER", "process"]
