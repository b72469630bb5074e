"""Send from a taskiq task: taskiq worker taskiq_app:broker."""

import os
from typing import Annotated, Any

from taskiq import AsyncBroker, Context, InMemoryBroker, TaskiqDepends, TaskiqEvents, TaskiqState

from esms_async import EsmsClient, Message
from esms_async.ledger import RedisLedger

# In production: a broker that keeps messages until they are acknowledged.
broker: AsyncBroker = InMemoryBroker(await_inplace=True)


@broker.on_event(TaskiqEvents.WORKER_STARTUP, TaskiqEvents.CLIENT_STARTUP)
async def open_client(state: TaskiqState) -> None:
    """Open one client for all tasks of a worker."""
    state.esms = EsmsClient.from_env(ledger=RedisLedger(os.environ["REDIS_URL"]))


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN, TaskiqEvents.CLIENT_SHUTDOWN)
async def close_client(state: TaskiqState) -> None:
    """Bring what is in flight to its outcome."""
    await state.esms.aclose()


@broker.task(retry_on_error=True, max_retries=8)
async def send_sms(fields: dict[str, Any], context: Annotated[Context, TaskiqDepends()]) -> None:
    """Send a message; delivered twice, it is sent once."""
    await context.state.esms.send(Message.from_dict(fields))
