"""A Redis for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.redis_server import RedisServer


@pytest.fixture
async def redis() -> AsyncIterator[RedisServer]:
    server = RedisServer()
    try:
        await server.answers()
        yield server
    finally:
        server.kill()
