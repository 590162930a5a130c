"""The nodes of attention: products and a softmax, or ONNX's `Attention`, which kernels of GPUs compute in pieces.

onnxruntime on CUDA does not fuse the plain nodes, and writes and reads all scores; TensorRT fuses them by itself.
On a CPU no form is faster.
"""

from __future__ import annotations

from typing import Any

from clipserve_models.architecture import Tower
from clipserve_models.graphs.file import Graph


def attend(
    graph: Graph, query: str, key: str, value: str, tower: Tower, mask: str | None, *, square: bool = False
) -> str:
    """[N, Q, W] and two of [N, L, W] -> [N, Q, W]. `square`: every state asks, so that `mask` is the causal one."""
    if not graph.fused:
        scaled = graph.node("Mul", query, graph.number((tower.width // tower.heads) ** -0.5))
        return _products(graph, _heads(graph, scaled, tower, (0, 2, 1, 3)), key, value, tower, mask)
    if mask and square:
        return _attention(graph, query, key, value, tower, is_causal=1)
    return _attention(graph, query, key, value, tower, *([mask] if mask else []))


def attend_with(graph: Graph, query: str, key: str, value: str, tower: Tower) -> str:
    """A constant query [heads, 1, W / heads], which is scaled, and two of [N, L, W] -> [N, 1, W]."""
    if not graph.fused:
        return _products(graph, query, key, value, tower)
    rows = graph.node("Shape", key, start=0, end=1)  # Attention does not broadcast
    shape = graph.node("Concat", rows, graph.integers(1), graph.integers(tower.width), axis=0)
    query = graph.node("Expand", graph.node("Reshape", query, graph.integers(1, 1, tower.width)), shape)
    return _attention(graph, query, key, value, tower, scale=1.0)


def _attention(
    graph: Graph, query: str, key: str, value: str, tower: Tower, *mask: str, **options: Any
) -> str:
    """As `attend`, in one node."""
    options |= {"q_num_heads": tower.heads, "kv_num_heads": tower.heads}
    return graph.node("Attention", query, key, value, *mask, **options)


def _products(graph: Graph, query: str, key: str, value: str, tower: Tower, mask: str | None = None) -> str:
    """As `attend`, of scaled queries [N, heads, Q, W / heads]."""
    key, value = (
        _heads(graph, each, tower, perm) for each, perm in ((key, (0, 2, 3, 1)), (value, (0, 2, 1, 3)))
    )
    scores = graph.node("MatMul", query, key)  # [N, heads, Q, L]
    if mask:
        scores = graph.node("Add", scores, mask)
    mixed = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), value)
    return graph.node(
        "Reshape", graph.node("Transpose", mixed, perm=[0, 2, 1, 3]), graph.integers(0, -1, tower.width)
    )


def _heads(graph: Graph, states: str, tower: Tower, perm: tuple[int, ...]) -> str:
    """[N, L, W] -> [N, L, heads, W / heads], then turned."""
    apart = graph.node("Reshape", states, graph.integers(0, -1, tower.heads, tower.width // tower.heads))
    return graph.node("Transpose", apart, perm=perm)
