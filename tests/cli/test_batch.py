"""What the ledger holds of a row decides what becomes of it."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
import time_machine

from esms_async import Credentials, FixedNumber, Message, Status
from esms_async.cli.batch import AheadLedger, Batch, Manifest
from esms_async.cli.errors import InputError
from esms_async.cli.rows import BulkRow, RowIds, RowStatus
from esms_async.cli.words import text
from esms_async.emulator import Emulator
from esms_async.ledger import Claim, Ledger, Settlement, SqliteLedger
from esms_async.ledger.memory import MemoryLedger
from esms_async.ledger.transitions import Reason
from esms_async.testing import EmulatedClient

_IDS = RowIds("a", "secret")


@pytest.fixture(params=["sqlite", "memory"])
async def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AheadLedger]:
    """A ledger that claims in batches, and one that can't."""
    wrapped = SqliteLedger(tmp_path / "a.ledger") if request.param == "sqlite" else MemoryLedger()
    ahead = AheadLedger(wrapped)
    ahead.make_fingerprints_with("secret", FixedNumber())
    await ahead.open()
    yield ahead
    await ahead.aclose()


def _batch(ledger: AheadLedger, **flags: bool) -> Batch:
    return Batch(ledger, "a", secret="secret", ids=_IDS, **flags)


def _row(content: str = "a", *, phone: str = "0901888484") -> BulkRow:
    row = BulkRow(2, [phone, content])
    row.phone, row.content = phone, content
    row.request_id = _IDS.of_phone(phone)
    return row


async def _hold(ledger: AheadLedger, row: BulkRow, settlement: Settlement | None) -> None:
    """Have another run claim a row, and settle it."""
    message = row.message
    claim = await ledger.wrapped.claim(message, ledger.fingerprint(message))
    if settlement is not None:
        await ledger.settle(message.request_id, claim.entry.generation, settlement)


async def test_what_is_claimed_ahead_is_what_the_client_gets(ledger: AheadLedger) -> None:
    """The client asks for its claim once; what was not begun can be released."""
    rows = [_row(), _row(phone="0901888485")]
    assert await _batch(ledger).claim(rows) == rows
    message = rows[0].message
    ahead = ledger.claimed_ahead(message.request_id)
    assert ahead is not None
    assert ahead.claim.entry.request_id == message.request_id
    assert ledger.claimed_ahead(message.request_id) is None
    await ledger.release()
    first, second = await ledger.look_up_batch([row.request_id for row in rows])
    assert first is not None
    assert second is not None
    # The first was begun, so it stays in doubt.
    assert (first.status, second.status) == (Status.UNKNOWN, Status.NOT_SENT)
    assert [entry.request_id async for entry in ledger.unsettled()] == [rows[0].request_id]
    assert len([entry async for entry in ledger.entries()]) == 2
    assert await ledger.look_up(rows[1].request_id) == second
    assert await ledger.prune(0, unsettled=True) in {0, 1, 2}
    await ledger.flush()


async def test_the_client_claims_only_what_was_not_claimed_ahead(ledger: AheadLedger) -> None:
    """A claim that was made ahead costs the client no second one; any other message does."""
    wrapped = ledger.wrapped
    asked: list[str] = []

    class Counting(AheadLedger):
        async def claim(
            self, message: Message, fingerprint: bytes, *, doubt_age: float | None = None
        ) -> Claim:
            asked.append(message.request_id)
            return await super().claim(message, fingerprint, doubt_age=doubt_age)

    counting = Counting(wrapped)
    keys = Credentials("key", "secret")
    async with Emulator() as gateway, EmulatedClient(gateway, keys, ledger=counting) as client:
        counting.make_fingerprints_with(keys.secret_key, client.route)
        await client.reconcile(())
        ahead, other = Message("0901888484", "a"), Message("0901888485", "a")
        await counting.claim_ahead([ahead])
        receipts = [await client.send(message) for message in (ahead, other)]
    assert all(receipt.sms_id for receipt in receipts)
    assert asked == [other.request_id]


async def test_a_batch_that_another_process_began_meanwhile_is_not_begun(tmp_path: Path) -> None:
    """Under its secret the rows have other ids, so each could be sent a second time."""
    ahead = AheadLedger(SqliteLedger(tmp_path / "a.ledger"))
    await ahead.open()
    mine, other = (
        Batch(ahead, "a", secret=secret, ids=RowIds("a", secret)) for secret in ("one", "other")
    )
    manifest = Manifest.of("one", "column content", key=None, route="fixed", columns=())
    await mine.check(manifest)
    await other.begin(manifest)
    await _hold(ahead, _row(), None)
    with pytest.raises(InputError, match="sent under another secret key"):
        await mine.begin(manifest)
    await ahead.aclose()


_ACCEPTED = Settlement(Status.ACCEPTED, sms_id="s")
_REJECTED = Settlement(Status.REJECTED, Reason.MESSAGE, code="201")
_NOT_SENT = Settlement(Status.NOT_SENT)


@pytest.mark.parametrize(
    ("settlement", "held", "flags", "status"),
    [
        (_ACCEPTED, "a", {}, RowStatus.ALREADY_DONE),
        (_REJECTED, "a", {}, RowStatus.REJECTED),
        (_REJECTED, "a", {"retry_rejected": True}, None),
        (_NOT_SENT, "a", {}, None),
        (_ACCEPTED, "b", {}, RowStatus.HELD_BACK),
        (_ACCEPTED, "b", {"allow_again": True}, None),
        (_ACCEPTED, "b", {"template_changed": True}, RowStatus.ALREADY_DONE),
        (_ACCEPTED, "b", {"is_keyed": True}, RowStatus.INVALID),
        (None, "b", {}, RowStatus.HELD_BACK),
        (None, "b", {"template_changed": True}, RowStatus.UNKNOWN),
        (_REJECTED, "b", {}, None),
        (_REJECTED, "b", {"is_keyed": True}, RowStatus.INVALID),
        (_REJECTED, "b", {"is_keyed": True, "template_changed": True}, None),
    ],
)
@pytest.mark.parametrize("is_new", [True, False])
async def test_the_ledger_decides(
    ledger: AheadLedger,
    settlement: Settlement | None,
    held: str,
    flags: dict[str, bool],
    status: RowStatus | None,
    is_new: bool,
) -> None:
    """The table of the module, also where another run was there between look-up and claim."""
    await _hold(ledger, _row(held), settlement)
    batch = _batch(ledger, **flags)
    # What another run claims after the look-up is met at the claim.
    batch.is_new = is_new
    row = _row()
    to_send = await batch.claim([row])
    assert (row.status, to_send) == (status, [] if status else [row])


async def test_a_row_that_expired_by_the_clock_of_the_ledger_is_unknown(tmp_path: Path) -> None:
    """Also where the clock of this machine says that it could be resumed."""
    hour = 3600.0
    offset = -22.75 * hour

    def clock() -> float:
        return time.time() + offset

    ahead = AheadLedger(SqliteLedger(tmp_path / "a.ledger", clock=clock))
    ahead.make_fingerprints_with("secret", FixedNumber())
    await ahead.open()
    row = _row()
    await ahead.wrapped.claim(row.message, ahead.fingerprint(row.message))
    offset = 0.5 * hour
    assert await _batch(ahead).claim([row]) == []
    assert (row.status, str(row.reason)) == (RowStatus.UNKNOWN, str(text("expired")))
    await ahead.aclose()


async def test_what_another_process_settled_before_the_claim_counts(ledger: AheadLedger) -> None:
    """The look-up found nothing yet, and the claim finds a rejection."""
    await _hold(ledger, _row(), _REJECTED)
    batch, row = _batch(ledger), _row()
    batch.is_new = True
    assert await batch.claim([row]) == []
    assert row.status is RowStatus.REJECTED


async def test_a_chain_is_followed_to_its_end(ledger: AheadLedger) -> None:
    """Each further try has the next id, and the third finds the first two."""
    seen = set[str]()
    for _ in range(3):
        row = _row()
        (to_send,) = await _batch(ledger, retry_rejected=True).claim([row])
        seen.add(to_send.request_id)
        ahead = ledger.claimed_ahead(row.request_id)
        assert ahead is not None
        await ledger.settle(row.request_id, ahead.claim.entry.generation, _REJECTED)
    assert len(seen) == 3


async def test_a_further_text_keeps_the_id_under_which_it_was_the_first(
    ledger: AheadLedger,
) -> None:
    """The order of the rows may change between runs; another first text changes nothing."""
    await _hold(ledger, _row("a"), _ACCEPTED)
    for content, status in (("a", RowStatus.ALREADY_DONE), ("b", None)):
        row = _row(content)
        row.is_again = True
        row.request_id = _IDS.of_text("0901888484", content, 1)
        await _batch(ledger, allow_again=True).preview([row])
        assert row.status is status


async def test_two_texts_to_a_phone_never_end_up_under_one_id(ledger: AheadLedger) -> None:
    """Also where the rows change their order, and the text that was the first was rejected."""
    await _hold(ledger, _row("x"), _REJECTED)
    batch = _batch(ledger, allow_again=True, retry_rejected=True)
    first, again = _row("y"), _row("x")
    again.is_again = True
    again.request_id = _IDS.of_text("0901888484", "x", 1)
    for row in (first, again):
        assert await batch.claim([row]) == [row]
        await ledger.settle(row.request_id, 1, _ACCEPTED)
    assert first.request_id != again.request_id
    assert again.code == ""


async def test_a_doubt_that_is_too_old_stays_unknown(tmp_path: Path) -> None:
    """A row in doubt is resumed for 23 hours; a day later nobody can tell."""
    for age, status in ((3600.0, None), (25 * 3600.0, RowStatus.UNKNOWN)):
        async with SqliteLedger(tmp_path / f"{age}.ledger") as wrapped:
            ahead = AheadLedger(wrapped)
            ahead.make_fingerprints_with("secret", FixedNumber())
            with time_machine.travel(time.time() - age, tick=False):
                await _hold(ahead, _row(), None)
            row = _row()
            await _batch(ahead).preview([row])
            assert row.status is status


_REFUSED = Settlement(Status.REJECTED, Reason.SENDER, code="101")


@pytest.mark.parametrize(
    ("settlement", "gives_way"),
    [(_REFUSED, True), (_NOT_SENT, True), (_ACCEPTED, False), (_REJECTED, False), (None, False)],
)
async def test_what_a_ledger_was_begun_with_gives_way_until_a_message_is_settled(
    tmp_path: Path, settlement: Settlement | None, gives_way: bool
) -> None:
    """A mistyped key or address can be corrected while no message was accepted or may have been."""
    async with SqliteLedger(tmp_path / "a.ledger") as wrapped:
        ahead = AheadLedger(wrapped)
        ahead.make_fingerprints_with("secret", FixedNumber())
        assert await ahead.keep_fact("account", "mistyped") == "mistyped"
        await _hold(ahead, _row(phone="0901888485"), _NOT_SENT)
        await _hold(ahead, _row(), settlement)
        now = "corrected" if gives_way else "mistyped"
        assert await ahead.keep_fact("account", "corrected") == now
        assert (await ahead.facts())["account"] == now


async def test_what_a_shared_ledger_was_begun_with_stays() -> None:
    """Another process may be about to send by it, so an empty one is no proof."""
    async with MemoryLedger() as wrapped:
        ahead = AheadLedger(wrapped)
        assert await ahead.keep_fact("account", "mistyped") == "mistyped"
        assert await ahead.keep_fact("account", "corrected") == "mistyped"


async def test_a_batch_that_kept_its_template_as_it_was_spelled_goes_on(
    ledger: AheadLedger,
) -> None:
    """An earlier version kept the spelling; from now on the columns count."""
    batch = _batch(ledger)

    def manifest(template: str, former: str | None = None) -> Manifest:
        return Manifest.of(
            "secret", template, former=former, key=None, route="fixed", columns=("Mã",)
        )

    await batch.begin(manifest("template {Mã}"))
    await batch.check(manifest("template {mã}", "template {Mã}"))
    await batch.begin(manifest("template {mã}", "template {Mã}"))
    await batch.check(manifest("template {mã}", "template {MÃ}"))
    with pytest.raises(InputError, match="another text"):
        await batch.check(manifest("template {tên}", "template {Tên}"))


async def test_a_ledger_without_facts_can_t_keep_a_batch() -> None:
    """The error names the kind of ledger."""

    class Bare:
        is_open = True

    ahead = AheadLedger(cast("Ledger", Bare()))
    with pytest.raises(InputError, match="Bare"):
        await _batch(ahead).check(Manifest.of("secret", "t", key=None, route="fixed", columns=()))
    # Nor does it queue acceptances, so the client settles each.
    assert not ahead.accept_soon("r", "s", deduplicated=False, unrecorded=print)
    await ahead.flush()
