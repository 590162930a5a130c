"""What calls may hold in memory: messages that are being read, and answers that nobody takes.

gRPC's library takes the bytes of a message once `read` is called, and says how many there are when it is whole. So
messages are read only in a few places.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from types import CoroutineType
from typing import Any, TypeVar
from weakref import ReferenceType, WeakKeyDictionary, ref

from clipserve.concurrency import clears_frame
from clipserve.errors import BodyTooSlow, Overloaded
from clipserve.quota import Quota
from clipserve.telemetry.log import logger

_CROWDED_SECONDS = 2.0  # a read gives its place up after so long if others wait
_INNER = "_handle_exceptions"  # the coroutine of gRPC's library that runs a call

T = TypeVar("T")
Read = Callable[[], Coroutine[Any, Any, T]]
Task = asyncio.Task[Any]


class Reads:
    """The places in which messages are read: so many at once, and half of them for one caller."""

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
        loop = asyncio.get_running_loop()
        with self._places.lease(caller) as place:
            try:
                async with asyncio.timeout(self._seconds):
                    await place.wait(1)
            except TimeoutError:
                raise Overloaded(
                    "many messages are being read, and this one had no place. Try again later.", retry_after=1
                ) from None
            ends = loop.time() + self._seconds - 1e-3  # of the clock
            step = min(_CROWDED_SECONDS, self._seconds)
            return await read_patiently(read, step, lambda now: bool(self._places.waiting) or now >= ends)


@clears_frame
async def read_patiently(read: Read[T], seconds: float, gives_up: Callable[[float], bool]) -> T:
    """The result of `read`, which is given up if `gives_up(now)` says so; it is asked every few seconds.

    A read that is given up is not cancelled: the library would write the rest of the message into memory that it
    never frees. It ends when its call does.

    Raises:
        BodyTooSlow: it is given up.
    """
    loop = asyncio.get_running_loop()
    began, task = loop.time(), loop.create_task(read())
    task.add_done_callback(looked_at)
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await asyncio.shield(task)
        if gives_up(now := loop.time()):
            raise BodyTooSlow(
                f"the message was not whole within {now - began:.3g} s. Send it faster, or try again later: if "
                "others wait, a message has two seconds.",
                limit=seconds,
            )


def looked_at(task: Task) -> None:
    """Nobody else looks at the error of a read that was given up; asyncio would log it."""
    if not task.cancelled():
        task.exception()


_outer: WeakKeyDictionary[Task, ReferenceType[Task]] = WeakKeyDictionary()


def know_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Install a task factory, so that `drop` can end calls on this loop."""
    loop.set_task_factory(_make)


def drop(call: Task) -> None:
    """End a call whose client takes no answer. `call`: the task that runs it.

    gRPC cannot cancel a call from the server's side. The library runs a call in an inner task, while an outer one
    waits for the client's departure. If both end without a status, it releases the call. The outer task is
    found when it makes the inner one, which is known by its name: with a new version, `drop` may log
    `grpc_calls_kept`.
    """
    if call not in _outer:
        logger.warning(
            "grpc_calls_kept",
            reason=f"this version of grpcio has no {_INNER}",
            hint="a call whose client takes no answer keeps its memory until the connection ends: install the "
            "version of requirements/service.txt",
        )
    elif outer := _outer[call]():
        outer.cancel()
    call.cancel()


def _make(
    loop: asyncio.AbstractEventLoop,
    coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
    **context: Any,
) -> Task:
    task: Task = asyncio.Task(coroutine, loop=loop, **context)
    if type(coroutine) is CoroutineType:  # a Python coroutine; the library's are Cython's
        return task
    if getattr(coroutine, "__name__", None) == _INNER and (outer := asyncio.current_task()):
        _outer[task] = ref(outer)
    return task
