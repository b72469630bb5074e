"""The control interface under `/_emulator/`: what the page, and tests in any language, use.

Answers are JSON. What cannot be done is answered with a 4xx and `{"error": "…"}`, which names the
value that is in the way.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, TypeVar, cast

from aiohttp import web
from aiohttp.typedefs import Handler

from esms_async.emulator.feed import Feed
from esms_async.emulator.follow import Followers
from esms_async.emulator.guard import read_body
from esms_async.emulator.journal import Numbered
from esms_async.emulator.misbehaviour import Closing
from esms_async.emulator.parameters import Parameters, quote
from esms_async.emulator.records import AcceptedMessage, Operation, SeenRequest
from esms_async.emulator.settings import Settings
from esms_async.emulator.views import (
    View,
    view_clock,
    view_fault,
    view_message,
    view_report,
    view_request,
)
from esms_async.emulator.waiting import Wanted
from esms_async.errors import ConfigurationError, UsageError
from esms_async.version import __version__

if TYPE_CHECKING:
    from esms_async.emulator.server import Emulator

PREFIX: Final = "/_emulator/"
"""The folder of the control interface."""

PRIVATE: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Headers that keep what is answered out of caches, and out of the pages of other sites."""

_MOST_AT_ONCE = 500
_LONGEST_WAIT = 60.0
_R = TypeVar("_R", bound=Numbered)


class Control:
    """Answers the control requests of one emulator.

    Args:
        emulator: The emulator.
        settings: Its bounds.
        feed: Its events.
        closing: When it closes.
    """

    def __init__(
        self, emulator: "Emulator", settings: Settings, feed: Feed, closing: Closing
    ) -> None:
        self._emulator = emulator
        self._settings = settings
        self._feed = feed
        self._followers = Followers(feed, closing, self._time, self._view_state)

    def add_routes(self, app: web.Application) -> None:
        """Add the control interface to an application."""
        control = web.Application(middlewares=[_in_json])
        routes = control.router
        routes.add_get("/ready", self._get_ready, allow_head=False)
        routes.add_get("/state", self._get_state, allow_head=False)
        routes.add_get("/messages", self._get_messages, allow_head=False)
        routes.add_delete("/messages", self._clear)
        routes.add_get("/messages/latest", self._get_latest, allow_head=False)
        routes.add_post("/messages/{sms_id}/deliver", self._deliver)
        routes.add_post("/messages/{sms_id}/fail", self._fail)
        routes.add_post("/messages/{sms_id}/resend", self._resend)
        routes.add_get("/requests", self._get_requests, allow_head=False)
        routes.add_get("/reports", self._get_reports, allow_head=False)
        routes.add_get("/events", self._followers.follow, allow_head=False)
        routes.add_get("/faults", self._get_faults, allow_head=False)
        routes.add_post("/faults", self._arm)
        routes.add_delete("/faults", self._disarm_all)
        routes.add_delete("/faults/{number}", self._disarm)
        routes.add_get("/clock", self._get_clock, allow_head=False)
        routes.add_post("/clock/advance", self._advance)
        routes.add_post("/reset", self._reset)
        app.add_subapp(PREFIX, control)

    async def _get_ready(self, request: web.Request) -> web.Response:
        Parameters(request.query)
        return _answer({"ready": True, "url": self._emulator.url, "version": __version__})

    async def _get_state(self, request: web.Request) -> web.Response:
        Parameters(request.query)
        return _answer(self._view_state())

    async def _get_messages(self, request: web.Request) -> web.Response:
        parameters = Parameters(
            request.query,
            *("phone", "text", "request_id", "sms_id", "since", "before", "limit"),
        )
        fits = Wanted(
            parameters.text("phone"),
            parameters.text("request_id"),
            parameters.count("since", 0),
        ).fits
        text, sms_id = (parameters.text("text") or "").casefold(), parameters.text("sms_id")

        def is_asked_for(message: AcceptedMessage) -> bool:
            return (
                fits(message)
                and sms_id in (None, message.sms_id)
                and text in message.content.casefold()
            )

        found, older = _page(self._emulator.messages, is_asked_for, parameters)
        return self._answer_list("messages", map(self._view_message, found), older=older)

    async def _get_latest(self, request: web.Request) -> web.Response:
        parameters = Parameters(request.query, "phone", "request_id", "since", "timeout")
        message = await self._emulator.wait_for(
            phone=parameters.text("phone"),
            request_id=parameters.text("request_id"),
            since=parameters.count("since", 0),
            timeout=parameters.seconds("timeout", 0.0, _LONGEST_WAIT),
        )
        return _answer(self._view_message(message))

    async def _clear(self, request: web.Request) -> web.Response:
        Parameters(request.query)
        self._emulator.clear_messages()
        return _answer(self._view_state())

    async def _deliver(self, request: web.Request) -> web.Response:
        return self._finish(request, delivered=True)

    async def _fail(self, request: web.Request) -> web.Response:
        return self._finish(request, delivered=False)

    def _finish(self, request: web.Request, *, delivered: bool) -> web.Response:
        message = self._emulator.finish(request.match_info["sms_id"], delivered=delivered)
        return _answer(self._view_message(message))

    async def _resend(self, request: web.Request) -> web.Response:
        message = self._emulator.resend_report(request.match_info["sms_id"])
        return _answer(self._view_message(message))

    async def _get_requests(self, request: web.Request) -> web.Response:
        parameters = Parameters(
            request.query, "operation", "phone", "request_id", "since", "before", "limit"
        )
        operation = parameters.choice("operation", Operation)
        phone, request_id = parameters.text("phone"), parameters.text("request_id")
        since = parameters.count("since", 0)

        def is_asked_for(seen: SeenRequest) -> bool:
            return (
                seen.number > since
                and operation in (None, seen.operation)
                and phone in (None, seen.phone)
                and request_id in (None, seen.request_id)
            )

        found, older = _page(self._emulator.requests, is_asked_for, parameters)
        return self._answer_list("requests", map(view_request, found), older=older)

    async def _get_reports(self, request: web.Request) -> web.Response:
        parameters = Parameters(request.query, "sms_id", "before", "limit")
        sms_id = parameters.text("sms_id")
        found, older = _page(
            self._emulator.reports, lambda report: sms_id in (None, report.sms_id), parameters
        )
        return self._answer_list("reports", map(view_report, found), older=older)

    async def _get_faults(self, request: web.Request) -> web.Response:
        Parameters(request.query)
        return self._answer_faults()

    async def _arm(self, request: web.Request) -> web.Response:
        body = await self._read_json(request, "spec")
        if not isinstance(body["spec"], str):
            raise ConfigurationError("spec must be a string such as 'reset,phase=after,times=1'")
        return _answer(view_fault(self._emulator.fault(body["spec"])), status=201)

    async def _disarm_all(self, request: web.Request) -> web.Response:
        Parameters(request.query)
        self._emulator.clear_faults()
        return self._answer_faults()

    async def _disarm(self, request: web.Request) -> web.Response:
        number = request.match_info["number"]
        for armed in self._emulator.faults:
            if str(armed.number) == number:
                armed.disarm()
                return self._answer_faults()
        raise LookupError(f"no fault is armed with the number {quote(number)}")

    async def _get_clock(self, request: web.Request) -> web.Response:
        Parameters(request.query)
        return _answer(view_clock(self._emulator.clock))

    async def _advance(self, request: web.Request) -> web.Response:
        seconds = (await self._read_json(request, "seconds"))["seconds"]
        if not isinstance(seconds, int | float) or isinstance(seconds, bool):
            raise ConfigurationError(f"seconds must be a number, not {quote(json.dumps(seconds))}")
        self._emulator.clock.advance(seconds)
        return _answer(view_clock(self._emulator.clock))

    async def _reset(self, request: web.Request) -> web.Response:
        Parameters(request.query)
        self._emulator.reset()
        return _answer(self._view_state())

    async def _read_json(self, request: web.Request, name: str) -> Mapping[str, object]:
        """Read a body that is an object with one value in it."""
        raw = await read_body(request, self._settings.body_timeout)
        try:
            body: object = json.loads(raw)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict) or set(cast("dict[str, object]", body)) != {name}:
            raise ConfigurationError(f'the body must be a JSON object such as {{"{name}": …}}')
        return cast("dict[str, object]", body)

    def _answer_faults(self) -> web.Response:
        return _answer({"faults": [view_fault(armed) for armed in self._emulator.faults]})

    def _answer_list(self, name: str, views: Iterable[View], *, older: bool) -> web.Response:
        event = self._feed.name(self._feed.newest)
        return _answer({name: list(views), "older": older, "event": event})

    def _time(self) -> float:
        return self._emulator.clock.time()

    def _view_message(self, message: AcceptedMessage) -> View:
        return view_message(message, self._time())

    def _view_state(self) -> View:
        emulator = self._emulator
        return {
            "url": emulator.url,
            "balance": emulator.balance,
            "account": emulator.account,
            "seed": emulator.seed,
            "accepted": emulator.mark(),
            "messages": len(emulator.messages),
            "pruned": emulator.pruned,
            "requests": len(emulator.requests),
            "clock": view_clock(emulator.clock),
            "faults": [view_fault(armed) for armed in emulator.faults],
        }


def _page(
    records: list[_R], fits: Callable[[_R], bool], parameters: Parameters
) -> tuple[list[_R], bool]:
    """Return the newest records that fit, newest first, and whether there are older ones."""
    before = parameters.count("before", 0)
    limit = parameters.count("limit", 100, low=1, high=_MOST_AT_ONCE)
    found: list[_R] = []
    for record in reversed(records):
        if (before and record.number >= before) or not fits(record):
            continue
        if len(found) == limit:
            return found, True
        found.append(record)
    return found, False


@web.middleware
async def _in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what cannot be done as JSON."""
    try:
        return await handler(request)
    except (ConfigurationError, LookupError, TimeoutError, UsageError) as error:
        return _refuse(_status(error), error)
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        words = f"{quote(request.path)} takes {allowed}, not {quote(error.method)}"
        return _refuse(405, words, Allow=allowed)
    except web.HTTPNotFound:
        return _refuse(404, f"there is no {quote(request.path)}")
    except web.HTTPException as error:
        return _refuse(error.status, error.reason)


def _status(error: Exception) -> int:
    if isinstance(error, ConfigurationError):
        return 400
    return 409 if isinstance(error, UsageError) else 404


def _refuse(status: int, words: object, **headers: str) -> web.Response:
    response = _answer({"error": str(words)}, status=status)
    response.headers.update(headers)
    return response


def _answer(view: View, *, status: int = 200) -> web.Response:
    return web.json_response(view, status=status, headers=PRIVATE)
