"""The events that a hook gets of real sends; nothing that it does can harm one."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tenacity import wait_none

from esms_async import (
    AccountRejected,
    ConfigurationError,
    EsmsClient,
    EsmsError,
    Evidence,
    Hook,
    LedgerError,
    NotSent,
    OutcomeUnknown,
    Receipt,
    RetryPolicy,
    Status,
)
from esms_async.ledger import MemoryLedger
from tests.factories import CREDENTIALS, ONE_ATTEMPT, QUICK, a_message
from tests.scripted_gateway import ScriptedGateway
from tests.steps import Notes, end_of, hang, no_balance, reset


async def test_a_send_from_start_to_outcome(gateway: ScriptedGateway) -> None:
    """A hook gets the start, each attempt and the outcome, in this order."""
    gateway.script.append(reset)
    notes, message = Notes(), a_message()
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, retry=QUICK, hooks=[notes]) as client:
        receipt = await client.send(message)
    lost, taken = receipt.attempts
    assert (lost.evidence, taken.evidence) == (Evidence.MAY_HAVE_ARRIVED, Evidence.ACCEPTED)
    assert notes.told == [
        ("start", message),
        ("attempt", message, 1, lost),
        ("attempt", message, 2, taken),
        ("outcome", message, Status.ACCEPTED, receipt.attempts),
    ]
    assert notes.outcomes[0].receipt is receipt
    assert notes.durations[0] >= lost.duration + taken.duration


async def test_every_hook_is_told(gateway: ScriptedGateway) -> None:
    """Several hooks are told the same, and one that wants nothing does no harm."""
    one, other = Notes(), Notes()
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, hooks=[one, Hook(), other]) as client:
        await client.send(a_message())
    assert one.told == other.told
    assert len(one.told) == 3


@pytest.mark.parametrize(
    ("step", "kind", "status"),
    [(no_balance, AccountRejected, Status.REJECTED), (reset, OutcomeUnknown, Status.UNKNOWN)],
)
async def test_a_send_that_fails(
    gateway: ScriptedGateway, step: Any, kind: type[EsmsError], status: Status
) -> None:
    """The outcome holds the very error that the caller gets."""
    gateway.script.append(step)
    notes = Notes()
    async with EsmsClient(
        CREDENTIALS, base_url=gateway.url, retry=ONE_ATTEMPT, hooks=[notes]
    ) as client:
        error = await end_of(client.send(a_message()))
    assert isinstance(error, kind)
    assert notes.outcomes[0].error is error
    assert [what[0] for what in notes.told] == ["start", "attempt", "outcome"]
    assert notes.outcomes[0].status is status


async def test_a_cancelled_send_has_the_outcome_that_is_true(gateway: ScriptedGateway) -> None:
    """The outcome of a cancelled send is the cause that its caller finds."""
    gateway.script.append(hang)
    notes = Notes()
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, hooks=[notes]) as client:
        task = asyncio.create_task(client.send(a_message()))
        await gateway.hanging.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
    assert notes.outcomes[0].error is caught.value.__cause__
    assert isinstance(notes.outcomes[0].error, OutcomeUnknown)


async def test_an_unexpected_error_is_an_outcome_too() -> None:
    """Where a callable of the caller's fails, the hook is told what is true of the message."""

    def broken(_: object) -> bytes:
        raise ZeroDivisionError

    notes = Notes()
    async with EsmsClient(
        CREDENTIALS, base_url="http://127.0.0.1:1", dumps=broken, hooks=[notes]
    ) as client:
        assert isinstance(await end_of(client.send(a_message())), ZeroDivisionError)
    assert isinstance(notes.outcomes[0].error, NotSent)
    assert "ZeroDivisionError" in str(notes.outcomes[0].error)


async def test_a_send_under_a_ledger(gateway: ScriptedGateway) -> None:
    """A message that the ledger knows has an outcome without an attempt."""
    notes, message = Notes(), a_message()
    async with MemoryLedger() as ledger:
        for _ in range(2):
            async with EsmsClient(
                CREDENTIALS, base_url=gateway.url, ledger=ledger, hooks=[notes]
            ) as client:
                await client.send(message)
    first, again = (outcome.receipt for outcome in notes.outcomes)
    assert first is not None
    assert again == Receipt(message.request_id, first.sms_id)
    assert [what[0] for what in notes.told] == ["start", "attempt", "outcome", "start", "outcome"]
    assert notes.told[-1][-1] == ()


async def test_a_message_that_the_client_remembers_is_no_send(gateway: ScriptedGateway) -> None:
    """The same receipt comes back without a send, so the hook gets no event."""
    notes, message = Notes(), a_message()
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, hooks=[notes]) as client:
        assert await client.send(message) is await client.send(message)
    assert [what[0] for what in notes.told] == ["start", "attempt", "outcome"]


async def test_a_ledger_that_fails() -> None:
    """A send that its ledger kept from beginning has an outcome: it was not sent."""

    class Broken(MemoryLedger):
        async def claim(self, *arguments: Any, **options: Any) -> Any:
            raise LedgerError("the disk is full")

    notes = Notes()
    async with EsmsClient(
        CREDENTIALS, base_url="http://127.0.0.1:1", ledger=Broken(), hooks=[notes]
    ) as client:
        await end_of(client.send(a_message()))
    assert notes.told[-1][2:] == (Status.NOT_SENT, ())


async def test_a_task_that_joins_is_no_send_of_its_own(gateway: ScriptedGateway) -> None:
    """One logical send is reported once, however many callers wait for it."""
    notes, message = Notes(), a_message()
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, hooks=[notes]) as client:
        await asyncio.gather(*(client.send(message) for _ in range(5)))
    assert [what[0] for what in notes.told] == ["start", "attempt", "outcome"]


async def test_a_stream_tells_of_every_send(gateway: ScriptedGateway) -> None:
    """The sends of a stream are reported like any other."""
    notes = Notes()
    messages = [a_message(f"09{number:08}") for number in range(30)]
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, hooks=[notes]) as client:
        outcomes = [outcome async for outcome in client.send_many(messages, concurrency=8)]
    assert {outcome.message for outcome in notes.outcomes} == set(messages)
    assert len(notes.outcomes) == len(outcomes)


@pytest.mark.parametrize("method", ["on_start", "on_attempt", "on_outcome"])
async def test_a_hook_that_fails_harms_nothing(
    gateway: ScriptedGateway, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    """The send goes on, the other hooks are told, and the log says where it failed, no more."""

    def fail(**what: object) -> None:
        raise KeyError(str(what["message"] if "message" in what else what["outcome"]), "686868")

    broken, notes = Hook(), Notes()
    setattr(broken, method, fail)
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, hooks=[broken, notes]) as client:
        assert (await client.send(a_message())).sms_id == "d8e0"
    assert len(notes.told) == 3
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("esms_async", "WARNING")
    assert "fail failed: KeyError at " in record.getMessage()
    assert __file__ in record.getMessage()
    assert "686868" not in record.getMessage()


async def test_a_hook_that_is_a_callable_object(
    gateway: ScriptedGateway, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever can be called can stand in place of a method, and is named by its class."""

    class Counter:
        def __call__(self, **_: object) -> None:
            raise ValueError

    hook = Hook()
    hook.on_start = Counter()  # type: ignore[method-assign]  # as somebody may do
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, hooks=[hook]) as client:
        await client.send(a_message())
    assert "Counter failed: ValueError" in caplog.text


async def a_failing_send(gateway: ScriptedGateway, hook: Hook) -> BaseException | Receipt:
    """Send through faults until the attempts run out."""
    gateway.script.extend([reset] * 3)
    retry = RetryPolicy(attempts=3, wait=wait_none())
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, retry=retry, hooks=[hook]) as client:
        return await end_of(client.send(a_message()))


async def test_a_hook_that_fails_hides_no_failure(gateway: ScriptedGateway) -> None:
    """Where the send fails too, its caller gets the send's own error."""

    class Broken(Hook):
        def on_attempt(self, **_: object) -> None:
            raise ZeroDivisionError

        def on_outcome(self, **_: object) -> None:
            raise ZeroDivisionError

    error = await a_failing_send(gateway, Broken())
    assert isinstance(error, OutcomeUnknown)
    assert len(error.attempts) == 3


async def asynchronously(**_: object) -> None:
    """Be what a hook's method must not be."""


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: "metrics", "derived from Hook, not str"),
        (lambda: Hook, "derived from Hook, not type"),
        (lambda: None, "derived from Hook, not NoneType"),
    ],
)
def test_what_is_no_hook_is_refused(make: Callable[[], Any], words: str) -> None:
    """The error says what it got."""
    with pytest.raises(ConfigurationError, match=words):
        EsmsClient(CREDENTIALS, hooks=[make()])


@pytest.mark.parametrize("method", ["on_start", "on_attempt", "on_outcome"])
def test_an_async_method_is_refused(method: str) -> None:
    """What nobody would await is refused by name."""
    hook = Notes()
    setattr(hook, method, asynchronously)
    with pytest.raises(ConfigurationError, match=rf"Notes\.{method} must be a plain function"):
        EsmsClient(CREDENTIALS, hooks=[hook])
