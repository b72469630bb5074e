"""Defines the protocols of ledgers, required and optional, and what all ledgers share."""

import abc
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple, Protocol, Self, runtime_checkable

import attrs

from esms_async._model.checks import check_seconds
from esms_async._model.errors import LedgerError
from esms_async._model.messages import Message
from esms_async.ledger.transitions import WINDOW, Claim, Entry, Settlement, StoredReport


class UnreadableEntry(LedgerError):
    """One entry can't be read, now or later; the ledger itself works."""


class Ledger(Protocol):
    """Stores the state of each send.

    Every method raises LedgerError if the ledger can't be read or written. A cancelled call may
    still take effect, but never in part.
    """

    @property
    def is_open(self) -> bool:
        """True between `open` and `aclose`."""
        ...

    async def open(self) -> None:
        """Make the ledger ready. Whoever opens it closes it."""
        ...

    async def aclose(self) -> None:
        """Write outstanding changes, and release all resources."""
        ...

    async def claim(
        self, message: Message, fingerprint: bytes, *, doubt_age: float | None = None
    ) -> Claim:
        """Claim a message, before the first byte of a request leaves.

        Args:
            message: The message.
            fingerprint: 20 bytes that another phone, text or route under the same RequestId would
                change. The sender makes them; `claim` of this package compares them.
            doubt_age: The seconds since an earlier attempt that may have arrived, if the caller
                knows of one; None otherwise.

        Returns:
            The decision. If it lets the caller send, the entry is stored as "unknown".
        """
        ...

    async def settle(
        self, request_id: str, generation: int, settlement: Settlement
    ) -> Entry | None:
        """Record a result of a message.

        Args:
            request_id: The RequestId of a claim.
            generation: The generation of the claim; 0 for a delivery report or the gateway's
                list, which belong to no claim.
            settlement: The result; `ONE_MORE_ATTEMPT` before a further attempt.

        Returns:
            The entry after the settlement, which another claimant may have settled before; None
            if the ledger has no entry.
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
        """Delete entries that did not change for a time, and reports handed on before that.

        Args:
            older_than: Seconds, longer than the same Message may be sent again: after its entry is
                deleted, that is a new send.
            unsettled: True deletes unknown entries too, and reports that were not handed on.

        Returns:
            The number of entries deleted.
        """
        ...


@runtime_checkable
class LedgerFacts(Protocol):
    """Stores facts about the ledger itself, such as its account. Optional."""

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
    """Claims and looks up many sends in one step. Optional."""

    async def claim_batch(self, claims: Sequence[tuple[Message, bytes]]) -> list[Claim]:
        """Ask to send messages; the caller knows no earlier attempt of theirs.

        Args:
            claims: Each message with its fingerprint; no RequestId comes twice.

        Returns:
            The decisions, as `claim` makes them.
        """
        ...

    async def look_up_batch(self, request_ids: Sequence[str]) -> list[Entry | None]:
        """Return the entry of each RequestId, or None."""
        ...


@runtime_checkable
class LedgerReports(Protocol):
    """Stores delivery reports until the application has taken them. Optional.

    Reports with the same key are one report. A claimed report has a lease: nobody else gets it
    before the lease has run out.
    """

    async def store_report(
        self, key: str, text: str, *, lease: float | None = None
    ) -> StoredReport | None:
        """Store a report, unless one with its key was stored before.

        Args:
            key: The RequestId, "#" and the state that is reported.
            text: The report itself.
            lease: Seconds for which the caller claims it; None for no claim.

        Returns:
            The stored report; None if there was one before, which stays as it is.
        """
        ...

    async def take_reports(self, limit: int, lease: float) -> Sequence[StoredReport]:
        """Claim reports that are due: waiting ones, and those whose process has died.

        Call this several times in the length of a lease, with a limit of 0 if there is no room.
        After a longer pause no lease counts as run out for a while, because its owner may have
        been cut off from the ledger rather than dead.

        Args:
            limit: The most reports to claim.
            lease: Seconds for which the caller claims them.
        """
        ...

    async def settle_report(
        self,
        key: str,
        generation: int,
        settlement: Settlement,
        *,
        failures: int = 0,
        due_in: float = 0.0,
    ) -> None:
        """Record the result of a claimed report.

        Args:
            key: The key of the report.
            generation: The generation of the claim.
            settlement: Accepted; not sent, to be tried again; or rejected by
                `Reason.MESSAGE`, to be kept as failed. Its detail says what failed.
            failures: The number of failures so far.
            due_in: Seconds until the next try.
        """
        ...

    def failed_reports(self) -> AsyncIterator[StoredReport]:
        """Iterate over the reports that are kept as failed, in no particular order."""
        ...

    async def retry_report(self, key: str) -> bool:
        """Let a failed report be handed on again; return False if no failed one has this key."""
        ...


Unrecorded = Callable[[str, Settlement, LedgerError], None]
"""Receives the RequestId, the settlement and the error of an acceptance that was not stored."""


@runtime_checkable
class LedgerAcceptances(Protocol):
    """Records acceptances without a wait. Optional.

    An unsettled entry says "it may have been accepted", which stays true of an accepted message. So
    its sender need not wait: a crash before the settlement is stored costs one request, which the
    gateway answers with code 124.
    """

    def accept_soon(
        self, request_id: str, sms_id: str | None, *, deduplicated: bool, unrecorded: Unrecorded
    ) -> bool:
        """Queue an acceptance, to be stored with the next claims, or alone after a short time.

        Every later call of this ledger sees the acceptance.

        Args:
            request_id: The RequestId of a claim.
            sms_id: The SMSID, or None.
            deduplicated: True if the acceptance was learned from code 124.
            unrecorded: Called later if the acceptance can't be stored.

        Returns:
            False if nothing was queued: then call `settle`, and wait.
        """
        ...

    async def flush(self) -> None:
        """Wait until each queued acceptance is stored, or was handed to its `unrecorded`."""
        ...


class ClaimAhead(NamedTuple):
    """A claim that was made before the client sends.

    Attributes:
        claim: The claim.
        began: The moment before it was asked for: seconds since the epoch, and since the machine
            started.
    """

    claim: Claim
    began: tuple[float, float]


@runtime_checkable
class LedgerAhead(Protocol):
    """Holds claims that were made before the client sends, many in one transaction. Optional."""

    def claimed_ahead(self, request_id: str) -> ClaimAhead | None:
        """Return the claim that was made for a client, once; None if it has to make one."""
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
        """Write outstanding changes, and release all resources."""

    def require_open(self) -> None:
        """Raise LedgerError unless the ledger is open."""
        if not self.is_open:
            raise LedgerError(f"the {type(self).__name__} is not open; use it with `async with`")

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
