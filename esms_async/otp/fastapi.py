"""Adds one-time codes, the client and Vietnamese phone numbers to a FastAPI application."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Annotated, Any, Final, TypeVar

try:
    from fastapi import APIRouter, Depends, FastAPI, Request, Response
    from fastapi.responses import JSONResponse
    from pydantic import AfterValidator, BaseModel, WithJsonSchema
except ModuleNotFoundError as _error:
    if _error.name not in {"fastapi", "pydantic"}:
        raise
    raise ImportError(
        "esms_async.otp.fastapi needs FastAPI; install it with: pip install 'esms_async[fastapi]'"
    ) from None

from esms_async import EsmsClient, UsageError, normalize_phone
from esms_async.otp.service import Otp, Verification
from esms_async.otp.web import PROBLEM_TYPE, Allow, Caller, OtpEndpoints, Reply, resolved

__all__ = ["Esms", "VietnamesePhone", "esms_lifespan", "esms_of", "otp_router"]

_LARGEST_BODY: Final = 16_384

_T = TypeVar("_T")
OfRequest = Callable[[Request], _T | Awaitable[_T]]
"""A function of the request, plain or async."""
OnVerified = Callable[[Request, str, Verification], Any]
"""Takes the request, the phone (`0XXXXXXXXX`) and the verification; plain or async."""

VietnamesePhone = Annotated[
    str,
    AfterValidator(normalize_phone),
    WithJsonSchema({"type": "string", "examples": ["0901888484", "+84 901 888 484"]}),
]
"""A Vietnamese mobile number in any form that people write, kept as `0XXXXXXXXX`."""


class OtpChallenge(BaseModel):
    """The answer of `start` and `resend`."""

    id: str
    expires_at: str
    resend_after: int


class OtpProblem(BaseModel):
    """The answer that reports a problem (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    reason: str
    attempts_left: int | None = None


def otp_router(
    otp: Otp,
    purpose: str | None = None,
    *,
    client_ip: OfRequest[str | None],
    on_verified: OnVerified,
    allow: Allow | None = None,
    subject: OfRequest[str | None] | None = None,
    device: OfRequest[str | None] | None = None,
) -> APIRouter:
    """Return a router with POST `/start`, `/resend` and `/verify`, for `include_router`.

    Args:
        otp: The service.
        purpose: The purpose of the codes; optional if there is only one.
        client_ip: Returns the caller's address. Without a proxy it is
            `lambda request: request.client.host`; behind one, read the header that your own proxy
            sets. No header is trusted by default.
        on_verified: Returns the response to a right code: log the user in here. It must take the
            phone from its argument, never from the request.
        allow: Returns True if a phone may get a code; without it, every phone may. Other phones get
            the same answer and no SMS, and no answer waits for the gateway.
        subject: Returns what the code is bound to besides phone and purpose.
        device: Returns the cookie of a known device (`Verification.device`).

    Returns:
        The router.

    Raises:
        ConfigurationError: There is no such purpose, or several and none is named.
    """
    router = APIRouter()
    endpoints = OtpEndpoints(otp, purpose, allow=allow)

    async def caller_of(request: Request) -> Caller:
        return Caller(
            ip=await resolved(client_ip(request)),
            device=None if device is None else await resolved(device(request)),
            subject=None if subject is None else await resolved(subject(request)),
            language=request.headers.get("accept-language"),
        )

    async def start(request: Request) -> Response:
        return _response(await endpoints.start(await _json(request), await caller_of(request)))

    async def resend(request: Request) -> Response:
        return _response(await endpoints.resend(await _json(request), await caller_of(request)))

    async def verify(request: Request) -> object:
        result = await endpoints.verify(await _json(request), await caller_of(request))
        if isinstance(result, Reply):
            return _response(result)
        phone, verification = result
        return await resolved(on_verified(request, phone, verification))

    for name, endpoint, fields in (
        ("start", start, ("phone",)),
        ("resend", resend, ("id", "phone")),
        ("verify", verify, ("id", "phone", "code")),
    ):
        sends = name != "verify"
        router.add_api_route(
            f"/{name}",
            endpoint,
            methods=["POST"],
            name=f"otp_{name}",
            status_code=202 if sends else 200,
            response_model=None,
            responses={
                **({202: {"model": OtpChallenge}} if sends else {}),
                "default": {"description": "A problem", "content": {PROBLEM_TYPE: _SCHEMA}},
            },
            openapi_extra=_request_body(fields),
        )
    return router


_SCHEMA: dict[str, Any] = {"schema": OtpProblem.model_json_schema()}


def _request_body(fields: tuple[str, ...]) -> dict[str, Any]:
    properties = {field: {"type": "string"} for field in fields}
    schema = {"type": "object", "required": list(fields), "properties": properties}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


async def _json(request: Request) -> object:
    """Return the JSON of a request, or None where it is not JSON."""
    body = bytearray()
    async for part in request.stream():
        body += part
        # Anybody may send one, and no limit has counted it yet.
        if len(body) > _LARGEST_BODY:
            return None
    # Where Starlette keeps it: functions of the request may read it again.
    request._body = bytes(body)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _response(reply: Reply) -> Response:
    headers = {name: value for name, value in reply.headers.items() if name != "Content-Type"}
    return JSONResponse(reply.body, reply.status, headers, media_type=reply.headers["Content-Type"])


def esms_lifespan(
    *resources: AbstractAsyncContextManager[object],
) -> Callable[[FastAPI], AbstractAsyncContextManager[dict[str, object]]]:
    """Return a lifespan for `FastAPI(lifespan=…)` that enters resources in order.

    Args:
        *resources: Async context managers: a ledger, then an EsmsClient, then an Otp.

    Returns:
        The lifespan. Endpoints get the client by the parameter `esms: Esms`.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[dict[str, object]]:
        async with AsyncExitStack() as stack:
            state: dict[str, object] = {}
            for resource in resources:
                await stack.enter_async_context(resource)
                if isinstance(resource, EsmsClient):
                    state["esms"] = resource
            yield state

    return lifespan


def esms_of(request: Request) -> EsmsClient:
    """Return the client that the application's lifespan owns, for `Depends`."""
    client = getattr(request.state, "esms", None)
    if not isinstance(client, EsmsClient):
        raise UsageError("the application has no client; give it lifespan=esms_lifespan(client)")
    return client


Esms = Annotated[EsmsClient, Depends(esms_of)]
"""The type of an endpoint parameter that gets the client."""
