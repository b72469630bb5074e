"""What came in and what went out, kept in rings, and told to whoever listens."""

import enum
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import attrs

from esms_async.emulator.listeners import Listeners
from esms_async.emulator.records import AcceptedMessage, SeenRequest, SentReport


class EventKind(enum.StrEnum):
    """What an event tells."""

    REQUEST = "request"
    """A request came in, or what became of it is known."""
    MESSAGE = "message"
    """A message was accepted, or its delivery has changed."""
    REPORT = "report"
    """A delivery report was sent, or was tried to be."""
    STATE = "state"
    """Faults, balance, account or clock were changed from outside."""
    RESET = "reset"
    """The messages, requests and reports were forgotten, RequestIds perhaps too."""


@attrs.frozen
class Event:
    """One thing that happened.

    Attributes:
        kind: What it is about; exactly the value of that kind is there.
        request: The request.
        message: The message.
        report: The report.
    """

    kind: EventKind
    request: SeenRequest | None = None
    message: AcceptedMessage | None = None
    report: SentReport | None = None


Listener = Callable[[Event], None]
"""Takes an event; called at once, within the event loop, so it must neither wait nor raise."""


class Numbered(Protocol):
    """A record with its place in the order of its kind."""

    @property
    def number(self) -> int:
        """Its number."""
        ...


_R = TypeVar("_R", bound=Numbered)


class Ring(Generic[_R]):
    """The newest records of a kind, by their numbers."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._records: dict[int, _R] = {}
        self._count = 0
        self._pruned = 0

    @property
    def records(self) -> list[_R]:
        """The records that are kept, oldest first."""
        return list(self._records.values())

    @property
    def pruned(self) -> int:
        """How many records had to make room for newer ones."""
        return self._pruned

    def next_number(self) -> int:
        """Return the number of the record to come."""
        return self._count + 1

    def put(self, record: _R) -> None:
        """Keep a new record, or what is newly known of one that is still kept."""
        if record.number > self._count:
            self._count = record.number
            self._records[record.number] = record
            if len(self._records) > self._size:
                del self._records[next(iter(self._records))]
                self._pruned += 1
        elif record.number in self._records:
            self._records[record.number] = record

    def clear(self) -> None:
        """Forget the records; the numbers go on."""
        self._records.clear()
        self._pruned = 0


class Journal:
    """The requests and reports of one emulator, and its listeners."""

    def __init__(self, size: int) -> None:
        self.requests: Ring[SeenRequest] = Ring(size)
        self.reports: Ring[SentReport] = Ring(size)
        self._listeners: Listeners[[Event]] = Listeners()

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Tell a listener of every event from now on.

        Args:
            listener: What to call.

        Returns:
            A function that ends it.
        """
        return self._listeners.add(listener)

    def note_request(self, request: SeenRequest) -> None:
        """Keep a request, or what became of it."""
        self.requests.put(request)
        self._listeners.tell(Event(EventKind.REQUEST, request=request))

    def note_message(self, message: AcceptedMessage) -> None:
        """Tell of a message that was accepted, or whose delivery has changed."""
        self._listeners.tell(Event(EventKind.MESSAGE, message=message))

    def note_report(self, report: SentReport) -> None:
        """Keep a try to deliver a report."""
        self.reports.put(report)
        self._listeners.tell(Event(EventKind.REPORT, report=report))

    def note_state(self) -> None:
        """Tell that faults, balance, account or clock were changed from outside."""
        self._listeners.tell(Event(EventKind.STATE))

    def reset(self) -> None:
        """Forget the requests and reports, and tell that the messages are forgotten too."""
        self.requests.clear()
        self.reports.clear()
        self._listeners.tell(Event(EventKind.RESET))
