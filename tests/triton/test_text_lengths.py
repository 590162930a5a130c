"""The gateway pads texts to the lengths that its Triton servers say they are made for."""

from __future__ import annotations

import numpy as np

from clipserve.clip.manifest import TEXT_BUCKETS
from clipserve.engine.triton.contract import TEXT_LENGTHS
from tests.triton.backends import Backend, backend_on
from tests.triton.stand_in import StandIn
from tests.waiting import until


def state(server: StandIn, lengths: str) -> None:
    """From now on its text model states these; "": it was written before there was such a parameter."""
    server.models["demo_text"].parameters[TEXT_LENGTHS].string_value = lengths


async def ask(backend: Backend, length: int) -> None:
    await backend.encode_text(np.ones((2, length), np.int32), np.full(2, length, np.int32))


async def test_a_repository_for_a_gpu_names_three_lengths(one: StandIn) -> None:
    async with backend_on(one) as backend:
        assert backend.text_buckets == [16, 32]


async def test_one_that_names_none_gets_those_of_a_cpu(one: StandIn) -> None:
    state(one, "")
    async with backend_on(one) as backend:
        assert tuple(backend.text_buckets) == TEXT_BUCKETS


async def test_a_server_with_fewer_lengths_narrows_them_and_is_sent_no_others(
    one: StandIn, two: StandIn
) -> None:
    state(one, "8,10,12,16,24,32,48,77")
    two.ready = False
    async with backend_on(one, urls=[one.url, two.url]) as backend:
        await ask(backend, 8)
        two.ready = True
        await until(lambda: bool(backend.up(two.url)))
        assert backend.text_buckets == [16, 32]
        one.ready = False
        await until(lambda: not backend.up(one.url))
        await ask(backend, 8)  # padded before the second came
        await ask(backend, 48)
    assert one.shapes == [(2, 8)]
    assert two.shapes == [(2, 16), (2, 77)]
