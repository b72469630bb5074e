"""Ends tasks whose time is up, with one timer for all of them.

`asyncio.timeout` costs a timer and several calls for each request, a tenth of what the request
itself costs. Here a request only enters a set, which is looked through now and then.
"""

import asyncio
import time
from typing import Final

RESOLUTION: Final = 0.05
"""Seconds by which a task may outlive its time."""


class Deadline:
    """The time that one task has for one thing."""

    __slots__ = ("_at", "_cancelling", "_struck", "_task")

    def __init__(self, task: "asyncio.Task[object]", at: float) -> None:
        self._task = task
        self._at = at
        self._cancelling = task.cancelling()
        self._struck = False

    def strike(self, now: float) -> None:
        """Cancel the task if its time is up."""
        if now >= self._at and not self._struck:
            self._struck = True
            self._task.cancel()

    def take_back(self) -> bool:
        """Take back the cancellation that this deadline made, if it has made one.

        Returns:
            True where nobody else has cancelled the task meanwhile. The CancelledError just
            caught is this deadline's then, or that of something the task was waiting for;
            otherwise the task must go on being cancelled.
        """
        if self._struck:
            self._struck = False
            return self._task.uncancel() <= self._cancelling
        return self._task.cancelling() <= self._cancelling

    @property
    def has_struck(self) -> bool:
        """True once the time was up, until that is taken back."""
        return self._struck


class Deadlines:
    """The deadlines of everything that is under way on one event loop."""

    def __init__(self) -> None:
        self._pending: set[Deadline] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, seconds: float) -> Deadline:
        """Give the current task some time.

        Args:
            seconds: How long; the task is cancelled once they have passed.

        Returns:
            The deadline, for `end`.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # only coroutines call this
        deadline = Deadline(task, time.monotonic() + seconds)
        self._pending.add(deadline)
        if self._timer is None:
            self._timer = task.get_loop().call_later(RESOLUTION, self._look, task.get_loop())
        return deadline

    def end(self, deadline: Deadline) -> None:
        """Forget a deadline: what it was for is over, in time or not."""
        self._pending.discard(deadline)
        if deadline.has_struck:
            deadline.take_back()

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._pending:
            now = time.monotonic()
            for deadline in self._pending:
                deadline.strike(now)
            self._timer = loop.call_later(RESOLUTION, self._look, loop)
