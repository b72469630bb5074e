"""What came in and what went out: kept in rings, grouped into sends, and told to listeners."""

import asyncio
import enum
import os
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Generic, Protocol, TypeVar

import attrs

from esms_async._model.errors import ConfigurationError
from esms_async._model.phone import mask_phone, normalize_phone
from esms_async.emulator.clock import Clock, Listeners
from esms_async.emulator.records import AcceptedMessage, Operation, SeenRequest, SentReport

_T = TypeVar("_T")

_MOST_NOT_TAKEN = 500
# Of one send; a client that never gives up must not fill the memory.
_MOST_REQUESTS = 100


class EventKind(enum.StrEnum):
    """What an event tells."""

    REQUEST = "request"
    """A request came in, or what became of it is known."""
    MESSAGE = "message"
    """A message was accepted, or its delivery has changed."""
    REPORT = "report"
    """A delivery report was sent, or was tried to be."""
    NOT_TAKEN = "not_taken"
    """A request came in that the gateway could not make sense of, or did not let in."""
    STATE = "state"
    """Faults, balance, account, settings or clock were changed from outside."""
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
        # Of a plain dict, the search for the first key passes all that were removed before it.
        self._records: OrderedDict[int, _R] = OrderedDict()
        self._newest = 0
        self._pruned = 0

    def __len__(self) -> int:
        return len(self._records)

    @property
    def records(self) -> list[_R]:
        """The records that are kept, oldest first."""
        return list(self._records.values())

    @property
    def pruned(self) -> int:
        """How many records had to make room for newer ones."""
        return self._pruned

    def get(self, number: int) -> _R | None:
        """Return a record by its number, or None where it is not kept."""
        return self._records.get(number)

    @property
    def oldest(self) -> int:
        """The number of the oldest record that is kept, or 0 where there is none."""
        return next(iter(self._records), 0)

    def next_number(self) -> int:
        """Return the number of the record to come."""
        return self._newest + 1

    def put(self, record: _R) -> _R | None:
        """Keep a new record, or what is newly known of one that is still kept.

        Returns:
            The record that had to make room, or None.
        """
        if record.number > self._newest:
            self._newest = record.number
            self._records[record.number] = record
            if len(self._records) > self._size:
                self._pruned += 1
                return self._records.popitem(last=False)[1]
        elif record.number in self._records:
            self._records[record.number] = record
        return None

    def clear(self) -> None:
        """Forget the records; the numbers go on."""
        self._records.clear()
        self._pruned = 0


class Send:
    """All that came and went for one logical send: its requests, messages and reports.

    Attributes:
        number: The number of its first request.
        phone: The phone, as far as it is known.
        account: The name of its account, or None where no keys fitted.
        request_id: Its RequestId, or None.
        requests: The requests, oldest first.
        requests_pruned: How many of them are not kept.
        messages: The accepted messages, oldest first; more than one was sent twice.
        reports: The tries to deliver a report, oldest first.
        text: What `story` has measured of the text, to measure it once.
        flags: 1 where it has a code, plus 2 where it is trouble, as `Journal.note_flags` had it.
    """

    __slots__ = (
        "account",
        "flags",
        "messages",
        "number",
        "phone",
        "reports",
        "request_id",
        "requests",
        "requests_pruned",
        "text",
    )

    def __init__(self, number: int, account: str | None, request_id: str | None) -> None:
        self.number: int = number
        self.phone: str | None = None
        self.account: str | None = account
        self.request_id: str | None = request_id
        self.requests: tuple[SeenRequest, ...] = ()
        self.requests_pruned: int = 0
        self.messages: tuple[AcceptedMessage, ...] = ()
        self.reports: tuple[SentReport, ...] = ()
        self.text: object = None
        self.flags: int = 0

    @property
    def message(self) -> AcceptedMessage | None:
        """The newest accepted message, or None."""
        return self.messages[-1] if self.messages else None


def _put(records: tuple[_R, ...], record: _R) -> tuple[_R, ...]:
    """Put a record in its place."""
    if not records:
        return (record,)
    # A record that is noted again is among the newest.
    for at in range(len(records) - 1, -1, -1):
        if records[at].number == record.number:
            return (*records[:at], record, *records[at + 1 :])
    return (*records, record)


class RowKind(enum.StrEnum):
    """What a change of the feed is about."""

    ROW = "row"
    STATE = "state"
    RESET = "reset"


Change = tuple[RowKind, int]
"""A kind of change, and the number of the row."""


class Feed:
    """The newest changes of one emulator, in one ring for all who follow it.

    Each follower has no more than a place in the ring, so a slow one costs nothing: what it has
    not read in time is gone, and it has to load everything again.

    Args:
        clock: The clock, whose jumps are changes too.
        size: How many are kept.
    """

    def __init__(self, clock: Clock, size: int) -> None:
        # Places of another emulator, which ran on the same port before, mean nothing here.
        self._epoch = os.urandom(4).hex()
        # A row by its number, 0 for the state, None for a reset: thousands of tuples would keep
        # the garbage collector busy.
        self._changes: deque[int | None] = deque(maxlen=size)
        self._newest = 0
        self._reset_at = 0
        self._closed = False
        self._news: asyncio.Future[None] | None = None
        self._unsubscribe = clock.subscribe(lambda: self.put(RowKind.STATE, 0))

    @property
    def newest(self) -> int:
        """The place of the newest change."""
        return self._newest

    @property
    def reset_at(self) -> int:
        """The place of the newest reset, or 0."""
        return self._reset_at

    def name(self, place: int) -> str:
        """Return the event id that stands for a place."""
        return f"{self._epoch}-{place}"

    def find(self, name: str) -> int | None:
        """Return the place that an event id stands for, or None where it is none of this feed."""
        epoch, _, place = name.partition("-")
        if epoch != self._epoch or not (place.isascii() and place.isdigit()) or len(place) > 15:
            return None
        return int(place)

    def after(self, place: int, limit: int) -> list[tuple[int, Change]] | None:
        """Return at most so many changes after a place, by their places, the oldest first.

        Returns:
            None where some of them are gone, though not by a reset, before which nothing matters.
        """
        oldest = self._newest - len(self._changes)
        is_whole = place >= oldest or oldest < self._reset_at
        if not (is_whole and 0 <= place <= self._newest):
            return None
        start = max(place, oldest)
        found = islice(self._changes, start - oldest, start - oldest + limit)
        return [(at, _read_change(change)) for at, change in enumerate(found, start + 1)]

    async def wait(self, place: int, seconds: float) -> bool:
        """Return True once there is a change after a place, False after some time or at the end."""
        if place == self._newest and not self._closed:
            if self._news is None or self._news.done():
                self._news = asyncio.get_running_loop().create_future()
            await asyncio.wait((self._news,), timeout=seconds)
        return place != self._newest

    def put(self, kind: RowKind, number: int) -> None:
        """Keep a change, and wake who waits for one."""
        if self._closed:
            return
        self._newest += 1
        if kind is RowKind.RESET:
            self._changes.clear()
            self._reset_at = self._newest
        self._changes.append(None if kind is RowKind.RESET else number)
        if self._news is not None:
            self._wake()

    def close(self) -> None:
        """Take no more changes, and keep nobody waiting."""
        self._unsubscribe()
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)


def _read_change(change: int | None) -> Change:
    if change:
        return RowKind.ROW, change
    return RowKind.RESET if change is None else RowKind.STATE, 0


# A send makes about three changes: it is accepted, answered, and delivered.
_FEED_SIZE_FACTOR = 3


class Journal:
    """The requests, sends and reports of one emulator, its listeners, and who follows it.

    Args:
        max_requests: How many requests are kept, and how many reports.
        max_sends: How many sends are kept.
        clock: The clock of the emulator.

    Attributes:
        sends: The sends, by the number of their first request.
        feed: The changes.
        unseen: The sends whose flags may have changed since they were noted.
        codes: How many sends have a code, by their flags.
        troubles: How many sends are trouble, by their flags.
        pruned: How many sends of each account had to make room for newer ones.
    """

    def __init__(self, max_requests: int, max_sends: int, clock: Clock) -> None:
        self.requests: Ring[SeenRequest] = Ring(max_requests)
        self.not_taken: Ring[SeenRequest] = Ring(_MOST_NOT_TAKEN)
        self.reports: Ring[SentReport] = Ring(max_requests)
        self.sends: Ring[Send] = Ring(max_sends)
        self.feed: Feed = Feed(clock, _FEED_SIZE_FACTOR * max_requests)
        self._by_request_id: dict[tuple[str | None, str], Send] = {}
        self._by_sms_id: dict[str, Send] = {}
        self.unseen: dict[int, Send] = {}
        self.codes: int = 0
        self.troubles: int = 0
        self.pruned: Counter[str | None] = Counter()
        self._newest = 0
        self._listeners: Listeners[[Event]] = Listeners()

    def send_by_sms_id(self, sms_id: str) -> Send | None:
        """Return the send that a message belongs to, or None."""
        return self._by_sms_id.get(sms_id)

    def sends_to(self, phone: str) -> list[Send]:
        """Return the sends to a phone, as `0XXXXXXXXX`, oldest first."""
        # Looked for when somebody asks: an index would cost every send.
        return [send for send in self.sends.records if send.phone == phone]

    def note_flags(self, send: Send, flags: int) -> None:
        """Note what a send counts as, as it is now."""
        self.unseen.pop(send.number, None)
        self.codes += (flags & 1) - (send.flags & 1)
        self.troubles += (flags >> 1) - (send.flags >> 1)
        send.flags = flags

    def next_request_number(self) -> int:
        """Give the next request its number."""
        self._newest += 1
        return self._newest

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call a listener with every event from now on.

        Returns:
            A function that ends it.
        """
        return self._listeners.add(listener)

    def load(self, messages: Iterable[AcceptedMessage]) -> None:
        """Take in messages that were stored by an earlier run."""
        for message in sorted(messages, key=lambda message: message.request):
            self._newest = max(self._newest, message.request)
            send = self._send(message.account, message.request_id, message.request)
            self._put_message(send, message)
            self.unseen[send.number] = send

    def note_request(self, request: SeenRequest, message: AcceptedMessage | None = None) -> None:
        """Keep a request, or what became of it, and the message that was accepted by it."""
        self.requests.put(request)
        if request.operation is Operation.SEND:
            send = self._send(request.account, request.request_id, request.number)
            if message is not None:
                self._put_message(send, message)
            send.requests = _put(send.requests, request)
            if len(send.requests) > _MOST_REQUESTS:
                # The first one stays: the timeline starts there.
                send.requests = (send.requests[0], *send.requests[2:])
                send.requests_pruned += 1
            if request.phone and not send.messages:
                send.phone = request.phone
            self._note_row(send)
        if self._listeners:
            if message is not None:
                self._listeners.tell(Event(EventKind.MESSAGE, message=message))
            self._listeners.tell(Event(EventKind.REQUEST, request=request))

    def note_message(self, message: AcceptedMessage) -> None:
        """Keep a message whose delivery has changed."""
        if (send := self._by_sms_id.get(message.sms_id)) is not None:
            self._put_message(send, message)
            self._note_row(send)
        self._listeners.tell(Event(EventKind.MESSAGE, message=message))

    def note_progress(self, sms_id: str) -> None:
        """Tell that a message has got further by the clock."""
        if (send := self._by_sms_id.get(sms_id)) is not None:
            self._note_row(send)

    def note_report(self, report: SentReport) -> None:
        """Keep a try to deliver a report."""
        self.reports.put(report)
        if (send := self._by_sms_id.get(report.sms_id)) is not None:
            send.reports = _put(send.reports, report)
            self._note_row(send)
        self._listeners.tell(Event(EventKind.REPORT, report=report))

    def note_not_taken(self, request: SeenRequest) -> None:
        """Keep a request that was not taken; one like the newest is counted there."""
        newest = self.not_taken.get(self.not_taken.next_number() - 1)
        if newest is not None and _alike(newest, request):
            request = attrs.evolve(request, number=newest.number, repeats=newest.repeats + 1)
        self.not_taken.put(request)
        self.feed.put(RowKind.ROW, request.number)
        self._listeners.tell(Event(EventKind.NOT_TAKEN, request=request))

    def note_state(self) -> None:
        """Tell that faults, balance, account, settings or clock were changed from outside."""
        self.feed.put(RowKind.STATE, 0)
        self._listeners.tell(Event(EventKind.STATE))

    def reset(self) -> None:
        """Forget the requests and reports, and tell that the messages are forgotten too."""
        for kept in (self.requests, self.not_taken, self.reports, self.sends, self._by_request_id,
                     self._by_sms_id, self.unseen, self.pruned):  # fmt: skip
            kept.clear()
        self.codes = self.troubles = 0
        self.feed.put(RowKind.RESET, 0)
        self._listeners.tell(Event(EventKind.RESET))

    def _note_row(self, send: Send) -> None:
        self.unseen[send.number] = send
        self.feed.put(RowKind.ROW, send.number)

    def _put_message(self, send: Send, message: AcceptedMessage) -> None:
        self._by_sms_id[message.sms_id] = send
        send.messages = _put(send.messages, message)
        send.phone = message.phone

    def _send(self, account: str | None, request_id: str | None, number: int) -> Send:
        """Return the send that a request belongs to, and keep it where it is new."""
        key = (account, request_id or "")
        send = self._by_request_id.get(key) if request_id else self.sends.get(number)
        if send is None:
            send = Send(number, account, request_id or None)
            if request_id:
                self._by_request_id[key] = send
            if (gone := self.sends.put(send)) is not None:
                self._forget(gone)
        return send

    def _forget(self, send: Send) -> None:
        if send.request_id:
            del self._by_request_id[send.account, send.request_id]
        for message in send.messages:
            del self._by_sms_id[message.sms_id]
        self.note_flags(send, 0)
        self.pruned[send.account] += 1


def _alike(one: SeenRequest, other: SeenRequest) -> bool:
    return (one.method, one.path, one.why, one.status) == (
        other.method,
        other.path,
        other.why,
        other.status,
    )


def _convert_phone(written: str | None) -> str | None:
    if written is None:
        return None
    try:
        return normalize_phone(written)
    except ValueError as error:
        raise ConfigurationError(f"phone: {error}") from None


@attrs.frozen
class Wanted:
    """Which messages are wanted.

    Args:
        phone: The phone, in any form that a message takes; None for any.
        request_id: The RequestId; None for any.
        since: Only messages with a higher number.
        has_code: Returns True for the messages in which a code is found; None takes all.
        account: The name of the account that sent it; None for any.

    Raises:
        ConfigurationError: `phone` is not a phone number.
    """

    phone: str | None = attrs.field(default=None, converter=_convert_phone)
    request_id: str | None = None
    since: int = 0
    has_code: Callable[[AcceptedMessage], bool] | None = None
    account: str | None = None

    def fits(self, message: AcceptedMessage) -> bool:
        """Return True where a message is wanted."""
        return (
            message.number > self.since
            and self.phone in (None, message.phone)
            and self.request_id in (None, message.request_id)
            and self.account in (None, message.account)
            and (self.has_code is None or self.has_code(message))
        )

    def __str__(self) -> str:
        """Say what is wanted."""
        words = ["a message"]
        if self.phone is not None:
            words.append(f"to {mask_phone(self.phone)}")
        if self.request_id is not None:
            words.append(f"with request id {self.request_id}")
        if self.account is not None:
            words.append(f"of the account {self.account}")
        if self.has_code is not None:
            words.append("with a code")
        return " ".join(words)


async def first_event(
    journal: Journal, pick: Callable[[Event], _T | None], seconds: float, wanted: str
) -> _T:
    """Wait for the first event from which something is picked.

    Args:
        journal: Where events come from.
        pick: Returns what is wanted of an event, or None.
        seconds: How long to wait, in real time.
        wanted: What is waited for, for the error.

    Raises:
        TimeoutError: Nothing was picked; the error says what came instead.
    """
    found: asyncio.Future[_T] = asyncio.get_running_loop().create_future()

    def listen(event: Event) -> None:
        if not found.done() and (picked := pick(event)) is not None:
            found.set_result(picked)

    unsubscribe = journal.subscribe(listen)
    try:
        async with asyncio.timeout(seconds):
            return await found
    except TimeoutError:
        records = journal.not_taken.records
        refused = sum(each.repeats for each in records)
        count = len(journal.requests) + refused
        words = f"waited {seconds:g} s for {wanted}; {count} request{'s'[: count != 1]} came so far"
        if refused:
            last = "was not taken" if refused == 1 else "were not taken, the last"
            words += f", {refused} of them {last}: {records[-1].why}"
        raise TimeoutError(words) from None
    finally:
        unsubscribe()
