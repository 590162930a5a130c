"""What a folder holds, told by the names of its files: all that opens a model or makes an artifact asks here."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from clipserve.clip.artifact import MANIFEST_NAME

Kind = Literal["artifact", "open_clip", "sentence-transformers", "transformers", "weights"]
MODULES, OPEN_CLIP, TRANSFORMERS = "modules.json", "open_clip_config.json", "config.json"
_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.ckpt")


def kind_of(folder: Path) -> Kind | None:
    """The library that reads the folder, `weights` if no file says which; None: nothing in it is of a model.

    Many repositories of open_clip also have transformers' config.json, which then may need code of their own: the
    weights decide.
    """
    if _has(folder, MANIFEST_NAME):
        return "artifact"
    others = _has(folder, TRANSFORMERS) or _has(folder, MODULES)
    if _has(folder, OPEN_CLIP) and (not others or _has(folder, "open_clip_*model*")):
        return "open_clip"
    if _has(folder, MODULES):
        return "sentence-transformers"
    if _has(folder, TRANSFORMERS):
        return "transformers"
    return "weights" if _has(folder, *_WEIGHTS) else None


def _has(folder: Path, *patterns: str) -> bool:
    return any(path.is_file() for pattern in patterns for path in folder.glob(pattern))
