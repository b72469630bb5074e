"""Send OTP messages through eSMS.vn, each phone at most once, each outcome told as it is."""

from esms_async.client import EsmsClient
from esms_async.codes import CODES, Code, Scope
from esms_async.errors import (
    AccountRejected,
    ConfigurationError,
    DuplicateRequestId,
    EsmsError,
    InvalidMessage,
    LedgerError,
    NotSent,
    OutcomeUnknown,
    Rejected,
    RequestIdConflict,
    RequestIdExpired,
    SendError,
    UsageError,
)
from esms_async.fanout import SendMany
from esms_async.messages import (
    Attempt,
    Credentials,
    Evidence,
    Message,
    Outcome,
    Receipt,
    Status,
)
from esms_async.request_ids import derive_request_id, new_request_id
from esms_async.retry import RetryPolicy
from esms_async.text import Alphabet, TextSize, measure
from esms_async.version import __version__

__all__ = [
    "CODES",
    "AccountRejected",
    "Alphabet",
    "Attempt",
    "Code",
    "ConfigurationError",
    "Credentials",
    "DuplicateRequestId",
    "EsmsClient",
    "EsmsError",
    "Evidence",
    "InvalidMessage",
    "LedgerError",
    "Message",
    "NotSent",
    "Outcome",
    "OutcomeUnknown",
    "Receipt",
    "Rejected",
    "RequestIdConflict",
    "RequestIdExpired",
    "RetryPolicy",
    "Scope",
    "SendError",
    "SendMany",
    "Status",
    "TextSize",
    "UsageError",
    "__version__",
    "derive_request_id",
    "measure",
    "new_request_id",
]
