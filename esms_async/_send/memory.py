"""Remembers the recent results of one client, so the same Message is never judged afresh.

A second `send` of a Message gets what the first one got: its receipt, or the rejection of the
message itself. A message in doubt is resumed. What may follow is decided by the table that the
ledgers use.
"""

from typing import Final, NamedTuple

from esms_async._model.errors import DuplicateRequestId, EsmsError, OutcomeUnknown, Rejected
from esms_async._model.messages import Message, Receipt, Status
from esms_async._model.routes import Route
from esms_async._send.clock import Moment, age, now
from esms_async._send.outcome import settles
from esms_async.ledger.transitions import CLAIMS, WINDOW, Decision, Knowledge, Reason

SETTLED_KEPT: Final = 5_000
"""How many settled results are remembered at least, the latest ones; at most twice as many."""

Result = Receipt | EsmsError
"""How a send ended."""


class Remembered(NamedTuple):
    """What is remembered of a message: how it ended, since when, and the default route then.

    The moment is the first at which an attempt may have arrived, if the message is in doubt, and
    otherwise the beginning of the send.
    """

    message: Message
    result: Result
    since: Moment
    route: Route

    @property
    def decision(self) -> Decision:
        """What another send of the message may do."""
        return CLAIMS[knowledge(self.result)]


# A Remembered as a plain tuple, which takes a tenth of the time to make.
_Row = tuple[Message, Result, Moment, Route]


class Memory:
    """The recent results of one client.

    Settled results are bounded in number. A result in doubt stays until it is older than the
    window, however many others come: forgotten, it could be read wrongly.
    """

    def __init__(self) -> None:
        # Two generations: the older one is dropped whole, which costs nothing on the way.
        self._young: dict[str, _Row] = {}
        self._old: dict[str, _Row] = {}
        self._in_doubt: dict[str, _Row] = {}
        self._sweep_at = SETTLED_KEPT

    def recall(self, request_id: str) -> Remembered | None:
        """Return what is remembered of a RequestId."""
        row = (
            self._in_doubt.get(request_id)
            or self._young.get(request_id)
            or self._old.get(request_id)
        )
        return None if row is None else Remembered(*row)

    def remember(self, message: Message, result: Result, since: Moment, route: Route) -> None:
        """Remember how a send ended, since when, and the default route that it was sent with."""
        key = message.request_id
        if isinstance(result, OutcomeUnknown):
            self._in_doubt[key] = message, result, since, route
            if len(self._in_doubt) > self._sweep_at:
                self._sweep()
            return
        if self._in_doubt:
            self._in_doubt.pop(key, None)
        self._young[key] = message, result, since, route
        if len(self._young) >= SETTLED_KEPT:
            self._old, self._young = self._young, {}

    def _sweep(self) -> None:
        """Forget what the gateway has forgotten, too."""
        present = now()
        self._in_doubt = {
            key: one for key, one in self._in_doubt.items() if age(one[2], present) <= WINDOW
        }
        self._sweep_at = max(SETTLED_KEPT, 2 * len(self._in_doubt))


def knowledge(result: Result) -> Knowledge:
    """Return what a result says of its message, in the words of the claim table."""
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
