"""What a RequestId means that comes again in one stream: one send, and an outcome for each.

| the first of them | the one that comes again |
|---|---|
| is under way | joins it and shares its outcome |
| was accepted | shares the receipt |
| was refused, the message itself or its RequestId | shares the refusal: it would meet it too |
| was refused for the sender's sake (HTTP, an unlisted code) | is sent: nothing was accepted |
| was not sent | is sent: nothing of the first ever left |
| may have been accepted | is resumed: 124 then means that the first was |
| may have been, 23 hours ago or more | is not sent: the gateway may have forgotten the RequestId |
| had another phone or content | is a conflict, whatever became of the first |

These are the answers that a ledger gives. The first line is the client's own doing.
"""

import copy
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from esms_async.errors import (
    NotSent,
    OutcomeUnknown,
    Rejected,
    RequestIdConflict,
    RequestIdExpired,
)
from esms_async.messages import Message, Receipt
from esms_async.outcome import meets_every_attempt
from esms_async.settlement import WINDOW

MOST_REMEMBERED: Final = 10_000
"""How many RequestIds of a stream are remembered, the latest ones: some 10 MB of them."""

Send = Callable[[Message], Awaitable[Receipt]]
_End = Receipt | NotSent | Rejected | OutcomeUnknown


class Repeats:
    """Sends the messages of one stream, each RequestId once as far as it remembers.

    Args:
        send: Sends a message.
        resume: Sends a message of which an earlier attempt may have been accepted.
    """

    def __init__(self, send: Send, resume: Send) -> None:
        self._send = send
        self._resume = resume
        self._ends: OrderedDict[str, tuple[Message, _End]] = OrderedDict()

    async def send(self, message: Message) -> Receipt:
        """Send a message, or tell what became of it when it came before.

        Args:
            message: The message.

        Returns:
            The receipt, of this send or of the earlier one.

        Raises:
            EsmsError: As `EsmsClient.send` raises it, of this send or of the earlier one.
        """
        earlier = self._recall(message)
        if earlier is None:
            return await self._send_and_remember(self._send, message)
        first, end = earlier
        if (first.phone, first.content) != (message.phone, message.content):
            raise RequestIdConflict(
                message, (), "another message came before with the same request id; nothing sent"
            )
        match end:
            case Receipt():
                return end
            case Rejected(code=code) if meets_every_attempt(code):
                raise copy.copy(end)
            case OutcomeUnknown():
                _check_age(message, end)
                return await self._send_and_remember(self._resume, message)
            case _:
                return await self._send_and_remember(self._send, message)

    def _recall(self, message: object) -> tuple[Message, _End] | None:
        # What is no Message is the client's to refuse.
        return self._ends.get(message.request_id) if isinstance(message, Message) else None

    async def _send_and_remember(self, send: Send, message: Message) -> Receipt:
        try:
            receipt = await send(message)
        except (NotSent, Rejected, OutcomeUnknown) as error:
            # A copy holds no traceback, and so none of what was under way.
            self._remember(message, copy.copy(error))
            raise
        self._remember(message, receipt)
        return receipt

    def _remember(self, message: Message, end: _End) -> None:
        ends = self._ends
        _, before = ends.get(message.request_id, (None, None))
        if isinstance(end, OutcomeUnknown) and isinstance(before, OutcomeUnknown):
            return  # the age of the first attempt is what counts
        ends[message.request_id] = message, end
        if len(ends) > MOST_REMEMBERED:
            ends.popitem(last=False)


def _check_age(message: Message, unknown: OutcomeUnknown) -> None:
    if not unknown.attempts:
        return
    since = unknown.attempts[0].started_at
    if datetime.now(UTC) - since > timedelta(seconds=WINDOW):
        raise RequestIdExpired(
            message,
            (),
            f"it may have been accepted since {since:%Y-%m-%d %H:%M} UTC, which is too long ago "
            "to send it again",
            since,
        )
