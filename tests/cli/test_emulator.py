"""The command that runs an emulator."""

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from esms_async import Credentials, EsmsClient, Message, Rejected
from esms_async.cli.app import run as run_here
from esms_async.cli.emulator import serve
from esms_async.cli.errors import ExitCode
from esms_async.cli.screen import Screen
from tests.cli.support import environment
from tests.emulator.caller import connection, http_post, send_fields
from tests.factories import API_KEY, CREDENTIALS, SECRET_KEY, a_message
from tests.limits import generous

URL = re.compile(r"http://127\.0\.0\.1:([0-9]+)/MainService\.svc/json/\n")
OPTIONS: dict[str, object] = {"port": 0}


@asynccontextmanager
async def running(
    *arguments: str, extra: dict[str, str] | None = None
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Run the command, and give it with the first line that it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "esms_async", "emulator", "--port", "0", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(extra or {}),
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), generous(30))
        yield process, line.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGINT, 130)]
)
async def test_a_signal_ends_it_whatever_is_open(number: signal.Signals, code: int) -> None:
    """It ends at once, without a word, while a request hangs and the page is followed."""
    async with running("--fault", "hang@send") as (process, line):
        found = URL.fullmatch(line)
        assert found
        port = int(found[1])
        async with connection(port) as (_, hanging), connection(port) as (page, follower):
            hanging.write(http_post(port, send_fields()))
            follower.write(
                f"GET /_emulator/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
            )
            assert (await asyncio.wait_for(page.readline(), generous(5))).startswith(
                b"HTTP/1.1 200"
            )
            process.send_signal(number)
            out, err = await asyncio.wait_for(process.communicate(), generous(10))
    assert (process.returncode, out) == (code, b"")
    first, second = err.decode().splitlines()
    assert first == "EMULATOR: NO SMS LEAVES THIS MACHINE"
    assert re.fullmatch(rf"Inbox: http://127\.0\.0\.1:{port}/ \(seed [0-9]+\)", second)


async def test_its_first_lines_are_in_the_language() -> None:
    """Somebody who reads Vietnamese learns in it that no SMS leaves, and where the page is."""
    async with running(extra={"ESMS_LANG": "vi"}) as (process, _):
        process.terminate()
        _, err = await asyncio.wait_for(process.communicate(), generous(10))
    first, second = err.decode().splitlines()
    assert first == "TRÌNH GIẢ LẬP: KHÔNG TIN NÀO RỜI MÁY NÀY"
    assert second.startswith("Hộp thư: http://127.0.0.1:")


async def test_an_app_sends_to_it() -> None:
    """What the first line says is what a client takes as its base_url."""
    async with (
        running() as (_, line),
        EsmsClient(CREDENTIALS, base_url=line.strip()) as client,
    ):
        assert (await client.send(a_message())).sms_id


async def test_keys_of_the_environment_are_asked_for_and_never_shown() -> None:
    """An account with keys of its own refuses others, and nothing that is printed holds them."""
    keys = {"ESMS_EMULATOR_API_KEY": API_KEY, "ESMS_EMULATOR_SECRET_KEY": SECRET_KEY}
    async with running(extra=keys) as (process, line):
        url = line.strip()
        async with (
            EsmsClient(CREDENTIALS, base_url=url) as known,
            EsmsClient(Credentials("another", "another"), base_url=url) as unknown,
        ):
            assert (await known.send(a_message())).sms_id
            with pytest.raises(Rejected, match="101"):
                await unknown.send(a_message())
        process.terminate()
        out, err = await asyncio.wait_for(process.communicate(), generous(10))
    assert not [key for key in (API_KEY, SECRET_KEY) if key in (line + out.decode() + err.decode())]


def test_a_port_that_is_taken_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The error names the port, and says what to do."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert run_here(["emulator", "--port", port]) == 2
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert out == ""
    assert line.startswith(f"esms-async: cannot listen on 127.0.0.1:{port} (")
    assert line.endswith("; choose another port, or 0")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--fault", "boom"], "there is no fault 'boom'; there are reset, close"),
        (["--fault", "http:503,times=none"], "fault http: takes times=1 or more, not 'none'"),
        (["--dlr-delay", "soon"], "--dlr-delay takes a time such as 500ms, 2s or 5m, not 'soon'"),
        (["--api-key", API_KEY], "--api-key and --secret-key go together; give both or neither"),
        (["--secret-key", SECRET_KEY], "--api-key and --secret-key go together; give both"),
        (["--api-key", API_KEY, "--secret-key", " "], "secret_key"),
        (["--max-messages", "0"], "Invalid value for '--max-messages'"),
        (["--balance", "-1"], "Invalid value for '--balance'"),
        (["--port", "65536"], "Invalid value for '--port'"),
        (["--set", "price=x"], "price must be a whole number, from 0 to 1000000000000, not 'x'"),
        (["--set", "price"], "--set takes NAME=VALUE, not 'price'"),
        (
            ["--brandname", "A={P1"],
            "a template must be a text with variables as {P1,20}, not '{",
        ),
        (["--otp-pattern", "("], "pattern must be a regular expression"),
        (["--listen", "8026"], "--listen takes an address and a port such as 0.0.0.0:8026"),
        (["--listen", "0.0.0.0:99999"], "--listen takes an address and a port"),
        (["--account", "shop"], "--account takes a name other than default and keys"),
        (["--account", "default=a:b"], "--account takes a name other than default"),
        (["--brandname", "=x"], "--brandname takes NAME or NAME=TEMPLATE, not '=x'"),
        (["--token", "short"], "token must have at least 8 characters"),
        (["--allow-host", "http://x"], "allow_hosts must be host names"),
    ],
)
def test_wrong_use_is_one_line(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error says which value cannot work, holds no key, and exits with 2."""
    assert run_here(["emulator", "--port", "0", *arguments]) == 2
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert out == ""
    assert line.startswith("esms-async: ")
    assert problem in line
    assert not [key for key in (API_KEY, SECRET_KEY) if key in line]


@contextmanager
def handling(number: signal.Signals, handler: signal.Handlers) -> Iterator[None]:
    """Have a signal handled in a certain way for a while."""
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


async def served(
    options: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> tuple["asyncio.Task[ExitCode]", str]:
    """Run the command in this process, and give it with its URL."""
    serving = asyncio.create_task(serve(options, Screen(for_program=True)))
    while not (found := URL.match(capsys.readouterr().out)):
        assert not serving.done()
        await asyncio.sleep(0)
    return serving, found[0].strip()


async def test_the_options_set_the_emulator_up(capsys: pytest.CaptureFixture[str]) -> None:
    """Balance, faults and the number of messages are those of the options."""
    options = {
        "port": 0,
        "balance": 1700,
        "fault": ("http:503@send,times=1",),
        "seed": 7,
        "dlr_delay": "0s",
        "max_messages": 1,
    }
    serving, url = await served(options, capsys)
    async with EsmsClient(CREDENTIALS, base_url=url) as client:
        receipt = await client.send(a_message())
        assert len(receipt.attempts) == 2
        await client.send(Message("0911000002", "1234"))
        with pytest.raises(Rejected, match="103"):
            await client.send(a_message())
    os.kill(os.getpid(), signal.SIGTERM)
    assert await serving is ExitCode.ACCEPTED


async def test_what_ignores_the_end_of_its_terminal_goes_on_doing_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Under nohup SIGHUP ends nothing, and after the command every signal acts as before."""
    with handling(signal.SIGHUP, signal.SIG_IGN):
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        serving, _ = await served(OPTIONS, capsys)
        os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        os.kill(os.getpid(), signal.SIGINT)
        assert await serving is ExitCode.INTERRUPTED
        assert {number: signal.getsignal(number) for number in before} == before
