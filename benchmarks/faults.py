"""The gateway of the fault storm: it keeps the real one's rules and counts what reaches phones.

Which request meets which fault is decided by the seed, the phone and how many requests there were
for that phone before, so every client meets the same storm.
"""

import asyncio
import contextlib
import enum
import json
import random
import socket
import struct
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Final, cast

import attrs

_REQUEST_END = b"\r\n\r\n"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Fault(enum.Enum):
    """What happens to one request."""

    NONE = "answered"
    RESET_BEFORE = "connection reset before acceptance"
    UNAVAILABLE_BEFORE = "503 before acceptance"
    NO_BALANCE = "code 103 before anything else is looked at"
    RESET_AFTER = "connection reset after acceptance"
    UNAVAILABLE_AFTER = "503 after acceptance"
    GARBAGE_AFTER = "bytes that are no HTTP after acceptance"
    PAGE_AFTER = "200 with an HTML page after acceptance"
    TRUNCATED_AFTER = "answer cut short after acceptance"
    HANG_AFTER = "no answer after acceptance"


_BEFORE: Final = (Fault.RESET_BEFORE, Fault.UNAVAILABLE_BEFORE)
_AFTER: Final = (
    Fault.RESET_AFTER,
    Fault.UNAVAILABLE_AFTER,
    Fault.GARBAGE_AFTER,
    Fault.PAGE_AFTER,
    Fault.TRUNCATED_AFTER,
    Fault.HANG_AFTER,
)
_ANY: Final = (*_BEFORE, Fault.NO_BALANCE, *_AFTER)


@attrs.frozen
class StormPlan:
    """Decides the fault of every request.

    Attributes:
        seed: The same seed gives the same storm.
        faulty: The share of requests that meet a fault, 0 to 1.
        unreachable: The share of phones for which no request ever gets through.
        unanswered: The share of phones for which no answer ever comes back.
    """

    seed: int
    faulty: float = 0.35
    unreachable: float = 0.03
    unanswered: float = 0.03

    def fault(self, phone: str, number: int) -> Fault:
        """Return the fault of a request.

        Args:
            phone: The phone it is for.
            number: How many requests there were for that phone before.

        Returns:
            The fault.
        """
        fate = self._random(phone).random()
        draw = self._random(phone, number)
        if fate < self.unreachable:
            return draw.choice(_BEFORE)
        if fate < self.unreachable + self.unanswered:
            return draw.choice(_AFTER)
        return draw.choice(_ANY) if draw.random() < self.faulty else Fault.NONE

    def _random(self, *key: object) -> random.Random:
        return random.Random(f"{self.seed} {key}")  # noqa: S311  # a plan, no secret


class StormGateway:
    """Answers sends by the gateway's rules, through the faults of a plan.

    Attributes:
        requests: How many requests it has read.
        accepted: How many messages each phone gets.
    """

    def __init__(self, plan: StormPlan) -> None:
        self.requests = 0
        self.accepted: Counter[str] = Counter()
        self._plan = plan
        self._requests_of: Counter[str] = Counter()
        # The real one forgets a RequestId after 24 hours; no storm lasts that long.
        self._seen: set[str] = set()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncGenerator[str]:
        """Serve on a free loopback port.

        Yields:
            The folder of the operations.
        """
        server = await asyncio.start_server(self._converse, "127.0.0.1", 0, backlog=1024)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The end of the storm cancels those that hang; asyncio would print a traceback for each.
        with contextlib.suppress(
            ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError
        ):
            while await self._exchange(await _read_request(reader), reader, writer):
                pass
        writer.close()

    async def _exchange(
        self, message: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Meet one request; tell whether the connection lives on."""
        phone = message["Phone"]
        fault = self._plan.fault(phone, self._requests_of[phone])
        self._requests_of[phone] += 1
        self.requests += 1
        if fault in _BEFORE or fault is Fault.NO_BALANCE:
            answer = _NO_BALANCE
        else:
            answer = self._accept(message)
        match fault:
            case Fault.NONE | Fault.NO_BALANCE:
                writer.write(_http(b"200 OK", b"application/json", answer))
            case Fault.UNAVAILABLE_BEFORE | Fault.UNAVAILABLE_AFTER:
                writer.write(_http(b"503 Service Unavailable", b"text/html", _PAGE))
            case Fault.PAGE_AFTER:
                writer.write(_http(b"200 OK", b"text/html", _PAGE))
            case Fault.RESET_BEFORE | Fault.RESET_AFTER:
                _reset(writer)
                return False
            case Fault.GARBAGE_AFTER:
                writer.write(b"\x15\x03\x01 this is no HTTP\r\n\r\n")
                return False
            case Fault.TRUNCATED_AFTER:
                writer.write(_http(b"200 OK", b"application/json", answer)[:-10])
                return False
            case Fault.HANG_AFTER:
                await reader.read()
                return False
        await writer.drain()
        return True

    def _accept(self, message: dict[str, str]) -> bytes:
        """Accept a message, unless its RequestId was seen."""
        request_id = message.get("RequestId")
        if request_id is not None and request_id in self._seen:
            return b'{"CodeResult":"124","CountRegenerate":0,"ErrorMessage":"Request exist 1"}'
        if request_id is not None:
            self._seen.add(request_id)
        self.accepted[message["Phone"]] += 1
        return b'{"CodeResult":"100","CountRegenerate":0,"SMSID":"%032x"}' % self.accepted.total()


_NO_BALANCE = b'{"CodeResult":"103","CountRegenerate":0,"ErrorMessage":"Balance not enough"}'
_PAGE = b"<html><body><h1>Service</h1></body></html>"


async def _read_request(reader: asyncio.StreamReader) -> dict[str, str]:
    head = (await reader.readuntil(_REQUEST_END)).lower()
    length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
    return cast("dict[str, str]", json.loads(await reader.readexactly(length)))


def _http(status: bytes, kind: bytes, content: bytes) -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Type: %s; charset=utf-8\r\nContent-Length: %d\r\n\r\n%s" % (
        status,
        kind,
        len(content),
        content,
    )


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with RST, which discards what is under way, instead of FIN."""
    connection = cast("socket.socket", writer.get_extra_info("socket"))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()
