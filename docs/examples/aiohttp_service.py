"""An OTP service on aiohttp.web: it sends codes, and learns what became of them.

One process, whose ledger is a file beside it:

    python aiohttp_service.py

It reads `ESMS_API_KEY` and `ESMS_SECRET_KEY` (and `ESMS_BASE_URL`, for the emulator), `LEDGER`,
the path of the file, `PORT`, `PUBLIC_URL`, which is where the gateway finds this service, and
`OTP_SECRET`.
"""

import hmac
import logging
import os
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

from aiohttp import web
from aiohttp.typedefs import Handler

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
from esms_async.delivery.aiohttp import report_routes
from esms_async.ledger import SqliteLedger

VALID_FOR = timedelta(minutes=5)
ESMS = web.AppKey("esms", EsmsClient)
SECRET = web.AppKey("secret", str)

logger = logging.getLogger("otp")


async def log_delivery(report: DeliveryReport) -> None:
    """Take a final delivery report; a real service would write it into its database."""
    logger.info("request id %s: %s", report.request_id, report.state)


def create_app(
    on_report: OnReport = log_delivery, environ: Mapping[str, str] = os.environ
) -> web.Application:
    """Make the application."""
    signer = CallbackSigner(environ["OTP_SECRET"])
    ledger = SqliteLedger(environ["LEDGER"])
    callback_url = signer.at(environ["PUBLIC_URL"] + "/esms/reports")

    async def own_client(app: web.Application) -> AsyncIterator[None]:
        client = EsmsClient.from_env(environ, ledger=ledger, callback_url=callback_url)
        async with ledger, client:
            app[ESMS] = client
            yield

    app = web.Application(middlewares=[tell_outcome])
    app[SECRET] = environ["OTP_SECRET"]
    app.cleanup_ctx.append(own_client)
    app.router.add_post("/otp", send_otp)
    app.add_routes(report_routes(ReportReceiver(on_report, signer=signer, ledger=ledger)))
    return app


async def send_otp(request: web.Request) -> web.Response:
    """Send a code to a phone. The page makes the challenge, once, so both clicks carry it."""
    try:
        wanted = await request.json()
        phone, challenge = str(wanted["phone"]), UUID(wanted["challenge"])
    except (ValueError, TypeError, KeyError, AttributeError):
        return web.json_response({"detail": "Give a phone and a challenge, a UUID."}, status=422)
    # Both the code and the RequestId follow from the challenge. So a second click is the same
    # message, and the phone gets one.
    message = Message(
        phone,
        f"{one_time_code(request.app[SECRET], challenge)} la ma xac minh cua ban",
        request_id=derive_request_id("otp", challenge),
        expires_at=datetime.now(UTC) + VALID_FOR,
    )
    receipt = await request.app[ESMS].send(message)
    return web.json_response({"request_id": receipt.request_id}, status=202)


def one_time_code(secret: str, challenge: UUID) -> str:
    """Return the code of a challenge: six digits that only this service can tell."""
    digest = hmac.digest(secret.encode(), b"one-time code" + challenge.bytes, "sha256")
    return f"{int.from_bytes(digest[:8]) % 1_000_000:06}"


@web.middleware
async def tell_outcome(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tell the page what became of a message that was not accepted, and what it may do."""
    try:
        return await handler(request)
    except EsmsError as error:
        code, advice = outcome_of(error)
        return web.json_response({"detail": advice}, status=code)


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


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    web.run_app(create_app(), host="127.0.0.1", port=int(os.environ["PORT"]), access_log=None)
