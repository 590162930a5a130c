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

from clipserve.application.label_sets.store import STORE_SECONDS, Store
from clipserve.redis_pool import redis_pool

PREFIX = "{clipserve:label-sets}:"

_VALUES, _WRITTEN, _LAST = PREFIX + "values", PREFIX + "written", PREFIX + "last-write"
_ADVICE = (
    "Label sets cannot be read or changed, because Redis does not answer as it should: see that the one of "
    "CLIPSERVE_REDIS_URL runs, can be reached and may be written to."
)


class RedisStore(Store):
    """A store in Redis. A change that timed out may still be made."""

    def __init__(self, url: str, *, seconds: float = STORE_SECONDS) -> None:
        """`url`: redis:// or rediss://, with the password. `seconds`: for each answer. The first call connects."""
        # Whatever an answer makes of the client: one that is none has no common error.
        super().__init__(Exception, _ADVICE)
        self._seconds = seconds
        self._redis = Redis.from_pool(redis_pool(url, connect_seconds=seconds, answer_seconds=seconds))
        self._revision: list[Any] = []
        self._listing: dict[str, str] = {}

    async def listing(self) -> Mapping[str, str]:
        # To list a thousand sets takes 30 ms. A deletion lowers the number, also on a Redis without memory, which
        # takes no other mark of it.
        marks = ["GET", _LAST], ["HLEN", _WRITTEN]
        if await self._run(*marks) != self._revision:
            *revision, rows = await self._run(*marks, ["HGETALL", _WRITTEN])
            self._listing = {name.decode(): mark.decode() for name, mark in rows.items()}
            self._revision = revision
        return self._listing

    async def read(self, name: str) -> bytes | None:
        (value,) = await self._run(["HGET", _VALUES, name])
        return value if isinstance(value, bytes) else None

    async def write(self, name: str, value: bytes) -> None:
        written = f"{time.time_ns()} {secrets.token_hex(8)}"
        row = ["HSET", _WRITTEN, name, written], ["HSET", _VALUES, name, value]
        await self._run(*row, ["SET", _LAST, written])

    async def delete(self, names: Collection[str]) -> bool:
        rows = ["HDEL", _WRITTEN, *names], ["HDEL", _VALUES, *names]
        return any(await self._run(*rows)) if names else False

    async def aclose(self) -> None:
        await self._redis.aclose()

    async def _run(self, *commands: list[Any]) -> list[Any]:
        """The answers to the commands, which are one transaction."""
        with self.translated():
            async with timeout(self._seconds), self._redis.pipeline(transaction=True) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)
                return await pipeline.execute()
