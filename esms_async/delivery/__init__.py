"""Delivery reports: checks who sends one, reads it, stores it, and hands it to the application.

`esms_async.delivery.aiohttp`, `.starlette` and `.fastapi` put a receiver into an application.
"""

from esms_async.delivery.inbox import Confirm, OnReport, ReportReceiver, Result
from esms_async.delivery.reports import DeliveryReport, DeliveryState, InvalidReport
from esms_async.delivery.signing import CallbackSigner

__all__ = [
    "CallbackSigner",
    "Confirm",
    "DeliveryReport",
    "DeliveryState",
    "InvalidReport",
    "OnReport",
    "ReportReceiver",
    "Result",
]
