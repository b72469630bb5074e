"""What became of each row: the value, the counts, and the file that lists them."""

import csv
import json
import os
import stat
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TextIO

import attrs

from esms_async.cli.errors import InputError
from esms_async.errors import Rejected, SendError
from esms_async.messages import Attempt, Message, Outcome, Status
from esms_async.phone import mask_phone, normalize_phone

DUPLICATE: Final = "124"
"""The code of a message whose RequestId the gateway has had already."""

CHECKED: Final = "checked"
"""The outcome of a row that a dry run found nothing wrong with."""

ALREADY_DONE: Final = "already_done"
"""What an accepted row is counted as that the ledger holds as accepted by an earlier run."""


@attrs.frozen
class RowResult:
    """What became of one row. It holds neither the content nor the whole phone number.

    Attributes:
        row: Its number.
        phone: The phone, masked, or an empty string where none could be read.
        request_id: The RequestId, or an empty string where it has none.
        outcome: One word: a `Status`, or `CHECKED`.
        sms_id: The SMSID, where it is known.
        code: The gateway's last code, where there was one.
        attempts: How many requests were made.
        error: Why it was not accepted, or an empty string.
        deduplicated: True where acceptance was learnt from code 124.
    """

    row: int
    phone: str
    request_id: str
    outcome: str
    sms_id: str = ""
    code: str = ""
    attempts: int = 0
    error: str = ""
    deduplicated: bool = False

    @property
    def retried(self) -> bool:
        """True where it took more than one request."""
        return self.attempts > 1

    @property
    def kind(self) -> str:
        """What it is counted as: its outcome, or `ALREADY_DONE`."""
        # Only a ledger knows of an acceptance for which no request was made.
        earlier = self.outcome == Status.ACCEPTED and not self.attempts
        return ALREADY_DONE if earlier else self.outcome

    @classmethod
    def of_outcome(cls, row: int, outcome: Outcome) -> Self:
        """Tell what became of a message that was sent, or was to be.

        Args:
            row: The number of its row.
            outcome: Its outcome.

        Returns:
            The result.
        """
        receipt, error = outcome.receipt, outcome.error
        attempts: tuple[Attempt, ...] = ()
        request_id, sms_id, code, reason = outcome.message.request_id, None, None, ""
        # The RequestId is that which was sent with: of a retry, it is not the message's own.
        if receipt is not None:
            attempts, request_id, sms_id = receipt.attempts, receipt.request_id, receipt.sms_id
        elif isinstance(error, SendError):
            attempts, request_id, reason = error.attempts, error.request_id, error.reason
            if isinstance(error, Rejected):
                sms_id, code = error.sms_id, error.code
        else:
            reason = str(error)
        if attempts:
            code = attempts[-1].code
        return cls(
            row,
            mask_phone(outcome.message.phone),
            request_id,
            outcome.status.value,
            sms_id or "",
            code or "",
            len(attempts),
            reason,
            receipt is not None and receipt.deduplicated,
        )

    @classmethod
    def invalid(cls, row: int, phone: str, problem: str) -> Self:
        """Tell of a row of which nothing was sent.

        Args:
            row: Its number.
            phone: The phone as it was written, or an empty string.
            problem: What is wrong.

        Returns:
            The result.
        """
        return cls(row, _shown(phone), "", Status.INVALID.value, error=problem)

    @classmethod
    def checked(cls, row: int, message: Message) -> Self:
        """Tell of a row that a dry run found nothing wrong with.

        Args:
            row: Its number.
            message: The message that it would have made.

        Returns:
            The result.
        """
        return cls(row, mask_phone(message.phone), "", CHECKED)


def _shown(phone: str) -> str:
    """Mask what was written for a phone, of which there may be nothing."""
    try:
        return mask_phone(normalize_phone(phone))
    except ValueError:
        return mask_phone(phone) if phone else ""


class Tally:
    """The counts of a job. Those of accepted rows leave out what earlier runs have done.

    Attributes:
        deduplicated: How many of the accepted were learnt of by code 124.
        retried: How many of the accepted took more than one request.
        duplicates: How many of the rejected the gateway has had already, as code 124 says.
        last_row: The highest number of a row with a result.
    """

    def __init__(self) -> None:
        self.deduplicated: int = 0
        self.retried: int = 0
        self.duplicates: int = 0
        self.last_row: int = 0
        self._outcomes: Counter[str] = Counter()

    def add(self, result: RowResult) -> None:
        """Count one more result."""
        self._outcomes[result.kind] += 1
        self.last_row = max(self.last_row, result.row)
        if result.kind == Status.REJECTED:
            self.duplicates += result.code == DUPLICATE
        if result.kind == Status.ACCEPTED:
            self.deduplicated += result.deduplicated
            self.retried += result.retried

    def __getitem__(self, outcome: str) -> int:
        return self._outcomes[outcome]

    @property
    def total(self) -> int:
        """How many rows have a result."""
        return self._outcomes.total()

    @property
    def sent(self) -> int:
        """How many rows this run sent, or tried to."""
        return self.total - self[Status.INVALID] - self[CHECKED] - self[ALREADY_DONE]

    @property
    def faultless(self) -> bool:
        """True where every row was accepted, or in a dry run found good."""
        return self.total == self[Status.ACCEPTED] + self[ALREADY_DONE] + self[CHECKED]


class ResultsFile:
    """The file with one line for each row of the input, written as the outcomes come.

    Use it with `with`. Every line is handed to the operating system at once, so that a crash of
    this process loses none.
    """

    _COLUMNS = ("row", "phone", "request_id", "outcome", "sms_id", "code", "attempts", "error")

    def __init__(self, path: str, file: TextIO, *, is_json: bool) -> None:
        self._path = path
        self._file = file
        self._csv = None if is_json else csv.writer(file, lineterminator="\n")

    @classmethod
    def open(cls, path: str, *, kept: Iterable[str | None], fresh: bool = False) -> Self:
        """Open the file, and empty it where it exists.

        Args:
            path: Its path, which ends in `.csv` or `.jsonl`.
            kept: The paths of what it must not be: the input, and the ledger if there is one.
            fresh: True where it must be new or empty: what it holds may be worth more.

        Returns:
            The file.

        Raises:
            InputError: It can't be written.
        """
        target = Path(path)
        suffix = target.suffix.lower()
        if suffix not in (".csv", ".jsonl"):
            raise InputError(f"--results {path} must end in .csv or .jsonl")
        try:
            if any(_is_same(target, Path(other)) for other in kept if other is not None):
                raise InputError(f"--results {path} is the input or the ledger; name another file")
            # Nothing of it is lost before it is known that no other run writes it.
            file = target.open("a", encoding="utf-8", newline="")
        except OSError as error:
            raise _unwritable(path, error) from None
        results = cls(path, file, is_json=suffix == ".jsonl")
        try:
            results._empty(fresh=fresh)
            if suffix == ".csv":
                results._put(cls._COLUMNS)
        except (InputError, OSError) as error:
            results.close()
            raise error if isinstance(error, InputError) else _unwritable(path, error) from None
        return results

    def _empty(self, *, fresh: bool) -> None:
        path, descriptor = self._path, self._file.fileno()
        if not _lock(descriptor):
            raise InputError(f"--results {path} is being written by another run; name another file")
        status = os.fstat(descriptor)
        if fresh and status.st_size:
            raise InputError(
                f"--results {path} is not empty, and a dry run writes over nothing; name another "
                "file, or remove it"
            )
        if stat.S_ISREG(status.st_mode):
            os.ftruncate(descriptor, 0)

    def write(self, result: RowResult) -> None:
        """Write the line of one row.

        Args:
            result: What became of it.

        Raises:
            InputError: It can't be written.
        """
        self._put([getattr(result, column) for column in self._COLUMNS])

    def close(self) -> None:
        """Close the file."""
        # Every line was flushed: what is left over could not be written, and was told of.
        with suppress(OSError):
            self._file.close()

    def _put(self, values: Sequence[object]) -> None:
        try:
            if self._csv is not None:
                self._csv.writerow(values)
            else:
                json.dump(dict(zip(self._COLUMNS, values, strict=True)), self._file)
                self._file.write("\n")
            self._file.flush()
        except OSError as error:
            raise _unwritable(self._path, error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except FileNotFoundError:
        return False


def _lock(descriptor: int) -> bool:
    """Lock an open file for as long as it is open; False where another process has."""
    try:
        import fcntl  # noqa: PLC0415  # not every system has it

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        # Where files have no locks, the ledger's alone keeps two runs apart.
        pass
    return True


def _unwritable(path: str, error: OSError) -> InputError:
    return InputError(f"cannot write {path}: {error.strerror}")
