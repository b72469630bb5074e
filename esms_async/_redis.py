"""Connects to a Redis server, and sends the commands of one turn of the event loop together."""

import asyncio
import functools
import hashlib
import re
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, Self, cast
from urllib.parse import urlsplit

import attrs
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from esms_async._model.errors import ConfigurationError, EsmsError, LedgerError, UsageError
from esms_async._reads import read_less

# Small enough, so the client reads one batch's replies while the server works on the next.
_LARGEST_BATCH: Final = 128
_BATCHES_IN_FLIGHT: Final = 4

_DEFAULTS: Final[dict[str, Any]] = {
    "socket_timeout": 5.0,
    "socket_connect_timeout": 5.0,
    "protocol": 2,
}
_FIXED: Final[dict[str, Any]] = {
    "max_connections": _BATCHES_IN_FLIGHT,
    "decode_responses": True,
    # No retry: a command whose answer is lost may have taken effect, and a repeated claim would
    # look like a second claim.
    "retry": Retry(NoBackoff(), 0),
}

# The place in a script, and the arguments, which may hold a phone number or a text.
_NOISE: Final = re.compile(r"user_script:\d+: | script: .*|, with args .*")

# Errors of the server, of Lua and of our scripts about the value of one key.
_ABOUT_ONE_ENTRY: Final = re.compile(r"WRONGTYPE|user_script:\d+: |it holds an entry")

_Reply = Any  # What redis-py makes of a reply depends on the command.
_Job = tuple[tuple[str | bytes, ...], "asyncio.Future[_Reply]"]


@attrs.frozen
class Script:
    """A Lua script, by the digest under which the server keeps it.

    Attributes:
        text: The script.
        digest: The SHA-1 of its text.
    """

    text: str
    digest: str

    @classmethod
    def of(cls, text: str) -> Self:
        """Return the script with a text."""
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


class _Pool(BlockingConnectionPool):
    """A pool whose connections read a little at a time.

    redis-py's own hook for new connections warns under Python 3.14.
    """

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        """Connect, and limit the reads of what may be a new connection."""
        await super().ensure_connection(connection)
        writer = connection._writer  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # no public name
        read_less(writer and writer.transport)


class RedisAddress:
    """The address of a Redis server, with its options and password.

    Attributes:
        timeout: The seconds to wait for an answer, or None.

    Args:
        url: `redis://`, `rediss://` or `unix://`, with the options that redis-py takes in a URL.

    Raises:
        ConfigurationError: The URL can't be read. The text omits it: it may hold a password.
    """

    def __init__(self, url: str) -> None:
        try:
            self._options: dict[str, Any] = {**_DEFAULTS, **parse_url(url), **_FIXED}
            self.timeout: float | None = self._options["socket_timeout"]
            parts = urlsplit(url)
            if parts.scheme != "unix":
                self._options.setdefault("socket_keepalive", True)
                int(parts.path.strip("/") or 0)  # redis-py takes any other word for database 0
            self.pool()
        except Exception:  # noqa: BLE001  # redis-py has no one kind of error for it
            raise ConfigurationError(
                "the URL of the Redis server can't be read; write it as "
                "redis://user:password@host:port/0, rediss://… or unix:///path, with special "
                "characters in the user or password percent-encoded"
            ) from None

    def __str__(self) -> str:
        options = self._options
        where = options.get("path") or (
            f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
        )
        return f"{where}, database {options.get('db', 0)}"

    def pool(self, **options: Any) -> BlockingConnectionPool:  # noqa: ANN401  # of many types
        """Return a pool of connections, none open yet, with options of redis-py."""
        return _Pool(**self._options | options)


class RedisBatches:
    """Sends commands in pipelines, a few at once, from one event loop.

    Commands are independent, and none is sent twice.

    Args:
        address: The server.
        scripts: The scripts that commands may name by their digests.
        name: What the data are called in error texts.
        failure: The error to raise if the server can't be used.
        unreadable: The error to raise if one entry can't be used; None for `failure`.
        decode: False leaves replies as bytes.
    """

    def __init__(
        self,
        address: RedisAddress,
        scripts: Sequence[Script] = (),
        *,
        name: str = "ledger",
        failure: type[EsmsError] = LedgerError,
        unreadable: type[EsmsError] | None = None,
        decode: bool = True,
    ) -> None:
        self._address = address
        self._scripts = scripts
        self._name = name
        self._failure = failure
        self._unreadable = failure if unreadable is None else unreadable
        # `_execute` has one time limit a batch; redis-py would make a timer for each reply.
        self._pool = address.pool(socket_timeout=None, decode_responses=decode)
        self._client = Redis(connection_pool=self._pool)
        self._idle: list[Connection] = []
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Job] = deque()
        self._in_flight: set[asyncio.Task[None]] = set()

    async def run(self, *command: str | bytes) -> _Reply:
        """Run a command and return its reply. Cancelled, it may still take effect.

        Raises:
            EsmsError: `failure`: the server is unreachable or refused the command, or the answer
                is lost; `unreadable`: the value of the key can't be used.
            UsageError: This is another event loop than the one that made this object.
        """
        reply = self.submit(*command)
        # Error trackers record the locals of every frame, and a phone number may stand in it.
        del command
        return await reply

    def submit(self, *command: str | bytes) -> "asyncio.Future[_Reply]":
        """Run a command, and return the future of its reply, with the errors of `run`."""
        self.require_loop()
        done: asyncio.Future[_Reply] = self._loop.create_future()
        if not self._waiting:
            self._loop.call_soon(self._dispatch)
        self._waiting.append((command, done))
        return done

    def require_loop(self) -> None:
        """Raise UsageError if this is another event loop than the one that made this object."""
        if asyncio.get_running_loop() is not self._loop:
            raise UsageError(
                f"the {self._name} on Redis {self._address} is open for one event loop; open "
                "another for this one"
            )

    async def load_scripts(self) -> None:
        """Load the scripts into the server; raise `failure` if it refuses."""
        # Through the connections of the batches, which may be all that the pool allows.
        jobs: list[_Job] = [
            (("SCRIPT LOAD", script.text), self._loop.create_future()) for script in self._scripts
        ]
        try:
            async with asyncio.timeout(self._address.timeout):
                await self._send(jobs)
        except Exception as error:  # noqa: BLE001  # whatever it is, the caller must learn it
            raise self.error(error) from None
        await asyncio.gather(*(done for _, done in jobs))

    async def aclose(self) -> None:
        """Run the commands that wait, and close the connections."""
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
            task.add_done_callback(functools.partial(self._make_room, batch))

    def _make_room(self, batch: Sequence[_Job], ended: "asyncio.Task[None]") -> None:
        self._in_flight.discard(ended)
        # A task that is cancelled before its first step never runs.
        if ended.cancelled():
            self._fail(batch, RedisError("the command was cancelled before it was sent"))
        self._dispatch()

    async def _execute(self, batch: Sequence[_Job]) -> None:
        """Give every job of a batch its reply or its error, whatever happens."""
        try:
            async with asyncio.timeout(self._address.timeout):
                unknown = await self._send(batch)
            if unknown:
                # A restarted server has lost the scripts, so it ran none of these.
                await self.load_scripts()
                async with asyncio.timeout(self._address.timeout):
                    unknown = await self._send(unknown)
        except BaseException as error:
            self._fail(batch, error)
            if not isinstance(error, Exception):
                raise
        else:
            self._fail(unknown, RedisError("it does not keep the scripts that it is given"))

    async def _send(self, batch: Sequence[_Job]) -> list[_Job]:
        """Run jobs, and return those whose script the server does not know."""
        unknown: list[_Job] = []
        connection = await self._connected()
        try:
            commands = [command for command, _ in batch]
            await connection.send_packed_command(
                connection.pack_commands(commands), check_health=False
            )
            for job in batch:
                try:
                    reply: _Reply = await self._client.parse_response(connection, job[0][0])  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # it has no types
                except NoScriptError:
                    unknown.append(job)
                except ResponseError as error:
                    self._fail([job], error)
                else:
                    if not job[1].done():
                        job[1].set_result(reply)
        except BaseException:
            # Its next reply would belong to another command.
            await connection.disconnect(nowait=True)
            raise
        finally:
            self._idle.append(connection)
        return unknown

    async def _connected(self) -> Connection:
        """Return a ready connection; a return to the pool after each batch would cost more."""
        if not self._idle:
            return cast("Connection", await self._pool.get_connection())  # type: ignore[no-untyped-call]  # it has no types
        connection = self._idle.pop()
        try:
            await self._pool.ensure_connection(connection)
        except BaseException:
            self._idle.append(connection)
            raise
        return connection

    def _fail(self, jobs: Sequence[_Job], error: BaseException) -> None:
        for _, done in jobs:
            if not done.done():
                done.set_exception(self.error(error))

    def error(self, error: BaseException | str) -> EsmsError:
        """Return the error to raise for an error of redis-py or the server."""
        if isinstance(error, self._failure):
            return self._failure(*error.args)
        words = _NOISE.sub("", " ".join(str(error).split()))
        if isinstance(error, TimeoutError) and not words:
            words = f"Timeout, no answer within {self._address.timeout:g} seconds"
        about_one = _ABOUT_ONE_ENTRY.match(str(error))
        kind = self._unreadable if about_one else self._failure
        return kind(
            f"the {self._name} on Redis {self._address} can't be used: "
            f"{words or type(error).__name__}"
        )
