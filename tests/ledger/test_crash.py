"""Crashes, for real: killed processes and servers, and replicas that race over the same work."""

import asyncio
import random
import sys
from pathlib import Path

import pytest

from esms_async import (
    EsmsClient,
    LedgerError,
    OutcomeUnknown,
    Receipt,
    RequestIdExpired,
    RetryPolicy,
    Status,
    derive_request_id,
)
from esms_async.emulator import Emulator
from esms_async.ledger import Ledger, RedisLedger, SqliteLedger
from tests.factories import CREDENTIALS, ONE_ATTEMPT, a_message
from tests.ledger.redis_server import RedisServer
from tests.limits import TIMES
from tests.steps import end_of

COUNT = 300 * TIMES
KILLS = pytest.mark.parametrize("kills", [4, pytest.param(12 * TIMES, marks=pytest.mark.endurance)])
FAULTS = [
    "reset,phase=after,p=0.1",
    "close,phase=before,p=0.05",
    "truncate:0.5,phase=after,p=0.05",
    "http:503,phase=after,p=0.05",
]

# What a job does that is run again until it ends well: the same messages, by the three routes in
# turn, and a ledger.
JOB = """
import asyncio, sys
from esms_async import (
    Brandname, Credentials, EsmsClient, Message, RetryPolicy, ZaloTemplate,
    derive_request_id,
)
from esms_async.ledger import RedisLedger, SqliteLedger

url, kind, place, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])

def messages():
    for number in range(count):
        what = {"content": f"{number:06} la ma xac minh dang ky Baotrixemay cua ban"}
        if number % 3 == 2:
            what = {"params": {"otp": f"{number:06}"}}
        route = (None, Brandname("Baotrixemay"), ZaloTemplate("4097", "207487"))[number % 3]
        yield Message(
            f"0911{number:06}", route=route, request_id=derive_request_id("job", number), **what
        )

async def main():
    ledger = SqliteLedger(place) if kind == "sqlite" else RedisLedger(place)
    retry = RetryPolicy(attempts=3, backoff_initial=0.001)
    ready = 0
    async with EsmsClient(
        Credentials("key", "secret"), base_url=url, ledger=ledger, retry=retry
    ) as client:
        print("started", flush=True)
        async with client.send_many(messages(), concurrency=16) as outcomes:
            async for outcome in outcomes:
                ready += outcome.ok
    return 0 if ready == count else 1

sys.exit(asyncio.run(main()))
"""


async def start_job(gateway: Emulator, kind: str, place: str) -> asyncio.subprocess.Process:
    """Start the job in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        JOB,
        gateway.url,
        kind,
        place,
        str(COUNT),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    await process.stdout.readline()
    return process


async def run_until_done(
    gateway: Emulator, kind: str, place: str, kills: int, server: RedisServer | None = None
) -> None:
    """Run the job again and again, killing it at first after some of its messages.

    A server is killed and started again in every fourth of these lives, and in the first one that
    is not killed itself.
    """
    chance = random.Random(COUNT)  # noqa: S311  # moments, no secrets
    for life in range(kills + 20):
        accepted = gateway.mark() + chance.randrange(20)
        process = await start_job(gateway, kind, place)
        while gateway.mark() < accepted and life <= kills:
            if process.returncode is not None:
                break  # few messages were left, and not all of them were accepted
            await asyncio.sleep(0)
        if server is not None and life % 4 == 0 and life <= kills:
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        if life < kills and process.returncode is None:
            process.kill()
        _, errors = await process.communicate()
        assert b"Traceback" not in errors, errors.decode()
        if life >= kills and process.returncode == 0:
            return
    pytest.fail("the job never ended well")


async def check_against(gateway: Emulator, ledger: Ledger) -> None:
    """Hold the ledger against the gateway: every message exactly once, and both agree."""
    ids = [derive_request_id("job", number) for number in range(COUNT)]
    assert [gateway.accepted(request_id) for request_id in ids] == [1] * COUNT
    await ledger.open()
    try:
        entries = await asyncio.gather(*map(ledger.look_up, ids))
        assert all(entry is not None and entry.status is Status.ACCEPTED for entry in entries)
        assert [entry async for entry in ledger.unsettled()] == []
    finally:
        await ledger.aclose()


@KILLS
async def test_a_job_killed_at_random_moments_sends_each_message_once(
    tmp_path: Path, kills: int
) -> None:
    """Kills over an SQLite ledger: exactly once, by the gateway's own count."""
    path = tmp_path / "job.ledger"
    async with Emulator(faults=FAULTS, seed=1) as gateway:
        await run_until_done(gateway, "sqlite", str(path), kills)
        await check_against(gateway, SqliteLedger(path))


@KILLS
async def test_a_job_and_its_redis_killed_at_random_moments_send_each_message_once(
    kills: int,
) -> None:
    """Kills of the job, and some of the server with its log on disk: exactly once."""
    with RedisServer({"appendonly": "yes", "appendfsync": "always"}) as server:
        async with Emulator(faults=FAULTS, seed=2) as gateway:
            await run_until_done(gateway, "redis", server.url, kills, server)
            await check_against(gateway, RedisLedger(server.url))


async def test_two_processes_over_the_same_messages_send_each_once(
    redis_server: RedisServer,
) -> None:
    """Replicas given the same work through one Redis ledger: exactly once each."""
    async with Emulator(faults=FAULTS, seed=3) as gateway:
        done: set[int] = set()
        place = f"{redis_server.url}/1"
        for _ in range(20):
            jobs = [await start_job(gateway, "redis", place) for _ in range(2)]
            for job in jobs:
                _, errors = await job.communicate()
                assert b"Traceback" not in errors, errors.decode()
            done = {job.returncode for job in jobs if job.returncode is not None}
            if done == {0}:
                break
        assert done == {0}
        await check_against(gateway, RedisLedger(place))


@pytest.mark.parametrize("past", [False, True], ids=["inside", "past"])
async def test_what_the_gateway_has_forgotten_is_not_sent_again(tmp_path: Path, past: bool) -> None:
    """With both clocks past 24 hours a lost answer stays unknown; inside them it is found out."""
    async with Emulator(faults=["reset,phase=after,times=1"]) as gateway:
        ledger = SqliteLedger(tmp_path / "ledger.db", clock=gateway.clock.time)
        message = a_message()
        async with EsmsClient(
            CREDENTIALS, base_url=gateway.url, ledger=ledger, retry=ONE_ATTEMPT
        ) as client:
            with pytest.raises(OutcomeUnknown):
                await client.send(message)
            gateway.clock.advance(25 * 3600 if past else 22 * 3600)
            if past:
                with pytest.raises(RequestIdExpired):
                    await client.send(message)
            else:
                await client.send(message)
        assert gateway.accepted(message.request_id) == 1


async def test_redis_gone_in_the_middle_sends_nothing_unclaimed() -> None:
    """While the server is away nothing is sent; once it is back, what was open is found out.

    What was never tried is known not to be sent; what was tried keeps its receipt, or is in doubt.
    """
    with RedisServer({"appendonly": "yes", "appendfsync": "always"}) as server:
        async with (
            Emulator(faults=["reset,phase=after,p=0.2"], seed=5) as gateway,
            EsmsClient(
                CREDENTIALS,
                base_url=gateway.url,
                ledger=RedisLedger(server.url),
                retry=RetryPolicy(attempts=2, backoff_initial=0.001),
            ) as client,
        ):
            messages = [a_message(f"0911{number:06}") for number in range(300)]
            first = [await end_of(client.send(message)) for message in messages[:100]]
            before = len(gateway.requests)
            server.kill()
            away = await asyncio.gather(*map(client.send, messages), return_exceptions=True)
            # The client's own memory tells what became of the first hundred.
            assert {type(end) for end in first} == {Receipt, OutcomeUnknown}
            assert [type(end) for end in away[:100]] == [type(end) for end in first]
            assert {type(end) for end in away[100:]} == {LedgerError}
            assert len(gateway.requests) == before
            await asyncio.to_thread(server.start)
            for _ in range(5):
                await asyncio.gather(*map(client.send, messages), return_exceptions=True)
        assert all(gateway.accepted(message.request_id) == 1 for message in messages)
