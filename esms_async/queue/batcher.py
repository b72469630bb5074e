"""Does together what comes up while the same thing is being done."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

T = TypeVar("T")
A = TypeVar("A")

_MOST: Final = 128


class Batcher(Generic[T, A]):
    """Collects items, and handles one batch of them at a time, because a round trip is dear.

    Args:
        handle: Handles a batch, and returns an answer to each item; None if the answers come
            another way.
        pause: Seconds to wait for more items before each batch.
    """

    def __init__(
        self, handle: Callable[[list[T]], Awaitable[Sequence[A] | None]], *, pause: float = 0.0
    ) -> None:
        self._handle = handle
        self._pause = pause
        self._items: list[tuple[T, asyncio.Future[A]]] = []
        self._working: asyncio.Task[None] | None = None

    def add(self, item: T) -> "asyncio.Future[A]":
        """Add an item, and return the future of its answer or of the error of its batch."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[A] = loop.create_future()
        self._items.append((item, answer))
        if self._working is None:
            self._working = loop.create_task(self._work())
        return answer

    def close(self) -> None:
        """Handle nothing more; what waits gets no answer."""
        if self._working is not None:
            self._working.cancel()

    async def _work(self) -> None:
        try:
            while self._items:
                await asyncio.sleep(self._pause)
                batch, self._items = self._items[:_MOST], self._items[_MOST:]
                await self._answer(batch)
        finally:
            self._working = None

    async def _answer(self, batch: list[tuple[T, "asyncio.Future[A]"]]) -> None:
        try:
            answers = await self._handle([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001  # those who wait get it
            for _, waiting in batch:
                if not waiting.done():
                    waiting.set_exception(error)
        else:
            if answers is None:
                return
            for (_, waiting), answer in zip(batch, answers, strict=True):
                if not waiting.done():
                    waiting.set_result(answer)
