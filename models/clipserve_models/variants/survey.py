"""Measures the largest absolute value of each tensor of an fp32 graph, to see whether it fits half precision.

The survey runs the fp32 graph, not the fp16 one: on a CPU onnxruntime computes most operators of fp16 in fp32, so a
value that is infinite on a GPU would be finite.

The graph runs unoptimized, with a maximum added for each tensor. Weights count too. A causal mask (-10,000, and its
sums with attention scores) does not count, because it cannot overflow: the scores are measured before the sum.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from clipserve.clip.external import external_files
from clipserve_models.errors import ModelsError
from clipserve_models.graphs.weights import MASKED
from clipserve_models.tensorrt_types import PIXELS
from clipserve_models.variants.gate import BOUNDS
from clipserve_models.variants.job import GRAPHS, Job, Largest
from clipserve_models.verify import Feeds, session_of

LIMIT = BOUNDS["fp16"].largest_value or 0.0
_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE)
_MOVES = frozenset(
    {"Slice", "Gather", "Unsqueeze", "Squeeze", "Reshape", "Transpose", "Expand", "Identity", "Cast"}
)
_PREFIX = "largest of "


def survey_all(job: Job) -> Largest:
    """The largest value of the graphs of `job.towers` on the job's feeds.

    Raises:
        ModelsError: it is too large for half precision, or onnxruntime does not run a graph.
    """
    found = []
    for tower in job.towers:
        job.say(f"looking for the largest values in {GRAPHS[tower]}")
        found.append(survey(job.source / GRAPHS[tower], job.feeds(tower)))
        refuse_overflow(found[-1])
    return max(found, key=lambda largest: largest.value)


def survey(graph: Path, feeds: Iterable[Feeds]) -> Largest:
    """Run the fp32 graph on all feeds and find the largest value.

    Raises:
        ModelsError: onnxruntime does not run it.
    """
    model = onnx.load(graph, load_external_data=False)
    found = _of_weights(model.graph, graph.parent)
    names = _probe(model, graph.parent)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / graph.name
        for name in external_files(graph):
            shutil.copyfile(graph.parent / name, path.with_name(name))
        onnx.save(model, path)
        session = session_of(path, optimized=False)
        for feed in feeds:
            for name, value in zip(
                names, session.run([_PREFIX + name for name in names], dict(feed)), strict=True
            ):
                largest = float(value)
                found[name] = max(found.get(name, 0.0), largest if np.isfinite(largest) else np.inf)
    tensor = max(found, key=found.__getitem__)
    return Largest(graph.name, tensor, found[tensor])


def refuse_overflow(largest: Largest) -> None:
    """Accept values that fit half precision with room to spare.

    Raises:
        ModelsError: a tensor is above LIMIT; the message names it, its value, and what to do.
    """
    if not largest.value <= LIMIT:
        raise ModelsError(
            f"{largest.graph}: the tensor {largest.tensor!r} reaches {largest.value:,.0f} on these photos and "
            f"prompts; an fp16 variant is made up to {LIMIT:,.0f} (fp16 ends at 65,504, and others reach more). "
            "The model needs the range of bf16: serve the fp32 artifact; on a CPU with bf16 the OpenVINO engine "
            "computes it in bf16 by itself (docs/precision.md)."
        )


def _probe(model: Any, folder: Path) -> list[str]:
    """Add to the graph the largest absolute value of each tensor that its nodes compute in floating point.

    Returns:
        the tensors' names; the output for each has _PREFIX before the name.
    """
    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}
    masks = _masks(graph, folder)
    names = [
        name
        for node in graph.node
        if PIXELS not in node.input  # a former uint8 is at most 255
        for name in node.output
        if types.get(name) in _FLOATS and name not in masks
    ]
    for name in names:
        absolute, largest = f"{_PREFIX}{name}/abs", _PREFIX + name
        model.graph.node.append(helper.make_node("Abs", [name], [absolute]))
        model.graph.node.append(helper.make_node("ReduceMax", [absolute], [largest], keepdims=0))
        model.graph.output.append(helper.make_tensor_value_info(largest, types[name], []))
    return names


def _masks(graph: Any, folder: Path) -> set[str]:
    """Causal masks, nodes that only reshape them, and the sums of scores and masks."""
    moved = {weights.name for weights in graph.initializer if _is_mask(weights, folder)}
    sums: set[str] = set()
    for node in graph.node:
        if node.op_type in _MOVES and node.input[0] in moved:
            moved.update(node.output)
        elif node.op_type == "Add" and moved.intersection(node.input):
            sums.update(node.output)
    return moved | sums


def _is_mask(weights: Any, folder: Path) -> bool:
    if weights.data_type not in _FLOATS or len(weights.dims) != 2 or weights.dims[0] != weights.dims[1]:
        return False
    values = numpy_helper.to_array(weights, str(folder))
    return bool(values.size and values.min() == MASKED and values.max() == 0)


def _of_weights(graph: Any, folder: Path) -> dict[str, float]:
    found = {}
    for weights in graph.initializer:
        if weights.data_type in _FLOATS and not _is_mask(weights, folder):
            values = numpy_helper.to_array(weights, str(folder))
            found[weights.name] = float(np.abs(values).max(initial=0.0))
    return found
