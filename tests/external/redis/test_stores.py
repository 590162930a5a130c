"""What every store promises, held by a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from clipserve.application.label_sets.redis_store import RedisStore
from tests.application.label_sets.conftest import OpenStore
from tests.application.label_sets.test_stores import *  # noqa: F403  collected here
from tests.support.redis_server import RedisServer


@pytest.fixture
async def another(redis: RedisServer) -> AsyncIterator[OpenStore]:
    stores: list[RedisStore] = []

    def open_it() -> RedisStore:
        stores.append(RedisStore(redis.url, seconds=60))  # a busy machine is no Redis that is away
        return stores[-1]

    yield open_it
    for store in stores:
        await store.aclose()
