"""Defines what a ledger must offer, what it may offer, and what all ledgers share."""

import abc
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

import attrs

from esms_async._model.checks import check_seconds
from esms_async._model.errors import LedgerError
from esms_async._model.messages import Message
from esms_async.ledger.handover import Turn
from esms_async.ledger.transitions import WINDOW, Claim, Entry, Settlement


class UnreadableEntry(LedgerError):
    """One entry can't be read, now or later; the ledger itself works."""


class Ledger(Protocol):
    """Keeps what is known of each send.

    Every method raises LedgerError when the ledger can't be read or written. A call that is
    cancelled while it waits may still take effect, but never in part.
    """

    @property
    def is_open(self) -> bool:
        """True between `open` and `aclose`."""
        ...

    async def open(self) -> None:
        """Make the ledger ready. Whoever opens it closes it."""
        ...

    async def aclose(self) -> None:
        """Write what is outstanding, and release what the ledger holds."""
        ...

    async def claim(
        self, message: Message, fingerprint: bytes, *, doubt_age: float | None = None
    ) -> Claim:
        """Ask to send a message, before the first byte of a request leaves.

        Args:
            message: The message.
            fingerprint: Its fingerprint (`esms_async.ledger.transitions.fingerprint`).
            doubt_age: For how many seconds the message has been in doubt, if the caller knows of
                an earlier attempt that may have arrived; None otherwise.

        Returns:
            The decision. If it lets the caller send, the entry is stored as "unknown".
        """
        ...

    async def settle(
        self, request_id: str, generation: int, settlement: Settlement
    ) -> Entry | None:
        """Record what was learned of a message.

        Args:
            request_id: The RequestId of a claim.
            generation: The generation of the claim; 0 for a delivery report or the gateway's
                list, which belong to no claim.
            settlement: What was learned; `ONE_MORE_ATTEMPT` before a further attempt.

        Returns:
            The entry after the settlement, which another claimant may have settled before; None
            if the ledger holds none.
        """
        ...

    async def look_up(self, request_id: str) -> Entry | None:
        """Return the entry of a RequestId, or None."""
        ...

    def unsettled(self) -> AsyncIterator[Entry]:
        """Iterate over the entries whose status is unknown, in no particular order."""
        ...

    def entries(self) -> AsyncIterator[Entry]:
        """Iterate over all entries, in no particular order."""
        ...

    async def prune(self, older_than: float, *, unsettled: bool = False) -> int:
        """Delete entries that did not change for a time, and delivery reports likewise.

        Args:
            older_than: Seconds. Choose more than the time in which the same Message can be sent
                again: sending a deleted one is a new send.
            unsettled: True deletes unknown entries too.

        Returns:
            The number of entries deleted.
        """
        ...


@runtime_checkable
class LedgerFacts(Protocol):
    """Keeps facts about the ledger itself, such as the account it belongs to. Optional."""

    async def keep_fact(self, name: str, value: str) -> str:
        """Store a fact unless the ledger has one of that name; return the one it has now."""
        ...

    async def replace_fact(self, name: str, value: str) -> None:
        """Store a fact in place of any other of that name."""
        ...

    async def facts(self) -> dict[str, str]:
        """Return all facts by name."""
        ...


@runtime_checkable
class LedgerBatches(Protocol):
    """Claims, settles and looks up many sends in one step. Optional."""

    async def claim_batch(
        self,
        claims: Sequence[tuple[Message, bytes]],
        settlements: Sequence[tuple[str, int, Settlement]] = (),
    ) -> list[Claim]:
        """Record what was learned of earlier sends, then ask to send further messages.

        Args:
            claims: Each message with its fingerprint; no RequestId comes twice.
            settlements: RequestId, generation and settlement of earlier claims.

        Returns:
            The decisions, as `claim` makes them.
        """
        ...

    async def look_up_batch(self, request_ids: Sequence[str]) -> list[Entry | None]:
        """Return the entry of each RequestId, or None."""
        ...


@runtime_checkable
class LedgerReports(Protocol):
    """Makes sure that each delivery report is handed to the application once. Optional."""

    async def begin_report(self, request_id: str, state: str, lease: float) -> Turn:
        """Ask to hand a delivery report to the application.

        Args:
            request_id: The RequestId of the message; the ledger need not hold it.
            state: What the report says. Reports with the same RequestId and state are one.
            lease: Seconds during which nobody else may hand it over.

        Returns:
            What to do. If the caller may hand the report over, its turn is stored.
        """
        ...

    async def end_report(self, request_id: str, state: str, turn: int, *, success: bool) -> None:
        """Record how a turn ended.

        Args:
            request_id: The RequestId of the message.
            state: What the report says.
            turn: The number of the turn.
            success: True if the application took the report.
        """
        ...


def _check_window(_: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    check_seconds(attribute.name, value)


@attrs.frozen
class LedgerOptions:
    """The options that all ledgers share.

    Args:
        window: Seconds for which an unsettled send may be resumed.
        store_phone: True stores full phone numbers instead of masked ones.
        store_content: True stores the texts.

    Raises:
        ConfigurationError: `window` is not a positive number of seconds.
    """

    window: float = attrs.field(default=WINDOW, validator=_check_window)
    store_phone: bool = False
    store_content: bool = False


class LedgerBase(abc.ABC):
    """Opens and closes a ledger with `async with`."""

    @property
    @abc.abstractmethod
    def is_open(self) -> bool:
        """True between `open` and `aclose`."""

    @abc.abstractmethod
    async def open(self) -> None:
        """Make the ledger ready."""

    @abc.abstractmethod
    async def aclose(self) -> None:
        """Write what is outstanding, and release what the ledger holds."""

    def require_open(self) -> None:
        """Raise LedgerError unless the ledger is open."""
        if not self.is_open:
            raise LedgerError(f"the {type(self).__name__} is not open; use it with `async with`")

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
