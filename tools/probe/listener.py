"""Takes the delivery reports of a probe, and leaves the first unanswered to see it come again."""

import asyncio
from types import TracebackType
from typing import Final, Self

import attrs

from esms_async import ConfigurationError
from esms_async.delivery import DeliveryReport, InvalidReport

_LONGEST_HEAD: Final = 16 * 1024
_READ_TIMEOUT: Final = 10.0
_TAKEN: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_NOT_HERE: Final = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@attrs.define
class Arrival:
    """One delivery report that came in.

    Attributes:
        report: What it says.
        at: When it came, by the clock of the event loop.
        left: When the gateway gave up waiting for the answer, or None.
    """

    report: DeliveryReport
    at: float
    left: float | None = None


class Listener:
    """A server for the reports of the messages that it is told to expect.

    Args:
        host: The address to listen on.
        port: The port.
    """

    def __init__(self, host: str, port: int) -> None:
        self.arrivals: list[Arrival] = []
        """The reports, in the order in which they came."""
        self.port: int = port
        """The port that it listens on."""
        self._host = host
        self._expected: set[str | None] = set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    def expect(self, request_id: str) -> None:
        """Count the reports of a message from now on; reports are not signed."""
        self._expected.add(request_id)

    @property
    def again(self) -> Arrival | None:
        """The repetition of the report that was left unanswered, or None."""
        if not self.arrivals or (left := self.arrivals[0].left) is None:
            return None
        first, *later = self.arrivals
        # One that came before the first was given up is a second of its kind, no repetition.
        return next((one for one in later if one.at >= left and one.report == first.report), None)

    @property
    def finals(self) -> list[Arrival]:
        """The reports that were answered and say what became of the message."""
        return [one for one in self.arrivals[1:] if one.report.final]

    async def finish(self) -> None:
        """Wait until the first report has come again, and a final one was answered."""
        while self.again is None or not self.finals:
            self._changed.clear()
            await self._changed.wait()

    async def __aenter__(self) -> Self:
        try:
            self._server = await asyncio.start_server(
                self._serve, self._host, self.port, limit=_LONGEST_HEAD
            )
        except OSError as error:
            problem = error.strerror or "no such address"
            raise ConfigurationError(
                f"can't listen on {self._host}:{self.port}: {problem}"
            ) from None
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None  # noqa: S101  # it was entered
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._take(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_READ_TIMEOUT):
                head = await reader.readuntil(b"\r\n\r\n")
            report = _read(head)
            if report is None or report.request_id not in self._expected:
                writer.write(_NOT_HERE)
            elif await self._note(report, reader):
                writer.write(_TAKEN)
            await writer.drain()
        except (OSError, TimeoutError, asyncio.LimitOverrunError, asyncio.IncompleteReadError):
            pass  # whoever it was is no gateway, or has left
        finally:
            writer.close()

    async def _note(self, report: DeliveryReport, reader: asyncio.StreamReader) -> bool:
        """Note a report, wait with the first until it is given up, and tell whether to answer."""
        loop = asyncio.get_running_loop()
        arrival = Arrival(report, loop.time())
        self.arrivals.append(arrival)
        is_first = len(self.arrivals) == 1
        self._changed.set()
        if is_first:
            try:
                await reader.read()
            finally:
                arrival.left = loop.time()
                self._changed.set()
        return not is_first


def _read(head: bytes) -> DeliveryReport | None:
    words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    if len(words) != 3 or words[0] != "GET":
        return None
    try:
        return DeliveryReport.from_query(words[1].partition("?")[2])
    except InvalidReport:
        return None
