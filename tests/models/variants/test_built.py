"""Variants of a model that was built from its weights, in an environment without PyTorch."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipserve.clip.artifact import read_manifest
from clipserve.clip.manifest import Source
from clipserve_models.build import build
from clipserve_models.graphs.towers import write_image, write_text
from clipserve_models.graphs.weights import image_weights, text_weights
from clipserve_models.variants.making import make_variant, plan_of
from tests.models.towers import CLIP, MEAN, STD, checkpoint_of

CHECKPOINT = checkpoint_of(CLIP)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "small"
    source = Source(checkpoint="random weights", licence="none", random_weights=True)
    build(CHECKPOINT, out, name="small", source=source, say=lambda _: None)
    return out


def test_the_fp16_variant_has_the_bytes_of_graphs_that_are_written_in_fp16(
    artifact: Path, photos: Path, tmp_path: Path
) -> None:
    made = make_variant(plan_of(artifact, photos, "fp16", out=tmp_path / "half"), say=lambda _: None)
    assert (made.name, made.precision, made.variant is not None) == ("small@fp16", "fp16", True)
    assert made.reference == read_manifest(artifact).reference
    tensors = CHECKPOINT.tensors
    image, text, dim = CLIP.image, CLIP.text, CLIP.embed_dim
    write_image(tmp_path / "image.onnx", image, dim, image_weights(image, tensors, MEAN, STD), half=True)
    write_text(tmp_path / "text.onnx", text, dim, text_weights(text, tensors), half=True)
    for name in ("image.onnx", "text.onnx"):
        assert (tmp_path / "half" / name).read_bytes() == (tmp_path / name).read_bytes()
        assert (tmp_path / name).stat().st_size < 0.9 * (artifact / name).stat().st_size


def test_an_int8_variant_is_made_too(artifact: Path, photos: Path, tmp_path: Path) -> None:
    made = make_variant(plan_of(artifact, photos, "int8", out=tmp_path / "int8"), say=lambda _: None)
    assert (made.precision, made.variant and made.variant.method) == ("int8", "static")
