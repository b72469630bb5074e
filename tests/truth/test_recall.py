"""What a client knows holds, whatever its ledger has lost; what it does not know, it says."""

import pytest

from esms_async import DuplicateRequestId, Message, NotSent, OutcomeUnknown, Receipt, Status
from esms_async.ledger import Settlement
from tests.truth.conftest import LedgerPlace, a_client
from tests.truth.gateway import RESET_AFTER, Gateway
from tests.truth.gateway import TWICE as TWICE_ON_THE_WAY
from tests.truth.telling import PHONE, TEXT, TWICE, a_message, told


async def test_an_accepted_message_whose_entry_is_lost_stays_accepted(
    gateway: Gateway, place: LedgerPlace
) -> None:
    """Also without an SMSID, of which the ledger might have known more: nothing is sent again."""
    message = a_message()
    async with place.ledger() as ledger, a_client(gateway, ledger=ledger, retry=TWICE) as client:
        gateway.script.append(RESET_AFTER)
        receipt = await client.send(message)
        assert receipt.deduplicated
        assert await ledger.prune(-1) == 1
        assert await client.send(message) == receipt
        assert await client.resume(message) == receipt
    assert gateway.requests[message.request_id] == 2


async def test_the_ledger_adds_the_smsid_to_what_is_known(
    gateway: Gateway, place: LedgerPlace
) -> None:
    """A delivery report may have brought it since."""
    message = a_message()
    async with place.ledger() as ledger, a_client(gateway, ledger=ledger, retry=TWICE) as client:
        gateway.script.append(RESET_AFTER)
        receipt = await client.send(message)
        await ledger.settle(message.request_id, 0, Settlement(Status.ACCEPTED, sms_id="d8e0"))
        again = await client.send(message)
        assert (receipt.sms_id, again.sms_id) == (None, "d8e0")
        assert again.attempts == receipt.attempts


async def test_an_smsid_of_another_message_is_not_taken_for_its_own(
    gateway: Gateway, place: LedgerPlace
) -> None:
    """Where the entry was lost, somebody may have given the id to another message."""
    message = a_message()
    other = Message("0987654321", TEXT, request_id=message.request_id)
    async with place.ledger() as ledger, a_client(gateway, ledger=ledger, retry=TWICE) as client:
        gateway.script.append(RESET_AFTER)
        receipt = await client.send(message)
        assert await ledger.prune(-1) == 1
        async with a_client(gateway, ledger=ledger) as careless:
            assert isinstance(await told(careless.send(other)), DuplicateRequestId)
        await ledger.settle(message.request_id, 0, Settlement(Status.ACCEPTED, sms_id="d8e0"))
        assert await client.send(message) == receipt


async def test_a_doubt_by_124_whose_entry_is_lost_stays_a_doubt(
    gateway: Gateway, place: LedgerPlace
) -> None:
    """It is not sent again: past the gateway's memory, that would be a second message."""
    message = a_message()
    async with place.ledger() as ledger, a_client(gateway, ledger=ledger) as client:
        gateway.script.append(TWICE_ON_THE_WAY)
        assert isinstance(await told(client.send(message)), DuplicateRequestId)
        assert await ledger.prune(-1, unsettled=True) == 1
        assert isinstance(await told(client.send(message)), DuplicateRequestId)
        assert isinstance(await told(client.resume(message)), DuplicateRequestId)
    assert gateway.requests[message.request_id] == 1


async def test_a_doubt_by_124_ends_where_the_ledger_learns_more(
    gateway: Gateway, place: LedgerPlace
) -> None:
    """A delivery report, as it is recorded, settles it."""
    message = a_message()
    async with place.ledger() as ledger, a_client(gateway, ledger=ledger) as client:
        gateway.script.append(TWICE_ON_THE_WAY)
        assert isinstance(await told(client.send(message)), DuplicateRequestId)
        await ledger.settle(message.request_id, 0, Settlement(Status.ACCEPTED, sms_id="d8e0"))
        assert isinstance(await told(client.send(message)), Receipt)
    assert gateway.requests[message.request_id] == 1


@pytest.mark.parametrize("resumed", [False, True])
async def test_a_closed_client_does_not_speak_for_its_ledger(
    gateway: Gateway,
    place: LedgerPlace,
    resumed: bool,
) -> None:
    """Another client may have sent the message; of one that nobody can have tried, it is sure."""
    message = Message(PHONE, TEXT, request_id="order:1")
    async with place.ledger() as ledger:
        async with a_client(gateway, ledger=ledger) as other:
            await other.send(message)
        async with a_client(gateway, ledger=ledger) as client:
            pass
        what = await told(client.resume(message) if resumed else client.send(message))
        assert isinstance(what, OutcomeUnknown)
        assert "the client is closed" in what.reason
        assert isinstance(await told(client.send(a_message())), NotSent)
