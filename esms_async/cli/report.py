"""Prints the plan of a job and what it ended with, one fact a line."""

from typing import TYPE_CHECKING, Final

import attrs
from rich import box
from rich.table import Table
from rich.text import Text as Line

from esms_async import FixedNumber, Message, Route
from esms_async.cli.gateway import Connection
from esms_async.cli.ledger_choice import as_argument
from esms_async.cli.results import Group, Tally, rejection
from esms_async.cli.rows import RowStatus
from esms_async.cli.running import tell
from esms_async.cli.screen import Screen, printable
from esms_async.cli.words import Text, advice_on, text
from esms_async.text import PhoneRepair

if TYPE_CHECKING:
    from esms_async.cli.bulk import BulkOptions, BulkRun, RowList

# What needs a person's eye most comes first.
_REFUSED: Final = (
    RowStatus.UNKNOWN,
    RowStatus.NOT_SENT,
    RowStatus.REJECTED,
    RowStatus.HELD_BACK,
    RowStatus.INVALID,
)
_STYLES: Final = {RowStatus.UNKNOWN: "bold red", RowStatus.HELD_BACK: "yellow"}
_MOST_REASONS: Final = 6
_REPAIRS: Final = {
    PhoneRepair.LOST_ZERO: text("repaired_lost_zero"),
    PhoneRepair.DECIMAL: text("repaired_decimal"),
    PhoneRepair.COUNTRY_CODE: text("repaired_country_code"),
}


@attrs.define
class Plan:
    """What would become of a list.

    Attributes:
        tally: The rows, of which those that would be sent are "checked".
        parts: How many SMS parts would be sent and charged.
        unicode: How many messages need UCS-2.
        sample: The first message that would be sent.
        cost: The estimated cost in dong, if the price could be asked.
    """

    tally: Tally = attrs.Factory(Tally)
    parts: int = 0
    unicode: int = 0
    sample: Message | None = None
    cost: int | None = None


def label(status: RowStatus) -> Text:
    """Return the word for a status."""
    return text(f"label_{status.name.lower()}")


def print_plan(  # noqa: C901, PLR0912  # one case for each line
    screen: Screen,
    options: "BulkOptions",
    rows: "RowList",
    plan: Plan | None,
    *,
    route: Route,
    connection: Connection | None = None,
    dry_run: bool = False,
) -> None:
    """Print what is about to be done, the emulator's warning first."""
    sheet, columns = rows.sheet, rows.columns
    if connection is not None and connection.seed is not None:
        screen.banner(connection.url, connection.seed)
    if not dry_run and options.ledger.line is not None:
        screen.say(options.ledger.line)
    if connection is not None and connection.seed is None:
        screen.banner(connection.url, None)
    screen.say(text("sending", file=sheet.name, batch=options.batch))
    if options.quiet:
        return
    if sheet.title is not None:
        screen.say(text("sheet", title=sheet.title))
    guessed = "_guessed" if columns.is_guessed else ""
    phone = repr(sheet.columns[columns.phone])
    if columns.params:
        content = ", ".join(name for name, _ in columns.params)
        screen.say(text(f"columns{guessed}", phone=phone, content=content))
    elif options.template is None:
        content = repr(sheet.columns[columns.content[0]])
        screen.say(text(f"columns{guessed}", phone=phone, content=content))
    else:
        screen.say(text(f"columns_template{guessed}", phone=phone))
    fixed = text("route_fixed")
    screen.say(text("route", route=fixed if isinstance(route, FixedNumber) else str(route)))
    if plan is None:
        screen.say(text("no_plan"))
        return
    tally = plan.tally
    table = _new_table()
    _add(
        screen,
        table,
        text("label_checked" if dry_run else "label_to_send"),
        tally[RowStatus.CHECKED],
        "green",
    )
    if plan.unicode:
        _add_part(screen, table, text("label_unicode"), plan.unicode)
    _add_part(screen, table, text("label_parts"), plan.parts)
    if plan.cost is not None:
        _add_part(screen, table, text("label_cost"), plan.cost)
    for status in (RowStatus.ALREADY_DONE, *reversed(_REFUSED)):
        if tally[status] or (dry_run and status is RowStatus.INVALID):
            style = "green" if status is RowStatus.ALREADY_DONE else _STYLES.get(status, "red")
            _add(screen, table, label(status), tally[status], style)
    if tally.repaired:
        _add(screen, table, text("label_repaired"), tally.repaired, "yellow")
    table.add_section()
    _add(screen, table, text("label_total" if dry_run else "label_rows"), tally.total, "bold")
    screen.human.print(table)
    if dry_run:
        screen.say(text("dry_run"))
    _print_groups(screen, tally, options.results if dry_run else None, is_end=dry_run)


def print_report(
    screen: Screen, run: "BulkRun", seconds: float, plan: Plan | None, *, interrupted: bool
) -> None:
    """Print the table of outcomes, the reasons, and how to go on."""
    options, tally, connection = run.options, run.tally, run.connection
    table = _new_table()
    _add(screen, table, label(RowStatus.ACCEPTED), tally[RowStatus.ACCEPTED], "green")
    _add_part(screen, table, text("label_retried"), tally.retried)
    _add_part(screen, table, text("label_deduplicated"), tally.deduplicated)
    if tally[RowStatus.ALREADY_DONE]:
        _add(screen, table, label(RowStatus.ALREADY_DONE), tally[RowStatus.ALREADY_DONE], "green")
    _add(screen, table, label(RowStatus.REJECTED), tally[RowStatus.REJECTED], "red")
    _add(screen, table, label(RowStatus.NOT_SENT), tally[RowStatus.NOT_SENT], "red")
    _add(screen, table, label(RowStatus.UNKNOWN), tally[RowStatus.UNKNOWN], "bold red")
    if tally.duplicates:
        _add_part(screen, table, text("label_duplicates"), tally.duplicates)
    if tally[RowStatus.HELD_BACK]:
        _add(screen, table, label(RowStatus.HELD_BACK), tally[RowStatus.HELD_BACK], "yellow")
    _add(screen, table, label(RowStatus.INVALID), tally[RowStatus.INVALID], "red")
    table.add_section()
    _add(screen, table, text("label_total"), tally.total, "bold")
    screen.human.print(table)
    rate = round(tally.sent / seconds if seconds > 0 else 0.0)
    screen.say(text("seconds", seconds=screen.language.decimal(seconds), rate=rate))
    counter = None if connection is None else connection.counter
    if counter is not None:
        line = text("emulated_count", accepted=counter.accepted, twice=counter.twice)
        screen.say(line, "bold red" if counter.twice else "")
    if options.sandbox:
        screen.say(text("sandbox"))
    if not options.quiet:
        _print_groups(
            screen,
            tally,
            options.results,
            is_end=not run.results_failed,
            told=None if plan is None else plan.tally,
        )
    _say_how_to_go_on(screen, run, interrupted=interrupted)
    if options.json:
        screen.put_json(tally.summary(seconds))


def _print_groups(
    screen: Screen, tally: Tally, results: str | None, *, is_end: bool, told: Tally | None = None
) -> None:
    """Print the reasons with their counts and first rows, and what was repaired.

    What the plan has told stands above, and is not told again. At the end of a run the file follows
    that lists every row, if it does.
    """
    lines: list[tuple[int, str]] = []
    if told is None:
        lines += [
            (group.count, _sentence(screen, _REPAIRS[repair], group))
            for repair, group in tally.repairs.items()
        ]
    refused = 0
    for status in _REFUSED:
        groups = [
            (reason, group)
            for (one, reason), group in tally.reasons.items()
            if one is status and (told is None or (one, reason) not in told.reasons)
        ]
        groups.sort(key=lambda one: -one[1].count)
        refused += tally[status]
        word = screen.say_word(label(status))
        for reason, group in groups[:_MOST_REASONS]:
            lines.append((group.count, f"{word}: {_sentence(screen, reason, group)}"))
            if reason.key.startswith("code"):
                code = "124" if reason.key == "code_124" else str(dict(reason.values)["code"])
                if status is RowStatus.REJECTED:
                    lines.append((0, advice_on(code, screen.language)))
            elif reason.key == "http_refusal":
                lines.append((0, screen.say_word(text("http_refusal_advice"))))
        if len(groups) > _MOST_REASONS:
            more = text("more_reasons", count=len(groups) - _MOST_REASONS)
            lines.append((0, screen.say_word(more)))
    width = max((len(screen.language.number(count)) for count, _ in lines), default=0)
    for count, line in lines:
        shown = screen.language.number(count) if count else ""
        _print_counted(screen, f"{shown:>{width}}", printable(line))
    if is_end and refused:
        screen.say(text("listed_in", file=results) if results else text("list_with"))


def _print_counted(screen: Screen, count: str, line: str) -> None:
    if screen.human.file.isatty():
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        grid.add_column()
        grid.add_row(Line(count), Line(line))
        screen.human.print(grid)
    else:
        screen.human.print(Line(f"{count}  {line}"), soft_wrap=True)


def _sentence(screen: Screen, reason: Text, group: Group) -> str:
    """Return a reason with the first rows that have it."""
    numbers = ", ".join(map(str, group.rows))
    if group.count == 1:
        rows = text("one_row", row=numbers)
    else:
        rows = text("first_rows" if group.count > len(group.rows) else "some_rows", rows=numbers)
    return f"{screen.say_word(reason)} ({screen.say_word(rows)})"


def _say_how_to_go_on(screen: Screen, run: "BulkRun", *, interrupted: bool) -> None:
    options, tally = run.options, run.tally
    if run.rejection is not None:
        error = run.rejection
        why = "stopped_account" if error.code else "stopped_everybody"
        reason = rejection(error.code, error.status, error.detail)
        screen.say(text(why, reason=reason))
    elif interrupted:
        screen.say(text("interrupted"))
    elif run.unreachable:
        screen.say(text("stopped_unreachable", count=run.unreachable))
    if run.failure is not None:
        # Before the advice to run the command again, which helps once the cause is gone.
        tell(run.failure, screen)
    stopped = run.failure is not None or run.rejection is not None or interrupted or run.unreachable
    if stopped:
        row = str(tally.last_row)
        screen.say(text("nothing_after", row=row) if tally.last_row else text("nothing_tried"))
    if tally.duplicates:
        _advise_on_duplicates(screen, run)
    if stopped or tally[RowStatus.UNKNOWN] > tally.duplicates or tally[RowStatus.NOT_SENT]:
        screen.say(_way_to_go_on(run))
        if options.again is not None:
            screen.say_command(options.again)
    elif tally[RowStatus.REJECTED] and options.can_retry_rejected:
        screen.say(text("retry_hint"))


def _advise_on_duplicates(screen: Screen, run: "BulkRun") -> None:
    place, count = run.options.ledger.place, run.tally.duplicates
    if place is None:
        screen.say(text("duplicates", count=count))
        return
    screen.say(text("duplicates_reconcile", count=count))
    screen.say_command(f"esms-async reconcile --ledger {as_argument(place)}")


def _way_to_go_on(run: "BulkRun") -> Text:
    options = run.options
    again = text("same_command")
    if options.batch_is_new:
        again = text("same_command_batch", batch=options.batch)
    if options.ledger.place is not None:
        # What a ledger on a full disk could not take is accepted here, and in doubt there.
        soon = run.tally[RowStatus.UNKNOWN] or run.failure is not None
        return text("go_on_soon" if soon else "go_on", again=again)
    if run.connection is not None and run.connection.seed is not None:
        return text("go_on_emulator", again=again)
    return text("go_on_without_ledger", again=again)


def _new_table() -> Table:
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False, padding=(0, 1))
    table.add_column()
    table.add_column(justify="right")
    return table


def _add(screen: Screen, table: Table, name: Text, count: int, style: str) -> None:
    shown = Line(screen.language.number(count), style if count else "")
    table.add_row(screen.say_word(name), shown)


def _add_part(screen: Screen, table: Table, name: Text, count: int) -> None:
    table.add_row(f"  {screen.say_word(name)}", screen.language.number(count), style="dim")
