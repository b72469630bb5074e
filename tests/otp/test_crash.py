"""Crashes, for real: processes that are killed at random moments, over a store on disk."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
from aiohttp import web

from esms_async.emulator import Emulator, Settings
from esms_async.otp import rules
from tests.ledger.redis_server import RedisServer
from tests.limits import TIMES, generous
from tests.otp.processes import LIFE, start_program
from tests.otp.support import KEY

KILLS = 8 * TIMES
LOCK = 40
ATTEMPTS = 3
FAULTS = ["reset,phase=after,p=0.15", "close,phase=before,p=0.1", "http:503,phase=after,p=0.05"]


@attrs.frozen
class Note:
    """A result that a life got: when, what, and for which phone."""

    at: float
    word: str
    phone: str
    rest: list[str]


def read_notes(path: Path) -> list[Note]:
    """Return the notes of all lives, in order."""
    lines = path.read_text("ascii").splitlines() if path.exists() else []
    return [
        Note(float(at), word, phone, rest)
        for at, word, phone, *rest in (line.split(" ") for line in lines)
    ]


@asynccontextmanager
async def inbox(gateway: Emulator) -> AsyncIterator[str]:
    """Serve the newest code of each phone."""

    async def code(request: web.Request) -> web.Response:
        phone = request.match_info["phone"]
        texts = [each.content for each in gateway.messages if each.phone == phone]
        return web.Response(text=texts[-1][:6] if texts else "")

    app = web.Application()
    app.router.add_get("/{phone}", code)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def wait_for_notes(notes: Path, count: int, process: asyncio.subprocess.Process) -> None:
    """Wait until a life has written so many more lines."""
    wanted = len(read_notes(notes)) + count
    async with asyncio.timeout(generous(60)):
        while len(read_notes(notes)) < wanted:  # a file tells nobody
            assert process.returncode is None, (await process.communicate())[1].decode()
            await asyncio.sleep(0.01)


async def live_and_die(
    gateway: Emulator, kind: str, place: str, notes: Path, server: RedisServer | None = None
) -> None:
    """Run lives that are killed; the clock moves past the lease between them.

    Each life does some work first, so a slow machine shows as much as a fast one. A server is
    killed and started again in every fifth life.
    """
    chance = random.Random(7)  # noqa: S311  # moments, no secrets
    offset = 0.0
    async with inbox(gateway) as page:
        for life in range(KILLS):
            process = await start_program(
                LIFE, gateway.url, page, kind, place, str(notes), str(offset), str(life)
            )
            await wait_for_notes(notes, chance.randrange(20, 120), process)
            if server is not None and life % 5 == 0:
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
                await wait_for_notes(notes, 1, process)
            process.kill()
            await process.communicate()
            offset += chance.uniform(rules.LEASE / 1000 + 1, 30)


def check(gateway: Emulator, notes: list[Note]) -> None:
    """Hold what the lives were told against the gateway's list."""
    # Each numbered send reached its phone at most once, under the RequestId of its flow.
    accepted = Counter(message.request_id for message in gateway.messages)
    assert set(accepted.values()) == {1}
    flows = {rules.read_id(note.rest[0]) for note in notes if note.word == "started"}
    known = {
        rules.request_id_of(KEY, bind, gen, number): (bind, gen)
        for bind, gen in flows
        for number in range(1, 100)
    }
    # All SMS with one code belong to one flow: each has a number of it, and none has an id of
    # another kind. A flow that no life could note, because it was killed, has no known number.
    by_code: dict[tuple[str, str], list[tuple[bytes, bytes] | None]] = {}
    for message in gateway.messages:
        ids = by_code.setdefault((message.phone, message.content[:6]), [])
        ids.append(known.get(message.request_id or ""))
    assert all(len(set(ids)) == 1 for ids in by_code.values())
    noted = [ids for ids in by_code.values() if ids[0] is not None]
    assert len(noted) > len(by_code) // 2
    assert any(len(ids) > 1 for ids in noted)

    # No code is believed twice.
    verified = Counter(rules.read_id(note.rest[0]) for note in notes if note.word == "verified")
    assert set(verified.values()) == {1}
    assert len(verified) > KILLS

    # No lock and no count is lost.
    left: dict[str, int] = {}
    locked_until: dict[str, float] = {}
    for note in notes:
        if note.word in ("wrong", "verified"):
            assert note.at >= locked_until.get(note.phone, 0.0) - 0.01, note
        if note.word == "verified":
            left.pop(note.phone, None)
        elif note.word == "wrong":
            now_left = int(note.rest[1])
            # A life may have been killed between a success or a lock and its note of it.
            assert now_left < left.get(note.phone, ATTEMPTS) or now_left == ATTEMPTS - 1, note
            left[note.phone] = now_left
            if now_left == 0:
                locked_until[note.phone] = note.at + LOCK
                left.pop(note.phone)
    assert locked_until
    words = Counter(note.word for note in notes)
    assert words["locked"] + words["refused"] > 0


@pytest.mark.once
async def test_lives_that_are_killed_over_sqlite(tmp_path: Path) -> None:
    """After many kills: one SMS a number, no code twice, no lock lost."""
    settings = Settings(max_messages=100_000, max_requests=200_000)
    async with Emulator(faults=FAULTS, seed=1, settings=settings) as gateway:
        notes = tmp_path / "notes"
        await live_and_die(gateway, "sqlite", str(tmp_path / "otp.db"), notes)
        check(gateway, read_notes(notes))


@pytest.mark.once
async def test_lives_that_are_killed_over_redis(tmp_path: Path) -> None:
    """The same, on a server, which is killed now and then, too."""
    settings = Settings(max_messages=100_000, max_requests=200_000)
    with RedisServer({"appendonly": "yes", "appendfsync": "always"}) as server:
        async with Emulator(faults=FAULTS, seed=2, settings=settings) as gateway:
            notes = tmp_path / "notes"
            await live_and_die(gateway, "redis", server.url, notes, server)
            check(gateway, read_notes(notes))


def test_notes_are_read(tmp_path: Path) -> None:
    """An empty file has no notes."""
    path = tmp_path / "notes"
    assert read_notes(path) == []
    path.write_text(f"{time.time()} wrong 0911000001 id 2\n")
    assert read_notes(path)[0].rest == ["id", "2"]
