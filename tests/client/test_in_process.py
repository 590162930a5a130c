"""CLIP in the process of a command, with the demo model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

import clipserve
from clipserve.client.errors import ClipserveError
from clipserve.client.in_process import open_in_process
from clipserve.client.methods import AsyncMethods
from clipserve.clip.manifest import Source
from clipserve.commands.vectors.updating import size_of
from clipserve.demo import FOLDER as DEMO
from clipserve.settings import Settings
from clipserve_models.build import build
from tests.models.towers import CLIP, checkpoint_of
from tests.support.process import ROOT
from tests.support.service import png

CAT = (ROOT / "docs/cat.jpg").read_bytes()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def clip() -> AsyncIterator[AsyncMethods]:
    """One for all tests: it reads the model for half a second of CPU."""
    settings = Settings(models=(DEMO,), backend="onnx", decode_processes=False)
    async with open_in_process(settings, None) as opened:
        yield opened


@pytest.mark.asyncio(loop_scope="module")
async def test_the_bits_of_a_vector_do_not_depend_on_its_company(clip: AsyncMethods) -> None:
    alone = await clip.embed_image(CAT)
    others = [png(seed) for seed in range(12)]
    together = await asyncio.gather(*map(clip.embed_image, [*others, CAT, *others]))
    assert together[12].vector.tobytes() == alone.vector.tobytes()
    assert size_of(CAT) == (451, 300)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("cores", [1, 3])
async def test_as_many_cores_compute_as_threads_says(cores: int, clip: AsyncMethods) -> None:
    settings = Settings(models=(DEMO,), backend="onnx", decode_processes=False, threads=cores)
    async with open_in_process(settings, None) as limited:
        assert limited.in_flight == 16 * cores
        assert (await limited.embed_image(CAT)).vector.tobytes() == (
            await clip.embed_image(CAT)
        ).vector.tobytes()


def test_a_model_is_named_by_its_folder_or_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(checkpoint="random weights", licence="none", random_weights=True)
    one, other = tmp_path / "a", tmp_path / "b"
    for folder, name in ((one, "one"), (other, "other")):
        build(checkpoint_of(CLIP), folder, name=name, source=source, say=lambda _: None)
    manifest = other / "model.json"
    monkeypatch.setenv("CLIPSERVE_MODELS", f"{one},{other}")
    for model, name in ((None, "one"), ("other", "other"), (other, "other"), (str(other), "other")):
        with clipserve.Clip(model, backend="onnx") as clip:
            assert clip.served_by().model == name
    with pytest.raises(ClipserveError, match="nowhere is neither"):
        clipserve.Clip("nowhere")
    manifest.write_text("{}", "utf-8")
    with pytest.raises(ClipserveError, match=r"model\.json"):
        clipserve.Clip(other)
