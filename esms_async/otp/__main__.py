"""Runs `python -m esms_async.otp reset-clock STORE`, which lets a store take the clock's time."""

import argparse
import asyncio
import sys
from pathlib import Path

from esms_async import EsmsError
from esms_async.otp import OtpStoreError, SqliteOtpStore
from esms_async.otp.stores import OtpStore


def main() -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m esms_async.otp")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    reset = commands.add_parser(
        "reset-clock",
        help="let a store take the clock's time, after the clock was ahead and is right again; "
        "codes and counts are forgotten, locks stay",
    )
    reset.add_argument("store", metavar="STORE", help="a file, or the URL of a Redis server")
    reset.add_argument("--prefix", default="esms", help="of the keys on Redis (default: esms)")
    chosen = parser.parse_args()
    try:
        asyncio.run(_reset(_store(chosen.store, chosen.prefix)))
    except (EsmsError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201  # this is a command
        return 1
    print("the store takes the clock's time from now on")  # noqa: T201  # the same
    return 0


def _store(name: str, prefix: str) -> OtpStore:
    if "://" in name:
        from esms_async.otp import RedisOtpStore  # noqa: PLC0415  # needs an extra

        return RedisOtpStore(name, prefix=prefix)
    if not Path(name).exists():  # opening it would make one
        raise OtpStoreError(f"there is no store of one-time codes in {name}")
    return SqliteOtpStore(name)


async def _reset(store: OtpStore) -> None:
    async with store:
        await store.reset_clock()


sys.exit(main())
