"""An emulator in a thread: for tests that are no coroutines, and for those on any event loop."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine, Iterable
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from esms_async.emulator.clock import Clock
from esms_async.emulator.faults import Fault
from esms_async.emulator.journal import Listener
from esms_async.emulator.records import AcceptedMessage, SeenRequest
from esms_async.emulator.server import DEFAULT_BALANCE, Emulator
from esms_async.emulator.settings import Settings
from esms_async.messages import Credentials

_T = TypeVar("_T")


class ThreadedEmulator(Emulator):
    """An emulator that serves on an event loop of its own, in a thread of its own.

    Use it with `with`, from any thread, on any asyncio loop and on none: it is an `Emulator` in
    all but that listeners are called in its thread. Where no loop runs, wait by
    `asyncio.run(emulator.wait_for(...))`.

    Args:
        port: The port of 127.0.0.1 to listen on; 0 takes one that is free.
        credentials: The account's keys; None takes any that are not empty.
        balance: What is on the account, in dong.
        faults: Faults to arm, as `fault` takes them.
        seed: Makes `p=` of faults, and SMSIDs, repeatable; None draws one, see `seed`.
        settings: What no page documents, and the bounds.

    Raises:
        ConfigurationError: A value cannot work; the error names it.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        credentials: Credentials | None = None,
        balance: int = DEFAULT_BALANCE,
        faults: Iterable[str | Fault] = (),
        seed: int | None = None,
        settings: Settings = Settings(),  # noqa: B008  # a frozen value
    ) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="esms-emulator", daemon=True)
        self._started: concurrent.futures.Future[None] = concurrent.futures.Future()
        super().__init__(
            port=port,
            credentials=credentials,
            balance=balance,
            faults=faults,
            seed=seed,
            clock=_RelayedClock(self._in_thread),
            settings=settings,
        )

    def __enter__(self) -> Self:
        self._thread.start()
        if self._started.exception() is not None:
            self._thread.join()
        self._started.result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._in_thread(self._stopping.set)
        self._thread.join()
        self._loop = None

    def finish(self, sms_id: str, *, delivered: bool = True) -> AcceptedMessage:
        """Let a message reach its phone now, or fail to, as `Emulator.finish` does."""
        return self._in_thread(partial(super().finish, sms_id, delivered=delivered))

    def resend_report(self, sms_id: str) -> AcceptedMessage:
        """Send the last report of a message once more, as `Emulator.resend_report` does."""
        return self._in_thread(partial(super().resend_report, sms_id))

    def clear_messages(self) -> None:
        """Forget messages, requests and reports, as `Emulator.clear_messages` does."""
        self._in_thread(super().clear_messages)

    def reset(self) -> None:
        """Make it as new, as `Emulator.reset` does."""
        self._in_thread(super().reset)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Tell a listener of everything that happens, in the emulator's thread."""
        return partial(self._in_thread, self._in_thread(partial(super().subscribe, listener)))

    async def wait_for(
        self,
        *,
        phone: str | None = None,
        request_id: str | None = None,
        since: int = 0,
        timeout: float = 5.0,  # noqa: ASYNC109  # as the method that it stands for
    ) -> AcceptedMessage:
        """Return the newest accepted message that fits, as `Emulator.wait_for` does."""
        return await self._await_in_thread(
            super().wait_for(phone=phone, request_id=request_id, since=since, timeout=timeout)
        )

    async def wait_for_request(
        self,
        *,
        request_id: str | None = None,
        count: int = 1,
        timeout: float = 5.0,  # noqa: ASYNC109  # as the method that it stands for
    ) -> SeenRequest:
        """Return the n-th request that fits, as `Emulator.wait_for_request` does."""
        return await self._await_in_thread(
            super().wait_for_request(request_id=request_id, count=count, timeout=timeout)
        )

    def _note_change(self) -> None:
        self._in_thread(super()._note_change)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        try:
            await self.start()
        except Exception as error:  # noqa: BLE001  # it is raised where the thread was started
            self._started.set_exception(error)
            return
        self._loop = asyncio.get_running_loop()
        self._started.set_result(None)
        await self._stopping.wait()
        await self.aclose()

    def _in_thread(self, call: Callable[[], _T]) -> _T:
        if (loop := self._elsewhere) is None:
            return call()

        async def run() -> _T:
            return call()

        return asyncio.run_coroutine_threadsafe(run(), loop).result()

    async def _await_in_thread(self, waiting: Coroutine[object, object, _T]) -> _T:
        if (loop := self._elsewhere) is None:
            return await waiting
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(waiting, loop))

    @property
    def _elsewhere(self) -> asyncio.AbstractEventLoop | None:
        """The loop that it serves on, unless that is the caller's own, or not running."""
        return None if threading.current_thread() is self._thread else self._loop


class _RelayedClock(Clock):
    """A clock that jumps ahead in the thread of its emulator."""

    def __init__(self, relay: Callable[[Callable[[], None]], None]) -> None:
        super().__init__()
        self._relay = relay

    def advance(self, by: float | timedelta) -> None:
        """Jump ahead, as `Clock.advance` does."""
        self._relay(partial(super().advance, by))
