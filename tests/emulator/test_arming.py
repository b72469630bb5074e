"""The faults at work: order, skip, times, chance, and what is left of each."""

import pytest

from esms_async._model.errors import ConfigurationError
from esms_async.emulator import Operation, parse_fault
from esms_async.emulator.faults import Fault, FaultRegistry, Target

SEND = Operation.SEND


def draw(registry: FaultRegistry, phone: str | None = None) -> Fault | None:
    """Draw the fault that a send meets."""
    return registry.draw(Target.ANSWER, SEND, phone)


def test_without_faults_nothing_strikes() -> None:
    """An registry that was never armed gives no fault."""
    registry = FaultRegistry(1)
    assert not registry.loaded
    assert draw(registry) is None
    assert registry.armed == ()


def test_a_fault_without_a_limit_strikes_every_request() -> None:
    """Neither `times` nor `p` given, a fault strikes for ever, and `left` is None."""
    registry = FaultRegistry(1)
    armed = registry.arm("reset")
    assert [draw(registry) for _ in range(3)] == [armed.fault] * 3
    assert (armed.used, armed.left) == (3, None)
    assert registry.loaded


def test_times_and_skip_count_the_requests_that_fit() -> None:
    """`skip` lets the first pass, `times` ends it; what does not fit counts for neither."""
    registry = FaultRegistry(1)
    armed = registry.arm("reset,phone=0901888484,skip=1,times=2")
    phones = ["0901888484", "0901888485"] * 4
    struck = [draw(registry, phone) is not None for phone in phones]
    assert struck == [False, False, True, False, True, False, False, False]
    assert (armed.used, armed.left) == (2, 0)


def test_the_first_fault_that_fits_strikes() -> None:
    """Faults strike in the order of arming; one that is used up makes room for the next."""
    registry = FaultRegistry(1)
    first, second = registry.arm("reset,times=1"), registry.arm("close")
    assert [draw(registry), draw(registry)] == [first.fault, second.fault]


def test_each_sort_of_fault_is_drawn_by_itself() -> None:
    """A request can meet one fault of the answer and one of the delivery."""
    registry = FaultRegistry(1)
    registry.arm("dlr:failed")
    assert draw(registry) is None
    assert registry.draw(Target.DELIVERY, SEND, None) == parse_fault("dlr:failed")


def strokes(seed: int, count: int = 200, spec: str = "reset,p=0.3") -> list[bool]:
    """Return which of many requests a fault strikes."""
    registry = FaultRegistry(seed)
    registry.arm(spec)
    return [draw(registry) is not None for _ in range(count)]


def test_chance_is_repeated_by_the_seed() -> None:
    """The same seed strikes the same requests, another seed others, about as often as `p` says."""
    assert strokes(7) == strokes(7)
    assert strokes(7) != strokes(8)
    assert 30 < sum(strokes(7)) < 90


def test_two_equal_faults_have_chances_of_their_own() -> None:
    """The second of two equal faults is not bound to the first one's luck."""
    registry = FaultRegistry(7)
    first, second = registry.arm("reset,p=0.5"), registry.arm("reset,p=0.5")
    for _ in range(100):
        draw(registry)
    assert first.used + second.used > 60


def test_certain_and_impossible_chances() -> None:
    """`p=1` always strikes, `p=0` never."""
    assert all(strokes(1, spec="reset,p=1"))
    assert not any(strokes(1, spec="reset,p=0"))


def test_a_fault_is_disarmed_once_and_for_all() -> None:
    """A fault that is taken away strikes no more; taking it away twice is harmless."""
    registry = FaultRegistry(1)
    armed = registry.arm("reset")
    other = registry.arm("close")
    armed.disarm()
    armed.disarm()
    assert draw(registry) == other.fault
    assert registry.armed == (other,)


def test_clearing_begins_anew() -> None:
    """After `clear` nothing strikes, and the same fault meets the same chance as at first."""
    registry = FaultRegistry(7)
    registry.arm("reset,p=0.3")
    before = [draw(registry) is not None for _ in range(50)]
    registry.clear()
    assert not registry.loaded
    registry.arm("reset,p=0.3")
    assert [draw(registry) is not None for _ in range(50)] == before


def test_a_fault_can_be_given_as_a_value() -> None:
    """A Fault is armed as its specification is."""
    registry = FaultRegistry(1)
    assert registry.arm(parse_fault("reset")).fault == parse_fault("reset")


def test_a_wrong_specification_arms_nothing() -> None:
    """A refusal leaves the registry as it was."""
    registry = FaultRegistry(1)
    with pytest.raises(ConfigurationError):
        registry.arm("boom")
    assert not registry.loaded


def test_the_repr_of_an_armed_fault_says_what_is_left() -> None:
    """The repr names the fault and how often it has struck, with the phone masked."""
    armed = FaultRegistry(1).arm("reset,phone=0901888484")
    assert repr(armed) == "<ArmedFault reset,phone=090****484, used 0>"


def test_listeners_hear_what_is_armed_and_taken_away() -> None:
    """Arming, disarming and clearing reach listeners; what changes nothing does not."""
    registry = FaultRegistry(1)
    changes: list[int] = []
    registry.changes.add(lambda: changes.append(len(registry.armed)))
    armed = registry.arm("reset")
    registry.arm("close")
    armed.disarm()
    armed.disarm()
    registry.clear()
    assert changes == [1, 2, 1, 0]


def test_numbers_are_never_given_twice() -> None:
    """A fault that is armed after a clearing has a number of its own."""
    registry = FaultRegistry(1)
    registry.arm("reset")
    registry.clear()
    assert registry.arm("reset").number == 2
