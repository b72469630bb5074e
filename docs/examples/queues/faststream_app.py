"""Send from a FastStream subscriber on Redis Streams: faststream run faststream_app:app."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from faststream import Context, ContextRepo, FastStream
from faststream.redis import RedisBroker, StreamSub

from esms_async import EsmsClient, Message
from esms_async.ledger import RedisLedger

REDIS = os.environ["REDIS_URL"]

broker = RedisBroker(REDIS)


@asynccontextmanager
async def lifespan(context: ContextRepo) -> AsyncIterator[None]:
    """Open one client for all messages of a process."""
    async with EsmsClient.from_env(ledger=RedisLedger(REDIS)) as esms:
        context.set_global("esms", esms)
        yield


app = FastStream(broker, lifespan=lifespan)


@broker.subscriber(stream=StreamSub("sms", group="senders", consumer="one"))
async def send_sms(fields: dict[str, Any], esms: EsmsClient = Context()) -> None:  # noqa: B008  # FastStream reads it
    """Send a message; delivered twice, it is sent once."""
    await esms.send(Message.from_dict(fields))
