"""Neighbours in a batch change no vector: mixed requests through both APIs, the engines in process."""

from __future__ import annotations

import pytest

from tests.apis.neighbours import check, run
from tests.support.process import PATIENT, SLOW_BODIES, Process


@pytest.mark.slow
@pytest.mark.parametrize("requests", [240, pytest.param(3_000, marks=pytest.mark.nightly)])
async def test_an_item_among_neighbours_has_the_vector_that_it_has_alone(requests: int) -> None:
    process = Process(backend="onnx", **PATIENT, **SLOW_BODIES)
    process.wait_ready()
    seen = await run(process.url, process.rpc_address, requests)
    assert process.stop()[0] == 0
    check(seen, requests)
