"""The ledgers that these tests run with, and one that fails as often as a test says."""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any, cast

from esms_async import LedgerError, Status
from esms_async.ledger import (
    Ledger,
    LedgerAcceptances,
    MemoryLedger,
    RedisLedger,
    Settlement,
    SqliteLedger,
)
from esms_async.ledger.base import Unrecorded

AnyLedger = MemoryLedger | SqliteLedger | RedisLedger
KINDS = ("memory", "sqlite", "redis")


def open_ledger(
    kind: str, place: str = "", prefix: str = "esms:", clock: Callable[[], float] = time.time
) -> AnyLedger:
    """Make a ledger of a kind, which whoever uses it opens.

    Args:
        kind: memory, sqlite or redis.
        place: The file, or the URL of the server.
        prefix: What the keys on a server begin with.
        clock: Seconds since the epoch.
    """
    match kind:
        case "memory":
            return MemoryLedger(clock=clock)
        case "sqlite":
            return SqliteLedger(place, clock=clock)
        case _:
            return RedisLedger(place, prefix=prefix, clock=clock)


class Flaky:
    """Stands before a ledger, and lets calls fail as a full disk or a lost server does.

    Args:
        ledger: The ledger.
        fails: Decides, by the name of a call, whether it fails: "before" it takes effect,
            "after" it did, or not at all.
        note: Gets the name of each call that ended, the RequestId, and whether it failed.
    """

    def __init__(
        self,
        ledger: Ledger,
        fails: Callable[[str], str | None],
        note: Callable[[str, str, bool], None],
    ) -> None:
        self._ledger = ledger
        self._fails = fails
        self._note = note

    def accept_soon(
        self, request_id: str, sms_id: str | None, *, deduplicated: bool, unrecorded: Unrecorded
    ) -> bool:
        """Queue an acceptance, or hand it back a turn later, with or without effect."""
        how = self._fails("accept_soon")
        if how is not None:
            settlement = Settlement(Status.ACCEPTED, None, sms_id, deduplicated)
            error = LedgerError("the disk is full")
            asyncio.get_running_loop().call_soon(unrecorded, request_id, settlement, error)
            self._note("accept_soon", request_id, True)  # noqa: FBT003  # as its type says
        if how == "before":
            return True
        return cast("LedgerAcceptances", self._ledger).accept_soon(
            request_id, sms_id, deduplicated=deduplicated, unrecorded=unrecorded
        )

    async def flush(self) -> None:
        """Wait for what is queued."""
        await cast("LedgerAcceptances", self._ledger).flush()

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._ledger, name)
        if not inspect.iscoroutinefunction(attribute) or name in ("open", "aclose"):
            return attribute

        async def call(*args: Any, **options: Any) -> Any:
            subject = args[0] if args else ""
            request_id = str(getattr(subject, "request_id", subject))
            how = self._fails(name)
            if how == "before":
                self._note(name, request_id, True)  # noqa: FBT003  # as its type says
                raise LedgerError("the disk is full")
            found = await attribute(*args, **options)
            self._note(name, request_id, how is not None)
            if how is not None:
                raise LedgerError("the server's answer was lost")
            return found

        return call


def flaky(
    ledger: Ledger,
    fails: Callable[[str], str | None],
    note: Callable[[str, str, bool], None] = lambda name, request_id, failed: None,
) -> Ledger:
    """Return a ledger that fails when it is told to (see `Flaky`)."""
    return cast("Ledger", Flaky(ledger, fails, note))
