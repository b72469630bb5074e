"""Those who are told when something happens."""

from esms_async.emulator.clock import Listeners


def test_everyone_is_told_in_order_with_the_same_words() -> None:
    """What is told reaches each listener, the first one first, as it was said."""
    listeners: Listeners[[int]] = Listeners()
    heard: list[tuple[str, int]] = []
    listeners.add(lambda number: heard.append(("first", number)))
    listeners.add(lambda number: heard.append(("second", number)))
    listeners.tell(7)
    assert heard == [("first", 7), ("second", 7)]
    assert len(listeners) == 2


def test_a_listener_can_leave_while_others_are_told() -> None:
    """Who leaves is told no more, and keeps nobody else from being told; leaving twice is fine."""
    listeners: Listeners[[]] = Listeners()
    heard: list[str] = []

    def once() -> None:
        heard.append("once")
        leave()

    leave = listeners.add(once)
    listeners.add(lambda: heard.append("always"))
    listeners.tell()
    listeners.tell()
    leave()
    assert heard == ["once", "always", "always"]
    assert len(listeners) == 1
