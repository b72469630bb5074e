"""Gateways on plain HTTP and on TLS, and sessions of the client's own and of the caller's."""

import ssl
from collections.abc import AsyncIterator

import aiohttp
import pytest
import trustme

from tests.scripted_gateway import ScriptedGateway


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority that no client trusts by itself."""
    return trustme.CA()


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """The TLS side of a gateway on localhost."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    """A context that trusts the authority and no other, which is made at once."""
    return ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())


@pytest.fixture
async def tls_gateway(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ScriptedGateway]:
    """A gateway on TLS whose certificate this process trusts, whatever the session."""
    # The context that aiohttp makes when it is imported, and uses for all default sessions.
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", client_tls)
    async with ScriptedGateway(tls=server_tls) as running:
        yield running


@pytest.fixture
async def plain_gateway() -> AsyncIterator[ScriptedGateway]:
    """A gateway on plain HTTP."""
    async with ScriptedGateway() as running:
        yield running


@pytest.fixture(params=["plain", "tls"])
def gateway(request: pytest.FixtureRequest) -> ScriptedGateway:
    """A gateway whose script a test fills, on plain HTTP and on TLS."""
    running = request.getfixturevalue(f"{request.param}_gateway")
    assert isinstance(running, ScriptedGateway)
    return running


@pytest.fixture(params=["own", "injected"])
async def session(request: pytest.FixtureRequest) -> AsyncIterator[aiohttp.ClientSession | None]:
    """A session of the caller's, or None for the client's own."""
    if request.param == "own":
        yield None
        return
    async with aiohttp.ClientSession() as session:
        yield session
