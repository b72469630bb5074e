"""Deadlines: a task ends when its time is up, and nobody else's cancellation is swallowed."""

import asyncio

import pytest

from esms_async._http.transport import RESOLUTION, Deadlines
from tests.limits import generous


async def wait_under(deadlines: Deadlines, seconds: float) -> str:
    """Wait for ever under a deadline, and tell what ended the wait."""
    deadline = deadlines.begin(seconds)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        if not deadlines.undo_cancellation(deadline, 0):
            raise
        return "time is up"
    finally:
        deadlines.end(deadline)
    return "never"


async def test_a_task_ends_when_its_time_is_up() -> None:
    """The wait is ended, the task is not, and it can be cancelled as before."""
    deadlines = Deadlines()
    task = asyncio.current_task()
    assert task is not None
    assert await wait_under(deadlines, 0.01) == "time is up"
    assert task.cancelling() == 0


async def test_each_task_has_its_own_time() -> None:
    """The shorter time ends first, though one timer serves all."""
    deadlines = Deadlines()
    order: list[str] = []

    async def run(name: str, seconds: float) -> None:
        await wait_under(deadlines, seconds)
        order.append(name)

    long = asyncio.create_task(run("long", 60))
    await run("short", 0.0)
    assert not long.done()
    deadlines._pending[long] = 0.0
    await long
    assert order == ["short", "long"]


async def test_a_deadline_that_strikes_leaves_no_cancellation_behind() -> None:
    """Where what was cancelled makes another error of it, the task goes on uncancelled."""
    deadlines = Deadlines()
    task = asyncio.current_task()
    assert task is not None
    deadline = deadlines.begin(0)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        pass
    finally:
        deadlines.end(deadline)
    assert task.cancelling() == 0
    deadlines.close()


async def test_a_cancellation_that_nobody_made_is_taken_back() -> None:
    """What the task waits for may be cancelled, which is no cancellation of the task."""
    deadlines = Deadlines()
    deadline = deadlines.begin(60)
    place = asyncio.get_running_loop().create_future()
    place.cancel()
    with pytest.raises(asyncio.CancelledError):
        await place
    assert not deadlines.has_expired(deadline)
    assert deadlines.undo_cancellation(deadline, 0)
    deadlines.end(deadline)
    deadlines.close()


async def test_another_cancellation_is_passed_on() -> None:
    """A task that somebody cancels is cancelled, whatever time it had."""
    deadlines = Deadlines()
    task = asyncio.create_task(wait_under(deadlines, 60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    deadlines.close()


async def test_a_cancellation_at_the_same_moment_is_passed_on() -> None:
    """Where time is up and somebody cancels too, the cancellation wins."""
    deadlines = Deadlines()

    async def wait() -> None:
        deadline = deadlines.begin(0)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert not deadlines.undo_cancellation(deadline, 0)
            raise
        finally:
            deadlines.end(deadline)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    deadlines._look(asyncio.get_running_loop())
    assert deadlines.has_expired(task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    deadlines.close()


async def test_no_timer_runs_while_nothing_is_under_way() -> None:
    """The timer stops with the last deadline, and starts with the next."""
    deadlines = Deadlines()
    for _ in range(2):
        deadlines.end(deadlines.begin(60))
        assert deadlines._timer is not None
        async with asyncio.timeout(generous(20)):
            while deadlines._timer is not None:  # noqa: ASYNC110  # a timer tells nobody
                await asyncio.sleep(RESOLUTION)
    deadlines.close()
