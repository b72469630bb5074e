"""The tables of the ledger, held against a model of the gateway and its clients."""

import hashlib
import itertools
from typing import Final

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import given

from esms_async import Message, Status
from esms_async.ledger.transitions import (
    CLAIMS,
    KEY_ID_LENGTH,
    ONE_MORE_ATTEMPT,
    SETTLEMENTS,
    WINDOW,
    Claim,
    Decision,
    Entry,
    Knowledge,
    Reason,
    Settlement,
    accept,
    claim,
    fingerprint,
    fingerprint_key,
    key_id,
    new_entry,
    same_fingerprint,
    settle,
)
from tests.factories import a_message

KEY = b"a key"
MESSAGE = a_message()

ACCEPTED: Final = (Status.ACCEPTED, None)
REJECTED: Final = (Status.REJECTED, Reason.MESSAGE)
REFUSED: Final = (Status.REJECTED, Reason.SENDER)
NOT_SENT: Final = (Status.NOT_SENT, None)
IN_DOUBT: Final = (Status.UNKNOWN, Reason.ATTEMPT)
DUPLICATE: Final = (Status.UNKNOWN, Reason.DUPLICATE)
EVERYTHING: Final = (ACCEPTED, REJECTED, REFUSED, NOT_SENT, IN_DOUBT, DUPLICATE)
HOUR = 3600.0


def fresh(now: float = 0.0) -> Entry:
    """Make the entry that a first claim begins with."""
    return new_entry(
        MESSAGE, fingerprint(MESSAGE, KEY), now=now, doubt_age=None, phone=False, content=False
    )


def test_the_tables_are_complete() -> None:
    """Everything that can be known, alone and in pairs, has its row."""
    assert set(CLAIMS) == {None, *EVERYTHING}
    assert set(SETTLEMENTS) == set(itertools.product(EVERYTHING, EVERYTHING))


@pytest.mark.parametrize("known", EVERYTHING)
def test_an_acceptance_counts_and_never_goes_back(known: Knowledge) -> None:
    """It holds whichever claim learns it, whatever was known before and is learned later."""
    assert SETTLEMENTS[known, ACCEPTED] == (ACCEPTED, ACCEPTED)
    assert SETTLEMENTS[ACCEPTED, known] == (ACCEPTED, ACCEPTED)


@pytest.mark.parametrize("known", [REFUSED, NOT_SENT, IN_DOUBT, DUPLICATE])
def test_only_proof_ends_the_doubt_by_124_alone(known: Knowledge) -> None:
    """An acceptance or a rejection of the message itself ends it, nothing else."""
    assert SETTLEMENTS[DUPLICATE, known] == (DUPLICATE, DUPLICATE)


@attrs.define
class Gateway:
    """Takes an id once in 24 hours; may refuse the message for ever, or the sender for a time."""

    refuses_message: bool
    accepted: int = 0
    accepted_at: float = -1e9

    def answer(self, now: float, *, refuses_sender: bool) -> str:
        """Return the code for one request."""
        if refuses_sender:
            return "103"
        if now - self.accepted_at < 24 * HOUR:
            return "124"
        if self.refuses_message:
            return "108"
        self.accepted += 1
        self.accepted_at = now
        return "100"


@attrs.define
class Replica:
    """A process that sends the message: its claim, and what it has learned since."""

    claim: Claim
    ambiguous: bool
    learned: Knowledge = NOT_SENT
    answered: bool = False

    def attempt(self, gateway: Gateway, event: str, now: float, *, refuses_sender: bool) -> None:
        """Make one attempt, unless an answer came or the claim is too old to write anything."""
        if self.answered or now - self.claim.entry.in_doubt_since > WINDOW:
            return
        if event == "never leaves":
            self.learned = IN_DOUBT if self.ambiguous else NOT_SENT
            return
        code = None
        if event != "lost on the way":
            code = gateway.answer(now, refuses_sender=refuses_sender)
        if event != "answered":
            self.ambiguous, self.learned = True, IN_DOUBT
            return
        self.answered = True
        match code:
            case "100":
                self.learned = ACCEPTED
            case "124":
                self.learned = ACCEPTED if self.ambiguous else DUPLICATE
            case "108":
                self.learned = REJECTED
            case _:
                self.learned = IN_DOUBT if self.ambiguous else REFUSED


def assert_true(entry: Entry | None, accepted: int, *, lost: bool) -> None:
    """See that nothing went twice, and that the ledger says what is so."""
    assert accepted <= 1
    if entry is None or entry.status is Status.UNKNOWN:
        return
    if entry.status is Status.ACCEPTED:
        assert accepted == 1
    elif not lost:
        # "Not sent" and "rejected" speak of the attempts that the ledger knows.
        assert accepted == 0


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *["claim"] * 3,
                *["attempt"] * 4,
                *["settle"] * 2,
                "crash",
                "wait",
                "wait long",
                "lose",
            ]
        ),
        st.integers(0, 1),
        st.sampled_from(["never leaves", "lost on the way", "answered", "answer lost"]),
        st.sampled_from([False, False, False, True]),
    ),
    min_size=5,
    max_size=30,
)


@given(steps=STEPS, refuses_message=st.booleans())
def test_replicas_that_crash_anywhere_never_send_twice_and_never_lie(
    steps: list[tuple[str, int, str, bool]], *, refuses_message: bool
) -> None:
    """Two replicas claim, attempt, settle and die in any order, also over a ledger that is lost.

    The gateway accepts once at most, and the ledger never says what is not so.
    """
    gateway, entry, now, lost = Gateway(refuses_message), None, 0.0, False
    replicas: dict[int, Replica] = {}
    for step, who, event, refuses_sender in steps:
        now += 60
        replica = replicas.get(who)
        if step == "claim" and replica is None:
            answer = claim(entry, fresh(now), now=now, window=WINDOW, resume=False)
            entry = answer.entry
            if answer.decision in (Decision.SEND, Decision.RESUME):
                replicas[who] = Replica(answer, answer.decision is Decision.RESUME)
        elif step == "attempt" and replica is not None:
            replica.attempt(gateway, event, now, refuses_sender=refuses_sender)
        elif step == "settle" and replica is not None:
            assert entry is not None
            ambiguous = replica.ambiguous and replica.learned == NOT_SENT
            learned = IN_DOUBT if ambiguous else replica.learned
            generation = replica.claim.entry.generation
            entry = settle(entry, generation, Settlement(*learned), now=now)
            del replicas[who]
        elif step == "crash":
            replicas.pop(who, None)
        elif step.startswith("wait") and not lost:
            now += (30 if step == "wait long" else 10) * HOUR
        elif step == "lose" and not replicas and now - gateway.accepted_at < 24 * HOUR:
            # Without a ledger only the gateway knows, for 24 hours: no time passes after this.
            entry, lost = None, True
        assert_true(entry, gateway.accepted, lost=lost)


def test_a_settlement_that_changes_nothing_keeps_the_entry_itself() -> None:
    """Such an entry need not be written."""
    entry = settle(fresh(), 1, Settlement(*REJECTED, code="108"), now=1)
    for learned in (REJECTED, REFUSED, NOT_SENT, IN_DOUBT, DUPLICATE):
        assert settle(entry, 1, Settlement(*learned), now=2) is entry
    accepted = settle(fresh(), 1, Settlement(*ACCEPTED, sms_id="a"), now=1)
    assert settle(accepted, 1, Settlement(*ACCEPTED, sms_id="b"), now=2) is accepted


def test_one_more_attempt_moves_the_last_change_alone() -> None:
    """The moment since which the message is in doubt stays."""
    entry = settle(fresh(), 1, ONE_MORE_ATTEMPT, now=7)
    assert entry == attrs.evolve(fresh(), updated_at=7)


def test_a_fingerprint_tells_messages_apart() -> None:
    """Phone and content make the fingerprint; the RequestId does not."""
    base = fingerprint(MESSAGE, KEY)
    assert fingerprint(MESSAGE.renewed(), KEY) == base
    other_phone = Message("0901888485", MESSAGE.content)
    other_text = Message(MESSAGE.phone, "686869 la ma")
    for other in (other_phone, other_text):
        assert not same_fingerprint(base, fingerprint(other, KEY))


@pytest.mark.parametrize("key", [b"k", bytes(32), b"\xff" * 64], ids=len)
def test_a_fingerprint_is_a_keyed_hash(key: bytes) -> None:
    """A fingerprint names its key, and is the keyed BLAKE2 of RFC 7693 over phone and content."""
    text = f"{MESSAGE.phone}\n{MESSAGE.content}".encode()
    named, mac = (
        hashlib.blake2b(data, key=key, digest_size=16).digest() for data in (b"key id", text)
    )
    assert fingerprint(MESSAGE, key) == named[:KEY_ID_LENGTH] + mac
    assert key_id(key) == named[:KEY_ID_LENGTH]


@pytest.mark.parametrize("held", EVERYTHING)
@pytest.mark.parametrize("sms_id", [None, "d8e0"])
@pytest.mark.parametrize("known_id", [None, "r1"])
def test_an_acceptance_is_what_its_settlement_is(
    held: Knowledge, sms_id: str | None, known_id: str | None
) -> None:
    """`accept` and `settle` give one entry, whatever is held and whoever learns it."""
    entry = attrs.evolve(
        fresh(),
        status=held[0],
        reason=held[1],
        sms_id=known_id,
        code=None if held[0] is Status.ACCEPTED else "300",
    )
    settlement = Settlement(Status.ACCEPTED, sms_id=sms_id, deduplicated=sms_id is None)
    accepted = accept(entry, sms_id, deduplicated=sms_id is None, now=77.0)
    for generation in (0, entry.generation):
        assert accepted == settle(entry, generation, settlement, now=77.0)


def test_fingerprints_of_two_keys_tell_nothing() -> None:
    """After a rotation of keys no message is taken for another one."""
    assert same_fingerprint(fingerprint(MESSAGE, KEY), fingerprint(MESSAGE, b"next"))
    assert fingerprint(MESSAGE, KEY) != fingerprint(MESSAGE, b"next")


def test_a_code_cannot_be_found_from_its_fingerprint() -> None:
    """Trying every code without the key finds nothing; with the key it would."""
    secret = fingerprint_key("SECRET")
    message = Message("0901888484", "0042")
    stolen = fingerprint(message, secret)

    def tries(key: bytes) -> list[str]:
        return [
            f"{code:04}"
            for code in range(10_000)
            if fingerprint(Message("0901888484", f"{code:04}"), key) == stolen
        ]

    assert tries(b"a guess") == []
    assert tries(secret) == ["0042"]
