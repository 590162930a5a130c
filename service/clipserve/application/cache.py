"""A cache bounded in bytes, and builds that are shared by all who ask for the same thing at the same time."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from cachetools import LRUCache

from clipserve.concurrency import clears_frame
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import SharedContext, current, task_context

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_ENTRY_OVERHEAD = 256  # bytes of Python objects around a key and its value, roughly


class BoundedCache(Generic[K, V]):
    """The entries used last, as many as fit into `max_bytes`; 0 keeps none.

    `size_of`: bytes of a key and its value. `name` is a word of the metric `clipserve_cache_total`.
    """

    def __init__(self, name: str, max_bytes: int, size_of: Callable[[K, V], int], metrics: Metrics) -> None:
        self._name = name
        self._size_of = size_of
        self._metrics = metrics
        self._entries: LRUCache[K, tuple[V, int]] = LRUCache(max_bytes, lambda entry: entry[1])
        self._builds = SharedBuilds[V]()

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def get(self, key: K) -> V | None:
        """The value, now the last used, or None; counted as a hit or a miss."""
        entry = self._entries.get(key)
        self._metrics.cache(self._name, "miss" if entry is None else "hit").inc()
        return None if entry is None else entry[0]

    def put(self, key: K, value: V) -> None:
        """Keep it, unless it alone is larger than the cache."""
        size = self._size_of(key, value) + _ENTRY_OVERHEAD
        if size <= self._entries.maxsize:
            self._entries[key] = value, size

    async def get_or_build(self, key: K, build: Callable[[], Awaitable[V]]) -> V:
        """The value, built and kept if it is not there. Its error goes to all who wait, and is not kept."""
        known = self.get(key)
        if known is not None:
            return known

        async def build_and_keep() -> V:
            value = await build()
            self.put(key, value)
            return value

        return await self._builds.get(key, build_and_keep)


@dataclass(eq=False)
class _Build(Generic[V]):
    task: asyncio.Task[V]
    context: SharedContext
    waiters: int = 0


class SharedBuilds(Generic[V]):
    """One build per key at a time: whoever asks meanwhile waits for it.

    A waiter who is cancelled does not end the build for the others; the last one does. The build has no deadline,
    because requests with more time than the first may join.
    """

    def __init__(self) -> None:
        self._builds: dict[Hashable, _Build[V]] = {}

    @clears_frame
    async def get(self, key: Hashable, start: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """The result of the running build of `key`, or of a new one; its error goes to every waiter."""
        build = self._builds.get(key) or self._begin(key, start)
        waiting = current()
        mine = list(waiting.requests) if waiting else []
        build.waiters += 1
        build.context.requests.extend(mine)
        try:
            return await asyncio.shield(build.task)
        finally:
            build.waiters -= 1
            for request in mine:
                build.context.requests.remove(request)
            if not build.waiters:
                self._forget(key, build)
                build.task.cancel()

    def _begin(self, key: Hashable, start: Callable[[], Coroutine[Any, Any, V]]) -> _Build[V]:
        context = SharedContext([])
        task = asyncio.create_task(start(), context=task_context(context))
        build = self._builds[key] = _Build(task, context)
        task.add_done_callback(functools.partial(self._forget, key, build))
        return build

    def _forget(self, key: Hashable, build: _Build[V], _: object = None) -> None:
        if self._builds.get(key) is build:
            del self._builds[key]
