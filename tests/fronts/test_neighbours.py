"""Neighbours in a batch change no vector: 3,000 mixed requests through both fronts, the engines in process."""

from __future__ import annotations

import pytest

from loadtests.process import free_port
from tests.fronts.neighbours import SAME, run
from tests.process import Process


@pytest.mark.neighbours
async def test_an_item_among_neighbours_has_the_vector_that_it_has_alone() -> None:
    port = free_port()
    process = Process(grpc_port=port, backend="onnx")
    process.wait_ready()
    seen = await run(process.url, f"127.0.0.1:{port}", 3_000)
    print(seen)
    assert seen.worst > SAME
    assert seen.outcomes["answered"] > 2_500
    assert min(seen.outcomes[name] for name in ("left", "bad image")) > 50
    status, _ = process.stop()
    assert status == 0
