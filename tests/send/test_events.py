"""What the log holds of sends: one record an attempt and an outcome, at the level it deserves."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from esms_async import (
    AccountRejected,
    Attempt,
    DuplicateRequestId,
    EsmsClient,
    EsmsError,
    Evidence,
    LedgerError,
    NotSent,
    Outcome,
    OutcomeUnknown,
    Receipt,
    Rejected,
    RequestIdConflict,
)
from esms_async._model.routes import FIXED_NUMBER
from esms_async._send.events import Events
from tests.factories import CREDENTIALS, ONE_ATTEMPT, QUICK, a_message
from tests.scripted_gateway import ScriptedGateway
from tests.steps import answer, end_of, hang, no_balance, reset

BUSY = answer(b"", 503, "Retry-After: 0\r\n")


@pytest.fixture
def everything(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The records of the package, at DEBUG."""
    with caplog.at_level(logging.DEBUG, "esms_async"):
        yield caplog


def told(log: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Return logger and level of each record of the package."""
    return [
        (record.name, record.levelname)
        for record in log.records
        if record.name.startswith("esms_async")
    ]


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields of a record that are the package's own."""
    return {name: value for name, value in vars(record).items() if name.startswith("esms_")}


async def test_a_plain_send(gateway: ScriptedGateway, everything: pytest.LogCaptureFixture) -> None:
    """An accepted send is two records at DEBUG that hold all there is to know."""
    message = a_message()
    async with EsmsClient(CREDENTIALS, base_url=gateway.url) as client:
        receipt = await client.send(message)
    attempt, outcome = everything.records[-2:]
    assert told(everything) == [
        ("esms_async.attempts", "DEBUG"),
        ("esms_async.outcomes", "DEBUG"),
    ]
    assert fields(attempt) == {
        "esms_request_id": message.request_id,
        "esms_route": "fixed",
        "esms_phone": "090****484",
        "esms_attempt": 1,
        "esms_evidence": "accepted",
        "esms_code": "100",
        "esms_status": 200,
        "esms_error": None,
        "esms_retry_after": None,
        "esms_duration": receipt.attempts[0].duration,
    }
    assert fields(outcome) | {"esms_duration": 0} == {
        "esms_request_id": message.request_id,
        "esms_route": "fixed",
        "esms_phone": "090****484",
        "esms_outcome": "accepted",
        "esms_attempts": 1,
        "esms_sms_id": "d8e0",
        "esms_deduplicated": False,
        "esms_code": None,
        "esms_status": None,
        "esms_error": None,
        "esms_duration": 0,
    }
    assert attempt.getMessage() == f"attempt 1 of {message.request_id}: accepted (code 100)"
    assert outcome.getMessage().startswith(f"{message.request_id}: accepted after 1 attempt in ")


async def test_a_send_that_took_several_attempts(
    gateway: ScriptedGateway, everything: pytest.LogCaptureFixture
) -> None:
    """What was tried again shows at INFO, and so does its good end."""
    gateway.script.extend([BUSY, reset])
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, retry=QUICK) as client:
        await client.send(a_message())
    assert told(everything) == [
        ("esms_async.attempts", "INFO"),
        ("esms_async.attempts", "INFO"),
        ("esms_async.attempts", "DEBUG"),
        ("esms_async.outcomes", "INFO"),
    ]
    first = fields(everything.records[0])
    assert (first["esms_status"], first["esms_retry_after"]) == (503, 0.0)
    assert [record.getMessage().split(": ", 1)[1] for record in everything.records[:2]] == [
        "may have arrived (HTTP status 503)",
        "may have arrived (ClientOSError: Connection reset by peer)",
    ]


async def test_without_debug_only_what_matters_is_logged(
    gateway: ScriptedGateway, caplog: pytest.LogCaptureFixture
) -> None:
    """At INFO a plain send is silent, and one that was in trouble is not."""
    with caplog.at_level(logging.INFO, "esms_async"):
        async with EsmsClient(CREDENTIALS, base_url=gateway.url, retry=QUICK) as client:
            await client.send(a_message())
            assert told(caplog) == []
            gateway.script.append(reset)
            await client.send(a_message())
    assert told(caplog) == [("esms_async.attempts", "INFO"), ("esms_async.outcomes", "INFO")]


async def test_at_the_usual_level_failures_are_logged(
    gateway: ScriptedGateway, caplog: pytest.LogCaptureFixture
) -> None:
    """At WARNING, where Python begins, each failed send is one record."""
    gateway.script.extend([reset, no_balance])
    with caplog.at_level(logging.WARNING, "esms_async"):
        async with EsmsClient(CREDENTIALS, base_url=gateway.url, retry=ONE_ATTEMPT) as client:
            for _ in range(2):
                await end_of(client.send(a_message()))
    unknown, rejected = caplog.records
    assert told(caplog) == [
        ("esms_async.outcomes", "WARNING"),
        ("esms_async.outcomes", "ERROR"),
    ]
    assert fields(unknown)["esms_outcome"] == "unknown"
    assert (fields(rejected)["esms_code"], fields(rejected)["esms_status"]) == ("103", 200)
    assert rejected.getMessage().endswith(fields(rejected)["esms_error"])


async def test_each_of_the_two_loggers_can_be_asked_alone(
    gateway: ScriptedGateway, caplog: pytest.LogCaptureFixture
) -> None:
    """A service may want every outcome, and no attempt, or the other way round."""
    async with EsmsClient(CREDENTIALS, base_url=gateway.url) as client:
        for name in ("esms_async.outcomes", "esms_async.attempts"):
            with caplog.at_level(logging.DEBUG, name):
                await client.send(a_message())
            assert told(caplog) == [(name, "DEBUG")]
            caplog.clear()


async def test_a_cancelled_send(
    gateway: ScriptedGateway, everything: pytest.LogCaptureFixture
) -> None:
    """A cancellation is an outcome like any other."""
    gateway.script.append(hang)
    async with EsmsClient(CREDENTIALS, base_url=gateway.url) as client:
        task = asyncio.create_task(client.send(a_message()))
        await gateway.hanging.wait()
        task.cancel()
        await asyncio.wait([task])
    assert told(everything) == [
        ("esms_async.attempts", "INFO"),
        ("esms_async.outcomes", "WARNING"),
    ]
    assert fields(everything.records[-1])["esms_error"] == "it may have been accepted: cancelled"


_PROGRAM = """
import asyncio
from esms_async import Credentials, EsmsClient, Message, NotSent, RetryPolicy

async def main():
    once = RetryPolicy(attempts=1)
    async with EsmsClient(Credentials("k", "s"), base_url={url!r}, retry=once) as client:
        try:
            await client.send(Message("0901888484", "686868"))
        except NotSent:
            print("not sent")

{setup}
asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("setup", "lines"), [("", 0), ("import logging; logging.basicConfig()", 1)]
)
def test_a_program_without_logging_stays_silent(
    unused_tcp_port: int, setup: str, lines: int
) -> None:
    """Python's last resort does not write what the caller is told; a set-up log does."""
    script = _PROGRAM.format(url=f"http://127.0.0.1:{unused_tcp_port}", setup=setup)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "not sent\n"
    assert len(done.stderr.splitlines()) == lines, done.stderr


MESSAGE = a_message()
REJECTION = AccountRejected(MESSAGE, (), code="103", status=200)
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
ATTEMPT = Attempt(NOON, 0.1, Evidence.MAY_HAVE_ARRIVED)


@pytest.mark.parametrize(
    ("end", "attempts", "level"),
    [
        pytest.param(Receipt("1", "a"), 1, "DEBUG", id="accepted"),
        pytest.param(Receipt("1", "a"), 0, "DEBUG", id="accepted before"),
        pytest.param(Receipt("1", "a"), 2, "INFO", id="accepted in the end"),
        pytest.param(Receipt("1", deduplicated=True), 1, "INFO", id="deduplicated"),
        pytest.param(DuplicateRequestId(MESSAGE, (), "no"), 1, "WARNING", id="duplicate"),
        pytest.param(NotSent(MESSAGE, (), "no"), 5, "WARNING", id="not sent"),
        pytest.param(OutcomeUnknown(MESSAGE, (), "no"), 5, "WARNING", id="unknown"),
        pytest.param(
            OutcomeUnknown(MESSAGE, (), "no", REJECTION), 2, "ERROR", id="unknown, then account"
        ),
        pytest.param(Rejected(MESSAGE, (), code="99", status=200), 1, "WARNING", id="rejected"),
        pytest.param(REJECTION, 1, "ERROR", id="account"),
        pytest.param(RequestIdConflict(MESSAGE, (), "no"), 0, "WARNING", id="conflict"),
        pytest.param(LedgerError("the disk is full"), 0, "ERROR", id="ledger"),
    ],
)
def test_the_level_of_an_outcome(
    everything: pytest.LogCaptureFixture, end: Receipt | EsmsError, attempts: int, level: str
) -> None:
    """A problem of the account is an error, a message that was not accepted a warning."""
    outcome = Outcome(MESSAGE, end) if isinstance(end, Receipt) else Outcome(MESSAGE, error=end)
    Events(()).ended(outcome, (ATTEMPT,) * attempts, 0.1, FIXED_NUMBER)
    (record,) = everything.records
    assert record.levelname == level
    reason = fields(record)["esms_error"]
    assert reason is None if isinstance(end, Receipt) else reason


@pytest.mark.parametrize(
    ("evidence", "level"),
    [
        (Evidence.ACCEPTED, "DEBUG"),
        (Evidence.DUPLICATE, "DEBUG"),
        (Evidence.MESSAGE_REJECTED, "DEBUG"),
        (Evidence.REFUSED, "DEBUG"),
        (Evidence.MAY_HAVE_ARRIVED, "INFO"),
        (Evidence.NOTHING_LEFT, "INFO"),
    ],
)
def test_the_level_of_an_attempt(
    everything: pytest.LogCaptureFixture, evidence: Evidence, level: str
) -> None:
    """What the gateway answered is told by the outcome; what it did not is worth a line."""
    Events(()).attempted(MESSAGE, 1, Attempt(NOON, 0.1, evidence, 403), FIXED_NUMBER)
    (record,) = everything.records
    assert record.levelname == level
    assert record.getMessage().endswith(f"{evidence.value} (HTTP 403)")


async def test_a_log_that_fails_harms_nothing(gateway: ScriptedGateway) -> None:
    """A filter that raises is no reason to say that an accepted message failed."""

    def broken(_: object) -> bool:
        raise ZeroDivisionError

    logger = logging.getLogger("esms_async.outcomes")
    logger.addFilter(broken)
    logger.setLevel(logging.DEBUG)
    try:
        async with EsmsClient(CREDENTIALS, base_url=gateway.url) as client:
            assert (await client.send(a_message())).sms_id == "d8e0"
    finally:
        logger.removeFilter(broken)
        logger.setLevel(logging.NOTSET)
