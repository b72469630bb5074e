"""Finds the columns of a list, and makes a message of each row or says why it gives none.

| a row whose … | is |
|---|---|
| line, phone or text can't be used | invalid |
| phone and text stand in an earlier row | held back, unless `--allow-duplicates` |
| phone stands in an earlier row with another text | held back, unless `--allow-again` or `--key` |
| key stands in an earlier row | invalid |
| … and any other | sent, if the ledger allows it (`batch.py`) |

A row is known again by its key, or by its phone: its RequestId is derived from that, so a text that
was changed between two runs meets the id of the first text, and never goes out beside it.
"""

import enum
import hashlib
import re
import unicodedata
from array import array
from collections.abc import Mapping, Sequence
from typing import Final, Self

import attrs

from esms_async import InvalidMessage, Message, derive_request_id
from esms_async.cli.errors import InputError
from esms_async.cli.spreadsheet import Fields, Sheet, SheetRow, column_name, is_clean
from esms_async.cli.words import Text, text
from esms_async.text import PhoneRepair, RoundedPhone, repair_phone

_KEPT: Final = re.compile(r"0[35789][0-9]{8}")
_MOST_PARTS: Final = 255
# What is shorter needs no count of its parts: none takes fewer than 33 characters.
_SURELY_FITS: Final = _MOST_PARTS * 33
_UNUSABLE: Final = re.compile("[\0-\x08\x0b\x0e-\x1f\x7f-\x9f\ud800-\udfff]")

# Names of columns without accents and marks, the surest first.
_PHONE_NAMES: Final = (
    ("phone", "so dien thoai", "sdt", "dien thoai", "mobile"),
    (
        *("phone number", "phonenumber", "so dt", "sodt", "dt", "dtdd", "di dong", "so di dong"),
        *("mobile phone", "mobile number", "so phone", "cell", "cell phone", "tel", "telephone"),
    ),
)
_PHONE_WORDS: Final = ("dien thoai", "phone", "sdt", "di dong", "mobile")
_CONTENT_NAMES: Final = (
    ("content", "noi dung"),
    ("noi dung tin nhan", "noi dung sms", "tin nhan", "text", "message", "sms", "noidung"),
)
# Of the first rows, so many must read as phones for a column to be one that no name gives away.
_MOST_SAMPLED: Final = 100
_ENOUGH_PHONES: Final = 0.8

# A doubled brace, a field, or a brace that is neither.
_TOKEN: Final = re.compile(r"(?P<brace>\{\{|\}\})|\{(?P<field>[^{}]*)\}|(?P<stray>[{}])")


class RowStatus(enum.StrEnum):
    """What is true of a row, in the words of the results.

    They are those of `Status`, and some for rows that this run did not send.
    """

    ACCEPTED = "accepted"
    ALREADY_DONE = "already done"
    """The ledger holds it as accepted by an earlier run."""
    REJECTED = "rejected"
    NOT_SENT = "not sent"
    UNKNOWN = "unknown"
    INVALID = "invalid"
    """The row gives no message, or one that can't be sent under its key."""
    HELD_BACK = "held back"
    """The phone would get a message twice, or a second text of the same batch."""
    CHECKED = "checked"
    """A dry run found nothing wrong with it."""


class BulkRow:
    """One row of the list on its way to a result.

    Attributes:
        number: Its number, as a spreadsheet counts.
        source: The row as it stands in the input.
        phone: Its phone, if it gives a message.
        content: The text, if it gives one.
        params: The parameters of a Zalo template, if it gives them.
        route: None: the client's own.
        status: What is true of it, or None while that is open.
        reason: Why it was not accepted.
        repair: What had to be repaired of its phone.
        chain: The first id of the row and how many ids follow it, once there are any.
        is_again: True if the phone stands in an earlier row, with another text.
    """

    # Defaults live in the class: most of them never change, and every row is made twice.
    phone: str = ""
    content: str | None = None
    params: dict[str, str] | None = None
    route: None = None
    status: RowStatus | None = None
    reason: Text | None = None
    repair: PhoneRepair | None = None
    is_again: bool = False
    chain: tuple[str, int] | None = None
    request_id: str = ""
    sms_id: str = ""
    code: str = ""
    attempts: int = 0
    _message: Message | None = None

    def __init__(self, number: int, source: object) -> None:
        self.number: int = number
        self.source: object = source

    @property
    def message(self) -> Message:
        """What is to be sent. It is made when it is asked for: most rows of a rerun need none."""
        if self._message is None:
            self._message = Message(
                self.phone, self.content, params=self.params, request_id=self.request_id
            )
        return self._message

    def move(self, request_id: str) -> None:
        """Give the row another id."""
        self.request_id, self._message = request_id, None

    def forget_message(self) -> None:
        """Free the memory of the message."""
        self._message = None

    def end(self, status: RowStatus, reason: Text | None = None) -> Self:
        """Settle the row."""
        self.status, self.reason = status, reason
        return self


@attrs.frozen(repr=False)
class Template:
    """A text with named fields. A name is looked up as it stands: no attributes, no formats.

    Attributes:
        written: The template as it was given.
        fields: The columns that it takes as they are spelled, in order, with repetitions.
    """

    written: str
    fields: tuple[str, ...]
    _texts: tuple[str, ...]

    @classmethod
    def parse(cls, written: str) -> Self:
        """Read a template; `{{` and `}}` stand for braces.

        Raises:
            InputError: It is blank, or a brace in it is neither part of a field nor doubled.
        """
        if not written.strip():
            raise InputError(text("template_empty"))
        texts, fields, piece, end = list[str](), list[str](), "", 0
        for token in _TOKEN.finditer(written):
            piece += written[end : token.start()]
            end = token.end()
            if token["brace"]:
                piece += token["brace"][0]
            elif token["stray"] or not token["field"].strip():
                raise InputError(text("template_brace", position=token.start() + 1))
            else:
                texts.append(piece)
                fields.append(token["field"].strip())
                piece = ""
        texts.append(piece + written[end:])
        return cls(written, tuple(fields), tuple(texts))

    def named(self, columns: Sequence[str]) -> str:
        """Return the template with these names in its fields: one spelling for all others."""
        pieces = [piece.replace("{", "{{").replace("}", "}}") for piece in self._texts]
        return attrs.evolve(self, texts=tuple(pieces)).fill([f"{{{name}}}" for name in columns])

    def fill(self, values: Sequence[str]) -> str:
        """Put the values of the fields into the text."""
        pieces = [self._texts[0]]
        for value, piece in zip(values, self._texts[1:], strict=True):
            pieces += value, piece
        return "".join(pieces)


@attrs.frozen
class Columns:
    """Which columns of a list are used, by their places.

    Attributes:
        phone: The column of the phone.
        content: Those of the text: one, or those of the template's fields.
        params: Those of the parameters of a Zalo template, with their names.
        key: The column that identifies a row, or None.
        is_guessed: True if nobody named the phone's column, and it is not called `phone`.
    """

    phone: int
    content: tuple[int, ...]
    key: int | None
    is_guessed: bool = False
    params: tuple[tuple[str, int], ...] = ()


def plain(written: str) -> str:
    """Return the name of a column in small letters without accents, marks and doubled spaces."""
    folded = unicodedata.normalize("NFD", written.casefold()).replace("đ", "d")
    letters = "".join(one for one in folded if not unicodedata.combining(one))
    return " ".join(re.sub(r"[\W_]+", " ", letters).split())


def find_columns(
    sheet: Sheet,
    sample: Sequence[SheetRow],
    *,
    phone: str | None,
    content: str | None,
    template: Template | None,
    key: str | None,
    params: Sequence[str] | None = None,
) -> Columns:
    """Find the columns that a job needs, by their names and by what the first rows hold.

    Args:
        sheet: The list; its header has been read.
        sample: Its first rows.
        phone: The column of the phone, if it was named.
        content: The column of the text, if it was named.
        template: The template, if there is one.
        key: The column that identifies a row, if there is one.
        params: `NAME=COLUMN` or `COLUMN` of each parameter of a Zalo template, and none of them
            for every other column; None if the route takes a text.

    Raises:
        InputError: A column is missing, or more than one could be meant.
    """
    names = [column_name(column) for column in sheet.columns]
    rows = [fields for _, fields, _ in sample if not isinstance(fields, Text)]
    if phone is None:
        phone_place = _guess_phone(sheet, names, rows)
    else:
        phone_place = _named(sheet, names, phone, "--phone-column")
    key_place = None if key is None else _named(sheet, names, key, "--key")
    guessed = phone is None and names[phone_place] != "phone"
    if params is not None:
        named = _params(sheet, names, params, {phone_place, key_place})
        return Columns(phone_place, (), key_place, guessed, named)
    if template is not None:
        places = tuple(_named(sheet, names, field, "--content") for field in template.fields)
    elif content is not None:
        places = (_named(sheet, names, content, "--content-column"),)
    else:
        places = (_guess_content(sheet, names),)
    return Columns(phone_place, places, key_place, guessed)


def _named(sheet: Sheet, names: Sequence[str], wanted: str, option: str) -> int:
    found = [place for place, name in enumerate(names) if name == column_name(wanted)]
    found = found or [place for place, name in enumerate(names) if plain(name) == plain(wanted)]
    if len(found) == 1:
        return found[0]
    key = "column_twice" if found else "column_missing"
    raise InputError(
        text(key, file=sheet.name, column=wanted, option=option, columns=_listed(sheet))
    )


def _params(
    sheet: Sheet, names: Sequence[str], written: Sequence[str], other: set[int | None]
) -> tuple[tuple[str, int], ...]:
    if not written:
        found = [(name.strip(), place) for place, name in enumerate(sheet.columns)]
        return tuple((name, place) for name, place in found if name and place not in other)
    pairs = [one.partition("=") for one in written]
    return tuple(
        (name.strip(), _named(sheet, names, column or name, "--param")) for name, _, column in pairs
    )


def _guess_phone(sheet: Sheet, names: Sequence[str], rows: Sequence[Fields]) -> int:
    plain_names = [plain(name) for name in names]
    named: list[int] = []
    for group in _PHONE_NAMES:
        named = [place for place, name in enumerate(plain_names) if name in group]
        if named:
            break
    if not named:
        named = [
            place
            for place, name in enumerate(plain_names)
            if any(word in f" {name} " for word in _PHONE_WORDS)
        ]
    if len(named) == 1:
        return named[0]
    shares = {place: _share_of_phones(rows, place) for place in named or range(len(names))}
    likely = [place for place, share in shares.items() if share >= _ENOUGH_PHONES]
    if len(likely) == 1:
        return likely[0]
    if any(_is_phone(name) for name in sheet.columns):
        # Not a word of what is there: without a header it is a phone number.
        raise InputError(text("no_header", file=sheet.name))
    if not named and not likely:
        raise InputError(text("no_phone_column", file=sheet.name))
    among = ", ".join(repr(sheet.columns[place]) for place in likely or named)
    raise InputError(text("many_phone_columns", file=sheet.name, columns=among))


def _guess_content(sheet: Sheet, names: Sequence[str]) -> int:
    plain_names = [plain(name) for name in names]
    for group in _CONTENT_NAMES:
        found = [place for place, name in enumerate(plain_names) if name in group]
        if len(found) == 1:
            return found[0]
        if found:
            among = ", ".join(repr(sheet.columns[place]) for place in found)
            raise InputError(text("many_content_columns", file=sheet.name, columns=among))
    raise InputError(text("no_content_column", file=sheet.name, columns=_listed(sheet)))


def _listed(sheet: Sheet) -> str:
    """Return the names of the columns, fit to be shown."""
    if any(_is_phone(name) for name in sheet.columns):
        return "?"
    return ", ".join(repr(name) for name in sheet.columns if name.strip())


def _share_of_phones(rows: Sequence[Fields], place: int) -> float:
    values = [str(row[place]) for row in rows if len(row) > place and row[place] not in ("", None)]
    return sum(map(_is_phone, values)) / len(values) if values else 0.0


def _is_phone(value: str) -> bool:
    try:
        repair_phone(value)
    except RoundedPhone:
        return True
    except ValueError:
        return False
    return True


def text_of(content: str | None, params: Mapping[str, str] | None) -> str:
    """Return what tells the text or the parameters of a message from others."""
    if params is None:
        return content or ""
    return "\n".join(f"{name}={params[name]}" for name in sorted(params))


class RowIds:
    """Derives the RequestIds of one batch.

    A RequestId travels in clear through logs, results and the gateway, and a phone number has nine
    digits, so a plain hash of it is undone by trying. The hash is keyed with the account's secret
    key. The price is that a new secret key makes new ids.

    Args:
        batch: The name of the batch: a row that is sent in another batch is another message.
        secret: The account's secret key, or the one in ESMS_ROW_SECRET.
    """

    def __init__(self, batch: str, secret: str) -> None:
        named = f"esms_async bulk, version 2\n{batch}\n{secret}"
        self._batch = batch
        self._by_phone = hashlib.blake2b(
            digest_size=20, key=hashlib.sha256(named.encode("utf-8", "surrogatepass")).digest()
        )

    def of_phone(self, phone: str) -> str:
        """Return the id of the first text that a phone gets."""
        mac = self._by_phone.copy()
        mac.update(phone.encode())
        return mac.hexdigest()

    def of_text(self, phone: str, content: str, times: int) -> str:
        """Return the id of a further text to a phone, or of the same one for the nth time."""
        mac = self._by_phone.copy()
        mac.update(f"{phone}\n{times}\n{content}".encode())
        return mac.hexdigest()

    def of_key(self, key: str) -> str:
        """Return the id of a row that has a key; it outlives a secret key."""
        return derive_request_id("bulk key", self._batch, key)


class _Met(enum.Enum):
    """What a phone and a text have in common with those of earlier rows."""

    NOTHING = 0
    PHONE = 1
    BOTH = 2


_SAME_KEY: Final = 4
_METS: Final = tuple(_Met)

_PARTITIONS: Final = 256
_GROWTH: Final = 1.5
_MOST_FILLED: Final = 0.72


class _Seen:
    """Which phones came before, and with which texts, in about 14 bytes a row.

    A hash table of 64-bit numbers: the phone in 30 bits, exactly, and 34 bits of a hash of the
    text. Its parts grow one after the other, so memory grows in small steps.
    """

    def __init__(self) -> None:
        # Sizes are spread so that the parts do not all grow at the same row.
        self._parts = [
            array("Q", bytes(8 * (16 + part * 8 // _PARTITIONS))) for part in range(_PARTITIONS)
        ]
        self._free = [int(len(part) * _MOST_FILLED) for part in self._parts]

    def add(self, phone: int, content: str) -> _Met:
        """Note a phone and a text, and say whether they came before."""
        value = phone << 34 | hash(content) & 0x3_FFFF_FFFF
        spread = phone * 0x9E37_79B9_7F4A_7C15 & 0xFFFF_FFFF_FFFF_FFFF
        part = spread >> 56
        table = self._parts[part]
        size = len(table)
        place = (spread >> 20 & 0xFFFF_FFFF) % size
        met = _Met.NOTHING
        while held := table[place]:
            if held == value:
                return _Met.BOTH
            if held >> 34 == phone:
                met = _Met.PHONE
            place += 1
            if place == size:
                place = 0
        table[place] = value
        self._free[part] -= 1
        if not self._free[part]:
            self._grow(part)
        return met

    def _grow(self, part: int) -> None:
        old = self._parts[part]
        size = int(len(old) * _GROWTH) + 1
        new = array("Q", bytes(8 * size))
        for value in old:
            if value:
                spread = (value >> 34) * 0x9E37_79B9_7F4A_7C15 & 0xFFFF_FFFF_FFFF_FFFF
                place = (spread >> 20 & 0xFFFF_FFFF) % size
                while new[place]:
                    place = (place + 1) % size
                new[place] = value
        self._parts[part] = new
        self._free[part] = int(size * _MOST_FILLED) - int(len(old) * _MOST_FILLED)


class _Repeats:
    """Finds out what rows have in common with earlier ones.

    Attributes:
        met: What each row had, in order: a `_Met`, and `_SAME_KEY`.
    """

    def __init__(self) -> None:
        self.met = bytearray()
        self._texts, self._keys = _Seen(), _Seen()

    def of_text(self, phone: str, content: str) -> _Met:
        """Say whether the phone and the text of the next row came before."""
        met = self._texts.add(int(phone), content)
        self.met.append(met.value)
        return met

    def of_key(self, key: str) -> bool:
        """Say whether the key of the same row came before."""
        # 30 bits of its hash stand where the phone does; 0 marks a free place.
        came = self._keys.add((hash(key) & 0x3FFF_FFFF) or 1, key) is _Met.BOTH
        self.met[-1] |= _SAME_KEY if came else 0
        return came


class _KnownRepeats:
    """Says again, row by row, what `_Repeats` has found out.

    Args:
        met: What that was.
        file: What the list is called.
    """

    def __init__(self, met: bytearray, file: str | Text) -> None:
        self.met = met
        self._rest = iter(met)
        self._now = 0
        self._file = file

    def of_text(self, _phone: str, _content: str) -> _Met:
        """Say whether the phone and the text of the next row came before."""
        now = next(self._rest, None)
        if now is None:
            raise InputError(text("file_changed", file=self._file))
        self._now = now
        return _METS[now & ~_SAME_KEY]

    def of_key(self, _key: str) -> bool:
        """Say whether the key of the same row came before."""
        return self._now >= _SAME_KEY


@attrs.frozen
class RowRules:
    """What decides whether a row gives a message.

    Attributes:
        columns: The columns.
        template: The template, or None.
        allow_duplicates: True sends the same text to a phone as often as the list says.
        allow_again: True sends further texts to a phone.
    """

    columns: Columns
    template: Template | None = None
    allow_duplicates: bool = False
    allow_again: bool = False


class RowChecker:
    """Makes messages of the rows of a list, which it may check twice: for the plan, and to send.

    The second pass takes from the first what the rows repeat, at one byte a row.
    """

    def __init__(
        self, rules: RowRules, ids: RowIds, names: Sequence[str], empty: str = "value_empty"
    ) -> None:
        self._rules = rules
        self._empty = empty
        self._ids = ids
        self._names = names
        self._repeats: _Repeats | _KnownRepeats = _Repeats()
        self._times: dict[tuple[str, str], int] = {}

    def begin_again(self, file: str | Text) -> None:
        """Check the same rows once more, from the first one.

        Args:
            file: What the list is called, should it have other rows now.
        """
        self._repeats = _KnownRepeats(self._repeats.met, file)
        self._times = {}

    def check(self, rows: Sequence[SheetRow], *, ids: bool = True) -> list[BulkRow]:
        """Return the rows with what makes their messages, or with why they give none.

        Args:
            rows: The next rows.
            ids: False leaves out the ids of rows that surely give a message.

        Raises:
            InputError: The list has other rows than in the first pass.
        """
        checked: list[BulkRow] = []
        for number, fields, source in rows:
            row = BulkRow(number, source)
            checked.append(row)
            if isinstance(fields, Text):
                row.end(RowStatus.INVALID, fields)
                continue
            try:
                self._compose(row, fields, with_id=ids)
            except _UnusableError as unusable:
                row.end(RowStatus.INVALID, unusable.reason)
        return checked

    def _compose(self, row: BulkRow, fields: Fields, *, with_id: bool) -> None:  # noqa: C901, PLR0912  # the table above
        rules, ids = self._rules, self._ids
        columns = rules.columns
        phone = self._phone(row, fields)
        params: dict[str, str] = {}
        if columns.params:
            params = {name: self._value(fields, place) for name, place in columns.params}
        if params:
            content = text_of(None, params)
        elif rules.template is None:
            content = self._value(fields, columns.content[0])
        else:
            values = [self._value(fields, place) for place in columns.content]
            content = rules.template.fill(values)
        if not content.isascii():
            content = unicodedata.normalize("NFC", content)
        if not params and not content.isprintable():
            self._refuse_unusable(content)
        met = self._repeats.of_text(phone, content)
        times = 1
        if met is _Met.BOTH:
            if not rules.allow_duplicates:
                row.end(RowStatus.HELD_BACK, text("repeated"))
                return
            times = self._times[phone, content] = self._times.get((phone, content), 1) + 1
        key = None
        if columns.key is not None:
            key = phone if columns.key == columns.phone else self._value(fields, columns.key)
            if self._repeats.of_key(key):
                raise _UnusableError(text("key_repeated", column=self._names[columns.key]))
        elif met is _Met.PHONE and not rules.allow_again:
            row.end(RowStatus.HELD_BACK, text("other_text"))
            return
        row.phone = phone
        is_sure = not params and len(content) <= _SURELY_FITS
        if params:
            row.params = params
        else:
            row.content = content
        if is_sure and not with_id:
            return
        if key is not None:
            row.request_id = ids.of_key(key)
        elif met is _Met.NOTHING:
            row.request_id = ids.of_phone(phone)
        else:
            row.request_id = ids.of_text(phone, content, times)
            row.is_again = met is _Met.PHONE
        if not is_sure:
            self._check_message(row)

    def _check_message(self, row: BulkRow) -> None:
        try:
            _ = row.message
        except InvalidMessage as error:
            row.request_id = ""
            raise _UnusableError(self._explained(error, row.content or "")) from None

    def _phone(self, row: BulkRow, fields: Fields) -> str:
        place = self._rules.columns.phone
        value = fields[place] if place < len(fields) else None
        if isinstance(value, str) and _KEPT.fullmatch(value):
            return value
        written = self._value(fields, place)
        try:
            phone, row.repair = repair_phone(written)
        except RoundedPhone:
            raise _UnusableError(text("phone_rounded")) from None
        except ValueError:
            raise _UnusableError(text("phone_invalid")) from None
        return phone

    def _value(self, fields: Fields, place: int) -> str:
        value = fields[place] if place < len(fields) else None
        if isinstance(value, str):
            if value and not value.isspace():
                return value
            raise _UnusableError(text(self._empty, column=self._names[place]))
        if value is None:
            raise _UnusableError(text("value_missing", column=self._names[place]))
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        kind = type(value).__name__
        raise _UnusableError(text("value_type", column=self._names[place], type=kind))

    def _refuse_unusable(self, content: str) -> None:
        found = _UNUSABLE.search(content)
        if found is None:
            return
        if not is_clean(content):
            raise _UnusableError(text("not_utf8"))
        raise _UnusableError(text("control_character", code_point=f"U+{ord(found[0]):04X}"))

    def _explained(self, error: InvalidMessage, content: str) -> Text:
        if error.field == "content" and len(content) > _SURELY_FITS:
            return text("content_too_long", most=_MOST_PARTS)
        return text("message_invalid", problem=str(error))


class _UnusableError(Exception):
    """A row gives no message."""

    def __init__(self, reason: Text) -> None:
        super().__init__(reason)
        self.reason = reason
