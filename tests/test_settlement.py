"""The states of a ledger's entries: both tables, held against what the gateway did."""

import hmac
import itertools

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import given

from esms_async import Evidence, Message
from esms_async.outcome import History, Verdict, extend, judge
from esms_async.settlement import (
    CLAIMS,
    KEY_ID_LENGTH,
    SETTLEMENTS,
    WINDOW,
    Claim,
    Decision,
    Entry,
    News,
    Settlement,
    State,
    claim,
    fingerprint,
    fingerprint_key,
    new_entry,
    same_fingerprint,
    settle,
)
from tests.factories import a_message
from tests.test_promises import ModelGateway

KEY = b"a key"
MESSAGE = a_message()


def fresh(now: float = 0.0) -> Entry:
    """Make the entry that a first claim begins with."""
    return new_entry(MESSAGE, fingerprint(MESSAGE, KEY), now=now, phone=False, content=False)


def test_the_tables_are_complete() -> None:
    """Every state, and every state with every news, has its line."""
    assert set(CLAIMS) == {None, *State}
    assert set(SETTLEMENTS) == set(itertools.product(State, News))


@pytest.mark.parametrize("news", News)
def test_accepted_never_goes_back(news: News) -> None:
    """No news of any claimant takes an acceptance away."""
    assert SETTLEMENTS[State.ACCEPTED, news] == (State.ACCEPTED, State.ACCEPTED)


@pytest.mark.parametrize("state", State)
def test_an_acceptance_always_counts(state: State) -> None:
    """Whoever learns of an acceptance, and whatever was believed before, it is one."""
    assert SETTLEMENTS[state, News.ACCEPTED] == (State.ACCEPTED, State.ACCEPTED)


@attrs.define
class Replica:
    """A process that pursues the message: what it was told at its claim, and knows since."""

    answer: Claim
    history: History


NEWS = {
    Verdict.ACCEPTED: News.ACCEPTED,
    Verdict.DEDUPLICATED: News.ACCEPTED,
    Verdict.REJECTED: News.REJECTED,
    Verdict.UNKNOWN: News.UNCERTAIN,
    Verdict.RETRY_ELSE_NOT_SENT: News.RELEASED,
    Verdict.RETRY_ELSE_UNKNOWN: News.UNCERTAIN,
}
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["claim", "attempt", "settle", "crash"]),
        st.integers(0, 2),
        st.sampled_from(["never leaves", "lost on the way", "answered", "answer lost"]),
    ),
    max_size=25,
)


@given(steps=STEPS, refuses_message=st.booleans())
def test_replicas_that_crash_anywhere_never_send_twice(
    steps: list[tuple[str, int, str]], *, refuses_message: bool
) -> None:
    """Three replicas claim, attempt, settle and die in any order: one acceptance, no lie."""
    gateway = ModelGateway(refuses_message)
    entry: Entry | None = None
    replicas: dict[int, Replica] = {}
    learnt: dict[int, Verdict] = {}
    for step, who, event in steps:
        replica = replicas.get(who)
        if step == "claim" and replica is None:
            answer = claim(entry, fresh(), now=0, window=WINDOW, resume=False)
            entry = answer.entry
            if answer.decision in (Decision.SEND, Decision.RESUME):
                resumes = answer.decision is Decision.RESUME
                history = History.AMBIGUOUS if resumes else History.CLEAN
                replicas[who] = Replica(answer, history)
            elif answer.decision is Decision.ALREADY_ACCEPTED:
                assert gateway.accepted == 1
            else:
                assert answer.decision is Decision.ALREADY_REJECTED
                assert gateway.accepted == 0
        elif step == "attempt" and replica is not None and who not in learnt:
            evidence = gateway.meet(event)
            learnt[who] = judge(replica.history, evidence)
            replica.history = extend(replica.history, evidence)
        elif step == "settle" and who in learnt:
            assert entry is not None
            assert replica is not None
            news, generation = NEWS[learnt.pop(who)], replica.answer.entry.generation
            del replicas[who]
            entry = settle(entry, generation, Settlement(news), now=0)
        elif step == "crash":
            replicas.pop(who, None)
            learnt.pop(who, None)
        assert gateway.accepted <= 1
        if entry is not None and entry.state is State.ACCEPTED:
            assert gateway.accepted == 1


def test_a_duplicate_learnt_by_an_earlier_claimant_does_not_hide_an_acceptance() -> None:
    """124 on a clean history is no rejection once another claimant may have been accepted."""
    first = claim(None, fresh(), now=0, window=WINDOW, resume=False).entry
    second = claim(first, fresh(), now=0, window=WINDOW, resume=False).entry
    assert judge(History.CLEAN, Evidence.DUPLICATE) is Verdict.REJECTED
    entry = settle(second, first.generation, Settlement(News.REJECTED, code="124"), now=0)
    assert entry.state is State.OPEN


def test_nothing_changes_an_entry_that_stays() -> None:
    """News that change nothing give back the entry itself, which need not be written."""
    entry = settle(fresh(), 1, Settlement(News.REJECTED, code="108"), now=1)
    for news in (News.REJECTED, News.RELEASED, News.UNCERTAIN):
        assert settle(entry, 1, Settlement(news), now=2) is entry
    accepted = settle(fresh(), 1, Settlement(News.ACCEPTED, sms_id="a"), now=1)
    assert settle(accepted, 1, Settlement(News.ACCEPTED, sms_id="b"), now=2) is accepted


def test_a_fingerprint_tells_messages_apart() -> None:
    """Phone and content make the fingerprint; the RequestId does not."""
    base = fingerprint(MESSAGE, KEY)
    assert fingerprint(MESSAGE.renewed(), KEY) == base
    other_phone = Message("0901888485", MESSAGE.content)
    other_text = Message(MESSAGE.phone, "686869 la ma")
    for other in (other_phone, other_text):
        assert not same_fingerprint(base, fingerprint(other, KEY))


@pytest.mark.parametrize("key", [b"k", bytes(32), b"\xff" * 64], ids=len)
def test_a_fingerprint_is_an_hmac(key: bytes) -> None:
    """A fingerprint names its key, and is the HMAC-SHA-256 that the standard library computes."""
    text = f"{MESSAGE.phone}\n{MESSAGE.content}".encode()
    named = hmac.digest(key, b"key id", "sha256")[:KEY_ID_LENGTH]
    assert fingerprint(MESSAGE, key) == named + hmac.digest(key, text, "sha256")[:16]


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
