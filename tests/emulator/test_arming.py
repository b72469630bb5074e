"""The faults at work: order, skip, times, chance, and what is left of each."""

import pytest

from esms_async.emulator import Operation, parse_fault
from esms_async.emulator.arming import Armoury
from esms_async.emulator.faults import Fault, Sort
from esms_async.errors import ConfigurationError

SEND = Operation.SEND


def draw(armoury: Armoury, phone: str | None = None) -> Fault | None:
    """Draw the fault that a send meets."""
    return armoury.draw(Sort.ANSWER, SEND, phone)


def test_without_faults_nothing_strikes() -> None:
    """An armoury that was never armed gives no fault."""
    armoury = Armoury(1)
    assert not armoury.loaded
    assert draw(armoury) is None
    assert armoury.armed == ()


def test_a_fault_without_a_limit_strikes_every_request() -> None:
    """Neither `times` nor `p` given, a fault strikes for ever, and `left` is None."""
    armoury = Armoury(1)
    armed = armoury.arm("reset")
    assert [draw(armoury) for _ in range(3)] == [armed.fault] * 3
    assert (armed.used, armed.left) == (3, None)
    assert armoury.loaded


def test_times_and_skip_count_the_requests_that_fit() -> None:
    """`skip` lets the first pass, `times` ends it; what does not fit counts for neither."""
    armoury = Armoury(1)
    armed = armoury.arm("reset,phone=0901888484,skip=1,times=2")
    phones = ["0901888484", "0901888485"] * 4
    struck = [draw(armoury, phone) is not None for phone in phones]
    assert struck == [False, False, True, False, True, False, False, False]
    assert (armed.used, armed.left) == (2, 0)


def test_the_first_fault_that_fits_strikes() -> None:
    """Faults strike in the order of arming; one that is used up makes room for the next."""
    armoury = Armoury(1)
    first, second = armoury.arm("reset,times=1"), armoury.arm("close")
    assert [draw(armoury), draw(armoury)] == [first.fault, second.fault]


def test_each_sort_of_fault_is_drawn_by_itself() -> None:
    """A request can meet one fault of the answer and one of the delivery."""
    armoury = Armoury(1)
    armoury.arm("dlr:failed")
    assert draw(armoury) is None
    assert armoury.draw(Sort.DELIVERY, SEND, None) == parse_fault("dlr:failed")


def strokes(seed: int, count: int = 200, spec: str = "reset,p=0.3") -> list[bool]:
    """Return which of many requests a fault strikes."""
    armoury = Armoury(seed)
    armoury.arm(spec)
    return [draw(armoury) is not None for _ in range(count)]


def test_chance_is_repeated_by_the_seed() -> None:
    """The same seed strikes the same requests, another seed others, about as often as `p` says."""
    assert strokes(7) == strokes(7)
    assert strokes(7) != strokes(8)
    assert 30 < sum(strokes(7)) < 90


def test_two_equal_faults_have_chances_of_their_own() -> None:
    """The second of two equal faults is not bound to the first one's luck."""
    armoury = Armoury(7)
    first, second = armoury.arm("reset,p=0.5"), armoury.arm("reset,p=0.5")
    for _ in range(100):
        draw(armoury)
    assert first.used + second.used > 60


def test_certain_and_impossible_chances() -> None:
    """`p=1` always strikes, `p=0` never."""
    assert all(strokes(1, spec="reset,p=1"))
    assert not any(strokes(1, spec="reset,p=0"))


def test_a_fault_is_disarmed_once_and_for_all() -> None:
    """A fault that is taken away strikes no more; taking it away twice is harmless."""
    armoury = Armoury(1)
    armed = armoury.arm("reset")
    other = armoury.arm("close")
    armed.disarm()
    armed.disarm()
    assert draw(armoury) == other.fault
    assert armoury.armed == (other,)


def test_clearing_begins_anew() -> None:
    """After `clear` nothing strikes, and the same fault meets the same chance as at first."""
    armoury = Armoury(7)
    armoury.arm("reset,p=0.3")
    before = [draw(armoury) is not None for _ in range(50)]
    armoury.clear()
    assert not armoury.loaded
    armoury.arm("reset,p=0.3")
    assert [draw(armoury) is not None for _ in range(50)] == before


def test_a_fault_can_be_given_as_a_value() -> None:
    """A Fault is armed as its specification is."""
    armoury = Armoury(1)
    assert armoury.arm(parse_fault("reset")).fault == parse_fault("reset")


def test_a_wrong_specification_arms_nothing() -> None:
    """A refusal leaves the armoury as it was."""
    armoury = Armoury(1)
    with pytest.raises(ConfigurationError):
        armoury.arm("boom")
    assert not armoury.loaded


def test_the_repr_of_an_armed_fault_says_what_is_left() -> None:
    """The repr names the fault and how often it has struck, with the phone masked."""
    armed = Armoury(1).arm("reset,phone=0901888484")
    assert repr(armed) == "<ArmedFault reset,phone=090****484, used 0>"


def test_whoever_listens_is_told_of_what_is_armed_and_taken_away() -> None:
    """Arming, disarming and clearing are told of; what changes nothing is not."""
    armoury = Armoury(1)
    changes: list[int] = []
    armoury.changes.add(lambda: changes.append(len(armoury.armed)))
    armed = armoury.arm("reset")
    armoury.arm("close")
    armed.disarm()
    armed.disarm()
    armoury.clear()
    assert changes == [1, 2, 1, 0]


def test_numbers_are_never_given_twice() -> None:
    """A fault that is armed after a clearing has a number of its own."""
    armoury = Armoury(1)
    armoury.arm("reset")
    armoury.clear()
    assert armoury.arm("reset").number == 2
