"""Fixtures that several test modules share."""

import importlib.util
import inspect
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import CodeType, FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiohttp
import aioresponses.core
import pytest
from hypothesis import HealthCheck, settings

from tests.ports import hold_port
from tests.postgres_server import PostgresServer, find_programs
from tests.scripted_gateway import ScriptedGateway

if TYPE_CHECKING:
    from tests.ledger.redis_server import RedisServer

# The sessions keep the checkout off the path, so that tests see the installed package. `tools` is
# in the checkout alone.
_TOOLS = importlib.util.spec_from_file_location(
    "tools", Path(__file__).parents[1] / "tools" / "__init__.py"
)
if "tools" not in sys.modules and _TOOLS is not None:
    sys.modules["tools"] = importlib.util.module_from_spec(_TOOLS)

# How fast a machine under load draws values says nothing about the code.
settings.register_profile("loaded", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("loaded")

# What a test module imports if it needs more than Python: a server, a browser.
_SERVERS = {"PostgresServer", "RedisServer", "async_playwright"}
_SERVED = {"own_server", "postgres", "redis", "redis_server"}
# What code names that starts a process.
_PROCESS = {"create_subprocess_exec", "create_subprocess_shell", "subprocess"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what needs a server, a browser or a process: `nox -s quick` leaves it out."""
    for item in items:
        parent = item.getparent(pytest.Module)
        module = vars(parent.obj) if parent else {}
        asked = {*getattr(item, "fixturenames", ())}
        if hasattr(item, "callspec"):
            asked |= {value for value in item.callspec.params.values() if isinstance(value, str)}
        served = not _SERVERS.isdisjoint(module) or not _SERVED.isdisjoint(asked)
        if served or any(_starts_a_process(each, set()) for each in _functions(item)):
            item.add_marker("slow")


def _functions(item: pytest.Item) -> Iterator[object]:
    """Yield the function of a test and those of its fixtures."""
    if isinstance(item, pytest.Function):
        yield item.function
        for defined in item._fixtureinfo.name2fixturedefs.values():
            yield from (each.func for each in defined)


def _starts_a_process(thing: object, seen: set[object]) -> bool:
    """Tell whether a function or class of the tests, or one that it names, starts a process."""
    if not isinstance(thing, FunctionType | type) or thing in seen:
        return False
    if not (thing.__module__ or "").startswith("tests."):
        return False
    seen.add(thing)
    if isinstance(thing, type):
        return any(_starts_a_process(each, seen) for each in vars(thing).values())
    written = inspect.unwrap(thing)  # a decorator may have wrapped it, as that of a context manager
    names = _names(written.__code__)
    return not _PROCESS.isdisjoint(names) or any(
        _starts_a_process(written.__globals__.get(name), seen) for name in names
    )


def _names(code: CodeType) -> set[str]:
    """Return the names that code uses, that of inner functions too."""
    inner = (each for each in code.co_consts if isinstance(each, CodeType))
    return {*code.co_names}.union(*map(_names, inner))


@pytest.fixture(scope="session", autouse=True)
def _signals_of_a_terminal() -> None:
    """Undo what a background job is started with, which the processes of tests would inherit."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def unused_tcp_port() -> Iterator[int]:
    """A port on which nobody listens while the test runs, unless the test does.

    The fixture of this name in pytest-asyncio lets the port go at once, for others to take.
    """
    with hold_port() as held:
        yield held.getsockname()[1]


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server that tests share; who is not alone keeps to a schema of its own."""
    programs = find_programs()
    if programs is None:
        pytest.skip("there is no PostgreSQL on this machine")
    with PostgresServer(programs) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> "Iterator[RedisServer]":
    """A Redis server that tests share; each keeps to a prefix of its own."""
    if sys.platform == "win32":
        pytest.skip("there is no Redis server for Windows")
    from tests.ledger.redis_server import RedisServer  # noqa: PLC0415  # not there on Windows

    with RedisServer() as server:
        yield server


@pytest.fixture
async def gateway() -> AsyncIterator[ScriptedGateway]:
    """A gateway whose script a test fills."""
    async with ScriptedGateway() as running:
        yield running


class _Response(aiohttp.ClientResponse):
    """A response for aioresponses 0.7.9, which does not know an argument of aiohttp 3.14."""

    def __init__(self, *args: Any, **options: Any) -> None:
        if "stream_writer" in (aiohttp.ClientResponse.__init__.__kwdefaults__ or {}) or (
            "stream_writer" in aiohttp.ClientResponse.__init__.__annotations__
        ):
            options.setdefault("stream_writer", SimpleNamespace(output_size=0))
        super().__init__(*args, **options)


@pytest.fixture
def stubbed(monkeypatch: pytest.MonkeyPatch) -> Iterator[aioresponses.aioresponses]:
    """Answers without a socket: for encoding and decoding, never for delivery."""
    monkeypatch.setattr(aioresponses.core, "ClientResponse", _Response)
    with aioresponses.aioresponses() as stub:
        yield stub
