"""A folder of each layout, with small random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clipserve.clip.manifest import ScoringSpec
from clipserve_models.layouts.assigning import Assignment
from clipserve_models.roles import Shape
from clipserve_models.tensors import Tensor, constant
from tests.models.layouts.changes import gone, write_json
from tests.models.layouts.saved import WEIGHTS, Arrays, stored, write_shards
from tests.models.torch_files import write_torch

OPEN_WEIGHTS = "open_clip_model.safetensors"


def clip(folder: Path) -> Arrays:
    return stored()["CLIP"].write(folder)


def siglip(folder: Path) -> Arrays:
    return stored()["SigLIP"].write(folder)


def open_clip(folder: Path) -> Arrays:
    return stored()["open_clip, quick-gelu, fp16"].write(folder)


def sharded(folder: Path) -> None:
    write_shards(folder, clip(folder), "BF16")


def pickled(folder: Path) -> None:
    write_torch(folder / "pytorch_model.bin", clip(folder))
    gone(WEIGHTS)(folder)


def modules(folder: Path) -> None:
    """Of sentence-transformers."""
    clip(folder / "0_CLIPModel")
    kind = "sentence_transformers.models.CLIPModel"
    write_json(folder / "modules.json", [{"idx": 0, "name": "0", "path": "0_CLIPModel", "type": kind}])


LAYOUTS: dict[str, Callable[[Path], Any]] = {
    "clip": clip,
    "siglip": siglip,
    "open-clip": open_clip,
    "sharded-bf16": sharded,
    "pickled": pickled,
    "modules": modules,
}


class AnyTensors(Assignment):
    """Weights that have every tensor that is asked for: whether a model is built is said by its other files."""

    def take(self, name: str, *shape: int) -> Tensor:
        return constant(np.zeros(shape or 1))

    def scoring(self, *, sigmoid: bool) -> ScoringSpec:
        return ScoringSpec(logit_scale=1)

    def finished(self, needed: Mapping[str, Shape]) -> dict[str, Tensor]:
        return {}
