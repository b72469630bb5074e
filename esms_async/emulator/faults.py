"""Faults: the grammar they are written in, and which of them a request meets.

    kind[:argument][@operation][,phase=before|after][,times=n][,p=0.1][,skip=n][,phone=…]

| kind | what the sender meets |
|---|---|
| `reset` | the connection is reset (TCP RST) |
| `close` | the connection is closed without an answer |
| `hang` | no answer ever comes |
| `delay:2s` | the answer comes late |
| `truncate:0.5` | that fraction of the answer's body, then the end of the connection |
| `dribble:2s` | the answer byte by byte, over that time |
| `http:503` | an HTTP status, with a Retry-After where `retry_after=2` asks for one |
| `html:400` | the same with an HTML page, as a proxy writes it |
| `garbage` | bytes that are not HTTP |
| `empty` | HTTP 200 with an empty body |
| `invalid` | `{"error":"Invalid request"}` |
| `code:103` | an answer with that code |
| `duplicate` | the answer 124, whether or not the RequestId was seen |
| `status_lag:3s` | the status calls do not know the message for so long |
| `dlr:failed` | its delivery: `failed`, `never`, `twice`, `early` or `late` |

`phase=before`, the default, strikes before the gateway has looked at the request: nothing is
stored. `phase=after` strikes when it has: the message is accepted and stored, and the answer is
lost. Two kinds lose nothing: `delay` waits before (the default) or after the request is processed,
and has it processed even where the sender has given up meanwhile; `dribble` (`phase=after` by
default) spreads the true answer. `truncate` and `dribble` with `phase=before` do their work on
`{"error":"Invalid request"}`.

A fault strikes every request that it fits: `@operation` and `phone` pick, `skip` lets the first n
pass, `p` strikes by chance, `times` limits how often.
"""

import enum
import math
import random
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final, NoReturn

import attrs

from esms_async._model.codes import CODES
from esms_async._model.errors import ConfigurationError
from esms_async._model.phone import mask_phone, normalize_phone
from esms_async.emulator.clock import Listeners
from esms_async.emulator.records import DeliveryFault, Operation
from esms_async.emulator.settings import read_duration

_LONGEST_WORD = 40
_LONG_NUMBER = re.compile(r"[0-9]{8,}")
# These statuses have no body, so that they would make another fault than they say.
_BODILESS = frozenset({"204", "205", "304"})
_STATUS = re.compile(r"[2-5][0-9]{2}")


class Kind(enum.StrEnum):
    """What a fault does."""

    RESET = "reset"
    CLOSE = "close"
    HANG = "hang"
    DELAY = "delay"
    TRUNCATE = "truncate"
    DRIBBLE = "dribble"
    HTTP = "http"
    HTML = "html"
    GARBAGE = "garbage"
    EMPTY = "empty"
    INVALID = "invalid"
    CODE = "code"
    DUPLICATE = "duplicate"
    STATUS_LAG = "status_lag"
    DLR = "dlr"


class Phase(enum.StrEnum):
    """When a fault strikes: before the gateway has looked at the request, or after."""

    BEFORE = "before"
    AFTER = "after"


class Target(enum.Enum):
    """What a fault changes. A request meets at most one fault of each target."""

    ANSWER = "answer"
    STATUS_LAG = "status lag"
    DELIVERY = "delivery"


@attrs.frozen
class Fault:
    """One fault, as its specification reads. `parse_fault` makes it.

    Attributes:
        kind: What it does.
        argument: The argument as written, or an empty string.
        seconds: The time of `delay`, `dribble` and `status_lag`.
        fraction: The fraction of `truncate`.
        status: The HTTP status of `http` and `html`.
        code: The code of `code` and `duplicate`.
        delivery: The argument of `dlr`.
        operation: The operation that it strikes, or None for every one that it can.
        phase: When it strikes.
        times: How often it strikes at most, or None.
        p: The probability with which it does.
        skip: How many requests that it fits pass first.
        phone: The phone that it strikes, as `0XXXXXXXXX`, or None for every one.
        retry_after: The Retry-After of `http` and `html` in seconds, or None.
    """

    kind: Kind
    argument: str = ""
    seconds: float = 0.0
    fraction: float = 0.0
    status: int = 200
    code: str = ""
    delivery: DeliveryFault | None = None
    operation: Operation | None = None
    phase: Phase = Phase.BEFORE
    times: int | None = None
    p: float = 1.0
    skip: int = 0
    phone: str | None = None
    retry_after: int | None = None

    @property
    def target(self) -> Target:
        """What it changes."""
        return _RULES[self.kind].target

    def fits(self, operation: Operation, phone: str | None) -> bool:
        """Tell whether it picks a request.

        Args:
            operation: What the request asks for.
            phone: The phone in it, as `0XXXXXXXXX`, or None.

        Returns:
            True where neither its kind nor `@operation` nor `phone` speaks against it.
        """
        return (
            operation in _RULES[self.kind].operations
            and self.operation in (None, operation)
            and self.phone in (None, phone)
        )

    def __str__(self) -> str:
        """Return the specification with the phone masked."""
        head = f"{self.kind}:{self.argument}" if self.argument else f"{self.kind}"
        words = [head if self.operation is None else f"{head}@{self.operation}"]
        if self.phase is not _RULES[self.kind].phase:
            words.append(f"phase={self.phase}")
        if self.times is not None:
            words.append(f"times={self.times}")
        if self.p != 1:
            words.append(f"p={self.p:g}")
        if self.skip:
            words.append(f"skip={self.skip}")
        if self.phone is not None:
            words.append(f"phone={mask_phone(self.phone)}")
        if self.retry_after is not None:
            words.append(f"retry_after={self.retry_after}")
        return ",".join(words)

    def __repr__(self) -> str:
        return f"<Fault {self}>"


def parse_fault(spec: str) -> Fault:
    """Read the specification of a fault.

    Args:
        spec: Such as `reset,phase=after,times=1` or `http:503@send,retry_after=2,p=0.1`.

    Returns:
        The fault.

    Raises:
        ConfigurationError: A part cannot be read; the error says which, and what is allowed.
    """
    head, *options = (part.strip() for part in _require_str(spec).split(","))
    head, at, operation = head.partition("@")
    word, colon, argument = head.partition(":")
    if word not in _RULES:
        raise ConfigurationError(f"there is no fault {_quote(word)}; there are {_list(Kind)}")
    fault = _read_argument(Kind(word), argument if colon else None)
    if at:
        fault = _read_operation(fault, operation)
    seen: set[str] = set()
    for option in options:
        name, _, value = option.partition("=")
        if name not in _OPTIONS or name in seen:
            problem = "is given twice" if name in seen else f"is none of {_list(_OPTIONS)}"
            _refuse(fault, f"option {_quote(name)} {problem}")
        seen.add(name)
        fault = _OPTIONS[name](fault, value)
    return fault


def _require_str(spec: object) -> str:
    if not isinstance(spec, str):
        raise ConfigurationError(f"a fault is written as a str, not {type(spec).__name__}")
    return spec


def _read_argument(kind: Kind, argument: str | None) -> Fault:
    rule = _RULES[kind]
    fault = Fault(kind, phase=rule.phase, code="124" if kind is Kind.DUPLICATE else "")
    if rule.read is None:
        if argument is not None:
            _refuse(fault, "takes no argument")
        return fault
    if argument is None:
        if rule.default is None:
            _refuse(fault, f"needs an argument, as in {kind}:{rule.example}")
        argument = rule.default
    return rule.read(attrs.evolve(fault, argument=argument), argument)


def _read_operation(fault: Fault, word: str) -> Fault:
    allowed = [operation for operation in Operation if operation in _RULES[fault.kind].operations]
    if word not in allowed:
        _refuse(fault, f"cannot strike @{_quote(word)}; it strikes {_list(allowed)}")
    return attrs.evolve(fault, operation=Operation(word))


def _read_seconds(fault: Fault, text: str) -> Fault:
    seconds = read_duration(text)
    if seconds is None:
        _refuse(fault, f"takes a time such as 500ms, 2s, 5m or 1h, not {_quote(text)}")
    return attrs.evolve(fault, seconds=seconds)


def _read_fraction(fault: Fault, text: str) -> Fault:
    fraction = _number(text)
    if not 0 <= fraction < 1:
        _refuse(fault, f"takes a fraction from 0 to less than 1, not {_quote(text)}")
    return attrs.evolve(fault, fraction=fraction)


def _read_status(fault: Fault, text: str) -> Fault:
    if not _STATUS.fullmatch(text) or text in _BODILESS:
        _refuse(fault, f"takes an HTTP status from 200 to 599 with a body, not {_quote(text)}")
    return attrs.evolve(fault, status=int(text))


def _read_code(fault: Fault, text: str) -> Fault:
    if not re.fullmatch(r"[0-9]{1,6}", text) or text == "100":
        _refuse(fault, f"takes a code of the gateway such as 103, not 100, not {_quote(text)}")
    return attrs.evolve(fault, code=text)


def _read_delivery(fault: Fault, text: str) -> Fault:
    if text not in list(DeliveryFault):
        _refuse(fault, f"takes {_list(DeliveryFault)}, not {_quote(text)}")
    return attrs.evolve(fault, delivery=DeliveryFault(text))


def _read_phase(fault: Fault, text: str) -> Fault:
    if fault.target is not Target.ANSWER:
        _refuse(fault, "takes no phase: it concerns messages that are accepted")
    if text not in list(Phase):
        _refuse(fault, f"takes phase={' or phase='.join(Phase)}, not {_quote(text)}")
    return attrs.evolve(fault, phase=Phase(text))


def _read_times(fault: Fault, text: str) -> Fault:
    times = _count(text)
    if not times:
        _refuse(fault, f"takes times=1 or more, not {_quote(text)}")
    return attrs.evolve(fault, times=times)


def _read_skip(fault: Fault, text: str) -> Fault:
    skip = _count(text)
    if skip is None:
        _refuse(fault, f"takes skip=0 or more, not {_quote(text)}")
    return attrs.evolve(fault, skip=skip)


def _read_chance(fault: Fault, text: str) -> Fault:
    p = _number(text)
    if not 0 <= p <= 1:
        _refuse(fault, f"takes p=0 to p=1, not {_quote(text)}")
    return attrs.evolve(fault, p=p)


def _read_phone(fault: Fault, text: str) -> Fault:
    if fault.operation not in (None, Operation.SEND):
        _refuse(fault, f"cannot pick by phone at @{fault.operation}, which names none")
    try:
        return attrs.evolve(fault, phone=normalize_phone(text))
    except ValueError as error:
        _refuse(fault, f"phone {error}")


def _read_retry_after(fault: Fault, text: str) -> Fault:
    seconds = _count(text)
    if fault.kind not in (Kind.HTTP, Kind.HTML):
        _refuse(fault, "takes no retry_after; http and html do")
    if seconds is None:
        _refuse(fault, f"takes retry_after in whole seconds, not {_quote(text)}")
    return attrs.evolve(fault, retry_after=seconds)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _count(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None


def _refuse(fault: Fault, problem: str) -> NoReturn:
    raise ConfigurationError(f"fault {fault.kind}: {problem}")


def _quote(text: str) -> str:
    """Show what was written, short, and without what could be a whole phone number."""
    text = _LONG_NUMBER.sub("***", text)
    return repr(text if len(text) <= _LONGEST_WORD else text[:_LONGEST_WORD] + "…")


def _list(words: Iterable[str]) -> str:
    return ", ".join(words)


@attrs.frozen
class _Rule:
    """What one kind of fault takes: an argument, operations, a default phase."""

    read: Callable[[Fault, str], Fault] | None = None
    example: str = ""
    default: str | None = None
    target: Target = Target.ANSWER
    operations: frozenset[Operation] = frozenset(Operation)
    phase: Phase = Phase.BEFORE


_SENDS = frozenset({Operation.SEND})

_RULES: Final[Mapping[str, _Rule]] = MappingProxyType(
    {
        Kind.RESET: _Rule(),
        Kind.CLOSE: _Rule(),
        Kind.HANG: _Rule(),
        Kind.DELAY: _Rule(_read_seconds, "2s"),
        Kind.TRUNCATE: _Rule(_read_fraction, "0.5", default="0.5"),
        Kind.DRIBBLE: _Rule(_read_seconds, "2s", default="2s", phase=Phase.AFTER),
        Kind.HTTP: _Rule(_read_status, "503"),
        Kind.HTML: _Rule(_read_status, "400", default="400"),
        Kind.GARBAGE: _Rule(),
        Kind.EMPTY: _Rule(),
        Kind.INVALID: _Rule(),
        Kind.CODE: _Rule(_read_code, "103"),
        Kind.DUPLICATE: _Rule(operations=_SENDS),
        Kind.STATUS_LAG: _Rule(_read_seconds, "3s", target=Target.STATUS_LAG, operations=_SENDS),
        Kind.DLR: _Rule(_read_delivery, "failed", target=Target.DELIVERY, operations=_SENDS),
    }
)

_OPTIONS: Final[Mapping[str, Callable[[Fault, str], Fault]]] = MappingProxyType(
    {
        "phase": _read_phase,
        "times": _read_times,
        "p": _read_chance,
        "skip": _read_skip,
        "phone": _read_phone,
        "retry_after": _read_retry_after,
    }
)

MAGIC_PHONES: Final[Mapping[str, str]] = MappingProxyType(
    {f"0900000{int(code):03}": code for code in CODES if code != "100"}
)
"""Phone numbers that always meet a code: `0900000103` meets 103, `0900000099` meets 99, …"""

PRESETS: Final = (
    ("Lose the next answer", "reset@send,phase=after,times=1"),
    ("Reset the next send", "reset@send,times=1"),
    ("Hang once", "hang@send,times=1"),
    ("Answer 2 s late", "delay:2s@send,times=1"),
    ("503 three times", "http:503@send,times=3,retry_after=1"),
    ("Error without a code", "invalid@send,times=1"),
    ("Balance used up", "code:103@send,times=1"),
    ("Delivery fails", "dlr:failed,times=1"),
    ("Report comes twice", "dlr:twice,times=1"),
    ("Lose one answer in ten", "reset@send,phase=after,p=0.1"),
)
"""Faults that the page arms with one click, by their names."""

_NAMES: Final = {spec: name for name, spec in PRESETS}
_MOST_SPENT = 20


class ArmedFault:
    """A fault at work."""

    def __init__(
        self, number: int, fault: Fault, chance: random.Random, registry: "FaultRegistry"
    ) -> None:
        self._number = number
        self._fault = fault
        self._chance = chance
        self._registry = registry
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
    def name(self) -> str | None:
        """What the page calls it, or None."""
        return _NAMES.get(str(self._fault))

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
        self._registry.disarm(self._number)

    def __repr__(self) -> str:
        return f"<ArmedFault {self._fault}, used {self._used}>"


class _LiveFault(ArmedFault):
    """An armed fault as its registry sees it: one that may strike."""

    def strikes(self, operation: Operation, phone: str | None) -> bool:
        """Return True where it strikes a request, and count it.

        Args:
            operation: What the request asks for.
            phone: The phone in it, as `0XXXXXXXXX`, or None.
        """
        fault = self._fault
        if self.left == 0 or not fault.fits(operation, phone):
            return False
        self._met += 1
        if self._met <= fault.skip or (fault.p < 1 and self._chance.random() >= fault.p):
            return False
        self._used += 1
        return True


class FaultRegistry:
    """The armed faults, in the order in which they were armed. The first that fits strikes.

    Args:
        seed: Makes `p=` repeatable: the same faults armed in the same order strike the same
            requests of a sequence.

    Attributes:
        changes: Called when a fault is armed or taken away.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.changes: Listeners[[]] = Listeners()
        self._number = 0
        self._count = 0
        self._armed: dict[Target, list[_LiveFault]] = {target: [] for target in Target}
        self._spent: deque[_LiveFault] = deque(maxlen=_MOST_SPENT)

    @property
    def loaded(self) -> bool:
        """True where a fault can strike."""
        return any(self._armed.values())

    @property
    def armed(self) -> tuple[ArmedFault, ...]:
        """The faults that can still strike, in the order in which they were armed."""
        found = [armed for faults in self._armed.values() for armed in faults]
        return tuple(sorted(found, key=lambda armed: armed.number))

    @property
    def spent(self) -> tuple[ArmedFault, ...]:
        """The newest of those that are used up, in the order in which they were armed."""
        return tuple(sorted(self._spent, key=lambda armed: armed.number))

    def arm(self, fault: Fault | str) -> ArmedFault:
        """Arm a fault.

        Args:
            fault: The fault, or its specification.

        Raises:
            ConfigurationError: The specification cannot be read.
        """
        fault = fault if isinstance(fault, Fault) else parse_fault(fault)
        self._count += 1
        chance = random.Random(f"{self._seed}/{self._count}")  # noqa: S311  # chance to repeat
        self._number += 1
        armed = _LiveFault(self._number, fault, chance, self)
        self._armed[fault.target].append(armed)
        self.changes.tell()
        return armed

    def draw(self, target: Target, operation: Operation, phone: str | None) -> Fault | None:
        """Return the fault of one target that a request meets, and count it.

        Args:
            target: What the fault changes.
            operation: What the request asks for.
            phone: The phone in it, as `0XXXXXXXXX`, or None.
        """
        for armed in self._armed[target]:
            if armed.strikes(operation, phone):
                if armed.left == 0:
                    self._armed[target].remove(armed)
                    self._spent.append(armed)
                return armed.fault
        return None

    def clear(self) -> None:
        """Take all faults away. Those that are armed then meet the same chance again."""
        for faults in self._armed.values():
            faults.clear()
        self._spent.clear()
        self._count = 0
        self.changes.tell()

    def disarm(self, number: int) -> None:
        """Take the fault with a number away, if it is still there."""
        for faults in (*self._armed.values(), self._spent):
            for armed in [each for each in faults if each.number == number]:
                faults.remove(armed)
                self.changes.tell()
