"""Reads what a queue's server knows: what waits, who works, what is broken and what is dead."""

from datetime import UTC, datetime
from typing import Any

from esms_async.queue.streams import (
    FREE,
    GROUP,
    LANES,
    LEASE,
    Fields,
    QueueError,
    QueueStreams,
    redact_id,
    texts,
)

_PAGE = "500"


async def look_at(streams: QueueStreams) -> dict[str, Any]:
    """Return what waits, who works and what is broken, as values that JSON takes.

    Raises:
        QueueError: The server can't be used.
    """
    depth = await streams.depth()
    seconds, microseconds = await streams.run("TIME")
    now = int(seconds) + int(microseconds) / 1e6
    lanes: dict[str, dict[str, float]] = {}
    for lane in LANES:
        under_way = await _under_way(streams, lane)
        oldest = await streams.run("XRANGE", streams.key(lane), "-", "+", "COUNT", "1")
        began = _began(*oldest[0]) if oldest else now
        lanes[lane] = {
            "waiting": max(0, depth[lane] - under_way),
            "under_way": under_way,
            "oldest_seconds": round(max(0.0, now - began), 3),
        }
    since = str(now - LEASE)
    alive = await streams.run("ZRANGEBYSCORE", streams.key("workers"), since, "+inf")
    workers = [name.decode() for name in alive]
    stopped = texts(await streams.run("HGETALL", streams.key("stopped")))
    memory = await streams.run("INFO", "memory")
    return {
        "name": streams.name,
        "depth": sum(depth.values()),
        "lanes": lanes,
        "parked": depth["parked"],
        "dead": int(await streams.run("XLEN", streams.key("dead"))),
        "workers": workers,
        "stopped": {worker: stopped[worker] for worker in workers if worker in stopped},
        # Workers can't even say that they are there then.
        "out_of_memory": 0 < memory.get("maxmemory", 0) <= memory.get("used_memory", 0),
        "paused": bool(await streams.run("HEXISTS", streams.key("facts"), "paused")),
        "breakers": texts(await streams.run("HGETALL", streams.key("breakers"))),
    }


def _began(key: bytes, fields: Fields) -> float:
    """Return when a message was put in, in seconds since the epoch."""
    # One that a breaker held up has moved to the end of its lane, under another id.
    since = fields.get(b"since", b"")
    return int(since if since.isdigit() else key.partition(b"-")[0]) / 1000


async def _under_way(streams: QueueStreams, lane: str) -> int:
    """Return how many messages of a lane workers hold."""
    try:
        pending = await streams.run("XPENDING", streams.key(lane), GROUP)
    except QueueError as error:
        if "NOGROUP" not in str(error):
            raise
        return 0  # no worker has been there yet
    # A message that was given back waits, like one that nobody has taken.
    consumers = pending["consumers"] or ()
    return sum(int(each["pending"]) for each in consumers if each["name"] != FREE.encode())


async def dead_messages(streams: QueueStreams) -> list[dict[str, str]]:
    """Return the dead messages: id, when, request id, lane and why.

    Raises:
        QueueError: The server can't be used.
    """
    found: list[dict[str, str]] = []
    first = "-"
    while entries := await streams.run("XRANGE", streams.key("dead"), first, "+", "COUNT", _PAGE):
        found.extend(_dead(key.decode(), fields) for key, fields in entries)
        first = f"({found[-1]['id']}"
    return found


def _dead(key: str, fields: Fields) -> dict[str, str]:
    told = texts(fields)
    moment = datetime.fromtimestamp(int(key.partition("-")[0]) / 1000, UTC)
    return {
        "id": key,
        "at": moment.isoformat(timespec="seconds"),
        "request_id": redact_id(told.get("r", "")),
        "lane": told.get("lane", ""),
        "reason": told.get("why", ""),
    }
