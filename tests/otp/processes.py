"""Programs that tests run in processes of their own, to race and to kill."""

import asyncio
import sys
from collections.abc import Sequence

# Verifies the same challenge many times at once, and prints how often it got each reason.
VERIFY = """
import asyncio, json, sys
from collections import Counter
from esms_async import Credentials, EsmsClient
from esms_async.otp import Otp, Purpose, RedisOtpStore

url, prefix, challenge, phone, *codes = sys.argv[1:]

async def main():
    store = RedisOtpStore(url, prefix=prefix)
    purposes = {"login": Purpose("{code} la ma xac minh cua ban")}
    esms = EsmsClient(Credentials("no", "send"))
    async with Otp(esms, store=store, keys=[b"k" * 32], purposes=purposes) as otp:
        print("ready", flush=True)
        sys.stdin.readline()
        calls = (otp.verify(challenge, code, phone=phone) for code in codes)
        print(json.dumps(Counter(result.reason for result in await asyncio.gather(*calls))))

asyncio.run(main())
"""

# Starts, resends and verifies codes of some phones over and over until it is killed, and writes
# down what it was told, with the time. Another server tells it what the phones got.
LIFE = """
import asyncio, os, random, sys, time
import aiohttp
from esms_async import Credentials, EsmsClient, EsmsError, RetryPolicy
from esms_async.otp import Guard, Otp, OtpRefused, Purpose, RedisOtpStore, SqliteOtpStore

url, inbox, kind, place, notes, offset, seed = sys.argv[1:8]
phones = [f"0911{number:06}" for number in range(12)]
chance = random.Random(int(seed))
notes = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

def clock():
    return time.time() + float(offset)

def note(*words):
    os.write(notes, (" ".join(map(str, (clock(), *words))) + "\\n").encode())

async def visit(otp, page, phone):
    try:
        challenge = await otp.start(phone)
        note("started", phone, challenge.id)
        if chance.random() < 0.5:
            try:
                challenge = await otp.resend(challenge.id, phone=phone)
            except OtpRefused:
                pass
        async with page.get(f"{inbox}/{phone}") as answer:
            code = await answer.text()
        if not code:
            return
        if chance.random() < 0.4:
            bad = f"{(int(code) + 1) % 1000000:06}"
            result = await otp.verify(challenge.id, bad, phone=phone)
            note(result.reason, phone, challenge.id, result.attempts_left)
            return
        results = await asyncio.gather(
            *(otp.verify(challenge.id, code, phone=phone) for _ in range(2))
        )
        for result in results:
            note(result.reason, phone, challenge.id, result.attempts_left)
    except OtpRefused as error:
        note("refused", phone, error.reason)
    except EsmsError as error:
        note("error", phone, type(error).__name__)

async def main():
    make = SqliteOtpStore if kind == "sqlite" else RedisOtpStore
    retry = RetryPolicy(attempts=2, backoff_initial=0.01)
    client = EsmsClient(Credentials("key", "secret"), base_url=url, retry=retry)
    store = make(place, clock=clock)
    while not store.is_open:
        try:
            await store.open()
        except EsmsError:
            await asyncio.sleep(0.1)
    otp = Otp(
        client,
        store=store,
        keys=[b"k" * 32],
        purposes={"login": Purpose("{code} la ma xac minh cua ban", attempts=3, lock=(40,))},
        guard=Guard(per_phone=None, total=None, conversion=0),
        resend_after=(0.05,),
    )
    async with aiohttp.ClientSession() as page, client, otp:
        print("started", flush=True)
        while True:
            chance.shuffle(phones)
            await asyncio.gather(*(visit(otp, page, phone) for phone in phones))

asyncio.run(main())
"""


async def start_program(program: str, *arguments: str) -> asyncio.subprocess.Process:
    """Start a program, and wait for its first line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline(), (await process.communicate())[1].decode()
    return process


async def finish_together(processes: Sequence[asyncio.subprocess.Process]) -> list[bytes]:
    """Let programs that are ready go on at once, and return what they print."""
    results = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    for process, (_, errors) in zip(processes, results, strict=True):
        assert process.returncode == 0, errors.decode()
    return [printed for printed, _ in results]
