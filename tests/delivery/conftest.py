"""Fixtures of the tests of delivery reports."""

import pytest

from tests.ledger.conftest import Clock


@pytest.fixture
def clock() -> Clock:
    """A clock that tests move."""
    return Clock()
