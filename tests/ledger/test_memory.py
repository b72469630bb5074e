"""The ledger in memory: bounded by age, and never at the price of a second message."""

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
