"""Measures the parts of a send one by one, each in a fresh process on a core of its own."""

import asyncio
import compileall
import itertools
import subprocess
import sys
import time
import timeit
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from statistics import median

import attrs
import psutil

import esms_async
from benchmarks.compare import Tell
from benchmarks.contestants import API_KEY, CONTENT, SECRET_KEY, esms_client
from benchmarks.processes import Cores, measured_process, server_process
from benchmarks.server import CALM
from esms_async import Credentials, Evidence, Message, Outcome, Receipt, SendMany
from esms_async._send.outcome import History, judge
from esms_async._wire.send import SendEncoder, decode_send

SEND_MANY = "send_many, own cost a message"
MEMORY = "memory growth"
IMPORT = "import of esms_async beyond that of aiohttp"

_CONCURRENCY = 100
_PHONE = "0901888484"
_VIETNAMESE = "686868 là mã xác minh của bạn"
_ANSWER = (
    b'{"CodeResult":"100","CountRegenerate":0,"SMSID":"d8e0c1a5-40a2-4b5b-b6c5-5b1d3fb4b9a11"}'
)
# The stream has its connections, tasks and caches by then; what it takes after that is growth.
_SETTLED_AFTER = 5_000
_SAMPLED_EVERY = 1_000
_TIME_IMPORT = (
    "import time; started = time.perf_counter(); import {module}; "
    "print(time.perf_counter() - started)"
)


@attrs.frozen
class Thoroughness:
    """How much is measured.

    Attributes:
        calls: How many calls make one timing.
        rounds: How many timings there are of each part; their median counts.
        messages: How many messages are streamed.
    """

    calls: int = 20_000
    rounds: int = 9
    messages: int = 200_000


@attrs.frozen
class Part:
    """One measured part.

    Attributes:
        name: What it is.
        value: What it takes.
        unit: In which unit.
    """

    name: str
    value: float
    unit: str


def measure_parts(how: Thoroughness, cores: Cores, tell: Tell) -> list[Part]:
    """Measure every part.

    Args:
        how: How much is measured.
        cores: Where the processes are pinned.
        tell: Gets a line for each group of parts.

    Returns:
        The parts.
    """
    parts: list[Part] = []
    for name, measure in (
        ("values and wire format", _time_calls),
        ("send_many", _time_stream),
        ("memory, no-op send", _grow_without_network),
        ("import", _time_imports),
    ):
        tell(name)
        with measured_process(cores) as process:
            parts += process.submit(measure, how).result()
    tell("memory, real sends")
    with server_process(cores) as server, measured_process(cores) as process:
        parts += process.submit(_grow_with_network, how, server.url(CALM)).result()
    return parts


def _time_calls(how: Thoroughness) -> list[Part]:
    message = Message(_PHONE, CONTENT)
    encode = SendEncoder(Credentials(API_KEY, SECRET_KEY))
    calls: dict[str, Callable[[], object]] = {
        "Message(), plain text": lambda: Message(_PHONE, CONTENT),
        "Message(), Vietnamese text": lambda: Message(_PHONE, _VIETNAMESE),
        "encode": lambda: encode(message),
        "decode": lambda: decode_send(200, _ANSWER),
        "classification": lambda: judge(History.CLEAN, Evidence.ACCEPTED),
    }
    return [
        Part(
            name,
            median(timeit.repeat(call, repeat=how.rounds, number=how.calls)) / how.calls * 1e6,
            "µs",
        )
        for name, call in calls.items()
    ]


async def _at_once(message: Message) -> Receipt:
    return Receipt(message.request_id)


async def _after_a_turn(message: Message) -> Receipt:
    await asyncio.sleep(0)
    return Receipt(message.request_id)


def _time_stream(how: Thoroughness) -> list[Part]:
    sends = {
        "the send returns at once": _at_once,
        "the send waits one turn of the loop": _after_a_turn,
    }
    return [
        Part(
            f"{SEND_MANY}; {name}",
            median(asyncio.run(_own_cost(send, how.calls)) for _ in range(how.rounds)) * 1e6,
            "µs",
        )
        for name, send in sends.items()
    ]


async def _own_cost(send: Callable[[Message], Awaitable[Receipt]], count: int) -> float:
    """Return the seconds a message that streaming takes beyond the no-op sends themselves."""
    message = Message(_PHONE, CONTENT)

    async def only_send() -> None:
        for _ in range(count // _CONCURRENCY):
            await send(message)

    started = time.perf_counter()
    await asyncio.gather(*(only_send() for _ in range(_CONCURRENCY)))
    sends_done = time.perf_counter()
    messages = itertools.repeat(message, count)
    async for _ in SendMany(send, messages, concurrency=_CONCURRENCY, ordered=False):
        pass
    return ((time.perf_counter() - sends_done) - (sends_done - started)) / count


def _messages(count: int) -> Iterator[Message]:
    return (Message(f"09{number % 100_000_000:08d}", CONTENT) for number in range(count))


def _grow_without_network(how: Thoroughness) -> list[Part]:
    async def stream() -> float:
        return await _growth(
            SendMany(
                _after_a_turn, _messages(how.messages), concurrency=_CONCURRENCY, ordered=False
            )
        )

    return [Part(f"{MEMORY}, {how.messages} messages, no-op send", asyncio.run(stream()), "MB")]


def _grow_with_network(how: Thoroughness, url: str) -> list[Part]:
    async def stream() -> float:
        async with esms_client(url, _CONCURRENCY) as client:
            return await _growth(
                client.send_many(_messages(how.messages), concurrency=_CONCURRENCY)
            )

    return [Part(f"{MEMORY}, {how.messages} messages, sent over HTTP", asyncio.run(stream()), "MB")]


async def _growth(outcomes: AsyncIterator[Outcome]) -> float:
    """Return by how many MB the process is largest beyond its size once the stream has settled."""
    process = psutil.Process()
    settled = largest = 0
    number = 0
    async for outcome in outcomes:
        assert outcome.ok  # noqa: S101  # a benchmark of failures would measure something else
        number += 1
        if number == _SETTLED_AFTER:
            settled = largest = process.memory_info().rss
        elif number > _SETTLED_AFTER and number % _SAMPLED_EVERY == 0:
            largest = max(largest, process.memory_info().rss)
    return (largest - settled) / 1e6


def _time_imports(how: Thoroughness) -> list[Part]:
    # The bytecode is there, as after an installation: the sources aren't compiled at each import.
    compileall.compile_dir(Path(esms_async.__file__).parent, quiet=1)
    modules = ("aiohttp", "esms_async")
    for module in modules:
        _import_seconds(module)
    seconds = [[_import_seconds(module) for module in modules] for _ in range(how.rounds)]
    beyond = median(whole - aiohttp for aiohttp, whole in seconds)
    return [Part(IMPORT, beyond * 1e3, "ms")]


def _import_seconds(module: str) -> float:
    command = [sys.executable, "-c", _TIME_IMPORT.format(module=module)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603  # this interpreter, a fixed text
