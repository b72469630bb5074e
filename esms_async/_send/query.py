"""Runs queries: repeats one until the gateway answers, and reads a list page by page.

The client imports this when it first queries: most programs only send, and what a query needs takes
a fifth of the time of the package's import.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from datetime import datetime, timedelta
from typing import Final, TypeVar

from esms_async._http.transport import TransportFailure
from esms_async._model.codes import RouteKind
from esms_async._model.errors import QueryError, QueryUnanswered
from esms_async._model.messages import Message
from esms_async._model.results import (
    AccountBrandname,
    Balance,
    Price,
    Receiver,
    SentMessage,
    SmsStatus,
    ZaloStatus,
)
from esms_async._model.routes import Route
from esms_async._model.templates import Templates
from esms_async._send.retry import Retries, RetryPolicy
from esms_async._send.send import Sender
from esms_async._wire.queries import (
    GatewayQuery,
    balance_query,
    brandnames_query,
    check_period,
    decode,
    price_query,
    receivers_query,
    sent_query,
    status_query,
    templates_query,
    zalo_status_query,
)

T = TypeVar("T")

LONGEST_PERIOD: Final = timedelta(days=3)
"""The longest period that one query of the list took until 2024 ("Get the message status")."""


class Queries:
    """The queries of one view of a client; `EsmsClient` describes each.

    Args:
        sender: Sends the requests.
        retry: How often and how long a query is tried.
    """

    def __init__(self, sender: Sender, retry: RetryPolicy) -> None:
        self._sender = sender
        self._retry = retry

    async def balance(self) -> Balance:
        """Return the balance of the account."""
        return await self._answered(balance_query())

    async def status(self, sms_id: str) -> SmsStatus | None:
        """Return the status of a message."""
        return await self._run(status_query(sms_id))

    async def receivers(self, sms_id: str) -> tuple[Receiver, ...] | None:
        """Return the status of a message for each of its phones."""
        return await self._run(receivers_query(sms_id))

    async def brandnames(self) -> tuple[AccountBrandname, ...]:
        """Return the brandnames of the account."""
        return await self._answered(brandnames_query())

    async def templates(self, brandname: str) -> Templates:
        """Return the templates of a brandname."""
        return await self._answered(templates_query(brandname))

    async def price(self, message: Message, default: Route) -> Price:
        """Return the price of a message; `default` is the route of one that names none."""
        return await self._answered(price_query(message, default))

    async def zalo_status(self, oa_id: str, message_id: str) -> ZaloStatus | None:
        """Return Zalo's status of a message."""
        return await self._run(zalo_status_query(oa_id, message_id))

    def sent(
        self, since: datetime, until: datetime, kind: RouteKind
    ) -> AsyncGenerator[SentMessage]:
        """List what was sent by one kind of route."""
        check_period(since, until)
        return self._pages(since, until, kind)

    async def _run(self, query: GatewayQuery[T]) -> T | None:
        """Query the gateway until it answers, or the policy gives up.

        The limiter and the retry budget apply to sends only.

        Returns:
            The answer; None where the gateway does not know, or not yet.

        Raises:
            QueryError: There was no answer, or a refusal.
        """
        sender, started = self._sender, time.monotonic()
        give_up_at = started + self._retry.deadline
        retries = Retries(self._retry, started)
        while True:
            limit = min(self._retry.attempt_timeout, give_up_at - time.monotonic())
            try:
                reply = await sender.transport.query(query, sender.credentials, time_limit=limit)
                return decode(
                    query,
                    reply.status,
                    reply.body,
                    sender.credentials,
                    loads=sender.loads,
                    retry_after=reply.retry_after,
                )
            except TransportFailure as error:
                failure = QueryUnanswered(query.operation, error.problem)
            except QueryError as error:
                # Error trackers record the locals of every frame, and here they hold the answer.
                error.with_traceback(None).__context__ = None
                if not isinstance(error, QueryUnanswered):
                    raise
                failure = error
            pause = await retries.pause_after(
                failure, asked=failure.retry_after or 0.0, give_up_at=give_up_at
            )
            if pause is None:
                raise failure
            await asyncio.sleep(pause)
            retries.next_attempt()

    async def _answered(self, query: GatewayQuery[T]) -> T:
        """Run a query for which "not known" is not an answer."""
        answer = await self._run(query)
        assert answer is not None  # noqa: S101  # only a query that may be unknown gets None
        return answer

    async def _pages(
        self, since: datetime, until: datetime, kind: RouteKind
    ) -> AsyncGenerator[SentMessage]:
        """List what was sent in a period by one kind of route, page by page.

        New sends may move lines to another page, so no line is yielded twice, and the first page
        without a new line is the last. The gateway's count can't be used: it may count one page.

        Raises:
            QueryError: A page could not be read.
        """
        given: set[object] = set()
        for begin, end in _short_periods(since, until):
            is_new, page = True, 1
            while is_new:
                found = await self._answered(sent_query(begin, end, page, kind))
                fresh = {key: message for message in found if (key := _key(message)) not in given}
                for message in fresh.values():
                    yield message
                given.update(fresh)
                is_new, page = bool(fresh), page + 1


def _short_periods(since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Split a period into periods that the list takes; neighbours may share a second."""
    while until - since > LONGEST_PERIOD:
        yield since, since + LONGEST_PERIOD
        since += LONGEST_PERIOD
    yield since, until


def _key(message: SentMessage) -> object:
    """Return what identifies a line; one SMSID may cover several phones."""
    return message if message.sms_id is None else (message.sms_id, message.phone)
