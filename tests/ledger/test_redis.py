"""The Redis ledger's server: its scripts, what travels together, and what may go wrong with it."""

import asyncio
import contextlib
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from esms_async import ConfigurationError, LedgerError, Message, Status, UsageError, new_request_id
from esms_async._reads import LARGEST_READ
from esms_async._redis import RedisAddress, RedisBatches
from esms_async.ledger import Claim, Decision, Entry, RedisLedger, Settlement
from esms_async.ledger.base import LedgerOptions
from esms_async.ledger.transitions import CLAIMS, claim, fingerprint, new_entry, settle
from tests.factories import a_message
from tests.ledger.conftest import Clock

if sys.platform == "win32":
    pytest.skip("there is no Redis server for Windows", allow_module_level=True)

from tests.ledger.redis_server import RedisServer
from tests.limits import generous

KEY = b"a key that is kept elsewhere"
ACCEPTED = Settlement(Status.ACCEPTED, sms_id="d8e0")
NOT_SENT = Settlement(Status.NOT_SENT)
DURABLE = {"appendonly": "yes", "appendfsync": "always"}


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A server that a test may do anything to; it loses nothing that it acknowledged."""
    with RedisServer(DURABLE) as server:
        yield server


class Unrecorded:
    """Takes acceptances that come back.

    Attributes:
        told: Their RequestIds.
    """

    def __init__(self) -> None:
        self.told: list[str] = []

    def __call__(self, request_id: str, settlement: Settlement, error: LedgerError) -> None:
        """Take one."""
        assert settlement.status is Status.ACCEPTED
        assert str(error)
        self.told.append(request_id)


async def claimed(ledger: RedisLedger, message: Message) -> Claim:
    """Claim a message."""
    return await ledger.claim(message, fingerprint(message, KEY))


async def sent() -> None:
    """Let the event loop turn until what was asked of a ledger is on its way to the server."""
    for _ in range(20):
        await asyncio.sleep(0)


# The scripts say what the tables say.


@attrs.frozen
class Step:
    """Something that happens to a send: time passes, then a claim or news of one."""

    pause: float
    act: "Claiming | Telling"


@attrs.frozen
class Claiming:
    """A claim, perhaps of another text or made with another key."""

    content: str
    key: bytes
    doubt_age: float | None


@attrs.frozen
class Telling:
    """News of the claim that is so many claims back."""

    back: int
    settlement: Settlement


WINDOW: Final = 100.0
TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
CLAIMINGS = st.builds(
    Claiming,
    st.sampled_from(["the text", "the text", "the text", '\n\U0001f600/\\"another']),
    st.sampled_from([KEY, KEY, b"the next key"]),
    st.sampled_from([None, None, 0.0, 60.0]),
)
TELLINGS = st.builds(
    Telling,
    st.integers(-1, 2),
    st.builds(
        lambda knowledge, **fields: Settlement(*knowledge, **fields),
        st.sampled_from([knowledge for knowledge in CLAIMS if knowledge is not None]),
        sms_id=TEXTS,
        deduplicated=st.booleans(),
        code=TEXTS,
        http_status=st.none() | st.integers(0, 599),
        detail=TEXTS,
    ),
)
# The server counts in microseconds: an eighth of a second is exact there and in a float.
STEPS = st.builds(Step, st.sampled_from([0.0, 0.125, 60.0]), CLAIMINGS | TELLINGS)


@settings(max_examples=200, deadline=None)
@given(steps=st.lists(STEPS, max_size=20), full=st.booleans())
def test_the_server_applies_the_tables(
    redis_server: RedisServer, steps: list[Step], *, full: bool
) -> None:
    """After any sequence of claims and news, the server's answers are those of the tables."""

    async def run() -> None:
        clock, request_id = Clock(), new_request_id()
        known: Entry | None = None
        async with RedisLedger(
            redis_server.url,
            prefix=f"esms:{request_id}:",
            options=LedgerOptions(window=WINDOW, store_phone=full, store_content=full),
            clock=clock,
        ) as ledger:
            for step in steps:
                clock.advance(step.pause)
                now = clock()
                match step.act:
                    case Claiming(content, key, doubt_age):
                        message = Message("0901888484", content, request_id=request_id)
                        mark = fingerprint(message, key)
                        fresh = new_entry(
                            message, mark, now=now, doubt_age=doubt_age, phone=full, content=full
                        )
                        resume = doubt_age is not None
                        expected = claim(known, fresh, now=now, window=WINDOW, resume=resume)
                        assert await ledger.claim(message, mark, doubt_age=doubt_age) == expected
                        known = expected.entry
                    case Telling(back, settlement):
                        generation = (known.generation if known else 1) - back
                        if known is not None:
                            known = settle(known, generation, settlement, now=now)
                        assert await ledger.settle(request_id, generation, settlement) == known
                assert await ledger.look_up(request_id) == known
                in_doubt = known is not None and known.status is Status.UNKNOWN
                assert [entry async for entry in ledger.unsettled()] == [known] * in_doubt

    asyncio.run(run())


async def test_time_is_the_servers(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the clock of this machine shows does not matter."""
    monkeypatch.setattr("time.time", lambda: 0.0)
    with redis_server.client() as client:
        before = client.time()
        async with RedisLedger(redis_server.url, prefix=prefix) as ledger:
            entry = (await claimed(ledger, a_message())).entry
        after = client.time()
    assert before[0] + before[1] / 1e6 <= entry.in_doubt_since <= after[0] + after[1] / 1e6
    assert entry.updated_at == entry.in_doubt_since


# What is stored, and for how long.


async def test_settled_entries_expire_and_unknown_ones_do_not(
    redis_server: RedisServer, prefix: str
) -> None:
    """An entry has a time to live while it is settled, from its last change on."""
    keep = 1000.0
    message = a_message()
    key = prefix + message.request_id
    with redis_server.client() as client:
        async with RedisLedger(redis_server.url, prefix=prefix, keep=keep) as ledger:
            await claimed(ledger, message)
            assert client.ttl(key) == -1
            await ledger.settle(message.request_id, 1, NOT_SENT)
            assert keep - 10 < client.ttl(key) <= keep
            await claimed(ledger, message)
            assert client.ttl(key) == -1
            await ledger.settle(message.request_id, 2, Settlement(Status.ACCEPTED))
            client.expire(key, 10)
            await ledger.settle(message.request_id, 2, ACCEPTED)
            assert keep - 10 < client.ttl(key) <= keep


async def test_the_default_time_to_live_is_a_week(redis_server: RedisServer, prefix: str) -> None:
    """A settled entry is kept well past the window."""
    message = a_message()
    with redis_server.client() as client:
        async with RedisLedger(redis_server.url, prefix=prefix) as ledger:
            await claimed(ledger, message)
            await ledger.settle(message.request_id, 1, ACCEPTED)
            assert 6.9 * 86400 < client.ttl(prefix + message.request_id) <= 7 * 86400


async def test_the_server_is_told_no_secret(redis_server: RedisServer, prefix: str) -> None:
    """Neither the text nor the whole phone number reaches the server."""
    message = Message("0901888484", "686868 la ma")
    with redis_server.client() as client:
        async with RedisLedger(redis_server.url, prefix=prefix) as ledger:
            await claimed(ledger, message)
            stored = json.loads(client.get(prefix + message.request_id))
    assert stored["phone"] == "090****484"
    assert "content" not in stored
    assert not any("686868" in value or "0901888484" in value for value in stored.values())


async def test_pruning_keeps_to_its_prefix(redis_server: RedisServer, prefix: str) -> None:
    """Characters that mean something in a pattern stand for themselves in a prefix."""
    clock = Clock()
    ours = RedisLedger(redis_server.url, prefix=prefix + "[a]*?\\:", clock=clock)
    theirs = RedisLedger(redis_server.url, prefix=prefix + "a12\\:", clock=clock)
    async with ours, theirs:
        for ledger in (ours, theirs):
            entry = (await claimed(ledger, a_message())).entry
            await ledger.settle(entry.request_id, entry.generation, ACCEPTED)
        clock.advance(100)
        assert await ours.prune(50) == 1
        assert [entry async for entry in ours.entries()] == []
        assert len([entry async for entry in theirs.entries()]) == 1


async def test_a_claim_waits_for_one_slice_of_a_prune(
    redis_server: RedisServer, prefix: str
) -> None:
    """The prune goes on after the claim, and misses nothing that was there when it began."""
    async with RedisLedger(redis_server.url, prefix=prefix) as ledger:
        ids = [(await claimed(ledger, a_message())).entry.request_id for _ in range(1100)]
        await asyncio.gather(*(ledger.settle(one, 1, ACCEPTED) for one in ids[:600]))
        pruning = asyncio.create_task(ledger.prune(-60))
        await asyncio.sleep(0)
        late = await claimed(ledger, a_message())
        assert not pruning.done()
        assert await pruning == 600
        left = {entry.request_id async for entry in ledger.entries()}
    assert left == {*ids[600:], late.entry.request_id}


async def test_an_entry_deleted_by_hand_is_dropped_from_the_unknown_ones(
    redis_server: RedisServer, prefix: str
) -> None:
    """What is left of it is not shown, and goes when the ledger is pruned."""
    message = a_message()
    with redis_server.client() as client:
        async with RedisLedger(redis_server.url, prefix=prefix) as ledger:
            await claimed(ledger, message)
            client.delete(prefix + message.request_id)
            assert [entry async for entry in ledger.unsettled()] == []
            assert await ledger.prune(1000) == 0
            assert client.keys(prefix + "*") == []


@pytest.mark.parametrize(
    "written",
    [
        '{"status": "of a later release"}',
        '{"status": "unknown", "reason": "attempt", "generation": "many"}',
        "[]",
        "a text",
    ],
)
async def test_an_entry_that_cannot_be_read_is_refused(
    redis_server: RedisServer, prefix: str, written: str
) -> None:
    """What another release or another program wrote is never taken for an entry."""
    message = a_message()
    with redis_server.client() as client:
        async with RedisLedger(redis_server.url, prefix=prefix) as ledger:
            await claimed(ledger, message)
            client.set(prefix + message.request_id, written)
            with pytest.raises(LedgerError, match="can't be read"):
                await ledger.look_up(message.request_id)
            with pytest.raises(LedgerError):
                await claimed(ledger, message)
            with pytest.raises(LedgerError):
                await ledger.settle(message.request_id, 1, ACCEPTED)


# What travels together.


async def test_concurrent_claims_share_round_trips(redis_server: RedisServer, prefix: str) -> None:
    """The server reads many claims at once."""

    def reads() -> int:
        count: int = client.info("stats")["total_reads_processed"]
        return count

    with redis_server.client() as client:
        async with RedisLedger(redis_server.url, prefix=prefix) as ledger:
            before = reads()
            claims = await asyncio.gather(*(claimed(ledger, a_message()) for _ in range(500)))
            assert reads() - before < 50
    assert all(claim.decision is Decision.SEND for claim in claims)


async def test_a_cancelled_caller_does_not_cancel_the_others(
    redis_server: RedisServer, prefix: str
) -> None:
    """Those whose claims travel together depend on one another in nothing."""
    messages = [a_message() for _ in range(10)]
    async with RedisLedger(redis_server.url, prefix=prefix) as ledger:
        with redis_server.hung():
            tasks = [asyncio.create_task(claimed(ledger, message)) for message in messages]
            await sent()
            tasks[0].cancel()
            await asyncio.wait(tasks[:1])
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(answers[0], asyncio.CancelledError)
        assert all(isinstance(answer, Claim) for answer in answers[1:])
        # The claim was under way already: it took effect, and reads "it may have been accepted".
        entry = await ledger.look_up(messages[0].request_id)
        assert entry is not None
        assert entry.status is Status.UNKNOWN


async def test_two_ledgers_race_over_the_same_messages(
    redis_server: RedisServer, prefix: str
) -> None:
    """Of two claims of a message exactly one is the first."""
    messages = [a_message() for _ in range(500)]
    one, other = (RedisLedger(redis_server.url, prefix=prefix) for _ in range(2))
    async with one, other:
        answers = await asyncio.gather(
            *(claimed(ledger, message) for message in messages for ledger in (one, other))
        )
    decisions = [answer.decision for answer in answers]
    assert decisions.count(Decision.SEND) == decisions.count(Decision.RESUME) == len(messages)
    for pair in zip(answers[::2], answers[1::2], strict=True):
        assert {answer.decision for answer in pair} == {Decision.SEND, Decision.RESUME}


async def test_closing_waits_for_what_was_asked(redis_server: RedisServer, prefix: str) -> None:
    """Claims that were made before the ledger is closed are stored and answered."""
    ledger = RedisLedger(redis_server.url, prefix=prefix)
    await ledger.open()
    tasks = [asyncio.create_task(claimed(ledger, a_message())) for _ in range(1000)]
    await asyncio.sleep(0)
    await ledger.aclose()
    assert all(task.result().decision is Decision.SEND for task in tasks)


async def test_scripts_that_the_server_forgot_are_loaded_again(
    redis_server: RedisServer, prefix: str
) -> None:
    """A restarted server knows no scripts, and callers do not notice."""
    with redis_server.client() as client:
        async with RedisLedger(redis_server.url, prefix=prefix) as ledger:
            for _ in range(2):
                client.script_flush()
                answers = await asyncio.gather(*(claimed(ledger, a_message()) for _ in range(200)))
                assert all(answer.decision is Decision.SEND for answer in answers)


async def test_scripts_that_may_not_be_loaded_again_are_an_error(
    own_server: RedisServer, prefix: str
) -> None:
    """Where the server refuses them meanwhile, every caller is told why."""
    async with RedisLedger(own_server.url, prefix=prefix) as ledger:
        with own_server.client() as client:
            client.script_flush()
            client.acl_setuser("default", enabled=True, commands=["-script"])
        claims = (claimed(ledger, a_message()) for _ in range(3))
        answers = await asyncio.gather(*claims, return_exceptions=True)
        assert [type(answer) for answer in answers] == [LedgerError] * 3
        assert "no permissions" in str(answers[0])


async def test_a_server_that_keeps_no_scripts_is_refused(redis_server: RedisServer) -> None:
    """A script that is unknown after it was loaded is an error, not an endless loop."""
    batches = RedisBatches(RedisAddress(redis_server.url))
    with pytest.raises(LedgerError, match="does not keep the scripts"):
        await batches.run("EVALSHA", "0" * 40, "0")
    await batches.aclose()


# What may go wrong.


@asynccontextmanager
async def losing_an_answer(server: RedisServer) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Stand before a server, and lose its next answer with its connection, once that is asked."""
    lose = asyncio.Event()

    async def forward(
        source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        while data := await source.read(65536):
            if answers and lose.is_set():
                lose.clear()
                break
            sink.write(data)
        sink.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(
            forward(reader, to_server, answers=False), forward(from_server, writer, answers=True)
        )

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        yield f"redis://127.0.0.1:{port}", lose


async def test_an_answer_that_is_lost_is_an_error_and_no_second_claim(
    redis_server: RedisServer, prefix: str
) -> None:
    """A claim that the server took, and whose answer did not come, is not repeated."""
    message = a_message()
    async with (
        losing_an_answer(redis_server) as (url, lose),
        RedisLedger(f"{url}?retry_on_timeout=yes", prefix=prefix) as ledger,
    ):
        lose.set()
        with pytest.raises(LedgerError):
            await claimed(ledger, message)
        assert not lose.is_set()
        answer = await claimed(ledger, message)
        assert (answer.decision, answer.entry.generation) == (Decision.RESUME, 2)


async def test_a_server_that_hangs_is_given_up(redis_server: RedisServer, prefix: str) -> None:
    """An answer that does not come in time is an error, and the ledger works on afterwards."""
    ledger = RedisLedger(f"{redis_server.url}?socket_timeout=0.5", prefix=prefix)
    async with ledger:
        with redis_server.hung(), pytest.raises(LedgerError, match="Timeout"):
            await claimed(ledger, a_message())
        async with asyncio.timeout(generous(30)):
            while True:  # on a busy machine the server may be late once more
                with contextlib.suppress(LedgerError):
                    assert (await claimed(ledger, a_message())).decision is Decision.SEND
                    break


async def test_a_killed_server_fails_every_caller_and_is_found_again(
    own_server: RedisServer, prefix: str
) -> None:
    """Nobody hangs; what was acknowledged is there; the same ledger goes on afterwards."""
    acknowledged: list[str] = []
    enough = asyncio.Event()

    async def work() -> None:
        while True:
            message = a_message()
            await claimed(ledger, message)
            acknowledged.append(message.request_id)
            if len(acknowledged) >= 500:
                enough.set()

    async with RedisLedger(own_server.url, prefix=prefix) as ledger, asyncio.timeout(generous(30)):
        workers = [asyncio.create_task(work()) for _ in range(100)]
        await enough.wait()
        own_server.kill()
        errors = await asyncio.gather(*workers, return_exceptions=True)
        assert {type(error) for error in errors} == {LedgerError}
        with pytest.raises(LedgerError, match=f"127.0.0.1:{own_server.port}"):
            await claimed(ledger, a_message())

        await asyncio.to_thread(own_server.start)  # meanwhile the connections are seen to end
        assert (await claimed(ledger, a_message())).decision is Decision.SEND
        for request_id in acknowledged:
            entry = await ledger.look_up(request_id)
            assert entry is not None
            assert entry.status is Status.UNKNOWN


async def test_at_maxmemory_nothing_is_claimed_and_settling_goes_on(
    own_server: RedisServer, prefix: str
) -> None:
    """A full server refuses claims in words; what became of earlier ones is still stored."""
    first, second = a_message(), a_message()
    with own_server.client() as client:
        async with RedisLedger(own_server.url, prefix=prefix) as ledger:
            await claimed(ledger, first)
            await claimed(ledger, second)
            await ledger.settle(second.request_id, 1, NOT_SENT)
            client.config_set("maxmemory", 1)
            for message in (a_message(), first, second):
                with pytest.raises(LedgerError, match="maxmemory"):
                    await claimed(ledger, message)
            entry = await ledger.settle(first.request_id, 1, ACCEPTED)
            assert entry is not None
            assert entry.status is Status.ACCEPTED
            unsent = await ledger.look_up(second.request_id)
            assert unsent is not None
            assert (unsent.status, unsent.generation) == (Status.NOT_SENT, 1)
            assert [entry async for entry in ledger.unsettled()] == []
            client.config_set("maxmemory", 0)
            assert (await claimed(ledger, second)).decision is Decision.SEND


async def test_at_maxmemory_acceptances_are_stored_beside_refused_claims(
    own_server: RedisServer, prefix: str
) -> None:
    """A claim that travels with an acceptance is refused, and does not hold it up."""
    message = a_message()
    with own_server.client() as client:
        async with RedisLedger(own_server.url, prefix=prefix) as ledger:
            await claimed(ledger, message)
            client.config_set("maxmemory", 1)
            unrecorded = Unrecorded()
            ledger.accept_soon(
                message.request_id, "d8e0", deduplicated=False, unrecorded=unrecorded
            )
            with pytest.raises(LedgerError, match="maxmemory"):
                await claimed(ledger, a_message())
            entry = await ledger.look_up(message.request_id)
            assert entry is not None
            assert entry.status is Status.ACCEPTED
    assert unrecorded.told == []


async def test_acceptances_come_back_from_a_server_that_is_away(
    own_server: RedisServer, prefix: str
) -> None:
    """Each is handed back with the reason, and `flush` does not wait for what can't come."""
    messages = [a_message() for _ in range(3)]
    async with RedisLedger(own_server.url, prefix=prefix) as ledger:
        for message in messages:
            await claimed(ledger, message)
        own_server.kill()
        unrecorded = Unrecorded()
        for message in messages:
            ledger.accept_soon(message.request_id, None, deduplicated=True, unrecorded=unrecorded)
        await ledger.flush()
        assert [one.request_id for one in messages] == unrecorded.told
        await asyncio.to_thread(own_server.start)
        entry = await ledger.look_up(messages[0].request_id)
        assert entry is not None
        assert entry.status is Status.UNKNOWN


@pytest.mark.parametrize(
    ("command", "read"),
    [(("SET", "somebody else's"), "GET"), (("HSET", "status", "unknown"), "HGETALL")],
)
async def test_an_acceptance_of_what_cannot_be_read_comes_back(
    redis_server: RedisServer, prefix: str, command: tuple[str, ...], read: str
) -> None:
    """What another program keeps under the key stays as it is; the others are stored."""
    odd, good = a_message(), a_message()
    with redis_server.client() as client:
        async with RedisLedger(redis_server.url, prefix=prefix) as ledger:
            await claimed(ledger, good)
            name, *values = command
            client.execute_command(name, prefix + odd.request_id, *values)
            kept = client.execute_command(read, prefix + odd.request_id)
            unrecorded = Unrecorded()
            for message in (odd, good):
                ledger.accept_soon(
                    message.request_id, "d8e0", deduplicated=False, unrecorded=unrecorded
                )
            await ledger.flush()
            entry = await ledger.look_up(good.request_id)
            assert entry is not None
            assert entry.status is Status.ACCEPTED
            assert client.execute_command(read, prefix + odd.request_id) == kept
    assert unrecorded.told == [odd.request_id]


async def test_scripts_come_back_to_a_restarted_server_on_connections_in_use(
    own_server: RedisServer, prefix: str
) -> None:
    """The batches may hold every connection that the pool allows."""
    async with RedisLedger(own_server.url, prefix=prefix) as ledger:
        messages = [a_message() for _ in range(1000)]
        await asyncio.gather(*(ledger.look_up(message.request_id) for message in messages))
        own_server.kill()
        await asyncio.to_thread(own_server.start)
        looked_up = (ledger.look_up(message.request_id) for message in messages)
        await asyncio.gather(*looked_up, return_exceptions=True)
        assert (await claimed(ledger, messages[0])).decision is Decision.SEND


async def test_a_cancelled_caller_whose_trip_fails_disturbs_nobody(
    redis_server: RedisServer, prefix: str
) -> None:
    """Only those who still wait learn that the server does not answer."""
    url = f"{redis_server.url}?socket_timeout=2"
    async with RedisLedger(url, prefix=prefix) as ledger:
        with redis_server.hung():
            tasks = [asyncio.create_task(claimed(ledger, a_message())) for _ in range(2)]
            await sent()
            tasks[0].cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(end) for end in ends] == [asyncio.CancelledError, LedgerError]


async def test_a_read_only_server_is_an_error(
    own_server: RedisServer, prefix: str, unused_tcp_port: int
) -> None:
    """A replica takes no claims."""
    async with RedisLedger(own_server.url, prefix=prefix) as ledger:
        with own_server.client() as client:
            client.replicaof("127.0.0.1", unused_tcp_port)
        with pytest.raises(LedgerError, match="read only"):
            await claimed(ledger, a_message())


async def test_a_wrong_password_is_refused_without_showing_it(own_server: RedisServer) -> None:
    """The error says that the server lets nobody in, and neither holds the password nor a cause."""
    with own_server.client() as client:
        client.config_set("requirepass", "the right one")
    address = own_server.url.removeprefix("redis://")
    ledger = RedisLedger(f"redis://:hunter2@{address}")
    with pytest.raises(LedgerError, match=address) as refused:
        await ledger.open()
    assert not ledger.is_open
    assert "hunter2" not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.__cause__ is None
    async with RedisLedger(f"redis://:the%20right%20one@{address}") as admitted:
        assert admitted.is_open


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://:hunter2@localhost",
        "redis://:hunter2@localhost:port/0",
        "redis://:hunt/er2@localhost",
        "redis://:12/hunter2@localhost",
        "redis://:hunter2@localhost/sends",
        "redis://:hunter2@localhost?socket_timeout=soon",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_showing_it(url: str) -> None:
    """The error says how to write one."""
    with pytest.raises(LedgerError, match=r"redis://user:password@host:port/0") as refused:
        RedisLedger(url)
    assert "hunt" not in str(refused.value)


async def test_an_unknown_option_is_named(redis_server: RedisServer) -> None:
    """What redis-py does not know in a URL is an error like any other."""
    with pytest.raises(LedgerError, match="nonsense"):
        await RedisLedger(f"{redis_server.url}?nonsense=1").open()


@pytest.mark.parametrize("options", [{"prefix": ""}, {"keep": 0.0}])
def test_options_that_cannot_work_are_refused(options: dict[str, Any]) -> None:
    """They are refused where they are given."""
    with pytest.raises(ConfigurationError):
        RedisLedger("redis://localhost", **options)


async def test_a_server_that_is_away_is_an_error_of_opening(unused_tcp_port: int) -> None:
    """Where nobody listens, the ledger does not open."""
    ledger = RedisLedger(f"redis://127.0.0.1:{unused_tcp_port}")
    with pytest.raises(LedgerError, match="can't be used"):
        await ledger.open()
    assert not ledger.is_open


async def test_a_refused_command_is_not_quoted() -> None:
    """A server quotes the arguments of a command that it does not know; the error does not."""
    message = Message("0901888484", "686868 la ma")
    options = LedgerOptions(store_phone=True, store_content=True)
    with RedisServer({"rename-command": 'EVALSHA ""'}) as server:
        async with RedisLedger(server.url, prefix="s:", options=options) as ledger:
            with pytest.raises(LedgerError, match=r"unknown command 'EVALSHA'$"):
                await claimed(ledger, message)


async def test_a_server_that_takes_no_scripts_is_an_error_of_opening() -> None:
    """Where scripts can't be loaded, the ledger does not open."""
    with (
        RedisServer({"rename-command": 'SCRIPT ""'}) as server,
        pytest.raises(LedgerError, match=r"unknown command 'SCRIPT'$"),
    ):
        await RedisLedger(server.url).open()


async def test_callers_are_told_when_their_batch_is_cancelled(
    redis_server: RedisServer, prefix: str
) -> None:
    """An event loop that ends cancels every task; nobody is left waiting for an answer."""
    ledger = RedisLedger(redis_server.url, prefix=prefix)
    await ledger.open()
    with redis_server.hung():
        caller, impatient = (asyncio.create_task(claimed(ledger, a_message())) for _ in range(2))
        await sent()
        impatient.cancel()
        await asyncio.wait([impatient])
        for batch in ledger._opened()._in_flight:
            batch.cancel()
        with pytest.raises(LedgerError, match="CancelledError"):
            await caller
    await ledger.aclose()


async def test_a_unix_socket_will_do(redis_server: RedisServer, prefix: str) -> None:
    """The server may be reached by a path, and errors name it."""
    ledger = RedisLedger(f"unix://{redis_server.socket}?db=1", prefix=prefix)
    async with ledger:
        assert (await claimed(ledger, a_message())).decision is Decision.SEND
        with pytest.raises(UsageError, match=f"{redis_server.socket}, database 1"):
            await ledger.open()


def test_a_ledger_is_for_one_event_loop(redis_server: RedisServer, prefix: str) -> None:
    """Used from another loop meanwhile, it says so; closed, it may be opened in another."""
    ledger = RedisLedger(redis_server.url, prefix=prefix)
    with asyncio.Runner() as runner:
        runner.run(ledger.open())
        with pytest.raises(UsageError, match="event loop"), asyncio.Runner() as other:
            other.run(ledger.look_up("x"))
        runner.run(ledger.aclose())

    async def use() -> None:
        async with ledger:
            assert await ledger.look_up("x") is None

    asyncio.run(use())


# What the server could lose.


async def warnings_of_opening(url: str, caplog: pytest.LogCaptureFixture) -> str:
    """Open a ledger and return what it warned of."""
    with caplog.at_level(logging.WARNING, "esms_async"):
        async with RedisLedger(url):
            return caplog.text


async def test_a_durable_server_is_no_cause_for_a_warning(
    own_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """With noeviction and an append-only file nothing is said."""
    assert await warnings_of_opening(own_server.url, caplog) == ""


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("maxmemory-policy", "allkeys-lru", "set it to noeviction"),
        ("appendonly", "no", "set appendonly to yes"),
    ],
)
async def test_a_server_that_may_lose_entries_is_warned_of(
    own_server: RedisServer,
    caplog: pytest.LogCaptureFixture,
    setting: str,
    value: str,
    words: str,
) -> None:
    """The log says what would be lost, and what to set."""
    with own_server.client() as client:
        client.config_set(setting, value)
    warning = await warnings_of_opening(own_server.url, caplog)
    assert words in warning
    assert "can be sent twice" in warning


async def test_a_server_that_may_not_be_asked_is_warned_of(
    own_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A user who must not ask for the settings works, and is told that they are not known."""
    with own_server.client() as client:
        client.acl_setuser(
            "sender", enabled=True, passwords=["+pw"], keys="*", commands=["+@all", "-info"]
        )
    address = own_server.url.removeprefix("redis://")
    assert "run INFO" in await warnings_of_opening(f"redis://sender:pw@{address}", caplog)


async def test_an_append_only_file_survives_a_kill(own_server: RedisServer, prefix: str) -> None:
    """With `appendfsync always`, what was settled is settled after the server was killed."""
    messages = [a_message() for _ in range(300)]
    async with RedisLedger(own_server.url, prefix=prefix) as ledger:
        await asyncio.gather(*(claimed(ledger, message) for message in messages))
        await asyncio.gather(
            *(ledger.settle(message.request_id, 1, ACCEPTED) for message in messages[:150])
        )
        own_server.kill()
        await asyncio.to_thread(own_server.start)  # meanwhile the connections are seen to end
        answers = await asyncio.gather(*(claimed(ledger, message) for message in messages))
        decisions = [answer.decision for answer in answers]
        assert decisions[:150] == [Decision.ALREADY_ACCEPTED] * 150
        assert decisions[150:] == [Decision.RESUME] * 150


# The extra.


def imported(program: str) -> "subprocess.CompletedProcess[str]":
    """Run a program in a Python that has no redis-py."""
    preamble = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(name, *rest):\n"
        "        if name == 'redis':\n"
        "            raise ModuleNotFoundError('No module named redis', name=name)\n"
        "sys.meta_path.insert(0, Absent)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", preamble + program], capture_output=True, text=True, check=False
    )


def test_the_other_ledgers_need_no_redis_py() -> None:
    """Without the extra everything else can be imported, and a wrong name is still a wrong name."""
    program = (
        "from esms_async.ledger import *\n"
        "import esms_async.ledger as ledger\n"
        "print(MemoryLedger.__name__, hasattr(ledger, 'NoLedger'))"
    )
    assert imported(program).stdout == "MemoryLedger False\n"


def test_a_missing_redis_py_is_named() -> None:
    """Without the extra, the error says what to install."""
    result = imported("from esms_async.ledger import RedisLedger")
    assert result.stderr.splitlines()[-1].startswith("ImportError: RedisLedger needs redis-py")
    assert "esms_async[redis]" in result.stderr


def test_another_missing_module_is_not_blamed_on_redis_py() -> None:
    """Only the extra's own absence is told in its words."""
    program = (
        "sys.modules['esms_async.ledger.redis'] = None\nfrom esms_async.ledger import RedisLedger"
    )
    assert "install it with" not in imported(program).stderr


async def test_answers_are_read_a_little_at_a_time(redis_server: RedisServer) -> None:
    """A connection to Redis does not ask for more than 64 kB with one read."""
    batches = RedisBatches(RedisAddress(redis_server.url))
    try:
        assert await batches.run("PING") in {"PONG", True}
        (connection,) = batches._idle
        assert connection._writer is not None
        assert vars(connection._writer.transport)["max_size"] == LARGEST_READ
    finally:
        await batches.aclose()
    # A client of redis-py over the same pool, as the limiter has one, does neither.
    pool = RedisAddress(redis_server.url).pool()
    try:
        connection = await pool.get_connection()  # type: ignore[no-untyped-call]  # it has no types
        assert connection._writer is not None
        assert vars(connection._writer.transport)["max_size"] == LARGEST_READ
    finally:
        await pool.disconnect()


async def test_a_command_that_nobody_waits_for_disturbs_nobody(redis_server: RedisServer) -> None:
    """Its reply, or its failure, is dropped; the others in its batch get theirs."""
    for url, seen in ((redis_server.url, True), (f"{redis_server.url}?socket_timeout=2", False)):
        batches = RedisBatches(RedisAddress(url))
        await batches.run("PING")
        with redis_server.hung():
            left, waited = (asyncio.create_task(batches.run("PING")) for _ in range(2))
            await sent()
            left.cancel()
            if not seen:
                with pytest.raises(LedgerError, match="no answer within 2 seconds"):
                    await waited
        if seen:
            assert await waited
        assert left.cancelled()
        await batches.aclose()


async def test_a_batch_that_is_cancelled_before_it_begins_leaves_nobody_waiting(
    redis_server: RedisServer,
) -> None:
    """A program that ends cancels every task, also one that has not taken its first step."""
    batches = RedisBatches(RedisAddress(redis_server.url))
    before = asyncio.all_tasks()
    reply = batches.submit("PING")
    await asyncio.sleep(0)  # the task is there now, and begins in the next turn
    (begun,) = asyncio.all_tasks() - before
    begun.cancel()
    with pytest.raises(LedgerError, match="cancelled before it was sent"):
        await asyncio.wait_for(reply, generous(20))
    await batches.aclose()


def never(*problem: object) -> None:
    """Fail: an acceptance came back that could be stored."""
    pytest.fail(f"not stored: {problem}")


async def test_a_message_accepted_twice_while_others_wait_is_flushed(
    redis_server: RedisServer, prefix: str
) -> None:
    """Two clients of one ledger may accept a message one after the other."""
    message = a_message()
    async with RedisLedger(redis_server.url, prefix=prefix) as ledger:
        await ledger.claim(message, fingerprint(message, KEY))

        def accept() -> None:
            assert ledger.accept_soon(
                message.request_id, "d8e0", deduplicated=False, unrecorded=never
            )

        accept()
        trips = ledger._opened_pipeline()
        trips.gatherer.flush()
        (trip,) = trips._under_way
        trip.add_done_callback(lambda _: accept())  # before those who wait are woken
        await ledger.flush()
        entry = await ledger.look_up(message.request_id)
    assert entry is not None
    assert entry.status is Status.ACCEPTED


async def test_a_busy_ledger_outlives_a_server_that_forgets_its_scripts(
    redis_server: RedisServer, prefix: str
) -> None:
    """Also when it has had all its connections in use: a restart would make it useless for good."""
    url = f"{redis_server.url}?socket_timeout=2"
    async with RedisLedger(url, prefix=prefix) as ledger:
        await asyncio.gather(*(ledger.look_up(new_request_id()) for _ in range(1000)))
        with redis_server.client() as client:
            client.script_flush()
        message = a_message()
        answer = await ledger.claim(message, fingerprint(message, KEY))
        assert answer.decision is Decision.SEND
