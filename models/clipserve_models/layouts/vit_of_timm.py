"""Image encoders of timm in open_clip's models: SigLIP's, plain ViTs, MobileCLIP-B's, whose names say all facts."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from clipserve_models.architecture import ImageTower
from clipserve_models.errors import ModelsError
from clipserve_models.layouts.assigning import Assignment
from clipserve_models.layouts.facts import Facts
from clipserve_models.tensors import Floats, Tensor, concatenated, constant

# What timm's plain ViTs are, by their names, as tools/timm_vits.py copies it.
VITS = Path(__file__).with_name("timm_vits.json")
_MOBILE_CLIP_B = "vit_base_mci_224"  # vit_base_patch16_224 behind two convolutions
_POOLS: dict[str, Any] = {"token": "class", "avg": "mean", "map": "attention"}

# Roles -> names of a block, and of the attention pooling.
_BLOCK = {"norm1": "norm1", "qkv": "attn.qkv", "out": "attn.proj", "norm2": "norm2"}
_BLOCK |= {"up": "mlp.fc1", "down": "mlp.fc2"}
_POOL = {"q": "q", "kv": "kv", "out": "proj", "norm": "norm", "up": "mlp.fc1", "down": "mlp.fc2"}

# Keys that say nothing about what a model computes when it is served.
_IDLE = {"patch_dropout", "output_tokens", "timm_model_pretrained", "timm_drop", "timm_drop_path", "pad_id"}
_IDLE |= {"attn_pooler_queries", "attn_pooler_heads", "hf_model_pretrained", "hf_proj_type", "hf_pooler_type"}
_VISION = {"image_size", "timm_model_name", "timm_pool", "timm_proj"}


def only(told: Facts, keys: Collection[str]) -> None:
    """Refuse what is not known here, unless it is off."""
    for key, value in told.values.items():
        if value and key not in keys and key not in _IDLE:
            told.refuse(key, "models with this are not built from their weights")


def timm_tower(vision: Facts, dim: int) -> ImageTower:
    """From `vision_cfg`; `dim`: the model's `embed_dim`. Raises ModelsError: it is no plain ViT that timm has."""
    name = vision.text("timm_model_name")
    mobile = name == _MOBILE_CLIP_B
    told = json.loads(VITS.read_text("utf-8")).get("vit_base_patch16_224" if mobile else name)
    if told is None:  # before what else may be odd of another family
        vision.refuse(
            "timm_model_name", "of timm's models only SigLIP's and plain ViTs are built from their weights"
        )
    only(vision, _VISION)
    proj = "" if "timm_proj" in vision.nulls else vision.text("timm_proj", "" if mobile else "linear")
    pool = "" if "timm_pool" in vision.nulls else vision.text("timm_pool", "avg")
    own, layer_norm = told.pop("pool"), told.pop("fc_norm")
    # open_clip makes the model with this pool, or makes the model's own and changes it.
    made = own if proj == "linear" else pool
    pool = pool or made
    needs = {"token": told["prefix"] > 0, "avg": True, "map": own == "map" or proj != "linear"}
    if not needs.get(pool) or (mobile and pool != "token"):
        vision.refuse("timm_pool", f"supported by {name}: {', '.join(each for each in needs if needs[each])}")
    if proj not in ("", "linear", "none"):
        vision.refuse("timm_proj", "supported: null, linear, none")
    if vision.side("image_size", told["size"]) != told["size"]:
        vision.refuse("image_size", f"{name} has {told['size']}")
    if proj == "none" and told["width"] != dim:
        raise ModelsError(
            f"{vision.file}: model_cfg.embed_dim is {dim}, and {name} gives {told['width']} numbers."
        )
    prefix = told.pop("prefix")
    return ImageTower(
        **told,
        pooling=_POOLS[pool],
        patch_bias=not told["pre_norm"],
        projection=proj != "none",
        stem=told["width"] // 4 if mobile else None,
        projection_bias=True if proj == "" and not mobile else None,
        prefix=None if prefix == (pool == "token") else prefix,
        norm_last=(made == "avg" if layer_norm is None else layer_norm) or None,
    )


def assign_timm(found: Assignment, tower: ImageTower) -> None:
    """Give its tensors their roles. Raises ModelsError: one is missing."""
    trunk, pool, width = "visual.trunk", "visual.trunk.attn_pool", tower.width
    stem, patches, before = f"{trunk}.patch_embed.backbone", tower.grid**2, tower.before
    patch = f"{stem}.2.conv" if tower.stem else f"{trunk}.patch_embed.proj"
    found.give("image.patch", patch, bias=tower.patch_bias)
    if tower.stem:
        for place in range(2):
            _give_folded(found, f"image.stem.{place}", f"{stem}.{place}")
    positions = found.take(f"{trunk}.pos_embed")
    given = positions.size // width
    positions = positions.reshaped(given, width)
    if given == patches and before:  # the states before have none
        positions = concatenated([constant(np.zeros((before, width))), positions])
    found.roles["image.positions"] = positions
    first = [f"{trunk}.{each}_token" for each in ("cls", "reg") if f"{trunk}.{each}_token" in found]
    first = first or ([f"{trunk}.cls_token"] if before else [])
    states = [found.take(each) for each in first]
    if tower.prefix:
        found.roles["image.prefix"] = concatenated([each.reshaped(each.shape[1], width) for each in states])
    elif before:
        found.roles["image.class"] = states[0].reshaped(width)
    if tower.pre_norm:
        found.give("image.pre_norm", f"{trunk}.norm_pre")
    if not any(f"{trunk}.blocks.{index}.attn.qkv.bias" in found for index in range(tower.layers)):
        for index in range(tower.layers):  # a model without
            found.supply(f"{trunk}.blocks.{index}.attn.qkv.bias", constant(np.zeros(3 * width)))
    found.give_blocks("image", f"{trunk}.blocks", tower, _BLOCK)
    for index in range(tower.layers):
        for scale, role in (("ls1", "out"), ("ls2", "down")):
            if (name := f"{trunk}.blocks.{index}.{scale}.gamma") in found:
                _scale(found, f"image.blocks.{index}.{role}", found.take(name))
    fc_norm = f"{trunk}.fc_norm"
    found.give("image.norm", fc_norm if f"{fc_norm}.weight" in found else f"{trunk}.norm")
    if tower.projection:
        bias = bool(tower.stem or tower.projection_bias)
        found.give("image.projection", f"{trunk}.head" if bias else "visual.head.proj", bias=bias)
    if tower.pooling == "attention":
        found.roles["image.pool.probe"] = found.take(f"{pool}.latent", 1, 1, width).reshaped(width)
        found.give_all("image.pool", pool, _POOL)


def _scale(found: Assignment, role: str, gamma: Tensor) -> None:
    """A layer whose result is multiplied by gamma, as one layer."""
    weight, bias = (found.roles[f"{role}.{part}"] for part in ("weight", "bias"))
    found.roles[f"{role}.weight"] = Tensor(weight.shape, lambda: weight.read() * gamma.read()[:, np.newaxis])
    found.roles[f"{role}.bias"] = Tensor(bias.shape, lambda: bias.read() * gamma.read())


def _give_folded(found: Assignment, role: str, name: str) -> None:
    """A convolution without bias and its batch norm, as one convolution. Raises ModelsError: one is missing."""
    parts = ("weight", "bias", "running_mean", "running_var")
    kernel = found.take(f"{name}.conv.weight")
    scale, shift, mean, variance = (found.take(f"{name}.bn.{part}") for part in parts)

    def factor() -> Floats:
        return np.asarray(scale.read() / np.sqrt(variance.read() + np.float32(1e-5)))

    weight = Tensor(kernel.shape, lambda: kernel.read() * factor()[:, np.newaxis, np.newaxis, np.newaxis])
    found.roles[f"{role}.weight"] = weight
    found.roles[f"{role}.bias"] = Tensor(shift.shape, lambda: shift.read() - mean.read() * factor())
