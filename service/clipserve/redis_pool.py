"""Connections to Redis that fail soon, and are tried once: who uses them decides what a failure means."""

from __future__ import annotations

from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig


def redis_pool(url: str, *, connect_seconds: float, answer_seconds: float) -> ConnectionPool:
    """Make a pool. The first call connects.

    `url`: redis:// or rediss://, which may contain a password. `answer_seconds`: for a part of an answer.
    """
    return ConnectionPool.from_url(
        url,
        socket_timeout=answer_seconds,
        socket_connect_timeout=connect_seconds,
        retry=Retry(NoBackoff(), 0),
        # With them on, a connection is not looked at before it is used, and one that Redis has closed fails.
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )
