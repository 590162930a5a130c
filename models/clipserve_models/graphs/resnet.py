"""OpenAI's ResNets: their weights with the batch norms folded in, and the nodes of their graph.

N rows, C channels, H and W the sides of the states, D the embedding's width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from clipserve_models.architecture import Convolution, ResNet
from clipserve_models.graphs.attention import attend
from clipserve_models.graphs.file import Graph
from clipserve_models.graphs.parts import embedding, linear, normalized, pixels_of
from clipserve_models.tensors import Floats, Tensor


def resnet_weights(tower: ResNet, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of the tensors without `image.`: convolutions with a bias, and linear layers as MatMul takes them."""
    weights = {"positions": tensors["positions"]}
    for each in tower.convolutions:
        shape = tensors[f"{each.role}.weight"].shape
        weights[f"{each.role}.weight"] = Tensor(shape, _folded(tensors, each.role, tower.epsilon))
        weights[f"{each.role}.bias"] = Tensor(shape[:1], _rest(tensors, each.role, tower.epsilon))
    for role in ("q", "k", "v", "projection"):
        weights[f"{role}.weight"] = tensors[f"{role}.weight"].transposed
        weights[f"{role}.bias"] = tensors[f"{role}.bias"]
    return weights


def write_resnet(
    path: Path, tower: ResNet, embed_dim: int, weights: Mapping[str, Tensor], *, half: bool = False
) -> None:
    """Write the graph of an image encoder, of the weights that `graphs.weights.image_weights` gives."""
    graph = Graph(weights, half)
    states = graph.to_half(graph.node("Transpose", normalized(graph), perm=[0, 3, 1, 2]))  # [N, 3, S, S]
    for each in tower.first:
        states = _convolved(graph, states, each)
    states = _pooled(graph, states, 2)
    for role, step, (one, two, three, *beside) in tower.stages():
        graph.scope = f"{role}/"
        inner = _convolved(graph, _convolved(graph, states, one), two)
        inner = _convolved(graph, _pooled(graph, inner, step), three, bend=False)
        for each in beside:
            states = _convolved(graph, _pooled(graph, states, step), each, bend=False)
        states = graph.node("Relu", graph.node("Add", inner, states))
    graph.scope = "pool/"
    rows = graph.node("Reshape", states, graph.integers(0, tower.width, -1))
    rows = graph.node("Transpose", rows, perm=[0, 2, 1])  # [N, H * W, C]
    mean = graph.node("ReduceMean", rows, graph.integers(1), keepdims=1)
    rows = graph.node("Concat", mean, rows, axis=1)
    rows = graph.node("Add", rows, graph.weight("positions"))
    own = graph.node("Gather", rows, graph.integers(0), axis=1)  # [N, 1, C]
    query, key, value = linear(graph, own, "q"), linear(graph, rows, "k"), linear(graph, rows, "v")
    mixed = attend(graph, query, key, value, tower, None)
    graph.scope = ""
    embedding(graph, mixed, tower.width)
    graph.save(path, [pixels_of(tower.size)], tower, embed_dim)


def _convolved(graph: Graph, states: str, convolution: Convolution, *, bend: bool = True) -> str:
    """[N, C, H, W] -> [N, outputs, H, W], without what is below zero if `bend`."""
    kernel, edge = [convolution.kernel] * 2, [convolution.kernel // 2] * 4
    weights = (graph.weight(f"{convolution.role}.{part}") for part in ("weight", "bias"))
    strides = [convolution.stride] * 2
    states = graph.node("Conv", states, *weights, kernel_shape=kernel, pads=edge, strides=strides)
    return graph.node("Relu", states) if bend else states


def _pooled(graph: Graph, states: str, step: int) -> str:
    if step == 1:
        return states
    return graph.node("AveragePool", states, kernel_shape=[step] * 2, strides=[step] * 2)


def _scale(tensors: Mapping[str, Tensor], role: str, epsilon: float) -> Floats:
    variance = tensors[f"{role}.norm.variance"].read().astype(np.float64)
    return np.asarray(tensors[f"{role}.norm.weight"].read() / np.sqrt(variance + epsilon))


def _folded(tensors: Mapping[str, Tensor], role: str, epsilon: float) -> Callable[[], Floats]:
    def read() -> Floats:
        scale = _scale(tensors, role, epsilon)[:, np.newaxis, np.newaxis, np.newaxis]
        return np.asarray(tensors[f"{role}.weight"].read() * scale, np.float32)

    return read


def _rest(tensors: Mapping[str, Tensor], role: str, epsilon: float) -> Callable[[], Floats]:
    def read() -> Floats:
        moved = tensors[f"{role}.norm.mean"].read() * _scale(tensors, role, epsilon)
        return np.asarray(tensors[f"{role}.norm.bias"].read() - moved, np.float32)

    return read
