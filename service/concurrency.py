"""Ways to wait that asyncio does not have.

An error's traceback holds the frames that it came through, and they hold what they worked on: bodies, pixels. A
frame that also holds the task or the future with the error makes a cycle, and all of it stays until the garbage
collector comes. Hence the `del` in each `finally` here, and wherever else a task or a future is awaited by name.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")


async def together(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run side by side; the first error ends the others and is raised as it is.

    Not a TaskGroup: in Python 3.11 its errors make such cycles themselves.
    """
    first, *others = coroutines
    if not others:
        return [await first]
    tasks = [asyncio.ensure_future(each) for each in (first, *others)]
    try:
        return await asyncio.gather(*tasks)
    finally:
        if not all(task.done() for task in tasks):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        del tasks


async def both(first: Coroutine[Any, Any, T], second: Coroutine[Any, Any, U]) -> tuple[T, U]:
    """`together`, of two that give different things."""
    coroutines: list[Coroutine[Any, Any, Any]] = [first, second]
    one, two = await together(coroutines)
    return one, two


@dataclass(eq=False)
class _Build(Generic[T]):
    task: asyncio.Task[T]
    waiters: int = 0


class SharedBuilds(Generic[T]):
    """One build per key at a time: whoever asks meanwhile waits for it.

    A waiter who is cancelled does not end the build for the others; the last one does.
    """

    def __init__(self) -> None:
        self._builds: dict[Hashable, _Build[T]] = {}

    async def get(self, key: Hashable, start: Callable[[], Awaitable[T]]) -> T:
        """The result of the running build of `key`, or of a new one; its error goes to every waiter."""
        build = self._builds.get(key)
        if build is None:
            build = self._builds[key] = _Build(asyncio.create_task(_awaited(start)))
            build.task.add_done_callback(functools.partial(self._forget, key, build))
        build.waiters += 1
        try:
            return await asyncio.shield(build.task)
        finally:
            build.waiters -= 1
            if not build.waiters:
                self._forget(key, build)
                build.task.cancel()
            del build

    def _forget(self, key: Hashable, build: _Build[T], _: object = None) -> None:
        if self._builds.get(key) is build:
            del self._builds[key]


async def _awaited(start: Callable[[], Awaitable[T]]) -> T:
    return await start()
