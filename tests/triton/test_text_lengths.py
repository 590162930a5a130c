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


async def test_a_server_that_states_other_lengths_than_the_first_gets_no_calls(
    one: StandIn, two: StandIn
) -> None:
    state(one, "8,16,77")
    two.ready = False
    async with backend_on(one, urls=[one.url, two.url]) as backend:
        asked, two.ready = two.asked, True
        await until(lambda: two.asked >= asked + 4)
        assert (backend.text_buckets, backend.up(two.url)) == ([8, 16], 0)
        for _ in range(3):
            await ask(backend, 8)
    assert (one.shapes, two.shapes) == ([(2, 8)] * 3, [])
