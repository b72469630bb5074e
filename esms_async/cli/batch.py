"""Decides with the ledger which rows of a batch are sent, and claims them some at a time.

What the ledger holds of a row decides what becomes of it:

| the ledger holds | the row |
|---|---|
| nothing; not sent; a refusal of the account | is sent |
| in doubt by an attempt | is resumed, within the window; later it is unknown |
| in doubt by code 124 alone | is unknown |
| accepted | is already done |
| rejected | stays rejected; with `--retry-rejected` it is sent under the next id |
| another text, accepted or in doubt | is held back; `--allow-again` sends it too |
| another text, rejected or not sent | is sent under the next id |

`--template-changed` sends no second text to anybody: a row with another text that was accepted is
already done, and one in doubt stays unknown. Under `--key` another text is invalid, unless a flag
allows the next id.

The ids of a row make a chain: the first one, and one for each further try. Every run finds the
same chain, so a try that a crash cut off is taken up and never made a second time.
"""

import asyncio
import hmac
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Final, cast

import attrs

from esms_async import (
    DuplicateRequestId,
    FixedNumber,
    Message,
    Route,
    Status,
    derive_request_id,
)
from esms_async._send.memory import now
from esms_async.cli.errors import InputError
from esms_async.cli.results import rejection
from esms_async.cli.rows import BulkRow, RowIds, RowStatus, text_of
from esms_async.cli.words import Text, text
from esms_async.ledger import (
    Claim,
    Decision,
    Entry,
    Ledger,
    LedgerAcceptances,
    LedgerBatches,
    LedgerFacts,
    Settlement,
    SqliteLedger,
)
from esms_async.ledger.base import ClaimAhead, Unrecorded
from esms_async.ledger.transitions import (
    CLAIMS,
    WINDOW,
    Fingerprinted,
    fingerprint,
    fingerprint_key,
    key_id,
    same_fingerprint,
)

_Refusals = dict[int, tuple[RowStatus, Text]]
"""How rows end, by their numbers, unless a further try is allowed."""

_NOT_BEGUN: Final = Settlement(Status.NOT_SENT)


@attrs.frozen
class Manifest:
    """What a batch was begun with.

    Attributes:
        template: A keyed hash of the template, or the column of the text.
        key: The column that identifies a row, or None.
        route: The route.
        columns: The columns that are used, for people who look at the ledger.
        former: The hash that an earlier version would keep of the template, or None. It took the
            template as it was spelled.
    """

    template: str
    key: str | None
    route: str
    columns: tuple[str, ...] = attrs.field(eq=False)
    former: str | None = attrs.field(default=None, eq=False)

    @classmethod
    def read(cls, kept: str) -> "Manifest":
        """Read what a ledger keeps."""
        values = json.loads(kept)
        return cls(values["template"], values["key"], values["route"], tuple(values["columns"]))

    @classmethod
    def of(
        cls,
        secret: str,
        template: str,
        *,
        former: str | None = None,
        key: str | None,
        route: str,
        columns: tuple[str, ...],
    ) -> "Manifest":
        """Make a manifest. Of the template it keeps a hash: it may hold a one-time code."""
        mac = fingerprint_key(secret)

        def mark(written: str) -> str:
            labelled = b"template\n" + written.encode("utf-8", "surrogatepass")
            return f"{key_id(mac).hex()}{hmac.digest(mac, labelled, 'sha256').hex()[:24]}"

        return cls(mark(template), key, route, columns, None if former is None else mark(former))

    @property
    def kept(self) -> str:
        """What a ledger keeps, which `read` reads."""
        values = attrs.asdict(self, filter=attrs.filters.exclude("former"))
        return json.dumps(values, ensure_ascii=False)


class AheadLedger:
    """A ledger in which rows are claimed ahead, some at a time, for one client.

    Args:
        ledger: The ledger.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.wrapped = ledger
        self._acceptances = ledger if isinstance(ledger, LedgerAcceptances) else None
        self._batches = ledger if isinstance(ledger, LedgerBatches) else None
        self._key = b""
        self._route: Route = FixedNumber()
        self._claims: dict[str, ClaimAhead] = {}

    def make_fingerprints_with(self, account_secret: str, route: Route) -> None:
        """Make fingerprints as the client does, with the account's secret key and its route."""
        self._key, self._route = fingerprint_key(account_secret), route

    def fingerprint(self, message: Fingerprinted) -> bytes:
        """Return the fingerprint of a message, or of a row that gives one."""
        return fingerprint(message, self._key, self._route)

    async def look_up_batch(self, request_ids: Sequence[str]) -> Sequence[Entry | None]:
        """Return the entry of each RequestId, or None."""
        if self._batches is not None:
            return await self._batches.look_up_batch(request_ids)
        return await asyncio.gather(*map(self.wrapped.look_up, request_ids))

    async def claim_ahead(self, messages: Sequence[Message]) -> Sequence[Claim]:
        """Claim messages for the client, which asks for each claim when it sends."""
        began = now()
        wanted = [(message, self.fingerprint(message)) for message in messages]
        if self._batches is not None:
            claims: Sequence[Claim] = await self._batches.claim_batch(wanted)
        else:
            claims = await asyncio.gather(*(self.wrapped.claim(*one) for one in wanted))
        for claim in claims:
            if claim.decision in {Decision.SEND, Decision.RESUME}:
                self._claims[claim.entry.request_id] = ClaimAhead(claim, began)
        return claims

    async def release(self) -> None:
        """Give back claims whose sending was not begun; one that was in doubt before stays so."""
        claims = [claim for claim, _ in self._claims.values()]
        self._claims.clear()
        await asyncio.gather(
            *(
                self.wrapped.settle(claim.entry.request_id, claim.entry.generation, _NOT_BEGUN)
                for claim in claims
                if claim.decision is Decision.SEND
            )
        )

    # What the client calls.

    def claimed_ahead(self, request_id: str) -> ClaimAhead | None:
        """Return the claim that was made ahead, once; None if there is none."""
        return self._claims.pop(request_id, None)

    @property
    def is_open(self) -> bool:
        """True between `open` and `aclose`."""
        return self.wrapped.is_open

    async def open(self) -> None:
        """Open the ledger."""
        await self.wrapped.open()

    async def aclose(self) -> None:
        """Write what is outstanding, and close the ledger."""
        await self.wrapped.aclose()

    async def claim(
        self, message: Message, fingerprint: bytes, *, doubt_age: float | None = None
    ) -> Claim:
        """Claim a message that was not claimed ahead."""
        return await self.wrapped.claim(message, fingerprint, doubt_age=doubt_age)

    async def settle(
        self, request_id: str, generation: int, settlement: Settlement
    ) -> Entry | None:
        """Record what was learned of a message."""
        return await self.wrapped.settle(request_id, generation, settlement)

    def accept_soon(
        self, request_id: str, sms_id: str | None, *, deduplicated: bool, unrecorded: Unrecorded
    ) -> bool:
        """Queue an acceptance, to be stored with the next claims; False if that can't be."""
        if self._acceptances is None:
            return False
        return self._acceptances.accept_soon(
            request_id, sms_id, deduplicated=deduplicated, unrecorded=unrecorded
        )

    async def flush(self) -> None:
        """Wait until each queued acceptance is stored."""
        if self._acceptances is not None:
            await self._acceptances.flush()

    async def look_up(self, request_id: str) -> Entry | None:
        """Return the entry of a RequestId, or None."""
        return await self.wrapped.look_up(request_id)

    def unsettled(self) -> AsyncIterator[Entry]:
        """Iterate over the unknown entries."""
        return self.wrapped.unsettled()

    def entries(self) -> AsyncIterator[Entry]:
        """Iterate over all entries."""
        return self.wrapped.entries()

    async def prune(self, older_than: float, *, unsettled: bool = False) -> int:
        """Delete old entries."""
        return await self.wrapped.prune(older_than, unsettled=unsettled)

    async def keep_fact(self, name: str, value: str) -> str:
        """Store a fact unless there is one of that name; return the one there is now.

        What was mistyped, an address or a key, gives way to what is right.
        """
        kept = await self._facts().keep_fact(name, value)
        if kept != value and await self.can_begin_anew():
            await self.replace_fact(name, value)
            return value
        return kept

    async def can_begin_anew(self) -> bool:
        """Return True if nothing of the ledger keeps any message from being sent.

        Only the process that has a file to itself can tell: on a server, another one may send what
        it claims a moment later.
        """
        if not isinstance(self.wrapped, SqliteLedger):
            return False
        entries = cast("AsyncGenerator[Entry]", self.wrapped.entries())
        async with aclosing(entries):
            async for entry in entries:
                if CLAIMS[entry.status, entry.reason] is not Decision.SEND:
                    return False
        return True

    async def replace_fact(self, name: str, value: str) -> None:
        """Store a fact in place of any other of that name."""
        await self._facts().replace_fact(name, value)

    async def facts(self) -> dict[str, str]:
        """Return all facts by name."""
        return await self._facts().facts()

    def _facts(self) -> LedgerFacts:
        if not isinstance(self.wrapped, LedgerFacts):
            raise InputError(text("no_facts", ledger=type(self.wrapped).__name__))
        return self.wrapped


class Batch:
    """One batch of rows in a ledger.

    Args:
        ledger: The ledger, open.
        name: The name of the batch.
        secret: What the ids of rows are derived with.
        ids: The ids of the batch.
        is_keyed: True if a column identifies the rows.
        retry_rejected: True sends rejected rows under their next id.
        template_changed: True sends a new text to rows that nobody got.
        allow_again: True sends further texts to a phone.
    """

    def __init__(
        self,
        ledger: AheadLedger,
        name: str,
        *,
        secret: str,
        ids: RowIds,
        is_keyed: bool = False,
        retry_rejected: bool = False,
        template_changed: bool = False,
        allow_again: bool = False,
    ) -> None:
        self._ledger = ledger
        self._name = name
        self.secret = secret
        self._ids = ids
        self._is_keyed = is_keyed
        self._retry_rejected = retry_rejected
        self._template_changed = template_changed
        self._allow_again = allow_again
        self.is_new: bool = False
        """True if the ledger held nothing of the batch, so no row needs to be looked up."""

    # The batch as a whole.

    async def check(self, manifest: Manifest) -> None:
        """Refuse to go on with a batch that was begun with something else.

        Raises:
            InputError: The batch was begun with another template, key, route or secret.
            LedgerError: The ledger can't be used.
        """
        await self.check_secret()
        facts = await self._ledger.facts()
        begun = facts.get(f"batch {self._name}")
        self.is_new = begun is None
        if begun is None:
            return
        held = Manifest.read(begun)
        if held.route != manifest.route:
            raise InputError(text("other_route", batch=self._name, route=held.route))
        if held.key != manifest.key:
            key = "other_key" if held.key else "other_key_none"
            raise InputError(text(key, batch=self._name, column=held.key))
        # Of hashes with two keys nothing can be said.
        same_key = held.template[:8] == manifest.template[:8]
        is_same = held.template in {manifest.template, manifest.former}
        if same_key and not is_same and not self._template_changed:
            raise InputError(text("other_template", batch=self._name))

    async def check_secret(self) -> None:
        """Refuse a secret under which every row would have another id, and be sent again."""
        kept = (await self._ledger.facts()).get(f"row key of batch {self._name}")
        if kept in {None, self._secret_mark} or self._is_keyed:
            return
        if not await self._ledger.can_begin_anew():
            raise InputError(text("other_secret", batch=self._name))

    async def begin(self, manifest: Manifest) -> None:
        """Keep what the batch is begun with, before its first row is claimed."""
        facts = self._ledger
        if not self._is_keyed:
            kept = await facts.keep_fact(f"row key of batch {self._name}", self._secret_mark)
            # Another process may have begun it since the check.
            if kept != self._secret_mark:
                raise InputError(text("other_secret", batch=self._name))
        await facts.replace_fact(f"batch {self._name}", manifest.kept)

    @property
    def _secret_mark(self) -> str:
        return key_id(fingerprint_key(self.secret)).hex()

    # Its rows.

    async def preview(self, rows: Sequence[BulkRow]) -> None:
        """Settle the rows that the ledger knows, and give the others the id to send them under."""
        if self.is_new:
            return
        if self._allow_again:
            await self._find_first_texts(rows)
        await self._look_up([row for row in rows if row.status is None], {})

    async def claim(self, rows: Sequence[BulkRow]) -> list[BulkRow]:
        """Claim rows, and return those that are to be sent; the others are settled."""
        await self.preview(rows)
        to_send: list[BulkRow] = []
        refused: _Refusals = {}
        waiting = [row for row in rows if row.status is None]
        while waiting:
            claims = await self._ledger.claim_ahead([row.message for row in waiting])
            moved: list[BulkRow] = []
            for row, claim in zip(waiting, claims, strict=True):
                if claim.decision in {Decision.SEND, Decision.RESUME}:
                    to_send.append(row)
                elif claim.decision is Decision.EXPIRED:
                    # By the ledger's clock, which decides: this machine's may differ.
                    row.end(RowStatus.UNKNOWN, text("expired"))
                # Another process was there between the look-up and the claim.
                elif self._answer(row, claim.entry, refused):
                    moved.append(row)
            await self._look_up(moved, refused)
            waiting = [row for row in moved if row.status is None]
        return to_send

    async def _look_up(self, rows: Sequence[BulkRow], refused: "_Refusals") -> None:
        """Follow the ids of rows to where each is settled, or open to be sent."""
        waiting = rows
        while waiting:
            entries = await self._ledger.look_up_batch([row.request_id for row in waiting])
            moved: list[BulkRow] = []
            for row, entry in zip(waiting, entries, strict=True):
                if entry is not None:
                    if self._answer(row, entry, refused):
                        moved.append(row)
                elif row.number in refused and not self._may_follow(row, refused):
                    row.end(*refused[row.number])
            waiting = moved

    async def _find_first_texts(self, rows: Sequence[BulkRow]) -> None:
        """Give a further text the id of the first, if an earlier run sent it as the first one."""
        again = [row for row in rows if row.is_again and row.status is None]
        if not again:
            return
        first = [self._ids.of_phone(row.phone) for row in again]
        for row, entry in zip(again, await self._ledger.look_up_batch(first), strict=True):
            if entry is not None and self._is_same(row, entry):
                row.move(entry.request_id)

    def _answer(self, row: BulkRow, entry: Entry, refused: "_Refusals") -> bool:
        """Settle a row by its entry, or leave it open to be sent; True if it moved to a new id."""
        if not self._is_same(row, entry):
            return self._answer_other_text(row, entry, refused)
        row.sms_id = entry.sms_id or ""
        match CLAIMS[entry.status, entry.reason]:
            case Decision.ALREADY_ACCEPTED:
                row.end(RowStatus.ALREADY_DONE)
            case Decision.ALREADY_REJECTED:
                row.code = entry.code or ""
                refused[row.number] = RowStatus.REJECTED, rejection(entry.code, None, entry.detail)
                self._follow(row)
                return True
            case Decision.DUPLICATE:
                row.code = DuplicateRequestId.code
                row.end(RowStatus.UNKNOWN, text("code_124"))
            case Decision.RESUME if abs(time.time() - entry.in_doubt_since) > WINDOW:
                row.end(RowStatus.UNKNOWN, text("expired"))
            case _:
                pass
        return False

    def _answer_other_text(self, row: BulkRow, entry: Entry, refused: "_Refusals") -> bool:
        got_nothing = entry.status in {Status.REJECTED, Status.NOT_SENT}
        if got_nothing:
            refused[row.number] = RowStatus.INVALID, text("key_used_and_refused")
            self._follow(row)
            return True
        if self._template_changed:
            if entry.status is Status.ACCEPTED:
                row.end(RowStatus.ALREADY_DONE, text("done_with_other_text"))
            else:
                row.end(RowStatus.UNKNOWN, text("in_doubt_with_other_text"))
        elif self._is_keyed:
            row.end(RowStatus.INVALID, text("key_used"))
        elif self._allow_again and (not row.is_again or row.chain is not None):
            # It may have followed the chain of the phone, where another text came before it.
            row.is_again, row.chain, row.code = True, None, ""
            row.move(self._ids.of_text(row.phone, text_of(row.content, row.params), 1))
            return True
        else:
            known = entry.status is Status.ACCEPTED
            row.end(
                RowStatus.HELD_BACK, text("other_text_sent" if known else "other_text_in_doubt")
            )
        return False

    def _may_follow(self, row: BulkRow, refused: "_Refusals") -> bool:
        """Tell whether a row whose earlier tries were refused may be sent under a new id."""
        if self._retry_rejected:
            return True
        is_other_text = refused[row.number][0] is RowStatus.INVALID
        return is_other_text and (self._template_changed or not self._is_keyed)

    def _follow(self, row: BulkRow) -> None:
        """Move a row to the next id of its chain."""
        first, tries = row.chain or (row.request_id, 0)
        row.chain = first, tries + 1
        row.move(derive_request_id("bulk retry", first, tries + 1))

    def _is_same(self, row: BulkRow, entry: Entry) -> bool:
        return same_fingerprint(entry.fingerprint, self._ledger.fingerprint(row))
