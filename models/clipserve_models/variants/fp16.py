"""Writes fp16 graphs, if the values of the fp32 graphs fit half precision with room to spare.

A graph that was built from weights has all that is needed to write it again in half precision. Another one is
converted by onnxruntime's tool; normalizations stay fp32, because sums of squares would overflow.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH
from clipserve.clip.external import external_files
from clipserve_models.errors import ModelsError
from clipserve_models.graphs.file import stored
from clipserve_models.graphs.towers import write_image, write_text
from clipserve_models.verify import Feeds, session_of

# fp16 ends at 65,504. On other photos and texts a value may be a few times larger than on these, and partial sums
# of products may exceed the result if an engine adds in half precision.
LIMIT = 8_000.0
_WRITERS: dict[str, Callable[..., None]] = {IMAGE_GRAPH: write_image, TEXT_GRAPH: write_text}
_NORMS = ("LayerNormalization", "GroupNormalization", "InstanceNormalization", "BatchNormalization")
_CUTS = ("Slice", "Gather", "Unsqueeze")  # what only cuts a mask


@dataclass(frozen=True)
class Largest:
    """The tensor of a graph with the largest absolute value; infinite if a value was not finite."""

    graph: str
    tensor: str
    value: float


def write_fp16(source: Path, target: Path, feeds: Iterable[Feeds]) -> Largest:
    """Write the fp32 graph `source`, of an artifact, in half precision to `target`.

    Returns:
        its largest value on the feeds.

    Raises:
        ModelsError: that is above LIMIT, or onnxruntime does not run the graph.
    """
    largest = survey(source, feeds)
    if not largest.value <= LIMIT:
        raise ModelsError(
            f"{largest.graph}: the tensor {largest.tensor!r} reaches {largest.value:,.0f} on these photos and "
            f"prompts; an fp16 variant is made up to {LIMIT:,.0f} (fp16 ends at 65,504, and others reach more). "
            "The model needs the range of bf16: serve the fp32 artifact; on a CPU with bf16 the OpenVINO engine "
            "computes it in bf16 by itself (docs/models.md)."
        )
    halve(source, target)
    return largest


def halve(source: Path, target: Path) -> None:
    """Write the graph `source`, of an artifact, in half precision to `target`."""
    if found := stored(source):
        _WRITERS[source.name](target, *found, half=True)
        return
    blocked = [*DEFAULT_OP_BLOCK_LIST, *_NORMS, "ReduceL2"]
    half = convert_float_to_float16(onnx.load(source), keep_io_types=True, op_block_list=blocked)
    beside = bool(external_files(source))
    onnx.save(half, target, save_as_external_data=beside, location=f"{target.name}.data" if beside else None)


def survey(graph: Path, feeds: Iterable[Feeds]) -> Largest:
    """Run the fp32 graph on all feeds and find the largest value. Raises ModelsError: it does not run.

    The fp16 graph would hide some: on a CPU onnxruntime computes most of its operators in fp32.
    """
    model = onnx.load(graph, load_external_data=False)
    known = onnx.shape_inference.infer_shapes(model).graph
    floats = {
        each.name: each
        for each in (*known.value_info, *known.output)
        if each.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    found = dict.fromkeys((name for name in _measured(model.graph) if name in floats), 0.0)
    outputs = {each.name for each in model.graph.output}
    model.graph.output.extend(floats[name] for name in found if name not in outputs)
    with tempfile.TemporaryDirectory() as scratch:
        for name in external_files(graph):
            shutil.copyfile(graph.parent / name, Path(scratch) / name)
        onnx.save(model, Path(scratch) / graph.name)
        session = session_of(Path(scratch) / graph.name, optimized=False)
        for feed in feeds:
            for name, tensor in zip(found, session.run([*found], dict(feed)), strict=True):
                largest = float(np.abs(tensor).max())
                found[name] = max(found[name], largest if np.isfinite(largest) else np.inf)
    most = max(found, key=found.__getitem__)
    return Largest(graph.name, most, found[most])


def _measured(graph: Any) -> list[str]:
    """What nodes give, but for pixels as they are, masks, and the sums of scores and masks.

    A causal mask is -10,000 and cannot overflow; the scores are measured before the sum.
    """
    masks, names = {"mask"}, []  # as `graphs.weights` calls it
    for node in graph.node:
        if masks.isdisjoint(node.input) and "pixels" not in node.input:
            names += node.output
        elif node.op_type in _CUTS:
            masks |= {*node.output}
    return names
