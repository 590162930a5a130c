"""Ways to wait that asyncio does not have."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")


async def together(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run side by side; the first error ends the others and is raised as it is, not in a group.

    The last runs in the caller's own task: for one or two, which is the rule here, tasks cost more than the work.
    """
    *others, last = coroutines
    if not others:
        return [await last]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in others]
            result = await last
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [*(task.result() for task in tasks), result]


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
            build.task.add_done_callback(lambda _: self._forget(key, build))
        build.waiters += 1
        try:
            return await asyncio.shield(build.task)
        finally:
            build.waiters -= 1
            if not build.waiters:
                self._forget(key, build)
                build.task.cancel()

    def _forget(self, key: Hashable, build: _Build[T] | None) -> None:
        if self._builds.get(key) is build:
            del self._builds[key]


async def _awaited(start: Callable[[], Awaitable[T]]) -> T:
    return await start()
