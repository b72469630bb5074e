"""The same sends on taskiq workers, for more than one machine."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskiq import AsyncBroker

    from esms_async.workers.following import QueuedSends
    from esms_async.workers.queue import MessageQueue, QueueError
    from esms_async.workers.reports import Report
    from esms_async.workers.settings import QueueSettings
    from esms_async.workers.worker import run_worker

    broker: AsyncBroker

_MODULES = {
    "MessageQueue": "queue",
    "QueueError": "queue",
    "QueueSettings": "settings",
    "QueuedSends": "following",
    "Report": "reports",
    "run_worker": "worker",
}
_EXTRAS = frozenset({"nats", "redis", "taskiq", "taskiq_nats"})

__all__ = ["MessageQueue", "QueueError", "QueueSettings", "QueuedSends", "Report", "run_worker"]


def __getattr__(name: str) -> object:
    """Import a name when it is first asked for; `broker` is made anew each time it is asked for.

    `taskiq worker esms_async.workers:broker` asks for it once a process.
    """
    try:
        if name == "broker":
            return _make_broker()
        if name in _MODULES:
            return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name not in _EXTRAS:
            raise
        raise ImportError(
            "esms_async.workers needs more libraries; install them with: "
            "pip install 'esms_async[redis,taskiq]'"
        ) from None
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _make_broker() -> object:
    from esms_async.workers.settings import QueueSettings  # noqa: PLC0415  # nothing on import
    from esms_async.workers.worker import make_worker_broker  # noqa: PLC0415  # the same

    return make_worker_broker(QueueSettings.from_env())[0]
