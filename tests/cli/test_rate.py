"""How fast a job may send."""

import asyncio
import contextlib
import time
from pathlib import Path

import pytest

from esms_async import Credentials, EsmsClient, Receipt, RetryPolicy
from esms_async.cli.errors import InputError
from esms_async.cli.rate import Rate
from esms_async.emulator import Emulator
from tests.cli.support import finish, start, write_recipients
from tests.factories import a_message
from tests.limits import generous


@pytest.mark.parametrize(
    ("written", "per_second"),
    [("50", 50), ("50/s", 50), ("0.5", 0.5), ("600/m", 10), ("36/h", 0.01)],
)
def test_a_rate_is_a_second_s_or_says_so(written: str, per_second: float) -> None:
    """A number alone is a second's; minutes and hours can be named."""
    assert Rate.parse(written).per_second == pytest.approx(per_second)


@pytest.mark.parametrize("written", ["", "0", "0/m", "-1", "fast", "1/d", "1/2s", "50 /s", "1e3"])
def test_what_is_no_rate_is_refused(written: str) -> None:
    """The error shows what a rate looks like."""
    with pytest.raises(InputError, match="as in 50/s or 600/m"):
        Rate.parse(written)


@pytest.mark.parametrize("per_second", [0.01, 1, 50, 1000])
async def test_no_burst_goes_through(per_second: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once there pass the requests of a moment, and one at least."""
    limiter = Rate(per_second).limiter()
    limiter.close()
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: 1000.0)
    passed = 0
    # Once it is closed, whoever would wait is sent away.
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            await limiter.reserve()
            async with limiter:
                passed += 1
    assert passed == max(1, int(per_second * 0.05))


async def test_a_turn_comes_in_time() -> None:
    """Who waits has the next turn."""
    limiter = Rate(50).limiter()
    started = time.monotonic()
    for _ in range(5):
        async with limiter:
            pass
    assert time.monotonic() - started >= 0.02


async def test_who_waits_for_a_first_turn_is_sent_away() -> None:
    """Nothing of it is in flight; so is who comes later."""
    limiter = Rate(0.001).limiter()
    await asyncio.create_task(limiter.reserve())
    waiting = asyncio.create_task(limiter.reserve())
    await asyncio.sleep(0)
    limiter.close()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    with pytest.raises(asyncio.CancelledError):
        await limiter.reserve()


async def test_a_retry_has_its_turn_after_the_end() -> None:
    """The first attempt was accepted and its answer lost: the retry learns that."""
    async with Emulator(faults=["reset@send,phase=after,times=1"]) as emulator:
        limiter = Rate(2).limiter()
        async with EsmsClient(
            Credentials("key", "secret"), base_url=emulator.url, limiter=limiter
        ) as client:

            async def send() -> Receipt:
                await limiter.reserve()
                return await client.send(a_message())

            sending = asyncio.create_task(send())
            await emulator.wait_for(timeout=generous(10))
            limiter.close()
            receipt = await sending
    assert len(receipt.attempts) == 2
    assert emulator.mark() == 1


@pytest.mark.parametrize(
    ("per_second", "concurrency"), [(0.01, 1), (0.5, 5), (1, 10), (50, 64), (1000, 64)]
)
def test_a_turn_comes_before_the_deadline(per_second: float, concurrency: int) -> None:
    """No more sends are under way than the deadline leaves time to wait for, at every attempt."""
    rate = Rate(per_second)
    assert rate.bounded(64) == concurrency
    policy = rate.allow_for(RetryPolicy(attempts=3, deadline=30), concurrency)
    assert policy.deadline == pytest.approx(30 + 3 * concurrency / per_second)


async def test_a_rate_below_one_a_second_is_no_deadline(tmp_path: Path) -> None:
    """Where each request waits for seconds, each is sent all the same."""
    async with Emulator(faults=["http:503,times=1"]) as emulator:
        path = write_recipients(tmp_path / "a.csv", 2)
        started = time.monotonic()
        running = await start("bulk", path, "--base-url", emulator.url, "--rate", "60/m")
        await asyncio.wait_for(finish(running), generous(30))
        assert running.returncode == 0
        # Three requests, of which each but the first waits for a second.
        assert time.monotonic() - started >= 2
        assert len(emulator.requests) == 3


@pytest.mark.once
async def test_a_rate_holds_at_the_gateway(tmp_path: Path) -> None:
    """Of 500 rows at 50 a second, with retries, no five seconds see more than six seconds' worth.

    A gateway that is held up for a moment sees the requests of that moment all at once.
    """
    async with Emulator(faults=["http:503,p=0.1"], seed=7) as emulator:
        path = write_recipients(tmp_path / "a.csv", 500)
        running = await start(
            *("bulk", path, "--base-url", emulator.url, "--rate", "50", "--concurrency", "200")
        )
        await asyncio.wait_for(running.communicate(), generous(120))
        assert running.returncode == 0
        times = [request.at.timestamp() for request in emulator.requests]
    assert len(times) > 500
    busiest = max(sum(start <= at < start + 5 for at in times) for start in times)
    assert busiest <= 6 * 50


async def test_a_turn_that_was_not_used_is_kept() -> None:
    """A worker that found no row to send has its turn for the next one, without waiting."""
    limiter = Rate(0.01).limiter()
    await limiter.reserve()
    async with asyncio.timeout(generous(10)):
        await limiter.reserve()
    limiter.close()
