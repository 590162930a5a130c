"""Makes `timm_vits.json` of `clipserve_models.layouts`: what timm's plain ViTs are, by their names; needs timm.

python -m tools.timm_vits
"""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

from clipserve_models.layouts.vit_of_timm import VITS

_ACTIVATIONS = {"GELU": "gelu", "GELUTanh": "gelu_tanh", "QuickGELU": "quick_gelu"}
# Of a plain block: others have norms of queries, a gate, or attention beside the MLP.
_BLOCK = re.compile(r"(norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)\.(weight|bias)|ls[12]\.gamma")


def vits() -> str:
    """The file: JSON, a model a line."""
    import timm

    names = timm.list_models("vit_*", module="vision_transformer")
    found = {name: told for name in names if (told := _facts(name))}
    return (
        "{\n"
        + ",\n".join(f"{json.dumps(name)}: {json.dumps(told)}" for name, told in found.items())
        + "\n}\n"
    )


def _facts(name: str) -> dict[str, Any] | None:
    """Fields of an `ImageTower`, its own pool, and whether it is said that the norm follows it."""
    import timm
    import torch

    with torch.device("meta"):
        try:
            model: Any = timm.create_model(name, pretrained=False)
        except NotImplementedError:  # some initialise by values
            return None
    block = model.blocks[-1]
    parts = [key for key, _ in block.named_parameters()]
    activation = _ACTIVATIONS.get(type(block.mlp.act).__name__ if hasattr(block, "mlp") else "")
    sides = {*model.patch_embed.patch_size}, {*model.patch_embed.img_size}
    plain = (
        all(map(_BLOCK.fullmatch, parts)) and type(block).__name__ == "Block" and hasattr(model, "pos_embed")
    )
    if not plain or activation is None or any(len(each) != 1 for each in sides):
        return None
    if type(model.norm).__name__ not in (
        "LayerNorm",
        "Identity",
    ):
        return None
    said = re.search(r"fc_norm=(True|False)", inspect.getsource(timm.models.model_entrypoint(name)))
    return {
        "width": model.embed_dim,
        "layers": len(model.blocks),
        "heads": block.attn.num_heads,
        "mlp": block.mlp.fc1.out_features,
        "activation": activation,
        "epsilon": block.norm1.eps,
        "size": sides[1].pop(),
        "patch": sides[0].pop(),
        "prefix": model.num_prefix_tokens,
        "pre_norm": type(model.norm_pre).__name__ == "LayerNorm",
        "pool": model.global_pool,
        "fc_norm": None if said is None else said[1] == "True",
    }


if __name__ == "__main__":
    VITS.write_text(vits(), "utf-8")
