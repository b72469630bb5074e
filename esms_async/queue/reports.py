"""Writes down what became of a queued message, and reads it back as an outcome."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Final, cast

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
from esms_async._model.messages import Attempt, Evidence, Message, Outcome, Receipt

UNREADABLE: Final = "InvalidMessage"
_ACCEPTED: Final = "accepted"
# The first one that an error is an instance of is its kind.
_KINDS: Final = (
    RequestIdExpired,
    DuplicateRequestId,
    RequestIdConflict,
    Rejected,
    OutcomeUnknown,
    NotSent,
)


@attrs.frozen
class QueueReport:
    """What became of one queued message. It holds neither phone nor content.

    Attributes:
        request_id: The RequestId of the message.
        kind: The class of the error, by name; `accepted` if there is none.
        run: Which run of its batch had it sent.
        reason: Why it was not accepted, in one line.
        sms_id: The SMSID, where it is known.
        deduplicated: True where acceptance was learned from code 124.
        code: The code of the rejection, or None.
        http_status: The HTTP status of the rejection, or None.
        detail: The gateway's own words on the rejection, or None.
        since: The first moment at which an attempt of an expired message may have arrived.
        attempts: Every attempt, in order.
    """

    request_id: str
    kind: str
    run: int = 0
    reason: str = ""
    sms_id: str | None = None
    deduplicated: bool = False
    code: str | None = None
    http_status: int | None = None
    detail: str | None = None
    since: datetime | None = None
    attempts: tuple[Attempt, ...] = ()

    @property
    def is_accepted(self) -> bool:
        """True where the gateway accepted the message."""
        return self.kind == _ACCEPTED

    def dump(self) -> str:
        """Write the report down as JSON."""
        fields: dict[str, object] = {
            name: value
            for name in _PLAIN
            if (value := getattr(self, name)) not in {None, "", False}
        }
        if self.since is not None:
            fields["since"] = self.since.isoformat()
        if self.attempts:
            fields["attempts"] = [_dump(attempt) for attempt in self.attempts]
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))

    def outcome(self, message: Message) -> Outcome:
        """Return the outcome that a send in this process would have had."""
        if self.is_accepted:
            receipt = Receipt(self.request_id, self.sms_id, self.deduplicated, self.attempts)
            return Outcome(message, receipt)
        return Outcome(message, error=self._error(message))

    def _error(self, message: Message) -> EsmsError:  # noqa: PLR0911  # one for each kind
        attempts, reason = self.attempts, self.reason
        match self.kind:
            case "Rejected":
                return self._rejection(message)
            case "NotSent":
                return NotSent(message, attempts, reason)
            case "RequestIdConflict":
                return RequestIdConflict(message, attempts, reason)
            case "DuplicateRequestId":
                return DuplicateRequestId(message, attempts, reason)
            case "RequestIdExpired" if self.since is not None:
                return RequestIdExpired(message, attempts, reason, self.since)
            case "InvalidMessage":
                return InvalidMessage("message", f"no worker could read it: {reason}")
            case _:
                refused = self.code is not None or self.http_status is not None
                rejection = self._rejection(message) if refused else None
                return OutcomeUnknown(message, attempts, reason, rejection)

    def _rejection(self, message: Message) -> Rejected:
        of_account = self.code is not None and lookup(self.code).scope is Scope.ACCOUNT
        return (AccountRejected if of_account else Rejected)(
            message,
            self.attempts,
            code=self.code,
            status=self.http_status,
            sms_id=self.sms_id,
            detail=self.detail,
        )


_PLAIN: Final = tuple(
    field.name for field in attrs.fields(QueueReport) if field.name not in {"since", "attempts"}
)


def report_of(outcome: Outcome, run: int) -> QueueReport:
    """Return the report of a message that a worker has sent, or tried to."""
    request_id, receipt, error = outcome.message.request_id, outcome.receipt, outcome.error
    if receipt is not None:
        return QueueReport(
            request_id,
            _ACCEPTED,
            run,
            "",
            receipt.sms_id,
            receipt.deduplicated,
            attempts=receipt.attempts,
        )
    refusal = error.rejection if isinstance(error, OutcomeUnknown) else error
    rejected = refusal if isinstance(refusal, Rejected) else None
    return QueueReport(
        request_id,
        next((kind.__name__ for kind in _KINDS if isinstance(error, kind)), "OutcomeUnknown"),
        run,
        error.reason if isinstance(error, SendError) else str(error),
        sms_id=None if rejected is None else rejected.sms_id,
        code=None if rejected is None else rejected.code,
        http_status=None if rejected is None else rejected.status,
        detail=None if rejected is None else rejected.detail,
        since=error.since if isinstance(error, RequestIdExpired) else None,
        attempts=error.attempts if isinstance(error, SendError) else (),
    )


def load_report(text: str) -> QueueReport:
    """Read a report that was written down.

    One that can't be read says "unknown", of the RequestId in it if there is one: it stops nobody
    who reads on.
    """
    read: object = None
    try:
        read = json.loads(text)
        fields = cast("dict[str, object]", read)
        # What a later release says besides is left alone.
        values = {name: fields[name] for name in _PLAIN if name in fields}
        if "since" in fields:
            values["since"] = datetime.fromisoformat(cast("str", fields["since"]))
        attempts = cast("list[Mapping[str, object]]", fields.get("attempts", ()))
        values["attempts"] = tuple(map(_load, attempts))
        return QueueReport(**values)  # type: ignore[arg-type]  # as they were written
    except (KeyError, TypeError, AttributeError, ValueError):
        known = cast("dict[str, object]", read) if isinstance(read, dict) else {}
        run = known.get("run")
        return QueueReport(
            str(known.get("request_id", "")),
            "OutcomeUnknown",
            run if isinstance(run, int) else 0,
            "the report of the worker can't be read; a later release of esms_async wrote it, or "
            "something else",
        )


def _dump(attempt: Attempt) -> dict[str, object]:
    fields = {
        "started_at": attempt.started_at.isoformat(),
        "duration": round(attempt.duration, 6),
        "evidence": attempt.evidence.value,
        "status": attempt.status,
        "code": attempt.code,
        "error": attempt.error,
        "retry_after": attempt.retry_after,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _load(fields: Mapping[str, object]) -> Attempt:
    values = dict(fields)
    values["started_at"] = datetime.fromisoformat(cast("str", values["started_at"]))
    values["evidence"] = Evidence(cast("str", values["evidence"]))
    return Attempt(**values)  # type: ignore[arg-type]  # as they were written
