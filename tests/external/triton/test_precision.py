"""The precision that a real Triton says it computes in reaches the gateway's answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipserve.clip.artifact import read_manifest
from clipserve.demo import FOLDER as DEMO
from tests.support import serving

if TYPE_CHECKING:
    from .conftest import Triton


async def test_vectors_carry_the_fingerprint_of_the_precision_that_triton_states(
    altered_triton: Triton,
) -> None:
    async with serving(None, DEMO, backend="triton", triton_url=altered_triton.url) as running:
        answer = (await running.embed(text="a cat")).json()
        assert answer["fingerprint"] == read_manifest(DEMO).fingerprint(precision="fp16")
