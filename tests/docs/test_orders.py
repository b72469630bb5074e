"""The example that sends after the commit: an SMS for each committed order, once, whoever dies."""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

import esms_async
from esms_async.emulator import Emulator
from tests.limits import TIMES
from tests.postgres_server import PostgresServer

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
# Places the orders whose numbers it reads, some at once, and sweeps meanwhile as a service does;
# every third is rolled back. It prints the number of each order that it is done with.
PROGRAM = """
import asyncio, os, sys
import orders
from psycopg import AsyncConnection
from psycopg.errors import UniqueViolation
from esms_async import EsmsClient

numbers = map(int, sys.stdin.read().split())

class RolledBack(Exception):
    pass

async def connect():
    return await AsyncConnection.connect(os.environ["DATABASE_URL"], autocommit=True)

async def place(esms):
    async with await connect() as connection:
        for number in numbers:
            async def business(its_connection):
                await its_connection.execute("SELECT pg_sleep(0.001)")
                if number % 3 == 0:
                    raise RolledBack
            try:
                await orders.place_order(connection, esms, number, f"09110{number:05}", business)
            except (RolledBack, UniqueViolation):
                pass
            print(number, flush=True)

async def sweep(esms, placing):
    async with await connect() as connection:
        taken = 1
        while taken or not placing.done():
            await asyncio.sleep(0.05)
            # Nobody waits here for half a minute.
            await connection.execute("UPDATE orders SET sms_due_at = now()")
            taken = await orders.sweep(connection, esms)

async def main():
    async with EsmsClient.from_env() as esms:
        placing = asyncio.gather(*(place(esms) for _ in range(8)))
        await asyncio.gather(placing, sweep(esms, placing))

asyncio.run(main())
"""


@pytest.fixture
async def gateway() -> AsyncIterator[Emulator]:
    """A gateway that loses answers, and takes longer for some."""
    faults = ["reset,phase=after,p=0.03", "http:503,phase=before,p=0.03", "delay:30ms,p=0.2"]
    async with Emulator(faults=faults, seed=3) as gateway:
        yield gateway


class Application:
    """The example as a process of its own, which places orders until it is killed."""

    def __init__(self, postgres: PostgresServer, gateway: Emulator) -> None:
        root = Path(esms_async.__file__).parents[1]
        self._environ = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(EXAMPLES), str(root)]),
            "DATABASE_URL": postgres.url,
            "ESMS_BASE_URL": gateway.url,
            "ESMS_API_KEY": "key",
            "ESMS_SECRET_KEY": "secret",
        }

    async def place(self, numbers: list[int], *, kill_after: int | None = None) -> set[int]:
        """Place orders; return those that the process was done with when it ended."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAM),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=self._environ,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(" ".join(map(str, numbers)).encode())
        process.stdin.close()
        done: set[int] = set()
        async for line in process.stdout:
            done.add(int(line))
            if len(done) == kill_after:
                process.send_signal(signal.SIGKILL)
        returncode = await process.wait()
        assert returncode == (0 if kill_after is None else -signal.SIGKILL)
        return done


@pytest.mark.parametrize(
    ("count", "kills"),
    [
        pytest.param(120, 3, id="some"),
        pytest.param(400 * TIMES, 4 * TIMES, id="many", marks=pytest.mark.endurance),
    ],
)
async def test_an_sms_for_each_committed_order(
    postgres: PostgresServer, gateway: Emulator, count: int, kills: int
) -> None:
    """A third is rolled back, answers are lost, the application is killed again and again."""
    connection = psycopg.connect(postgres.url, autocommit=True)
    with connection:
        sys.path.insert(0, str(EXAMPLES))
        from orders import SCHEMA  # noqa: PLC0415  # a program of its own, in no package

        sys.path.remove(str(EXAMPLES))
        connection.execute("DROP TABLE IF EXISTS orders")
        connection.execute(SCHEMA)
        application, left = Application(postgres, gateway), list(range(count))
        for _ in range(kills):
            done = await application.place(left, kill_after=count // (kills + 1))
            left = [number for number in left if number not in done]
        await application.place(left)
        rows = connection.execute("SELECT sms_request_id, sms_status FROM orders").fetchall()
        committed: dict[str, str] = dict(rows)
    assert len(committed) == count - len(range(0, count, 3))
    assert set(committed.values()) == {"accepted"}
    sent = Counter(message.request_id for message in gateway.messages)
    assert sent == dict.fromkeys(committed, 1)
    assert len({message.phone for message in gateway.messages}) == len(committed)
