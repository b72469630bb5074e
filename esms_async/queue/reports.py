"""Writes down what became of a queued message, and reads it back as an outcome.

A report is JSON: the RequestId, the run of its batch, the kind (the class of the error, or
`accepted`), the fields of the receipt or the error, and the attempts. It holds neither phone nor
content.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import attrs
from attrs.validators import instance_of

import esms_async as errors
from esms_async import Attempt, Evidence, Message, Outcome, Receipt

ACCEPTED: Final = "accepted"
INVALID: Final = "InvalidMessage"
_UNREADABLE: Final = "the report of the worker can't be read"
# The fields of an attempt beside the first three; a later release may write more.
_MORE: Final = 4
UNKNOWN: Final = "OutcomeUnknown"
# The first one that an error is an instance of is its kind.
_KINDS: Final[dict[str, type[errors.SendError]]] = {
    kind.__name__: kind
    for kind in (
        errors.RequestIdExpired,
        errors.DuplicateRequestId,
        errors.RequestIdConflict,
        errors.AccountRejected,
        errors.Rejected,
        errors.OutcomeUnknown,
        errors.NotSent,
    )
}


@attrs.frozen
class QueueReport:
    """What a worker says of one queued message.

    Attributes:
        request_id: The RequestId of the message.
        kind: What became of it.
        run: Which run of its batch had it sent.
        fields: What else the receipt or the error holds.
    """

    request_id: str = attrs.field(validator=instance_of(str))
    kind: str
    run: int = attrs.field(default=0, validator=instance_of(int))
    fields: Mapping[str, Any] = attrs.field(factory=dict[str, Any], repr=False)

    def dump(self) -> str:
        """Write the report down."""
        told = {"id": self.request_id, "kind": self.kind, "run": self.run, **self.fields}
        return _encode(told)

    def receipt(self, *, attempts: bool = True) -> Receipt | None:
        """Return the receipt of an accepted message, with or without the attempts."""
        if self.kind != ACCEPTED:
            return None
        told = self.fields.get
        made = told("attempts", ()) if attempts else ()
        is_duplicate = "deduplicated" in self.fields
        return Receipt(self.request_id, told("sms_id"), is_duplicate, made)

    def error(self, message: Message) -> errors.EsmsError:
        """Return the error that a send in this process would have raised."""
        if self.kind == INVALID:
            reason = str(self.fields.get("reason"))
            if (field := self.fields.get("field")) is not None:
                return errors.InvalidMessage(field, reason)
            return errors.InvalidMessage("message", f"no worker could read it: {reason}")
        try:
            # Of a kind that only a later release knows, no more is certain.
            return _restored(_KINDS.get(self.kind, errors.OutcomeUnknown), message, self.fields)
        except (KeyError, TypeError, ValueError):
            return errors.OutcomeUnknown(message, (), _UNREADABLE)


def report_of(outcome: Outcome, run: int) -> str:
    """Write down the report of a message that a worker has sent, or tried to."""
    request_id, receipt, error = outcome.message.request_id, outcome.receipt, outcome.error
    if receipt is None:
        return QueueReport(request_id, _kind(error), run, _fields(error)).dump()
    fields: dict[str, Any] = {"attempts": _flat(receipt.attempts)}
    if receipt.sms_id is not None:
        fields["sms_id"] = receipt.sms_id
    if receipt.deduplicated:
        fields["deduplicated"] = True
    return QueueReport(request_id, ACCEPTED, run, fields).dump()


def load_report(text: str) -> QueueReport:
    """Read a report that was written down.

    One that can't be read says "unknown", of the RequestId in it if there is one: it stops nobody
    who reads on.
    """
    told: dict[str, Any] = {}
    try:
        told = dict(json.loads(text))
        fields: dict[str, Any] = {**told, "attempts": _attempts(told)}
        return QueueReport(fields.pop("id"), fields.pop("kind"), fields.pop("run"), fields)
    except (KeyError, TypeError, ValueError):
        request_id, run = told.get("id"), told.get("run")
        return QueueReport(
            request_id if isinstance(request_id, str) else "",
            UNKNOWN,
            run if isinstance(run, int) else 0,
            {"reason": _UNREADABLE, "attempts": ()},
        )


def _kind(error: errors.EsmsError | None) -> str:
    if isinstance(error, errors.InvalidMessage):
        return INVALID
    return next((name for name, kind in _KINDS.items() if isinstance(error, kind)), UNKNOWN)


def _fields(error: errors.EsmsError | None) -> dict[str, Any]:
    if isinstance(error, errors.InvalidMessage):
        return {"field": error.field, "reason": error.problem}
    if not isinstance(error, errors.SendError):
        return {"reason": str(error)}
    fields = {name: value for name, value in vars(error).items() if name != "message"}
    fields["attempts"] = _flat(error.attempts)
    if (rejection := fields.pop("rejection", None)) is not None:
        fields["rejection"] = _fields(rejection) | {"kind": _kind(rejection), "attempts": ()}
    return fields


def _restored(
    kind: type[errors.SendError], message: Message, fields: Mapping[str, Any]
) -> errors.SendError:
    """Return an error that was taken apart, as unpickling does it: without its constructor."""
    values: dict[str, Any] = {"reason": "", **fields}
    values |= {"message": message, "attempts": values.get("attempts", ())}
    if issubclass(kind, errors.OutcomeUnknown):
        rejection = values.get("rejection")
        values["rejection"] = rejection and _restored(_KINDS[rejection["kind"]], message, rejection)
    if "since" in values:
        values["since"] = datetime.fromisoformat(values["since"])
    error = kind.__new__(kind, values["reason"])
    error.args = (values["reason"],)
    vars(error).update(values)
    return error


def _flat(attempts: tuple[Attempt, ...]) -> list[tuple[object, ...]]:
    return [
        (a.started_at.isoformat(), a.duration, a.evidence, a.status, a.code, a.error, a.retry_after)
        for a in attempts
    ]


def _attempts(fields: Mapping[str, Any]) -> tuple[Attempt, ...]:
    return tuple(
        Attempt(datetime.fromisoformat(began), duration, Evidence(evidence), *rest[:_MORE])
        for began, duration, evidence, *rest in fields.get("attempts", ())
    )


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


_encode = json.JSONEncoder(
    check_circular=False, ensure_ascii=False, separators=(",", ":"), default=_plain
).encode
