"""A queue on Redis Streams, and its workers, for sends from more than one machine."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from esms_async.queue.queue import MessageQueue, QueuedSends
    from esms_async.queue.streams import QueueError

_MODULES = {"MessageQueue": "queue", "QueueError": "streams", "QueuedSends": "queue"}
_EXTRA = frozenset({"cryptography", "prometheus_client", "redis"})

__all__ = ["MessageQueue", "QueueError", "QueuedSends"]


def __getattr__(name: str) -> object:
    """Import a name when it is first used: it needs the extra `queue`."""
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _EXTRA:
            raise
        raise ImportError(
            "esms_async.queue needs more libraries; install them with: "
            "pip install 'esms_async[queue]'"
        ) from None
