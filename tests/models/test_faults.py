"""Faults that make vectors wrong and nothing else, and who notices each: rows of `FAULTS` and of docs/models.md."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
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
from clipserve_models.variants.making import make_variant, plan_of
from clipserve_models.verify import Feeds, verify
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
from tests.process import ROOT
from tests.support import served_model

Plant = Callable[[Path, pytest.MonkeyPatch], None]
# Its text encoder sees padding, and its tokenizer's texts are made lower-case.
MODEL = with_activation(
    replace(CLIP, text=replace(CLIP_TEXT, causal=False, pooling="last")), activation="gelu"
)
CROPPED = ImageSpec(size=32, resize="shortest")
SEEN = ("verify", "start", "doctor")


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


@dataclass(frozen=True)
class Fault:
    """What is wrong, how it comes into an artifact or into the service, and what those say that notice it."""

    what: str
    plant: Plant
    said: str  # a regular expression
    noticed_by: tuple[str, ...] = SEEN


PIXELS = r"a photo becomes other pixels than at its export: they differ by \d+ of 255, more than 2\."
TOKENS = "texts become other tokens than at its export"
VECTORS = r"the image encoder is at cosine -?0\.\d+ to the vectors of its export, below 0\."
FEEDS = r"token_ids|failed on (image|text)\.onnx"
INT8 = rf"{VECTORS}|int8 variant is not faithful .*image cosine, mean -?0\."
FP16 = (
    r"image\.onnx: the tensor '.*' reaches [\d,]+ on these photos and prompts; an fp16 variant is made up to"
)

FAULTS = [
    Fault("QuickGELU in place of GELU", in_graph(activation="quick_gelu"), VECTORS),
    Fault("BGR in place of RGB, in the graph", in_graph(kernel=lambda values: values[:, ::-1]), VECTORS),
    Fault("BGR in place of RGB, in the decoder", in_decoder(bgr), PIXELS),
    Fault("mean and deviation exchanged", in_graph(mean_std=(STD, MEAN)), VECTORS),
    Fault("a resize without antialiasing", in_decoder(without_antialias), PIXELS),
    Fault("photos squashed, not cropped", in_manifest("image", resize="squash"), PIXELS),
    Fault("bilinear in place of bicubic", in_manifest("image", interpolation="bilinear"), PIXELS),
    Fault("texts cut to fewer tokens", in_manifest("text", context_length=16), TOKENS),
    Fault("no end token in texts that are cut", in_manifest("text", eot_id=None), TOKENS),
    Fault("padding with another token", in_manifest("text", pad_id=9), TOKENS),
    Fault("texts not cleaned", in_manifest("text", cleaning="none"), TOKENS),
    Fault("padding removed although the text encoder uses it", in_manifest("text", padding="trim"), FEEDS),
    Fault("image and text encoder exchanged", exchange_towers, FEEDS),
    Fault("the int8 graph of another model", in_graph(seed=1, precision="int8"), INT8, (*SEEN, "variant")),
    Fault("values that fp16 does not have", in_graph(kernel=lambda values: values * 1e6), FP16, ("fp16",)),
]
# The names of those who notice, as the document has them.
NAMES = {
    "verify": "`models verify`",
    "start": "a service that starts",
    "doctor": "`doctor`",
    "variant": "`models variant`",
    "fp16": "`models variant --precision fp16`",
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


def variant(sound: Path, photos: Path, folder: Path) -> None:
    """The image graph of `folder` as the int8 variant of the sound artifact."""

    def write(source: Path, target: Path, _: Sequence[Feeds]) -> None:
        shutil.copyfile((folder if source.name == "image.onnx" else sound) / source.name, target)

    make_variant(plan_of(sound, photos, "int8", out=folder.with_name("variant")), write, lambda _: None)


def fp16(photos: Path, folder: Path) -> None:
    plan = plan_of(folder, photos, "fp16", out=folder.with_name("variant"), towers=("image",))
    make_variant(plan, say=lambda _: None)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what)
def test_a_fault_is_noticed(
    fault: Fault, sound: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notices: dict[str, Callable[[Path], Any]] = {"verify": verify, "start": start, "doctor": doctor}
    notices |= {"variant": partial(variant, sound, photos), "fp16": partial(fp16, photos)}
    folder = Path(shutil.copytree(sound, tmp_path / "spoilt"))
    fault.plant(folder, monkeypatch)
    for name in fault.noticed_by:
        with pytest.raises((ArtifactError, ModelsError, ClipError), match=fault.said):
            notices[name](folder)


def test_nobody_notices_anything_in_a_sound_artifact(sound: Path) -> None:
    for notices in (verify, start, doctor):
        notices(sound)


def test_the_document_has_the_table_of_faults() -> None:
    rows = [f"| {fault.what} | {', '.join(NAMES[name] for name in fault.noticed_by)} |" for fault in FAULTS]
    table = "\n".join(["| fault | noticed by |", "| --- | --- |", *rows, ""])
    assert table in (ROOT / "docs/models.md").read_text("utf-8")
