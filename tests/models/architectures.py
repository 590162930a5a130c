"""open_clip's architectures as the catalog has them, with fewer layers: the same modules, built in seconds.

A shortened ViT has two blocks in each tower, a ResNet one block in each stage, timm's FastViT too. Widths, heads,
patches, pooling and sizes of images are those of the real configuration.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

BLOCKS = 2
# `EXPORT_ALL=1`: all layers, and half precision for every architecture.
ALL = os.environ.get("EXPORT_ALL") == "1"


def shorten(folder: Path, name: str, text: dict[str, Any] | None = None, *, narrow: bool = False) -> str:
    """Tell open_clip of a shortened model. Its configuration is written into `folder`; `text` overrides its text's.

    `narrow`: of a model of timm, with a quarter of the widths and heads: an export writes all weights a few times.

    Returns:
        its name.
    """
    import open_clip

    config = open_clip.get_model_config(name)
    config["text_cfg"] |= text or {}
    if not ALL:
        vision = config["vision_cfg"]
        config["text_cfg"]["layers"] = BLOCKS
        config.get("multimodal_cfg", {})["layers"] = BLOCKS
        if "timm_model_name" in vision:
            vision["timm_model_name"] = _short_of_timm(vision["timm_model_name"], narrow)
            if narrow:
                config["embed_dim"] //= 4
                config["text_cfg"] |= {key: config["text_cfg"][key] // 4 for key in ("width", "heads")}
        elif isinstance(vision["layers"], list):
            vision["layers"] = [1] * len(vision["layers"])
        else:
            vision["layers"] = BLOCKS
    short = f"{name}-short"
    (folder / f"{short}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / f"{short}.json")
    return short


def _short_of_timm(name: str, narrow: bool) -> str:
    """Tell timm of a model of its own with fewer blocks."""
    import timm
    import torch

    original = timm.models.model_entrypoint(name)
    # The arguments of a model of timm are defaults, which the caller may override.
    fewer: dict[str, Any] = {"depth": BLOCKS}
    with torch.device("meta"):  # to count needs no weights
        whole = timm.create_model(name, pretrained=False)
    if name.startswith("fastvit"):
        fewer = {"layers": (1,) * len(whole.stages)}
        if narrow:
            fewer["embed_dims"] = [stage["num_chs"] // 4 for stage in whole.feature_info]
    elif name.startswith("convnext"):
        fewer = {"depths": (1, 1, 1, 1)}
    elif narrow:
        fewer |= {"embed_dim": whole.embed_dim // 4, "num_heads": whole.blocks[0].attn.num_heads // 4}

    def make(pretrained: bool = False, **options: Any) -> Any:
        return original(pretrained, **fewer, **options)

    make.__name__ = f"{name}_{'narrow' if narrow else 'short'}"
    make.__module__ = original.__module__
    if not timm.is_model(make.__name__):
        timm.models.register_model(make)
        sys.modules[make.__module__].__dict__[make.__name__] = make
    return make.__name__
