"""Smaller ways in which a caller was left hanging, told too little, or shown too much."""

import asyncio
import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any, cast

import aiohttp
import pytest

from esms_async import (
    ConfigurationError,
    Credentials,
    EsmsClient,
    EsmsError,
    InvalidMessage,
    Message,
    NotSent,
    OutcomeUnknown,
    Receipt,
    Rejected,
    RetryPolicy,
    Status,
    UsageError,
)
from esms_async.ledger import SqliteLedger
from tests.limits import generous
from tests.truth.conftest import Wire, a_client
from tests.truth.gateway import RESET_AFTER, Gateway, Plan
from tests.truth.telling import CREDENTIALS, a_message, told

NEEDS_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
NEEDS_EAGER = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="eager_task_factory came with Python 3.12"
)


# --- ledgers -----------------------------------------------------------------------------------


async def alone(program: str, *arguments: str) -> Any:
    """Run a program in processes of its own, killed where they hang, and read its JSON."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(generous(60)):
            out, err = await process.communicate()
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        raise AssertionError("the program hangs") from None
    assert process.returncode == 0, err.decode()
    return json.loads(out)


NUL = """
import asyncio, json, sys
from esms_async import Credentials, EsmsClient, Message
from esms_async.ledger import SqliteLedger

async def opened():
    await SqliteLedger(sys.argv[1] + "/led\\0ger.db").open()

async def sent():
    ledger = SqliteLedger(sys.argv[1] + "/led\\0ger.db")
    keys = Credentials("key", "secret")
    async with EsmsClient(keys, base_url=sys.argv[2], ledger=ledger) as client:
        sends = [client.send(Message("0901888484", "text")) for _ in range(3)]
        for found in await asyncio.gather(*sends, return_exceptions=True):
            if not isinstance(found, BaseException):
                return
        raise found

found = []
for call in (opened, sent):
    try:
        asyncio.run(call())
    except Exception as error:
        found.append([[kind.__name__ for kind in type(error).__mro__], str(error)])
print(json.dumps(found))
"""


async def test_a_ledger_path_with_nul_is_an_error_and_hangs_nobody(
    gateway: Gateway, tmp_path: Path
) -> None:
    """A path that no file can have is refused by `open`, and by each send that would use it."""
    opened, sent = await alone(NUL, str(tmp_path), gateway.url())
    for kinds, words in (opened, sent):
        assert {"LedgerError", "ConfigurationError"} & set(kinds), kinds
        assert re.search(r"(?i)nul", words)
    assert gateway.total == 0


FORKING = """
import asyncio, json, os, sys, warnings
from esms_async import Message, LedgerError, EsmsError, EsmsClient, Credentials
from esms_async.ledger import SqliteLedger

warnings.simplefilter("ignore")

async def parent():
    ledger = SqliteLedger(sys.argv[1])
    await ledger.open()
    keys = Credentials("key", "secret")
    async with EsmsClient(keys, base_url=sys.argv[2], ledger=ledger) as client:
        await client.send(Message("0901888484", "one"))
    return ledger

async def child(ledger):
    async with asyncio.timeout(60):
        async with EsmsClient(
            Credentials("key", "secret"), base_url=sys.argv[2], ledger=ledger
        ) as client:
            await client.send(Message("0987654321", "two"))

ledger = asyncio.run(parent())
reading, writing = os.pipe()
if os.fork() == 0:
    try:
        asyncio.run(child(ledger))
        found = ["nothing", ""]
    except BaseException as error:
        found = [[kind.__name__ for kind in type(error).__mro__], str(error)]
    os.write(writing, json.dumps(found).encode())
    os._exit(0)
os.close(writing)
print(os.fdopen(reading).read())
"""


@NEEDS_FORK
async def test_an_open_ledger_in_a_forked_process_is_a_clear_error(
    gateway: Gateway, tmp_path: Path
) -> None:
    """A child that inherits an open SqliteLedger gets an error that says so, and no hang."""
    kinds, words = await alone(FORKING, str(tmp_path / "ledger.db"), gateway.url())
    assert {"LedgerError", "UsageError"} & set(kinds), kinds
    assert "fork" in words or "process" in words
    assert gateway.total == 1


def test_a_ledger_that_is_closed_on_another_loop_is_closed_or_says_why(tmp_path: Path) -> None:
    """A SqliteLedger that another event loop closes raises no bare RuntimeError."""
    ledger = SqliteLedger(tmp_path / "ledger.db")
    asyncio.run(ledger.open())
    problem = ""
    try:
        asyncio.run(ledger.aclose())
    except UsageError as error:
        problem = str(error)
    assert "event loop" in problem or not ledger.is_open

    async def use() -> None:
        async with SqliteLedger(tmp_path / "ledger.db") as again:
            assert again.is_open

    asyncio.run(use())


# --- clients -----------------------------------------------------------------------------------


@pytest.mark.parametrize("session", [object(), "session", aiohttp.ClientSession])
def test_what_is_no_session_is_refused_by_name(session: object) -> None:
    """`session=object()` is an error that names the argument and what it takes."""
    with pytest.raises(ConfigurationError, match=r"(?s)session.*ClientSession"):
        EsmsClient(CREDENTIALS, session=cast("aiohttp.ClientSession", session))


@NEEDS_EAGER
def test_send_many_overlaps_under_eager_tasks() -> None:
    """Under `eager_task_factory` as many sends are under way at once as `concurrency` says."""

    async def run() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
        async with Gateway() as gateway:
            go = asyncio.Event()
            gateway.draw = lambda: Plan(after=go)
            messages = [a_message(f"03{number:08}") for number in range(40)]
            async with a_client(gateway) as client:

                async def collect() -> list[Status]:
                    async with client.send_many(messages, concurrency=20) as outcomes:
                        return [outcome.status async for outcome in outcomes]

                collecting = asyncio.create_task(collect())
                # All twenty are at the gateway before the first is answered.
                await gateway.until(lambda: gateway.accepted.total() == 20)
                go.set()
                assert await collecting == [Status.ACCEPTED] * 40

    asyncio.run(run())


# --- cancellation ------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["send", "resume"])
async def test_a_task_that_is_cancelled_before_its_first_step_says_what_is_true(
    wire: Wire, call: str
) -> None:
    """Nothing was done for the caller, and the cancellation says so as any other does."""
    message = a_message()
    async with wire.client() as client:
        task = asyncio.create_task(getattr(client, call)(message))
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert isinstance(caught.value.__cause__, NotSent if call == "send" else OutcomeUnknown)
    assert wire.gateway.total == 0


async def test_a_task_that_is_cancelled_before_its_first_step_knows_of_another_send(
    gateway: Gateway,
) -> None:
    """Another task has the same message under way: then the truth is "unknown"."""
    message = a_message()
    gateway.script.append(Plan(after=(go := asyncio.Event())))
    async with a_client(gateway) as client:
        first = asyncio.create_task(told(client.send(message)))
        await gateway.until(lambda: gateway.accepted[message.request_id] == 1)
        task = asyncio.create_task(client.send(message))
        task.cancel()
        assert isinstance(await told(task), OutcomeUnknown)
        go.set()
        assert isinstance(await first, Receipt)


# --- what frames hold --------------------------------------------------------------------------

SECRETS = {
    "ApiKey": "APIKEYAPIKEYAPIKEY",
    "SecretKey": "SECRETSECRETSECRET",
    "phone": "0912837465",
    "code": "739184",
}


def frames_of(error: BaseException) -> Iterator[FrameType]:
    """Yield the package's own frames of an error, and of those that it came from."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        waiting += [one.__cause__, one.__context__]
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if f"{os.sep}esms_async{os.sep}" in frame.f_code.co_filename:
                yield frame


def shown(value: object) -> str:
    """Return what an error tracker shows of a local."""
    try:
        return repr(value)
    except Exception:  # noqa: BLE001  # a Message that is not ready yet has no repr
        return ""


def expect_no_secret(error: BaseException, **also: str) -> None:
    """Look for secrets where an error tracker looks: in the repr of each local of each frame."""
    for frame in frames_of(error):
        for name, value in frame.f_locals.items():
            for what, secret in {**SECRETS, **also}.items():
                where = f"{frame.f_code.co_qualname}: {name}"
                assert secret not in shown(value), f"{where} holds the {what}"


def raised(call: Callable[[], object], kind: type[BaseException]) -> BaseException:
    """Return what a call raises."""
    with pytest.raises(kind) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("end", ["\n", " ", "\r\n"])
def test_frames_of_a_refused_key_hold_no_key(end: str) -> None:
    """A key that ends in white space is refused, and no local of a frame holds it."""
    api_key, secret_key = SECRETS["ApiKey"], SECRETS["SecretKey"]
    expect_no_secret(raised(lambda: Credentials(api_key, secret_key + end), ConfigurationError))
    expect_no_secret(raised(lambda: Credentials(api_key + end, secret_key), ConfigurationError))
    environ = {"ESMS_API_KEY": api_key, "ESMS_SECRET_KEY": secret_key + end}
    expect_no_secret(raised(lambda: EsmsClient.from_env(environ), ConfigurationError))


CODE = f"{SECRETS['code']} la ma xac minh"
INVALID: dict[str, dict[str, Any]] = {
    "phone": {"phone": SECRETS["phone"] + "5", "content": CODE},
    "content": {"phone": SECRETS["phone"], "content": f"{CODE}\0"},
    "half a surrogate": {"phone": SECRETS["phone"], "content": f"{CODE}\ud800"},
    "too long": {"phone": SECRETS["phone"], "content": CODE * 2000},
    "content is bytes": {"phone": SECRETS["phone"], "content": CODE.encode()},
    "request id": {"phone": SECRETS["phone"], "content": CODE, "request_id": "a b"},
    "unicode": {"phone": SECRETS["phone"], "content": f"{CODE} ế", "unicode": False},
    "callback": {"phone": SECRETS["phone"], "content": CODE, "callback_url": "ftp://x"},
    "campaign": {"phone": SECRETS["phone"], "content": CODE, "campaign_id": ""},
}


@pytest.mark.parametrize("fields", INVALID.values(), ids=INVALID.keys())
def test_frames_of_an_invalid_message_hold_neither_phone_nor_code(fields: dict[str, Any]) -> None:
    """`Message(…)` refuses a field, and no local of a frame holds the phone or the text."""
    expect_no_secret(raised(lambda: Message(**fields), InvalidMessage))


def fail(*_: object) -> Any:
    """Fail as a hook of the caller's does."""
    raise ValueError("the hook failed")


@pytest.mark.parametrize("hook", ["dumps", "callback_url", "loads"])
async def test_frames_of_a_failing_hook_hold_no_secret(gateway: Gateway, hook: str) -> None:
    """A hook of the caller's own fails, and no frame of the package holds key, phone or code."""
    message = Message(SECRETS["phone"], CODE)
    keys = Credentials(SECRETS["ApiKey"], SECRETS["SecretKey"])
    options: dict[str, Any] = {hook: fail}
    async with a_client(gateway, credentials=keys, **options) as client:
        with pytest.raises((ValueError, EsmsError)) as caught:
            await client.send(message)
        expect_no_secret(caught.value)


OUTCOMES = {
    "not sent": Plan(),
    "account rejected": Plan(code="101"),
    "rejected": Plan(code="108"),
    "duplicate": Plan(deliveries=2),
    "unknown": RESET_AFTER,
    "unreadable": Plan(body=CODE.encode()),
}


@pytest.mark.parametrize("kind", OUTCOMES)
async def test_frames_of_a_failed_send_hold_no_secret(wire: Wire, kind: str) -> None:
    """Every error of `send` has frames whose locals show neither key nor phone nor code."""
    message = Message(SECRETS["phone"], CODE)
    keys = Credentials(SECRETS["ApiKey"], SECRETS["SecretKey"])
    wire.gateway.script.append(OUTCOMES[kind])
    async with wire.client(credentials=keys) as client:
        if kind == "not sent":
            await client.aclose()
        with pytest.raises(EsmsError) as caught:
            await client.send(message)
        expect_no_secret(caught.value)


# --- redaction ---------------------------------------------------------------------------------


async def words_of(gateway: Gateway, said: str, content: str, keys: Credentials) -> str:
    """Return what a rejection tells of the gateway's own words."""
    body = json.dumps({"CodeResult": "146", "ErrorMessage": said}).encode()
    gateway.script.append(Plan(body=body))
    async with a_client(gateway, credentials=keys) as client:
        with pytest.raises(Rejected) as caught:
            await client.send(Message("0901888484", content))
        return str(caught.value)


@pytest.mark.parametrize(
    ("said", "content", "keys"),
    [
        ("Request exist one", "x", ("APIKEYAPIKEY", "SECRETSECRET")),
        ("Not enough in the balance", "text of some length", ("a", "b")),
        ("Sai template Brandname CSKH", "e", ("s", "n")),
    ],
)
async def test_a_short_secret_never_eats_letters_of_words(
    gateway: Gateway, said: str, content: str, keys: tuple[str, str]
) -> None:
    """The gateway's words are shown as they are, or not at all; never with letters masked."""
    words = await words_of(gateway, said, content, Credentials(*keys))
    # What stands before is the documented meaning of the code.
    words = words.partition("the gateway says")[2]
    assert words
    assert said in words or not any(part in words for part in said.split() if len(part) > 3)
    assert "e***ist" not in words
    assert "l***" not in words


@pytest.mark.parametrize("secret", ["123", "OTP77", "ab12"])
async def test_a_short_content_alone_is_masked_as_a_word(gateway: Gateway, secret: str) -> None:
    """A short text that the gateway repeats as a word of its own does not show."""
    keys = Credentials("APIKEYAPIKEY", "SECRETSECRET")
    words = await words_of(gateway, f"Blocked: {secret} is not allowed", secret, keys)
    assert secret not in words.replace("1 attempt", "").partition("(phone")[0]


async def test_long_secrets_are_masked_wherever_they_stand(gateway: Gateway) -> None:
    """A key, a phone and a text that the gateway repeats do not show in any error text."""
    keys = Credentials("APIKEYAPIKEY", "SECRETSECRET")
    content = "TANGHOA la ma xac minh"
    said = f"no APIKEYAPIKEY/SECRETSECRET for 0901888484: <{content}>"
    words = await words_of(gateway, said, content, keys)
    for secret in ("APIKEYAPIKEY", "SECRETSECRET", "0901888484", content):
        assert secret not in words


async def test_a_client_that_another_event_loop_uses_says_so(tmp_path: Path) -> None:
    """A client with a ledger, used from the loop of another thread, raises a UsageError."""
    async with (
        Gateway() as gateway,
        a_client(
            gateway, ledger=SqliteLedger(tmp_path / "ledger.db"), retry=RetryPolicy(attempts=1)
        ) as client,
    ):
        await client.send(a_message())

        def elsewhere() -> None:
            with pytest.raises(UsageError, match="event loop"):
                asyncio.run(_send(client))

        with ThreadPoolExecutor(1) as pool:
            await asyncio.get_running_loop().run_in_executor(pool, elsewhere)


async def _send(client: EsmsClient) -> None:
    await client.send(a_message())
