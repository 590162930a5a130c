"""Image encoders of timm in open_clip's models: SigLIP's, plain ViTs, MobileCLIP-B's, whose names say all facts."""

from __future__ import annotations

import re
from collections.abc import Collection

import numpy as np

from clipserve_models.architecture import ImageTower
from clipserve_models.errors import ModelsError
from clipserve_models.layouts.assigning import Assignment
from clipserve_models.layouts.facts import Facts
from clipserve_models.tensors import Floats, Tensor, concatenated, constant

_WIDTHS = {"base": (768, 12, 12, 4.0), "large": (1024, 24, 16, 4.0), "so400m": (1152, 27, 16, 3.7362)}
_WIDTHS["giantopt"] = (1536, 40, 16, 4.0)  # width, layers, heads, the MLP's part of the width
_TIMM = re.compile(rf"vit_({'|'.join(_WIDTHS)})_patch(\d+)_(siglip_)?(\d+)")
_MOBILE_CLIP_B = "vit_base_mci_224"  # vit_base_patch16_224 behind two convolutions
# timm computes the others with exact GELU, also where transformers says tanh of the same weights.
_TIMM_TANH = re.compile(r"base_patch32_|large_patch16_siglip_512|so400m_patch16_|giantopt_")

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
    """From `vision_cfg`; `dim`: the model's `embed_dim`. Raises ModelsError: timm has no such SigLIP."""
    name = vision.text("timm_model_name")
    mobile = name == _MOBILE_CLIP_B
    match = _TIMM.fullmatch("vit_base_patch16_224" if mobile else name)
    if match is None or (
        match[3] is None and match[1] not in ("base", "large")
    ):  # before what else may be odd of another family
        vision.refuse(
            "timm_model_name", "of timm's models only SigLIP's and plain ViTs are built from their weights"
        )
    only(vision, _VISION)
    siglip = match[3] is not None
    vision.choice("timm_pool", dict.fromkeys(("map",) if siglip else ("", "token")), "avg")
    projection = "none" if siglip else "" if mobile else "linear"
    vision.choice("timm_proj", {projection: None}, "" if mobile else "linear")
    width, layers, heads, ratio = _WIDTHS[match[1]]
    if (size := vision.side("image_size")) != int(match[4]):
        vision.refuse("image_size", f"{name} has {match[4]}")
    if siglip and width != dim:
        raise ModelsError(f"{vision.file}: model_cfg.embed_dim is {dim}, and {name} gives {width} numbers.")
    return ImageTower(
        width=width,
        layers=layers,
        heads=heads,
        mlp=int(width * ratio),
        activation="gelu_tanh" if siglip and _TIMM_TANH.match(name.removeprefix("vit_")) else "gelu",
        epsilon=1e-6,
        size=size,
        patch=int(match[2]),
        pooling="attention" if siglip else "class",
        pre_norm=False,
        patch_bias=True,
        projection=not siglip,
        stem=width // 4 if mobile else None,
    )


def assign_timm(found: Assignment, tower: ImageTower) -> None:
    """Give its tensors their roles. Raises ModelsError: one is missing."""
    trunk, pool, width = "visual.trunk", "visual.trunk.attn_pool", tower.width
    stem, patches = f"{trunk}.patch_embed.backbone", tower.grid**2
    found.give("image.patch", f"{stem}.2.conv" if tower.stem else f"{trunk}.patch_embed.proj")
    states = patches + (tower.pooling == "class" and not tower.stem)
    positions = found.take(f"{trunk}.pos_embed", 1, states, width).reshaped(states, width)
    if tower.stem:
        for place in range(2):
            _give_folded(found, f"image.stem.{place}", f"{stem}.{place}")
        positions = concatenated([constant(np.zeros((1, width))), positions])  # the class token has none
    found.roles["image.positions"] = positions
    found.give_blocks("image", f"{trunk}.blocks", tower, _BLOCK)
    found.give("image.norm", f"{trunk}.norm")
    if tower.pooling == "class":
        found.roles["image.class"] = found.take(f"{trunk}.cls_token", 1, 1, width).reshaped(width)
        projection = f"{trunk}.head" if tower.stem else "visual.head.proj"
        found.give("image.projection", projection, bias=tower.stem is not None)
        return
    found.roles["image.pool.probe"] = found.take(f"{pool}.latent", 1, 1, width).reshaped(width)
    found.give_all("image.pool", pool, _POOL)


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
