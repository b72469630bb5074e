"""How a fault is done on the socket: responses that reset, hang, break off, or are no HTTP."""

import asyncio
import socket
import struct
from http import HTTPStatus
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from esms_async.emulator.faults import Fault, Kind
from esms_async.emulator.wire import Answer

# SO_LINGER with a time of 0 makes the end of a connection a reset.
_LINGER_NOTHING = struct.pack("ii", 1, 0)
_NO_HTTP = b"\x16\x03\x01 this is no HTTP \x00\xff\r\n\r\n"
# How often a request that hangs looks whether its client is still there.
_LOOK_AGAIN = 0.5


class Closing:
    """The moment at which the emulator closes: whatever hangs or waits ends there."""

    def __init__(self) -> None:
        self._begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def has_begun(self) -> bool:
        """True once the emulator closes."""
        return self._begun.done()

    def begin(self) -> None:
        """End whatever hangs or waits."""
        if not self._begun.done():
            self._begun.set_result(None)

    async def within(self, seconds: float) -> bool:
        """Wait for some time, or until the emulator closes.

        Args:
            seconds: How long.

        Returns:
            True where the emulator closes.
        """
        await asyncio.wait((self._begun,), timeout=seconds)
        return self._begun.done()


class NoAnswer(web.StreamResponse):
    """Stands for a response; closes the connection without one (TCP FIN)."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Misbehave, then leave the connection to aiohttp as if the client had gone."""
        if (transport := request.transport) is not None:
            await self.misbehave(transport)
        raise ConnectionResetError("a fault ends this connection")

    async def misbehave(self, transport: asyncio.Transport) -> None:
        """Do nothing more: aiohttp closes the connection."""


class Reset(NoAnswer):
    """Resets the connection (TCP RST)."""

    async def misbehave(self, transport: asyncio.Transport) -> None:
        """Throw away what is unsent, and say so to the peer."""
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOTHING)
        transport.abort()


class Hang(NoAnswer):
    """Keeps the connection open until the client leaves it or the emulator closes."""

    def __init__(self, closing: Closing) -> None:
        super().__init__()
        self._closing = closing

    async def misbehave(self, transport: asyncio.Transport) -> None:
        """Wait."""
        while not transport.is_closing() and not await self._closing.within(_LOOK_AGAIN):
            pass


class Bytes(NoAnswer):
    """Writes some bytes as they are, then closes the connection."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data = data

    async def misbehave(self, transport: asyncio.Transport) -> None:
        """Write the bytes."""
        transport.write(self._data)


class Dribble(NoAnswer):
    """Writes an answer in small pieces over some time, then closes the connection."""

    def __init__(self, data: bytes, seconds: float, closing: Closing) -> None:
        super().__init__()
        self._data = data
        self._pause = seconds / len(data)
        self._closing = closing

    async def misbehave(self, transport: asyncio.Transport) -> None:
        """Write one byte after the other."""
        for byte in self._data:
            if transport.is_closing() or await self._closing.within(self._pause):
                return
            transport.write(bytes((byte,)))


def misbehave(fault: Fault, answer: Answer, closing: Closing) -> web.StreamResponse:
    """Make the response that a fault on the socket turns an answer into.

    Args:
        fault: The fault, of a kind in `ON_THE_SOCKET`.
        answer: The answer that is lost, cut or slowed down.
        closing: When the emulator closes.

    Returns:
        The response.
    """
    match fault.kind:
        case Kind.RESET:
            return Reset()
        case Kind.HANG:
            return Hang(closing)
        case Kind.GARBAGE:
            return Bytes(_NO_HTTP)
        case Kind.TRUNCATE:
            head, body = _as_http(answer)
            return Bytes(head + body[: int(len(body) * fault.fraction)])
        case Kind.DRIBBLE:
            return Dribble(b"".join(_as_http(answer)), fault.seconds, closing)
        case _:
            return NoAnswer()


ON_THE_SOCKET: Final = frozenset(
    {Kind.RESET, Kind.CLOSE, Kind.HANG, Kind.GARBAGE, Kind.TRUNCATE, Kind.DRIBBLE}
)
"""The kinds of fault that no plain HTTP answer can do."""


def _as_http(answer: Answer) -> tuple[bytes, bytes]:
    body = answer.body.encode()
    head = (
        f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n"
        f"Content-Type: {answer.content_type}; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode(), body
