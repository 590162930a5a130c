"""The nodes of BERT: a norm follows each attention and MLP, and padding is masked by the length of a text.

N rows, L states of width W. The last block computes only the first state, because nothing reads the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from clipserve_models.architecture import Bert
from clipserve_models.graphs.attention import attend
from clipserve_models.graphs.file import Graph
from clipserve_models.graphs.parts import activation, embedding, linear, norm
from clipserve_models.tensors import Tensor, constant


def bert_weights(tower: Bert, layers: Mapping[str, Tensor], masked: float) -> dict[str, Tensor]:
    """Of the linear layers as MatMul takes them: these, and what a mask is made of."""
    places = constant(np.arange(tower.context_length))
    return {**layers, "places": places, "mask": constant([masked, 0.0])}


def write_bert(
    path: Path, tower: Bert, embed_dim: int, weights: Mapping[str, Tensor], *, half: bool = False
) -> None:
    """Write the graph of a text encoder, of the weights that `graphs.weights.text_weights` gives."""
    graph = Graph(weights, half)
    zero, length = graph.integers(0), graph.node("Shape", "token_ids", start=1, end=2)
    positions, places = (
        graph.node("Slice", graph.weight(name, full=True), zero, length, zero)
        for name in ("positions", "places")
    )
    lengths = graph.node("Unsqueeze", graph.node("Cast", "lengths", to=TensorProto.FLOAT), graph.integers(1))
    seen = graph.node("Cast", graph.node("Less", places, lengths), to=TensorProto.INT64)  # [N, L]
    mask = graph.node("Gather", graph.weight("mask"), seen)
    mask = graph.node("Unsqueeze", mask, graph.integers(1, 2))  # [N, 1, 1, L]
    states = graph.node(
        "Add", graph.node("Gather", graph.weight("tokens", full=True), "token_ids"), positions
    )
    states = norm(graph, graph.to_half(states), "norm", tower)  # [N, L, W]
    for index in range(tower.layers):
        block = f"blocks.{index}"
        graph.scope = f"{block}/"
        own = states
        if index < tower.layers - 1:
            query, key, value = graph.split(linear(graph, states, f"{block}.qkv"), 3)
        else:
            own = graph.node("Gather", states, graph.integers(0), axis=1)  # [N, 1, W]
            query = linear(graph, own, f"{block}.q")
            key, value = graph.split(linear(graph, states, f"{block}.kv"), 2)
        mixed = linear(graph, attend(graph, query, key, value, tower, mask), f"{block}.out")
        states = norm(graph, graph.node("Add", own, mixed), f"{block}.norm1", tower)
        inner = activation(graph, linear(graph, states, f"{block}.up"), tower)
        inner = linear(graph, inner, f"{block}.down")
        states = norm(graph, graph.node("Add", states, inner), f"{block}.norm2", tower)
    graph.scope = ""
    if tower.hidden:
        states = activation(graph, linear(graph, states, "hidden"), tower)
    embedding(graph, states, tower.hidden or tower.width)
    ids, lengths = (
        helper.make_tensor_value_info(name, TensorProto.INT32, shape)
        for name, shape in (("token_ids", ["N", "L"]), ("lengths", ["N"]))
    )
    graph.save(path, [ids, lengths], tower, embed_dim)
