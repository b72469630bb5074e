"""When to try again, and how long to wait before: the retry policy, over tenacity."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar, cast

import attrs
import tenacity
from tenacity import RetryCallState, stop_after_attempt, wait_random_exponential

from esms_async.checks import check_count, check_seconds
from esms_async.errors import ConfigurationError, NotSent, OutcomeUnknown, SendError

T = TypeVar("T")

Stop = Callable[[RetryCallState], bool | Awaitable[bool]]
"""A tenacity stop object, or a function like one."""
Wait = Callable[[RetryCallState], float | Awaitable[float]]
"""A tenacity wait object, or a function like one."""
Retry = Callable[[RetryCallState], bool | Awaitable[bool]]
"""A tenacity retry object, or a function like one."""


# A state must belong to some retrying; nothing of a send is kept in it.
_NO_RETRYING: Final = tenacity.AsyncRetrying()


def _check_seconds(_: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    check_seconds(attribute.name, value)


def _check_attempts(_: object, attribute: "attrs.Attribute[int]", value: int) -> None:
    check_count(attribute.name, value)


def _check_callable(_: object, attribute: "attrs.Attribute[T]", value: T) -> None:
    if value is not None and not callable(value):
        raise ConfigurationError(
            f"{attribute.name} must be a tenacity {attribute.name} object, not {value!r}"
        )


@attrs.frozen
class RetryPolicy:
    """How long one logical send is pursued.

    Only what leaves the outcome open is tried again: failures of which nothing left this
    machine, and those that may have arrived. A coded rejection never is. The pause before
    attempt n is drawn evenly from 0 to `backoff_initial * 2 ** (n - 2)` seconds, at most
    `backoff_max`, and is at least what the gateway's Retry-After asks for; where it would end at
    or after the deadline, the send gives up at once.

    Args:
        attempts: How many requests are made at most, the first one included.
        deadline: Seconds for the whole send: waiting for the limiter and for a connection, every
            attempt and every pause.
        attempt_timeout: Seconds for one attempt, from asking for a connection to the last byte
            of the answer.
        backoff_initial: Seconds, the widest first pause.
        backoff_max: Seconds, the widest pause of all.
        stop: A tenacity stop object in place of `attempts`; the deadline holds all the same.
        wait: A tenacity wait object in place of the back-off; Retry-After holds all the same.
        retry: A tenacity retry object that is asked too. It can forbid a retry, never cause one.

    Raises:
        ConfigurationError: A value cannot work; the error names it.
    """

    attempts: int = attrs.field(default=5, validator=_check_attempts)
    deadline: float = attrs.field(default=30.0, validator=_check_seconds)
    attempt_timeout: float = attrs.field(default=10.0, validator=_check_seconds)
    backoff_initial: float = attrs.field(default=0.25, validator=_check_seconds, kw_only=True)
    backoff_max: float = attrs.field(default=5.0, validator=_check_seconds, kw_only=True)
    stop: Stop | None = attrs.field(default=None, validator=_check_callable, kw_only=True)
    wait: Wait | None = attrs.field(default=None, validator=_check_callable, kw_only=True)
    retry: Retry | None = attrs.field(default=None, validator=_check_callable, kw_only=True)


async def pursue(
    policy: RetryPolicy,
    failure: SendError,
    attempt: Callable[[], Awaitable[T]],
    *,
    started: float,
    give_up_at: float,
    sleep: Callable[[float], Awaitable[None]],
) -> T:
    """Go on after a first attempt that failed, until one ends the send or the policy does.

    tenacity's stop, wait and retry objects are asked as tenacity itself asks them, with the first
    attempt shown to them as any other: the count of attempts and the time since the start are
    those of the whole send.

    Args:
        policy: When to try again.
        failure: The error that the first attempt would end the send with.
        attempt: Makes one more attempt. It returns the result of the send, or raises the error
            that the send ends with should this attempt be the last.
        started: When the first attempt began, on `time.monotonic()`.
        give_up_at: From when on no attempt may start, on `time.monotonic()`.
        sleep: Waits some seconds.

    Returns:
        What `attempt` returned.

    Raises:
        SendError: The last attempt's error.
    """
    stop: Stop = policy.stop or stop_after_attempt(policy.attempts)
    wait: Wait = policy.wait or wait_random_exponential(
        multiplier=policy.backoff_initial, max=policy.backoff_max
    )
    # One state a send, and no AsyncRetrying: shared, it mixes the state of concurrent calls, and
    # made anew it takes longer than the request. What it would ask of its objects is asked here.
    state = RetryCallState(_NO_RETRYING, None, (), {})
    state.start_time = started
    while True:
        state.set_exception((type(failure), failure, failure.__traceback__))
        if policy.retry is not None and not await _settled(policy.retry(state)):
            raise failure
        state.upcoming_sleep = max(await _settled(wait(state)), _asked_for(failure))
        state.idle_for += state.upcoming_sleep
        now = state.outcome_timestamp or started
        if now + state.upcoming_sleep >= give_up_at or await _settled(stop(state)):
            raise failure
        await sleep(state.upcoming_sleep)
        state.prepare_for_next_attempt()
        try:
            return await attempt()
        except SendError as error:
            if not leaves_outcome_open(error):
                raise
            failure = error


def leaves_outcome_open(error: BaseException | None) -> bool:
    """Tell whether a further attempt can still change what is known.

    Args:
        error: The error that the send would end with.

    Returns:
        True for "not sent" and for "unknown" without a rejection; False for everything else, a
        cancellation above all.
    """
    if isinstance(error, OutcomeUnknown):
        return error.rejection is None
    return isinstance(error, NotSent)


def _asked_for(error: SendError) -> float:
    return (error.attempts[-1].retry_after or 0.0) if error.attempts else 0.0


async def _settled(value: T | Awaitable[T]) -> T:
    """Return what a tenacity object answered, waiting for it where the object is async."""
    if isinstance(value, Awaitable):
        return await cast("Awaitable[T]", value)
    return value
