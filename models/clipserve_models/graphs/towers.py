"""The nodes of the two encoders.

N rows, L states of width W, D the embedding's width. The last block computes only the pooled state, because nothing
reads the others. In half precision the norms, the tables of a text and the lengths of vectors stay fp32.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from onnx import TensorProto, ValueInfoProto, helper

from clipserve_models.architecture import (
    AnyImageTower,
    AnyTextTower,
    Bert,
    ImageTower,
    ResNet,
    TextTower,
    Tower,
)
from clipserve_models.graphs.attention import attend, attend_with
from clipserve_models.graphs.bert import write_bert
from clipserve_models.graphs.file import Graph
from clipserve_models.graphs.parts import activation, embedding, linear, norm, normalized, pixels_of
from clipserve_models.graphs.resnet import write_resnet
from clipserve_models.tensors import Tensor


def write_image(
    path: Path,
    tower: AnyImageTower,
    embed_dim: int,
    weights: Mapping[str, Tensor],
    *,
    half: bool = False,
) -> None:
    """Write the graph of an image encoder, of the weights that `graphs.weights.image_weights` gives."""
    if isinstance(tower, ResNet):
        write_resnet(path, tower, embed_dim, weights, half=half)
        return
    graph = Graph(weights, half)
    states = _patches(graph, tower)  # [N, L, W]
    if tower.pooling == "class":
        states = _blocks(graph, states, tower, tower.layers - 1)
        own = graph.node("Gather", states, graph.integers(0), axis=1)  # [N, 1, W]
        pooled = norm(graph, _last(graph, states, own, tower), "norm", tower)
    else:
        pooled = _of_all(graph, _blocks(graph, states, tower, tower.layers), tower)
    embedding(graph, pooled, tower.width)
    graph.save(path, [pixels_of(tower.size)], tower, embed_dim)


def write_text(
    path: Path,
    tower: AnyTextTower,
    embed_dim: int,
    weights: Mapping[str, Tensor],
    *,
    half: bool = False,
) -> None:
    """Write the graph of a text encoder, of the weights that `graphs.weights.text_weights` gives."""
    if isinstance(tower, Bert):
        write_bert(path, tower, embed_dim, weights, half=half)
        return
    graph = Graph(weights, half)
    states, mask = _tokens(graph, tower)  # [N, L, W], [L, L]
    states = _blocks(graph, states, tower, tower.layers - 1, mask)
    if tower.pooling == "last":
        own = graph.node("Gather", states, graph.integers(tower.context_length - 1), axis=1)  # [N, 1, W]
        pooled = _last(graph, states, own, tower)
    else:
        lengths = graph.node("Cast", "lengths", to=TensorProto.INT64)
        ends = graph.node("Sub", lengths, graph.integers(1))  # [N]
        rows = graph.node("Reshape", ends, graph.integers(-1, 1, 1))
        own = graph.node("GatherND", states, rows, batch_dims=1)  # [N, 1, W]
        seen = None
        if mask:
            seen = graph.node("Unsqueeze", graph.node("Gather", mask, ends), graph.integers(1, 2))
        pooled = _last(graph, states, own, tower, seen)
    embedding(graph, norm(graph, pooled, "norm", tower), tower.width)
    length = "L" if tower.trims else tower.context_length
    token_ids = _input("token_ids", TensorProto.INT32, "N", length)
    lengths = _input("lengths", TensorProto.INT32, "N")
    graph.save(path, [token_ids, lengths], tower, embed_dim)


def _of_all(graph: Graph, states: str, tower: ImageTower) -> str:
    """[N, L, W] -> [N, 1, W], of the patches."""
    if not tower.norm_last:
        states = norm(graph, states, "norm", tower)
    if tower.before:
        first, end, axis = (graph.integers(each) for each in (tower.before, 2**20, 1))
        states = graph.node("Slice", states, first, end, axis)
    if tower.pooling == "attention":
        return _attention_pool(graph, states, tower)
    mean = graph.node("ReduceMean", states, graph.integers(1), keepdims=1)
    return norm(graph, mean, "norm", tower) if tower.norm_last else mean


def _input(name: str, kind: int, *shape: int | str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _patches(graph: Graph, tower: ImageTower) -> str:
    """pixels uint8 [N, S, S, 3] -> states [N, L, W]."""
    image = normalized(graph)
    states = _convolution(graph, image, tower)
    if tower.before:  # the class token is in the positions
        states = graph.node("Pad", states, graph.integers(0, tower.before, 0, 0, 0, 0))
    states = graph.node("Add", states, graph.weight("positions"))
    return norm(graph, states, "pre_norm", tower) if tower.pre_norm else states


def _convolution(graph: Graph, image: str, tower: ImageTower) -> str:
    """fp32 [N, S, S, 3] -> [N, patches, W]."""
    image = graph.to_half(graph.node("Transpose", image, perm=[0, 3, 1, 2]))  # [N, 3, S, S]
    for place, (role, _, _, side) in enumerate(tower.cuts):
        if place:
            image = activation(graph, image, tower)
        parts = ("weight", "bias") if tower.patch_bias else ("weight",)
        kernel = [graph.weight(f"{role}.{part}") for part in parts]
        image = graph.node("Conv", image, *kernel, strides=[side] * 2, kernel_shape=[side] * 2)
    rows = graph.node("Reshape", image, graph.integers(0, tower.width, -1))  # [N, W, patches]
    return graph.node("Transpose", rows, perm=[0, 2, 1])


def _tokens(graph: Graph, tower: TextTower) -> tuple[str, str | None]:
    """token_ids int32 [N, L] -> states [N, L, W]; the mask [L, L] of a causal encoder."""
    states = graph.node("Gather", graph.weight("tokens", full=True), "token_ids")
    positions = graph.weight("positions", full=True)
    mask = graph.weight("mask") if tower.causal else None
    if tower.trims and mask:
        zero, length = graph.integers(0), graph.node("Shape", "token_ids", start=1, end=2)
        positions = graph.node(
            "Slice", positions, zero, length, zero
        )  # axes default to all, and TensorRT insists
        square = graph.node("Concat", length, length, axis=0)
        mask = graph.node("Slice", mask, graph.integers(0, 0), square)
    return graph.to_half(graph.node("Add", states, positions)), mask


def _blocks(graph: Graph, states: str, tower: Tower, count: int, mask: str | None = None) -> str:
    """The first blocks: [N, L, W] -> [N, L, W]."""
    for block in (f"blocks.{index}" for index in range(count)):
        graph.scope = f"{block}/"
        joint = linear(graph, norm(graph, states, f"{block}.norm1", tower), f"{block}.qkv")
        query, key, value = graph.split(joint, 3)
        mixed = attend(graph, query, key, value, tower, mask)
        states = graph.node("Add", states, linear(graph, mixed, f"{block}.out"))
        states = _mlp(graph, states, block, "norm2", tower)
    graph.scope = ""
    return states


def _last(graph: Graph, states: str, own: str, tower: Tower, mask: str | None = None) -> str:
    """The last block for one state of each row: [N, L, W], [N, 1, W], a mask [N, 1, 1, L] -> [N, 1, W].

    The other states give only keys and values: 2 products of W x W for each, and not 12.
    """
    block = f"blocks.{tower.layers - 1}"
    graph.scope = f"{block}/"
    query = linear(graph, norm(graph, own, f"{block}.norm1", tower), f"{block}.q")
    both = linear(graph, norm(graph, states, f"{block}.norm1", tower), f"{block}.kv")
    key, value = graph.split(both, 2)
    mixed = attend(graph, query, key, value, tower, mask)
    own = graph.node("Add", own, linear(graph, mixed, f"{block}.out"))
    own = _mlp(graph, own, block, "norm2", tower)
    graph.scope = ""
    return own


def _attention_pool(graph: Graph, states: str, tower: Tower) -> str:
    """[N, L, W] -> [N, 1, W]: what the learned query asks of the states, then an MLP."""
    graph.scope = "pool/"
    key, value = graph.split(linear(graph, states, "pool.kv"), 2)
    mixed = attend_with(graph, graph.weight("pool.query"), key, value, tower)
    pooled = _mlp(graph, linear(graph, mixed, "pool.out"), "pool", "norm", tower)
    graph.scope = ""
    return pooled


def _mlp(graph: Graph, states: str, where: str, before: str, tower: Tower) -> str:
    """[N, L, W] -> [N, L, W], the states themselves added."""
    inner = linear(graph, norm(graph, states, f"{where}.{before}", tower), f"{where}.up")  # [N, L, mlp]
    return graph.node("Add", states, linear(graph, activation(graph, inner, tower), f"{where}.down"))
