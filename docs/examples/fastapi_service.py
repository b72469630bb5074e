"""A login by one-time code on FastAPI, which also learns what became of each SMS.

Run any number of workers; what they share is on Redis:

    uvicorn fastapi_service:create_app --factory --workers 2 --no-access-log

It reads `ESMS_API_KEY` and `ESMS_SECRET_KEY` (and `ESMS_BASE_URL`, for the emulator), `REDIS_URL`,
`PUBLIC_URL`, which is where the gateway finds this service, `REPORT_SECRET`, and `OTP_KEY`.
"""

import logging
import os
from collections.abc import Mapping

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from esms_async import EsmsClient
from esms_async.delivery import CallbackSigner, DeliveryReport, OnReport, ReportReceiver
from esms_async.delivery.fastapi import report_router
from esms_async.ledger import RedisLedger
from esms_async.otp import Otp, Purpose, RedisOtpStore, Verification
from esms_async.otp.fastapi import esms_lifespan, otp_router

TEXTS = ("{code} la ma xac minh cua ban", "Ma xac minh cua ban la {code}")
DEVICE = "__Host-device"

logger = logging.getLogger("login")


async def log_delivery(report: DeliveryReport) -> None:
    """Take a final delivery report; a real service would write it into its database."""
    logger.info("request id %s: %s", report.request_id, report.state)


def client_ip(request: Request) -> str | None:
    """Return the caller's address; uvicorn reads the headers of the proxies that it trusts."""
    return request.client.host if request.client else None


def device_of(request: Request) -> str | None:
    """Return the cookie of a phone that has logged in from here before."""
    return request.cookies.get(DEVICE)


async def log_in(_: Request, phone: str, verification: Verification) -> Response:
    """Answer a right code. A real service makes its session here, for the account of the phone."""
    response = JSONResponse({"phone": phone})
    if verification.device is not None:
        response.set_cookie(
            DEVICE,
            verification.device,
            max_age=90 * 86400,
            secure=True,
            httponly=True,
            samesite="lax",
        )
    return response


def create_app(
    on_report: OnReport = log_delivery, environ: Mapping[str, str] = os.environ
) -> FastAPI:
    """Make the application."""
    signer = CallbackSigner(environ["REPORT_SECRET"])
    ledger = RedisLedger(environ["REDIS_URL"])
    esms = EsmsClient.from_env(
        environ,
        ledger=ledger,
        callback_url=signer.at(environ["PUBLIC_URL"] + "/esms/reports"),
    )
    otp = Otp(
        esms,
        store=RedisOtpStore(environ["REDIS_URL"]),
        keys=[environ["OTP_KEY"]],
        purposes={"login": Purpose(TEXTS)},
    )
    reports = ReportReceiver(on_report, signer=signer, ledger=ledger)
    app = FastAPI(lifespan=esms_lifespan(ledger, reports, esms, otp))
    app.include_router(
        otp_router(otp, client_ip=client_ip, on_verified=log_in, device=device_of),
        prefix="/login",
    )
    app.include_router(report_router(reports))
    return app
