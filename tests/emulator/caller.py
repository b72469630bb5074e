"""Calls an emulator by plain HTTP, as any program in any language would."""

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import attrs

from tests.limits import generous

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from esms_async.emulator import Emulator

PHONE = "0901888484"
CONTENT = "686868 la ma xac minh cua ban"
KEYS = {"ApiKey": "THE-API-KEY", "SecretKey": "THE-SECRET-KEY"}
POST_SEND = "SendMultipleMessage_V4_post_json"
GET_SEND = "SendMultipleMessage_V4_get"


def send_fields(**changes: Any) -> dict[str, Any]:
    """Return the fields of a good send with some changed; None leaves one out."""
    fields = {**KEYS, "Phone": PHONE, "Content": CONTENT, "SmsType": "8", **changes}
    return {name: value for name, value in fields.items() if value is not None}


@attrs.frozen
class Got:
    """An HTTP answer."""

    status: int
    text: str
    headers: Any = attrs.field(repr=False, default=None)

    @property
    def json(self) -> Any:
        """The answer as JSON."""
        return json.loads(self.text)

    @property
    def code(self) -> str | None:
        """The code of a coded answer."""
        answer = self.json
        code: str | None = answer.get("CodeResult", answer.get("CodeResponse"))
        return code


class Caller:
    """Calls the operations of one emulator."""

    def __init__(self, session: aiohttp.ClientSession, emulator: "Emulator") -> None:
        self._session = session
        self._emulator = emulator

    @classmethod
    @asynccontextmanager
    async def to(cls, emulator: "Emulator") -> "AsyncIterator[Self]":
        """Open a session for calls to an emulator."""
        async with aiohttp.ClientSession() as session:
            yield cls(session, emulator)

    async def request(self, method: str, path: str, **options: Any) -> Got:
        """Make any request; redirects are not followed."""
        options.setdefault("timeout", aiohttp.ClientTimeout(total=generous(20)))
        async with self._session.request(
            method, self._emulator.url + path, allow_redirects=False, **options
        ) as response:
            return Got(response.status, await response.text(), response.headers.copy())

    async def send(self, **changes: Any) -> Got:
        """Send by POST, with some fields changed."""
        return await self.request("POST", POST_SEND + "/", json=send_fields(**changes))

    async def post(self, operation: str, **fields: Any) -> Got:
        """Call an operation by POST, with the keys."""
        return await self.request("POST", operation, json={**KEYS, **fields})

    async def get(self, operation: str, **fields: Any) -> Got:
        """Call an operation by GET, with the keys."""
        return await self.request("GET", operation, params={**KEYS, **fields})


@asynccontextmanager
async def connection(
    port: int, *, buffer: int | None = None
) -> "AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]":
    """Open a bare TCP connection to a port of this machine, with a receive buffer of some size."""
    opened = socket.socket()
    if buffer is not None:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    opened.setblocking(False)  # noqa: FBT003  # as the standard library has it
    await asyncio.get_running_loop().sock_connect(opened, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=opened)
    try:
        yield reader, writer
    finally:
        writer.close()


def http_post(port: int, fields: dict[str, Any], *, host: str | None = None) -> bytes:
    """Write a whole send as the bytes of an HTTP request."""
    body = json.dumps(fields).encode()
    head = (
        f"POST /MainService.svc/json/{POST_SEND}/ HTTP/1.1\r\n"
        f"Host: {f'127.0.0.1:{port}' if host is None else host}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
