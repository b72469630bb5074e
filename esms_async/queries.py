"""What the client's queries return: balances, statuses, lists, and what `reconcile` found."""

from esms_async._model.results import (
    Balance,
    Receiver,
    SendResult,
    SendStatus,
    SentMessage,
    SmsStatus,
)
from esms_async._send.reconcile import Finding, Reconciled, Reconciliation

__all__ = [
    "Balance",
    "Finding",
    "Receiver",
    "Reconciled",
    "Reconciliation",
    "SendResult",
    "SendStatus",
    "SentMessage",
    "SmsStatus",
]
