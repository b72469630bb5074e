"""Reports the sends of a client to the log and to its hooks.

The records hold no content and no keys, and phone numbers are masked. The levels suit a service
in production:

| logger | DEBUG | INFO | WARNING | ERROR |
|---|---|---|---|---|
| `esms_async.attempts` | an answer | no readable answer, or nothing left | | |
| `esms_async.outcomes` | accepted at once | accepted in the end | rejected, not sent, unknown | \
the account, the route or the ledger is at fault |
"""

import inspect
import logging
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from esms_async._model.errors import (
    AccountRejected,
    ConfigurationError,
    LedgerError,
    OutcomeUnknown,
    Rejected,
    SendError,
)
from esms_async._model.messages import Attempt, Evidence, Message, Outcome
from esms_async._model.phone import mask_phone
from esms_async._model.routes import Route

_logger = logging.getLogger("esms_async")
attempts_logger = logging.getLogger("esms_async.attempts")
outcomes_logger = logging.getLogger("esms_async.outcomes")
# Callers get each failure as an exception, so a program without logging need not see it on its
# standard error too.
outcomes_logger.addHandler(logging.NullHandler())
_METHODS = ("on_start", "on_attempt", "on_outcome")
# After such an attempt the send tries again, if there is time.
_OPEN = frozenset({Evidence.MAY_HAVE_ARRIVED, Evidence.NOTHING_LEFT})


class Hook:
    """Receives events for every send of a client.

    Derive from it and override the methods you want; these do nothing. They are plain functions,
    called inside the task that sends, in the order start, attempts, outcome, so they must not
    block. Only one send of a message is under way at a time; a task that joins it makes no events.
    An exception from a method is logged and harms no send.

    The values hold the phone number, the content and the RequestId, so take care where you pass
    them on. `Attempt.error` and the repr of a Message are safe to show.
    """

    def on_start(self, *, message: Message) -> None:
        """Receive the start of a send."""

    def on_attempt(self, *, message: Message, number: int, attempt: Attempt) -> None:
        """Receive the end of an attempt; `number` counts the attempts of this send from 1."""

    def on_outcome(
        self, *, outcome: Outcome, attempts: tuple[Attempt, ...], duration: float
    ) -> None:
        """Receive the end of a send.

        Args:
            outcome: The outcome. After a cancellation: NotSent, OutcomeUnknown, or the result if
                it had come.
            attempts: Every attempt of this send; empty if the ledger knew the outcome.
            duration: Seconds from the start, including all waits.
        """


class Events:
    """Passes the events of one client's sends to the log and, in order, to its hooks.

    Raises:
        ConfigurationError: One of them is not a Hook.
    """

    def __init__(self, hooks: Sequence[Hook]) -> None:
        self.hooks = tuple(map(_checked, hooks))

    def started(self, message: Message) -> None:
        """Report the start of a send."""
        for hook in self.hooks:
            _guarded(hook.on_start, message=message)

    def attempted(self, message: Message, number: int, attempt: Attempt, route: Route) -> None:
        """Report the end of an attempt."""
        level = logging.INFO if attempt.evidence in _OPEN else logging.DEBUG
        if attempts_logger.isEnabledFor(level):
            _guarded(
                _log_attempt,
                level=level,
                message=message,
                number=number,
                attempt=attempt,
                route=route,
            )
        for hook in self.hooks:
            _guarded(hook.on_attempt, message=message, number=number, attempt=attempt)

    def ended(
        self, outcome: Outcome, attempts: tuple[Attempt, ...], duration: float, route: Route
    ) -> None:
        """Report the end of a send."""
        level = _level_of(outcome, attempts)
        if outcomes_logger.isEnabledFor(level):
            _guarded(
                _log_outcome,
                level=level,
                outcome=outcome,
                attempts=attempts,
                duration=duration,
                route=route,
            )
        for hook in self.hooks:
            _guarded(hook.on_outcome, outcome=outcome, attempts=attempts, duration=duration)


def _checked(hook: object) -> Hook:
    name = type(hook).__name__
    if not isinstance(hook, Hook):
        raise ConfigurationError(
            f"hooks must hold objects of classes derived from Hook, not {name}"
        )
    for method in _METHODS:
        if inspect.iscoroutinefunction(getattr(hook, method)):
            raise ConfigurationError(f"{name}.{method} must be a plain function, not an async one")
    return hook


def _guarded(report: Callable[..., None], **event: object) -> None:
    """Report an event; an error of the receiver must not change what the sender's caller gets."""
    try:
        report(**event)
    except Exception as error:  # noqa: BLE001  # whatever it is, the send goes on
        # Its words are not shown, because they may quote the event.
        where = traceback.extract_tb(error.__traceback__)[-1]
        name = getattr(report, "__qualname__", type(report).__qualname__)
        _logger.warning(
            "%s failed: %s at %s:%s", name, type(error).__name__, where.filename, where.lineno
        )


def _log_attempt(
    *, level: int, message: Message, number: int, attempt: Attempt, route: Route
) -> None:
    attempts_logger.log(
        level,
        "attempt %d of %s: %s (%s)",
        number,
        message.request_id,
        attempt.evidence.value,
        _result(attempt),
        extra={
            **_names(message, route),
            "esms_attempt": number,
            "esms_evidence": attempt.evidence.name.lower(),
            "esms_code": attempt.code,
            "esms_status": attempt.status,
            "esms_error": attempt.error,
            "esms_retry_after": attempt.retry_after,
            "esms_duration": attempt.duration,
        },
    )


def _result(attempt: Attempt) -> str:
    if attempt.code is not None:
        return f"code {attempt.code}"
    return attempt.error or f"HTTP {attempt.status}"


def _log_outcome(
    *, level: int, outcome: Outcome, attempts: tuple[Attempt, ...], duration: float, route: Route
) -> None:
    receipt, error = outcome.receipt, outcome.error
    rejection = error.rejection if isinstance(error, OutcomeUnknown) else error
    refused = rejection if isinstance(rejection, Rejected) else None
    reason = error.reason if isinstance(error, SendError) else error and str(error)
    outcomes_logger.log(
        level,
        "%s: %s after %d attempt%s in %.3f s%s",
        outcome.message.request_id,
        outcome.status.value,
        len(attempts),
        "" if len(attempts) == 1 else "s",
        duration,
        f": {reason}" if reason else "",
        extra={
            **_names(outcome.message, route),
            "esms_outcome": outcome.status.value,
            "esms_attempts": len(attempts),
            "esms_sms_id": receipt and receipt.sms_id,
            "esms_deduplicated": receipt is not None and receipt.deduplicated,
            "esms_code": refused and refused.code,
            "esms_status": refused and refused.status,
            "esms_error": reason,
            "esms_duration": duration,
        },
    )


def _names(message: Message, route: Route) -> dict[str, Any]:
    return {
        "esms_request_id": message.request_id,
        "esms_phone": mask_phone(message.phone),
        "esms_route": str(route),
    }


def _level_of(outcome: Outcome, attempts: tuple[Attempt, ...]) -> int:
    match outcome.error:
        case None:
            at_once = len(attempts) <= 1 and not (outcome.receipt and outcome.receipt.deduplicated)
            return logging.DEBUG if at_once else logging.INFO
        case (
            AccountRejected()
            | Rejected(refuses_route=True)
            | LedgerError()
            | OutcomeUnknown(rejection=AccountRejected())
        ):
            return logging.ERROR
        case _:
            return logging.WARNING
