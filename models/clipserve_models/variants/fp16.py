"""Writes fp16 variants, after a survey of the values of the fp32 graphs.

A graph that was built from weights has all that is needed to write it again in half precision. Another one is
converted by onnxruntime's tool; normalizations stay fp32, because sums of squares would overflow.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

from clipserve.clip.external import external_files
from clipserve_models.graphs.file import stored
from clipserve_models.graphs.towers import write_image, write_text
from clipserve_models.variants.job import GRAPHS, Job, Largest, Tower
from clipserve_models.variants.survey import survey_all

WRITERS: dict[Tower, Callable[..., None]] = {"image": write_image, "text": write_text}
_IN_FP32 = (
    "LayerNormalization",
    "GroupNormalization",
    "InstanceNormalization",
    "BatchNormalization",
    "ReduceL2",
)


def write_fp16(job: Job) -> Largest:
    """Write the graphs of `job.towers` in half precision.

    Raises:
        ModelsError: a value of the fp32 graphs is too large.
    """
    largest = survey_all(job)
    for tower in job.towers:
        job.say(f"writing {GRAPHS[tower]} in half precision")
        halve(tower, job.source / GRAPHS[tower], job.target / GRAPHS[tower])
    return largest


def halve(tower: Tower, source: Path, target: Path) -> None:
    """Write the graph `source` in half precision to `target`."""
    if found := stored(source):
        WRITERS[tower](target, *found, half=True)
        return
    blocked = [*DEFAULT_OP_BLOCK_LIST, *_IN_FP32]
    half = convert_float_to_float16(onnx.load(source), keep_io_types=True, op_block_list=blocked)
    beside = bool(external_files(source))
    onnx.save(half, target, save_as_external_data=beside, location=f"{target.name}.data" if beside else None)
