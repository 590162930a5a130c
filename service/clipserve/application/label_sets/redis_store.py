"""Label sets in Redis, for services of several machines.

A hash holds all rows of a kind, and a script makes a change: Redis runs nothing else meanwhile. The keys share a
hash tag, so that a cluster has them on one node, as a script demands. For label sets to last, Redis must write to
disk (`appendonly yes`) and throw nothing away (`maxmemory-policy noeviction`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Any, get_args

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError
from redis.maint_notifications import MaintNotificationsConfig

from clipserve.application.label_sets.failures import Failures
from clipserve.application.label_sets.store import NOTHING, Key, Kind, name_bytes, name_of, revision_step

PREFIX = "{clipserve:label-sets}:"

_SECONDS = 1.0  # for small answers
_VALUE_SECONDS = 5.0  # for values of some tens of megabytes
_KINDS: tuple[Kind, ...] = get_args(Kind)
_REVISION = PREFIX + "revision"
_KEYS = (_REVISION, *(PREFIX + kind for kind in _KINDS))

# ARGV: the step of the revision; then three lists, each after its length: what is expected (key, name, "1" or "0"
# for none, value), deletes (key, name) and puts (key, name, value). A key is a position in KEYS. The revision comes
# first of what is written: what may fail, for want of memory or of a right, fails there, before any row is changed.
_CHANGE = """
local at = 1
local function take()
  at = at + 1
  return ARGV[at]
end
for _ = 1, tonumber(take()) do
  local key, name, present, value = KEYS[tonumber(take())], take(), take(), take()
  local found = redis.call('HGET', key, name)
  if present == '0' and found or present == '1' and found ~= value then return 0 end
end
redis.call('INCRBY', KEYS[1], ARGV[1])
for _ = 1, tonumber(take()) do
  local key, name = KEYS[tonumber(take())], take()
  redis.call('HDEL', key, name)
end
for _ = 1, tonumber(take()) do
  local key, name, value = KEYS[tonumber(take())], take(), take()
  redis.call('HSET', key, name, value)
end
return 1
"""
# What makes room may be done without any. Redis has known this line since version 7.
_DELETE = "#!lua flags=allow-oom\n" + _CHANGE


class RedisStore:
    """A `Store` in Redis. A change that took too long, or whose caller is cancelled, may still be made."""

    def __init__(self, url: str) -> None:
        """`url`: redis:// or rediss://, a password in it as usual. The first call connects."""
        pool = ConnectionPool.from_url(
            url,
            socket_timeout=_VALUE_SECONDS,
            socket_connect_timeout=_SECONDS,
            retry=Retry(NoBackoff(), 0),
            # With them on, a connection is not looked at before it is used, and one that Redis has closed fails.
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )
        self._redis = Redis.from_pool(pool)
        # Whatever an answer makes of the client: one that is none has no common error.
        self._reading, self._changing = Failures((Exception,), _advice), Failures((Exception,), _advice)

    async def revision(self) -> int:
        with self._reading.translated():
            return int(await self._ask(_SECONDS, "GET", _REVISION) or 0)

    async def names(self, kind: Kind) -> list[str]:
        with self._reading.translated():
            return [name_of(name) for name in await self._ask(_SECONDS, "HKEYS", PREFIX + kind)]

    async def rows(self, kind: Kind) -> dict[str, bytes]:
        with self._reading.translated():
            found: dict[bytes, bytes] = await self._ask(_VALUE_SECONDS, "HGETALL", PREFIX + kind)
            return {name_of(name): value for name, value in found.items()}

    async def get(self, key: Key) -> bytes | None:
        kind, name = key
        with self._reading.translated():
            value: bytes | None = await self._ask(_VALUE_SECONDS, "HGET", PREFIX + kind, name_bytes(name))
            return value

    async def change(
        self,
        puts: Mapping[Key, bytes],
        deletes: Collection[Key] = (),
        *,
        expected: Mapping[Key, bytes | None] = NOTHING,
    ) -> bool:
        arguments = [
            revision_step(),
            *_listed(
                (*_stored(key), int(value is not None), value or b"") for key, value in expected.items()
            ),
            *_listed(_stored(key) for key in deletes),
            *_listed((*_stored(key), value) for key, value in puts.items()),
        ]
        with self._changing.translated():
            try:
                return await self._changed(_CHANGE, arguments)
            except OutOfMemoryError:
                if puts:
                    raise
                return await self._changed(_DELETE, arguments)

    async def _changed(self, script: str, arguments: list[int | bytes]) -> bool:
        return bool(await self._ask(_VALUE_SECONDS, "EVAL", script, len(_KEYS), *_KEYS, *arguments))

    async def aclose(self) -> None:
        await self._redis.aclose()

    async def _ask(self, seconds: float, *command: str | bytes | int) -> Any:
        async with asyncio.timeout(seconds):  # for all of it: the pool's own limits are for each step
            return await self._redis.execute_command(*command)  # type: ignore[no-untyped-call]


def _listed(entries: Iterable[tuple[int | bytes, ...]]) -> list[int | bytes]:
    """Their number, and all their parts."""
    taken = list(entries)
    return [len(taken), *(part for entry in taken for part in entry)]


def _stored(key: Key) -> tuple[int, bytes]:
    kind, name = key
    return 2 + _KINDS.index(kind), name_bytes(name)  # Lua counts from 1, and the first is the revision


def _advice(_: Exception) -> str:
    return (
        "Label sets cannot be read or changed, because Redis does not answer as it should: see that the one of "
        "CLIPSERVE_REDIS_URL runs, can be reached and may be written to."
    )
