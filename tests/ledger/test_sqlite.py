"""The SQLite ledger's file: whose it is, what may go wrong with it, and what is never touched."""

import asyncio
import contextlib
import functools
import gc
import re
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from esms_async import LedgerError, Status, UsageError
from esms_async.ledger import Decision, LedgerOptions, Settlement, SqliteLedger, sqlite
from esms_async.ledger.sqlite import APPLICATION_ID, VERSION
from esms_async.ledger.transitions import fingerprint
from tests.factories import a_message
from tests.limits import generous

if TYPE_CHECKING:
    from esms_async.ledger.sqlite_writer import SqliteWriter

ACCEPTED = Settlement(Status.ACCEPTED, sms_id="d8e0")
# As an earlier version of the package wrote it.
VERSION_1 = Path(__file__).parent / "samples" / "version-1.ledger"


async def claim(ledger: SqliteLedger) -> str:
    """Claim a new message and return its RequestId."""
    message = a_message()
    answer = await ledger.claim(message, fingerprint(message, b"key"))
    assert answer.decision is Decision.SEND
    return message.request_id


async def refuse_to_open(path: Path, words: str) -> None:
    """See a file refused in words, and left as it was."""
    before = path.read_bytes()
    with pytest.raises(LedgerError, match=words):
        await SqliteLedger(path).open()
    assert path.read_bytes() == before


async def test_a_new_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    """The file and its log can be read by nobody else."""
    path = tmp_path / "ledger.db"
    async with SqliteLedger(path) as ledger:
        await claim(ledger)
        for file in tmp_path.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_the_file_is_durable_and_known_as_a_ledger(tmp_path: Path) -> None:
    """WAL with full synchronisation, and a header that says what it is."""
    path = tmp_path / "ledger.db"
    ledger = SqliteLedger(path)
    async with ledger:
        writer = ledger._opened()
        for pragma, value in [
            ("journal_mode", "wal"),
            ("synchronous", 2),
            ("application_id", APPLICATION_ID),
            ("user_version", VERSION),
        ]:
            found = await writer.run(functools.partial(_pragma, name=pragma))
            assert found == (value,)


async def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    """Nothing is converted: the error names both versions, and the file stays as it is."""
    path = tmp_path / "ledger.db"
    path.write_bytes(VERSION_1.read_bytes())
    await refuse_to_open(path, rf"is of version 1, and this release .* reads version {VERSION}")
    async with SqliteLedger(tmp_path / "other.db"):
        pass
    later = bytearray((tmp_path / "other.db").read_bytes())
    later[60:64] = (99).to_bytes(4, "big")
    path.write_bytes(later)
    await refuse_to_open(path, "is of version 99")


async def test_a_second_process_is_told_that_the_file_is_in_use(tmp_path: Path) -> None:
    """The lock holds against another process, and goes with the process that holds it."""
    path = tmp_path / "ledger.db"
    holder = (
        "import asyncio, sys\n"
        "from esms_async.ledger import SqliteLedger\n"
        "async def main():\n"
        "    await SqliteLedger(sys.argv[1]).open()\n"
        "    print('open', flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", holder, str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(LedgerError, match="in use by another process"):
            await SqliteLedger(path).open()
    finally:
        process.kill()
        process.communicate()
    async with SqliteLedger(path) as ledger:
        await claim(ledger)


async def test_a_second_ledger_in_one_process_is_refused_too(tmp_path: Path) -> None:
    """Two ledgers of one process do not share a file."""
    path = tmp_path / "ledger.db"
    async with SqliteLedger(path) as ledger:
        with pytest.raises(LedgerError, match="in use"):
            await SqliteLedger(path).open()
        with pytest.raises(UsageError, match="open already"):
            await ledger.open()
        await claim(ledger)


async def test_a_foreign_file_is_refused_and_not_touched(tmp_path: Path) -> None:
    """A text, somebody else's database, and a torn ledger are left as they are."""
    text = tmp_path / "recipients.csv"
    text.write_text("phone,content\n" * 50)
    await refuse_to_open(text, "is not a ledger")

    short = tmp_path / "short"
    short.write_bytes(b"SQLite format 3\0")
    await refuse_to_open(short, "is not a ledger")

    foreign = tmp_path / "foreign.db"
    with contextlib.closing(sqlite3.connect(foreign)) as connection:
        connection.execute("CREATE TABLE sends (x)")
        connection.commit()
    await refuse_to_open(foreign, "something else")

    path = tmp_path / "ledger.db"
    async with SqliteLedger(path) as ledger:
        await asyncio.gather(*(claim(ledger) for _ in range(200)))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    await refuse_to_open(path, "cut short")


async def test_a_damaged_page_is_a_ledger_error(tmp_path: Path) -> None:
    """Damage that shows only on access is told in words."""
    path = tmp_path / "ledger.db"
    async with SqliteLedger(path) as ledger:
        ids = await asyncio.gather(*(claim(ledger) for _ in range(500)))
    damaged = bytearray(path.read_bytes())
    damaged[4096:] = b"\xa5" * (len(damaged) - 4096)
    path.write_bytes(damaged)
    with pytest.raises(LedgerError, match=r"can't be used: .*malformed"):
        async with SqliteLedger(path) as ledger:
            for request_id in ids:
                await ledger.look_up(request_id)


async def test_a_place_that_cannot_be_written_is_a_ledger_error(tmp_path: Path) -> None:
    """A missing folder, a folder in place of the file: told in words, with the path."""
    for path in (tmp_path / "missing" / "ledger.db", tmp_path):
        with pytest.raises(LedgerError, match="can't be used"):
            await SqliteLedger(path).open()


async def test_a_read_only_file_is_a_ledger_error(tmp_path: Path) -> None:
    """A file that cannot be written is refused at open, before anything is sent."""
    path = tmp_path / "ledger.db"
    async with SqliteLedger(path) as ledger:
        await claim(ledger)
    path.chmod(0o444)
    # The superuser may write anything, so the opener becomes somebody else first.
    opener = (
        "import asyncio, os, sys\n"
        "from esms_async import LedgerError\n"
        "from esms_async.ledger import SqliteLedger\n"
        "os.chdir(sys.argv[1])\n"
        "if os.geteuid() == 0:\n"
        "    os.seteuid(65534)\n"
        "try:\n"
        "    asyncio.run(SqliteLedger('ledger.db').open())\n"
        "except LedgerError as error:\n"
        "    print(error)\n"
    )
    tmp_path.chmod(0o755)
    shown = subprocess.run(
        [sys.executable, "-c", opener, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert shown.stdout.startswith("the ledger ledger.db can't be used: ")


async def test_a_full_disk_claims_nothing_and_recovers(tmp_path: Path) -> None:
    """A claim that finds no room fails in words; once there is room again, claims go on."""
    ledger = SqliteLedger(tmp_path / "ledger.db")
    async with ledger:
        await claim(ledger)
        await ledger._opened().run(_allow_no_more_pages)
        failures: list[str] = []
        for _ in range(200):
            message = a_message()
            try:
                await ledger.claim(message, fingerprint(message, b"key"))
            except LedgerError as error:
                failures.append(str(error))
                assert await ledger.look_up(message.request_id) is None
        assert failures
        assert all("full" in failure for failure in failures)
        await ledger._opened().run(
            lambda connection: connection.execute("PRAGMA max_page_count = 100000").fetchone()
        )
        await claim(ledger)


def _pragma(connection: sqlite3.Connection, name: str) -> object:
    return connection.execute(f"PRAGMA {name}").fetchone()


def _allow_no_more_pages(connection: sqlite3.Connection) -> None:
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")


async def test_one_failing_operation_undoes_its_transaction(tmp_path: Path) -> None:
    """All that shared a commit with a failure are told, and nothing of it is stored."""
    ledger = SqliteLedger(tmp_path / "ledger.db")

    def fail(_: sqlite3.Connection) -> None:
        raise ZeroDivisionError("no such thing")

    async with ledger:
        message = a_message()
        busy, blocked = threading.Event(), threading.Event()

        def block(_: sqlite3.Connection) -> None:
            busy.set()
            blocked.wait(generous(20))

        waiting = ledger._opened().run(block)
        await asyncio.to_thread(busy.wait, generous(20))
        claiming = asyncio.create_task(ledger.claim(message, fingerprint(message, b"key")))
        await asyncio.sleep(0)
        failing = ledger._opened().run(fail)
        await asyncio.sleep(0)
        blocked.set()
        results = await asyncio.gather(claiming, failing, return_exceptions=True)
        await waiting
        assert [type(result) for result in results] == [LedgerError, LedgerError]
        assert await ledger.look_up(message.request_id) is None


async def test_a_path_with_a_nul_is_a_ledger_error() -> None:
    """It is refused in words at once, and nobody waits for a thread that could not begin."""
    async with asyncio.timeout(generous(20)):
        with pytest.raises(LedgerError, match=r"'a\\x00b' .* NUL"):
            await SqliteLedger("a\0b").open()


@pytest.mark.parametrize("error", [SystemExit(), MemoryError(), ValueError("embedded null byte")])
async def test_whatever_keeps_the_file_from_opening_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """An error of any kind on the writer's thread ends the opening, and not the thread alone."""

    def connect(_: Path) -> sqlite3.Connection:
        raise error

    monkeypatch.setattr(sqlite, "_connect", connect)
    async with asyncio.timeout(generous(20)):
        with pytest.raises(LedgerError, match=str(error) or type(error).__name__):
            await SqliteLedger(tmp_path / "ledger.db").open()


async def test_work_that_exits_fails_its_callers(tmp_path: Path) -> None:
    """A SystemExit in a transaction undoes it, and the ledger goes on."""

    def leave(_: sqlite3.Connection) -> None:
        sys.exit(3)

    async with asyncio.timeout(generous(20)), SqliteLedger(tmp_path / "ledger.db") as ledger:
        with pytest.raises(LedgerError, match="can't be used: 3"):
            await ledger._opened().run(leave)
        assert await claim(ledger)


async def test_whatever_ends_the_thread_fails_all_who_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those whose work was taken, those behind them and those who come later learn why."""
    entered, go_on = threading.Event(), threading.Event()

    def commit(*_: object) -> None:
        entered.set()
        go_on.wait(generous(20))
        raise SystemExit

    async with asyncio.timeout(generous(20)), SqliteLedger(tmp_path / "ledger.db") as ledger:
        writer = ledger._opened()
        monkeypatch.setattr(writer, "_commit", commit)
        taken = asyncio.create_task(claim(ledger))
        await asyncio.to_thread(entered.wait, generous(20))
        behind = asyncio.create_task(claim(ledger))
        await asyncio.sleep(0)
        go_on.set()
        results = await asyncio.gather(taken, behind, claim(ledger), return_exceptions=True)
        assert [type(result) for result in results] == [LedgerError] * 3
        assert "SystemExit" in str(results[0])
    async with SqliteLedger(tmp_path / "ledger.db") as again:
        assert await claim(again)


FORKING = """
import asyncio, os, sys
from esms_async import LedgerError, Message
from esms_async.ledger import SqliteLedger

ledger = SqliteLedger(sys.argv[1])

async def claim():
    try:
        async with asyncio.timeout(60):
            await ledger.claim(Message("0901888484", "686868"), b"fingerprint of the message")
        return "claimed"
    except LedgerError as error:
        return str(error)

async def close():
    await ledger.aclose()

async def fork():
    await ledger.open()
    child = os.fork()
    if not child:
        return
    assert os.waitpid(child, 0)[1] == 0
    print("parent:", await claim(), flush=True)
    await ledger.aclose()
    os._exit(0)

loop = asyncio.new_event_loop()
loop.run_until_complete(fork())
asyncio.set_event_loop(asyncio.new_event_loop())
print("child:", asyncio.run(claim()), flush=True)
asyncio.run(close())
os._exit(0)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_forked_child_is_told_to_open_its_own(tmp_path: Path) -> None:
    """A claim in the child fails in words at once; the parent's ledger goes on."""
    shown = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING, str(tmp_path / "ledger.db")],
        capture_output=True,
        text=True,
        timeout=generous(60),
        check=True,
    )
    child, parent = shown.stdout.splitlines()
    assert child.startswith("child: the ledger ")
    assert "after the fork" in child
    assert parent == "parent: claimed"


async def test_another_process_leaves_the_file_to_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the child above, here in one process: claims are refused, and closing lets go."""
    ledger = SqliteLedger(tmp_path / "ledger.db")
    await ledger.open()
    writer = ledger._opened()
    with monkeypatch.context() as child:
        child.setattr("os.getpid", lambda: writer._process + 1)
        with pytest.raises(LedgerError, match="after the fork"):
            await claim(ledger)
        await ledger.aclose()
    assert not ledger.is_open
    assert writer._thread.is_alive()
    await writer.stop()


def test_a_ledger_is_closed_on_the_loop_that_opened_it(tmp_path: Path) -> None:
    """Another loop is refused in words, and the ledger stays open for its own."""
    ledger = SqliteLedger(tmp_path / "ledger.db")
    with asyncio.Runner() as runner:
        runner.run(ledger.open())
        with asyncio.Runner() as other, pytest.raises(UsageError, match="another event loop"):
            other.run(ledger.aclose())
        assert ledger.is_open
        runner.run(ledger.aclose())
    assert not ledger.is_open


def test_a_ledger_whose_loop_is_gone_frees_its_file(tmp_path: Path) -> None:
    """Closed on another loop after its own has ended, it says so, and the file is free."""
    path = tmp_path / "ledger.db"
    ledger = SqliteLedger(path)
    asyncio.run(ledger.open())

    async def close_late() -> str:
        request_id = await claim(ledger)
        with pytest.raises(UsageError, match="was opened on an event loop that has been closed"):
            await ledger.aclose()
        await ledger.aclose()
        return request_id

    request_id = asyncio.run(close_late())
    assert not ledger.is_open

    async def use_again() -> None:
        async with SqliteLedger(path) as again:
            assert await again.look_up(request_id) is not None

    asyncio.run(use_again())


async def test_concurrent_claims_share_commits(tmp_path: Path) -> None:
    """Claims that come while the disk is busy go out together."""
    commits = 0

    def count(statement: str) -> None:
        nonlocal commits
        commits += statement == "COMMIT"

    entered, go_on = threading.Event(), threading.Event()

    def begin(connection: sqlite3.Connection) -> None:
        connection.set_trace_callback(count)
        entered.set()
        go_on.wait(generous(20))

    ledger = SqliteLedger(tmp_path / "ledger.db")
    async with ledger:
        busy = ledger._opened().run(begin)
        await asyncio.to_thread(entered.wait, generous(20))
        claims = [asyncio.create_task(claim(ledger)) for _ in range(1000)]
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(busy, *claims)
        await ledger._opened().run(lambda connection: connection.set_trace_callback(None))
    assert 0 < commits < 20


async def test_an_opening_that_is_cancelled_leaves_the_file_free(tmp_path: Path) -> None:
    """Who goes away while the file is being opened holds it no longer."""
    path = tmp_path / "ledger.db"
    opening = asyncio.create_task(SqliteLedger(path).open())
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    async with SqliteLedger(path) as ledger:
        assert await claim(ledger)


async def test_a_cancelled_claim_disturbs_nobody(tmp_path: Path) -> None:
    """A caller that goes away leaves the others their answers."""
    async with SqliteLedger(tmp_path / "ledger.db") as ledger:
        tasks = [asyncio.create_task(claim(ledger)) for _ in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, str) for result in results[1::2])


async def test_full_data_is_stored_when_asked_for(tmp_path: Path) -> None:
    """Phone and content are kept on request, and still do not show."""
    options = LedgerOptions(store_phone=True, store_content=True)
    async with SqliteLedger(tmp_path / "ledger.db", options=options) as ledger:
        request_id = await claim(ledger)
        entry = await ledger.look_up(request_id)
    assert entry is not None
    assert (entry.phone, entry.content) == ("0901888484", "686868 la ma xac minh")
    assert "686868" not in repr(entry)
    assert "0901888484" not in repr(entry)


async def test_no_secret_is_in_the_file(tmp_path: Path) -> None:
    """By default neither the code nor the number can be read from the file."""
    path = tmp_path / "ledger.db"
    async with SqliteLedger(path) as ledger:
        await claim(ledger)
    data = path.read_bytes()
    assert b"686868" not in data
    assert b"0901888484" not in data


def test_a_ledger_left_open_does_not_keep_the_process_alive(tmp_path: Path) -> None:
    """What was acknowledged is on disk, though nobody closed the ledger."""
    path = tmp_path / "ledger.db"
    code = (
        "import asyncio, sys\n"
        "from esms_async import Message\n"
        "from esms_async.ledger import SqliteLedger\n"
        "async def leave():\n"
        "    ledger, message = SqliteLedger(sys.argv[1]), Message('0901888484', '686868')\n"
        "    await ledger.open()\n"
        "    await ledger.claim(message, b'fingerprint of the message')\n"
        "    print(message.request_id)\n"
        "asyncio.run(leave())\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=generous(60),
    )

    async def find() -> Status:
        async with SqliteLedger(path) as ledger:
            entry = await ledger.look_up(shown.stdout.strip())
            assert entry is not None
            return entry.status

    assert asyncio.run(find()) is Status.UNKNOWN


def test_results_for_a_closed_event_loop_are_dropped(tmp_path: Path) -> None:
    """A loop that ended before its answer came does not stop the writer."""
    path = tmp_path / "ledger.db"
    ledger = SqliteLedger(path)
    blocked = threading.Event()
    writers: list[SqliteWriter[Any]] = []

    async def leave() -> None:
        await ledger.open()
        writers.append(ledger._opened())
        writers[0].run(lambda _: blocked.wait(generous(20))).cancel()

    asyncio.run(leave())
    blocked.set()

    async def go_on() -> str:
        request_id = await claim(ledger)
        writers[0]._ended = asyncio.get_running_loop().create_future()
        return request_id

    assert asyncio.run(go_on())
    writers[0]._jobs.put(None)
    writers[0]._thread.join(20)
    gc.collect()


async def test_pruning_frees_what_is_old(tmp_path: Path) -> None:
    """Many old entries go in one call."""
    now = [1000.0]
    async with SqliteLedger(tmp_path / "ledger.db", clock=lambda: now[0]) as ledger:
        ids = await asyncio.gather(*(claim(ledger) for _ in range(1000)))
        await asyncio.gather(*(ledger.settle(request_id, 1, ACCEPTED) for request_id in ids))
        now[0] += 100
        assert await ledger.prune(10) == 1000
        assert await ledger.prune(10) == 0


async def test_pruning_lets_claims_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prune of many entries is made of slices, and a claim waits for one of them at most."""
    monkeypatch.setattr(sqlite, "_SMALLEST_SLICE", 10)
    monkeypatch.setattr(sqlite, "_LARGEST_SLICE", 10)
    async with SqliteLedger(tmp_path / "ledger.db") as ledger:
        ids = await asyncio.gather(*(claim(ledger) for _ in range(200)))
        await asyncio.gather(*(ledger.settle(one, 1, ACCEPTED) for one in ids[:150]))
        pruning = asyncio.create_task(ledger.prune(-1))
        await asyncio.sleep(0)
        late = await claim(ledger)
        assert not pruning.done()
        assert await pruning == 150
        assert {entry.request_id async for entry in ledger.entries()} == {*ids[150:], late}


@pytest.mark.parametrize(
    ("rows", "took", "expected"),
    [
        (800, 0.0101, 400),
        (60, 10.0, 50),
        (50, 10.0, 50),
        (800, 0.005, 800),
        (800, 0.001, 1600),
        (1600, 0.001, 2000),
    ],
)
def test_a_slice_of_a_prune_is_as_large_as_the_disk_is_fast(
    rows: int, took: float, expected: int
) -> None:
    """After a transaction of more than 10 ms the next slice is half as large."""
    assert sqlite._next_slice(rows, took) == expected


async def test_a_prune_on_a_slow_disk_goes_in_small_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time that counts is that of the whole transaction, with its commit."""
    slices: list[int] = []
    adapt = sqlite._next_slice

    def seen(rows: int, took: float) -> int:
        assert took > 0
        slices.append(rows)
        return adapt(rows, 1.0 if len(slices) == 4 else 0.0)

    monkeypatch.setattr(sqlite, "_next_slice", seen)
    async with SqliteLedger(tmp_path / "ledger.db") as ledger:
        ids = await asyncio.gather(*(claim(ledger) for _ in range(1000)))
        await asyncio.gather(*(ledger.settle(one, 1, ACCEPTED) for one in ids))
        slices.clear()
        assert await ledger.prune(-1) == 1000
    assert slices == [50, 100, 200, 400, 200, 400, 800]


async def test_a_prune_ends_while_claims_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was claimed after it began is none of its business."""
    adapt = sqlite._next_slice
    claims: list[asyncio.Task[str]] = []

    def and_claim(rows: int, took: float) -> int:
        # The next slice shares its transaction with this claim.
        assert len(claims) < 10
        claims.append(asyncio.create_task(claim(ledger)))
        return adapt(rows, took)

    monkeypatch.setattr(sqlite, "_next_slice", and_claim)
    async with SqliteLedger(tmp_path / "ledger.db") as ledger:
        await claim(ledger)
        assert await ledger.prune(-1, unsettled=True) == 1
        await asyncio.gather(*claims)


@pytest.mark.parametrize(
    ("statement", "plan"),
    [
        (
            sqlite._paging("status = 'unknown'"),
            "USING INDEX unsettled",
        ),
        (sqlite._last_of("status = 'unknown'"), "SEARCH sends USING (COVERING )?INDEX unsettled"),
        (sqlite._accepting(1), r"SEARCH sends USING INDEX \w+ \(request_id=\?\)"),
        (sqlite._accepting(2), r"SEARCH sends USING INDEX \w+ \(request_id=\?\)"),
        (sqlite._finding(1), r"SEARCH sends USING INDEX \w+ \(request_id=\?\)"),
        (sqlite._finding(2), r"SEARCH sends USING INDEX \w+ \(request_id=\?\)"),
    ],
    ids=["unsettled", "last", "accept one", "accept some", "find one", "find some"],
)
async def test_nothing_goes_through_all_entries(tmp_path: Path, statement: str, plan: str) -> None:
    """Unsettled entries are found by their index, and one entry by its key."""

    def explain(connection: sqlite3.Connection) -> list[str]:
        values = [None] * 20
        count = statement.count("?")
        explained = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values[:count])
        return [str(row[3]) for row in explained]

    async with SqliteLedger(tmp_path / "ledger.db") as ledger:
        steps = await ledger._opened().run(explain)
    assert any(re.search(plan, step) for step in steps)
    assert not any(step.startswith("SCAN sends") and not re.search(plan, step) for step in steps)


async def test_a_callback_that_fails_leaves_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for the same transaction gets its error, whatever the callback does."""

    def fail(*_: object) -> bool:
        raise sqlite3.OperationalError("disk I/O error")

    def unrecorded(*_: object) -> None:
        raise ValueError("of the callback")

    monkeypatch.setattr(sqlite, "_accept_all", fail)
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: told.append(about))
    async with SqliteLedger(tmp_path / "ledger.db") as ledger:
        ledger.accept_soon("a", None, deduplicated=False, unrecorded=unrecorded)
        with pytest.raises(LedgerError, match="disk I/O error"):
            await ledger.look_up("a")
    assert "of the callback" in str(told)
