"""Decides what is true of a message after an attempt: the outcome table, and how to read an answer.

One rule stands behind the table: **an outcome is final only if this answer proves it for every
attempt that may ever have been made, by any process.** Where there is no proof, the outcome is
unknown. A message's history is CLEAN until an attempt is known that may have arrived; from then
on it is AMBIGUOUS.

Why each row is as it is:

- Code 100 proves acceptance, whatever happened before.
- Code 124 says that the gateway has seen the RequestId. After a known attempt that may have
  arrived, that attempt is the one that the gateway saw, and a rejected attempt does not use up
  the RequestId (see `REJECTED_USES_UP_ID`), so it was accepted. Without such an attempt, 124
  proves nothing: another process may have sent the message, something on the way may have
  delivered the request twice, or the id belongs to another message.
- A rejection of the message itself would have met every earlier attempt too, so none of them was
  accepted. Only the codes in `SETTLING_CODES` are such rejections.
- Every other refusal (keys, balance, a lock, an IP address, an operator, an HTTP refusal by
  whatever stands in front of the gateway, an unlisted code) may be new since the last attempt, or
  be checked before the RequestId. It proves nothing of earlier attempts.
- An attempt that may have arrived leaves the outcome open. A later attempt that never left this
  machine leaves it open, too.
"""

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from esms_async._model.messages import Evidence
from esms_async._wire.fields import is_refusal
from esms_async._wire.send import Answer

REJECTED_USES_UP_ID: Final = False
"""Whether the gateway keeps the RequestId of a send that it rejected.

No page says it. The value decides what 124 means after an attempt that may have arrived:
acceptance where rejected sends free their id, nothing where they use it up. A day with a real
account changes this one constant.
"""

SETTLING_CODES: Final = frozenset({"108", "163", "201", "300"})
"""The codes that reject the message itself, on every route: phone malformed, several phones,
blocked word, SmsType missing ("Table of error codes")."""


class History(enum.StrEnum):
    """What the earlier attempts of a message leave possible."""

    CLEAN = "clean"
    """No attempt is known that may have arrived."""
    AMBIGUOUS = "ambiguous"
    """An attempt is known that may have arrived."""


class Conclusion(enum.StrEnum):
    """What is true of a message after an attempt."""

    ACCEPTED = "accepted"
    DEDUPLICATED = "accepted by an earlier attempt"
    REJECTED = "rejected"
    DUPLICATE = "unknown, because of 124 alone"
    UNKNOWN = "unknown"
    RETRY_ELSE_NOT_SENT = "try again, else not sent"
    RETRY_ELSE_UNKNOWN = "try again, else unknown"


_CLEAN, _AMBIGUOUS = History.CLEAN, History.AMBIGUOUS


# fmt: off
def outcome_table(*, rejected_uses_up_id: bool) -> Mapping[tuple[History, Evidence], Conclusion]:
    """Return the conclusion for every history and evidence, under one value of the assumption."""
    seen_before = Conclusion.UNKNOWN if rejected_uses_up_id else Conclusion.DEDUPLICATED
    return MappingProxyType({
        (_CLEAN,     Evidence.ACCEPTED):         Conclusion.ACCEPTED,
        (_CLEAN,     Evidence.DUPLICATE):        Conclusion.DUPLICATE,
        (_CLEAN,     Evidence.MESSAGE_REJECTED): Conclusion.REJECTED,
        (_CLEAN,     Evidence.REFUSED):          Conclusion.REJECTED,
        (_CLEAN,     Evidence.MAY_HAVE_ARRIVED): Conclusion.RETRY_ELSE_UNKNOWN,
        (_CLEAN,     Evidence.NOTHING_LEFT):     Conclusion.RETRY_ELSE_NOT_SENT,

        (_AMBIGUOUS, Evidence.ACCEPTED):         Conclusion.ACCEPTED,
        (_AMBIGUOUS, Evidence.DUPLICATE):        seen_before,
        (_AMBIGUOUS, Evidence.MESSAGE_REJECTED): Conclusion.REJECTED,
        (_AMBIGUOUS, Evidence.REFUSED):          Conclusion.UNKNOWN,
        (_AMBIGUOUS, Evidence.MAY_HAVE_ARRIVED): Conclusion.RETRY_ELSE_UNKNOWN,
        (_AMBIGUOUS, Evidence.NOTHING_LEFT):     Conclusion.RETRY_ELSE_UNKNOWN,
    })
# fmt: on


OUTCOMES: Final = {assumed: outcome_table(rejected_uses_up_id=assumed) for assumed in (False, True)}
"""The table for both values of the assumption."""

_EVIDENCE_OF_CODE: Final[Mapping[str, Evidence]] = MappingProxyType(
    {
        "100": Evidence.ACCEPTED,
        "124": Evidence.DUPLICATE,
        **dict.fromkeys(SETTLING_CODES, Evidence.MESSAGE_REJECTED),
    }
)


def evidence_of_code(code: str) -> Evidence:
    """Return what a code proves; a code that settles nothing refuses this attempt alone."""
    return _EVIDENCE_OF_CODE.get(code, Evidence.REFUSED)


def settles(code: str | None) -> bool:
    """Return True if a rejection with this code would meet every attempt of its message."""
    return code in SETTLING_CODES


def judge(history: History, evidence: Evidence) -> Conclusion:
    """Return what follows from an attempt."""
    return OUTCOMES[REJECTED_USES_UP_ID][history, evidence]


def judge_answer(answer: Answer) -> tuple[Evidence, str | None]:
    """Return what an answer proves, and what is wrong with it if its code does not decide.

    A code is read in 2xx, and in 4xx except 408, 425 and 429. Code 100 in a 4xx contradicts
    itself. Every other status, an `{"error": …}` object and an unreadable body leave open
    whether the gateway accepted the message. A 4xx without a code is a refusal by a service in
    front of the gateway.
    """
    status, code = answer.status, answer.code
    is_refused = is_refusal(status)
    if not is_refused and not 200 <= status < 300:
        return Evidence.MAY_HAVE_ARRIVED, f"HTTP status {status}"
    if code is None:
        if is_refused and not answer.is_error_object:
            return Evidence.REFUSED, f"HTTP status {status}"
        return Evidence.MAY_HAVE_ARRIVED, answer.problem
    evidence = evidence_of_code(code)
    if is_refused and evidence is Evidence.ACCEPTED:
        return Evidence.MAY_HAVE_ARRIVED, f"code 100 with HTTP status {status}"
    return evidence, None
