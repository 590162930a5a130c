"""Weights become an artifact that the service accepts; equal weights the same one, and contradictions none."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clipserve.clip.manifest import Source
from clipserve_models import reference
from clipserve_models.architecture import Architecture
from clipserve_models.build import build
from clipserve_models.errors import ModelsError
from clipserve_models.model_files import Checkpoint
from clipserve_models.tensors import constant
from clipserve_models.verify import verify
from tests.models.towers import CHINESE, CLIP, RESNET, SIGLIP, checkpoint_of

SOURCE = Source(checkpoint="random weights", licence="none", random_weights=True)


CLASS = constant(np.zeros(64))


def made(checkpoint: Checkpoint, out: Path) -> list[str]:
    said: list[str] = []
    build(checkpoint, out, name="small", source=SOURCE, say=said.append)
    return said


@pytest.mark.parametrize(
    "architecture", [CLIP, CHINESE, SIGLIP, RESNET], ids=["CLIP", "Chinese-CLIP", "SigLIP", "ResNet"]
)
def test_an_artifact_is_built_compared_and_verified(architecture: Architecture, tmp_path: Path) -> None:
    checkpoint = checkpoint_of(architecture)
    said = made(checkpoint, tmp_path / "artifact")
    assert [line.rsplit(maxsplit=1)[-1] for line in said if "cosine" in line] == ["ok"] * 6
    manifest, cosine = verify(tmp_path / "artifact")
    assert cosine > 0.999999
    assert (manifest.name, manifest.precision, manifest.source) == ("small", "fp32", SOURCE)
    assert (manifest.image, manifest.text) == (checkpoint.image, checkpoint.text)
    assert manifest.scoring.logit_scale == 3.25
    assert manifest.reference.pixels
    assert manifest.reference.token_ids
    assert manifest.embed_dim == architecture.embed_dim
    assert said[-1].endswith(manifest.fingerprint())


def test_equal_weights_give_an_equal_artifact_and_others_another(tmp_path: Path) -> None:
    for out, seed in (("one", 0), ("same", 0), ("other", 1)):
        made(checkpoint_of(CLIP, seed), tmp_path / out)
    one, same, other = (
        {path.name: path.read_bytes() for path in (tmp_path / out).iterdir()}
        for out in ("one", "same", "other")
    )
    assert one == same
    assert {name for name in one if one[name] != other[name]} == {"image.onnx", "text.onnx", "model.json"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda c: replace(c, image=c.image.model_copy(update={"size": 40})),
            "an image's side is 40 in the preprocessing and 32 in the encoder",
        ),
        (
            lambda c: replace(c, text=c.text.model_copy(update={"context_length": 64})),
            "the context length is 64 in the preprocessing and 77 in the encoder",
        ),
        (
            lambda c: replace(c, text=c.text.model_copy(update={"padding": "fixed"})),
            "the padding of texts is fixed in the preprocessing and trim in the encoder",
        ),
        (
            lambda c: replace(c, tensors={}),
            "'image.patch.weight' is among the tensors of the architecture and not of the weights",
        ),
        (
            lambda c: replace(c, tensors={**c.tensors, "image.lora": constant([1.0])}),
            "'image.lora' is among the tensors of the weights and not of the architecture",
        ),
        (
            lambda c: replace(c, tensors={**c.tensors, "image.class": constant(np.zeros(63))}),
            "'image.class' has the shape [63]; the configuration says [64]",
        ),
        (
            lambda c: replace(c, tensors={**c.tensors, "image.class": replace(CLASS, floating=False)}),
            "'image.class' is of integers",
        ),
        (
            lambda c: replace(c, architecture=replace(CLIP, image=replace(CLIP.image, heads=7))),
            "7 heads and a width of 64 are no transformer",
        ),
        (
            lambda c: replace(c, architecture=replace(SIGLIP, embed_dim=48)),
            "width 64 without a projection gives no embedding of 48 numbers",
        ),
        (
            lambda c: checkpoint_of(replace(CLIP, text=replace(CLIP.text, vocabulary=200))),
            "the tokenizer gives the token 257, and the encoder has 200 tokens: they are of two models",
        ),
    ],
)
def test_a_checkpoint_that_contradicts_itself_is_refused(
    change: Callable[[Checkpoint], Checkpoint], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelsError, match=re.escape(said)):
        made(change(checkpoint_of(CLIP)), tmp_path / "artifact")
    assert not (tmp_path / "artifact").exists()


def test_graphs_that_give_other_vectors_than_numpy_are_no_artifact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(reference.ACTIVATIONS, "quick_gelu", lambda x: np.maximum(x, 0))
    with pytest.raises(ModelsError, match="the graphs do not compute what numpy computes"):
        made(checkpoint_of(CLIP), tmp_path / "artifact")
    assert not (tmp_path / "artifact").exists()
