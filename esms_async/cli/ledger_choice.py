"""Which ledger a job keeps: the one that was named, one beside its input, or none, and why."""

from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import attrs

from esms_async.cli.errors import InputError
from esms_async.ledger import Ledger, SqliteLedger

_NOT_KEPT = (
    "No ledger: for 24 hours the gateway refuses (code 124) what it has accepted of this batch; "
    "run after that, it sends every row anew"
)
_REDIS = ("redis://", "rediss://", "unix://")


@attrs.frozen
class LedgerChoice:
    """The ledger of a job.

    Attributes:
        place: Its file, or the URL of one on Redis; None where none is kept.
        line: What is said of it before anything is sent, free of a password; it may be empty.
    """

    place: str | None = attrs.field(default=None, repr=False)
    line: str = ""

    @classmethod
    def named(cls, place: str) -> Self:
        """Return the choice of the ledger at a place; an InputError says that there is none."""
        try:
            return cls(place, f"Ledger: {_without_password(place)}")
        except ValueError:
            # Not a word of it: it may hold a password.
            raise InputError(
                "the ledger's URL can't be read; write it as redis://host:6379/0"
            ) from None

    @classmethod
    def beside(cls, path: str) -> Self:
        """Return the choice of the ledger beside an input.

        Args:
            path: The path of the input. Beside a pipe nothing can be kept.
        """
        if Path(path).is_file():
            return cls.named(f"{path}.ledger")
        name = "standard input" if path == "-" else path
        return cls(None, f"No ledger: {name} is no file to keep one beside; --ledger names one")

    def make(self) -> Ledger | None:
        """Return the ledger, which is still to be opened, or None where none is kept."""
        return None if self.place is None else ledger_at(self.place)


def choose_ledger(
    path: str, named: str | None, *, refused: bool, sandbox: bool, emulator: bool
) -> LedgerChoice:
    """Choose the ledger of a job.

    What the sandbox or an emulator accepts reaches no phone: a ledger that held it as accepted
    would keep it from being sent for real.

    Args:
        path: The path of the input.
        named: The place that was asked for, or None.
        refused: True where none is wanted.
        sandbox: True where messages are checked and not sent.
        emulator: True where they go to an emulator of this process.

    Raises:
        InputError: The options exclude each other.
    """
    if named is None:
        if sandbox:
            return LedgerChoice(None, "No ledger: the sandbox sends nothing")
        if emulator:
            return LedgerChoice()
        return LedgerChoice(None, _NOT_KEPT) if refused else LedgerChoice.beside(path)
    if refused:
        raise InputError("--ledger and --no-ledger exclude each other")
    if sandbox:
        raise InputError("the sandbox sends nothing that a ledger could hold; leave --ledger out")
    return LedgerChoice.named(named)


def ledger_at(place: str) -> Ledger:
    """Return the ledger at a place, which is still to be opened.

    Raises:
        InputError: It is on Redis, and the extra for that is missing.
        LedgerError: The URL can't be read.
    """
    if not is_url(place):
        return SqliteLedger(place)
    try:
        from esms_async.ledger import RedisLedger  # noqa: PLC0415  # it needs an extra
    except ImportError as error:
        raise InputError(str(error)) from None
    return RedisLedger(place)


def is_url(place: str) -> bool:
    """Tell whether a ledger is on Redis, and not in a file."""
    return place.startswith(_REDIS)


def _without_password(place: str) -> str:
    if not is_url(place):
        return place
    parts = urlsplit(place)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
