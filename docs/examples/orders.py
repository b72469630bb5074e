"""Sends an SMS for each order that is committed, and for no other, once each, on PostgreSQL.

The RequestId of the SMS is stored with the order, in the same transaction. The SMS is sent after
the commit. Whatever dies between the two, `sweep` finds the order later and sends its SMS under the
same RequestId, so no phone gets it twice. It needs psycopg: pip install 'psycopg[binary]'
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable

from psycopg import AsyncConnection
from psycopg.errors import UniqueViolation

from esms_async import (
    AccountRejected,
    EsmsClient,
    Message,
    NotSent,
    OutcomeUnknown,
    Rejected,
    RequestIdExpired,
)

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    number bigint PRIMARY KEY,
    phone text NOT NULL,
    sms_text text NOT NULL,
    sms_request_id text NOT NULL UNIQUE,
    sms_status text NOT NULL DEFAULT 'due',  -- due, accepted, rejected or unknown
    sms_due_at timestamptz NOT NULL DEFAULT now() + interval '30 seconds'
);
CREATE INDEX IF NOT EXISTS orders_due ON orders (sms_due_at) WHERE sms_status = 'due';
"""
# Whoever takes an order moves its time on, so that two sweeps seldom send the same SMS at once. If
# they do, the gateway takes one of them: they have one RequestId.
TAKE = """
UPDATE orders SET sms_due_at = now() + interval '2 minutes'
WHERE number = (
    SELECT number FROM orders WHERE sms_status = 'due' AND sms_due_at <= now()
    ORDER BY sms_due_at FOR UPDATE SKIP LOCKED LIMIT 1
)
RETURNING phone, sms_text, sms_request_id
"""
RECORD = "UPDATE orders SET sms_status = %s WHERE sms_request_id = %s"

logger = logging.getLogger("orders")

Business = Callable[[AsyncConnection], Awaitable[None]]


async def place_order(
    connection: AsyncConnection, esms: EsmsClient, number: int, phone: str, business: Business
) -> None:
    """Place an order, and send its SMS once it is committed.

    Args:
        connection: A connection in autocommit mode.
        esms: The client.
        number: The number of the order.
        phone: The phone to send to.
        business: What else belongs to the order; if it raises, nothing is stored and nothing sent.

    Raises:
        UniqueViolation: There is an order with this number.
    """
    message = Message(phone, f"Don hang {number} da duoc ghi nhan")
    async with connection.transaction():
        await connection.execute(
            "INSERT INTO orders (number, phone, sms_text, sms_request_id) VALUES (%s, %s, %s, %s)",
            (number, message.phone, message.content, message.request_id),
        )
        await business(connection)
    # The order is committed. From here on the sweep would send its SMS if this process did not.
    await send_and_record(connection, esms.send(message), message)


async def sweep(connection: AsyncConnection, esms: EsmsClient) -> int:
    """Send the SMS of orders whose process died, or could not reach the gateway; return how many.

    Run it every half minute, in any number of processes.
    """
    count = 0
    while (row := await (await connection.execute(TAKE)).fetchone()) is not None:
        phone, text, request_id = row
        message = Message(phone, text, request_id=request_id)
        # The process that died may have sent it: `resume` takes "sent before" for an acceptance.
        await send_and_record(connection, esms.resume(message), message)
        count += 1
    return count


async def send_and_record(
    connection: AsyncConnection, sending: Awaitable[object], message: Message
) -> None:
    """Bring a send to its outcome, and record that with the order."""
    try:
        await sending
        status = "accepted"
    except RequestIdExpired:
        # For 23 hours nobody could tell. Sent now, it could reach the phone a second time.
        status = "unknown"
    except (NotSent, OutcomeUnknown, AccountRejected):
        return  # it stays due, and the sweep goes on with it
    except Rejected as error:
        logger.warning("request id %s: %s", message.request_id, error)
        status = "rejected"
    await connection.execute(RECORD, (status, message.request_id))


async def main() -> None:
    """Place an order, and sweep once: a service does the latter again and again."""
    async with (
        await AsyncConnection.connect(os.environ["DATABASE_URL"], autocommit=True) as connection,
        EsmsClient.from_env() as esms,
    ):
        await connection.execute(SCHEMA)

        async def business(_: AsyncConnection) -> None:
            """Do what else belongs to the transaction."""

        try:
            await place_order(connection, esms, 1, "0901888484", business)
        except UniqueViolation:
            logger.warning("order 1 was placed before")
        await sweep(connection, esms)


if __name__ == "__main__":
    asyncio.run(main())
