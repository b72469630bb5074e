"""The limiter around each attempt: what it costs, and what its failures may not hide."""

import asyncio
from types import TracebackType

import pytest
from aiolimiter import AsyncLimiter

from esms_async import (
    EsmsClient,
    Evidence,
    NotSent,
    OutcomeUnknown,
    RetryPolicy,
    Status,
)
from tests.factories import CREDENTIALS, QUICK, a_message
from tests.scripted_gateway import Exchange, ScriptedGateway


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


async def take_and_reset(exchange: Exchange) -> None:
    """Accept, and lose the answer."""
    exchange.accept()
    await exchange.reset()


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
    """Whoever is cancelled while the place is given back is told what is true by then."""
    limiter = Limiter(at_exit=asyncio.CancelledError())
    async with a_client(gateway, limiter) as client:
        with pytest.raises(asyncio.CancelledError) as caught:
            await client.send(a_message())
    assert isinstance(caught.value.__cause__, OutcomeUnknown)


async def test_a_stream_under_a_limiter(gateway: ScriptedGateway) -> None:
    """An AsyncLimiter of aiolimiter works as it is; what gets no place in time is not sent."""
    limiter = AsyncLimiter(10, 3600)
    retry = RetryPolicy(attempts=1, deadline=0.5)
    messages = [a_message(f"09{number:08}") for number in range(25)]
    async with EsmsClient(
        CREDENTIALS, base_url=gateway.url, retry=retry, limiter=limiter
    ) as client:
        outcomes = [outcome async for outcome in client.send_many(messages, concurrency=25)]
    told = [outcome.status for outcome in outcomes]
    assert told.count(Status.ACCEPTED) == len(gateway.bodies) == 10
    assert told.count(Status.NOT_SENT) == 15
    assert all("limiter" in str(outcome.error) for outcome in outcomes if not outcome.ok)
