"""The script that people write in place of `esms-async bulk`: aiohttp, csv in, csv out.

It knows no retry, no ledger and no check, and is what the command is measured against.
"""

import asyncio
import csv
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import aiohttp


async def main(url: str, source: str, target: str, concurrency: int) -> None:
    """Send every row of a file and write what the gateway answered."""
    with (
        Path(source).open(encoding="utf-8", newline="") as read,  # noqa: ASYNC230  # as people write it
        Path(target).open("w", encoding="utf-8", newline="") as written,  # noqa: ASYNC230  # the same
    ):
        rows = csv.DictReader(read)
        out = csv.writer(written)
        out.writerow([*(rows.fieldnames or ()), "code", "sms_id"])
        connector = aiohttp.TCPConnector(limit=concurrency)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def work(mine: Iterator[dict[str, str]]) -> None:
                for row in mine:
                    body = {
                        "ApiKey": "key",
                        "SecretKey": "secret",
                        "SmsType": "8",
                        "Phone": row["phone"],
                        "Content": row["content"],
                        "RequestId": uuid.uuid4().hex,
                    }
                    async with session.post(url, json=body) as response:
                        answer = await response.json()
                    out.writerow([*row.values(), answer["CodeResult"], answer["SMSID"]])

            shared = iter(rows)
            await asyncio.gather(*(work(shared) for _ in range(concurrency)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
