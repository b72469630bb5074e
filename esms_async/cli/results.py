"""What became of the rows: the reasons, the counts, and the file that lists every row."""

import csv
import io
import json
import os
import stat
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TextIO, cast

import attrs

from esms_async import (
    DuplicateRequestId,
    EsmsError,
    InvalidMessage,
    NotSent,
    OutcomeUnknown,
    Receipt,
    Rejected,
    RequestIdConflict,
    RequestIdExpired,
    SendError,
)
from esms_async.cli.errors import InputError
from esms_async.cli.rows import BulkRow, RowStatus
from esms_async.cli.words import Language, Text, text
from esms_async.codes import lookup

if TYPE_CHECKING:
    from esms_async.text import PhoneRepair

_FIRST_ROWS: Final = 3
_TRIED: Final = frozenset(
    {RowStatus.ACCEPTED, RowStatus.REJECTED, RowStatus.NOT_SENT, RowStatus.UNKNOWN}
)
_MOST_REASONS: Final = 1000
COLUMNS: Final = ("status", "request_id", "sms_id", "code", "reason", "attempts")


def rejection(code: str | None, http_status: int | None, detail: str | None) -> Text:
    """Return why the gateway refused a message."""
    if code is None:
        return text("http_refusal", status=http_status or "?")
    known = lookup(code)
    words = (detail or "").strip().rstrip(".")
    if not words or words.casefold() in {known.meaning.casefold(), known.meaning_vi.casefold()}:
        return text("code", code=code)
    return text("code_and_words", code=code, words=words)


def reason_of(error: EsmsError) -> Text:  # noqa: PLR0911  # one for each kind
    """Return why a row was not accepted."""
    match error:
        case Rejected():
            return rejection(error.code, error.status, error.detail)
        case DuplicateRequestId():
            return text("code_124")
        case RequestIdExpired():
            return text("expired")
        case OutcomeUnknown():
            return text(
                "unknown", problem=_without_prefix(error.reason, "it may have been accepted")
            )
        case NotSent():
            return text("not_sent", problem=_without_prefix(error.reason, "not sent"))
        case RequestIdConflict():
            return text("other_text_sent")
        case _:
            return text("failed", problem=str(error))


def _without_prefix(reason: str, prefix: str) -> str:
    return reason.removeprefix(f"{prefix}: ")


def accept(row: BulkRow, receipt: Receipt) -> None:
    """Settle a row whose message the gateway has accepted."""
    attempts = receipt.attempts
    row.request_id, row.sms_id = receipt.request_id, receipt.sms_id or ""
    row.attempts = len(attempts)
    if not attempts:
        # Only a ledger knows of an acceptance for which no request was made.
        row.status = RowStatus.ALREADY_DONE
        return
    row.status, row.code = RowStatus.ACCEPTED, attempts[-1].code or ""


def refuse(row: BulkRow, error: EsmsError, *, is_keyed: bool) -> None:
    """Settle a row whose message was not, or may not have been, accepted."""
    attempts = error.attempts if isinstance(error, SendError) else ()
    row.attempts = len(attempts)
    if attempts:
        row.code = attempts[-1].code or ""
    match error:
        case Rejected():
            row.code, row.sms_id = error.code or "", error.sms_id or ""
            status = RowStatus.REJECTED
        case OutcomeUnknown():
            row.code = error.code if isinstance(error, DuplicateRequestId) else row.code
            status = RowStatus.UNKNOWN
        case InvalidMessage():
            status = RowStatus.INVALID
        case RequestIdConflict() if is_keyed:
            row.end(RowStatus.INVALID, text("key_used"))
            return
        case RequestIdConflict():
            status = RowStatus.HELD_BACK
        case _:
            status = RowStatus.NOT_SENT
    row.end(status, reason_of(error))


@attrs.define
class Group:
    """Rows that have one reason in common.

    Attributes:
        count: How many they are.
        rows: The numbers of the first of them.
    """

    count: int = 0
    rows: list[int] = attrs.Factory(list[int])

    def add(self, number: int) -> None:
        """Count one more row."""
        self.count += 1
        if len(self.rows) < _FIRST_ROWS:
            self.rows.append(number)
            self.rows.sort()


class Tally:
    """Counts rows by status, and groups them by reason and by what was repaired.

    Attributes:
        counts: How many rows have each status.
        reasons: The rows of each status and reason.
        repairs: The rows whose phones were repaired.
        deduplicated: How many acceptances were learned from code 124.
        retried: How many of the accepted rows took more than one request.
        duplicates: How many rows are unknown because of code 124.
        last_row: The highest number of a row that was tried; 0 if none was.
    """

    def __init__(self) -> None:
        self.counts: Counter[RowStatus] = Counter()
        self.reasons: dict[tuple[RowStatus, Text], Group] = {}
        self.repairs: dict[PhoneRepair, Group] = {}
        self.deduplicated: int = 0
        self.retried: int = 0
        self.duplicates: int = 0
        self.last_row: int = 0

    def add(self, *rows: BulkRow) -> None:
        """Count rows."""
        counts = self.counts
        for row in rows:
            status = cast("RowStatus", row.status)
            counts[status] += 1
            if row.number > self.last_row and status in _TRIED:
                self.last_row = row.number
            if row.reason is not None:
                self._group(status, row.reason).add(row.number)
                if status is RowStatus.UNKNOWN and row.code == DuplicateRequestId.code:
                    self.duplicates += 1
            elif row.attempts > 1:
                self.retried += 1
            if row.repair is not None:
                self.add_repair(row)

    def add_repair(self, row: BulkRow) -> None:
        """Count a row whose phone was repaired."""
        self.repairs.setdefault(cast("PhoneRepair", row.repair), Group()).add(row.number)

    def _group(self, status: RowStatus, reason: Text) -> Group:
        key = status, reason
        if key not in self.reasons and len(self.reasons) >= _MOST_REASONS:
            key = status, text("other_reasons")
        return self.reasons.setdefault(key, Group())

    def __getitem__(self, status: RowStatus) -> int:
        return self.counts[status]

    @property
    def total(self) -> int:
        """How many rows have a result."""
        return self.counts.total()

    @property
    def repaired(self) -> int:
        """How many phones were repaired."""
        return sum(group.count for group in self.repairs.values())

    @property
    def sent(self) -> int:
        """How many rows this run sent, or tried to."""
        return self.total - sum(self.counts[status] for status in _NOT_OF_THIS_RUN)

    @property
    def faultless(self) -> bool:
        """True if every row was accepted, or a dry run found nothing wrong with it."""
        return self.total == sum(self.counts[status] for status in _FAULTLESS)

    def summary(self, seconds: float) -> dict[str, int | float]:
        """Return the counts for a program."""
        return {
            "total": self.total,
            "accepted": self[RowStatus.ACCEPTED],
            "deduplicated": self.deduplicated,
            "already_done": self[RowStatus.ALREADY_DONE],
            "rejected": self[RowStatus.REJECTED],
            "not_sent": self[RowStatus.NOT_SENT],
            "unknown": self[RowStatus.UNKNOWN],
            "invalid": self[RowStatus.INVALID],
            "held_back": self[RowStatus.HELD_BACK],
            "repaired": self.repaired,
            "seconds": round(seconds, 3),
        }


_NOT_OF_THIS_RUN: Final = (
    RowStatus.INVALID,
    RowStatus.HELD_BACK,
    RowStatus.CHECKED,
    RowStatus.ALREADY_DONE,
)
_FAULTLESS: Final = (RowStatus.ACCEPTED, RowStatus.ALREADY_DONE, RowStatus.CHECKED)


class ResultsFile:
    """The list with its own columns and order, and what became of each row.

    Use it with `with`. Rows are written once all rows before them have a result; what a crash
    keeps from being written, the next run writes.

    Args:
        path: Its path, which ends in `.csv` or `.jsonl`.
        language: The language of the reasons.
        kept: The paths of what it must not be: the list, and the ledger if there is one.

    Raises:
        InputError: It has another suffix, or is one of these.
    """

    def __init__(self, path: str, language: Language, *, kept: Iterable[str | None]) -> None:
        target = Path(path)
        if target.suffix.lower() not in (".csv", ".jsonl"):
            raise InputError(text("results_suffix", file=path))
        if any(_is_same(target, Path(other)) for other in kept if other is not None):
            raise InputError(text("results_are_input", file=path))
        self._path = path
        self._language = language
        self._is_json = Path(path).suffix.lower() == ".jsonl"
        self._said: dict[Text, str] = {}
        self._width = 0
        self._names: list[str] = []
        self._file: TextIO

    def open(self, columns: list[str], *, fresh: bool = False) -> None:
        """Open the file, and empty it if it exists.

        Args:
            columns: The list's own columns.
            fresh: True if it must be new or empty: what it holds may be worth more.

        Raises:
            InputError: It can't be written.
        """
        self._width, self._names = len(columns), _unique(columns)
        try:
            # Nothing of it is lost before it is known that no other run writes it.
            # A row that is not UTF-8 was refused; it is listed all the same.
            self._file = Path(self._path).open(  # noqa: SIM115  # closed by this object
                "a", encoding="utf-8", errors="replace", newline=""
            )
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            self._empty(fresh=fresh)
            if not self._is_json:
                # Excel takes a file for UTF-8 by its byte order mark.
                self._put(f"\ufeff{_csv_lines([[*columns, *COLUMNS]])}")
        except BaseException:
            self.close()
            raise

    def write(self, rows: Sequence[BulkRow]) -> None:
        """Write rows that have a result, in the order of the list.

        Raises:
            InputError: It can't be written, or somebody has removed it.
        """
        settled = [row for row in rows if row.status is not None]
        if self._is_json:
            self._put("".join(map(self._json_line, settled)))
        else:
            self._put(_csv_lines(map(self._csv_row, settled)))

    def close(self) -> None:
        """Close the file."""
        # Every line was flushed: what is left over could not be written, and that was reported.
        with suppress(OSError):
            self._file.close()

    def _csv_row(self, row: BulkRow) -> list[object]:
        source, width = row.source, self._width
        if isinstance(source, list):
            own = cast("list[object]", source)
            if len(own) < width:
                own = own + [""] * (width - len(own))
        elif isinstance(source, dict):
            values = cast("dict[str, object]", source)
            own = [_cell(values.get(name, "")) for name in self._names]
        else:
            # A line that can't be read as fields.
            own = [source] + [""] * (width - 1)
        return [
            *own,
            row.status,
            row.request_id,
            row.sms_id,
            row.code,
            self._reason(row),
            row.attempts,
        ]

    def _json_line(self, row: BulkRow) -> str:
        source = row.source
        if isinstance(source, dict):
            own = cast("dict[str, object]", source)
        elif isinstance(source, list):
            own = dict(zip(self._names, cast("list[object]", source), strict=False))
        else:
            own = {"line": source}
        values = (
            *(row.status, row.request_id, row.sms_id, row.code),
            *(self._reason(row), row.attempts),
        )
        taken = not own.keys().isdisjoint(COLUMNS) or not set(COLUMNS).isdisjoint(self._names)
        ours = {
            f"esms_{name}" if taken else name: value
            for name, value in zip(COLUMNS, values, strict=True)
        }
        line = json.dumps({**own, **ours}, ensure_ascii=False)
        return f"{line}\n"

    def _reason(self, row: BulkRow) -> str:
        reason = row.reason
        if reason is None:
            return ""
        said = self._said.get(reason)
        if said is None:
            said = reason.said(self._language)
            if len(self._said) < _MOST_REASONS:
                self._said[reason] = said
        return said

    def _empty(self, *, fresh: bool) -> None:
        descriptor = self._file.fileno()
        if not _lock(descriptor):
            raise InputError(text("results_in_use", file=self._path))
        status = os.fstat(descriptor)
        if fresh and status.st_size:
            raise InputError(text("results_not_empty", file=self._path))
        if stat.S_ISREG(status.st_mode):
            os.ftruncate(descriptor, 0)

    def _put(self, lines: str) -> None:
        try:
            self._file.write(lines)
            self._file.flush()
            held = os.fstat(self._file.fileno())
            if stat.S_ISREG(held.st_mode):
                there = os.stat(self._path)  # noqa: PTH116  # for each chunk
                is_there = (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)
            else:
                is_there = True
        except FileNotFoundError:
            is_there = False
        except OSError as error:
            raise self._unwritable(error) from None
        if not is_there:
            raise InputError(text("results_removed", file=self._path))

    def _unwritable(self, error: OSError) -> InputError:
        problem = error.strerror or str(error)
        return InputError(text("results_unwritable", file=self._path, problem=problem))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if hasattr(self, "_file"):
            self.close()


@attrs.define(eq=False)
class Chunk:
    """Rows that are listed together.

    Attributes:
        rows: The rows, in the order of the list.
        left: How many of them have no result yet.
    """

    rows: list[BulkRow]
    left: int


class OrderedResults:
    """Writes chunks of rows in their order, each once it and all before it are settled.

    Attributes:
        waiting: How many rows wait for a row before them.
        failure: Why nothing more can be written, if so.
    """

    def __init__(self, file: ResultsFile | None) -> None:
        self.waiting: int = 0
        self.failure: InputError | None = None
        self._file = file
        self._chunks: deque[Chunk] = deque()

    def add(self, chunk: Chunk) -> None:
        """Add the next chunk."""
        if self._file is not None:
            self._chunks.append(chunk)
            self.waiting += len(chunk.rows)
            self.write_settled()

    def settled(self, chunk: Chunk) -> None:
        """Note that one more row of a chunk has a result."""
        chunk.left -= 1
        if not chunk.left and self._file is not None and self._chunks and chunk is self._chunks[0]:
            self.write_settled()

    def write_settled(self, *, all_of_them: bool = False) -> None:
        """Write what is settled up to the first row that is not; or leave that out, at the end."""
        chunks = self._chunks
        while chunks and (all_of_them or not chunks[0].left):
            rows = chunks.popleft().rows
            self.waiting -= len(rows)
            if self._file is None or self.failure is not None:
                continue
            try:
                self._file.write(rows)
            except InputError as error:
                self.failure = error


def _csv_lines(rows: Iterable[Sequence[object]]) -> str:
    """Return rows as lines of CSV, as Excel writes them."""
    return "".join(map(_csv_line, rows))


def _csv_line(fields: Sequence[object]) -> str:
    line = ",".join(map(str, fields))
    # What nearly every row is. The library looks at each character on its own.
    if line.count(",") == len(fields) - 1 and not ('"' in line or "\n" in line or "\r" in line):
        return f"{line}\r\n"
    quoted = io.StringIO()
    csv.writer(quoted, lineterminator="\r\n").writerow(fields)
    return quoted.getvalue()


def _cell(value: object) -> object:
    return value if isinstance(value, str | int | float) else json.dumps(value, ensure_ascii=False)


def _unique(columns: Sequence[str]) -> list[str]:
    """Return names of columns that differ, for the keys of JSON objects."""
    names: list[str] = []
    for place, column in enumerate(columns, 1):
        name = column or f"column {place}"
        names.append(name if name not in names else f"{name} {place}")
    return names


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _lock(descriptor: int) -> bool:
    """Lock an open file for as long as it is open; False if another process has."""
    try:
        import fcntl  # noqa: PLC0415  # not every system has it

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        # Where files have no locks, the ledger's alone keeps two runs apart.
        pass
    return True
