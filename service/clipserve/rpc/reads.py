"""Places in which messages are read, so that those which are not whole take a bounded part of the memory.

gRPC's library takes the bytes of a message once `read` is called, and says how many there are when it is whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from clipserve.errors import BodyTooSlow, Overloaded
from clipserve.quota import Quota

_CROWDED_SECONDS = 2.0  # a read gives its place up after so long if others wait

T = TypeVar("T")
Read = Callable[[], Coroutine[Any, Any, T]]


class Reads:
    """So many messages are read at once, and half of them of one caller."""

    def __init__(self, places: int, seconds: float, *, shares_address: bool = False) -> None:
        """`seconds`: the most for a read, and for the wait for its place. `shares_address`: see `RpcOptions`."""
        self._places = Quota("messages to be read", places, None if shares_address else (places + 1) // 2)
        self._seconds = seconds

    async def receive(self, caller: str, read: Read[T]) -> T:
        """The result of `read`, in a place.

        Raises:
            BodyTooSlow: the message was not whole in time, or others waited for its place.
            Overloaded: no place became free in time.
        """
        with self._places.lease(caller) as place:
            try:
                async with asyncio.timeout(self._seconds):
                    await place.wait(1)
            except TimeoutError:
                raise Overloaded(
                    "many messages are being read, and this one had no place. Try again later.", retry_after=1
                ) from None
            return await self._patiently(read)

    async def _patiently(self, read: Read[T]) -> T:
        # A read that is given up is not cancelled: the library would write the rest of the message into memory that
        # it never frees. It ends when its call does.
        loop = asyncio.get_running_loop()
        began, task = loop.time(), loop.create_task(read())
        task.add_done_callback(looked_at)
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(_CROWDED_SECONDS, self._seconds)):
                    return await asyncio.shield(task)
            seconds = loop.time() - began
            if self._places.waiting or seconds >= self._seconds - 1e-3:  # of the clock
                raise BodyTooSlow(
                    f"the message was not whole within {round(seconds, 3):g} s. Send it faster, or try again "
                    "later: if others wait, a message has two seconds.",
                    limit=self._seconds,
                )


def looked_at(task: asyncio.Task[Any]) -> None:
    """Nobody else looks at the error of a read that was given up; asyncio would log it."""
    if not task.cancelled():
        task.exception()
