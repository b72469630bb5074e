"""The receiver: its answers, what the ledger learns, and the reports that it hands on."""

import asyncio
import logging
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from esms_async import (
    ConfigurationError,
    EsmsClient,
    LedgerError,
    Message,
    OutcomeUnknown,
    Status,
    UsageError,
)
from esms_async.delivery import (
    CallbackSigner,
    DeliveryReport,
    DeliveryState,
    InvalidReport,
    OnReport,
    ReportReceiver,
    Result,
)
from esms_async.delivery.reports import report_from_text, report_to_text
from esms_async.emulator import Emulator, Settings
from esms_async.ledger import (
    Entry,
    Ledger,
    MemoryLedger,
    Reason,
    Settlement,
    StoredReport,
)
from esms_async.ledger.base import UnreadableEntry
from esms_async.ledger.transitions import fingerprint
from esms_async.queries import SendStatus, SmsStatus
from tests.delivery.support import SECRET, SIGNER, Handler, query_of
from tests.factories import CREDENTIALS, ONE_ATTEMPT, QUICK, a_message
from tests.ledger.conftest import Clock
from tests.limits import generous


async def receive(
    receiver: ReportReceiver, message: Message, state: str = "delivered", **changes: str
) -> Result:
    """Bring a report as the gateway does."""
    return await receiver.receive(SIGNER.sign(message), query_of(message, state, **changes))


def received(on_report: OnReport, ledger: Ledger | None = None, **options: Any) -> ReportReceiver:
    """Make a receiver."""
    return ReportReceiver(on_report, signer=SIGNER, ledger=ledger, **options)


@pytest.fixture(autouse=True)
def quick_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    for name in ("_FIRST_PAUSE", "_LONGEST_PAUSE", "_FIRST_LEDGER_PAUSE", "_LONGEST_LEDGER_PAUSE"):
        monkeypatch.setattr(f"esms_async.delivery.inbox.{name}", 0.001)
    monkeypatch.setattr("esms_async.delivery.inbox._LONGEST_POLL", 0.01)


# What is handed on.


@pytest.mark.parametrize("state", ["delivered", "failed", "refused"])
async def test_a_final_report_is_handed_on_once(state: str) -> None:
    """However often it comes, the handler gets it once, and each answer is 200."""
    handler, message = Handler(), a_message()
    async with received(handler) as receiver:
        results = [await receive(receiver, message, state) for _ in range(6)]
        await handler.got(1)
    assert results == [Result.STORED, *[Result.REPEATED] * 5]
    assert [(report.request_id, report.state) for report in handler.reports] == [
        (message.request_id, state)
    ]
    assert handler.reports[0].key == f"{message.request_id}#{state}"
    assert {result.status for result in results} == {200}
    assert receiver.counts == {Result.STORED: 1, Result.REPEATED: 5}


async def test_the_answer_does_not_wait_for_the_handler() -> None:
    """A handler that takes its time costs the gateway none."""
    message, proceed, done = a_message(), asyncio.Event(), asyncio.Event()

    async def on_report(report: DeliveryReport) -> None:
        await proceed.wait()
        done.set()

    async with received(on_report) as receiver:
        assert await receive(receiver, message) is Result.STORED
        assert not done.is_set()
        proceed.set()
    assert done.is_set()  # leaving waits for it


async def test_replicas_hand_a_report_on_once() -> None:
    """They share the ledger, and nobody hands on what another has in hand."""
    handler, messages = Handler(), [a_message() for _ in range(20)]
    async with (
        MemoryLedger() as ledger,
        received(handler, ledger) as one,
        received(handler, ledger) as other,
    ):
        for message in messages:
            results = await asyncio.gather(*(receive(each, message) for each in (one, other)))
            assert set(results) == {Result.STORED, Result.REPEATED}
        await handler.got(20)
    assert len({report.key for report in handler.reports}) == len(handler.reports) == 20


async def test_more_reports_than_places_are_all_handed_on() -> None:
    """No more handlers run at once than there are places."""
    running = most = 0
    done: list[str] = []
    finished = asyncio.Event()

    async def on_report(report: DeliveryReport) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        done.append(report.key)
        if len(done) == 50:
            finished.set()

    async with MemoryLedger() as ledger, received(on_report, ledger, concurrency=3) as receiver:
        await asyncio.gather(*(receive(receiver, a_message()) for _ in range(50)))
        await asyncio.wait_for(finished.wait(), generous(10))
    assert most == 3
    assert len(set(done)) == len(done) == 50


async def test_a_report_that_comes_while_others_are_taken_does_not_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All places are kept for those until then; it is taken at once after that."""
    monkeypatch.setattr("esms_async.delivery.inbox._LONGEST_POLL", 1000.0)
    taking, proceed = asyncio.Event(), asyncio.Event()

    class Slow(MemoryLedger):
        async def take_reports(self, limit: int, lease: float) -> list[StoredReport]:
            taken = await super().take_reports(limit, lease)
            taking.set()
            await proceed.wait()
            return taken

    handler = Handler()
    async with Slow() as ledger, received(handler, ledger, timeout=16_000.0) as receiver:
        await taking.wait()
        assert await receive(receiver, a_message()) is Result.STORED
        assert handler.calls == 0
        proceed.set()
        await handler.got(1)


async def test_a_report_on_the_way_is_not_handed_on() -> None:
    """The handler gets final reports alone."""
    handler, message = Handler(), a_message()
    async with received(handler) as receiver:
        assert await receive(receiver, message, "pending") is Result.PENDING
        assert Result.PENDING.status == 200
        assert await receive(receiver, message) is Result.STORED
        await handler.got(1)
    assert [report.state for report in handler.reports] == ["delivered"]


async def test_a_handler_that_fails_gets_the_report_again() -> None:
    """The gateway hears nothing of that, and need not repeat it."""
    handler, message = Handler(failures=4), a_message()
    async with received(handler) as receiver:
        assert await receive(receiver, message) is Result.STORED
        await handler.got(1)
    assert handler.calls == 5


async def test_a_report_that_fails_too_often_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    """It is listed with its last failure, the log says what to do, and a retry hands it on."""
    handler, message = Handler(failures=3), a_message()
    async with MemoryLedger() as ledger, received(handler, ledger, max_failures=3) as receiver:
        await receive(receiver, message)
        (report,) = await until_failed(ledger)
        assert (report.key, report.failures) == (f"{message.request_id}#delivered", 3)
        assert report.detail == "RuntimeError"
        assert "esms-async reports retry LEDGER" in caplog.text
        assert await ledger.retry_report(report.key)
        await handler.got(1)


async def until_failed(ledger: MemoryLedger) -> Sequence[StoredReport]:
    """Wait until a report is kept as failed."""
    async with asyncio.timeout(generous(10)):
        while True:
            if found := [report async for report in ledger.failed_reports()]:
                return found
            await asyncio.sleep(0.001)


async def test_what_a_handler_fails_with_is_logged_without_its_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They may quote the phone; the place of the failure is logged."""
    message = a_message()

    async def on_report(report: DeliveryReport) -> None:
        raise LookupError(message.phone)

    async with MemoryLedger() as ledger, received(on_report, ledger, max_failures=1) as receiver:
        await receive(receiver, message)
        await until_failed(ledger)
    assert "LookupError" in caplog.text
    assert "in on_report" in caplog.text
    assert message.phone not in caplog.text


async def test_a_handler_that_takes_too_long_is_cancelled() -> None:
    """That is a failure as any other."""
    message, cancelled = a_message(), asyncio.Event()

    async def on_report(report: DeliveryReport) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with (
        MemoryLedger() as ledger,
        received(on_report, ledger, timeout=0.02, max_failures=1) as receiver,
    ):
        await receive(receiver, message)
        (report,) = await until_failed(ledger)
    assert cancelled.is_set()
    assert report.detail == "it took too long"


async def test_a_handler_that_cancels_itself_has_failed() -> None:
    """The error of a task of its own does not end the receiver."""
    message = a_message()

    async def on_report(report: DeliveryReport) -> None:
        raise asyncio.CancelledError

    async with MemoryLedger() as ledger, received(on_report, ledger, max_failures=1) as receiver:
        await receive(receiver, message)
        (report,) = await until_failed(ledger)
    assert report.detail == "CancelledError"


async def test_a_receiver_that_is_cancelled_gives_its_reports_back() -> None:
    """A server that has no time to wait leaves them to the next one at once, as no failure."""
    message, under_way = a_message(), asyncio.Event()

    async def on_report(report: DeliveryReport) -> None:
        under_way.set()
        await asyncio.Event().wait()

    async with MemoryLedger() as ledger:
        receiver = received(on_report, ledger)

        async def serve() -> None:
            async with receiver:
                await receive(receiver, message)
                await under_way.wait()

        task = asyncio.create_task(serve())
        while not receiver._closing:  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (report,) = await ledger.take_reports(1, 1)
        assert (report.generation, report.failures) == (2, 0)


async def test_a_report_whose_process_died_is_handed_on() -> None:
    """Once its lease has run out, another receiver takes it."""
    handler, message = Handler(), a_message()
    text = report_to_text(DeliveryReport.from_query(query_of(message)))
    async with MemoryLedger() as ledger:
        await ledger.store_report(f"{message.request_id}#delivered", text, lease=0.05)
        async with received(handler, ledger):
            await handler.got(1)


async def test_a_report_that_kills_its_processes_is_kept_as_failed() -> None:
    """It is not handed on for ever."""
    handler, message = Handler(), a_message()
    text = report_to_text(DeliveryReport.from_query(query_of(message)))
    async with MemoryLedger() as ledger:
        key = f"{message.request_id}#delivered"
        await ledger.store_report(key, text, lease=0.001)
        await ledger.settle_report(key, 1, Settlement(Status.NOT_SENT), failures=2)
        async with received(handler, ledger, max_failures=2):
            (report,) = await until_failed(ledger)
    assert (report.failures, handler.calls) == (2, 0)


async def test_a_report_without_request_id_takes_that_of_its_path() -> None:
    """What the gateway leaves out of the query, the signed path still says."""
    handler, message = Handler(), a_message()
    async with received(handler) as receiver:
        assert await receive(receiver, message, RequestId="") is Result.STORED
        await handler.got(1)
    assert handler.reports[0].request_id == message.request_id


async def test_a_report_from_elsewhere_goes_the_same_way() -> None:
    """What a query of the gateway showed is the same report as the one that it sends itself."""
    handler, message = Handler(), a_message()
    report = DeliveryReport.from_query(query_of(message))
    async with received(handler) as receiver:
        assert await receiver.hand_on(report) is Result.STORED
        assert await receive(receiver, message) is Result.REPEATED
        with pytest.raises(InvalidReport, match="RequestId"):
            await receiver.hand_on(DeliveryReport.from_query(query_of(message, RequestId="")))
        await handler.got(1)
    assert handler.reports == [report]


@pytest.mark.parametrize(
    "report",
    [
        DeliveryReport(
            request_id="order-1",
            sms_id="d8e0",
            state=DeliveryState.DELIVERED,
            send_status=5,
            succeeded=1,
            sent=1,
            receivers=1,
            price=Decimal("850.0000"),
            operator="Viettel",
            phone="0901888484",
        ),
        DeliveryReport(
            request_id="order-1", sms_id=None, state=DeliveryState.REFUSED, send_status=4
        ),
        DeliveryReport(request_id=None, sms_id="a", state=DeliveryState.FAILED, send_status=5),
    ],
)
def test_a_report_is_stored_as_it_is(report: DeliveryReport) -> None:
    """Nothing is lost on the way into the ledger and out."""
    assert report_from_text(report_to_text(report)) == report


async def test_a_receiver_is_entered_once_and_after_its_ledger() -> None:
    """Wrong use is an error that says what is right."""
    ledger, message = MemoryLedger(), a_message()
    receiver = received(Handler(), ledger)
    with pytest.raises(UsageError, match="enter it"):
        await receive(receiver, message)
    with pytest.raises(UsageError, match="enter the ledger first"):
        await receiver.__aenter__()
    async with ledger, receiver:
        with pytest.raises(UsageError, match="entered before"):
            await receiver.__aenter__()
    with pytest.raises(UsageError, match="enter it"):
        await receive(receiver, message)


# A ledger that can't be used.


class Flaky(MemoryLedger):
    """A ledger that is away while a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.away: set[str] = set()
        self.refused = asyncio.Event()

    def _try(self, what: str) -> None:
        if what in self.away:
            self.refused.set()
            raise LedgerError("the server is away")

    async def settle(
        self, request_id: str, generation: int, settlement: Settlement
    ) -> Entry | None:
        """Record what was learned of a message."""
        self._try("settle")
        return await super().settle(request_id, generation, settlement)

    async def store_report(
        self, key: str, text: str, *, lease: float | None = None
    ) -> StoredReport | None:
        """Store a report."""
        self._try("store")
        return await super().store_report(key, text, lease=lease)

    async def take_reports(self, limit: int, lease: float) -> list[StoredReport]:
        """Claim reports."""
        self._try("take")
        return await super().take_reports(limit, lease)

    async def settle_report(
        self,
        key: str,
        generation: int,
        settlement: Settlement,
        *,
        failures: int = 0,
        due_in: float = 0.0,
    ) -> None:
        """Record what became of a report."""
        self._try("record")
        await super().settle_report(key, generation, settlement, failures=failures, due_in=due_in)


@pytest.mark.parametrize("away", ["store", "settle"])
async def test_a_report_is_left_unanswered_while_the_ledger_is_away(away: str) -> None:
    """It is stored as soon as the ledger is back, and handed on once."""
    handler, message = Handler(), a_message()
    async with Flaky() as ledger, received(handler, ledger) as receiver:
        ledger.away = {away, "take"}
        receiving = asyncio.create_task(receive(receiver, message))
        await ledger.refused.wait()
        again = asyncio.create_task(receive(receiver, message))  # the gateway repeats it
        await asyncio.sleep(0.02)
        assert not receiving.done()
        ledger.away = set()
        results = {await receiving, await again}
        await handler.got(1)
    assert Result.UNAVAILABLE not in results
    assert {result.status for result in results} == {200}
    assert len(handler.reports) == 1


async def test_few_reports_are_left_unanswered_and_not_for_ever(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Beyond the bound, and after the time, the answer is 503."""
    handler = Handler()
    async with (
        Flaky() as ledger,
        received(handler, ledger, hold=0.1, max_held=2) as receiver,
    ):
        ledger.away = {"store"}
        tasks = [asyncio.create_task(receive(receiver, a_message())) for _ in range(3)]
        (first,), _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert first is tasks[2]
        results = await asyncio.gather(*tasks)
    assert results == [Result.UNAVAILABLE] * 3
    assert Result.UNAVAILABLE.status == 503
    assert handler.reports == []
    assert "can't be stored now (the server is away)" in caplog.text


async def test_a_receiver_that_is_left_holds_nothing_back() -> None:
    """What waits for the ledger is answered with 503."""
    message = a_message()
    async with Flaky() as ledger:
        async with received(Handler(), ledger) as receiver:
            ledger.away = {"store"}
            receiving = asyncio.create_task(receive(receiver, message))
            await ledger.refused.wait()
        assert await receiving is Result.UNAVAILABLE


async def test_reports_are_taken_again_when_the_ledger_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What came in elsewhere meanwhile is handed on then."""
    handler, message = Handler(), a_message()
    text = report_to_text(DeliveryReport.from_query(query_of(message)))
    async with Flaky() as ledger:
        ledger.away = {"take"}
        async with received(handler, ledger):
            await ledger.store_report(f"{message.request_id}#delivered", text)
            await ledger.refused.wait()
            ledger.away = set()
            await handler.got(1)
    assert caplog.text.count("can't be taken from the ledger") == 1


async def test_an_error_of_the_ledger_does_not_end_the_receiver(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A mistake in a ledger of one's own is logged, and reports are taken again after it."""
    handler, message = Handler(), a_message()

    class Mistaken(MemoryLedger):
        calls = 0

        async def take_reports(self, limit: int, lease: float) -> list[StoredReport]:
            self.calls += 1
            if self.calls == 1:
                raise KeyError(message.phone)
            return await super().take_reports(limit, lease)

    text = report_to_text(DeliveryReport.from_query(query_of(message)))
    async with Mistaken() as ledger:
        await ledger.store_report(f"{message.request_id}#delivered", text)
        async with received(handler, ledger):
            await handler.got(1)
    assert "KeyError" in caplog.text
    assert message.phone not in caplog.text


async def test_a_success_is_recorded_once_the_ledger_is_back() -> None:
    """The report is not handed on again, however long that took."""
    handler, message = Handler(), a_message()
    async with Flaky() as ledger, received(handler, ledger) as receiver:
        ledger.away = {"record", "take"}
        await receive(receiver, message)
        await ledger.refused.wait()
        ledger.away = set()
        async with asyncio.timeout(generous(10)):
            while ledger._reports[handler.reports[0].key].status is not Status.ACCEPTED:  # noqa: ASYNC110  # the ledger tells nobody
                await asyncio.sleep(0.001)
    assert handler.calls == 1


async def test_a_success_that_waits_to_be_recorded_is_not_handed_on_again() -> None:
    """Its lease may run out meanwhile: whoever has a report in hand does not take it once more."""
    handler, message = Handler(), a_message()
    async with Flaky() as ledger, received(handler, ledger, timeout=0.02) as receiver:
        ledger.away = {"record"}
        await receive(receiver, message)
        await handler.got(1)
        generations = set[int]()
        async with asyncio.timeout(generous(20)):
            while len(generations) < 3:  # the lease has run out, twice
                generations |= {report.generation for report in ledger._reports.values()}
                await asyncio.sleep(0.001)
        ledger.away = set()
    assert handler.calls == 1
    assert [report.status for report in ledger._reports.values()] == [Status.ACCEPTED]


async def test_a_success_that_cannot_be_recorded_ends_with_its_receiver(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A service that ends does not wait for ever; the report is handed on again."""
    async with Flaky() as ledger, received(Handler(), ledger, timeout=0.05) as receiver:
        ledger.away = {"record"}
        await receive(receiver, a_message())
        await ledger.refused.wait()
    assert "it is accepted, which can't be recorded (the server is away)" in caplog.text


async def test_an_unreadable_report_is_not_recorded_for_ever(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What no attempt would change is tried once."""

    class Broken(MemoryLedger):
        async def settle_report(self, *_: object, **__: object) -> None:
            raise UnreadableEntry("it holds something else")

    async with Broken() as ledger, received(Handler(), ledger) as receiver:
        await receive(receiver, a_message())
    assert "can't be recorded (it holds something else)" in caplog.text


async def test_a_send_whose_entry_is_unreadable_keeps_no_report_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The report is handed on, and the log names the entry."""

    class Broken(MemoryLedger):
        async def settle(self, *_: object) -> Entry | None:
            raise UnreadableEntry("it holds something else")

    handler = Handler()
    async with Broken() as ledger, received(handler, ledger) as receiver:
        assert await receive(receiver, a_message()) is Result.STORED
        await handler.got(1)
    assert "it holds something else" in caplog.text


# Confirmed by the gateway.


def a_status(send_status: SendStatus, *, succeeded: int = 0, failed: int = 0) -> SmsStatus:
    """Make the gateway's answer."""
    return SmsStatus("d8e0", send_status, succeeded=succeeded, failed=failed)


async def test_a_report_waits_for_its_confirmation() -> None:
    """It is handed on when the gateway says the same, and only then."""
    handler, message = Handler(), a_message()
    answers = iter(
        [
            None,
            a_status(SendStatus.SENT),
            a_status(SendStatus.FINISHED, failed=1),
            a_status(SendStatus.FINISHED, succeeded=1),
        ]
    )
    asked: list[str] = []

    async def confirm(sms_id: str) -> SmsStatus | None:
        assert handler.reports == []
        asked.append(sms_id)
        return next(answers)

    async with received(handler, confirm=confirm) as receiver:
        await receive(receiver, message)
        await handler.got(1)
    assert asked == ["d8e0"] * 4


async def test_a_forged_result_is_kept_as_failed() -> None:
    """Whoever knows a message's CallbackUrl can't make up what became of it."""
    handler, message = Handler(), a_message()

    async def confirm(sms_id: str) -> SmsStatus:
        assert sms_id == "a1b2"  # that of the ledger, not that of the report
        return a_status(SendStatus.FINISHED, failed=1)

    async with MemoryLedger() as ledger:
        await claim(ledger, message)
        await ledger.settle(message.request_id, 1, Settlement(Status.ACCEPTED, sms_id="a1b2"))
        async with received(handler, ledger, confirm=confirm, max_failures=2) as receiver:
            await receive(receiver, message)
            (report,) = await until_failed(ledger)
    assert report.detail == "the gateway did not confirm it"
    assert handler.calls == 0


async def test_without_an_smsid_nothing_is_confirmed() -> None:
    """There is nothing to ask for."""
    handler = Handler()

    async def confirm(sms_id: str) -> SmsStatus:
        raise AssertionError

    async with (
        MemoryLedger() as ledger,
        received(handler, ledger, confirm=confirm, max_failures=1) as receiver,
    ):
        await receive(receiver, a_message(), SMSID="")
        (report,) = await until_failed(ledger)
    assert report.detail == "the gateway did not confirm it"


async def test_the_client_confirms_a_report() -> None:
    """`EsmsClient.status` is what asks."""
    handler, message = Handler(), a_message()
    async with (
        Emulator(settings=Settings(report_delay=0.01)) as gateway,
        EsmsClient(CREDENTIALS, base_url=gateway.url, retry=QUICK) as client,
        received(handler, confirm=client.status) as receiver,
    ):
        receipt = await client.send(message)
        assert receipt.sms_id is not None
        await receive(receiver, message, SMSID=receipt.sms_id)
        await handler.got(1)


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
    """What proves nothing is answered as a path where nothing is, and no handler gets it."""
    handler = Handler()
    async with MemoryLedger() as ledger:
        await ledger.claim(MESSAGE, fingerprint(MESSAGE, b"key"))
        async with received(handler, ledger) as receiver:
            assert await receiver.receive(segment, query) is result
        entry = await ledger.look_up("order-1")
    assert entry is not None
    assert entry.status is Status.UNKNOWN
    assert handler.reports == []
    assert receiver.counts == {result: 1}
    assert result.status == (404 if result is Result.REFUSED else 400)


async def test_no_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The log of damage and of failures shows neither the phone number nor the signature."""
    message = a_message()
    handler = Handler(failures=1)
    with caplog.at_level(logging.DEBUG):
        async with received(handler) as receiver:
            await receive(receiver, message)
            await receive(receiver, message, SendStatus="x")
            await handler.got(1)
    assert "handing it on failed" in caplog.text
    assert "SendStatus" in caplog.text
    assert message.phone not in caplog.text
    assert SIGNER.sign(message).rpartition(".")[2] not in caplog.text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("signer", None),
        ("timeout", 0),
        ("hold", 0),
        ("concurrency", 0),
        ("max_failures", 0),
        ("max_held", 0),
    ],
)
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
        async with received(Handler(), ledger) as receiver:
            await receive(receiver, message, state)
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
        async with received(Handler(), ledger) as receiver:
            await receive(receiver, message)
        entry = await ledger.look_up(message.request_id)
    assert entry is not None
    assert (entry.status, entry.sms_id) == (Status.ACCEPTED, sms_id)


async def test_a_report_of_an_unknown_message_is_handed_on() -> None:
    """A message that was sent without this ledger has its report too."""
    handler, message = Handler(), a_message()
    async with MemoryLedger() as ledger:
        async with received(handler, ledger) as receiver:
            assert await receive(receiver, message) is Result.STORED
            await handler.got(1)
        assert await ledger.look_up(message.request_id) is None


async def test_a_ledger_that_keeps_no_reports_is_settled_all_the_same() -> None:
    """The receiver then stores reports in memory."""

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
        async with received(handler, BareLedger(ledger)) as receiver:
            assert await receive(receiver, message) is Result.STORED
            assert await receive(receiver, message) is Result.REPEATED
            await handler.got(1)
        entry = await ledger.look_up(message.request_id)
        assert ledger._reports == {}
    assert entry is not None
    assert entry.status is Status.ACCEPTED
    assert len(handler.reports) == 1


async def test_memory_of_its_own_is_bounded(clock: Clock) -> None:
    """Without a ledger, what is remembered goes with the time for which signatures are valid."""
    handler = Handler()
    receiver = received(handler)
    ledger = receiver._memory
    ledger._clock = clock
    async with receiver:
        for _ in range(100):
            await receive(receiver, a_message())
        await handler.got(100)
        clock.advance(49 * 3600)
        for _ in range(60):
            await receive(receiver, a_message())
        await handler.got(160)
        assert len(ledger._reports) == 60


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
        gateway.fault("reset,phase=after,times=1")
        async with (
            EsmsClient(
                CREDENTIALS, base_url=gateway.url, ledger=ledger, retry=ONE_ATTEMPT
            ) as client,
            received(handler, ledger) as receiver,
        ):
            with pytest.raises(OutcomeUnknown):
                await client.send(message)
            assert await receive(receiver, message) is Result.STORED
            requests = len(gateway.requests)
            receipt = await client.send(message)
            assert (receipt.sms_id, len(gateway.requests)) == ("d8e0", requests)


async def test_a_report_before_the_answer_is_right_too() -> None:
    """A send under way whose report came first ends with the receipt that it would have."""
    handler, message = Handler(), a_message()
    async with MemoryLedger() as ledger, Emulator() as gateway:
        gateway.fault("delay:200ms,phase=after,times=1")
        async with (
            EsmsClient(
                CREDENTIALS, base_url=gateway.url, ledger=ledger, retry=ONE_ATTEMPT
            ) as client,
            received(handler, ledger) as receiver,
        ):
            sending = asyncio.create_task(client.send(message))
            sms_id = (await gateway.wait_for(request_id=message.request_id)).sms_id
            assert await receive(receiver, message, SMSID=sms_id) is Result.STORED
            assert not sending.done()
            receipt = await sending
            entry = await ledger.look_up(message.request_id)
    assert entry is not None
    assert (receipt.sms_id, entry.sms_id, entry.status) == (sms_id, sms_id, Status.ACCEPTED)
