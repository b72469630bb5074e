"""One logical send whose start and end are told to the log and the hooks."""

import asyncio
import time

from esms_async.errors import EsmsError
from esms_async.events import Events
from esms_async.messages import Outcome, Receipt
from esms_async.sending import LogicalSend


async def observed(send: LogicalSend, events: Events) -> Receipt:
    """Run a send, and tell what becomes of it.

    Args:
        send: The send, which tells of its attempts by itself.
        events: Where to tell.

    Returns:
        What the send returns.

    Raises:
        EsmsError: What the send raises; a cancellation and an unexpected error likewise.
    """
    started = time.monotonic()
    send.is_observed = events.wanted
    if send.is_observed:
        events.started(send.message)
    try:
        receipt = await send.run()
    except (Exception, asyncio.CancelledError) as error:
        outcome = Outcome(send.message, error=_truth(send, error))
        events.ended(outcome, send.attempts, time.monotonic() - started)
        raise
    if send.is_observed or len(receipt.attempts) > 1 or receipt.deduplicated:
        outcome = Outcome(send.message, receipt)
        events.ended(outcome, receipt.attempts, time.monotonic() - started)
    return receipt


def _truth(send: LogicalSend, error: BaseException) -> EsmsError:
    """Return what is true of the message, whatever the send ended with."""
    told = error.__cause__ if isinstance(error, asyncio.CancelledError) else error
    return told if isinstance(told, EsmsError) else send.left_open(type(error).__name__)
