"""Neighbours in Triton's batches change no vector: mixed requests through both fronts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fronts.neighbours import check, run
from tests.process import PATIENT_WITH_CLIENTS, Process

if TYPE_CHECKING:
    from .conftest import Triton


@pytest.mark.parametrize("requests", [300, pytest.param(3_000, marks=pytest.mark.nightly)])
async def test_an_item_among_neighbours_has_the_vector_that_it_has_alone(
    triton: Triton, requests: int
) -> None:
    process = Process(backend="triton", triton_url=triton.url, **PATIENT_WITH_CLIENTS)
    process.wait_ready()
    seen = await run(process.url, process.rpc_address, requests)
    assert process.stop()[0] == 0
    check(seen, requests)
