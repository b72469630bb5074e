"""Delivery reports in an aiohttp.web application."""

from aiohttp import web

from esms_async.delivery.receiving import ReportReceiver


def report_routes(receiver: ReportReceiver, path: str = "/esms/reports") -> list[web.RouteDef]:
    """Return the routes that take delivery reports, for `Application.add_routes`.

    Args:
        receiver: What takes them.
        path: Where, in the application; from outside it is what `CallbackSigner.at` was given.

    Returns:
        One route.
    """

    async def receive(request: web.Request) -> web.Response:
        # The query as it came: aiohttp's own reading of it mends what is broken.
        query = request.raw_path.partition("?")[2]
        result = await receiver.receive(request.match_info["segment"], query)
        return web.Response(status=result.status)

    return [web.get(f"{path.rstrip('/')}/{{segment}}", receive, allow_head=False)]
