"""Writes int8 graphs by onnxruntime's static quantization.

Only products with constant weights become int8. The first convolution, the last product, LayerNorm, softmax, the
scaling of the pixels and the L2 norm stay fp32.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from clipserve.clip.external import external_files
from clipserve_models.verify import Feeds, session_of

_PRODUCTS = ("Conv", "MatMul", "Gemm")
# In a convolutional tower these operators lie between two products. They are quantized too, so that values stay
# int8 from one product to the next.
_BETWEEN = ("Add", "Relu", "Clip", "AveragePool", "MaxPool", "GlobalAveragePool")
# How much of the outliers moves from activations to weights. SmoothQuant (Xiao et al., 2022) uses 0.5. For the
# one trained transformer at hand, the demo model's text tower, 0.65 was best: its mean cosine to fp32 is 0.981
# without, 0.990 at 0.5, 0.996 at 0.65 and 0.994 at 0.8.
_SMOOTHING = 0.65


def write_int8(source: Path, target: Path, feeds: Sequence[Feeds]) -> None:
    """Write the int8 variant of the fp32 graph `source`; the inputs `feeds` calibrate the ranges of activations.

    If `source` has its weights in files beside it, as graphs above 2 GB must, so has the variant.
    """
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        folded = Path(scratch) / "folded.onnx"
        model = _fold(source, folded)
        products = _constant_products(model.graph)
        keep = [products[-1].name] + [products[0].name] * (products[0].op_type == "Conv")
        convolutional = any(node.op_type == "Conv" for node in products[1:])
        if not convolutional:
            _smooth(model, [node for node in products if node.name not in keep], feeds)
            _save(model, folded)
        del model  # a copy of all weights
        quantize_static(
            folded,
            target,
            _Reader(feeds),
            use_external_data_format=bool(external_files(source)),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=[*_PRODUCTS, *(_BETWEEN if convolutional else ())],
            # Signed ones around zero, which TensorRT takes, need 1.8 times the CPU time (demo's texts, VNNI).
            activation_type=QuantType.QUInt8,
            nodes_to_exclude=keep,
            extra_options={
                "MatMulConstBOnly": True,
                # The results of matrix products stay fp32: this is more exact, and not slower.
                "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"],
            },
            per_channel=True,
            # The weights have 7 bits: without VNNI, onnxruntime's u8 x s8 kernels add two products in 16 bits and
            # saturate (VPMADDUBSW), and one variant must be right on every CPU. On a ViT-B/32 with random weights,
            # on such a CPU, the mean cosine to fp32 is 0.9999 with 7 bits and 0.9895 with 8.
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # untyped
    def __init__(self, feeds: Iterable[Feeds]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> dict[str, Any] | None:
        feed = next(self._feeds, None)
        return None if feed is None else dict(feed)


def _save(model: Any, path: Path) -> None:
    """Write a graph with its weights in a file beside it, and take them from `model`."""
    path.with_name(f"{path.name}.data").unlink(missing_ok=True)  # onnx appends to it
    onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data")


def _fold(source: Path, target: Path) -> Any:
    """Compute constant nodes in advance: some graphs store weights in a small type, and nodes convert them.

    Returns:
        the graph, which is written to `target` too.
    """
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "folded.data")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3  # it warns that the file is for this machine only, not true here
    onnxruntime.InferenceSession(
        source, options, providers=["CPUExecutionProvider"], disabled_optimizers=["MatMulAddFusion"]
    )
    model = onnx.load(target)
    used = {node.domain for node in model.graph.node}
    # onnxruntime declares every domain that it knows. Other engines refuse a graph with one that they do not know.
    opsets = [opset for opset in model.opset_import if opset.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    _save(model, target)
    return onnx.load(target)


def _constant_products(graph: Any) -> list[Any]:
    """Convolutions and matrix products whose weights are constant, in the order of the graph."""
    constants = {weights.name for weights in graph.initializer}
    return [node for node in graph.node if node.op_type in _PRODUCTS and node.input[1] in constants]


def _smooth(model: Any, products: Sequence[Any], feeds: Iterable[Feeds]) -> None:
    """Divide each input channel of the matrix products by a constant, and multiply its weights by the same.

    A few channels of a transformer are a hundred times larger than the others. With one scale for all channels the
    small ones are rounded to zero. Weights have one scale for each output channel, and can take the large factors.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    readers: dict[str, list[Any]] = {}
    for node in products:
        if node.op_type == "MatMul":
            readers.setdefault(node.input[0], []).append(node)
    peaks = _peaks(model, list(readers), feeds)
    for name, nodes in readers.items():
        matrices = [numpy_helper.to_array(weights[node.input[1]]) for node in nodes]  # each [C, K]
        largest = np.max([np.abs(matrix).max(axis=1) for matrix in matrices], axis=0)  # [C]
        factor = np.maximum(peaks[name], 1e-5) ** _SMOOTHING / np.maximum(largest, 1e-5) ** (1 - _SMOOTHING)
        smooth = _divide(model.graph, name, factor, nodes)
        for node, matrix in zip(nodes, matrices, strict=True):
            node.input[:] = [
                smooth,
                _constant(model.graph, matrix * factor[:, np.newaxis], f"{node.name}/weights"),
            ]
    read = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _divide(graph: Any, name: str, factor: npt.NDArray[np.float32], readers: Sequence[Any]) -> str:
    """Divide the tensor `name` by `factor` for the nodes `readers`.

    If a LayerNormalization writes the tensor and only `readers` read it, its scale and bias are divided instead,
    which costs no time.

    Returns:
        the name of the tensor that `readers` must read.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    writer = next(node for node in graph.node if name in node.output)
    alone = all(node in readers for node in graph.node if name in node.input)
    if alone and writer.op_type == "LayerNormalization":
        for place in range(1, len(writer.input)):
            values = numpy_helper.to_array(constants[writer.input[place]]) / factor
            writer.input[place] = _constant(graph, values, f"{name}/{place}")
        return name
    smooth = f"{name}/smooth"
    multiply = helper.make_node(
        "Mul", [name, _constant(graph, 1 / factor, f"{name}/by")], [smooth], name=smooth
    )
    first = next(index for index, node in enumerate(graph.node) if node.output == readers[0].output)
    graph.node.insert(first, multiply)
    return smooth


def _constant(graph: Any, values: npt.NDArray[np.floating[Any]], name: str) -> str:
    graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
    return name


def _peaks(
    model: Any, names: list[str], feeds: Iterable[Feeds]
) -> dict[str, npt.NDArray[np.float32]]:  # each [C]
    """The largest absolute value in each channel (the last dimension) of the tensors `names`."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "probe.onnx"
        _save(probe, path)
        session = session_of(path)
    peaks: dict[str, npt.NDArray[np.float32]] = {}
    for feed in feeds:
        for name, values in zip(names, session.run(names, dict(feed)), strict=True):
            peak = np.abs(values).reshape(-1, values.shape[-1]).max(axis=0)  # [C]
            peaks[name] = np.maximum(peaks.get(name, peak), peak)
    return peaks
