"""Formats tracebacks without values that may be secret."""

import traceback
from collections.abc import Iterator

from esms_async._model.errors import EsmsError


def traceback_without_values(error: BaseException) -> str:
    """Return the traceback of an error and its causes, the first cause first.

    The messages of this package's errors are free of secrets. Those of other errors may quote a
    text, so they are left out.
    """
    lines = ["Traceback, without the values:\n"]
    for one in reversed([*_chain(error)]):
        lines += traceback.format_tb(one.__traceback__)
        words = f": {one}" if isinstance(one, EsmsError) else ""
        lines.append(f"{type(one).__qualname__}{words}\n")
    return "".join(lines)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        context = None if following.__suppress_context__ else following.__context__
        following = following.__cause__ or context
