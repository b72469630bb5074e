"""Delivery reports in a FastAPI application."""

try:
    from fastapi import APIRouter, Request, Response
except ModuleNotFoundError as _error:
    if _error.name != "fastapi":
        raise
    raise ImportError(
        "esms_async.delivery.fastapi needs FastAPI; install it with: "
        "pip install 'esms_async[fastapi]'"
    ) from None

from esms_async.delivery.receiving import ReportReceiver


def report_router(receiver: ReportReceiver, path: str = "/esms/reports") -> APIRouter:
    """Return the router that takes delivery reports, for `FastAPI.include_router`.

    Args:
        receiver: What takes them.
        path: Where, in the application; from outside it is what `CallbackSigner.at` was given.

    Returns:
        A router with one route, which the application's own documentation does not show.
    """
    router = APIRouter()

    async def receive(segment: str, request: Request) -> Response:
        query: bytes = request.scope["query_string"]
        result = await receiver.receive(segment, query.decode("latin-1"))
        return Response(status_code=result.status)

    router.add_api_route(f"{path.rstrip('/')}/{{segment}}", receive, include_in_schema=False)
    return router
