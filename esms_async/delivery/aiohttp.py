"""Adds a route for delivery reports to an aiohttp.web application."""

from aiohttp import web

from esms_async.delivery.inbox import ReportReceiver

__all__ = ["report_routes"]


def report_routes(receiver: ReportReceiver, path: str = "/esms/reports") -> list[web.RouteDef]:
    """Return the routes for delivery reports, for `Application.add_routes`.

    Args:
        receiver: The receiver; the application enters it, as in a `cleanup_ctx`.
        path: The path in the application of the address that `CallbackSigner.at` got.

    Returns:
        One route.
    """

    async def receive(request: web.Request) -> web.Response:
        # The raw query: aiohttp's parser would repair a damaged one.
        query = request.raw_path.partition("?")[2]
        result = await receiver.receive(request.match_info["segment"], query)
        return web.Response(status=result.status)

    return [web.get(f"{path.rstrip('/')}/{{segment}}", receive, allow_head=False)]
