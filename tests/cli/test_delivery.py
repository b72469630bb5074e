"""The way of a job's messages to the gateway."""

from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest

from esms_async import (
    DuplicateRequestId,
    EsmsClient,
    Message,
    Outcome,
    Rejected,
    RequestIdConflict,
    Status,
)
from esms_async.cli.delivery import Courier
from esms_async.emulator import Emulator
from esms_async.ledger import Reason, Settlement, SqliteLedger
from esms_async.ledger.transitions import fingerprint, fingerprint_key
from tests.factories import CREDENTIALS, ONE_ATTEMPT

_MESSAGE = Message("0901888484", "686868 la ma", request_id="row")


async def _one(message: Message) -> AsyncIterator[Message]:
    yield message


class _Runs:
    """Runs of a job of one message, each of which is a client and a ledger of its own."""

    def __init__(self, path: Path, emulator: Emulator) -> None:
        self._path = path
        self._emulator = emulator
        self.expected: list[str] = []

    async def run(
        self, message: Message = _MESSAGE, *, anew: bool = False, ledger: bool = True
    ) -> Outcome:
        kept = SqliteLedger(self._path) if ledger else None
        async with EsmsClient(
            CREDENTIALS, base_url=self._emulator.url, ledger=kept, retry=ONE_ATTEMPT
        ) as client:
            courier = Courier(
                client, kept, concurrency=1, retry_rejected=anew, expect=self.expected.append
            )
            (outcome,) = [outcome async for outcome in courier.deliver(_one(message))]
        assert outcome.message is message
        return outcome

    @property
    def sent(self) -> list[str | None]:
        """The RequestIds of the requests, in order."""
        return [request.request_id for request in self._emulator.requests]


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[_Runs]:
    """Runs against an emulator that lives as long as the test."""
    async with Emulator() as emulator:
        yield _Runs(tmp_path / "a.ledger", emulator)


@pytest.mark.parametrize("ledger", [False, True])
async def test_a_message_is_sent(runs: _Runs, ledger: bool) -> None:  # a parameter of a test
    """With a ledger or without, a message goes out under its own RequestId."""
    outcome = await runs.run(ledger=ledger)
    assert outcome.ok
    assert runs.sent == runs.expected == ["row"]


async def test_without_a_ledger_a_refusal_is_final(runs: _Runs) -> None:
    """What no ledger holds is sent under its own RequestId each time."""
    refused = attrs.evolve(_MESSAGE, phone="0900000201")
    for _ in range(2):
        assert (await runs.run(refused, ledger=False)).status is Status.REJECTED
    assert runs.sent == ["row", "row"]


async def test_what_was_rejected_stays_so_until_it_is_to_be_sent_anew(runs: _Runs) -> None:
    """A further run repeats the refusal without a request; with the option it sends anew."""
    runs._emulator.fault("code:201,times=2")
    for _ in range(2):
        assert (await runs.run()).status is Status.REJECTED
    assert runs.sent == ["row"]
    refused = await runs.run(anew=True)
    assert isinstance(refused.error, Rejected)
    first_retry = refused.error.request_id
    assert runs.sent == ["row", first_retry]
    accepted = (await runs.run(anew=True)).receipt
    assert accepted is not None
    assert len({"row", first_retry, accepted.request_id}) == 3
    assert runs.sent == ["row", first_retry, accepted.request_id]
    assert runs.expected == ["row", "row", "row", first_retry, *runs.sent]


@pytest.mark.parametrize("anew", [False, True])
async def test_what_was_sent_anew_is_known_again(runs: _Runs, anew: bool) -> None:  # a parameter
    """A run after a retry that was accepted makes no request, whatever its options."""
    runs._emulator.fault("code:201,times=1")
    await runs.run()
    first = (await runs.run(anew=True)).receipt
    again = (await runs.run(anew=anew)).receipt
    assert first is not None
    assert again is not None
    assert (again.request_id, again.sms_id) == (first.request_id, first.sms_id)
    assert (len(first.attempts), len(again.attempts)) == (1, 0)
    assert len(runs.sent) == 2


@pytest.mark.parametrize("anew", [False, True])
async def test_a_retry_that_was_cut_off_is_taken_up(runs: _Runs, anew: bool) -> None:  # the same
    """A retry that may have arrived goes on under its own RequestId, and arrives once."""
    runs._emulator.fault("code:201,times=1")
    await runs.run()
    runs._emulator.fault("reset,phase=after,times=1")
    assert (await runs.run(anew=True)).status is Status.UNKNOWN
    receipt = (await runs.run(anew=anew)).receipt
    assert receipt is not None
    assert receipt.deduplicated
    assert runs.sent[1:] == [receipt.request_id] * 2
    assert runs._emulator.mark() == 1


async def test_a_duplicate_is_never_sent_anew(runs: _Runs) -> None:
    """What the gateway has seen, in a run that this ledger does not know of, has arrived."""
    await runs.run(ledger=False)
    for anew in (False, True):
        outcome = await runs.run(anew=anew)
        assert isinstance(outcome.error, DuplicateRequestId)
    assert runs._emulator.mark() == 1


async def test_a_mended_text_can_be_sent_anew(runs: _Runs) -> None:
    """A row with a key whose text was mended is a conflict, until it is to be sent anew."""
    runs._emulator.fault("code:201,times=1")
    await runs.run()
    mended = attrs.evolve(_MESSAGE, content="686868 la ma xac minh")
    assert isinstance((await runs.run(mended)).error, RequestIdConflict)
    assert (await runs.run(mended, anew=True)).ok
    assert (await runs.run(mended)).ok
    # What has arrived stays what it was.
    again = attrs.evolve(_MESSAGE, content="another text")
    assert isinstance((await runs.run(again, anew=True)).error, RequestIdConflict)
    assert runs._emulator.mark() == 1


async def test_what_the_ledger_has_forgotten_is_not_sent_anew(
    runs: _Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the rejection is not found again, nothing is known that would allow a retry."""
    async with SqliteLedger(runs._path) as ledger:
        print_of_it = fingerprint(_MESSAGE, fingerprint_key(CREDENTIALS.secret_key))
        claim = await ledger.claim(_MESSAGE, print_of_it)
        rejected = Settlement(Status.REJECTED, Reason.MESSAGE, code="201", http_status=200)
        entry = await ledger.settle("row", claim.entry.generation, rejected)
        assert entry is not None
        assert entry.status is Status.REJECTED

    async def forget(*_: object) -> None:
        return None

    monkeypatch.setattr(SqliteLedger, "look_up", forget)
    assert (await runs.run(anew=True)).status is Status.REJECTED
    assert runs.sent == []
