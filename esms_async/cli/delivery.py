"""What takes the messages of a job to the gateway, and says of each what became of it."""

from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Protocol

import attrs

from esms_async._model.errors import Rejected, RequestIdConflict
from esms_async._model.messages import Message, Outcome, Receipt, Status
from esms_async._model.request_ids import derive_request_id
from esms_async._send.stream import SendMany
from esms_async.client import EsmsClient
from esms_async.ledger import Ledger


class Outcomes(Protocol):
    """The outcomes of a stream of messages, each as it comes; its message is the one given in."""

    def __aiter__(self) -> AsyncIterator[Outcome]:
        """Iterate over them; an AccountRejected ends it where the account can't send."""
        ...

    async def aclose(self, *, cancel: bool = False) -> None:
        """Take no more messages, and bring what is in flight to its outcome or give it up."""
        ...


Deliver = Callable[[AsyncIterable[Message]], Outcomes]
"""Takes messages to the gateway, from here or by way of others."""


class Courier:
    """Sends the messages of a job from this process.

    A row that the gateway has rejected stays rejected in the ledger under its RequestId, so that
    sending it anew takes another one: the first RequestId and the number of the retry give it.
    The ids of a row thus make a chain of which every run finds the same links, and a run goes by
    the last link that the ledger knows. A retry that was cut off by a crash is therefore taken
    up under its own RequestId, with or without `retry_rejected`, and never made a second time.

    A row whose outcome is unknown is the end of its chain, also by code 124 alone: the gateway may
    have accepted it, and under another RequestId it would reach the phone a second time.

    Args:
        client: What sends.
        ledger: The client's ledger, or None.
        concurrency: How many sends are under way at most.
        retry_rejected: True sends anew what the ledger holds as rejected.
        expect: Told of each RequestId before it is sent with.
    """

    def __init__(
        self,
        client: EsmsClient,
        ledger: Ledger | None,
        *,
        concurrency: int,
        retry_rejected: bool = False,
        expect: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._concurrency = concurrency
        self._retry_rejected = retry_rejected
        self._expect = expect

    def deliver(self, messages: AsyncIterable[Message]) -> SendMany:
        """Send messages.

        Args:
            messages: The messages, pulled one at a time as places become free.

        Returns:
            Their outcomes.
        """
        return SendMany(self._send, messages, concurrency=self._concurrency, ordered=False)

    async def _send(self, message: Message) -> Receipt:
        link, retries = message, 0
        while True:
            self._expect(link.request_id)
            try:
                return await self._client.send(link)
            # A conflict is that of a row with a key, whose text was mended since.
            except (Rejected, RequestIdConflict) as error:
                retries += 1
                following = derive_request_id("bulk retry", message.request_id, retries)
                if error.attempts or not await self._follows(following, link.request_id):
                    raise
                link = attrs.evolve(message, request_id=following)

    async def _follows(self, following: str, request_id: str) -> bool:
        """Tell whether a message that this run has not sent is to be sent by its next link."""
        ledger = self._ledger
        entry = None if ledger is None else await ledger.look_up(request_id)
        if ledger is None or entry is None or entry.status is not Status.REJECTED:
            return False
        return self._retry_rejected or await ledger.look_up(following) is not None
