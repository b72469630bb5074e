"""The signals that ask a process to end, told within its event loop."""

import asyncio
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


@contextmanager
def on_signal(told: Callable[[int], None], *, times: int) -> Generator[None]:
    """Have a function called for the first signals that ask to end; the next acts as it always did.

    Args:
        told: Called within the running event loop with the number of the signal.
        times: How often at most.

    Yields:
        Nothing; what the signals did before is restored afterwards.
    """
    loop = asyncio.get_running_loop()
    before: dict[signal.Signals, object] = {}
    left = times

    def restore() -> None:
        while before:
            number, handler = before.popitem()
            signal.signal(number, handler)  # type: ignore[arg-type]  # it is what signal gave

    def handle(number: int, _: FrameType | None) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            restore()
        loop.call_soon_threadsafe(told, number)

    for name in _SIGNALS:
        number = getattr(signal, name, None)
        # What runs under nohup ignores the end of its terminal, and is to go on doing so.
        if number is None or (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
            continue
        before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        restore()
