"""Checks every row of a file and measures its text, and sends nothing."""

from esms_async._model.text import Alphabet, measure
from esms_async.cli import report
from esms_async.cli.errors import ExitCode
from esms_async.cli.job import BulkOptions, open_rows
from esms_async.cli.report import Parts
from esms_async.cli.results import RowResult, RowStatus
from esms_async.cli.screen import Screen


async def dry_run(options: BulkOptions, screen: Screen) -> ExitCode:
    """Check every row of a file.

    Raises:
        InputError: The options, the input or the file of results can't be used.
    """
    options.check()
    parts = unicode = 0
    # No RequestId of a dry run is ever sent, so that it takes no secret key.
    async with open_rows(options, "dry run", lambda: None) as rows:
        record = rows.record
        async for row, message in rows.messages():
            size = measure(message.content or "", unicode=message.unicode)
            parts += size.parts
            unicode += size.alphabet is Alphabet.UCS2
            record.add(RowResult.checked(row, message))
            if record.failure is not None:
                break
    if record.failure is not None:
        raise record.failure
    report.print_check(screen, record.tally, Parts(parts, unicode))
    if not options.quiet:
        report.print_refusals(screen, record.refusals, record.tally, options.results)
    if options.json:
        checked = record.tally[RowStatus.CHECKED]
        screen.put_json({**report.summary(record.tally, 0.0), "checked": checked, "parts": parts})
    return ExitCode.ACCEPTED if record.tally.faultless else ExitCode.REFUSED
