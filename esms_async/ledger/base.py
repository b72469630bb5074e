"""What every ledger does, whatever it keeps its entries in."""

import abc
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Protocol, Self

import attrs

from esms_async.checks import check_seconds
from esms_async.errors import LedgerError
from esms_async.handover import Turn
from esms_async.messages import Message
from esms_async.settlement import WINDOW, Claim, Entry, News, Settlement


class UnreadableEntry(LedgerError):
    """One entry can't be read, however often it is asked for; the ledger itself works."""


class Ledger(Protocol):
    """Keeps what is known of each send.

    Every method raises LedgerError where the ledger can't be read or written. A call that is
    cancelled while it waits may still take effect; none takes effect in part.
    """

    @property
    def is_open(self) -> bool:
        """True between `open` and `aclose`."""
        ...

    async def open(self) -> None:
        """Make the ledger ready; it belongs to whoever opens it, who closes it."""
        ...

    async def aclose(self) -> None:
        """Write what is outstanding, and give back what the ledger holds."""
        ...

    async def claim(self, message: Message, fingerprint: bytes, *, resume: bool = False) -> Claim:
        """Ask to send a message, before the first byte of a request leaves.

        Args:
            message: The message.
            fingerprint: Its fingerprint (`esms_async.settlement.fingerprint`).
            resume: True where the caller knows of an earlier attempt that may have arrived.

        Returns:
            The decision. Where it lets the message be sent, the entry is open and stored.
        """
        ...

    async def record_uncertainty(self, request_id: str, generation: int) -> Entry | None:
        """Record that one more attempt may have arrived.

        Args:
            request_id: The RequestId of a claim.
            generation: The generation of the claim.

        Returns:
            The entry, which another claimant may have settled meanwhile; None where the ledger
            holds none.
        """
        ...

    async def settle(
        self, request_id: str, generation: int, settlement: Settlement
    ) -> Entry | None:
        """Record what became of a claim.

        Args:
            request_id: The RequestId of a claim.
            generation: The generation of the claim.
            settlement: What was learnt.

        Returns:
            The entry as it stands then; None where the ledger holds none.
        """
        ...

    async def begin_report(self, request_id: str, state: str, lease: float) -> Turn:
        """Ask to hand a delivery report on, before the application is told of it.

        Args:
            request_id: The RequestId of the message, which the ledger need not hold.
            state: What the report says became of it. Reports of one message and state are one.
            lease: For how many seconds nobody else may hand it on.

        Returns:
            What to do. Where the report may be handed on, the turn is stored.
        """
        ...

    async def end_report(self, request_id: str, state: str, turn: int, *, success: bool) -> None:
        """Record how a turn at handing a report on has ended.

        Args:
            request_id: The RequestId of the message.
            state: What the report says became of it.
            turn: The number of the turn.
            success: True where the report was handed on, and need not be again.
        """
        ...

    async def keep_fact(self, name: str, value: str) -> str:
        """Keep a fact about the ledger itself, unless one of that name is kept already.

        Args:
            name: What it is about, such as where the sends go.
            value: What to keep, for as long as the ledger is.

        Returns:
            What is kept: the value, or that of whoever came first.
        """
        ...

    async def look_up(self, request_id: str) -> Entry | None:
        """Return the entry of a RequestId, or None."""
        ...

    def unsettled(self) -> AsyncIterator[Entry]:
        """Iterate over the open entries, in no particular order."""
        ...

    def entries(self) -> AsyncIterator[Entry]:
        """Iterate over all entries, in no particular order."""
        ...

    async def prune(self, older_than: float, *, unsettled: bool = False) -> int:
        """Forget entries, and reports that were handed on, that did not change for a time.

        Args:
            older_than: Seconds. Forget no sooner than the same Message can still be sent again:
                a send of a forgotten one is a new send. The same goes for its reports.
            unsettled: True forgets open entries too.

        Returns:
            How many entries were forgotten.
        """
        ...


def _check_window(_: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    check_seconds(attribute.name, value)


@attrs.frozen
class LedgerOptions:
    """What all ledgers are told alike.

    Args:
        window: For how many seconds an unsettled send may be resumed.
        store_phone: True stores full phone numbers, not masked ones.
        store_content: True stores the texts.

    Raises:
        ConfigurationError: `window` is no duration.
    """

    window: float = attrs.field(default=WINDOW, validator=_check_window)
    store_phone: bool = False
    store_content: bool = False


class LedgerBase(abc.ABC):
    """The part of a ledger that does not depend on what it keeps its entries in."""

    @property
    @abc.abstractmethod
    def is_open(self) -> bool:
        """True between `open` and `aclose`."""

    @abc.abstractmethod
    async def open(self) -> None:
        """Make the ledger ready."""

    @abc.abstractmethod
    async def aclose(self) -> None:
        """Write what is outstanding, and give back what the ledger holds."""

    @abc.abstractmethod
    async def settle(
        self, request_id: str, generation: int, settlement: Settlement
    ) -> Entry | None:
        """Record what became of a claim."""

    async def record_uncertainty(self, request_id: str, generation: int) -> Entry | None:
        """Record that one more attempt may have arrived."""
        return await self.settle(request_id, generation, Settlement(News.UNCERTAIN))

    def require_open(self) -> None:
        """Refuse to work before `open` and after `aclose`.

        Raises:
            LedgerError: The ledger is not open.
        """
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
