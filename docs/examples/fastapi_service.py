"""An OTP service on FastAPI: it sends codes, and learns what became of them.

Run any number of workers; what they share is the ledger on Redis:

    uvicorn fastapi_service:create_app --factory --workers 2 --no-access-log

It reads `ESMS_API_KEY` and `ESMS_SECRET_KEY` (and `ESMS_BASE_URL`, for the emulator), `REDIS_URL`,
`PUBLIC_URL`, which is where the gateway finds this service, and `OTP_SECRET`.
"""

import hmac
import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import Depends, FastAPI, Request, status
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from esms_async import (
    AccountRejected,
    DeliveryReport,
    DuplicateRequestId,
    EsmsClient,
    EsmsError,
    InvalidMessage,
    LedgerError,
    Message,
    NotSent,
    OutcomeUnknown,
    RequestIdConflict,
    RequestIdExpired,
    derive_request_id,
)
from esms_async.delivery import CallbackSigner, OnReport, ReportReceiver
from esms_async.delivery.fastapi import report_router
from esms_async.ledger import RedisLedger

VALID_FOR = timedelta(minutes=5)

logger = logging.getLogger("otp")


class OtpRequest(BaseModel):
    """What the page asks for. It makes the challenge, once, so both clicks of two carry it."""

    phone: str
    challenge: UUID


class OtpAccepted(BaseModel):
    """The gateway has accepted the message; delivery is reported later."""

    request_id: str


def esms_of(request: Request) -> EsmsClient:
    """Return the client that the application's lifespan owns."""
    client: EsmsClient = request.state.esms
    return client


async def log_delivery(report: DeliveryReport) -> None:
    """Take a final delivery report; a real service would write it into its database."""
    logger.info("request id %s: %s", report.request_id, report.state)


def create_app(
    on_report: OnReport = log_delivery, environ: Mapping[str, str] = os.environ
) -> FastAPI:
    """Make the application."""
    secret = environ["OTP_SECRET"]
    signer = CallbackSigner(secret)
    ledger = RedisLedger(environ["REDIS_URL"])
    callback_url = signer.at(environ["PUBLIC_URL"] + "/esms/reports")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, EsmsClient]]:
        client = EsmsClient.from_env(environ, ledger=ledger, callback_url=callback_url)
        async with ledger, client:
            yield {"esms": client}

    app = FastAPI(lifespan=lifespan)
    app.include_router(report_router(ReportReceiver(on_report, signer=signer, ledger=ledger)))
    app.add_exception_handler(EsmsError, tell_outcome)

    @app.post("/otp", status_code=status.HTTP_202_ACCEPTED)
    async def send_otp(
        wanted: OtpRequest, esms: Annotated[EsmsClient, Depends(esms_of)]
    ) -> OtpAccepted:
        # Both the code and the RequestId follow from the challenge. So a second click, on
        # whichever worker, is the same message, and the phone gets one.
        message = Message(
            wanted.phone,
            f"{one_time_code(secret, wanted.challenge)} la ma xac minh cua ban",
            request_id=derive_request_id("otp", wanted.challenge),
            expires_at=datetime.now(UTC) + VALID_FOR,
        )
        receipt = await esms.send(message)
        return OtpAccepted(request_id=receipt.request_id)

    return app


def one_time_code(secret: str, challenge: UUID) -> str:
    """Return the code of a challenge: six digits that only this service can tell."""
    digest = hmac.digest(secret.encode(), b"one-time code" + challenge.bytes, "sha256")
    return f"{int.from_bytes(digest[:8]) % 1_000_000:06}"


async def tell_outcome(_: Request, error: Exception) -> JSONResponse:
    """Tell the page what became of a message that was not accepted, and what it may do."""
    code, advice = outcome_of(error)
    return JSONResponse({"detail": advice}, code)


def outcome_of(error: Exception) -> tuple[int, str]:
    """Return an HTTP status and what to do."""
    match error:
        case NotSent() | AccountRejected():
            return 503, "Nothing was sent. Ask again with the same challenge, or use another way."
        case OutcomeUnknown() | LedgerError():
            # Whether an earlier call has sent it, only the ledger could tell.
            return 504, "The code may be on its way. Ask again with the same challenge only."
        case RequestIdExpired():
            return 410, "The challenge is too old. Begin anew."
        case RequestIdConflict() | DuplicateRequestId():
            return 409, "The challenge belongs to another phone. Begin anew."
        case InvalidMessage():
            return 422, str(error)
        case _:
            return 422, "No message can be sent to this phone."
