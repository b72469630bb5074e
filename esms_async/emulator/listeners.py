"""Those who want to be told when something happens."""

from collections.abc import Callable
from typing import Generic, ParamSpec

_P = ParamSpec("_P")


class Listeners(Generic[_P]):
    """Functions that are called, in the order in which they were added, with what they are told."""

    def __init__(self) -> None:
        self._calls: list[Callable[_P, None]] = []

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call: Callable[_P, None]) -> Callable[[], None]:
        """Tell a function from now on.

        Args:
            call: What to call.

        Returns:
            A function that ends it; it may be called twice, and while others are told.
        """
        self._calls.append(call)

        def remove() -> None:
            if call in self._calls:
                self._calls.remove(call)

        return remove

    def tell(self, *args: _P.args, **kwargs: _P.kwargs) -> None:
        """Call them all."""
        for call in tuple(self._calls):
            call(*args, **kwargs)
