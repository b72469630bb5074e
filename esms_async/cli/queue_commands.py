"""The commands `worker` and `queue`, with their options."""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from esms_async.cli.errors import ExitCode, InputError
from esms_async.cli.interrupt import interruptible
from esms_async.cli.options import Command, CommandGroup, debug_option
from esms_async.cli.running import run_job
from esms_async.cli.screen import Screen
from esms_async.cli.words import Text, text
from esms_async.cli.worker import worker

if TYPE_CHECKING:
    from esms_async.queue.streams import QueueStreams

_POLL: Final = 0.2
_ID: Final = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")

_queue_option = click.option(
    "--queue", "url", metavar="URL", envvar="ESMS_QUEUE_URL", help="Redis server of the queue."
)
_WHICH_DEAD: Final = (
    click.argument("ids", metavar="[ID]...", nargs=-1),
    click.option("--all", "every", is_flag=True, help="All of them."),
)
_name_option = click.option(
    "--name",
    metavar="NAME",
    envvar="ESMS_QUEUE_NAME",
    default="esms",
    show_default=True,
    help="Name of the queue.",
)


@click.command("worker", cls=Command, short_help="Send the messages of a queue.")
@_queue_option
@_name_option
@click.option("--rate", metavar="N", help="Most attempts a second of all workers together.")
@click.option("--concurrency", metavar="N", help="Most sends at a time [default: 64].")
@click.option("--deadline", metavar="SECONDS", help="Time for one try of a message [default: 30].")
@click.option("--listen", metavar="HOST:PORT", help="Serve /livez, /readyz and /metrics.")
@click.option("--log", type=click.Choice(["json", "text"]), default="json", show_default=True)
@click.option(
    "--loop",
    type=click.Choice(["asyncio", "uvloop"]),
    envvar="ESMS_LOOP",
    default="asyncio",
    show_default=True,
    help="Event loop that it runs on.",
)
@debug_option
def worker_command(  # noqa: PLR0917  # click gives them by name
    url: str | None,
    name: str,
    rate: str | None,
    concurrency: str | None,
    deadline: str | None,
    listen: str | None,
    log: str,
    loop: str,
    debug: bool,  # noqa: FBT001  # the same
) -> int:
    """Send the messages of a queue until SIGTERM or Ctrl-C; what is in flight is finished.

    The environment sets the rest: ESMS_API_KEY, ESMS_SECRET_KEY and ESMS_QUEUE_KEY (or
    ESMS_QUEUE_CLEAR=1); ESMS_BASE_URL and ESMS_SANDBOX as for other commands. ESMS_QUEUE_URL,
    ESMS_QUEUE_NAME, ESMS_RATE, ESMS_CONCURRENCY, ESMS_DEADLINE and ESMS_LOOP stand for the options.
    """
    given = {
        "ESMS_QUEUE_URL": url,
        "ESMS_QUEUE_NAME": name,
        "ESMS_RATE": rate,
        "ESMS_CONCURRENCY": concurrency,
        "ESMS_DEADLINE": deadline,
    }
    return run_job(
        lambda _: worker(given, listen=listen, as_text=log == "text"),
        as_json=True,
        debug=debug,
        own_log=True,
        loop=loop,
    )


@click.group("queue", cls=CommandGroup, short_help="Look at a queue, and steer its workers.")
def queue_group() -> None:
    """Look at a queue, and steer its workers."""


def _add(
    name: str,
    job: Callable[..., Coroutine[object, object, ExitCode]],
    words: str,
    *parameters: Callable[[Callable[..., int]], Callable[..., int]],
) -> None:
    def command(*, url: str | None, name: str, as_json: bool, debug: bool, **asked: Any) -> int:  # noqa: ANN401  # what click made of the options
        async def run(screen: Screen) -> ExitCode:
            async with _opened(url, name) as streams:
                return await job(streams, screen, as_json=as_json, **asked)

        return run_job(lambda screen: interruptible(run(screen)), as_json=as_json, debug=debug)

    decorated: Callable[..., int] = command
    options: tuple[Callable[[Callable[..., int]], Callable[..., int]], ...] = (
        _queue_option,
        _name_option,
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        debug_option,
        *parameters,
    )
    for parameter in options:
        decorated = parameter(decorated)
    queue_group.command(name, cls=Command, help=words, short_help=words.partition(";")[0])(
        decorated
    )


@asynccontextmanager
async def _opened(url: str | None, name: str) -> "AsyncGenerator[QueueStreams]":
    if not url:
        raise InputError(text("queue_needed"))
    try:
        from esms_async.queue.streams import QueueStreams  # noqa: PLC0415  # it needs the extra
    except ImportError as error:
        raise InputError(text("queue_extra", name=error.name)) from None
    async with contextlib.aclosing(QueueStreams(url, name)) as streams:
        yield streams


async def _status(streams: "QueueStreams", screen: Screen, *, as_json: bool) -> ExitCode:
    from esms_async.cli.queue_views import look_at  # noqa: PLC0415  # it needs the extra
    from esms_async.cli.queue_watch import open_breakers, stopped_workers  # noqa: PLC0415  # the same

    found = await look_at(streams)
    if as_json:
        screen.put_json(found)
        return ExitCode.ACCEPTED
    for lane, numbers in found["lanes"].items():
        waiting, under_way = numbers["waiting"], numbers["under_way"]
        seconds = round(numbers["oldest_seconds"])
        screen.say(text("lane", lane=lane, waiting=waiting, under_way=under_way, seconds=seconds))
    screen.say(text("parked", count=found["parked"]))
    screen.say(text("dead", count=found["dead"]))
    workers = "workers_paused" if found["paused"] else "workers"
    screen.say(text(workers, count=len(found["workers"])))
    if found["out_of_memory"]:
        screen.say(text("queue_full"))
    for line in (*open_breakers(found, screen.language), *stopped_workers(found)):
        screen.say(line)
    return ExitCode.ACCEPTED


async def _dead(streams: "QueueStreams", screen: Screen, *, as_json: bool) -> ExitCode:
    from esms_async.cli.queue_views import dead_messages  # noqa: PLC0415  # it needs the extra

    found = await dead_messages(streams)
    if as_json:
        screen.put_value(found)
    for each in [] if as_json else found:
        reason = screen.say_word(text("says", problem=each["reason"]))
        screen.say(f"{each['id']} {each['lane']} {each['request_id'] or '?'}: {reason}")
    return ExitCode.ACCEPTED


async def _change_dead(
    streams: "QueueStreams",
    screen: Screen,
    *,
    done: Literal["requeued", "dropped"],
    as_json: bool,
    ids: tuple[str, ...],
    every: bool,
) -> ExitCode:
    if bool(ids) == every:
        raise InputError(text("dead_ids_needed"))
    for each in ids:
        if not _ID.fullmatch(each):
            raise InputError(text("no_dead_id", id=each))
    change = streams.release if done == "requeued" else streams.drop
    count = await change(streams.key("dead"), *ids)
    _put(screen, {done: count}, text(done, count=count), as_json=as_json)
    return ExitCode.ACCEPTED if every or count == len(ids) else ExitCode.REFUSED


async def _pause(streams: "QueueStreams", screen: Screen, *, as_json: bool) -> ExitCode:
    await streams.set_fact("paused", "1")
    _put(screen, {"paused": True}, text("paused"), as_json=as_json)
    return ExitCode.ACCEPTED


async def _resume(streams: "QueueStreams", screen: Screen, *, as_json: bool) -> ExitCode:
    await streams.set_fact("paused", None)
    _put(screen, {"paused": False}, text("resumed"), as_json=as_json)
    return ExitCode.ACCEPTED


async def _drain(
    streams: "QueueStreams", screen: Screen, *, as_json: bool, seconds: float | None
) -> ExitCode:
    from esms_async.cli.queue_watch import watched  # noqa: PLC0415  # it needs the extra

    depth = -1
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds), watched(streams, screen):
            while depth := sum((await streams.depth()).values()):  # noqa: ASYNC110  # the server tells nobody
                await asyncio.sleep(_POLL)
    line = text("queue_empty" if depth == 0 else "queue_not_empty")
    _put(screen, {"depth": depth}, line, as_json=as_json)
    return ExitCode.REFUSED if depth else ExitCode.ACCEPTED


def _put(screen: Screen, value: dict[str, object], line: Text, *, as_json: bool) -> None:
    if as_json:
        screen.put_json(value)
    else:
        screen.say(line)


_add("status", _status, "Show what waits, who works and what is broken.")
_add("dead", _dead, "List the messages that could not be sent; each with its reason.")
_add(
    "requeue",
    partial(_change_dead, done="requeued"),
    "Put dead messages back into the queue.",
    *_WHICH_DEAD,
)
_add(
    "drop",
    partial(_change_dead, done="dropped"),
    "Delete dead messages for good; nobody sends them any more.",
    *_WHICH_DEAD,
)
_add("pause", _pause, "Have all workers take no more messages.")
_add("resume", _resume, "Have the workers go on after a pause.")
_add(
    "drain",
    _drain,
    "Wait until the queue is empty; exit with 1 if it is not in time.",
    click.option(
        "--timeout", "seconds", type=float, metavar="SECONDS", help="Wait no longer than this."
    ),
)
