"""The command that runs an emulator until it is told to stop."""

import asyncio
import signal

import attrs

from esms_async.cli.errors import ExitCode, InputError
from esms_async.cli.screen import EMULATED, Screen
from esms_async.cli.signals import on_signal
from esms_async.emulator import Emulator, Settings
from esms_async.emulator.faults import read_duration
from esms_async.messages import Credentials


@attrs.frozen
class EmulatorOptions:
    """What the options of the command say.

    Attributes:
        port: The port to listen on; 0 for one that is free.
        balance: What is on the account, in dong.
        faults: The faults to arm.
        seed: What makes chance repeatable, or None.
        report_delay: When delivery is reported, as `1s` or `500ms`.
        max_messages: How many messages are kept.
        api_key: The only ApiKey that is taken, or None for any.
        secret_key: The only SecretKey that is taken, or None for any.
    """

    port: int
    balance: int
    faults: tuple[str, ...]
    seed: int | None
    report_delay: str
    max_messages: int
    api_key: str | None = attrs.field(repr=False)
    secret_key: str | None = attrs.field(repr=False)


async def serve(options: EmulatorOptions, screen: Screen) -> ExitCode:
    """Run an emulator until the process is told to stop; print its URL first.

    Args:
        options: The options.
        screen: Where it is said what runs.

    Returns:
        INTERRUPTED after Ctrl-C, else ACCEPTED.

    Raises:
        InputError: The options do not go together.
        ConfigurationError: A value cannot work, or the port is taken.
    """
    emulator = Emulator(
        port=options.port,
        credentials=_credentials(options),
        balance=options.balance,
        faults=options.faults,
        seed=options.seed,
        settings=Settings(
            report_delay=_seconds(options.report_delay), max_messages=options.max_messages
        ),
    )
    told: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    with on_signal(told.set_result, times=1):
        async with emulator:
            screen.put_line(emulator.url)
            screen.warn(EMULATED)
            screen.warn(f"Inbox: http://127.0.0.1:{emulator.port}/ (seed {emulator.seed})")
            stopped_by = await told
    return ExitCode.INTERRUPTED if stopped_by == signal.SIGINT else ExitCode.ACCEPTED


def _credentials(options: EmulatorOptions) -> Credentials | None:
    if options.api_key is None and options.secret_key is None:
        return None
    if options.api_key is None or options.secret_key is None:
        raise InputError("--api-key and --secret-key go together; give both or neither")
    return Credentials(options.api_key, options.secret_key)


def _seconds(written: str) -> float:
    seconds = read_duration(written)
    if seconds is None:
        raise InputError(f"--dlr-delay takes a time such as 500ms, 2s or 5m, not {written!r}")
    return seconds
