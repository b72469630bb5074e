"""No key, secret, one-time code or full phone number shows anywhere, whatever fails."""

import asyncio
import contextlib
import copy
import logging
import pickle
import re
import sys
import traceback
import warnings
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from esms_async import (
    Brandname,
    ConfigurationError,
    EsmsClient,
    EsmsError,
    FixedNumber,
    Hook,
    InvalidMessage,
    LedgerError,
    Message,
    Outcome,
    QueryError,
    RetryPolicy,
    ZaloTemplate,
)
from esms_async._model.routes import Route
from esms_async.ledger import LedgerOptions, RedisLedger
from esms_async.otel import OpenTelemetryHook
from tests.answering import Answering
from tests.factories import API_KEY, CREDENTIALS, SECRET_KEY, a_message
from tests.http.failures import MAY_HAVE_ARRIVED, name_of
from tests.scripted_gateway import Exchange, ScriptedGateway, Step
from tests.steps import FAULTS, hang

PHONE, CODE = "0901888484", "686868"
SECRETS = (API_KEY, SECRET_KEY, CODE, PHONE, PHONE[1:], f"84{PHONE[1:]}")
ONE_TRY = RetryPolicy(attempts=1, attempt_timeout=0.1)


async def echo_as_garbage(exchange: Exchange) -> None:
    """Send the request back where a status line belongs."""
    exchange.send(exchange.body + b"\r\n\r\n")
    await exchange.close()


async def echo_in_a_header(exchange: Exchange) -> None:
    """Send the request back as a header, and cut the answer."""
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nX-Echo: " + exchange.body + b"\r\n\r\n")
    await exchange.close()


async def echo_in_the_reason(exchange: Exchange) -> None:
    """Send the request back as the reason phrase."""
    exchange.send(b"HTTP/1.1 400 " + exchange.body + b"\r\nContent-Length: 0\r\n\r\n")


async def echo_as_body(exchange: Exchange) -> None:
    """Send the request back as an answer that holds no code."""
    exchange.answer(exchange.body)


async def echo_as_cookie(exchange: Exchange) -> None:
    """Set a broken cookie that holds the request."""
    echo = exchange.body.decode()
    exchange.answer(b"", status=500, headers=f"Set-Cookie: {echo}=\x01; path=\x02\r\n")


async def echo_as_error_message(exchange: Exchange) -> None:
    """Reject in words that quote everything that was sent."""
    words = " ".join([f"{API_KEY}/{SECRET_KEY}", PHONE, "+84 901.888.484", f"'{CODE} la ma'"])
    exchange.answer(b'{"CodeResult":"108","ErrorMessage":"%s"}' % words.encode())


ECHOES: list[Step] = [
    echo_as_garbage,
    echo_in_a_header,
    echo_in_the_reason,
    echo_as_body,
    echo_as_cookie,
    echo_as_error_message,
]


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """All loggers at DEBUG."""
    with caplog.at_level(logging.DEBUG):
        yield caplog


def all_words_of(error: BaseException) -> str:
    """Everything that a careful error reporter would write about an error."""
    lines: list[str] = []
    seen: set[int] = set()
    queue: list[BaseException | None] = [error]
    while queue:
        one = queue.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        report = traceback.TracebackException.from_exception(one, capture_locals=True)
        # The frames of the test itself hold the message's text, as a caller's would.
        report.stack = traceback.StackSummary.from_list(
            frame for frame in report.stack if "esms_async" in frame.filename
        )
        lines += report.format(chain=False)
        lines += [repr(one), str(one), repr(one.args)]
        lines += [f"{name}={value!r}" for name, value in vars(one).items()]
        queue += [one.__cause__, one.__context__]
    return "\n".join(lines)


def assert_secret(words: str) -> None:
    """See that none of the secrets is in the words.

    A duration or an id of a span is of so many digits that a code may stand in it by chance.
    """
    for secret in SECRETS:
        assert not re.search(rf"(?<![0-9a-f]){re.escape(secret)}(?![0-9a-f])", words), secret


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_found_out(secret: str) -> None:
    """The checks of this module can fail."""
    for words in (secret, f"{{'phone': '{secret}'}}", f"is {secret}, and", f"0{secret} {secret}"):
        with pytest.raises(AssertionError):
            assert_secret(words)
    assert_secret(f"0.0055199835046{CODE}, span_id={CODE}17447392249528397747")


@pytest.mark.parametrize("step", [*MAY_HAVE_ARRIVED, *FAULTS, *ECHOES], ids=name_of)
async def test_nothing_secret_shows_in_a_failure(
    gateway: ScriptedGateway,
    everything_logged: pytest.LogCaptureFixture,
    step: Step,
) -> None:
    """Logs, warnings, tracebacks with local variables, reprs and attributes are all clean."""
    asyncio.get_running_loop().set_debug(True)
    asyncio.get_running_loop().slow_callback_duration = 0
    gateway.script.append(step)
    message = a_message(PHONE, f"{CODE} la ma xac minh")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with EsmsClient(CREDENTIALS, base_url=gateway.url, retry=ONE_TRY) as client:
            words = [repr(client)]
            try:
                words.append(repr(await client.send(message)))
            except EsmsError as error:
                words += [all_words_of(error), all_words_of(copy.copy(error))]
                words.append(repr(Outcome(message, error=error)))
    words += [str(warning.message) for warning in caught]
    words += [everything_logged.text, repr(message), repr(CREDENTIALS)]
    assert_secret("\n".join(words))


@pytest.mark.parametrize("step", [*MAY_HAVE_ARRIVED, *FAULTS, *ECHOES], ids=name_of)
async def test_nothing_secret_is_in_log_records_and_spans(
    gateway: ScriptedGateway, everything_logged: pytest.LogCaptureFixture, step: Step
) -> None:
    """Neither the extra fields of the log nor the attributes of spans and metrics hold a secret."""

    class Broken(Hook):
        def on_attempt(self, *, message: Message, **_: object) -> None:
            raise LookupError(message.phone, message.content)

    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers, meters = TracerProvider(), MeterProvider([reader])
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry = OpenTelemetryHook(tracer_provider=tracers, meter_provider=meters)
    gateway.script.append(step)
    async with EsmsClient(
        CREDENTIALS, base_url=gateway.url, retry=ONE_TRY, hooks=[Broken(), telemetry]
    ) as client:
        with contextlib.suppress(EsmsError):
            await client.send(a_message(PHONE, f"{CODE} la ma xac minh"))
    records = [str(vars(record)) for record in everything_logged.records]
    spans = [span.to_json() for span in exporter.get_finished_spans()]
    assert len(spans) == 1
    assert any("esms_outcome" in record for record in records)
    assert any("Broken.on_attempt failed: LookupError" in record for record in records)
    assert_secret("\n".join([*records, *spans, str(reader.get_metrics_data())]))
    tracers.shutdown()
    meters.shutdown()


async def test_nothing_secret_shows_in_a_cancellation(
    gateway: ScriptedGateway, everything_logged: pytest.LogCaptureFixture
) -> None:
    """A cancelled send tells as little."""
    gateway.script.append(hang)
    async with EsmsClient(CREDENTIALS, base_url=gateway.url) as client:
        task = asyncio.create_task(client.send(a_message(PHONE, CODE)))
        await gateway.hanging.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
    assert caught.value.__cause__ is not None
    assert_secret(all_words_of(caught.value) + everything_logged.text + repr(task))


@pytest.mark.parametrize(
    ("phone", "content"),
    [("09018884841", CODE), (PHONE, f"{CODE}\x00"), (PHONE, CODE * 20_000)],
)
def test_nothing_secret_shows_in_an_invalid_message(phone: str, content: str) -> None:
    """What is refused is not shown."""
    with pytest.raises(InvalidMessage) as caught:
        Message(phone, content)
    assert_secret(all_words_of(caught.value))


@pytest.mark.parametrize(
    ("message", "route"),
    [
        (Message(PHONE, f"{CODE} la ma"), ZaloTemplate("1", "2")),
        (Message(PHONE, params={"otp": CODE}), FixedNumber()),
    ],
    ids=["content", "params"],
)
async def test_nothing_secret_shows_in_a_message_that_does_not_fit_its_route(
    message: Message, route: Route
) -> None:
    """No frame holds the text, which the client refuses because of its default route."""
    async with EsmsClient(CREDENTIALS, route=route) as client:
        with pytest.raises(InvalidMessage) as caught:
            await client.send(message)
    assert_secret(all_words_of(caught.value))


@pytest.mark.parametrize(
    "answer", [b"%s", b'{"CodeResult":"101","ErrorMessage":"%s"}'], ids=["garbage", "a refusal"]
)
async def test_nothing_secret_shows_in_a_query_that_fails(answer: bytes) -> None:
    """No frame holds an answer, which may echo what was asked: a phone and a text for a price."""
    message = Message(PHONE, CODE, route=Brandname("Baotrixemay"))
    async with Answering(answer % f"{PHONE} {CODE}".encode()) as gateway:
        async with EsmsClient(CREDENTIALS, base_url=gateway.url, retry=ONE_TRY) as client:
            with pytest.raises(QueryError) as caught:
                await client.price(message)
        assert gateway.asked[0][2]["Content"] == CODE
    assert_secret(all_words_of(caught.value))


@pytest.mark.skipif(sys.platform == "win32", reason="there is no Redis server for Windows")
async def test_nothing_secret_shows_in_a_claim_that_fails() -> None:
    """No frame holds what a ledger was to store, also where that is the phone and the text."""
    from tests.ledger.redis_server import RedisServer  # noqa: PLC0415  # not there on Windows

    options = LedgerOptions(store_phone=True, store_content=True)
    with RedisServer() as server:
        url = f"{server.url}?socket_timeout=0.2"
        async with RedisLedger(url, options=options) as ledger:
            message = a_message(PHONE, CODE)
            with server.hung():
                for age in (None, 1.0):
                    with pytest.raises(LedgerError) as caught:
                        await ledger.claim(message, b"a fingerprint", doubt_age=age)
                    assert_secret(all_words_of(caught.value))


@pytest.mark.parametrize(
    "environment",
    [
        {"ESMS_API_KEY": API_KEY},
        {"ESMS_API_KEY": API_KEY, "ESMS_SECRET_KEY": f"{SECRET_KEY} "},
        {"ESMS_API_KEY": API_KEY, "ESMS_SECRET_KEY": SECRET_KEY, "ESMS_SANDBOX": "maybe"},
        {"ESMS_API_KEY": API_KEY, "ESMS_SECRET_KEY": SECRET_KEY, "ESMS_BASE_URL": "nowhere"},
    ],
    ids=["a key is missing", "white space", "sandbox", "base URL"],
)
def test_nothing_secret_shows_in_an_environment(environment: dict[str, str]) -> None:
    """No frame of an error that `from_env` raises holds the variables."""
    with pytest.raises(ConfigurationError) as caught:
        EsmsClient.from_env(environment)
    assert_secret(all_words_of(caught.value))


def test_the_check_can_fail() -> None:
    """The reporter does see local variables, attributes and causes."""
    module = sys.modules[EsmsError.__module__]
    code = compile("def fail(key):\n    raise EsmsError('no')", module.__file__ or "", "exec")
    scope = dict(vars(module))
    exec(code, scope)  # noqa: S102  # a frame that seems to be the package's own
    with pytest.raises(EsmsError) as caught:
        scope["fail"](API_KEY)
    assert API_KEY in all_words_of(caught.value)


def test_a_pickled_error_holds_the_message_but_shows_nothing() -> None:
    """An error that crossed a process boundary is as discreet as before."""
    message = a_message(PHONE, CODE)
    with pytest.raises(InvalidMessage) as caught:
        Message("123", CODE)
    for error in (caught.value, EsmsError("x")):
        assert_secret(repr(pickle.loads(pickle.dumps(error))))  # noqa: S301  # our own bytes
    assert_secret(repr(pickle.loads(pickle.dumps(message))))  # noqa: S301  # our own bytes
