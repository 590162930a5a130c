"""Neighbours in a batch change no vector: 3,000 mixed requests through both fronts, the engines in process."""

from __future__ import annotations

import pytest

from tests.fronts.neighbours import SAME, run
from tests.process import Process


@pytest.mark.neighbours
async def test_an_item_among_neighbours_has_the_vector_that_it_has_alone() -> None:
    process = Process(backend="onnx")
    process.wait_ready()
    seen = await run(process.url, process.rpc_address, 3_000)
    assert process.stop()[0] == 0
    assert seen.worst > SAME, seen
    assert seen.outcomes["answered"] > 2_500, seen
    assert min(seen.outcomes[name] for name in ("left", "bad image")) > 50, seen
