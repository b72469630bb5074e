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
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta

import attrs
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
    app.router.add_post("/challenge", give_challenge)
    app.router.add_post("/otp", send_otp)
    app.add_routes(report_routes(ReportReceiver(on_report, signer=signer, ledger=ledger)))
    return app


async def give_challenge(request: web.Request) -> web.Response:
    """Give a page its challenge, once, when it shows the form, so both clicks carry it."""
    return web.json_response({"challenge": new_challenge(request.app[SECRET])}, status=201)


async def send_otp(request: web.Request) -> web.Response:
    """Send a code to a phone."""
    # Both the code and the RequestId follow from the challenge. So a second click is the same
    # message, and the phone gets one.
    try:
        wanted = await request.json()
        phone, challenge = str(wanted["phone"]), str(wanted["challenge"])
        message = code_message(request.app[SECRET], phone, challenge)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        detail = f"Give a phone and a challenge of this service: {error}"
        return web.json_response({"detail": detail}, status=422)
    if datetime.now(UTC) >= expiry_of(request.app[SECRET], challenge):
        return web.json_response({"detail": "The challenge is too old. Begin anew."}, status=410)
    receipt = await request.app[ESMS].send(message)
    return web.json_response({"request_id": receipt.request_id}, status=202)


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


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    web.run_app(create_app(), host="127.0.0.1", port=int(os.environ["PORT"]), access_log=None)
