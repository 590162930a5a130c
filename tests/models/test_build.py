"""Weights become an artifact that the service accepts; equal weights the same one, and contradictions none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clipserve.clip.manifest import Source
from clipserve_models import reference
from clipserve_models.build import build
from clipserve_models.errors import ModelsError
from clipserve_models.model_files import Checkpoint
from clipserve_models.tensors import constant
from tests.models.towers import CLIP, SIGLIP, checkpoint_of

SOURCE = Source(checkpoint="random weights", licence="none", random_weights=True)
INTEGERS = replace(constant(np.zeros(64)), floating=False)


def made(checkpoint: Checkpoint, out: Path) -> None:
    build(checkpoint, out, name="small", source=SOURCE, say=lambda _: None)


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
        (lambda c: replace(c, image=c.image.model_copy(update={"size": 40})), "side is 40 .* and 32 in"),
        (lambda c: replace(c, text=c.text.model_copy(update={"context_length": 64})), "is 64 .* and 77 in"),
        (
            lambda c: replace(c, text=c.text.model_copy(update={"padding": "fixed"})),
            "is fixed .* and trim in",
        ),
        (lambda c: replace(c, tensors={**c.tensors, "image.lora": constant([1.0])}), "'image.lora' is among"),
        (
            lambda c: replace(c, tensors={**c.tensors, "image.class": INTEGERS}),
            "'image.class' is of integers",
        ),
        (
            lambda c: replace(c, architecture=replace(SIGLIP, embed_dim=48)),
            "gives no embedding of 48 numbers",
        ),
        (lambda c: checkpoint_of(replace(CLIP, text=replace(CLIP.text, vocabulary=200))), "has 200 tokens"),
    ],
)
def test_a_checkpoint_that_contradicts_itself_is_refused(
    change: Callable[[Checkpoint], Checkpoint], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelsError, match=said):
        made(change(checkpoint_of(CLIP)), tmp_path / "artifact")
    assert not (tmp_path / "artifact").exists()


def test_graphs_that_give_other_vectors_than_numpy_are_no_artifact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(reference.ACTIVATIONS, "quick_gelu", lambda x: np.maximum(x, 0))
    with pytest.raises(ModelsError, match="the graphs do not compute what numpy computes"):
        made(checkpoint_of(CLIP), tmp_path / "artifact")
    assert not (tmp_path / "artifact").exists()
