"""What every store promises, held by a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis.stateful import run_state_machine_as_test

from clipserve.application.label_sets.redis_store import RedisStore
from tests.application.label_sets.conftest import OpenStore
from tests.application.label_sets.machine import FEW, Gateways
from tests.application.label_sets.test_stores import (  # noqa: F401  collected here with this module's store
    test_a_reader_never_sees_half_of_a_value,
    test_a_value_may_have_tens_of_megabytes,
    test_the_listing_stays_while_nothing_changes,
    test_what_there_is_not_has_no_value,
)
from tests.redis_server import RedisServer


def opened(redis: RedisServer) -> RedisStore:
    return RedisStore(redis.url, seconds=60, value_seconds=60)  # a busy machine is no Redis that is away


@pytest.fixture
async def another(redis: RedisServer) -> AsyncIterator[OpenStore]:
    stores: list[RedisStore] = []

    def open_it() -> RedisStore:
        stores.append(opened(redis))
        return stores[-1]

    yield open_it
    for store in stores:
        await store.aclose()


def test_whatever_is_put_and_deleted_all_serve_the_last_of_it_and_nothing_else_is_kept(
    redis: RedisServer,
) -> None:
    class OnRedis(Gateways):
        opens = staticmethod(lambda _: opened(redis))

    run_state_machine_as_test(OnRedis, settings=FEW)
