"""Converts a model of open_clip to half precision, like open_clip's own `precision="fp16"`.

Normalizations stay fp32, with casts of their input and result, as in open_clip's `LayerNormFp32`, because sums of
squares would overflow. The token table and the positions of a text stay fp32 too; the looked-up rows are cast.
open_clip does not build the model like this, because its random weights would differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

HALF = torch.float16
_IN_FP32 = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d)


class InFp32(nn.Module):
    """A module that computes in fp32 between neighbours in half precision."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, states: Tensor) -> Tensor:
        result: Tensor = self.inner(states.to(torch.float32)).to(states.dtype)
        return result


def halve(model: Any) -> None:
    """Change an fp32 model of open_clip in place, before its towers are wrapped."""
    kept = {id(getattr(getattr(model, "text", model), "positional_embedding", None))}
    for module in model.modules():
        if not isinstance(module, (*_IN_FP32, nn.Embedding)):
            for own in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                if own.is_floating_point() and id(own) not in kept:
                    own.data = own.data.to(HALF)
    _replace(model, {norm: InFp32(norm) for norm in model.modules() if isinstance(norm, _IN_FP32)})


def fold_batch_norms(visual: nn.Module, images: Tensor) -> None:
    """Fold each batch normalization into the convolution whose result is its only input.

    A run on `images`, float32 [1, 3, S, S], shows which reads which.
    """
    writers: dict[int, nn.Conv2d] = {}
    pairs: dict[nn.BatchNorm2d, nn.Conv2d] = {}
    alive: list[Tensor] = []  # keeps the tensors, because Python reuses the id of a deleted one

    def wrote(module: nn.Module, _: Any, result: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            alive.append(result)
            writers[id(result)] = module

    def reads(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, nn.BatchNorm2d) and id(inputs[0]) in writers:
            pairs[module] = writers[id(inputs[0])]

    hooks = [module.register_forward_hook(wrote) for module in visual.modules()]
    hooks += [module.register_forward_pre_hook(reads) for module in visual.modules()]
    try:
        visual(images)
    finally:
        for hook in hooks:
            hook.remove()
    for norm, into in pairs.items():
        statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        into.weight, into.bias = fuse_conv_bn_weights(into.weight, into.bias, *statistics)
    # timm's batch normalization contains the following activation.
    _replace(visual, {norm: getattr(norm, "act", nn.Identity()) for norm in pairs})


def _replace(root: nn.Module, modules: Mapping[nn.Module, nn.Module]) -> None:
    """Replace each key by its value everywhere below `root`."""
    for parent in list(root.modules()):
        for name, child in parent.named_children():
            if child in modules and parent is not modules[child]:
                setattr(parent, name, modules[child])
