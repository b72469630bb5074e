"""Decides who may hand a delivery report to the application: two tables, and what applies them.

Every ledger that keeps reports applies these tables.

Why each row is as it is:

- A handover is stored with a lease before the application's handler is called. While the lease
  runs, nobody else calls the handler. If the process dies, the lease runs out, and the next
  report with the same RequestId and state begins again.
- Only success is final. It counts whoever reports it, even after its lease has run out.
- Giving up ends only the caller's own turn.
"""

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs


class Stage(enum.StrEnum):
    """How far the handover of a report has come."""

    UNDER_WAY = "under way"
    DONE = "done"
    GIVEN_UP = "given up"


class Answer(enum.StrEnum):
    """The answer to a caller who wants to hand a report over."""

    GO = "go"
    """Hand it over."""
    WAIT = "wait"
    """Another caller is handing it over, and may still fail."""
    DONE = "done"
    """It was handed over."""


# fmt: off
BEGINNINGS: Final[Mapping[Stage | None, tuple[Answer, Answer]]] = MappingProxyType({
    # stage           while its lease runs  after that
    None:            (Answer.GO,            Answer.GO),
    Stage.UNDER_WAY: (Answer.WAIT,          Answer.GO),
    Stage.DONE:      (Answer.DONE,          Answer.DONE),
    Stage.GIVEN_UP:  (Answer.GO,            Answer.GO),
})
"""The answer to a caller who wants to begin a handover."""

ENDINGS: Final[Mapping[tuple[Stage, bool], tuple[Stage, Stage]]] = MappingProxyType({
    # stage,           success  by the latest turn  by an earlier turn
    (Stage.UNDER_WAY, True):  (Stage.DONE,          Stage.DONE),
    (Stage.UNDER_WAY, False): (Stage.GIVEN_UP,      Stage.UNDER_WAY),
    (Stage.DONE,      True):  (Stage.DONE,          Stage.DONE),
    (Stage.DONE,      False): (Stage.DONE,          Stage.DONE),
    (Stage.GIVEN_UP,  True):  (Stage.DONE,          Stage.DONE),
    (Stage.GIVEN_UP,  False): (Stage.GIVEN_UP,      Stage.GIVEN_UP),
})
"""The stage of a handover after a turn has ended, by the number of that turn."""
# fmt: on


@attrs.frozen
class Handover:
    """What a ledger holds of the handover of one report.

    Attributes:
        request_id: The RequestId of the message.
        state: What the report says.
        stage: How far it has come.
        turn: How often it was begun; the latest turn has this number.
        until: When the lease runs out, or without a lease, when the handover last changed;
            seconds since the epoch on the ledger's clock.
    """

    request_id: str
    state: str
    stage: Stage
    turn: int
    until: float


@attrs.frozen
class Turn:
    """The answer to a caller who wants to begin a handover.

    Attributes:
        answer: What to do.
        handover: The handover, as it stands then.
    """

    answer: Answer
    handover: Handover


def begin(known: Handover | None, fresh: Handover, *, now: float) -> Turn:
    """Answer a caller who wants to begin a handover.

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
    """Return the handover after a turn has ended.

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
        state: What the report says.
        now: The time on the ledger's clock, seconds since the epoch.
        lease: For how many seconds nobody else may hand the report on.
    """
    return Handover(request_id, state, Stage.UNDER_WAY, 1, now + lease)
