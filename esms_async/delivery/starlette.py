"""Adds a route for delivery reports to a Starlette application."""

from collections.abc import Awaitable, Callable

try:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route
except ModuleNotFoundError as _error:
    if _error.name != "starlette":
        raise
    raise ImportError(
        "esms_async.delivery.starlette needs Starlette; install it with: pip install starlette"
    ) from None

from esms_async.delivery.inbox import ReportReceiver

__all__ = ["report_routes"]


def report_routes(receiver: ReportReceiver, path: str = "/esms/reports") -> list[Route]:
    """Return the routes for delivery reports, for `Starlette(routes=…)`.

    Args:
        receiver: The receiver; the application's lifespan enters it.
        path: The path in the application of the address that `CallbackSigner.at` got.

    Returns:
        One route.
    """
    route = Route(report_path(path), report_endpoint(receiver), include_in_schema=False)
    route.methods = {"GET"}  # Starlette adds HEAD
    return [route]


def report_path(path: str) -> str:
    """Return the path of the route."""
    return f"{path.rstrip('/')}/{{segment}}"


def report_endpoint(receiver: ReportReceiver) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of the route."""

    async def receive(request: Request) -> Response:
        query: bytes = request.scope["query_string"]
        segment: str = request.path_params["segment"]
        result = await receiver.receive(segment, query.decode("latin-1"))
        return Response(status_code=result.status)

    return receive
