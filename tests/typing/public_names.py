"""The types that a caller's editor shows for the public names."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Unpack, assert_type

import aiohttp
import tenacity
from aiolimiter import AsyncLimiter

from esms_async import (
    AccountRejected,
    Attempt,
    Brandname,
    ClientOptions,
    Credentials,
    DuplicateRequestId,
    EsmsClient,
    EsmsError,
    Evidence,
    FixedNumber,
    InvalidMessage,
    Message,
    NotSent,
    Outcome,
    OutcomeUnknown,
    Receipt,
    Rejected,
    RequestIdConflict,
    RequestIdExpired,
    RetryPolicy,
    SendError,
    SendMany,
    Status,
    ZaloTemplate,
    derive_request_id,
    new_request_id,
)
from esms_async._model.codes import CODES, Code, Scope
from esms_async._model.text import TextSize, measure
from esms_async.emulator import AcceptedMessage, Emulator
from esms_async.ledger import (
    Claim,
    Entry,
    Ledger,
    LedgerOptions,
    MemoryLedger,
    Reason,
    RedisLedger,
    SqliteLedger,
)
from esms_async.otp import Challenge, Guard, Otp, OtpRefused, Purpose, SqliteOtpStore, Verification
from esms_async.queries import AccountBrandname, Templates, ZaloStatus
from esms_async.testing import EmulatedClient, EmulatedOptions, emulated_client


def words(message: Message) -> None:
    """What is made before anything is sent."""
    assert_type(message.phone, str)
    assert_type(message.content, str | None)
    assert_type(message.params, Mapping[str, str] | None)
    assert_type(message.route, FixedNumber | Brandname | ZaloTemplate | None)
    assert_type(message.request_id, str)
    assert_type(message.unicode, bool)
    assert_type(message.campaign_id, str | None)
    assert_type(message.send_at, datetime | None)
    assert_type(message.expires_at, datetime | None)
    assert_type(message.renewed(), Message)
    assert_type(new_request_id(), str)
    assert_type(derive_request_id("login", 7, b"x"), str)
    assert_type(measure("text"), TextSize)
    assert_type(CODES, Mapping[str, Code])
    assert_type(CODES["100"].scope, Scope)
    assert_type(CODES["100"].meaning_vi, str)


class Client(EsmsClient):
    """A caller's own."""


def clients(keys: Credentials, session: aiohttp.ClientSession) -> None:
    """How a client is made, a subclass included, and what it takes."""
    assert_type(EsmsClient.from_env(), EsmsClient)
    assert_type(Client.from_env({"ESMS_API_KEY": "k"}, sandbox=True), Client)
    EsmsClient(keys, session=session, limiter=AsyncLimiter(10, 1), ledger=MemoryLedger())
    EsmsClient(keys, limiter=asyncio.Semaphore(3), ledger=SqliteLedger("a"))
    EsmsClient(keys, ledger=RedisLedger("redis://localhost"))
    stop = tenacity.stop_after_attempt(3) | tenacity.stop_after_delay(5)
    wait = tenacity.wait_fixed(1) + tenacity.wait_random(0, 1)
    EsmsClient(keys, retry=RetryPolicy(stop=stop, wait=wait, retry=tenacity.retry_always))


def our_client(**options: Unpack[ClientOptions]) -> EsmsClient:
    """A caller's own function that passes the client's options on."""
    assert_type(options.get("sandbox"), bool | None)
    options.setdefault("retry", RetryPolicy(attempts=3))
    return EsmsClient.from_env(None, **options)


async def sends(esms: EsmsClient, message: Message) -> None:
    """What the calls give."""
    assert_type(await esms.send(message), Receipt)
    assert_type(await esms.resume(message), Receipt)
    async with esms as opened:
        assert_type(opened, EsmsClient)
    receipt = await esms.send(message)
    assert_type(receipt.request_id, str)
    assert_type(receipt.sms_id, str | None)
    assert_type(receipt.deduplicated, bool)
    assert_type(receipt.attempts, tuple[Attempt, ...])
    assert_type(receipt.attempts[0].evidence, Evidence)
    assert_type(receipt.attempts[0].duration, float)


async def streams(esms: EsmsClient, messages: list[Message], more: AsyncIterator[Message]) -> None:
    """A stream of outcomes, from both kinds of iterables."""
    assert_type(esms.send_many(messages, concurrency=3, ordered=True), SendMany)
    async with esms.send_many(more) as outcomes:
        async for outcome in outcomes:
            assert_type(outcome, Outcome)
            assert_type(outcome.ok, bool)
            assert_type(outcome.status, Status)
            assert_type(outcome.receipt, Receipt | None)
            assert_type(outcome.error, EsmsError | None)
        await outcomes.aclose(cancel=True)


async def errors(esms: EsmsClient, message: Message) -> None:
    """What the errors carry, and what they are besides."""
    try:
        await esms.send(message)
    except AccountRejected as error:
        assert_type(error.code, str | None)
    except Rejected as error:
        assert_type(error.status, int | None)
        assert_type(error.sms_id, str | None)
        assert_type(error.detail, str | None)
    except DuplicateRequestId as error:
        assert_type(error.code, str)
    except RequestIdExpired as error:
        assert_type(error.since, datetime)
    except OutcomeUnknown as error:
        assert_type(error.rejection, Rejected | None)
    except SendError as error:
        assert_type(error.message, Message)
        assert_type(error.request_id, str)
        assert_type(error.attempts, tuple[Attempt, ...])
        assert_type(error.reason, str)
    except InvalidMessage as error:
        assert_type(error.field, str)
        assert_type(error.problem, str)


def cousins(not_sent: NotSent, conflict: RequestIdConflict) -> tuple[ConnectionError, ValueError]:
    """Errors that have a cousin in the standard library are of its kind."""
    return not_sent, conflict


async def ledgers(ledger: Ledger, message: Message) -> None:
    """A ledger of any kind."""
    assert_type(await ledger.claim(message, b""), Claim)
    assert_type(await ledger.look_up("id"), Entry | None)
    assert_type(await ledger.prune(3600.0), int)
    async for entry in ledger.unsettled():
        assert_type(entry.status, Status)
        assert_type(entry.reason, Reason | None)
    options = LedgerOptions(window=3600.0, store_phone=True)
    async with SqliteLedger("a", options=options) as opened:
        assert_type(opened, SqliteLedger)


async def emulators() -> None:
    """The emulator."""
    async with Emulator(faults=["reset"]) as gateway:
        assert_type(gateway.url, str)
        assert_type(gateway.messages, list[AcceptedMessage])
        assert_type(gateway.accepted("id"), int)
        assert_type(await gateway.wait_for(phone="0901888484"), AcceptedMessage)


async def emulated_clients(**options: Unpack[EmulatedOptions]) -> None:
    """A client with an emulator of its own."""
    async with emulated_client(**options) as esms:
        assert_type(esms, EmulatedClient)
        assert_type(esms.emulator, Emulator)


async def codes(esms: EsmsClient) -> None:
    """One-time codes."""
    store = SqliteOtpStore("otp.db")
    purposes = {"login": Purpose("{code}")}
    async with Otp(esms, store=store, keys=["key"], purposes=purposes, guard=Guard()) as otp:
        try:
            challenge = await otp.start("0901888484", ip="203.0.113.7")
        except OtpRefused as error:
            assert_type(error.retry_after, float | None)
            return
        assert_type(challenge, Challenge)
        assert_type(challenge.id, str)
        assert_type(challenge.expires_at, datetime)
        assert_type(challenge.resend_after, float)
        assert_type(await otp.resend(challenge.id, phone="0901888484"), Challenge)
        result = await otp.verify(challenge.id, "686868", phone="0901888484")
        assert_type(result, Verification)
        assert_type(result.ok, bool)
        assert_type(result.attempts_left, int)
        assert_type(result.device, str | None)


async def routes(esms: EsmsClient, message: Message) -> None:
    """How a message travels, and what can be asked of a route."""
    assert_type(esms.route, FixedNumber | Brandname | ZaloTemplate)
    view = esms.with_options(route=Brandname("Baotrixemay"), retry=esms.retry)
    assert_type(view, EsmsClient)
    assert_type(await view.brandnames(), tuple[AccountBrandname, ...])
    templates = await view.templates("Baotrixemay")
    assert_type(templates, Templates)
    assert_type([one.text for one in templates], list[str])
    assert_type(templates.match("text").part, str | None)
    assert_type((await view.price(message)).amount, Decimal)
    assert_type(await view.zalo_status("4097", "6dc7"), ZaloStatus | None)
    Message("0901888484", params={"otp": "686868"}, route=ZaloTemplate("1", "2", sending_mode="3"))
