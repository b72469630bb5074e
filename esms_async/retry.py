"""When to try again, and how long to wait before: the retry policy, over tenacity."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar, cast

import attrs
import tenacity
from tenacity import RetryCallState, stop_after_attempt, wait_random_exponential

from esms_async.budget import RetryBudget
from esms_async.checks import check_count, check_seconds
from esms_async.errors import (
    ConfigurationError,
    NotSent,
    OutcomeUnknown,
    QueryUnanswered,
    SendError,
)

T = TypeVar("T")

Stop = Callable[[RetryCallState], bool | Awaitable[bool]]
"""A tenacity stop object, or a function like one."""
Wait = Callable[[RetryCallState], float | Awaitable[float]]
"""A tenacity wait object, or a function like one."""
Retry = Callable[[RetryCallState], bool | Awaitable[bool]]
"""A tenacity retry object, or a function like one."""


# Measured with the other defaults. 10 000 messages to a gateway that always answers 503: 11 000
# requests, and 50 000 without a budget. An outage of one second takes 240 retries at concurrency
# 64, 390 at 100 and 750 at 200, so none is refused there. Nor is one in 6 000 messages through
# the storm of the benchmarks, where a third of the requests fail: all but 210 are paid back.
_DEFAULT_BUDGET: Final = 1000

# A state must belong to some retrying; nothing of a send is kept in it.
_NO_RETRYING: Final = tenacity.AsyncRetrying()


def _check_seconds(_: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    check_seconds(attribute.name, value)


def _check_attempts(_: object, attribute: "attrs.Attribute[int]", value: int) -> None:
    check_count(attribute.name, value)


def _check_budget(_: object, attribute: "attrs.Attribute[int]", value: int | None) -> None:
    if value is not None:
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
        budget: How many retries all sends of a client may make that accepted sends have not paid
            back. While it is used up no send is tried again, so that a gateway which is down gets
            little more than the first attempts. A second without a gateway takes four times the
            concurrency. None is no bound.
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
    budget: int | None = attrs.field(default=_DEFAULT_BUDGET, validator=_check_budget, kw_only=True)
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
    budget: RetryBudget,
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
        budget: What each further attempt is taken from.
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
        # Asked like this, a pause that is no number ends the send too.
        if not now + state.upcoming_sleep < give_up_at or await _settled(stop(state)):
            raise failure
        if not budget.take():
            raise _without_budget(failure) from failure
        try:
            await sleep(state.upcoming_sleep)
        except BaseException:
            budget.give_back()
            raise
        state.prepare_for_next_attempt()
        try:
            result = await attempt()
        except SendError as error:
            if not leaves_outcome_open(error):
                raise
            failure = error
        else:
            budget.give_back()
            return result


async def repeat(
    policy: RetryPolicy,
    ask: Callable[[], Awaitable[T]],
    *,
    sleep: Callable[[float], Awaitable[None]],
) -> T:
    """Ask a question until it is answered, or the policy gives it up.

    Args:
        policy: When to ask again. Its budget is for sends, and stays untouched.
        ask: Asks once. It returns the answer, or raises QueryUnanswered where asking again may
            bring one, or whatever else ends the asking.
        sleep: Waits some seconds.

    Returns:
        What `ask` returned.

    Raises:
        QueryUnanswered: That of the last time.
    """
    stop: Stop = policy.stop or stop_after_attempt(policy.attempts)
    wait: Wait = policy.wait or wait_random_exponential(
        multiplier=policy.backoff_initial, max=policy.backoff_max
    )
    state = RetryCallState(_NO_RETRYING, None, (), {})
    while True:
        try:
            return await ask()
        except QueryUnanswered as error:
            failure = error
        state.set_exception((type(failure), failure, failure.__traceback__))
        if policy.retry is not None and not await _settled(policy.retry(state)):
            raise failure
        state.upcoming_sleep = max(await _settled(wait(state)), failure.retry_after or 0.0)
        state.idle_for += state.upcoming_sleep
        ends = (state.seconds_since_start or 0.0) + state.upcoming_sleep
        if not ends < policy.deadline or await _settled(stop(state)):
            raise failure
        await sleep(state.upcoming_sleep)
        state.prepare_for_next_attempt()


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


def _without_budget(error: SendError) -> SendError:
    """Return a failure that leaves the outcome open, with why it is not tried again."""
    reason = f"{error.reason}; not tried again, for the retry budget is used up"
    return type(error)(error.message, error.attempts, reason)


def _asked_for(error: SendError) -> float:
    return (error.attempts[-1].retry_after or 0.0) if error.attempts else 0.0


async def _settled(value: T | Awaitable[T]) -> T:
    """Return what a tenacity object answered, waiting for it where the object is async."""
    if isinstance(value, Awaitable):
        return await cast("Awaitable[T]", value)
    return value
