"""Decides when to try again, and after what pause: the retry policy, over tenacity.

`RetryBudget` limits the retries of all sends of a client together, because a gateway that is down
fails every send. A retry takes one from the budget, an accepted send gives back, and an empty
budget allows no retry. First attempts are free. It is the token bucket of the AWS SDKs' standard
retry mode (SDKs and Tools Reference Guide, "Retry behavior"): only accepted messages fill it.
"""

import math
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar, cast

import attrs
import tenacity
from tenacity import RetryCallState, stop_after_attempt

from esms_async._model.backoff import backoff
from esms_async._model.checks import check_count, check_seconds
from esms_async._model.errors import ConfigurationError
from esms_async.ledger.transitions import WINDOW

T = TypeVar("T")

Stop = Callable[[RetryCallState], bool | Awaitable[bool]]
"""A tenacity stop object, or a function like one."""
Wait = Callable[[RetryCallState], float | Awaitable[float]]
"""A tenacity wait object, or a function like one."""
Retry = Callable[[RetryCallState], bool | Awaitable[bool]]
"""A tenacity retry object, or a function like one."""


# Measured with the other defaults. 10 000 messages to a gateway that always answers 503 make 11 000
# requests, and 50 000 without a budget. An outage of one second takes 240 retries at concurrency
# 64, 390 at 100 and 750 at 200, and 6 000 messages through the storm of the benchmarks, where a
# third of the requests fail, end 210 retries short: the budget refuses none of these.
_DEFAULT_BUDGET: Final = 1000

# A state must belong to some retrying; nothing of a send is kept in it.
_NO_RETRYING: Final = tenacity.AsyncRetrying()


def _check_seconds(_: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    check_seconds(attribute.name, value)


def _check_deadline(_: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    check_seconds(attribute.name, value)
    if value > WINDOW:
        raise ConfigurationError(
            f"deadline must be at most {WINDOW:.0f} seconds (23 hours), not {value!r}: the gateway "
            "forgets a request id after 24 hours"
        )


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
    """Says how often, how long and how fast a send is tried again.

    A send is tried again only if its outcome is open: nothing left this machine, or the request
    may have arrived. A rejection with a code never is. The pause before attempt n is drawn evenly
    from 0 to `backoff_initial * 2 ** (n - 2)` seconds, at most `backoff_max`, and is at least the
    gateway's Retry-After. If it would end at or after the deadline, the send gives up at once.

    Args:
        attempts: The most requests, the first one included.
        deadline: Seconds for the whole send, at most 23 hours: waiting for the limiter and for a
            connection, every attempt and every pause.
        attempt_timeout: Seconds for one attempt, from waiting for a connection to the last byte
            of the answer.
        backoff_initial: The longest first pause, in seconds.
        backoff_max: The longest pause of all, in seconds.
        budget: How many retries the sends of a client may be ahead of what accepted sends pay
            back; with none left, no send is tried again. So a gateway that is down gets little
            more than the first attempts. An outage of a second takes about four times the
            concurrency. None sets no limit.
        stop: A tenacity stop object instead of `attempts`; the deadline still holds.
        wait: A tenacity wait object instead of the backoff; Retry-After still holds.
        retry: A tenacity retry object as well. It can forbid a retry, never cause one.

    Raises:
        ConfigurationError: A value cannot work; the error names it.
    """

    attempts: int = attrs.field(default=5, validator=_check_attempts)
    deadline: float = attrs.field(default=30.0, validator=_check_deadline)
    attempt_timeout: float = attrs.field(default=10.0, validator=_check_seconds)
    backoff_initial: float = attrs.field(default=0.25, validator=_check_seconds, kw_only=True)
    backoff_max: float = attrs.field(default=5.0, validator=_check_seconds, kw_only=True)
    budget: int | None = attrs.field(default=_DEFAULT_BUDGET, validator=_check_budget, kw_only=True)
    stop: Stop | None = attrs.field(default=None, validator=_check_callable, kw_only=True)
    wait: Wait | None = attrs.field(default=None, validator=_check_callable, kw_only=True)
    retry: Retry | None = attrs.field(default=None, validator=_check_callable, kw_only=True)


class Retries:
    """The retries of one send or query: calls the policy's objects as tenacity does.

    They see the count of attempts and the time of the whole send, which began at `started` on
    `time.monotonic()`.
    """

    __slots__ = ("_policy", "_started", "_state", "_stop", "_wait")

    def __init__(self, policy: RetryPolicy, started: float) -> None:
        self._policy = policy
        self._started = started
        self._stop: Stop = policy.stop or stop_after_attempt(policy.attempts)
        self._wait: Wait = policy.wait or self._back_off
        # One state a send, and no AsyncRetrying: shared, it mixes the state of concurrent calls,
        # and made for each send it takes longer than the request.
        self._state = RetryCallState(_NO_RETRYING, None, (), {})
        self._state.start_time = started

    def _back_off(self, state: RetryCallState) -> float:
        policy = self._policy
        return backoff(
            state.attempt_number, first=policy.backoff_initial, longest=policy.backoff_max
        )

    async def pause_after(
        self, failure: Exception, *, asked: float, give_up_at: float
    ) -> float | None:
        """Return the seconds to wait before the next attempt, or None to give up.

        The gateway asks for at least `asked` seconds. No attempt may start at `give_up_at`
        (`time.monotonic()`) or later.
        """
        state = self._state
        state.set_exception((type(failure), failure, failure.__traceback__))
        if self._policy.retry is not None and not await _settled(self._policy.retry(state)):
            return None
        state.upcoming_sleep = max(await _settled(self._wait(state)), asked)
        state.idle_for += state.upcoming_sleep
        now = state.outcome_timestamp or self._started
        # Written like this, a pause that is not a number ends the send too.
        if not now + state.upcoming_sleep < give_up_at or await _settled(self._stop(state)):
            return None
        return state.upcoming_sleep

    def next_attempt(self) -> None:
        """Count one more attempt, which begins now."""
        self._state.prepare_for_next_attempt()


async def _settled(value: T | Awaitable[T]) -> T:
    """Return the result of a tenacity object, which may be async."""
    if isinstance(value, Awaitable):
        return await cast("Awaitable[T]", value)
    return value


_A_RETRY: Final = 2
_A_FIRST_ATTEMPT: Final = 1
"""What an accepted first attempt gives back: half a retry.

AWS gives back a fifth. With a half, the budget breaks even while two in five requests fail, so an
unreliable line alone does not empty it; if more fail, all attempts together stay below 1.75 times
the messages.
"""


class RetryBudget:
    """The retries that are left to all sends of one client.

    Args:
        retries: How many there are at the start, and at most; None sets no limit.

    Attributes:
        spent: What was taken and not given back yet; a retry counts two.
    """

    __slots__ = ("_most", "spent")

    def __init__(self, retries: int | None) -> None:
        self._most = math.inf if retries is None else retries * _A_RETRY
        self.spent = 0

    @property
    def left(self) -> float:
        """How many retries are left."""
        return (self._most - self.spent) / _A_RETRY

    def take(self) -> bool:
        """Take a retry; False where none is left."""
        if self.spent + _A_RETRY > self._most:
            return False
        self.spent += _A_RETRY
        return True

    def give_back(self) -> None:
        """Give back a retry that was not made after all, or that was accepted."""
        self.spent = max(0, self.spent - _A_RETRY)

    def reward(self) -> None:
        """Give back for a send that was accepted at its first attempt."""
        self.spent = max(0, self.spent - _A_FIRST_ATTEMPT)
