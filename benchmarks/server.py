"""The server of the speed benchmarks: it accepts messages at once and does as little as it can.

Under `/calm/` every request is answered with code 100. Under `/session/` too, and a request that
carries no session cookie is given one, as ASP.NET does. Under `/flaky/` the first request for three
phones in ten is answered with HTTP 503 instead, and the next one for the same phone with code 100.
"""

import asyncio
import os
import re
from multiprocessing.connection import Connection
from typing import Final, cast

CALM: Final = "/calm/"
SESSION: Final = "/session/"
FLAKY: Final = "/flaky/"

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_PHONE = re.compile(rb'"Phone": ?"([0-9]+)"')
_LAST_DIGITS_THAT_FAIL = b"012"


def _answer(status: bytes, body: bytes, more_headers: bytes = b"") -> bytes:
    return (
        b"HTTP/1.1 %s\r\nContent-Type: application/json; charset=utf-8\r\n%s"
        b"Content-Length: %d\r\n\r\n%s" % (status, more_headers, len(body), body)
    )


_CODE_100 = (
    b'{"CodeResult":"100","CountRegenerate":0,"SMSID":"d8e0c1a5-40a2-4b5b-b6c5-5b1d3fb4b9a11"}'
)
_ACCEPTED = _answer(b"200 OK", _CODE_100)
_ACCEPTED_WITH_COOKIE = _answer(
    b"200 OK",
    _CODE_100,
    b"Set-Cookie: ASP.NET_SessionId=u2bqzc5jv3m1x0h4k9w7d6fa; path=/; HttpOnly\r\n",
)
_UNAVAILABLE = _answer(b"503 Service Unavailable", b"{}")


async def serve(owner: Connection) -> None:
    """Serve on a free loopback port until the owner hangs up.

    Args:
        owner: Is sent the port and this process's id. Closing its other end, or the end of the
            process that holds it, ends this.
    """
    failed_once: set[bytes] = set()
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(failed_once), "127.0.0.1", 0, backlog=1024
    )
    owner.send((server.sockets[0].getsockname()[1], os.getpid()))
    await asyncio.to_thread(owner.poll, None)
    server.close()


class _Connection(asyncio.Protocol):
    """One connection, on which a client makes one request after the other."""

    def __init__(self, failed_once: set[bytes]) -> None:
        self._failed_once = failed_once
        self._received = b""
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of a WriteTransport, but not the class.
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (length := _request_length(self._received)) is not None:
            request, self._received = self._received[:length], self._received[length:]
            self._transport.write(self._answer(request))

    def _answer(self, request: bytes) -> bytes:
        if request.startswith(b"POST /calm/"):
            return _ACCEPTED
        if request.startswith(b"POST /session/"):
            return _ACCEPTED if b"ASP.NET_SessionId" in request else _ACCEPTED_WITH_COOKIE
        phone = _PHONE.search(request)
        if phone is None or phone[1][-1] not in _LAST_DIGITS_THAT_FAIL:
            return _ACCEPTED
        if phone[1] in self._failed_once:
            self._failed_once.remove(phone[1])
            return _ACCEPTED
        self._failed_once.add(phone[1])
        return _UNAVAILABLE


def _request_length(received: bytes) -> int | None:
    """Return how many bytes the first request has, or None where it is not complete."""
    head = received.find(b"\r\n\r\n")
    if head < 0:
        return None
    length = _LENGTH.search(received, 0, head + 2)
    end = head + 4 + (int(length[1]) if length else 0)
    return end if len(received) >= end else None
