"""Waiting for something to happen in an emulator, and saying what did not."""

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeVar

import attrs

from esms_async.emulator.journal import Event, Journal
from esms_async.emulator.records import AcceptedMessage
from esms_async.errors import ConfigurationError
from esms_async.phone import mask_phone, normalize_phone

_T = TypeVar("_T")


def _convert_phone(written: str | None) -> str | None:
    if written is None:
        return None
    try:
        return normalize_phone(written)
    except ValueError as error:
        raise ConfigurationError(f"phone: {error}") from None


@attrs.frozen
class Wanted:
    """Which messages are wanted.

    Args:
        phone: The phone, in any form that a message takes; None for any.
        request_id: The RequestId; None for any.
        since: Only messages with a higher number.

    Raises:
        ConfigurationError: `phone` is no phone number.
    """

    phone: str | None = attrs.field(default=None, converter=_convert_phone)
    request_id: str | None = None
    since: int = 0

    def fits(self, message: AcceptedMessage) -> bool:
        """Tell whether a message is wanted."""
        return (
            message.number > self.since
            and self.phone in (None, message.phone)
            and self.request_id in (None, message.request_id)
        )

    def __str__(self) -> str:
        """Say what is wanted."""
        words = ["a message"]
        if self.phone is not None:
            words.append(f"to {mask_phone(self.phone)}")
        if self.request_id is not None:
            words.append(f"with request id {self.request_id}")
        return " ".join(words)


async def first_event(
    journal: Journal, pick: Callable[[Event], _T | None], seconds: float, wanted: str
) -> _T:
    """Wait for the first event of which something is picked.

    Args:
        journal: Where events come from.
        pick: Returns what is wanted of an event, or None.
        seconds: How long to wait, in real time.
        wanted: What is waited for, for the error.

    Returns:
        What was picked.

    Raises:
        TimeoutError: Nothing was.
    """
    found: asyncio.Future[_T] = asyncio.get_running_loop().create_future()

    def listen(event: Event) -> None:
        if not found.done() and (picked := pick(event)) is not None:
            found.set_result(picked)

    unsubscribe = journal.subscribe(listen)
    try:
        async with asyncio.timeout(seconds):
            return await found
    except TimeoutError:
        count = len(journal.requests.records)
        raise TimeoutError(
            f"waited {seconds:g} s for {wanted}; {count} requests came so far"
        ) from None
    finally:
        unsubscribe()


def latest_code(messages: Iterable[AcceptedMessage], phone: str) -> str:
    """Return the code in the newest message to a phone that has one.

    Args:
        messages: The messages, oldest first.
        phone: The phone, in any form that a message takes.

    Raises:
        LookupError: No message to it has a code.
        ConfigurationError: `phone` is no phone number.
    """
    wanted = Wanted(phone)
    for message in reversed(list(messages)):
        if wanted.fits(message) and message.otp is not None:
            return message.otp
    raise LookupError(f"no code was sent to {mask_phone(normalize_phone(phone))} so far")
