"""Faults that make vectors wrong and nothing else, and whoever looks at an artifact notices: see docs/models.md."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipserve.clip import images
from clipserve.clip.artifact import ArtifactError, read_manifest
from clipserve.clip.fitting import fitted
from clipserve.clip.manifest import ImageSpec, Source
from clipserve.commands.doctor.start import started
from clipserve.engine.backends.onnx import OnnxEngine
from clipserve.engine.in_process import EngineOptions, InProcess
from clipserve.errors import ClipError
from clipserve.settings import Settings
from clipserve_models.artifact import checksums, write_manifest
from clipserve_models.build import build
from clipserve_models.errors import ModelsError
from clipserve_models.graphs.towers import write_image
from clipserve_models.graphs.weights import image_weights
from clipserve_models.tensors import Tensor
from clipserve_models.verify import verify
from tests.models.towers import (
    CLIP,
    CLIP_TEXT,
    MEAN,
    STD,
    checkpoint_of,
    random_tensors,
    vit,
    with_activation,
)
from tests.support.process import ROOT
from tests.support.service import served_model

Plant = Callable[[Path, pytest.MonkeyPatch], None]
# Its text encoder sees padding, and its tokenizer's texts are made lower-case.
MODEL = with_activation(
    replace(CLIP, text=replace(CLIP_TEXT, causal=False, pooling="last")), activation="gelu"
)
CROPPED = ImageSpec(size=32, resize="shortest")


def _seal(folder: Path, **changes: Any) -> None:
    """Write model.json anew, as somebody does who means it: checksums fit the files."""
    manifest = read_manifest(folder)
    (folder / "model.json").unlink()
    write_manifest(folder, manifest.model_copy(update={**changes, "files": checksums(folder)}))


def in_manifest(part: str, **facts: Any) -> Plant:
    """Other facts in a part of model.json."""

    def plant(folder: Path, _: pytest.MonkeyPatch) -> None:
        stored = json.loads((folder / "model.json").read_text())
        stored[part] |= facts
        (folder / "model.json").write_text(json.dumps(stored))

    return plant


def in_graph(
    *,
    activation: Any = "gelu",
    seed: int = 0,
    kernel: Callable[[Any], Any] = lambda values: values,
    mean_std: tuple[Any, Any] = (MEAN, STD),
    precision: str = "fp32",
) -> Plant:
    """The image graph, written of other facts. `kernel`: changes the first convolution."""

    def plant(folder: Path, _: pytest.MonkeyPatch) -> None:
        tower, tensors = replace(vit(MODEL), activation=activation), random_tensors(MODEL, seed)
        first = tensors["image.patch.weight"]
        tensors["image.patch.weight"] = Tensor(
            first.shape, lambda: np.ascontiguousarray(kernel(first.read()))
        )
        weights = image_weights(tower, tensors, *mean_std)
        write_image(folder / "image.onnx", tower, MODEL.embed_dim, weights)
        _seal(folder, precision=precision)

    return plant


def in_decoder(other: Callable[[Image.Image, ImageSpec], bytes]) -> Plant:
    """`other` in place of what resizes and crops."""

    def plant(_: Path, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(images, "fitted", lambda image, spec, turn: other(image, spec))

    return plant


def bgr(image: Image.Image, spec: ImageSpec) -> bytes:
    """The right pixels, their channels in the other order."""
    return np.frombuffer(fitted(image, spec), np.uint8).reshape(-1, 3)[:, ::-1].tobytes()


def without_antialias(image: Image.Image, spec: ImageSpec) -> bytes:
    """Cubic interpolation between the four nearest pixels, whatever lies between those that are taken."""
    scale = min(image.size) / spec.size
    left, top = ((side - spec.size * scale) / 2 for side in image.size)
    box = (scale, 0, left, 0, scale, top)
    return image.transform((spec.size,) * 2, Image.Transform.AFFINE, box, Image.Resampling.BICUBIC).tobytes()


def exchange_towers(folder: Path, _: pytest.MonkeyPatch) -> None:
    """Each graph in the file of the other."""
    image, text = (folder / name for name in ("image.onnx", "text.onnx"))
    image.rename(folder / "other")
    text.rename(image)
    (folder / "other").rename(text)
    _seal(folder)


PIXELS = r"a photo becomes other pixels than at its export: they differ by \d+ of 255, more than 2\."
TOKENS = "texts become other tokens than at its export"
VECTORS = r"the image encoder is at cosine -?0\.\d+ to the vectors of its export, below 0\."
FEEDS = r"token_ids|failed on (image|text)\.onnx"

# What is wrong -> how it comes into an artifact or into the service, and what those say that notice it.
FAULTS: dict[str, tuple[Plant, str]] = {
    "QuickGELU in place of GELU": (in_graph(activation="quick_gelu"), VECTORS),
    "BGR in place of RGB, in the graph": (in_graph(kernel=lambda values: values[:, ::-1]), VECTORS),
    "BGR in place of RGB, in the decoder": (in_decoder(bgr), PIXELS),
    "mean and deviation exchanged": (in_graph(mean_std=(STD, MEAN)), VECTORS),
    "a resize without antialiasing": (in_decoder(without_antialias), PIXELS),
    "photos squashed, not cropped": (in_manifest("image", resize="squash"), PIXELS),
    "bilinear in place of bicubic": (in_manifest("image", interpolation="bilinear"), PIXELS),
    "texts cut to fewer tokens": (in_manifest("text", context_length=16), TOKENS),
    "no end token in texts that are cut": (in_manifest("text", eot_id=None), TOKENS),
    "padding with another token": (in_manifest("text", pad_id=9), TOKENS),
    "texts not cleaned": (in_manifest("text", cleaning="none"), TOKENS),
    "padding removed although the text encoder uses it": (in_manifest("text", padding="trim"), FEEDS),
    "image and text encoder exchanged": (exchange_towers, FEEDS),
    "the int8 graph of another model": (in_graph(seed=1, precision="int8"), VECTORS),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact without a fault."""
    out, made = tmp_path_factory.mktemp("sound") / "artifact", checkpoint_of(MODEL)
    text = made.text.model_copy(update={"cleaning": "lower"})
    source = Source(checkpoint="a test's", licence="none", random_weights=True)
    build(replace(made, image=CROPPED, text=text), out, name="sound", source=source, say=lambda _: None)
    return out


def start(folder: Path) -> None:
    async def begin() -> None:
        model = served_model(folder, InProcess(OnnxEngine(folder, EngineOptions()), 1))
        try:
            await model.start(folder)
        finally:
            await model.aclose()

    asyncio.run(begin())


def doctor(folder: Path) -> None:
    """As its program does, which takes whatever an engine raises for an answer."""
    try:
        asyncio.run(started(Settings(models=(folder,), backend="onnx")))
    except Exception as error:
        raise ModelsError(str(error)) from error


@pytest.mark.parametrize(("plant", "said"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_noticed(
    plant: Plant, said: str, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(sound, tmp_path / "spoilt"))
    plant(folder, monkeypatch)
    for notices in (verify, start, doctor):
        with pytest.raises((ArtifactError, ModelsError, ClipError), match=said):
            notices(folder)


def test_nobody_notices_anything_in_a_sound_artifact(sound: Path) -> None:
    for notices in (verify, start, doctor):
        notices(sound)


def test_the_document_lists_the_faults() -> None:
    listed = "\n".join(f"- {fault}" for fault in FAULTS)
    assert f"\n{listed}\n\n" in (ROOT / "docs/models.md").read_text("utf-8")
