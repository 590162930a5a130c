"""Neighbours in Triton's batches change no vector: 3,000 mixed requests through both fronts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fronts.neighbours import SAME, run
from tests.process import Process

if TYPE_CHECKING:
    from .conftest import Triton


@pytest.mark.triton
async def test_an_item_among_neighbours_has_the_vector_that_it_has_alone(triton: Triton) -> None:
    process = Process(backend="triton", triton_url=triton.url)
    process.wait_ready()
    seen = await run(process.url, process.rpc_address, 3_000)
    assert process.stop()[0] == 0
    assert seen.worst > SAME, seen
    assert seen.outcomes["answered"] > 2_500, seen
    assert min(seen.outcomes[name] for name in ("left", "bad image")) > 50, seen
