"""What became of each row: the value, the counts, and the file that lists them."""

import csv
import enum
import json
import os
import stat
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

import attrs

from esms_async._model.errors import (
    DuplicateRequestId,
    InvalidMessage,
    Rejected,
    RequestIdConflict,
    SendError,
)
from esms_async._model.messages import Attempt, Message, Outcome
from esms_async._model.phone import mask_phone, normalize_phone
from esms_async.cli.errors import InputError


class RowStatus(enum.StrEnum):
    """What is true of a row, in the words that people and programs read.

    They are those of `Status`, and some for rows that this run did not send.
    """

    ACCEPTED = "accepted"
    ALREADY_DONE = "already done"
    """The ledger holds it as accepted by an earlier run."""
    REJECTED = "rejected"
    NOT_SENT = "not sent"
    UNKNOWN = "unknown"
    INVALID = "invalid"
    """The row is wrong: it gives no message, or one that can't be sent under its RequestId."""
    CHECKED = "checked"
    """A dry run found nothing wrong with it."""

    @classmethod
    def of(cls, outcome: Outcome) -> Self:
        """Return the status of a row whose message was to be sent."""
        receipt = outcome.receipt
        if receipt is not None and not receipt.attempts:
            # Only a ledger knows of an acceptance for which no request was made.
            return cls(cls.ALREADY_DONE)
        if isinstance(outcome.error, InvalidMessage | RequestIdConflict):
            return cls(cls.INVALID)
        return cls[outcome.status.name]


@attrs.frozen
class RowResult:
    """What became of one row. It holds neither the content nor the whole phone number.

    Attributes:
        row: The number of the row.
        phone: The phone, masked; an empty string if none could be read.
        request_id: The RequestId; an empty string if the row has none.
        status: What is true of the row.
        sms_id: The SMSID, if it is known.
        code: The gateway's last code, if there was one.
        attempts: The number of requests.
        reason: Why it was not accepted, or an empty string.
        deduplicated: True if acceptance was learned from code 124.
    """

    row: int
    phone: str
    request_id: str
    status: RowStatus
    sms_id: str = ""
    code: str = ""
    attempts: int = 0
    reason: str = ""
    deduplicated: bool = False

    @property
    def is_duplicate(self) -> bool:
        """True if the row is in doubt because of code 124."""
        return self.status is RowStatus.UNKNOWN and self.code == DuplicateRequestId.code

    @classmethod
    def of_outcome(cls, row: int, outcome: Outcome) -> Self:
        """Return the result of a row whose message was to be sent."""
        receipt, error = outcome.receipt, outcome.error
        attempts: tuple[Attempt, ...] = ()
        request_id, sms_id, code, reason = outcome.message.request_id, None, None, ""
        # The RequestId that was sent; a retry has another one than the message.
        if receipt is not None:
            attempts, request_id, sms_id = receipt.attempts, receipt.request_id, receipt.sms_id
        elif isinstance(error, SendError):
            attempts, request_id, reason = error.attempts, error.request_id, error.reason
            if isinstance(error, Rejected):
                sms_id, code = error.sms_id, error.code
            elif isinstance(error, DuplicateRequestId):
                code = error.code
        else:
            reason = str(error)
        if attempts:
            code = attempts[-1].code
        return cls(
            row,
            mask_phone(outcome.message.phone),
            request_id,
            RowStatus.of(outcome),
            sms_id or "",
            code or "",
            len(attempts),
            reason,
            receipt is not None and receipt.deduplicated,
        )

    @classmethod
    def invalid(cls, row: int, phone: str, problem: str) -> Self:
        """Return the result of a row that gives no message."""
        return cls(row, _shown(phone), "", RowStatus.INVALID, reason=problem)

    @classmethod
    def checked(cls, row: int, message: Message) -> Self:
        """Return the result of a row that a dry run found nothing wrong with."""
        return cls(row, mask_phone(message.phone), "", RowStatus.CHECKED)


def _shown(phone: str) -> str:
    """Mask what was written for a phone, of which there may be nothing."""
    try:
        return mask_phone(normalize_phone(phone))
    except ValueError:
        return mask_phone(phone) if phone else ""


class Tally:
    """Counts the rows of a job by status.

    Attributes:
        deduplicated: How many acceptances were learned from code 124.
        retried: How many of the accepted rows took more than one request.
        duplicates: How many rows are unknown because of code 124.
        last_row: The highest number of a row with a result.
    """

    def __init__(self) -> None:
        self.deduplicated: int = 0
        self.retried: int = 0
        self.duplicates: int = 0
        self.last_row: int = 0
        self._rows: Counter[RowStatus] = Counter()

    def add(self, result: RowResult) -> None:
        """Count one more result."""
        self._rows[result.status] += 1
        self.last_row = max(self.last_row, result.row)
        self.duplicates += result.is_duplicate
        if result.status is RowStatus.ACCEPTED:
            self.deduplicated += result.deduplicated
            self.retried += result.attempts > 1

    def __getitem__(self, status: RowStatus) -> int:
        return self._rows[status]

    @property
    def total(self) -> int:
        """How many rows have a result."""
        return self._rows.total()

    @property
    def sent(self) -> int:
        """How many rows this run sent, or tried to."""
        return self.total - sum(
            self[status]
            for status in (RowStatus.INVALID, RowStatus.CHECKED, RowStatus.ALREADY_DONE)
        )

    @property
    def faultless(self) -> bool:
        """True if every row was accepted, or a dry run found nothing wrong with it."""
        return self.total == sum(
            self[status]
            for status in (RowStatus.ACCEPTED, RowStatus.ALREADY_DONE, RowStatus.CHECKED)
        )


class ResultsFile:
    """The file with one line for each row of the input, written as the outcomes come.

    Use it with `with`. Every line is handed to the operating system at once, so that a crash of
    this process loses none.
    """

    _COLUMNS = ("row", "phone", "request_id", "status", "sms_id", "code", "attempts", "reason")

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
