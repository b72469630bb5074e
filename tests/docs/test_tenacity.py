"""Each sentence of the page about tenacity, shown on a client and an emulator."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tenacity import (
    RetryCallState,
    retry,
    retry_always,
    retry_if_exception_type,
    retry_never,
    stop_after_attempt,
    stop_after_delay,
    stop_before_delay,
    stop_never,
    wait_fixed,
    wait_none,
)

from esms_async import (
    ConfigurationError,
    Credentials,
    EsmsClient,
    Hook,
    Message,
    NotSent,
    OutcomeUnknown,
    Rejected,
    RetryPolicy,
    SendError,
)
from esms_async.emulator import Emulator
from tests.docs.blocks import ROOT
from tests.limits import generous

PAGE = ROOT / "docs" / "howto" / "tenacity.md"
KEYS = Credentials("any", "keys")
PHONE = "0901888484"
LONG = 600.0  # seconds that no test waits for


@pytest.fixture
async def gateway() -> AsyncIterator[Emulator]:
    """A gateway that answers 503 to every send."""
    async with Emulator(faults=["http:503@send"]) as running:
        yield running


async def send(gateway: Emulator, policy: RetryPolicy, phone: str = PHONE) -> SendError:
    """Send a message that is not accepted, and return the error that the send ends with."""
    async with EsmsClient(KEYS, base_url=gateway.url, retry=policy) as esms:
        with pytest.raises(SendError) as caught:
            await asyncio.wait_for(esms.send(Message(phone, "686868")), generous(60))
    return caught.value


class Watch:
    """A stop function that keeps what it sees, and stops after some attempts."""

    def __init__(self, attempts: int) -> None:
        self._attempts = attempts
        self.numbers: list[int] = []
        self.errors: list[BaseException | None] = []
        self.elapsed: list[float] = []
        self.idle: list[float] = []
        self.pauses: list[float] = []

    def __call__(self, state: RetryCallState) -> bool:
        """Keep what the state holds."""
        assert state.outcome is not None
        assert state.seconds_since_start is not None
        self.numbers.append(state.attempt_number)
        self.errors.append(state.outcome.exception())
        self.elapsed.append(state.seconds_since_start)
        self.idle.append(state.idle_for)
        self.pauses.append(state.upcoming_sleep)
        return state.attempt_number >= self._attempts


# What is taken.


@pytest.mark.parametrize(
    "stop",
    [
        stop_after_attempt(2),
        stop_after_attempt(2) | stop_after_delay(LONG),
        stop_after_attempt(2) & stop_after_delay(0),
    ],
)
async def test_stop(gateway: Emulator, stop: Any) -> None:
    """`stop` takes tenacity's stop objects, also joined by `|` and `&`, in place of `attempts`."""
    error = await send(gateway, RetryPolicy(attempts=9, stop=stop, wait=wait_none()))
    assert len(error.attempts) == 2


@pytest.mark.parametrize("wait", [wait_fixed(0.03), wait_fixed(0.01) + wait_fixed(0.02)])
async def test_wait(gateway: Emulator, wait: Any) -> None:
    """`wait` takes tenacity's wait objects, also added by `+`, in place of the back-off."""
    watch = Watch(3)
    await send(gateway, RetryPolicy(wait=wait, stop=watch, backoff_initial=LONG, backoff_max=LONG))
    assert watch.pauses == pytest.approx([0.03] * 3)


async def test_retry(gateway: Emulator) -> None:
    """`retry` takes tenacity's retry objects: it can forbid a retry, never cause one."""
    for forbids in (retry_never, retry_if_exception_type(NotSent)):
        error = await send(gateway, RetryPolicy(wait=wait_none(), retry=forbids))
        assert len(error.attempts) == 1
    error = await send(gateway, RetryPolicy(2, wait=wait_none(), retry=retry_always))
    assert len(error.attempts) == 2
    gateway.clear_faults()
    error = await send(gateway, RetryPolicy(retry=retry_always), phone="0900000201")
    assert len(error.attempts) == 1


async def test_functions(gateway: Emulator) -> None:
    """A function of the same signature, async or not, is taken wherever an object is."""

    async def stop(state: RetryCallState) -> bool:
        return state.attempt_number >= 2

    async def wait(state: RetryCallState) -> float:
        return 0.001 * state.attempt_number

    async def allow(state: RetryCallState) -> bool:
        return state.attempt_number < 5

    error = await send(gateway, RetryPolicy(stop=stop, wait=wait, retry=allow))
    assert len(error.attempts) == 2
    plain = RetryPolicy(stop=Watch(2), wait=lambda _: 0.001, retry=lambda _: True)
    assert len((await send(gateway, plain)).attempts) == 2


@pytest.mark.parametrize("argument", ["stop", "wait", "retry"])
def test_what_is_not_callable(argument: str) -> None:
    """What cannot be called is a `ConfigurationError` that names the argument."""
    options: dict[str, Any] = {argument: 3}
    with pytest.raises(ConfigurationError, match=f"{argument} .*3"):
        RetryPolicy(**options)


@pytest.mark.parametrize("argument", ["before", "after", "before_sleep", "sleep", "reraise"])
async def test_what_is_not_taken(gateway: Emulator, argument: str) -> None:
    """`before`, `after`, `before_sleep`, `sleep` and `reraise` are not taken; a hook sees every attempt."""  # noqa: E501  # the sentence as the page has it
    options: dict[str, Any] = {argument: lambda _: None}
    with pytest.raises(TypeError, match=argument):
        RetryPolicy(**options)
    seen: list[int] = []

    class Count(Hook):
        def on_attempt(self, *, number: int, **_: Any) -> None:
            seen.append(number)

    policy = RetryPolicy(3, wait=wait_none())
    async with EsmsClient(KEYS, base_url=gateway.url, retry=policy, hooks=[Count()]) as esms:
        with pytest.raises(OutcomeUnknown):
            await esms.send(Message(PHONE, "686868"))
    assert seen == [1, 2, 3]


# What they see.


async def test_attempt_number(gateway: Emulator) -> None:
    """`attempt_number` counts the requests of the whole send, the first one included."""
    watch = Watch(4)
    await send(gateway, RetryPolicy(stop=watch, wait=wait_none()))
    assert watch.numbers == [1, 2, 3, 4]
    assert len(gateway.requests) == 4


async def test_outcome(gateway: Emulator) -> None:
    """`outcome` holds the error that the send would end with now: `NotSent` or `OutcomeUnknown`."""
    watch = Watch(2)
    await send(gateway, RetryPolicy(stop=watch, wait=wait_none()))
    assert [type(error) for error in watch.errors] == [OutcomeUnknown] * 2
    watch = Watch(2)
    policy = RetryPolicy(stop=watch, wait=wait_none())
    async with EsmsClient(KEYS, base_url="http://127.0.0.1:9/", retry=policy) as nowhere:
        with pytest.raises(NotSent):
            await nowhere.send(Message(PHONE, "686868"))
    assert [type(error) for error in watch.errors] == [NotSent] * 2


async def test_times(gateway: Emulator) -> None:
    """`seconds_since_start` runs from the first attempt, and `idle_for` adds up the pauses."""
    watch = Watch(3)
    await send(gateway, RetryPolicy(stop=watch, wait=wait_fixed(0.02)))
    # The pause that comes next is in it.
    assert watch.idle == pytest.approx([0.02, 0.04, 0.06])
    assert watch.elapsed == sorted(watch.elapsed)
    assert watch.elapsed[2] >= 0.04


async def test_upcoming_sleep(gateway: Emulator) -> None:
    """`upcoming_sleep` is the pause that comes next, so `stop_before_delay` works."""
    watch = Watch(9)
    policy = RetryPolicy(
        deadline=3 * LONG,
        wait=wait_fixed(LONG),
        stop=lambda state: watch(state) or stop_before_delay(LONG - 1)(state),
    )
    error = await send(gateway, policy)
    assert len(error.attempts) == 1
    assert watch.pauses == [LONG]


async def test_states_of_their_own(gateway: Emulator) -> None:
    """One policy serves any number of sends at once, and each sees a state of its own."""
    seen: dict[str, list[int]] = {}

    def stop(state: RetryCallState) -> bool:
        assert state.outcome is not None
        error = state.outcome.exception()
        assert isinstance(error, SendError)
        seen.setdefault(error.message.request_id, []).append(state.attempt_number)
        return state.attempt_number >= 3

    policy = RetryPolicy(stop=stop, wait=wait_none())
    messages = [Message(f"0911{number:06}", "686868") for number in range(50)]
    async with (
        EsmsClient(KEYS, base_url=gateway.url, retry=policy) as esms,
        esms.send_many(messages, concurrency=50) as outcomes,
    ):
        async for outcome in outcomes:
            assert isinstance(outcome.error, OutcomeUnknown)
    assert seen == {message.request_id: [1, 2, 3] for message in messages}


# What stays the package's own.


async def test_the_deadline(gateway: Emulator) -> None:
    """The deadline holds whatever `stop` says, and a pause that would pass it is not begun."""
    error = await send(gateway, RetryPolicy(deadline=2, stop=stop_never, wait=wait_fixed(0.5)))
    assert 1 <= len(error.attempts) <= 4  # at 0, 0.5, 1 and 1.5 s at the earliest
    error = await send(gateway, RetryPolicy(deadline=30, stop=stop_never, wait=wait_fixed(LONG)))
    assert len(error.attempts) == 1


async def test_retry_after() -> None:
    """The gateway's `Retry-After` is the least pause, whatever `wait` says."""
    watch = Watch(1)
    async with Emulator(faults=["http:503@send,retry_after=7"]) as gateway:
        await send(gateway, RetryPolicy(stop=watch, wait=wait_none()))
        assert watch.pauses == [7]
        watch = Watch(1)
        await send(gateway, RetryPolicy(stop=watch, wait=wait_fixed(9)))
        assert watch.pauses == [9]


async def test_the_budget(gateway: Emulator) -> None:
    """The retry budget holds whatever `stop` says."""
    error = await send(gateway, RetryPolicy(stop=stop_never, wait=wait_none(), budget=3))
    assert len(error.attempts) == 4
    assert "budget" in error.reason


async def test_codes() -> None:
    """An answer with a code is never tried again, whatever `retry` says."""
    async with Emulator() as gateway:
        policy = RetryPolicy(wait=wait_none(), retry=retry_always)
        for code in ("103", "201"):
            error = await send(gateway, policy, phone=f"0900000{code}")
            assert isinstance(error, Rejected)
            assert (error.code, len(error.attempts)) == (code, 1)


async def test_cancelling() -> None:
    """A cancelled send is never tried again, whatever `retry` says."""
    async with Emulator(faults=["hang,phase=before"]) as gateway:
        policy = RetryPolicy(wait=wait_none(), retry=retry_always)
        async with EsmsClient(KEYS, base_url=gateway.url, retry=policy) as esms:
            sending = asyncio.create_task(esms.send(Message(PHONE, "686868")))
            await gateway.wait_for_request(timeout=generous(30))
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
        assert len(gateway.requests) == 1


async def test_the_request_id() -> None:
    """Every attempt carries the same RequestId, so the phone gets one message."""
    async with Emulator(faults=["reset,phase=after,times=3"]) as gateway:
        policy = RetryPolicy(stop=stop_after_attempt(5), wait=wait_none())
        async with EsmsClient(KEYS, base_url=gateway.url, retry=policy) as esms:
            message = Message(PHONE, "686868")
            receipt = await esms.send(message)
        assert receipt.deduplicated
        assert {request.request_id for request in gateway.requests} == {message.request_id}
        assert (len(gateway.requests), len(gateway.messages)) == (4, 1)


async def test_the_error(gateway: Emulator) -> None:
    """A send ends with the package's own error, never with a `RetryError`."""
    error = await send(gateway, RetryPolicy(stop=stop_after_attempt(2), wait=wait_none()))
    assert isinstance(error, OutcomeUnknown)
    assert [attempt.status for attempt in error.attempts] == [503, 503]


# A decorator of one's own.


async def test_a_decorator() -> None:
    """A Message that is made inside a retried function is another message each time, and reaches the phone as often."""  # noqa: E501  # the sentence as the page has it
    one_attempt = RetryPolicy(1)
    async with (
        Emulator(faults=["reset,phase=after,times=2"]) as gateway,
        EsmsClient(KEYS, base_url=gateway.url, retry=one_attempt) as esms,
    ):

        @retry(stop=stop_after_attempt(3), wait=wait_none(), reraise=True)
        async def send_code() -> None:
            await esms.send(Message(PHONE, "686868"))

        await send_code()
        assert len(gateway.messages) == 3


def test_every_sentence_has_its_test() -> None:
    """The sentences of the page are the docstrings of these tests."""
    text = PAGE.read_text(encoding="utf-8")
    sentences = re.findall(r"^- (.+)$", text, re.MULTILINE)
    shown = {
        test.__doc__
        for name, test in vars(sys.modules[__name__]).items()
        if name.startswith("test_")
    }
    assert [sentence for sentence in sentences if sentence not in shown] == []
    assert len(sentences) == len(shown) - 1
