"""Label sets in Redis, for services of several machines.

Two hashes hold the heads and the bodies of a kind, and each change is a transaction. It needs all keys on one node
of a cluster, so they share a hash tag. To keep label sets, Redis must write to disk (`appendonly yes`) and evict
nothing (`maxmemory-policy noeviction`).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Collection
from typing import Any

from redis.asyncio import Redis

from clipserve.application.label_sets.store import Failures, Kind
from clipserve.redis_pool import redis_pool

PREFIX = "{clipserve:label-sets}:"

_LAST_PUT = PREFIX + "last-put"
_ADVICE = (
    "Label sets cannot be read or changed, because Redis does not answer as it should: see that the one of "
    "CLIPSERVE_REDIS_URL runs, can be reached and may be written to."
)


class RedisStore:
    """A `Store` in Redis. A change that timed out may still be made."""

    def __init__(self, url: str, *, seconds: float = 1.0, value_seconds: float = 5.0) -> None:
        """`url`: redis:// or rediss://, with the password. The first call connects.

        `seconds`: to connect, and for small answers. `value_seconds`: for values of some tens of megabytes.
        """
        self._seconds, self._value_seconds = seconds, value_seconds
        self._redis = Redis.from_pool(redis_pool(url, connect_seconds=seconds, answer_seconds=value_seconds))
        # Whatever an answer makes of the client: one that is none has no common error.
        self._reading, self._changing = Failures(Exception, _ADVICE), Failures(Exception, _ADVICE)

    async def revision(self) -> str:
        # A deletion lowers the number, also on a Redis without memory, which takes no other mark of it.
        last, count = await self._run(
            self._reading, self._seconds, ["GET", _LAST_PUT], ["HLEN", _heads("sets")]
        )
        return f"{last} {count}"

    async def heads(self, kind: Kind) -> dict[str, bytes]:
        (rows,) = await self._run(self._reading, self._value_seconds, ["HGETALL", _heads(kind)])
        # A name that is damaged is another name, and not the end of all.
        return {name.decode("utf-8", "backslashreplace"): head for name, head in rows.items()}

    async def bodies(self, kind: Kind, names: Collection[str]) -> dict[str, bytes]:
        if not names:
            return {}
        (bodies,) = await self._run(self._reading, self._value_seconds, ["HMGET", _bodies(kind), *names])
        return {name: body for name, body in zip(names, bodies, strict=True) if body is not None}

    async def put(self, kind: Kind, name: str, head: bytes, body: bytes = b"") -> None:
        row = ["HSET", _heads(kind), name, head], ["HSET", _bodies(kind), name, body]
        mark = [["SET", _LAST_PUT, secrets.token_hex()]] if kind == "sets" else []
        await self._run(self._changing, self._value_seconds, *row, *mark)

    async def delete(self, kind: Kind, names: Collection[str]) -> bool:
        rows = ["HDEL", _heads(kind), *names], ["HDEL", _bodies(kind), *names]
        return any(await self._run(self._changing, self._value_seconds, *rows))

    async def aclose(self) -> None:
        await self._redis.aclose()

    async def _run(self, failures: Failures, seconds: float, *commands: list[Any]) -> list[Any]:
        """The answers to the commands, which are one transaction."""
        # A limit for all of it: the pool's own limits are for each step.
        with failures.translated():
            async with asyncio.timeout(seconds), self._redis.pipeline(transaction=True) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)
                return await pipeline.execute()


def _heads(kind: Kind) -> str:
    return f"{PREFIX}{kind}:heads"


def _bodies(kind: Kind) -> str:
    return f"{PREFIX}{kind}:bodies"
