"""Sends OTP messages through eSMS.vn: never one twice, and never a lie about an outcome."""

from esms_async._model.errors import (
    AccountRejected,
    ConfigurationError,
    DuplicateRequestId,
    EsmsError,
    ForeignLedger,
    InvalidMessage,
    LedgerError,
    NotSent,
    OutcomeUnknown,
    QueryAccountRejected,
    QueryError,
    QueryRejected,
    QueryUnanswered,
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
from esms_async._send.stream import SendMany
from esms_async.client import ClientOptions, EsmsClient

__all__ = [
    "AccountRejected",
    "Attempt",
    "Brandname",
    "ClientOptions",
    "ConfigurationError",
    "Credentials",
    "DuplicateRequestId",
    "EsmsClient",
    "EsmsError",
    "Evidence",
    "FixedNumber",
    "ForeignLedger",
    "Hook",
    "InvalidMessage",
    "LedgerError",
    "Message",
    "NotSent",
    "Outcome",
    "OutcomeUnknown",
    "QueryAccountRejected",
    "QueryError",
    "QueryRejected",
    "QueryUnanswered",
    "Receipt",
    "Rejected",
    "RequestIdConflict",
    "RequestIdExpired",
    "RetryPolicy",
    "Route",
    "SendError",
    "SendMany",
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
