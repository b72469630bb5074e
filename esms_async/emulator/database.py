"""Keeps messages and RequestIds of an emulator in a SQLite file, over restarts.

Requests are not in it: they hold what a client sent by mistake.
"""

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import attrs

from esms_async._model.codes import RouteKind
from esms_async._model.errors import ConfigurationError
from esms_async.emulator.gateway import AcceptedSend, Account, Use
from esms_async.emulator.records import AcceptedMessage, Delivery, DeliveryFault

_VERSION = 1
_TABLES = """
CREATE TABLE messages (sms_id TEXT PRIMARY KEY, number INTEGER, value TEXT) STRICT;
CREATE INDEX by_number ON messages (number);
CREATE TABLE request_ids (
    account TEXT, request_id TEXT, until REAL, accepted INTEGER, sms_id TEXT,
    PRIMARY KEY (account, request_id)
) STRICT;
CREATE TABLE facts (name TEXT PRIMARY KEY, value REAL) STRICT;
"""
_BALANCE = "balance:"
_SHIFT = "clock shift"


class Database:
    """The file of one emulator, which no other process may open meanwhile.

    Each message is committed with its RequestId before it is answered, so a killed emulator has
    forgotten none, and takes none twice.

    Args:
        path: The file; it is made where it is missing.

    Raises:
        ConfigurationError: The file can't be used.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            with contextlib.ExitStack() as undo:
                self._connection = sqlite3.connect(path, isolation_level=None, timeout=1)
                undo.callback(self._connection.close)
                # A commit survives the end of the process, which is what a restart needs.
                self._connection.executescript(
                    "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL;"
                    "PRAGMA synchronous=NORMAL"
                )
                self._open()
                undo.pop_all()
        except (sqlite3.Error, OSError) as error:
            raise ConfigurationError(
                f"cannot use the database {path!r} ({error}); {_remedy(path, error)}"
            ) from None

    def _open(self) -> None:
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, _VERSION):
            raise sqlite3.DatabaseError(f"version {version} is not known")
        if version == 0:
            if self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise sqlite3.DatabaseError("it belongs to another program")
            self._connection.executescript(
                f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT"
            )
        else:
            # Takes the lock, which in exclusive mode stays.
            self._connection.executescript("BEGIN IMMEDIATE; COMMIT")

    def load_messages(self, most: int) -> list[AcceptedMessage]:
        """Return the newest messages, oldest first; forget those beyond."""
        self._connection.execute(
            "DELETE FROM messages WHERE number <= (SELECT max(number) FROM messages) - ?", (most,)
        )
        rows = self._connection.execute("SELECT value FROM messages ORDER BY number")
        return [_read_message(json.loads(value)) for (value,) in rows]

    def load_uses(self) -> list[tuple[str, str, Use]]:
        """Return account, RequestId and use of each RequestId, the oldest first."""
        rows = self._connection.execute(
            "SELECT account, request_id, until, accepted, sms_id FROM request_ids ORDER BY until"
        )
        return [(account, request_id, Use(*use)) for account, request_id, *use in rows]

    def load_facts(self) -> tuple[Mapping[str, int], float]:
        """Return the balances by account, and how far the clock was moved ahead."""
        facts: dict[str, float] = dict(self._connection.execute("SELECT name, value FROM facts"))
        balances = {
            name.removeprefix(_BALANCE): int(value)
            for name, value in facts.items()
            if name.startswith(_BALANCE)
        }
        return balances, facts.get(_SHIFT, 0.0)

    def put_accepted(self, accepted: AcceptedSend, shift: float) -> None:
        """Keep all that an accepted send changes, or nothing."""
        message, use, balance = accepted
        # As a context manager the connection commits or rolls back, but does not begin.
        with self._connection:
            self._connection.execute("BEGIN")
            self.put_message(message)
            if use is not None:
                self.put_use(message.account, message.request_id or "", use)
            self._put_facts({f"{_BALANCE}{message.account}": balance, _SHIFT: shift})

    def put_message(self, message: AcceptedMessage) -> None:
        """Keep a message."""
        self._connection.execute(
            "INSERT OR REPLACE INTO messages VALUES (?, ?, ?)",
            (message.sms_id, message.number, json.dumps(_write_message(message))),
        )

    def put_use(self, account: str, request_id: str, use: Use) -> None:
        """Keep the use of a RequestId."""
        self._connection.execute(
            "INSERT OR REPLACE INTO request_ids VALUES (?, ?, ?, ?, ?)",
            (account, request_id, use.until, use.accepted, use.sms_id),
        )

    def put_facts(self, accounts: Iterable[Account], shift: float) -> None:
        """Keep the balances, and how far the clock was moved ahead."""
        balances = {f"{_BALANCE}{account.name}": account.balance for account in accounts}
        self._put_facts({**balances, _SHIFT: shift})

    def _put_facts(self, facts: Mapping[str, float]) -> None:
        self._connection.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", [*facts.items()])

    def clear(self, *, request_ids: bool) -> None:
        """Forget the messages, and the RequestIds if asked for."""
        self._connection.execute("DELETE FROM messages")
        if request_ids:
            self._connection.execute("DELETE FROM request_ids")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def _remedy(path: str, error: Exception) -> str:
    folder = Path(path).parent
    if not folder.is_dir():
        return f"make the folder {str(folder)!r}, or name another file"
    if "locked" in str(error):
        return "end the emulator that has it open, or name another file"
    return "name another file"


def _write_message(message: AcceptedMessage) -> Mapping[str, object]:
    values = attrs.asdict(message)
    values["at"] = message.at.timestamp()
    values["send_at"] = None if message.send_at is None else message.send_at.timestamp()
    return values


def _read_message(values: dict[str, object]) -> AcceptedMessage:
    delivery = Delivery(**values.pop("delivery"))  # type: ignore[arg-type]  # as it was written
    fault = None if delivery.fault is None else DeliveryFault(delivery.fault)
    values["delivery"] = attrs.evolve(delivery, fault=fault)
    values["route"] = RouteKind(str(values["route"]))
    for name in ("at", "send_at"):
        if isinstance(seconds := values[name], int | float):
            values[name] = datetime.fromtimestamp(seconds, UTC)
    return AcceptedMessage(**values)  # type: ignore[arg-type]  # as it was written
