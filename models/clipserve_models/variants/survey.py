"""Measures the largest absolute value of each tensor of an fp32 graph, to see whether it fits half precision.

It runs the fp32 graph, not the fp16 one: on a CPU onnxruntime computes most operators of fp16 in fp32, so a value
that is infinite on a GPU would be finite. A causal mask (-10,000, and its sums with attention scores) does not
count, because it cannot overflow: the scores are measured before the sum.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from clipserve.clip.external import external_files
from clipserve_models.errors import ModelsError
from clipserve_models.variants.gate import BOUNDS
from clipserve_models.variants.job import GRAPHS, Job, Largest
from clipserve_models.verify import Feeds, session_of

LIMIT = BOUNDS["fp16"].largest_value or 0.0
_CUTS = ("Slice", "Gather", "Unsqueeze")  # what only cuts a mask


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
    """Run the fp32 graph on all feeds and find the largest value. Raises ModelsError: it does not run."""
    model = onnx.load(graph, load_external_data=False)
    known = onnx.shape_inference.infer_shapes(model).graph
    values = {each.name: each for each in (*known.value_info, *known.output)}
    names = [name for name in _measured(model.graph) if _is_float(values.get(name))]
    outputs = {each.name for each in model.graph.output}
    model.graph.output.extend(values[name] for name in names if name not in outputs)
    found = dict.fromkeys(names, 0.0)
    with tempfile.TemporaryDirectory() as scratch:
        for name in external_files(graph):
            shutil.copyfile(graph.parent / name, Path(scratch) / name)
        onnx.save(model, Path(scratch) / graph.name)
        session = session_of(Path(scratch) / graph.name, optimized=False)
        for feed in feeds:
            for name, tensor in zip(names, session.run(names, dict(feed)), strict=True):
                largest = float(np.abs(tensor).max())
                found[name] = max(found[name], largest if np.isfinite(largest) else np.inf)
    most = max(found, key=found.__getitem__)
    return Largest(graph.name, most, found[most])


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
            "computes it in bf16 by itself (docs/models.md)."
        )


def _measured(graph: Any) -> list[str]:
    """What nodes give, but for pixels as they are, masks, and the sums of scores and masks."""
    masks, names = {"mask"}, []  # as `graphs.weights` calls it
    for node in graph.node:
        if masks.isdisjoint(node.input) and "pixels" not in node.input:
            names += node.output
        elif node.op_type in _CUTS:
            masks |= {*node.output}
    return names


def _is_float(value: Any) -> bool:
    return value is not None and value.type.tensor_type.elem_type == TensorProto.FLOAT
