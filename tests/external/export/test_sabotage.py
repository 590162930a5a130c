"""Faults that make vectors wrong and nothing else, and who notices each: rows of `FAULTS` and of docs/models.md."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipserve.clip import images
from clipserve.clip.artifact import ArtifactError, read_manifest
from clipserve.clip.fitting import fitted
from clipserve.clip.manifest import ImageSpec
from clipserve.commands.doctor.trial import tried
from clipserve.engine.in_process import InProcess
from clipserve.engine.onnx import OnnxEngine, OnnxOptions
from clipserve.errors import ClipError
from clipserve.settings import ModelSettings
from clipserve_models.artifact import checksums, write_manifest
from clipserve_models.errors import ModelsError
from clipserve_models.variants.job import Job, Largest
from clipserve_models.variants.making import make_variant, plan_of
from clipserve_models.verify import verify
from tests.external.export.test_export import TINY_TEXT, TINY_VISION, add_model, entry
from tests.models.variants.conftest import write_photos
from tests.support import served_model

DOCUMENT = Path(__file__).parents[3] / "docs" / "models.md"
WEIGHTS = "weights.pt"
Plant = Callable[[Path, pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Fault:
    """What is wrong, how it comes into an artifact or into the service, and what those say that notice it."""

    what: str
    plant: Plant
    said: str  # a regular expression
    noticed_by: tuple[str, ...] = field(default=("verify", "start", "doctor"))


def seal(folder: Path, **changes: Any) -> None:
    """Write model.json anew, as somebody does who means it: checksums fit the files."""
    manifest = read_manifest(folder)
    (folder / "model.json").unlink()
    write_manifest(folder, manifest.model_copy(update={**changes, "files": checksums(folder)}))


def in_manifest(part: str, **facts: Any) -> Plant:
    def plant(folder: Path, _: pytest.MonkeyPatch) -> None:
        stored = json.loads((folder / "model.json").read_text())
        stored[part] |= facts
        (folder / "model.json").write_text(json.dumps(stored))

    return plant


def in_graph(change: Callable[[Any], None], precision: str = "fp32") -> Plant:
    """`change`: of the image graph, in place."""

    def plant(folder: Path, _: pytest.MonkeyPatch) -> None:
        import onnx

        model = onnx.load(folder / "image.onnx")
        change(model.graph)
        onnx.save(model, folder / "image.onnx")
        if precision == "int8":
            from onnxruntime.quantization import quantize_dynamic

            quantize_dynamic(folder / "image.onnx", folder / "image.onnx")
        seal(folder, precision=precision)

    return plant


def in_decoder(other: Callable[[Image.Image, ImageSpec], bytes]) -> Plant:
    """`other` in place of what resizes and crops."""

    def plant(_: Path, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(images, "fitted", lambda image, spec, turn: other(image, spec))

    return plant


def bgr(image: Image.Image, spec: ImageSpec) -> bytes:
    return np.frombuffer(fitted(image, spec), np.uint8).reshape(-1, 3)[:, ::-1].tobytes()


def without_antialias(image: Image.Image, spec: ImageSpec) -> bytes:
    """Cubic interpolation between the four nearest pixels, whatever lies between those that are taken."""
    scale = min(image.size) / spec.size
    left, top = ((side - spec.size * scale) / 2 for side in image.size)
    size = spec.size, spec.size
    box = (scale, 0, left, 0, scale, top)
    return image.transform(size, Image.Transform.AFFINE, box, Image.Resampling.BICUBIC).tobytes()


def weights_of(graph: Any, *dims: int) -> Any:
    return next(each for each in graph.initializer if list(each.dims) == [*dims])


def change_weights(weights: Any, change: Callable[[Any], Any]) -> None:
    from onnx import numpy_helper

    values = np.ascontiguousarray(change(numpy_helper.to_array(weights)), np.float32)
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))


def bgr_in_graph(graph: Any) -> None:
    """The first convolution takes red for blue."""
    change_weights(weights_of(graph, 64, 3, 16, 16), lambda values: values[:, ::-1])


def exchange_mean_and_deviation(graph: Any) -> None:
    """The graph has 1 / (255 std) and mean / std."""
    from onnx import numpy_helper

    scale, shift = (
        next(each for each in graph.initializer if each.name == name) for name in ("scale", "shift")
    )
    std = 1 / (255 * numpy_helper.to_array(scale))
    mean = numpy_helper.to_array(shift) * std
    assert (mean > std).all(), "these are others"
    change_weights(scale, lambda _: 1 / (255 * mean))
    change_weights(shift, lambda _: std / mean)


def quick_gelu(graph: Any) -> None:
    """erf(x / sqrt 2) of GELU becomes what makes it x * sigmoid(1.702 x)."""
    from onnx import helper, numpy_helper

    factor = np.float32(1.702 / 2 * np.sqrt(2))
    graph.initializer.append(numpy_helper.from_array(factor, "quick"))
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        if node.op_type == "Erf":
            graph.node.append(helper.make_node("Mul", [node.input[0], "quick"], [f"{node.output[0]}/quick"]))
            node = helper.make_node("Tanh", [f"{node.output[0]}/quick"], [node.output[0]])
        graph.node.append(node)


def other_weights(graph: Any) -> None:
    """Another model of the same shapes: each matrix has its numbers in another order."""
    random = np.random.default_rng(0)
    for weights in graph.initializer:
        if len(weights.dims) > 1:
            change_weights(weights, random.permuted)


def too_large_for_fp16(graph: Any) -> None:
    """One layer gives values of millions, which the next normalization makes small."""
    change_weights(weights_of(graph, 64, 3, 16, 16), lambda values: values * 1e6)


def exchange_towers(folder: Path, _: pytest.MonkeyPatch) -> None:
    image, text = (folder / name for name in ("image.onnx", "text.onnx"))
    image.rename(folder / "other")
    text.rename(image)
    (folder / "other").rename(text)
    seal(folder)


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
    Fault("the end lost of texts that are cut", in_manifest("text", eot_id=None), OTHER_TOKENS),
    Fault("padding with another token", in_manifest("text", pad_id=1), OTHER_TOKENS),
    Fault("texts not cleaned", in_manifest("text", cleaning="none"), OTHER_TOKENS),
    Fault(
        "texts trimmed whose encoder sees the padding",
        in_manifest("text", padding="trim"),
        r"failed on text\.onnx|invalid dimensions for input: token_ids",
    ),
    Fault("towers exchanged", exchange_towers, r"failed on image\.onnx|token_ids"),
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
    """The artifact of a tiny CoCa: a pool of attention, and a text encoder that masks padding."""
    import open_clip
    import torch

    from clipserve_models.export import export

    folder = tmp_path_factory.mktemp("sound")
    vision = {**TINY_VISION, "attentional_pool": True, "output_tokens": True}
    text = {**TINY_TEXT, "context_length": 76}
    own = {"vision_cfg": vision, "text_cfg": {**text, "embed_cls": True, "output_tokens": True}}
    add_model(folder, "tiny-sound", {"embed_dim": 32, "custom_text": True, "multimodal_cfg": text, **own})
    torch.manual_seed(0)
    model: Any = open_clip.create_model("tiny-sound")
    # Weights that were never trained are so small that every activation is nearly a line.
    with torch.no_grad():
        for block in model.visual.transformer.resblocks:
            block.mlp.c_fc.weight *= 2
            block.mlp.c_proj.weight *= 8
    torch.save(model.state_dict(), folder / WEIGHTS)
    export(entry("tiny-sound"), folder / "artifact", weights=folder / WEIGHTS, say=lambda _: None)
    return folder / "artifact"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"), 11)


def start(folder: Path) -> None:
    async def begin() -> None:
        model = served_model(folder, InProcess(OnnxEngine(folder, OnnxOptions(spinning=False)), 1))
        try:
            await model.start(folder)
        finally:
            await model.aclose()

    asyncio.run(begin())


def doctor(folder: Path) -> None:
    """As its program does, which takes whatever an engine raises for an answer."""
    try:
        tried(folder, ModelSettings(backend="onnx"))
    except Exception as error:
        raise ModelsError(str(error)) from error


def variant(sound: Path, photos: Path, folder: Path) -> None:
    """The image graph of `folder` as the int8 variant of the sound artifact."""

    def write(job: Job) -> Largest | None:
        for graph, source in (("image.onnx", folder), ("text.onnx", sound)):
            shutil.copyfile(source / graph, job.target / graph)
        return None

    plan = plan_of(sound, photos, "int8", out=folder.with_name("variant"), method="dynamic")
    make_variant(plan, write, lambda _: None)


def fp16(sound: Path, photos: Path, folder: Path) -> None:
    weights, out = sound.with_name(WEIGHTS), folder.with_name("variant")
    plan = plan_of(folder, photos, "fp16", out=out, towers=("image",), weights=weights)
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
        "fp16": partial(fp16, sound, photos),
    }
    folder = Path(shutil.copytree(sound, tmp_path / "spoilt"))
    fault.plant(folder, monkeypatch)
    for name in fault.noticed_by:
        with pytest.raises((ArtifactError, ModelsError, ClipError), match=fault.said):
            notices[name](folder)


def test_a_text_encoder_that_masks_padding_has_no_fp16(sound: Path, photos: Path, tmp_path: Path) -> None:
    plan = plan_of(sound, photos, "fp16", out=tmp_path / "out", weights=sound.with_name(WEIGHTS))
    with pytest.raises(ModelsError, match=r"the text encoder of tiny-sound masks padding .* give --no-text"):
        make_variant(plan, say=lambda _: None)


def test_nobody_notices_anything_in_a_sound_artifact(sound: Path) -> None:
    for notices in (verify, start, doctor):
        notices(sound)


def as_markdown() -> str:
    rows = [f"| {fault.what} | {', '.join(NAMES[name] for name in fault.noticed_by)} |" for fault in FAULTS]
    return "\n".join(["| fault | noticed by |", "| --- | --- |", *rows, ""])


def test_the_document_has_the_table_of_faults() -> None:
    assert as_markdown() in DOCUMENT.read_text("utf-8")
