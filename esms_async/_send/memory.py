"""Remembers the recent results of one client, and measures the age of a moment.

A second `send` of a Message gets what the first one got: its receipt, or the rejection of the
message itself. A message in doubt is resumed. The table that the ledgers use decides which.

No single clock is right everywhere. The wall clock can be set back, and on Linux `time.monotonic`
stops while the machine sleeps. So the age of a moment is the larger of two: by the wall clock, and
by `CLOCK_BOOTTIME`, which counts suspend. A virtual machine that was paused or restored stops both
until its wall clock is set again.
"""

import math
import time
from collections.abc import Mapping
from typing import Final, NamedTuple

from esms_async._model.errors import DuplicateRequestId, EsmsError, OutcomeUnknown, Rejected
from esms_async._model.messages import Message, Receipt, Status
from esms_async._model.routes import Route
from esms_async._send.outcome import settles
from esms_async.ledger.transitions import (
    CLAIMS,
    CLOCK_TOLERANCE,
    WINDOW,
    Decision,
    Knowledge,
    Reason,
)

SETTLED_KEPT: Final = 5_000
"""At least this many settled results are remembered, the latest ones."""

_BOOT_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

Moment = tuple[float, float]
"""A moment on both clocks: seconds since the epoch, and seconds since the machine started."""
Result = Receipt | EsmsError
"""How a send ended."""


def now() -> Moment:
    """Return the current moment."""
    return time.time(), time.clock_gettime(_BOOT_CLOCK)


def moment_at(wall: float) -> Moment:
    """Return the moment of a wall-clock time that another process, or an id, recorded."""
    present_wall, present_boot = now()
    return wall, present_boot - (present_wall - wall)


def age(since: Moment, present: Moment) -> float:
    """Return the age of a moment in seconds, by the clock that says more.

    A moment more than an hour in the future is infinitely old: the wall clock has jumped by an
    unknown amount.
    """
    by_wall, by_boot = present[0] - since[0], present[1] - since[1]
    if by_wall < -CLOCK_TOLERANCE:
        return math.inf
    return by_wall if by_wall > by_boot else by_boot  # noqa: FURB136  # max takes longer


Identity = tuple[Route, str, str | None, Mapping[str, str] | None]
"""The route, phone, content and params of a message."""


def identity(message: Message, default: Route) -> Identity:
    """Return what two Messages with one RequestId share if they are the same logical send."""
    return message.route or default, message.phone, message.content, message.params


class Remembered(NamedTuple):
    """The result of a message, with its identity and a moment.

    The moment is the first at which an attempt may have arrived, if the message is in doubt, and
    otherwise the start of the send. The row is flat and holds no Message, because the garbage
    collector visits each object of thousands of rows.
    """

    route: Route
    phone: str
    content: str | None
    params: Mapping[str, str] | None
    result: Result
    since: Moment

    def is_result_of(self, message: Message, default: Route) -> bool:
        """Return False if another message had the same RequestId."""
        return (self.route, self.phone, self.content, self.params) == identity(message, default)

    @property
    def decision(self) -> Decision:
        """What another send of the message may do."""
        return CLAIMS[knowledge(self.result)]


class Memory:
    """The recent results of one client.

    Settled results are bounded in number. A result in doubt stays until it is older than the
    window, however many others come: without it, code 124 would be read wrongly.

    Attributes:
        rows: The results by RequestId, the latest last.
    """

    def __init__(self) -> None:
        self.rows: dict[str, Remembered] = {}
        self._sweep_at = 2 * SETTLED_KEPT

    def remember(self, message: Message, result: Result, since: Moment, route: Route) -> None:
        """Remember the result of a send."""
        rows, key = self.rows, message.request_id
        rows.pop(key, None)
        rows[key] = Remembered(*identity(message, route), result, since)
        if len(rows) >= self._sweep_at:
            self._sweep()

    def _sweep(self) -> None:
        """Drop the oldest settled results, and results in doubt past the window."""
        present = now()
        doubts: dict[str, Remembered] = {}
        settled: dict[str, Remembered] = {}
        for key, row in self.rows.items():
            if not isinstance(row.result, OutcomeUnknown):
                settled[key] = row
            elif age(row.since, present) <= WINDOW:
                doubts[key] = row
        self.rows = doubts | dict([*settled.items()][-SETTLED_KEPT:])
        # The next sweep comes at twice the number, so results in doubt are not scanned too often.
        self._sweep_at = max(2 * SETTLED_KEPT, 2 * len(self.rows))


def knowledge(result: Result) -> Knowledge:
    """Return the status and reason of a result, as the claim table has them."""
    match result:
        case Receipt():
            return Status.ACCEPTED, None
        case DuplicateRequestId():
            return Status.UNKNOWN, Reason.DUPLICATE
        case OutcomeUnknown():
            return Status.UNKNOWN, Reason.ATTEMPT
        case Rejected(code=code):
            return Status.REJECTED, Reason.MESSAGE if settles(code) else Reason.SENDER
        case _:
            return Status.NOT_SENT, None
