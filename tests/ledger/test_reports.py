"""What every ledger promises of delivery reports: stored once, one owner at a time, none lost."""

import asyncio
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from esms_async import LedgerError, Status, new_request_id
from esms_async.ledger import (
    Decision,
    MemoryLedger,
    Reason,
    RedisLedger,
    Settlement,
    StoredReport,
)
from esms_async.ledger.transitions import (
    CONTACTS_A_LEASE,
    Contact,
    claim_report,
    fingerprint,
    new_report,
    next_contact,
    retry_report,
    settle_report,
)
from tests.factories import a_message
from tests.ledger.conftest import Clock, FullLedger

if TYPE_CHECKING:
    from tests.ledger.redis_server import RedisServer

KEY = "order-1#delivered"
LEASE = 10.0
TAKEN = Settlement(Status.ACCEPTED)
AGAIN = Settlement(Status.NOT_SENT, detail="RuntimeError")
FAILED = Settlement(Status.REJECTED, Reason.MESSAGE, detail="RuntimeError")


async def take(ledger: FullLedger, limit: int = 10) -> list[StoredReport]:
    """Claim what is due."""
    return list(await ledger.take_reports(limit, LEASE))


async def pass_lease(ledger: FullLedger, clock: Clock) -> None:
    """Let a lease run out while other processes go on asking for reports."""
    for _ in range(CONTACTS_A_LEASE + 1):
        await ledger.take_reports(0, LEASE)
        clock.advance(LEASE / CONTACTS_A_LEASE)


async def failed(ledger: FullLedger) -> list[StoredReport]:
    """List what is kept as failed."""
    return [report async for report in ledger.failed_reports()]


async def test_a_report_is_stored_once(ledger: FullLedger, clock: Clock) -> None:
    """The first one stays, and whoever comes next may take it."""
    report = await ledger.store_report(KEY, "first")
    assert report == StoredReport(KEY, Status.NOT_SENT, None, 0, 0, clock.now, clock.now, "first")
    assert await ledger.store_report(KEY, "second") is None
    (taken,) = await take(ledger)
    assert taken == claim_report(report, now=clock.now, lease=LEASE)[1]
    assert (taken.generation, taken.text) == (1, "first")


async def test_a_report_can_be_claimed_as_it_is_stored(ledger: FullLedger, clock: Clock) -> None:
    """Nobody else gets it while that lease runs."""
    report = await ledger.store_report(KEY, "text", lease=LEASE)
    assert report is not None
    assert (report.status, report.generation, report.due_at) == (
        Status.UNKNOWN,
        1,
        clock.now + LEASE,
    )
    assert await take(ledger) == []
    await ledger.settle_report(KEY, 1, TAKEN)
    await pass_lease(ledger, clock)
    assert await take(ledger) == []


async def test_what_was_taken_is_never_taken_again(ledger: FullLedger, clock: Clock) -> None:
    """Its text goes, because it holds a phone number; its key stays."""
    await ledger.store_report(KEY, "text", lease=LEASE)
    await ledger.settle_report(KEY, 1, TAKEN)
    await pass_lease(ledger, clock)
    assert await take(ledger) == []
    assert await ledger.store_report(KEY, "text") is None
    assert await ledger.retry_report(KEY) is False


async def test_a_failure_is_due_later(ledger: FullLedger, clock: Clock) -> None:
    """It counts, and says what it was."""
    await ledger.store_report(KEY, "text", lease=LEASE)
    await ledger.settle_report(KEY, 1, AGAIN, failures=1, due_in=5.0)
    clock.advance(4.9)
    assert await take(ledger) == []
    clock.advance(0.2)
    (report,) = await take(ledger)
    assert (report.generation, report.failures, report.detail) == (2, 1, "RuntimeError")
    assert report.text == "text"


async def test_a_process_that_died_loses_its_lease(ledger: FullLedger, clock: Clock) -> None:
    """Another takes the report on, which counts as a failure; of the first only success counts."""
    await ledger.store_report(KEY, "text", lease=LEASE)
    await pass_lease(ledger, clock)
    (report,) = await take(ledger)
    assert (report.generation, report.failures, report.detail) == (2, 1, "its process died")
    await ledger.settle_report(KEY, 1, AGAIN, failures=1)
    assert await take(ledger) == []
    await ledger.settle_report(KEY, 1, TAKEN)  # but a success is one, whoever had it
    await pass_lease(ledger, clock)
    assert await take(ledger) == []


async def test_a_lease_does_not_run_out_while_nobody_reaches_the_ledger(
    ledger: FullLedger, clock: Clock
) -> None:
    """After a gap its owner has the time of one lease to say how it ended."""
    await ledger.store_report(KEY, "text", lease=LEASE)
    await ledger.store_report("order-2#failed", "text")
    await take(ledger, 0)
    clock.advance(10 * LEASE)  # the ledger is away
    assert [report.key for report in await take(ledger)] == ["order-2#failed"]
    await ledger.settle_report(KEY, 1, TAKEN)
    await pass_lease(ledger, clock)
    assert [report.key for report in await take(ledger)] == ["order-2#failed"]


async def test_after_that_grace_a_lease_has_run_out(ledger: FullLedger, clock: Clock) -> None:
    """An owner that did not come back is dead."""
    await ledger.store_report(KEY, "text", lease=LEASE)
    await take(ledger, 0)
    clock.advance(10 * LEASE)
    assert await take(ledger) == []
    await pass_lease(ledger, clock)
    assert [report.key for report in await take(ledger)] == [KEY]


async def test_no_more_is_taken_than_there_is_room_for(ledger: FullLedger, clock: Clock) -> None:
    """The ones that are due for longest come first, and a limit of 0 takes none."""
    for number in range(5):
        await ledger.store_report(f"order-{number}#failed", "text")
        clock.advance(1)
    assert await take(ledger, 0) == []
    assert [report.key for report in await take(ledger, 2)] == ["order-0#failed", "order-1#failed"]
    assert len(await take(ledger)) == 3


async def test_of_many_at_once_one_gets_a_report(ledger: FullLedger) -> None:
    """Whoever stores it first, and whoever claims it first."""
    stored = await asyncio.gather(*(ledger.store_report(KEY, str(each)) for each in range(6)))
    assert len([report for report in stored if report is not None]) == 1
    taken = await asyncio.gather(*(take(ledger) for _ in range(6)))
    assert len([report for reports in taken for report in reports]) == 1


async def test_failed_reports_are_kept_and_can_be_tried_anew(
    ledger: FullLedger, clock: Clock
) -> None:
    """They are listed, nobody takes them, and a retry makes them due with no failures."""
    for number in range(3):
        key = f"order-{number}#delivered"
        await ledger.store_report(key, "text", lease=LEASE)
        await ledger.settle_report(key, 1, FAILED, failures=7)
    await pass_lease(ledger, clock)
    assert await take(ledger) == []
    assert {report.key for report in await failed(ledger)} == {
        f"order-{number}#delivered" for number in range(3)
    }
    assert {(report.failures, report.text) for report in await failed(ledger)} == {(7, "text")}
    assert await ledger.retry_report("order-1#delivered") is True
    assert await ledger.retry_report("order-1#delivered") is False
    assert await ledger.retry_report("order-9#delivered") is False
    (report,) = await take(ledger)
    assert (report.key, report.failures, report.generation) == ("order-1#delivered", 0, 2)
    assert len(await failed(ledger)) == 2


async def test_a_late_success_ends_a_failed_report(ledger: FullLedger) -> None:
    """It is no longer listed."""
    await ledger.store_report(KEY, "text", lease=LEASE)
    await ledger.settle_report(KEY, 1, FAILED, failures=7)
    await ledger.settle_report(KEY, 1, TAKEN, failures=7)
    assert await failed(ledger) == []


async def test_the_end_of_an_unknown_report_changes_nothing(ledger: FullLedger) -> None:
    """A report that was forgotten meanwhile does not come back."""
    await ledger.settle_report(KEY, 1, TAKEN)
    assert await ledger.store_report(KEY, "text") is not None


async def test_reports_are_not_entries(ledger: FullLedger) -> None:
    """Listing sends, settled or not, shows none of them."""
    message = a_message()
    await ledger.claim(message, fingerprint(message, b"key"))
    await ledger.store_report(KEY, "text")
    await take(ledger)
    assert len([entry async for entry in ledger.entries()]) == 1
    assert len([entry async for entry in ledger.unsettled()]) == 1
    assert await ledger.look_up("order-1") is None


async def test_old_reports_are_pruned(ledger: FullLedger, clock: Clock) -> None:
    """Those that were handed on go; others go only with the unsettled ones."""
    for key in ("old#delivered", "waiting#delivered", "failed#delivered"):
        await ledger.store_report(key, "text", lease=None if key[0] == "w" else LEASE)
    await ledger.settle_report("old#delivered", 1, TAKEN)
    await ledger.settle_report("failed#delivered", 1, FAILED)
    clock.advance(100)
    await ledger.store_report("new#delivered", "text", lease=LEASE)
    await ledger.settle_report("new#delivered", 1, TAKEN)
    assert await ledger.prune(50) == 0
    assert await ledger.store_report("old#delivered", "text") is not None
    for key in ("new#delivered", "waiting#delivered", "failed#delivered"):
        assert await ledger.store_report(key, "text") is None
    clock.advance(100)
    assert await ledger.prune(50, unsettled=True) == 0
    assert await failed(ledger) == []
    assert await take(ledger) == []


async def test_reports_outlive_a_reopening(make_ledger: Callable[[], FullLedger]) -> None:
    """A process that is started again finds what waits, and what was handed on."""
    for expected in ([KEY], []):
        ledger = make_ledger()
        await ledger.open()
        await ledger.store_report(KEY, "text")
        taken = await take(ledger)
        assert [report.key for report in taken] == expected
        for report in taken:
            await ledger.settle_report(KEY, report.generation, TAKEN)
        await ledger.aclose()


async def test_a_ledger_that_is_not_open_says_so(make_ledger: Callable[[], FullLedger]) -> None:
    """Before `open` it takes no report and gives none."""
    ledger = make_ledger()
    await ledger.aclose()
    for call in (
        ledger.store_report(KEY, "text"),
        ledger.take_reports(1, LEASE),
        ledger.settle_report(KEY, 1, TAKEN),
        ledger.retry_report(KEY),
        failed(ledger),
    ):
        with pytest.raises(LedgerError, match="not open"):
            await call


async def test_memory_forgets_old_reports_by_itself(clock: Clock) -> None:
    """As reports come in, those that were handed on long ago go; others stay."""
    async with MemoryLedger(clock=clock, keep=100) as ledger:
        await ledger.store_report("waiting#delivered", "text")
        for number in range(50):
            await ledger.store_report(f"old-{number}#delivered", "text", lease=LEASE)
            await ledger.settle_report(f"old-{number}#delivered", 1, TAKEN)
        clock.advance(101)
        for number in range(60):
            await ledger.store_report(f"new-{number}#delivered", "text")
        assert len(ledger._reports) == 61


@attrs.frozen
class Store:
    """A report comes in."""

    pause: float
    leased: bool


@attrs.frozen
class Take:
    """Somebody asks for reports."""

    pause: float
    limit: int


@attrs.frozen
class Settle:
    """The claim that is so many generations back ends."""

    pause: float
    back: int
    settlement: Settlement


@attrs.frozen
class Retry:
    """Somebody wants it tried anew."""

    pause: float


PAUSES = st.sampled_from([0.0, 1.0, LEASE / CONTACTS_A_LEASE, LEASE / 3, LEASE, LEASE + 1.0])
STEPS = (
    st.builds(Store, PAUSES, st.booleans())
    | st.builds(Take, PAUSES, st.integers(0, 2))
    | st.builds(Settle, PAUSES, st.integers(-1, 2), st.sampled_from([TAKEN, AGAIN, FAILED]))
    | st.builds(Retry, PAUSES)
)


class Model:
    """One report, by the functions of `transitions` alone."""

    def __init__(self) -> None:
        self.report: StoredReport | None = None
        self.contact: Contact | None = None

    def take(self, limit: int, now: float) -> list[StoredReport]:
        """Claim the report."""
        self.contact = next_contact(self.contact, now=now, lease=LEASE)
        if self.report is None or limit == 0:
            return []
        decision, self.report = claim_report(
            self.report, now=now, lease=LEASE, grace_until=self.contact.grace_until
        )
        return [self.report] if decision in (Decision.SEND, Decision.RESUME) else []


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(STEPS, max_size=20))
@pytest.mark.parametrize("kind", ["memory", "redis"])
@pytest.mark.skipif(sys.platform == "win32", reason="there is no Redis server for Windows")
def test_a_ledger_applies_the_tables(
    redis_server: "RedisServer", kind: str, steps: list[Store | Take | Settle | Retry]
) -> None:
    """After any sequence of steps, a ledger's answers are those of the functions."""

    async def run() -> None:
        clock, model = Clock(), Model()
        ledger: FullLedger = (
            MemoryLedger(clock=clock)
            if kind == "memory"
            else RedisLedger(redis_server.url, prefix=f"{new_request_id()}:", clock=clock)
        )
        await ledger.open()
        for step in steps:
            clock.advance(step.pause)
            now, known = clock(), model.report
            match step:
                case Store(_, leased):
                    lease = LEASE if leased else None
                    expected = new_report(KEY, "text", now=now, lease=lease)
                    stored = await ledger.store_report(KEY, "text", lease=lease)
                    assert stored == (None if known else expected)
                    model.report = known or expected
                case Take(_, limit):
                    assert await ledger.take_reports(limit, LEASE) == model.take(limit, now)
                case Settle(_, back, settlement):
                    generation = (known.generation if known else 1) - back
                    if known is not None:
                        model.report = settle_report(
                            known, generation, settlement, failures=3, due_in=2.0, now=now
                        )
                    await ledger.settle_report(KEY, generation, settlement, failures=3, due_in=2.0)
                case Retry():
                    model.report = known and retry_report(known, now=now)
                    assert await ledger.retry_report(KEY) is (model.report is not known)
            is_failed = model.report is not None and model.report.status is Status.REJECTED
            assert await failed(ledger) == ([model.report] if is_failed else [])
        await ledger.aclose()

    asyncio.run(run())


# On the Redis server.


async def test_reports_expire_once_they_are_handed_on(
    redis_server: "RedisServer", prefix: str
) -> None:
    """What was not handed on has no time to live."""
    with redis_server.client() as client:
        async with RedisLedger(redis_server.url, prefix=prefix, keep=1000) as ledger:
            await ledger.store_report(KEY, "text", lease=LEASE)
            assert client.ttl(f"{prefix}{KEY}") == -1
            await ledger.settle_report(KEY, 1, TAKEN)
            assert 990 < client.ttl(f"{prefix}{KEY}") <= 1000
            assert client.hget(f"{prefix}{KEY}", "text") is None


async def test_a_report_of_a_later_release_is_left_to_that(
    redis_server: "RedisServer", prefix: str
) -> None:
    """It is not taken, it is not overwritten, and it does not keep others from being taken."""
    with redis_server.client() as client:
        async with RedisLedger(redis_server.url, prefix=prefix) as ledger:
            await ledger.store_report(KEY, "text")
            client.hset(f"{prefix}{KEY}", "status", "of a later release")
            await ledger.store_report("order-2#delivered", "text")
            assert [report.key for report in await take(ledger)] == ["order-2#delivered"]
            with pytest.raises(LedgerError, match="does not know"):
                await ledger.settle_report(KEY, 1, TAKEN)
            assert await ledger.store_report(KEY, "text") is None


async def test_what_was_deleted_by_hand_is_gone(redis_server: "RedisServer", prefix: str) -> None:
    """A report without its hash is neither taken nor listed."""
    with redis_server.client() as client:
        async with RedisLedger(redis_server.url, prefix=prefix) as ledger:
            for key in (KEY, "order-2#delivered"):
                await ledger.store_report(key, "text", lease=LEASE)
                await ledger.settle_report(key, 1, FAILED if key == KEY else AGAIN)
                client.delete(f"{prefix}{key}")
            assert await take(ledger) == []
            assert await failed(ledger) == []
