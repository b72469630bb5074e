"""A worker: leases, lanes, what it can't read, and how it ends."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis

from esms_async import EsmsClient, InvalidMessage, Message, Outcome, OutcomeUnknown, Status
from esms_async.ledger import RedisLedger
from esms_async.queue import MessageQueue
from esms_async.queue.cipher import MessageCipher
from esms_async.queue.reports import load_report
from esms_async.queue.streams import LEASE
from tests.factories import CREDENTIALS
from tests.ledger.redis_server import RedisServer
from tests.queue.support import KEY, Gateway, messages, until, working

CIPHER = MessageCipher("esms", KEY)
REST = '"generation":"1","fingerprint":"aa","phone":"x","in_doubt_since":"1","updated_at":"1"'
# Entries that this release does not know.
LATER = {
    "a later status": f'{{"status":"lost",{REST}}}',
    "a later reason": f'{{"status":"accepted","reason":"message",{REST}}}',
}


def raw_client(server: RedisServer) -> Redis:
    """Return a client that leaves replies as bytes."""
    return Redis(port=server.port)


async def test_a_message_is_settled_and_leaves_the_queue(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue
) -> None:
    """It is accepted once, the ledger has it, and nothing is left; so with a second copy."""
    message = Message("0901888484", "686868 la ma")
    async with working(redis.url, gateway.url) as running:
        for _ in range(2):
            await queue.put(message)
            await until(lambda: running.statuses["accepted"] == 1)

            async def is_empty() -> bool:
                return await queue.depth() == 0

            await until(is_empty)
            running.statuses.clear()
    assert gateway.requests == [message.request_id]
    async with RedisLedger(redis.url) as ledger:
        entry = await ledger.look_up(message.request_id)
        assert entry is not None
        assert entry.status is Status.ACCEPTED
        assert [each async for each in ledger.unsettled()] == []


async def test_a_slow_send_is_never_on_two_workers(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue
) -> None:
    """A send that takes longer than a lease is renewed, and nobody else takes it."""
    gateway.delay = LEASE + 1
    async with (
        working(redis.url, gateway.url, deadline=30),
        working(redis.url, gateway.url, deadline=30),
        queue.send_many(messages(4)) as outcomes,
    ):
        assert [outcome.ok async for outcome in outcomes] == [True] * 4
    assert gateway.most_at_once == 1
    assert len(gateway.requests) == 4


async def test_a_worker_takes_no_more_than_it_has_places(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue
) -> None:
    """What is under way never exceeds the concurrency, and one place is kept for otp."""
    gateway.delay = 0.05
    most = 0
    async with working(redis.url, gateway.url, concurrency=8):
        for message in messages(60):
            await queue.put(message, lane="bulk")
        with redis.client() as client:
            while gateway.accepted.total() < 60:
                most = max(most, client.xpending("esms:queue:bulk", "workers")["pending"])
                await asyncio.sleep(0.01)
    assert 1 <= most <= 7


@pytest.mark.parametrize("kind", ["text", "hash", "a later status", "a later reason"])
async def test_an_entry_that_became_unreadable_harms_its_own_message_alone(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue, kind: str
) -> None:
    """The others, whose deliveries end in the same step, have their outcomes."""
    bad, *good = messages(4)
    gateway.answers.clear()
    with redis.client() as client:
        async with (
            working(redis.url, gateway.url),
            queue.send_many((bad, *good)) as outcomes,
        ):

            async def follow() -> dict[Message, Outcome]:
                return {outcome.message: outcome async for outcome in outcomes}

            following = asyncio.create_task(follow())
            await until(lambda: len(gateway.requests) == 4)
            key = f"esms:send:{bad.request_id}"
            client.delete(key)
            if kind == "hash":
                client.hset(key, "status", "accepted")
            else:
                client.set(key, LATER.get(kind, "accepted"))
            gateway.answers.set()
            ended = await following
        assert [ended[message].ok for message in good] == [True] * 3
        assert ended[bad].status is Status.UNKNOWN
        assert client.xlen("esms:queue:dead") == 1
    assert set(gateway.accepted.values()) == {1}


@pytest.mark.parametrize("count", [1, 3], ids=["alone", "a page"])
async def test_a_message_that_fits_no_route_of_the_worker_is_invalid(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue, count: int
) -> None:
    """Nothing was sent of it: so say its outcome, and the ledger."""
    invalid = [Message(f"091100000{number}", params={"otp": "1"}) for number in range(count)]
    for message in invalid:
        await queue.put(message, lane="bulk")
    async with working(redis.url, gateway.url), queue.send_many(invalid) as outcomes:
        ended = [outcome async for outcome in outcomes]
    assert [outcome.status for outcome in ended] == [Status.NOT_SENT] * count
    for outcome in ended:
        assert isinstance(outcome.error, InvalidMessage)
        assert (outcome.error.field, "route" in outcome.error.problem) == ("params", True)
    assert gateway.requests == []
    async with RedisLedger(redis.url) as ledger:
        assert [each async for each in ledger.unsettled()] == []


@pytest.mark.parametrize("claimed", [False, True], ids=["never claimed", "claimed"])
async def test_what_another_worker_may_have_sent_is_unknown_once_it_cannot_be_read(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue, claimed: bool
) -> None:
    """Its key is gone since. Of what nobody claimed, nothing was sent."""
    (message,) = messages(1)
    if claimed:
        async with RedisLedger(redis.url) as ledger:
            await ledger.claim(message, b"f" * 20)
    await queue._streams.begin_run("b")
    with raw_client(redis) as client:
        client.xadd("esms:queue:bulk", {"r": message.request_id, "m": b"?", "b": "b", "n": "1"})
        async with working(redis.url, gateway.url):
            await until(lambda: client.xlen("esms:queue:outcomes:b") == 1)
        ((_, fields),) = client.xrange("esms:queue:outcomes:b")
    error = load_report(fields[b"report"].decode()).error(message)
    assert type(error) is (OutcomeUnknown if claimed else InvalidMessage)
    assert gateway.requests == []


async def test_an_otp_goes_ahead_of_a_campaign(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue
) -> None:
    """With a campaign that fills the rate, a one-time code does not wait behind it."""
    async with working(redis.url, gateway.url, rate=50):
        for message in messages(400):
            await queue.put(message, lane="bulk")
        await until(lambda: gateway.accepted.total() >= 30)
        code = Message("0901888484", "686868 la ma")
        before = gateway.accepted.total()
        await queue.put(code)
        await until(lambda: code.request_id in gateway.at)
        # The queue in front of it held hundreds.
        assert gateway.accepted.total() - before < 60
        with redis.client() as client:
            client.flushall()


async def test_what_waited_too_long_is_not_sent(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue
) -> None:
    """A message past its end ends as not sent; without one, otp has ten minutes."""
    past = Message("0901888484", "1 la ma", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    async with working(redis.url, gateway.url) as running:
        async with queue.send_many([past], "otp") as outcomes:
            (outcome,) = [each async for each in outcomes]
        assert outcome.status is Status.NOT_SENT
        await until(lambda: running.statuses == {"not_sent": 1})
    assert gateway.requests == []
    await queue.put(Message("0901888484", "2 la ma"))
    with raw_client(redis) as client:
        ((_, fields),) = client.xrange("esms:queue:otp")
    message = CIPHER.read(fields[b"m"], fields[b"r"].decode())
    assert message.expires_at is not None
    left = message.expires_at - datetime.now(UTC)
    assert timedelta(minutes=9) < left <= timedelta(minutes=10)


def _poison() -> dict[str, dict[Any, Any]]:
    good = Message("0901888484", "686868 la ma", request_id="poison")
    fields = good.to_dict()

    def written(value: Any) -> bytes:
        return CIPHER.write(value, "poison")

    sealed = bytearray(written(fields))
    sealed[-1] ^= 1
    deep = "[" * 100_000
    return {
        "no message": {"x": "y"},
        "no bytes": {"r": "poison", "m": ""},
        "another form": {"r": "poison", "m": b"\x09abcd{}"},
        "changed": {"r": "poison", "m": bytes(sealed)},
        "another id": {"r": "other", "m": written(fields)},
        "not text": {b"\xff": b"\xfe", "r": b"\xff\xfe", "m": b"\xff" * 40},
        "no object": {"r": "poison", "m": written([1, 2])},
        "a later version": {"r": "poison", "m": written({**fields, "version": 99})},
        "an invalid phone": {"r": "poison", "m": written({**fields, "phone": "1"})},
        "half a surrogate pair": {
            "r": "poison",
            "m": _raw(json.dumps({**fields, "content": "\ud800"})),
        },
        "nested deeply": {"r": "poison", "m": _raw(deep)},
        "a huge number": {"r": "poison", "m": _raw('{"version": ' + "9" * 10_000 + "}")},
        "too large": {"r": "poison", "m": written({**fields, "content": "a" * 300_000})},
        "a batch of bytes": {"r": "poison", "m": b"", "b": b"\xff", "n": b"\xff"},
    }


def _raw(text: str) -> bytes:
    """Seal a text as it is."""
    cipher = MessageCipher("esms", KEY)
    header = b"\x01" + cipher._key_id
    sealed = cipher._ciphers[cipher._key_id].encrypt(
        bytes(12), text.encode(), cipher._bound(header, "poison")
    )
    return header + bytes(12) + sealed


async def test_poison_goes_to_the_dead_stream_and_takes_no_place(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue
) -> None:
    """Whatever can't be read is dead at once, with a reason, and all else is sent."""
    poison = _poison()
    with redis.client() as client:
        for fields in poison.values():
            client.xadd("esms:queue:bulk", fields)
    async with working(redis.url, gateway.url, concurrency=2) as running:
        async with queue.send_many(messages(10)) as outcomes:
            assert [outcome.ok async for outcome in outcomes] == [True] * 10
        await until(lambda: running.statuses["dead"] == len(poison))
        assert await queue.depth() == 0
    with raw_client(redis) as client:
        dead = client.xrange("esms:queue:dead")
    assert len(dead) == len(poison)
    assert all(fields[b"why"] for _, fields in dead)


async def test_a_dead_message_of_a_batch_has_an_outcome(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue
) -> None:
    """The follower of a message that no worker can read learns so."""
    (message,) = messages(1)
    with redis.client() as client:
        client.set("esms:queue:run:b", 0)
    sends = queue.send_many([message], batch="b")
    following = asyncio.create_task(anext(aiter(sends)))

    async def is_there() -> bool:
        return await queue.depth() == 1

    await until(is_there)
    with redis.client() as client:
        client.delete("esms:queue:bulk")
        client.xadd("esms:queue:bulk", {"r": message.request_id, "m": "?", "b": "b", "n": "1"})
    async with working(redis.url, gateway.url):
        outcome = await following
    assert "no worker could read it" in str(outcome.error)
    await sends.aclose()


async def test_a_message_on_which_workers_die_is_dead_in_the_end(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue
) -> None:
    """Deaths are counted where the holder is gone, and only there."""
    await queue.put(messages(1)[0])
    with raw_client(redis) as client:
        ((_, ((key, _),)),) = client.xreadgroup("workers", "gone", {"esms:queue:otp": ">"})
        client.hset("esms:queue:otp:deaths", key, 4)
    async with working(redis.url, gateway.url) as running:
        await until(lambda: running.statuses["dead"] == 1)
    with raw_client(redis) as client:
        ((_, fields),) = client.xrange("esms:queue:dead")
    assert fields[b"why"] == b"5 workers died while they had it"
    assert gateway.requests == []


async def test_what_a_dead_worker_held_is_sent_by_another(
    redis: RedisServer,
    gateway: Gateway,
    queue: MessageQueue,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its lease runs out, the next worker takes the message over, and the log says so."""
    await queue.put(messages(1)[0])
    with raw_client(redis) as client:
        client.xreadgroup("workers", "gone", {"esms:queue:otp": ">"}, count=1)
    async with working(redis.url, gateway.url):
        await until(lambda: gateway.accepted.total() == 1)
    assert "1 messages of lane otp come from workers that died" in caplog.text


async def test_a_worker_that_stops_gives_back_what_waits_for_the_rate(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue
) -> None:
    """It finishes what is under way and holds up nobody with the rest."""
    for message in messages(30):
        await queue.put(message, lane="bulk")
    async with working(redis.url, gateway.url, rate=1):
        await until(lambda: gateway.accepted.total() >= 1)
    # It would take half a minute to send them all.
    assert gateway.accepted.total() < 30
    async with working(redis.url, gateway.url):
        await until(lambda: gateway.accepted.total() == 30)
    assert set(gateway.accepted.values()) == {1}


async def test_what_another_process_knows_wins(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue
) -> None:
    """A message that was accepted elsewhere meanwhile is accepted, whatever this try brought."""
    (message,) = messages(1)
    gateway.delay = 1.0
    async with working(redis.url, gateway.url):
        sending = asyncio.create_task(_only(queue, message))
        await until(lambda: len(gateway.requests) == 1)
        async with EsmsClient(
            CREDENTIALS, base_url=gateway.url, ledger=RedisLedger(redis.url)
        ) as client:
            receipt = await client.send(message)
        assert receipt.request_id == message.request_id
        assert (await sending).ok
    assert gateway.accepted == {message.request_id: 1}


async def _only(queue: MessageQueue, message: Message) -> Any:
    async with queue.send_many([message]) as outcomes:
        (outcome,) = [each async for each in outcomes]
    return outcome


@pytest.mark.parametrize("word", ["paused"])
async def test_a_paused_queue_takes_nothing(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue, word: str
) -> None:
    """Workers finish what they hold, and go on when the pause ends."""
    with redis.client() as client:
        client.hset("esms:queue:facts", word, "1")
        async with working(redis.url, gateway.url) as running:
            await until(lambda: running.worker.problems() == [])
            await queue.put(messages(1)[0])
            await asyncio.sleep(1.5)
            assert gateway.requests == []
            client.hdel("esms:queue:facts", word)
            await until(lambda: gateway.accepted.total() == 1)
