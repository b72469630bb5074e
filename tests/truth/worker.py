"""A process of its own that makes calls of a client, told as JSON, and prints what it was told.

It reads one task as JSON from standard input: `url`, `ledger` (None, or kind, place and prefix),
`messages` and `calls`; and prints one JSON list. `future_aiohttp` makes it run on an aiohttp that
no longer calls the hook of a payload, and has a version that no test has seen.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any


def age_aiohttp() -> None:
    """Turn aiohttp into a later one, which writes a body without asking the payload to."""
    import aiohttp  # noqa: PLC0415  # before the package loads it
    from aiohttp import client_reqrep, payload  # noqa: PLC0415  # the same

    class Writes:
        """Stands between aiohttp and the payload: asks for its bytes, and writes them itself."""

        def __init__(self, inner: payload.BytesPayload) -> None:
            self._inner = inner

        async def write_with_length(self, writer: Any, content_length: int | None) -> None:
            await writer.write(self._inner._value)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

    aiohttp.__version__ = "3.99.0"
    own = client_reqrep.ClientRequest.write_bytes

    async def write_bytes(self: Any, *args: Any, **options: Any) -> None:
        body = self._body
        if isinstance(body, payload.BytesPayload):
            self._body = Writes(body)
        try:
            await own(self, *args, **options)
        finally:
            self._body = body

    client_reqrep.ClientRequest.write_bytes = write_bytes  # type: ignore[method-assign]


async def main(task: dict[str, Any]) -> list[dict[str, Any]]:
    """Make the calls, one after the other."""
    from esms_async import Credentials, EsmsClient, Message, RetryPolicy  # noqa: PLC0415
    from tests.truth import telling  # noqa: PLC0415  # after aiohttp was aged
    from tests.truth.ledgers import open_ledger  # noqa: PLC0415

    messages = [Message(**fields) for fields in task["messages"]]
    found = []
    async with EsmsClient(
        Credentials(*task.get("keys", telling.KEYS)),
        base_url=task["url"],
        ledger=open_ledger(**task["ledger"]) if task.get("ledger") else None,
        retry=RetryPolicy(**task.get("retry", {"attempts": 1, "attempt_timeout": 10})),
        trackable=True,
    ) as client:
        for message in messages:
            for call in task["calls"]:
                if call == "reconcile":
                    await client.reconcile([message.request_id])
                    continue
                told = await telling.told(getattr(client, call)(message))
                found.append(
                    {
                        "kinds": [kind.__name__ for kind in type(told).__mro__],
                        "words": str(told),
                        "sms_id": getattr(told, "sms_id", None),
                        "code": getattr(told, "code", None),
                    }
                )
    return found


if __name__ == "__main__":
    # Last, so that a package that is installed comes before the one of the checkout.
    sys.path.append(str(Path(__file__).parents[2]))
    given = json.load(sys.stdin)
    if given.get("future_aiohttp"):
        age_aiohttp()
    sys.stdout.write(json.dumps(asyncio.run(main(given))))
