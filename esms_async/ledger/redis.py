"""Keeps a ledger on a Redis server, for processes on several machines that share their sends."""

import asyncio
import functools
import json
import logging
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, Final, TypeVar, cast

from esms_async._model.checks import check_seconds
from esms_async._model.errors import ConfigurationError, LedgerError, UsageError
from esms_async._model.messages import Message, Status
from esms_async._model.phone import mask_phone
from esms_async._redis import RedisAddress, RedisBatches, Script
from esms_async.ledger.base import LedgerBase, LedgerOptions, UnreadableEntry, Unrecorded
from esms_async.ledger.gather import Acceptance, Gathered, Gatherer
from esms_async.ledger.redis_scripts import FIELDS, UNKNOWN_ONES, as_text, script, scripts
from esms_async.ledger.transitions import (
    Claim,
    Decision,
    Entry,
    Reason,
    Settlement,
    StoredReport,
    new_entry,
    new_report,
)

T = TypeVar("T")

# As json.dumps does it, at a fifth of the time.
_quoted: Final = json.encoder.encode_basestring_ascii

_logger = logging.getLogger("esms_async")

_WEEK: Final = 7 * 24 * 3600.0
_PAGE: Final = 500
# No RequestId holds this character, so a key with it is no entry's.
_MARK: Final = "#"
# The most claims, and the most acceptances, of one command: the server works on them for a few
# milliseconds.
_LARGEST_TURN: Final = 128
# A command of a prune visits so many entries, in about a millisecond, and claims go in between.
_SLICE: Final = 100
_FACTS: Final = f"{_MARK}facts"
_DUE_REPORTS: Final = f"{_MARK}reports"
_FAILED_REPORTS: Final = f"{_MARK}failed"
_CONTACT: Final = f"{_MARK}contact"
_GLOB_SPECIALS: Final = re.compile(r"[\\*?\[\]]")


class RedisLedger(LedgerBase):
    """Stores the state of each send on a Redis server, for any number of processes.

    The server orders claims, on its own clock. The claims of concurrent sends share a command. An
    operation whose answer is lost is not repeated: it raises LedgerError, and what it may have
    written says "unknown", which is safe.

    The server must keep what it acknowledges: `maxmemory-policy noeviction`, and an append-only
    file. If it does not, `open` logs a warning. With `appendfsync everysec`, the default for such
    a file, a crash of the server's machine loses the last second; with `always`, nothing. It needs
    Redis 5 or later, or Valkey.

    On a Redis Cluster all keys of a ledger must be in one slot, so the prefix must hold a hash
    tag, as in `{esms}:send:`, and the URL must name the node that serves the slot.

    Args:
        url: `redis://`, `rediss://` or `unix://`, with the options that redis-py takes in a URL.
        prefix: The beginning of the ledger's keys. If ledgers share a database, no prefix may
            begin with another one.
        keep: Seconds for which a settled entry, or a delivery report that was handed on, is
            kept after its last change. A send of the same Message after that is a new one. An
            unknown entry stays until it is settled or pruned: without it the message could be
            sent twice.
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
        self._pipeline: _Pipeline | None = None

    @property
    def is_open(self) -> bool:
        """True between `open` and `aclose`."""
        return self._pipeline is not None

    async def open(self) -> None:
        """Connect to the server for this event loop, and warn if it may lose entries.

        Raises:
            LedgerError: The server can't be reached, or refuses the connection.
            UsageError: The ledger is open already.
        """
        if self._pipeline is not None:
            raise UsageError(f"the ledger on Redis {self._address} is open already")
        batches = RedisBatches(self._address, self._scripts(), unreadable=UnreadableEntry)
        try:
            await batches.run("PING")
            await batches.load_scripts()
            await _warn_of_loss(self._address, batches)
        except BaseException:
            await batches.aclose()
            raise
        self._pipeline = _Pipeline(batches, self._prefix, self._keep, self._clock, self._settle_on)

    async def aclose(self) -> None:
        """Write outstanding changes, and close the connections."""
        if self._pipeline is not None:
            pipeline, self._pipeline = self._pipeline, None
            await pipeline.aclose()

    async def claim(
        self, message: Message, fingerprint: bytes, *, doubt_age: float | None = None
    ) -> Claim:
        """Claim a message; on return the server has acknowledged the claim."""
        pipeline, options, request_id = self._opened_pipeline(), self._options, message.request_id
        if request_id in pipeline.accepting:
            await pipeline.flush()
        if doubt_age is None:
            claimed = pipeline.gatherer.claim(
                (request_id, _lean_needs(message, fingerprint, options))
            )
            if (now := await claimed) is not None:
                entry = Entry(
                    request_id,
                    Status.UNKNOWN,
                    Reason.ATTEMPT,
                    1,
                    fingerprint,
                    message.phone if options.store_phone else mask_phone(message.phone),
                    message.content if options.store_content else None,
                    now,
                    now,
                )
                return Claim(Decision.SEND, entry)
        fresh = new_entry(
            message,
            fingerprint,
            now=0.0,  # the script puts in the time
            doubt_age=None,  # and takes this off
            phone=options.store_phone,
            content=options.store_content,
        )
        reply = pipeline.batches.submit(
            *self._command(
                "claim",
                request_id,
                window=options.window,
                **({} if doubt_age is None else {"doubt_age": doubt_age}),
                fresh=_texts(fresh, _FRESH),
            )
        )
        decision, _, text = (await reply).partition("\n")
        return Claim(Decision(decision), _entry(request_id, text))

    async def settle(
        self, request_id: str, generation: int, settlement: Settlement
    ) -> Entry | None:
        """Record a result of a message."""
        pipeline = self._opened_pipeline()
        if request_id in pipeline.accepting:
            await pipeline.flush()
        return await self._settle_on(pipeline.batches, request_id, generation, settlement)

    async def _settle_on(
        self, batches: RedisBatches, request_id: str, generation: int, settlement: Settlement
    ) -> Entry | None:
        reply = await batches.run(*self._settle_command(request_id, generation, settlement))
        return None if reply is None else _entry(request_id, reply)

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

    def accept_soon(
        self, request_id: str, sms_id: str | None, *, deduplicated: bool, unrecorded: Unrecorded
    ) -> bool:
        """Queue an acceptance, to go with the next claims or after a short time."""
        acceptance = Acceptance(request_id, sms_id, deduplicated, unrecorded)
        self._opened_pipeline().accept(acceptance)
        return True

    async def flush(self) -> None:
        """Wait until each queued acceptance is acknowledged or was handed back."""
        await self._opened_pipeline().flush()

    async def store_report(
        self, key: str, text: str, *, lease: float | None = None
    ) -> StoredReport | None:
        """Store a report, unless one with its key was stored before."""
        now = await self._run_report_script(
            "store_report", key, text, "" if lease is None else repr(lease)
        )
        return None if now is None else new_report(key, text, now=float(now), lease=lease)

    async def take_reports(self, limit: int, lease: float) -> list[StoredReport]:
        """Claim reports that are due."""
        reply = await self._run_report_script("take_reports", str(limit), repr(lease))
        return [_stored_report(key, fields) for key, fields in json.loads(reply)]

    async def settle_report(
        self,
        key: str,
        generation: int,
        settlement: Settlement,
        *,
        failures: int = 0,
        due_in: float = 0.0,
    ) -> None:
        """Record the result of a claimed report."""
        await self._run_report_script(
            "settle_report",
            key,
            str(generation),
            as_text((settlement.status, settlement.reason)),
            str(failures),
            repr(due_in),
            settlement.detail or "",
        )

    async def failed_reports(self) -> AsyncIterator[StoredReport]:
        """Iterate over the reports that are kept as failed, as they are at the start."""
        batches = self._opened()
        keys: list[str] = await batches.run("ZRANGE", self._prefix + _FAILED_REPORTS, "0", "-1")
        for key in keys:
            fields = await batches.run("HGETALL", self._prefix + key)
            if fields.get("status") == Status.REJECTED:
                yield _stored_report(key, fields)

    async def retry_report(self, key: str) -> bool:
        """Let a failed report be handed on again; return False if no failed one has this key."""
        return bool(await self._run_report_script("retry_report", key))

    async def _run_report_script(self, name: str, *arguments: str) -> Any:  # noqa: ANN401  # what a script answers
        return await self._opened().run(
            "EVALSHA",
            script(name).digest,
            "3",
            self._prefix + _DUE_REPORTS,
            self._prefix + _FAILED_REPORTS,
            self._prefix + _CONTACT,
            self._prefix,
            self._time(),
            str(self._keep),
            *arguments,
        )

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
        if request_id in self._opened_pipeline().accepting:
            await self.flush()
        text = await self._opened().run("GET", self._prefix + request_id)
        return None if text is None else _entry(request_id, text)

    async def unsettled(self) -> AsyncIterator[Entry]:
        """Iterate over the unknown entries, a page at a time, up to the last one at the start."""
        async for page in self._unknown_pages():
            for entry in await asyncio.gather(*map(self.look_up, page)):
                if entry is not None and entry.status is Status.UNKNOWN:
                    yield entry

    async def entries(self) -> AsyncIterator[Entry]:
        """Iterate over the entries that are there at the start, in no particular order.

        One that changes may come twice.
        """
        await self.flush()
        began = await self._now()
        cursor = None
        while cursor != 0:
            cursor, page, _ = await self._scanned_page(cursor or 0)
            found = await asyncio.gather(*map(self.look_up, page))
            for entry in filter(None, found):
                # Claims go on meanwhile, and a caller who takes his time would never see the end.
                if entry.generation > 1 or entry.in_doubt_since <= began:
                    yield entry

    async def prune(self, older_than: float, *, unsettled: bool = False) -> int:
        """Delete old entries, and old reports that were handed on."""
        await self.flush()
        deleted, cursor = 0, None
        while cursor != 0:
            cursor, page, reports = await self._scanned_page(cursor or 0)
            deleted += await self._delete(page, older_than, unsettled=unsettled)
            for names in _slices(reports):
                flag = "1" if unsettled else ""
                await self._run_report_script("prune_report", repr(older_than), flag, *names)
        # An entry that was deleted by hand is still in the set of unknown ones.
        async for page in self._unknown_pages():
            deleted += await self._delete(page, older_than, unsettled=unsettled)
        return deleted

    async def _delete(self, request_ids: list[str], older_than: float, *, unsettled: bool) -> int:
        deleted = 0
        for names in _slices(request_ids):
            deleted += await self._opened().run(
                "EVALSHA",
                script("prune").digest,
                str(1 + len(names)),
                self._prefix + UNKNOWN_ONES,
                *(self._prefix + name for name in names),
                self._time(),
                repr(older_than),
                "1" if unsettled else "",
            )
        return deleted

    def _time(self) -> str:
        """Return the time as the scripts take it: nothing for the server's."""
        return "" if self._clock is None else repr(self._clock())

    async def _now(self) -> float:
        """Return the time on the ledger's clock."""
        if self._clock is not None:
            return self._clock()
        seconds, microseconds = await self._opened().run("TIME")
        return float(f"{seconds}.{microseconds:06}")

    async def _unknown_pages(self) -> AsyncIterator[list[str]]:
        """Iterate over the RequestIds in the set of the unknown ones, in their order.

        Claims go on meanwhile, so it ends with the last one at the start.
        """
        await self.flush()
        run, key = self._opened().run, self._prefix + UNKNOWN_ONES
        last = await run("ZREVRANGEBYLEX", key, "+", "-", "LIMIT", "0", "1")
        first = "-"
        while last and (
            page := await run("ZRANGEBYLEX", key, first, f"[{last[0]}", "LIMIT", "0", str(_PAGE))
        ):
            yield page
            first = f"({page[-1]}"

    async def _scanned_page(self, cursor: int) -> tuple[int, list[str], list[str]]:
        """Return the next cursor, 0 at the end, with some RequestIds and report keys."""
        pattern = _GLOB_SPECIALS.sub(r"\\\g<0>", self._prefix) + "*"
        cursor, keys = await self._opened().run(
            "SCAN", str(cursor), "MATCH", pattern, "COUNT", str(_PAGE)
        )
        names = [key.removeprefix(self._prefix) for key in keys]
        request_ids = [name for name in names if _MARK not in name]
        return cursor, request_ids, [name for name in names if name.find(_MARK) > 0]

    def _command(self, name: str, key: str, **fields: object) -> tuple[str, ...]:
        now = {} if self._clock is None else {"now": repr(self._clock())}
        return (
            "EVALSHA",
            script(name).digest,
            "2",
            self._prefix + key,
            self._prefix + UNKNOWN_ONES,
            json.dumps({"request_id": key, "keep": self._keep, **now, **fields}),
        )

    def _opened(self) -> RedisBatches:
        return self._opened_pipeline().batches

    def _opened_pipeline(self) -> "_Pipeline":
        self.require_open()
        assert self._pipeline is not None  # noqa: S101  # require_open has seen it
        return self._pipeline


_Claiming = tuple[str, str]
"""The RequestId of a claim, and its argument for `turn.lua`; the answer is the time."""

_Waiting = tuple[_Claiming, "asyncio.Future[float | None]"]
_Settle = Callable[[RedisBatches, str, int, Settlement], Awaitable[object]]


class _Pipeline:
    """Sends claims and acceptances to the server in one command, one command at a time.

    Those that come meanwhile share the next: a round trip costs as much as five messages.

    The answer to a claim is the server's time, or None if the short script did not decide it.

    Attributes:
        batches: Runs commands.
        gatherer: Batches claims and acceptances.
        accepting: The RequestIds of acceptances that are not stored yet.
    """

    def __init__(
        self,
        batches: RedisBatches,
        prefix: str,
        keep: int,
        clock: Callable[[], float] | None,
        settle: _Settle,
    ) -> None:
        self.batches = batches
        self.gatherer: Gatherer[_Claiming, float | None] = Gatherer(self._submit)
        self.accepting: set[str] = set()
        self._prefix = prefix
        self._keep = str(keep)
        self._clock = clock
        self._settle = settle
        self._claims: list[_Waiting] = []
        self._acceptances: list[Acceptance] = []
        self._is_travelling = False
        self._under_way: set[asyncio.Future[Any]] = set()

    def accept(self, acceptance: Acceptance) -> None:
        """Store an acceptance with the next claims, or after a short time."""
        self.gatherer.accept(acceptance)
        self.accepting.add(acceptance.request_id)

    async def flush(self) -> None:
        """Wait until each acceptance queued so far is stored or was handed back."""
        before = set(self.accepting)
        while True:
            # Each time: two clients may accept one message, one after the other.
            self.gatherer.flush()
            if self.accepting.isdisjoint(before):
                return
            await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)

    async def aclose(self) -> None:
        """Send what waits, and close the connections."""
        try:
            self.gatherer.close()
            while self._under_way:
                await asyncio.wait(self._under_way)
        finally:
            await self.batches.aclose()

    def _submit(self, gathered: Gathered[_Claiming, float | None]) -> None:
        self.batches.require_loop()
        self._claims += gathered.claims
        self._acceptances += gathered.acceptances
        self._dispatch()

    def _dispatch(self) -> None:
        if not self._is_travelling and (self._claims or self._acceptances):
            claims, self._claims = _first(self._claims)
            acceptances, self._acceptances = _first(self._acceptances)
            reply = self.batches.submit(*self._command(claims, acceptances))
            self._is_travelling = True
            self._under_way.add(reply)
            reply.add_done_callback(functools.partial(self._arrive, claims, acceptances))

    def _command(self, claims: list[_Waiting], acceptances: list[Acceptance]) -> tuple[str, ...]:
        prefix = self._prefix
        keys = [prefix + UNKNOWN_ONES]
        arguments = [
            "" if self._clock is None else repr(self._clock()),
            self._keep,
            str(len(claims)),
        ]
        for needs, _ in claims:
            keys.append(prefix + needs[0])
            arguments.append(needs[1])
        for request_id, sms_id, deduplicated, _ in acceptances:
            keys.append(prefix + request_id)
            arguments.append(accepted_members(sms_id, deduplicated=deduplicated))
        return ("EVALSHA", script("turn").digest, str(len(keys)), *keys, *arguments)

    def _arrive(
        self, claims: list[_Waiting], acceptances: list[Acceptance], reply: "asyncio.Future[str]"
    ) -> None:
        """Answer the commands of a batch, and send the next."""
        self._under_way.discard(reply)
        self._is_travelling = False
        error = cast("LedgerError | None", reply.exception())
        if error is None:
            now, claimed, accepted, failure = reply.result().split(" ", 3)
            if failure:
                self._refuse(claims, cast("LedgerError", self.batches.error(failure)))
            else:
                time = float(now)
                for (_, done), taken in zip(claims, claimed, strict=True):
                    if not done.done():
                        done.set_result(time if taken == "1" else None)
            for acceptance, taken in zip(acceptances, accepted, strict=True):
                if taken == "1":
                    self.accepting.discard(acceptance.request_id)
                else:
                    self._go_on(acceptance)
        else:
            self._refuse(claims, error)
            for acceptance in acceptances:
                self.accepting.discard(acceptance.request_id)
                acceptance.fail(error)
        self._dispatch()

    @staticmethod
    def _refuse(claims: list[_Waiting], error: LedgerError) -> None:
        for _, done in claims:
            if not done.done():
                done.set_exception(LedgerError(*error.args))

    def _go_on(self, acceptance: Acceptance) -> None:
        """Settle an acceptance that the short script did not decide."""
        task = self.gatherer.loop.create_task(self._settle_alone(acceptance))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _settle_alone(self, acceptance: Acceptance) -> None:
        try:
            await self._settle(self.batches, acceptance.request_id, 0, acceptance.settlement)
        except LedgerError as error:
            acceptance.fail(error)
        finally:
            self.accepting.discard(acceptance.request_id)


def _slices(names: list[str]) -> Iterator[list[str]]:
    return (names[start : start + _SLICE] for start in range(0, len(names), _SLICE))


def _first(items: list[T]) -> tuple[list[T], list[T]]:
    return items[:_LARGEST_TURN], items[_LARGEST_TURN:]


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


def _stored_report(key: str, fields: Mapping[str, str]) -> StoredReport:
    """Return the report whose fields were stored."""
    return StoredReport(
        key,
        Status(fields["status"]),
        Reason(fields["reason"]) if "reason" in fields else None,
        int(fields["generation"]),
        int(fields["failures"]),
        float(fields["due_at"]),
        float(fields["stored_at"]),
        fields.get("text"),
        fields.get("detail"),
    )


def _lean_needs(message: Message, fingerprint: bytes, options: LedgerOptions) -> str:
    """Return the argument of `turn.lua`, which no frame of a claim that fails shall hold."""
    phone = message.phone if options.store_phone else mask_phone(message.phone)
    content = message.content if options.store_content else None
    text = f',"content":{_quoted(content)}' if content else ""
    return f'"fingerprint":"{fingerprint.hex()}","phone":{_quoted(phone)}{text}'


def accepted_members(sms_id: str | None, *, deduplicated: bool) -> str:
    """Return what an acceptance adds to an entry, as `turn.lua` takes it."""
    news = '"deduplicated":"1",' if deduplicated else ""
    return f'"sms_id":{_quoted(sms_id)},{news}' if sms_id else news


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


def _entry(request_id: str, text: str) -> Entry:
    """Return the entry that was stored as a JSON object of texts."""
    try:
        fields: dict[str, str] = json.loads(text)
        field, http_status = fields.get, fields.get("http_status")
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
    except (AttributeError, KeyError, TypeError, ValueError):
        raise unreadable(request_id) from None


def unreadable(request_id: str) -> UnreadableEntry:
    """Return the error of an entry that can't be read."""
    return UnreadableEntry(
        f"the entry of request id {request_id} can't be read; a later release of esms_async, "
        "or something else, wrote it"
    )
