"""Lines out of blocks, files and pipes."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esms_async.cli.errors import InputError
from esms_async.cli.lines import LONGEST_LINE, Input, LineSplitter


async def _lines(path: str) -> list[str | None]:
    source = await Input.open(path)
    try:
        return [line async for line in source.lines()]
    finally:
        source.close()


@pytest.fixture
def pipe() -> Iterator[tuple[str, int]]:
    """A pipe: the path of its reading end, and its writing end."""
    reader, writer = os.pipe()
    yield f"/dev/fd/{reader}", writer
    os.close(reader)


@given(st.lists(st.binary(max_size=9), max_size=9))
def test_blocks_of_any_size_give_the_same_lines(blocks: list[bytes]) -> None:
    """However the bytes are cut into blocks, the lines are those of the whole."""
    splitter = LineSplitter()
    lines = [line for block in blocks for line in splitter.feed(block)]
    lines += splitter.end()
    whole = b"".join(blocks)
    assert "".join(map(str, lines)).encode("utf-8", "surrogateescape") == whole
    assert all(line is not None and line.endswith("\n") for line in lines[:-1])
    assert splitter.consumed == len(whole)


def test_a_line_that_is_too_long_harms_no_other() -> None:
    """Ten megabytes without an end are one None, of which nothing is kept."""
    splitter = LineSplitter()
    lines = [*splitter.feed(b"first\n")]
    for _ in range(100):
        lines += splitter.feed(b"x" * 100_000)
    lines += splitter.feed(b"x\nlast")
    assert [*lines, *splitter.end()] == ["first\n", None, "last"]


@pytest.mark.parametrize(
    ("length", "kept"), [(LONGEST_LINE - 1, True), (LONGEST_LINE, False), (LONGEST_LINE + 1, False)]
)
def test_the_longest_line(length: int, kept: bool) -> None:  # a parameter of a test
    """The bound holds for a line with its end, in one block or in many."""
    line = b"x" * length + b"\n"
    whole, pieces = LineSplitter(), LineSplitter()
    assert [given is not None for given in whole.feed(line)] == [kept]
    assert [
        given is not None
        for start in range(0, len(line), 1000)
        for given in pieces.feed(line[start : start + 1000])
    ] == [kept]


def test_a_last_line_that_is_too_long_is_told_of() -> None:
    """The end of the input ends a line that is too long, too."""
    splitter = LineSplitter()
    assert [*splitter.feed(b"x" * (LONGEST_LINE + 1)), *splitter.end()] == [None]


async def test_a_byte_order_mark_is_taken_off(tmp_path: Path) -> None:
    """The mark that Excel puts in front of UTF-8 is no part of the first column's name."""
    path = tmp_path / "bom.csv"
    path.write_bytes(b"\xef\xbb\xbfphone\r\n")
    assert await _lines(str(path)) == ["phone\r\n"]


async def test_a_pipe_is_read_as_it_comes(pipe: tuple[str, int]) -> None:
    """A pipe that gives a line in crumbs, and then holds on, has given the line."""
    path, writer = pipe
    source = await Input.open(path)
    lines = source.lines()
    for crumb in (b"\xef", b"\xbb\xbf", b"one", b" line\nnext"):
        os.write(writer, crumb)
    assert await anext(lines) == "one line\n"
    assert source.fraction is None
    os.close(writer)
    assert [line async for line in lines] == ["next"]
    assert source.fraction == 1
    source.close()


async def test_standard_input_stays_open(pipe: tuple[str, int]) -> None:
    """Reading standard input to its end does not close it for others in this process."""
    path, writer = pipe
    os.write(writer, b"a line\n")
    os.close(writer)
    before = os.dup(0)
    os.dup2(int(path.rpartition("/")[2]), 0)
    try:
        assert await _lines("-") == ["a line\n"]
        assert os.read(0, 1) == b""
    finally:
        os.dup2(before, 0)
        os.close(before)


async def test_a_cancelled_read_leaves_the_descriptor_to_its_thread(pipe: tuple[str, int]) -> None:
    """Closing while a read still waits does not pull the descriptor away under it."""
    path, writer = pipe
    source = await Input.open(path)
    before = set(threading.enumerate())
    reading = asyncio.ensure_future(anext(source.lines()))
    await asyncio.sleep(0)
    (thread,) = set(threading.enumerate()) - before
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    source.close()
    os.fstat(source._descriptor)
    os.close(writer)
    await asyncio.to_thread(thread.join)
    await asyncio.sleep(0)
    os.close(source._descriptor)


@pytest.mark.parametrize(
    ("start", "problem"),
    [
        (b"", "is empty"),
        (b"\xff\xfep\0h\0", "is UTF-16"),
        (b"\xfe\xff\0p\0h", "is UTF-16"),
        (b"PK\x03\x04....", "is an archive or a workbook"),
        (b"\x1f\x8b....", "is compressed"),
    ],
)
async def test_what_holds_no_lines_is_refused(tmp_path: Path, start: bytes, problem: str) -> None:
    """A file of another kind is an error that says what it is."""
    path = tmp_path / "input"
    path.write_bytes(start)
    with pytest.raises(InputError, match=problem):
        await _lines(str(path))


@pytest.mark.parametrize(
    ("make", "problem"),
    [(lambda _: None, "No such file"), (Path.mkdir, "Is a directory")],
)
async def test_what_cannot_be_read_is_an_error(
    tmp_path: Path, make: Callable[[Path], None], problem: str
) -> None:
    """The error names the file and says why, in one line."""
    path = tmp_path / "input"
    make(path)
    with pytest.raises(InputError, match=f"cannot read {path}: {problem}"):
        await _lines(str(path))
