"""Fixtures that several test modules share."""

import signal
import sys
from collections.abc import AsyncIterator, Iterator
from types import FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiohttp
import aioresponses.core
import pytest
from hypothesis import HealthCheck, settings

from tests.cli import support as command
from tests.ports import hold_port
from tests.scripted_gateway import ScriptedGateway

if TYPE_CHECKING:
    from tests.ledger.redis_server import RedisServer

# How fast a machine under load draws values says nothing about the code.
settings.register_profile("loaded", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("loaded")

# What a test module imports if it needs more than Python: a server, a browser.
_SERVERS = {"PostgresServer", "RedisServer", "async_playwright"}
_SERVED = {"own_server", "redis", "redis_server"}
# What a test calls that runs the command in a process of its own.
_STARTERS = (command.answer_at_a_terminal, command.run, command.start)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what needs a server, a browser or a process: `nox -s quick` leaves it out."""
    for item in items:
        parent = item.getparent(pytest.Module)
        module = vars(parent.obj) if parent else {}
        asked = {*getattr(item, "fixturenames", ())}
        if hasattr(item, "callspec"):
            asked |= {value for value in item.callspec.params.values() if isinstance(value, str)}
        if not _SERVERS.isdisjoint(module) or not _SERVED.isdisjoint(asked) or _starts(item):
            item.add_marker("slow")


def _starts(item: pytest.Item) -> bool:
    """Tell whether the code of a test names a function that starts the command."""
    test = getattr(item, "function", None)
    if not isinstance(test, FunctionType):
        return False
    return any(test.__globals__.get(name) in _STARTERS for name in test.__code__.co_names)


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
