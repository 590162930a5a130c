"""A real server whose repository states three lengths of texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clipserve.demo import FOLDER as DEMO
from tests.support import eventually, serving

if TYPE_CHECKING:
    from .conftest import Triton


async def test_texts_of_eight_lengths_are_three_calls_to_a_real_server_that_states_three(
    triton: Triton, altered_triton: Triton
) -> None:
    async def calls() -> float:
        return await altered_triton.settled("nv_inference_request_success", model="demo_text")

    texts = [" ".join(["cat"] * words) for words in (1, 7, 9, 12, 20, 28, 40, 70)]
    async with serving(None, DEMO, backend="triton", triton_url=triton.url) as running:
        eight = (await running.embed(text=texts)).json()
    async with serving(None, DEMO, backend="triton", triton_url=altered_triton.url) as running:
        before = await calls()
        three = (await running.embed(text=texts)).json()
        await eventually(
            lambda: altered_triton.count("nv_inference_request_success", model="demo_text") > before + 2
        )
        assert await calls() == before + 3
    one, other = (np.array([each["embedding"] for each in answer["results"]]) for answer in (eight, three))
    assert (one * other).sum(axis=1).min() > 0.99999
