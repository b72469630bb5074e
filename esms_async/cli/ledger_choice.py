"""Which ledger a job keeps: the one that was named, one beside its input, or none, and why."""

import os
import shlex
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import attrs

from esms_async import ForeignLedger
from esms_async.cli.errors import InputError
from esms_async.cli.words import Text, text
from esms_async.ledger import Ledger, SqliteLedger

_REDIS = ("redis://", "rediss://", "unix://")


@attrs.frozen
class LedgerChoice:
    """The ledger of a job.

    Attributes:
        place: Its file, or the URL of one on Redis; None where none is kept.
        line: What is said of it before anything is sent, free of a password; or None.
    """

    place: str | None = attrs.field(default=None, repr=False)
    line: Text | None = None

    @classmethod
    def named(cls, place: str) -> Self:
        """Return the choice of the ledger at a place; an InputError says that there is none."""
        try:
            return cls(place, text("ledger", place=without_password(place)))
        except ValueError:
            # Not a word of it: it may hold a password.
            raise InputError(text("ledger_url")) from None

    @classmethod
    def beside(cls, path: str) -> Self:
        """Return the choice of the ledger beside an input.

        Args:
            path: The path of the input. Beside a pipe nothing can be kept.
        """
        if Path(path).is_file():
            return cls.named(f"{path}.ledger")
        name = text("standard_input") if path == "-" else path
        return cls(None, text("no_ledger_for", file=name))

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
            return LedgerChoice(None, text("no_ledger_sandbox"))
        if emulator:
            return LedgerChoice()
        return (
            LedgerChoice(None, text("no_ledger_wanted")) if refused else LedgerChoice.beside(path)
        )
    if refused:
        raise InputError(text("ledger_or_none"))
    if sandbox:
        raise InputError(text("ledger_in_sandbox"))
    return LedgerChoice.named(named)


def ledger_at(place: str) -> Ledger:
    """Return the ledger at a place, which is still to be opened.

    On Redis it is that of the queue ESMS_QUEUE_NAME.

    Raises:
        InputError: It is on Redis, and the extra for that is missing.
        LedgerError: The URL can't be read.
    """
    if not is_url(place):
        return SqliteLedger(place)
    try:
        from esms_async.ledger import RedisLedger  # noqa: PLC0415  # it needs an extra
        from esms_async.queue.streams import ledger_prefix  # noqa: PLC0415  # the same
    except ImportError as error:
        raise InputError(str(error)) from None
    return RedisLedger(place, prefix=ledger_prefix(queue_name()))


def queue_name(environ: Mapping[str, str] = os.environ) -> str:
    """Return the name of the queue that the environment names."""
    return environ.get("ESMS_QUEUE_NAME") or "esms"


def is_url(place: str) -> bool:
    """Tell whether a ledger is on Redis, and not in a file."""
    return place.startswith(_REDIS)


def as_argument(place: str) -> str:
    """Return a ledger as it stands in a command line; a URL may hold a password."""
    return "URL" if is_url(place) else shlex.quote(place)


@contextmanager
def naming_ledger(place: str) -> Generator[None]:
    """Name the ledger in the command that the error of a foreign one tells to run."""
    try:
        yield
    except ForeignLedger as error:
        problem = str(error).replace(" rebind LEDGER`", f" rebind {as_argument(place)}`")
        raise ForeignLedger(problem) from None


def without_password(place: str) -> str:
    """Return a place as it may be shown."""
    if not is_url(place):
        return place
    parts = urlsplit(place)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
