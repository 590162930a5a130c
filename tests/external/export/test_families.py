"""From the bytes of photos and from strings to vectors, for each family: what open_clip gives in PyTorch.

Weights are random. `-rP` prints the lowest cosines.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import clipserve
from clipserve.clip.reference import lowest_cosine
from clipserve.cores import usable_cores
from clipserve.engine.backends.onnx import OnnxEngine
from clipserve.engine.backends.openvino import OpenVinoEngine
from clipserve.engine.in_process import Engine, EngineOptions, InProcess
from tests.external.export.families import FAMILIES, add_family
from tests.external.export.test_export import load, make
from tests.golden.make_tokens import hurting_strings
from tests.models.conftest import write_photos
from tests.process import ROOT
from tests.support import serving

MIN_COSINE = 0.9999
BY_DAY = ("XLM-R",)  # what no other test exports

Vectors = npt.NDArray[np.float32]  # [N, D]


@dataclass(frozen=True)
class Exported:
    """An artifact, and what PyTorch gives for the photos and texts."""

    folder: Path
    images: Vectors
    texts: Vectors


@cache
def texts() -> list[str]:
    """199 on which tokenizers tend to disagree, and one that is too long for any."""
    hurting = (text for text in hurting_strings(400, seed=20261127)[::2] if "\ud800" not in text)
    return [*islice(hurting, 199), "cat " * 200]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = write_photos(tmp_path_factory.mktemp("photos"), 2)
    return [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]


def of_open_clip(name: str, files: list[bytes]) -> tuple[Vectors, Vectors]:
    """From open_clip's own transform, tokenizer and encoders, with the weights of the export's seed."""
    import open_clip
    import torch
    from open_clip.transform import PreprocessCfg, image_transform_v2

    model = load(name)
    transform: Any = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
    with torch.no_grad():
        pixels = [transform(Image.open(io.BytesIO(file))) for file in files]
        images = torch.cat([model.encode_image(each[None], normalize=True) for each in pixels])
        ids = open_clip.get_tokenizer(name)(texts())
        return images.numpy(), model.encode_text(ids, normalize=True).numpy()


@pytest.fixture(
    scope="module",
    params=[pytest.param(each, marks=[pytest.mark.nightly] * (each not in BY_DAY)) for each in FAMILIES],
)
def exported(
    request: pytest.FixtureRequest, files: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> Exported:
    folder = tmp_path_factory.mktemp("family")
    name = add_family(folder, request.param)
    make(name, folder / "artifact", say=lambda _: None)
    return Exported(folder / "artifact", *of_open_clip(name, files))


@pytest.mark.parametrize(
    "engine",
    [
        lambda folder: OnnxEngine(folder, EngineOptions(threads=usable_cores())),
        lambda folder: OpenVinoEngine(folder, usable_cores(), precision="f32"),
    ],
    ids=["onnxruntime", "OpenVINO"],
)
async def test_the_vectors_are_pytorch_s(
    engine: Callable[[Path], Engine], exported: Exported, files: list[bytes]
) -> None:
    """Random weights give all inputs a large part in common: what is left without it is compared, too."""
    backend = InProcess(engine(exported.folder), 1)
    async with (
        serving(backend, exported.folder) as running,
        clipserve.AsyncClient(running.url, timeout=120) as clip,
    ):
        answers = await clip.embed_images(files), await clip.embed_texts(texts(), truncate=True)
    for answer, expected in zip(answers, (exported.images, exported.texts), strict=True):
        assert not answer.errors
        common = expected.mean(axis=0)
        whole = lowest_cosine(answer.vectors, expected)
        apart = lowest_cosine(answer.vectors - common, expected - common)
        print(f"{len(expected):3} cosine {whole:.7f}, without the common part {apart:.7f}")
        assert min(whole, apart) > MIN_COSINE


def test_the_document_names_the_families() -> None:
    rows = [f"| {family} | `{model}` |" for family, (model, _) in FAMILIES.items()]
    table = "\n".join(["| family | example |", "| --- | --- |", *rows, ""])
    assert table in (ROOT / "docs/models.md").read_text("utf-8")
