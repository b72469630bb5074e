"""A login by one-time code on aiohttp.web, which also learns what became of each SMS.

One process, with two files beside it:

    python aiohttp_service.py

It reads `ESMS_API_KEY` and `ESMS_SECRET_KEY` (and `ESMS_BASE_URL`, for the emulator), `DATA`, the
folder of its files, `PORT`, `PUBLIC_URL`, which is where the gateway finds this service,
`REPORT_SECRET`, and `OTP_KEY`.
"""

import logging
import os
from collections.abc import AsyncIterator, Mapping

from aiohttp import web

from esms_async import EsmsClient
from esms_async.delivery import CallbackSigner, DeliveryReport, OnReport, ReportReceiver
from esms_async.delivery.aiohttp import report_routes
from esms_async.ledger import SqliteLedger
from esms_async.otp import Otp, Purpose, SqliteOtpStore
from esms_async.otp.web import Caller, OtpEndpoints, Reply

TEXTS = ("{code} la ma xac minh cua ban", "Ma xac minh cua ban la {code}")
DEVICE = "__Host-device"
ENDPOINTS = web.AppKey("endpoints", OtpEndpoints)

logger = logging.getLogger("login")
routes = web.RouteTableDef()


async def log_delivery(report: DeliveryReport) -> None:
    """Take a final delivery report; a real service would write it into its database."""
    logger.info("request id %s: %s", report.request_id, report.state)


def create_app(
    on_report: OnReport = log_delivery, environ: Mapping[str, str] = os.environ
) -> web.Application:
    """Make the application."""
    signer = CallbackSigner(environ["REPORT_SECRET"])
    ledger = SqliteLedger(f"{environ['DATA']}/sends.ledger")
    reports = ReportReceiver(on_report, signer=signer, ledger=ledger)
    callback_url = signer.at(environ["PUBLIC_URL"] + "/esms/reports")

    async def own_otp(app: web.Application) -> AsyncIterator[None]:
        esms = EsmsClient.from_env(environ, ledger=ledger, callback_url=callback_url)
        otp = Otp(
            esms,
            store=SqliteOtpStore(f"{environ['DATA']}/otp.db"),
            keys=[environ["OTP_KEY"]],
            purposes={"login": Purpose(TEXTS)},
        )
        async with ledger, reports, esms, otp:
            app[ENDPOINTS] = OtpEndpoints(otp)
            yield

    app = web.Application()
    app.cleanup_ctx.append(own_otp)
    app.add_routes(routes)
    app.add_routes(report_routes(reports))
    return app


@routes.post("/login/start")
async def start(request: web.Request) -> web.Response:
    """Send a code to a phone."""
    return answer(await request.app[ENDPOINTS].start(await data_of(request), caller_of(request)))


@routes.post("/login/resend")
async def resend(request: web.Request) -> web.Response:
    """Send it once more."""
    return answer(await request.app[ENDPOINTS].resend(await data_of(request), caller_of(request)))


@routes.post("/login/verify")
async def verify(request: web.Request) -> web.Response:
    """Log a phone in. A real service makes its session here, for the account of the phone."""
    result = await request.app[ENDPOINTS].verify(await data_of(request), caller_of(request))
    if isinstance(result, Reply):
        return answer(result)
    phone, verification = result
    response = web.json_response({"phone": phone})
    if verification.device is not None:
        response.set_cookie(
            DEVICE,
            verification.device,
            max_age=90 * 86400,
            secure=True,
            httponly=True,
            samesite="Lax",
        )
    return response


def caller_of(request: web.Request) -> Caller:
    """Return who asks; behind a proxy of yours, read the address from the header that it sets."""
    return Caller(
        ip=request.remote,
        device=request.cookies.get(DEVICE),
        language=request.headers.get("Accept-Language"),
    )


async def data_of(request: web.Request) -> object:
    """Return the JSON of a request, or None where it is not JSON."""
    try:
        return await request.json()
    except (ValueError, RecursionError):
        return None


def answer(reply: Reply) -> web.Response:
    """Return a reply of the endpoints as aiohttp wants it."""
    return web.Response(text=reply.text(), status=reply.status, headers=reply.headers)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    web.run_app(create_app(), host="127.0.0.1", port=int(os.environ["PORT"]), access_log=None)
