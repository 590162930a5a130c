"""A cache with a limit of bytes, and builds that concurrent requests for the same key share."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from cachetools import LRUCache

from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import SharedContext, current, task_context

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_ENTRY_OVERHEAD = 256  # bytes of Python objects around a key and its value, roughly


class BoundedCache(Generic[K, V]):
    """A least recently used cache of at most `max_bytes`; 0 keeps no entry.

    `size_of`: the bytes of a key and its value. `name`: a label of the metric `clipserve_cache_total`.
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
        """The value, or None. It counts as a use, and as a hit or a miss."""
        entry = self._entries.get(key)
        self._metrics.cache(self._name, "miss" if entry is None else "hit").inc()
        return None if entry is None else entry[0]

    def put(self, key: K, value: V) -> None:
        """Store the entry, unless it is larger than the whole cache."""
        size = self._size_of(key, value) + _ENTRY_OVERHEAD
        if size <= self._entries.maxsize:
            self._entries[key] = value, size

    async def get_or_build(self, key: K, build: Callable[[], Awaitable[V]]) -> V:
        """The value, built and stored if it is missing. All waiting callers get an error, which is not stored."""
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
    """Runs one build of a key at a time. Other callers wait for it.

    If a waiting caller is cancelled, the build goes on for the others; if all are, it is cancelled. The build has
    no deadline, because requests with a later deadline than the first may join.
    """

    def __init__(self) -> None:
        self._builds: dict[Hashable, _Build[V]] = {}

    async def get(self, key: Hashable, start: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """The result of the running build of `key`, or of a new one. All waiting callers get its error."""
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
