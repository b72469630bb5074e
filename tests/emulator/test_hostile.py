"""Hostile clients against the emulator as it is run: refused, and the next send is served.

The emulator runs in a process of its own, whose memory is looked at; it ends as it should, with a
line about some of them at most.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import attrs
import pytest

from tests.emulator.caller import POST_SEND, connection, http_post, send_fields
from tests.limits import generous

MEGABYTE = 1_000_000
# Room for what is in flight at once; each of the attacks below would take more if it were kept.
MOST_MEMORY = 20 * MEGABYTE
# The oldest aiohttp that was seen to bound them; the oldest that the package allows does not.
bounded_by_aiohttp = pytest.mark.skipif(
    tuple(int(part) for part in aiohttp.__version__.split(".")[:3] if part.isdigit()) < (3, 14, 5),
    reason="this aiohttp bounds neither the lines of a head nor the requests that wait",
)

SEND_PATH = f"/MainService.svc/json/{POST_SEND}"


@attrs.frozen
class Victim:
    """An emulator in another process.

    Attributes:
        process: The process.
        url: Its URL.
        port: Its port.
    """

    process: asyncio.subprocess.Process
    url: str
    port: int

    async def serves(self) -> None:
        """Show that a send is accepted."""
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.url + POST_SEND, json=send_fields()) as response,
        ):
            assert (await response.json())["CodeResult"] == "100"

    def memory(self) -> int:
        """Return the most memory that it ever had, in bytes; 0 where nobody can tell."""
        status = Path(f"/proc/{self.process.pid}/status")
        if not status.exists():
            return 0
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024


@asynccontextmanager
async def attacked() -> AsyncIterator[Victim]:
    """Run an emulator; in the end it must still serve, have kept little, and say nothing of it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "esms_async", "emulator", "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    try:
        assert process.stdout is not None
        url = (await asyncio.wait_for(process.stdout.readline(), generous(30))).decode().strip()
        victim = Victim(process, url, int(url.split(":")[2].split("/")[0]))
        await victim.serves()
        before = victim.memory()
        yield victim
        await victim.serves()
        assert victim.memory() - before < MOST_MEMORY
        process.send_signal(signal.SIGTERM)
        _, said = await asyncio.wait_for(process.communicate(), generous(10))
        assert process.returncode == 0
        # Beside the first two lines it says what was not taken, and no more of that than helps.
        lines = said.decode().splitlines()[2:]
        assert all(line.startswith(("Not taken: ", "More requests")) for line in lines), said
        assert len(lines) < 100
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def answer(port: int, request: bytes) -> bytes:
    """Send bytes; return the first line of what comes back, empty for a closed connection."""
    async with connection(port) as (reader, writer):
        with suppress(ConnectionError):
            writer.write(request)
            return await asyncio.wait_for(reader.readline(), generous(10))
    return b""


async def flood(writer: asyncio.StreamWriter, data: bytes, times: int) -> None:
    """Write some bytes many times, as long as the other side takes them."""
    with suppress(ConnectionError):
        for _ in range(times):
            writer.write(data)
            await writer.drain()


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        ("Content-Length: 100000000", b"x" * MEGABYTE),
        ("Content-Length: 100000000\r\nContent-Encoding: gzip", b"x" * MEGABYTE),
        ("Transfer-Encoding: chunked", b"f4240\r\n" + b"x" * MEGABYTE + b"\r\n"),
    ],
    ids=["announced", "compressed", "chunked"],
)
async def test_a_body_of_a_hundred_megabytes(head: str, piece: bytes) -> None:
    """It is refused by HTTP 413 or a closed connection, whether its length is known or not."""
    async with attacked() as victim, connection(victim.port) as (reader, writer):
        writer.write(f"POST {SEND_PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}\r\n\r\n".encode())
        await flood(writer, piece, 100)
        with suppress(ConnectionError):
            line = await asyncio.wait_for(reader.readline(), generous(10))
            assert line == b"" or line.split()[1] == b"413"


@bounded_by_aiohttp
@pytest.mark.parametrize(
    "piece", [b"x" * MEGABYTE, b"X-Header: 12345678\r\n" * 50_000], ids=["one line", "many lines"]
)
async def test_a_head_of_fifty_megabytes(piece: bytes) -> None:
    """It is refused by HTTP 400 or a closed connection."""
    async with attacked() as victim, connection(victim.port) as (reader, writer):
        writer.write(f"POST {SEND_PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: ".encode())
        await flood(writer, piece, 50)
        with suppress(ConnectionError):
            line = await asyncio.wait_for(reader.readline(), generous(10))
            assert line == b"" or line.split()[1] == b"400"


@pytest.mark.parametrize(
    ("start", "drip"),
    [
        (b"", b""),
        (f"POST {SEND_PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\n".encode(), b"X-Slow: 1\r\n"),
        (http_post(0, send_fields(Content="x" * 1000), host="127.0.0.1")[:-500], b"x"),
    ],
    ids=["idle", "slow heads", "slow bodies"],
)
async def test_many_connections_that_never_come_to_an_end(start: bytes, drip: bytes) -> None:
    """However many wait, or drip, a whole request is answered at once."""
    async with attacked() as victim, AsyncExitStack() as stack:
        writers = [
            (await stack.enter_async_context(connection(victim.port)))[1] for _ in range(300)
        ]
        for data in (start, *[drip] * 5):
            for writer in writers:
                writer.write(data)
                await writer.drain()
            await victim.serves()


@bounded_by_aiohttp
async def test_requests_that_nobody_reads_the_answers_of() -> None:
    """What a client sends faster than it reads is not gathered."""
    line = f"GET /MainService.svc/json/GetSendStatus?{'x' * 4000} HTTP/1.1\r\n"
    requests = f"{line}Host: localhost\r\n\r\n".encode() * 250
    async with attacked() as victim, connection(victim.port) as (_, writer):
        flooding = asyncio.create_task(flood(writer, requests, 100))
        await asyncio.wait((flooding,), timeout=2)
        flooding.cancel()


HEAD = f"POST {SEND_PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
MALFORMED = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "nonsense": b"NONSENSE\r\n\r\n",
    "HTTP/9.9": b"GET / HTTP/9.9\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no length": f"{HEAD}\r\n".encode(),
    "negative length": f"{HEAD}Content-Length: -5\r\n\r\n".encode(),
    "two lengths": f"{HEAD}Content-Length: 1\r\nContent-Length: 2\r\n\r\n{{}}".encode(),
    "length and chunks": (
        f"{HEAD}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode()
    ),
    "bad chunk": f"{HEAD}Transfer-Encoding: chunked\r\n\r\nzz\r\n".encode(),
    "null in the head": f"{HEAD}X: \0\r\n\r\n".encode(),
}
METHODS = ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "BREW")
PATHS = (
    "/" + SEND_PATH,
    SEND_PATH + "//",
    SEND_PATH + "/.",
    "/MainService.svc//json/" + POST_SEND,
    "/MainService.svc/json%2f" + POST_SEND,
    "/MainService.svc%2Fjson/" + POST_SEND,
    "/MainService.svc/json/%2e%2e/" + POST_SEND,
    "/MainService.svc/x/../json/" + POST_SEND,
    "/../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/_emulator/../../etc/passwd",
    "/_emulator//reset",
    "/_emulator%2freset",
    "/_emulator/reset%00",
    "//127.0.0.1/_emulator/reset",
    "http://evil.example" + SEND_PATH,
    "http://evil.example/_emulator/reset",
    "*",
    "\\_emulator\\reset",
)
HOSTS = ("evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "")
PLACES = (
    ("POST", SEND_PATH),
    ("GET", "/"),
    ("GET", "/_emulator/messages"),
    ("GET", "/_emulator/events"),
    ("POST", "/_emulator/reset"),
)


def request(method: str, path: str, host: str = "127.0.0.1") -> bytes:
    """Write a good send with another method, path or host."""
    whole = http_post(0, send_fields(), host=host)
    return whole.replace(f"POST {SEND_PATH}/".encode(), f"{method} {path}".encode())


ATTEMPTS = {
    **MALFORMED,
    **{f"method {method}": request(method, SEND_PATH) for method in METHODS},
    **{f"path {path}": request("POST", path) for path in PATHS},
    **{
        f"host {host} at {path}": request(method, path, host)
        for host in HOSTS
        for method, path in PLACES
    },
}


async def test_what_is_no_http_or_names_another_host_or_path() -> None:
    """Each is refused, or has its connection closed; none is redirected or does anything."""
    async with attacked() as victim:
        taken: dict[str, bytes] = {}
        for name, attempt in ATTEMPTS.items():
            line = await answer(victim.port, attempt)
            if line and not line.split()[1].startswith(b"4"):
                taken[name] = line
        assert taken == {}
        url = f"http://127.0.0.1:{victim.port}/_emulator/messages"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            assert len((await response.json())["messages"]) == 1
