"""Keeps a ledger on a Redis server, for processes on several machines that share their sends."""

import asyncio
import json
import logging
import math
import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final

from esms_async._model.checks import check_seconds
from esms_async._model.errors import ConfigurationError, LedgerError, UsageError
from esms_async._model.messages import Message, Status
from esms_async._redis import RedisAddress, RedisBatches, Script
from esms_async.ledger.base import LedgerBase, LedgerOptions, UnreadableEntry
from esms_async.ledger.handover import Answer, Handover, Stage, Turn
from esms_async.ledger.redis_scripts import FIELDS, as_text, script, scripts
from esms_async.ledger.transitions import (
    Claim,
    Decision,
    Entry,
    Reason,
    Settlement,
    new_entry,
)

_logger = logging.getLogger("esms_async")

_WEEK: Final = 7 * 24 * 3600.0
_PAGE: Final = 500
# No RequestId holds this character, so a key with it is no entry's.
_MARK: Final = "#"
_UNKNOWN_ONES: Final = f"{_MARK}unknown"
_FACTS: Final = f"{_MARK}facts"
_GLOB_SPECIALS: Final = re.compile(r"[\\*?\[\]]")


class RedisLedger(LedgerBase):
    """Keeps what is known of each send on a Redis server, for any number of processes.

    The server puts claims in order, on its own clock. Those of concurrent sends travel together.
    An operation whose answer is lost is not repeated: it raises LedgerError, and what it may have
    written reads "unknown", which is safe.

    The server must keep what it acknowledges: `maxmemory-policy noeviction`, and an append-only
    file. If it does not, `open` warns in the log. With `appendfsync everysec`, the default of
    such a file, a crash of the server's machine loses the last second; with `always`, nothing.
    It takes Redis 5 or later, or Valkey.

    On a Redis Cluster all keys of a ledger must be in one slot, so the prefix must hold a hash
    tag, as in `{esms}:send:`, and the URL must name the node that serves the slot.

    Args:
        url: `redis://`, `rediss://` or `unix://`, with the options that redis-py takes in a URL.
        prefix: What the ledger's keys begin with. If ledgers share a database, no prefix may
            begin with another one.
        keep: Seconds for which a settled entry, or a delivery report that was handed over, is
            kept after its last change. A send of the same Message after that is a new one. An
            unknown entry stays until it is settled or pruned: deleted, it could be sent twice.
        options: The options that all ledgers share.
        clock: The time in seconds since the epoch; None for the server's.

    Raises:
        LedgerError: `url` can't be read.
        ConfigurationError: `prefix` is empty, or `keep` is not a positive number of seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "esms:send:",
        keep: float = _WEEK,
        options: LedgerOptions = LedgerOptions(),
        clock: Callable[[], float] | None = None,
    ) -> None:
        check_seconds("keep", keep)
        if not prefix:
            raise ConfigurationError("prefix must not be empty")
        try:
            self._address = RedisAddress(url)
        except ConfigurationError as error:
            raise LedgerError(str(error)) from None
        self._prefix = prefix
        self._keep = math.ceil(keep * 1000)
        self._options = options
        self._clock = clock
        self._batches: RedisBatches | None = None

    @property
    def is_open(self) -> bool:
        """True between `open` and `aclose`."""
        return self._batches is not None

    async def open(self) -> None:
        """Connect to the server for this event loop, and warn if it may lose entries.

        Raises:
            LedgerError: The server can't be reached, or refuses the connection.
            UsageError: The ledger is open already.
        """
        if self._batches is not None:
            raise UsageError(f"the ledger on Redis {self._address} is open already")
        batches = RedisBatches(self._address, self._scripts(), unreadable=UnreadableEntry)
        try:
            await batches.run("PING")
            await batches.load_scripts()
            await _warn_of_loss(self._address, batches)
        except BaseException:
            await batches.aclose()
            raise
        self._batches = batches

    async def aclose(self) -> None:
        """Write what is outstanding, and close the connections."""
        if self._batches is not None:
            batches, self._batches = self._batches, None
            await batches.aclose()

    async def claim(
        self, message: Message, fingerprint: bytes, *, doubt_age: float | None = None
    ) -> Claim:
        """Ask to send a message; the server has acknowledged the claim."""
        options = self._options
        fresh = new_entry(
            message,
            fingerprint,
            now=0.0,  # the script puts in the time
            doubt_age=None,  # and takes this off
            phone=options.store_phone,
            content=options.store_content,
        )
        command = self._command(
            "claim",
            message.request_id,
            window=options.window,
            **({} if doubt_age is None else {"doubt_age": doubt_age}),
            fresh=_texts(fresh, _FRESH),
        )
        reply = await self._opened().run(*command)
        decision, fields = json.loads(reply)
        return Claim(Decision(decision), _entry(message.request_id, fields))

    async def settle(
        self, request_id: str, generation: int, settlement: Settlement
    ) -> Entry | None:
        """Record what was learned of a message."""
        reply = await self._opened().run(*self._settle_command(request_id, generation, settlement))
        return None if reply is None else _entry(request_id, json.loads(reply))

    def _settle_command(
        self, request_id: str, generation: int, settlement: Settlement
    ) -> tuple[str, ...]:
        """Return the command that settles; a queue runs it inside a script of its own."""
        return self._command(
            "settle",
            request_id,
            learned=as_text((settlement.status, settlement.reason)),
            generation=str(generation),
            fields=_texts(settlement, FIELDS),
        )

    def _scripts(self) -> tuple[Script, ...]:
        """Return the scripts that the server must know."""
        return scripts()

    async def begin_report(self, request_id: str, state: str, lease: float) -> Turn:
        """Ask to hand a delivery report to the application."""
        command = self._command("begin_report", _report(request_id, state), lease=lease)
        answer, fields = json.loads(await self._opened().run(*command))
        return Turn(Answer(answer), _handover(request_id, state, fields))

    async def end_report(self, request_id: str, state: str, turn: int, *, success: bool) -> None:
        """Record how a turn ended."""
        command = self._command(
            "end_report", _report(request_id, state), turn=str(turn), success=success
        )
        await self._opened().run(*command)

    async def keep_fact(self, name: str, value: str) -> str:
        """Store a fact unless the ledger has one of that name; return the one it has now."""
        batches, key = self._opened(), self._prefix + _FACTS
        await batches.run("HSETNX", key, name, value)
        kept: str = await batches.run("HGET", key, name)
        return kept

    async def replace_fact(self, name: str, value: str) -> None:
        """Store a fact in place of any other of that name."""
        await self._opened().run("HSET", self._prefix + _FACTS, name, value)

    async def facts(self) -> dict[str, str]:
        """Return all facts by name."""
        found: dict[str, str] = await self._opened().run("HGETALL", self._prefix + _FACTS)
        return found

    async def look_up(self, request_id: str) -> Entry | None:
        """Return the entry of a RequestId, or None."""
        fields = await self._opened().run("HGETALL", self._prefix + request_id)
        return _entry(request_id, fields) if fields else None

    async def unsettled(self) -> AsyncIterator[Entry]:
        """Iterate over the unknown entries, a page at a time, in the order of their RequestIds."""
        page = await self._unknown_page()
        while page:
            for entry in await asyncio.gather(*map(self.look_up, page)):
                if entry is not None and entry.status is Status.UNKNOWN:
                    yield entry
            page = await self._unknown_page(page[-1])

    async def entries(self) -> AsyncIterator[Entry]:
        """Iterate over all entries, in no particular order; one that changes may come twice."""
        cursor = None
        while cursor != 0:
            cursor, page, _ = await self._scanned_page(cursor or 0)
            found = await asyncio.gather(*map(self.look_up, page))
            for entry in filter(None, found):
                yield entry

    async def prune(self, older_than: float, *, unsettled: bool = False) -> int:
        """Delete entries and delivery reports that did not change for a time."""
        deleted, cursor = 0, None
        while cursor != 0:
            cursor, page, reports = await self._scanned_page(cursor or 0)
            deleted += await self._delete(page, older_than, unsettled=unsettled)
            await self._run_each("prune_report", reports, older_than=older_than)
        # An entry that somebody deleted by hand is still in the set of the unknown ones.
        page = await self._unknown_page()
        while page:
            deleted += await self._delete(page, older_than, unsettled=unsettled)
            page = await self._unknown_page(page[-1])
        return deleted

    async def _delete(self, request_ids: list[str], older_than: float, *, unsettled: bool) -> int:
        return sum(
            await self._run_each("prune", request_ids, older_than=older_than, unsettled=unsettled)
        )

    async def _run_each(self, name: str, keys: list[str], **told: object) -> list[int]:
        batches = self._opened()
        commands = (self._command(name, key, **told) for key in keys)
        return await asyncio.gather(*(batches.run(*command) for command in commands))

    async def _unknown_page(self, after: str | None = None) -> list[str]:
        """Return the next RequestIds in the set of the unknown ones."""
        first = "-" if after is None else f"({after}"
        page: list[str] = await self._opened().run(
            "ZRANGEBYLEX", self._prefix + _UNKNOWN_ONES, first, "+", "LIMIT", "0", str(_PAGE)
        )
        return page

    async def _scanned_page(self, cursor: int) -> tuple[int, list[str], list[str]]:
        """Return where to go on, which is 0 at the end, some RequestIds, and some reports."""
        pattern = _GLOB_SPECIALS.sub(r"\\\g<0>", self._prefix) + "*"
        cursor, keys = await self._opened().run(
            "SCAN", str(cursor), "MATCH", pattern, "COUNT", str(_PAGE)
        )
        names = [key.removeprefix(self._prefix) for key in keys]
        request_ids = [name for name in names if _MARK not in name]
        return cursor, request_ids, [name for name in names if name.find(_MARK) > 0]

    def _command(self, name: str, key: str, **told: object) -> tuple[str, ...]:
        now = {} if self._clock is None else {"now": repr(self._clock())}
        return (
            "EVALSHA",
            script(name).digest,
            "2",
            self._prefix + key,
            self._prefix + _UNKNOWN_ONES,
            json.dumps({"request_id": key, "keep": self._keep, **now, **told}),
        )

    def _opened(self) -> RedisBatches:
        self.require_open()
        assert self._batches is not None  # noqa: S101  # require_open has seen it
        return self._batches


async def _warn_of_loss(address: RedisAddress, batches: RedisBatches) -> None:
    """Warn in the log if the server could lose what it acknowledges."""
    try:
        policy = (await batches.run("INFO", "memory")).get("maxmemory_policy", "noeviction")
        has_log = (await batches.run("INFO", "persistence")).get("aof_enabled", 0)
    except LedgerError:
        _logger.warning(
            "Redis %s does not say whether it keeps the ledger; let its user run INFO", address
        )
        return
    if policy != "noeviction":
        _logger.warning(
            "Redis %s has maxmemory-policy %s: when its memory is full it forgets entries of the "
            "ledger, and a message whose entry is lost can be sent twice; set it to noeviction",
            address,
            policy,
        )
    if not has_log:
        _logger.warning(
            "Redis %s has no append-only file: when it crashes, what the ledger took down since "
            "the last snapshot is lost, and a message whose entry is lost can be sent twice; set "
            "appendonly to yes",
            address,
        )


def _report(request_id: str, state: str) -> str:
    """Return what the key of a report ends with."""
    return f"{request_id}{_MARK}{state}"


def _handover(request_id: str, state: str, fields: Mapping[str, str]) -> Handover:
    """Return the handover whose fields were stored."""
    stage, turn, until = fields["stage"], fields["turn"], fields["until"]
    return Handover(request_id, state, Stage(stage), int(turn), float(until))


# The scripts put in the time.
_FRESH: Final = ("status", "reason", "generation", "fingerprint", "phone", "content")


def _texts(value: Entry | Settlement, names: tuple[str, ...]) -> dict[str, str]:
    """Return fields as they are stored: those that are not None or False, as texts."""
    fields = ((name, getattr(value, name)) for name in names)
    return {
        name: _text(field) for name, field in fields if field is not None and field is not False
    }


def _text(field: object) -> str:
    match field:
        case True:
            return "1"
        case bytes():
            return field.hex()
        case _:
            return str(field)


def _entry(request_id: str, fields: Mapping[str, str]) -> Entry:
    """Return the entry whose fields were stored."""
    field, http_status = fields.get, fields.get("http_status")
    try:
        return Entry(
            request_id,
            Status(fields["status"]),
            Reason(fields["reason"]) if "reason" in fields else None,
            int(fields["generation"]),
            bytes.fromhex(fields["fingerprint"]),
            fields["phone"],
            field("content"),
            float(fields["in_doubt_since"]),
            float(fields["updated_at"]),
            field("sms_id"),
            "deduplicated" in fields,
            field("code"),
            None if http_status is None else int(http_status),
            field("detail"),
        )
    except (KeyError, ValueError):
        raise UnreadableEntry(
            f"the entry of request id {request_id} can't be read; a later release of esms_async, "
            "or something else, wrote it"
        ) from None
