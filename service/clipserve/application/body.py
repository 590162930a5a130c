"""The bytes of a request, from when all of them have come until they are parsed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from clipserve.concurrency import SideThread
from clipserve.errors import ClipError

T = TypeVar("T")

_SHORT = 4_096  # bytes: they are parsed in a millisecond or two, whatever they are


class Body:
    """Nothing else holds the bytes: whoever takes them frees them as soon as they are parsed."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __len__(self) -> int:
        """Bytes; none when they are taken."""
        return len(self._data)

    def take(self) -> bytes:
        """All of it, once."""
        data, self._data = self._data, b""
        return data

    async def parsed(self, side: SideThread, parse: Callable[[Body], T], size: int | None = None) -> T:
        """What `parse` makes of it, in the side thread unless it is short. `size`: bytes to parse, if not all."""
        return await side.call(_freed, self, parse, short=(len(self) if size is None else size) <= _SHORT)


def _freed(body: Body, parse: Callable[[Body], T]) -> T:
    try:
        return parse(body)
    except ClipError as error:
        # What was refused is freed here, and not when the event loop comes to it.
        error.__context__ = None
        raise error.with_traceback(None) from None
