"""An OTP service on FastAPI: it sends codes, and learns what became of them.

Run any number of workers; what they share is the ledger on Redis:

    uvicorn fastapi_service:create_app --factory --workers 2 --no-access-log

It reads `ESMS_API_KEY` and `ESMS_SECRET_KEY` (and `ESMS_BASE_URL`, for the emulator), `REDIS_URL`,
`PUBLIC_URL`, which is where the gateway finds this service, and `OTP_SECRET`.
"""

import hmac
import logging
import os
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated

import attrs
from fastapi import Depends, FastAPI, HTTPException, Request, status
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


class Challenge(BaseModel):
    """What a page fetches once, when it shows the form, so both clicks of two carry it."""

    challenge: str


class OtpRequest(BaseModel):
    """What the page asks for."""

    phone: str
    challenge: str


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

    @app.post("/challenge", status_code=status.HTTP_201_CREATED)
    async def give_challenge() -> Challenge:
        return Challenge(challenge=new_challenge(secret))

    @app.post("/otp", status_code=status.HTTP_202_ACCEPTED)
    async def send_otp(
        wanted: OtpRequest, esms: Annotated[EsmsClient, Depends(esms_of)]
    ) -> OtpAccepted:
        # Both the code and the RequestId follow from the challenge. So a second click, on
        # whichever worker, is the same message, and the phone gets one.
        try:
            message = code_message(secret, wanted.phone, wanted.challenge)
        except ValueError as error:
            raise HTTPException(422, f"{error}") from error
        if datetime.now(UTC) >= expiry_of(secret, wanted.challenge):
            raise HTTPException(410, "The challenge is too old. Begin anew.")
        receipt = await esms.send(message)
        return OtpAccepted(request_id=receipt.request_id)

    return app


def new_challenge(secret: str) -> str:
    """Return a challenge: when it expires, chance, and what shows that this service made it."""
    expires = int(time.time() + VALID_FOR.total_seconds())
    seed = f"{expires}.{secrets.token_urlsafe(16)}"
    return f"{seed}.{keyed(secret, 'challenge', seed).hex()}"


def expiry_of(secret: str, challenge: str) -> datetime:
    """Return when a challenge expires, or raise ValueError for one that others made."""
    seed, _, tag = challenge.rpartition(".")
    if not hmac.compare_digest(tag.encode(), keyed(secret, "challenge", seed).hex().encode()):
        raise ValueError("the challenge is not of this service")
    return datetime.fromtimestamp(int(seed.partition(".")[0]), UTC)


def code_message(secret: str, phone: str, challenge: str) -> Message:
    """Return the message of a challenge: the same for each click, on every worker."""
    draft = Message(
        phone,
        "-",
        request_id=derive_request_id("otp", challenge),
        expires_at=expiry_of(secret, challenge),
    )
    code = one_time_code(secret, draft.phone, challenge)
    return attrs.evolve(draft, content=f"{code} la ma xac minh cua ban")


def one_time_code(secret: str, phone: str, challenge: str) -> str:
    """Return the six digits that hold for this phone and this challenge, which has the expiry."""
    digest = keyed(secret, "one-time code", phone, challenge)
    return f"{int.from_bytes(digest[:8]) % 1_000_000:06}"


def keyed(secret: str, *parts: str) -> bytes:
    """Return what only those who know the secret can make of the parts."""
    return hmac.digest(secret.encode(), "\n".join(parts).encode(), "sha256")


async def tell_outcome(_: Request, error: Exception) -> JSONResponse:
    """Tell the page what became of a message that was not accepted, and what it may do."""
    code, advice = outcome_of(error)
    return JSONResponse({"detail": advice}, code)


def outcome_of(error: Exception) -> tuple[int, str]:
    """Return an HTTP status and what to do."""
    match error:
        case NotSent() | AccountRejected():
            return 503, "Nothing was sent. Ask again with the same challenge, or use another way."
        case OutcomeUnknown() | DuplicateRequestId() | LedgerError():
            # Whether an earlier call has sent it, only the ledger could tell.
            return 504, "The code may be on its way. Ask again with the same challenge only."
        case RequestIdExpired():
            return 410, "The challenge is too old. Begin anew."
        case RequestIdConflict():
            return 409, "The challenge belongs to another phone. Begin anew."
        case InvalidMessage():
            return 422, str(error)
        case _:
            return 422, "No message can be sent to this phone."
