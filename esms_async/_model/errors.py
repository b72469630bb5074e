"""Defines the errors: what is true of a message that was not, or may not have been, accepted.

| error | what is true | what the caller may do |
|---|---|---|
| `NotSent` | nothing of the message left this machine | anything, another channel too |
| `Rejected` and its subclasses | the gateway refused it | correct it, and make a new Message |
| `OutcomeUnknown` | it may have been accepted | `resume()` the same Message |
| `DuplicateRequestId`, an `OutcomeUnknown` | the gateway has seen the id, for an unknown reason | \
wait for a delivery report, or `reconcile()` |
| `RequestIdExpired`, an `OutcomeUnknown` | it may have been accepted too long ago | \
`reconcile()`, or a person decides |
| `QueryError` and its subclasses | a query got no answer; it sends nothing | query again |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar

from esms_async._model.codes import RouteKind, Scope, lookup
from esms_async._model.phone import mask_phone

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from esms_async._model.messages import Attempt, Message
    from esms_async._model.routes import Route

_E = TypeVar("_E", bound="EsmsError")


class EsmsError(Exception):
    """The root of every error that this package raises on purpose."""


class ConfigurationError(EsmsError, ValueError):
    """A client, a call, a policy or credentials were given a value that cannot work."""


class UsageError(EsmsError, RuntimeError):
    """An object is used in a state, or from an event loop, in which it cannot work."""


class LedgerError(EsmsError, OSError):
    """The ledger can't be used.

    The disk is full, the server is unreachable, or the file is not a ledger of these sends.

    If a send raises it, nothing of the message was sent, by anybody: a send raises it only for a
    message that this process made itself and has never tried, and for a ledger of another
    destination or account. For any other message a send raises `OutcomeUnknown` instead.
    """


class ForeignLedger(LedgerError):
    """The ledger belongs to sends of another destination or account; nothing was sent."""


class InvalidMessage(EsmsError, ValueError):
    """A field of a message is invalid; nothing was sent.

    Attributes:
        field: The name of the field.
        problem: What is wrong with it and what to do, without its content.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(field, problem)
        self.field = field
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}"


class SendError(EsmsError):
    """A message was not, or may not have been, accepted by the gateway.

    Attributes:
        message: The message; its `request_id` is the idempotency key of all its attempts.
        attempts: Every attempt of this call, in order.
        reason: What happened, in one line without secrets or content.
    """

    def __init__(self, message: Message, attempts: tuple[Attempt, ...], reason: str) -> None:
        super().__init__(reason)
        self.message = message
        self.attempts = attempts
        self.reason = reason

    @property
    def request_id(self) -> str:
        """The RequestId that every attempt of the message carries."""
        return self.message.request_id

    def __str__(self) -> str:
        count = len(self.attempts)
        tried = f", {count} attempt{'' if count == 1 else 's'}"
        if count == 0 and isinstance(self, OutcomeUnknown):
            tried = ""  # it was tried before this call
        phone = mask_phone(self.message.phone)
        return f"{self.reason} (phone {phone}, request id {self.request_id}{tried})"

    def __reduce__(self) -> tuple[Callable[..., Self], tuple[Any, ...]]:
        return _restore, (type(self), self.args, self.__dict__)


class NotSent(SendError, ConnectionError):
    """Nothing of the message ever left this machine, in any attempt."""


class Rejected(SendError):
    """The gateway, or the service in front of it, refused the message.

    Attributes:
        code: The gateway's code, or None if only an HTTP status refused the request.
        status: The HTTP status of the answer, or None if it is not known any more.
        sms_id: The SMSID that some rejections carry; it does not mean acceptance.
        detail: The gateway's own words, with possible secrets masked.
        route: The route of the message.
    """

    def __init__(
        self,
        message: Message,
        attempts: tuple[Attempt, ...],
        *,
        code: str | None,
        status: int | None,
        sms_id: str | None = None,
        detail: str | None = None,
        route: Route | None = None,
    ) -> None:
        route = route or message.route
        kind = None if route is None else route.kind
        super().__init__(message, attempts, _rejection_reason(code, status, detail, kind))
        self.route = route
        self.code = code
        self.status = status
        self.sms_id = sms_id
        self.detail = detail

    @property
    def refuses_route(self) -> bool:
        """True if every other message of the route would get the same code."""
        return (
            self.code is not None
            and lookup(self.code).scope is Scope.ROUTE
            and (self.route is None or self.route.kind in lookup(self.code).routes)
        )


class AccountRejected(Rejected):
    """The account can't send: keys, price list, balance, SmsType, IP address or a lock.

    Every other message would get the same answer until the account is fixed.
    """


class OutcomeUnknown(SendError):
    """The gateway may have accepted the message, and no attempt could find out.

    It is not an OSError, because an `except OSError` for failures that are safe to repeat must not
    catch it.

    Attributes:
        rejection: The rejection that ended the attempts, if it proves nothing about an earlier one
            (an account-wide code, an HTTP refusal); else None.
    """

    def __init__(
        self,
        message: Message,
        attempts: tuple[Attempt, ...],
        reason: str,
        rejection: Rejected | None = None,
    ) -> None:
        super().__init__(message, attempts, reason)
        self.rejection = rejection


class DuplicateRequestId(OutcomeUnknown):
    """The gateway has seen this RequestId (code 124), and no known attempt explains it.

    Another process may have sent the message before, something on the way may have delivered the
    request twice, or the id belongs to another message. A new Message could be a second SMS. A
    delivery report or `EsmsClient.reconcile` settles it; sending it again brings the same answer,
    so `send` and `resume` send nothing.

    Attributes:
        code: "124".
    """

    code = "124"


class RequestIdExpired(OutcomeUnknown):
    """The message may have been accepted too long ago to be sent again; nothing was sent now.

    The gateway remembers a RequestId for 24 hours. After that it would accept the same message as a
    new one, so a person must decide whether to send it again.

    Attributes:
        since: The first moment at which an attempt may have arrived, UTC.
    """

    def __init__(
        self, message: Message, attempts: tuple[Attempt, ...], reason: str, since: datetime
    ) -> None:
        super().__init__(message, attempts, reason)
        self.since = since


class RequestIdConflict(SendError, ValueError):
    """The RequestId belongs to another message; nothing was sent."""


class QueryError(EsmsError):
    """A query got no answer, or a refusal. It sent and changed nothing.

    Attributes:
        operation: The operation, without the keys.
        reason: What happened, in one line without secrets.
        code: The gateway's code, or None.
    """

    code: str | None = None

    def __init__(self, operation: str, reason: str) -> None:
        super().__init__(reason)
        self.operation = operation
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.operation}: {self.reason}"

    def __reduce__(self) -> tuple[Callable[..., Self], tuple[Any, ...]]:
        return _restore, (type(self), self.args, self.__dict__)


class QueryUnanswered(QueryError, ConnectionError):
    """No readable answer came within the attempts and the deadline.

    Attributes:
        retry_after: The pause that the last answer asks for, in seconds, or None.
    """

    def __init__(self, operation: str, reason: str, retry_after: float | None = None) -> None:
        super().__init__(operation, reason)
        self.retry_after = retry_after


class QueryRejected(QueryError):
    """The gateway, or the service in front of it, refused to answer.

    Attributes:
        code: The gateway's code, or None if only an HTTP status refused the request.
        status: The HTTP status of the answer.
        detail: The gateway's own words, with possible secrets masked.
    """

    def __init__(
        self, operation: str, *, code: str | None, status: int, detail: str | None = None
    ) -> None:
        super().__init__(operation, _rejection_reason(code, status, detail))
        self.code = code
        self.status = status
        self.detail = detail


class QueryAccountRejected(QueryRejected):
    """The account can't query: keys, IP address or a lock. Every other query would fail too."""


def _rejection_reason(
    code: str | None, status: int | None, detail: str | None, kind: RouteKind | None = None
) -> str:
    if code is None:
        return f"refused with HTTP status {status}"
    row = lookup(code)
    words = f"rejected with code {code}: {row.meaning}"
    if kind is not None and row.routes and kind not in row.routes:
        words += f" (no page lists it for the route {kind}, only for {', '.join(row.routes)})"
    is_said = not detail or detail.strip().rstrip(".").casefold() == row.meaning.casefold()
    return words if is_said else f"{words}; the gateway says {detail!r}"


def _restore(kind: type[_E], args: tuple[Any, ...], state: dict[str, Any]) -> _E:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error
