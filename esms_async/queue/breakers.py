"""Decides what stops a worker: a table of faults that are not the fault of a message.

A message that meets one of them is not used up: it goes back to the queue, and is sent when the
fault is mended. Why each row is as it is:

- The keys (101), the IP address (140), a proxy (407) and a firewall (any other 4xx without a code)
  belong to this worker; another one may be able to send. So does a gateway that can't be reached
  or does not answer, again and again.
- Price list (102), balance (103), SmsType (118) and a locked account (143) belong to the account:
  no worker can send, so all of them stop.
- A brandname that does not exist (104), a route that is not set up (799) and the other codes of
  `Scope.ROUTE` stop the messages of that route alone, for all workers.
"""

import enum
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

from esms_async import (
    EsmsError,
    ForeignLedger,
    NotSent,
    Outcome,
    OutcomeUnknown,
    QueryRejected,
    Rejected,
)
from esms_async._model.backoff import backoff
from esms_async.codes import lookup

SILENT: Final = "no answer"
FOREIGN: Final = "ledger"
FORM: Final = "key"

_MOST_UNANSWERED: Final = 5
"""So many sends in a row that the gateway does not answer open the breaker."""

# A gateway without the question answers it with another status, which says nothing of sends.
_REFUSED: Final = frozenset({401, 403, 407})

_FIRST_PAUSE: Final = 2.0
# Short, because the message that opened it may be the only one that meets the fault.
_LONGEST_PAUSE: Final = 5.0


class Reach(enum.Enum):
    """Whom a breaker stops."""

    WORKER = "this worker"
    ACCOUNT = "all workers"
    ROUTE = "all messages of the route"


REACHES: Final[Mapping[str, Reach]] = MappingProxyType(
    {
        "101": Reach.WORKER,
        "140": Reach.WORKER,
        "102": Reach.ACCOUNT,
        "103": Reach.ACCOUNT,
        "118": Reach.ACCOUNT,
        "143": Reach.ACCOUNT,
    }
)
"""Whom a code stops. A 4xx without a code stops the worker; a code of `Scope.ROUTE` its route."""


@attrs.frozen
class WorkerFault:
    """What opens a breaker.

    Attributes:
        name: The name of the breaker.
        reach: Whom it stops.
        remedy: What happened and what to do, for the log.
    """

    name: str
    reach: Reach
    remedy: str


def fault_of(error: EsmsError | None, route: str) -> WorkerFault | None:
    """Return the fault that a send met, unless it is the message's own."""
    if isinstance(error, ForeignLedger):
        return WorkerFault(FOREIGN, Reach.WORKER, str(error))
    rejection = error.rejection if isinstance(error, OutcomeUnknown) else error
    if not isinstance(rejection, Rejected):
        return None
    if rejection.code is None:
        return refusal(rejection.status)
    return _fault_of_code(rejection.code, route if rejection.refuses_route else "")


def fault_of_query(error: QueryRejected) -> WorkerFault | None:
    """Return the fault that a question to the gateway met; None where it says nothing of sends."""
    if error.code is None:
        return refusal(error.status) if error.status in _REFUSED else None
    return _fault_of_code(error.code, "")


def refusal(status: int | None) -> WorkerFault:
    """Return the fault of a machine that is refused with an HTTP status and no code."""
    return WorkerFault(
        f"HTTP {status}",
        Reach.WORKER,
        f"refused with HTTP status {status} and no code: a firewall or a proxy in front of the "
        "gateway refuses this machine; let it through",
    )


def _fault_of_code(code: str, route: str) -> WorkerFault | None:
    name = f"{code} {route}" if route else code
    reach = reach_of(name)
    if reach is None:
        return None
    row = lookup(code)
    return WorkerFault(name, reach, f"code {code}: {row.meaning}. {row.advice}")


def reach_of(name: str) -> Reach | None:
    """Return whom the breaker of a name stops: that of a route has the route in its name."""
    return Reach.ROUTE if " " in name else REACHES.get(name)


def is_open_end(error: EsmsError | None) -> bool:
    """Tell whether a send ended without an answer, so another try may bring one."""
    if type(error) is OutcomeUnknown:
        return error.rejection is None
    return isinstance(error, NotSent)


@attrs.define
class OpenBreaker:
    """An open breaker, and when it is tried next.

    Attributes:
        fault: What opened it.
        is_half_open: True while one message at a time tries whether the fault is mended.
        met_by: The RequestId and the stream of the message that opened it, or that tried it last;
            empty texts where another worker opened it.
        since: When it opened, on `time.monotonic()`.
    """

    fault: WorkerFault
    is_half_open: bool = False
    met_by: tuple[str, str] = ("", "")
    since: float = attrs.Factory(time.monotonic)
    _tries: int = 0
    _due: float = 0.0

    def wait(self, *, longer: bool = True) -> None:
        """Put the next try off, longer each time."""
        self.is_half_open = False
        self._tries += longer
        pause = backoff(self._tries, first=_FIRST_PAUSE, longest=_LONGEST_PAUSE)
        self._due = time.monotonic() + pause

    @property
    def is_due(self) -> bool:
        """True once it is time to try again."""
        return not self.is_half_open and time.monotonic() >= self._due


class Breakers:
    """The open breakers of a worker, those that it shares included.

    Attributes:
        open: The open breakers by name.
    """

    def __init__(self) -> None:
        self.open: dict[str, OpenBreaker] = {}
        self._unanswered = 0

    @property
    def stopping(self) -> list[OpenBreaker]:
        """Those that stop the pulling, half-open ones included."""
        return [each for each in self.open.values() if each.fault.reach is not Reach.ROUTE]

    @property
    def fully_open(self) -> list[OpenBreaker]:
        """Those that let nothing be pulled."""
        return [each for each in self.stopping if not each.is_half_open]

    @property
    def may_pull(self) -> bool:
        """True unless one of them stops the pulling."""
        return not self.fully_open

    def holds(self, route: str) -> OpenBreaker | None:
        """Return the breaker that holds a route, or None."""
        found = (each for name, each in self.open.items() if name.endswith(f" {route}"))
        return next((each for each in found if each.fault.reach is Reach.ROUTE), None)

    def trip(self, fault: WorkerFault) -> bool:
        """Open a breaker, or have an open one wait longer; True where it was closed."""
        breaker = self.open.get(fault.name)
        if breaker is None:
            breaker = self.open[fault.name] = OpenBreaker(fault)
            breaker.wait()
            return True
        if breaker.is_half_open:
            breaker.wait(longer=False)
        return False

    def judge(self, outcome: Outcome, route: str) -> WorkerFault | None:
        """Return the fault that an outcome shows, and count sends without an answer."""
        fault = fault_of(outcome.error, route)
        if is_open_end(outcome.error):
            self._unanswered += 1
            if self._unanswered >= _MOST_UNANSWERED or any(
                breaker.fault.name == SILENT for breaker in self.stopping
            ):
                fault = silence(str(outcome.error).partition(" (phone")[0])
        else:
            self._unanswered = 0
        return fault


def silence(problem: str) -> WorkerFault:
    """Return the fault of a gateway that does not answer."""
    return WorkerFault(
        SILENT, Reach.WORKER, f"the gateway does not answer ({problem}); see to the network"
    )
