"""Sends OTP messages through eSMS.vn: never one twice, and never a lie about an outcome."""

from esms_async._model.errors import (
    AccountRejected,
    ConfigurationError,
    DuplicateRequestId,
    EsmsError,
    InvalidMessage,
    LedgerError,
    NotSent,
    OutcomeUnknown,
    QueryError,
    Rejected,
    RequestIdConflict,
    RequestIdExpired,
    SendError,
    UsageError,
)
from esms_async._model.messages import (
    Attempt,
    Credentials,
    Evidence,
    Message,
    Outcome,
    Receipt,
    Status,
)
from esms_async._model.phone import normalize_phone
from esms_async._model.request_ids import derive_request_id, new_request_id
from esms_async._model.routes import Brandname, FixedNumber, Route, ZaloTemplate
from esms_async._model.version import __version__
from esms_async._send.events import Hook
from esms_async._send.retry import RetryPolicy
from esms_async.client import EsmsClient

__all__ = [
    "AccountRejected",
    "Attempt",
    "Brandname",
    "ConfigurationError",
    "Credentials",
    "DuplicateRequestId",
    "EsmsClient",
    "EsmsError",
    "Evidence",
    "FixedNumber",
    "Hook",
    "InvalidMessage",
    "LedgerError",
    "Message",
    "NotSent",
    "Outcome",
    "OutcomeUnknown",
    "QueryError",
    "Receipt",
    "Rejected",
    "RequestIdConflict",
    "RequestIdExpired",
    "RetryPolicy",
    "Route",
    "SendError",
    "Status",
    "UsageError",
    "ZaloTemplate",
    "__version__",
    "derive_request_id",
    "new_request_id",
    "normalize_phone",
]


def __dir__() -> list[str]:
    """List the public names, without the modules that implement them."""
    return sorted(__all__)
