"""Checks that an fp16 graph has the rounded weights of the fp32 graph, and its layer normalizations in fp32.

The gate cannot detect every wrong weight: one layer of a residual network scaled by 1 % changes the vectors by less
than the bounds. So each weight is compared with the weight of the same name, else (folding of constants gives new
names) with all weights of the same shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper

from clipserve_models.errors import ModelsError

# Half precision has 11 bits: rounding changes a value by at most 2^-11, and folding batch normalizations changed
# the order of additions. Below the smallest normal number, 6e-5, the steps are 6e-8.
_RELATIVE, _ABSOLUTE = 2.0**-10, 1.2e-7
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)

Weights = npt.NDArray[np.float32]


def check_weights(fp32: Path, fp16: Path) -> None:
    """Compare the weights of two graphs of one tower.

    Raises:
        ModelsError: the fp16 graph has a weight that the fp32 graph does not have, or a layer normalization in half
            precision, in which sums of squares overflow on a GPU.
    """
    _check_norms(fp16)
    own = dict(_weights(fp32))
    by_shape: dict[tuple[int, ...], list[Weights]] = {}
    for values in own.values():
        by_shape.setdefault(values.shape, []).append(values)
    for name, values in _weights(fp16):
        namesake = [own[name]] if name in own and own[name].shape == values.shape else []
        if not any(_equal(values, other) for other in (*namesake, *by_shape.get(values.shape, []))):
            raise ModelsError(
                f"{fp16.name} is not the fp32 graph in half precision: its weight {name!r}, of shape "
                f"{list(values.shape)}, is none of the artifact's (needed: equal to {_RELATIVE:.1e} of each value)."
            )


def _check_norms(path: Path) -> None:
    graph = onnx.load(path, load_external_data=False).graph
    halves = {weights.name for weights in graph.initializer if weights.data_type == TensorProto.FLOAT16}
    for node in graph.node:
        if node.op_type == "LayerNormalization" and halves.intersection(node.input):
            raise ModelsError(
                f"{path.name}: the layer normalization {node.name!r} is in fp16; it must be in fp32."
            )


def _weights(path: Path) -> Iterator[tuple[str, Weights]]:
    """Every matrix, vector and kernel with its name; scalars are constants of the arithmetic."""
    for weights in onnx.load(path, load_external_data=False).graph.initializer:
        if weights.data_type in _FLOATS and int(np.prod(weights.dims)) > 1:
            yield weights.name, _values(weights, path.parent)


def _values(weights: Any, folder: Path) -> Weights:
    return np.asarray(numpy_helper.to_array(weights, str(folder)), np.float32)


def _equal(one: Weights, other: Weights) -> bool:
    return bool(np.allclose(one, other, rtol=_RELATIVE, atol=_ABSOLUTE))
