"""What becomes of codes, in the log and in OpenTelemetry's metrics."""

import logging
import subprocess
import sys
from collections.abc import Callable

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint

from esms_async import DuplicateRequestId, NotSent, OutcomeUnknown
from esms_async.otp import MemoryOtpStore, OtpRefused
from esms_async.otp.events import operator_of
from tests.otp.support import OTHER, PHONE, Clock, Gateway, make_otp, refused, wrong

Counts = Callable[[], dict[tuple[str, ...], float]]


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counts:
    """Return what was counted: the values of the attributes, behind the name."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr(metrics, "get_meter", provider.get_meter)

    def read() -> dict[tuple[str, ...], float]:
        data = reader.get_metrics_data()
        return {
            (metric.name, *map(str, (point.attributes or {}).values())): point.value
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
            if isinstance(point, NumberDataPoint)
        }

    return read


async def test_codes_are_counted(counts: Counts, sms: Gateway, clock: Clock) -> None:
    """Started, sent, verified, failed and refused, by reason, operator and route."""
    otp = make_otp(sms, MemoryOtpStore(clock=clock))
    challenge = await otp.start(PHONE)
    await otp.start(PHONE)
    await refused(otp.resend(challenge.id, phone=PHONE))
    clock.advance(30)
    await otp.resend(challenge.id, phone=PHONE)
    await otp.verify(challenge.id, wrong(sms.code()), phone=PHONE)
    await otp.verify(challenge.id, sms.code(), phone=PHONE)
    await otp.verify(challenge.id, sms.code(), phone=PHONE)
    sms.fail(lambda m: NotSent(m, (), "refused"))
    with pytest.raises(NotSent):
        await otp.start("0981000001")
    sms.fail(lambda m: OutcomeUnknown(m, (), "lost"))
    await otp.start("0981000001")
    assert counts() == {
        ("esms.otp.started", "login"): 2,
        ("esms.otp.sent", "login", "mobifone", "default", "accepted"): 2,
        ("esms.otp.sent", "login", "viettel", "default", "none"): 1,
        ("esms.otp.sent", "login", "viettel", "default", "unknown"): 1,
        ("esms.otp.verified", "login", "mobifone", "default"): 1,
        ("esms.otp.failed", "login", "wrong"): 1,
        ("esms.otp.failed", "login", "used"): 1,
        ("esms.otp.refused", "login", "cooldown"): 1,
    }


async def test_codes_are_logged_with_fields(sms: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG each event is a record with fields, and without the phone."""
    with caplog.at_level(logging.DEBUG, "esms_async.otp"):
        await make_otp(sms, MemoryOtpStore()).start(OTHER)
    started, sent = (vars(record) for record in caplog.records)
    assert (started["message"], started["esms_otp_purpose"]) == ("started login", "login")
    assert sent["esms_otp_operator"] == "vinaphone"
    assert OTHER not in caplog.text


@pytest.mark.parametrize("wait", [True, False], ids=["waits", "does not wait"])
async def test_a_send_in_doubt_is_a_warning(
    wait: bool, sms: Gateway, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller gets a challenge, so the log says that nobody knows; what is known is no doubt."""
    otp = make_otp(sms, MemoryOtpStore(clock=clock))
    sms.fail(lambda m: OutcomeUnknown(m, (), "lost"), arrives=True)
    challenge = await otp.start(PHONE, wait=wait)
    await otp.aclose()
    warnings = [("esms_async.otp", logging.WARNING, "it is unknown whether a code was sent: lost")]
    assert caplog.record_tuples == warnings
    clock.advance(30)
    sms.fail(lambda m: NotSent(m, (), "refused"))
    challenge = await otp.resend(challenge.id, phone=PHONE, wait=wait)
    await otp.aclose()
    warnings += [
        ("esms_async.otp", logging.WARNING, "it is unknown whether a code was sent: refused")
    ]
    assert caplog.record_tuples == warnings
    clock.advance(30)
    sms.fail(lambda m: DuplicateRequestId(m, (), "124"))
    await otp.resend(challenge.id, phone=PHONE, wait=wait)
    await otp.aclose()
    assert caplog.record_tuples == warnings


def test_without_opentelemetry_nothing_is_counted() -> None:
    """Its API is an extra, and codes work without it."""
    program = """
import asyncio, sys
sys.modules["opentelemetry"] = None
from esms_async.otp import MemoryOtpStore, Otp, Purpose
from esms_async.testing import emulated_client

async def main():
    async with emulated_client() as esms:
        purposes = {"login": Purpose("{code} la ma xac minh cua ban")}
        async with Otp(esms, store=MemoryOtpStore(), keys=["k" * 32], purposes=purposes) as otp:
            print((await otp.start("0901888484")).status)

asyncio.run(main())
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert ran.stdout == b"accepted\n", ran.stderr.decode()


def test_operators_have_ranges() -> None:
    """A number range names the operator that it was given to."""
    assert [operator_of(phone) for phone in ("0981000001", "0901000001", "0871000001")] == [
        "viettel",
        "mobifone",
        "itel",
    ]
    assert operator_of("0951000001") == "other"


def test_refusals_say_why() -> None:
    """The text names the reason, and the wait where there is one."""
    assert str(OtpRefused("cooldown", 30.0)) == "refused: cooldown; try again in 30 s"
    assert str(OtpRefused("expired")) == "refused: expired"
