"""Stores one-time codes on Redis, for any number of processes; needs the extra `redis`."""

import json
from importlib.resources import files
from typing import Any, Final

import attrs

from esms_async import ConfigurationError, LedgerError, UsageError
from esms_async._redis import RedisAddress, RedisBatches, Script
from esms_async.otp.rules import (
    Breaker,
    Claimed,
    CodeClaim,
    Counter,
    Guess,
    GuessResult,
    OtpStoreError,
    Settling,
)
from esms_async.otp.stores import Clock, OtpStore, ProcessClock, clock_error

_PAGE: Final = "500"


def _load(name: str) -> Script:
    folder = files("esms_async.otp")
    text = "".join(folder.joinpath(each).read_text("utf-8") for each in ("common.lua", name))
    return Script.of(text)


class RedisOtpStore(OtpStore):
    """Keeps codes on a Redis server, for any number of processes, on the server's clock.

    It needs one primary, Redis 5 or later, or Valkey. With `appendonly yes` and
    `appendfsync always` the server loses nothing it acknowledged. After a failover that loses the
    last writes, a phone gets at most one more round of guesses, and a code may be accepted twice.

    Args:
        url: `redis://`, `rediss://` or `unix://`, with the options that redis-py takes in a URL.
        prefix: The beginning of the store's keys: `esms` makes them `esms:{otp}:…`.
        clock: Seconds since the epoch, for tests; None for the server's clock.

    Raises:
        ConfigurationError: The URL can't be read, or the prefix is empty or holds a brace.
    """

    def __init__(self, url: str, *, prefix: str = "esms", clock: Clock | None = None) -> None:
        if not prefix or "{" in prefix or "}" in prefix:
            raise ConfigurationError(f"prefix must be a text without braces, not {prefix!r}")
        self._address = RedisAddress(url)
        self._prefix = f"{prefix}:{{otp}}:"
        self._plain_prefix = prefix
        self._tests_clock = clock
        self._clock = ProcessClock(clock)
        self._batches: RedisBatches | None = None
        self._claim, self._verify = _load("claim.lua"), _load("verify.lua")

    def __repr__(self) -> str:
        return f"RedisOtpStore(<{self._address}>, prefix={self._plain_prefix!r})"

    @property
    def is_open(self) -> bool:
        """True between `open` and `aclose`."""
        return self._batches is not None

    async def open(self) -> None:
        """Connect to the server.

        Raises:
            OtpStoreError: The server is unreachable, or refuses the connection.
            ConfigurationError: The server may evict keys when its memory is full.
        """
        if self._batches is not None:
            raise UsageError(f"{self!r} is open already")
        batches = RedisBatches(self._address, (self._claim, self._verify))
        try:
            await batches.load_scripts()
            memory = await batches.run("INFO", "memory")
            _require_noeviction(self._address, memory)
        except LedgerError as error:
            await batches.aclose()
            raise self._as_store_error(error) from None
        except BaseException:
            await batches.aclose()
            raise
        self._batches = batches

    async def aclose(self) -> None:
        """Finish operations under way, and close the connections."""
        if self._batches is not None:
            batches, self._batches = self._batches, None
            await batches.aclose()

    async def claim(self, asked: CodeClaim) -> Claimed:
        """Decide about a start or a resend."""
        reply = await self._run(self._claim, _claim_fields(asked))
        del reply["now"]
        return Claimed(**reply)

    async def settle(self, settling: Settling) -> None:
        """Record the result of a send."""
        fields = attrs.asdict(settling)
        fields |= {"call": "settle", "device": "", "device_until": 0}
        await self._run(self._claim, fields)

    async def verify(self, guess: Guess) -> GuessResult:
        """Count and compare a guess, and use the code up if it is right."""
        fields = _fields(guess)
        fields["wrong"] = [_counter(counter) for counter in guess.wrong]
        return GuessResult(**await self._run(self._verify, fields))

    async def unlock(self, ph: str, purpose: str) -> None:
        """Forget the failures of a phone."""
        await self._command("DEL", f"{self._prefix}f:{ph}:{purpose}")

    async def keep_fact(self, name: str, value: str) -> str:
        """Store a fact unless the store has one of that name; return the one it has now."""
        key = f"{self._prefix}facts"
        await self._command("HSETNX", key, name, value)
        kept: str = await self._command("HGET", key, name)
        return kept

    async def reset_clock(self) -> None:
        """Take the clock's time, and forget codes, sends and counts; locks stay.

        Raises:
            OtpStoreError: No Otp has used the store, as where the prefix is another one.
        """
        if not await self._command("EXISTS", f"{self._prefix}facts"):
            raise OtpStoreError(
                f"there is no store of one-time codes on Redis {self._address}, under the prefix "
                f"{self._plain_prefix!r}"
            )
        cursor = None
        while cursor != "0":
            cursor, keys = await self._command(
                "SCAN", cursor or "0", "MATCH", f"{self._prefix}*", "COUNT", _PAGE
            )
            cursor = str(cursor)
            kept = (f"{self._prefix}f:", f"{self._prefix}facts")
            for key in keys:
                if not key.startswith(kept):
                    await self._command("DEL", key)

    async def _run(self, script: Script, fields: dict[str, Any]) -> dict[str, Any]:
        fields["floor"] = self._clock.floor()
        if self._tests_clock is not None:
            fields["now"] = self._clock.now()
        reply = await self._command(
            "EVALSHA", script.digest, "1", self._prefix, json.dumps(fields, separators=(",", ":"))
        )
        answer: dict[str, Any] = json.loads(reply)
        if "ahead" in answer:
            command = "python -m esms_async.otp reset-clock URL"
            if self._plain_prefix != "esms":
                command += f" --prefix {self._plain_prefix}"
            place = f"on Redis {self._address}"
            raise clock_error(place, int(answer["ahead"]), int(answer["now"]), command)
        self._clock.move_to(int(answer["now"]))
        return answer

    async def _command(self, *command: str) -> Any:  # noqa: ANN401  # what redis-py makes of a reply
        if self._batches is None:
            raise UsageError(f"{self!r} is not open; open it with async with")
        try:
            return await self._batches.run(*command)
        except LedgerError as error:
            raise self._as_store_error(error) from None

    def _as_store_error(self, error: LedgerError) -> OtpStoreError:
        words = str(error).partition("can't be used: ")[2] or str(error)
        return OtpStoreError(
            f"the store of one-time codes on Redis {self._address} can't be used: {words}"
        )


def _require_noeviction(address: RedisAddress, memory: dict[str, Any]) -> None:
    policy = memory.get("maxmemory_policy", "noeviction")
    if memory.get("maxmemory", 0) and policy != "noeviction":
        raise ConfigurationError(
            f"Redis {address} has maxmemory with maxmemory-policy {policy}: when its memory is "
            "full it forgets locks and used codes; run: CONFIG SET maxmemory-policy noeviction"
        )


def _fields(value: CodeClaim | Guess) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in attrs.fields(type(value))}


def _claim_fields(asked: CodeClaim) -> dict[str, Any]:
    fields = _fields(asked)
    fields["phone_caps"] = [(cap.limit, cap.window) for cap in asked.phone_caps]
    fields["counters"] = [_counter(counter) for counter in asked.counters]
    fields["total"] = [_counter(counter) for counter in asked.total]
    fields["breaker"] = _breaker(asked.breaker)
    return fields


def _counter(counter: Counter) -> tuple[str, str, int, int]:
    return counter.reason, counter.key, counter.cap.limit, counter.cap.window


def _breaker(breaker: Breaker | None) -> tuple[str, str, int, float] | bool:
    if breaker is None:
        return False
    return breaker.unverified, breaker.verified, breaker.floor, breaker.ratio
