"""Records which functions of the package run, in order: how far a reader has to walk."""

import itertools
import sys
from collections.abc import Coroutine
from pathlib import Path
from types import FrameType
from typing import Any

import attrs

import esms_async

_PACKAGE = str(Path(esms_async.__file__).parent)


@attrs.frozen
class Calls:
    """The calls of the package's functions, each as file and function, in order."""

    made: tuple[tuple[str, str], ...]

    @property
    def files(self) -> frozenset[str]:
        """The files that they are in."""
        return frozenset(file for file, _ in self.made)

    @property
    def changes(self) -> int:
        """How often a call is in another file than the call before."""
        files = [file for file, _ in self.made]
        return sum(one != other for one, other in itertools.pairwise(files))


async def record(work: Coroutine[Any, Any, object]) -> Calls:
    """Run some work and return the calls that it made in this thread.

    Going on after a wait counts as a call, too: the profiler sees it as one.
    """
    made: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(_PACKAGE):
            made.append((frame.f_code.co_filename[len(_PACKAGE) + 1 :], frame.f_code.co_name))

    sys.setprofile(note)
    try:
        await work
    finally:
        sys.setprofile(None)
    return Calls(tuple(made))
