"""The bytes of a received request, until they are parsed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from clipserve.concurrency import SideThread
from clipserve.errors import ClipError

T = TypeVar("T")

SHORT = 4_096  # bytes, which are parsed in a millisecond or two, whatever they contain


class Body:
    """The only reference to a request's bytes, so that they are freed as soon as they are parsed."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __len__(self) -> int:
        """The number of bytes; 0 after `take`."""
        return len(self._data)

    def take(self) -> bytes:
        """The bytes, the first time; then none."""
        data, self._data = self._data, b""
        return data

    async def parsed(
        self, side: SideThread, parse: Callable[[Body], T], size: Callable[[bytes], int] = len
    ) -> T:
        """The result of `parse`, which runs in the side thread unless there is little to parse.

        `size`: how many of the bytes `parse` looks at.
        """
        return await side.call(_freed, self, parse, short=size(self._data) <= SHORT)


def _freed(body: Body, parse: Callable[[Body], T]) -> T:
    try:
        return parse(body)
    except ClipError as error:
        # Free a refused body here, not when the event loop gets to it.
        error.__context__ = None
        raise error.with_traceback(None) from None
