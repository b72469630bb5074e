"""Says what keeps the workers of a queue from sending, whenever that changes."""

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

from esms_async.cli.queue_views import look_at
from esms_async.cli.screen import Screen
from esms_async.cli.words import Language, Text, advice_on, text
from esms_async.queue.streams import QueueError, QueueStreams

_EVERY: Final = 2.0
_CODE: Final = re.compile(r"code ([0-9]{1,4}): ")


@asynccontextmanager
async def watched(streams: QueueStreams, screen: Screen) -> AsyncGenerator[None]:
    """Say on standard error what keeps the workers from sending, as long as the context lasts."""
    watching = asyncio.create_task(_watch(streams, screen))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait([watching])


async def _watch(streams: QueueStreams, screen: Screen) -> None:
    told: list[Text] = []
    while True:
        # A server that is away is for those to name who use the queue.
        with contextlib.suppress(QueueError):
            found = obstacles(await look_at(streams), screen.language)
            for each in found:
                if each not in told:
                    screen.warn(each)
            if told and not found:
                screen.warn(text("queue_goes_on", name=repr(streams.name)))
            told = found
        await asyncio.sleep(_EVERY)


def obstacles(found: dict[str, Any], language: Language) -> list[Text]:
    """Return what keeps all workers from sending, by what `look_at` has found."""
    name = repr(found["name"])
    lines: list[Text] = []
    if found["out_of_memory"]:
        lines.append(text("queue_full"))
    elif not found["workers"]:
        lines.append(text("no_worker", name=name))
    if found["paused"]:
        lines.append(text("queue_paused", name=name))
    lines += open_breakers(found, language)
    # One that can send is enough.
    if len(found["stopped"]) == len(found["workers"]):
        lines += stopped_workers(found)
    return lines


def open_breakers(found: dict[str, Any], language: Language) -> list[Text]:
    """Return a line for each breaker that is open for all workers."""
    return [
        text("breaker", name=name, remedy=_remedy(remedy, language))
        for name, remedy in found["breakers"].items()
    ]


def stopped_workers(found: dict[str, Any]) -> list[Text]:
    """Return a line for each breaker that stops some workers, and is not open for all."""
    counts = Counter(names for names in found["stopped"].values() if names not in found["breakers"])
    told = {"workers": len(found["workers"]), "name": repr(found["name"])}
    return [
        text("workers_stopped", count=count, breakers=names, **told)
        for names, count in counts.items()
    ]


def _remedy(words: str, language: Language) -> Text:
    # The worker wrote it in English; what it says of a code is known in both languages.
    match = _CODE.match(words)
    if match is None:
        return text("says", problem=words)
    return text("breaker_code", code=match[1], advice=advice_on(match[1], language))
