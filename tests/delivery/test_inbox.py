"""The receiver: what is answered, what the ledger learns, and what is handed on once."""

import asyncio
import logging
from typing import Any

import pytest

from esms_async import ConfigurationError, EsmsClient, LedgerError, Message, OutcomeUnknown, Status
from esms_async.delivery import (
    CallbackSigner,
    DeliveryReport,
    InvalidReport,
    ReportReceiver,
    Result,
)
from esms_async.emulator import Emulator
from esms_async.ledger import MemoryLedger, Reason, Settlement
from esms_async.ledger.handover import Answer
from esms_async.ledger.transitions import fingerprint
from tests.delivery.support import SECRET, SIGNER, Handler, query_of
from tests.factories import CREDENTIALS, ONE_ATTEMPT, QUICK, a_message
from tests.ledger.conftest import Clock


async def receive(
    receiver: ReportReceiver, message: Message, state: str = "delivered", **changes: str
) -> Result:
    """Bring a report as the gateway does."""
    return await receiver.receive(SIGNER.sign(message), query_of(message, state, **changes))


# What is handed on.


@pytest.mark.parametrize("state", ["delivered", "failed", "refused"])
async def test_a_final_report_is_handed_on_once(state: str) -> None:
    """However often it comes, the handler gets it once, and the gateway is told 200."""
    handler, message = Handler(), a_message()
    receiver = ReportReceiver(handler, signer=SIGNER)
    results = [await receive(receiver, message, state) for _ in range(6)]
    assert results == [Result.HANDED_ON, *[Result.REPEATED] * 5]
    assert [(report.request_id, report.state) for report in handler.reports] == [
        (message.request_id, state)
    ]
    assert {result.status for result in results} == {200}
    assert receiver.counts == {Result.HANDED_ON: 1, Result.REPEATED: 5}


async def test_reports_at_once_are_handed_on_once() -> None:
    """Six at the same time wait for the first, and are answered after it."""
    message, proceed = a_message(), asyncio.Event()
    calls = 0

    async def on_report(report: DeliveryReport) -> None:
        nonlocal calls
        calls += 1
        await proceed.wait()

    receiver = ReportReceiver(on_report, signer=SIGNER)
    tasks = [asyncio.create_task(receive(receiver, message)) for _ in range(6)]
    for _ in range(20):
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    proceed.set()
    results = await asyncio.gather(*tasks)
    assert sorted(result.value for result in results) == ["handed on", *["repeated"] * 5]
    assert calls == 1


async def test_two_replicas_hand_a_report_on_once() -> None:
    """What they share is the ledger."""
    handler, message = Handler(), a_message()
    async with MemoryLedger() as ledger:
        replicas = [ReportReceiver(handler, signer=SIGNER, ledger=ledger) for _ in range(2)]
        results = await asyncio.gather(*(receive(each, message) for each in replicas))
    assert set(results) == {Result.HANDED_ON, Result.REPEATED}
    assert len(handler.reports) == 1


async def test_a_report_on_the_way_is_not_handed_on() -> None:
    """The handler gets results alone."""
    handler, message = Handler(), a_message()
    receiver = ReportReceiver(handler, signer=SIGNER)
    assert await receive(receiver, message, "pending") is Result.PENDING
    assert Result.PENDING.status == 200
    assert handler.reports == []
    assert await receive(receiver, message) is Result.HANDED_ON


async def test_a_handler_that_fails_gets_the_next_report() -> None:
    """The gateway is told 500, and a repetition is handed on."""
    handler, message = Handler(failures=2), a_message()
    receiver = ReportReceiver(handler, signer=SIGNER)
    results = [await receive(receiver, message) for _ in range(4)]
    assert [result.status for result in results] == [500, 500, 200, 200]
    assert len(handler.reports) == 1


async def test_what_a_handler_fails_with_is_logged_without_its_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They may quote the phone; where it failed is told."""
    message = a_message()

    async def on_report(report: DeliveryReport) -> None:
        raise LookupError(message.phone)

    assert await receive(ReportReceiver(on_report, signer=SIGNER), message) is Result.FAILED
    assert "LookupError" in caplog.text
    assert "in on_report" in caplog.text
    assert message.phone not in caplog.text


async def test_a_handler_that_takes_too_long_is_cancelled() -> None:
    """The gateway is told 500 in time, and the report may come again."""
    message, cancelled = a_message(), asyncio.Event()

    async def on_report(report: DeliveryReport) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    receiver = ReportReceiver(on_report, signer=SIGNER, timeout=0.02)
    assert await receive(receiver, message) is Result.FAILED
    assert cancelled.is_set()
    assert await receive(receiver, message) is Result.FAILED


async def test_a_receiver_that_is_cancelled_gives_the_report_up() -> None:
    """A server that ends in the middle leaves the report to the next one at once."""
    message, under_way = a_message(), asyncio.Event()

    async def on_report(report: DeliveryReport) -> None:
        under_way.set()
        await asyncio.Event().wait()

    async with MemoryLedger() as ledger:
        ending = ReportReceiver(on_report, signer=SIGNER, ledger=ledger)
        task = asyncio.create_task(receive(ending, message))
        await under_way.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        turn = await ledger.begin_report(message.request_id, "delivered", 1)
        assert (turn.answer, turn.handover.turn) == (Answer.GO, 2)


async def test_a_process_that_died_is_outlasted() -> None:
    """A report that finds another at it waits until that one's lease has run out."""
    handler, message = Handler(), a_message()
    async with MemoryLedger() as ledger:
        # A process that began, and will never be heard of again.
        await ledger.begin_report(message.request_id, "delivered", 0.2)
        receiver = ReportReceiver(handler, signer=SIGNER, ledger=ledger, timeout=0.1)
        assert await receive(receiver, message) is Result.HANDED_ON
    assert len(handler.reports) == 1


async def test_who_is_busy_too_long_is_not_outwaited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report is not kept waiting for ever: the gateway is told 503."""
    handler, message = Handler(), a_message()
    monkeypatch.setattr("esms_async.delivery.receiving._LONGEST_PAUSE", 0.02)
    async with MemoryLedger() as ledger:
        await ledger.begin_report(message.request_id, "delivered", 1000)
        receiver = ReportReceiver(handler, signer=SIGNER, ledger=ledger, timeout=0.01)
        assert await receive(receiver, message) is Result.UNAVAILABLE
    assert Result.UNAVAILABLE.status == 503
    assert handler.reports == []


async def test_a_report_without_request_id_takes_that_of_its_path() -> None:
    """What the gateway leaves out of the query, the signed path still says."""
    handler, message = Handler(), a_message()
    receiver = ReportReceiver(handler, signer=SIGNER)
    assert await receive(receiver, message, RequestId="") is Result.HANDED_ON
    assert handler.reports[0].request_id == message.request_id


async def test_a_report_from_elsewhere_goes_the_same_way() -> None:
    """What was learnt by asking the gateway is handed on once with what it reports itself."""
    handler, message = Handler(), a_message()
    receiver = ReportReceiver(handler, signer=SIGNER)
    report = DeliveryReport.from_query(query_of(message))
    assert await receiver.hand_on(report) is Result.HANDED_ON
    assert await receive(receiver, message) is Result.REPEATED
    with pytest.raises(InvalidReport, match="RequestId"):
        await receiver.hand_on(DeliveryReport.from_query(query_of(message, RequestId="")))


# What is refused.

MESSAGE = Message("0901888484", "x", request_id="order-1")
OTHER = Message("0901888484", "x", request_id="order-2")
GENUINE = SIGNER.sign(MESSAGE)
QUERY = query_of(MESSAGE)


@pytest.mark.parametrize(
    ("segment", "query", "result"),
    [
        pytest.param("order-1", QUERY, Result.REFUSED, id="not signed"),
        pytest.param("", QUERY, Result.REFUSED, id="no segment"),
        pytest.param("x" * 100_000, QUERY, Result.REFUSED, id="oversized segment"),
        pytest.param("\ud800\x00é", QUERY, Result.REFUSED, id="wrongly encoded segment"),
        pytest.param(GENUINE[:-1], QUERY, Result.REFUSED, id="truncated segment"),
        pytest.param(GENUINE.replace("order-1", "order-2"), QUERY, Result.REFUSED, id="altered"),
        pytest.param(
            CallbackSigner("a secret of somebody else").sign(MESSAGE),
            QUERY,
            Result.REFUSED,
            id="forged",
        ),
        pytest.param(
            CallbackSigner(SECRET, clock=lambda: 0.0).sign(MESSAGE),
            QUERY,
            Result.REFUSED,
            id="replayed after its time",
        ),
        pytest.param(GENUINE, query_of(OTHER), Result.REFUSED, id="replayed for another message"),
        pytest.param(GENUINE, "", Result.UNREADABLE, id="no query"),
        pytest.param(GENUINE, QUERY[:20], Result.UNREADABLE, id="truncated"),
        pytest.param(GENUINE, QUERY + "&x=" + "1" * 10_000, Result.UNREADABLE, id="oversized"),
        pytest.param(GENUINE, QUERY + "&x=%ff", Result.UNREADABLE, id="wrongly encoded"),
        pytest.param(GENUINE, QUERY + "&SendStatus=4", Result.UNREADABLE, id="polluted"),
    ],
)
async def test_what_is_refused(segment: str, query: str, result: Result) -> None:
    """What proves nothing is answered as a path where nothing is, and nobody is told of it."""
    handler = Handler()
    async with MemoryLedger() as ledger:
        await ledger.claim(MESSAGE, fingerprint(MESSAGE, b"key"))
        receiver = ReportReceiver(handler, signer=SIGNER, ledger=ledger)
        assert await receiver.receive(segment, query) is result
        entry = await ledger.look_up("order-1")
    assert entry is not None
    assert entry.status is Status.UNKNOWN
    assert handler.reports == []
    assert receiver.counts == {result: 1}
    assert result.status == (404 if result is Result.REFUSED else 400)


async def test_no_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """What is told of damage and of failures shows neither the phone number nor the signature."""
    message = a_message()
    receiver = ReportReceiver(Handler(failures=1), signer=SIGNER)
    with caplog.at_level(logging.DEBUG):
        await receive(receiver, message)
        await receive(receiver, message, SendStatus="x")
    assert "request id" in caplog.text
    assert "SendStatus" in caplog.text
    assert message.phone not in caplog.text
    assert SIGNER.sign(message).rpartition(".")[2] not in caplog.text


@pytest.mark.parametrize(("name", "value"), [("signer", None), ("timeout", 0)])
def test_a_value_that_cannot_work_is_refused(name: str, value: object) -> None:
    """A receiver without a signer would take anybody's word."""
    options: dict[str, Any] = {"signer": SIGNER, name: value}
    with pytest.raises(ConfigurationError, match=name):
        ReportReceiver(Handler(), **options)


# What the ledger learns.


async def claim(ledger: MemoryLedger, message: Message) -> None:
    """Claim a message."""
    await ledger.claim(message, fingerprint(message, b"key"))


@pytest.mark.parametrize("state", ["delivered", "failed", "refused", "pending"])
async def test_a_report_settles_an_unknown_send(state: str) -> None:
    """Whatever became of the message, the gateway had accepted it; its SMSID comes along."""
    message = a_message()
    async with MemoryLedger() as ledger:
        await claim(ledger, message)
        await receive(ReportReceiver(Handler(), signer=SIGNER, ledger=ledger), message, state)
        entry = await ledger.look_up(message.request_id)
    assert entry is not None
    assert (entry.status, entry.sms_id) == (Status.ACCEPTED, "d8e0")


@pytest.mark.parametrize(
    ("before", "sms_id"),
    [
        (Settlement(Status.ACCEPTED, deduplicated=True), "d8e0"),
        (Settlement(Status.ACCEPTED, sms_id="a1b2"), "a1b2"),
        (Settlement(Status.REJECTED, Reason.MESSAGE, code="108"), "d8e0"),
        (Settlement(Status.NOT_SENT), "d8e0"),
        (Settlement(Status.UNKNOWN, Reason.DUPLICATE), "d8e0"),
    ],
)
async def test_a_report_is_news_of_a_settled_send(before: Settlement, sms_id: str) -> None:
    """A deduplicated receipt gets its SMSID; a known one stays; acceptance is a fact."""
    message = a_message()
    async with MemoryLedger() as ledger:
        await claim(ledger, message)
        await ledger.settle(message.request_id, 1, before)
        await receive(ReportReceiver(Handler(), signer=SIGNER, ledger=ledger), message)
        entry = await ledger.look_up(message.request_id)
    assert entry is not None
    assert (entry.status, entry.sms_id) == (Status.ACCEPTED, sms_id)


async def test_a_report_of_an_unknown_message_is_handed_on() -> None:
    """A message that was sent without this ledger has its report too."""
    handler, message = Handler(), a_message()
    async with MemoryLedger() as ledger:
        receiver = ReportReceiver(handler, signer=SIGNER, ledger=ledger)
        assert await receive(receiver, message) is Result.HANDED_ON
        assert await ledger.look_up(message.request_id) is None


async def test_a_ledger_that_is_not_open_takes_no_report() -> None:
    """The gateway is told 503, and nothing is handed on."""
    handler = Handler()
    receiver = ReportReceiver(handler, signer=SIGNER, ledger=MemoryLedger())
    assert await receive(receiver, a_message()) is Result.UNAVAILABLE
    assert handler.reports == []


class ForgetfulLedger(MemoryLedger):
    """Begins reports, and fails to write down how they end."""

    async def end_report(self, request_id: str, state: str, turn: int, *, success: bool) -> None:
        """Fail."""
        raise LedgerError("the disk is full")


@pytest.mark.parametrize(("failures", "status"), [(0, 200), (1, 500)])
async def test_an_end_that_cannot_be_recorded_is_told_as_it_was(
    caplog: pytest.LogCaptureFixture, failures: int, status: int
) -> None:
    """A report that was handed on is answered with 200, so that it does not come again."""
    async with ForgetfulLedger() as ledger:
        receiver = ReportReceiver(Handler(failures), signer=SIGNER, ledger=ledger)
        assert (await receive(receiver, a_message())).status == status
    assert "can't be recorded (the disk is full)" in caplog.text


async def test_a_ledger_that_keeps_no_reports_is_settled_all_the_same() -> None:
    """The receiver then remembers by itself what was handed on."""

    class BareLedger:
        """A ledger of the caller's own, without the methods for reports."""

        def __init__(self, ledger: MemoryLedger) -> None:
            self.is_open, self.open, self.aclose = True, ledger.open, ledger.aclose
            self.claim, self.settle, self.look_up = ledger.claim, ledger.settle, ledger.look_up
            self.unsettled, self.entries, self.prune = (
                ledger.unsettled,
                ledger.entries,
                ledger.prune,
            )

    handler, message = Handler(), a_message()
    async with MemoryLedger() as ledger:
        await claim(ledger, message)
        receiver = ReportReceiver(handler, signer=SIGNER, ledger=BareLedger(ledger))
        assert await receive(receiver, message) is Result.HANDED_ON
        assert await receive(receiver, message) is Result.REPEATED
        entry = await ledger.look_up(message.request_id)
        assert ledger._handovers == {}
    assert entry is not None
    assert entry.status is Status.ACCEPTED
    assert len(handler.reports) == 1


async def test_memory_of_its_own_is_bounded(clock: Clock) -> None:
    """Without a ledger, what is remembered goes with the time for which signatures are good."""
    receiver = ReportReceiver(Handler(), signer=SIGNER)
    ledger = receiver._memory
    ledger._clock = clock
    for _ in range(100):
        await receive(receiver, a_message())
    clock.advance(49 * 3600)
    for _ in range(60):
        await receive(receiver, a_message())
    assert len(ledger._handovers) == 60


# With the client and the gateway.


async def test_a_client_signs_each_message() -> None:
    """Each message's CallbackUrl is its own, and is read by the receiver's signer."""
    async with (
        Emulator() as gateway,
        EsmsClient(
            CREDENTIALS,
            base_url=gateway.url,
            callback_url=SIGNER.at("http://127.0.0.1:1/reports"),
            retry=QUICK,
        ) as client,
    ):
        first, second = a_message(), a_message()
        own = Message("0901888484", "x", callback_url="http://127.0.0.1:1/own")
        for message in (first, second, own):
            await client.send(message)
        urls = [message.callback_url or "" for message in gateway.messages]
    assert [SIGNER.read(url.rpartition("/")[2]) for url in urls[:2]] == [
        first.request_id,
        second.request_id,
    ]
    assert urls[0].startswith("http://127.0.0.1:1/reports/")
    assert urls[2] == "http://127.0.0.1:1/own"


async def test_an_early_report_settles_a_send_whose_answer_is_lost() -> None:
    """The report comes before the answer, which never comes: resuming finds the receipt."""
    handler, message = Handler(), a_message()
    async with MemoryLedger() as ledger, Emulator() as gateway:
        receiver = ReportReceiver(handler, signer=SIGNER, ledger=ledger)
        gateway.fault("reset,phase=after,times=1")
        async with EsmsClient(
            CREDENTIALS, base_url=gateway.url, ledger=ledger, retry=ONE_ATTEMPT
        ) as client:
            with pytest.raises(OutcomeUnknown):
                await client.send(message)
            assert await receive(receiver, message) is Result.HANDED_ON
            requests = len(gateway.requests)
            receipt = await client.send(message)
            assert (receipt.sms_id, len(gateway.requests)) == ("d8e0", requests)


async def test_a_report_before_the_answer_is_right_too() -> None:
    """A send under way whose report came first ends with the receipt that it would have."""
    handler, message = Handler(), a_message()
    async with MemoryLedger() as ledger, Emulator() as gateway:
        receiver = ReportReceiver(handler, signer=SIGNER, ledger=ledger)
        gateway.fault("delay:200ms,phase=after,times=1")
        async with EsmsClient(
            CREDENTIALS, base_url=gateway.url, ledger=ledger, retry=ONE_ATTEMPT
        ) as client:
            sending = asyncio.create_task(client.send(message))
            sms_id = (await gateway.wait_for(request_id=message.request_id)).sms_id
            assert await receive(receiver, message, SMSID=sms_id) is Result.HANDED_ON
            assert not sending.done()
            receipt = await sending
            entry = await ledger.look_up(message.request_id)
    assert entry is not None
    assert (receipt.sms_id, entry.sms_id, entry.status) == (sms_id, sms_id, Status.ACCEPTED)
