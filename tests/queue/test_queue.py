"""The queue as those who fill it see it."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from esms_async import (
    ConfigurationError,
    InvalidMessage,
    Message,
    RequestIdConflict,
    UsageError,
)
from esms_async.queue import MessageQueue, QueueError
from tests.ledger.redis_server import RedisServer, free_port
from tests.queue.support import KEY, Gateway, messages, until, working


async def test_attached_again_a_batch_goes_on(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue
) -> None:
    """What was accepted is told at once without attempts; the rest is put in anew, once."""
    async with (
        working(redis.url, gateway.url),
        queue.send_many(messages(5), batch="b") as outcomes,
    ):
        assert [outcome.ok async for outcome in outcomes] == [True] * 5
    first = queue.send_many(messages(8), batch="b", concurrency=8)
    told = [await anext(first) for _ in range(5)]
    assert all(outcome.receipt and not outcome.receipt.attempts for outcome in told)
    following = asyncio.create_task(anext(first))

    async def waits() -> bool:
        return await queue.depth() == 3

    await until(waits)
    await first.detach()
    assert (await following).status.value == "unknown"
    assert first.batch == "b"
    again = queue.send_many(messages(6), batch="b", ordered=True)
    async with working(redis.url, gateway.url) as running, again:
        assert [outcome.ok async for outcome in again] == [True] * 6
        # Three of the run before are void, and one of them was put in anew.
        await until(lambda: running.statuses == {"void": 3, "accepted": 1})
    assert gateway.accepted == Counter(each.request_id for each in messages(6))


async def test_two_messages_with_one_id_are_not_one(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue
) -> None:
    """The second one is refused, as it is without a queue."""
    first = Message("0901888484", "686868 la ma", request_id="order-1")
    second = Message("0901888485", "686868 la ma", request_id="order-1")
    async with working(redis.url, gateway.url), queue.send_many([first, second]) as outcomes:
        ended = {outcome.message: outcome.error async for outcome in outcomes}
    assert ended[first] is None
    assert type(ended[second]) is RequestIdConflict
    assert gateway.requests == ["order-1"]


async def test_a_message_twice_in_a_stream_has_two_outcomes(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue
) -> None:
    """It is put in once, and both get its outcome."""
    message = messages(1)[0]
    async with working(redis.url, gateway.url), queue.send_many([message, message]) as outcomes:
        assert [outcome.ok async for outcome in outcomes] == [True, True]
    assert gateway.requests == [message.request_id]


async def test_another_process_that_follows_a_batch_ends_the_first(
    queue: MessageQueue,
) -> None:
    """The first one says so."""
    first = queue.send_many(messages(1), batch="b")
    following = asyncio.create_task(anext(first))

    async def waits() -> bool:
        return await queue.depth() == 1

    await until(waits)
    second = queue.send_many(messages(1), batch="b")
    taking_over = asyncio.create_task(anext(second))
    error = (await following).error
    assert "taken over batch 'b'" in str(error)
    await first.aclose()
    await second.detach()
    assert not (await taking_over).ok


async def test_a_server_that_goes_and_comes_back_is_waited_for(gateway: Gateway) -> None:
    """send_many goes on; put says that the message may not be there."""
    with RedisServer({"appendonly": "yes", "appendfsync": "always"}) as server:
        async with MessageQueue(server.url, key=KEY) as queue:
            await queue.put(messages(1)[0])
            server.kill()
            with pytest.raises(QueueError, match="can't be used"):
                await queue.put(messages(1)[0])
            following = queue.send_many(messages(3)[1:])
            first = asyncio.create_task(anext(following))
            await asyncio.sleep(0.3)
            server.start()

            async def waits() -> bool:
                return await queue.depth() >= 3

            await until(waits)
            server.kill()
            await asyncio.sleep(1.2)
            server.start()
            async with working(server.url, gateway.url):
                assert (await first).ok
                await following.aclose()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"url": "redis://a,b"}, "Redis Cluster"),
        ({"url": "http://a"}, "can't be read"),
        ({"url": "redis://["}, "can't be read"),
        ({"name": "a b"}, "name of a queue"),
        ({"key": "x"}, "32 bytes"),
        ({"key": ","}, "32 bytes"),
        ({"key": ""}, "must not be empty"),
        ({"key": None}, "set ESMS_QUEUE_KEY"),
    ],
)
def test_what_can_not_work_is_refused(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], words: str
) -> None:
    """The error names what to do, and shows no URL."""
    monkeypatch.delenv("ESMS_QUEUE_KEY", raising=False)
    monkeypatch.delenv("ESMS_QUEUE_CLEAR", raising=False)
    options = {"url": "redis://127.0.0.1", "key": KEY} | change
    with pytest.raises(ConfigurationError, match=words):
        MessageQueue(**options)


async def test_in_clear_only_when_asked_for(
    redis: RedisServer, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ESMS_QUEUE_CLEAR=1 leaves texts readable; without it they are not."""
    monkeypatch.setenv("ESMS_QUEUE_CLEAR", "1")
    for key, is_clear in ((KEY, False), (None, True)):
        with redis.client() as client:
            client.flushall()
        async with MessageQueue(redis.url, key=key) as queue:
            await queue.put(Message("0901888484", "686868 la ma"))
            reply = await queue._streams.run("XRANGE", "esms:queue:otp", "-", "+")
        assert (b"686868" in reply[0][1][b"m"]) is is_clear
    async with working(redis.url, gateway.url, keys=""):
        await until(lambda: gateway.accepted.total() == 1)


async def test_it_is_used_inside_its_context(redis: RedisServer) -> None:
    """Closed, or opened twice, it says so; what is not a Message, and no lane, are refused."""
    queue = MessageQueue(redis.url, key=KEY)
    assert KEY not in repr(queue)
    with pytest.raises(UsageError, match="async with"):
        await queue.depth()
    async with queue:
        with pytest.raises(UsageError, match="open already"):
            async with queue:
                pass
        with pytest.raises(InvalidMessage, match="not a Message"):
            await queue.put(cast("Message", "text"))
        with pytest.raises(ConfigurationError, match="lane must be otp or bulk"):
            await queue.put(messages(1)[0], lane="fast")
        with pytest.raises(ConfigurationError, match="batch"):
            queue.send_many([], batch="")
    with pytest.raises(QueueError):
        async with MessageQueue(f"redis://127.0.0.1:{free_port()}", key=KEY):
            pass


async def test_a_node_of_a_cluster_is_refused() -> None:
    """The error says what to do instead."""
    with (
        RedisServer({"cluster-enabled": "yes"}) as server,
        pytest.raises(ConfigurationError, match="several queues"),
    ):
        await MessageQueue(server.url, key=KEY).__aenter__()


async def test_a_message_for_later_lives_from_its_time_on(
    queue: MessageQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `expires_at`, the ten minutes of a code begin when it may be sent."""
    written: list[dict[str, Any]] = []
    write = queue._cipher.write

    def spy(fields: dict[str, Any], request_id: str) -> Any:
        written.append(dict(fields))
        return write(fields, request_id)

    monkeypatch.setattr(queue._cipher, "write", spy)
    later = datetime.now(UTC) + timedelta(hours=1)
    await queue.put(Message("0901888484", "la ma xac minh cua ban", send_at=later))
    (fields,) = written
    assert datetime.fromisoformat(fields["expires_at"]) == later + timedelta(minutes=10)


async def test_one_message_after_the_other_has_its_outcome(
    redis: RedisServer, gateway: Gateway, queue: MessageQueue
) -> None:
    """The batch is begun once, by its first message."""
    async with (
        working(redis.url, gateway.url),
        queue.send_many(messages(3), batch="b", concurrency=1) as outcomes,
    ):
        assert [outcome.ok async for outcome in outcomes] == [True] * 3
