"""The precision that a real Triton says it computes in reaches the gateway's answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from clipserve.clip.artifact import read_manifest
from clipserve.demo import FOLDER as DEMO
from clipserve_models.triton_options import options_of
from tests.support import serving

if TYPE_CHECKING:
    from .conftest import Triton

pytestmark = pytest.mark.triton

MANIFEST = read_manifest(DEMO)


async def test_vectors_carry_the_fingerprint_of_the_precision_that_triton_states(
    triton_of: Any, tmp_path: Path
) -> None:
    triton: Triton = triton_of(options_of("python"))
    narrow = MANIFEST.fingerprint(precision="fp16")
    for path in (tmp_path / "models").glob("*/config.pbtxt"):
        own, text = MANIFEST.fingerprint(), path.read_text()
        path.write_text(text.replace(own, narrow).replace('string_value: "fp32"', 'string_value: "fp16"'))
    triton.restart()
    async with serving(None, DEMO, backend="triton", triton_url=triton.url) as running:
        answer = (await running.embed(text="a cat")).json()
        assert answer["fingerprint"] == narrow
