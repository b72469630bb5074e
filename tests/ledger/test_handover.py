"""The tables of a report's handover: once with success, never by two at a time."""

import pytest

from esms_async.ledger.handover import (
    BEGINNINGS,
    ENDINGS,
    Answer,
    Handover,
    Stage,
    begin,
    end,
    new_handover,
)

NOW = 1000.0
FRESH = new_handover("id", "delivered", now=NOW, lease=10)


def known(stage: Stage, *, until: float = NOW, turn: int = 2) -> Handover:
    """Make a handover that is at a stage."""
    return Handover("id", "delivered", stage, turn, until)


def test_every_stage_has_its_lines() -> None:
    """The tables leave no stage and no end out."""
    assert set(BEGINNINGS) == {None, *Stage}
    assert set(ENDINGS) == {(stage, success) for stage in Stage for success in (True, False)}


def test_a_first_turn_has_a_lease() -> None:
    """What nobody has begun is begun, until its lease runs out."""
    turn = begin(None, FRESH, now=NOW)
    assert (turn.answer, turn.handover) == (Answer.GO, FRESH)
    assert (FRESH.stage, FRESH.turn, FRESH.until) == (Stage.UNDER_WAY, 1, NOW + 10)


@pytest.mark.parametrize(
    ("stage", "until", "answer"),
    [
        (Stage.UNDER_WAY, NOW + 0.001, Answer.WAIT),
        (Stage.UNDER_WAY, NOW, Answer.WAIT),
        (Stage.UNDER_WAY, NOW - 0.001, Answer.GO),
        (Stage.GIVEN_UP, NOW, Answer.GO),
        (Stage.GIVEN_UP, NOW - 5, Answer.GO),
        (Stage.DONE, NOW, Answer.DONE),
        (Stage.DONE, NOW - 1e9, Answer.DONE),
    ],
)
def test_who_would_begin_is_told(stage: Stage, until: float, answer: Answer) -> None:
    """While the lease runs others wait; after it they begin; what is done stays done."""
    before = known(stage, until=until)
    turn = begin(before, FRESH, now=NOW)
    assert turn.answer is answer
    if answer is Answer.GO:
        assert turn.handover == known(Stage.UNDER_WAY, until=NOW + 10, turn=3)
    else:
        assert turn.handover is before


@pytest.mark.parametrize(
    ("stage", "turn", "success", "after"),
    [
        (Stage.UNDER_WAY, 2, True, Stage.DONE),
        (Stage.UNDER_WAY, 2, False, Stage.GIVEN_UP),
        (Stage.UNDER_WAY, 1, True, Stage.DONE),
        (Stage.UNDER_WAY, 1, False, Stage.UNDER_WAY),
        (Stage.GIVEN_UP, 1, True, Stage.DONE),
        (Stage.GIVEN_UP, 1, False, Stage.GIVEN_UP),
        (Stage.DONE, 2, False, Stage.DONE),
        (Stage.DONE, 1, True, Stage.DONE),
    ],
)
def test_a_turn_ends(stage: Stage, turn: int, success: bool, after: Stage) -> None:
    """Success counts whoever learns it; giving up ends one's own turn alone."""
    before = known(stage, until=NOW - 1)
    ended = end(before, turn, success=success, now=NOW)
    if after is stage:
        assert ended is before
    else:
        assert (ended.stage, ended.turn, ended.until) == (after, 2, NOW)
