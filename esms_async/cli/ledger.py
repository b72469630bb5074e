"""What a person does with a ledger: look at a send, list what is unsettled, forget, export."""

import csv
import io
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import attrs

from esms_async.cli.errors import ExitCode, InputError
from esms_async.cli.ledger_choice import is_url, ledger_at
from esms_async.cli.screen import Screen
from esms_async.ledger import Entry, Ledger
from esms_async.phone import mask_phone

_SHOWN: Final = tuple(
    field.name for field in attrs.fields(Entry) if field.name not in ("fingerprint", "content")
)
_DURATION = re.compile(r"([0-9]{1,6})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@asynccontextmanager
async def opened(place: str) -> AsyncGenerator[Ledger, None]:
    """Open a ledger that is there already: a command that looks must not make one.

    Args:
        place: The file or the URL of the ledger.

    Yields:
        The ledger.

    Raises:
        InputError: There is none.
    """
    async with aclosing(_existing(place)) as ledger:
        await ledger.open()
        yield ledger


async def show(place: str, request_id: str, screen: Screen, *, as_json: bool) -> ExitCode:
    """Print what the ledger holds of one send.

    Args:
        place: The file or the URL of the ledger.
        request_id: The RequestId.
        screen: Where it is printed.
        as_json: True prints one JSON object.

    Returns:
        REFUSED where the ledger holds nothing of it.
    """
    async with opened(place) as ledger:
        entry = await ledger.look_up(request_id)
    if entry is None:
        screen.warn(f"the ledger holds no send with the request id {request_id}")
        return ExitCode.REFUSED
    if as_json:
        screen.put_json(_described(entry))
    else:
        for name, value in _described(entry).items():
            if value not in (None, ""):
                screen.say(f"{name:<13}{value}")
    return ExitCode.ACCEPTED


async def unsettled(place: str, screen: Screen, *, as_json: bool) -> ExitCode:
    """List the sends that may have been accepted.

    Args:
        place: The file or the URL of the ledger.
        screen: Where they are printed.
        as_json: True prints one JSON object a line.

    Returns:
        REFUSED where there are any.
    """
    count = 0
    async with opened(place) as ledger:
        async for entry in ledger.unsettled():
            count += 1
            if as_json:
                screen.put_json(_described(entry))
            else:
                screen.say(f"{entry.request_id}  {_masked(entry)}  {_at(entry.opened_at)}")
    screen.warn(f"{count} unsettled")
    return ExitCode.REFUSED if count else ExitCode.ACCEPTED


async def prune(place: str, older_than: str, screen: Screen, *, unsettled: bool) -> ExitCode:
    """Forget old sends.

    Args:
        place: The file or the URL of the ledger.
        older_than: For how long they did not change, as `30d`, `12h`, `90m` or `10s`.
        screen: Where it is said how many they were.
        unsettled: True forgets those too that may have been accepted.

    Returns:
        ACCEPTED.
    """
    seconds = _read_duration(older_than)
    async with opened(place) as ledger:
        count = await ledger.prune(seconds, unsettled=unsettled)
    screen.say(f"{count} forgotten")
    return ExitCode.ACCEPTED


async def export(place: str, screen: Screen, *, as_csv: bool) -> ExitCode:
    """Print every send of the ledger, one a line.

    Args:
        place: The file or the URL of the ledger.
        screen: Where they are printed.
        as_csv: True prints CSV with a header, False one JSON object a line.

    Returns:
        ACCEPTED.
    """
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


def _existing(place: str) -> Ledger:
    if not is_url(place) and not Path(place).is_file():
        raise InputError(f"there is no ledger {place}; name its file, or a redis:// URL")
    return ledger_at(place)


def _described(entry: Entry) -> dict[str, object]:
    """Return what may be shown of an entry: no content, no whole number, no fingerprint."""
    return {
        **{name: getattr(entry, name) for name in _SHOWN},
        "state": entry.state.value,
        "phone": _masked(entry),
        "opened_at": _at(entry.opened_at),
        "updated_at": _at(entry.updated_at),
    }


def _masked(entry: Entry) -> str:
    return entry.phone if "*" in entry.phone else mask_phone(entry.phone)


def _at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _csv_line(values: tuple[object, ...]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(values)
    return line.getvalue()


def _read_duration(written: str) -> float:
    match = _DURATION.fullmatch(written)
    if match is None or (seconds := int(match[1]) * _SECONDS[match[2]]) == 0:
        raise InputError("--older-than takes a number and s, m, h or d, as in 30d")
    return float(seconds)
