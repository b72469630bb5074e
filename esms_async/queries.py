"""What the client's queries return: balances, statuses, lists, and what `reconcile` found."""

from esms_async._model.results import (
    AccountBrandname,
    Balance,
    BrandnameType,
    Price,
    Receiver,
    SendResult,
    SendStatus,
    SentMessage,
    SmsStatus,
    ZaloDelivery,
    ZaloStatus,
)
from esms_async._model.templates import BrandnameTemplate, TemplateMatch, Templates
from esms_async._send.reconcile import Finding, Reconciled, Reconciliation

__all__ = [
    "AccountBrandname",
    "Balance",
    "BrandnameTemplate",
    "BrandnameType",
    "Finding",
    "Price",
    "Receiver",
    "Reconciled",
    "Reconciliation",
    "SendResult",
    "SendStatus",
    "SentMessage",
    "SmsStatus",
    "TemplateMatch",
    "Templates",
    "ZaloDelivery",
    "ZaloStatus",
]
