"""One client at work: its sends, its life, and what a cancelled caller is told."""

import asyncio
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from aiolimiter import AsyncLimiter
from aioresponses import aioresponses
from tenacity import wait_fixed, wait_none

from esms_async import (
    AccountRejected,
    ConfigurationError,
    Credentials,
    DuplicateRequestId,
    EsmsClient,
    EsmsError,
    Evidence,
    InvalidMessage,
    Message,
    NotSent,
    OutcomeUnknown,
    Rejected,
    RequestIdConflict,
    RetryPolicy,
)
from esms_async._wire.send import SEND_OPERATION
from tests.factories import API_KEY, CREDENTIALS, ONE_ATTEMPT, QUICK, SECRET_KEY, a_message
from tests.limits import generous
from tests.scripted_gateway import Exchange, ScriptedGateway, Step, accept
from tests.steps import (
    Paused,
    answer,
    busy,
    callers_of,
    cancelled_with,
    code,
    duplicate,
    forbidden,
    hang,
    no_balance,
    reset,
    take_and_reset,
)

ENVIRONMENT = {"ESMS_API_KEY": API_KEY, "ESMS_SECRET_KEY": SECRET_KEY}
URL = f"http://127.0.0.1:1/{SEND_OPERATION}"


def a_client(gateway: ScriptedGateway, retry: RetryPolicy = QUICK) -> EsmsClient:
    """Make a client of the gateway."""
    return EsmsClient(CREDENTIALS, base_url=gateway.url, retry=retry)


async def test_the_body_holds_the_documented_fields(gateway: ScriptedGateway) -> None:
    """What arrives at the gateway is the request that the documents describe."""
    message = Message(
        "+84 901 888 484",
        "Mã của bạn: 686868",
        campaign_id="spring",
        callback_url="https://example.com/report",
        send_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )
    async with a_client(gateway) as client:
        await client.send(message)
    assert json.loads(gateway.bodies[0]) == {
        "ApiKey": API_KEY,
        "SecretKey": SECRET_KEY,
        "Phone": "0901888484",
        "Content": "Mã của bạn: 686868",
        "SmsType": "8",
        "IsUnicode": "1",
        "Sandbox": "0",
        "RequestId": message.request_id,
        "campaignid": "spring",
        "CallbackUrl": "https://example.com/report",
        "SendDate": "2026-01-02 10:04:05",
    }
    head = gateway.heads[0].lower()
    assert b"content-type: application/json" in head
    assert b"accept-encoding: identity" in head


async def test_options_of_the_client_go_into_each_request(stubbed: aioresponses) -> None:
    """Sandbox, callback URL and the JSON hooks of the client are used."""
    bodies: list[bytes] = []
    stubbed.post(URL, body=b"ignored")

    def dumps(fields: Mapping[str, object]) -> bytes:
        bodies.append(orjson.dumps(dict(fields)))
        return bodies[-1]

    async with EsmsClient(
        CREDENTIALS,
        base_url="http://127.0.0.1:1/",
        sandbox=True,
        callback_url="https://example.com/all",
        dumps=dumps,
        loads=lambda body: {"CodeResult": 100, "SMSID": body.decode()},
    ) as client:
        receipt = await client.send(a_message())
    assert receipt.sms_id == "ignored"
    sent = json.loads(bodies[0])
    assert (sent["Sandbox"], sent["CallbackUrl"]) == ("1", "https://example.com/all")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"CodeResult":"101","ErrorMessage":"Authorize Failed"}', AccountRejected),
        (b'{"CodeResult":"103"}', AccountRejected),
        (b'{"CodeResult":"108"}', Rejected),
        (b'{"CodeResult":146,"SMSID":"a1"}', Rejected),
        (b'{"CodeResult":"4711"}', Rejected),
    ],
)
async def test_a_coded_rejection_is_raised_at_once(
    gateway: ScriptedGateway, body: bytes, kind: type[Rejected]
) -> None:
    """A rejection is not tried again, and carries the code."""
    gateway.script.append(answer(body))
    async with a_client(gateway) as client:
        with pytest.raises(Rejected) as caught:
            await client.send(a_message())
    assert type(caught.value) is kind
    assert caught.value.code == str(json.loads(body)["CodeResult"])
    assert caught.value.status == 200
    assert len(gateway.bodies) == 1


async def test_a_rejection_of_the_message_stands_after_a_lost_answer(
    gateway: ScriptedGateway,
) -> None:
    """The first attempt would have met the same rejection, so nothing was accepted."""
    gateway.script.extend([reset, code("201")])
    async with a_client(gateway) as client:
        with pytest.raises(Rejected) as caught:
            await client.send(a_message())
    assert (caught.value.code, len(caught.value.attempts)) == ("201", 2)


@pytest.mark.parametrize(
    "refusal",
    [
        no_balance,
        code("99"),
        code("143"),
        code("4711"),
        code("103", 402),
        forbidden,
        answer(b"", 404),
    ],
    ids=["balance", "blocked phone", "lock", "unlisted", "balance in a 402", "403", "404"],
)
async def test_a_refusal_of_the_sender_after_a_lost_answer_proves_nothing(
    gateway: ScriptedGateway, refusal: Step
) -> None:
    """The lost answer may have been an acceptance, so the outcome is unknown, and says why."""
    message = a_message()
    gateway.script.extend([take_and_reset, refusal])
    async with a_client(gateway) as client:
        with pytest.raises(OutcomeUnknown) as caught:
            await client.send(message)
    assert caught.value.rejection is not None
    assert caught.value.__cause__ is caught.value.rejection
    assert gateway.accepted[message.request_id] == 1
    assert len(gateway.bodies) == 2


async def test_a_used_request_id_without_a_known_attempt_is_unknown(
    gateway: ScriptedGateway,
) -> None:
    """124 on a first attempt proves nothing, and sending again could only bring 124 again."""
    message = a_message()
    async with a_client(gateway) as client:
        await client.send(message)
    async with a_client(gateway) as client:
        for again in (client.send, client.send, client.resume):
            with pytest.raises(DuplicateRequestId, match="124") as caught:
                await again(message)
    assert isinstance(caught.value, OutcomeUnknown)
    assert len(gateway.bodies) == 2


async def test_a_used_request_id_is_acceptance_to_who_knows_of_an_attempt(
    gateway: ScriptedGateway,
) -> None:
    """A client that is told to resume reads 124 as the acceptance that it is."""
    message = a_message()
    async with a_client(gateway) as client:
        await client.send(message)
    async with a_client(gateway) as client:
        receipt = await client.resume(message)
    assert (receipt.deduplicated, receipt.sms_id) == (True, None)
    assert gateway.accepted[message.request_id] == 1


async def test_all_attempts_carry_one_request_id(gateway: ScriptedGateway) -> None:
    """However often it is tried, a message has one RequestId."""
    message = a_message()
    gateway.script.extend([reset, busy, answer(b"junk")])
    async with a_client(gateway) as client:
        receipt = await client.send(message)
    assert len(receipt.attempts) == 4
    assert {json.loads(body)["RequestId"] for body in gateway.bodies} == {message.request_id}


async def test_attempts_tell_what_happened(gateway: ScriptedGateway) -> None:
    """Each attempt tells when it began, how long it took and what it got."""
    gateway.script.extend([answer(b"", 503, "Retry-After: 0\r\n"), answer(b"junk")])
    before = datetime.now(UTC)
    async with a_client(gateway) as client:
        receipt = await client.send(a_message())
    busy, junk, taken = receipt.attempts
    assert (busy.evidence, busy.status, busy.retry_after) == (Evidence.MAY_HAVE_ARRIVED, 503, 0.0)
    assert (junk.evidence, junk.status, junk.code) == (Evidence.MAY_HAVE_ARRIVED, 200, None)
    assert (taken.evidence, taken.status, taken.code) == (Evidence.ACCEPTED, 200, "100")
    assert before <= busy.started_at <= junk.started_at <= taken.started_at <= datetime.now(UTC)
    assert all(attempt.duration > 0 for attempt in receipt.attempts)


async def test_giving_up_is_unknown_after_any_attempt_that_may_have_arrived(
    gateway: ScriptedGateway,
) -> None:
    """One ambiguous attempt among unsent ones leaves the outcome unknown."""

    async def take_and_vanish(exchange: Exchange) -> None:
        gateway.stop_listening()
        await take_and_reset(exchange)

    gateway.script.append(take_and_vanish)
    async with a_client(gateway) as client:
        with pytest.raises(OutcomeUnknown) as caught:
            await client.send(a_message())
    assert [attempt.evidence for attempt in caught.value.attempts] == [
        Evidence.MAY_HAVE_ARRIVED,
        *[Evidence.NOTHING_LEFT] * 3,
    ]


async def test_giving_up_is_not_sent_when_no_attempt_left(unused_tcp_port: int) -> None:
    """Attempts that sent nothing are tried again, and end as not sent."""
    url = f"http://127.0.0.1:{unused_tcp_port}/"
    async with EsmsClient(CREDENTIALS, base_url=url, retry=QUICK) as client:
        with pytest.raises(NotSent) as caught:
            await client.send(a_message())
    assert len(caught.value.attempts) == 4
    assert isinstance(caught.value, ConnectionError)


async def test_the_deadline_bounds_the_whole_send(gateway: ScriptedGateway) -> None:
    """A hanging attempt is cut at the deadline, even where an attempt alone may take longer."""
    gateway.script.append(hang)
    retry = RetryPolicy(deadline=3.0, attempt_timeout=600)
    async with a_client(gateway, retry) as client:
        with pytest.raises(OutcomeUnknown) as caught:
            await asyncio.wait_for(client.send(a_message()), generous(30))
    assert len(caught.value.attempts) == 1


async def test_no_pause_goes_past_the_deadline(gateway: ScriptedGateway) -> None:
    """Where the pause would end after the deadline, the send gives up at once."""
    gateway.script.append(answer(b"", 503, "Retry-After: 3600\r\n"))
    async with a_client(gateway) as client:
        with pytest.raises(OutcomeUnknown) as caught:
            await asyncio.wait_for(client.send(a_message()), timeout=generous(20))
    assert len(caught.value.attempts) == 1


async def test_an_expired_message_is_not_sent(gateway: ScriptedGateway) -> None:
    """No attempt starts once nobody can use the code any more."""
    message = Message(
        "0901888484", "686868", expires_at=datetime.now(UTC) - timedelta(milliseconds=1)
    )
    async with a_client(gateway) as client:
        with pytest.raises(NotSent, match="expires_at"):
            await client.send(message)
        with pytest.raises(OutcomeUnknown, match="expires_at"):
            await client.resume(message)
    assert gateway.bodies == []


async def test_no_further_attempt_starts_after_expiry(gateway: ScriptedGateway) -> None:
    """An attempt under way at expiry may finish; a further one does not start."""
    message = Message("0901888484", "686868", expires_at=datetime.now(UTC) + timedelta(seconds=5))
    gateway.script.append(reset)
    async with a_client(gateway, RetryPolicy(wait=wait_fixed(6))) as client:
        with pytest.raises(OutcomeUnknown) as caught:
            await client.send(message)
    assert len(caught.value.attempts) == 1


async def test_each_attempt_waits_for_the_limiter(gateway: ScriptedGateway) -> None:
    """A retry pays the limiter again."""
    limiter = AsyncLimiter(100, 60)
    gateway.script.append(reset)
    async with EsmsClient(
        CREDENTIALS, base_url=gateway.url, retry=QUICK, limiter=limiter
    ) as client:
        await client.send(a_message())
    assert limiter._level > 1.5


async def test_waiting_for_the_limiter_counts_against_the_deadline(
    gateway: ScriptedGateway,
) -> None:
    """A send that the limiter never lets through is not sent."""
    limiter = asyncio.Semaphore(0)
    async with EsmsClient(
        CREDENTIALS, base_url=gateway.url, retry=RetryPolicy(deadline=0.1), limiter=limiter
    ) as client:
        with pytest.raises(NotSent, match="limiter"):
            await client.send(a_message())
    assert gateway.bodies == []


async def test_a_semaphore_as_limiter_is_given_back(gateway: ScriptedGateway) -> None:
    """The limiter's place is given back after each attempt, failed ones included."""
    limiter = asyncio.Semaphore(1)
    gateway.script.append(reset)
    async with EsmsClient(
        CREDENTIALS, base_url=gateway.url, retry=QUICK, limiter=limiter
    ) as client:
        await client.send(a_message())
        await client.send(a_message())
    assert not limiter.locked()


async def test_a_cancellation_before_the_write_says_not_sent(gateway: ScriptedGateway) -> None:
    """A caller cancelled while it waits for a connection is told that nothing left."""
    gateway.script.append(hang)
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, max_connections=1) as client:
        first = asyncio.create_task(client.send(a_message()))
        await gateway.hanging.wait()
        second = asyncio.create_task(client.send(a_message()))
        await asyncio.sleep(0)
        assert isinstance(await cancelled_with(second), NotSent)
        assert isinstance(await cancelled_with(first), OutcomeUnknown)
    assert len(gateway.bodies) == 1


async def test_a_cancellation_after_the_write_says_unknown(gateway: ScriptedGateway) -> None:
    """A caller cancelled while the gateway has the request is told that it may have arrived."""
    message = a_message()
    gateway.script.append(hang)
    async with a_client(gateway) as client:
        task = asyncio.create_task(client.send(message))
        await gateway.hanging.wait()
        unknown = await cancelled_with(task)
        assert isinstance(unknown, OutcomeUnknown)
        assert [attempt.evidence for attempt in unknown.attempts] == [Evidence.MAY_HAVE_ARRIVED]
        receipt = await client.resume(unknown.message)
    assert receipt.deduplicated
    assert gateway.accepted[message.request_id] == 1


@pytest.mark.parametrize(("step", "kind"), [(reset, OutcomeUnknown), (None, NotSent)])
async def test_a_cancellation_between_attempts_says_what_they_left(
    gateway: ScriptedGateway, step: Step | None, kind: type[EsmsError]
) -> None:
    """A caller cancelled during a pause is told what the attempts before it leave possible."""
    pausing = asyncio.Event()

    def pause(_: object) -> float:
        pausing.set()
        return 20.0

    if step is None:
        gateway.stop_listening()
    else:
        gateway.script.append(step)
    async with a_client(gateway, RetryPolicy(wait=pause)) as client:
        task = asyncio.create_task(client.send(a_message()))
        await pausing.wait()
        await asyncio.sleep(0)
        assert isinstance(await cancelled_with(task), kind)


async def test_a_cancellation_while_waiting_for_the_limiter_says_not_sent(
    gateway: ScriptedGateway,
) -> None:
    """A caller cancelled before its turn is told that nothing left."""
    async with EsmsClient(
        CREDENTIALS, base_url=gateway.url, limiter=asyncio.Semaphore(0)
    ) as client:
        task = asyncio.create_task(client.send(a_message()))
        await asyncio.sleep(0)
        assert isinstance(await cancelled_with(task), NotSent)


async def test_a_timeout_around_a_send_tells_what_is_true(gateway: ScriptedGateway) -> None:
    """The TimeoutError of `asyncio.timeout` leads back to the OutcomeUnknown."""
    gateway.script.append(hang)
    limit = asyncio.timeout(None)

    async def let_it_run_out() -> None:
        await gateway.hanging.wait()
        limit.reschedule(asyncio.get_running_loop().time())

    async with a_client(gateway) as client:
        running_out = asyncio.create_task(let_it_run_out())
        with pytest.raises(TimeoutError) as caught:
            async with limit:
                await client.send(a_message())
        await running_out
    # Before Python 3.11.4 the cancellation is the context alone, not the cause.
    cancelled = caught.value.__cause__ or caught.value.__context__
    assert cancelled is not None
    assert isinstance(cancelled.__cause__, OutcomeUnknown)


async def test_a_cancellation_never_turns_into_a_retry(gateway: ScriptedGateway) -> None:
    """After a cancellation the gateway is not asked again."""
    gateway.script.append(hang)
    async with a_client(gateway) as client:
        task = asyncio.create_task(client.send(a_message()))
        await gateway.hanging.wait()
        await cancelled_with(task)
    assert len(gateway.bodies) == 1


async def test_closing_waits_for_what_is_in_flight(gateway: ScriptedGateway) -> None:
    """A send under way at close is brought to its outcome, retries included."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow_reset(exchange: Exchange) -> None:
        asked.set()
        await go_on.wait()
        await take_and_reset(exchange)

    gateway.script.append(slow_reset)
    client = a_client(gateway)
    sends = [asyncio.create_task(client.send(a_message())) for _ in range(3)]
    await asked.wait()
    closing = asyncio.create_task(client.aclose())
    await asyncio.sleep(0)
    with pytest.raises(NotSent, match="closed"):
        await client.send(a_message())
    go_on.set()
    await closing
    receipts = [task.result() for task in sends]
    assert sum(receipt.deduplicated for receipt in receipts) == 1
    await client.aclose()


async def test_a_cancelled_close_ends_what_is_in_flight(gateway: ScriptedGateway) -> None:
    """Cancelling the close closes the connections, and each send ends with what is true of it."""
    gateway.script.append(hang)
    client = a_client(gateway, ONE_ATTEMPT)
    send = asyncio.create_task(client.send(a_message()))
    await gateway.hanging.wait()
    closing = asyncio.create_task(client.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    with pytest.raises(OutcomeUnknown):
        await send


def test_a_client_made_outside_an_event_loop_works_inside_one(unused_tcp_port: int) -> None:
    """A client can be a module's constant, and be opened by `asyncio.run`."""
    gateway = ScriptedGateway(port=unused_tcp_port)
    client = EsmsClient(CREDENTIALS, base_url=gateway.url)

    async def use() -> str | None:
        async with gateway, client:
            return (await client.send(a_message())).sms_id

    assert asyncio.run(use()) == "d8e0"


async def test_the_same_message_under_way_is_sent_once(gateway: ScriptedGateway) -> None:
    """Tasks that send one Message at once share one request and one result."""
    message = a_message()
    async with a_client(gateway) as client:
        receipts = await asyncio.gather(*(client.send(message) for _ in range(10)))
    assert len(gateway.bodies) == 1
    assert len(set(receipts)) == 1


async def test_an_error_is_shared_too(gateway: ScriptedGateway) -> None:
    """Each of the tasks gets the same rejection, as an object of its own."""
    message = a_message()
    gateway.script.append(code("108"))
    async with a_client(gateway) as client:
        errors = await asyncio.gather(
            *(client.send(message) for _ in range(3)), return_exceptions=True
        )
    assert [type(error) for error in errors] == [Rejected] * 3
    assert len({id(error) for error in errors}) == 3
    assert len(gateway.bodies) == 1


async def test_cancelling_callers_of_a_shared_send_costs_the_others_nothing(
    gateway: ScriptedGateway,
) -> None:
    """If any caller is cancelled, even the first, the one request goes on for the others."""
    message, step = a_message(), Paused(accept)
    gateway.script.append(step)
    async with a_client(gateway) as client:
        first, second, third = await callers_of(client, message, step, others=2)
        assert isinstance(await cancelled_with(third), OutcomeUnknown)
        assert isinstance(await cancelled_with(first), OutcomeUnknown)
        step.go_on.set()
        receipt = await second
        assert await client.send(message) is receipt
    assert (receipt.sms_id, receipt.deduplicated) == ("d8e0", False)
    assert len(gateway.bodies) == 1


async def test_resuming_a_message_under_way_lends_it_its_history(
    gateway: ScriptedGateway,
) -> None:
    """What one caller knows of an earlier attempt serves the send under way."""
    message, step = a_message(), Paused(duplicate)
    gateway.script.append(step)
    async with a_client(gateway) as client:
        send = asyncio.create_task(client.send(message))
        await step.came.wait()
        resume = asyncio.create_task(client.resume(message))
        await asyncio.sleep(0)
        step.go_on.set()
        assert (await resume).deduplicated
        assert (await send).deduplicated


async def test_a_resume_of_an_old_id_lends_its_history_too(
    gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The id's age says nothing of when the attempt was made that the caller knows of."""
    message, step = a_message(), Paused(duplicate)
    gateway.script.append(step)
    async with a_client(gateway) as client:
        send = asyncio.create_task(client.send(message))
        await step.came.wait()
        wall = time.time
        monkeypatch.setattr(time, "time", lambda: wall() + 25 * 3600)
        resume = asyncio.create_task(client.resume(message))
        await asyncio.sleep(0)
        step.go_on.set()
        for task in (resume, send):
            assert (await task).deduplicated


async def test_one_request_id_for_two_texts_is_a_conflict(gateway: ScriptedGateway) -> None:
    """A RequestId under way is not lent to another phone or content."""
    gateway.script.append(hang)
    message = a_message()
    others = [
        Message("0901888485", message.content, request_id=message.request_id),
        Message(message.phone, "another text", request_id=message.request_id),
    ]
    async with a_client(gateway) as client:
        task = asyncio.create_task(client.send(message))
        await gateway.hanging.wait()
        for other in others:
            with pytest.raises(RequestIdConflict):
                await client.send(other)
        await cancelled_with(task)
    assert len(gateway.bodies) == 1


async def test_one_client_serves_many_tasks_at_once(gateway: ScriptedGateway) -> None:
    """Heavy concurrent use of one client keeps every message and every outcome apart."""
    script: list[Step] = [reset, take_and_reset, busy, answer(b"junk")]
    gateway.script.extend(script * 50)
    messages = [a_message(f"09{number:08}") for number in range(500)]
    retry = RetryPolicy(attempts=30, wait=wait_none())
    async with a_client(gateway, retry) as client:
        receipts = await asyncio.gather(*map(client.send, messages))
    assert [receipt.request_id for receipt in receipts] == [m.request_id for m in messages]
    assert all(gateway.accepted[message.request_id] == 1 for message in messages)
    lost = sum(receipt.deduplicated for receipt in receipts)
    assert 0 < lost <= 50


@pytest.mark.parametrize("message", [None, "0901888484", {"phone": "0901888484"}])
async def test_only_a_message_can_be_sent(gateway: ScriptedGateway, message: Message) -> None:
    """Anything but a Message is refused in words, and nothing is sent."""
    async with a_client(gateway) as client:
        with pytest.raises(InvalidMessage, match="not a Message"):
            await client.send(message)
    assert gateway.bodies == []


async def test_a_client_from_the_environment(gateway: ScriptedGateway) -> None:
    """Keys, base URL and sandbox come from variables."""
    environment = {**ENVIRONMENT, "ESMS_BASE_URL": gateway.url, "ESMS_SANDBOX": "1"}
    async with EsmsClient.from_env(environment, retry=QUICK) as client:
        await client.send(a_message())
    sent = json.loads(gateway.bodies[0])
    assert (sent["ApiKey"], sent["SecretKey"], sent["Sandbox"]) == (API_KEY, SECRET_KEY, "1")


async def test_arguments_win_over_the_environment(
    gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the code says goes before what the process's environment says."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ESMS_BASE_URL", "https://elsewhere.invalid/")
    monkeypatch.setenv("ESMS_SANDBOX", "yes")
    async with EsmsClient.from_env(base_url=gateway.url, sandbox=False) as client:
        await client.send(a_message())
    assert json.loads(gateway.bodies[0])["Sandbox"] == "0"


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "ESMS_API_KEY and ESMS_SECRET_KEY"),
        ({"ESMS_API_KEY": API_KEY}, "variable ESMS_SECRET_KEY"),
        ({**ENVIRONMENT, "ESMS_API_KEY": ""}, "variable ESMS_API_KEY"),
        ({**ENVIRONMENT, "ESMS_SECRET_KEY": " key"}, "secret_key has white space"),
        ({**ENVIRONMENT, "ESMS_SANDBOX": "maybe"}, "ESMS_SANDBOX must be 1 or 0"),
        ({**ENVIRONMENT, "ESMS_BASE_URL": "http://rest.esms.vn"}, "base_url must be https"),
    ],
)
def test_an_environment_that_cannot_work_is_refused(
    environment: dict[str, str], words: str
) -> None:
    """The error names the variable, and never shows a key."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        EsmsClient.from_env(environment)
    assert API_KEY not in str(caught.value)


def test_arguments_that_cannot_work_are_refused() -> None:
    """The error names the argument."""
    with pytest.raises(ConfigurationError, match="credentials must be a Credentials"):
        EsmsClient(("key", "secret"))  # type: ignore[arg-type]  # the wrong type is the point
    with pytest.raises(ConfigurationError, match="max_connections"):
        EsmsClient(CREDENTIALS, max_connections=0)
    with pytest.raises(ConfigurationError, match="retry must be a RetryPolicy"):
        EsmsClient(CREDENTIALS, retry=3)  # type: ignore[arg-type]  # the wrong type is the point
    with pytest.raises(ConfigurationError, match="callback_url"):
        EsmsClient(CREDENTIALS, callback_url="nowhere")


def test_the_repr_of_a_client_shows_no_key() -> None:
    """Only where it sends to is shown."""
    client = EsmsClient(Credentials("first-key", "second-key"))
    assert repr(client) == "EsmsClient(base_url='https://rest.esms.vn/MainService.svc/json/')"


async def test_an_unexpected_error_abandons_the_send(gateway: ScriptedGateway) -> None:
    """A hook that fails raises its own error, and leaves nothing behind."""

    def broken(_: object) -> bytes:
        raise ZeroDivisionError

    message = a_message()
    async with EsmsClient(CREDENTIALS, base_url=gateway.url, dumps=broken) as client:
        with pytest.raises(ZeroDivisionError):
            await client.send(message)
        with pytest.raises(ZeroDivisionError):
            await client.send(message)


async def test_a_policy_that_fails_does_not_hide_what_is_true(gateway: ScriptedGateway) -> None:
    """An error of the caller's own retry object is the cause of the outcome, not its end."""

    def broken(_: object) -> bool:
        raise ZeroDivisionError

    gateway.script.append(take_and_reset)
    async with a_client(gateway, RetryPolicy(retry=broken)) as client:
        with pytest.raises(OutcomeUnknown, match="the retry policy failed") as caught:
            await client.send(a_message())
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("hosts", ["emulator", "other, EMULATOR"])
def test_plain_http_goes_to_the_hosts_that_the_environment_names(
    hosts: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An emulator in another container is reached, and a warning says that keys go in clear."""
    environ = {
        "ESMS_API_KEY": API_KEY,
        "ESMS_SECRET_KEY": SECRET_KEY,
        "ESMS_BASE_URL": "http://emulator:8026/MainService.svc/json/",
        "ESMS_ALLOW_HTTP": hosts,
    }
    assert "http://emulator:8026" in repr(EsmsClient.from_env(environ))
    assert "KEYS AND MESSAGES GO IN CLEAR to http://emulator" in caplog.text
    for other in ("http://emulator.example/", "http://emulator2/", "http://10.0.0.1/"):
        with pytest.raises(ConfigurationError, match="ESMS_ALLOW_HTTP"):
            EsmsClient.from_env({**environ, "ESMS_BASE_URL": other})


@pytest.mark.parametrize(
    "host", ["rest.esms.vn", "REST.ESMS.VN", "esms.vn", "http://emulator", "emulator:8026", "*", ""]
)
def test_plain_http_to_the_gateway_is_never_allowed(host: str) -> None:
    """A name under esms.vn is refused, and so is what is not a name; the error shows it."""
    with pytest.raises(ConfigurationError, match="allow_http must"):
        EsmsClient(CREDENTIALS, base_url="http://rest.esms.vn/", allow_http=[host])
    with pytest.raises(ConfigurationError, match="allow_http must be a list"):
        EsmsClient(CREDENTIALS, allow_http="emulator")


async def test_a_view_has_a_place_of_its_own_for_reports(gateway: ScriptedGateway) -> None:
    """`with_options(callback_url=…)` marks its sends alone, and closing a view closes nothing."""
    async with EsmsClient(CREDENTIALS, base_url=gateway.url) as client:
        view = client.with_options(callback_url="https://example.com/report")
        await view.send(a_message())
        await view.aclose()
        await client.send(a_message())
    assert [b"https://example.com/report" in body for body in gateway.bodies] == [True, False]


async def test_closing_waits_for_a_send_that_nobody_listens_to(gateway: ScriptedGateway) -> None:
    """What is in flight comes to its outcome before the connections are closed."""
    paused = Paused(accept)
    gateway.script.append(paused)
    client = EsmsClient(CREDENTIALS, base_url=gateway.url)
    sending = asyncio.create_task(client.send(a_message()))
    await paused.came.wait()
    closing = asyncio.create_task(client.aclose())
    await asyncio.sleep(0)
    paused.go_on.set()
    assert (await sending).sms_id == "d8e0"
    await closing
