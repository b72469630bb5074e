"""Random callers against a gateway of its own: no phone gets two messages, and nobody is lied to.

Each world is one choice of ledger, transport, session and of the one assumption about the gateway.
In it, messages travel by all three routes, some by the default of their client. They are sent by
one to four callers at once, over two clients, through streams too; callers are cancelled at random
moments, clocks jump, ledgers fail, and the gateway meets every third request with a fault. What
each caller was told is then held against the gateway's count.

A failure names its seed; `ESMS_TRUTH_SEED=<seed>` repeats it as far as real sockets allow.
"""

import asyncio
import contextlib
import importlib
import os
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack
from typing import Any, Self

import attrs
import pytest
from tenacity import wait_none

from esms_async import (
    Brandname,
    DuplicateRequestId,
    EsmsClient,
    EsmsError,
    FixedNumber,
    LedgerError,
    Message,
    NotSent,
    OutcomeUnknown,
    Receipt,
    Rejected,
    RequestIdExpired,
    RetryPolicy,
    Route,
    ZaloTemplate,
    derive_request_id,
    new_request_id,
)
from tests.limits import TIMES, stretched
from tests.truth.clocks import HOUR, Clocks
from tests.truth.conftest import TRANSPORTS, LedgerPlace, Tls, a_client, trust
from tests.truth.gateway import (
    BUSY_AFTER,
    BUSY_BEFORE,
    CLOSE_AFTER,
    CUT_AFTER,
    ERROR_AFTER,
    ERROR_BEFORE,
    FIREWALL,
    GARBAGE_AFTER,
    HANG_AFTER,
    PLAIN,
    REFUSAL_OF_ACCEPTANCE,
    RESET_AFTER,
    RESET_BEFORE,
    RESET_UNREAD,
    STRAYS,
    TWICE,
    TWICE_WITH_SMSID,
    Gateway,
    Plan,
)
from tests.truth.ledgers import KINDS, AnyLedger, flaky
from tests.truth.telling import TEXT

SEED = int(os.environ.get("ESMS_TRUTH_SEED") or random.SystemRandom().randrange(10**9))
FEW = 30
MANY = 160 * TIMES
AT_ONCE = 48
ROUTES: list[Route] = [FixedNumber(), Brandname("Baotrixemay"), ZaloTemplate("4097", "207487")]
SETTLING = {"108", "163", "201", "300"}
# Once nothing fails any more, a message has a certain end on the slowest machine, too.
PATIENT = RetryPolicy(attempts=3, attempt_timeout=300, deadline=900, wait=wait_none(), budget=None)

FAULTS: list[tuple[float, Plan]] = [
    (70, PLAIN),
    (2, RESET_UNREAD),
    (2, RESET_BEFORE),
    (4, RESET_AFTER),
    (2, CLOSE_AFTER),
    (0.5, HANG_AFTER),
    (2, CUT_AFTER),
    (2, BUSY_BEFORE),
    (2, BUSY_AFTER),
    (1, Plan(status=429)),
    (1, FIREWALL),
    (1, ERROR_BEFORE),
    (1, ERROR_AFTER),
    (1, GARBAGE_AFTER),
    (2, TWICE),
    (1, TWICE_WITH_SMSID),
    (1, Plan(deliveries=2, status=409)),
    (1, Plan(deliveries=2, end="reset")),
    (1, REFUSAL_OF_ACCEPTANCE),
    (1, Plan(code="103")),
    (1, Plan(code="101", status=401)),
    (1, Plan(code="140", status=403)),
    (1, Plan(code="99")),
    (1, Plan(code="104")),
    (1, Plan(code="146")),
    (1, Plan(code="177")),
    (1, Plan(code="7777")),
    (1, Plan(code="103", end="reset")),
    (2, Plan(pause=0.004)),
    (1, Plan(pause=0.004, end="reset")),
    (2, Plan(close=True)),
    *((1.0, Plan(stray=raw)) for raw in STRAYS.values()),
]
PLANS = [plan for _, plan in FAULTS]
WEIGHTS = [weight for weight, _ in FAULTS]

JUMPS: list[Callable[[Clocks], None]] = [
    lambda clocks: None,
    lambda clocks: None,
    lambda clocks: clocks.sleep(25 * HOUR),
    lambda clocks: clocks.sleep(25 * HOUR, counted=False),
    lambda clocks: clocks.sleep(22 * HOUR),
    lambda clocks: clocks.set_wall(25 * HOUR),
    lambda clocks: clocks.set_wall(-2 * HOUR),
]


def assume(patch: pytest.MonkeyPatch, *, rejected_uses_up_id: bool) -> None:
    """Set the one assumption about the gateway. No other place knows where it is kept."""
    table = importlib.import_module("esms_async._send.outcome")
    patch.setattr(table, "REJECTED_USES_UP_ID", rejected_uses_up_id)


def make_message(rng: random.Random, phone: str, request_id: str, default: Route) -> Message:
    """Make a message that travels by some route, which it leaves to its client now and then."""
    route = rng.choice(ROUTES)
    named = None if route == default and rng.random() < 0.5 else route
    if isinstance(route, ZaloTemplate):
        return Message(phone, params={"otp": "686868"}, route=named, request_id=request_id)
    return Message(phone, TEXT, route=named, request_id=request_id)


def refuse(fields: Any) -> str | None:
    """Refuse some phones whenever they come, as the gateway refuses a message for its own sake."""
    return {"07": "108", "11": "163", "13": "201", "17": "300"}.get(str(fields["Phone"])[-2:])


def attempts_of(what: object) -> str:
    """Say what each attempt of an outcome proved, for a story."""
    return ", ".join(
        f"{attempt.evidence.value} ({attempt.error or attempt.code})"
        for attempt in getattr(what, "attempts", ())
    )


@attrs.define
class Call:
    """One call of a caller: when it began and ended on the gateway's count, and what it told.

    `cancelled` is when it was cancelled, where that is how it ended.
    """

    tag: str
    name: str
    start: int = 0
    end: int = 0
    what: Receipt | EsmsError | None = None
    cancelled: int | None = None


class Jitter:
    """A limiter that holds back for some turns of the event loop, and fails now and then."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    async def __aenter__(self) -> Self:
        chance = self._rng.random()
        if chance < 0.01:
            raise OSError("the limiter failed")
        if chance < 0.2:
            await asyncio.sleep(self._rng.random() * 0.004)
        for _ in range(self._rng.randrange(4)):
            await asyncio.sleep(0)
        return self

    async def __aexit__(self, *error: object) -> None:
        """Nothing to give back."""


@attrs.define
class World:
    """One gateway with two clients, and what became of each message."""

    rng: random.Random
    gateway: Gateway
    clients: dict[str, EsmsClient]
    has_ledger: bool
    uses_up: bool
    clocks: Clocks
    calls: defaultdict[str, list[Call]] = attrs.field(factory=lambda: defaultdict(list))
    messages: dict[str, Message] = attrs.field(factory=dict)
    jumped: bool = False
    jumped_at: int = 0
    began_before_jump: set[str] = attrs.field(factory=set)
    ledger_fails: float = 0.0
    claims: defaultdict[str, list[int]] = attrs.field(factory=lambda: defaultdict(list))
    failures: defaultdict[tuple[str, str], list[int]] = attrs.field(
        factory=lambda: defaultdict(list)
    )

    def fails(self, name: str) -> str | None:
        """Decide whether a call of the ledger fails."""
        if self.rng.random() >= self.ledger_fails:
            return None
        return self.rng.choice(["before", "after"])

    def note(self, tag: str) -> Callable[[str, str, bool], None]:
        """Return what notes the claims and failures of one client's ledger."""

        def note(name: str, request_id: str, failed: bool) -> None:  # a fact
            if failed:
                self.failures[tag, request_id].append(next(self.gateway.ticks))
            elif "claim" in name:
                self.claims[request_id].append(next(self.gateway.ticks))

        return note

    def may_call(self, message: Message) -> bool:
        """Tell whether anybody could promise anything for one more call.

        Where there is no ledger, nobody knows after a day that a message was accepted before.
        """
        if not self.jumped:
            self.began_before_jump.add(message.request_id)
        return (
            self.has_ledger or not self.jumped or message.request_id not in self.began_before_jump
        )

    # --- callers ---

    async def call(self, message: Message, call: Call) -> None:
        """Make a call, and note when it began and what it told."""
        self.calls[message.request_id].append(call)
        call.start = next(self.gateway.ticks)
        cancelled = None
        try:
            call.what = await getattr(self.clients[call.tag], call.name)(message)
        except EsmsError as error:
            call.what = error
        except asyncio.CancelledError as error:
            cause = error.__cause__
            assert isinstance(cause, EsmsError), f"{call} was cancelled without a cause"
            call.what, cancelled = cause, call.cancelled
        call.end, call.cancelled = next(self.gateway.ticks), cancelled

    async def caller(self, message: Message, tag: str, name: str) -> None:
        """Call a client, and perhaps lose patience at a random moment."""
        rng = self.rng
        for _ in range(rng.randrange(6)):
            await asyncio.sleep(0)
        if not self.may_call(message):
            return
        call = Call(tag, name)
        task = asyncio.create_task(self.call(message, call))
        if rng.random() < 0.35:
            if rng.random() < 0.5:
                await asyncio.sleep(rng.random() * 0.02)
            for _ in range(rng.randrange(1, 40)):
                await asyncio.sleep(0)
            if not task.done():
                call.cancelled = next(self.gateway.ticks)
                task.cancel()
        await task

    async def live(self, message: Message) -> None:
        """Have a message sent by some callers at once, and perhaps by another one later."""
        rng = self.rng
        names = ["send"] * 6 + ["resume"]
        tags = rng.choice(["a", "a", "b", "ab"])
        async with asyncio.TaskGroup() as group:
            for _ in range(rng.choice([1, 1, 2, 3, 4])):
                calling = self.caller(message, rng.choice(tags), rng.choice(names))
                group.create_task(calling)
        while rng.random() < 0.35:
            await self.caller(message, rng.choice(tags), rng.choice(names))

    async def stream(self, messages: list[Message]) -> None:
        """Send messages through streams, which may end early, and come twice in them."""
        waiting = messages + self.rng.sample(messages, len(messages) // 4)
        while waiting:
            open_calls: defaultdict[str, list[Call]] = defaultdict(list)

            def source() -> Iterable[Message]:
                while waiting:  # each stream pulls from the same list
                    message = waiting.pop()  # the same
                    if self.may_call(message):
                        call = Call("a", "send_many", next(self.gateway.ticks))
                        self.calls[message.request_id].append(call)
                        open_calls[message.request_id].append(call)  # noqa: B023  # its own
                        yield message

            outcomes = self.clients["a"].send_many(source(), concurrency=8)
            leaves_after = self.rng.choice([None, None, self.rng.randrange(len(messages))])
            count = 0
            while True:
                try:
                    outcome = await anext(outcomes)
                except StopAsyncIteration:
                    break
                except (Rejected, LedgerError):
                    continue
                call = open_calls[outcome.message.request_id].pop(0)
                call.end, call.what = next(self.gateway.ticks), outcome.receipt or outcome.error
                count += 1
                if count == leaves_after:
                    await outcomes.aclose(cancel=self.rng.random() < 0.5)
            assert not any(open_calls.values()), "a message that was pulled has no outcome"

    # --- a whole run ---

    async def run(self, count: int) -> None:
        """Send messages while everything goes wrong that can."""
        rng, gateway = self.rng, self.gateway
        run = rng.randrange(10**9)
        made = [
            make_message(
                rng,
                f"03{number:08}",
                derive_request_id(run, number) if rng.random() < 0.2 else new_request_id(),
                self.clients["a"].route,
            )
            for number in range(count)
        ]
        self.messages = {message.request_id: message for message in made}
        gateway.refuse = refuse
        gateway.draw = lambda: rng.choices(PLANS, WEIGHTS)[0]
        self.ledger_fails = rng.choice([0.0, 0.02, 0.1]) if self.has_ledger else 0.0
        places = asyncio.Semaphore(AT_ONCE)

        async def live(message: Message) -> None:
            async with places:
                await self.live(message)

        jumping = asyncio.create_task(self.jump(rng.randrange(count // 4, count * 2 // 3)))
        async with asyncio.TaskGroup() as group:
            streamed = count // 5
            group.create_task(self.stream(made[:streamed]))
            for message in made[streamed:]:
                group.create_task(live(message))
        jumping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await jumping  # a jump that failed half way would blame the client
        await gateway.until_idle()

    async def jump(self, at: int) -> None:
        """Let the clocks jump once the gateway has read some requests."""
        await self.gateway.until(lambda: self.gateway.total >= at)
        how = self.rng.choice(JUMPS)
        before = self.clocks.ahead, self.clocks.slept, self.clocks.passed
        passed = self.clocks.passed
        while self.gateway.is_shaking_hands():  # noqa: ASYNC110  # the kernel sets no event
            await asyncio.sleep(0)
        self.jumped_at = next(self.gateway.ticks)
        how(self.clocks)
        # A request that has left before the jump reaches the gateway before it, too.
        self.gateway.jump(self.clocks.passed - passed)
        self.jumped = before != (self.clocks.ahead, self.clocks.slept, self.clocks.passed)

    async def settle(self) -> None:
        """With no more faults, bring each message to its end, and expect a certain one."""
        gateway = self.gateway
        gateway.draw = lambda: PLAIN
        self.ledger_fails = 0.0
        for tag, client in self.clients.items():
            self.clients[tag] = client.with_options(retry=PATIENT, limiter=None)
        places = asyncio.Semaphore(AT_ONCE)

        async def end(message: Message) -> None:
            in_doubt = self.in_doubt(message)
            # A derived id does not tell its age.
            if not self.may_call(message) and (not in_doubt or len(message.request_id) == 40):
                return
            name = "resume" if in_doubt else self.rng.choice(["send", "send", "resume"])
            call = Call(self.rng.choice("ab") if self.has_ledger else "a", name)
            async with places:
                await self.call(message, call)
            certain: tuple[type, ...] = (Receipt, Rejected, RequestIdExpired, DuplicateRequestId)
            if self.uses_up:
                certain += (OutcomeUnknown,)
            assert isinstance(call.what, certain), self.story(message, "has no certain end")

        async with asyncio.TaskGroup() as group:
            for message in self.messages.values():
                group.create_task(end(message))
        await gateway.until_idle()

    def in_doubt(self, message: Message) -> bool:
        """Tell whether the first client left the message unknown, and told nothing else of it."""
        told_by_a = [call.what for call in self.calls[message.request_id] if call.tag == "a"]
        return bool(told_by_a) and all(isinstance(what, OutcomeUnknown) for what in told_by_a)

    # --- the judgement ---

    def story(self, message: Message, problem: str) -> str:
        """Tell all that is known of a message."""
        key = message.request_id
        events = [(call.start, f"{call.tag}.{call.name} begins") for call in self.calls[key]]
        events += [
            (
                call.end,
                f"{call.tag}.{call.name} of {call.start} tells {call.what!r}: "
                + attempts_of(call.what),
            )
            for call in self.calls[key]
        ]
        events += [
            (one.tick, f"the gateway accepts it from {one.tag}")
            for one in self.gateway.acceptances
            if one.request_id == key
        ]
        lines = "\n".join(f"  {tick:6} {words}" for tick, words in sorted(events))
        return f"{key} {problem}; jumped: {self.jumped} at {self.jumped_at}\n{lines}"

    def judge(self) -> Counter[str]:
        """Hold all that was told against the gateway's count, and count the kinds of telling."""
        accepted: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        for one in self.gateway.acceptances:
            accepted[one.request_id].append((one.tick, one.tag))
        kinds: Counter[str] = Counter()
        # Two clients without a ledger share no knowledge: a day apart, each may send a message.
        apart = self.jumped and not self.has_ledger
        for key, message in self.messages.items():
            senders = [tag for _, tag in accepted[key]]
            most = max(Counter(senders).values(), default=0) if apart else len(senders)
            assert most <= 1, self.story(message, "was accepted twice")
            if not apart:
                assert self.gateway.phones[message.phone] <= 1, self.story(
                    message, "reached its phone twice"
                )
            for call in self.calls[key]:
                kinds[type(call.what).__name__] += 1
                if problem := self._lie(message, call, accepted[key]):
                    raise AssertionError(self.story(message, f"({call.start}): {problem}"))
        return kinds

    def _lie(self, message: Message, call: Call, accepted: list[tuple[int, str]]) -> str | None:
        what = call.what
        match what:
            case OutcomeUnknown() | RequestIdExpired():
                return None
            case Receipt(sms_id=sms_id):
                if not accepted or accepted[0][0] > call.end:
                    return "was told to be accepted, and was not"
                if sms_id not in (None, *self.gateway.sms_ids(message.request_id)):
                    return "got a foreign SMSID"
                return None
            case NotSent() | Rejected() | LedgerError():
                return self._denial(message, call, accepted)
            case _:
                return f"ended with {type(what).__name__}"

    def _denial(self, message: Message, call: Call, accepted: list[tuple[int, str]]) -> str | None:
        """Tell what is wrong with a call that denies that anything was accepted.

        It denies it for the moment at which its outcome was known. What was accepted later is
        excused where it may come of a call, or of a claim in the ledger, that began after that.
        """
        key, what = message.request_id, call.what
        settles = isinstance(what, Rejected) and what.code in SETTLING
        failures = self.failures[call.tag, key]
        knows_all = self.has_ledger and not any(call.start <= tick <= call.end for tick in failures)
        # An answer comes to its caller after it was written.
        answers = [t for t in self.gateway.answered[call.tag, key] if call.start < t < call.end]
        known_at = call.cancelled or max(answers, default=call.start)
        for tick, tag in accepted:
            if tag != call.tag and not (knows_all or settles):
                continue
            excused = any(
                one is not call and (one.end if one.name == "send_many" else one.start) >= known_at
                for one in self.calls[key]
                if one.start <= tick
            ) or any(known_at <= claim <= tick for claim in self.claims[key])
            if settles or tick <= known_at or not excused:
                return f"was told to be {type(what).__name__}, and was accepted"
        return None


async def play(world: World, count: int) -> Counter[str]:
    """Run a world to its end, and judge it."""
    await world.run(count)
    world.judge()
    await world.settle()
    return world.judge()


@pytest.fixture
async def make_world(
    tls: Tls,
    clocks: Clocks,
    monkeypatch: pytest.MonkeyPatch,
    make_place: Callable[..., LedgerPlace],
) -> AsyncIterator[Callable[..., Any]]:
    """Make worlds; what they hold is closed at the end of the test."""
    async with AsyncExitStack() as stack:

        async def make(
            seed: str, *, ledger: str, encrypted: bool, injected: bool, uses_up: bool
        ) -> World:
            assume(monkeypatch, rejected_uses_up_id=uses_up)
            if encrypted:
                trust(monkeypatch, tls)
            rng = random.Random(seed)  # noqa: S311  # it is no secret
            gateway = await stack.enter_async_context(
                Gateway(
                    tls=tls.server if encrypted else None,
                    rejected_uses_up_id=uses_up,
                    clock=clocks.world,
                )
            )
            world = World(rng, gateway, {}, ledger != "none", uses_up, clocks)
            default = rng.choice(ROUTES)
            # Long enough for an answer on a busy machine: one that nobody waits for shows little.
            policy = RetryPolicy(
                attempts=3,
                attempt_timeout=stretched(1),
                deadline=stretched(20),
                wait=wait_none(),
                budget=None,
            )
            ledgers: list[Any] = [None, None]
            if ledger != "none":
                place = make_place(ledger, clocks.wall)
                one: AnyLedger = await stack.enter_async_context(place.ledger())
                # One process at a time has an SQLite file open: its clients share the ledger.
                other: AnyLedger = one
                if ledger == "redis":
                    other = await stack.enter_async_context(place.ledger())
                ledgers = [
                    flaky(one, world.fails, world.note("a")),
                    flaky(other, world.fails, world.note("b")),
                ]
            for tag, its_ledger in zip("ab", ledgers, strict=True):
                world.clients[tag] = await stack.enter_async_context(
                    a_client(
                        gateway,
                        tls=tls if encrypted else None,
                        injected=injected,
                        tag=tag,
                        ledger=its_ledger,
                        route=default,
                        retry=policy,
                        limiter=Jitter(rng),
                    )
                )
            return world

        yield make


WORLDS = pytest.mark.parametrize("uses_up", [False, True], ids=["kept id", "used up id"])
OVER = pytest.mark.parametrize("over", TRANSPORTS, ids="-".join)
LEDGERS = pytest.mark.parametrize("ledger", ["none", *KINDS])


async def judge_one(
    make_world: Callable[..., Any],
    count: int,
    ledger: str,
    over: tuple[str, str],
    uses_up: bool,  # a parameter
) -> None:
    """Play one world, and name the seed where it fails."""
    seed = f"{SEED}-{ledger}-{'-'.join(over)}-{uses_up}"
    world = await make_world(
        seed,
        ledger=ledger,
        encrypted=over[0] == "tls",
        injected=over[1] == "injected",
        uses_up=uses_up,
    )
    try:
        kinds = await play(world, count)
    except BaseException as error:
        error.add_note(f"repeat with ESMS_TRUTH_SEED={SEED}")
        raise
    # A world in which nothing is accepted would show nothing. What was begun before a long sleep
    # is never written after it, and in a small world that may be all there is.
    if count == MANY or not world.jumped:
        assert kinds["Receipt"] > count // 10, (SEED, kinds)


@LEDGERS
@OVER
@WORLDS
async def test_random_callers_are_never_lied_to(
    make_world: Callable[..., Any], ledger: str, over: tuple[str, str], uses_up: bool
) -> None:
    """In a small world of each kind, no phone gets two messages, and each word is true."""
    await judge_one(make_world, FEW, ledger, over, uses_up)


@pytest.mark.endurance
@LEDGERS
@OVER
@WORLDS
async def test_thousands_of_random_messages_are_never_lied_about(
    make_world: Callable[..., Any], ledger: str, over: tuple[str, str], uses_up: bool
) -> None:
    """The same in larger worlds: 5,120 messages over all of them, or `TIMES` as many."""
    await judge_one(make_world, MANY, ledger, over, uses_up)
