"""The outcome table, row by row, and how an answer is read."""

import itertools

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esms_async import Evidence
from esms_async._model.codes import CODES, Scope
from esms_async._send import outcome
from esms_async._send.outcome import (
    OUTCOMES,
    REJECTED_USES_UP_ID,
    SETTLING_CODES,
    Conclusion,
    History,
    evidence_of_code,
    judge,
    judge_answer,
    settles,
)
from esms_async._wire.send import Answer

CLEAN, AMBIGUOUS = History.CLEAN, History.AMBIGUOUS
SETTLING = ["108", "163", "201", "300"]
NOT_SETTLING = sorted({*CODES, "0", "98", "999", "123456"} - {"100", "124", *SETTLING})
REFUSING = [status for status in range(400, 500) if status not in {408, 425, 429}]

# The conclusion where a rejected send frees its RequestId, and where it uses it up.
ROWS: dict[tuple[History, Evidence], tuple[Conclusion, Conclusion]] = {
    (CLEAN, Evidence.ACCEPTED): (Conclusion.ACCEPTED, Conclusion.ACCEPTED),
    (CLEAN, Evidence.DUPLICATE): (Conclusion.DUPLICATE, Conclusion.DUPLICATE),
    (CLEAN, Evidence.MESSAGE_REJECTED): (Conclusion.REJECTED, Conclusion.REJECTED),
    (CLEAN, Evidence.REFUSED): (Conclusion.REJECTED, Conclusion.REJECTED),
    (CLEAN, Evidence.MAY_HAVE_ARRIVED): (
        Conclusion.RETRY_ELSE_UNKNOWN,
        Conclusion.RETRY_ELSE_UNKNOWN,
    ),
    (CLEAN, Evidence.NOTHING_LEFT): (
        Conclusion.RETRY_ELSE_NOT_SENT,
        Conclusion.RETRY_ELSE_NOT_SENT,
    ),
    (AMBIGUOUS, Evidence.ACCEPTED): (Conclusion.ACCEPTED, Conclusion.ACCEPTED),
    (AMBIGUOUS, Evidence.DUPLICATE): (Conclusion.DEDUPLICATED, Conclusion.UNKNOWN),
    (AMBIGUOUS, Evidence.MESSAGE_REJECTED): (Conclusion.REJECTED, Conclusion.REJECTED),
    (AMBIGUOUS, Evidence.REFUSED): (Conclusion.UNKNOWN, Conclusion.UNKNOWN),
    (AMBIGUOUS, Evidence.MAY_HAVE_ARRIVED): (
        Conclusion.RETRY_ELSE_UNKNOWN,
        Conclusion.RETRY_ELSE_UNKNOWN,
    ),
    (AMBIGUOUS, Evidence.NOTHING_LEFT): (
        Conclusion.RETRY_ELSE_UNKNOWN,
        Conclusion.RETRY_ELSE_UNKNOWN,
    ),
}


@pytest.mark.parametrize("assumed", [False, True], ids=["frees the id", "uses it up"])
@pytest.mark.parametrize("row", ROWS, ids="-".join)
def test_every_row(
    monkeypatch: pytest.MonkeyPatch, row: tuple[History, Evidence], *, assumed: bool
) -> None:
    """Each row says what the design says, under both values of the assumption."""
    monkeypatch.setattr(outcome, "REJECTED_USES_UP_ID", assumed)
    assert judge(*row) is OUTCOMES[assumed][row] is ROWS[row][assumed]


def test_the_table_is_complete_and_read_only() -> None:
    """Every history meets every evidence, once; every verdict occurs; nothing can be changed."""
    for table in OUTCOMES.values():
        assert set(table) == set(ROWS) == set(itertools.product(History, Evidence))
        with pytest.raises(TypeError):
            table[CLEAN, Evidence.DUPLICATE] = Conclusion.ACCEPTED  # type: ignore[index]  # that it is refused is the point
    assert set(OUTCOMES[False].values()) == set(Conclusion)
    assert not REJECTED_USES_UP_ID


@pytest.mark.parametrize("code", SETTLING)
def test_a_code_that_settles(code: str) -> None:
    """Every attempt of the message would meet it, so it rejects after any history."""
    assert evidence_of_code(code) is Evidence.MESSAGE_REJECTED
    assert settles(code)


@pytest.mark.parametrize("code", NOT_SETTLING)
def test_a_code_that_settles_nothing(code: str) -> None:
    """It refuses the attempt that met it, and tells nothing of earlier ones."""
    assert evidence_of_code(code) is Evidence.REFUSED
    assert not settles(code)


def test_the_codes_that_have_a_meaning_of_their_own() -> None:
    """100 alone accepts, 124 alone is a duplicate, and neither settles; nor does no code at all."""
    assert evidence_of_code("100") is Evidence.ACCEPTED
    assert evidence_of_code("124") is Evidence.DUPLICATE
    assert not any(map(settles, ["100", "124", None]))
    assert set(SETTLING) == SETTLING_CODES
    assert all(CODES[code].scope is not Scope.ACCOUNT for code in SETTLING)


EVERY_CODE = ["100", "124", *SETTLING, *NOT_SETTLING]


@pytest.mark.parametrize("code", EVERY_CODE)
@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 299])
def test_a_code_under_a_2xx(status: int, code: str) -> None:
    """Behind a 2xx the code decides."""
    assert judge_answer(Answer(status, code)) == (evidence_of_code(code), None)


@pytest.mark.parametrize("code", EVERY_CODE)
def test_a_code_under_a_4xx_that_refuses(code: str) -> None:
    """The code decides, except that code 100 contradicts the status."""
    for status in REFUSING:
        expected: tuple[Evidence, str | None] = (evidence_of_code(code), None)
        if code == "100":
            expected = Evidence.MAY_HAVE_ARRIVED, f"code 100 with HTTP status {status}"
        assert judge_answer(Answer(status, code)) == expected


def test_a_4xx_without_a_code() -> None:
    """Whatever stands in front of the gateway refused, unless the gateway's own error came."""
    for status in REFUSING:
        assert judge_answer(Answer(status, problem="no JSON")) == (
            Evidence.REFUSED,
            f"HTTP status {status}",
        )
        error = Answer(status, problem="an error object", is_error_object=True)
        assert judge_answer(error) == (Evidence.MAY_HAVE_ARRIVED, "an error object")


@pytest.mark.parametrize("is_error_object", [False, True])
def test_a_2xx_without_a_code(*, is_error_object: bool) -> None:
    """An answer that can't be read leaves open whether the message was taken."""
    answer = Answer(200, problem="why", is_error_object=is_error_object)
    assert judge_answer(answer) == (Evidence.MAY_HAVE_ARRIVED, "why")


@pytest.mark.parametrize(
    "status",
    [
        *(-1, 0, 99, 100, 101, 103, 300, 301, 302, 303, 304, 307, 308, 399),
        *(408, 425, 429, 500, 502, 503, 504, 507, 520, 599, 600, 999),
    ],
)
@pytest.mark.parametrize("code", [None, "100", "101", "108", "124"])
def test_any_other_status_proves_nothing(status: int, code: str | None) -> None:
    """1xx, 3xx, 408, 425, 429, 5xx and an invalid status: whatever else the answer says."""
    problem = None if code else "the answer holds no CodeResult"
    for is_error_object in (False, True):
        answer = Answer(status, code, problem=problem, is_error_object=is_error_object)
        assert judge_answer(answer) == (Evidence.MAY_HAVE_ARRIVED, f"HTTP status {status}")


@attrs.define
class GatewayModel:
    """A gateway that makes its checks in some order, and takes a RequestId once.

    Attributes:
        checks: What it checks, in this order.
        message_code: The code with which it refuses the message, whenever it comes.
        uses_up_id: Whether a send that it refuses uses up the RequestId.
        seen: Whether the RequestId came before.
        accepted: How often it accepted the message.
    """

    checks: list[str]
    message_code: str | None
    uses_up_id: bool
    seen: bool
    accepted: int = 0

    def answer(self, account_code: str | None) -> str:
        """Answer to a request that has arrived."""
        found = {
            "account": account_code,
            "message": self.message_code,
            "request id": "124" if self.seen else None,
        }
        for check in self.checks:
            if (code := found[check]) is not None:
                self.seen = self.seen or self.uses_up_id
                return code
        self.seen = True
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
        if self.fate == "delivered twice":
            code = gateway.answer(self.account_code)
        return Evidence.MAY_HAVE_ARRIVED if self.fate == "answer lost" else evidence_of_code(code)


FATES = ["never left", "lost on the way", "answer lost", "answered", "delivered twice"]
tries = st.lists(
    st.builds(
        Try,
        fate=st.sampled_from(FATES),
        account_code=st.sampled_from([None, None, "99", "101", "103", "140", "177", "4711"]),
    ),
    min_size=1,
    max_size=8,
)
TRUE_NUMBERS_OF_ACCEPTED = {
    Conclusion.ACCEPTED: {1},
    Conclusion.DEDUPLICATED: {1},
    Conclusion.REJECTED: {0},
    Conclusion.DUPLICATE: {0, 1},
    Conclusion.UNKNOWN: {0, 1},
    Conclusion.RETRY_ELSE_NOT_SENT: {0},
    Conclusion.RETRY_ELSE_UNKNOWN: {0, 1},
}


@pytest.mark.parametrize("uses_up_id", [False, True], ids=["frees the id", "uses it up"])
@given(
    checks=st.permutations(["account", "message", "request id"]),
    message_code=st.sampled_from([None, None, *SETTLING]),
    used_by_another=st.booleans(),
    attempts=tries,
)
def test_every_verdict_is_true_of_the_gateway(
    checks: list[str],
    message_code: str | None,
    attempts: list[Try],
    *,
    used_by_another: bool,
    uses_up_id: bool,
) -> None:
    """Whatever is lost and in whatever order the gateway checks, no verdict is a lie.

    The one exception is known by `deduplicated`: an attempt that never arrived, under a
    RequestId that somebody used for another send.
    """
    gateway = GatewayModel(checks, message_code, uses_up_id, seen=used_by_another)
    history = CLEAN
    for attempt in attempts:
        evidence = attempt.make(gateway)
        verdict = OUTCOMES[uses_up_id][history, evidence]
        assert gateway.accepted in TRUE_NUMBERS_OF_ACCEPTED[verdict] or (
            verdict is Conclusion.DEDUPLICATED and used_by_another
        )
        if evidence is Evidence.MAY_HAVE_ARRIVED:
            history = AMBIGUOUS
        if verdict not in {Conclusion.RETRY_ELSE_NOT_SENT, Conclusion.RETRY_ELSE_UNKNOWN}:
            break
