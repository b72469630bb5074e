"""The lines of a file or a pipe: read in blocks beside the event loop, and of bounded length."""

import asyncio
import os
import stat
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Final, Self, TypeVar

from esms_async.cli.errors import InputError

T = TypeVar("T")

LONGEST_LINE: Final = 128 * 1024
"""Bytes. The longest message that can be sent takes less than half of it."""

_BLOCK = 256 * 1024
_UTF8_BOM = b"\xef\xbb\xbf"
_FOREIGN = {
    b"\xff\xfe": "is UTF-16",
    b"\xfe\xff": "is UTF-16",
    b"PK\x03\x04": "is an archive or a workbook",
    b"\x1f\x8b": "is compressed",
}


class LineSplitter:
    """Bytes in, lines out. A line that is too long costs no memory, and harms no other line.

    Attributes:
        consumed: How many bytes the lines given so far take.
    """

    def __init__(self) -> None:
        self.consumed: int = 0
        self._rest = b""
        self._rest_is_too_long = False

    def feed(self, block: bytes) -> Iterator[str | None]:
        """Give the lines that a block completes; to be exhausted before the next block.

        Yields:
            Each line with its end, or None in place of one that is too long. Bytes that are no
            UTF-8 come as lone surrogates, so that the fields around them can still be read.
        """
        *lines, rest = (self._rest + block).split(b"\n")
        for line in lines:
            yield self._line(line + b"\n")
        self._rest = rest
        if len(rest) > LONGEST_LINE:
            self._rest_is_too_long = True
            self._rest = b""
            self.consumed += len(rest)

    def end(self) -> Iterator[str | None]:
        """Give the last line, where it has no end.

        Yields:
            At most one line, as `feed` does.
        """
        if self._rest or self._rest_is_too_long:
            yield self._line(self._rest)

    def _line(self, line: bytes) -> str | None:
        too_long = self._rest_is_too_long or len(line) > LONGEST_LINE
        self._rest_is_too_long = False
        self.consumed += len(line)
        return None if too_long else line.decode("utf-8", "surrogateescape")


class Input:
    """A file or a pipe that is open for reading.

    A pipe that gives nothing for an hour holds up neither the sends in flight nor an interrupt,
    and regular files, on a slow disk perhaps, are treated alike.
    """

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = name
        self._descriptor = descriptor
        self._reading = False
        self._ended = False
        self._splitter = LineSplitter()
        status = os.fstat(descriptor)
        self._size = status.st_size if stat.S_ISREG(status.st_mode) else None

    @classmethod
    async def open(cls, path: str) -> Self:
        """Open a file.

        Args:
            path: Its path; `-` is standard input.

        Returns:
            The input; it is the caller's to close.

        Raises:
            InputError: It can't be opened.
        """
        if path == "-":
            require_standard_input()
            return cls("standard input", os.dup(0))
        try:
            # On a thread, for opening a named pipe waits for its writer.
            return cls(path, await _on_thread(lambda: os.open(path, os.O_RDONLY)))
        except OSError as error:
            raise _unreadable(path, error) from None

    @property
    def fraction(self) -> float | None:
        """Which fraction of it has been given as lines, from 0 to 1; None where nobody knows."""
        if self._ended:
            return 1.0
        return min(1.0, self._splitter.consumed / self._size) if self._size else None

    async def lines(self) -> AsyncIterator[str | None]:
        """Read it to its end.

        Yields:
            Each line with its end, or None in place of one that is too long; see `LineSplitter`.

        Raises:
            InputError: It can't be read, is empty, or is in no form that lines can be read from.
        """
        splitter = self._splitter
        block = _without_bom(self.name, await self._read_start())
        while block:
            for line in splitter.feed(block):
                yield line
            block = await self._read()
        for line in splitter.end():
            yield line
        self._ended = True

    def close(self) -> None:
        """Close it. A read that still waits for a pipe keeps the pipe open until it ends."""
        if not self._reading:
            os.close(self._descriptor)

    async def _read_start(self) -> bytes:
        """Read at least as many bytes as tell what the input is, where there are so many."""
        start = b""
        while len(start) < max(map(len, _FOREIGN)) and (block := await self._read()):
            start += block
        if not start:
            raise InputError(f"{self.name} is empty")
        return start

    async def _read(self) -> bytes:
        self._reading = True
        try:
            block = await _on_thread(lambda: os.read(self._descriptor, _BLOCK))
        except OSError as error:
            self._reading = False
            raise _unreadable(self.name, error) from None
        # Not where the read is cancelled: its thread goes on to use the descriptor.
        self._reading = False
        return block


def require_standard_input() -> None:
    """Refuse to read what was closed: its descriptor may be that of another file by now.

    Raises:
        InputError: Standard input is closed.
    """
    if sys.stdin is None:
        raise InputError("standard input is closed; lead a file into it, or /dev/null")


def _unreadable(name: str, error: OSError) -> InputError:
    return InputError(f"cannot read {name}: {error.strerror}")


def _without_bom(name: str, start: bytes) -> bytes:
    for signature, what in _FOREIGN.items():
        if start.startswith(signature):
            raise InputError(f"{name} {what}; save it as CSV in UTF-8")
    return start.removeprefix(_UTF8_BOM)


async def _on_thread(call: Callable[[], T]) -> T:
    """Run a call that may block on a thread of its own, which nothing waits for at exit.

    asyncio.to_thread would have the interpreter wait for a pipe that never gives anything.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: OSError | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # without an error, it is a T

    def run() -> None:
        result, problem = None, None
        try:
            result = call()
        except OSError as error:
            problem = error
        # The loop is closed where nobody waits any more.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, problem)

    threading.Thread(target=run, daemon=True).start()
    return await future
