"""The outcome table: every history with every evidence, and each rule that is easy to get wrong."""

import itertools

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esms_async import CODES, Evidence, Scope
from esms_async.outcome import (
    OUTCOMES,
    History,
    Verdict,
    evidence_of_code,
    evidence_of_status,
    extend,
    judge,
    meets_every_attempt,
)

CLEAN, AMBIGUOUS = History.CLEAN, History.AMBIGUOUS
ACCOUNT_WIDE = ["101", "102", "103", "118", "140", "143"]
OF_THE_MESSAGE = ["99", "108", "163", "177", "201", "300"]
UNLISTED = ["0", "98", "109", "999", "123456"]
OF_OTHER_PRODUCTS = [code for code, row in CODES.items() if row.scope is Scope.OTHER]
FINAL_STATUSES = [status for status in range(400, 500) if status not in {408, 425, 429}]


def after(history: History, code: str) -> Verdict:
    """Tell what follows from a coded answer."""
    return judge(history, evidence_of_code(code))


def test_the_table_is_complete() -> None:
    """Every history meets every evidence in the table, once, and nothing else stands there."""
    assert set(OUTCOMES) == set(itertools.product(History, Evidence))
    assert all(judge(*place) is verdict for place, verdict in OUTCOMES.items())
    assert set(OUTCOMES.values()) == set(Verdict)


def test_the_table_cannot_be_changed() -> None:
    """The table is read-only."""
    with pytest.raises(TypeError):
        OUTCOMES[CLEAN, Evidence.DUPLICATE] = Verdict.ACCEPTED  # type: ignore[index]  # that it is refused is the point


@pytest.mark.parametrize("history", History)
def test_code_100_is_acceptance(history: History) -> None:
    """Code 100 is acceptance whatever came before."""
    assert after(history, "100") is Verdict.ACCEPTED


def test_code_124_without_an_ambiguous_attempt_is_a_rejection() -> None:
    """On a clean history somebody else used the RequestId: this phone gets nothing."""
    assert after(CLEAN, "124") is Verdict.REJECTED


def test_code_124_after_an_ambiguous_attempt_is_acceptance() -> None:
    """After an attempt that may have arrived, 124 says that it did."""
    assert after(AMBIGUOUS, "124") is Verdict.DEDUPLICATED


def test_code_124_is_the_only_way_to_deduplicate() -> None:
    """No other code, and no other history, is read as an earlier acceptance."""
    places = [place for place, verdict in OUTCOMES.items() if verdict is Verdict.DEDUPLICATED]
    assert places == [(AMBIGUOUS, Evidence.DUPLICATE)]
    assert [code for code in CODES if evidence_of_code(code) is Evidence.DUPLICATE] == ["124"]
    assert [code for code in CODES if evidence_of_code(code) is Evidence.ACCEPTED] == ["100"]


@pytest.mark.parametrize("code", ACCOUNT_WIDE)
def test_an_account_wide_rejection(code: str) -> None:
    """It rejects a first attempt, and proves nothing about an earlier one."""
    assert CODES[code].scope is Scope.ACCOUNT
    assert after(CLEAN, code) is Verdict.REJECTED
    assert after(AMBIGUOUS, code) is Verdict.UNKNOWN
    assert not meets_every_attempt(code)


@pytest.mark.parametrize("code", OF_THE_MESSAGE)
def test_a_rejection_of_the_message(code: str) -> None:
    """It would have met every earlier attempt of the same message too."""
    assert CODES[code].scope in {Scope.MESSAGE, Scope.CALLER}
    assert after(CLEAN, code) is Verdict.REJECTED
    assert after(AMBIGUOUS, code) is Verdict.REJECTED
    assert meets_every_attempt(code)


@pytest.mark.parametrize("code", [*OF_OTHER_PRODUCTS, *UNLISTED])
def test_a_code_of_which_nothing_else_is_known(code: str) -> None:
    """It rejects the attempt that met it, and tells nothing of earlier ones."""
    assert after(CLEAN, code) is Verdict.REJECTED
    assert after(AMBIGUOUS, code) is Verdict.UNKNOWN
    assert not meets_every_attempt(code)


def test_every_code_has_a_rule() -> None:
    """No listed code is left out of the tests above."""
    tested = {"100", "124", *ACCOUNT_WIDE, *OF_THE_MESSAGE, *OF_OTHER_PRODUCTS}
    assert tested == set(CODES)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 507, 520, 599])
@pytest.mark.parametrize("history", History)
def test_statuses_that_are_tried_again(history: History, status: int) -> None:
    """408, 425, 429 and 5xx may hide an acceptance, and are tried again."""
    evidence = evidence_of_status(status)
    assert evidence is Evidence.MAY_HAVE_ARRIVED
    assert judge(history, evidence) is Verdict.RETRY_ELSE_UNKNOWN
    assert extend(history, evidence) is AMBIGUOUS


def test_any_other_4xx_is_a_refusal() -> None:
    """The service refused to read this request, which tells nothing of earlier ones."""
    assert {evidence_of_status(status) for status in FINAL_STATUSES} == {Evidence.SENDER_REJECTED}
    assert judge(CLEAN, Evidence.SENDER_REJECTED) is Verdict.REJECTED
    assert judge(AMBIGUOUS, Evidence.SENDER_REJECTED) is Verdict.UNKNOWN


@pytest.mark.parametrize("status", [100, 101, 103, 300, 301, 302, 303, 304, 307, 308, 399])
def test_a_redirect_is_never_success(status: int) -> None:
    """A redirect, or what is no final answer, leaves open whether the message was taken."""
    assert evidence_of_status(status) is Evidence.MAY_HAVE_ARRIVED


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 299])
def test_a_2xx_says_nothing_by_itself(status: int) -> None:
    """Behind a 2xx the body decides."""
    assert evidence_of_status(status) is None


@pytest.mark.parametrize("status", [-1, 0, 99, 600, 999])
def test_what_is_no_status_is_open(status: int) -> None:
    """A status that HTTP does not know leaves open whether the message was taken."""
    assert evidence_of_status(status) is Evidence.MAY_HAVE_ARRIVED


def test_nothing_left() -> None:
    """An attempt of which nothing left is tried again, and changes nothing of what was."""
    assert judge(CLEAN, Evidence.NOTHING_LEFT) is Verdict.RETRY_ELSE_NOT_SENT
    assert judge(AMBIGUOUS, Evidence.NOTHING_LEFT) is Verdict.RETRY_ELSE_UNKNOWN


evidences = st.lists(st.sampled_from(Evidence))


@given(evidences, st.sampled_from(History))
def test_the_history_never_goes_back(sequence: list[Evidence], start: History) -> None:
    """A history is ambiguous from the first attempt on that may have arrived, for ever."""
    history, seen = start, start is AMBIGUOUS
    for evidence in sequence:
        history = extend(history, evidence)
        seen = seen or evidence is Evidence.MAY_HAVE_ARRIVED
        assert (history is AMBIGUOUS) == seen


@given(evidences, st.sampled_from(Evidence))
def test_certainty_needs_a_certain_past(sequence: list[Evidence], last: Evidence) -> None:
    """Once an attempt may have arrived, nothing is "not sent", and no sender's fault is final."""
    history = CLEAN
    for evidence in sequence:
        history = extend(history, evidence)
    verdict = judge(history, last)
    if Evidence.MAY_HAVE_ARRIVED in sequence:
        assert verdict is not Verdict.RETRY_ELSE_NOT_SENT
        assert (verdict is Verdict.REJECTED) == (last is Evidence.MESSAGE_REJECTED)
    else:
        assert verdict is not Verdict.DEDUPLICATED
        assert verdict is not Verdict.UNKNOWN


@attrs.define
class GatewayModel:
    """A gateway that makes its checks in some order, and takes a RequestId once."""

    checks: list[str]
    message_code: str | None
    used_by_another: bool
    accepted: int = 0

    def answer(self, account_code: str | None) -> str:
        """Answer to a request that has arrived."""
        seen = self.accepted or self.used_by_another
        found = {
            "account": account_code,
            "message": self.message_code,
            "request id": "124" if seen else None,
        }
        for check in self.checks:
            if (code := found[check]) is not None:
                return code
        self.accepted += 1
        return "100"


@attrs.frozen
class Try:
    """What befalls one attempt on its way, and how the account stands when it arrives."""

    fate: str
    account_code: str | None

    def make(self, gateway: GatewayModel) -> Evidence:
        """Make the attempt."""
        if self.fate == "never left":
            return Evidence.NOTHING_LEFT
        if self.fate == "lost on the way":
            return Evidence.MAY_HAVE_ARRIVED
        code = gateway.answer(self.account_code)
        return Evidence.MAY_HAVE_ARRIVED if self.fate == "answer lost" else evidence_of_code(code)


gateways = st.builds(
    GatewayModel,
    checks=st.permutations(["account", "message", "request id"]),
    message_code=st.sampled_from([None, None, *OF_THE_MESSAGE]),
    used_by_another=st.booleans(),
)
tries = st.lists(
    st.builds(
        Try,
        fate=st.sampled_from(["never left", "lost on the way", "answer lost", "answered"]),
        account_code=st.sampled_from([None, None, *ACCOUNT_WIDE]),
    ),
    min_size=1,
    max_size=8,
)


@given(gateways, tries)
def test_every_verdict_is_true_of_the_gateway(gateway: GatewayModel, attempts: list[Try]) -> None:
    """Whatever is lost and in whatever order the gateway checks, no verdict is a lie.

    The one exception is known by `deduplicated`: an attempt that never arrived, under a
    RequestId that somebody used for another send.
    """
    history = CLEAN
    for attempt in attempts:
        evidence = attempt.make(gateway)
        verdict, history = judge(history, evidence), extend(history, evidence)
        truths = TRUE_NUMBERS_OF_ACCEPTED[verdict]
        assert gateway.accepted in truths or (
            verdict is Verdict.DEDUPLICATED and gateway.used_by_another
        )
        if verdict not in {Verdict.RETRY_ELSE_NOT_SENT, Verdict.RETRY_ELSE_UNKNOWN}:
            break


TRUE_NUMBERS_OF_ACCEPTED = {
    Verdict.ACCEPTED: {1},
    Verdict.DEDUPLICATED: {1},
    Verdict.REJECTED: {0},
    Verdict.UNKNOWN: {0, 1},
    Verdict.RETRY_ELSE_NOT_SENT: {0},
    Verdict.RETRY_ELSE_UNKNOWN: {0, 1},
}
