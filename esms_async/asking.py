"""Asks the gateway: one question until it is answered or given up, and a list page by page."""

import asyncio
import time
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import TypeVar

from esms_async._http.direct import TransportFailure
from esms_async.errors import QueryUnanswered, UsageError
from esms_async.reads import (
    Question,
    ask_balance,
    ask_receivers,
    ask_sent,
    ask_status,
    check_period,
    decode,
)
from esms_async.results import Balance, Receiver, SentMessage, SmsStatus
from esms_async.retry import repeat
from esms_async.sending import Gateway

T = TypeVar("T")


async def ask(gateway: Gateway, question: Question[T]) -> T | None:
    """Ask a question, and ask again as long as no answer comes and the retry policy allows it.

    The limiter is not asked: it holds back sends.

    Args:
        gateway: Whom to ask, as whom, and how often.
        question: The question.

    Returns:
        The answer; None where the gateway does not know, or not yet.

    Raises:
        QueryError: There was none, or a refusal.
    """
    started = time.monotonic()

    async def ask_once() -> T | None:
        left = started + gateway.retry.deadline - time.monotonic()
        try:
            reply = await gateway.transport.query(
                question,
                gateway.credentials,
                time_limit=min(gateway.retry.attempt_timeout, left),
            )
        except TransportFailure as failure:
            raise QueryUnanswered(question.operation, failure.problem) from None
        return decode(
            question,
            reply.status,
            reply.body,
            gateway.credentials,
            loads=gateway.loads,
            retry_after=reply.retry_after,
        )

    return await repeat(gateway.retry, ask_once, sleep=asyncio.sleep)


async def list_sent(
    gateway: Gateway, since: datetime, until: datetime
) -> AsyncGenerator[SentMessage]:
    """Ask for the list of what was sent, page by page.

    What is sent meanwhile may move lines to another page. No line is given twice, and a page
    that brings none that is new is the last.

    Args:
        gateway: Whom to ask.
        since: The beginning of the period.
        until: Its end.

    Yields:
        The lines.

    Raises:
        QueryError: A page could not be had.
    """
    given: set[object] = set()
    page, count = 1, 0
    while True:
        found = await answered(gateway, ask_sent(since, until, page))
        fresh = {key: message for message in found.messages if (key := _key(message)) not in given}
        for message in fresh.values():
            yield message
        given.update(fresh)
        count += len(found.messages)
        page += 1
        if not fresh or (found.total is not None and count >= found.total):
            return


async def answered(gateway: Gateway, question: Question[T]) -> T:
    """Ask a question to which "not known" is no answer."""
    answer = await ask(gateway, question)
    assert answer is not None  # noqa: S101  # only a question that may be unknown is answered so
    return answer


def _key(message: SentMessage) -> object:
    """Return what tells a line from others; one SMSID may cover several phones."""
    return message if message.sms_id is None else (message.sms_id, message.phone)


class Questions:
    """The calls of a client that ask, and change nothing."""

    _gateway: Gateway
    _closed: bool

    async def balance(self) -> Balance:
        """Ask what is on the account.

        Returns:
            The balance, in dong.

        Raises:
            QueryError: No answer came, or a refusal (`QueryAccountRejected` among them).
        """
        return await answered(self._open_gateway(), ask_balance())

    async def status(self, sms_id: str) -> SmsStatus | None:
        """Ask what became of a message. The gateway knows those of the last 7 days.

        Args:
            sms_id: The SMSID, of the receipt or the delivery report.

        Returns:
            The status; None where the gateway does not know the SMSID. Shortly after a send that
            means "not yet", and it never means that nothing was sent.

        Raises:
            QueryError: No answer came, or a refusal.
            ConfigurationError: It can be no SMSID.
        """
        return await ask(self._open_gateway(), ask_status(sms_id))

    async def receivers(self, sms_id: str) -> tuple[Receiver, ...] | None:
        """Ask what became of a message on its way to each of its phones.

        Args:
            sms_id: The SMSID, of the receipt or the delivery report.

        Returns:
            The receivers; None where the gateway does not know the SMSID, or not yet.

        Raises:
            QueryError: No answer came, or a refusal.
            ConfigurationError: It can be no SMSID.
        """
        return await ask(self._open_gateway(), ask_receivers(sms_id))

    def sent(self, since: datetime, until: datetime) -> AsyncGenerator[SentMessage]:
        """List the fixed-number messages that the account has sent, page by page.

        Args:
            since: The beginning of the period, aware; it is rounded down to a second.
            until: Its end, aware; it is rounded up. Where it lies in the past, nothing that is
                sent meanwhile moves the lines.

        Returns:
            An async iterator of the messages, in the gateway's order. Asking begins with the
            first of them, and may raise QueryError with each.

        Raises:
            ConfigurationError: One is no aware datetime, or they are the wrong way round.
        """
        check_period(since, until)
        return list_sent(self._open_gateway(), since, until)

    def _open_gateway(self) -> Gateway:
        if self._closed:
            raise UsageError("the client is closed")
        return self._gateway
