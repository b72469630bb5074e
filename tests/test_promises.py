"""The two promises against any sequence of faults: never twice, and never a lie."""

import asyncio
from collections.abc import Iterable

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from tenacity import wait_none

from esms_async import (
    EsmsClient,
    Evidence,
    Message,
    NotSent,
    OutcomeUnknown,
    Receipt,
    Rejected,
    RetryPolicy,
    SendError,
)
from esms_async.outcome import History, Verdict, extend, judge
from tests.factories import CREDENTIALS, a_message
from tests.scripted_gateway import Exchange, ScriptedGateway, Step

# Each event is what one attempt meets: whether the request arrives, whether the account can send
# just then, and whether the answer comes back.
EVENTS = st.lists(
    st.sampled_from(["never leaves", "lost on the way", "answered", "answer lost", "account out"]),
    max_size=8,
)


@attrs.define
class ModelGateway:
    """The gateway's rules in five lines: what it accepted, and what it would answer."""

    refuses_message: bool
    accepted: int = 0

    def take(self, *, account_out: bool = False) -> Evidence:
        """Take a request as the gateway does."""
        if account_out:
            return Evidence.SENDER_REJECTED
        if self.refuses_message:
            return Evidence.MESSAGE_REJECTED
        if self.accepted:
            return Evidence.DUPLICATE
        self.accepted += 1
        return Evidence.ACCEPTED

    def meet(self, event: str) -> Evidence:
        """Return what the sender gets of one attempt."""
        match event:
            case "never leaves":
                return Evidence.NOTHING_LEFT
            case "lost on the way":
                return Evidence.MAY_HAVE_ARRIVED
            case "answer lost":
                self.take()
                return Evidence.MAY_HAVE_ARRIVED
            case "account out":
                return self.take(account_out=True)
            case _:
                return self.take()


@given(events=EVENTS, refuses_message=st.booleans())
def test_the_outcome_table_never_lies(events: list[str], *, refuses_message: bool) -> None:
    """Along any sequence of events, every verdict agrees with what the gateway did."""
    gateway, history = ModelGateway(refuses_message), History.CLEAN
    for event in events:
        evidence = gateway.meet(event)
        verdict = judge(history, evidence)
        history = extend(history, evidence)
        assert gateway.accepted <= 1
        match verdict:
            case Verdict.ACCEPTED | Verdict.DEDUPLICATED:
                assert gateway.accepted == 1
                return
            case Verdict.REJECTED | Verdict.RETRY_ELSE_NOT_SENT:
                assert gateway.accepted == 0
            case Verdict.UNKNOWN | Verdict.RETRY_ELSE_UNKNOWN:
                assert history is History.AMBIGUOUS
        if verdict in (Verdict.REJECTED, Verdict.UNKNOWN):
            return


async def lost_on_the_way(exchange: Exchange) -> None:
    """Reset before anything is taken."""
    await exchange.reset()


async def reset_after_acceptance(exchange: Exchange) -> None:
    """Take the message, then reset."""
    exchange.accept()
    await exchange.reset()


async def close_after_acceptance(exchange: Exchange) -> None:
    """Take the message, then close."""
    exchange.accept()
    await exchange.close()


async def cut_after_acceptance(exchange: Exchange) -> None:
    """Take the message, and send half of the answer."""
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + exchange.accept())
    await exchange.close()


async def busy_after_acceptance(exchange: Exchange) -> None:
    """Take the message, and answer 503."""
    exchange.answer(exchange.accept(), status=503)


async def busy(exchange: Exchange) -> None:
    """Answer 503 without taking the message."""
    exchange.answer(b"", status=503)


async def junk_after_acceptance(exchange: Exchange) -> None:
    """Take the message, and answer what nobody can read."""
    exchange.accept()
    exchange.answer(b"<html>")


async def silence_after_acceptance(exchange: Exchange) -> None:
    """Take the message, and never answer."""
    exchange.accept()
    await exchange.hang()


async def redirect(exchange: Exchange) -> None:
    """Point somewhere else."""
    exchange.answer(b"", status=307, headers="Location: /elsewhere\r\n")


async def no_balance(exchange: Exchange) -> None:
    """Refuse the account."""
    exchange.answer(b'{"CodeResult":"103"}')


async def forbidden(exchange: Exchange) -> None:
    """Refuse by HTTP, as a firewall in front of the gateway does."""
    exchange.answer(b"", status=403)


async def answer_and_hang_up(exchange: Exchange) -> None:
    """Answer normally, and close the connection while it is idle."""
    exchange.answer(exchange.accept())
    await exchange.close()


FAULTS: list[Step] = [
    lost_on_the_way,
    reset_after_acceptance,
    close_after_acceptance,
    cut_after_acceptance,
    busy_after_acceptance,
    busy,
    junk_after_acceptance,
    silence_after_acceptance,
    redirect,
    no_balance,
    forbidden,
    answer_and_hang_up,
]


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


async def pursue(
    client: EsmsClient, gateway: ScriptedGateway, message: Message, patience: int | None
) -> None:
    """Send a message, losing patience after some turns of the event loop, and resume it."""
    task = asyncio.ensure_future(client.send(message))
    told: Receipt | SendError
    for _ in range(5):
        if patience is not None:
            for _ in range(patience):
                await asyncio.sleep(0)
            task.cancel()
        try:
            told = await task
        except SendError as error:
            told = error
        except asyncio.CancelledError as cancelled:
            # A task that is cancelled before its first step never came to the client.
            cause = cancelled.__cause__ or NotSent(message, (), "never started")
            assert isinstance(cause, NotSent | OutcomeUnknown)
            told = cause
        check(gateway, message, told)
        if not isinstance(told, NotSent | OutcomeUnknown):
            return
        again = client.resume if isinstance(told, OutcomeUnknown) else client.send
        task, patience = asyncio.ensure_future(again(message)), None


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
