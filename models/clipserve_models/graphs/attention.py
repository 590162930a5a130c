"""The nodes of attention, in the form that runtimes know."""

from __future__ import annotations

from clipserve_models.architecture import ResNet, Tower
from clipserve_models.graphs.file import Graph

Attending = Tower | ResNet  # what has a width and heads


def attend(graph: Graph, query: str, key: str, value: str, tower: Attending, mask: str | None) -> str:
    """[N, Q, W] and two of [N, L, W] -> [N, Q, W]."""
    scaled = graph.node("Mul", query, graph.number((tower.width // tower.heads) ** -0.5))
    return attend_with(graph, _heads(graph, scaled, tower, (0, 2, 1, 3)), key, value, tower, mask)


def attend_with(
    graph: Graph, query: str, key: str, value: str, tower: Attending, mask: str | None = None
) -> str:
    """Scaled queries [N or none, heads, Q, W / heads] and two of [N, L, W] -> [N, Q, W]."""
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


def _heads(graph: Graph, states: str, tower: Attending, perm: tuple[int, ...]) -> str:
    """[N, L, W] -> [N, L, heads, W / heads], then turned."""
    apart = graph.node("Reshape", states, graph.integers(0, -1, tower.heads, tower.width // tower.heads))
    return graph.node("Transpose", apart, perm=perm)
