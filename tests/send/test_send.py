"""One send: its attempts, its limiter, its budget, and what may not be hidden by trouble."""

import asyncio
import contextlib
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, cast

import pytest
import tenacity
from aiolimiter import AsyncLimiter
from tenacity import wait_none

from esms_async import (
    AccountRejected,
    DuplicateRequestId,
    EsmsClient,
    Evidence,
    Message,
    NotSent,
    OutcomeUnknown,
    Receipt,
    Rejected,
    RetryPolicy,
    SendError,
    Status,
)
from esms_async._send import outcome
from esms_async.ledger import MemoryLedger
from tests.factories import CREDENTIALS, ONE_ATTEMPT, QUICK, a_message
from tests.limits import generous
from tests.scripted_gateway import ScriptedGateway, Step
from tests.steps import (
    Paused,
    accepted,
    busy,
    cancelled_with,
    code,
    duplicate,
    forbidden,
    reset,
    take_and_reset,
)


class Limiter:
    """A limiter whose ends are those of a script: None lets pass."""

    def __init__(self, *at_entry: Exception | None, at_exit: BaseException | None = None) -> None:
        self.at_entry = list(at_entry)
        self.at_exit = at_exit
        self.inside = 0

    async def __aenter__(self) -> None:
        problem = self.at_entry.pop(0) if self.at_entry else None
        if problem is not None:
            raise problem
        self.inside += 1

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.inside -= 1
        if self.at_exit is not None:
            raise self.at_exit


def a_client(gateway: ScriptedGateway, limiter: Limiter) -> EsmsClient:
    """Make a client whose attempts pass a limiter."""
    return EsmsClient(CREDENTIALS, base_url=gateway.url, retry=QUICK, limiter=limiter)


async def test_a_limiter_that_fails_is_tried_again(gateway: ScriptedGateway) -> None:
    """Nothing left while the limiter failed, so the send goes on as after any such attempt."""
    async with a_client(gateway, Limiter(ZeroDivisionError(), OSError())) as client:
        receipt = await client.send(a_message())
    assert [attempt.evidence for attempt in receipt.attempts] == [
        Evidence.NOTHING_LEFT,
        Evidence.NOTHING_LEFT,
        Evidence.ACCEPTED,
    ]
    assert receipt.attempts[0].error == "the limiter failed: ZeroDivisionError"


async def test_a_limiter_that_only_fails_is_not_sent(gateway: ScriptedGateway) -> None:
    """The caller is told that nothing left, and why."""
    limiter = Limiter(*[ConnectionResetError() for _ in range(4)])
    async with a_client(gateway, limiter) as client:
        with pytest.raises(NotSent, match="the limiter failed: ConnectionResetError"):
            await client.send(a_message())
    assert gateway.bodies == []


async def test_a_limiter_that_fails_before_a_retry_hides_nothing(gateway: ScriptedGateway) -> None:
    """What an earlier attempt left open stays the outcome."""
    gateway.script.append(take_and_reset)
    limiter = Limiter(None, *[OSError() for _ in range(3)])
    async with a_client(gateway, limiter) as client:
        with pytest.raises(OutcomeUnknown, match="the limiter failed"):
            await client.send(a_message())
    assert len(gateway.bodies) == 1


async def test_a_limiter_that_fails_after_an_attempt_hides_nothing(
    gateway: ScriptedGateway, caplog: pytest.LogCaptureFixture
) -> None:
    """What was accepted is told as accepted, and the log says what the limiter did."""
    async with a_client(gateway, Limiter(at_exit=ZeroDivisionError())) as client:
        assert (await client.send(a_message())).sms_id == "d8e0"
    assert "the limiter failed after an attempt: ZeroDivisionError" in caplog.text


async def test_a_limiter_that_takes_no_place_back_withholds_nothing(
    gateway: ScriptedGateway, caplog: pytest.LogCaptureFixture
) -> None:
    """What was accepted is told at the deadline."""

    class Hanging(Limiter):
        async def __aexit__(self, *_: object) -> None:
            await asyncio.Event().wait()

    async with EsmsClient(
        CREDENTIALS, base_url=gateway.url, retry=RetryPolicy(deadline=0.2), limiter=Hanging()
    ) as client:
        assert (await client.send(a_message())).sms_id == "d8e0"
    assert "the limiter failed after an attempt: TimeoutError" in caplog.text


async def test_a_cancellation_in_a_limiter_after_an_attempt(gateway: ScriptedGateway) -> None:
    """A caller cancelled while the place is given back gets the outcome known by then."""
    limiter = Limiter(at_exit=asyncio.CancelledError())
    async with a_client(gateway, limiter) as client:
        with pytest.raises(asyncio.CancelledError) as caught:
            await client.send(a_message())
    assert isinstance(caught.value.__cause__, OutcomeUnknown)


async def test_a_stream_under_a_limiter(gateway: ScriptedGateway) -> None:
    """An AsyncLimiter of aiolimiter works as it is; what gets no place in time is not sent."""
    limiter = AsyncLimiter(10, 3600)
    messages = [a_message(f"09{number:08}") for number in range(25)]
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, limiter=limiter) as client:
        placed = [outcome async for outcome in client.send_many(messages[:10], concurrency=10)]
        hasty = client.with_options(retry=RetryPolicy(attempts=1, deadline=0.2))
        late = [outcome async for outcome in hasty.send_many(messages[10:], concurrency=15)]
    assert [outcome.status for outcome in placed] == [Status.ACCEPTED] * len(gateway.bodies)
    assert len(gateway.bodies) == 10
    assert [outcome.status for outcome in late] == [Status.NOT_SENT] * 15
    assert all("limiter" in str(outcome.error) for outcome in late)


def policy(budget: int | None) -> RetryPolicy:
    """Make a policy that retries at once, under a budget."""
    return RetryPolicy(attempts=4, wait=wait_none(), budget=budget)


async def test_a_gateway_that_is_down_gets_little_more_than_the_first_attempts(
    gateway: ScriptedGateway,
) -> None:
    """All sends of a client share the budget; each of them is tried once."""
    gateway.script.extend([busy] * 1000)
    messages = [a_message(f"09{number:08}") for number in range(200)]
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, retry=policy(10)) as client:
        outcomes = [outcome async for outcome in client.send_many(messages, concurrency=20)]
    assert {outcome.status for outcome in outcomes} == {Status.UNKNOWN}
    assert len(gateway.bodies) == 210
    assert sum("the retry budget is used up" in str(outcome.error) for outcome in outcomes) >= 195


async def test_a_budget_that_is_switched_off_holds_nothing_back(gateway: ScriptedGateway) -> None:
    """With None every send makes all its attempts."""
    gateway.script.extend([busy] * 1000)
    messages = [a_message(f"09{number:08}") for number in range(50)]
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, retry=policy(None)) as client:
        outcomes = [outcome async for outcome in client.send_many(messages, concurrency=20)]
    assert {outcome.status for outcome in outcomes} == {Status.UNKNOWN}
    assert len(gateway.bodies) == 200


async def test_accepted_sends_pay_retries_back(gateway: ScriptedGateway) -> None:
    """After an outage two accepted first attempts make one retry possible again."""
    gateway.script.extend([busy, busy, accepted, accepted, busy, accepted])
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, retry=policy(1)) as client:
        with pytest.raises(OutcomeUnknown, match="budget"):
            await client.send(a_message())
        await client.send(a_message())
        await client.send(a_message())
        receipt = await client.send(a_message())
    assert len(receipt.attempts) == 2


async def test_without_a_budget_left_not_sent_stays_not_sent(unused_tcp_port: int) -> None:
    """The error is the one that is true of the message."""
    url = f"http://127.0.0.1:{unused_tcp_port}/"
    async with EsmsClient(CREDENTIALS, base_url=url, retry=policy(1)) as client:
        with pytest.raises(NotSent, match="budget") as caught:
            await client.send(a_message())
    assert len(caught.value.attempts) == 2


async def test_resuming_obeys_the_budget(gateway: ScriptedGateway) -> None:
    """A resumed send has its first attempt too, and shares the retries with all others."""
    gateway.script.extend([busy] * 3)
    message = a_message()
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, retry=policy(1)) as client:
        with pytest.raises(OutcomeUnknown, match="budget"):
            await client.send(message)
        with pytest.raises(OutcomeUnknown, match="budget") as caught:
            await client.resume(message)
    assert len(caught.value.attempts) == 1


async def test_a_send_under_a_ledger_obeys_the_budget(gateway: ScriptedGateway) -> None:
    """What the budget left open stays open in the ledger, and the next send resumes it."""
    gateway.script.extend([busy] * 2)
    message = a_message()
    async with EsmsClient(
        CREDENTIALS, base_url=gateway.url, retry=policy(1), ledger=MemoryLedger()
    ) as client:
        with pytest.raises(OutcomeUnknown, match="budget") as caught:
            await client.send(message)
        receipt = await client.send(message)
    assert len(caught.value.attempts) == 2
    assert receipt.request_id == message.request_id


async def test_each_client_has_its_own_budget(gateway: ScriptedGateway) -> None:
    """One policy in two clients is no shared budget."""
    shared = policy(3)
    gateway.script.extend([busy] * 8)
    for _ in range(2):
        async with EsmsClient(CREDENTIALS, base_url=gateway.url, retry=shared) as client:
            with pytest.raises(OutcomeUnknown) as caught:
                await asyncio.wait_for(client.send(a_message()), timeout=generous(20))
        assert len(caught.value.attempts) == 4


# What each code ends a send with, alone and after an attempt that may have arrived. This is the
# outcome table once more, through a whole client and a real socket.
ENDS: dict[str, tuple[Step, type[SendError], type[SendError] | None]] = {
    "duplicate": (duplicate, DuplicateRequestId, None),
    "settling": (code("108"), Rejected, Rejected),
    "balance": (code("103"), AccountRejected, OutcomeUnknown),
    "blocked phone": (code("99"), Rejected, OutcomeUnknown),
    "unlisted": (code("4711"), Rejected, OutcomeUnknown),
    "firewall": (forbidden, Rejected, OutcomeUnknown),
}


@pytest.mark.parametrize("is_ambiguous", [False, True], ids=["clean", "ambiguous"])
@pytest.mark.parametrize("name", ENDS)
async def test_an_answer_that_ends_a_send_is_never_tried_again(
    gateway: ScriptedGateway, name: str, *, is_ambiguous: bool
) -> None:
    """Whatever a retry object says, a coded answer and an HTTP refusal end the send."""
    step, clean, ambiguous = ENDS[name]
    gateway.script.extend([reset, step] if is_ambiguous else [step])
    retry = RetryPolicy(retry=tenacity.retry_always, wait=wait_none())
    expected = ambiguous if is_ambiguous else clean
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, retry=retry) as client:
        if expected is None:
            assert (await client.send(a_message())).deduplicated
        else:
            with pytest.raises(SendError) as caught:
                await client.send(a_message())
            assert type(caught.value) is expected
    assert len(gateway.bodies) == 1 + is_ambiguous


async def test_under_the_other_assumption_124_after_an_attempt_is_unknown(
    gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a rejected send uses up its id, 124 may mean that the lost answer was a rejection."""
    monkeypatch.setattr(outcome, "REJECTED_USES_UP_ID", True)
    gateway.script.append(take_and_reset)
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, retry=QUICK) as client:
        with pytest.raises(OutcomeUnknown, match="accepted or rejected") as caught:
            await client.send(a_message())
    assert type(caught.value) is OutcomeUnknown
    assert len(gateway.bodies) == 2


async def test_the_objects_of_a_policy_are_not_asked_about_what_is_settled(
    gateway: ScriptedGateway,
) -> None:
    """Neither a success nor a rejection is shown to a retry object."""
    asked: list[tenacity.RetryCallState] = []

    def note(state: tenacity.RetryCallState) -> bool:
        asked.append(state)
        return True

    gateway.script.extend([reset, accepted, reset, code("103")])
    retry = RetryPolicy(retry=note, wait=wait_none())
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, retry=retry) as client:
        await client.send(a_message())
        with pytest.raises(OutcomeUnknown):
            await client.send(a_message())
    assert len(asked) == 2


@pytest.mark.parametrize("start", ["accepted", "rejected"])
async def test_what_a_send_takes_from_the_budget(gateway: ScriptedGateway, start: str) -> None:
    """Each retry takes one, and the one that is accepted gives its own back."""
    last, left = (accepted, 8) if start == "accepted" else (code("108"), 7)
    gateway.script.extend([reset, busy, last])
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, retry=policy(9)) as client:
        with contextlib.suppress(Rejected):
            await client.send(a_message())
        assert client._sender.budget.left == left


async def test_a_send_cancelled_in_a_pause_gives_its_retry_back(gateway: ScriptedGateway) -> None:
    """A retry that is not made takes nothing from the budget."""
    pausing = asyncio.Event()

    def pause(_: object) -> float:
        pausing.set()
        return 20.0

    gateway.script.append(reset)
    retry = RetryPolicy(budget=3, wait=pause)
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, retry=retry) as client:
        task = asyncio.create_task(client.send(a_message()))
        await pausing.wait()
        await asyncio.sleep(0)
        assert client._sender.budget.left == 2
        assert isinstance(await cancelled_with(task), OutcomeUnknown)
        assert client._sender.budget.left == 3
    assert len(gateway.bodies) == 1


async def test_a_send_cancelled_before_its_first_step_is_not_sent(
    gateway: ScriptedGateway,
) -> None:
    """A task that never ran says so; of a message that was sent it says what is known."""
    message = a_message()
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, retry=ONE_ATTEMPT) as client:
        assert isinstance(await _never_begun(client.send(message)), NotSent)
        assert isinstance(await _never_begun(client.resume(message)), OutcomeUnknown)
        gateway.script.append(code("108"))
        with pytest.raises(Rejected):
            await client.send(message)
        assert isinstance(await _never_begun(client.send(message)), Rejected)
        other, step = a_message(), Paused(accepted)
        gateway.script.append(step)
        sending = asyncio.create_task(client.send(other))
        await step.came.wait()
        assert isinstance(await _never_begun(client.send(other)), OutcomeUnknown)
        step.go_on.set()
        await sending
        assert isinstance(await _never_begun(client.send(other)), OutcomeUnknown)
        nothing = cast("Message", None)
        assert await _never_begun(client.send(nothing)) is None
    assert len(gateway.bodies) == 2


async def _never_begun(call: Coroutine[Any, Any, Receipt]) -> BaseException | None:
    return await cancelled_with(asyncio.create_task(call))


async def test_a_call_that_nobody_awaits_can_be_closed(gateway: ScriptedGateway) -> None:
    """A call can be thrown away, and any other error can be thrown into it."""
    async with EsmsClient(CREDENTIALS, base_url=gateway.url) as client:
        client.send(a_message()).close()
        for thrown in ((KeyError("x"),), (KeyError, KeyError("x")), (KeyError,)):
            with pytest.raises(KeyError):
                client.send(a_message()).throw(*thrown)
    assert gateway.bodies == []
