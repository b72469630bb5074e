"""What is kept away from an emulator and out of its log: strangers, and what never ends."""

import asyncio
import logging

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

_HOSTS = frozenset({"127.0.0.1", "localhost"})
# Fetch Metadata, section 2.3: the page itself, or a person who typed the address.
_FROM_HERE = frozenset({"same-origin", "none"})


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse a request whose Host header names another machine, and those of another site's page.

    A page on the web can have its own name resolve to 127.0.0.1 and then read whatever answers
    there (DNS rebinding); the name in the Host header is what gives it away. It can also send
    there without reading the answer; browsers say in Origin and Sec-Fetch-Site who asked.
    """
    # RFC 9112, section 3.2.2: a host in the request line counts in place of the header.
    host = request.host.lower() if "Host" in request.headers else ""
    name, _, port = host.rpartition(":")
    if (name if port.isdigit() else host) not in _HOSTS:
        raise web.HTTPForbidden(text="this emulator answers to 127.0.0.1 and localhost only\n")
    if _is_cross_origin(request, host) and not _is_link_to_the_page(request):
        raise web.HTTPForbidden(text="this emulator takes no requests from pages of other sites\n")
    return await handler(request)


def _is_cross_origin(request: web.Request, host: str) -> bool:
    origin = request.headers.get("Origin")
    if origin is not None and origin.lower() != f"http://{host}":
        return True
    return request.headers.get("Sec-Fetch-Site", "none") not in _FROM_HERE


def _is_link_to_the_page(request: web.Request) -> bool:
    return (
        request.method == "GET"
        and request.path == "/"
        and request.headers.get("Sec-Fetch-Mode") == "navigate"
    )


async def read_body(request: web.Request, seconds: float) -> bytes:
    """Return the body of a request.

    Args:
        request: The request.
        seconds: How long the body may take to arrive.

    Returns:
        The body.

    Raises:
        HTTPRequestTimeout: The client has left, or took too long.
    """
    if request.content.is_eof():
        return await request.read()
    try:
        async with asyncio.timeout(seconds):
            return await request.read()
    except (TimeoutError, ConnectionError, web.RequestPayloadError):
        raise web.HTTPRequestTimeout from None


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
