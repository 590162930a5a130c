"""A repository of each layout with small random weights, and folders that a hub serves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.models.layouts.folders import (
    OPEN_CLIP,
    open_clip_folder,
    transformers_folder,
    without,
    write_shards,
)
from tests.models.towers import CLIP, SIGLIP


def clip(folder: Path) -> None:
    transformers_folder(folder, CLIP)


def sharded(folder: Path) -> None:
    arrays = transformers_folder(folder, CLIP)
    without(folder, "model.safetensors")
    write_shards(folder, arrays, "BF16")


def siglip(folder: Path) -> None:
    transformers_folder(folder, SIGLIP, "siglip")


def open_clip(folder: Path) -> None:
    open_clip_folder(folder, OPEN_CLIP)


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "clip": clip,
    "sharded-bf16": sharded,
    "siglip": siglip,
    "open-clip": open_clip,
}
