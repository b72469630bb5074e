"""Sends one message, and says what became of it."""

import asyncio
from collections.abc import Mapping

import attrs

from esms_async import (
    AccountRejected,
    DuplicateRequestId,
    EsmsClient,
    EsmsError,
    InvalidMessage,
    Message,
    Outcome,
    OutcomeUnknown,
    Rejected,
    RequestIdExpired,
    Route,
    SendError,
    new_request_id,
)
from esms_async.cli.errors import ExitCode, InputError
from esms_async.cli.gateway import GatewayChoice, connect
from esms_async.cli.interrupt import on_interrupt
from esms_async.cli.results import accept, reason_of, refuse
from esms_async.cli.rows import BulkRow
from esms_async.cli.screen import Screen
from esms_async.cli.words import Text, text
from esms_async.text import mask_phone


@attrs.frozen
class OneMessage:
    """What the command was asked to do.

    Attributes:
        phone: The phone.
        content: The text, or None where there are params.
        route: How it travels, or None for what ESMS_ROUTE says.
        params: The parameters of a Zalo template, or None.
        request_id: The RequestId, or None for a new one.
        resume: True where an earlier send with that RequestId may have been accepted.
        json: True prints the outcome as JSON on standard output.
    """

    phone: str = attrs.field(repr=False)
    content: str | None = attrs.field(repr=False)
    route: Route | None = None
    params: Mapping[str, str] | None = attrs.field(default=None, repr=False)
    request_id: str | None = None
    resume: bool = False
    json: bool = False


async def send(options: OneMessage, choice: GatewayChoice, screen: Screen) -> ExitCode:
    """Send one message.

    Raises:
        EsmsError: The options, the keys or the message can't be used; nothing was sent.
    """
    if options.resume and options.request_id is None:
        raise InputError(text("resume_needs_id"))
    try:
        message = Message(
            options.phone,
            options.content,
            params=options.params,
            route=options.route,
            request_id=options.request_id or new_request_id(),
        )
    except InvalidMessage as error:
        raise InputError(str(error)) from None
    async with connect(choice) as connection:
        screen.banner(connection.url, connection.seed)
        outcome, interrupted = await _outcome(connection.client, message, resume=options.resume)
    _report(outcome, options, screen, sandbox=choice.asks_for_sandbox())
    match outcome.error:
        # A 4xx without a code refuses every message, as the rejection of the account does, and
        # that of the route every message by it.
        case AccountRejected() | Rejected(code=None) | Rejected(refuses_route=True):
            return ExitCode.ACCOUNT_REJECTED
        case _:
            pass
    if outcome.ok:
        return ExitCode.ACCEPTED
    return ExitCode.INTERRUPTED if interrupted else ExitCode.REFUSED


async def _outcome(client: EsmsClient, message: Message, *, resume: bool) -> tuple[Outcome, bool]:
    """Return what became of the message, and whether an interrupt cut its sending short."""
    interrupts: list[int] = []

    def interrupt(count: int) -> None:
        interrupts.append(count)
        sending.cancel()

    sending = asyncio.ensure_future(_send(client, message, resume=resume))
    with on_interrupt(interrupt):
        outcome = await sending
    return outcome, bool(interrupts)


async def _send(client: EsmsClient, message: Message, *, resume: bool) -> Outcome:
    try:
        receipt = await (client.resume(message) if resume else client.send(message))
    except EsmsError as error:
        return Outcome(message, error=error)
    except asyncio.CancelledError as cancelled:
        # The cause says what is true of the message.
        if not isinstance(cancelled.__cause__, EsmsError):
            raise
        return Outcome(message, error=cancelled.__cause__)
    return Outcome(message, receipt)


def _report(outcome: Outcome, options: OneMessage, screen: Screen, *, sandbox: bool) -> None:
    row, receipt, error = BulkRow(0, None), outcome.receipt, outcome.error
    row.request_id = outcome.message.request_id
    deduplicated = receipt is not None and receipt.deduplicated
    if receipt is not None:
        accept(row, receipt)
        reason, explained = "", ""
    else:
        assert error is not None  # noqa: S101  # an Outcome holds one or the other
        refuse(row, error, is_keyed=False)
        reason = error.reason if isinstance(error, SendError) else str(error)
        explained = screen.say_word(reason_of(error))
    phone = mask_phone(outcome.message.phone)
    word: str = row.status or ""
    if sandbox and outcome.ok:
        word = "sandboxed"
    parts = [
        text("one_request_id", request_id=row.request_id),
        text("one_attempt" if row.attempts == 1 else "one_attempts", count=row.attempts),
    ]
    if row.sms_id:
        parts.insert(0, text("one_sms_id", sms_id=row.sms_id))
    if deduplicated:
        parts.append(text("one_deduplicated"))
    status = screen.say_word(text(f"one_{word.replace(' ', '_')}"))
    known = ", ".join(map(screen.say_word, parts))
    screen.say(f"{status} {phone}{f': {explained}' if explained else ''} ({known})")
    if isinstance(error, OutcomeUnknown):
        screen.say(_advice(error))
    if options.json:
        screen.put_json(
            {
                "phone": phone,
                "request_id": row.request_id,
                "status": row.status,
                "sms_id": row.sms_id,
                "code": row.code,
                "attempts": row.attempts,
                "reason": reason,
                "deduplicated": deduplicated,
            }
        )


def _advice(error: OutcomeUnknown) -> Text:
    match error:
        case DuplicateRequestId():
            return text("one_duplicate")
        case RequestIdExpired():
            return text("one_expired")
        case _:
            return text("one_resume", request_id=error.request_id)
