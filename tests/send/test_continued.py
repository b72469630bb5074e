"""A send that outlives its first caller, and what each caller who leaves it is told."""

import asyncio
import copy

import aiohttp
import pytest

from esms_async import (
    AccountRejected,
    EsmsClient,
    Message,
    NotSent,
    OutcomeUnknown,
    Receipt,
    Rejected,
    RequestIdConflict,
)
from esms_async._http.transport import HttpResponse, SendRequest
from esms_async.ledger import Entry, MemoryLedger, Settlement
from tests.factories import CREDENTIALS, ONE_ATTEMPT, a_message
from tests.scripted_gateway import ScriptedGateway, Step, accept
from tests.steps import Notes, Paused, callers_of, cancelled_with, code, end_of


@pytest.mark.parametrize(
    ("step", "expected"), [(accept, Receipt), (code("108"), Rejected)], ids=["accepted", "rejected"]
)
async def test_a_send_goes_on_for_those_who_wait(
    gateway: ScriptedGateway, step: Step, expected: type[object]
) -> None:
    """The first caller leaves; the others get the answer to the one request."""
    message, paused, notes = a_message(), Paused(step), Notes()
    gateway.script.append(paused)
    async with EsmsClient(
        CREDENTIALS, base_url=gateway.url, retry=ONE_ATTEMPT, hooks=[notes]
    ) as client:
        first, *others = await callers_of(client, message, paused, others=3)
        cause = await cancelled_with(first)
        assert isinstance(cause, OutcomeUnknown)
        assert cause.reason == "cancelled while another task goes on sending it"
        left = await cancelled_with(others.pop())
        assert isinstance(left, OutcomeUnknown)
        paused.go_on.set()
        ends = [await end_of(other) for other in others]
    assert [type(end) for end in ends] == [expected, expected]
    assert len(gateway.bodies) == len(notes.outcomes) == 1


async def test_the_last_one_to_leave_ends_the_send(gateway: ScriptedGateway) -> None:
    """Nobody waits any more: the request is given up, and each is told what is true."""
    message, paused, notes = a_message(), Paused(accept), Notes()
    gateway.script.append(paused)
    async with EsmsClient(
        CREDENTIALS, base_url=gateway.url, retry=ONE_ATTEMPT, hooks=[notes]
    ) as client:
        first, second = await callers_of(client, message, paused)
        await cancelled_with(first)
        cause = await cancelled_with(second)
        assert isinstance(cause, OutcomeUnknown)
        assert [attempt.error for attempt in cause.attempts] == ["cancelled"]
        (outcome,) = notes.outcomes
        assert isinstance(outcome.error, OutcomeUnknown)
        paused.go_on.set()
        assert (await client.send(message)).request_id == message.request_id
    assert gateway.accepted[message.request_id] == 1


async def test_what_fails_unexpectedly_leaves_nobody_waiting(
    gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of no kind of this package's ends a continued send as one of unknown outcome."""
    message, paused = a_message(), Paused(accept)
    gateway.script.append(paused)
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, retry=ONE_ATTEMPT) as client:
        post = client._sender.transport.post

        async def fail(operation: str, request: SendRequest, *, time_limit: float) -> HttpResponse:
            await post(operation, request, time_limit=time_limit)
            raise ZeroDivisionError

        monkeypatch.setattr(client._sender.transport, "post", fail)
        first, second = await callers_of(client, message, paused)
        await cancelled_with(first)
        paused.go_on.set()
        end = await end_of(second)
    assert isinstance(end, OutcomeUnknown)
    assert "the send failed: ZeroDivisionError" in end.reason


async def test_another_message_does_not_join(gateway: ScriptedGateway) -> None:
    """A message of another text under the same id waits for nothing and sends nothing."""
    message, paused = a_message(), Paused(accept)
    gateway.script.append(paused)
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, retry=ONE_ATTEMPT) as client:
        first = asyncio.create_task(client.send(message))
        await paused.came.wait()
        with pytest.raises(RequestIdConflict):
            await client.send(Message(message.phone, "other", request_id=message.request_id))
        paused.go_on.set()
        await first
    assert len(gateway.bodies) == 1


class Held(MemoryLedger):
    """A ledger whose settlements wait until a test lets them go.

    Attributes:
        asked: Set once a settlement waits.
        allowed: Lets all of them go.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.allowed = asyncio.Event(), asyncio.Event()

    def accept_soon(self, *_: object, **__: object) -> bool:
        """Leave acceptances to `settle`."""
        return False

    async def settle(
        self, request_id: str, generation: int, settlement: Settlement
    ) -> Entry | None:
        """Wait, then settle."""
        self.asked.set()
        await self.allowed.wait()
        return await super().settle(request_id, generation, settlement)


async def test_the_last_one_to_leave_an_accepted_send_learns_that(gateway: ScriptedGateway) -> None:
    """The answer came, and only the ledger had not stored it yet."""
    message, ledger, notes, paused = a_message(), Held(), Notes(), Paused(accept)
    gateway.script.append(paused)
    async with EsmsClient(
        CREDENTIALS, base_url=gateway.url, ledger=ledger, hooks=[notes]
    ) as client:
        first, second = await callers_of(client, message, paused)
        paused.go_on.set()
        await ledger.asked.wait()
        await cancelled_with(first)
        # One turn, so that the task that goes on has begun to settle again.
        await asyncio.sleep(0)
        cause = await cancelled_with(second)
        ledger.allowed.set()
        assert isinstance(cause, OutcomeUnknown)
        assert cause.reason == "accepted, and cancelled after that"
        assert (await client.send(message)).sms_id == "d8e0"
    (outcome,) = notes.outcomes
    assert outcome.ok
    assert len(gateway.bodies) == 1


async def test_a_caller_after_the_outcome_was_decided_sends_it(gateway: ScriptedGateway) -> None:
    """The outcome that the ledger still has to store may be out of date for a new caller."""
    message, ledger = a_message(), Held()
    gateway.script += [code("103"), accept]
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, ledger=ledger) as client:
        first = asyncio.create_task(client.send(message))
        await ledger.asked.wait()
        second = asyncio.create_task(client.send(message))
        await asyncio.sleep(0)
        ledger.allowed.set()
        ends = [await end_of(each) for each in (first, second)]
    assert [type(end) for end in ends] == [AccountRejected, Receipt]
    assert len(gateway.bodies) == 2


class Barred:
    """A limiter that lets nobody pass.

    Attributes:
        reached: Set once an attempt waits.
    """

    def __init__(self) -> None:
        self.reached = asyncio.Event()

    async def __aenter__(self) -> None:
        self.reached.set()
        await asyncio.Event().wait()

    async def __aexit__(self, *_: object) -> None:
        raise AssertionError("nobody has passed")


async def test_a_caller_during_the_end_of_a_cancelled_send_sends_it(
    gateway: ScriptedGateway,
) -> None:
    """A caller that was not cancelled does not get the cancellation of another one."""
    message, ledger, limiter = a_message(), Held(), Barred()
    async with EsmsClient(
        CREDENTIALS, base_url=gateway.url, ledger=ledger, limiter=limiter
    ) as client:
        first = asyncio.create_task(client.send(message))
        await limiter.reached.wait()
        first.cancel()
        await ledger.asked.wait()
        unlimited = client.with_options(limiter=None)
        others = [asyncio.create_task(unlimited.send(message)) for _ in range(3)]
        await asyncio.sleep(0)
        left = await cancelled_with(others.pop())
        ledger.allowed.set()
        assert isinstance(left, OutcomeUnknown)
        assert left.reason == "cancelled before it was known what became of an earlier send"
        assert isinstance(await cancelled_with(first), NotSent)
        ends = [await end_of(other) for other in others]
    assert [type(end) for end in ends] == [Receipt, Receipt]
    assert len(gateway.bodies) == 1


async def test_a_caller_just_after_the_last_one_has_left_sends_it_again(
    gateway: ScriptedGateway,
) -> None:
    """A new caller may come before the send is cancelled for which nobody waits any more."""
    message, paused = a_message(), Paused(accept)
    gateway.script.append(paused)
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, retry=ONE_ATTEMPT) as client:
        first, second = await callers_of(client, message, paused)
        await cancelled_with(first)
        second.cancel()
        await asyncio.sleep(0)
        third = asyncio.create_task(client.send(message))
        assert isinstance(await cancelled_with(second), OutcomeUnknown)
        paused.go_on.set()
        assert isinstance(await end_of(third), Receipt)
    assert gateway.accepted[message.request_id] == 1


@pytest.mark.parametrize("is_own", [True, False], ids=["own", "copied"])
async def test_a_cancelled_caller_does_not_wait_for_a_slow_ledger(
    gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch, *, is_own: bool
) -> None:
    """Without the ledger's word, only a message that nobody else can have is not sent."""
    monkeypatch.setattr("esms_async._send.send._LEDGER_PATIENCE", 0.01)
    message, ledger, limiter = a_message(), Held(), Barred()
    if not is_own:
        message = copy.copy(message)
    async with EsmsClient(
        CREDENTIALS, base_url=gateway.url, ledger=ledger, limiter=limiter
    ) as client:
        sending = asyncio.create_task(client.send(message))
        await limiter.reached.wait()
        cause = await cancelled_with(sending)
        ledger.allowed.set()
    assert type(cause) is (NotSent if is_own else OutcomeUnknown)
    assert gateway.bodies == []


class _OncePass:
    """A limiter that gives one place, and fails after that."""

    def __init__(self) -> None:
        self.places = 1

    async def __aenter__(self) -> None:
        self.places -= 1
        if self.places < 0:
            raise OSError("the limiter is away")

    async def __aexit__(self, *_: object) -> None:
        return None


@pytest.mark.parametrize("injected", [False, True], ids=["own", "injected"])
async def test_a_request_that_has_left_asks_the_limiter_for_nothing(
    gateway: ScriptedGateway, injected: bool
) -> None:
    """A limiter that fails after the first caller has left can't deny what was sent."""
    message, paused = a_message(), Paused(accept)
    gateway.script.append(paused)
    async with (
        aiohttp.ClientSession() as session,
        EsmsClient(
            CREDENTIALS,
            base_url=gateway.url,
            retry=ONE_ATTEMPT,
            limiter=_OncePass(),
            session=session if injected else None,
        ) as client,
    ):
        first, second = await callers_of(client, message, paused)
        await cancelled_with(first)
        paused.go_on.set()
        assert isinstance(await end_of(second), Receipt)
    assert gateway.accepted[message.request_id] == 1
    assert len(gateway.bodies) == 1
