"""Shows, lists, prunes, exports and rebinds a ledger for a person at a terminal."""

import csv
import io
import os
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import attrs

from esms_async.cli.errors import ExitCode, InputError
from esms_async.cli.interrupt import confirm
from esms_async.cli.ledger_choice import is_url, ledger_at, queue_name, without_password
from esms_async.cli.screen import Screen
from esms_async.cli.words import Text, text
from esms_async.client import credentials_from_env
from esms_async.ledger import Entry, Ledger, LedgerFacts
from esms_async.ledger.binding import rebind as rebind_ledger
from esms_async.text import mask_phone

_SHOWN: Final = tuple(
    field.name for field in attrs.fields(Entry) if field.name not in ("fingerprint", "content")
)
_DURATION = re.compile(r"([0-9]{1,6})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@asynccontextmanager
async def opened(place: str, *, bound: bool = True) -> AsyncGenerator[Ledger, None]:
    """Open the ledger in a file or at a URL; raise InputError if there is none.

    A command that looks at a ledger must not create one.

    Args:
        place: The file or the URL.
        bound: True where a client has bound the ledger. One may hold delivery reports alone.
    """
    async with aclosing(_existing(place)) as ledger:
        await ledger.open()
        # A ledger on Redis is there once a client has bound it.
        is_asked = bound and is_url(place)
        if is_asked and isinstance(ledger, LedgerFacts) and not await ledger.facts():
            at = without_password(place)
            raise InputError(text("no_ledger_of_queue", place=at, name=repr(queue_name())))
        yield ledger


async def show(place: str, request_id: str, screen: Screen, *, as_json: bool) -> ExitCode:
    """Print what the ledger holds of one send; REFUSED if it holds nothing."""
    async with opened(place) as ledger:
        entry = await ledger.look_up(request_id)
    if entry is None:
        screen.warn(text("no_such_send", request_id=request_id))
        return ExitCode.REFUSED
    if as_json:
        screen.put_json(_described(entry))
        return ExitCode.ACCEPTED
    words = {"status": text(f"one_{entry.status.value}"), "reason": _reason(entry)}
    for name, value in {**_described(entry), **words}.items():
        if value not in (None, ""):
            label = screen.say_word(text(f"entry_{name}"))
            said = screen.say_word(value) if isinstance(value, Text) else value
            screen.say(f"{label:<16}{said}")
    return ExitCode.ACCEPTED


async def unsettled(place: str, screen: Screen, *, as_json: bool) -> ExitCode:
    """List the sends whose outcome is unknown; REFUSED if there are any."""
    count = 0
    async with opened(place) as ledger:
        async for entry in ledger.unsettled():
            count += 1
            if as_json:
                screen.put_json(_described(entry))
                continue
            since, reason = utc(entry.in_doubt_since), screen.say_word(_reason(entry))
            screen.say(f"{entry.request_id}  {masked_phone(entry)}  {since}  {reason}")
    screen.warn(text("unsettled", count=count))
    return ExitCode.REFUSED if count else ExitCode.ACCEPTED


async def prune(place: str, older_than: str, screen: Screen, *, unsettled: bool) -> ExitCode:
    """Delete the sends that did not change for a time.

    Args:
        place: The file or the URL of the ledger.
        older_than: The time, as `30d`, `12h`, `90m` or `10s`.
        screen: Where the number of deleted sends is printed.
        unsettled: True deletes sends whose outcome is unknown, too.
    """
    seconds = _read_duration(older_than)
    async with opened(place) as ledger:
        count = await ledger.prune(seconds, unsettled=unsettled)
    screen.say(text("deleted", count=count))
    return ExitCode.ACCEPTED


async def export(place: str, screen: Screen, *, as_csv: bool) -> ExitCode:
    """Print every send of the ledger, as CSV with a header or one JSON object a line."""
    if as_csv:
        screen.put_line(_csv_line(_SHOWN))
    async with opened(place) as ledger:
        async for entry in ledger.entries():
            described = _described(entry)
            if as_csv:
                screen.put_line(_csv_line(tuple(described.values())))
            else:
                screen.put_json(described)
    return ExitCode.ACCEPTED


async def rebind(
    place: str, screen: Screen, *, yes: bool, environ: Mapping[str, str] = os.environ
) -> ExitCode:
    """Bind the ledger to the account of the keys in the environment, once a person agrees.

    Args:
        place: The file or the URL of the ledger.
        screen: Where to ask and to report.
        yes: True asks nothing.
        environ: Where the account's keys are.
    """
    credentials = credentials_from_env(environ)
    async with opened(place) as ledger:
        if not yes and not screen.can_ask:
            raise InputError(text("nobody_to_ask"))
        if not yes and not await confirm(screen, text("same_account")):
            screen.warn(text("nothing_changed"))
            return ExitCode.REFUSED
        changed = await rebind_ledger(ledger, api_key=credentials.api_key)
    screen.say(text("rebound" if changed else "bound_already"))
    return ExitCode.ACCEPTED


def _existing(place: str) -> Ledger:
    if not is_url(place) and not Path(place).is_file():
        raise InputError(text("no_ledger_there", place=place))
    return ledger_at(place)


def _described(entry: Entry) -> dict[str, object]:
    """Return what may be shown of an entry: no content, no full phone, no fingerprint."""
    return {
        **{name: getattr(entry, name) for name in _SHOWN},
        "status": entry.status.value,
        "reason": entry.reason and entry.reason.value,
        "phone": masked_phone(entry),
        "in_doubt_since": utc(entry.in_doubt_since),
        "updated_at": utc(entry.updated_at),
    }


def _reason(entry: Entry) -> Text | str:
    return "" if entry.reason is None else text(f"reason_{entry.reason.name.lower()}")


def masked_phone(entry: Entry) -> str:
    """Return the phone of an entry as it is shown."""
    return entry.phone if "*" in entry.phone else mask_phone(entry.phone)


def utc(seconds: float) -> str:
    """Return a time as it is shown."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _csv_line(values: tuple[object, ...]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(values)
    return line.getvalue()


def _read_duration(written: str) -> float:
    match = _DURATION.fullmatch(written)
    if match is None or (seconds := int(match[1]) * _SECONDS[match[2]]) == 0:
        raise InputError(text("older_than"))
    return float(seconds)
