"""Asks the gateway: what is on the account, what became of a message, and of unknown sends."""

from collections.abc import Awaitable, Callable
from decimal import Decimal

import attrs

from esms_async import EsmsClient, QueryAccountRejected, QueryError, QueryUnanswered
from esms_async.cli.errors import ExitCode
from esms_async.cli.gateway import GatewayChoice, connect
from esms_async.cli.ledger import masked_phone, opened
from esms_async.cli.ledger_choice import naming_ledger
from esms_async.cli.screen import Screen
from esms_async.cli.words import Text, text
from esms_async.ledger import Ledger
from esms_async.queries import Reconciled, SendStatus, SmsStatus


async def balance(choice: GatewayChoice, screen: Screen, *, as_json: bool) -> ExitCode:
    """Print what is on the account.

    Args:
        choice: The gateway.
        screen: Where to report.
        as_json: True prints one JSON object on standard output.

    Raises:
        EsmsError: The options or the keys can't be used.
    """

    async def ask(client: EsmsClient) -> ExitCode:
        found = await client.balance()
        screen.say(text("balance", amount=found.amount))
        if as_json:
            screen.put_json({"balance": number(found.amount), "user_id": found.user_id})
        return ExitCode.ACCEPTED

    return await ask_gateway(choice, screen, ask)


async def status(sms_id: str, choice: GatewayChoice, screen: Screen, *, as_json: bool) -> ExitCode:
    """Print what became of a message.

    Args:
        sms_id: Its SMSID.
        choice: The gateway.
        screen: Where to report.
        as_json: True prints one JSON object on standard output.

    Returns:
        REFUSED where the gateway does not know it.

    Raises:
        EsmsError: The SMSID, the options or the keys can't be used.
    """

    async def ask(client: EsmsClient) -> ExitCode:
        found = await client.status(sms_id)
        if found is None:
            screen.say(text("status_unknown", sms_id=sms_id))
        else:
            screen.say(text("status_of", status=_word(found), sms_id=found.sms_id))
        if as_json:
            screen.put_json(_described(found or SmsStatus(sms_id, None), known=found is not None))
        return ExitCode.REFUSED if found is None else ExitCode.ACCEPTED

    return await ask_gateway(choice, screen, ask)


async def reconcile(
    place: str, choice: GatewayChoice, screen: Screen, *, as_json: bool
) -> ExitCode:
    """Settle what a ledger holds as unknown, as far as the gateway's list tells of it.

    Args:
        place: The file or the URL of the ledger.
        choice: The gateway.
        screen: Where to report.
        as_json: True prints one JSON object on standard output.

    Raises:
        EsmsError: The ledger, the options or the keys can't be used.
    """

    async def ask(client: EsmsClient) -> ExitCode:
        found = await client.reconcile()
        for one in (*found.settled, *found.unknown):
            screen.say(_line(one))
        screen.say(text("reconciled", settled=len(found.settled), unknown=len(found.unknown)))
        if as_json:
            screen.put_json(
                {
                    "settled": [_reconciled(one) for one in found.settled],
                    "unknown": [_reconciled(one) for one in found.unknown],
                }
            )
        return ExitCode.REFUSED if found.unknown else ExitCode.ACCEPTED

    with naming_ledger(place):
        async with opened(place) as ledger:
            return await ask_gateway(choice, screen, ask, ledger)


async def ask_gateway(
    choice: GatewayChoice,
    screen: Screen,
    ask: Callable[[EsmsClient], Awaitable[ExitCode]],
    ledger: Ledger | None = None,
) -> ExitCode:
    """Ask the gateway that was chosen, and say where it does not answer."""
    async with connect(choice, ledger=ledger) as connection:
        screen.banner(connection.url, connection.seed)
        try:
            return await ask(connection.client)
        except QueryError as error:
            screen.warn(text("query_failed", problem=str(error)))
            if isinstance(error, QueryAccountRejected):
                return ExitCode.ACCOUNT_REJECTED
            is_away = isinstance(error, QueryUnanswered)
            return ExitCode.UNREACHABLE if is_away else ExitCode.REFUSED


def _word(found: SmsStatus) -> Text:
    if found.delivered is not None:
        return text("status_delivered" if found.delivered else "status_failed")
    if isinstance(found.send_status, SendStatus):
        return text(f"status_{found.send_status.name.lower()}")
    if found.send_status is None:
        return text("status_not_told")
    return text("status_number", number=str(found.send_status))


def _described(found: SmsStatus, *, known: bool) -> dict[str, object]:
    price = None if found.price is None else number(found.price)
    told = {**attrs.asdict(found), "price": price}
    return {"known": known, "final": found.final, "delivered": found.delivered, **told}


def _line(one: Reconciled) -> Text:
    phone = text("some_phone") if one.entry is None else masked_phone(one.entry)
    if one.entry is not None and one.settled:
        return text(
            "reconciled_accepted",
            phone=phone,
            sms_id=one.entry.sms_id,
            request_id=one.request_id,
        )
    # Every entry of a ledger was looked for, so there is a finding.
    missing = text(f"missing_{one.finding}")
    return text("reconciled_unknown", phone=phone, missing=missing, request_id=one.request_id)


def _reconciled(one: Reconciled) -> dict[str, object]:
    return {
        "request_id": one.request_id,
        "phone": None if one.entry is None else masked_phone(one.entry),
        "finding": one.finding,
        "sms_id": None if one.entry is None else one.entry.sms_id,
        "listed": [line.sms_id for line in one.lines],
        "missing": one.missing,
    }


def number(amount: Decimal) -> int | float:
    """Return an amount as JSON has it."""
    return int(amount) if amount == int(amount) else float(amount)
