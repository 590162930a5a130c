"""A folder of each layout, with small random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.models.layouts.changes import gone, write_json
from tests.models.layouts.folders import OPEN_CLIP, open_clip_folder, transformers_folder, write_shards
from tests.models.torch_files import write_torch
from tests.models.towers import CLIP, SIGLIP

WEIGHTS, OPEN_WEIGHTS = "model.safetensors", "open_clip_model.safetensors"


def clip(folder: Path) -> None:
    transformers_folder(folder, CLIP)


def siglip(folder: Path) -> None:
    transformers_folder(folder, SIGLIP, "siglip")


def open_clip(folder: Path) -> None:
    open_clip_folder(folder, OPEN_CLIP)


def sharded(folder: Path) -> None:
    write_shards(folder, transformers_folder(folder, CLIP), "BF16")
    gone(WEIGHTS)(folder)


def pickled(folder: Path) -> None:
    write_torch(folder / "pytorch_model.bin", transformers_folder(folder, CLIP))
    gone(WEIGHTS)(folder)


def modules(folder: Path) -> None:
    """Of sentence-transformers."""
    clip(folder / "0_CLIPModel")
    kind = "sentence_transformers.models.CLIPModel"
    write_json(folder / "modules.json", [{"idx": 0, "name": "0", "path": "0_CLIPModel", "type": kind}])


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "clip": clip,
    "siglip": siglip,
    "open-clip": open_clip,
    "sharded-bf16": sharded,
    "pickled": pickled,
    "modules": modules,
}
