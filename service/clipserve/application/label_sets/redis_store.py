"""Label sets in Redis, for services of several machines.

A hash has the values, another one when each was written, and each change is a transaction. It needs all keys on one
node of a cluster, so they share a hash tag. To keep label sets, Redis must write to disk (`appendonly yes`) and
evict nothing (`maxmemory-policy noeviction`).
"""

from __future__ import annotations

import secrets
import time
from asyncio import timeout
from collections.abc import Collection, Mapping
from typing import Any

from redis.asyncio import Redis

from clipserve.application.label_sets.store import Store
from clipserve.redis_pool import redis_pool

PREFIX = "{clipserve:label-sets}:"

_VALUES, _WRITTEN, _LAST = PREFIX + "values", PREFIX + "written", PREFIX + "last-write"
_ADVICE = (
    "Label sets cannot be read or changed, because Redis does not answer as it should: see that the one of "
    "CLIPSERVE_REDIS_URL runs, can be reached and may be written to."
)


class RedisStore(Store):
    """A store in Redis. A change that timed out may still be made."""

    def __init__(self, url: str, *, seconds: float = 1.0, value_seconds: float = 5.0) -> None:
        """`url`: redis:// or rediss://, with the password. The first call connects.

        `seconds`: to connect, and for small answers. `value_seconds`: for values of some tens of megabytes.
        """
        # Whatever an answer makes of the client: one that is none has no common error.
        super().__init__(Exception, _ADVICE)
        self._seconds, self._value_seconds = seconds, value_seconds
        self._redis = Redis.from_pool(redis_pool(url, connect_seconds=seconds, answer_seconds=value_seconds))
        self._revision: list[Any] = []
        self._listing: dict[str, str] = {}

    async def listing(self) -> Mapping[str, str]:
        # To list a thousand sets takes 30 ms. A deletion lowers the number, also on a Redis without memory, which
        # takes no other mark of it.
        marks = ["GET", _LAST], ["HLEN", _WRITTEN]
        if await self._run(self._seconds, *marks) != self._revision:
            *revision, rows = await self._run(self._value_seconds, *marks, ["HGETALL", _WRITTEN])
            # A name that is damaged is another name, and not the end of all.
            self._listing = {
                name.decode("utf-8", "backslashreplace"): mark.decode("utf-8", "replace")
                for name, mark in rows.items()
            }
            self._revision = revision
        return self._listing

    async def read(self, name: str) -> bytes | None:
        (value,) = await self._run(self._value_seconds, ["HGET", _VALUES, name])
        return value if isinstance(value, bytes) else None

    async def write(self, name: str, value: bytes) -> None:
        written = f"{time.time_ns()} {secrets.token_hex(8)}"
        row = ["HSET", _WRITTEN, name, written], ["HSET", _VALUES, name, value]
        await self._run(self._value_seconds, *row, ["SET", _LAST, written])

    async def delete(self, names: Collection[str]) -> bool:
        rows = ["HDEL", _WRITTEN, *names], ["HDEL", _VALUES, *names]
        return any(await self._run(self._value_seconds, *rows)) if names else False

    async def aclose(self) -> None:
        await self._redis.aclose()

    async def _run(self, seconds: float, *commands: list[Any]) -> list[Any]:
        """The answers to the commands, which are one transaction. `seconds`: for all of it."""
        with self.translated():
            async with timeout(seconds), self._redis.pipeline(transaction=True) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)
                return await pipeline.execute()
