"""What the tests of the command share."""

from collections.abc import AsyncIterator

import pytest

from esms_async.emulator import Emulator


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """A gateway of the test's own, which the command takes for the real one."""
    async with Emulator() as running:
        yield running
