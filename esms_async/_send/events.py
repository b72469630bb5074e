"""Tells the log and the hooks of a client what happens to its sends.

The records hold no content, no keys, and phone numbers masked. Their levels are those that a
service in production wants:

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
# Their callers are told of failures anyway: a program that has set up no logging does not get them
# on its standard error, too.
outcomes_logger.addHandler(logging.NullHandler())
_METHODS = ("on_start", "on_attempt", "on_outcome")
# An attempt that ended so is tried again, if there is time.
_OPEN = frozenset({Evidence.MAY_HAVE_ARRIVED, Evidence.NOTHING_LEFT})


class Hook:
    """Receives events for every send of the clients that it is given to.

    Derive from it and write the methods you want; these do nothing. They are plain functions,
    called inside the task that sends, in the order start, attempts, outcome, so they must not
    block; of one message each is called for one send at a time. What a method raises is logged
    and harms no send. A task that joins a send which is under way is no send of its own.

    The values hold the phone number, the content and the RequestId: what of them goes elsewhere is
    for the hook to decide. `Attempt.error` is safe to show, and so is the repr of a Message.
    """

    def on_start(self, *, message: Message) -> None:
        """Note that a send begins.

        Args:
            message: The message.
        """

    def on_attempt(self, *, message: Message, number: int, attempt: Attempt) -> None:
        """Note that an attempt has ended.

        Args:
            message: The message.
            number: The number of the attempt within this send, from 1.
            attempt: When it began, how long it took and what it got.
        """

    def on_outcome(
        self, *, outcome: Outcome, attempts: tuple[Attempt, ...], duration: float
    ) -> None:
        """Note that a send has ended.

        Args:
            outcome: What became of the message. Of a send that was cancelled it is what is true
                of it: NotSent, OutcomeUnknown, or the result that had come.
            attempts: Every attempt of this send; none where the ledger knew the outcome.
            duration: Seconds from the start, with all that was waited for.
        """


class Events:
    """Passes the events of one client's sends to the log, and to its hooks in their order.

    Raises:
        ConfigurationError: One of them is not a Hook.
    """

    def __init__(self, hooks: Sequence[Hook]) -> None:
        self.hooks = tuple(map(_checked, hooks))

    def started(self, message: Message) -> None:
        """Tell that a send begins."""
        for hook in self.hooks:
            _guarded(hook.on_start, message=message)

    def attempted(self, message: Message, number: int, attempt: Attempt, route: Route) -> None:
        """Tell that an attempt has ended, of a message that travels by a route."""
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
        """Tell that a send has ended, of a message that travels by a route."""
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


def _guarded(tell: Callable[..., None], **what: object) -> None:
    """Tell something; an error of who is told must not change what the caller gets."""
    try:
        tell(**what)
    except Exception as error:  # noqa: BLE001  # whatever it is, the send goes on
        # Its words are not shown, for they may quote what it was told.
        where = traceback.extract_tb(error.__traceback__)[-1]
        name = getattr(tell, "__qualname__", type(tell).__qualname__)
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
