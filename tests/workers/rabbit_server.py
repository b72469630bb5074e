"""A real RabbitMQ on ports of its own, for as long as a test."""

import os
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.ledger.redis_server import free_port

# Debian's own commands want to become another user; these are what they run.
PROGRAMS = Path("/usr/lib/rabbitmq/bin")


class RabbitServer:
    """A broker that is stopped, with its files, when it is left."""

    def __init__(self) -> None:
        self.port = free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="esms-rabbit-")
        folder = Path(self._folder.name)
        (folder / "plugins").write_text("[].\n")
        (folder / ".erlang.cookie").write_text("esmsasynctests")
        (folder / ".erlang.cookie").chmod(0o400)
        self._environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "RABBITMQ_NODENAME": f"esms{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def ask(self, *arguments: str) -> str:
        """Ask the broker something by its own command."""
        return subprocess.run(
            [str(PROGRAMS / "rabbitmqctl"), "--quiet", *arguments],
            env=self._environ,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [str(PROGRAMS / "rabbitmq-server")],
            env=self._environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(30):
            assert self._process.poll() is None, "rabbitmq-server ended"
            try:
                self.ask("await_startup", "--timeout", "60")
            except subprocess.CalledProcessError:
                time.sleep(0.5)
            else:
                return self
        raise TimeoutError("rabbitmq-server did not start")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.ask("stop")
        if self._process is not None:
            self._process.wait()
        self._folder.cleanup()
