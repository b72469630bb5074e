"""Acceptances that nobody waits for: what they ride with, who reads them, what a crash costs."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from esms_async import EsmsClient, LedgerError, Message, Receipt, Status
from esms_async.emulator import Emulator
from esms_async.ledger import (
    Decision,
    Entry,
    Ledger,
    LedgerAcceptances,
    MemoryLedger,
    RedisLedger,
    Settlement,
    SqliteLedger,
)
from esms_async.ledger.gather import Acceptance, Gathered, Gatherer
from esms_async.ledger.transitions import CLAIMS, Knowledge, fingerprint, settle
from tests.factories import CREDENTIALS, a_message
from tests.ledger.conftest import Clock, FullLedger
from tests.limits import generous

if TYPE_CHECKING:
    from tests.ledger.redis_server import RedisServer

KEY = b"a key that is kept elsewhere"
SMS_ID = "d8e0"
KNOWN = [known for known in CLAIMS if known is not None]


def never(*problem: object) -> None:
    """Fail: an acceptance came back that could be stored."""
    pytest.fail(f"not stored: {problem}")


def accept(ledger: LedgerAcceptances, message: Message, sms_id: str | None = SMS_ID) -> None:
    """Queue an acceptance."""
    assert ledger.accept_soon(
        message.request_id, sms_id, deduplicated=sms_id is None, unrecorded=never
    )


async def claim(ledger: Ledger, message: Message) -> tuple[Decision, Entry]:
    """Claim a message."""
    answer = await ledger.claim(message, fingerprint(message, KEY))
    return answer.decision, answer.entry


# What every ledger promises.


async def test_what_is_queued_is_read_at_once(ledger: FullLedger, clock: Clock) -> None:
    """Whoever asks the ledger after an acceptance finds it, however it asks."""
    messages = [a_message() for _ in range(6)]
    for message in messages:
        await claim(ledger, message)
    clock.advance(1)
    looked, claimed, settled, listed, pruned, last = messages

    accept(ledger, looked)
    entry = await ledger.look_up(looked.request_id)
    assert entry is not None
    assert (entry.status, entry.reason, entry.sms_id) == (Status.ACCEPTED, None, SMS_ID)
    assert (entry.in_doubt_since, entry.updated_at) == (clock.now - 1, clock.now)

    accept(ledger, claimed, None)
    decision, entry = await claim(ledger, claimed)
    assert (decision, entry.sms_id, entry.deduplicated) == (Decision.ALREADY_ACCEPTED, None, True)

    accept(ledger, settled)
    late = await ledger.settle(settled.request_id, 1, Settlement(Status.NOT_SENT))
    assert late is not None
    assert late.status is Status.ACCEPTED

    accept(ledger, listed)
    open_ones = {entry.request_id async for entry in ledger.unsettled()}
    assert open_ones == {pruned.request_id, last.request_id}

    accept(ledger, pruned)
    assert await ledger.prune(-1) == 5

    accept(ledger, last)
    assert [entry.status async for entry in ledger.entries()] == [Status.ACCEPTED]


async def test_an_acceptance_of_nothing_changes_nothing(ledger: FullLedger) -> None:
    """Of what the ledger does not hold it makes no entry, and it is no failure."""
    accept(ledger, a_message())
    await ledger.flush()
    assert [entry async for entry in ledger.entries()] == []


@pytest.mark.parametrize("held", KNOWN, ids=str)
@pytest.mark.parametrize("sms_id", [SMS_ID, None])
async def test_an_acceptance_counts_whatever_is_held(
    ledger: FullLedger, held: Knowledge, sms_id: str | None
) -> None:
    """A queued acceptance does what the table of settlements says."""
    message = a_message()
    await claim(ledger, message)
    status, reason = held
    code = None if status is Status.ACCEPTED else "300"
    known = await ledger.settle(message.request_id, 1, Settlement(status, reason, code=code))
    assert known is not None
    accept(ledger, message, sms_id)
    settlement = Settlement(Status.ACCEPTED, None, sms_id, sms_id is None)
    expected = settle(known, 0, settlement, now=known.updated_at)
    assert await ledger.look_up(message.request_id) == expected


async def test_many_acceptances_and_claims_share_what_carries_them(ledger: FullLedger) -> None:
    """More than one statement or command holds: each entry gets its own SMSID."""
    messages = [a_message() for _ in range(300)]
    await asyncio.gather(*(claim(ledger, message) for message in messages))
    for message in messages:
        accept(ledger, message, message.request_id)
    later = [a_message() for _ in range(300)]
    answers = await asyncio.gather(*(claim(ledger, message) for message in [*later, messages[0]]))
    assert [decision for decision, _ in answers] == [
        *[Decision.SEND] * 300,
        Decision.ALREADY_ACCEPTED,
    ]
    found = [await ledger.look_up(message.request_id) for message in messages]
    assert [entry and entry.sms_id for entry in found] == [one.request_id for one in messages]


async def test_closing_stores_what_is_queued(make_ledger: Callable[[], FullLedger]) -> None:
    """What was queued before `aclose` is there when the ledger is opened again."""
    messages = [a_message() for _ in range(200)]
    ledger = make_ledger()
    await ledger.open()
    for message in messages:
        await claim(ledger, message)
        accept(ledger, message)
    await ledger.aclose()
    ledger = make_ledger()
    await ledger.open()
    assert [entry.status async for entry in ledger.entries()] == [Status.ACCEPTED] * 200
    await ledger.aclose()


async def test_a_closed_ledger_takes_no_acceptance(make_ledger: Callable[[], FullLedger]) -> None:
    """It says so at once, so the caller can try again."""
    ledger = make_ledger()
    with pytest.raises(LedgerError, match="not open"):
        accept(ledger, a_message())


@pytest.mark.parametrize(
    "request_id", ["order:1", "abcdef", "ABCDEF", "0a 1".replace(" ", ""), "a" * 50, "0" * 40]
)
async def test_an_id_of_any_form_is_stored(ledger: FullLedger, request_id: str) -> None:
    """Hexadecimal digits of either case, of any number, and other characters stay what they are."""
    message = Message("0901888484", "686868", request_id=request_id)
    decision, entry = await claim(ledger, message)
    assert (decision, entry.request_id) == (Decision.SEND, request_id)
    accept(ledger, message)
    found = await ledger.look_up(request_id)
    assert found is not None
    assert (found.request_id, found.status) == (request_id, Status.ACCEPTED)
    assert [one.request_id async for one in ledger.entries()] == [request_id]


# What rides with what.


async def test_an_acceptance_rides_with_the_next_claim() -> None:
    """It waits for the claim, and both are handed on together."""
    handed: list[Gathered[str, int]] = []
    gatherer: Gatherer[str, int] = Gatherer(handed.append)
    gatherer.accept(Acceptance("r1", None, True, never))  # noqa: FBT003  # a field of its own
    await asyncio.sleep(0)
    assert handed == []
    answers = [gatherer.claim(request_id) for request_id in ("r2", "r3")]
    await asyncio.sleep(0)
    (together,) = handed
    assert [needs for needs, _ in together.claims] == ["r2", "r3"]
    assert [one.request_id for one in together.acceptances] == ["r1"]
    assert [done for _, done in together.claims] == answers
    gatherer.close()
    assert len(handed) == 1


async def test_without_a_claim_it_goes_alone() -> None:
    """An acceptance waits for a short time only, and so does the next one."""
    handed: asyncio.Queue[Gathered[str, int]] = asyncio.Queue()
    gatherer: Gatherer[str, int] = Gatherer(handed.put_nowait)
    for request_id in ("r1", "r2"):
        gatherer.accept(Acceptance(request_id, None, True, never))  # noqa: FBT003  # as above
        alone = await asyncio.wait_for(handed.get(), generous(20))
        assert [one.request_id for one in alone.acceptances] == [request_id]
    gatherer.accept(Acceptance("r3", None, True, never))  # noqa: FBT003  # as above
    gatherer.close()
    assert handed.get_nowait().acceptances[0].request_id == "r3"


async def test_settlements_of_a_stream_add_no_commit(tmp_path: Path) -> None:
    """Message after message, each commit holds a claim and the acceptance before it."""
    commits = 0

    def count(statement: str) -> None:
        nonlocal commits
        commits += statement == "COMMIT"

    async with SqliteLedger(tmp_path / "ledger.db") as ledger:
        await ledger._opened().run(lambda connection: connection.set_trace_callback(count))
        for _ in range(50):
            message = a_message()
            await claim(ledger, message)
            accept(ledger, message)
        await ledger._opened().run(lambda connection: connection.set_trace_callback(None))
    # Some go alone, if the machine stands still for 50 ms; all of them would make 100.
    assert 50 <= commits < 90


# What may go wrong.


async def test_an_acceptance_that_finds_no_room_comes_back(tmp_path: Path) -> None:
    """A transaction that fails hands its acceptances back, each with the reason."""
    messages = [a_message() for _ in range(3)]
    back: list[tuple[str, Settlement, str]] = []
    async with SqliteLedger(tmp_path / "ledger.db") as ledger:
        for message in messages:
            await claim(ledger, message)

        def fail(_: object) -> None:
            raise OSError("the disk is full")

        for message in messages:
            ledger.accept_soon(
                message.request_id,
                SMS_ID,
                deduplicated=False,
                unrecorded=lambda key, settlement, error: back.append(
                    (key, settlement, str(error))
                ),
            )
        with pytest.raises(LedgerError):
            await ledger._opened().run(fail)
        expected = Settlement(Status.ACCEPTED, None, SMS_ID)
        assert [one[:2] for one in back] == [(one.request_id, expected) for one in messages]
        assert all("the disk is full" in one[2] for one in back)
        assert {entry.status async for entry in ledger.unsettled()} == {Status.UNKNOWN}


async def test_a_client_records_later_what_came_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receipt is given, one warning is logged, and the ledger learns it when it can."""
    async with Emulator() as gateway, SqliteLedger(tmp_path / "ledger.db") as ledger:
        batch = ledger._batch
        store = batch.accept

        def fail(*_: object) -> None:
            monkeypatch.setattr(batch, "accept", store)
            raise OSError("the disk is full")

        monkeypatch.setattr(batch, "accept", fail)
        message = a_message()
        async with EsmsClient(CREDENTIALS, base_url=gateway.url, ledger=ledger) as client:
            assert (await client.send(message)).sms_id is not None
        entry = await ledger.look_up(message.request_id)
        assert entry is not None
        assert entry.status is Status.ACCEPTED
    (record,) = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert "accepted could not be recorded" in record.getMessage()
    assert "the disk is full" in record.getMessage()


async def test_a_client_whose_ledger_was_closed_keeps_its_receipt(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A ledger that somebody closes during the send is a warning, and at last an error."""
    async with Emulator() as gateway:

        class ClosesItself(MemoryLedger):
            async def claim(self, *args: Any, **options: Any) -> Any:
                answer = await super().claim(*args, **options)
                await self.aclose()
                return answer

        ledger = ClosesItself()
        await ledger.open()
        async with EsmsClient(CREDENTIALS, base_url=gateway.url, ledger=ledger) as client:
            assert (await client.send(a_message())).sms_id is not None
    messages = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert len(messages) == 2
    assert "could not be recorded" in messages[0]
    assert "was never recorded; the ledger says it may have been accepted" in messages[1]


async def test_acceptances_of_another_loop_are_stored(tmp_path: Path) -> None:
    """Claims and acceptances of a second event loop go straight to the file."""
    async with SqliteLedger(tmp_path / "ledger.db") as ledger:
        message = a_message()

        async def elsewhere() -> Decision:
            decision, _ = await claim(ledger, message)
            accept(ledger, message)
            await ledger.flush()
            return decision

        assert await asyncio.to_thread(asyncio.run, elsewhere()) is Decision.SEND
        entry = await ledger.look_up(message.request_id)
        assert entry is not None
        assert entry.status is Status.ACCEPTED


# A crash between the receipt and the settlement.

LIFE = """
import asyncio, os, signal, sys
from esms_async import Credentials, EsmsClient, Message
from esms_async.ledger import RedisLedger, SqliteLedger, gather

url, kind, place, prefix, request_id = sys.argv[1:6]
gather._LONGEST_RIDE = 3600.0

async def main():
    ledger = SqliteLedger(place) if kind == "sqlite" else RedisLedger(place, prefix=prefix)
    message = Message("0901888484", "686868 la ma", request_id=request_id)
    async with EsmsClient(Credentials(*sys.argv[6:]), base_url=url, ledger=ledger) as client:
        receipt = await client.send(message)
        print(receipt.sms_id, receipt.deduplicated, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_a_crash_before_the_settlement_costs_one_request(
    request: pytest.FixtureRequest, tmp_path: Path, prefix: str, kind: str
) -> None:
    """The next life finds the message in doubt, asks once, gets 124, and knows it was accepted."""
    server: RedisServer | None = None
    place = str(tmp_path / "ledger.db")
    if kind == "redis":
        server = request.getfixturevalue("redis_server")
        place = server.url
    message = Message("0901888484", "686868 la ma", request_id="order:1")
    async with Emulator() as gateway:
        life = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", LIFE, gateway.url, kind, place, prefix, message.request_id),
            CREDENTIALS.api_key,
            CREDENTIALS.secret_key,
            stdout=asyncio.subprocess.PIPE,
        )
        told, _ = await life.communicate()
        assert life.returncode == -signal.SIGKILL
        sms_id, deduplicated = told.decode().split()
        assert (sms_id != "None", deduplicated) == (True, "False")
        ledger: SqliteLedger | RedisLedger = (
            SqliteLedger(place) if server is None else RedisLedger(place, prefix=prefix)
        )
        async with ledger:
            (entry,) = [one async for one in ledger.unsettled()]
            assert (entry.request_id, entry.status) == (message.request_id, Status.UNKNOWN)
            async with EsmsClient(CREDENTIALS, base_url=gateway.url, ledger=ledger) as client:
                receipt = await client.send(message)
            assert isinstance(receipt, Receipt)
            assert receipt.deduplicated
            assert [one async for one in ledger.unsettled()] == []
        assert gateway.accepted(message.request_id) == 1
        assert len(gateway.requests) == 2
