"""The faults at work: which of them a request meets, and what is left of each."""

import random
from collections.abc import Callable

from esms_async.emulator.faults import Fault, Sort, parse_fault
from esms_async.emulator.listeners import Listeners
from esms_async.emulator.records import Operation


class ArmedFault:
    """A fault at work."""

    def __init__(
        self,
        number: int,
        fault: Fault,
        chance: random.Random,
        disarm: Callable[["ArmedFault"], None],
    ) -> None:
        self._number = number
        self._fault = fault
        self._chance = chance
        self._disarm = disarm
        self._met = 0
        self._used = 0

    @property
    def number(self) -> int:
        """Its place in the order of all faults that were ever armed, from 1."""
        return self._number

    @property
    def fault(self) -> Fault:
        """The fault."""
        return self._fault

    @property
    def used(self) -> int:
        """How often it has struck."""
        return self._used

    @property
    def left(self) -> int | None:
        """How often it can still strike, or None where nothing limits it."""
        return None if self._fault.times is None else self._fault.times - self._used

    def disarm(self) -> None:
        """Take it away, if it is still there."""
        self._disarm(self)

    def strikes(self, operation: Operation, phone: str | None) -> bool:
        """Tell whether it strikes a request, and count it.

        Args:
            operation: What the request asks for.
            phone: The phone in it, as `0XXXXXXXXX`, or None.

        Returns:
            True where the request meets the fault.
        """
        fault = self._fault
        if self.left == 0 or not fault.fits(operation, phone):
            return False
        self._met += 1
        if self._met <= fault.skip or (fault.p < 1 and self._chance.random() >= fault.p):
            return False
        self._used += 1
        return True

    def __repr__(self) -> str:
        return f"<ArmedFault {self._fault}, used {self._used}>"


class Armoury:
    """The armed faults, in the order in which they were armed. The first that fits strikes.

    Args:
        seed: What makes `p=` repeatable: the same faults armed in the same order strike the same
            requests of a sequence.

    Attributes:
        changes: Who is told when a fault is armed or taken away.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.changes: Listeners[[]] = Listeners()
        self._number = 0
        self._count = 0
        self._armed: dict[Sort, list[ArmedFault]] = {sort: [] for sort in Sort}

    @property
    def loaded(self) -> bool:
        """True where a fault is armed, used up or not."""
        return any(self._armed.values())

    @property
    def armed(self) -> tuple[ArmedFault, ...]:
        """The armed faults, those that are used up among them."""
        return tuple(armed for faults in self._armed.values() for armed in faults)

    def arm(self, fault: Fault | str) -> ArmedFault:
        """Arm a fault.

        Args:
            fault: The fault, or its specification.

        Returns:
            The fault at work.

        Raises:
            ConfigurationError: The specification cannot be read.
        """
        fault = fault if isinstance(fault, Fault) else parse_fault(fault)
        self._count += 1
        chance = random.Random(f"{self._seed}/{self._count}")  # noqa: S311  # chance to repeat
        self._number += 1
        armed = ArmedFault(self._number, fault, chance, self._disarm)
        self._armed[fault.sort].append(armed)
        self.changes.tell()
        return armed

    def draw(self, sort: Sort, operation: Operation, phone: str | None) -> Fault | None:
        """Return the fault of one sort that a request meets, and count it.

        Args:
            sort: The sort of fault.
            operation: What the request asks for.
            phone: The phone in it, as `0XXXXXXXXX`, or None.

        Returns:
            The fault, or None.
        """
        for armed in self._armed[sort]:
            if armed.strikes(operation, phone):
                return armed.fault
        return None

    def clear(self) -> None:
        """Take all faults away. Those that are armed then meet the same chance again."""
        for faults in self._armed.values():
            faults.clear()
        self._count = 0
        self.changes.tell()

    def _disarm(self, armed: ArmedFault) -> None:
        faults = self._armed[armed.fault.sort]
        if armed in faults:
            faults.remove(armed)
            self.changes.tell()
