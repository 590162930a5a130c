"""Variants: what the gate lets pass, what the manifest then says, and that the service serves it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from clipserve.clip.artifact import ArtifactError, read_manifest
from clipserve.clip.manifest import Source
from clipserve.demo import FOLDER as DEMO
from clipserve_models.build import build
from clipserve_models.errors import ModelsError
from clipserve_models.graphs.towers import write_image, write_text
from clipserve_models.graphs.weights import image_weights, text_weights
from clipserve_models.variants.gate import VariantPrecision
from clipserve_models.variants.making import make_variant, plan_of
from clipserve_models.variants.samples import read_photos, split
from clipserve_models.verify import Feeds
from tests.models.towers import CLIP, MEAN, STD, checkpoint_of
from tests.support.service import png, serving

MANIFEST = read_manifest(DEMO)
CHECKPOINT = checkpoint_of(CLIP)


def copy(source: Path, target: Path, _: Sequence[Feeds]) -> None:
    """The most faithful variant there is."""
    shutil.copyfile(source, target)


def spoil(source: Path, target: Path, _: Sequence[Feeds]) -> None:
    """The image tower's projection with its rows in another order."""
    model = onnx.load(source)
    if source.name == "image.onnx":
        (weights,) = (each for each in model.graph.initializer if each.name == "projection.weight")
        reversed_rows = np.ascontiguousarray(numpy_helper.to_array(weights)[::-1])
        weights.CopyFrom(numpy_helper.from_array(reversed_rows, weights.name))
    onnx.save(model, target)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model whose labels are compared, which nobody does where it says that its weights are random."""
    out = tmp_path_factory.mktemp("judged") / "small"
    source = Source(checkpoint="a test's", licence="none")
    build(CHECKPOINT, out, name="small", source=source, say=lambda _: None)
    return out


async def test_a_faithful_variant_is_published_with_its_figures_and_served_beside_fp32(
    judged: Path, photos: Path, tmp_path: Path
) -> None:
    out, original = tmp_path / "small@int8", read_manifest(judged)
    made = make_variant(plan_of(judged, photos, "int8", out=out), copy)
    assert made == read_manifest(out)
    assert (made.name, made.precision, made.format) == ("small@int8", "int8", 1)
    assert made.reference == original.reference
    record = made.variant
    assert record
    assert (record.method, record.towers, record.labels) == ("static", ["image", "text"], 68)
    assert (record.calibration_photos, record.photos) == (32, 34)
    assert record.made_of == original.fingerprint()
    assert record.p1_cosine == pytest.approx(1, abs=1e-6)
    assert record.top1_agreement == 1.0
    assert [path.name for path in out.parent.iterdir()] == ["small@int8"]
    async with serving(None, judged, out, backend="onnx") as running:
        answers = [(await running.embed(png(), model=name)).json() for name in ("small", "small@int8")]
    assert answers[0]["fingerprint"] == original.fingerprint()
    assert answers[1]["fingerprint"].startswith("small@int8-")


def test_a_spoiled_variant_is_refused_with_its_figures_and_deleted(
    judged: Path, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelsError) as refusal:
        make_variant(plan_of(judged, photos, "int8", out=tmp_path / "out"), spoil)
    told = str(refusal.value)
    said = (
        "image cosine, mean ",
        "at least 0.99)",
        "top-1 agreement 0.",
        "--no-image, which keeps",
        "(32 did)",
    )
    assert [words for words in said if words not in told] == []
    assert "text cosine" not in told, "the text tower is as it was"
    assert "--no-text" not in told
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was built from its weights."""
    out = tmp_path_factory.mktemp("built") / "small"
    source = Source(checkpoint="random weights", licence="none", random_weights=True)
    build(CHECKPOINT, out, name="small", source=source, say=lambda _: None)
    return out


def test_the_fp16_variant_has_the_bytes_of_graphs_that_are_written_in_fp16(
    small: Path, photos: Path, tmp_path: Path
) -> None:
    made = make_variant(plan_of(small, photos, "fp16", out=tmp_path / "half"), say=lambda _: None)
    assert (made.name, made.precision, made.variant is not None) == ("small@fp16", "fp16", True)
    assert made.reference == read_manifest(small).reference
    tensors, dim = CHECKPOINT.tensors, CLIP.embed_dim
    weights = image_weights(CLIP.image, tensors, MEAN, STD)
    write_image(tmp_path / "image.onnx", CLIP.image, dim, weights, half=True)
    write_text(tmp_path / "text.onnx", CLIP.text, dim, text_weights(CLIP.text, tensors), half=True)
    for name in ("image.onnx", "text.onnx"):
        assert (tmp_path / "half" / name).read_bytes() == (tmp_path / name).read_bytes()
        assert (tmp_path / name).stat().st_size < 0.9 * (small / name).stat().st_size


def test_an_int8_variant_is_made_of_a_built_model_too(small: Path, photos: Path, tmp_path: Path) -> None:
    made = make_variant(plan_of(small, photos, "int8", out=tmp_path / "int8"), say=lambda _: None)
    assert made.variant
    assert (made.precision, made.variant.method) == ("int8", "static")
    assert 0.99 < made.variant.text_mean_cosine < 0.99999


def test_a_fingerprint_names_the_precision_once() -> None:
    for name in ("demo", "demo@int8"):
        variant = MANIFEST.model_copy(update={"name": name, "precision": "int8"})
        assert variant.fingerprint() == "demo@int8-" + MANIFEST.fingerprint().removeprefix("demo@fp32-")
    assert MANIFEST.model_copy(update={"name": "demo@int8"}).fingerprint().startswith("demo@int8@fp32-")


def test_no_photo_both_calibrates_and_judges(photos: Path) -> None:
    whole = read_photos(photos, MANIFEST.image)
    one, other = split(whole, calibrate=True)
    assert (len(whole), len(one), len(other)) == (66, 32, 34)
    assert not {p.tobytes() for p in one} & {p.tobytes() for p in other}


def test_what_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is not an artifact"):
        plan_of(tmp_path, tmp_path, "int8")
    (tmp_path / "model.json").write_text(MANIFEST.model_copy(update={"precision": "int8"}).model_dump_json())
    with pytest.raises(ModelsError, match="is already int8"):
        plan_of(tmp_path, tmp_path, "int8")
    with pytest.raises(ModelsError, match=r"exists\. Remove it, or choose another folder with --out"):
        plan_of(DEMO, tmp_path, "int8", out=tmp_path)
    with pytest.raises(ModelsError, match="nothing to do"):
        plan_of(DEMO, tmp_path, "fp16", towers=())
    assert plan_of(DEMO, tmp_path, "fp16").out == DEMO.with_name("demo@fp16")
    (tmp_path / "model.json").unlink()
    (tmp_path / "few.png").write_bytes(png())
    enough: dict[VariantPrecision, str] = {"int8": r"64 \(32 to calibrate and 32 others", "fp16": "32"}
    for precision, needed in enough.items():
        with pytest.raises(ModelsError, match=f"found 1 photos; needed are at least {needed}"):
            make_variant(plan_of(DEMO, tmp_path, precision, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    (tmp_path / "torn.png").write_bytes(png()[:100])
    with pytest.raises(ModelsError, match=r"torn\.png: the image begins as PNG but is broken"):
        read_photos(tmp_path, MANIFEST.image)
