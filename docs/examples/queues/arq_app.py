"""Send from an arq job: arq arq_app.WorkerSettings."""

import os
from typing import Any, ClassVar

from arq import Retry
from arq.connections import RedisSettings

from esms_async import EsmsClient, Message, OutcomeUnknown
from esms_async.ledger import RedisLedger

REDIS = os.environ["REDIS_URL"]


async def startup(ctx: dict[str, Any]) -> None:
    """Open one client for all jobs of a worker."""
    ctx["esms"] = EsmsClient.from_env(ledger=RedisLedger(REDIS))


async def shutdown(ctx: dict[str, Any]) -> None:
    """Bring what is in flight to its outcome."""
    await ctx["esms"].aclose()


async def send_sms(ctx: dict[str, Any], fields: dict[str, Any]) -> None:
    """Send a message; delivered twice, it is sent once."""
    try:
        await ctx["esms"].send(Message.from_dict(fields))
    except (OutcomeUnknown, ConnectionError):
        raise Retry(defer=ctx["job_try"] * 5) from None


class WorkerSettings:
    """How `arq` runs the worker."""

    functions: ClassVar = [send_sms]
    on_startup = startup
    on_shutdown = shutdown
    redis_settings = RedisSettings.from_dsn(REDIS)
