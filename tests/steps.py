"""Steps of a scripted gateway, and small helpers around a send, that many test modules use."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from esms_async import (
    Attempt,
    EsmsClient,
    Hook,
    Message,
    NotSent,
    Outcome,
    OutcomeUnknown,
    Receipt,
    Rejected,
    SendError,
)
from tests.scripted_gateway import ACCEPTED, DUPLICATE, Exchange, ScriptedGateway, Step


def answer(body: bytes, status: int = 200, headers: str = "") -> Step:
    """Answer so without accepting."""

    async def step(exchange: Exchange) -> None:
        exchange.answer(body, status=status, headers=headers)

    return step


def code(code: str, status: int = 200) -> Step:
    """Answer with a code without accepting."""
    return answer(b'{"CodeResult":"%s"}' % code.encode(), status)


accepted = answer(ACCEPTED)
"""Says "accepted", whatever came before."""
duplicate = answer(DUPLICATE)
"""Says that the RequestId was used."""
no_balance = code("103")
"""Refuses the account."""
forbidden = answer(b"", 403)
"""Refuses by HTTP, as a firewall in front of the gateway does."""
busy = answer(b"", 503)
"""Answers 503 without taking the message."""


async def reset(exchange: Exchange) -> None:
    """Lose the request before anything is taken."""
    await exchange.reset()


async def take_and_reset(exchange: Exchange) -> None:
    """Take the message, and lose the answer."""
    exchange.accept()
    await exchange.reset()


async def take_and_close(exchange: Exchange) -> None:
    """Take the message, then close."""
    exchange.accept()
    await exchange.close()


async def take_and_cut(exchange: Exchange) -> None:
    """Take the message, and send half of the answer."""
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + exchange.accept())
    await exchange.close()


async def take_and_say_busy(exchange: Exchange) -> None:
    """Take the message, and answer 503."""
    exchange.answer(exchange.accept(), status=503)


async def take_and_babble(exchange: Exchange) -> None:
    """Take the message, and answer what nobody can read."""
    exchange.accept()
    exchange.answer(b"<html>")


async def redirect(exchange: Exchange) -> None:
    """Point somewhere else."""
    exchange.answer(b"", status=307, headers="Location: /elsewhere\r\n")


async def answer_and_hang_up(exchange: Exchange) -> None:
    """Answer normally, and close the connection while it is idle."""
    exchange.answer(exchange.accept())
    await exchange.close()


async def hang(exchange: Exchange) -> None:
    """Take the message, and never answer."""
    exchange.accept()
    await exchange.hang()


FAULTS: list[Step] = [
    reset,
    take_and_reset,
    take_and_close,
    take_and_cut,
    take_and_say_busy,
    busy,
    take_and_babble,
    hang,
    redirect,
    no_balance,
    forbidden,
    answer_and_hang_up,
]
"""What can befall one attempt."""


class Paused:
    """A step that says when its request has come, and waits before it goes on.

    Attributes:
        came: Set once the request is there.
        go_on: Lets the step go on.
    """

    def __init__(self, step: Step) -> None:
        self.came = asyncio.Event()
        self.go_on = asyncio.Event()
        self._step = step

    async def __call__(self, exchange: Exchange) -> None:
        """Wait, then do what the step does."""
        self.came.set()
        await self.go_on.wait()
        await self._step(exchange)


async def callers_of(
    client: EsmsClient, message: Message, step: Paused, *, others: int = 1
) -> list[asyncio.Task[Receipt]]:
    """Let a caller send a message, and others join once its request has come; return the tasks."""
    first = asyncio.create_task(client.send(message))
    await step.came.wait()
    joining = [asyncio.create_task(client.send(message)) for _ in range(others)]
    await asyncio.sleep(0)
    return [first, *joining]


async def cancelled_with(task: asyncio.Task[Any]) -> BaseException | None:
    """Cancel a task and return what its cancellation says of the message."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    return caught.value.__cause__


async def end_of(sending: Awaitable[Receipt]) -> Receipt | BaseException:
    """Return what a send returns or raises."""
    (end,) = await asyncio.gather(sending, return_exceptions=True)
    return end


class Notes(Hook):
    """Writes down what a hook is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.outcomes: list[Outcome] = []
        self.durations: list[float] = []

    def on_start(self, *, message: Message) -> None:
        """Note a start."""
        self.told.append(("start", message))

    def on_attempt(self, *, message: Message, number: int, attempt: Attempt) -> None:
        """Note an attempt."""
        self.told.append(("attempt", message, number, attempt))

    def on_outcome(
        self, *, outcome: Outcome, attempts: tuple[Attempt, ...], duration: float
    ) -> None:
        """Note an outcome."""
        self.told.append(("outcome", outcome.message, outcome.status, attempts))
        self.outcomes.append(outcome)
        self.durations.append(duration)


def check(gateway: ScriptedGateway, message: Message, told: Receipt | SendError) -> None:
    """Hold what a caller was told against what the gateway counted."""
    accepted = gateway.accepted[message.request_id]
    assert accepted <= 1
    match told:
        case Receipt():
            assert accepted == 1
        case NotSent():
            assert accepted == 0
            assert not any(message.request_id.encode() in body for body in gateway.bodies)
        case Rejected():
            assert accepted == 0
        case _:
            assert isinstance(told, OutcomeUnknown)
