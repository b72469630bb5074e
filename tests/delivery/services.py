"""The example services as processes of their own, and pages that log phones in."""

import asyncio
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

import esms_async

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

# Runs an example with a handler that adds a line to a file, in one write, for each report.
PROGRAM = """
import os, socket, sys

notes = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

async def on_report(report):
    os.write(notes, f"{os.getpid()} {report.request_id} {report.state}\\n".encode())

def fastapi_app():
    import fastapi_service
    return fastapi_service.create_app(on_report)

def serve_fastapi(descriptor, workers):
    import uvicorn
    uvicorn.run(
        "service:fastapi_app", factory=True, fd=descriptor, workers=workers, access_log=False,
        log_level="warning", ws="none",
    )

def serve_aiohttp(descriptor):
    import aiohttp_service
    from aiohttp import web
    web.run_app(
        aiohttp_service.create_app(on_report), sock=socket.socket(fileno=descriptor),
        access_log=None, print=None,
    )

def main():
    kind, descriptor, workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    serve_fastapi(descriptor, workers) if kind == "fastapi" else serve_aiohttp(descriptor)
"""


def new_page() -> aiohttp.ClientSession:
    """Return what clicks are made with; a service that does not answer is not waited for long."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=20)
    )


class Service:
    """An example service, which can be killed and started again.

    Its socket is not its own, as behind a supervisor: whoever connects while it is away waits.

    Args:
        kind: `fastapi` or `aiohttp`.
        folder: Where its handler's notes go.
        environ: Where the example finds the gateway and its ledger.
        workers: How many processes serve, where that can be chosen.
    """

    def __init__(
        self, kind: str, folder: Path, environ: Mapping[str, str], *, workers: int = 1
    ) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        Path(folder, "service.py").write_text(PROGRAM, encoding="utf-8")
        # So that the package is found as the tests find it, and the workers find all of it.
        found_in = [str(folder), str(EXAMPLES), str(Path(esms_async.__file__).parents[1])]
        self._start = f"import sys; sys.path[:0] = {found_in}; import service; service.main()"
        self._notes = folder / "notes"
        self._arguments = [kind, str(self._socket.fileno()), str(workers)]
        self._environ = {
            **os.environ,
            "ESMS_API_KEY": "key",
            "ESMS_SECRET_KEY": "secret",
            "REPORT_SECRET": "a secret that nobody guesses",
            "OTP_KEY": "a key of 32 bytes that nobody guesses",
            "PUBLIC_URL": self.url,
            "NOTES": str(self._notes),
            **environ,
        }
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it; requests wait until it listens."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            self._start,
            *self._arguments,
            env=self._environ,
            pass_fds=[self._socket.fileno()],
            start_new_session=True,
        )

    async def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it and its workers.

        Args:
            how: The signal; SIGKILL leaves it no time for anything.
        """
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            os.killpg(process.pid, how)
            await process.wait()

    def reports(self) -> Counter[tuple[str, str]]:
        """Return how often its handler got each report, by RequestId and state."""
        return Counter((request_id, state) for _, request_id, state in self._lines())

    def workers_told(self, request_id: str) -> set[str]:
        """Return the processes whose handler got a report of a message."""
        return {worker for worker, its_id, _ in self._lines() if its_id == request_id}

    def _lines(self) -> list[list[str]]:
        if not self._notes.exists():
            return []
        return [line.split() for line in self._notes.read_text("ascii").splitlines()]

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.end()
        self._socket.close()


async def click(
    page: aiohttp.ClientSession, service: Service, path: str, ip: str = "203.0.113.7", **data: str
) -> tuple[int, dict[str, str]]:
    """Post to the login once, and return the status and the answer."""
    headers = {"X-Forwarded-For": ip}
    async with page.post(f"{service.url}/login/{path}", json=data, headers=headers) as response:
        return response.status, await response.json(content_type=None)
