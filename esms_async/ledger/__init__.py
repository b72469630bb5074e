"""Ledgers: what is known of each send, kept across crashes, restarts and replicas."""

from esms_async.ledger.base import Ledger, LedgerBase
from esms_async.ledger.memory import MemoryLedger
from esms_async.ledger.sqlite import SqliteLedger
from esms_async.settlement import Claim, Decision, Entry, News, Settlement, State

__all__ = [
    "Claim",
    "Decision",
    "Entry",
    "Ledger",
    "LedgerBase",
    "MemoryLedger",
    "News",
    "Settlement",
    "SqliteLedger",
    "State",
]
