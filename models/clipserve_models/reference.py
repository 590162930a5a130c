"""What CLIP computes, in numpy: two encoders whose vectors meet in one space.

This is the second computation of every model that `build` makes: it takes the weights by their roles, and shares
nothing with the graphs but these and the architecture. It is written to be read, not to be fast.

N rows, L states, W the width of an encoder, M of its MLPs, H its heads, D the embedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from clipserve.clip.manifest import ImageSpec
from clipserve_models.architecture import Activation, Architecture, Bert, Convolution, ResNet, Tower
from clipserve_models.tensors import Floats, Tensor

Weights = Callable[[str], Floats]  # a tensor by its role, read now
Mask = npt.NDArray[np.bool_]


def encode_images(
    architecture: Architecture,
    tensors: Mapping[str, Tensor],
    pixels: npt.NDArray[np.uint8],  # [N, S, S, 3]
    mean: Sequence[float],
    std: Sequence[float],
) -> Floats:
    """The embeddings [N, D], unit length."""
    tower, w = architecture.image, _reader(tensors, "image.")
    x = ((pixels / 255 - np.array(mean)) / np.array(std)).astype(np.float32)  # [N, S, S, 3]
    if isinstance(tower, ResNet):
        return _unit(_resnet(x, w, tower))
    n, grid = len(pixels), tower.size
    for place, (role, inputs, outputs, side) in enumerate(tower.cuts):
        if place:
            x = ACTIVATIONS[tower.activation](x).reshape(n, grid, grid, inputs)
        grid //= side
        x = x[:, : grid * side, : grid * side]  # what is left over is dropped
        x = x.reshape(n, grid, side, grid, side, inputs).transpose(
            0, 1, 3, 5, 2, 4
        )  # [N, grid, grid, C, P, P]
        x = x.reshape(n, grid * grid, -1) @ w(f"{role}.weight").reshape(outputs, -1).T  # [N, L, W]
        if tower.patch_bias:
            x = x + w(f"{role}.bias")
    if tower.before:
        first = w("prefix" if tower.prefix else "class")
        x = np.concatenate([np.broadcast_to(first, (n, tower.before, tower.width)), x], axis=1)
    x = x + w("positions")
    if tower.pre_norm:
        x = _norm(x, w, "pre_norm", tower)
    x = _blocks(x, w, tower)
    x = x if tower.norm_last else _norm(x, w, "norm", tower)
    if tower.pooling == "class":
        x = x[:, 0]
    else:  # the patches alone
        x = x[:, tower.before :]
        x = _attention_pool(x, w, tower) if tower.pooling == "attention" else x.mean(axis=1)  # [N, W]
    x = _norm(x, w, "norm", tower) if tower.norm_last else x
    x = x @ w("projection.weight").T if tower.projection else x  # [N, D]
    return _unit(x + w("projection.bias") if tower.stem or tower.projection_bias else x)


def encode_texts(
    architecture: Architecture,
    tensors: Mapping[str, Tensor],
    token_ids: npt.NDArray[np.int32],  # [N, context length]
    lengths: npt.NDArray[np.int32],  # [N]
) -> Floats:
    """The embeddings [N, D], unit length."""
    tower, w = architecture.text, _reader(tensors, "text.")
    x = w("tokens")[token_ids] + w("positions")  # [N, L, W]
    length = tower.context_length
    if isinstance(tower, Bert):
        return _unit(_bert(x, w, tower, np.arange(length) < lengths[:, np.newaxis]))
    x = _blocks(x, w, tower, np.tri(length, dtype=bool) if tower.causal else None)
    x = _norm(x, w, "norm", tower)
    x = x[:, -1] if tower.pooling == "last" else x[np.arange(len(x)), lengths - 1]  # [N, W]
    x = x @ w("projection.weight").T  # [N, D]
    return _unit(x + w("projection.bias") if tower.projection_bias else x)


def preprocessed(image: Image.Image, spec: ImageSpec) -> npt.NDArray[np.uint8]:
    """An RGB image as the encoder takes it, resized by Pillow: [S, S, 3]."""
    method = Image.Resampling[spec.interpolation.upper()]
    size, (width, height) = spec.size, image.size
    if spec.resize == "squash":
        return np.asarray(image.resize((size, size), method))
    short = min(width, height)
    resized = image.resize((size * width // short, size * height // short), method)
    left, top = (round((side - size) / 2) for side in resized.size)
    return np.asarray(resized.crop((left, top, left + size, top + size)))


def _reader(tensors: Mapping[str, Tensor], tower: str) -> Weights:
    return lambda role: tensors[tower + role].read()


def _blocks(x: Floats, w: Weights, tower: Tower, mask: Mask | None = None) -> Floats:
    """[N, L, W] -> [N, L, W]: each block lets the states see one another, then changes each alone."""
    for block in (f"blocks.{index}" for index in range(tower.layers)):
        q, k, v = np.split(_linear(_norm(x, w, f"{block}.norm1", tower), w, f"{block}.qkv"), 3, axis=-1)
        x = x + _linear(_attention(q, k, v, tower.heads, mask), w, f"{block}.out")
        x = x + _mlp(_norm(x, w, f"{block}.norm2", tower), w, block, tower)
    return x


def _attention(q: Floats, k: Floats, v: Floats, heads: int, mask: Mask | None = None) -> Floats:
    """[N, Q, W], twice [N, L, W] -> [N, Q, W]; each head mixes its part of the width."""
    q, k, v = (x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2) for x in (q, k, v))  # [N, H, Q or L, W / H]
    scores = q @ k.swapaxes(2, 3) / np.float32(np.sqrt(q.shape[-1]))  # [N, H, Q, L]
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    mixed: Floats = scores / scores.sum(axis=-1, keepdims=True) @ v  # [N, H, Q, W / H]
    return mixed.swapaxes(1, 2).reshape(len(q), q.shape[2], -1)


def _attention_pool(x: Floats, w: Weights, tower: Tower) -> Floats:
    """[N, L, W] -> [N, W]: a learned question to all states, and an MLP on the answer."""
    q = _linear(np.broadcast_to(w("pool.probe"), (len(x), 1, tower.width)), w, "pool.q")  # [N, 1, W]
    k, v = np.split(_linear(x, w, "pool.kv"), 2, axis=-1)
    x = _linear(_attention(q, k, v, tower.heads), w, "pool.out")
    return (x + _mlp(_norm(x, w, "pool.norm", tower), w, "pool", tower))[:, 0]


def _bert(x: Floats, w: Weights, tower: Bert, seen: Mask) -> Floats:
    """[N, L, W], and which tokens are a text's, [N, L] -> [N, D]: norms come last, the first state is read."""
    x = _norm(x, w, "norm", tower)
    for block in (f"blocks.{index}" for index in range(tower.layers)):
        q, k, v = np.split(_linear(x, w, f"{block}.qkv"), 3, axis=-1)
        mixed = _attention(q, k, v, tower.heads, seen[:, np.newaxis, np.newaxis])
        x = _norm(x + _linear(mixed, w, f"{block}.out"), w, f"{block}.norm1", tower)
        x = _norm(x + _mlp(x, w, block, tower), w, f"{block}.norm2", tower)
    x = x[:, 0]  # [N, W]
    if tower.hidden:
        x = ACTIVATIONS[tower.activation](x @ w("hidden.weight").T)
    vectors: Floats = x @ w("projection.weight").T
    return vectors


def _resnet(x: Floats, w: Weights, tower: ResNet) -> Floats:
    """[N, S, S, 3] -> [N, D]: convolutions, then a question of the mean state to all states."""
    for each in tower.first:
        x = np.maximum(_convolved(x, w, each, tower), 0)
    x = _pooled(x, 2)
    for _, step, (one, two, three, *beside) in tower.stages():
        inner = np.maximum(_convolved(x, w, one, tower), 0)
        inner = _pooled(np.maximum(_convolved(inner, w, two, tower), 0), step)
        for each in beside:
            x = _convolved(_pooled(x, step), w, each, tower)
        x = np.maximum(_convolved(inner, w, three, tower) + x, 0)
    x = x.reshape(len(x), -1, tower.width)  # [N, H * W, C]
    x = np.concatenate([x.mean(axis=1, keepdims=True), x], axis=1) + w("positions")
    q, k, v = (_linear(part, w, role) for part, role in ((x[:, :1], "q"), (x, "k"), (x, "v")))
    mixed = _attention(q, k, v, tower.heads)
    return _linear(mixed[:, 0], w, "projection")


def _convolved(x: Floats, w: Weights, convolution: Convolution, tower: ResNet) -> Floats:
    """[N, H, W, C] -> [N, H, W, outputs], and the batch norm behind it: each channel as in training on average."""
    side, step = convolution.kernel, convolution.stride
    edge = (side // 2, side // 2)
    padded = np.pad(x, ((0, 0), edge, edge, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), (1, 2))
    windows = windows[:, ::step, ::step]  # [N, H, W, C, side, side]
    kernel = w(f"{convolution.role}.weight").reshape(convolution.outputs, -1)
    x = windows.reshape(*windows.shape[:3], -1) @ kernel.T
    mean, variance, weight, bias = (
        w(f"{convolution.role}.norm.{part}") for part in ("mean", "variance", "weight", "bias")
    )
    result: Floats = (x - mean) / np.sqrt(variance + np.float32(tower.epsilon)) * weight + bias
    return result


def _pooled(x: Floats, step: int) -> Floats:
    """[N, H, W, C] -> the means of squares of `step` states; what is left over is dropped."""
    n, high, wide, channels = x.shape
    x = x[:, : high // step * step, : wide // step * step]
    pooled: Floats = x.reshape(n, high // step, step, wide // step, step, channels).mean(axis=(2, 4))
    return pooled


def _mlp(x: Floats, w: Weights, where: str, tower: Tower) -> Floats:
    """[N, L, W] -> [N, L, M] -> [N, L, W]."""
    return _linear(ACTIVATIONS[tower.activation](_linear(x, w, f"{where}.up")), w, f"{where}.down")


def gelu(x: Floats) -> Floats:
    """x times the probability that a normal variable is below x; erf by Abramowitz and Stegun, 7.1.26."""
    z = np.abs(x) / math.sqrt(2)
    t = 1 / (1 + 0.3275911 * z)
    series = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
    erf = np.copysign(1 - series * np.exp(-z * z), x)  # within 1.5e-7
    result: Floats = x / 2 * (1 + erf)
    return result


ACTIVATIONS: dict[Activation, Callable[[Floats], Floats]] = {
    "gelu": gelu,
    "gelu_tanh": lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
}


def _linear(x: Floats, w: Weights, role: str) -> Floats:
    result: Floats = x @ w(f"{role}.weight").T + w(f"{role}.bias")
    return result


def _norm(x: Floats, w: Weights, role: str, tower: Tower) -> Floats:
    """Layer normalization: each state gets mean 0 and variance 1."""
    x = x - x.mean(axis=-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + np.float32(tower.epsilon))
    return x * w(f"{role}.weight") + w(f"{role}.bias")


def _unit(x: Floats) -> Floats:
    unit: Floats = x / np.linalg.norm(x, axis=-1, keepdims=True)
    return unit
