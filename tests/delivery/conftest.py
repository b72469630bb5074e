"""Fixtures of the tests of delivery reports."""

import pytest

from tests.ledger.conftest import Clock, redis_server

__all__ = ["redis_server"]


@pytest.fixture
def clock() -> Clock:
    """A clock that tests move."""
    return Clock()
