"""Commands to a Redis server; those that gather in one turn of the event loop go out together."""

import asyncio
import re
from collections import deque
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from esms_async.errors import LedgerError, UsageError
from esms_async.ledger.base import UnreadableEntry
from esms_async.ledger.redis_scripts import Script

# Small enough that one batch's replies are read while the server works on the next.
_LARGEST_BATCH: Final = 128
_BATCHES_IN_FLIGHT: Final = 4

_SETTABLE: Final[dict[str, Any]] = {
    "socket_timeout": 5.0,
    "socket_connect_timeout": 5.0,
    "protocol": 2,
}
_SET: Final[dict[str, Any]] = {
    "max_connections": _BATCHES_IN_FLIGHT,
    "decode_responses": True,
    # Of a command whose answer is lost nobody knows whether it took effect. Sent again, a claim
    # would come back as the resumption of itself.
    "retry": Retry(NoBackoff(), 0),
}

# Where in a script it was, and the arguments, in which a phone number or a text may stand.
_NOISE: Final = re.compile(r"user_script:\d+: | script: .*|, with args .*")

# Words of the server, of Lua and of the scripts on what is stored under one key.
_OF_ONE_ENTRY: Final = re.compile(r"WRONGTYPE|user_script:\d+: |it holds an entry")

_Reply = Any  # What redis-py makes of a reply depends on the command.
_Job = tuple[tuple[str, ...], "asyncio.Future[_Reply]"]


class RedisAddress:
    """A Redis server, and how to get in.

    Args:
        url: `redis://`, `rediss://` or `unix://`, with the options that redis-py takes in a URL.

    Raises:
        LedgerError: It can't be read. The text does not show it, for it may hold a password.
    """

    def __init__(self, url: str) -> None:
        try:
            self._options: dict[str, Any] = {**_SETTABLE, **parse_url(url), **_SET}
            parts = urlsplit(url)
            if parts.scheme != "unix":
                self._options.setdefault("socket_keepalive", True)
                int(parts.path.strip("/") or 0)  # redis-py takes any other word for database 0
            self.pool()
        except Exception:  # noqa: BLE001  # redis-py has no one kind of error for it
            raise LedgerError(
                "the URL of the Redis server can't be read; write it as "
                "redis://user:password@host:port/0, rediss://… or unix:///path, with what is "
                "special in the user or password percent-encoded"
            ) from None

    def __str__(self) -> str:
        options = self._options
        where = options.get("path") or (
            f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
        )
        return f"{where}, database {options.get('db', 0)}"

    def pool(self) -> BlockingConnectionPool:
        """Return connections to the server, none of them open yet."""
        return BlockingConnectionPool(**self._options)


class RedisBatches:
    """Sends commands in pipelines, a few at once, from one event loop.

    Each command stands for itself, and none is sent twice.

    Args:
        address: The server.
        scripts: The scripts that commands may name by their digests.
    """

    def __init__(self, address: RedisAddress, scripts: Sequence[Script]) -> None:
        self._address = address
        self._scripts = scripts
        self._pool = address.pool()
        self._client = Redis(connection_pool=self._pool)
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Job] = deque()
        self._in_flight: set[asyncio.Task[None]] = set()

    async def run(self, *command: str) -> _Reply:
        """Run a command.

        A caller who is cancelled leaves the command where it is: it may still take effect.

        Args:
            *command: The command and its arguments.

        Returns:
            The reply.

        Raises:
            LedgerError: The server is away or refused the command, or the answer is lost.
            UsageError: This is another event loop than the one that all began with.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            raise UsageError("a RedisLedger is open for one event loop; open another for this one")
        done: asyncio.Future[_Reply] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._dispatch)
        self._waiting.append((command, done))
        return await done

    async def load_scripts(self) -> None:
        """Have the server keep the scripts.

        Raises:
            LedgerError: The server is away, or refuses them.
        """
        try:
            for script in self._scripts:
                await self._client.script_load(script.text)
        except Exception as error:  # noqa: BLE001  # whatever it is, the claimant must be told
            raise self._as_ledger_error(error) from None

    async def aclose(self) -> None:
        """Run what was asked for, and close the connections."""
        try:
            self._dispatch()
            while self._in_flight:
                await asyncio.wait(self._in_flight)
        finally:
            await self._pool.disconnect()

    def _dispatch(self) -> None:
        while self._waiting and len(self._in_flight) < _BATCHES_IN_FLIGHT:
            size = min(len(self._waiting), _LARGEST_BATCH)
            batch = [self._waiting.popleft() for _ in range(size)]
            task = self._loop.create_task(self._execute(batch))
            self._in_flight.add(task)
            task.add_done_callback(self._make_room)

    def _make_room(self, ended: "asyncio.Task[None]") -> None:
        self._in_flight.discard(ended)
        self._dispatch()

    async def _execute(self, batch: Sequence[_Job]) -> None:
        """Give every job of a batch its reply or its error, whatever happens."""
        try:
            unknown = await self._send(batch)
            if unknown:
                # A server that was started anew has forgotten the scripts; it ran none of these.
                await self.load_scripts()
                unknown = await self._send(unknown)
        except BaseException as error:
            self._fail(batch, error)
            if not isinstance(error, Exception):
                raise
        else:
            self._fail(unknown, RedisError("it does not keep the scripts that it is given"))

    async def _send(self, batch: Sequence[_Job]) -> list[_Job]:
        """Run jobs, and return those of whose script the server knows nothing."""
        pipeline = self._client.pipeline(transaction=False)
        for command, _ in batch:
            pipeline.execute_command(*command)  # pyright: ignore[reportUnknownMemberType]  # it has no types
        replies = await pipeline.execute(raise_on_error=False)
        unknown: list[_Job] = []
        for job, reply in zip(batch, replies, strict=True):
            if isinstance(reply, NoScriptError):
                unknown.append(job)
            elif isinstance(reply, Exception):
                self._fail([job], reply)
            elif not job[1].done():
                job[1].set_result(reply)
        return unknown

    def _fail(self, jobs: Sequence[_Job], error: BaseException) -> None:
        for _, done in jobs:
            if not done.done():
                done.set_exception(self._as_ledger_error(error))

    def _as_ledger_error(self, error: BaseException) -> LedgerError:
        if isinstance(error, LedgerError):
            return LedgerError(*error.args)
        words = _NOISE.sub("", " ".join(str(error).split()))
        kind = UnreadableEntry if _OF_ONE_ENTRY.match(str(error)) else LedgerError
        return kind(
            f"the ledger on Redis {self._address} can't be used: {words or type(error).__name__}"
        )
