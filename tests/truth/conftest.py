"""Fixtures of the tests of truth: gateways over both transports, clocks and ledgers."""

import asyncio
import json
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import aiohttp.connector
import attrs
import pytest
import trustme

from esms_async import EsmsClient, new_request_id
from tests.truth.clocks import Clocks
from tests.truth.gateway import Gateway
from tests.truth.ledgers import KINDS, AnyLedger, open_ledger
from tests.truth.telling import CREDENTIALS, ONCE

if sys.platform != "win32":
    pass

WORKER = Path(__file__).with_name("worker.py")
TRANSPORTS = [
    (encrypted, injected) for encrypted in ("plain", "tls") for injected in ("own", "injected")
]


@attrs.frozen
class Tls:
    """A certificate authority, with the contexts of a server it vouches for and of its clients."""

    server: ssl.SSLContext
    client: ssl.SSLContext


def make_tls() -> Tls:
    """Make a certificate authority and a certificate for the loopback address."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return Tls(server, client)


def trust(patch: pytest.MonkeyPatch, tls: Tls) -> None:
    """Have sessions that a client makes itself trust the authority. No other place knows how."""
    patch.setattr(ssl, "create_default_context", lambda *args, **options: tls.client)
    patch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", tls.client, raising=False)


@pytest.fixture(scope="session")
def tls() -> Tls:
    """A certificate authority that no client trusts by itself."""
    return make_tls()


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    """Clocks that a test moves."""
    return Clocks(monkeypatch)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """A gateway over plain HTTP, on the real time."""
    async with Gateway() as running:
        yield running


@attrs.define
class LedgerPlace:
    """Where one ledger keeps its entries; each call of `ledger` gives a view of its own."""

    kind: str
    place: str
    prefix: str
    clock: Callable[[], float]
    server: Any = None
    _memory: AnyLedger | None = None

    def ledger(self) -> AnyLedger:
        """Return a ledger over this place, as a further process of the job has it."""
        if self.kind == "memory":
            self._memory = self._memory or open_ledger("memory", clock=self.clock)
            return self._memory
        return open_ledger(self.kind, self.place, self.prefix, self.clock)

    @property
    def spec(self) -> dict[str, str]:
        """What a process of its own needs to open it."""
        return {"kind": self.kind, "place": self.place, "prefix": self.prefix}

    def lose(self) -> None:
        """Lose all that was written, as a failover or a removed file does."""
        if self.kind == "sqlite":
            for file in Path(self.place).parent.glob(f"{Path(self.place).name}*"):
                file.unlink()
            return
        with self.server.client() as client:
            for key in client.scan_iter(f"{self.prefix}*"):
                client.delete(key)


@pytest.fixture
def make_place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., LedgerPlace]:
    """Make a place for a ledger of a kind."""

    def make(kind: str, clock: Callable[[], float]) -> LedgerPlace:
        server = request.getfixturevalue("redis_server") if kind == "redis" else None
        place = server.url if server else str(tmp_path / f"{new_request_id()}.db")
        return LedgerPlace(kind, place, f"esms:{new_request_id()}:", clock, server)

    return make


@pytest.fixture(params=KINDS)
def place(
    request: pytest.FixtureRequest, make_place: Callable[..., LedgerPlace], clocks: Clocks
) -> LedgerPlace:
    """A place for a ledger of each kind."""
    return make_place(request.param, clocks.wall)


@pytest.fixture(params=["sqlite", "redis"])
def lasting_place(
    request: pytest.FixtureRequest, make_place: Callable[..., LedgerPlace], clocks: Clocks
) -> LedgerPlace:
    """A place for a ledger that outlives its process."""
    return make_place(request.param, clocks.wall)


@pytest.fixture(params=["none", *KINDS])
def any_place(
    request: pytest.FixtureRequest, make_place: Callable[..., LedgerPlace], clocks: Clocks
) -> LedgerPlace | None:
    """A place for a ledger of each kind, and none."""
    return None if request.param == "none" else make_place(request.param, clocks.wall)


@asynccontextmanager
async def a_client(
    gateway: Gateway,
    *,
    tls: Tls | None = None,
    injected: bool = False,
    tag: str = "",
    **options: Any,
) -> AsyncIterator[EsmsClient]:
    """A client of a gateway, over a session of its own or an injected one."""
    options.setdefault("retry", ONCE)
    credentials = options.pop("credentials", CREDENTIALS)
    async with AsyncExitStack() as stack:
        if injected:
            connector = aiohttp.TCPConnector(ssl=tls.client if tls else True)
            options["session"] = await stack.enter_async_context(
                aiohttp.ClientSession(connector=connector)
            )
        client = EsmsClient(credentials, base_url=gateway.url(tag), **options)
        yield await stack.enter_async_context(client)


@attrs.frozen
class Wire:
    """A gateway with the way to make clients of it, over one transport and kind of session."""

    gateway: Gateway
    client: Callable[..., Any]


@pytest.fixture(params=TRANSPORTS, ids="-".join)
async def wire(
    request: pytest.FixtureRequest, tls: Tls, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Wire]:
    """A gateway and clients over plain HTTP and TLS, with a session of their own and another's."""
    encrypted, injected = request.param[0] == "tls", request.param[1] == "injected"
    if encrypted:
        trust(monkeypatch, tls)
    async with Gateway(tls=tls.server if encrypted else None) as gateway:

        def client(**options: Any) -> Any:
            return a_client(gateway, tls=tls if encrypted else None, injected=injected, **options)

        yield Wire(gateway, client)


@pytest.fixture
def elsewhere() -> Callable[..., Awaitable[list[dict[str, Any]]]]:
    """Run calls in a process of its own, and return what they were told (see `worker.py`)."""

    async def run(**task: Any) -> list[dict[str, Any]]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(WORKER),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(json.dumps(task).encode())
        assert process.returncode == 0, err.decode()
        found: list[dict[str, Any]] = json.loads(out)
        return found

    return run
