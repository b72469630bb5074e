"""The retries that all sends of a client share."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import wait_none

from esms_async import (
    EsmsClient,
    NotSent,
    OutcomeUnknown,
    RetryPolicy,
    Status,
)
from esms_async.budget import RetryBudget
from esms_async.ledger import MemoryLedger
from tests.factories import CREDENTIALS, a_message
from tests.limits import generous
from tests.scripted_gateway import ACCEPTED, Exchange, ScriptedGateway


async def busy(exchange: Exchange) -> None:
    """Answer 503."""
    exchange.answer(b"", status=503)


async def accept(exchange: Exchange) -> None:
    """Accept, whatever came before."""
    exchange.answer(ACCEPTED)


def policy(budget: int | None) -> RetryPolicy:
    """Make a policy that retries at once, under a budget."""
    return RetryPolicy(attempts=4, wait=wait_none(), budget=budget)


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
    gateway.script.extend([busy, busy, accept, accept, busy, accept])
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
