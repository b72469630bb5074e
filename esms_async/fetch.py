"""Asks a question of the gateway over an aiohttp session, with the account's keys out of sight.

Some questions the gateway takes as GET alone, with the keys in the query. Those who watch an
application's requests (traces, instrumentation, the texts of aiohttp's errors) are shown the URL
that a session was asked for. The keys are put in behind that: by a middleware, into the request
that is about to leave.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, TypeVar

import aiohttp
from yarl import URL

from esms_async.exchange import HEADERS, Reply, TransportFailure
from esms_async.messages import Credentials
from esms_async.protocol import retry_after
from esms_async.reads import Question, keys

_T = TypeVar("_T")
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
# A page holds 500 lines, each with a text that takes a few kB at most.
_MOST_BODY: Final = 4 * 1024 * 1024


async def fetch(
    session: aiohttp.ClientSession,
    url: URL,
    question: Question[_T],
    credentials: Credentials,
    *,
    middlewares: tuple[aiohttp.ClientMiddlewareType, ...],
) -> Reply:
    """Have a session ask a question.

    Args:
        session: The session.
        url: The URL of the operation.
        question: The question.
        credentials: The account's keys.
        middlewares: Those to use in place of the session's own, which are among them.

    Returns:
        The answer, whatever its status; redirects are not followed.

    Raises:
        TransportFailure: The answer is too large.
        Exception: Whatever the session raises.
    """
    body = None
    if question.in_body:
        body = aiohttp.BytesPayload(question.body(credentials), content_type="application/json")
    else:
        url = url.with_query(question.fields)
        middlewares = (*middlewares, _with_query(keys(credentials)))
    async with session.request(
        "POST" if question.in_body else "GET",
        url,
        data=body,
        headers=HEADERS,
        timeout=_NO_TIMEOUT,
        allow_redirects=False,
        raise_for_status=False,
        auto_decompress=False,
        middlewares=middlewares,
    ) as response:
        asked = retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
        return Reply(response.status, await _read(response), asked)


def _with_query(secrets: Mapping[str, str]) -> aiohttp.ClientMiddlewareType:
    """Return a middleware that adds to the query of a request."""

    async def add(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        request.url = request.url.update_query(secrets)
        return await handler(request)

    return add


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Read to the end, or until it is clear that the end is too far away."""
    body = bytearray()
    while piece := await response.content.readany():
        body += piece
        if len(body) > _MOST_BODY:
            response.close()
            raise TransportFailure(
                f"the answer is larger than {_MOST_BODY} bytes", may_have_arrived=True
            )
    return bytes(body)
