"""Delivery reports: when they come, what they say, and how often they are tried."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
from aiohttp import web

from esms_async.emulator import Clock, Emulator, Event, Settings, callbacks
from tests.emulator.caller import PHONE, Caller
from tests.limits import generous

SETTINGS = Settings(report_delay=10, report_retry_delay=2)


class Receiver:
    """A web server that receives delivery reports."""

    def __init__(self) -> None:
        self.reports: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self.answer: Callable[[], Any] = lambda: web.Response(text="ok")
        self.url = ""
        self.connections: list[object] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Take a report, and answer as the test wants."""
        self.connections.append(request.transport)
        self.reports.put_nowait(dict(request.query))
        answer = self.answer()
        response: web.StreamResponse = await answer if asyncio.iscoroutine(answer) else answer
        return response

    async def next(self) -> dict[str, str]:
        """Return the next report."""
        return await asyncio.wait_for(self.reports.get(), generous(5))


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Run a receiver."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_get("/report", receiver.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/report"
        yield receiver
    finally:
        await runner.cleanup()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver."""
    async with receiving() as running:
        yield running


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """An emulator whose clock stands still."""
    async with Emulator(clock=Clock(running=False), settings=SETTINGS) as running:
        yield running


@asynccontextmanager
async def impatient(seconds: float) -> AsyncIterator[tuple[Emulator, Caller]]:
    """Run an emulator whose reports time out soon."""
    settings = attrs.evolve(SETTINGS, report_timeout=seconds)
    async with (
        Emulator(clock=Clock(running=False), settings=settings) as emulator,
        Caller.to(emulator) as caller,
    ):
        yield emulator, caller


async def reported(emulator: Emulator, count: int) -> list[tuple[int, int, str]]:
    """Wait for a number of tries, and return the SendStatus, attempt and result of each."""
    enough = asyncio.Event()

    def look(_: Event) -> None:
        if len(emulator.reports) >= count:
            enough.set()

    end = emulator.subscribe(look)
    if len(emulator.reports) < count:
        await asyncio.wait_for(enough.wait(), generous(5))
    end()
    return [(report.send_status, report.attempt, report.result) for report in emulator.reports]


async def test_a_message_is_reported_as_waiting_then_as_delivered(
    emulator: Emulator, caller: Caller, receiver: Receiver
) -> None:
    """Halfway to its delivery comes a report with status 2, then the one with status 5."""
    got = await caller.send(RequestId="r-1", CallbackUrl=receiver.url)
    emulator.clock.advance(5)
    first = await receiver.next()
    assert receiver.reports.empty()
    emulator.clock.advance(5)
    second = await receiver.next()
    expected = {
        "SMSID": got.json["SMSID"],
        "SendFailed": "0",
        "SendStatus": "2",
        "SendSuccess": "0",
        "TotalPrice": "850.0000",
        "TotalReceiver": "1",
        "TotalSent": "0",
        "RequestId": "r-1",
        "TypeId": "8",
        "telcoid": "2",
        "phonenumber": PHONE,
        "switchsmsid": "",
    }
    assert first == expected
    assert list(first) == list(expected)
    assert second == {**expected, "SendStatus": "5", "SendSuccess": "1", "TotalSent": "1"}
    assert await reported(emulator, 2) == [(2, 1, "200"), (5, 1, "200")]


async def test_each_report_has_a_connection_of_its_own(
    emulator: Emulator, caller: Caller, receiver: Receiver
) -> None:
    """No report goes over a kept connection, on whose death the GET would be repeated unasked."""
    await caller.send(CallbackUrl=receiver.url)
    for _ in range(2):
        emulator.clock.advance(5)
        await receiver.next()
    first, second = receiver.connections
    assert first is not second


async def test_reports_come_by_themselves_on_a_running_clock(receiver: Receiver) -> None:
    """Without any jump of the clock, both reports come after their delay."""
    settings = Settings(report_delay=0.02)
    async with Emulator(settings=settings) as emulator, Caller.to(emulator) as caller:
        await caller.send(CallbackUrl=receiver.url)
        assert [(await receiver.next())["SendStatus"] for _ in range(2)] == ["2", "5"]


async def test_the_query_of_the_callback_url_is_kept(
    emulator: Emulator, caller: Caller, receiver: Receiver
) -> None:
    """Parameters that the CallbackUrl has already stay beside those of the report."""
    await caller.send(CallbackUrl=receiver.url + "?tenant=a%26b", RequestId="r-1")
    emulator.clock.advance(10)
    report = await receiver.next()
    assert (report["tenant"], report["RequestId"]) == ("a&b", "r-1")


async def test_a_message_whose_answer_was_lost_is_reported(
    emulator: Emulator, caller: Caller, receiver: Receiver
) -> None:
    """The report brings the SMSID that the lost answer held."""
    emulator.fault("html:502,phase=after,times=1")
    await caller.send(RequestId="r-1", CallbackUrl=receiver.url)
    emulator.clock.advance(10)
    report = await receiver.next()
    assert (report["RequestId"], report["SMSID"]) == ("r-1", emulator.messages[0].sms_id)


@pytest.mark.parametrize(
    "changes", [{"Sandbox": "1"}, {"Phone": "0900000103"}, {"ApiKey": ""}, {"CallbackUrl": None}]
)
async def test_what_is_not_accepted_or_names_no_url_is_not_reported(
    emulator: Emulator, caller: Caller, receiver: Receiver, changes: dict[str, str | None]
) -> None:
    """Neither a refusal nor a sandbox send is reported, nor a message without a CallbackUrl."""
    await caller.send(**{"CallbackUrl": receiver.url, **changes})
    await caller.send(CallbackUrl=receiver.url, RequestId="the-other")
    emulator.clock.advance(10)
    reports = [await receiver.next() for _ in range(2)]
    assert {report["RequestId"] for report in reports} == {"the-other"}
    assert receiver.reports.empty()


async def test_a_failed_delivery_is_reported_as_such(
    emulator: Emulator, caller: Caller, receiver: Receiver
) -> None:
    """`dlr:failed` reports SendFailed, and a price of nothing."""
    emulator.fault("dlr:failed")
    await caller.send(CallbackUrl=receiver.url)
    emulator.clock.advance(10)
    reports = {report["SendStatus"]: report for report in [await receiver.next() for _ in "25"]}
    final = reports["5"]
    assert (final["SendSuccess"], final["SendFailed"], final["TotalPrice"]) == ("0", "1", "0.0000")


async def test_a_report_that_never_comes_can_be_sent_by_hand(
    emulator: Emulator, caller: Caller, receiver: Receiver
) -> None:
    """`dlr:never` reports nothing however long one waits; `finish` does."""
    emulator.fault("dlr:never")
    sms_id = (await caller.send(CallbackUrl=receiver.url)).json["SMSID"]
    emulator.clock.advance(24 * 3600)
    assert (await caller.get("GetSendStatus", RefId=sms_id)).json["SendStatus"] == 7
    assert receiver.reports.empty()
    emulator.finish(sms_id)
    assert (await receiver.next())["SendSuccess"] == "1"
    emulator.finish(sms_id, delivered=False)
    assert (await receiver.next())["SendFailed"] == "1"
    with pytest.raises(LookupError, match="SMSID"):
        emulator.finish("unknown")


async def test_what_is_decided_by_hand_stands(
    emulator: Emulator, caller: Caller, receiver: Receiver
) -> None:
    """After `finish` neither of the reports that were planned contradicts its report."""
    sms_id = (await caller.send(CallbackUrl=receiver.url)).json["SMSID"]
    emulator.finish(sms_id, delivered=False)
    assert (await receiver.next())["SendFailed"] == "1"
    emulator.clock.advance(60)
    emulator.resend_report(sms_id)
    assert (await receiver.next())["SendFailed"] == "1"
    assert await reported(emulator, 2) == [(5, 1, "200"), (5, 1, "200")]


async def test_a_message_that_is_not_kept_any_more_is_reported(
    emulator: Emulator, caller: Caller, receiver: Receiver
) -> None:
    """Clearing the messages does not take back the reports that are due."""
    await caller.send(RequestId="r-1", CallbackUrl=receiver.url)
    emulator.clear_messages()
    emulator.clock.advance(10)
    reports = [await receiver.next() for _ in "25"]
    assert {report["RequestId"] for report in reports} == {"r-1"}


async def test_a_report_can_come_twice(
    emulator: Emulator, caller: Caller, receiver: Receiver
) -> None:
    """`dlr:twice` sends each report a second time."""
    emulator.fault("dlr:twice")
    await caller.send(CallbackUrl=receiver.url)
    emulator.clock.advance(10)
    assert sorted([(await receiver.next())["SendStatus"] for _ in range(4)]) == ["2", "2", "5", "5"]


async def test_a_report_can_come_before_the_answer(
    emulator: Emulator, caller: Caller, receiver: Receiver
) -> None:
    """`dlr:early` has both reports delivered before the send is answered, and none after."""
    emulator.fault("dlr:early")
    await caller.send(CallbackUrl=receiver.url)
    assert [receiver.reports.get_nowait()["SendStatus"] for _ in "25"] == ["2", "5"]
    emulator.clock.advance(3600)
    assert await reported(emulator, 2) == [(2, 1, "200"), (5, 1, "200")]


async def test_early_reports_need_somebody_to_tell(emulator: Emulator, caller: Caller) -> None:
    """`dlr:early` without a CallbackUrl holds nothing up."""
    emulator.fault("dlr:early")
    assert (await caller.send()).code == "100"


async def test_a_report_can_come_late(
    emulator: Emulator, caller: Caller, receiver: Receiver
) -> None:
    """`dlr:late` reports after the delay that is set for it."""
    emulator.fault("dlr:late")
    await caller.send(CallbackUrl=receiver.url)
    emulator.clock.advance(29)
    assert receiver.reports.empty()
    emulator.clock.advance(1)
    assert (await receiver.next())["SendStatus"] == "2"
    emulator.clock.advance(30)
    assert (await receiver.next())["SendStatus"] == "5"


async def test_a_receiver_that_times_out_is_tried_five_times_more(receiver: Receiver) -> None:
    """Each timeout is followed by another try after a pause, until there were six."""
    receiver.answer = lambda: asyncio.sleep(3600)
    async with impatient(0.03) as (emulator, caller):
        emulator.fault("dlr:never")
        emulator.finish((await caller.send(CallbackUrl=receiver.url)).json["SMSID"])
        for count in range(1, 7):
            assert (await reported(emulator, count))[-1] == (5, count, "timeout")
            emulator.clock.advance(1.9)
            assert len(emulator.reports) == count
            emulator.clock.advance(0.1)
        emulator.clock.advance(3600)
        assert len(emulator.reports) == 6


async def test_a_receiver_that_answers_at_last_is_not_tried_again(receiver: Receiver) -> None:
    """The first try that is answered in time is the last."""
    answers = iter([asyncio.sleep(3600), web.Response()])
    receiver.answer = lambda: next(answers)
    async with impatient(0.25) as (emulator, caller):
        emulator.fault("dlr:never")
        emulator.finish((await caller.send(CallbackUrl=receiver.url)).json["SMSID"])
        await reported(emulator, 1)
        emulator.clock.advance(2)
        assert await reported(emulator, 2) == [(5, 1, "timeout"), (5, 2, "200")]
        emulator.clock.advance(3600)
        assert len(emulator.reports) == 2


async def test_reports_that_are_too_many_are_dropped(
    emulator: Emulator, caller: Caller, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above a bound no further report is planned, and that is written down."""
    monkeypatch.setattr(callbacks, "_MOST_PENDING", 3)
    for _ in range(2):
        await caller.send(CallbackUrl=receiver.url)
    assert await reported(emulator, 1) == [(5, 1, "dropped")]
    emulator.clock.advance(10)
    assert sorted([(await receiver.next())["SendStatus"] for _ in range(3)]) == ["2", "2", "5"]


@pytest.mark.parametrize("status", [302, 404, 500])
async def test_a_receiver_that_answers_anything_is_not_tried_again(
    emulator: Emulator, caller: Caller, receiver: Receiver, status: int
) -> None:
    """Only a timeout is tried again; a redirect is not followed."""
    receiver.answer = lambda: web.Response(status=status, headers={"Location": receiver.url})
    await caller.send(CallbackUrl=receiver.url)
    emulator.clock.advance(10)
    results = await reported(emulator, 2)
    emulator.clock.advance(3600)
    assert sorted(results) == [(2, 1, str(status)), (5, 1, str(status))]
    assert len(emulator.reports) == 2


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://localhost:1/", "http://[::1]:1/"])
async def test_a_receiver_that_is_not_there_is_no_error(
    emulator: Emulator, caller: Caller, url: str
) -> None:
    """A report that nobody takes is written down as failed, and tried once."""
    await caller.send(CallbackUrl=url)
    emulator.clock.advance(10)
    assert sorted(await reported(emulator, 2)) == [(2, 1, "failed"), (5, 1, "failed")]


@pytest.mark.parametrize(
    "url",
    [
        "http://192.0.2.1/",
        "http://receiver.example/",
        "http://127.0.0.1.example/",
        "http://0.0.0.0/",
        "http://127.1/",
        "http://localhost.example/",
        "http://127.0.0.1@192.0.2.1/",
    ],
)
async def test_no_report_leaves_this_machine(emulator: Emulator, caller: Caller, url: str) -> None:
    """A CallbackUrl of another machine is written down as not allowed, and never called."""
    await caller.send(CallbackUrl=url)
    assert await reported(emulator, 2) == [(2, 1, "not allowed"), (5, 1, "not allowed")]


async def test_reports_to_other_machines_can_be_allowed() -> None:
    """With `remote_callbacks` a CallbackUrl of any host is called."""
    settings = Settings(report_delay=0, remote_callbacks=True)
    async with Emulator(settings=settings) as emulator, Caller.to(emulator) as caller:
        await caller.send(CallbackUrl="http://receiver.invalid/")
        assert {result for _, _, result in await reported(emulator, 2)} == {"failed"}


async def test_many_reports_at_once_all_arrive(
    emulator: Emulator, caller: Caller, receiver: Receiver
) -> None:
    """More reports than are sent at once wait for their turn, and come."""
    for number in range(50):
        await caller.send(CallbackUrl=receiver.url, RequestId=f"r-{number}")
    emulator.clock.advance(10)
    got = [await receiver.next() for _ in range(100)]
    assert len({(report["RequestId"], report["SendStatus"]) for report in got}) == 100


async def test_a_reset_sends_no_report_of_what_was_before(
    emulator: Emulator, caller: Caller, receiver: Receiver
) -> None:
    """After a reset only new messages are reported."""
    await caller.send(CallbackUrl=receiver.url, RequestId="old")
    emulator.reset()
    await caller.send(CallbackUrl=receiver.url, RequestId="new")
    emulator.clock.advance(10)
    assert {(await receiver.next())["RequestId"] for _ in range(2)} == {"new"}
    assert receiver.reports.empty()
