"""The questions of a probe, and beside what is documented and assumed what was observed."""

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs


class Point(enum.StrEnum):
    """Something that no document says."""

    NO_JSON = "no_json"
    INVALID_STATUS = "invalid_status"
    SANDBOX_REMEMBERS = "sandbox_remembers_request_ids"
    REJECTION_USES = "rejection_uses_request_id"
    DUPLICATE = "duplicate_refused"
    CODED_STATUS = "rejection_status"
    RATE_LIMIT = "sends_per_second"
    REPORT_COMES = "report_comes"
    REPORT_AFTER_ANSWER = "report_after_answer"
    REPORT_RETRIED = "report_retried"
    REPORT_ONCE = "report_once"


@attrs.frozen
class Question:
    """What is asked of the gateway, and what is known of the answer.

    Attributes:
        words: The question.
        documented: What the documents say.
        assumed: What this package takes for true.
    """

    words: str
    documented: str
    assumed: str


_SEND = '"Send fixed number with cheap price"'
_CALLBACK = '"Callback Url"'

QUESTIONS: Final[Mapping[Point, Question]] = MappingProxyType(
    {
        Point.NO_JSON: Question("What answers a body that is no JSON?", "nothing", "HTTP 400"),
        Point.INVALID_STATUS: Question(
            "What answers a send without a text?",
            '"Table of error codes": an error object, no status',
            "HTTP 200, an error object",
        ),
        Point.SANDBOX_REMEMBERS: Question(
            "Does the sandbox remember RequestIds?", f"{_SEND}: it stores nothing", "no"
        ),
        Point.REJECTION_USES: Question(
            "Does a rejected send use up its RequestId?", "nothing", "no"
        ),
        Point.DUPLICATE: Question(
            "Does code 124 come for a RequestId that was accepted?",
            f"{_SEND}: duplicates are blocked",
            "yes",
        ),
        Point.CODED_STATUS: Question(
            "Which HTTP status has an answer with a code?", "nothing", "HTTP 200"
        ),
        Point.RATE_LIMIT: Question("Is there a rate limit for sends?", "none for sends", "no"),
        Point.REPORT_COMES: Question(
            "Does a delivery report come, and when?", f"{_CALLBACK}: yes, no time", "yes"
        ),
        Point.REPORT_AFTER_ANSWER: Question(
            "Does it come after the answer to the send?", "nothing", "yes"
        ),
        Point.REPORT_RETRIED: Question(
            "Is a report that timed out sent again, and when?",
            f"{_CALLBACK}: up to 5 times, no time",
            "yes",
        ),
        Point.REPORT_ONCE: Question("Does a report that was answered come once?", "nothing", "yes"),
    }
)
"""Every question, in the order of the report."""


class Conclusion(enum.StrEnum):
    """What an observation says of an assumption."""

    CONFIRMED = "confirmed"
    DIFFERENT = "different"
    NOT_OBSERVED = "not observed"


@attrs.frozen
class Finding:
    """What was found of one point.

    Attributes:
        verdict: What it says of the assumption.
        words: What was observed, or why nothing was.
    """

    verdict: Conclusion
    words: str


class Findings:
    """What a probe has found so far; of the rest, why it was not.

    Attributes:
        accepted: How many messages the gateway accepted that may be charged.
        uncertain: How many it may have accepted beside.
    """

    def __init__(self) -> None:
        self.accepted: int = 0
        self.uncertain: int = 0
        self._found: dict[Point, Finding] = {}

    def observe(self, point: Point, words: str, *, as_assumed: bool) -> None:
        """Note what was observed.

        Args:
            point: Of which point.
            words: What.
            as_assumed: True where the assumption is right.
        """
        verdict = Conclusion.CONFIRMED if as_assumed else Conclusion.DIFFERENT
        self._found[point] = Finding(verdict, words)

    def miss(self, why: str, *points: Point) -> None:
        """Note why points were not observed; one that was stays as it is.

        Args:
            why: Why.
            *points: Which; all by default.
        """
        for point in points or Point:
            self._found.setdefault(point, Finding(Conclusion.NOT_OBSERVED, why))

    def __getitem__(self, point: Point) -> Finding:
        return self._found[point]

    def as_markdown(self) -> str:
        """Write a table to be pasted into an issue, once every point has its finding."""
        lines = [
            "| question | documented | assumed | observed | verdict |",
            "|---|---|---|---|---|",
        ]
        for point, question in QUESTIONS.items():
            found = self[point]
            cells = (question.words, question.documented, question.assumed)
            lines.append(f"| {' | '.join(cells)} | {found.words} | {found.verdict} |")
        return "\n".join(lines)

    def as_json(self) -> dict[str, object]:
        """Return the same for a program."""
        points = [
            {
                "point": point,
                "question": question.words,
                "documented": question.documented,
                "assumed": question.assumed,
                "observed": self[point].words,
                "verdict": self[point].verdict,
            }
            for point, question in QUESTIONS.items()
        ]
        return {"accepted": self.accepted, "uncertain": self.uncertain, "points": points}
