"""Adds a route for delivery reports to a FastAPI application."""

try:
    from fastapi import APIRouter
except ModuleNotFoundError as _error:
    if _error.name != "fastapi":
        raise
    raise ImportError(
        "esms_async.delivery.fastapi needs FastAPI; install it with: "
        "pip install 'esms_async[fastapi]'"
    ) from None

from esms_async.delivery.inbox import ReportReceiver
from esms_async.delivery.starlette import report_endpoint, report_path

__all__ = ["report_router"]


def report_router(receiver: ReportReceiver, path: str = "/esms/reports") -> APIRouter:
    """Return the router for delivery reports, for `FastAPI.include_router`.

    Args:
        receiver: The receiver; the application's lifespan enters it, after its ledger.
        path: The path in the application of the address that `CallbackSigner.at` got.

    Returns:
        A router with one route, hidden from the application's OpenAPI.
    """
    router = APIRouter()
    router.add_api_route(report_path(path), report_endpoint(receiver), include_in_schema=False)
    return router
