"""Runs one worker, which sends what others put into the queue."""

from esms_async.cli.errors import ExitCode, InputError
from esms_async.cli.screen import Screen


async def worker(screen: Screen) -> ExitCode:
    """Send what is in the queue, until SIGTERM or SIGINT.

    Raises:
        EsmsError: The environment variables can't be used, or a library is missing.
    """
    try:
        from esms_async.workers import QueueSettings, run_worker  # noqa: PLC0415  # needs extras
    except ImportError as error:
        raise InputError(str(error)) from None
    settings = QueueSettings.from_env()
    screen.say(
        f"Worker of queue {settings.name!r}: {settings.concurrency} sends at a time, "
        f"{'no rate' if settings.rate is None else f'{settings.rate:g} a second of all workers'}. "
        "SIGTERM or Ctrl-C ends it once what is in flight is done."
    )
    await run_worker(settings)
    screen.say("Ended; nothing was left in flight.")
    return ExitCode.ACCEPTED
