"""Claims and settlements that share a transaction: each gets the answer that it would get alone."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from esms_async import LedgerError, Message, Status
from esms_async.ledger import Claim, Decision, Settlement, SqliteLedger
from esms_async.ledger.transitions import fingerprint
from tests.factories import a_message

KEY = b"key"
ACCEPTED = Settlement(Status.ACCEPTED, sms_id="d8e0")


def claim(ledger: SqliteLedger, message: Message) -> Awaitable[Claim]:
    """Claim a message."""
    return ledger.claim(message, fingerprint(message, KEY))


@asynccontextmanager
async def one_batch(ledger: SqliteLedger) -> AsyncIterator[None]:
    """Hold the writer up, so that whatever is submitted inside goes into one transaction."""
    busy, go_on = threading.Event(), threading.Event()

    def block(_: object) -> None:
        busy.set()
        go_on.wait(20)

    blocked = ledger._opened().run(block)
    await asyncio.to_thread(busy.wait, 20)
    try:
        yield
        # What was started inside has to reach the writer first: one turn to begin, one to go.
        for _ in range(3):
            await asyncio.sleep(0)
    finally:
        go_on.set()
    await blocked


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SqliteLedger]:
    """A ledger in a file."""
    async with SqliteLedger(tmp_path / "ledger.db") as opened:
        yield opened


async def test_known_and_new_messages_are_told_apart_in_one_batch(ledger: SqliteLedger) -> None:
    """Of claims that share a statement, those of known RequestIds are resumed, the others sent."""
    messages = [a_message() for _ in range(200)]
    known = set(range(0, 200, 3))
    await asyncio.gather(*(claim(ledger, messages[number]) for number in known))
    async with one_batch(ledger):
        claims = [asyncio.ensure_future(claim(ledger, message)) for message in messages]
    for number, answer in enumerate(await asyncio.gather(*claims)):
        expected = (Decision.RESUME, 2) if number in known else (Decision.SEND, 1)
        assert (answer.decision, answer.entry.generation) == expected
        assert await ledger.look_up(messages[number].request_id) == answer.entry


async def test_two_claims_of_one_message_in_one_batch(ledger: SqliteLedger) -> None:
    """One of them sends, the other resumes, with the higher generation."""
    message = a_message()
    async with one_batch(ledger):
        claims = [asyncio.ensure_future(claim(ledger, message)) for _ in range(2)]
    first, second = await asyncio.gather(*claims)
    assert (first.decision, first.entry.generation) == (Decision.SEND, 1)
    assert (second.decision, second.entry.generation) == (Decision.RESUME, 2)
    assert await ledger.look_up(message.request_id) == second.entry


async def test_two_settlements_of_one_claim_in_one_batch(ledger: SqliteLedger) -> None:
    """The second finds what the first has made of the entry."""
    message = a_message()
    await claim(ledger, message)
    async with one_batch(ledger):
        settling = [
            asyncio.ensure_future(ledger.settle(message.request_id, 1, settlement))
            for settlement in (ACCEPTED, Settlement(Status.NOT_SENT))
        ]
    entries = await asyncio.gather(*settling)
    assert [entry and entry.status for entry in entries] == [Status.ACCEPTED, Status.ACCEPTED]
    assert await ledger.look_up(message.request_id) == entries[0] == entries[1]


@pytest.mark.parametrize("count", [1, 4, 5, 64, 85, 150])
async def test_every_settlement_of_a_batch_is_stored(ledger: SqliteLedger, count: int) -> None:
    """However many share a batch, each entry gets its own SMSID."""
    messages = [a_message() for _ in range(count)]
    await asyncio.gather(*(claim(ledger, message) for message in messages))
    async with one_batch(ledger):
        settling = [
            asyncio.ensure_future(
                ledger.settle(
                    message.request_id, 1, Settlement(Status.ACCEPTED, sms_id=message.request_id)
                )
            )
            for message in messages
        ]
    await asyncio.gather(*settling)
    entries = [await ledger.look_up(message.request_id) for message in messages]
    assert [entry and (entry.status, entry.sms_id) for entry in entries] == [
        (Status.ACCEPTED, message.request_id) for message in messages
    ]


async def test_an_entry_that_was_pruned_is_not_settled(ledger: SqliteLedger) -> None:
    """What a claim has left in memory is not taken for what the file holds."""
    message = a_message()
    await claim(ledger, message)
    assert await ledger.prune(-1, unsettled=True) == 1
    assert await ledger.settle(message.request_id, 1, ACCEPTED) is None


async def test_a_claim_that_was_undone_is_not_settled(ledger: SqliteLedger) -> None:
    """A transaction that fails takes its claims out of memory too."""

    def fail(_: object) -> None:
        raise ZeroDivisionError("no such thing")

    message = a_message()
    async with one_batch(ledger):
        claiming = asyncio.ensure_future(claim(ledger, message))
        await asyncio.sleep(0)
        failing = ledger._opened().run(fail)
    results = await asyncio.gather(claiming, failing, return_exceptions=True)
    assert [type(result) for result in results] == [LedgerError, LedgerError]
    assert await ledger.settle(message.request_id, 1, ACCEPTED) is None


async def test_many_claims_and_look_ups_are_one_step(ledger: SqliteLedger) -> None:
    """More than one statement takes get their answers in the order of the questions."""
    messages = [a_message() for _ in range(300)]
    known = await claim(ledger, messages[150])
    claims = await ledger.claim_batch([(one, fingerprint(one, KEY)) for one in messages])
    assert [one.entry.request_id for one in claims] == [one.request_id for one in messages]
    assert [one.decision for one in claims if one.entry.generation > known.entry.generation] == [
        Decision.RESUME
    ]
    asked = [one.request_id for one in [*messages[::-1], a_message()]]
    *found, missing = await ledger.look_up_batch(asked)
    assert [one.entry for one in claims[::-1]] == found
    assert missing is None
    assert await ledger.look_up_batch([]) == []
