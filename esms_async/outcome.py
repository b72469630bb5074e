"""The outcome table: what a message's attempts so far, and what just came, mean for the caller.

Everything that turns evidence into an outcome lives in this file, and the table below is all of
it. A message's history is CLEAN until one attempt may have arrived; then it stays AMBIGUOUS.

Why each line is as it is:

- 124 says that the gateway has seen the RequestId. Only a history that holds an attempt which may
  have arrived makes that attempt the one it saw; else somebody used the id for another send.
- A rejection of the message itself would have met every earlier attempt too, so none of them was
  accepted. A rejection of the sender (keys, balance, lock, IP address, an HTTP refusal by
  whatever stands in front of the gateway, a code that no page lists) may be news since the last
  attempt, or be checked before the RequestId: it tells nothing of earlier attempts.
- After an attempt that may have arrived, one of which nothing left changes nothing.
"""

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from esms_async.codes import CODES, Scope
from esms_async.messages import Evidence


class History(enum.StrEnum):
    """What the earlier attempts of a message leave possible."""

    CLEAN = "clean"
    """No earlier attempt can have reached the gateway."""
    AMBIGUOUS = "ambiguous"
    """At least one earlier attempt may have been accepted."""


class Verdict(enum.Enum):
    """What follows from an attempt."""

    ACCEPTED = "accepted"
    DEDUPLICATED = "accepted by an earlier attempt"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    RETRY_ELSE_NOT_SENT = "try again, else not sent"
    RETRY_ELSE_UNKNOWN = "try again, else unknown"


_CLEAN, _AMBIGUOUS = History.CLEAN, History.AMBIGUOUS

# fmt: off
OUTCOMES: Final[Mapping[tuple[History, Evidence], Verdict]] = MappingProxyType({
    (_CLEAN,     Evidence.ACCEPTED):         Verdict.ACCEPTED,
    (_CLEAN,     Evidence.DUPLICATE):        Verdict.REJECTED,
    (_CLEAN,     Evidence.MESSAGE_REJECTED): Verdict.REJECTED,
    (_CLEAN,     Evidence.SENDER_REJECTED):  Verdict.REJECTED,
    (_CLEAN,     Evidence.MAY_HAVE_ARRIVED): Verdict.RETRY_ELSE_UNKNOWN,
    (_CLEAN,     Evidence.NOTHING_LEFT):     Verdict.RETRY_ELSE_NOT_SENT,

    (_AMBIGUOUS, Evidence.ACCEPTED):         Verdict.ACCEPTED,
    (_AMBIGUOUS, Evidence.DUPLICATE):        Verdict.DEDUPLICATED,
    (_AMBIGUOUS, Evidence.MESSAGE_REJECTED): Verdict.REJECTED,
    (_AMBIGUOUS, Evidence.SENDER_REJECTED):  Verdict.UNKNOWN,
    (_AMBIGUOUS, Evidence.MAY_HAVE_ARRIVED): Verdict.RETRY_ELSE_UNKNOWN,
    (_AMBIGUOUS, Evidence.NOTHING_LEFT):     Verdict.RETRY_ELSE_UNKNOWN,
})
"""The verdict for every history and every evidence."""
# fmt: on

_EVIDENCE_OF_SCOPE: Final[Mapping[Scope, Evidence]] = MappingProxyType(
    {
        Scope.ACCEPTED: Evidence.ACCEPTED,
        Scope.DUPLICATE: Evidence.DUPLICATE,
        Scope.MESSAGE: Evidence.MESSAGE_REJECTED,
        Scope.CALLER: Evidence.MESSAGE_REJECTED,
        Scope.ACCOUNT: Evidence.SENDER_REJECTED,
        Scope.OTHER: Evidence.SENDER_REJECTED,
    }
)

_EVIDENCE_OF_CODE: Final[Mapping[str, Evidence]] = MappingProxyType(
    {code: _EVIDENCE_OF_SCOPE[row.scope] for code, row in CODES.items()}
)

# Statuses with which a service says "not now": the request may have been passed on before.
_TRANSIENT_STATUSES = frozenset({408, 425, 429})


def evidence_of_code(code: str) -> Evidence:
    """Return what a coded answer proves.

    Args:
        code: The gateway's code.

    Returns:
        The evidence; an unlisted code proves only that this attempt was refused.
    """
    return _EVIDENCE_OF_CODE.get(code, Evidence.SENDER_REJECTED)


def meets_every_attempt(code: str | None) -> bool:
    """Tell whether a rejection would meet every later attempt of its message too.

    Args:
        code: The code of the rejection; None where an HTTP status alone refused the request.

    Returns:
        False for a rejection of the account, and for one of which nothing else is known.
    """
    return code is not None and evidence_of_code(code) is not Evidence.SENDER_REJECTED


def evidence_of_status(status: int) -> Evidence | None:
    """Return what an HTTP status proves by itself.

    Args:
        status: The HTTP status of the answer.

    Returns:
        None for 2xx, where the body decides. 408, 425, 429, 5xx, and what is no final status of
        the gateway (1xx, 3xx, which is never followed), leave open whether the message was
        taken; any other 4xx says that the request was not even read.
    """
    if 200 <= status < 300:
        return None
    if 400 <= status < 500 and status not in _TRANSIENT_STATUSES:
        return Evidence.SENDER_REJECTED
    return Evidence.MAY_HAVE_ARRIVED


def judge(history: History, evidence: Evidence) -> Verdict:
    """Look up what follows from an attempt.

    Args:
        history: What the earlier attempts leave possible.
        evidence: What this attempt proves.

    Returns:
        The verdict.
    """
    return OUTCOMES[history, evidence]


def extend(history: History, evidence: Evidence) -> History:
    """Return the history of a message after one more attempt.

    Args:
        history: What the earlier attempts leave possible.
        evidence: What this attempt proves.

    Returns:
        AMBIGUOUS once any attempt may have arrived, for ever after.
    """
    return History.AMBIGUOUS if evidence is Evidence.MAY_HAVE_ARRIVED else history
