"""The command that runs an emulator until Ctrl-C or SIGTERM, with the core alone.

`python -m esms_async.emulator` reads its options with argparse, `esms-async emulator` with click;
both take them from one table.
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NoReturn, cast

import attrs

from esms_async._model.errors import ConfigurationError, EsmsError
from esms_async._model.messages import Credentials
from esms_async.emulator.callbacks import is_this_machine
from esms_async.emulator.clock import RealTime
from esms_async.emulator.gateway import (
    DEFAULT_BALANCE,
    LARGEST_BALANCE,
    TEST_BRANDNAME,
    AccountSetup,
    BrandnameSetup,
)
from esms_async.emulator.journal import Event, EventKind
from esms_async.emulator.server import HOST, Emulator
from esms_async.emulator.settings import parse_settings, read_duration
from esms_async.emulator.story import view_not_taken

SIGN: Final = "EMULATOR: NO SMS LEAVES THIS MACHINE"
"""What every run of an emulator says first."""

_DEFAULT_PORT = 8026
_LAST_PORT = 65535
# A client that sends the same wrong request again and again must not fill the console.
_MOST_LINES = 20
_LINES_WITHIN = 10.0
_SIGINT_CODE = 130


@attrs.frozen
class Option:
    """An option of the command.

    Attributes:
        name: Its name, without dashes.
        words: What it does, in a few words.
        metavar: What stands for its value.
        default: Its default.
        low: The smallest whole number, or None where it is not a number.
        high: The largest one, or None.
        many: True where it can be given more than once.
        variable: The environment variable that can hold it, or None.
        hidden: True where the help leaves it out.
    """

    name: str
    words: str
    metavar: str | None = None
    default: object = None
    low: int | None = None
    high: int | None = None
    is_number: bool = False
    many: bool = False
    variable: str | None = None
    hidden: bool = False


OPTIONS: Final = (
    Option("port", "0: any.", "N", _DEFAULT_PORT, 0, _LAST_PORT, is_number=True),
    Option("listen", "Listen there, as 0.0.0.0:8026.", "ADDR:PORT"),
    Option("allow-host", "A name that clients call it by.", "NAME", many=True),
    Option("allow-callback-host", "Reports may go there.", "NAME", many=True),
    Option("token", "Page and control ask for it.", "T", variable="ESMS_EMULATOR_TOKEN"),
    Option("tls", "self-signed, or a folder for the keys.", "KIND"),
    Option("db", "Keep messages over restarts.", "FILE"),
    Option("set", "Change a setting, as report_delay=0.", "NAME=VALUE", many=True),
    Option("otp-pattern", "Find codes by a regular expression.", "REGEX"),
    Option("account", "One more account.", "NAME=KEY:SECRET", many=True),
    Option("brandname", "One more brandname.", "NAME[=TEXT]", many=True),
    Option("balance", "In dong.", "N", DEFAULT_BALANCE, 0, LARGEST_BALANCE, is_number=True),
    Option("fault", "Arm a fault, as reset,times=1.", "SPEC", many=True),
    Option("seed", "Make chance in faults repeatable.", "N", is_number=True),
    Option("dlr-delay", "Until delivery is reported.", "TIME", hidden=True),
    Option("max-messages", "How many are kept.", "N", None, 1, is_number=True, hidden=True),
    Option(
        "api-key", "Accept only this key and its secret.", "K", variable="ESMS_EMULATOR_API_KEY"
    ),
    Option("secret-key", "Its secret.", "S", variable="ESMS_EMULATOR_SECRET_KEY", hidden=True),
)
"""All options of the command."""


def build(options: Mapping[str, object]) -> Emulator:
    """Make the emulator that options ask for.

    Args:
        options: The values of the options by their Python names.

    Raises:
        ConfigurationError: A value cannot work; the error names the option.
    """
    written = [*_texts(options, "set")]
    if (pattern := _text(options, "otp_pattern")) is not None:
        written.append(f"otp_pattern={pattern}")
    if (delay := _text(options, "dlr_delay")) is not None:
        written.append(f"report_delay={_seconds(delay)}")
    if (most := _text(options, "max_messages")) is not None:
        written.append(f"max_messages={most}")
    host, port = HOST, _number(options, "port", _DEFAULT_PORT)
    if (listen := _text(options, "listen")) is not None:
        host, port = _read_address(listen)
    first = AccountSetup(
        "default",
        _credentials(options),
        _number(options, "balance", DEFAULT_BALANCE),
        (TEST_BRANDNAME, *map(_read_brandname, _texts(options, "brandname"))),
    )
    seed = options.get("seed")
    return Emulator(
        host=host,
        port=port,
        accounts=[first, *map(_read_account, _texts(options, "account"))],
        faults=_texts(options, "fault"),
        seed=seed if isinstance(seed, int) else None,
        settings=parse_settings(written),
        allow_hosts=_texts(options, "allow_host"),
        allow_callback_hosts=_texts(options, "allow_callback_host"),
        token=_text(options, "token"),
        tls=_text(options, "tls"),
        db=_text(options, "db"),
    )


def _texts(options: Mapping[str, object], name: str) -> tuple[str, ...]:
    value = options.get(name)
    if not isinstance(value, list | tuple):
        return ()
    return tuple(str(each) for each in cast("Sequence[object]", value))


def _number(options: Mapping[str, object], name: str, default: int) -> int:
    value = options.get(name)
    return value if isinstance(value, int) else default


def _text(options: Mapping[str, object], name: str) -> str | None:
    value = options.get(name)
    return None if value is None else str(value)


def _read_address(written: str) -> tuple[str, int]:
    host, colon, port = written.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > _LAST_PORT:
        raise ConfigurationError(
            f"--listen takes an address and a port such as 0.0.0.0:8026, not {written[:60]!r}"
        )
    return host, int(port)


def _credentials(options: Mapping[str, object]) -> Credentials | None:
    keys = [_text(options, name) for name in ("api_key", "secret_key")]
    if keys == [None, None]:
        return None
    api_key, secret_key = keys
    if api_key is None or secret_key is None:
        raise ConfigurationError("--api-key and --secret-key go together; give both or neither")
    return Credentials(api_key, secret_key)


def _read_account(written: str) -> AccountSetup:
    name, _, keys = written.partition("=")
    api_key, _, secret_key = keys.partition(":")
    if not (name and api_key and secret_key) or name == "default":
        raise ConfigurationError(
            "--account takes a name other than default and keys, as shop=KEY:SECRET"
        )
    return AccountSetup(name, Credentials(api_key, secret_key))


def _read_brandname(written: str) -> BrandnameSetup:
    name, equals, template = written.partition("=")
    if not name.strip():
        raise ConfigurationError(f"--brandname takes NAME or NAME=TEMPLATE, not {written[:60]!r}")
    return BrandnameSetup(name.strip(), (template,) if equals else ())


def _seconds(written: str) -> float:
    seconds = read_duration(written)
    if seconds is None:
        raise ConfigurationError(
            f"--dlr-delay takes a time such as 500ms, 2s or 5m, not {written[:60]!r}"
        )
    return seconds


class _Console:
    """Writes a line for each request that was not taken, though not for hundreds of them."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._count = 0
        self._since = RealTime.monotonic()

    def listen(self, event: Event) -> None:
        """Take an event of the emulator."""
        if event.kind is not EventKind.NOT_TAKEN or event.request is None:
            return
        if event.request.repeats > 1:
            return
        now = RealTime.monotonic()
        if now - self._since > _LINES_WITHIN:
            self._count, self._since = 0, now
        self._count += 1
        if self._count > _MOST_LINES:
            return
        view = view_not_taken(event.request)
        words = (
            f"Not taken: {view['method']} {view['path_short']} ({view['status']}): "
            f"{view['reason']} {view['fix']}"
        )
        self._warn("".join(each if each.isprintable() else "?" for each in words))
        if self._count == _MOST_LINES:
            self._warn("More requests were not taken; the page shows them.")


def greeting(emulator: Emulator) -> list[str]:
    """Return what a person reads first: that no SMS leaves, and where the page is."""
    return [SIGN, f"Inbox: {emulator.page} (seed {emulator.seed})"]


async def serve(
    emulator: Emulator,
    stopped: Awaitable[int],
    put_line: Callable[[str], None],
    warn: Callable[[str], None],
    greet: Callable[[Emulator], list[str]] = greeting,
) -> int:
    """Run an emulator until Ctrl-C or SIGTERM; print its URL first.

    Args:
        emulator: The emulator.
        stopped: Gives the number of the signal that ends it.
        put_line: Prints the URL, for programs.
        warn: Prints a line for people.
        greet: Returns the first lines for people; the command has them in two languages.

    Returns:
        The number of the signal.

    Raises:
        ConfigurationError: It cannot listen there.
    """
    async with emulator:
        put_line(emulator.url)
        for line in greet(emulator):
            warn(line)
        if emulator.certificate is not None:
            warn(f"Certificate: {emulator.certificate}")
        if not is_this_machine(emulator.listens_on.rpartition(":")[0]):
            warn(
                f"Open to the network at {emulator.listens_on}: a Host header is no "
                "authentication; --token protects page and control, a firewall the rest"
            )
        end = emulator.subscribe(_Console(warn).listen)
        try:
            return await stopped
        finally:
            end()


def parse(arguments: Sequence[str], environ: Mapping[str, str]) -> Mapping[str, object]:
    """Read the options of `python -m esms_async.emulator`; wrong ones end the process."""
    parser = _Parser(
        prog="python -m esms_async.emulator",
        description="Run a gateway on this machine, from which no SMS leaves.",
        epilog="The first line that it prints is its URL, for ESMS_BASE_URL.",
        allow_abbrev=False,
    )
    for option in OPTIONS:
        words = option.words
        if option.variable is not None:
            words += f" Better in {option.variable}."
        parser.add_argument(
            f"--{option.name}",
            metavar=option.metavar,
            type=_reader(option) if option.is_number else str,
            action="append" if option.many else "store",
            default=environ.get(option.variable or "") or option.default,
            help=argparse.SUPPRESS if option.hidden else words,
        )
    return vars(parser.parse_args(arguments))


def _reader(option: Option) -> Callable[[str], int]:
    def read(written: str) -> int:
        number = int(written)
        if (option.low is not None and number < option.low) or (
            option.high is not None and number > option.high
        ):
            raise ValueError
        return number

    low, high = (
        "" if bound is None else f" {word} {bound}"
        for word, bound in (("from", option.low), ("to", option.high))
    )
    read.__name__ = f"number{low}{high}"
    return read


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say in one line what is wrong."""
        self.exit(2, f"{self.prog}: {message}; see --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m esms_async.emulator`.

    Returns:
        The exit code: 0 after SIGTERM, 130 after Ctrl-C, 2 for wrong use.
    """
    options = parse(sys.argv[1:] if arguments is None else arguments, os.environ)
    try:
        emulator = build(options)
        number = asyncio.run(_run(emulator))
    except EsmsError as error:
        sys.stderr.write(f"esms-async emulator: {error}\n")
        return 2
    except KeyboardInterrupt:
        return _SIGINT_CODE
    return _SIGINT_CODE if number == signal.SIGINT else 0


async def _run(emulator: Emulator) -> int:
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[int] = loop.create_future()

    def stop(number: int) -> None:
        if not stopped.done():
            stopped.set_result(number)

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # What runs under nohup ignores the end of its terminal.
        if number is None or signal.getsignal(number) is signal.SIG_IGN:
            continue
        try:
            loop.add_signal_handler(number, stop, number)
        except NotImplementedError:
            signal.signal(number, lambda number, _: loop.call_soon_threadsafe(stop, number))
    return await serve(emulator, stopped, _put_line, _warn)


def _put_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _warn(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
