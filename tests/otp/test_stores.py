"""What is special to each store: failures, files, servers, and time."""

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from esms_async import ConfigurationError, Status, UsageError, new_request_id
from esms_async.otp import (
    Guard,
    MemoryOtpStore,
    OtpStore,
    OtpStoreError,
    Purpose,
    RedisOtpStore,
    SqliteOtpStore,
    stores,
)
from esms_async.otp.rules import Settling, next_time
from esms_async.otp.stores import ProcessClock
from tests.ledger.redis_server import RedisServer
from tests.otp.conftest import MakeStore
from tests.otp.support import (
    IP,
    NO_GUARD,
    OTHER,
    PHONE,
    TEMPLATE,
    Clock,
    Gateway,
    make_otp,
    refused,
    wrong,
)


async def test_a_store_that_is_not_open(tmp_path: Path) -> None:
    """Using it, and opening it twice, are errors that say so."""
    for store in (SqliteOtpStore(tmp_path / "otp.db"), RedisOtpStore("redis://127.0.0.1:1")):
        with pytest.raises(UsageError, match="not open"):
            await store.unlock("x", "login")
        await store.aclose()


async def test_opening_twice(tmp_path: Path, redis_server: RedisServer) -> None:
    """The second time is an error."""
    for store in (
        SqliteOtpStore(tmp_path / "otp.db"),
        RedisOtpStore(redis_server.url, prefix=new_request_id()),
    ):
        async with store:
            with pytest.raises(UsageError, match="open already"):
                await store.open()


# SQLite.


async def test_a_file_is_private_and_survives(tmp_path: Path) -> None:
    """The file is its owner's alone, in WAL mode."""
    path = tmp_path / "otp.db"
    async with SqliteOtpStore(str(path)):
        pass
    assert path.stat().st_mode & 0o777 == 0o600
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_a_foreign_file_is_left_alone(tmp_path: Path) -> None:
    """Another database, and a file that is not one, are OtpStoreErrors that name the path."""
    other = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE mine (x)")
    text = tmp_path / "text"
    text.write_text("no database, but long enough to be taken for one" * 100)
    for path in (other, text, tmp_path):
        with pytest.raises(OtpStoreError, match=path.name):
            async with SqliteOtpStore(path):
                pass
    with contextlib.closing(sqlite3.connect(other)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master").fetchall()
    assert names == [("mine",)]


async def test_a_file_that_fails_believes_nothing(tmp_path: Path, sms: Gateway) -> None:
    """Locked by somebody for too long: OtpStoreError, and it works again afterwards."""
    path = tmp_path / "otp.db"
    async with make_otp(sms, SqliteOtpStore(path)) as otp:
        challenge = await otp.start(PHONE)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("PRAGMA busy_timeout = 0")
            other.execute("BEGIN EXCLUSIVE")
            stores_busy = asyncio.gather(
                otp.verify(challenge.id, sms.code(), phone=PHONE),
                otp.start("0911000001"),
                return_exceptions=True,
            )
            results = await stores_busy
            other.execute("ROLLBACK")
        assert [type(result) for result in results] == [OtpStoreError, OtpStoreError]
        assert "locked" in str(results[0])
        assert len(sms.sends) == 1
        assert (await otp.verify(challenge.id, sms.code(), phone=PHONE)).ok


async def test_more_jobs_than_one_commit_takes_are_done_in_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits while the file is locked is done, each once, when it is free again."""
    monkeypatch.setattr(stores, "_MOST_TOGETHER", 3)
    path = tmp_path / "otp.db"
    async with SqliteOtpStore(path) as store:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            waiting = [
                asyncio.ensure_future(store.keep_fact(f"fact {number % 5}", str(number)))
                for number in range(10)
            ]
            await asyncio.sleep(0)
            other.execute("ROLLBACK")
        assert await asyncio.gather(*waiting) == [str(number % 5) for number in range(10)]


async def test_jobs_that_wait_while_a_file_can_not_be_opened_fail(tmp_path: Path) -> None:
    """Nobody is left waiting."""
    store = SqliteOtpStore(tmp_path / "no" / "folder")
    opening = asyncio.create_task(store.open())
    await asyncio.sleep(0)
    waiting = asyncio.create_task(store.unlock("x", "login"))
    results = await asyncio.gather(opening, waiting, return_exceptions=True)
    assert [type(result) for result in results] == [OtpStoreError, OtpStoreError]
    assert not store.is_open


async def test_two_processes_share_a_file(tmp_path: Path, sms: Gateway, clock: Clock) -> None:
    """What one does the other sees at once."""
    path = tmp_path / "otp.db"
    async with (
        make_otp(sms, SqliteOtpStore(path, clock=clock)) as one,
        make_otp(sms, SqliteOtpStore(path, clock=clock)) as other,
    ):
        challenge = await one.start(PHONE)
        assert (await other.start(PHONE)).expires_at == challenge.expires_at
        assert (await other.verify(challenge.id, sms.code(), phone=PHONE)).ok
        assert (await one.verify(challenge.id, sms.code(), phone=PHONE)).reason == "used"


async def test_old_records_are_swept(tmp_path: Path, sms: Gateway, clock: Clock) -> None:
    """What has ended goes: in memory and in the file; locks until unlock stay."""
    path = tmp_path / "otp.db"
    memory = MemoryOtpStore(clock=clock)
    for store in (memory, SqliteOtpStore(path, clock=clock)):
        async with make_otp(sms, store, purposes={"login": Purpose(TEMPLATE)}) as otp:
            for number in range(5):
                challenge = await otp.start(phone := f"0911{number:06}", ip="203.0.113.7")
            await otp.verify(challenge.id, wrong(sms.code(phone)), phone=phone)
            clock.advance(31 * 86400)
            await otp.unlock(PHONE)
    assert all(not table for table in memory._tables.records.values())
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for table in ("c", "f", "s", "cd", "g"):
            rows = connection.execute(f"SELECT key FROM {table}").fetchall()  # noqa: S608  # no outside text
            assert rows == []


async def test_many_jobs_share_transactions(tmp_path: Path, sms: Gateway) -> None:
    """More than one batch of jobs at once: each gets its own answer."""
    async with make_otp(sms, SqliteOtpStore(tmp_path / "otp.db")) as otp:
        phones = [f"0911{number:06}" for number in range(300)]
        challenges = await asyncio.gather(*map(otp.start, phones), return_exceptions=True)
        refusals = [each for each in challenges if isinstance(each, BaseException)]
        assert {getattr(each, "reason", each) for each in refusals} == {"fraud"}
        assert len(refusals) == 100


async def test_an_opening_that_is_cancelled_frees_the_file(tmp_path: Path) -> None:
    """The next one can open it."""
    store = SqliteOtpStore(tmp_path / "otp.db")
    opening = asyncio.create_task(store.open())
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    async with store:
        assert store.is_open


def test_a_loop_that_is_gone_is_no_trouble_for_the_thread(tmp_path: Path) -> None:
    """A result for a closed event loop has nobody who waits for it."""
    loop = asyncio.new_event_loop()
    done = loop.create_future()
    cancelled = loop.create_future()
    cancelled.cancel()
    stores._resolve([(cancelled, 1)])
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    stores._resolve([(done, 1)])
    assert not done.done()


# Redis.


async def test_a_server_that_is_away(sms: Gateway, unused_tcp_port: int) -> None:
    """OtpStoreError when it is opened, and nothing is sent."""
    otp = make_otp(sms, RedisOtpStore(f"redis://:pass@127.0.0.1:{unused_tcp_port}"))
    with pytest.raises(OtpStoreError, match="one-time codes on Redis 127") as caught:
        await otp.start(PHONE)
    assert "pass" not in str(caught.value)
    assert sms.sends == []


async def test_a_server_that_goes_away(sms: Gateway) -> None:
    """Before the send: nothing is sent or believed. After it: the challenge, and one SMS."""
    with RedisServer({"appendonly": "yes", "appendfsync": "always"}) as server:
        async with make_otp(sms, RedisOtpStore(server.url)) as otp:
            first = await otp.start(PHONE)
            await asyncio.to_thread(server.kill)
            for call in (
                otp.start("0911000001"),
                otp.verify(first.id, sms.code(), phone=PHONE),
                otp.resend(first.id, phone=PHONE),
                otp.unlock(PHONE),
            ):
                with pytest.raises(OtpStoreError):
                    await call
            assert len(sms.sends) == 1
            await asyncio.to_thread(server.start)
            release = sms.hold()
            starting = asyncio.create_task(otp.start("0911000001"))
            await sms.wait_for_send(2)
            await asyncio.to_thread(server.kill)
            release.set()
            assert (await starting).status is Status.ACCEPTED
            await asyncio.to_thread(server.start)
            challenge = await otp.start("0911000001")
            assert challenge.status is Status.UNKNOWN  # the lease still runs
            assert (await otp.verify(challenge.id, sms.code("0911000001"), phone="0911000001")).ok
            assert (await otp.verify(first.id, sms.code(), phone=PHONE)).ok


async def test_a_server_that_may_forget_is_refused() -> None:
    """`maxmemory` with a policy other than `noeviction` is a ConfigurationError."""
    with RedisServer({"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"}) as server:
        with pytest.raises(ConfigurationError, match="noeviction"):
            async with RedisOtpStore(server.url):
                pass
        with server.client() as client:
            client.config_set("maxmemory-policy", "noeviction")
        async with RedisOtpStore(server.url):
            pass
        with server.client() as client:
            client.config_set("maxmemory", "0")
            client.config_set("maxmemory-policy", "allkeys-lru")
        async with RedisOtpStore(server.url):
            pass


@pytest.mark.parametrize("prefix", ["", "{x}", "a}b"])
def test_bad_prefixes(prefix: str) -> None:
    """All keys must be in one slot, whose tag is the store's own."""
    with pytest.raises(ConfigurationError, match="prefix"):
        RedisOtpStore("redis://127.0.0.1", prefix=prefix)


def test_a_bad_url() -> None:
    """It is not shown, because it may hold a password."""
    with pytest.raises(ConfigurationError, match="URL") as caught:
        RedisOtpStore("http://u:secret@host")
    assert "secret" not in str(caught.value)


async def test_a_server_that_has_lost_its_scripts(sms: Gateway, redis_server: RedisServer) -> None:
    """They are loaded again, and nothing runs twice."""
    store = RedisOtpStore(redis_server.url, prefix=new_request_id())
    async with make_otp(sms, store) as otp:
        challenge = await otp.start(PHONE)
        with redis_server.client() as client:
            client.script_flush()
        result = await otp.verify(challenge.id, wrong(sms.code()), phone=PHONE)
        assert result.attempts_left == 4


async def test_keys_end_by_themselves(sms: Gateway, redis_server: RedisServer) -> None:
    """Each key has the end that the contract says, and all of them are in one slot."""
    prefix = new_request_id()
    async with make_otp(sms, RedisOtpStore(redis_server.url, prefix=prefix)) as otp:
        challenge = await otp.start(PHONE, ip="2001:db8::1")
        await otp.verify(challenge.id, wrong(sms.code()), phone=PHONE, ip="203.0.113.7")
        ends: dict[str, set[int]] = {}
        with redis_server.client() as client:
            for key in client.scan_iter(f"{prefix}:*"):
                assert key.startswith(f"{prefix}:{{otp}}:")
                kind = key.split(":")[2]
                ends.setdefault(kind, set()).add(round(client.ttl(key) / 60) if kind else 0)
    assert ends.pop("time") == ends.pop("facts") == {0}
    assert ends == {
        "c": {15},
        "f": {30 * 24 * 60},
        "s": {24 * 60},
        "cd": {60},
        "g": {66},
    }


async def test_a_hundred_failures_stay_until_unlock(
    sms: Gateway, redis_server: RedisServer, clock: Clock
) -> None:
    """The lock has no end on the server either."""
    prefix = new_request_id()
    purpose = Purpose(TEMPLATE, attempts=10, lock=(1,))
    store = RedisOtpStore(redis_server.url, prefix=prefix, clock=clock)
    async with make_otp(sms, store, purposes={"login": purpose}, guard=NO_GUARD) as otp:
        for _ in range(10):
            challenge = await otp.start(PHONE)
            for _ in range(10):
                await otp.verify(challenge.id, wrong(sms.code()), phone=PHONE)
            clock.advance(301)
        assert (await refused(otp.start(PHONE))).retry_after is None
        with redis_server.client() as client:
            (key,) = client.scan_iter(f"{prefix}:*:f:*")
            assert client.ttl(key) == -1


async def test_the_pool_waits(sms: Gateway, redis_server: RedisServer) -> None:
    """Five hundred calls at once are all answered."""
    store = RedisOtpStore(redis_server.url, prefix=new_request_id())
    async with make_otp(sms, store) as otp:
        challenge = await otp.start(PHONE)
        results = await asyncio.gather(
            *(otp.verify(challenge.id, "x", phone=PHONE) for _ in range(500))
        )
        assert {result.reason for result in results} == {"wrong"}


# Time.


@pytest.mark.parametrize(
    ("raw", "last", "elapsed", "now"),
    [
        (1000, 0, 0, 1000),  # the first time
        (9000, 1000, 8000, 9000),
        (99_000, 1000, 8000, 99_000),  # set ahead
        (1000, 90_000, 8000, 98_000),  # set back
        (97_000, 90_000, 8000, 97_000),  # slewed
        (89_000, 90_000, 500, 90_000),  # slewed
    ],
)
def test_time_does_not_go_back(raw: int, last: int, elapsed: int, now: int) -> None:
    """It goes on by what has passed, wherever the clock was set to."""
    assert next_time(raw, last, elapsed) == now


def test_the_boot_clock_moves_a_process_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the machine's clock set back an hour, time goes on, also over a suspend."""
    wall, boot = [1_800_000_000.0], [100.0]
    monkeypatch.setattr(time, "time", lambda: wall[0])
    monkeypatch.setattr(stores, "_boot_time", lambda: boot[0])
    clock = ProcessClock(None)
    began = clock.now()
    wall[0] -= 3600
    boot[0] += 50
    assert clock.now() == began + 50_000
    boot[0] += 7200  # the machine slept, and its wall clock with it
    assert clock.now() == began + 7_250_000
    assert clock.floor() == began + 7_250_000


def test_the_boot_clock_counts_suspend() -> None:
    """On Linux it is CLOCK_BOOTTIME; elsewhere the monotonic clock."""
    assert abs(stores._boot_time() - time.clock_gettime(time.CLOCK_BOOTTIME)) < 5


async def test_a_clock_that_is_set_back(make_store: MakeStore, sms: Gateway, clock: Clock) -> None:
    """It revives no code, and freezes no cooldown or lock."""
    async with make_otp(sms, make_store()) as otp:
        old = await otp.start(PHONE)
        code = sms.code()
        clock.advance(301)
        assert (await otp.verify(old.id, code, phone=PHONE)).reason == "expired"
        clock.now -= 3600
        assert (await otp.verify(old.id, code, phone=PHONE)).reason == "expired"
        challenge = await otp.start(PHONE)
        assert (await refused(otp.resend(challenge.id, phone=PHONE))).retry_after == 60
        clock.advance(59)
        assert (await refused(otp.resend(challenge.id, phone=PHONE))).retry_after == 1
        clock.advance(1)
        await otp.resend(challenge.id, phone=PHONE)
        clock.advance(239)
        assert (await otp.verify(challenge.id, "x", phone=PHONE)).reason == "wrong"
        clock.advance(1)
        assert (await otp.verify(challenge.id, "x", phone=PHONE)).reason == "expired"


Shared = tuple[Callable[[Clock | None], SqliteOtpStore | RedisOtpStore], list[str]]


@pytest.fixture(params=["sqlite", "redis"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Shared:
    """Make stores over the same data, and the arguments that name it to the command."""
    if request.param == "sqlite":
        path = tmp_path / "otp.db"
        return (lambda clock: SqliteOtpStore(path, clock=clock)), [str(path)]
    server: RedisServer = request.getfixturevalue("redis_server")
    prefix = new_request_id()
    return (
        lambda clock: RedisOtpStore(server.url, prefix=prefix, clock=clock),
        [server.url, "--prefix", prefix],
    )


async def test_a_clock_far_behind_the_store_is_an_error(shared: Shared, sms: Gateway) -> None:
    """It names both times and the command that resets it; the command works, and locks stay."""
    make, arguments = shared
    ahead = Clock(time.time() + 86400)
    async with make_otp(sms, make(ahead)) as otp:
        challenge = await otp.start(PHONE)
        for _ in range(5):
            await otp.verify(challenge.id, wrong(sms.code()), phone=PHONE)
    near = Clock(ahead.now - 600)
    async with make_otp(sms, make(near)) as otp:
        assert (await refused(otp.start(PHONE))).reason == "locked"
    for clock in (Clock(ahead.now - 601), None):
        with pytest.raises(OtpStoreError, match="reset-clock") as caught:
            async with make_otp(sms, make(clock)) as otp:
                await otp.start(PHONE)
        shown = time.strftime("%Y-%m-%d %H:%M", time.gmtime(ahead.now))
        assert shown in str(caught.value)
        assert "its clock shows" in str(caught.value)
    command = [sys.executable, "-m", "esms_async.otp", "reset-clock", *arguments]
    ran = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True)
    assert b"from now on" in ran.stdout
    async with make_otp(sms, make(None)) as otp:
        assert (await refused(otp.start(PHONE))).reason == "locked"
        await otp.start("0911000001")


async def test_a_flow_that_is_gone_when_its_send_ends(store: OtpStore, sms: Gateway) -> None:
    """What became of a send of no flow is not recorded, and harms nothing."""
    otp = make_otp(sms, store)
    release = sms.hold()
    starting = asyncio.create_task(otp.start(PHONE))
    await sms.wait_for_send()
    await store.reset_clock()
    release.set()
    assert (await starting).status is Status.ACCEPTED
    assert (await otp.start(PHONE)).status is Status.ACCEPTED
    assert len(sms.sms) == 2


async def test_what_is_not_counted_any_more_is_not_given_back(
    store: OtpStore, sms: Gateway, clock: Clock
) -> None:
    """A success after the window of a cap has ended changes no count."""
    otp = make_otp(sms, store, guard=Guard(per_ip="2/10s", wrong_per_ip="2/10s"))
    challenge = await otp.start(PHONE, ip=IP)
    await otp.verify(challenge.id, wrong(sms.code()), phone=PHONE, ip=IP)
    clock.advance(20)
    await otp.start(OTHER, ip=IP)
    assert (await otp.verify(challenge.id, sms.code(), phone=PHONE, ip=IP)).ok
    await otp.start("0911000002", ip=IP)
    assert (await refused(otp.start("0911000003", ip=IP))).reason == "ip"


async def test_a_clock_error_names_the_prefix_where_it_is_not_the_usual_one(
    redis_server: RedisServer,
) -> None:
    """The command can be copied as it stands, but for the URL, which may hold a password."""
    with redis_server.client() as client:
        client.set("esms:{otp}:time", 9_000_000_000_000)
    async with RedisOtpStore(redis_server.url) as store:
        with pytest.raises(OtpStoreError, match=r"reset-clock URL$"):
            await store.settle(Settling("b", "g", 1, "t", "accepted"))
    with redis_server.client() as client:
        client.delete("esms:{otp}:time")


async def test_resetting_the_clock_of_a_store_in_memory(sms: Gateway, clock: Clock) -> None:
    """Codes and counts go, locks stay."""
    store = MemoryOtpStore(clock=clock)
    async with make_otp(sms, store) as otp:
        challenge = await otp.start(PHONE)
        await store.reset_clock()
        assert (await otp.verify(challenge.id, sms.code(), phone=PHONE)).reason == "expired"


def reset_clock(*arguments: str) -> tuple[int, str, str]:
    """Run the command; return its exit code, and what it said."""
    command = [sys.executable, "-m", "esms_async.otp", "reset-clock", *arguments]
    ran = subprocess.run(command, capture_output=True, check=False, text=True)
    return ran.returncode, ran.stdout, ran.stderr


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    """A store that can't be used is one line and exit code 1."""
    place = tmp_path / "list.csv"
    place.write_text("phone")
    code, out, error = reset_clock(str(place))
    assert (code, out) == (1, "")
    assert error.startswith(f"error: the store of one-time codes in {place} can't be used: ")
    assert error.count("\n") == 1


def test_the_command_makes_no_store(tmp_path: Path, redis_server: RedisServer) -> None:
    """A mistyped file or prefix is an error, and nothing is there afterwards."""
    place = tmp_path / "nosuch.db"
    error = f"error: there is no store of one-time codes in {place}\n"
    assert reset_clock(str(place)) == (1, "", error)
    assert list(tmp_path.iterdir()) == []
    prefix = new_request_id()
    code, out, error = reset_clock(redis_server.url, "--prefix", prefix)
    assert (code, out) == (1, "")
    assert error.startswith("error: there is no store of one-time codes on Redis 127.0.0.1:")
    assert error.endswith(f", under the prefix {prefix!r}\n")
    with redis_server.client() as client:
        assert client.keys(f"{prefix}*") == []


async def test_redis_time_that_goes_back_is_not_followed(
    sms: Gateway, redis_server: RedisServer
) -> None:
    """A process goes on from the last time that it saw, where the server's clock falls behind."""
    prefix = new_request_id()
    store = RedisOtpStore(redis_server.url, prefix=prefix)
    async with make_otp(sms, store) as otp:
        first = await otp.start(PHONE)
        # As if the server had been an hour ahead so far.
        store._clock.move_to(int((time.time() + 3600) * 1000))
        with redis_server.client() as client:
            client.set(f"{prefix}:{{otp}}:time", int((time.time() + 3600) * 1000))
        assert (await otp.verify(first.id, sms.code(), phone=PHONE)).reason == "expired"
        second = await otp.start(PHONE)
        ahead = second.expires_at.timestamp() - time.time()
        assert 3600 < ahead < 3600 + 310
        assert (await otp.verify(second.id, sms.code(), phone=PHONE)).ok


async def test_a_process_remembers_the_time_that_redis_told_it(
    sms: Gateway, redis_server: RedisServer
) -> None:
    """It goes on from there also where the server has lost what it knew of the time."""
    prefix = new_request_id()
    store = RedisOtpStore(redis_server.url, prefix=prefix)
    async with make_otp(sms, store) as otp:
        with redis_server.client() as client:
            client.set(f"{prefix}:{{otp}}:time", int((time.time() + 500) * 1000))
            await otp.start(OTHER)
            client.delete(f"{prefix}:{{otp}}:time")
        challenge = await otp.start(PHONE)
        assert challenge.expires_at.timestamp() > time.time() + 300 + 490


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_failures_are_forgotten_after_thirty_days(
    kind: str, tmp_path: Path, sms: Gateway, clock: Clock
) -> None:
    """The next lock is the first one again; on Redis the key ends by itself."""
    store = (
        MemoryOtpStore(clock=clock)
        if kind == "memory"
        else SqliteOtpStore(tmp_path / "otp.db", clock=clock)
    )
    async with make_otp(sms, store) as otp:
        for days, lock in ((29, 900), (31, 3600), (0, 900)):
            challenge = await otp.start(PHONE)
            for _ in range(5):
                result = await otp.verify(challenge.id, wrong(sms.code()), phone=PHONE)
            assert result.retry_after == lock
            clock.advance(days * 86400)
            # What is left is what has not ended, swept or not.
            store._next_sweep = int(1e15)


def test_redis_is_an_extra() -> None:
    """Without redis-py the error names the extra, and the rest works."""
    program = (
        "import sys; sys.modules['redis'] = None\n"
        "from esms_async.otp import Otp, SqliteOtpStore\n"
        "try:\n    from esms_async.otp import RedisOtpStore\n"
        "except ImportError as error: print(error)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert b"pip install 'esms_async[redis]'" in ran.stdout, ran.stderr


def test_an_extra_that_is_broken_is_not_called_missing() -> None:
    """Another module that is missing is told as it is."""
    program = (
        "import sys; sys.modules['esms_async._redis'] = None\n"
        "sys.modules['fastapi.responses'] = None\n"
        "for name in ('RedisOtpStore', 'fastapi'):\n"
        "    try:\n        exec(f'from esms_async.otp import {name}')\n"
        "    except ImportError as error: print(error.name)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert ran.stdout == b"esms_async._redis\nfastapi.responses\n", ran.stderr


def test_a_store_in_memory_shows_nothing_that_it_holds() -> None:
    """Its repr is its name alone."""
    assert repr(MemoryOtpStore()) == "MemoryOtpStore()"
