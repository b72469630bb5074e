"""The rings and the listeners."""

from datetime import UTC, datetime

import attrs

from esms_async.emulator import Clock, Event, EventKind, Operation, SeenRequest
from esms_async.emulator.journal import Journal, Ring


def request(number: int) -> SeenRequest:
    """Make a request with a number."""
    return SeenRequest(number, datetime.now(UTC), Operation.SEND, "POST", {})


def test_a_ring_keeps_the_newest_and_counts_the_others() -> None:
    """The oldest record makes room, and is counted as pruned."""
    ring: Ring[SeenRequest] = Ring(2)
    for number in (1, 2, 3):
        assert ring.next_number() == number
        ring.put(request(number))
    assert [record.number for record in ring.records] == [2, 3]
    assert ring.pruned == 1


def test_news_of_a_record_replace_it_in_its_place() -> None:
    """What is newly known of a record that is kept takes its place; of one that is not, none."""
    ring: Ring[SeenRequest] = Ring(2)
    for number in (1, 2, 3):
        ring.put(request(number))
    ring.put(attrs.evolve(request(2), decided="100"))
    ring.put(attrs.evolve(request(1), decided="100"))
    assert [(record.number, record.decided) for record in ring.records] == [(2, "100"), (3, None)]


def test_numbers_go_on_after_clearing() -> None:
    """A cleared ring is empty and has pruned nothing, and its numbers are not used again."""
    ring: Ring[SeenRequest] = Ring(1)
    ring.put(request(1))
    ring.put(request(2))
    ring.clear()
    assert (ring.records, ring.pruned, ring.next_number()) == ([], 0, 3)


def test_every_listener_hears_of_every_event_until_it_ends() -> None:
    """Listeners hear in order; one may end its subscription while it is told."""
    journal = Journal(10, 10, Clock())
    heard: list[str] = []

    def once(_: Event) -> None:
        heard.append("once")
        end()

    end = journal.subscribe(once)
    journal.subscribe(lambda event: heard.append(event.kind))
    journal.note_state()
    journal.reset()
    end()
    assert heard == ["once", EventKind.STATE, EventKind.RESET]
