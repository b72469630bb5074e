"""How a final delivery report is handed on once: the states of its handover, and what may follow.

Everything that decides over a handover lives in this file, in two tables, which a ledger applies
as it does those of `esms_async.settlement`.

Why each line is as it is:

- A handover is written down before the application's handler is called, with a lease. While the
  lease runs, nobody else calls the handler; a process that dies lets it run out, and the next
  report of the same message and state begins again.
- Only success is for ever. It is a fact whoever learns it, also one whose lease had run out.
- Who gives up ends the turn of nobody but itself.
"""

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs


class Stage(enum.StrEnum):
    """How far the handover of a report is."""

    UNDER_WAY = "under way"
    DONE = "done"
    GIVEN_UP = "given up"


class Answer(enum.StrEnum):
    """What one who would hand a report on is told."""

    GO = "go"
    """Hand it on."""
    WAIT = "wait"
    """Another is at it, who may succeed or not."""
    DONE = "done"
    """It was handed on."""


# fmt: off
BEGINNINGS: Final[Mapping[Stage | None, tuple[Answer, Answer]]] = MappingProxyType({
    # stage           while its lease runs  after that
    None:            (Answer.GO,            Answer.GO),
    Stage.UNDER_WAY: (Answer.WAIT,          Answer.GO),
    Stage.DONE:      (Answer.DONE,          Answer.DONE),
    Stage.GIVEN_UP:  (Answer.GO,            Answer.GO),
})
"""What one is told who would begin a handover."""

ENDINGS: Final[Mapping[tuple[Stage, bool], tuple[Stage, Stage]]] = MappingProxyType({
    # stage,           success  by the latest turn  by an earlier turn
    (Stage.UNDER_WAY, True):  (Stage.DONE,          Stage.DONE),
    (Stage.UNDER_WAY, False): (Stage.GIVEN_UP,      Stage.UNDER_WAY),
    (Stage.DONE,      True):  (Stage.DONE,          Stage.DONE),
    (Stage.DONE,      False): (Stage.DONE,          Stage.DONE),
    (Stage.GIVEN_UP,  True):  (Stage.DONE,          Stage.DONE),
    (Stage.GIVEN_UP,  False): (Stage.GIVEN_UP,      Stage.GIVEN_UP),
})
"""The stage of a handover after a turn at it has ended, with success or without."""
# fmt: on


@attrs.frozen
class Handover:
    """What a ledger holds of the handover of one report.

    Attributes:
        request_id: The RequestId of the message.
        state: What the report says became of it.
        stage: How far it is.
        turn: How often it was begun; the latest turn is the one with this number.
        until: When the lease runs out, or where none does, when the handover last changed;
            seconds since the epoch on the ledger's clock.
    """

    request_id: str
    state: str
    stage: Stage
    turn: int
    until: float


@attrs.frozen
class Turn:
    """The answer to one who would begin a handover.

    Attributes:
        answer: What to do.
        handover: The handover, as it stands then.
    """

    answer: Answer
    handover: Handover


def begin(known: Handover | None, fresh: Handover, *, now: float) -> Turn:
    """Answer one who would begin a handover.

    Args:
        known: What the ledger holds of it, or None.
        fresh: The handover to begin with where there is none (`new_handover`).
        now: The time on the ledger's clock, seconds since the epoch.

    Returns:
        What to do, with the handover to store; it is the given one where nothing changes.
    """
    if known is None:
        return Turn(BEGINNINGS[None][0], fresh)
    while_it_runs, after = BEGINNINGS[known.stage]
    answer = while_it_runs if now <= known.until else after
    if answer is Answer.GO:
        return Turn(answer, attrs.evolve(fresh, turn=known.turn + 1))
    return Turn(answer, known)


def end(known: Handover, turn: int, *, success: bool, now: float) -> Handover:
    """Apply the end of a turn to a handover.

    Args:
        known: What the ledger holds of it.
        turn: The number of the turn that has ended.
        success: True where the report was handed on.
        now: The time on the ledger's clock, seconds since the epoch.

    Returns:
        The handover to store; it is the given one where nothing changes.
    """
    by_latest, by_earlier = ENDINGS[known.stage, success]
    stage = by_latest if turn == known.turn else by_earlier
    return known if stage is known.stage else attrs.evolve(known, stage=stage, until=now)


def new_handover(request_id: str, state: str, *, now: float, lease: float) -> Handover:
    """Return the handover that a first turn begins with.

    Args:
        request_id: The RequestId of the message.
        state: What the report says became of it.
        now: The time on the ledger's clock, seconds since the epoch.
        lease: For how many seconds nobody else may hand the report on.
    """
    return Handover(request_id, state, Stage.UNDER_WAY, 1, now + lease)
