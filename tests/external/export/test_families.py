"""From the bytes of photos and from strings to vectors, for each family: what open_clip gives in PyTorch.

    FAMILY_PHOTOS=FOLDER pytest tests/external/export/test_families.py -rP

prints the lowest cosines, of the photos in a folder. Weights are random.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
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
from tests.external.triton.conftest import Triton, triton_installed, up  # noqa: F401
from tests.external.triton.python_backend import write_models
from tests.golden.make_tokens import hurting_strings
from tests.models.variants.conftest import write_photos
from tests.support import serving

PHOTOS = os.environ.get("FAMILY_PHOTOS")
DOCUMENT = Path(__file__).parents[3] / "docs" / "models.md"
MIN_COSINE = 0.9999
# By day what no other test exports: CoCa's image encoder is in test_sabotage.py.
BY_DAY = ("XLM-R",)

Vectors = npt.NDArray[np.float32]  # [N, D]


@dataclass(frozen=True)
class Exported:
    """An artifact, and what PyTorch gives for the photos and texts."""

    family: str
    folder: Path
    images: Vectors
    texts: Vectors


@cache
def texts() -> list[str]:
    """199 on which tokenizers tend to disagree, and one that is too long for any."""
    hurting = (text for text in hurting_strings(400, seed=20261127)[::2] if "\ud800" not in text)
    return [*islice(hurting, 199), "cat " * 200]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = Path(PHOTOS) if PHOTOS else write_photos(tmp_path_factory.mktemp("photos"), 2)
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    return [path.read_bytes() for path in files[:50]]


def of_open_clip(name: str, photos: list[bytes]) -> tuple[Vectors, Vectors]:
    """From open_clip's own transform, tokenizer and encoders, with the weights of the export's seed."""
    import open_clip
    import torch
    from open_clip.transform import PreprocessCfg, image_transform_v2

    model = load(name)
    transform: Any = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
    with torch.no_grad():
        pixels = [transform(Image.open(io.BytesIO(photo))) for photo in photos]
        images = torch.cat([model.encode_image(each[None], normalize=True) for each in pixels])
        ids = open_clip.get_tokenizer(name)(texts())
        return images.numpy(), model.encode_text(ids, normalize=True).numpy()


@pytest.fixture(
    scope="module",
    params=[pytest.param(each, marks=[pytest.mark.nightly] * (each not in BY_DAY)) for each in FAMILIES],
)
def exported(
    request: pytest.FixtureRequest, photos: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> Exported:
    folder = tmp_path_factory.mktemp("family")
    name = add_family(folder, request.param)
    make(name, folder / "artifact", say=lambda _: None)
    return Exported(request.param, folder / "artifact", *of_open_clip(name, photos))


@pytest.mark.parametrize(
    "engine",
    [
        lambda folder: OnnxEngine(folder, EngineOptions(threads=usable_cores())),
        lambda folder: OpenVinoEngine(folder, usable_cores(), precision="f32"),
    ],
    ids=["onnxruntime", "OpenVINO"],
)
async def test_the_vectors_are_pytorch_s(
    engine: Callable[[Path], Engine], exported: Exported, photos: list[bytes], request: pytest.FixtureRequest
) -> None:
    backend = InProcess(engine(exported.folder), 1)
    async with serving(backend, exported.folder) as running:
        await assert_equal(running.url, exported, photos, request.node.callspec.id)


@pytest.fixture
def triton(triton_installed: None, exported: Exported, tmp_path: Path) -> Iterator[Triton]:  # noqa: F811
    """A real server with this model."""
    write_models(exported.folder, tmp_path / "models", instances=1)
    server = Triton(tmp_path / "models", tmp_path / "log.txt")
    yield up(server)
    server.kill()


async def test_the_vectors_that_triton_gives_are_pytorch_s(
    triton: Triton, exported: Exported, photos: list[bytes]
) -> None:
    async with serving(None, exported.folder, backend="triton", triton_url=triton.url) as running:
        await assert_equal(running.url, exported, photos, f"{exported.family}-Triton")


async def assert_equal(url: str, exported: Exported, photos: list[bytes], what: str) -> None:
    """Random weights give all inputs a large part in common: what is left without it is compared, too."""
    async with clipserve.AsyncClient(url, timeout=120) as clip:
        answers = await clip.embed_images(photos), await clip.embed_texts(texts(), truncate=True)
    for kind, answer, expected in zip(
        ("photos", "texts"), answers, (exported.images, exported.texts), strict=True
    ):
        assert not answer.errors
        whole = lowest_cosine(answer.vectors, expected)
        common = expected.mean(axis=0)
        apart = lowest_cosine(answer.vectors - common, expected - common)
        print(f"{what:24} {len(expected):3} {kind:6} cosine {whole:.7f}, without the common part {apart:.7f}")
        assert whole > MIN_COSINE
        assert apart > MIN_COSINE


def test_the_document_names_the_families() -> None:
    rows = [f"| {family} | `{model}` |" for family, (model, _) in FAMILIES.items()]
    assert "\n".join(["| family | example |", "| --- | --- |", *rows, ""]) in DOCUMENT.read_text("utf-8")
