"""Worker processes, and what a test looks at behind the queue's back."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

import nats
from nats.js import JetStreamContext

from tests.factories import API_KEY, SECRET_KEY


def environment(broker: str, ledger: str, gateway: str, **more: str) -> dict[str, str]:
    """Return the variables of a worker."""
    inherited = {name: value for name, value in os.environ.items() if name[:5] != "ESMS_"}
    return {
        **inherited,
        "ESMS_BROKER_URL": broker,
        "ESMS_LEDGER_URL": ledger,
        "ESMS_BASE_URL": gateway,
        "ESMS_API_KEY": API_KEY,
        "ESMS_SECRET_KEY": SECRET_KEY,
        "ESMS_DEADLINE": "4",
        "ESMS_ATTEMPTS": "40",
        **more,
    }


class Workers:
    """Worker processes, which are ended when a test leaves them."""

    def __init__(self, environ: Mapping[str, str], count: int) -> None:
        self._environ = environ
        self._count = count
        self.processes: list[asyncio.subprocess.Process] = []

    async def start_one(self) -> None:
        """Start one more."""
        self.processes.append(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "esms_async",
                "worker",
                env=dict(self._environ),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
        )

    async def kill_one(self) -> None:
        """End the one that is longest there, with no warning."""
        process = self.processes.pop(0)
        process.kill()
        await process.wait()

    async def terminate_one(self) -> None:
        """Ask the one that is longest there to end, and see it do so in good order."""
        process = self.processes.pop(0)
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0

    async def __aenter__(self) -> Self:
        for _ in range(self._count):
            await self.start_one()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        while self.processes:
            await self.kill_one()


@asynccontextmanager
async def jetstream(url: str) -> AsyncIterator[JetStreamContext]:
    """Look into a NATS server."""
    client = await nats.connect(url)
    try:
        yield client.jetstream()
    finally:
        await client.close()


async def wait_until_empty(url: str, stream: str = "esms-send") -> None:
    """Wait until nothing is left in the queue: acknowledgements follow what is told."""
    async with jetstream(url) as context:
        while (await context.stream_info(stream)).state.messages:  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(0.05)
