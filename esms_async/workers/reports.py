"""What a worker tells of a message: its outcome as JSON, and back as it would have been raised."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Final, Self, cast

import attrs

from esms_async._model.codes import Scope, lookup
from esms_async._model.errors import (
    AccountRejected,
    DuplicateRequestId,
    EsmsError,
    InvalidMessage,
    NotSent,
    OutcomeUnknown,
    Rejected,
    RequestIdConflict,
    RequestIdExpired,
    SendError,
)
from esms_async._model.messages import Attempt, Evidence, Message, Outcome, Receipt, Status
from esms_async.workers.payload import UnreadablePayload

_ACCEPTED: Final = "accepted"
_UNREADABLE: Final = "unreadable"
_KINDS: Final = (
    RequestIdExpired,
    RequestIdConflict,
    DuplicateRequestId,
    Rejected,
    OutcomeUnknown,
    NotSent,
)


@attrs.frozen
class Report:
    """What became of one queued message. It holds neither content nor phone.

    Attributes:
        request_id: The RequestId of the message.
        status: What became of it, in one word.
        kind: What was raised by the send, by name; `accepted` where nothing was.
        run: Which run of its batch had it sent, or None.
        sms_id: The SMSID, where it is known.
        deduplicated: True where acceptance was learnt from code 124.
        code: The gateway's code of the rejection, or None.
        http_status: The HTTP status of the rejection, or None.
        detail: The gateway's own words on the rejection, or None.
        reason: Why it was not accepted, in one line.
        since: The first moment at which an attempt of an expired message may have arrived.
        attempts: Every attempt, in order.
    """

    request_id: str
    status: Status
    kind: str
    run: int | None = None
    sms_id: str | None = None
    deduplicated: bool = False
    code: str | None = None
    http_status: int | None = None
    detail: str | None = None
    reason: str = ""
    since: datetime | None = None
    attempts: tuple[Attempt, ...] = ()

    @property
    def ok(self) -> bool:
        """True where the gateway accepted the message."""
        return self.status is Status.ACCEPTED

    @classmethod
    def of(cls, outcome: Outcome, run: int | None = None) -> Self:
        """Tell of a message that a worker has sent, or tried to.

        Args:
            outcome: Its outcome.
            run: Which run of its batch had it sent.

        Returns:
            The report.
        """
        request_id, receipt, error = outcome.message.request_id, outcome.receipt, outcome.error
        if receipt is not None:
            return cls(
                request_id,
                outcome.status,
                _ACCEPTED,
                run,
                receipt.sms_id,
                receipt.deduplicated,
                attempts=receipt.attempts,
            )
        refusal = error.rejection if isinstance(error, OutcomeUnknown) else error
        sms_id = code = http_status = detail = None
        if isinstance(refusal, Rejected):
            sms_id, code = refusal.sms_id, refusal.code
            http_status, detail = refusal.status, refusal.detail
        return cls(
            request_id,
            outcome.status,
            next((kind.__name__ for kind in _KINDS if isinstance(error, kind)), _UNREADABLE),
            run,
            sms_id,
            code=code,
            http_status=http_status,
            detail=detail,
            reason=error.reason if isinstance(error, SendError) else str(error),
            since=error.since if isinstance(error, RequestIdExpired) else None,
            attempts=error.attempts if isinstance(error, SendError) else (),
        )

    @classmethod
    def of_unreadable(cls, error: UnreadablePayload) -> Self:
        """Tell of what came out of the queue and is no message.

        Args:
            error: What is wrong with it.

        Returns:
            The report.
        """
        return cls(
            error.request_id or "", Status.NOT_SENT, _UNREADABLE, error.run, reason=error.problem
        )

    def outcome(self, message: Message) -> Outcome:
        """Return the outcome as a send in this process would have told it.

        Args:
            message: The message that the report is of.

        Returns:
            The outcome.
        """
        if self.ok:
            return Outcome(
                message,
                Receipt(self.request_id, self.sms_id, self.deduplicated, self.attempts),
            )
        return Outcome(message, error=self._error(message))

    def _error(self, message: Message) -> EsmsError:
        attempts, reason = self.attempts, self.reason
        error: EsmsError
        match self.kind:
            case "Rejected":
                error = self._rejection(message)
            case "NotSent":
                error = NotSent(message, attempts, reason)
            case "RequestIdConflict":
                error = RequestIdConflict(message, attempts, reason)
            case "RequestIdExpired" if self.since is not None:
                error = RequestIdExpired(message, attempts, reason, self.since)
            case "DuplicateRequestId":
                error = DuplicateRequestId(message, attempts, reason)
            case "OutcomeUnknown":
                refused = self.code is not None or self.http_status is not None
                rejection = self._rejection(message) if refused else None
                error = OutcomeUnknown(message, attempts, reason, rejection)
            case _:
                error = InvalidMessage("message", f"the worker could not read it: {reason}")
        return error

    def _rejection(self, message: Message) -> Rejected:
        code = self.code
        is_account = code is not None and lookup(code).scope is Scope.ACCOUNT
        kind = AccountRejected if is_account else Rejected
        return kind(
            message,
            self.attempts,
            code=code,
            status=self.http_status,
            sms_id=self.sms_id,
            detail=self.detail,
        )

    def dump(self) -> str:
        """Write the report down as JSON."""
        fields = attrs.asdict(self, filter=_says_something, value_serializer=_plain)
        return json.dumps(fields, ensure_ascii=False)

    @classmethod
    def load(cls, text: str) -> Self:
        """Read a report that was written down.

        Args:
            text: The JSON.

        Returns:
            The report. One that can't be read says "unknown", of the RequestId that stands in it,
            or of an empty one: it stops nobody who reads on.
        """
        fields: dict[str, object] = {}
        try:
            fields = {name: value for name, value in json.loads(text).items() if name in _FIELDS}
            return cls(**_values(fields))  # type: ignore[arg-type]  # as they were written
        except (KeyError, TypeError, AttributeError, ValueError):
            run = fields.get("run")
            return cls(
                str(fields.get("request_id", "")),
                Status.UNKNOWN,
                OutcomeUnknown.__name__,
                run if isinstance(run, int) else None,
                reason="what a worker told of it can't be read; a later release of esms_async, or "
                "something else, wrote it",
            )


# What a later release tells besides is left alone.
_FIELDS: Final = frozenset(field.name for field in attrs.fields(Report))


def _values(fields: Mapping[str, object]) -> dict[str, object]:
    """Return the fields as a Report holds them."""
    values = {**fields, "status": Status(cast("str", fields["status"]))}
    if "since" in fields:
        values["since"] = _moment(fields["since"])
    attempts = cast("list[dict[str, object]]", fields.get("attempts", []))
    values["attempts"] = tuple(_attempt(attempt) for attempt in attempts)
    return values


def _says_something(attribute: "attrs.Attribute[object]", value: object) -> bool:
    return value != attribute.default


def _plain(_: object, __: object, value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    return value.value if isinstance(value, Evidence) else value


def _moment(value: object) -> datetime:
    return datetime.fromisoformat(cast("str", value))


def _attempt(fields: Mapping[str, object]) -> Attempt:
    told = dict(fields)
    told["started_at"] = _moment(told["started_at"])
    told["evidence"] = Evidence(cast("str", told["evidence"]))
    return Attempt(**told)  # type: ignore[arg-type]  # as they were written
