"""Keeps a queue on a Redis server: its keys, its scripts, and the commands on them."""

import asyncio
import functools
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import attrs

from esms_async import ConfigurationError, EsmsError
from esms_async._model.request_ids import REQUEST_ID
from esms_async._redis import RedisAddress, RedisBatches, Script
from esms_async.ledger.redis_scripts import script as ledger_script

LANES: Final = ("otp", "bulk")
"""The lanes, the first one first."""

GROUP: Final = "workers"
FREE: Final = "free"
"""Stands as the holder of a message that its worker gave back."""

LEASE: Final = 5.0
"""Seconds after which others take over what a worker does not renew."""

KEPT: Final = 7 * 24 * 3600
"""Seconds for which the outcomes of a batch are kept after the last one."""

MILLISECONDS: Final = str(int(LEASE * 1000))
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,50}")
_BLOCK: Final = "1000"
_SUSPECTED: Final = str(24 * 3600)
_PAGE: Final = 500
# The deaths of a message, whether it is void, and the lengths of its parts.
_NUMBERS: Final = struct.Struct("<IB7I")

Fields = dict[bytes, bytes]


class QueueError(EsmsError, ConnectionError):
    """The queue's Redis server can't be used; a message that was put in may or may not be there."""


class QueuedText(NamedTuple):
    """A message as it is put into a lane.

    Attributes:
        lane: The lane.
        more: Names and values of further fields, which many messages share.
        request_id: Its RequestId.
        written: The message, as `MessageCipher` wrote it.
    """

    lane: str
    more: tuple[tuple[str, str], ...]
    request_id: str
    written: bytes


@attrs.frozen(slots=False)  # an instance with a dict is made in half the time
class QueueDelivery:
    """A message that this worker holds.

    Attributes:
        stream: The key of its stream.
        id: Its id there.
        request_id: Its RequestId, as far as it can be read.
        written: The message, as `MessageCipher` wrote it.
        batch: The batch that follows its outcome, or an empty text.
        run: Which run of the batch put it in, or 0.
        trace: Its trace context: `traceparent` and `tracestate`.
        deaths: How many workers died while they had it.
        is_void: True if a later run of its batch has put it in again.
    """

    stream: str
    id: str
    request_id: str = ""
    written: bytes = attrs.field(default=b"", repr=False)
    batch: str = ""
    run: int = 0
    trace: tuple[str, str] = "", ""
    deaths: int = 0
    is_void: bool = False


@attrs.frozen
class SharedState:
    """What the workers of a queue share.

    Attributes:
        breakers: The open breakers that hold for all of them, each with its remedy.
        parked: The streams of messages whose route waits.
        facts: Other facts: `form`, the form in which messages are written now, and `paused`.
    """

    breakers: dict[str, str] = attrs.field(factory=dict[str, str])
    parked: frozenset[str] = frozenset()
    facts: dict[str, str] = attrs.field(factory=dict[str, str])


def ledger_prefix(name: str) -> str:
    """Return what the keys of a queue's ledger begin with."""
    return f"{name}:send:"


class QueueStreams:
    """The Redis side of one queue, from one event loop.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        name: The name of the queue.

    Raises:
        ConfigurationError: One of them can't be used.
    """

    def __init__(self, url: str, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"the name of a queue must be 1 to 50 letters, digits, _ or -, not {name!r}"
            )
        _refuse_cluster(url)
        self.address: RedisAddress = RedisAddress(url)
        self.name: str = name
        self.prefix: str = f"{name}:queue:"
        self._open: dict[str, RedisBatches] = {}
        self._last: dict[str, str] = {}

    def key(self, *parts: str) -> str:
        """Return a key of the queue."""
        return self.prefix + ":".join(parts)

    @property
    def lanes(self) -> list[str]:
        """The keys of the lanes."""
        return [self.key(lane) for lane in LANES]

    def submit(self, *command: str | bytes, channel: str = "") -> "asyncio.Future[Any]":
        """Run a command. Replies are bytes. A command that waits needs a channel of its own.

        Raises:
            QueueError: The server can't be used.
        """
        batches = self._open.get(channel)
        if batches is None:
            batches = self._open[channel] = RedisBatches(
                self.address, scripts(), name="queue", failure=QueueError, decode=False
            )
        return batches.submit(*command)

    async def run(self, *command: str | bytes, channel: str = "") -> Any:  # noqa: ANN401  # what redis-py makes of a reply
        """Run a command, and wait for its reply."""
        return await self.submit(*command, channel=channel)

    def script(
        self, name: str, keys: Sequence[str], *arguments: str | bytes, channel: str = ""
    ) -> "asyncio.Future[Any]":
        """Run a script."""
        digest, count = script(name).digest, str(len(keys))
        return self.submit("EVALSHA", digest, count, *keys, *arguments, channel=channel)

    async def aclose(self) -> None:
        """Close the connections."""
        while self._open:
            _, batches = self._open.popitem()
            await batches.aclose()

    async def check(self) -> None:
        """See that the server can carry the queue, and make what is missing.

        Raises:
            QueueError: It can't be used now; the error says why.
            ConfigurationError: It is a node of a Redis Cluster.
        """
        memory = await self.run("INFO", "memory")
        if (await self.run("INFO", "cluster")).get("cluster_enabled"):
            raise _cluster_error()
        policy = memory.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            raise QueueError(
                f"Redis {self.address} has maxmemory-policy {policy}: when its memory is full it "
                "forgets messages and what was sent; run: CONFIG SET maxmemory-policy noeviction"
            )
        for lane in self.lanes:
            await self.make_group(lane)

    async def make_group(self, stream: str) -> None:
        """Make the group of workers of a stream, unless it is there."""
        try:
            await self.run("XGROUP", "CREATE", stream, GROUP, "0", "MKSTREAM")
        except QueueError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def put(self, messages: Sequence[QueuedText]) -> None:
        """Add messages to their lanes."""
        alike: dict[tuple[str, tuple[tuple[str, str], ...]], list[str | bytes]] = {}
        for lane, more, request_id, written in messages:
            alike.setdefault((lane, more), []).extend((request_id, written))
        scripts: list[asyncio.Future[Any]] = []
        for (lane, more), told in alike.items():
            fields = [part for pair in more for part in pair]
            scripts.append(self.script("put", [self.key(lane)], str(len(fields)), *fields, *told))
        await asyncio.gather(*scripts)

    async def take(
        self, stream: str, worker: str, count: int, *, wait: bool = False, lease: str = ""
    ) -> list[QueueDelivery]:
        """Take messages out of a stream.

        Args:
            stream: The key of the stream.
            worker: Who takes them.
            count: How many at most.
            wait: True waits a second for a new one.
            lease: Milliseconds; messages are taken over that their workers have not renewed for
                so long. Empty: new ones.
        """
        channel = stream if wait and stream in self._last else ""
        travelling: list[asyncio.Future[Any]] = []
        if channel:
            # The server begins the script when this ends: they are one round trip.
            wait_for = ("STREAMS", stream, self._last[stream])
            travelling.append(self.submit("XREAD", "BLOCK", _BLOCK, *wait_for, channel=channel))
        keys = [stream, f"{stream}:deaths", self.key("workers")]
        arguments = (GROUP, worker, str(count), self.key("run", ""), lease)
        travelling.append(self.script("take", keys, *arguments, channel=channel))
        *_, (last, numbers, parts) = await asyncio.gather(*travelling)
        if last:
            self._last[stream] = last.decode()
        return list(_deliveries(stream, numbers, parts))

    async def latest_run(self, batch: str) -> int:
        """Return the number of the latest run of a batch; 0 where there is none."""
        return int(await self.run("GET", self.key("run", batch)) or 0)

    async def begin_run(self, batch: str) -> int:
        """Begin a run of a batch, which makes void what earlier runs have still in the queue."""
        key = self.key("run", batch)
        run = int(await self.run("INCR", key))
        await self.run("EXPIRE", key, str(KEPT))
        return run

    async def reports(self, batch: str, after: str, *, wait: bool) -> list[tuple[str, str]]:
        """Read the reports of a batch after a position, each with its position."""
        block, key = ("BLOCK", _BLOCK) if wait else (), self.key("outcomes", batch)
        reply = await self.run(
            *("XREAD", "COUNT", str(_PAGE), *block, "STREAMS", key, after), channel=key
        )
        entries = reply[0][1] if reply else ()
        return [
            (key.decode(), text)
            for key, fields in entries
            for text in _text(fields.get(b"report", b"")).split("\n")
        ]

    async def renew(
        self, worker: str, held: Iterable[QueueDelivery], stopped_by: str = ""
    ) -> SharedState:
        """Say that a worker lives, renew what it holds, and return what the workers share.

        Args:
            worker: The worker.
            held: What it holds.
            stopped_by: The open breakers that stop it, or an empty text.
        """
        ids: dict[str, list[str]] = {lane: [] for lane in self.lanes}
        for delivery in held:
            ids.setdefault(delivery.stream, []).append(delivery.id)
        keys = [self.key(each) for each in ("workers", "stopped", "breakers", "parked", "facts")]
        counted = [part for each in ids.values() for part in (str(len(each)), *each)]
        told = (GROUP, worker, stopped_by, *counted)
        breakers, parked, facts = await self.script("renew", [*keys, *ids], *told)
        return SharedState(
            _pairs(breakers), frozenset(each.decode() for each in parked), _pairs(facts)
        )

    async def leave(self, worker: str) -> None:
        """Say that a worker ended in good order; it holds nothing any more."""
        await self.run("ZREM", self.key("workers"), worker)
        await self.run("HDEL", self.key("stopped"), worker)
        for lane in self.lanes:
            pending = await self.run("XPENDING", lane, GROUP)
            if all(each["name"] != worker.encode() for each in pending["consumers"]):
                await self.run("XGROUP", "DELCONSUMER", lane, GROUP, worker)

    async def move(
        self, delivery: QueueDelivery, stream: str, *, why: str = "", report: str = ""
    ) -> None:
        """Move a message to another stream: the dead ones, with a reason, or a parked one."""
        keys = [
            delivery.stream,
            f"{delivery.stream}:deaths",
            stream,
            self.key("parked"),
            self.key("outcomes", delivery.batch) if report and delivery.batch else "",
        ]
        lane = delivery.stream.removeprefix(self.prefix)
        await self.script("move", keys, GROUP, delivery.id, lane, why, report, str(KEPT))

    async def release(self, stream: str, *ids: str) -> int:
        """Move messages back to their lanes: those with the ids, or else all; return how many."""
        keys, count = [stream, self.key("parked")], 0
        # What comes meanwhile stays: workers may bring the same messages back at once.
        last = await self._newest(stream) or b"-"
        told: tuple[str | bytes, ...] = (self.prefix, str(_PAGE), last, *ids)
        while moved := await self.script("release", keys, *told):
            count += int(moved)
            if ids:
                break
        return count

    async def drop(self, stream: str, *ids: str) -> int:
        """Delete messages: those with the ids, or else all that are there; return how many."""
        if ids:
            return int(await self.run("XDEL", stream, *ids))
        if not (newest := await self._newest(stream)):
            return 0
        # What comes meanwhile stays, because nobody has seen it.
        milliseconds, _, number = newest.decode().partition("-")
        return int(await self.run("XTRIM", stream, "MINID", f"{milliseconds}-{int(number) + 1}"))

    async def _newest(self, stream: str) -> bytes:
        """Return the id of the newest entry; empty where there is none."""
        found = await self.run("XREVRANGE", stream, "+", "-", "COUNT", "1")
        newest: bytes = found[0][0] if found else b""
        return newest

    async def set_fact(self, name: str, value: str | None, *, of: str = "facts") -> None:
        """Set what the workers share, or take it away."""
        command = (
            ("HDEL", self.key(of), name) if value is None else ("HSET", self.key(of), name, value)
        )
        await self.run(*command)

    async def fact(self, name: str) -> str | None:
        """Return what the workers share under a name."""
        value = await self.run("HGET", self.key("facts"), name)
        return None if value is None else value.decode()

    async def suspect(self, breaker: str, request_id: str) -> None:
        """Have all workers know a message that met a fault which another one did not meet."""
        key = self.key("suspect", breaker, request_id)
        await self.run("SET", key, "new", "EX", _SUSPECTED)

    async def suspicion(self, breaker: str, request_id: str) -> str:
        """Return `new` for a suspect when it is first asked for, then `known`; else nothing."""
        key = self.key("suspect", breaker, request_id)
        known: bytes | None = await self.run("GET", key)
        if known == b"new":
            await self.run("SET", key, "known", "XX", "KEEPTTL")
        return "" if known is None else known.decode()

    async def depth(self) -> dict[str, int]:
        """Return how many messages wait or are under way, by lane; `parked` wait for a route."""
        parked = sorted(await self.run("SMEMBERS", self.key("parked")))
        streams = [*self.lanes, *(each.decode() for each in parked)]
        lengths = [
            int(each) for each in await asyncio.gather(*(self.run("XLEN", key) for key in streams))
        ]
        return dict(zip(LANES, lengths, strict=False)) | {"parked": sum(lengths[len(LANES) :])}


def _deliveries(stream: str, numbers: bytes, parts: bytes) -> Iterator[QueueDelivery]:
    """Read what `take.lua` answers with."""
    end = 0
    for deaths, is_void, *lengths in _NUMBERS.iter_unpack(numbers):
        found: list[bytes] = []
        for length in lengths:
            begin, end = end, end + length
            found.append(parts[begin:end])
        key, request_id, written, batch, run, parent, state = found
        yield QueueDelivery(
            stream,
            key.decode(),
            _text(request_id),
            written,
            _text(batch),
            int(run) if run.isdigit() and len(run) < 19 else 0,
            (_text(parent), _text(state)),
            deaths,
            bool(is_void),
        )


def _text(part: bytes) -> str:
    return part.decode("utf-8", "replace")


def redact_id(request_id: str) -> str:
    """Return a RequestId as it may be shown; what has another form could be anything."""
    return request_id if REQUEST_ID.fullmatch(request_id) else ""


def _pairs(flat: Sequence[bytes]) -> dict[str, str]:
    return texts(dict(zip(flat[::2], flat[1::2], strict=True)))


def texts(fields: Fields) -> dict[str, str]:
    """Return fields as texts."""
    return {_text(name): _text(value) for name, value in fields.items()}


@functools.cache
def script(name: str) -> Script:
    """Return a script of the queue."""
    text = files("esms_async.queue").joinpath(f"{name}.lua").read_text("utf-8")
    for part in ("settle", "turn"):
        text = text.replace(f"${part.upper()}", ledger_script(part).text)
    return Script.of(text)


@functools.cache
def scripts() -> tuple[Script, ...]:
    """Return all scripts of the queue."""
    return tuple(map(script, ("finish", "move", "put", "release", "renew", "take")))


def _refuse_cluster(url: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return  # RedisAddress says what is wrong with it
    if "cluster" in parts.scheme or "," in parts.netloc:
        raise _cluster_error()


def _cluster_error() -> ConfigurationError:
    return ConfigurationError(
        "the queue does not run on a Redis Cluster, because one script reads several keys; give "
        "the URL of one primary, and use several queues where one server is not enough"
    )
