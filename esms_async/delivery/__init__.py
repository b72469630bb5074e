"""Delivery reports: who may bring one, what it says, and that it is handed on once.

`esms_async.delivery.aiohttp` and `esms_async.delivery.fastapi` put a receiver into an application.
"""

from esms_async._model.errors import InvalidReport
from esms_async.delivery.receiving import OnReport, ReportReceiver, Result
from esms_async.delivery.reports import DeliveryReport, DeliveryState
from esms_async.delivery.signing import CallbackSigner

__all__ = [
    "CallbackSigner",
    "DeliveryReport",
    "DeliveryState",
    "InvalidReport",
    "OnReport",
    "ReportReceiver",
    "Result",
]
