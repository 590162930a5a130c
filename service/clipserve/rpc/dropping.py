"""Ends a call whose client takes no answer.

gRPC for asyncio cannot cancel a call from the server's side: a client that blocks its answer by flow
control would keep the call, and the memory of the answer, for as long as the connection lives. The library runs
each call in an inner task, and an outer task waits for the client's departure. If both end without a
status, the library releases the call, which resets its stream. The outer task can be found only while it makes the
inner one. It is known by the name of the library's coroutine, which a new version may change: `drop` then logs
`grpc_calls_kept`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from types import CoroutineType
from typing import Any
from weakref import ReferenceType, WeakKeyDictionary, ref

from clipserve.telemetry.log import logger

_INNER = "_handle_exceptions"  # the library's coroutine that runs a call

Task = asyncio.Task[Any]
_outer: WeakKeyDictionary[Task, ReferenceType[Task]] = WeakKeyDictionary()


def know_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Install a task factory, so that `drop` can end calls on this loop."""
    loop.set_task_factory(_make)


def drop(call: Task) -> None:
    """End a call. `call`: the inner task, which runs it."""
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
