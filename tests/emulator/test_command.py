"""`python -m esms_async.emulator`: with the core alone, every option, and errors in one line."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from esms_async.emulator import AccountState, Settings
from esms_async.emulator.command import OPTIONS, build, parse, serve
from tests.cli.support import environment
from tests.emulator.caller import Caller


def run(*arguments: str, **extra: str) -> "subprocess.CompletedProcess[str]":
    """Run the module to its end."""
    return subprocess.run(
        [sys.executable, "-m", "esms_async.emulator", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(extra),
        check=False,
    )


def test_it_needs_the_core_alone() -> None:
    """Neither click nor rich is imported, and no other extra."""
    program = (
        "import sys, esms_async.emulator.command\n"
        "extras = {'click', 'rich', 'redis', 'valkey', 'prometheus_client', 'cryptography',"
        " 'fastapi', 'aiolimiter', 'opentelemetry', 'python_calamine'}\n"
        "assert not extras & {name.partition('.')[0] for name in sys.modules}"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_ends_it(number: signal.Signals) -> None:
    """It ends in good order: 130 after Ctrl-C, 0 otherwise."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "esms_async.emulator", "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment({}),
    )
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 30)
    assert line.startswith(b"http://127.0.0.1:")
    process.send_signal(number)
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, out) == (130 if number == signal.SIGINT else 0, b"")
    assert err.decode().splitlines()[0] == "EMULATOR: NO SMS LEAVES THIS MACHINE"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "x"], "argument --port: invalid number from 0 to 65535 value: 'x'; see --help"),
        (["--port", "99999"], "invalid number from 0 to 65535 value: '99999'"),
        (["--seed", "x"], "argument --seed: invalid number value: 'x'"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["--fault", "boom"], "esms-async emulator: there is no fault 'boom'"),
        (["--set", "price"], "--set takes NAME=VALUE, not 'price'"),
        (["--brandname", "A={P1"], "variables as {P1,20}, not '{P1'"),
        (["--db", "/nope/x.db"], "make the folder '/nope', or name another file"),
        (["--listen", "nohost.invalid:18431"], "; name an address of this machine"),
        (["--listen", "192.0.2.1:18431"], "; name an address of this machine"),
    ],
)
def test_wrong_use_is_one_line(arguments: list[str], words: str) -> None:
    """An error says which value cannot work, and exits with 2."""
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert words in line


def test_the_help_names_every_option() -> None:
    """But for those that are kept for old scripts."""
    text = run("--help").stdout
    for option in OPTIONS:
        assert (f"--{option.name} " in text) is not option.hidden, option.name


def test_options_come_from_the_command_line_and_the_environment() -> None:
    """Keys and token are better in the environment, which a list of processes does not show."""
    environ = {
        "ESMS_EMULATOR_API_KEY": "key",
        "ESMS_EMULATOR_SECRET_KEY": "secret",
        "ESMS_EMULATOR_TOKEN": "a-long-token",
    }
    options = parse(["--fault", "reset,times=1", "--fault", "close", "--balance", "7"], environ)
    assert (options["fault"], options["balance"]) == (["reset,times=1", "close"], 7)
    emulator = build(options)
    assert (emulator.balance, len(emulator.faults)) == (7, 2)
    assert emulator._gateway.first.setup.credentials is not None
    assert emulator.settings == Settings()


async def test_accounts_and_brandnames_are_options(tmp_path: Path) -> None:
    """`--account` and `--brandname` add to what there is."""
    options = parse(
        [
            *("--account", "shop=shop-key:shop-secret", "--brandname", "Shop={P1,6} is it"),
            *("--brandname", "Free", "--set", "report_delay=0", "--otp-pattern", "is (it)"),
            *("--db", str(tmp_path / "db"), "--dlr-delay", "2s", "--max-messages", "9"),
        ],
        {},
    )
    emulator = build({**options, "port": 0})
    assert (emulator.settings.report_delay, emulator.settings.max_messages) == (2.0, 9)
    first, shop = emulator._gateway.accounts
    assert [each.name for each in first.setup.brandnames] == ["Baotrixemay", "Shop", "Free"]
    assert (shop.name, shop.state) == ("shop", AccountState.ACTIVE)
    async with emulator, Caller.to(emulator) as caller:
        fields = {"SmsType": "2", "Brandname": "Shop"}
        assert (await caller.send(Content="123456 is it", **fields)).code == "100"
        assert (await caller.send(Content="1234567 is it", **fields)).code == "146"
        assert (await caller.send(SmsType="2", Brandname="Free", Content="x")).code == "100"
        assert emulator.code_of(emulator.messages[0]) == "it"


async def test_a_client_in_a_loop_does_not_fill_the_console() -> None:
    """Of many different mistakes the first lines are written, then one that says there are more."""
    said: list[str] = []
    urls: list[str] = []
    stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    emulator = build({"port": 0})
    serving = asyncio.create_task(serve(emulator, stopped, urls.append, said.append))
    while not urls:  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0)
    async with aiohttp.ClientSession() as session:
        for number in range(30):
            async with session.get(f"{urls[0]}Nothing{number}\x07") as response:
                assert response.status == 404
        async with session.get(urls[0] + "Nothing29\x07") as response:
            assert response.status == 404
    stopped.set_result(signal.SIGTERM)
    assert await serving == signal.SIGTERM
    lines = [line for line in said if line.startswith("Not taken: ")]
    assert len(lines) == 20
    assert said[-1] == "More requests were not taken; the page shows them."
    assert all(line.isprintable() for line in said)
