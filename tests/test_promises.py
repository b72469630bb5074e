"""The two promises against any sequence of faults: never twice, and never a lie."""

import asyncio
import contextlib
from collections.abc import Iterable

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from tenacity import wait_none

from esms_async import (
    EsmsClient,
    Message,
    NotSent,
    OutcomeUnknown,
    Receipt,
    Rejected,
    RetryPolicy,
    SendError,
)
from tests.factories import CREDENTIALS, a_message
from tests.scripted_gateway import ScriptedGateway, Step
from tests.steps import FAULTS, check


async def pursue(
    client: EsmsClient, gateway: ScriptedGateway, message: Message, patience: int | None
) -> None:
    """Send a message, losing patience after some turns of the event loop, and resume it."""
    call = client.send
    told: Receipt | SendError
    for _ in range(5):
        task = asyncio.ensure_future(call(message))
        if patience is not None:
            for _ in range(patience):
                await asyncio.sleep(0)
            task.cancel()
        try:
            told = await task
        except SendError as error:
            told = error
        except asyncio.CancelledError as cancelled:
            # A task that is cancelled before its first step is told the truth, too.
            cause = cancelled.__cause__
            assert isinstance(cause, NotSent | OutcomeUnknown)
            told = cause
        check(gateway, message, told)
        if not isinstance(told, NotSent | OutcomeUnknown):
            return
        call = client.resume if isinstance(told, OutcomeUnknown) else client.send
        patience = None


@settings(max_examples=150, deadline=None)
@given(
    faults=st.lists(st.sampled_from(FAULTS), max_size=10),
    count=st.integers(1, 4),
    attempts=st.integers(1, 4),
    patience=st.none() | st.integers(0, 60),
)
def test_a_whole_client_keeps_both_promises(
    faults: list[Step], count: int, attempts: int, patience: int | None
) -> None:
    """Whatever comes in whatever order, no message is accepted twice and every outcome is true."""

    async def run() -> None:
        retry = RetryPolicy(attempts=attempts, attempt_timeout=0.05, wait=wait_none())
        async with (
            ScriptedGateway() as gateway,
            EsmsClient(CREDENTIALS, base_url=gateway.url, retry=retry) as client,
        ):
            gateway.script.extend(faults)
            messages = [a_message(f"09{number:08}") for number in range(count)]
            await asyncio.gather(*(pursue(client, gateway, m, patience) for m in messages))

    asyncio.run(run())


@settings(max_examples=60, deadline=None)
@given(faults=st.lists(st.sampled_from(FAULTS), max_size=12), cancel=st.booleans())
def test_a_whole_stream_keeps_both_promises(faults: list[Step], *, cancel: bool) -> None:
    """Every message pulled has one outcome, and each outcome is true, however the stream ends."""

    async def run() -> None:
        retry = RetryPolicy(attempts=2, attempt_timeout=0.05, wait=wait_none())
        pulled: list[Message] = []

        def source() -> Iterable[Message]:
            for number in range(20):
                pulled.append(a_message(f"09{number:08}"))
                yield pulled[-1]

        async with (
            ScriptedGateway() as gateway,
            EsmsClient(CREDENTIALS, base_url=gateway.url, retry=retry) as client,
        ):
            gateway.script.extend(faults)
            told: dict[Message, Receipt | SendError] = {}
            outcomes = client.send_many(source(), concurrency=4)
            while True:
                try:
                    outcome = await anext(outcomes)
                except StopAsyncIteration:
                    break
                except Rejected:
                    continue
                assert outcome.message not in told
                told[outcome.message] = outcome.receipt or _send_error(outcome.error)
                if cancel and len(told) == 5:
                    await outcomes.aclose(cancel=True)
            assert set(told) == set(pulled)
            for message, what in told.items():
                check(gateway, message, what)

    asyncio.run(run())


def _send_error(error: object) -> SendError:
    assert isinstance(error, SendError)
    return error


def test_the_check_can_fail() -> None:
    """The check of the promises notices a message accepted twice, and each kind of lie."""
    message = a_message()
    gateway = ScriptedGateway()
    with pytest.raises(AssertionError):
        check(gateway, message, Receipt(message.request_id))
    gateway.accepted[message.request_id] = 1
    for lie in (NotSent(message, (), ""), Rejected(message, (), code="108", status=200)):
        with pytest.raises(AssertionError):
            check(gateway, message, lie)
    gateway.accepted[message.request_id] = 2
    with pytest.raises(AssertionError):
        check(gateway, message, Receipt(message.request_id))


@settings(max_examples=60, deadline=None)
@given(faults=st.lists(st.sampled_from(FAULTS), max_size=12), concurrency=st.integers(1, 5))
def test_repeats_in_a_stream_keep_both_promises(faults: list[Step], concurrency: int) -> None:
    """Whatever comes, no id is accepted twice, and the last word on each is true."""

    async def run() -> None:
        retry = RetryPolicy(attempts=2, attempt_timeout=0.05, wait=wait_none())
        messages = [a_message(), a_message("0901888485")]
        told: dict[Message, Receipt | SendError] = {}
        count = 0
        async with (
            ScriptedGateway() as gateway,
            EsmsClient(CREDENTIALS, base_url=gateway.url, retry=retry) as client,
        ):
            gateway.script.extend(faults)
            outcomes = client.send_many(messages * 4, concurrency=concurrency, ordered=True)
            with contextlib.suppress(Rejected):
                async for outcome in outcomes:
                    count += 1
                    what = outcome.receipt or outcome.error
                    assert isinstance(what, Receipt | SendError)
                    told[outcome.message] = what
            for message, last in told.items():
                check(gateway, message, last)
            assert count == 8 or any(isinstance(last, SendError) for last in told.values())

    asyncio.run(run())
