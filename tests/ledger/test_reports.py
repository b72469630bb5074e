"""What every ledger promises of delivery reports: each is handed on once, whoever dies."""

import asyncio
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from esms_async import LedgerError, new_request_id
from esms_async.ledger import MemoryLedger, RedisLedger
from esms_async.ledger.handover import Answer, Handover, Stage, begin, end, new_handover
from tests.factories import a_message
from tests.ledger.conftest import Clock, FullLedger

if TYPE_CHECKING:
    from tests.ledger.redis_server import RedisServer

ID = "order-1"
LEASE = 10.0


async def answer(ledger: FullLedger, state: str = "delivered", request_id: str = ID) -> Answer:
    """Ask to hand a report on."""
    return (await ledger.begin_report(request_id, state, LEASE)).answer


async def test_a_report_is_begun_by_one(ledger: FullLedger, clock: Clock) -> None:
    """The first may hand it on; while its lease runs, others wait."""
    turn = await ledger.begin_report(ID, "delivered", LEASE)
    assert turn.answer is Answer.GO
    assert turn.handover == Handover(ID, "delivered", Stage.UNDER_WAY, 1, clock.now + LEASE)
    clock.advance(LEASE)
    assert await answer(ledger) is Answer.WAIT


async def test_success_is_for_ever(ledger: FullLedger, clock: Clock) -> None:
    """A report that was handed on is not handed on again."""
    turn = await ledger.begin_report(ID, "delivered", LEASE)
    await ledger.end_report(ID, "delivered", turn.handover.turn, success=True)
    clock.advance(100 * LEASE)
    assert await answer(ledger) is Answer.DONE


async def test_what_was_given_up_may_be_begun_at_once(ledger: FullLedger) -> None:
    """A handler that failed makes room for the next report."""
    turn = await ledger.begin_report(ID, "delivered", LEASE)
    await ledger.end_report(ID, "delivered", turn.handover.turn, success=False)
    turn = await ledger.begin_report(ID, "delivered", LEASE)
    assert (turn.answer, turn.handover.turn) == (Answer.GO, 2)


async def test_a_process_that_died_loses_its_lease(ledger: FullLedger, clock: Clock) -> None:
    """When the lease has run out another begins, and what the first tells late is told apart."""
    await ledger.begin_report(ID, "delivered", LEASE)
    clock.advance(LEASE + 1)
    assert await answer(ledger) is Answer.GO
    await ledger.end_report(ID, "delivered", 1, success=False)
    assert await answer(ledger) is Answer.WAIT
    await ledger.end_report(ID, "delivered", 1, success=True)
    assert await answer(ledger) is Answer.DONE


async def test_each_state_is_a_report_of_its_own(ledger: FullLedger) -> None:
    """Another state, and another message, are handed on too."""
    assert await answer(ledger) is Answer.GO
    assert await answer(ledger, "failed") is Answer.GO
    assert await answer(ledger, request_id="order-2") is Answer.GO


async def test_the_end_of_what_is_not_known_is_no_news(ledger: FullLedger) -> None:
    """A report that was forgotten meanwhile does not come back."""
    await ledger.end_report(ID, "delivered", 1, success=True)
    assert await answer(ledger) is Answer.GO


async def test_of_many_at_once_one_begins(ledger: FullLedger) -> None:
    """A report that comes six times at once is begun once."""
    answers = await asyncio.gather(*(answer(ledger) for _ in range(6)))
    assert sorted(answers) == [Answer.GO, *[Answer.WAIT] * 5]


async def test_reports_are_no_entries(ledger: FullLedger) -> None:
    """Listing sends, settled or not, shows none of them."""
    await ledger.claim(a_message(), b"fingerprint")
    await answer(ledger)
    assert len([entry async for entry in ledger.entries()]) == 1
    assert len([entry async for entry in ledger.unsettled()]) == 1
    assert await ledger.look_up(ID) is None


async def test_old_reports_are_pruned(ledger: FullLedger, clock: Clock) -> None:
    """Those that did not change for a time go with the sends; they are not counted as such."""
    turn = await ledger.begin_report(ID, "delivered", LEASE)
    await ledger.end_report(ID, "delivered", turn.handover.turn, success=True)
    clock.advance(100)
    turn = await ledger.begin_report("order-2", "delivered", LEASE)
    await ledger.end_report("order-2", "delivered", turn.handover.turn, success=True)
    assert await ledger.prune(50) == 0
    assert await answer(ledger) is Answer.GO
    assert await answer(ledger, request_id="order-2") is Answer.DONE


async def test_reports_outlive_a_reopening(make_ledger: Callable[[], FullLedger]) -> None:
    """What was handed on is known after the ledger was closed and opened again."""
    for expected in (Answer.GO, Answer.DONE):
        ledger = make_ledger()
        await ledger.open()
        turn = await ledger.begin_report(ID, "delivered", LEASE)
        assert turn.answer is expected
        await ledger.end_report(ID, "delivered", turn.handover.turn, success=True)
        await ledger.aclose()


async def test_a_ledger_that_is_not_open_says_so(make_ledger: Callable[[], FullLedger]) -> None:
    """Before `open` no report is begun or ended."""
    ledger = make_ledger()
    await ledger.aclose()
    with pytest.raises(LedgerError, match="not open"):
        await ledger.begin_report(ID, "delivered", LEASE)
    with pytest.raises(LedgerError, match="not open"):
        await ledger.end_report(ID, "delivered", 1, success=True)


async def test_memory_forgets_old_reports_by_itself(clock: Clock) -> None:
    """As reports come in, those that are older than is kept go."""
    async with MemoryLedger(clock=clock, keep=100) as ledger:
        for number in range(50):
            await answer(ledger, request_id=f"old-{number}")
        clock.advance(101 + LEASE)
        for number in range(50):
            await answer(ledger, request_id=f"new-{number}")
        assert len(ledger._handovers) == 50


@attrs.frozen
class Begin:
    """Somebody would begin, after a time."""

    pause: float


@attrs.frozen
class End:
    """The turn that is so many turns back ends."""

    pause: float
    back: int
    success: bool


PAUSES = st.sampled_from([0.0, 0.1, LEASE, LEASE + 0.1])
STEPS = st.builds(Begin, PAUSES) | st.builds(End, PAUSES, st.integers(-1, 2), st.booleans())


@pytest.mark.skipif(sys.platform == "win32", reason="there is no Redis server for Windows")
@settings(max_examples=100, deadline=None)
@given(steps=st.lists(STEPS, max_size=20))
def test_the_server_applies_the_tables(
    redis_server: "RedisServer", steps: list[Begin | End]
) -> None:
    """After any sequence of turns, the Redis server's answers are those of the tables."""

    async def run() -> None:
        clock, request_id = Clock(), new_request_id()
        known: Handover | None = None
        async with RedisLedger(redis_server.url, prefix=f"{request_id}:", clock=clock) as ledger:
            for step in steps:
                clock.advance(step.pause)
                now = clock()
                match step:
                    case Begin():
                        fresh = new_handover(request_id, "failed", now=now, lease=LEASE)
                        expected = begin(known, fresh, now=now)
                        assert await ledger.begin_report(request_id, "failed", LEASE) == expected
                        known = expected.handover
                    case End(_, back, success):
                        turn = (known.turn if known else 1) - back
                        if known is not None:
                            known = end(known, turn, success=success, now=now)
                        await ledger.end_report(request_id, "failed", turn, success=success)

    asyncio.run(run())


async def test_reports_expire_on_the_server(redis_server: "RedisServer", prefix: str) -> None:
    """Each has a time to live, from its last change on."""
    key = f"{prefix}{ID}#delivered"
    with redis_server.client() as client:
        async with RedisLedger(redis_server.url, prefix=prefix, keep=1000) as ledger:
            await ledger.begin_report(ID, "delivered", LEASE)
            assert 990 < client.ttl(key) <= 1000
            client.expire(key, 10)
            await ledger.end_report(ID, "delivered", 1, success=True)
            assert 990 < client.ttl(key) <= 1000


async def test_a_report_of_a_later_release_is_refused(
    redis_server: "RedisServer", prefix: str
) -> None:
    """What this release does not know is never taken for something else."""
    with redis_server.client() as client:
        async with RedisLedger(redis_server.url, prefix=prefix) as ledger:
            await ledger.begin_report(ID, "delivered", LEASE)
            client.hset(f"{prefix}{ID}#delivered", "stage", "of a later release")
            with pytest.raises(LedgerError, match="does not know"):
                await ledger.begin_report(ID, "delivered", LEASE)
            with pytest.raises(LedgerError, match="does not know"):
                await ledger.end_report(ID, "delivered", 1, success=True)
