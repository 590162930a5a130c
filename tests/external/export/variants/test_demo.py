"""A variant of the demo model."""

from __future__ import annotations

import asyncio
from pathlib import Path

from clipserve.clip.artifact import read_manifest
from clipserve.demo import FOLDER as DEMO
from tests.models.asking import ask
from tests.support import serving


async def test_the_demo_model_s_text_tower_passes_in_int8_and_is_served(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "demo@int8"
    words = (str(DEMO), "--photos", str(photos), "--no-image", "--out", str(out))
    result = await asyncio.to_thread(ask, "variant", "--precision", "int8", *words)
    assert result.returncode == 0, result.stderr
    assert "text cosine, mean" in result.stdout
    record = read_manifest(out).variant
    assert record
    assert record.towers == ["text"]
    assert 0.99 < record.text_mean_cosine < 0.9999
    assert (out / "image.onnx").read_bytes() == (DEMO / "image.onnx").read_bytes()
    async with serving(None, out, backend="onnx") as running:
        assert (await running.embed(text="a cat")).json()["fingerprint"].startswith("demo@int8-")
