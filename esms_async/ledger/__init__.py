"""Ledgers: they keep the state of each send across crashes, restarts and replicas.

A ledger of your own is a class with the methods of `Ledger`, best derived from `LedgerBase`. It
stores entries, and makes each step atomic; `new_entry`, `claim` and `settle` decide what a step may
do. If it stores delivery reports (`LedgerReports`), `new_report`, `next_contact`, `claim_report`,
`settle_report` and `retry_report` decide in the same way.
"""

import importlib
from typing import TYPE_CHECKING

from esms_async.ledger.base import (
    Ledger,
    LedgerAcceptances,
    LedgerBase,
    LedgerBatches,
    LedgerFacts,
    LedgerOptions,
    LedgerReports,
)
from esms_async.ledger.transitions import (
    ONE_MORE_ATTEMPT,
    Claim,
    Contact,
    Decision,
    Entry,
    Reason,
    Row,
    Settlement,
    StoredReport,
    as_row,
    claim,
    claim_report,
    from_row,
    new_entry,
    new_report,
    next_contact,
    retry_report,
    settle,
    settle_report,
)

if TYPE_CHECKING:
    from esms_async.ledger.memory import MemoryLedger
    from esms_async.ledger.redis import RedisLedger as RedisLedger
    from esms_async.ledger.sqlite import SqliteLedger

_MODULES = {
    "MemoryLedger": "esms_async.ledger.memory",
    "RedisLedger": "esms_async.ledger.redis",
    "SqliteLedger": "esms_async.ledger.sqlite",
}

# RedisLedger is not among them: a star import must work without the extra `redis`.
__all__ = [
    "ONE_MORE_ATTEMPT",
    "Claim",
    "Contact",
    "Decision",
    "Entry",
    "Ledger",
    "LedgerAcceptances",
    "LedgerBase",
    "LedgerBatches",
    "LedgerFacts",
    "LedgerOptions",
    "LedgerReports",
    "MemoryLedger",
    "Reason",
    "Row",
    "Settlement",
    "SqliteLedger",
    "StoredReport",
    "as_row",
    "claim",
    "claim_report",
    "from_row",
    "new_entry",
    "new_report",
    "next_contact",
    "retry_report",
    "settle",
    "settle_report",
]


def __getattr__(name: str) -> object:
    """Import a ledger when it is first used: one needs an extra, and all take time to import."""
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        raise ImportError(
            "RedisLedger needs redis-py; install it with: pip install 'esms_async[redis]'"
        ) from None
