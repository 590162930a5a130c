"""Label sets in Redis, for services of several machines.

A hash holds all rows of a kind, and each change is a transaction or a script. These need all keys on one node of a
cluster, so the keys share a hash tag. To keep label sets, Redis must write to disk (`appendonly yes`) and evict
nothing (`maxmemory-policy noeviction`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Mapping
from typing import Any, get_args

from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from clipserve.application.label_sets.store import Failures, Key, Kind, revision_step
from clipserve.redis_pool import redis_pool

PREFIX = "{clipserve:label-sets}:"

_SECONDS = 1.0  # to connect, and for small answers
_VALUE_SECONDS = 5.0  # for values of some tens of megabytes
_REVISION = PREFIX + "revision"
_KEYS = (_REVISION, *(PREFIX + kind for kind in get_args(Kind)))

# ARGV: the step to the next revision, then key and name of each row.
_DELETE = """
redis.call('INCRBY', KEYS[1], ARGV[1])
local deleted = 0
for at = 2, #ARGV, 2 do deleted = deleted + redis.call('HDEL', ARGV[at], ARGV[at + 1]) end
return deleted
"""
# What makes room may be done without any. Redis has known this line since version 7.
_DELETE_WHEN_FULL = "#!lua flags=allow-oom\n" + _DELETE


class RedisStore:
    """A `Store` in Redis. A change that timed out may still be made."""

    def __init__(self, url: str) -> None:
        """`url`: redis:// or rediss://, with the password. The first call connects."""
        self._redis = Redis.from_pool(
            redis_pool(url, connect_seconds=_SECONDS, answer_seconds=_VALUE_SECONDS)
        )
        # Whatever an answer makes of the client: one that is none has no common error.
        self._reading, self._changing = Failures((Exception,), _advice), Failures((Exception,), _advice)

    async def revision(self) -> int:
        with self._reading.translated():
            return int(await self._ask(_SECONDS, "GET", _REVISION) or 0)

    async def names(self, kind: Kind) -> list[str]:
        with self._reading.translated():
            return [_name_of(name) for name in await self._ask(_SECONDS, "HKEYS", PREFIX + kind)]

    async def get(self, kind: Kind, names: Collection[str]) -> dict[str, bytes]:
        asked = [*names]
        if not asked:
            return {}
        with self._reading.translated():
            values: list[bytes | None] = await self._ask(_VALUE_SECONDS, "HMGET", PREFIX + kind, *asked)
            found = zip(asked, values, strict=True)
            return {name: value for name, value in found if value is not None}

    async def put(self, rows: Mapping[Key, bytes]) -> None:
        with self._changing.translated():
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.incrby(_REVISION, revision_step())
                for (kind, name), value in rows.items():
                    pipeline.execute_command("HSET", PREFIX + kind, name, value)
                await _in_time(_VALUE_SECONDS, pipeline.execute())

    async def delete(self, keys: Collection[Key]) -> bool:
        rows = [part for kind, name in keys for part in (PREFIX + kind, name)]
        arguments = (len(_KEYS), *_KEYS, revision_step(), *rows)
        with self._changing.translated():
            try:
                return bool(await self._ask(_VALUE_SECONDS, "EVAL", _DELETE, *arguments))
            except OutOfMemoryError:
                return bool(await self._ask(_VALUE_SECONDS, "EVAL", _DELETE_WHEN_FULL, *arguments))

    async def aclose(self) -> None:
        await self._redis.aclose()

    async def _ask(self, seconds: float, *command: str | int) -> Any:
        return await _in_time(seconds, self._redis.execute_command(*command))  # type: ignore[no-untyped-call]


async def _in_time(seconds: float, call: Awaitable[Any]) -> Any:
    async with asyncio.timeout(seconds):  # for all of it: the pool's own limits are for each step
        return await call


def _name_of(stored: bytes) -> str:
    """One that is damaged is another name, and not the end of all."""
    return stored.decode("utf-8", "backslashreplace")


def _advice(_: Exception) -> str:
    return (
        "Label sets cannot be read or changed, because Redis does not answer as it should: see that the one of "
        "CLIPSERVE_REDIS_URL runs, can be reached and may be written to."
    )
