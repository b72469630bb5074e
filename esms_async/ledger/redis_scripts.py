"""Renders the Lua scripts of the Redis ledger, with the tables of the Python modules in them.

The server runs a script atomically, on its own clock, so the claims of all processes have one
order. The scripts are the `.lua` files beside this module; a `$` marks a value from `transitions`.
A sorted set with equal scores keeps the RequestIds of the unknown entries in order. A reply is one
JSON text, which is faster to read than one of many parts.
"""

import functools
import json
from importlib.resources import files
from string import Template
from typing import Final

import attrs

from esms_async._model.messages import Status
from esms_async._redis import Script
from esms_async.ledger.transitions import (
    CLAIMS,
    CLOCK_TOLERANCE,
    CONTACTS_A_LEASE,
    KEY_ID_LENGTH,
    ONE_MORE_ATTEMPT,
    SETTLEMENTS,
    Decision,
    Knowledge,
    Reason,
    Settlement,
)

FIELDS: Final = tuple(
    field.name for field in attrs.fields(Settlement) if field.name not in ("status", "reason")
)
"""The fields that a settlement sets beside status and reason."""

UNKNOWN_ONES: Final = "#unknown"
"""The end of the key of the set of unknown entries."""

_PARTS: Final = {
    "turn": ("turn",),
    "claim": ("script", "entry", "claim"),
    "settle": ("script", "entry", "knowledge", "settle"),
    "prune": ("entry", "prune"),
    "store_report": ("report", "store_report"),
    "take_reports": ("report", "take_reports"),
    "settle_report": ("report", "knowledge", "settle_report"),
    "retry_report": ("report", "retry_report"),
    "prune_report": ("report", "prune_report"),
}


def as_text(knowledge: Knowledge | None) -> str:
    """Return status and reason as the scripts write them."""
    return "" if knowledge is None else f"{knowledge[0]} {knowledge[1] or ''}"


@functools.cache
def script(name: str) -> Script:
    """Return a script of the ledger: turn, claim, settle, prune, store_report and so on."""
    words = _words()
    return Script.of("\n".join(_part(part).substitute(words) for part in _PARTS[name]))


@functools.cache
def scripts() -> tuple[Script, ...]:
    """Return all scripts of the ledger."""
    return tuple(map(script, _PARTS))


def _part(name: str) -> Template:
    return Template(files("esms_async.ledger").joinpath(f"{name}.lua").read_text("utf-8"))


@functools.cache
def _words() -> dict[str, str]:
    """Return the values for the placeholders of the scripts."""
    return {
        "CLAIMS": _table({as_text(held): _lua(decision) for held, decision in CLAIMS.items()}),
        # One text, because a script builds its tables again on each call.
        "SETTLEMENTS": _lua(
            "".join(
                f"\n{as_text(held)} / {as_text(learned)}: {' | '.join(map(as_text, new))}\n"
                for (held, learned), new in SETTLEMENTS.items()
            )
        ),
        "FIELDS": _list(*FIELDS),
        "ONE_MORE_ATTEMPT": _lua(as_text((ONE_MORE_ATTEMPT.status, ONE_MORE_ATTEMPT.reason))),
        "CLOCK_TOLERANCE": repr(CLOCK_TOLERANCE),
        # A fingerprint is stored in hexadecimal.
        "KEY_ID_DIGITS": str(2 * KEY_ID_LENGTH),
        "UNKNOWN_ONES": _lua(UNKNOWN_ONES),
        "REASON_ATTEMPT": _lua(Reason.ATTEMPT),
        **{f"STATUS_{status.name}": _lua(status) for status in Status},
        **{f"DECISION_{decision.name}": _lua(decision) for decision in Decision},
        "KNOWLEDGE_FAILED": _lua(as_text((Status.REJECTED, Reason.MESSAGE))),
        "CONTACTS_A_LEASE": str(CONTACTS_A_LEASE),
    }


# Lua quotes a text of plain ASCII as JSON does.
def _lua(value: str | None) -> str:
    return "nil" if value is None else json.dumps(value)


def _list(*values: str | None) -> str:
    return f"{{{', '.join(map(_lua, values))}}}"


def _table(rows: dict[str, str]) -> str:
    return f"{{{', '.join(f'[{json.dumps(key)}] = {value}' for key, value in rows.items())}}}"
