"""What the client's queries return, and the kinds of `QueryError` that they raise."""

from esms_async._model.errors import QueryAccountRejected, QueryRejected, QueryUnanswered
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
    "QueryAccountRejected",
    "QueryRejected",
    "QueryUnanswered",
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
