"""Ends a call whose client takes no answer.

gRPC for asyncio cannot cancel a call from the server's side: a client that gives no room for its answer (flow
control) would keep the call, and the memory of the answer, for as long as the connection lives. The library runs
each call in a task, and this within another, which waits for the client's departure. Where both end without a
status the library lets go of the call, which resets its stream. The second is nowhere to be found but when it
makes the first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from types import CoroutineType
from typing import Any
from weakref import ReferenceType, WeakKeyDictionary, ref

_INNER = "_handle_exceptions"  # the library's coroutine that runs a call

Task = asyncio.Task[Any]
_outer: WeakKeyDictionary[Task, ReferenceType[Task]] = WeakKeyDictionary()


def know_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """From now on, calls on this loop can be dropped."""
    loop.set_task_factory(_make)


def drop(call: Task) -> None:
    """End a call by the task that runs it, whatever it waits for."""
    outer = _outer[call]() if call in _outer else None
    if outer:
        outer.cancel()
    call.cancel()


def _make(
    loop: asyncio.AbstractEventLoop,
    coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
    **context: Any,
) -> Task:
    task: Task = asyncio.Task(coroutine, loop=loop, **context)
    if type(coroutine) is CoroutineType:  # Python's own, and the library is in Cython
        return task
    if getattr(coroutine, "__name__", None) == _INNER and (outer := asyncio.current_task()):
        _outer[task] = ref(outer)
    return task
