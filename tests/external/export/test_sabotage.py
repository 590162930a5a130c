"""Faults that make vectors wrong and nothing else, and who notices each: rows of `FAULTS` and of docs/models.md."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from clipserve.clip.artifact import ArtifactError
from clipserve.commands.doctor.start import started
from clipserve.engine.backends.onnx import OnnxEngine
from clipserve.engine.in_process import EngineOptions, InProcess
from clipserve.errors import ClipError
from clipserve.settings import Settings
from clipserve_models.errors import ModelsError
from clipserve_models.variants.making import make_variant, plan_of
from clipserve_models.verify import Feeds, verify
from tests.external.export.families import xlm_r
from tests.external.export.faults import (
    Plant,
    bgr,
    bgr_in_graph,
    exchange_mean_and_deviation,
    exchange_towers,
    in_decoder,
    in_graph,
    in_manifest,
    other_weights,
    quick_gelu,
    too_large_for_fp16,
    without_antialias,
)
from tests.external.export.test_export import TINY_TEXT, TINY_VISION, add_model, make
from tests.models.variants.conftest import write_photos
from tests.support import served_model

DOCUMENT = Path(__file__).parents[3] / "docs" / "models.md"
WEIGHTS = "weights.pt"


@dataclass(frozen=True)
class Fault:
    """What is wrong, how it comes into an artifact or into the service, and what those say that notice it."""

    what: str
    plant: Plant
    said: str  # a regular expression
    noticed_by: tuple[str, ...] = field(default=("verify", "start", "doctor"))


OTHER_PIXELS = r"a photo becomes other pixels than at its export: they differ by \d+ of 255, more than 2\."
OTHER_TOKENS = "texts become other tokens than at its export"
OTHER_VECTORS = r"the image encoder is at cosine -?0\.\d+ to the vectors of its export, below 0\."

FAULTS = [
    Fault("QuickGELU in place of GELU", in_graph(quick_gelu), OTHER_VECTORS),
    Fault("BGR in place of RGB, in the graph", in_graph(bgr_in_graph), OTHER_VECTORS),
    Fault("BGR in place of RGB, in the decoder", in_decoder(bgr), OTHER_PIXELS),
    Fault("mean and deviation exchanged", in_graph(exchange_mean_and_deviation), OTHER_VECTORS),
    Fault("a resize without antialiasing", in_decoder(without_antialias), OTHER_PIXELS),
    Fault("photos squashed, not cropped", in_manifest("image", resize="squash"), OTHER_PIXELS),
    Fault("bilinear in place of bicubic", in_manifest("image", interpolation="bilinear"), OTHER_PIXELS),
    Fault("texts cut to fewer tokens", in_manifest("text", context_length=16), OTHER_TOKENS),
    Fault("no end token in texts that are cut", in_manifest("text", eot_id=None), OTHER_TOKENS),
    Fault("padding with another token", in_manifest("text", pad_id=0), OTHER_TOKENS),
    Fault("texts not cleaned", in_manifest("text", cleaning="none"), OTHER_TOKENS),
    Fault(
        "padding removed although the text encoder uses it",
        in_manifest("text", padding="trim"),
        r"failed on text\.onnx|invalid dimensions for input: token_ids",
    ),
    Fault("image and text encoder exchanged", exchange_towers, r"failed on image\.onnx|token_ids"),
    Fault(
        "the int8 graph of another model",
        in_graph(other_weights, "int8"),
        rf"{OTHER_VECTORS}|int8 variant is not faithful .*image cosine, mean -?0\.",
        ("verify", "start", "doctor", "variant"),
    ),
    Fault(
        "values that fp16 does not have",
        in_graph(too_large_for_fp16),
        r"image\.onnx: the tensor '.*' reaches [\d,]+ on these photos and prompts; an fp16 variant is made up to",
        ("fp16",),
    ),
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
    """The artifact of a tiny CoCa with a text encoder of transformers, whose tokenizer is loaded in no time."""
    import open_clip
    import torch

    folder = tmp_path_factory.mktemp("sound")
    (folder / "hub").mkdir()
    config = {
        "vision_cfg": {**TINY_VISION, "attentional_pool": True, "output_tokens": True},
        "text_cfg": {**xlm_r(folder / "hub"), "output_tokens": True},
        "multimodal_cfg": TINY_TEXT,
    }
    add_model(folder, "tiny-sound", {"embed_dim": 32, "custom_text": True, **config})
    torch.manual_seed(0)
    model: Any = open_clip.create_model("tiny-sound", pretrained_text=False)
    # Weights that were never trained are so small that every activation is nearly a line.
    with torch.no_grad():
        for block in model.visual.transformer.resblocks:
            block.mlp.c_fc.weight *= 2
            block.mlp.c_proj.weight *= 8
    torch.save(model.state_dict(), folder / WEIGHTS)
    make("tiny-sound", folder / "artifact", folder / WEIGHTS, say=lambda _: None)
    return folder / "artifact"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"), 22)


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

    plan = plan_of(sound, photos, "int8", out=folder.with_name("variant"))
    make_variant(plan, write, lambda _: None)


def fp16(photos: Path, folder: Path) -> None:
    plan = plan_of(folder, photos, "fp16", out=folder.with_name("variant"), towers=("image",))
    make_variant(plan, say=lambda _: None)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what)
def test_a_fault_is_noticed(
    fault: Fault, sound: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notices: dict[str, Callable[[Path], Any]] = {
        "verify": verify,
        "start": start,
        "doctor": doctor,
        "variant": partial(variant, sound, photos),
        "fp16": partial(fp16, photos),
    }
    folder = Path(shutil.copytree(sound, tmp_path / "spoilt"))
    fault.plant(folder, monkeypatch)
    for name in fault.noticed_by:
        with pytest.raises((ArtifactError, ModelsError, ClipError), match=fault.said):
            notices[name](folder)


def test_nobody_notices_anything_in_a_sound_artifact(sound: Path) -> None:
    for notices in (verify, start, doctor):
        notices(sound)


def as_markdown() -> str:
    rows = [f"| {fault.what} | {', '.join(NAMES[name] for name in fault.noticed_by)} |" for fault in FAULTS]
    return "\n".join(["| fault | noticed by |", "| --- | --- |", *rows, ""])


def test_the_document_has_the_table_of_faults() -> None:
    assert as_markdown() in DOCUMENT.read_text("utf-8")
