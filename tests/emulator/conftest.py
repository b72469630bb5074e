"""Fixtures of the emulator's tests."""

from collections.abc import AsyncIterator

import pytest

from esms_async.emulator import Emulator
from tests.emulator.caller import Caller


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """An emulator as it comes."""
    async with Emulator() as running:
        yield running


@pytest.fixture
async def caller(emulator: Emulator) -> AsyncIterator[Caller]:
    """Calls that emulator."""
    async with Caller.to(emulator) as calling:
        yield calling
