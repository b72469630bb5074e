"""The pytest plugin: `esms_emulator`, `esms_server`, `esms_client`, `esms_otp`, for tests of apps.

It is a module beside the package, so pytest loads it without importing the package. Tests that use
no fixture of it pay nothing, and nothing is imported before coverage starts.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from esms_async import EsmsClient
    from esms_async.emulator import Emulator, ThreadedEmulator
    from esms_async.otp import Otp

_EMULATOR: Final = pytest.StashKey["ThreadedEmulator"]()
_ON_ASYNCIO: Final = "esms_async_on_pytest_asyncio"
_LOOP_SCOPES: Final = ("function", "class", "module", "package", "session")
# A test may end during a send that a fault keeps waiting, so `aclose` gets this many seconds.
_GRACE: Final = 0.5


@pytest.fixture(scope="session")
def esms_server() -> "Generator[ThreadedEmulator]":
    """An emulator of the gateway on a free port, one for the whole run.

    Use its `url` in fixtures that live longer than a test, such as an app that starts once. Tests
    use `esms_emulator`, which is the same server after a reset.
    """
    from esms_async.emulator import ThreadedEmulator  # noqa: PLC0415  # see the top

    # With a seed, chance is the same in every run of a test.
    with ThreadedEmulator(seed=0) as emulator:
        yield emulator


@pytest.fixture
def esms_emulator(
    request: pytest.FixtureRequest, esms_server: "ThreadedEmulator"
) -> "ThreadedEmulator":
    """The emulator of the run, reset for each test.

    It serves in its own thread, for tests with any event loop or none. An armed fault that no
    request meets fails the test. The report of a failing test shows what the emulator saw.
    """
    esms_server.reset()
    request.node.stash[_EMULATOR] = esms_server
    return esms_server


@pytest.fixture
def esms_client(request: pytest.FixtureRequest) -> "EsmsClient":
    """A client of `esms_emulator`, for tests that pytest-asyncio runs, or anyio on asyncio."""
    client: EsmsClient = request.getfixturevalue(_client_fixture(request))
    return client


@pytest.fixture
def esms_otp(esms_emulator: "Emulator", esms_client: "EsmsClient") -> "Otp":
    """One-time codes over `esms_client`, with the purpose `login` and a store in memory.

    The store uses the emulator's clock: `esms_emulator.clock.advance(300)` lets a code expire.
    """
    from esms_async.otp import MemoryOtpStore, Otp, Purpose  # noqa: PLC0415  # see the top

    return Otp(
        esms_client,
        store=MemoryOtpStore(clock=esms_emulator.clock.time),
        keys=[b"a key of the tests, and no secret"],
        purposes={"login": Purpose("{code} la ma xac minh cua ban")},
    )


@pytest.hookimpl(trylast=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Fail a test that passed, if it armed a fault that no request met."""
    emulator = item.stash.get(_EMULATOR, None)
    unused = [str(armed.fault) for armed in emulator.faults if not armed.used] if emulator else []
    if unused:
        pytest.fail(
            f"armed in esms_emulator and never met by a request: {'; '.join(unused)}", pytrace=False
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> "Generator[None, pytest.TestReport, pytest.TestReport]":
    """Add what the emulator saw to the report of a failed test."""
    report = yield
    emulator = item.stash.get(_EMULATOR, None)
    if emulator is not None and report.failed and report.when in ("setup", "call"):
        story = emulator.story() or "no request came"
        report.sections.append(("esms emulator: what it saw", story))
    return report


def pytest_configure(config: pytest.Config) -> None:
    """Register the fixtures for pytest-asyncio, if it is in use."""
    plugin = sys.modules.get("pytest_asyncio.plugin")
    if config.pluginmanager.is_registered(plugin) and _knows_loop_scopes(config):
        config.pluginmanager.register(_client_fixtures_of_pytest_asyncio(), _ON_ASYNCIO)


def _knows_loop_scopes(config: pytest.Config) -> bool:
    try:
        config.getini("asyncio_default_test_loop_scope")
    except ValueError:
        return False
    return True


def _client_fixture(request: pytest.FixtureRequest) -> str:
    """Return the name of the fixture that opens and closes a client on the loop of a test."""
    marker = request.node.get_closest_marker("asyncio")
    if marker is not None and request.config.pluginmanager.has_plugin(_ON_ASYNCIO):
        default = request.config.getini("asyncio_default_test_loop_scope")
        return f"_esms_client_{marker.kwargs.get('loop_scope') or default}"
    if "anyio_backend" not in request.fixturenames:
        pytest.fail(
            "esms_client is for async tests that anyio or pytest-asyncio (from 0.26) runs: install "
            "pytest-asyncio, and set asyncio_mode = auto or mark the test with "
            "pytest.mark.asyncio; elsewhere, make an EsmsClient with base_url=esms_emulator.url",
            pytrace=False,
        )
    if request.getfixturevalue("anyio_backend_name") != "asyncio":
        pytest.fail(
            "esms_client runs on asyncio alone; have the fixture anyio_backend return 'asyncio'",
            pytrace=False,
        )
    return "_esms_client"


def _new_client_fixture() -> "Callable[[Emulator], AsyncGenerator[EsmsClient]]":
    # New each time, because pytest-asyncio stores the loop scope on the function.
    async def open_client(esms_emulator: "Emulator") -> "AsyncGenerator[EsmsClient]":
        import asyncio  # noqa: PLC0415  # see the top
        import contextlib  # noqa: PLC0415  # the same

        from esms_async import Credentials, EsmsClient  # noqa: PLC0415  # the same

        client = EsmsClient(Credentials("emulator", "emulator"), base_url=esms_emulator.url)
        yield client
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE):
                await client.aclose()

    return open_client


_esms_client = pytest.fixture(_new_client_fixture(), name="_esms_client")


def _client_fixtures_of_pytest_asyncio() -> ModuleType:
    """Return the fixture of a client for each loop that pytest-asyncio may run a test on."""
    import pytest_asyncio  # noqa: PLC0415  # not everybody has it

    plugin = ModuleType(_ON_ASYNCIO)
    for scope in _LOOP_SCOPES:
        name = f"_esms_client_{scope}"
        fixture = pytest_asyncio.fixture(_new_client_fixture(), loop_scope=scope, name=name)
        setattr(plugin, name, fixture)
    return plugin
