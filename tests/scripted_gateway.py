"""A gateway on a real socket that does to each request exactly what a test says."""

import asyncio
import json
import socket
import ssl
import struct
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import attrs

ACCEPTED = b'{"CodeResult":"100","CountRegenerate":0,"SMSID":"d8e0"}'
DUPLICATE = b'{"CodeResult":"124","CountRegenerate":0,"ErrorMessage":"Request exist 1"}'


class ConnectionIsOver(Exception):
    """A step has ended the connection."""


@attrs.define
class Exchange:
    """One request on its way through a step.

    Attributes:
        gateway: The gateway that got it.
        reader: The connection, for what the client still sends.
        writer: The connection, for what the client gets.
        body: The body of the request, empty for a step that runs before it is read.
    """

    gateway: "ScriptedGateway"
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    body: bytes = b""

    def accept(self) -> bytes:
        """Take the message as the real gateway does, and return the answer to it."""
        request_id = json.loads(self.body)["RequestId"]
        if self.gateway.accepted[request_id]:
            return DUPLICATE
        self.gateway.accepted[request_id] += 1
        return ACCEPTED

    def answer(self, body: bytes, *, status: int = 200, headers: str = "") -> None:
        """Send a complete HTTP answer."""
        head = f"HTTP/1.1 {status} Told\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        self.writer.write(head.encode() + body)

    def send(self, raw: bytes) -> None:
        """Send raw bytes."""
        self.writer.write(raw)

    async def close(self) -> None:
        """End the connection with a FIN."""
        self.writer.close()
        raise ConnectionIsOver

    async def reset(self) -> None:
        """End the connection with a RST."""
        await self.writer.drain()
        connection = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        raise ConnectionIsOver

    async def hang(self) -> None:
        """Say nothing more until the client gives up."""
        self.gateway.hanging.set()
        await self.reader.read()
        raise ConnectionIsOver


Step = Callable[[Exchange], Awaitable[None]]


async def accept(exchange: Exchange) -> None:
    """Answer as the real gateway does."""
    exchange.answer(exchange.accept())


class ScriptedGateway:
    """A server that takes one step of its script for each request, and then answers normally.

    Attributes:
        script: What to do with the next requests.
        before_reading: Whether the script runs at the first byte of a request, not at its end.
        accepted: How many messages each RequestId was accepted for.
        bodies: The bodies of all requests that were read.
        heads: The heads of all requests that were read.
        connections: How many connections were opened.
        hanging: Set once a step hangs.
    """

    def __init__(self, *, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.script: deque[Step] = deque()
        self.before_reading = False
        self.accepted: Counter[str] = Counter()
        self.bodies: list[bytes] = []
        self.heads: list[bytes] = []
        self.connections = 0
        self.hanging = asyncio.Event()
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._port = port

    @property
    def url(self) -> str:
        """The base URL for a client."""
        scheme = "https" if self._tls else "http"
        return f"{scheme}://localhost:{self._port}/MainService.svc/json/"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self._port, ssl=self._tls, limit=2**20
        )
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close_connections()
        assert self._server is not None
        self.stop_listening()
        await self._server.wait_closed()

    def stop_listening(self) -> None:
        """Refuse every further connection."""
        assert self._server is not None
        self._server.close()

    def hang_up(self) -> None:
        """Send a FIN on every open connection at once, before any event loop can notice."""
        for writer in self._writers:
            writer.get_extra_info("socket").shutdown(socket.SHUT_WR)

    def say(self, raw: bytes) -> None:
        """Send bytes on every open connection at once, before any event loop can notice."""
        for writer in self._writers:
            writer.write(raw)

    def part(self) -> None:
        """End every open connection; on TLS, by its own word of farewell, without a FIN yet."""
        for writer in self._writers:
            writer.close()

    async def close_connections(self) -> None:
        """End every open connection."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.connections += 1
        try:
            while True:
                await self._serve_one(Exchange(self, reader, writer))
        except (ConnectionIsOver, ConnectionError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            pass
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()

    async def _serve_one(self, exchange: Exchange) -> None:
        if self.before_reading and self.script:
            await exchange.reader.readexactly(1)
            await self.script.popleft()(exchange)
        head = await exchange.reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        exchange.body = await exchange.reader.readexactly(length)
        self.heads.append(head)
        self.bodies.append(exchange.body)
        step = self.script.popleft() if self.script else accept
        await step(exchange)
        await exchange.writer.drain()
