"""Finding out from the gateway's list what became of unknown sends."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest

from esms_async import (
    ConfigurationError,
    EsmsClient,
    Message,
    OutcomeUnknown,
    QueryUnanswered,
    Status,
    UsageError,
)
from esms_async._send.reconcile import TOLERANCE, Reconciliation, reconcile
from esms_async.emulator import Emulator
from esms_async.ledger import (
    Ledger,
    LedgerOptions,
    MemoryLedger,
    Reason,
    Settlement,
    SqliteLedger,
)
from esms_async.queries import Finding, Reconciled, SendStatus, SentMessage
from tests.factories import CREDENTIALS, ONE_ATTEMPT, QUICK, a_message

LOST = "reset@send,phase=after"


async def lose(client: EsmsClient, message: Message) -> None:
    """Send a message whose answer is lost."""
    with pytest.raises(OutcomeUnknown):
        await client.send(message)


def make(ledger: Ledger, emulator: Emulator, **options: object) -> EsmsClient:
    """Make a client that tries once, and sends RequestIds as campaign ids."""
    given = {"trackable": True, "retry": ONE_ATTEMPT, **options}
    return EsmsClient(CREDENTIALS, base_url=emulator.url, ledger=ledger, **given)  # type: ignore[arg-type]  # options of any kind


@pytest.mark.parametrize("store_phone", [False, True])
async def test_what_is_listed_is_settled(tmp_path: Path, *, store_phone: bool) -> None:
    """A lost answer is found out of another process, with the SMSID that it would have had."""
    path, options = tmp_path / "ledger", LedgerOptions(store_phone=store_phone)
    lost, never, fine = (a_message(f"091100000{number}") for number in range(3))
    async with Emulator() as emulator:
        async with make(SqliteLedger(path, options=options), emulator) as client:
            await client.send(fine)
            emulator.fault(f"{LOST},times=1")
            await lose(client, lost)
            emulator.fault("reset@send,phase=before,times=1")
            await lose(client, never)
        accepted = {message.request_id: message.sms_id for message in emulator.messages}
        async with make(SqliteLedger(path, options=options), emulator) as client:
            found = await client.reconcile()
            again = await client.reconcile()
            receipt = await client.send(lost)
    (settled,), (unknown,) = found.settled, found.unknown
    assert (settled.request_id, settled.finding) == (lost.request_id, Finding.FOUND)
    assert settled.entry is not None
    assert settled.entry.sms_id == accepted[lost.request_id]
    assert settled.entry.status is Status.ACCEPTED
    assert (unknown.request_id, unknown.finding) == (never.request_id, Finding.ABSENT)
    assert unknown.entry is not None
    assert unknown.entry.status is Status.UNKNOWN
    assert (again.settled, again.unknown) == ((), found.unknown)
    assert receipt.sms_id == accepted[lost.request_id]
    assert len(accepted) == 2


async def test_without_campaign_ids_nothing_is_settled() -> None:
    """Two messages to one phone in one minute are like each other, and neither is taken."""
    ledger = MemoryLedger(options=LedgerOptions(store_phone=True, store_content=True))
    async with (
        Emulator(faults=[LOST]) as emulator,
        make(ledger, emulator, trackable=False) as client,
    ):
        messages = [a_message(), a_message()]
        for message in messages:
            await lose(client, message)
        found = await client.reconcile()
    assert found.settled == ()
    assert {one.finding for one in found.unknown} == {Finding.SIMILAR}
    assert {one.request_id for one in found.unknown} == {one.request_id for one in messages}
    assert {len(one.lines) for one in found.unknown} == {2}


async def test_a_campaign_id_of_the_message_stays() -> None:
    """The RequestId goes out as campaign id only where the message has none."""
    async with Emulator() as emulator, make(MemoryLedger(), emulator) as client:
        own, none = Message("0911000001", "1 ma", campaign_id="spring"), a_message()
        await client.send(own)
        await client.send(none)
        campaigns = [message.campaign_id for message in emulator.messages]
        assert campaigns == ["spring", none.request_id]


async def test_a_receipt_without_an_sms_id_gets_it() -> None:
    """What was accepted by code 124 has its SMSID found, where it is asked for by name."""
    ledger = MemoryLedger()
    async with (
        Emulator(faults=[f"{LOST},times=1"]) as emulator,
        make(ledger, emulator, retry=QUICK) as client,
    ):
        message, other = a_message(), a_message()
        assert (await client.send(message)).deduplicated
        await client.send(other)
        assert (await client.reconcile()).settled == ()
        found = await client.reconcile([message.request_id, other.request_id, "nobody"])
        receipt = await client.send(message)
        sms_ids = {one.request_id: one.sms_id for one in emulator.messages}
    assert {one.request_id: one.finding for one in found.settled} == {
        message.request_id: Finding.FOUND,
        other.request_id: None,
    }
    (nobody,) = found.unknown
    assert nobody.missing is not None
    assert "no entry of this request id" in nobody.missing
    assert nobody == Reconciled("nobody", None, None, missing=nobody.missing)
    assert receipt.sms_id == sms_ids[message.request_id]
    assert receipt.deduplicated


async def test_many_sends_among_thousands() -> None:
    """The list is read to its last page, and each send is found in it once."""
    async with Emulator() as emulator:
        ledger = MemoryLedger()
        async with make(ledger, emulator) as client:
            emulator.fault(f"{LOST},p=0.05")
            numbers = (f"0911{number:06d}" for number in range(1500))
            sends = client.send_many(map(a_message, numbers), concurrency=64)
            unknown = {one.message.request_id async for one in sends if not one.ok}
            found = await client.reconcile()
            sms_ids = {one.request_id: one.sms_id for one in emulator.messages}
    assert 10 < len(unknown) < 500
    assert found.unknown == ()
    told = {one.request_id: one.entry.sms_id for one in found.settled if one.entry is not None}
    assert told == {request_id: sms_ids[request_id] for request_id in unknown}


async def test_an_unanswered_question_settles_nothing() -> None:
    """Where the list can't be had to its end, the ledger stays as it is."""
    ledger = MemoryLedger()
    async with ledger, Emulator(faults=[LOST]) as emulator, make(ledger, emulator) as client:
        await lose(client, a_message())
        emulator.fault("http:503@sent_data")
        with pytest.raises(QueryUnanswered):
            await client.reconcile()
        assert [entry.status async for entry in ledger.unsettled()] == [Status.UNKNOWN]


async def test_what_can_not_be_reconciled() -> None:
    """It takes a ledger, an open client, and more than the letters of one RequestId."""
    async with Emulator() as emulator:
        async with EsmsClient(CREDENTIALS, base_url=emulator.url) as client:
            with pytest.raises(UsageError, match="no ledger"):
                await client.reconcile()
        async with make(MemoryLedger(), emulator) as client:
            assert (await client.reconcile([])).settled == ()
            with pytest.raises(ConfigurationError, match="put it in a list"):
                await client.reconcile("login:7")
        with pytest.raises(UsageError, match="closed"):
            await client.reconcile()


async def test_a_send_that_is_forgotten_meanwhile() -> None:
    """It is found, and there is nothing left to settle."""
    async with MemoryLedger() as ledger:
        entry = (await ledger.claim(a_message(), b"fingerprint")).entry

        async def list_sent(since: datetime, until: datetime) -> AsyncIterator[SentMessage]:
            await ledger.prune(1e-9, unsettled=True)
            yield SentMessage(
                "d8e0", "0901888484", None, entry.request_id, since + TOLERANCE, SendStatus.SENT
            )

        (one,) = (await reconcile(ledger, list_sent)).unknown
        assert (one.finding, one.entry, one.settled) == (Finding.FOUND, None, False)
        assert one.missing is not None
        assert "deleted from the ledger meanwhile" in one.missing


DUPLICATE = Settlement(Status.UNKNOWN, Reason.DUPLICATE)


async def reconciled(
    message: Message,
    settlement: Settlement | None = None,
    *,
    options: LedgerOptions = LedgerOptions(),
    sends: list[str | Message] | None = None,
    **line: object,
) -> Reconciliation:
    """Reconcile a ledger that holds a message with a list of one line, or of none."""
    async with MemoryLedger(options=options) as ledger:
        entry = (await ledger.claim(message, b"fingerprint")).entry
        if settlement is not None:
            await ledger.settle(message.request_id, 1, settlement)

        async def list_sent(since: datetime, until: datetime) -> AsyncIterator[SentMessage]:
            fields = {
                "sms_id": "d8e0",
                "phone": message.phone,
                "content": None,
                "campaign_id": message.request_id,
                "sent_at": datetime.fromtimestamp(entry.in_doubt_since, UTC),
                "send_status": SendStatus.SENT,
                **line,
            }
            if line.get("phone", "") is not None:
                yield SentMessage(**fields)  # type: ignore[arg-type]  # of any field

        return await reconcile(ledger, list_sent, [message] if sends is None else sends)


@pytest.mark.parametrize("by_message", [False, True])
async def test_doubt_by_124_alone_ends_with_a_line(*, by_message: bool) -> None:
    """Another process sent it hours ago; its line settles the send as accepted."""
    message = a_message()
    sends: list[str | Message] = [message if by_message else message.request_id]
    (one,) = (await reconciled(message, DUPLICATE, sends=sends)).settled
    assert (one.finding, one.missing) == (Finding.FOUND, None)
    assert one.entry is not None
    assert (one.entry.status, one.entry.reason) == (Status.ACCEPTED, None)
    assert one.entry.sms_id == "d8e0"


async def test_a_message_has_the_phone_whole() -> None:
    """A line of another phone that looks the same when masked is not taken for a Message."""
    message = a_message("0901888484")
    other = "0901999484"
    assert (await reconciled(message, sends=[message.request_id], phone=other)).settled
    (one,) = (await reconciled(message, phone=other)).unknown
    assert one.finding is Finding.ABSENT


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"phone": None}, "it is not listed, which proves nothing: the list lags behind"),
        ({"campaign_id": None}, "only a client made with trackable=True sends that"),
        ({"send_status": SendStatus.COMPOSING}, "has not taken it yet, or refuses it"),
    ],
)
async def test_what_is_missing_is_said(line: dict[str, object], words: str) -> None:
    """For each send that stays unknown there is one sentence on what is missing."""
    (one,) = (await reconciled(a_message(), **line)).unknown  # type: ignore[arg-type]  # of any field
    assert one.missing is not None
    assert words in one.missing


@pytest.mark.parametrize("line", [{"phone": None}, {"campaign_id": "spring"}])
async def test_a_campaign_id_of_its_own_hides_a_message(line: dict[str, object]) -> None:
    """The list can't show the RequestId of such a message, and that is said."""
    message = attrs.evolve(a_message(), campaign_id="spring")
    (one,) = (await reconciled(message, **line)).unknown  # type: ignore[arg-type]  # of any field
    assert one.missing is not None
    assert "a campaign id of its own (spring)" in one.missing


async def test_a_message_to_another_phone_is_not_that_send() -> None:
    """The ledger holds its RequestId for another message, so nothing is said about this one."""
    message = a_message()
    other = Message("0912345678", message.content, request_id=message.request_id)
    (one,) = (await reconciled(message, sends=[other])).unknown
    assert one.entry is None
    assert one.missing == "the ledger holds this request id for a message to another phone"
    options = LedgerOptions(store_phone=True)
    assert (await reconciled(message, options=options, sends=[other])).unknown == (one,)


@pytest.mark.parametrize("sends", ["login:7", a_message(), [7]])
async def test_what_can_not_be_looked_for(sends: object) -> None:
    """It takes several sends, each a Message or a RequestId."""
    with pytest.raises(ConfigurationError, match=r"put it in a list|not int"):
        await reconciled(a_message(), sends=sends)  # type: ignore[arg-type]  # what it refuses
