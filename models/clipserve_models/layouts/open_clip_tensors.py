"""The tensors of open_clip's models by their roles."""

from __future__ import annotations

from clipserve_models.architecture import AnyImageTower, AnyTextTower, Bert, ResNet, TextTower
from clipserve_models.layouts.assigning import Assignment
from clipserve_models.layouts.transformers_tensors import assign_bert
from clipserve_models.layouts.vit_of_timm import assign_timm

# Roles -> names of a block.
_BLOCK = {"norm1": "ln_1", "qkv": "attn.in_proj_", "out": "attn.out_proj", "norm2": "ln_2"}
_BLOCK |= {"up": "mlp.c_fc", "down": "mlp.c_proj"}


def assign_image(found: Assignment, tower: AnyImageTower) -> None:
    """Give the tensors of the image encoder their roles. Raises ModelsError: one is missing."""
    if isinstance(tower, ResNet):
        _assign_resnet(found, tower)
        return
    if "visual.trunk.norm.weight" in found or "visual.trunk.fc_norm.weight" in found:
        assign_timm(found, tower)
        return
    found.give("image.patch", "visual.conv1", bias=False)
    found.roles["image.class"] = found.take("visual.class_embedding")
    found.roles["image.positions"] = found.take("visual.positional_embedding")
    if tower.pre_norm:
        found.give("image.pre_norm", "visual.ln_pre")
    found.give_blocks("image", "visual.transformer.resblocks", tower, _BLOCK)
    found.give("image.norm", "visual.ln_post")
    found.roles["image.projection.weight"] = found.take("visual.proj").transposed


def _assign_resnet(found: Assignment, tower: ResNet) -> None:
    parts = {"weight": "weight", "bias": "bias", "mean": "running_mean", "variance": "running_var"}
    for each in tower.convolutions:
        place, _, which = each.role.removeprefix("stem.").rpartition(".")
        block = f"visual.layer{int(place[5]) + 1}{place[6:]}." if place else "visual."  # stage0.1 -> layer1.1
        convolution, norm = (
            ("downsample.0", "downsample.1") if which == "beside" else (f"conv{which}", f"bn{which}")
        )
        found.give(f"image.{each.role}", f"{block}{convolution}", bias=False)
        for part, name in parts.items():
            found.roles[f"image.{each.role}.norm.{part}"] = found.take(f"{block}{norm}.{name}")
    pool = "visual.attnpool"
    found.roles["image.positions"] = found.take(f"{pool}.positional_embedding")
    found.give_all("image", pool, {"q": "q_proj", "k": "k_proj", "v": "v_proj", "projection": "c_proj"})


def assign_text(found: Assignment, tower: AnyTextTower) -> None:
    """Give the tensors of the text encoder their roles. Raises ModelsError: one is missing."""
    if isinstance(tower, Bert):
        assign_bert(found, tower, "text.transformer", 512)
        if tower.hidden:
            found.give("text.hidden", "text.proj.0", bias=False)
        found.give("text.projection", "text.proj.2" if tower.hidden else "text.proj", bias=False)
        return
    at = "text." if "text.token_embedding.weight" in found else ""  # CustomTextCLIP, or CLIP
    found.roles["text.tokens"] = found.take(f"{at}token_embedding.weight")
    found.roles["text.positions"] = found.take(f"{at}positional_embedding")
    found.give_blocks("text", f"{at}transformer.resblocks", tower, _BLOCK)
    found.give("text.norm", f"{at}ln_final")
    if isinstance(tower, TextTower) and tower.projection_bias:
        found.give("text.projection", f"{at}text_projection")
    else:
        found.roles["text.projection.weight"] = found.take(f"{at}text_projection").transposed
