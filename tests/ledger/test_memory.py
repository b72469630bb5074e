"""The ledger in memory: bounded by age, and never at the price of a second message."""

import asyncio

from esms_async import Status
from esms_async.ledger import Decision, MemoryLedger, Settlement
from esms_async.ledger.transitions import fingerprint
from tests.factories import a_message
from tests.ledger.conftest import Clock


async def test_settled_entries_are_forgotten_by_age_and_open_ones_are_not(clock: Clock) -> None:
    """As claims come in, old settled entries go; what may have been accepted stays known."""
    async with MemoryLedger(clock=clock, keep=100) as ledger:
        messages = [a_message() for _ in range(50)]
        for message in messages:
            await ledger.claim(message, fingerprint(message, b"key"))
        unsettled = messages[::10]
        for message in messages:
            if message not in unsettled:
                await ledger.settle(message.request_id, 1, Settlement(Status.ACCEPTED))
        clock.advance(101)
        for _ in range(60):
            message = a_message()
            await ledger.claim(message, fingerprint(message, b"key"))
        known = [m for m in messages if await ledger.look_up(m.request_id) is not None]
        assert known == unsettled
        clock.advance(1_000_000)
        answer = await ledger.claim(unsettled[0], fingerprint(unsettled[0], b"key"))
        assert answer.decision is Decision.EXPIRED


async def test_an_entry_that_has_changed_since_stays(clock: Clock) -> None:
    """A message that was not sent, and then accepted, is forgotten by the later time."""
    async with MemoryLedger(clock=clock, keep=100) as ledger:
        message = a_message()
        for status in (Status.NOT_SENT, Status.ACCEPTED):
            claim = await ledger.claim(message, fingerprint(message, b"key"))
            await ledger.settle(message.request_id, claim.entry.generation, Settlement(status))
            clock.advance(60)
        other = a_message()
        await ledger.claim(other, fingerprint(other, b"key"))
        found = await ledger.look_up(message.request_id)
        assert found is not None
        assert found.status is Status.ACCEPTED


async def test_other_tasks_run_while_it_is_pruned(clock: Clock) -> None:
    """A long look at the entries does not hold the event loop."""
    async with MemoryLedger(clock=clock) as ledger:
        for _ in range(1_001):
            message = a_message()
            await ledger.claim(message, fingerprint(message, b"key"))
        clock.advance(1)
        ran: list[int] = []
        asyncio.get_running_loop().call_soon(ran.append, 1)
        assert await ledger.prune(0, unsettled=True) == 1_001
        assert ran == [1]
