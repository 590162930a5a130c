"""Builds the small graph that the service uses to try CUDA: `python -m tools.cuda_trial`.

A convolution needs cuDNN, a product cuBLAS, and both need kernels for the present GPU. All weights are positive, so
that nothing cancels, and two correct results differ by a few bits at most.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

FILE = Path(__file__).parents[2] / "service" / "clipserve" / "engine" / "cuda_trial.onnx"


def weights(*shape: int) -> npt.NDArray[np.float32]:
    """1/64 to 7/64 in turn, which every precision has."""
    return ((np.arange(np.prod(shape)) % 7 + 1) / 64).astype(np.float32).reshape(shape)


def build() -> onnx.ModelProto:
    """x, uint8 [N, 4, 4, 3] -> y, float32 [N, 4]."""
    nodes = [
        helper.make_node("Cast", ["x"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "kernel"], ["features"], pads=[1, 1, 1, 1]),
        helper.make_node("Flatten", ["features"], ["rows"]),
        helper.make_node("MatMul", ["rows", "matrix"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "cuda_trial",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["N", 4, 4, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
        [
            numpy_helper.from_array(weights(8, 3, 3, 3), "kernel"),
            numpy_helper.from_array(weights(128, 4), "matrix"),
        ],
    )
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10, producer_name="clipserve")


if __name__ == "__main__":
    onnx.checker.check_model(build())
    FILE.write_bytes(build().SerializeToString(deterministic=True))
    print(FILE, hashlib.sha256(FILE.read_bytes()).hexdigest()[:12])
