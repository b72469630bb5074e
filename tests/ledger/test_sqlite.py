"""The SQLite ledger's file: whose it is, what may go wrong with it, and what is never touched."""

import asyncio
import contextlib
import functools
import gc
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from esms_async import LedgerError, UsageError
from esms_async.handover import Answer
from esms_async.ledger import Decision, News, Settlement, SqliteLedger, State
from esms_async.ledger.base import LedgerOptions
from esms_async.ledger.sqlite import APPLICATION_ID
from esms_async.settlement import fingerprint
from tests.factories import a_message
from tests.limits import generous

if TYPE_CHECKING:
    from esms_async.ledger.sqlite_writer import SqliteWriter

ACCEPTED = Settlement(News.ACCEPTED, sms_id="d8e0")
# As the release wrote it that knew no reports.
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
            ("user_version", 3),
        ]:
            found = await writer.run(functools.partial(_pragma, name=pragma))
            assert found == (value,)


async def test_a_file_of_version_1_is_brought_up_to_date(tmp_path: Path) -> None:
    """Its entries stay as they are, and reports can be handed on from then on."""
    path = tmp_path / "ledger.db"
    path.write_bytes(VERSION_1.read_bytes())
    for answer in (Answer.GO, Answer.DONE):
        async with SqliteLedger(path) as ledger:
            entries = [entry async for entry in ledger.entries()]
            assert [(entry.request_id, entry.state) for entry in entries] == [
                ("accepted", State.ACCEPTED),
                ("open", State.OPEN),
                ("rejected", State.REJECTED),
            ]
            assert (entries[0].sms_id, entries[0].updated_at) == ("d8e0", 1_800_000_005.0)
            assert (entries[2].code, entries[2].detail) == ("108", "malformed")
            turn = await ledger.begin_report("open", "delivered", 10)
            assert turn.answer is answer
            await ledger.end_report("open", "delivered", turn.handover.turn, success=True)
            version = await ledger._opened().run(functools.partial(_pragma, name="user_version"))
            assert version == (3,)


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

    newer = bytearray(whole)
    newer[60:64] = (99).to_bytes(4, "big")
    path.write_bytes(newer)
    await refuse_to_open(path, "version 99")


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
            blocked.wait(20)

        waiting = ledger._opened().run(block)
        await asyncio.to_thread(busy.wait, 20)
        claiming = asyncio.create_task(ledger.claim(message, fingerprint(message, b"key")))
        failing = ledger._opened().run(fail)
        await asyncio.sleep(0)
        blocked.set()
        results = await asyncio.gather(claiming, failing, return_exceptions=True)
        await waiting
        assert [type(result) for result in results] == [LedgerError, LedgerError]
        assert await ledger.look_up(message.request_id) is None


async def test_concurrent_claims_share_commits(tmp_path: Path) -> None:
    """Claims that come while the disk is busy go out together."""
    commits = 0

    def count(statement: str) -> None:
        nonlocal commits
        commits += statement == "COMMIT"

    ledger = SqliteLedger(tmp_path / "ledger.db")
    async with ledger:
        await ledger._opened().run(lambda connection: connection.set_trace_callback(count))
        await asyncio.gather(*(claim(ledger) for _ in range(1000)))
        await ledger._opened().run(lambda connection: connection.set_trace_callback(None))
    assert 0 < commits < 100


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

    async def find() -> State:
        async with SqliteLedger(path) as ledger:
            entry = await ledger.look_up(shown.stdout.strip())
            assert entry is not None
            return entry.state

    assert asyncio.run(find()) is State.OPEN


def test_results_for_a_closed_event_loop_are_dropped(tmp_path: Path) -> None:
    """A loop that ended before its answer came does not stop the writer."""
    path = tmp_path / "ledger.db"
    ledger = SqliteLedger(path)
    blocked = threading.Event()
    writers: list[SqliteWriter] = []

    async def leave() -> None:
        await ledger.open()
        writers.append(ledger._opened())
        writers[0].run(lambda _: blocked.wait(20)).cancel()

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
