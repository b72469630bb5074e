"""Send OTP messages through eSMS.vn, each phone at most once, each outcome told as it is."""

from esms_async.client import ClientOptions, EsmsClient
from esms_async.codes import CODES, Code, Scope
from esms_async.delivery.reports import DeliveryReport, DeliveryState
from esms_async.errors import (
    AccountRejected,
    ConfigurationError,
    DuplicateRequestId,
    EsmsError,
    InvalidMessage,
    InvalidReport,
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
from esms_async.fanout import SendMany
from esms_async.hooks import Hook
from esms_async.matching import Finding
from esms_async.messages import (
    Attempt,
    Credentials,
    Evidence,
    Message,
    Outcome,
    Receipt,
    Status,
)
from esms_async.phone import normalize_phone
from esms_async.reconciling import Reconciled, Reconciliation
from esms_async.request_ids import derive_request_id, new_request_id
from esms_async.results import (
    Balance,
    Receiver,
    SendResult,
    SendStatus,
    SentMessage,
    SmsStatus,
)
from esms_async.retry import RetryPolicy
from esms_async.text import Alphabet, TextSize, measure
from esms_async.version import __version__

__all__ = [
    "CODES",
    "AccountRejected",
    "Alphabet",
    "Attempt",
    "Balance",
    "ClientOptions",
    "Code",
    "ConfigurationError",
    "Credentials",
    "DeliveryReport",
    "DeliveryState",
    "DuplicateRequestId",
    "EsmsClient",
    "EsmsError",
    "Evidence",
    "Finding",
    "Hook",
    "InvalidMessage",
    "InvalidReport",
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
    "Receiver",
    "Reconciled",
    "Reconciliation",
    "Rejected",
    "RequestIdConflict",
    "RequestIdExpired",
    "RetryPolicy",
    "Scope",
    "SendError",
    "SendMany",
    "SendResult",
    "SendStatus",
    "SentMessage",
    "SmsStatus",
    "Status",
    "TextSize",
    "UsageError",
    "__version__",
    "derive_request_id",
    "measure",
    "new_request_id",
    "normalize_phone",
]
