"""Encoders that `layouts` does not know: open_clip's own modules, exported by torch.onnx.

`imported.surgery` gives their graphs the contract of `clipserve.clip.artifact`, as it does with those of others. An
fp16 image encoder is converted like open_clip's own `precision="fp16"`: normalizations stay fp32, with casts of
their input and result, because sums of squares would overflow. open_clip does not build the model like this,
because its random weights would differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from open_clip.transformer import AttentionalPooler, VisionTransformer
from timm.utils import reparameterize_model
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from clipserve_models.graphs.file import INLINE_BYTES
from clipserve_models.imported.surgery import Surgery

OPSET = 18
HALF = torch.float16
_IN_FP32 = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d)


def trace_image(model: Any, size: int, path: Path, dim: int, dtype: torch.dtype = torch.float32) -> None:
    """Write the graph of the image encoder, which is changed in place to fewer steps of the same function.

    `size`: of its images, pixels; `dim`: of its vectors; `dtype`: float16 for a graph in half precision.
    """
    visual, config = model.visual, model.visual.preprocess_cfg
    reparameterize(visual)
    if dtype is HALF:
        halve(visual, size)
    if isinstance(visual, VisionTransformer):
        visual.output_tokens = False  # only for CoCa's captioning
        if visual.attn_pool is not None and visual.pool_type == "tok":
            visual.attn_pool.query = nn.Parameter(visual.attn_pool.query[:1])  # the others are for captions
    _with_plain_attention(visual)
    images = torch.zeros(2, 3, size, size, dtype=dtype)
    graph = _traced(visual, images)
    graph.images(size, config["mean"], config["std"], half=dtype is HALF)
    graph.save(path, dim)


def trace_text(model: Any, length: int, path: Path, dim: int) -> None:
    """Write the graph of the text encoder, for texts of exactly `length` tokens."""
    encoder = getattr(model, "text", None) or _TextsOf(model)
    encoder.output_tokens = False  # only for CoCa's captioning
    graph = _traced(encoder, torch.ones(2, length, dtype=torch.int64))
    graph.texts(length)
    graph.save(path, dim)


class _TextsOf(nn.Module):
    """The text encoder of open_clip's class CLIP, which has its parts beside those of images."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, token_ids: Tensor) -> Tensor:
        vectors: Tensor = self.model.encode_text(token_ids)
        return vectors


def _traced(module: nn.Module, example: Tensor) -> Surgery:
    """The graph of a module that maps a batch, such as `example`, to vectors."""
    program = torch.onnx.export(
        module.eval(),
        (example,),
        input_names=["rows"],
        output_names=["vectors"],
        opset_version=OPSET,
        dynamic_shapes=({0: torch.export.Dim("N")},),
        verbose=False,
    )
    assert program is not None  # of the exporter that takes dynamic_shapes
    with TemporaryDirectory() as folder:
        path = Path(folder) / "traced.onnx"
        size = sum(weight.nbytes for weight in module.state_dict().values())
        program.save(path, external_data=size > INLINE_BYTES)
        del program
        return Surgery.of(path)


def reparameterize(visual: nn.Module) -> None:
    """Merge the branches that timm's MobileOne and RepMixer blocks were trained with, in place.

    Their authors ask for it before an export: the same function in fewer steps, on weights that are sums of the
    checkpoint's (Vasu et al., MobileCLIP, 2024).
    """
    if trunk := getattr(visual, "trunk", None):
        reparameterize_model(trunk, inplace=True)


def _with_plain_attention(module: nn.Module) -> None:
    """Replace every nn.MultiheadAttention inside of a tensor with itself."""
    for name, child in module.named_children():
        if isinstance(child, nn.MultiheadAttention):
            setattr(module, name, PlainAttention(child))
        elif not isinstance(child, AttentionalPooler):
            _with_plain_attention(child)


class PlainAttention(nn.Module):
    """nn.MultiheadAttention of a tensor with itself in a dozen plain nodes.

    torch's own gives many more nodes (it puts the sequence first, and reads the tensor's sizes at every step),
    which runtimes do not recognise as attention.
    """

    def __init__(self, original: nn.MultiheadAttention) -> None:
        super().__init__()
        self.original = original

    def forward(self, query: Tensor, *_: object, **__: object) -> tuple[Tensor, None]:
        """[N, L, W]; key and value are the same tensor, and open_clip's image encoders have no mask."""
        original, (rows, length, _width) = self.original, query.shape
        joint = nn.functional.linear(query, original.in_proj_weight, original.in_proj_bias)
        q, k, v = (
            part.reshape(rows, length, -1, original.head_dim).transpose(1, 2)  # [N, heads, L, W / heads]
            for part in joint.chunk(3, dim=-1)
        )
        scores = (q * original.head_dim**-0.5) @ k.transpose(-2, -1)  # [N, heads, L, L]
        return original.out_proj((scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2)), None


class InFp32(nn.Module):
    """A module that computes in fp32 between neighbours in half precision."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, states: Tensor) -> Tensor:
        result: Tensor = self.inner(states.to(torch.float32)).to(states.dtype)
        return result


def halve(visual: nn.Module, size: int) -> None:
    """Convert an fp32 image encoder to half precision, in place. `size`: of its images, pixels."""
    _fold_batch_norms(visual, torch.zeros(1, 3, size, size))
    for module in visual.modules():
        if not isinstance(module, _IN_FP32):
            for values in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                if values.is_floating_point():
                    values.data = values.data.to(HALF)
    _replace(visual, {norm: InFp32(norm) for norm in visual.modules() if isinstance(norm, _IN_FP32)})


def _fold_batch_norms(visual: nn.Module, images: Tensor) -> None:
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
