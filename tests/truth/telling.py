"""What a caller is told by a call, as one value; and the values that most of these tests share."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from tenacity import wait_none

from esms_async import (
    Credentials,
    EsmsError,
    Message,
    NotSent,
    OutcomeUnknown,
    Receipt,
    Rejected,
    RetryPolicy,
)
from tests.limits import generous
from tests.truth.gateway import Gateway

KEYS: Final = ("KEYKEYKEYKEY", "SECRETSECRETSECRET")
CREDENTIALS: Final = Credentials(*KEYS)
ONCE: Final = RetryPolicy(attempts=1, attempt_timeout=20)
TWICE: Final = RetryPolicy(attempts=2, attempt_timeout=20, wait=wait_none(), budget=None)
PHONE: Final = "0901888484"
TEXT: Final = "686868 la ma xac minh"


def a_message(phone: str = PHONE, **fields: Any) -> Message:
    """Make a Message with a minted id."""
    return Message(phone, TEXT, **fields)


async def told(call: Awaitable[Receipt]) -> Receipt | EsmsError | None:
    """Return what a call tells: its receipt, its error, or what stands behind a cancellation.

    None is told where a cancellation has nothing behind it.
    """
    try:
        return await call
    except EsmsError as error:
        return error
    except asyncio.CancelledError as cancelled:
        cause = cancelled.__cause__
        assert cause is None or isinstance(cause, EsmsError)
        return cause


async def give_up_when(condition: Callable[[], bool], gateway: Gateway, call: Any) -> None:
    """Make a call with a time limit that strikes as soon as something is true of the gateway."""
    with_limit = asyncio.create_task(_limited(call, asyncio.create_task(gateway.until(condition))))
    try:
        await with_limit
    except TimeoutError:
        return
    raise AssertionError("the call ended before its time limit struck")


async def _limited(call: Any, strikes: asyncio.Task[None]) -> None:
    async with asyncio.timeout(generous(60)) as limit:
        strikes.add_done_callback(lambda _: limit.reschedule(0))
        await call


def check(gateway: Gateway, message: Message, what: Receipt | EsmsError | None) -> None:
    """Hold what a caller was told, nobody else being at work, against the gateway's count."""
    accepted = gateway.accepted[message.request_id]
    assert accepted <= 1
    if isinstance(what, Receipt):
        assert accepted == 1
        assert what.sms_id in (None, *gateway.sms_ids(message.request_id))
    elif isinstance(what, NotSent | Rejected) and not isinstance(what, OutcomeUnknown):
        assert accepted == 0
