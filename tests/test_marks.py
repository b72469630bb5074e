"""Tests that start a process are found, so that `nox -s quick` leaves them out."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import _starts_a_process


def starts() -> None:
    """Start one."""
    subprocess.run([sys.executable, "-c", ""], check=True)


def calls_what_starts() -> None:
    """Start one by another function."""
    starts()


async def starts_inside() -> None:
    """Start one in an inner function."""

    async def inner() -> None:
        await asyncio.create_subprocess_exec(sys.executable)

    await inner()


@contextmanager
def is_wrapped() -> Iterator[None]:
    """Start one in a function that a decorator wraps."""
    starts()
    yield


class Starter:
    """Starts one in a method."""

    def start(self) -> None:
        """Start it."""
        starts()


def uses_a_class() -> None:
    """Start one by a method."""
    Starter().start()


def calls_itself() -> None:
    """Start none, in a circle."""
    calls_back()


def calls_back() -> None:
    """Close the circle."""
    calls_itself()


@pytest.mark.parametrize(
    "function", [starts, calls_what_starts, starts_inside, is_wrapped, uses_a_class]
)
def test_what_starts_a_process_is_found(function: object) -> None:
    """By itself, by what it calls, in an inner function, in a method, behind a decorator."""
    assert _starts_a_process(function, set())


@pytest.mark.parametrize("thing", [calls_itself, asyncio.run, None])
def test_what_starts_none_is_not(thing: object) -> None:
    """A function that calls nothing of the kind, one of elsewhere, and what is no function."""
    assert not _starts_a_process(thing, set())
