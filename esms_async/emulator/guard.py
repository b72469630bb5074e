"""What is kept away from an emulator and out of its log: strangers, malformed requests."""

import logging

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

_HOSTS = frozenset({"127.0.0.1", "localhost"})


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse a request whose Host header names another machine.

    A page on the web can have its own name resolve to 127.0.0.1 and then read whatever answers
    there (DNS rebinding); the name in the Host header is what gives it away.
    """
    host = request.headers.get("Host", "").lower()
    name, _, port = host.rpartition(":")
    if (name if port.isdigit() else host) not in _HOSTS:
        raise web.HTTPForbidden(text="this emulator answers to 127.0.0.1 and localhost only\n")
    return await handler(request)


def quiet_logger() -> logging.Logger:
    """Make the logger of one server, which leaves malformed requests out.

    aiohttp logs each of them as an error, with a traceback and a piece of the request, which may
    hold a key.
    """
    # Not by getLogger: a filter on a logger of the whole process would outlive the server.
    logger = logging.Logger("esms_async.emulator")  # noqa: LOG001  # as said above
    logger.parent = logging.getLogger("esms_async")
    logger.addFilter(_is_no_malformed_request)
    return logger


def _is_no_malformed_request(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
