"""Shows the account's brandnames, templates and prices, and checks texts against templates."""

import asyncio
import csv
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, cast

from esms_async import Brandname, ConfigurationError, EsmsClient, InvalidMessage, Message
from esms_async.cli.account import ask_gateway, number
from esms_async.cli.errors import ExitCode, InputError
from esms_async.cli.gateway import GatewayChoice
from esms_async.cli.rows import Template
from esms_async.cli.screen import Screen
from esms_async.cli.spreadsheet import column_name, require_standard_input
from esms_async.cli.words import Text, text
from esms_async.queries import BrandnameType, TemplateMatch

_COLUMN: Final = "content"
_MOST_SHOWN: Final = 20
# How an object of JSON begins. A text may begin with a brace, too: "{code} is your code".
_JSON: Final = re.compile(r'\s*\{\s*["}]')


async def brandnames(choice: GatewayChoice, screen: Screen, *, as_json: bool) -> ExitCode:
    """Print the brandnames of the account."""

    async def ask(client: EsmsClient) -> ExitCode:
        found = await client.brandnames()
        for one in found:
            screen.say(f"{one.name} ({screen.say_word(_type_name(one.type))})")
        if not found:
            screen.say(text("no_brandname"))
        if as_json:
            rows = [{"brandname": one.name, "type": one.type} for one in found]
            screen.put_json({"brandnames": rows})
        return ExitCode.ACCEPTED

    return await ask_gateway(choice, screen, ask)


async def templates(
    brandname: str, choice: GatewayChoice, screen: Screen, *, as_json: bool
) -> ExitCode:
    """Print the templates of a brandname; {P1,20} stands for 1 to 20 characters."""
    name = _brandname(brandname)

    async def ask(client: EsmsClient) -> ExitCode:
        found = await client.templates(name)
        for one in found:
            screen.say(f"{one.network_name}: {one.text}")
        if not len(found):
            screen.say(text("no_template", brandname=brandname))
        if as_json:
            rows = [
                {"network": one.network, "name": one.network_name, "template": one.text}
                for one in found
            ]
            screen.put_json({"brandname": brandname, "templates": rows})
        return ExitCode.ACCEPTED

    return await ask_gateway(choice, screen, ask)


async def check(  # the options of one command
    file: str,
    brandname: str,
    content: str | None,
    choice: GatewayChoice,
    screen: Screen,
    *,
    as_json: bool,
) -> ExitCode:
    """Check each text of a file against the templates of a brandname, and send nothing.

    Returns:
        REFUSED if a text fits no template.

    Raises:
        InputError: The file can't be read.
    """
    name = _brandname(brandname)
    template = None if content is None else Template.parse(content)
    texts = list(_texts(file, await asyncio.to_thread(_read, file), template))
    if not texts:
        raise InputError(text("no_text", file=_named(file)))

    async def ask(client: EsmsClient) -> ExitCode:
        registered = await client.templates(name)
        problems: list[tuple[int, str]] = []
        networks: Counter[str] = Counter()
        for row, words in texts:
            match = TemplateMatch(fits=False, problem=words) if row < 0 else registered.match(words)
            networks.update(match.networks)
            if match.problem is not None:
                problems.append((abs(row), match.problem))
        for row, problem in problems[:_MOST_SHOWN]:
            screen.say(text("text_problem", row=row, problem=problem))
        if len(problems) > _MOST_SHOWN:
            screen.say(text("more_problems", count=len(problems) - _MOST_SHOWN))
        fitting = len(texts) - len(problems)
        screen.say(text("texts_fit", fitting=fitting, count=len(texts), brandname=brandname))
        every = sorted({one.network_name for one in registered})
        for network in every:
            screen.say(text("texts_with", network=network, count=networks[network]))
        if as_json:
            screen.put_json(
                {
                    "brandname": brandname,
                    "texts": len(texts),
                    "fitting": fitting,
                    "networks": {network: networks[network] for network in every},
                    "problems": [{"row": row, "problem": problem} for row, problem in problems],
                }
            )
        return ExitCode.REFUSED if problems else ExitCode.ACCEPTED

    return await ask_gateway(choice, screen, ask)


async def price(  # the options of one command
    phone: str,
    content: str,
    brandname: str,
    choice: GatewayChoice,
    screen: Screen,
    *,
    as_json: bool,
) -> ExitCode:
    """Print what a message would cost; nothing is sent."""
    try:
        message = Message(phone, content, route=_brandname(brandname))
    except InvalidMessage as error:
        raise InputError(str(error)) from None

    async def ask(client: EsmsClient) -> ExitCode:
        found = await client.price(message)
        screen.say(text("price", amount=found.amount))
        if as_json:
            screen.put_json({"price": number(found.amount), "receivers": found.receivers})
        return ExitCode.ACCEPTED

    return await ask_gateway(choice, screen, ask)


def _brandname(name: str) -> Brandname:
    try:
        return Brandname(name)
    except ConfigurationError as error:
        raise InputError(f"--brandname: {error}") from None


def _type_name(kind: BrandnameType | int | None) -> Text:
    if isinstance(kind, BrandnameType):
        return text(f"brandname_{kind.name.lower()}")
    return text("brandname_type_unknown") if kind is None else text("brandname_type", type=kind)


def _named(file: str) -> str | Text:
    return text("standard_input") if file == "-" else file


def _read(file: str) -> str:
    try:
        if file == "-":
            require_standard_input()
            raw = sys.stdin.buffer.read()
        else:
            raw = Path(file).read_bytes()
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise InputError(
            text("file_unreadable", file=_named(file), problem=error.strerror)
        ) from None
    except UnicodeDecodeError:
        raise InputError(text("file_not_utf8", file=_named(file))) from None


def _texts(file: str, lines: str, template: Template | None) -> Iterator[tuple[int, str]]:
    """Return the texts of a file, by row.

    A file is JSON Lines, CSV with a column `content` (or the columns of a template), or has a text
    on each line. A row that holds no text comes with a negative number, and what is wrong.
    """
    if _JSON.match(lines) or file.lower().endswith((".jsonl", ".ndjson")):
        yield from _texts_of_json(lines, template)
        return
    if not lines.strip():
        return
    header = next(csv.reader(io.StringIO(lines)), list[str]())
    columns = [column_name(column) for column in header]
    if template is None and _COLUMN not in columns:
        if file.lower().endswith(".csv"):
            raise InputError(text("content_column_needed", file=file))
        for row, line in enumerate(lines.splitlines(), 1):
            if line.strip():
                yield row, line
        return
    reader = csv.reader(io.StringIO(lines))
    next(reader, None)
    for record in reader:
        if any(record):
            yield _text(reader.line_num, dict(zip(columns, record, strict=False)), template)


def _texts_of_json(lines: str, template: Template | None) -> Iterator[tuple[int, str]]:
    for row, line in enumerate(lines.splitlines(), 1):
        if not line.strip():
            continue
        try:
            read: object = json.loads(line)
        except ValueError:
            read = None
        if not isinstance(read, dict):
            yield -row, "it is no JSON object"
            continue
        values = cast("dict[str, object]", read)
        yield _text(row, {column_name(key): value for key, value in values.items()}, template)


def _text(row: int, values: Mapping[str, object], template: Template | None) -> tuple[int, str]:
    fields = (_COLUMN,) if template is None else template.fields
    for field in fields:
        if not isinstance(values.get(field), str | int) or values[field] == "":
            return -row, f"{field} is missing"
    found = {field: str(values[field]) for field in fields}
    return row, (
        found[_COLUMN]
        if template is None
        else template.fill([found[field] for field in template.fields])
    )
