"""Server-sent events: an emulator's feed as a stream for each page that follows it."""

import json
from collections.abc import Callable

from aiohttp import web

from esms_async.emulator.feed import Feed
from esms_async.emulator.journal import Event, EventKind
from esms_async.emulator.misbehaviour import Closing
from esms_async.emulator.parameters import Parameters
from esms_async.emulator.views import View, view_message, view_report, view_request

_MOST_FOLLOWERS = 32
# So often a page is told at most; what comes meanwhile goes out together.
_PAUSE = 0.1
_MOST_AT_ONCE = 500
# A stream with nothing to tell says so now and then, or nobody would notice that its page has gone.
_ALIVE = 5.0
# How long a page waits before it connects again, in milliseconds.
_RETRY = 1000
_dumps = json.JSONEncoder(separators=(",", ":")).encode


class Followers:
    """Tells every page that follows an emulator what happens there.

    Args:
        feed: The events.
        closing: When the emulator closes.
        time: Its clock, seconds since 1970.
        view_state: Shows what no single event tells: balance, counts, clock, faults.
    """

    def __init__(
        self,
        feed: Feed,
        closing: Closing,
        time: Callable[[], float],
        view_state: Callable[[], View],
    ) -> None:
        self._feed = feed
        self._closing = closing
        self._time = time
        self._view_state = view_state
        self._count = 0

    async def follow(self, request: web.Request) -> web.StreamResponse:
        """Stream events to one page until it leaves, or the emulator closes."""
        place = self._start(request)
        if self._count >= _MOST_FOLLOWERS:
            raise web.HTTPServiceUnavailable(reason=f"{self._count} streams are open already")
        self._count += 1
        response = web.StreamResponse(headers={"Cache-Control": "no-store"})
        response.content_type = "text/event-stream"
        try:
            await response.prepare(request)
            await response.write(f"retry: {_RETRY}\n\n".encode())
            await self._tell(response, place)
        except ConnectionError:
            pass
        finally:
            self._count -= 1
        return response

    def _start(self, request: web.Request) -> int | None:
        """Return the place after which the stream starts, or None where it is not known any more.

        A browser that connects again names the last event that it has seen in a header.
        """
        after = Parameters(request.query, "after").text("after")
        name = request.headers.get("Last-Event-ID", after)
        return self._feed.newest if name is None else self._feed.find(name)

    async def _tell(self, response: web.StreamResponse, place: int | None) -> None:
        while True:
            events = None if place is None else self._feed.after(place, _MOST_AT_ONCE)
            if place is None or events is None:
                place = self._feed.newest
                lines = [self._write("reload", {}, place)]
            else:
                lines = [self._write_event(event, at) for at, event in events]
                place = events[-1][0] if events else place
            lines.append(self._write("state", self._view_state(), place))
            await response.write("".join(lines).encode())
            if await self._closing.within(_PAUSE):
                return
            while not await self._feed.wait(place, _ALIVE):
                if self._closing.has_begun:
                    return
                await response.write(b": alive\n\n")

    def _write_event(self, event: Event, place: int) -> str:
        if event.message is not None:
            return self._write("message", view_message(event.message, self._time()), place)
        if event.request is not None:
            return self._write("request", view_request(event.request), place)
        if event.report is not None:
            return self._write("report", view_report(event.report), place)
        # What else there is to tell stands in the state that follows.
        return self._write("reset", {}, place) if event.kind is EventKind.RESET else ""

    def _write(self, kind: str, view: View, place: int) -> str:
        return f"id: {self._feed.name(place)}\nevent: {kind}\ndata: {_dumps(view)}\n\n"
