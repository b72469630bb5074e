"""Send from a Celery task: celery -A celery_app worker."""

import asyncio
import os
from typing import Any

from celery import Celery

from esms_async import EsmsClient, Message, OutcomeUnknown
from esms_async.ledger import RedisLedger

REDIS = os.environ["REDIS_URL"]

app = Celery("sms", broker=REDIS)
# A task counts as done when it has ended, so a worker that dies loses none.
app.conf.task_acks_late = True
app.conf.task_reject_on_worker_lost = True


@app.task(autoretry_for=(OutcomeUnknown, ConnectionError), retry_backoff=True, max_retries=8)
def send_sms(fields: dict[str, Any]) -> None:
    """Send a message; delivered twice, it is sent once."""
    asyncio.run(_send(Message.from_dict(fields)))


async def _send(message: Message) -> None:
    async with EsmsClient.from_env(ledger=RedisLedger(REDIS)) as esms:
        await esms.send(message)
