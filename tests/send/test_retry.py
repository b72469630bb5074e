"""When to try again and how long to wait, with the pauses recorded instead of slept."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import attrs
import pytest
import tenacity
from hypothesis import given
from hypothesis import strategies as st
from tenacity import RetryCallState
from tenacity.asyncio import retry_if_exception
from tenacity.stop import stop_base

from esms_async import (
    AccountRejected,
    Attempt,
    ConfigurationError,
    Evidence,
    NotSent,
    OutcomeUnknown,
    RetryPolicy,
    SendError,
)
from esms_async._send.retry import Retries, RetryBudget, Wait
from esms_async.ledger.transitions import WINDOW
from tests.factories import a_message

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
MESSAGE = a_message()
REJECTION = AccountRejected(MESSAGE, (), code="103", status=200)

T = TypeVar("T")


def not_sent(*asked: float | None) -> NotSent:
    """Make a NotSent whose attempts were asked to wait."""
    return NotSent(MESSAGE, attempts(asked), "not sent")


def unknown(*asked: float | None) -> OutcomeUnknown:
    """Make a failure that may have arrived, whose attempts were asked to wait."""
    return OutcomeUnknown(MESSAGE, attempts(asked), "unknown")


def attempts(asked: tuple[float | None, ...]) -> tuple[Attempt, ...]:
    """Make attempts that were asked to wait."""
    return tuple(
        Attempt(NOON, 0.1, Evidence.MAY_HAVE_ARRIVED, 503, retry_after=seconds) for seconds in asked
    )


@attrs.define
class Pursuit:
    """A send whose every attempt ends as the script says, without waiting for anything.

    Attributes:
        script: What each attempt after the first ends with; the last one repeats.
        made: How many attempts were made, the first one included.
        slept: The pauses, in seconds.
    """

    script: Sequence[object]
    made: int = 1
    slept: list[float] = attrs.Factory(list[float])

    async def run(
        self, policy: RetryPolicy, failure: SendError, *, age: float = 0, left: float = 1e6
    ) -> object:
        """Go on after a first attempt that began some seconds ago, while there is time left."""
        now = time.monotonic()
        retries = Retries(policy, now - age)
        while True:
            asked = (failure.attempts[-1].retry_after or 0.0) if failure.attempts else 0.0
            pause = await retries.pause_after(failure, asked=asked, give_up_at=now + left)
            if pause is None:
                raise failure
            self.slept.append(pause)
            await asyncio.sleep(0)
            retries.next_attempt()
            what = self.script[min(self.made, len(self.script)) - 1]
            self.made += 1
            if not isinstance(what, SendError):
                return what
            failure = what


def sync_or_async(
    answer: Callable[[RetryCallState], T], *, is_async: bool
) -> Callable[[RetryCallState], T | Awaitable[T]]:
    """Return a function like a tenacity object, or one that has to be awaited."""

    async def slowly(state: RetryCallState) -> T:
        await asyncio.sleep(0)
        return answer(state)

    return slowly if is_async else answer


in_both_colours = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])

OPEN: dict[str, SendError] = {"not sent": not_sent(), "unknown": unknown()}


@pytest.mark.parametrize("failure", OPEN.values(), ids=OPEN)
@pytest.mark.parametrize("total", [1, 2, 5])
async def test_attempts_counts_the_first_one(failure: SendError, total: int) -> None:
    """`attempts` is the total of requests, and the last one's own error is raised."""
    last = unknown()
    pursuit = Pursuit([not_sent()] * (total - 2) + [last])
    with pytest.raises(SendError) as caught:
        await pursuit.run(RetryPolicy(attempts=total), failure)
    assert caught.value is (failure if total == 1 else last)
    assert pursuit.made == total
    assert len(pursuit.slept) == total - 1


@pytest.mark.parametrize("result", ["receipt", None, False, 0])
async def test_the_first_success_ends_it(result: object) -> None:
    """What an attempt returns is returned, also where it is nothing."""
    pursuit = Pursuit([unknown(), not_sent(), result])
    assert await pursuit.run(RetryPolicy(), not_sent()) is result
    assert pursuit.made == 4


BACKOFF = RetryPolicy(attempts=9, backoff_initial=0.25, backoff_max=5)


@pytest.mark.parametrize(
    ("draw", "pauses"),
    [
        pytest.param(max, [0.25, 0.5, 1, 2, 4, 5, 5, 5], id="widest"),
        pytest.param(min, [0] * 8, id="narrowest"),
    ],
)
async def test_the_bounds_of_the_back_off(
    monkeypatch: pytest.MonkeyPatch, draw: Callable[[float, float], float], pauses: list[float]
) -> None:
    """Each pause is drawn from 0 to a bound that doubles up to `backoff_max`."""
    monkeypatch.setattr("random.uniform", draw)
    pursuit = Pursuit([not_sent()])
    with pytest.raises(NotSent):
        await pursuit.run(BACKOFF, not_sent())
    assert pursuit.slept == pauses


async def test_the_back_off_has_jitter() -> None:
    """Sends that failed at the same moment do not try again at the same moment."""
    pursuits = [Pursuit([not_sent(), "receipt"]) for _ in range(20)]
    for pursuit in pursuits:
        await pursuit.run(BACKOFF, not_sent())
    assert all(0 <= pursuit.slept[0] <= 0.25 >= pursuit.slept[1] / 2 for pursuit in pursuits)
    assert len({tuple(pursuit.slept) for pursuit in pursuits}) == 20


@pytest.mark.parametrize(
    ("wait", "asked", "pause"),
    [
        pytest.param(None, (6.0,), 6.0, id="longer than the back-off"),
        pytest.param(None, (0.1, 6.0), 6.0, id="of the last attempt"),
        pytest.param(tenacity.wait_fixed(7), (6.0,), 7.0, id="shorter than the pause"),
        pytest.param(tenacity.wait_fixed(7), (8.0,), 8.0, id="longer than the pause"),
        pytest.param(tenacity.wait_fixed(7), (8.0, None), 7.0, id="of an earlier attempt"),
        pytest.param(tenacity.wait_fixed(7), (0.0,), 7.0, id="none at all"),
        pytest.param(tenacity.wait_fixed(7), (), 7.0, id="no attempt"),
        pytest.param(tenacity.wait_none(), (6.0,), 6.0, id="in place of no pause"),
    ],
)
async def test_retry_after_is_honoured(
    wait: Wait | None, asked: tuple[float | None, ...], pause: float
) -> None:
    """The pause is at least what the last answer asked for, and as long as the policy's."""
    pursuit = Pursuit(["receipt"])
    await pursuit.run(RetryPolicy(wait=wait), unknown(*asked))
    assert pursuit.slept == [pause]


@pytest.mark.parametrize(
    ("wait", "asked", "left", "made"),
    [
        pytest.param(None, 100.0, 60, 1, id="Retry-After passes the deadline"),
        pytest.param(None, 100.0, 120, 2, id="Retry-After ends before the deadline"),
        pytest.param(tenacity.wait_fixed(100), None, 60, 1, id="the pause passes the deadline"),
        pytest.param(tenacity.wait_fixed(100), None, 120, 2, id="the pause ends before it"),
        pytest.param(tenacity.wait_fixed(float("nan")), None, 60, 1, id="a pause of no length"),
        pytest.param(tenacity.wait_none(), None, 0, 1, id="at the deadline"),
        pytest.param(tenacity.wait_none(), None, -1, 1, id="after the deadline"),
    ],
)
async def test_a_pause_that_passes_the_deadline(
    wait: Wait | None, asked: float | None, left: float, made: int
) -> None:
    """The send gives up at once, without the pause, where no attempt could start after it."""
    pursuit, failure = Pursuit(["receipt"]), unknown(asked)
    policy = RetryPolicy(wait=wait, stop=tenacity.stop_never)
    if made == 1:
        with pytest.raises(OutcomeUnknown) as caught:
            await pursuit.run(policy, failure, left=left)
        assert caught.value is failure
    else:
        assert await pursuit.run(policy, failure, left=left) == "receipt"
    assert pursuit.made == made
    assert len(pursuit.slept) == made - 1


@pytest.mark.parametrize(
    ("stop", "age", "made"),
    [
        pytest.param(tenacity.stop_after_attempt(3), 0, 3, id="attempts"),
        pytest.param(tenacity.stop_after_attempt(1), 0, 1, id="one attempt"),
        pytest.param(tenacity.stop_after_delay(60), 0, 10, id="within the delay"),
        pytest.param(tenacity.stop_after_delay(60), 61, 1, id="the first attempt's time counts"),
        pytest.param(tenacity.stop_before_delay(60), 51, 1, id="with the pause to come"),
        pytest.param(
            tenacity.stop_after_delay(60) | tenacity.stop_after_attempt(4), 0, 4, id="either"
        ),
        pytest.param(
            tenacity.stop_all(tenacity.stop_after_delay(60), tenacity.stop_after_attempt(2)),
            61,
            2,
            id="both",
        ),
    ],
)
@in_both_colours
async def test_stop_objects(stop: stop_base, age: float, made: int, is_async: bool) -> None:
    """A tenacity stop object stands in place of `attempts`, and sees the whole send."""
    stops = tenacity.stop_any(stop, tenacity.stop_after_attempt(10))
    pursuit = Pursuit([not_sent()])
    policy = RetryPolicy(
        attempts=1, stop=sync_or_async(stops, is_async=is_async), wait=tenacity.wait_fixed(10)
    )
    with pytest.raises(NotSent):
        await pursuit.run(policy, not_sent(), age=age)
    assert pursuit.made == made


@pytest.mark.parametrize(
    ("wait", "pauses"),
    [
        pytest.param(tenacity.wait_fixed(7), [7, 7, 7], id="fixed"),
        pytest.param(tenacity.wait_none(), [0, 0, 0], id="none"),
        pytest.param(tenacity.wait_incrementing(start=1, increment=2), [1, 3, 5], id="growing"),
        pytest.param(tenacity.wait_exponential(multiplier=3), [3, 6, 12], id="exponential"),
        pytest.param(
            tenacity.wait_chain(tenacity.wait_fixed(1), tenacity.wait_fixed(9)),
            [1, 9, 9],
            id="chain",
        ),
    ],
)
@in_both_colours
async def test_wait_objects(
    wait: Callable[[RetryCallState], float], pauses: list[float], is_async: bool
) -> None:
    """A tenacity wait object stands in place of the back-off, from its first pause on."""
    pursuit = Pursuit([not_sent()])
    policy = RetryPolicy(attempts=4, wait=sync_or_async(wait, is_async=is_async))
    with pytest.raises(NotSent):
        await pursuit.run(policy, not_sent())
    assert pursuit.slept == pauses


async def only_once(error: BaseException) -> bool:
    """Tell, after a while, whether nothing has left yet."""
    await asyncio.sleep(0)
    return isinstance(error, NotSent)


@pytest.mark.parametrize(
    ("retry", "made"),
    [
        pytest.param(tenacity.retry_if_exception_type(NotSent), 3, id="type"),
        pytest.param(tenacity.retry_if_exception_type(ConnectionError), 3, id="cousin"),
        pytest.param(tenacity.retry_if_not_exception_type(OutcomeUnknown), 3, id="not type"),
        pytest.param(tenacity.retry_if_exception_message(match="not sent"), 3, id="message"),
        pytest.param(tenacity.retry_never, 1, id="never"),
        pytest.param(tenacity.retry_always, 4, id="always"),
        pytest.param(tenacity.retry_if_result(lambda _: True), 1, id="by result"),
    ],
)
@in_both_colours
async def test_retry_objects_can_forbid(
    retry: Callable[[RetryCallState], bool], made: int, is_async: bool
) -> None:
    """A tenacity retry object is asked after each failure, and can end the send."""
    pursuit = Pursuit([not_sent(), unknown(), "receipt"])
    policy = RetryPolicy(retry=sync_or_async(retry, is_async=is_async))
    if made == 4:
        assert await pursuit.run(policy, not_sent()) == "receipt"
    else:
        with pytest.raises(SendError):
            await pursuit.run(policy, not_sent())
    assert pursuit.made == made


async def test_async_retry_objects_of_tenacity() -> None:
    """An object of `tenacity.asyncio` works as it is."""
    pursuit = Pursuit([not_sent(), unknown(), "receipt"])
    with pytest.raises(OutcomeUnknown):
        await pursuit.run(RetryPolicy(retry=retry_if_exception(only_once)), not_sent())
    assert pursuit.made == 3


@in_both_colours
async def test_what_the_objects_see(is_async: bool) -> None:
    """Each object sees the count of attempts and the time of the whole send, and the failure."""
    seen: list[tuple[str, int, BaseException | None]] = []
    elapsed: list[float | None] = []

    def watch(name: str, answer: T) -> Callable[[RetryCallState], T | Awaitable[T]]:
        def look(state: RetryCallState) -> T:
            assert state.outcome is not None
            seen.append((name, state.attempt_number, state.outcome.exception()))
            elapsed.append(state.seconds_since_start)
            return answer

        return sync_or_async(look, is_async=is_async)

    failures: list[SendError] = [not_sent(), unknown(), not_sent()]
    policy = RetryPolicy(
        retry=watch("retry", answer=True), wait=watch("wait", 0.5), stop=watch("stop", answer=False)
    )
    pursuit = Pursuit([*failures[1:], "receipt"])
    assert await pursuit.run(policy, failures[0], age=40) == "receipt"
    assert seen == [
        (name, number, failure)
        for number, failure in enumerate(failures, start=1)
        for name in ("retry", "wait", "stop")
    ]
    assert all(seconds is not None and 40 <= seconds < 60 for seconds in elapsed)


@in_both_colours
async def test_concurrent_sends_do_not_mix(is_async: bool) -> None:
    """A hundred sends at once under one policy, each as long as it must be, keep apart."""
    policy = RetryPolicy(
        stop=sync_or_async(tenacity.stop_after_attempt(8), is_async=is_async),
        wait=sync_or_async(tenacity.wait_incrementing(1, 1), is_async=is_async),
        retry=sync_or_async(tenacity.retry_always, is_async=is_async),
    )
    pursuits = [
        Pursuit([*[not_sent()] * (number % 10), f"receipt {number}"]) for number in range(100)
    ]
    ends = await asyncio.gather(
        *(pursuit.run(policy, not_sent()) for pursuit in pursuits), return_exceptions=True
    )
    for number, (pursuit, end) in enumerate(zip(pursuits, ends, strict=True)):
        made = min(number % 10 + 2, 8)
        assert pursuit.made == made
        assert pursuit.slept == list(range(1, made))
        assert isinstance(end, NotSent) if number % 10 > 6 else end == f"receipt {number}"


@pytest.mark.parametrize("field", ["deadline", "attempt_timeout", "backoff_initial", "backoff_max"])
@pytest.mark.parametrize(
    "value",
    [0, -1, -0.1, math.inf, -math.inf, math.nan, "5", None, True, 1j, 10**400],
    ids=["0", "-1", "-0.1", "inf", "-inf", "nan", "str", "None", "bool", "complex", "huge"],
)
def test_bad_durations(field: str, value: object) -> None:
    """A duration that is not a finite number above 0 is refused by name."""
    with pytest.raises(ConfigurationError, match=f"{field} must be a finite number above 0"):
        RetryPolicy(**{field: value})  # type: ignore[arg-type]  # the wrong types are the point


@pytest.mark.parametrize("seconds", [WINDOW + 0.001, WINDOW + 1, 172_800])
def test_a_deadline_beyond_the_window_is_refused(seconds: float) -> None:
    """The gateway would have forgotten the RequestId before the last attempt."""
    assert RetryPolicy(deadline=WINDOW).deadline == WINDOW
    with pytest.raises(ConfigurationError, match="deadline must be at most 82800 seconds"):
        RetryPolicy(deadline=seconds)


@pytest.mark.parametrize("value", [0, -1, 1.0, "5", None, True, math.inf], ids=repr)
def test_bad_attempts(value: object) -> None:
    """A count of attempts that is not an int of at least 1 is refused by name."""
    with pytest.raises(ConfigurationError, match="attempts must be an int of at least 1"):
        RetryPolicy(attempts=value)  # type: ignore[arg-type]  # the wrong types are the point


@pytest.mark.parametrize("value", [0, -1, 1.0, "5", True, math.inf], ids=repr)
def test_bad_budgets(value: object) -> None:
    """A budget that is not an int of at least 1, and not None, is refused by name."""
    with pytest.raises(ConfigurationError, match="budget must be an int of at least 1"):
        RetryPolicy(budget=value)  # type: ignore[arg-type]  # the wrong types are the point
    assert RetryPolicy(budget=None).budget is None


@pytest.mark.parametrize("field", ["stop", "wait", "retry"])
@pytest.mark.parametrize("value", [5, "x", 0, False], ids=repr)
def test_bad_tenacity_objects(field: str, value: object) -> None:
    """What tenacity could not call is refused by name."""
    with pytest.raises(ConfigurationError, match=f"{field} must be a tenacity {field} object"):
        RetryPolicy(**{field: value})  # type: ignore[arg-type]  # the wrong types are the point


def test_policies_are_values() -> None:
    """A policy compares by value, can be evolved, which checks again, and can't be changed."""
    policy = RetryPolicy(3, 10, 2.5)
    assert policy == RetryPolicy(attempts=3, deadline=10.0, attempt_timeout=2.5)
    assert hash(policy) == hash(RetryPolicy(3, 10.0, 2.5))
    assert attrs.evolve(policy, attempts=4) == RetryPolicy(4, 10, 2.5)
    with pytest.raises(ConfigurationError):
        attrs.evolve(policy, attempts=0)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        policy.attempts = 4  # type: ignore[misc]  # that it is refused is the point


def test_the_defaults() -> None:
    """A send is bounded in attempts and in time by default."""
    policy = RetryPolicy()
    assert (policy.attempts, policy.deadline, policy.attempt_timeout) == (5, 30.0, 10.0)
    assert (policy.stop, policy.wait, policy.retry) == (None, None, None)
    assert policy.budget == 1000


def test_a_budget_is_used_up() -> None:
    """As many retries as it holds are granted, and then none."""
    budget = RetryBudget(3)
    assert [budget.take() for _ in range(5)] == [True, True, True, False, False]
    assert budget.left == 0


def test_two_accepted_first_attempts_pay_for_a_retry() -> None:
    """Half a retry is no retry; the second half makes it one."""
    budget = RetryBudget(1)
    assert budget.take()
    budget.reward()
    assert not budget.take()
    budget.reward()
    assert budget.take()


def test_a_retry_given_back_can_be_taken_again() -> None:
    """What comes back is a whole retry."""
    budget = RetryBudget(1)
    assert budget.take()
    budget.give_back()
    assert budget.take()


def test_no_bound() -> None:
    """A budget of None grants every retry."""
    budget = RetryBudget(None)
    assert all(budget.take() for _ in range(10_000))
    budget.reward()
    budget.give_back()
    assert budget.take()


@given(st.integers(1, 20), st.lists(st.sampled_from(["take", "give_back", "reward"])))
def test_a_budget_stays_between_nothing_and_all(retries: int, calls: list[str]) -> None:
    """However sends succeed and fail, no more is granted than was there or came back."""
    budget = RetryBudget(retries)
    granted = paid = 0.0
    for call in calls:
        before = budget.left
        result = getattr(budget, call)()
        granted += result is True
        paid += max(0.0, budget.left - before)
        assert 0 <= budget.left <= retries
        assert result is not False or before < 1
    assert budget.left == retries - granted + paid
