"""The listener takes the reports that it expects, and leaves the first unanswered."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from esms_async._model.errors import ConfigurationError
from tests.limits import generous
from tests.tools.support import get
from tools.probe.listener import Listener

REPORT = "SMSID=s1&SendStatus=5&SendSuccess=1&SendFailed=0&RequestId=probe-1"


@pytest.fixture
async def listener(unused_tcp_port: int) -> AsyncIterator[Listener]:
    """A listener that expects one message."""
    async with Listener("127.0.0.1", unused_tcp_port) as running:
        running.expect("probe-1")
        yield running


async def ask(listener: Listener, raw: bytes) -> bytes:
    """Send raw bytes, and return all that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(raw)
    writer.write_eof()
    try:
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    "raw",
    [
        b"POST / HTTP/1.1\r\n\r\n",
        b"nonsense\r\n\r\n",
        get("RequestId=probe-1"),
        get(REPORT.replace("probe-1", "another")),
    ],
)
async def test_what_is_no_expected_report_is_not_found(listener: Listener, raw: bytes) -> None:
    """Reports are not signed: anything but one that names the message is turned away."""
    assert (await ask(listener, raw)).startswith(b"HTTP/1.1 404 ")
    assert listener.arrivals == []


async def test_a_cut_head_is_no_report(listener: Listener) -> None:
    """Who leaves early gets nothing, and the listener goes on."""
    assert await ask(listener, b"GET /") == b""
    assert listener.again is None


async def test_the_first_report_is_left_unanswered(listener: Listener) -> None:
    """It has no answer until the gateway gives up; the repeated report is answered."""
    await ask(listener, get(REPORT))
    assert (await ask(listener, get(REPORT))).startswith(b"HTTP/1.1 200 ")
    await asyncio.wait_for(listener.finish(), generous(5))
    assert listener.again is listener.arrivals[1]
    assert listener.finals == [listener.arrivals[1]]


async def test_an_address_without_a_name_is_refused() -> None:
    """The error names the address."""
    with pytest.raises(ConfigurationError, match=r"can't listen on 192\.0\.2\.1:9"):
        async with Listener("192.0.2.1", 9):
            raise AssertionError("it listens")
