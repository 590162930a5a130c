"""The bytes of a received request, until they are parsed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from clipserve.concurrency import beside_loop

T = TypeVar("T")


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

    async def parsed(self, parse: Callable[[Body], T], size: Callable[[bytes], int] = len) -> T:
        """The result of `parse`, which runs beside the event loop unless there is little to parse.

        `size`: how many of the bytes `parse` looks at.
        """
        return await beside_loop(partial(parse, self), size(self._data))
