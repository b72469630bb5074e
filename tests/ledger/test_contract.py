"""What every ledger promises, whatever it keeps its entries in.

The ledgers of the package keep these promises, and so does the example of the docs. To run them on
one of your own, add it to `make_ledger` below: each call makes a view of the same storage.
"""

import asyncio
import itertools
import runpy
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from esms_async import LedgerError, Message, Status
from esms_async.ledger import (
    ONE_MORE_ATTEMPT,
    Decision,
    Entry,
    Ledger,
    LedgerFacts,
    LedgerOptions,
    Reason,
    Settlement,
    redis,
    sqlite,
)
from esms_async.ledger.transitions import (
    CLAIMS,
    CLOCK_TOLERANCE,
    SETTLEMENTS,
    WINDOW,
    Knowledge,
    fingerprint,
)
from tests.factories import a_message
from tests.ledger.conftest import DEFAULTS, KINDS, Clock, make

if TYPE_CHECKING:
    from tests.postgres_server import PostgresServer

KEY = b"a key that is kept elsewhere"
ACCEPTED = Settlement(Status.ACCEPTED, sms_id="d8e0")
REJECTED = Settlement(
    Status.REJECTED, Reason.MESSAGE, code="108", http_status=200, detail="malformed"
)
BALANCE = Settlement(Status.REJECTED, Reason.SENDER, code="103", http_status=200)
NOT_SENT = Settlement(Status.NOT_SENT)
DUPLICATE = Settlement(Status.UNKNOWN, Reason.DUPLICATE)
IN_DOUBT = (Status.UNKNOWN, Reason.ATTEMPT)
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "postgres_ledger.py"


@pytest.fixture(params=[*KINDS, "postgres"])
def make_ledger(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock, prefix: str
) -> Callable[..., Ledger]:
    """Make further views of one ledger, as a process does that is started again."""
    if request.param != "postgres":
        return make(request, tmp_path, clock, prefix)
    server: PostgresServer = request.getfixturevalue("postgres")
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(SQL("CREATE SCHEMA {}").format(Identifier(prefix)))
    url = f"{server.url} options='-c search_path=\"{prefix}\"'"
    example = runpy.run_path(str(EXAMPLE))["PostgresLedger"]
    return lambda options=DEFAULTS: example(url, options=options, clock=clock)


@pytest.fixture
async def views(make_ledger: Callable[[], Ledger]) -> AsyncIterator[tuple[Ledger, Ledger]]:
    """Two open views, as of two processes; the same one where the ledger lets in one process."""
    one, other = make_ledger(), make_ledger()
    await one.open()
    try:
        await other.open()
    except LedgerError as error:
        if "in use" not in str(error):
            raise
        other = one
    yield one, other
    await other.aclose()
    await one.aclose()


async def claim(
    ledger: Ledger, message: Message, *, doubt_age: float | None = None
) -> tuple[Decision, Entry]:
    """Claim a message."""
    answer = await ledger.claim(message, fingerprint(message, KEY), doubt_age=doubt_age)
    return answer.decision, answer.entry


async def test_a_first_claim_may_send_and_is_in_doubt(ledger: Ledger, clock: Clock) -> None:
    """A claim is stored as unknown, from the moment at which an attempt may arrive."""
    message = a_message()
    decision, entry = await claim(ledger, message)
    assert decision is Decision.SEND
    assert (entry.status, entry.reason) == IN_DOUBT
    assert (entry.generation, entry.in_doubt_since) == (1, clock.now)
    assert await ledger.look_up(message.request_id) == entry


async def test_an_unknown_request_id_has_no_entry(ledger: Ledger) -> None:
    """Looking up or settling what was never claimed finds nothing."""
    assert await ledger.look_up("nobody") is None
    assert await ledger.settle("nobody", 1, ACCEPTED) is None
    assert await ledger.settle("nobody", 1, ONE_MORE_ATTEMPT) is None


async def test_an_accepted_send_is_never_sent_again(ledger: Ledger) -> None:
    """A claim of an accepted send is answered with what is stored."""
    message = a_message()
    await claim(ledger, message)
    settled = await ledger.settle(message.request_id, 1, ACCEPTED)
    decision, entry = await claim(ledger, message)
    assert decision is Decision.ALREADY_ACCEPTED
    assert entry == settled
    assert (entry.sms_id, entry.deduplicated) == ("d8e0", False)


async def test_a_rejection_is_stored_with_its_code(ledger: Ledger) -> None:
    """A claim of a rejected message is answered with the rejection."""
    message = a_message()
    await claim(ledger, message)
    await ledger.settle(message.request_id, 1, REJECTED)
    decision, entry = await claim(ledger, message, doubt_age=0.0)
    assert decision is Decision.ALREADY_REJECTED
    assert (entry.code, entry.http_status, entry.detail) == ("108", 200, "malformed")


async def test_an_unsettled_send_is_resumed_inside_the_window(ledger: Ledger, clock: Clock) -> None:
    """A later claim goes on with a higher generation, up to the end of the window."""
    message = a_message()
    await claim(ledger, message)
    clock.advance(WINDOW)
    decision, entry = await claim(ledger, message)
    assert (decision, entry.generation) == (Decision.RESUME, 2)


async def test_an_unsettled_send_expires_after_the_window(ledger: Ledger, clock: Clock) -> None:
    """Past the window nothing may be sent, and the entry stays as it is."""
    message = a_message()
    _, first = await claim(ledger, message)
    clock.advance(WINDOW + 1)
    decision, entry = await claim(ledger, message, doubt_age=0.0)
    assert (decision, entry) == (Decision.EXPIRED, first)


@pytest.mark.parametrize(
    ("back", "decision"),
    [(CLOCK_TOLERANCE, Decision.RESUME), (CLOCK_TOLERANCE + 1, Decision.EXPIRED)],
)
async def test_a_clock_that_was_set_back_does_not_prolong_the_window(
    ledger: Ledger, clock: Clock, back: float, decision: Decision
) -> None:
    """A send claimed in what is the future now is resumed no longer than the gateway's day."""
    message = a_message()
    await claim(ledger, message)
    clock.advance(-back)
    assert (await claim(ledger, message))[0] is decision


async def test_the_window_begins_at_the_first_attempt(ledger: Ledger, clock: Clock) -> None:
    """Resuming does not make the gateway remember longer, so it does not prolong the window."""
    message = a_message()
    await claim(ledger, message)
    clock.advance(WINDOW - 10)
    _, entry = await claim(ledger, message)
    await ledger.settle(message.request_id, entry.generation, ONE_MORE_ATTEMPT)
    clock.advance(20)
    decision, _ = await claim(ledger, message)
    assert decision is Decision.EXPIRED


@pytest.mark.parametrize("settlement", [NOT_SENT, BALANCE])
async def test_a_send_that_never_was_begins_anew(
    ledger: Ledger, clock: Clock, settlement: Settlement
) -> None:
    """After "not sent", or a refusal of the account, the next claim has a window of its own."""
    message = a_message()
    await claim(ledger, message)
    await ledger.settle(message.request_id, 1, settlement)
    clock.advance(2 * WINDOW)
    decision, entry = await claim(ledger, message)
    assert decision is Decision.SEND
    assert (entry.status, entry.reason) == IN_DOUBT
    assert (entry.generation, entry.in_doubt_since, entry.code) == (2, clock.now, None)


async def test_a_caller_who_knows_of_an_attempt_resumes(ledger: Ledger) -> None:
    """What the ledger does not know, its caller may."""
    message = a_message()
    decision, _ = await claim(ledger, message, doubt_age=0.0)
    assert decision is Decision.RESUME


async def test_doubt_begins_when_the_caller_says(ledger: Ledger, clock: Clock) -> None:
    """The window of a message that the ledger does not know begins at the attempt of its caller."""
    message = a_message()
    _, entry = await claim(ledger, message, doubt_age=WINDOW - 10)
    assert entry.in_doubt_since == clock.now - (WINDOW - 10)
    clock.advance(20)
    assert await claim(ledger, message) == (Decision.EXPIRED, entry)


@pytest.mark.parametrize(
    ("phone", "content"), [("0901888485", "686868 la ma"), ("0901888484", "686869 la ma")]
)
async def test_another_message_with_the_same_id_is_a_conflict(
    ledger: Ledger, phone: str, content: str
) -> None:
    """Neither another phone nor another content gets in under a known RequestId."""
    message = Message("0901888484", "686868 la ma")
    _, first = await claim(ledger, message)
    other = Message(phone, content, request_id=message.request_id)
    assert await claim(ledger, other) == (Decision.CONFLICT, first)
    assert await ledger.look_up(message.request_id) == first


async def test_a_rotated_key_is_no_conflict(ledger: Ledger) -> None:
    """Fingerprints of two keys tell nothing of each other."""
    message = a_message()
    await claim(ledger, message)
    answer = await ledger.claim(message, fingerprint(message, b"the next key"))
    assert answer.decision is Decision.RESUME


async def test_a_late_writer_does_not_overwrite_a_newer_claim(ledger: Ledger) -> None:
    """What an earlier claimant did not send says nothing of the later one."""
    message = a_message()
    await claim(ledger, message)
    await claim(ledger, message)
    for late in (NOT_SENT, BALANCE, DUPLICATE):
        entry = await ledger.settle(message.request_id, 1, late)
        assert entry is not None
        assert (entry.status, entry.reason) == IN_DOUBT
        assert (entry.generation, entry.code) == (2, None)


async def test_an_acceptance_counts_whoever_learns_it(ledger: Ledger) -> None:
    """Even the earlier claimant's acceptance settles the send."""
    message = a_message()
    await claim(ledger, message)
    await claim(ledger, message)
    entry = await ledger.settle(message.request_id, 1, ACCEPTED)
    assert entry is not None
    assert entry.status is Status.ACCEPTED


@pytest.mark.parametrize("late", [NOT_SENT, REJECTED, BALANCE, DUPLICATE, ONE_MORE_ATTEMPT])
@pytest.mark.parametrize("generation", [1, 2])
async def test_an_accepted_state_never_goes_back(
    ledger: Ledger, late: Settlement, generation: int
) -> None:
    """Nothing that comes after an acceptance changes it."""
    message = a_message()
    await claim(ledger, message)
    await claim(ledger, message)
    accepted = await ledger.settle(message.request_id, 2, ACCEPTED)
    assert await ledger.settle(message.request_id, generation, late) == accepted
    assert await ledger.look_up(message.request_id) == accepted


async def test_a_lost_sms_id_is_filled_in_and_never_replaced(ledger: Ledger) -> None:
    """A deduplicated acceptance takes the first SMSID that comes."""
    message = a_message()
    await claim(ledger, message)
    await ledger.settle(message.request_id, 1, Settlement(Status.ACCEPTED, deduplicated=True))
    await ledger.settle(message.request_id, 1, ACCEPTED)
    entry = await ledger.settle(message.request_id, 1, Settlement(Status.ACCEPTED, sms_id="other"))
    assert entry is not None
    assert (entry.sms_id, entry.deduplicated) == ("d8e0", True)


async def test_uncertainty_moves_the_last_change_only(ledger: Ledger, clock: Clock) -> None:
    """One more attempt that may have arrived is recorded, and the entry stays in doubt."""
    message = a_message()
    _, first = await claim(ledger, message)
    clock.advance(5)
    entry = await ledger.settle(message.request_id, 1, ONE_MORE_ATTEMPT)
    assert entry is not None
    assert (entry.status, entry.reason) == IN_DOUBT
    assert entry.in_doubt_since == first.in_doubt_since
    assert entry.updated_at == first.in_doubt_since + 5


async def test_concurrent_claims_of_one_message_are_told_apart(ledger: Ledger) -> None:
    """Of many claims at once one is the first; each has its own generation."""
    message = a_message()
    answers = await asyncio.gather(*(claim(ledger, message) for _ in range(20)))
    assert [decision for decision, _ in answers].count(Decision.SEND) == 1
    assert sorted(entry.generation for _, entry in answers) == list(range(1, 21))


async def test_of_two_processes_at_once_one_sends(views: tuple[Ledger, Ledger]) -> None:
    """Of the claims of one message by several views one is the first, so the storage decides."""
    messages = [a_message(f"09{number:08}") for number in range(20)]
    answers = await asyncio.gather(
        *(claim(view, message) for message in messages for view in (*views, *views))
    )
    first = [entry.request_id for decision, entry in answers if decision is Decision.SEND]
    assert sorted(first) == sorted(message.request_id for message in messages)
    generations = Counter(entry.generation for _, entry in answers)
    assert generations == dict.fromkeys((1, 2, 3, 4), len(messages))


async def test_what_two_processes_learn_at_once_is_not_lost(views: tuple[Ledger, Ledger]) -> None:
    """An acceptance stays, whatever another view learns and claims in the same moment."""
    one, other = views
    messages = [a_message(f"09{number:08}") for number in range(20)]
    await asyncio.gather(*(claim(one, message) for message in messages))
    await asyncio.gather(
        *(one.settle(message.request_id, 1, ACCEPTED) for message in messages),
        *(other.settle(message.request_id, 1, ONE_MORE_ATTEMPT) for message in messages),
        *(claim(other, message) for message in messages),
    )
    found = [await other.look_up(message.request_id) for message in messages]
    assert [entry and entry.status for entry in found] == [Status.ACCEPTED] * len(messages)


async def test_unsettled_sends_can_be_listed(ledger: Ledger) -> None:
    """Unknown entries, and no others, are iterated, however many there are."""
    messages = [a_message(f"09{number:08}") for number in range(1200)]
    await asyncio.gather(*(claim(ledger, message) for message in messages))
    await asyncio.gather(
        *(ledger.settle(message.request_id, 1, ACCEPTED) for message in messages[:100])
    )
    found = [entry.request_id async for entry in ledger.unsettled()]
    assert sorted(found) == sorted(message.request_id for message in messages[100:])


async def test_all_sends_can_be_listed(ledger: Ledger) -> None:
    """Every entry is iterated, settled or not."""
    messages = [a_message(f"09{number:08}") for number in range(600)]
    await asyncio.gather(*(claim(ledger, message) for message in messages))
    await asyncio.gather(
        *(ledger.settle(message.request_id, 1, ACCEPTED) for message in messages[:100])
    )
    found = {entry.request_id async for entry in ledger.entries()}
    assert found == {message.request_id for message in messages}


async def test_a_listing_ends_while_claims_come_steadily(
    ledger: Ledger, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds what was there at the start, however slowly its reader goes on."""
    for module in (redis, sqlite):
        monkeypatch.setattr(module, "_PAGE", 2)
    numbers = itertools.count()

    async def claim_next() -> str:
        clock.advance(1)
        message = Message("0901888484", "a", request_id=f"{next(numbers):06}")
        await claim(ledger, message)
        return message.request_id

    there = {await claim_next() for _ in range(5)}
    for listing in (ledger.unsettled, ledger.entries):
        listed, meanwhile = set[str](), set[str]()
        async for entry in listing():
            listed.add(entry.request_id)
            assert len(listed) <= len(there)
            meanwhile |= {await claim_next() for _ in range(3)}
        assert listed == there
        there |= meanwhile


async def test_a_listing_meets_each_entry_once_while_all_are_claimed_again(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A further claim does not move an entry in the order of the listing."""
    for module in (redis, sqlite):
        monkeypatch.setattr(module, "_PAGE", 2)
    messages = [a_message(f"09{number:08}") for number in range(7)]
    for message in messages:
        await claim(ledger, message)
    for listing in (ledger.unsettled, ledger.entries):
        listed: list[str] = []
        async for entry in listing():
            listed.append(entry.request_id)
            for message in messages:
                assert (await claim(ledger, message))[0] is Decision.RESUME
        assert sorted(listed) == sorted(message.request_id for message in messages)


async def test_old_entries_are_pruned(ledger: Ledger, clock: Clock) -> None:
    """Settled entries that did not change for a time are forgotten; open ones only on request."""
    settled, still_open, young = a_message(), a_message(), a_message()
    for message in (settled, still_open):
        await claim(ledger, message)
    await ledger.settle(settled.request_id, 1, ACCEPTED)
    clock.advance(100)
    await claim(ledger, young)
    await ledger.settle(young.request_id, 1, ACCEPTED)
    assert await ledger.prune(50) == 1
    assert await ledger.look_up(settled.request_id) is None
    assert await ledger.look_up(still_open.request_id) is not None
    assert await ledger.prune(50, unsettled=True) == 1
    assert await ledger.look_up(still_open.request_id) is None
    assert await ledger.look_up(young.request_id) is not None


async def test_neither_content_nor_phone_is_stored(ledger: Ledger) -> None:
    """An entry holds a masked phone, no text, and shows neither."""
    message = Message("0901888484", "686868 la ma")
    _, entry = await claim(ledger, message)
    assert (entry.phone, entry.content) == ("090****484", None)
    assert "686868" not in repr(entry)


@pytest.mark.parametrize(
    ("options", "stored"),
    [
        (LedgerOptions(store_phone=True), ("0901888484", None)),
        (LedgerOptions(store_content=True), ("090****484", "686868 la ma")),
    ],
)
async def test_phone_and_content_are_stored_when_asked_for(
    make_ledger: Callable[[LedgerOptions], Ledger],
    options: LedgerOptions,
    stored: tuple[str, str | None],
) -> None:
    """With the option for it an entry holds the full phone, or the text, after each claim."""
    message = Message("0901888484", "686868 la ma")
    ledger = make_ledger(options)
    await ledger.open()
    for _ in range(2):
        _, entry = await claim(ledger, message)
        assert (entry.phone, entry.content) == stored
        assert await ledger.look_up(message.request_id) == entry
    await ledger.aclose()


async def test_the_window_is_that_of_the_options(
    make_ledger: Callable[[LedgerOptions], Ledger], clock: Clock
) -> None:
    """An unsettled send is resumed for as long as the options say, and no longer."""
    message = a_message()
    ledger = make_ledger(LedgerOptions(window=60))
    await ledger.open()
    await claim(ledger, message)
    for pause, decision in ((60, Decision.RESUME), (1, Decision.EXPIRED)):
        clock.advance(pause)
        assert (await claim(ledger, message))[0] is decision
    await ledger.aclose()


async def test_entries_outlive_a_reopening(make_ledger: Callable[[], Ledger], clock: Clock) -> None:
    """What was acknowledged is there after the ledger was closed and opened again."""
    message = a_message()
    first = make_ledger()
    await first.open()
    await claim(first, message)
    await first.aclose()
    second = make_ledger()
    await second.open()
    clock.advance(10)
    assert (await claim(second, message))[0] is Decision.RESUME
    await second.aclose()


async def test_the_first_fact_of_a_name_is_kept(make_ledger: Callable[[], Ledger]) -> None:
    """Later calls get the stored fact, in this opening and in the next."""
    first = make_ledger()
    assert isinstance(first, LedgerFacts)
    await first.open()
    assert await first.keep_fact("destination", "here") == "here"
    assert await first.keep_fact("destination", "there") == "here"
    assert await first.keep_fact("another", "there") == "there"
    await first.aclose()
    second = make_ledger()
    assert isinstance(second, LedgerFacts)
    await second.open()
    assert [entry async for entry in second.entries()] == []
    assert await second.prune(0, unsettled=True) == 0
    assert await second.keep_fact("destination", "there") == "here"
    await second.replace_fact("destination", "there")
    assert await second.facts() == {"destination": "there", "another": "there"}
    await second.aclose()


async def test_a_ledger_that_is_not_open_says_so(make_ledger: Callable[[], Ledger]) -> None:
    """Before `open` and after `aclose` every call is refused in words."""
    ledger = make_ledger()
    assert isinstance(ledger, LedgerFacts)
    await ledger.aclose()
    for _ in range(2):
        assert not ledger.is_open
        with pytest.raises(LedgerError, match="not open"):
            await claim(ledger, a_message())
        with pytest.raises(LedgerError, match="not open"):
            await ledger.look_up("x")
        with pytest.raises(LedgerError, match="not open"):
            await ledger.settle("x", 1, ACCEPTED)
        with pytest.raises(LedgerError, match="not open"):
            await ledger.keep_fact("x", "y")
        with pytest.raises(LedgerError, match="not open"):
            await ledger.replace_fact("x", "y")
        with pytest.raises(LedgerError, match="not open"):
            await ledger.facts()
        with pytest.raises(LedgerError, match="not open"):
            await ledger.prune(1)
        with pytest.raises(LedgerError, match="not open"):
            await anext(ledger.unsettled())
        await ledger.open()
        await ledger.aclose()


# Each row of the tables, on each ledger.


def ids(value: object) -> str | None:
    """Name a row in the list of tests."""
    return " ".join(filter(None, value)) if isinstance(value, tuple) else None


async def hold(ledger: Ledger, message: Message, held: Knowledge) -> None:
    """Bring an entry whose latest generation is 2 to a given state."""
    await claim(ledger, message)
    await claim(ledger, message)
    entry = await ledger.settle(message.request_id, 2, Settlement(*held))
    assert entry is not None
    assert (entry.status, entry.reason, entry.generation) == (*held, 2)


@pytest.mark.parametrize(("held", "decision"), CLAIMS.items(), ids=ids)
async def test_every_row_of_the_claims(
    ledger: Ledger, held: Knowledge | None, decision: Decision
) -> None:
    """A claim is answered as the table says, and stored only if it may send."""
    message = a_message()
    if held is not None:
        await hold(ledger, message, held)
    before = await ledger.look_up(message.request_id)
    answer, entry = await claim(ledger, message)
    assert answer is decision
    assert await ledger.look_up(message.request_id) == entry
    if decision in (Decision.SEND, Decision.RESUME):
        assert entry.generation == (1 if before is None else 3)
        assert (entry.status, entry.reason) == IN_DOUBT
    else:
        assert entry == before


@pytest.mark.parametrize(("generation", "column"), [(2, 0), (1, 1), (0, 1)])
@pytest.mark.parametrize(("held", "learned"), SETTLEMENTS, ids=ids)
async def test_every_row_of_the_settlements(
    ledger: Ledger, held: Knowledge, learned: Knowledge, generation: int, column: int
) -> None:
    """A settlement changes an entry as the table says, and the change is stored."""
    message = a_message()
    await hold(ledger, message, held)
    entry = await ledger.settle(message.request_id, generation, Settlement(*learned))
    assert entry is not None
    assert (entry.status, entry.reason) == SETTLEMENTS[held, learned][column]
    assert await ledger.look_up(message.request_id) == entry
    listed = [each async for each in ledger.unsettled()]
    assert listed == ([entry] if entry.status is Status.UNKNOWN else [])


async def test_doubt_by_124_alone_sends_nothing_at_any_age(ledger: Ledger, clock: Clock) -> None:
    """Neither a claim nor a resumption sends, within the window or past it."""
    message = a_message()
    await claim(ledger, message)
    in_doubt = await ledger.settle(message.request_id, 1, DUPLICATE)
    for pause in (0, WINDOW, WINDOW):
        clock.advance(pause)
        for doubt_age in (None, 0.0, 60.0):
            answer = await claim(ledger, message, doubt_age=doubt_age)
            assert answer == (Decision.DUPLICATE, in_doubt)
    accepted = await ledger.settle(message.request_id, 0, ACCEPTED)
    assert accepted is not None
    assert await claim(ledger, message) == (Decision.ALREADY_ACCEPTED, accepted)
