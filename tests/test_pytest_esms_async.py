"""The pytest plugin, as real runs of pytest meet it."""

from importlib import metadata
from pathlib import Path

import pytest

import pytest_esms_async
from tests.limits import generous

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.slow  # each test is a pytest of its own

ASYNCIO = ("-p", "pytest_asyncio.plugin", "-o", "asyncio_default_fixture_loop_scope=function")
# What runs the tests, and what marks them for it.
AUTO = ((*ASYNCIO, "-o", "asyncio_mode=auto"), "")
STRICT = (ASYNCIO, "pytestmark = pytest.mark.asyncio\n")
ANYIO = (("-p", "anyio"), "pytestmark = pytest.mark.anyio\n")
RUNNERS = {
    "pytest-asyncio, auto": AUTO,
    "pytest-asyncio, strict": STRICT,
    "anyio": ANYIO,
    "anyio beside pytest-asyncio": ((*STRICT[0], *ANYIO[0]), ANYIO[1]),
    "pytest-asyncio beside anyio": ((*ANYIO[0], *STRICT[0]), STRICT[1]),
}
HEAD = """
import asyncio
import pytest
from esms_async import EsmsClient, Message, OutcomeUnknown, RetryPolicy
from esms_async.emulator import Emulator

@pytest.fixture
def anyio_backend():
    return "asyncio"

def a_message(phone="0911000001"):
    return Message(phone, "686868 la ma xac minh")
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> "Run":
    """Runs pytest with this plugin, with those that are asked for, and with no other."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(pytest_esms_async.__file__).parent))
    return Run(pytester)


class Run:
    """Runs pytest in a process of its own, where warnings are errors."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self._pytester = pytester

    def __call__(self, tests: str, *options: str, head: str = HEAD) -> pytest.RunResult:
        """Run some tests."""
        self._pytester.makepyfile(head + tests)
        return self._pytester.runpytest_subprocess(
            "-W", "error", "-p", "pytest_esms_async", *options, timeout=generous(60)
        )


def lines_with(result: pytest.RunResult, words: str) -> list[str]:
    """Return the lines of a run that hold certain words, but those of its summary."""
    summary = ("FAILED", "ERROR")
    return [line for line in result.outlines if words in line and not line.startswith(summary)]


@pytest.mark.parametrize("runner", RUNNERS)
def test_the_fixtures_work_with_what_runs_async_tests(run: Run, runner: str) -> None:
    """Client and emulator belong together, are new for each test, and serve fixtures too."""
    options, mark = RUNNERS[runner]
    result = run(
        mark
        + """
@pytest.fixture
def app_url(esms_emulator):
    return esms_emulator.url

@pytest.mark.parametrize("_", [1, 2])
async def test_a_send(_, esms_client, esms_emulator, app_url):
    assert isinstance(esms_client, EsmsClient)
    assert isinstance(esms_emulator, Emulator)
    assert esms_emulator.messages == []
    assert app_url == esms_emulator.url
    receipt = await esms_client.send(a_message())
    accepted = await esms_emulator.wait_for(phone="0911000001")
    assert accepted.sms_id == receipt.sms_id

async def test_a_lost_answer(esms_client, esms_emulator):
    esms_emulator.fault("reset,phase=after,times=1")
    message = a_message()
    receipt = await esms_client.send(message)
    assert receipt.deduplicated
    assert esms_emulator.accepted(message.request_id) == 1

async def test_the_emulator_alone(esms_emulator):
    async with EsmsClient.from_env(
        {"ESMS_API_KEY": "k", "ESMS_SECRET_KEY": "s", "ESMS_BASE_URL": esms_emulator.url}
    ) as client:
        await client.send(a_message())

async def test_the_client_alone(esms_client):
    await esms_client.send(a_message())
""",
        *options,
    )
    result.assert_outcomes(passed=5)


@pytest.mark.parametrize("scope", ["function", "class", "module", "package", "session"])
def test_the_client_is_on_the_loop_of_its_test(run: Run, scope: str) -> None:
    """On whatever loop pytest-asyncio runs a test, by mark or by setting, the client is closed."""
    test = """
class Test{number}:
    {mark}
    async def test_a_send(self, esms_client):
        await esms_client.send(a_message())
"""
    by_mark = test.format(number=1, mark=f"@pytest.mark.asyncio(loop_scope='{scope}')")
    by_setting = test.format(number=2, mark="@pytest.mark.asyncio")
    result = run(by_mark + by_setting, *STRICT[0], "-o", f"asyncio_default_test_loop_scope={scope}")
    result.assert_outcomes(passed=2)


def test_a_sync_test_has_an_emulator_that_answers(run: Run) -> None:
    """The emulator serves while a test blocks, and while the loop of an app runs elsewhere."""
    result = run("""
import urllib.request
from esms_async import Credentials

def test_a_blocking_call(esms_emulator):
    body = b'{"ApiKey":"k","SecretKey":"s"}'
    with urllib.request.urlopen(esms_emulator.url + "GetBalance_json", data=body) as answer:
        assert b'"CodeResponse":"100"' in answer.read()

def test_an_app_on_a_loop_of_its_own(esms_emulator):
    async def app():
        async with EsmsClient(Credentials("k", "s"), base_url=esms_emulator.url) as client:
            return await client.send(a_message())

    armed = esms_emulator.fault("http:503,times=1")
    receipt = asyncio.run(app())
    assert armed.used == 1
    accepted = asyncio.run(esms_emulator.wait_for(phone="0911000001"))
    assert accepted.sms_id == receipt.sms_id
""")
    result.assert_outcomes(passed=2)


def test_a_fault_that_never_strikes_fails_the_test(run: Run) -> None:
    """One line names it; a fault that struck, or was taken away, fails nothing."""
    result = run(
        """
async def test_never_met(esms_emulator):
    esms_emulator.fault("reset,phone=0911000001,times=1")
    esms_emulator.fault("dlr:failed")

async def test_met(esms_client, esms_emulator):
    esms_emulator.fault("http:503,times=3")
    await esms_client.send(a_message())

async def test_taken_away(esms_emulator):
    esms_emulator.fault("reset").disarm()
    esms_emulator.fault("close")
    esms_emulator.clear_faults()

async def test_that_fails_by_itself(esms_emulator):
    esms_emulator.fault("reset")
    assert "this" == "that"
""",
        *AUTO[0],
        "--no-header",
    )
    result.assert_outcomes(passed=2, failed=2)
    (line,) = lines_with(result, "never met")
    assert line == (
        "armed in esms_emulator and never met by a request: reset,times=1,phone=091****001; "
        "dlr:failed"
    )


@pytest.mark.parametrize("runner", RUNNERS)
def test_nothing_hangs_or_leaks_at_the_end_of_a_test(run: Run, runner: str) -> None:
    """A send that hangs, a page that is followed and a client that stays hold nothing up."""
    options, mark = RUNNERS[runner]
    result = run(
        mark
        + """
import socket

@pytest.fixture
def browser():
    with socket.socket() as connection:
        yield connection

async def test_a_send_that_hangs(esms_client, esms_emulator):
    esms_emulator.fault("hang")
    sending = asyncio.create_task(esms_client.send(a_message()))
    await esms_emulator.wait_for_request()

async def test_a_page_that_is_followed(browser, esms_emulator):
    browser.connect(("127.0.0.1", esms_emulator.port))
    browser.sendall(b"GET /_emulator/events HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\n\\r\\n")
    assert browser.recv(1000).startswith(b"HTTP/1.1 200")

async def test_a_request_that_never_ends(browser, esms_emulator):
    browser.connect(("127.0.0.1", esms_emulator.port))
    browser.sendall(b"POST /MainService.svc/json/ HTTP/1.1\\r\\nContent-Length: 9\\r\\n")

async def test_the_next_one(esms_client):
    await esms_client.send(a_message())
""",
        *options,
    )
    result.assert_outcomes(passed=4)


def test_esms_client_says_what_it_needs(run: Run) -> None:
    """In a test that is not async, one line says what to do."""
    result = run("def test_a_send(esms_client):\n    pass\n", *AUTO[0])
    result.assert_outcomes(errors=1)
    (line,) = lines_with(result, "esms_client is for async tests")
    assert line.endswith("make an EsmsClient with base_url=esms_emulator.url")


def test_esms_client_says_how_an_async_test_is_marked(run: Run) -> None:
    """In an async test that nothing runs, for lack of a mark, the line says which one."""
    result = run("async def test_a_send(esms_client):\n    pass\n", *STRICT[0])
    result.assert_outcomes(errors=1)
    (line,) = lines_with(result, "esms_client is for async tests")
    assert "set asyncio_mode = auto or mark the test with pytest.mark.asyncio" in line


def test_trio_is_refused(run: Run) -> None:
    """Where anyio runs a test on both of its backends, one line says that trio is not supported."""
    result = run(
        ANYIO[1] + "async def test_a_send(esms_client):\n    await esms_client.send(a_message())\n",
        *ANYIO[0],
        head=HEAD.replace("def anyio_backend", "def another_backend"),
    )
    result.assert_outcomes(passed=1, errors=1)
    (line,) = lines_with(result, "esms_client runs on asyncio alone")
    assert line.endswith("have the fixture anyio_backend return 'asyncio'")


def test_a_pytest_asyncio_that_is_too_old_breaks_nothing(
    run: Run, pytester: pytest.Pytester
) -> None:
    """The error comes when a test asks for a client, and not before."""
    (pytester.mkpydir("pytest_asyncio") / "plugin.py").touch()
    result = run(
        "@pytest.mark.asyncio\ndef test_a_send(esms_client):\n    pass\n\n"
        "def test_another():\n    pass\n",
        *("-p", "pytest_asyncio.plugin", "-o", "markers=asyncio"),
    )
    result.assert_outcomes(passed=1, errors=1)
    assert lines_with(result, "pytest-asyncio (from 0.26)")


@pytest.mark.parametrize("options", [(), AUTO[0], ANYIO[0]])
def test_who_asks_for_no_fixture_imports_nothing(run: Run, options: tuple[str, ...]) -> None:
    """Neither the package nor aiohttp is loaded by the plugin alone."""
    result = run(
        "import sys\n\ndef test_it():\n    assert not {'aiohttp', 'esms_async'} & {*sys.modules}\n",
        *options,
        head="",
    )
    result.assert_outcomes(passed=1)


def test_pytest_finds_it_by_itself() -> None:
    """The package as installed names the plugin as one."""
    try:
        files = metadata.distribution("esms_async")
    except metadata.PackageNotFoundError:
        pytest.skip("the package runs from its checkout, not installed")
    (point,) = files.entry_points.select(group="pytest11")
    assert point.load() is pytest_esms_async


SEND = """
import json
import urllib.request

def send(emulator, **fields):
    body = {"ApiKey": "k", "SecretKey": "s", "SmsType": "8", "Phone": "0911000001",
            "Content": "686868 la ma xac minh", **fields}
    url = emulator.url + "SendMultipleMessage_V4_post_json/"
    request = urllib.request.Request(url, json.dumps(body).encode())
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)
"""


def test_a_blocking_test_waits_without_an_event_loop(run: Run) -> None:
    """`wait` and `latest_code` block, also where a loop runs in the thread, as under Playwright."""
    result = run(
        SEND
        + """
import threading

def test_wait(esms_emulator):
    later = threading.Timer(0.1, send, (esms_emulator,))
    later.start()
    assert esms_emulator.wait("0911000001").phone == "0911000001"
    assert esms_emulator.latest_code("+84 911 000 001") == "686868"
    assert esms_emulator.latest_code(pattern="la (ma)") == "ma"
    with pytest.raises(TimeoutError, match="a message to 091"):
        esms_emulator.wait("0911000002", timeout=0.01)

def test_under_a_running_loop(esms_emulator):
    async def as_the_sync_api_of_playwright_does():
        send(esms_emulator)
        return esms_emulator.latest_code("0911000001")
    assert asyncio.run(as_the_sync_api_of_playwright_does()) == "686868"
"""
    )
    result.assert_outcomes(passed=2)


def test_a_server_of_the_session_is_reset_for_each_test(run: Run) -> None:
    """A fixture of the session takes its URL; each test finds it as new, with other SMSIDs."""
    result = run(
        SEND
        + """
@pytest.fixture(scope="session")
def app(esms_server):
    return esms_server

@pytest.mark.parametrize("_", range(3))
def test_a_send(_, app, esms_emulator, seen=set()):
    assert app.url == esms_emulator.url
    assert esms_emulator.messages == []
    assert (esms_emulator.clock.shift, esms_emulator.settings.price) == (0, 850)
    seen.add(send(esms_emulator, RequestId="r-1")["SMSID"])
    esms_emulator.clock.advance(3600)
    esms_emulator.change({"price": 1})
    assert len(seen) == _ + 1
"""
    )
    result.assert_outcomes(passed=3)


def test_twice_and_once_are_asserted(run: Run) -> None:
    """`assert_sent_once` and `assert_never_twice` name the phone, masked, and the RequestIds."""
    result = run(
        SEND
        + """
def test_once(esms_emulator):
    with pytest.raises(AssertionError, match=r"0 messages .* 091\\\\*{4}001, not one"):
        esms_emulator.assert_sent_once("0911000001")
    send(esms_emulator, RequestId="r-1")
    send(esms_emulator, RequestId="r-1")
    assert esms_emulator.assert_sent_once("0911000001").request_id == "r-1"
    esms_emulator.assert_never_twice()

def test_twice_by_another_id(esms_emulator):
    send(esms_emulator, RequestId="r-1")
    send(esms_emulator, RequestId="r-2")
    with pytest.raises(AssertionError, match=r"2 messages .* \\\\(r-1, r-2\\\\)"):
        esms_emulator.assert_sent_once("0911000001")
    with pytest.raises(AssertionError, match=r"091\\\\*{4}001 \\\\(request ids r-1 and r-2"):
        esms_emulator.assert_never_twice()

def test_twice_by_the_same_id(esms_emulator):
    send(esms_emulator, RequestId="r-1")
    esms_emulator.clock.advance(24 * 3600)
    send(esms_emulator, RequestId="r-1", Content="1234")
    with pytest.raises(AssertionError, match="accepted twice"):
        esms_emulator.assert_never_twice()
""".replace("\\\\\\\\", "\\\\").replace("\\\\", "\\")
    )
    result.assert_outcomes(passed=3)


def test_a_failing_test_shows_what_the_emulator_saw(run: Run) -> None:
    """The report has the timeline: attempts, faults, what was not taken; but no code or phone."""
    result = run(
        SEND
        + """
import urllib.error

def test_it(esms_emulator):
    esms_emulator.fault("http:503@send,phase=after,times=1")
    with pytest.raises(urllib.error.HTTPError) as failed:
        send(esms_emulator, RequestId="r-1")
    failed.value.close()
    send(esms_emulator, RequestId="r-1")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(esms_emulator.url + "SendMultipleMesage_V4_get")
    refused.value.close()
    assert "this" == "that"

def test_that_passes(esms_emulator):
    send(esms_emulator)
""",
        "--no-header",
    )
    result.assert_outcomes(passed=1, failed=1)
    text = "\n".join(result.outlines)
    title = text.index("esms emulator: what it saw")
    section = text[title : text.index("short test summary")]
    assert "091****001 r-1: waiting" in section
    assert "503" in section
    assert "http:503@send,phase=after,times=1 (way)" in section
    assert "124 RequestId seen: accepted before" in section
    assert "not taken: GET …/SendMultipleMesage_V4_get: No operation has the name" in section
    assert not any(secret in section for secret in ("686868", "0911000001"))
    assert text.count("what it saw") == 1


FROZEN = """
import freezegun
import time_machine

@freezegun.freeze_time("2012-01-14")
def test_freezegun(esms_emulator):
    check(esms_emulator)

@time_machine.travel("2012-01-14", tick=False)
def test_time_machine(esms_emulator):
    check(esms_emulator)

@pytest.fixture
def frozen():
    with freezegun.freeze_time("2082-01-14"):
        yield

def test_frozen_before_the_emulator_is_asked_for(frozen, esms_emulator):
    check(esms_emulator)

def check(emulator):
    import socket
    receiver = socket.create_server(("127.0.0.1", 0))
    receiver.settimeout(20)
    emulator.change({"report_delay": 0.05})
    send(emulator, CallbackUrl=f"http://127.0.0.1:{receiver.getsockname()[1]}/")
    # The real year, as `date` prints it: no library of the process is asked.
    import subprocess
    year = int(subprocess.check_output(["date", "-u", "+%Y"]))
    assert abs(emulator.messages[0].at.year - year) <= 1
    with receiver:
        connection, _ = receiver.accept()
        with connection:
            assert b"SendStatus=2" in connection.recv(2000)
    with pytest.raises(TimeoutError):
        emulator.wait("0911000002", timeout=0.05)
"""


def test_frozen_time_stops_neither_deliveries_nor_waiting(run: Run) -> None:
    """Under freezegun and time-machine messages have the real time, and reports go out."""
    result = run(SEND + FROZEN)
    result.assert_outcomes(passed=3)


def test_blocked_sockets_are_a_reason_and_no_hang(run: Run) -> None:
    """Under `pytest --disable-socket` the error names what to allow; allowed hosts work."""
    test = SEND + "\ndef test_it(esms_emulator):\n    send(esms_emulator)\n"
    # It warns beside the error, and a warning that is an error hides it.
    quiet = ("-p", "pytest_socket", "-W", "default::UserWarning")
    result = run(test, *quiet, "--disable-socket")
    result.assert_outcomes(errors=1)
    assert lines_with(result, "cannot start (SocketBlockedError")
    assert lines_with(result, "--allow-hosts=127.0.0.1")
    allowed = run(test, *quiet, "--disable-socket", "--allow-hosts=127.0.0.1")
    allowed.assert_outcomes(passed=1)


def test_no_more_files_is_a_reason_and_no_hang(run: Run) -> None:
    """Where the process has no file left, the error says so."""
    result = run("""
import os
import resource

@pytest.fixture
def no_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    held = []
    try:
        while True:
            held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        os.close(held.pop())
    yield
    for file in held:
        os.close(file)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

def test_it(no_files):
    from esms_async.emulator import ThreadedEmulator
    from esms_async import ConfigurationError
    with pytest.raises(ConfigurationError, match="ulimit -n"):
        ThreadedEmulator().__enter__()

def test_afterwards(esms_emulator):
    assert esms_emulator.port
""")
    result.assert_outcomes(passed=2)


OTP_TEST = """
async def test_a_login(esms_otp, esms_emulator):
    challenge = await esms_otp.start("0901888484")
    code = esms_emulator.latest_code("+84901888484")
    assert esms_emulator.wait("0901888484").otp == code
    esms_emulator.clock.advance(30)
    challenge = await esms_otp.resend(challenge.id, phone="0901888484")
    assert esms_emulator.latest_code("0901888484") == code
    assert len(esms_emulator.messages) == 2
    esms_emulator.clock.advance(269)
    assert (await esms_otp.verify(challenge.id, code, phone="0901888484")).ok
    challenge = await esms_otp.start("0901888484")
    esms_emulator.clock.advance(301)
    code = esms_emulator.latest_code("0901888484")
    assert (await esms_otp.verify(challenge.id, code, phone="0901888484")).reason == "expired"
    with pytest.raises(TimeoutError, match="waited 0.01 s for a message to 091.*1 with a code"):
        esms_emulator.latest_code("0911000001", timeout=0.01)
"""


@pytest.mark.parametrize(("options", "mark"), RUNNERS.values(), ids=RUNNERS)
def test_codes_share_the_clock_of_the_emulator(
    run: Run, options: tuple[str, ...], mark: str
) -> None:
    """`esms_otp` sends to the emulator, whose clock moves both."""
    run(mark + OTP_TEST, *options).assert_outcomes(passed=1)
