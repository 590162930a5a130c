"""The nodes that graphs of all families have."""

from __future__ import annotations

import math

from onnx import TensorProto, ValueInfoProto, helper

from clipserve_models.architecture import Tower
from clipserve_models.graphs.file import Graph


def pixels_of(size: int) -> ValueInfoProto:
    """The input of an image graph."""
    return helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", size, size, 3])


def normalized(graph: Graph) -> str:
    """pixels uint8 [N, S, S, 3] -> fp32 of the same shape: pixels * scale - shift."""
    # The cast comes first: TensorRT takes uint8 as a graph's input only.
    image = graph.node("Cast", "pixels", to=TensorProto.FLOAT)
    image = graph.node("Mul", image, graph.weight("scale", full=True))
    return graph.node("Sub", image, graph.weight("shift", full=True))


def linear(graph: Graph, states: str, name: str) -> str:
    """States by a layer's weight, [in, out], and its bias if it has one."""
    product = graph.node("MatMul", states, graph.weight(f"{name}.weight"))
    bias = f"{name}.bias"
    return graph.node("Add", product, graph.weight(bias)) if bias in graph.weights else product


def embedding(graph: Graph, pooled: str, width: int) -> None:
    """[N, 1, W] -> embedding fp32 [N, D], of unit length."""
    pooled = graph.node("Reshape", pooled, graph.integers(-1, width))
    if "projection.weight" in graph.weights:
        pooled = linear(graph, pooled, "projection")
    pooled = graph.to_full(pooled)
    norm = graph.node("ReduceL2", pooled, graph.integers(-1), keepdims=1)  # [N, 1]
    graph.node("Div", pooled, graph.node("Max", norm, graph.number(1e-12, full=True)), name="embedding")


def activation(graph: Graph, x: str, tower: Tower) -> str:
    """In the nodes that engines know as one operator."""
    if tower.activation == "quick_gelu":
        return graph.node("Mul", x, graph.node("Sigmoid", graph.node("Mul", x, graph.number(1.702))))
    one, half = graph.number(1), graph.number(0.5)
    if tower.activation == "gelu":
        bent = graph.node("Erf", graph.node("Div", x, graph.number(math.sqrt(2))))
    else:
        # Not x ** 3, which fp16 has up to 40 only.
        square = graph.node("Mul", graph.node("Mul", x, graph.number(0.044715)), x)
        scaled = graph.node("Mul", x, graph.number(math.sqrt(2 / math.pi)))
        bent = graph.node("Tanh", graph.node("Mul", graph.node("Add", square, one), scaled))
    return graph.node("Mul", graph.node("Mul", x, half), graph.node("Add", bent, one))


def norm(graph: Graph, states: str, name: str, tower: Tower) -> str:
    affine = (graph.weight(f"{name}.{part}", full=True) for part in ("weight", "bias"))
    full = graph.to_full(states)
    return graph.to_half(graph.node("LayerNormalization", full, *affine, axis=-1, epsilon=tower.epsilon))
