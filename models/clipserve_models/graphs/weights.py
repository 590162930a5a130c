"""From tensors by role to the weights of the two graphs: what can be computed once is computed here.

Weights of linear layers become [in, out], as MatMul takes them. The last block of an encoder that pools one of its
states has the projection of queries apart from that of keys and values. The class token is added to its position.
The query of attention pooling is projected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from clipserve_models.architecture import AnyImageTower, AnyTextTower, Bert, ResNet, Tower
from clipserve_models.graphs.bert import bert_weights
from clipserve_models.graphs.resnet import resnet_weights
from clipserve_models.tensors import Floats, Tensor, constant

# Added to the attention score of a token that must not be seen. Finite, and within fp16 (its lowest is -65504) even
# after a score is added to it; exp(-10000) is 0 in every format, as exp(-inf) is.
MASKED = -1e4


def image_weights(
    tower: AnyImageTower, tensors: Mapping[str, Tensor], mean: Sequence[float], std: Sequence[float]
) -> dict[str, Tensor]:
    """Of the image graph: the tensors `image.*`, and the normalization, (pixels / 255 - mean) / std."""
    own = _of("image.", tensors)
    pixels = {"scale": constant(1 / (255 * np.array(std))), "shift": constant(np.array(mean) / np.array(std))}
    if isinstance(tower, ResNet):
        return pixels | resnet_weights(tower, own)
    weights = dict(_layers(own, tower, cut=tower.pooling == "class")) | pixels
    if tower.before:
        role = "prefix" if tower.prefix else "class"
        positions, first = own["positions"], own[role]
        del weights[role]
        weights["positions"] = Tensor(positions.shape, lambda: _with_first(positions.read(), first.read()))
    if tower.pooling == "attention":
        shape = tower.heads, 1, tower.width // tower.heads
        for role in ("pool.probe", "pool.q.weight", "pool.q.bias"):
            del weights[role]
        weights["pool.query"] = Tensor(shape, _query(own, shape))
    return weights


def text_weights(tower: AnyTextTower, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of the text graph: the tensors `text.*`, and the mask of a causal encoder, or what BERT's is made of."""
    weights = dict(_layers(_of("text.", tensors), tower, cut=True))
    if isinstance(tower, Bert):
        return bert_weights(tower, weights, MASKED)
    if tower.causal:
        side = tower.context_length
        weights["mask"] = Tensor((side, side), lambda: np.triu(np.full((side, side), MASKED, np.float32), 1))
    return weights


def _of(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {role.removeprefix(prefix): each for role, each in tensors.items() if role.startswith(prefix)}


def _layers(tensors: Mapping[str, Tensor], tower: Tower, *, cut: bool) -> Iterator[tuple[str, Tensor]]:
    """`cut`: only one state leaves the last block."""
    last = f"blocks.{tower.layers - 1}.qkv"
    for role, tensor in tensors.items():
        parts = {role: tensor}
        if cut and role.startswith(last):
            parts = {
                role.replace("qkv", "q"): tensor.rows(0, tower.width),
                role.replace("qkv", "kv"): tensor.rows(tower.width),
            }
        linear = role.endswith(".weight") and len(tensor.shape) == 2
        yield from ((name, each.transposed if linear else each) for name, each in parts.items())


def _with_first(positions: Floats, first: Floats) -> Floats:
    """[L, W] and [W] or [K, W] -> [L, W]"""
    count = len(first) if first.ndim == 2 else 1
    return np.concatenate([positions[:count] + first, positions[count:]])


def _query(tensors: Mapping[str, Tensor], shape: tuple[int, int, int]) -> Callable[[], Floats]:
    """[heads, 1, W / heads], scaled as attention scales its queries."""

    def read() -> Floats:
        weight, probe = tensors["pool.q.weight"].read(), tensors["pool.probe"].read()
        query = weight.astype(np.float64) @ probe + tensors["pool.q.bias"].read()
        return np.asarray(query * shape[-1] ** -0.5, np.float32).reshape(shape)

    return read
