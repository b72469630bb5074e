"""The attacks of the threat table, each as a test, and the races."""

import asyncio
import base64
import json
import logging
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from esms_async import (
    Credentials,
    EsmsClient,
    OutcomeUnknown,
    RetryPolicy,
    Status,
    new_request_id,
)
from esms_async.emulator import Emulator
from esms_async.otp import (
    Guard,
    MemoryOtpStore,
    Otp,
    OtpRefused,
    OtpStore,
    Purpose,
    RedisOtpStore,
    SqliteOtpStore,
    rules,
)
from tests.ledger.redis_server import RedisServer
from tests.limits import TIMES
from tests.otp.conftest import MakeStore
from tests.otp.processes import VERIFY, finish_together, start_program
from tests.otp.support import (
    IP,
    KEY,
    NEW,
    NO_GUARD,
    OLD,
    OTHER,
    PHONE,
    TEMPLATE,
    Clock,
    Gateway,
    make_otp,
    refused,
    wrong,
)

# Races.


async def test_200_right_answers_are_one_success(store: OtpStore, sms: Gateway) -> None:
    """Exactly one is `verified`, the others are `used`."""
    otp = make_otp(sms, store)
    challenge = await otp.start(PHONE)
    ids = [challenge.id, (await otp.start(PHONE)).id]
    calls = (otp.verify(ids[n % 2], sms.code(), phone=PHONE) for n in range(200))
    results = await asyncio.gather(*calls)
    assert Counter(result.reason for result in results) == {"verified": 1, "used": 199}
    assert [result.device is not None for result in results].count(True) == 1


async def test_200_right_answers_of_four_processes_are_one_success(
    sms: Gateway, redis_server: RedisServer
) -> None:
    """On Redis from four processes: exactly one."""
    prefix = new_request_id()
    async with make_otp(sms, RedisOtpStore(redis_server.url, prefix=prefix)) as otp:
        challenge = await otp.start(PHONE)
    arguments = (redis_server.url, prefix, challenge.id, PHONE, *[sms.code()] * 50)
    processes = [await start_program(VERIFY, *arguments) for _ in range(4)]
    printed = await finish_together(processes)
    assert sum(map(Counter, map(json.loads, printed)), Counter()) == {"verified": 1, "used": 199}


async def test_200_wrong_guesses_are_five_comparisons(
    store: OtpStore, sms: Gateway, clock: Clock
) -> None:
    """In parallel, over two ids, and over new challenges of the same phone."""
    otp = make_otp(sms, store, guard=NO_GUARD)
    first, second = await otp.start(PHONE), await otp.start(PHONE)
    guesses = [f"{n:06}" for n in range(1_000_000) if f"{n:06}" != sms.code()][:200]
    calls = (
        otp.verify((first, second)[n % 2].id, code, phone=PHONE) for n, code in enumerate(guesses)
    )
    results = await asyncio.gather(*calls)
    assert Counter(result.reason for result in results) == {"wrong": 5, "locked": 195}
    assert sorted(r.attempts_left for r in results if r.reason == "wrong") == [0, 1, 2, 3, 4]
    clock.advance(899)
    again = await asyncio.gather(*(otp.start(PHONE) for _ in range(20)), return_exceptions=True)
    assert {getattr(each, "reason", None) for each in again} == {"locked"}


async def test_200_wrong_guesses_of_four_processes_are_five_comparisons(
    sms: Gateway, redis_server: RedisServer
) -> None:
    """On Redis from four processes: five."""
    prefix = new_request_id()
    async with make_otp(sms, RedisOtpStore(redis_server.url, prefix=prefix)) as otp:
        challenge = await otp.start(PHONE)
    arguments = (redis_server.url, prefix, challenge.id, PHONE, *[wrong(sms.code())] * 50)
    processes = [await start_program(VERIFY, *arguments) for _ in range(4)]
    printed = await finish_together(processes)
    assert sum(map(Counter, map(json.loads, printed)), Counter()) == {"wrong": 5, "locked": 195}


async def test_100_starts_are_one_sms(store: OtpStore, sms: Gateway) -> None:
    """In parallel: one SMS, and every caller has a challenge that its code is right for."""
    otp = make_otp(sms, store)
    challenges = await asyncio.gather(*(otp.start(PHONE, ip=IP) for _ in range(100)))
    assert len(sms.sends) == 1
    assert len({challenge.id for challenge in challenges}) == 100
    assert len({challenge.expires_at for challenge in challenges}) == 1
    assert (await otp.verify(challenges[-1].id, sms.code(), phone=PHONE)).ok


async def test_100_resends_are_one_sms(store: OtpStore, sms: Gateway, clock: Clock) -> None:
    """In parallel: one more SMS; the others get `unknown` or the cooldown."""
    otp = make_otp(sms, store)
    challenge = await otp.start(PHONE)
    clock.advance(30)
    calls = (otp.resend(challenge.id, phone=PHONE) for _ in range(100))
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert len(sms.sends) == 2
    assert Counter(getattr(each, "status", "refused") for each in results)[Status.ACCEPTED] == 1


async def test_caps_hold_in_parallel(store: OtpStore, sms: Gateway) -> None:
    """A hundred phones from one address at once: twenty SMS."""
    otp = make_otp(sms, store)
    calls = (otp.start(f"0911{number:06}", ip=IP) for number in range(100))
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert len(sms.sends) == 20
    assert sum(isinstance(each, OtpRefused) for each in results) == 80


# My code on another account.


async def test_a_code_received_on_ones_own_phone_opens_no_other_account(
    store: OtpStore, sms: Gateway
) -> None:
    """The take-over of the former examples: the attacker's id and code with the victim's phone."""
    otp = make_otp(sms, store)
    mine, victims = await otp.start(OTHER), await otp.start(PHONE)
    code = sms.code(OTHER)
    for challenge, phone in ((mine, PHONE), (victims, PHONE), (victims, OTHER)):
        result = await otp.verify(challenge.id, code, phone=phone)
        assert not result.ok
    # An id that is put together from both is nobody's.
    for cut in (21, 22, 43):
        mixed = victims.id[:cut] + mine.id[cut:]
        assert (await otp.verify(mixed, code, phone=PHONE)).reason in ("expired", "wrong")
    assert (await otp.verify(mine.id, code, phone=OTHER)).ok


async def test_replay(store: OtpStore, sms: Gateway, clock: Clock) -> None:
    """After success, after the end, and after a key rotation a code is worth nothing."""
    otp = make_otp(sms, store, keys=[OLD])
    challenge = await otp.start(PHONE)
    code = sms.code()
    assert (await otp.verify(challenge.id, code, phone=PHONE)).ok
    rotated = make_otp(sms, store, keys=[NEW, OLD])
    for one in (otp, rotated):
        assert (await one.verify(challenge.id, code, phone=PHONE)).reason == "used"
    clock.advance(301)
    other = await rotated.start(PHONE)
    assert (await rotated.verify(challenge.id, code, phone=PHONE)).reason == "expired"
    assert not (await rotated.verify(other.id, code, phone=PHONE)).ok or code == sms.code()
    clock.advance(1000)
    assert (await rotated.verify(challenge.id, code, phone=PHONE)).reason == "expired"


# Guessing.


async def test_guessing_goes_on_over_restarts(
    make_store: MakeStore, sms: Gateway, clock: Clock
) -> None:
    """A process for each guess, and a new challenge for each: five, then the lock."""
    reasons: list[str] = []
    for _ in range(8):
        async with make_otp(sms, make_store(), guard=NO_GUARD) as otp:
            try:
                challenge = await otp.start(PHONE)
            except OtpRefused as error:
                reasons.append(error.reason)
                continue
            result = await otp.verify(challenge.id, wrong(sms.code()), phone=PHONE)
            reasons.append(result.reason)
            clock.advance(100)
    assert reasons == ["wrong"] * 5 + ["locked"] * 3


# Pumping.


@pytest.mark.once
async def test_pumping_thousands_of_numbers_of_a_prefix_stops_at_the_guard(clock: Clock) -> None:
    """From ever new addresses: 200 SMS an hour, then `fraud`."""
    sms = Gateway()
    otp = make_otp(sms, MemoryOtpStore(clock=clock))
    reasons: Counter[str] = Counter()
    for number in range(2000 * TIMES):
        try:
            await otp.start(f"0911{number:06}", ip=f"198.51.{number // 250}.{number % 250}")
        except OtpRefused as error:
            reasons[error.reason] += 1
        clock.advance(0.3)
    assert len(sms.sends) == 200
    assert reasons == {"fraud": 2000 * TIMES - 200}
    # The other ranges, and known devices, are served.
    await otp.start("0981000001")


# A stolen store, and logs.


async def everything(store: OtpStore, tmp_path: Path, server: RedisServer, prefix: str) -> bytes:
    """Return all that a store holds."""
    match store:
        case SqliteOtpStore():
            return b"".join(path.read_bytes() for path in tmp_path.glob("otp.db*"))
        case RedisOtpStore():
            held: list[object] = []
            with server.client() as client:
                for key in client.scan_iter(f"{prefix}:*"):
                    held += [key, _value(client, key)]
            return repr(held).encode()
        case _:
            assert isinstance(store, MemoryOtpStore)
            return repr([vars(store), vars(store._tables)]).encode()


def _value(client: Any, key: str) -> object:
    match client.type(key):
        case "hash":
            return client.hgetall(key)
        case "list":
            return client.lrange(key, 0, -1)
        case _:
            return client.get(key)


@pytest.mark.parametrize("kind", ["memory", "sqlite", "redis"])
async def test_a_stolen_store_and_the_log_hold_nothing(
    kind: str,
    tmp_path: Path,
    redis_server: RedisServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No code, phone, id, subject, address, cookie or key in any form, at DEBUG level."""
    prefix = new_request_id()
    stores: dict[str, OtpStore] = {
        "memory": MemoryOtpStore(),
        "sqlite": SqliteOtpStore(tmp_path / "otp.db"),
        "redis": RedisOtpStore(redis_server.url, prefix=prefix),
    }
    store = stores[kind]
    sms = Gateway()
    secrets: list[str] = [PHONE, PHONE[1:], IP, "a subject", KEY.decode()]
    with caplog.at_level(logging.DEBUG):
        async with make_otp(sms, store) as otp:
            first = await otp.start(PHONE, subject="a subject", ip=IP)
            code = sms.code()
            await otp.verify(first.id, wrong(code), phone=PHONE, subject="a subject", ip=IP)
            held = await everything(store, tmp_path, redis_server, prefix)
            result = await otp.verify(first.id, code, phone=PHONE, subject="a subject", ip=IP)
            assert result.device
            second = await otp.start(PHONE, subject="a subject", ip=IP, device=result.device)
            sms.fail(lambda m: OutcomeUnknown(m, (), "lost"))
            await otp.start(OTHER)
            await refused(otp.resend(second.id, phone=PHONE, device=result.device))
            held += await everything(store, tmp_path, redis_server, prefix)
            secrets += [code, first.id, second.id, result.device, sms.code()]
    _, gen = rules.read_id(first.id)
    device, _ = rules.read_device([KEY], PHONE, result.device)
    secrets += [gen.hex(), device, *(message.content or "" for message in sms.sends)]
    for secret in secrets:
        # Six digits in a row stand in times and hashes, too; there they prove nothing.
        if not (secret.isdigit() and len(secret) == 6):
            assert secret.encode() not in held, secret
            assert secret.encode().hex().encode() not in held
        assert secret not in caplog.text
    assert caplog.records


async def test_all_codes_fail_without_the_key(sms: Gateway) -> None:
    """Who has the store has salt and check; the search over 10^6 codes needs the key."""
    store = MemoryOtpStore()
    otp = make_otp(sms, store)
    challenge = await otp.start(PHONE)
    (flow,) = store._tables.records["c"].values()
    bind, gen = rules.read_id(challenge.id)
    # The thief even knows the id. With the key one of the codes fits; with another key none does.
    right = [c for c in (sms.code(), wrong(sms.code())) if _fits(KEY, bind, gen, c, flow)]
    assert right == [sms.code()]
    other = b"x" * 32
    assert not any(_fits(other, bind, gen, f"{n:06}", flow) for n in range(1_000_000))


def _fits(key: bytes, bind: bytes, gen: bytes, code: str, flow: dict[str, object]) -> bool:
    return rules.check_of(key, bind, gen, code) == flow["check"]


async def test_a_leaked_key_alone_predicts_no_code(sms: Gateway) -> None:
    """The salt is random and stays in the store: the same key and phone give other codes."""
    codes, salts = set(), set()
    for _ in range(20):
        store = MemoryOtpStore()
        challenge = await make_otp(sms, store).start(PHONE)
        codes.add(sms.code())
        (flow,) = store._tables.records["c"].values()
        salts.add(flow["salt"])
        # The salt shows neither in the id nor in what goes to the gateway.
        salt = bytes.fromhex(flow["salt"])
        assert salt not in base64.urlsafe_b64decode(challenge.id + "==")
        assert flow["salt"] not in sms.sends[-1].request_id
    assert len(salts) == 20
    assert len(codes) > 15


# The list of accounts, by answer or time.


@pytest.mark.once
async def test_an_absent_challenge_takes_as_long_as_a_present_one(
    sms: Gateway, redis_server: RedisServer
) -> None:
    """A wrong binding and a code that is wrong do the same work: their medians are near."""
    store = RedisOtpStore(redis_server.url, prefix=new_request_id())
    purpose = Purpose(TEMPLATE, attempts=10)
    async with make_otp(sms, store, guard=NO_GUARD, purposes={"login": purpose}) as otp:
        challenge = await otp.start(PHONE)
        times: dict[str, list[float]] = {PHONE: [], OTHER: []}
        for _ in range(400):
            for phone, spent in times.items():
                began = time.perf_counter()
                await otp.verify(challenge.id, "not a code", phone=phone)
                spent.append(time.perf_counter() - began)
    present, absent = map(statistics.median, times.values())
    # A network hides less than this; an early return without the store would be ten times faster.
    assert 0.5 < present / absent < 2


# Crashes, lost answers, double clicks: with a real client and gateway.


@pytest.fixture
async def gateway() -> AsyncIterator[Emulator]:
    """A gateway on a socket."""
    async with Emulator() as running:
        yield running


@pytest.fixture
def numbers() -> Iterator[str]:
    """Phones."""
    return (f"0911{number:06}" for number in range(1000))


@pytest.mark.parametrize(
    ("fault", "status", "sms"),
    [
        ("reset,phase=after,times=1", Status.ACCEPTED, 1),
        ("reset,phase=after", Status.UNKNOWN, 1),
        ("http:503,phase=after", Status.UNKNOWN, 1),
        ("http:503,phase=before", Status.UNKNOWN, 0),
    ],
)
async def test_lost_answers_are_one_sms(
    gateway: Emulator, clock: Clock, fault: str, status: Status, sms: int
) -> None:
    """Whatever the network does, one RequestId is one SMS, and a resend finds out."""
    retry = RetryPolicy(attempts=2, backoff_initial=0.001)
    async with (
        EsmsClient(Credentials("key", "secret"), base_url=gateway.url, retry=retry) as client,
        Otp(
            client,
            store=MemoryOtpStore(clock=clock),
            keys=[KEY],
            purposes={"login": Purpose(TEMPLATE)},
        ) as otp,
    ):
        armed = gateway.fault(fault)
        challenge = await otp.start(PHONE)
        assert challenge.status == status
        assert len(gateway.messages) == sms
        armed.disarm()
        clock.advance(30)
        again = await otp.resend(challenge.id, phone=PHONE)
        assert again.status is Status.ACCEPTED
        resumed = status is Status.UNKNOWN
        assert len(gateway.messages) == (1 if resumed else 2)
        assert len({message.content for message in gateway.messages}) == 1
        code = gateway.latest_code(PHONE)
        assert (await otp.verify(again.id, code, phone=PHONE)).ok


async def test_a_process_that_died_between_store_and_send(
    make_store: MakeStore, sms: Gateway, clock: Clock
) -> None:
    """After the lease the next start sends the same number under the same RequestId."""
    store = make_store()
    async with make_otp(sms, store) as otp:
        sms.hold()
        dying = asyncio.create_task(otp.start(PHONE))
        await sms.wait_for_send()
        for task in [*otp._tasks, dying]:
            task.cancel()
        await asyncio.gather(*otp._tasks, dying, return_exceptions=True)
    clock.advance(15)
    async with make_otp(sms, make_store()) as otp:
        challenge = await otp.start(PHONE)
        assert challenge.status is Status.ACCEPTED
        assert len({message.request_id for message in sms.sends}) == 1
        assert len(sms.resumed) == 1
        assert (await otp.verify(challenge.id, sms.code(), phone=PHONE)).ok


async def test_a_send_has_a_deadline_shorter_than_the_lease(sms: Gateway, clock: Clock) -> None:
    """It is a view of the client, with what is left of the client's own policy."""
    otp = make_otp(sms, MemoryOtpStore(clock=clock))
    await otp.start(PHONE)
    sms.retry = RetryPolicy(attempts=2, deadline=3)
    await otp.start(OTHER)
    assert [policy.deadline for policy in sms.retries] == [12, 3]
    assert [policy.attempts for policy in sms.retries] == [5, 2]


def test_the_guard_of_the_contract() -> None:
    """The default numbers are those whose reasons the docs give."""
    guard = Guard()
    assert (guard.per_phone, guard.per_ip, guard.per_prefix, guard.total) == (
        "3/10m,10/1d",
        "20/1h",
        None,
        "5000/1h",
    )
    assert (guard.wrong_per_ip, guard.conversion, guard.conversion_floor) == ("20/1h", 0.2, 200)
