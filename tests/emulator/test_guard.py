"""Who may talk to an emulator: programs that name this machine as their host."""

import pytest

from esms_async.emulator import Emulator
from tests.emulator.caller import connection, http_post, send_fields


async def status(emulator: Emulator, request: bytes) -> int:
    """Send the bytes of a request, and return the status of the answer."""
    async with connection(emulator.port) as (reader, writer):
        writer.write(request)
        return int((await reader.readline()).split()[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:{port}", "localhost:{port}", "LocalHost"])
async def test_this_machine_is_served(emulator: Emulator, host: str) -> None:
    """A request to this machine is answered, with and without a port."""
    host = host.format(port=emulator.port)
    assert await status(emulator, http_post(emulator.port, send_fields(), host=host)) == 200
    assert len(emulator.messages) == 1


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1.evil.example",
        "localhost.evil.example:{port}",
        "127.0.0.1:{port}@evil.example",
        "127.0.0.1:evil",
        ":{port}",
        "[::1]:{port}",
        "",
    ],
)
async def test_another_host_is_refused(emulator: Emulator, host: str) -> None:
    """A name that merely resolves to this machine opens nothing (DNS rebinding)."""
    host = host.format(port=emulator.port)
    assert await status(emulator, http_post(emulator.port, send_fields(), host=host)) in {400, 403}
    assert emulator.messages == []
    assert emulator.requests == []


async def test_a_request_without_a_host_is_refused(emulator: Emulator) -> None:
    """HTTP/1.0 may leave the Host out; then nothing says that this machine was meant."""
    assert (
        await status(emulator, b"GET /MainService.svc/json/GetSendStatus HTTP/1.0\r\n\r\n") == 403
    )
