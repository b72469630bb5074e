"""A gateway that answers questions with whatever a test says, and notes what it was asked."""

from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from aiohttp import web

Told = tuple[int, bytes, Mapping[str, str]]
CUT = b"<cut>"


class Answering:
    """A server for the questions of a client.

    Attributes:
        told: The answers to come; the last one stays.
        asked: The requests that came: method, path, query and body.
    """

    def __init__(self, *bodies: bytes) -> None:
        self.told: deque[Told] = deque((200, body, {}) for body in bodies)
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """The base URL for a client."""
        assert self._runner is not None
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/"

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.asked.append((request.method, request.path, dict(request.query), body))
        status, answer, headers = self.told[0] if len(self.told) == 1 else self.told.popleft()
        if answer == CUT:
            assert request.transport is not None
            request.transport.close()
        return web.Response(status=status, body=answer, headers=dict(headers))

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{name:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()
